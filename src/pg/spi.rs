//! Statements that the library runs itself, planned once per backend.
//!
//! Protocol: while a statement is planned or run, search_path is pinned to pg_catalog, so no operator or table of the
//! caller's can stand in for ours; tables and functions are written with their schema. Statements run as the current role,
//! through row-level security.

use std::cell::OnceCell;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiTupleTable};

/// A statement with the types of its parameters; make one per `thread_local!`.
pub struct Statement {
    sql: &'static str,
    types: &'static [pg_sys::Oid],
    plan: OnceCell<OwnedPreparedStatement>,
}

impl Statement {
    pub const fn new(sql: &'static str, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            sql,
            types,
            plan: OnceCell::new(),
        }
    }

    /// Reads with the snapshot of the calling statement; assigns no transaction id, works on a standby.
    pub fn read<R>(&self, args: &[DatumWithOid<'_>], then: impl FnOnce(SpiTupleTable<'_>) -> R) -> R {
        let _pinned = PinnedPath::new();
        Spi::connect(|client| {
            let plan = self.plan.get_or_init(|| self.prepare(client));
            then(unwrap(client.select(plan, None, args)))
        })
    }

    /// Writes, or reads with a snapshot of this instant.
    pub fn write<R>(&self, args: &[DatumWithOid<'_>], then: impl FnOnce(SpiTupleTable<'_>) -> R) -> R {
        require_writable();
        let _pinned = PinnedPath::new();
        Spi::connect_mut(|client| {
            let plan = self.plan.get_or_init(|| self.prepare(client));
            then(unwrap(client.update(plan, None, args)))
        })
    }

    fn prepare(&self, client: &pgrx::spi::SpiClient<'_>) -> OwnedPreparedStatement {
        let types: Vec<PgOid> = self.types.iter().map(|oid| PgOid::from(*oid)).collect();
        unwrap(client.prepare_mut(self.sql, &types)).keep()
    }
}

/// A statement whose text is made at run time, planned once.
pub struct Kept(OwnedPreparedStatement);

impl Kept {
    pub fn new(client: &pgrx::spi::SpiClient<'_>, sql: &str, types: &[pg_sys::Oid]) -> Self {
        let types: Vec<PgOid> = types.iter().map(|oid| PgOid::from(*oid)).collect();
        Self(unwrap(client.prepare_mut(sql, &types)).keep())
    }

    pub fn write(&self, client: &mut pgrx::spi::SpiClient<'_>, args: &[DatumWithOid<'_>]) {
        let _pinned = PinnedPath::new();
        unwrap(client.update(&self.0, None, args));
    }
}

/// Runs `work` connected to SPI, for statements that are kept.
pub fn connected<R>(work: impl FnOnce(&mut pgrx::spi::SpiClient<'_>) -> R) -> R {
    require_writable();
    let _pinned = PinnedPath::new();
    Spi::connect_mut(work)
}

/// Writes by a statement that is made at run time and planned for this one run; `sql` names its schemas.
pub fn write_once<R>(sql: &str, args: &[DatumWithOid<'_>], then: impl FnOnce(SpiTupleTable<'_>) -> R) -> R {
    require_writable();
    let _pinned = PinnedPath::new();
    Spi::connect_mut(|client| then(unwrap(client.update(sql, None, args))))
}

/// Reads by a statement that is made at run time and planned for this one run, as `Statement::read`; `sql` names its schemas.
pub fn read_once<R>(sql: &str, args: &[DatumWithOid<'_>], then: impl FnOnce(SpiTupleTable<'_>) -> R) -> R {
    let _pinned = PinnedPath::new();
    Spi::connect(|client| then(unwrap(client.select(sql, None, args))))
}

/// Raises 25006 in a READ ONLY transaction, for what cannot tell of each of its statements.
pub fn require_read_write(what: &std::ffi::CStr) {
    // SAFETY: raise or return.
    unsafe {
        pg_sys::PreventCommandDuringRecovery(what.as_ptr());
        pg_sys::PreventCommandIfReadOnly(what.as_ptr());
    }
}

/// Raises 25006 on a standby and 25000 in a parallel worker, as SQL does: Spi would ask for a transaction id first, and fail
/// with an internal error.
pub fn require_writable() {
    const WHAT: &std::ffi::CStr = c"a statement that writes";
    // SAFETY: raises or returns.
    unsafe {
        pg_sys::PreventCommandDuringRecovery(WHAT.as_ptr());
        pg_sys::PreventCommandIfParallelMode(WHAT.as_ptr());
    }
}

/// Runs a statement that is made at run time (DDL); `sql` quotes its own names.
pub fn run(sql: &str) {
    require_writable();
    let _pinned = PinnedPath::new();
    unwrap(Spi::run(sql));
}

/// Frees what PostgreSQL allocates for `work` when it is done, such as the large values of a row: else they stay until the transaction
/// ends. `work` keeps nothing that it read in its place.
pub fn freeing(work: impl FnOnce()) {
    let mut memory = pgrx::PgMemoryContexts::new("memory_ext work");
    // SAFETY: memory contexts of our own, current while `work` runs; nothing of them is handed on. Two, since pgrx detoasts a row's value
    // into the parent of the current one.
    unsafe {
        memory.switch_to(|_| {
            let mut inner = pgrx::PgMemoryContexts::new("memory_ext work, inner");
            inner.switch_to(|_| work())
        })
    }
}

/// A SQL error unwinds by itself; what comes back as Err is a mistake in this library.
pub fn unwrap<T>(result: Result<T, pgrx::spi::Error>) -> T {
    result.unwrap_or_else(|error| panic!("SPI: {error}"))
}

/// Until this is dropped search_path is pg_catalog, and what anybody may set that changes how names and numbers are written is as
/// statements that are made of names, and images that are made of rows, need it.
pub(super) struct PinnedPath {
    level: i32,
}

const PINNED: &std::ffi::CStr = c"pg_catalog, pg_temp";

impl PinnedPath {
    pub(super) fn new() -> Option<Self> {
        // SAFETY: a GUC nest level of our own, closed in drop or by the abort of the (sub)transaction; backend-local globals.
        unsafe {
            let now = pg_sys::namespace_search_path;
            let wanted = [
                (
                    now.is_null() || std::ffi::CStr::from_ptr(now) != PINNED,
                    c"search_path",
                    PINNED,
                ),
                // "user_id" is not user_id to who compares them.
                (pg_sys::quote_all_identifiers, c"quote_all_identifiers", c"off"),
                (pg_sys::extra_float_digits < 1, c"extra_float_digits", c"1"),
            ];
            if wanted.iter().all(|(is_other, ..)| !is_other) {
                return None;
            }
            let level = pg_sys::NewGUCNestLevel();
            for (_, name, value) in wanted.iter().filter(|(is_other, ..)| *is_other) {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Some(Self { level })
        }
    }
}

impl Drop for PinnedPath {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL closes the level with the (sub)transaction.
        if !std::thread::panicking() {
            // SAFETY: the level opened in new().
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) }
        }
    }
}
