//! Background workers that come again and again: one that stays and is connected to no database, and short-lived ones that it starts.
//!
//! Protocol: whoever stays registers in `_PG_init` and calls `stay`, then `nap`s in a loop, outside of any transaction; it is told of SIGHUP by
//! `reload`. A short-lived one calls `visit` first. SIGTERM is heard by both at the next interrupt check, as backends hear it, and ends the process.
//! A database is never kept from whoever wants it alone (DROP DATABASE, which waits five seconds for others to leave): who stays asks
//! `is_wanted_alone` while somebody visits it for long, and stops the visit. A visit that is soon over wakes nobody; another wakes who started it, by its
//! latch, whose address the visitor is given: shared memory is at the same place in every process of the server.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    /// PostgreSQL's handler of SIGTERM: the process ends at the next interrupt check.
    #[link_name = "die"]
    fn stop(signal: c_int);
    /// PostgreSQL's handler of SIGHUP.
    #[link_name = "SignalHandlerForConfigReload"]
    fn reload_later(signal: c_int);
    #[link_name = "RegisterTimeout"]
    fn new_timeout(id: c_uint, handler: unsafe extern "C-unwind" fn()) -> c_uint;
    #[link_name = "enable_timeout_after"]
    fn start_timeout(id: c_uint, ms: c_int);
    /// Not by way of a guard, which is not for handlers of signals.
    #[link_name = "SetLatch"]
    fn wake(latch: *mut pg_sys::Latch);
}

/// A visit that is longer than this wakes who started it.
const SHORT_MS: c_int = 200;
/// The latch of who started this process.
static HOST: AtomicPtr<pg_sys::Latch> = AtomicPtr::new(std::ptr::null_mut());

/// What PostgreSQL is told of a worker: an exported function of this library.
fn description(name: &str, function: &str) -> pg_sys::BackgroundWorker {
    fn put(field: &mut [c_char], text: &str) {
        let most = field.len() - 1;
        for (to, from) in field[..most].iter_mut().zip(text.bytes()) {
            *to = from as c_char;
        }
    }
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int,
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
        ..Default::default()
    };
    put(&mut worker.bgw_name, name);
    put(&mut worker.bgw_type, name);
    put(&mut worker.bgw_library_name, "memory_ext");
    put(&mut worker.bgw_function_name, function);
    worker
}

/// In `_PG_init` of the postmaster: a worker that is started when the server takes writes, and again some seconds after it has failed.
pub fn register(name: &str, function: &str) {
    const AGAIN_AFTER_S: c_int = 5;
    let mut worker = description(name, function);
    worker.bgw_restart_time = AGAIN_AFTER_S;
    // SAFETY: shared_preload_libraries are being loaded; the struct is copied.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) }
}

/// A worker that was started.
pub struct Visit(*mut pg_sys::BackgroundWorkerHandle);

impl Visit {
    /// Starts a worker; None where no place is free. Who starts it is woken if it takes long, not when it begins and ends.
    pub fn start(name: &str, function: &str, argument: u64) -> Option<Self> {
        let mut worker = description(name, function);
        worker.bgw_main_arg = pg_sys::Datum::from(argument);
        // SAFETY: this process's entry in shared memory, as long as it lives; afterwards another's.
        let latch = unsafe { (&raw mut (*pg_sys::MyProc).procLatch).expose_provenance() };
        for (to, from) in worker.bgw_extra.iter_mut().zip(latch.to_ne_bytes()) {
            *to = from as c_char;
        }
        let mut handle = std::ptr::null_mut();
        // SAFETY: outside of a transaction, so that the handle lives until it is freed; the struct is copied.
        let started = unsafe {
            pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle)
        };
        // Not made, and dropped, where there is none.
        started.then(|| Self(handle))
    }

    pub fn is_over(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle lives as long as this.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED
    }

    /// Asks it to end.
    pub fn stop(&self) {
        // SAFETY: the handle lives as long as this.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // SAFETY: palloc'd by RegisterDynamicBackgroundWorker, freed once.
        unsafe { pg_sys::pfree(self.0.cast()) }
    }
}

fn listen() {
    let handlers: [(u32, unsafe extern "C-unwind" fn(c_int)); 2] =
        [(pg_sys::SIGTERM, stop), (pg_sys::SIGHUP, reload_later)];
    for (signal, handler) in handlers {
        // SAFETY: a worker's start, when signals are blocked; handlers of PostgreSQL's own.
        unsafe {
            #[cfg(not(feature = "pg18"))]
            pg_sys::pqsignal(signal as c_int, Some(handler));
            #[cfg(feature = "pg18")]
            pg_sys::pqsignal_be(signal as c_int, Some(handler));
        }
    }
    // SAFETY: the handlers are set.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() }
}

/// Who stays: connected, but to no database, so that it keeps none from being dropped. False in a binary upgrade, where nothing is to be written.
pub fn stay() -> bool {
    listen();
    // SAFETY: a worker's start; a global that is set before.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        !pg_sys::IsBinaryUpgrade
    }
}

/// In a handler of a signal: nothing but what PostgreSQL does in one.
unsafe extern "C-unwind" fn call_host() {
    // SAFETY: the latch of an entry of shared memory, which stays; to wake whoever has it now does no harm.
    unsafe { wake(HOST.load(Ordering::Relaxed)) }
}

/// Wakes who started this visit, once, if it is not over by then.
fn call_host_if_long() {
    // Above all that PostgreSQL has: a new one is made.
    const NEW: c_uint = 1000;
    // SAFETY: this worker's description, which `Visit::start` has filled; its process has PostgreSQL's handler of SIGALRM since it began.
    unsafe {
        let extra = (*pg_sys::MyBgworkerEntry).bgw_extra;
        let mut address = [0; size_of::<usize>()];
        for (to, from) in address.iter_mut().zip(extra) {
            *to = from as u8;
        }
        HOST.store(
            std::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(address)),
            Ordering::Relaxed,
        );
        start_timeout(new_timeout(NEW, call_host), SHORT_MS);
    }
}

/// Who visits a database: connected as the superuser that the cluster was made with.
pub fn visit(database: pg_sys::Oid) {
    listen();
    // SAFETY: a worker's start.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0) };
    undisturbed();
    call_host_if_long();
}

/// Puts what is for clients aside: the settings of a database are its owner's, who need not be a superuser, as this worker is.
pub fn undisturbed() {
    const SETTINGS: &[(&CStr, &CStr)] = &[
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_deferrable", c"off"),
        (c"idle_in_transaction_session_timeout", c"0"),
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        (c"transaction_timeout", c"0"),
        // Off, in a superuser's session, is a restore: triggers stand aside.
        (c"row_security", c"on"),
        (c"standard_conforming_strings", c"on"),
        (c"default_tablespace", c""),
        (c"temp_tablespaces", c""),
        // Who waits for a table would keep its job taken.
        (c"lock_timeout", c"10s"),
    ];
    for (name, value) in SETTINGS {
        // SAFETY: settings that exist, with values that they take.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

/// What is shown of it in pg_stat_activity.
pub fn show(activity: &CStr) {
    // SAFETY: a connected worker; the text is copied.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, activity.as_ptr()) }
}

/// Waits until the time is over or somebody wakes this process; without a time, until somebody does.
/// Ends the process where it is asked to.
pub fn nap(most: Option<Duration>) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH | most.map_or(0, |_| pg_sys::WL_TIMEOUT);
    let ms = most.map_or(-1, |most| most.as_millis() as _);
    // SAFETY: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, ms, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Reads the configuration anew if SIGHUP said so.
pub fn reload() {
    // SAFETY: a flag that the handler sets; outside of a transaction, as the configuration is read.
    unsafe {
        if std::ptr::read_volatile(&raw const pg_sys::ConfigReloadPending) != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Runs `work` in a transaction that reads no more than what all databases share.
pub fn among_all<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: no transaction runs in this process.
    unsafe {
        pg_sys::StartTransactionCommand();
        let done = work();
        pg_sys::CommitTransactionCommand();
        done
    }
}

/// The databases that take connections, by name. Inside `among_all`.
pub fn databases() -> Vec<(String, pg_sys::Oid)> {
    let mut found = Vec::new();
    // SAFETY: inside a transaction; a scan of the table itself, as no index may be known without a database; each row is read in its place.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let scan = pg_sys::systable_beginscan(
            table,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            let fields = (*row).t_data.cast::<u8>().add((*(*row).t_data).t_hoff.into());
            let database = &*fields.cast::<pg_sys::FormData_pg_database>();
            if database.datallowconn {
                let name = CStr::from_ptr(database.datname.data.as_ptr());
                found.push((name.to_string_lossy().into_owned(), database.oid));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, lock);
    }
    found
}

/// Whether somebody has the database alone, or waits for it: to drop it, rename it, move it, copy it. Inside `among_all`.
pub fn is_wanted_alone(database: pg_sys::Oid) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: u32::from(pg_sys::DatabaseRelationId),
        locktag_field3: u32::from(database),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: a valid tag and mode, that in which who connects has it for a moment; the transaction's end releases it.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, pg_sys::RowExclusiveLock as i32, false, true) };
    outcome == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
