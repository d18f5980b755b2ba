//! Work that stays although the calling transaction is rolled back: a dynamic background worker does it in a transaction of
//! its own, in the same database, as the bootstrap superuser.
//!
//! Protocol: `start` puts the payload into a dynamic shared memory segment, starts the worker (an exported function of this
//! library). The segment is pinned until the worker has read it, so a caller who is cancelled or
//! terminated afterwards takes nothing back. The caller holds no LWLock, and no lock that the work needs. The worker calls
//! `perform` first and nothing else.

use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, DynamicBackgroundWorker, SignalWakeFlags};
use pgrx::pg_sys;

use super::process;

/// Starts the exported function `worker` on the payload. None where it could not be started: on a standby, or when no worker
/// slot gets free.
pub fn start(name: &str, worker: &str, payload: &[u8]) -> Option<Started> {
    // SAFETY: reads shared state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return None;
    }
    let segment = Segment::create(payload)?;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let started = BackgroundWorkerBuilder::new(name)
            .set_library("memory_ext")
            .set_function(worker)
            .enable_spi_access()
            .set_restart_time(None)
            .set_notify_pid(process::pid())
            .set_argument(Some(pg_sys::Datum::from(segment.handle())))
            .load_dynamic();
        if let Ok(worker) = started {
            return Some(Started(worker));
        }
    }
    segment.unpin();
    None
}

/// A worker that was started.
pub struct Started(DynamicBackgroundWorker);

impl Started {
    /// Waits until it has ended; a cancel ends the waiting, not the worker.
    pub fn wait(self) {
        let _ = self.0.wait_for_shutdown();
    }
}

/// How often a worker is asked for while all slots are taken: a tenth of a second, which a flood of calls clears, and which no cancel
/// cuts short.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// In the worker: connects to the caller's database and runs `work` on the payload in a transaction.
pub fn perform(argument: pg_sys::Datum, work: impl FnOnce(&[u8]) + std::panic::UnwindSafe + std::panic::RefUnwindSafe) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM);
    let Some((database, payload)) = Segment::read(argument) else {
        return;
    };
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
    BackgroundWorker::transaction(move || work(&payload));
}

/// A segment: the database's OID, the payload's length, the payload.
struct Segment(*mut pg_sys::dsm_segment);

const HEADER: usize = 8;

impl Segment {
    fn create(payload: &[u8]) -> Option<Self> {
        let length = u32::try_from(payload.len()).ok()?;
        // SAFETY: a segment of HEADER + payload bytes, or NULL where there are too many segments; the copies stay inside.
        unsafe {
            let segment = pg_sys::dsm_create(HEADER + payload.len(), pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32);
            if segment.is_null() {
                return None;
            }
            let address = pg_sys::dsm_segment_address(segment).cast::<u8>();
            address
                .cast::<[u32; 2]>()
                .write([u32::from(pg_sys::MyDatabaseId), length]);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), address.add(HEADER), payload.len());
            pg_sys::dsm_pin_segment(segment);
            Some(Self(segment))
        }
    }

    fn handle(&self) -> u32 {
        // SAFETY: a live segment.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    /// For a worker that will never read it.
    fn unpin(&self) {
        // SAFETY: pinned by create(), and by nobody read.
        unsafe { pg_sys::dsm_unpin_segment(self.handle()) }
    }

    /// Copies out what `create` wrote, and unpins the segment.
    fn read(handle: pg_sys::Datum) -> Option<(pg_sys::Oid, Vec<u8>)> {
        // SAFETY: dsm_attach wants a resource owner, which a fresh worker has none of; the segment is pinned until this has
        // copied it, and read once.
        unsafe {
            pg_sys::CurrentResourceOwner = pg_sys::ResourceOwnerCreate(std::ptr::null_mut(), c"memory_ext".as_ptr());
            let segment = pg_sys::dsm_attach(handle.value() as u32);
            if segment.is_null() {
                return None;
            }
            let address = pg_sys::dsm_segment_address(segment).cast::<u8>();
            let [database, length] = address.cast::<[u32; 2]>().read();
            let payload = std::slice::from_raw_parts(address.add(HEADER), length as usize).to_vec();
            pg_sys::dsm_unpin_segment(handle.value() as u32);
            pg_sys::dsm_detach(segment);
            Some((pg_sys::Oid::from(database), payload))
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // While an error unwinds, the transaction's resource owner detaches.
        if !std::thread::panicking() {
            // SAFETY: created by this process, detached once.
            unsafe { pg_sys::dsm_detach(self.0) }
        }
    }
}
