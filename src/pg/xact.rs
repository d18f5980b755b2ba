//! Who is told of the end of transactions and savepoints.
//!
//! Protocol: `install` registers one transaction and one subtransaction callback per process (PostgreSQL keeps no
//! duplicates apart, so it runs once, in `_PG_init`), and takes those who want to be told. They touch statics and atomics only: they may
//! be told while a transaction is being aborted, and an error after commit would be a PANIC.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::generation::{Running, Seen};

/// Who is told of the ends of transactions; each in turn.
#[derive(Clone, Copy)]
pub struct Listener {
    /// Before a change can be seen by anyone.
    pub before_commit: fn(),
    /// Before the transaction is prepared: who commits it tells nobody.
    pub before_prepare: fn(),
    /// After the changes are visible, before the commit is acknowledged.
    pub after_commit: fn(),
    /// After it was rolled back, or prepared.
    pub after_abort: fn(),
    /// A savepoint was released: what it did is its parent's.
    pub savepoint_released: fn(savepoint: u32, parent: u32),
    pub savepoint_rolled_back: fn(savepoint: u32),
}

impl Listener {
    /// Wants to be told nothing.
    pub const DEAF: Self = Self {
        before_commit: || (),
        before_prepare: || (),
        after_commit: || (),
        after_abort: || (),
        savepoint_released: |_, _| (),
        savepoint_rolled_back: |_| (),
    };
}

static LISTENERS: OnceLock<&'static [Listener]> = OnceLock::new();

pub fn install(listeners: &'static [Listener]) {
    let _ = LISTENERS.set(listeners);
    // SAFETY: _PG_init; the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
    }
}

#[pg_guard]
extern "C-unwind" fn at_transaction(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    for listener in listeners() {
        match event {
            XACT_EVENT_PRE_COMMIT => (listener.before_commit)(),
            XACT_EVENT_PRE_PREPARE => (listener.before_prepare)(),
            XACT_EVENT_COMMIT => (listener.after_commit)(),
            XACT_EVENT_ABORT | XACT_EVENT_PREPARE => (listener.after_abort)(),
            _ => {}
        }
    }
}

#[pg_guard]
extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    sub: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    for listener in listeners() {
        match event {
            SUBXACT_EVENT_COMMIT_SUB => (listener.savepoint_released)(sub, parent),
            SUBXACT_EVENT_ABORT_SUB => (listener.savepoint_rolled_back)(sub),
            _ => {}
        }
    }
}

fn listeners() -> &'static [Listener] {
    LISTENERS.get().copied().unwrap_or_default()
}

/// Whether the statement that runs goes on after the transaction that is ending: a procedure that commits.
pub fn statement_goes_on() -> bool {
    // SAFETY: reads backend-local state.
    unsafe { !pg_sys::ActivePortal.is_null() || pg_sys::SPI_inside_nonatomic_context() }
}

/// The running (sub)transaction's number within its top transaction.
pub fn current_subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: reads a backend-local counter.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Whether the transaction keeps one snapshot to its end (REPEATABLE READ, SERIALIZABLE).
pub fn keeps_snapshot() -> bool {
    // SAFETY: a backend-local global.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Whether what the transaction reads is checked for conflicts (SERIALIZABLE).
pub fn is_serializable() -> bool {
    // SAFETY: a backend-local global.
    unsafe { pg_sys::XactIsoLevel == pg_sys::XACT_SERIALIZABLE as i32 }
}

/// Whether the transaction may not write: READ ONLY, on a standby, or in a parallel worker.
pub fn is_read_only() -> bool {
    // SAFETY: backend-local state.
    unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() || pg_sys::IsInParallelMode() }
}

/// Whether this server only replays what another has written. Once it does not, it never does again while this process lives.
pub fn is_standby() -> bool {
    static OVER: AtomicBool = AtomicBool::new(false);
    if OVER.load(Ordering::Relaxed) {
        return false;
    }
    // SAFETY: reads shared state.
    let replays = unsafe { pg_sys::RecoveryInProgress() };
    OVER.store(!replays, Ordering::Relaxed);
    replays
}

/// The transaction's own id, 64 bits wide, where it has written.
pub fn own_xid() -> Option<u64> {
    // SAFETY: reads backend-local state.
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny() };
    (xid.value != 0).then_some(xid.value)
}

/// This transaction's id, which it is given if it has none, as pg_current_xact_id() gives it.
pub fn id<'a>() -> DatumWithOid<'a> {
    // SAFETY: raises where the transaction may not write; an xid8 is a number of 64 bits.
    unsafe { DatumWithOid::new(pg_sys::GetTopFullTransactionId().value as i64, pg_sys::XID8OID) }
}

/// The next transaction id that will be given out, 64 bits wide.
pub fn next_xid() -> u64 {
    // SAFETY: takes XidGenLock for an instant; no other lock is held here.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}

/// Which transactions a snapshot sees the end of. Good for the statement that took it.
pub struct Snapshot {
    snapshot: pg_sys::Snapshot,
    xmin: u64,
    xmax: u64,
}

impl Snapshot {
    /// That of the statement that runs.
    pub fn active() -> Self {
        // SAFETY: a function called by a statement runs with an active snapshot.
        unsafe { Self::of(pg_sys::GetActiveSnapshot()) }
    }

    /// One of this instant, for reading a table that is no catalog; in a parallel worker too.
    pub fn latest(relation: pg_sys::Oid) -> Self {
        // SAFETY: inside a transaction; PostgreSQL keeps it until the next is taken, which of such a table is anew each time.
        unsafe { Self::of(pg_sys::GetCatalogSnapshot(relation)) }
    }

    /// That of a transaction that keeps one (`keeps_snapshot`); taken now, if it is the first use.
    pub fn of_transaction() -> Self {
        // SAFETY: inside a transaction.
        unsafe { Self::of(pg_sys::GetTransactionSnapshot()) }
    }

    /// # Safety
    /// A snapshot of rows, which lives as long as this.
    unsafe fn of(snapshot: pg_sys::Snapshot) -> Self {
        // SAFETY: as the caller promises.
        let (xmin, xmax) = unsafe { ((*snapshot).xmin, (*snapshot).xmax) };
        let next = next_xid();
        let wide = |xid: pg_sys::TransactionId| {
            let candidate = (next & !0xffff_ffff) | u64::from(u32::from(xid));
            if candidate > next {
                candidate.saturating_sub(1 << 32)
            } else {
                candidate
            }
        };
        Self {
            snapshot,
            xmin: wide(xmin),
            xmax: wide(xmax),
        }
    }
}

impl Seen for Snapshot {
    fn xmin(&self) -> u64 {
        self.xmin
    }

    fn xmax(&self) -> u64 {
        self.xmax
    }

    fn has_ended(&self, xid: u64) -> bool {
        // SAFETY: a snapshot of rows; between its bounds ids of 32 bits are told apart.
        let runs = || unsafe { pg_sys::XidInMVCCSnapshot(pg_sys::TransactionId::from(xid as u32), self.snapshot) };
        xid < self.xmin || xid < self.xmax && !runs()
    }
}

/// The transactions of this instant.
pub struct Now;

impl Running for Now {
    fn is_running(&self, xid: u64) -> bool {
        // SAFETY: looks at shared memory; an id of so long ago that its 32 bits mean another is none that runs.
        let runs = || unsafe { pg_sys::TransactionIdIsInProgress(pg_sys::TransactionId::from(xid as u32)) };
        next_xid() - xid < 1 << 31 && runs()
    }

    fn next_xid(&self) -> u64 {
        next_xid()
    }
}

/// Runs `work` with a snapshot of this instant, also where the transaction keeps an older one: what it reads by `spi::Statement::read` and
/// `rows::Query` it reads as of now.
pub fn as_of_now<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: inside a transaction. An error that unwinds leaves the snapshot to the abort of the (sub)transaction.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let done = work();
        pg_sys::PopActiveSnapshot();
        done
    }
}

/// What a row was refused for: PostgreSQL's message.
pub struct Refused(pub String);

/// Runs `work` in a subtransaction. Where the data is refused (SQLSTATE classes 22, 23 and 54) all that it did is undone, and
/// the caller goes on; any other error goes on its way.
pub fn attempt<R>(work: impl FnOnce() -> R) -> Result<R, Refused> {
    subtransaction(
        true,
        |error| matches!(error, CaughtError::PostgresError(report) if is_of_the_data(report.sql_error_code())),
        work,
    )
    .map_err(|failed| Refused(failed.message))
}

/// An error that ended a piece of work.
pub struct Failed {
    pub sqlstate: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Runs `work` in a subtransaction. An error ends that, not the caller, and all that `work` did is undone; without `keep` also where there
/// was none. A cancel, a termination and a panic go on their way.
pub fn enclosed<R>(keep: bool, work: impl FnOnce() -> R) -> Result<R, Failed> {
    subtransaction(
        keep,
        |error| match error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                !ends_the_session(report.sql_error_code())
            }
            CaughtError::RustPanic { .. } => false,
        },
        work,
    )
}

fn subtransaction<R>(keep: bool, is_caught: fn(&CaughtError) -> bool, work: impl FnOnce() -> R) -> Result<R, Failed> {
    // SAFETY: inside a transaction; every way out ends the subtransaction once, and restores what plpgsql restores. An error that goes on its
    // way would otherwise leave a session that began no transaction block in a failed one.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let undo = || {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        };
        let end = || {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        };
        let done = PgTryBuilder::new(AssertUnwindSafe(|| {
            let done = work();
            if keep {
                pg_sys::ReleaseCurrentSubTransaction();
            } else {
                undo();
            }
            Ok(done)
        }))
        .catch_others(|error| {
            undo();
            end();
            match error {
                CaughtError::PostgresError(ref report) | CaughtError::ErrorReport(ref report) if is_caught(&error) => {
                    Err(Failed {
                        sqlstate: sqlstate(report.sql_error_code()),
                        message: report.message().to_owned(),
                        hint: report.hint().map(str::to_owned),
                    })
                }
                error => error.rethrow(),
            }
        })
        .execute();
        end();
        done
    }
}

/// Whether it is a cancel or a termination.
fn ends_the_session(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    [
        ERRCODE_QUERY_CANCELED,
        ERRCODE_ADMIN_SHUTDOWN,
        ERRCODE_CRASH_SHUTDOWN,
        ERRCODE_DATABASE_DROPPED,
    ]
    .contains(&code)
}

/// The five characters of an error code.
fn sqlstate(code: PgSqlErrorCode) -> String {
    (0..5)
        .map(|i| char::from((code as i32 >> (6 * i) & 0x3f) as u8 + b'0'))
        .collect()
}

fn is_of_the_data(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    const CLASS: i32 = 0xfff;
    [
        ERRCODE_DATA_EXCEPTION,
        ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION,
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
    ]
    .iter()
    .any(|class| *class as i32 & CLASS == code as i32 & CLASS)
}
