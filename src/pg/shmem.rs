//! One chunk of shared memory, in parts: 64-bit atomics, zero at start; behind the parts, when that was.
//!
//! Protocol: `install` runs in `_PG_init`, before any other use. In the postmaster it reserves the chunk in
//! shmem_request_hook and maps it in shmem_startup_hook, under AddinShmemInitLock. Without
//! shared_preload_libraries each backend makes a chunk of its own when a part is first used. Readers and writers use
//! atomics only, so nobody waits and a killed process leaves nothing locked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::process;

/// A part of the chunk, which `install` gives its place.
pub struct Part {
    /// How many words it has; asked when the settings are known.
    size: fn() -> usize,
    start: AtomicUsize,
    end: AtomicUsize,
}

impl Part {
    pub const fn new(size: fn() -> usize) -> Self {
        Self {
            size,
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }

    /// Its words: shared, or this backend's own.
    pub fn words(&self) -> &'static [AtomicU64] {
        &chunk()[self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed)]
    }
}

/// How many words the chunk has.
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// The shared chunk; after a crash the postmaster maps a new one, hence no OnceLock.
static SHARED: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
static OWN: OnceLock<&'static [AtomicU64]> = OnceLock::new();
/// So that no two parts share a cache line.
const LINE: usize = 8;

/// Whether the library is being loaded by shared_preload_libraries right now.
pub fn preloading() -> bool {
    // SAFETY: a plain global that only the postmaster's start writes.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Lays the parts out and, when preloading, asks PostgreSQL for the memory.
pub fn install(parts: &[&Part]) {
    let mut length = 0;
    for part in parts {
        let size = (part.size)();
        part.start.store(length, Ordering::Relaxed);
        part.end.store(length + size, Ordering::Relaxed);
        length += size.next_multiple_of(LINE);
    }
    LENGTH.store(length + LINE, Ordering::Relaxed);
    if !preloading() {
        return;
    }
    // SAFETY: _PG_init of the postmaster is the documented place to chain these hooks; it runs once.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

/// The chunk: shared, or this backend's own.
fn chunk() -> &'static [AtomicU64] {
    let shared = SHARED.load(Ordering::Relaxed);
    if shared.is_null() {
        return OWN.get_or_init(|| {
            let own: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default)
                .take(LENGTH.load(Ordering::Relaxed))
                .collect();
            stamp(&own);
            Vec::leak(own)
        });
    }
    // SAFETY: startup() mapped bytes() bytes there, aligned to a cache line, for as long as this process lives; all-zero
    // bytes are valid atomics and nobody touches them but as atomics.
    unsafe { std::slice::from_raw_parts(shared, LENGTH.load(Ordering::Relaxed)) }
}

/// Notes when the words began to count.
fn stamp(words: &[AtomicU64]) {
    words[words.len() - LINE].store(process::unix_seconds() as u64, Ordering::Relaxed);
}

/// Since when the words count: Unix time in seconds.
pub fn since() -> i64 {
    let words = chunk();
    words[words.len() - LINE].load(Ordering::Relaxed) as i64
}

/// Whether other backends see the same words.
pub fn is_shared() -> bool {
    !SHARED.load(Ordering::Relaxed).is_null()
}

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

fn bytes() -> usize {
    LENGTH.load(Ordering::Relaxed) * size_of::<AtomicU64>()
}

#[pg_guard]
extern "C-unwind" fn request() {
    // SAFETY: called by PostgreSQL as shmem_request_hook, where requesting is allowed.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(bytes());
    }
}

#[pg_guard]
extern "C-unwind" fn startup() {
    // SAFETY: called by PostgreSQL as shmem_startup_hook.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous());
        }
        // AddinShmemInitLock: the main array's lock 21 in every supported version (storage/lwlocknames).
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let mut found = false;
        let chunk = pg_sys::ShmemInitStruct(c"memory_ext".as_ptr(), bytes(), &mut found);
        if !found {
            std::ptr::write_bytes(chunk.cast::<u8>(), 0, bytes());
            stamp(std::slice::from_raw_parts(
                chunk.cast::<AtomicU64>(),
                LENGTH.load(Ordering::Relaxed),
            ));
        }
        pg_sys::LWLockRelease(lock);
        SHARED.store(chunk.cast::<AtomicU64>(), Ordering::Relaxed);
    }
}

const ADDIN_SHMEM_INIT_LOCK: usize = 21;
