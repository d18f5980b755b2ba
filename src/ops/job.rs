//! The jobs that keep the memory in order, batch by batch.
//!
//! A job says first, by reading alone, whether there is anything to do: where there is not it writes nothing, and takes no transaction id.

use pgrx::IntoDatum;
use pgrx::datum::Interval;

use super::{performance, worker};
use crate::archive;
use crate::check;
use crate::context::hold;
use crate::error::{Error, Result, shown};
use crate::pg::lock::{self, Mode};
use crate::pg::spi::{self, read_once, unwrap};
use crate::raw_function;
use crate::retention;
use crate::search;

/// What a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub rows: i64,
    /// Whether another batch would find work at once.
    pub more: bool,
}

const NOTHING: Batch = Batch { rows: 0, more: false };

/// How often the worker looks whether a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In every round: looking is by an index, or in shared memory.
    EachRound,
    /// Once an hour: looking may read whole tables.
    Hourly,
}

pub struct Job {
    pub name: &'static str,
    pub pace: Pace,
    is_due: fn() -> bool,
    batch: fn() -> Batch,
}

/// In the order in which they run: sealing after what the others write to the log.
pub const JOBS: [Job; 10] = [
    Job {
        name: "violations",
        pace: Pace::EachRound,
        is_due: || true,
        batch: || sql("SELECT memory.flush_security_violations(), false"),
    },
    Job {
        name: "access_log",
        pace: Pace::EachRound,
        is_due: || true,
        batch: || sql("SELECT memory.flush_data_access_log(), false"),
    },
    Job {
        name: "archival",
        pace: Pace::EachRound,
        is_due: || archive::run::is_due(idle_for()),
        batch: || sql("SELECT r.sessions + r.events, r.more FROM memory.run_archival() AS r"),
    },
    Job {
        name: "expiry",
        pace: Pace::EachRound,
        is_due: retention::is_expired_due,
        batch: || sql("SELECT sum(c.removed)::bigint, bool_or(c.more) FROM memory.clean_expired() AS c"),
    },
    Job {
        name: "retention",
        pace: Pace::Hourly,
        is_due: || retention::is_sweeping() || retention::is_due(),
        batch: || {
            let (rows, more) = retention::sweep(SWEEP);
            Batch { rows, more }
        },
    },
    Job {
        name: "embeddings",
        pace: Pace::Hourly,
        is_due: || search::indexing::is_due(LARGE),
        batch: || sql("SELECT i.indexed, i.more FROM memory.index_embeddings() AS i"),
    },
    Job {
        name: "statistics",
        pace: Pace::EachRound,
        is_due: || !changed_tables().is_empty(),
        batch: analyze,
    },
    Job {
        name: "analytics",
        pace: Pace::Hourly,
        is_due: || performance::is_stale(worker::refreshed()),
        batch: || performance::refresh_noting(worker::refreshed()),
    },
    Job {
        name: "seal",
        pace: Pace::EachRound,
        is_due: || true,
        batch: || sql("SELECT s, s > 0 FROM memory.seal_audit_log() AS s"),
    },
    Job {
        name: "history",
        pace: Pace::Hourly,
        is_due: || {
            read_once(concat!("SELECT EXISTS (SELECT ", old_runs!(), ")"), &[], |rows| {
                unwrap(rows.first().get_one())
            }) == Some(true)
        },
        batch: forget_runs,
    },
];

/// run_archival()'s default.
fn idle_for() -> Interval {
    const MICROS: i64 = 30 * 60 * 1_000_000;
    Interval::new(0, 0, MICROS).unwrap_or_else(|_| unreachable!("half an hour is an interval"))
}

/// index_embeddings()'s default.
const LARGE: i32 = 20_000;

/// So many rows are retention's at once: each batch reads the audit log for their images.
const SWEEP: i32 = 20_000;

/// So many runs are forgotten at once.
const FORGET: i32 = 10_000;

/// What job_runs keeps is a week; the totals are in `jobs`.
macro_rules! old_runs {
    () => {
        "FROM memory.job_runs AS r WHERE r.started_at < now() - interval '7 days'"
    };
}
use old_runs;

/// A batch of another subject's, by the function that SQL knows.
fn sql(batch: &str) -> Batch {
    read_once(batch, &[], |rows| {
        let rows = rows.first();
        Batch {
            rows: unwrap(rows.get(1)).unwrap_or_default(),
            more: unwrap(rows.get(2)).unwrap_or_default(),
        }
    })
}

/// The tables that changed so much since they were last analysed that autovacuum, which comes at half of it, seems not to come.
fn changed_tables() -> Vec<String> {
    let changed = "SELECT s.relid::regclass::text FROM pg_catalog.pg_stat_all_tables AS s JOIN pg_catalog.pg_class AS c ON c.oid = s.relid
                   WHERE s.schemaname = 'memory' AND c.relkind = 'r' AND s.n_mod_since_analyze > 500 + 0.2 * greatest(c.reltuples, 0)
                   ORDER BY 1";
    read_once(changed, &[], |rows| rows.filter_map(|row| unwrap(row.get(1))).collect())
}

fn analyze() -> Batch {
    let tables = changed_tables();
    for table in &tables {
        spi::run(&format!("ANALYZE (SKIP_LOCKED) {table}"));
    }
    Batch {
        rows: tables.len() as i64,
        more: false,
    }
}

fn forget_runs() -> Batch {
    let sql = concat!(
        "WITH gone AS (DELETE FROM memory.job_runs AS d WHERE d.ctid = ANY (ARRAY(SELECT r.ctid ",
        old_runs!(),
        " LIMIT $1)) RETURNING 1) SELECT count(*) FROM gone"
    );
    let rows: i64 = spi::write_once(sql, &[FORGET.into()], |rows| unwrap(rows.first().get_one())).unwrap_or_default();
    Batch {
        rows,
        more: rows >= i64::from(FORGET),
    }
}

/// Takes a job until the transaction ends; false where somebody else has it.
pub fn take(job: &Job) -> bool {
    // After the numbers of the stripes of users, and of the two that write rings out.
    const FIRST: u32 = 2 * hold::STRIPES + 2;
    let place = JOBS.iter().position(|other| other.name == job.name).unwrap_or_default();
    lock::try_number(FIRST + place as u32, Mode::Alone)
}

fn run(name: Option<&str>) -> Result<Batch> {
    let name = check::text("job", name)?;
    let job = JOBS.iter().find(|job| job.name == name).ok_or_else(|| {
        let names: Vec<&str> = JOBS.iter().map(|job| job.name).collect();
        Error::bad_argument(
            format!("job {} is none", shown(name)),
            format!("It is one of: {}.", names.join(", ")),
        )
    })?;
    Ok(if (job.is_due)() { (job.batch)() } else { NOTHING })
}

raw_function!(run_job, pg_finfo_run_job, |call| {
    let batch = run(call.str(0)).unwrap_or_else(|error| error.raise());
    call.row([batch.rows.into_datum(), batch.more.into_datum()])
});
