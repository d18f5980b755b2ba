//! This process: its number, its clock, its randomness.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::xact;

/// A number of this backend that no other live backend has.
pub fn backend_number() -> usize {
    // SAFETY: set when the backend starts.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let number = unsafe { pg_sys::MyBackendId };
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    let number = unsafe { pg_sys::MyProcNumber };
    number.max(0) as usize
}

/// Milliseconds of a monotonic clock that all processes share, some 4 ms coarse: 5 ns a call.
pub fn coarse_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Sleeps for so many milliseconds, less where somebody wakes this process; a cancel or a termination is heard.
pub fn nap(ms: i64) {
    // SAFETY: this process's own latch; what woke it is looked for by whoever waits for it.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, ms as _, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Unix time in seconds: 5 ns a call.
pub fn unix_seconds() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) };
    now.tv_sec
}

/// 64 bits from PostgreSQL's strong random source.
pub fn random() -> u64 {
    let mut value = 0u64;
    // SAFETY: fills the eight bytes it is given.
    if !unsafe { pg_sys::pg_strong_random((&raw mut value).cast(), size_of::<u64>()) } {
        crate::error::Error::not_ready("no random numbers are to be had", "See the server's log.").raise();
    }
    value
}

/// Bytes from PostgreSQL's strong random source.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: fills the bytes it is given.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) } {
        crate::error::Error::not_ready("no random numbers are to be had", "See the server's log.").raise();
    }
    bytes
}

/// Asks the system to keep the memory at these addresses out of swap; where it will not, that is that.
pub fn keep_from_swap(memory: std::ops::Range<usize>) {
    // SAFETY: mlock changes nothing that a program sees; addresses that are not mapped are an error, which is ignored.
    unsafe { libc::mlock(std::ptr::without_provenance(memory.start), memory.len()) };
}

/// The user that the server runs as.
pub fn user_id() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

/// The data folder's path.
pub fn data_folder() -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: NUL-terminated, set once when the server starts.
    let path = unsafe { std::ffi::CStr::from_ptr(pg_sys::DataDir) };
    std::ffi::OsStr::from_bytes(path.to_bytes()).into()
}

/// Whether this is a parallel worker whose leader has written in this transaction.
pub fn is_parallel_worker_of_a_writer() -> bool {
    // SAFETY: a backend-local global.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 && xact::own_xid().is_some() }
}

/// What the client calls itself.
pub fn application_name() -> Option<String> {
    // SAFETY: NULL or NUL-terminated, replaced only by SET, which cannot run meanwhile.
    unsafe {
        let name = pg_sys::application_name;
        (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// Where the client is, as inet_client_addr() gives it.
pub fn client_address<'a>() -> DatumWithOid<'a> {
    // SAFETY: a function without arguments that reads backend-local state, and gives an inet or NULL.
    unsafe {
        match pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[]) {
            Some(address) => DatumWithOid::new(address, pg_sys::INETOID),
            None => DatumWithOid::null_oid(pg_sys::INETOID),
        }
    }
}

/// The process id.
pub fn pid() -> i32 {
    // SAFETY: set when the process starts.
    unsafe { pg_sys::MyProcPid }
}

/// Whether messages reach the client in UTF-8, so that every character does.
pub fn client_reads_unicode() -> bool {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::pg_get_client_encoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// While this lives a cancel waits, statement_timeout too; a termination does not. For moments only.
pub struct CancelHeld(());

impl CancelHeld {
    pub fn new() -> Self {
        // SAFETY: a counter of this backend, as HOLD_CANCEL_INTERRUPTS() counts it.
        unsafe { pg_sys::QueryCancelHoldoffCount += 1 }
        Self(())
    }
}

impl Drop for CancelHeld {
    fn drop(&mut self) {
        // An error has set it to 0.
        if !std::thread::panicking() {
            // SAFETY: counted in new().
            unsafe { pg_sys::QueryCancelHoldoffCount -= 1 }
        }
    }
}
