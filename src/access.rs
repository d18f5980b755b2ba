//! The access log: who read what, through the extension's functions (sql/access.sql).
//!
//! A read may not write: it has to work in a READ ONLY transaction, on a standby, and cost little. So it puts a record into a ring in shared
//! memory, in some 2 µs, and a background worker writes the ring to the table, once a second at most or when a quarter of it is full. Without
//! shared memory, and on a standby, reads are not logged.
//!
//! An erasure beside this: as with violations, what the ring has of a user who was erased meanwhile is written without the name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgrx::datum::Uuid;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::{self, LogReads};
use crate::context::{self, Subject, hold};
use crate::pg::drain::{self, Drain, Fill};
use crate::pg::ring::Record;
use crate::pg::spi::Statement;
use crate::pg::{process, role, shmem, time, xact};
use crate::raw_function;
use crate::tenant;
use crate::tenant::identifier::parse_uuid;

/// 2 MB: a second of 4,000 reads. What is longer than a slot, by names of hundreds of characters, is logged without the users' names.
const SLOTS: usize = 4096;
const SLOT_BYTES: usize = 488;

/// The ring's shared memory; then when a worker was last asked for, and the ring's number then; then how many reads were sampled from.
pub static MEMORY: shmem::Part = shmem::Part::new(|| if shmem::preloading() { SAMPLED + 1 } else { 0 });
const ASKED_AT: usize = drain::words_for(SLOTS, SLOT_BYTES);
const ASKED_NUMBER: usize = ASKED_AT + 1;
const SAMPLED: usize = ASKED_NUMBER + 1;

static DRAIN: Drain = Drain {
    memory: &MEMORY,
    slots: SLOTS,
    slot_bytes: SLOT_BYTES,
    name: "memory_ext access log",
    worker: "write_access_log",
    table: c"data_access_log",
    // After that of the violations.
    number: 2 * hold::STRIPES + 1,
    store,
};

/// A worker is asked for after so long, or so many records.
const EACH_MS: u64 = 1000;
const EACH_RECORDS: u64 = SLOTS as u64 / 4;

/// Of so many reads one is logged, when they are sampled.
const ONE_OF: u64 = 100;

/// So long a read waits for room in the ring, when all are to be logged.
const PATIENCE: Duration = Duration::from_millis(100);
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Read {
    id: String,
    at: i64,
    function: String,
    tenant: String,
    /// None: the whole tenant's.
    user: Option<String>,
    rows: Option<i64>,
    role: String,
    login: String,
    actor: Option<String>,
    service: Option<String>,
}

thread_local! {
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.data_access_log
                 (id, occurred_at, function_name, tenant_id, user_id, row_count, actor_role, login_role, actor_user_id, actor_service_name)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
            &[
                pg_sys::UUIDOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::INT8OID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
            ],
        )
    };
}

/// The user is being erased.
pub fn erasing(tenant: &[u8; 16], user: &str) {
    hold::erasing(&DRAIN, tenant, user);
}

fn word(at: usize) -> &'static AtomicU64 {
    &MEMORY.words()[at]
}

/// Whether the read that asks is to be logged.
fn is_logged() -> bool {
    match config::LOG_READS.get() {
        LogReads::Off => false,
        _ if !shmem::is_shared() || xact::is_standby() => false,
        LogReads::Full => true,
        LogReads::Sampled => word(SAMPLED).fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_OF),
    }
}

/// Logs a read by a function; `rows` is how many it gives, where that is known.
pub fn note(function: &str, subject: &Subject, rows: Option<usize>) {
    if !is_logged() {
        return;
    }
    let context = context::current();
    let mut read = Read {
        id: uuid::Uuid::now_v7().to_string(),
        at: time::now(),
        function: function.to_owned(),
        tenant: uuid::Uuid::from_bytes(subject.tenant).to_string(),
        user: subject.user.clone(),
        rows: rows.map(|rows| rows as i64),
        role: role::outer_name(),
        login: role::session_name(),
        actor: context.and_then(|context| context.user.clone()),
        service: context.and_then(|context| context.service.clone()),
    };
    let mut bytes = serde_json::to_vec(&read).expect("strings serialise");
    if bytes.len() > SLOT_BYTES {
        (read.user, read.actor, read.service) = (None, None, None);
        bytes = serde_json::to_vec(&read).expect("strings serialise");
    }
    let until = process::coarse_ms() + PATIENCE.as_millis() as u64;
    while DRAIN.push(&bytes).is_none() && bytes.len() <= SLOT_BYTES {
        DRAIN.start();
        if config::LOG_READS.get() != LogReads::Full || process::coarse_ms() > until {
            return;
        }
        process::nap(1);
    }
    ask_for_worker();
}

/// At most once in a while: a worker costs some milliseconds.
fn ask_for_worker() {
    let (asked, now, next) = (word(ASKED_AT), process::coarse_ms(), DRAIN.ring().next());
    let before = asked.load(Ordering::Relaxed);
    let is_due = now.saturating_sub(before) >= EACH_MS
        || next.saturating_sub(word(ASKED_NUMBER).load(Ordering::Relaxed)) >= EACH_RECORDS;
    if is_due
        && asked
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        word(ASKED_NUMBER).store(next, Ordering::Relaxed);
        DRAIN.start();
    }
}

/// The functions in SQL, which log by `note_read`. node_history() and node_as_of() read by node_changes().
const IN_SQL: [&str; 13] = [
    "get_session",
    "list_sessions",
    "get_events",
    "get_preferences",
    "get_navigation",
    "replay_session",
    "get_nodes",
    "list_nodes",
    "get_relationships",
    "get_user_stats",
    "get_user_metadata",
    "search_nodes",
    "node_changes",
];

// The function that calls it checks its arguments; who calls it by hand says no more of others than the context allows.
raw_function!(note_read, pg_finfo_note_read, |call| {
    let function = call.str(0).filter(|function| IN_SQL.contains(function));
    if let Some(function) = function.filter(|_| config::LOG_READS.get() != LogReads::Off) {
        let named = call.str(2);
        let subject = match context::current() {
            Some(context) => Some(Subject {
                tenant: context.tenant,
                user: context.user.as_deref().or(named).map(str::to_owned),
            }),
            None => call
                .str(1)
                .and_then(|tenant| tenant::require(tenant).ok())
                .map(|tenant| Subject {
                    tenant,
                    user: named.map(str::to_owned),
                }),
        };
        if let Some(subject) = subject {
            note(function, &subject, None);
        }
    }
    call.value(true)
});

/// Stores what the ring gave.
fn store(records: &[Record]) {
    for record in records {
        let Ok(mut read) = serde_json::from_slice::<Read>(&record.bytes) else {
            continue;
        };
        let ids = [&read.id, &read.tenant].map(|id| parse_uuid(id.as_bytes()));
        if let [Some(id), Some(tenant)] = ids {
            leave_out_the_erased(&mut read, &tenant, record.place.number);
            insert(id, tenant, read);
        }
    }
}

/// Names only whom it may.
fn leave_out_the_erased(read: &mut Read, tenant: &[u8; 16], number: u64) {
    for name in [&mut read.user, &mut read.actor] {
        name.take_if(|user| !hold::may_name(&DRAIN, tenant, user, Some(number)));
    }
}

fn insert(id: [u8; 16], tenant: [u8; 16], read: Read) {
    let arguments = [
        Uuid::from_bytes(id).into(),
        time::from_micros(read.at).into(),
        read.function.into(),
        Uuid::from_bytes(tenant).into(),
        read.user.into(),
        read.rows.into(),
        read.role.into(),
        read.login.into(),
        read.actor.into(),
        read.service.into(),
    ];
    INSERT.with(|statement| statement.write(&arguments, |_| ()));
}

/// The background worker that empties the ring of a database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn write_access_log(argument: pg_sys::Datum) {
    DRAIN.empty(argument);
}

/// How full the ring is, if there is one.
pub fn fill() -> Option<Fill> {
    DRAIN.fill()
}

#[pg_extern(sql = false)]
fn flush_data_access_log() -> i64 {
    DRAIN.flush(FLUSH_PATIENCE) as i64
}
