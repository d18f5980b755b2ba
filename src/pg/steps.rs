//! Work in steps, each committed by itself: of a procedure that is called outside of a transaction block, or of a background worker.
//!
//! Protocol: between steps nothing of the transaction before is kept: no snapshot, no row, no lock, nothing that PostgreSQL allocated. A step runs in a
//! subtransaction; where it fails it is undone, and the caller goes on. `commit` makes what the steps since the last one did visible, lets go of
//! their locks and begins the next transaction.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::call::Call;

/// Who works in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Procedure,
    Worker,
}

/// Open while there are steps to go.
pub struct Steps(By);

/// Why a step was undone.
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
}

impl Failure {
    /// The SQLSTATE and what PostgreSQL calls it: `55P03 lock_not_available`.
    pub fn condition(&self) -> String {
        let code = self.code as i32;
        let sqlstate: String = (0..5)
            .map(|place| char::from((code >> (6 * place) & 0x3f) as u8 + b'0'))
            .collect();
        let name = format!("{:?}", self.code);
        format!("{sqlstate} {}", name.trim_start_matches("ERRCODE_").to_lowercase())
    }
}

impl Steps {
    /// Of a procedure that CALL runs. None in a transaction block, and in a function, where nothing can be committed.
    pub fn of_call(call: Call) -> Option<Self> {
        // SAFETY: CALL passes a CallContext, other callers another node or none.
        let atomic = unsafe {
            let context = call.context();
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
        };
        if atomic {
            return None;
        }
        // SAFETY: closed when this is dropped, or by PostgreSQL where an error unwinds.
        let connected = unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        assert!(
            connected == pg_sys::SPI_OK_CONNECT as i32,
            "SPI_connect_ext: {connected}"
        );
        Some(Self(By::Procedure))
    }

    /// Of a background worker that is connected to its database, outside of a transaction.
    pub fn of_worker() -> Self {
        begin();
        Self(By::Worker)
    }

    /// One step. What it allocates is freed at the commit. A cancel of the procedure ends all of it; of a worker, the step.
    pub fn attempt<R>(&self, work: impl FnOnce() -> R) -> Result<R, Failure> {
        // SAFETY: inside a transaction, outside of any subtransaction of our own; every way out ends the subtransaction once, and restores what
        // plpgsql restores: one that is left open would leave the session in a failed transaction.
        unsafe {
            let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            let end = || {
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
            };
            let done = PgTryBuilder::new(AssertUnwindSafe(|| {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
                let done = work();
                pg_sys::PopActiveSnapshot();
                pg_sys::ReleaseCurrentSubTransaction();
                Ok(done)
            }))
            .catch_others(|error| {
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                end();
                let report = match &error {
                    CaughtError::PostgresError(report)
                    | CaughtError::ErrorReport(report)
                    | CaughtError::RustPanic { ereport: report, .. } => report,
                };
                let failure = Failure {
                    code: report.sql_error_code(),
                    message: report.message().to_owned(),
                };
                if self.0 == By::Procedure && failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED {
                    error.rethrow();
                }
                Err(failure)
            })
            .execute();
            end();
            done
        }
    }

    pub fn commit(&self) {
        // SAFETY: inside a transaction, outside of any subtransaction, without a snapshot of our own.
        unsafe {
            match self.0 {
                By::Procedure => pg_sys::SPI_commit(),
                By::Worker => {
                    pg_sys::CommitTransactionCommand();
                    // What was written counts now: autovacuum comes while a long run goes on.
                    pg_sys::pgstat_report_stat(false);
                    begin();
                }
            }
        }
        pgrx::check_for_interrupts!();
    }
}

/// Begins a worker's transaction; its clock is that of now.
fn begin() {
    // SAFETY: no transaction runs in this process.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL closes what is open.
        if !std::thread::panicking() {
            // SAFETY: opened by `of_call` or `of_worker`, and nothing else is open.
            unsafe {
                match self.0 {
                    By::Procedure => {
                        pg_sys::SPI_finish();
                    }
                    By::Worker => pg_sys::CommitTransactionCommand(),
                }
            }
        }
    }
}
