//! Records that outlive the transaction they were made in: a ring in shared memory, emptied into a table by a background worker that is started
//! when there is something and ends when there is nothing.
//!
//! Protocol: a record is tagged with the database and the table that it goes to. Whoever pushes one calls `start`, which asks for a worker unless
//! one is on its way: many records are one worker's. Writing a record is idempotent (it has an id of its own), so it leaves the ring only after
//! the commit of who wrote it, and two who write it at once do no harm. Where no worker can be had the record stays until the next `start`, or until
//! somebody calls `write` in a transaction. Without shared memory, and on a standby, there is no ring: `push` says so.
//!
//! Names that may not come back out of a ring: a transaction marks their group, and from its commit on (or from PREPARE TRANSACTION) the records
//! that were made before are below the group's `mark`. Whoever stores a record compares.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, SignalWakeFlags};
use pgrx::pg_sys;

use super::lock::{self, Mode};
use super::ring::{self, Place, Record, Ring};
use super::{catalog, process, shmem, worker, xact};

/// A ring, and the worker that empties it.
pub struct Drain {
    /// At least `words_for` of the two numbers that follow.
    pub memory: &'static shmem::Part,
    pub slots: usize,
    pub slot_bytes: usize,
    /// The name of the worker, as pg_stat_activity shows it.
    pub name: &'static str,
    /// The exported function of this library that calls `empty`.
    pub worker: &'static str,
    /// The table.
    pub table: &'static std::ffi::CStr,
    /// The advisory number that who writes has alone; see `lock`.
    pub number: u32,
    /// Stores records, in order, once each.
    pub store: fn(&[Record]),
}

/// When a worker was last asked for, for the databases of each number.
const LAUNCHES: usize = 1024;
/// After so many milliseconds a worker that was asked for, and has not been heard of since, is asked for again.
const PATIENCE_MS: u64 = 250;
/// So many records are one transaction's.
const BATCH: usize = 256;
/// How many groups of names there are.
pub const GROUPS: u32 = 256;

/// How many words a drain takes: when workers were asked for, the marks, the ring.
pub const fn words_for(slots: usize, slot_bytes: usize) -> usize {
    RING_AT + ring::words_for(slots, slot_bytes)
}

const MARKS_AT: usize = LAUNCHES;
const RING_AT: usize = MARKS_AT + GROUPS as usize;

thread_local! {
    /// What this transaction has written, and in which savepoint.
    static WRITTEN: RefCell<Vec<(u32, &'static Drain, Place)>> = const { RefCell::new(Vec::new()) };
    /// The groups that this transaction marks.
    static MARKED: RefCell<Vec<(&'static Drain, u32)>> = const { RefCell::new(Vec::new()) };
}

/// What was written leaves its ring at the commit; marks are set.
pub const LISTENER: xact::Listener = xact::Listener {
    before_prepare: set_marks,
    after_commit: || {
        set_marks();
        for (_, drain, place) in WRITTEN.take() {
            drain.ring().free(place);
        }
    },
    after_abort: || {
        WRITTEN.with_borrow_mut(Vec::clear);
        MARKED.with_borrow_mut(Vec::clear);
    },
    savepoint_released: |savepoint, parent| {
        WRITTEN.with_borrow_mut(|written| {
            for (of, ..) in written.iter_mut().filter(|(of, ..)| *of == savepoint) {
                *of = parent;
            }
        });
    },
    savepoint_rolled_back: |savepoint| WRITTEN.with_borrow_mut(|written| written.retain(|(of, ..)| *of != savepoint)),
    ..xact::Listener::DEAF
};

/// How full a ring is.
pub struct Fill {
    pub slots: usize,
    pub taken: usize,
    /// How many records found no place since the server started.
    pub dropped: u64,
}

fn set_marks() {
    for (drain, group) in MARKED.take().into_iter().filter(|_| shmem::is_shared()) {
        drain.mark_of(group).fetch_max(drain.ring().next(), Ordering::SeqCst);
    }
}

impl Drain {
    /// How full its ring is; None without shared memory.
    pub fn fill(&self) -> Option<Fill> {
        shmem::is_shared().then(|| Fill {
            slots: self.slots,
            taken: self.ring().taken(),
            dropped: self.ring().dropped(),
        })
    }

    pub fn ring(&self) -> Ring<'static> {
        Ring::new(&self.memory.words()[RING_AT..], self.slots, self.slot_bytes)
    }

    fn mark_of(&self, group: u32) -> &'static AtomicU64 {
        &self.memory.words()[MARKS_AT + group as usize]
    }

    /// Marks a group at the end of this transaction, if it commits.
    pub fn mark(&'static self, group: u32) {
        MARKED.with_borrow_mut(|marked| marked.push((self, group)));
    }

    /// Whether the record with this number was made since the group was last marked.
    pub fn is_behind_mark(&self, group: u32, number: u64) -> bool {
        number >= self.mark_of(group).load(Ordering::SeqCst)
    }

    /// This database and its table; None where the extension is not in it.
    fn tag(&self) -> Option<u64> {
        let table = u32::from(catalog::relation_named(self.table.to_str().expect("ASCII")));
        (table != 0).then(|| u64::from(u32::from(catalog::database())) << 32 | u64::from(table))
    }

    /// Puts a record in. None where there is no ring, or no place in it.
    pub fn push(&self, bytes: &[u8]) -> Option<Place> {
        // SAFETY: reads shared state.
        if !shmem::is_shared() || unsafe { pg_sys::RecoveryInProgress() } {
            return None;
        }
        self.ring().push(self.tag()?, bytes)
    }

    fn launched(&self) -> &'static AtomicU64 {
        let database = u32::from(catalog::database()) as usize;
        &self.memory.words()[database % LAUNCHES]
    }

    /// Notes that a worker is wanted; false where one is on its way.
    fn claim(&self) -> bool {
        let (launched, now) = (self.launched(), process::coarse_ms().max(1));
        let before = launched.load(Ordering::SeqCst);
        (before == 0 || now.saturating_sub(before) > PATIENCE_MS)
            && launched
                .compare_exchange(before, now, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }

    /// Asks for a worker, unless one is on its way. False where none is to be had.
    pub fn start(&self) -> bool {
        if !self.claim() {
            return true;
        }
        let started = BackgroundWorkerBuilder::new(self.name)
            .set_library("memory_ext")
            .set_function(self.worker)
            .enable_spi_access()
            .set_restart_time(None)
            .set_argument(Some(pg_sys::Datum::from(u32::from(catalog::database()))))
            .load_dynamic()
            .is_ok();
        if !started {
            self.launched().store(0, Ordering::SeqCst);
        }
        started
    }

    /// Waits until the record has been stored, for at most so long; a cancel ends the waiting. Asks for another worker where one seems to
    /// have got lost.
    pub fn wait(&self, place: Place, most: Duration) {
        let until = process::coarse_ms() + most.as_millis() as u64;
        while self.ring().holds(place) && process::coarse_ms() < until && self.start() {
            process::nap(1);
        }
    }

    /// Whether this transaction has stored the record.
    fn has_written(&self, place: Place) -> bool {
        WRITTEN.with_borrow(|written| {
            written
                .iter()
                .any(|(_, drain, of)| std::ptr::eq(*drain, self) && *of == place)
        })
    }

    /// In a transaction that may write: stores what is there for this database, which leaves the ring at the commit. Gives how many, at most a
    /// batch; none while another transaction is at it.
    pub fn write(&'static self) -> usize {
        // SAFETY: reads shared state.
        if !shmem::is_shared() || unsafe { pg_sys::RecoveryInProgress() } {
            return 0;
        }
        let Some(own) = self.tag() else { return 0 };
        let ring = self.ring();
        if !lock::try_number(self.number, Mode::Alone) {
            return 0;
        }
        let mut records = ring.read(self.slots, |tag| tag == own);
        // What this transaction has stored before is in the ring until it ends.
        records.retain(|record| !self.has_written(record.place));
        records.truncate(BATCH);
        if !records.is_empty() {
            (self.store)(&records);
        }
        let savepoint = xact::current_subtransaction();
        WRITTEN.with_borrow_mut(|written| {
            written.extend(records.iter().map(|record| (savepoint, self, record.place)));
        });
        records.len()
    }

    /// Has what is there for this database stored: by a worker, else in this transaction if it may write. Gives how many records left the ring,
    /// or will at the commit.
    pub fn flush(&'static self, patience: Duration) -> usize {
        let Some(own) = self.tag().filter(|_| shmem::is_shared()) else {
            return 0;
        };
        let waiting = self.ring().read(self.slots, |tag| tag == own);
        let Some(newest) = waiting.last().map(|record| record.place) else {
            return 0;
        };
        if self.start() {
            self.wait(newest, patience);
        }
        if self.ring().holds(newest) && !xact::is_read_only() {
            while self.write() > 0 {}
        }
        let gone = |record: &&Record| !self.ring().holds(record.place) || self.has_written(record.place);
        waiting.iter().filter(gone).count()
    }

    /// Frees what nobody will write: records of a table of this database that is gone, of databases that are gone.
    fn sweep(&self) {
        let (database, own) = (u32::from(catalog::database()), self.tag());
        let others = self.ring().read(self.slots, |tag| Some(tag) != own);
        if others.is_empty() {
            return;
        }
        // Asked after the ring was read: who has a record in it was there.
        let databases = catalog::databases();
        for record in others {
            let of = (record.tag >> 32) as u32;
            if of == database || !databases.contains(&of) {
                self.ring().free(record.place);
            }
        }
    }

    /// The background worker: `argument` is the database.
    pub fn empty(&'static self, argument: pg_sys::Datum) {
        BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM);
        let database = pg_sys::Oid::from(argument.value() as u32);
        BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
        worker::undisturbed();
        // Another may be at it: a transaction that called `write`, or a worker that was taken for lost.
        let mut patience = 40;
        while !BackgroundWorker::sigterm_received() {
            self.launched().store(process::coarse_ms().max(1), Ordering::SeqCst);
            let (written, waiting) = BackgroundWorker::transaction(|| {
                let written = self.write();
                if written == 0 {
                    self.sweep();
                }
                let waiting = self
                    .tag()
                    .is_some_and(|own| !self.ring().read(1, |tag| tag == own).is_empty());
                (written, written == 0 && waiting)
            });
            if written > 0 {
                continue;
            }
            if waiting && patience > 0 {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            self.launched().store(0, Ordering::SeqCst);
            // What came before it said that it was gone relied on it.
            let came = BackgroundWorker::transaction(|| {
                self.tag()
                    .is_some_and(|own| !self.ring().read(1, |tag| tag == own).is_empty())
            });
            if waiting || !came || !self.claim() {
                return;
            }
        }
        self.launched().store(0, Ordering::SeqCst);
    }
}
