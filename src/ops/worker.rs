//! The worker: memory.maintain() without anybody who calls it.
//!
//! A launcher that stays, connected to no database, starts a worker for each database of `memory.worker_databases` every `memory.worker_naptime`;
//! the worker runs the jobs and ends. So between rounds nothing wakes up and nobody is in the way of DROP DATABASE. A worker that is not done at once wakes the launcher,
//! which then looks four times a second whether somebody wants the database alone, and stops the worker if so. Jobs whose looking may read whole tables come once an hour.
//! What is not there (a database, the extension in it, a free place for a worker) is tried again in the next round.
//!
//! A worker is a superuser, and a database that is named may be anybody's: what it calls there is the extension's, and that a superuser's, or nothing is called.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::maintain;
use crate::config;
use crate::error::shown;
use crate::pg::steps::Steps;
use crate::pg::{catalog, process, shmem, spi, worker};
use crate::raw_function;

/// While a worker is in a database, so often the launcher looks whether it is in the way.
const LOOK: Duration = Duration::from_millis(250);
const HOUR: Duration = Duration::from_secs(3600);
/// A round that is to have the hourly jobs, in a worker's argument beside the database's OID.
const HOURLY: u64 = 1 << 32;

/// For so many databases it is remembered when their last round ended.
const DATABASES: usize = 64;
/// OID, Unix time, how many rounds, what the statistics were refreshed as of.
const WORDS: usize = 4;

/// What is told of the rounds since the server started.
pub static MEMORY: shmem::Part = shmem::Part::new(|| DATABASES * WORDS);

/// In `_PG_init`.
pub fn register() {
    if shmem::preloading() {
        worker::register("memory_ext launcher", "memory_launcher");
    }
}

/// The words of a database: its own, else those that nobody has yet.
fn words(database: pg_sys::Oid) -> Option<&'static [AtomicU64]> {
    let own = u64::from(u32::from(database));
    MEMORY.words().chunks_exact(WORDS).find(|words| {
        let owner = words[0].load(Ordering::SeqCst);
        owner == own
            || owner == 0
                && words[0]
                    .compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst)
                    .map_or_else(|other| other == own, |_| true)
    })
}

/// Makes room of databases that are gone.
fn forget_all_but(databases: &[(String, pg_sys::Oid)]) {
    for words in MEMORY.words().chunks_exact(WORDS) {
        let owner = words[0].load(Ordering::SeqCst);
        if owner != 0
            && !databases
                .iter()
                .any(|(_, database)| u64::from(u32::from(*database)) == owner)
        {
            for word in words.iter().rev() {
                word.store(0, Ordering::SeqCst);
            }
        }
    }
}

/// As of what this database's statistics were refreshed; without shared memory as far as this backend knows.
pub fn refreshed() -> Option<&'static AtomicU64> {
    words(catalog::database()).map(|words| &words[3])
}

/// What the launcher knows of a database.
#[derive(Default)]
struct Known {
    visit: Option<worker::Visit>,
    is_stopped: bool,
    last_hourly: Option<Instant>,
}

#[derive(Default)]
struct Launcher {
    databases: HashMap<u32, Known>,
    next: Option<Instant>,
}

impl Launcher {
    fn visits(&mut self) -> impl Iterator<Item = (pg_sys::Oid, &mut Known)> {
        self.databases
            .iter_mut()
            .filter(|(_, known)| known.visit.is_some())
            .map(|(database, known)| (pg_sys::Oid::from(*database), known))
    }

    /// Stops whoever is in the way, and forgets who is done; whether anybody is left.
    fn look(&mut self) -> bool {
        for known in self.databases.values_mut() {
            known.visit.take_if(|visit| visit.is_over());
        }
        if self.visits().next().is_none() {
            return false;
        }
        worker::among_all(|| {
            for (database, known) in self.visits().filter(|(_, known)| !known.is_stopped) {
                if worker::is_wanted_alone(database)
                    && let Some(visit) = &known.visit
                {
                    visit.stop();
                    known.is_stopped = true;
                }
            }
        });
        true
    }

    /// Starts a worker in each database that has none.
    fn round(&mut self) {
        let named = config::worker_databases();
        let all = worker::among_all(worker::databases);
        forget_all_but(&all);
        let databases: Vec<pg_sys::Oid> = all
            .into_iter()
            .filter(|(name, _)| named.contains(name))
            .map(|(_, database)| database)
            .collect();
        // Of databases that are gone nothing is remembered.
        self.databases
            .retain(|database, known| known.visit.is_some() || databases.iter().any(|d| u32::from(*d) == *database));
        for database in databases {
            let known = self.databases.entry(u32::from(database)).or_default();
            if known.visit.is_some() {
                continue;
            }
            let hourly = known.last_hourly.is_none_or(|last| last.elapsed() >= HOUR);
            let argument = u64::from(u32::from(database)) | if hourly { HOURLY } else { 0 };
            known.visit = worker::Visit::start("memory_ext worker", "memory_worker", argument);
            known.is_stopped = false;
            if hourly && known.visit.is_some() {
                known.last_hourly = Some(Instant::now());
            }
        }
    }

    /// How long until there is something to do; None: for ever, unless somebody comes.
    fn turn(&mut self) -> Option<Duration> {
        worker::reload();
        let naptime = config::worker_naptime();
        let is_busy;
        if config::worker_databases().is_empty() {
            self.next = None;
            is_busy = self.look();
        } else if self.next.is_none_or(|next| next <= Instant::now()) {
            is_busy = self.look();
            // Who begins now says so if it takes long.
            self.round();
            self.next = Some(Instant::now() + naptime);
        } else {
            is_busy = self.look();
        }
        // A shorter naptime holds at once.
        self.next = self.next.map(|next| next.min(Instant::now() + naptime));
        let next = self.next.map(|next| next.saturating_duration_since(Instant::now()));
        if is_busy {
            Some(next.unwrap_or(LOOK).min(LOOK))
        } else {
            next
        }
    }
}

/// The launcher's process.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn memory_launcher(_argument: pg_sys::Datum) {
    if !worker::stay() {
        return;
    }
    let mut launcher = Launcher::default();
    loop {
        let most = launcher.turn();
        worker::nap(most);
    }
}

/// Whether what a superuser would run here is the extension's: who makes a database can put a schema `memory` of its own there, and who owns a part of the
/// extension can put what it likes in its place. An extension of before 0.2.0 has no jobs.
fn is_to_be_trusted() -> bool {
    // The jobs; and what is the extension's and not a superuser's.
    const MEMBERS: &str = "SELECT count(*) FILTER (WHERE o.name = 'run_job'), string_agg(o.name, ', ' ORDER BY o.name) FILTER (WHERE NOT r.rolsuper IS TRUE)
        FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace AND n.nspname = 'memory'
        CROSS JOIN LATERAL (
            SELECT p.proname::text, p.proowner FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid AND p.pronamespace = n.oid
            WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
            UNION ALL SELECT c.relname::text, c.relowner FROM pg_class AS c WHERE c.relnamespace = n.oid
            UNION ALL VALUES ('schema memory', n.nspowner), ('extension memory_ext', e.extowner)
        ) AS o (name, owner) LEFT JOIN pg_roles AS r ON r.oid = o.owner
        WHERE e.extname = 'memory_ext'";
    let (jobs, foreign) = spi::read_once(MEMBERS, &[], |rows| {
        let rows = rows.first();
        (
            spi::unwrap(rows.get::<i64>(1)).unwrap_or_default(),
            spi::unwrap(rows.get::<String>(2)),
        )
    });
    if jobs > 0
        && let Some(foreign) = &foreign
    {
        complain(
            &format!("no superuser owns {}", shown(foreign)),
            "Give it to one: what it is runs as a superuser.",
        );
    }
    jobs == 1 && foreign.is_none()
}

/// To the server's log.
fn complain(why: &str, hint: &str) {
    let message = format!("the worker leaves database {:?} alone: {why}", catalog::database_name());
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "memory_ext")
        .set_hint(hint)
        .report(PgLogLevel::LOG_SERVER_ONLY);
}

/// A worker's process.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn memory_worker(argument: pg_sys::Datum) {
    let argument = argument.value() as u64;
    let database = pg_sys::Oid::from(argument as u32);
    worker::visit(database);
    let steps = Steps::of_worker();
    match steps.attempt(is_to_be_trusted) {
        Ok(true) => (),
        Ok(false) => return,
        Err(failure) => {
            return complain(
                &format!("{}: {}", failure.condition(), failure.message),
                "It comes again in the next round.",
            );
        }
    }
    maintain::all(&steps, argument & HOURLY != 0, |job| {
        if let Ok(activity) = CString::new(format!("memory.maintain(): {}", job.name)) {
            worker::show(&activity);
        }
    });
    if let Some([_, ended, rounds, _]) = words(database) {
        ended.store(process::unix_seconds() as u64, Ordering::SeqCst);
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

raw_function!(worker_status, pg_finfo_worker_status, |call| {
    let name = catalog::database_name();
    let words = shmem::is_shared().then(|| words(catalog::database())).flatten();
    let word = |place: usize| words.map_or(0, |words| words[place].load(Ordering::SeqCst));
    let ended = (word(1) > 0).then(|| crate::pg::time::of_unix_seconds(word(1) as i64));
    call.row([
        (shmem::is_shared() && config::worker_databases().contains(&name)).into_datum(),
        (config::worker_naptime().as_secs() as f64).into_datum(),
        ended.into_datum(),
        (word(2) as i64).into_datum(),
    ])
});
