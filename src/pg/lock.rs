//! PostgreSQL's own locks, asked.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

/// A transaction that is running or prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer([u32; 2]);

/// The transactions other than this one, prepared ones included, that have written to the relation and not ended.
fn other_writers(database: pg_sys::Oid, relation: pg_sys::Oid) -> Vec<Writer> {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: u32::from(database),
        locktag_field2: u32::from(relation),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    let mut count = 0;
    // SAFETY: a valid tag and mode; the answer is palloc'd in the current context, `count` pairs of a process' number and a
    // transaction's, 32 bits each. ShareLock conflicts with what every writer of a table holds until its transaction ends, ROW EXCLUSIVE
    // and stronger.
    unsafe {
        let found = pg_sys::GetLockConflicts(&tag, pg_sys::ShareLock as i32, &mut count);
        const { assert!(size_of::<pg_sys::VirtualTransactionId>() == size_of::<Writer>()) };
        let writers = std::slice::from_raw_parts(found.cast::<Writer>(), count as usize).to_vec();
        pg_sys::pfree(found.cast());
        writers
    }
}

/// Waits for those that have written to the relation and not ended, not for who comes later; false where one has not ended when the time
/// is over. Honours cancel.
pub fn wait_for_writers(database: pg_sys::Oid, relation: pg_sys::Oid, most: Duration) -> bool {
    let mut waited_for = other_writers(database, relation);
    until(most, || {
        if waited_for.is_empty() {
            return true;
        }
        let now = other_writers(database, relation);
        waited_for.retain(|writer| now.contains(writer));
        waited_for.is_empty()
    })
}

/// Locks a relation until the transaction ends; false where it is not to be had in that time. Honours cancel.
pub fn try_relation(relation: pg_sys::Oid, mode: u32, most: Duration) -> bool {
    // SAFETY: a lock by OID, inside a transaction.
    until(most, || unsafe {
        pg_sys::ConditionalLockRelationOid(relation, mode as pg_sys::LOCKMODE)
    })
}

/// Asks again and again, until the answer is yes or the time is over.
fn until(most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(2);
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > most {
            return false;
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(PAUSE);
    }
    true
}

/// Locks a relation until the transaction ends, and takes in what has become of it meanwhile; one that is not there is none.
pub fn relation(relation: pg_sys::Oid, mode: u32) {
    if relation != pg_sys::InvalidOid {
        // SAFETY: a lock by OID, inside a transaction; PostgreSQL raises its own errors.
        unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) }
    }
}

/// How a number is locked: any number of transactions share it, or one has it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Shared,
    Alone,
}

/// Locks a number until the (sub)transaction ends; a lock of the kind that pg_advisory_lock() takes, in a class of its own (the
/// application's are 1 and 2), so nobody else's number meets ours. Waits, honouring lock_timeout and cancel; PostgreSQL finds
/// deadlocks. Again by the same transaction: 60 ns.
pub fn number(number: u32, mode: Mode) {
    acquire(number, mode, false);
}

/// The same without waiting; false where another transaction has it, or waits for it.
pub fn try_number(number: u32, mode: Mode) -> bool {
    acquire(number, mode, true)
}

fn acquire(number: u32, mode: Mode, at_once: bool) -> bool {
    const CLASS: u16 = 0x6d65;
    let tag = pg_sys::LOCKTAG {
        locktag_field1: u32::from(super::catalog::database()),
        locktag_field2: 0,
        locktag_field3: number,
        locktag_field4: CLASS,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    let mode = match mode {
        Mode::Shared => pg_sys::ShareLock,
        Mode::Alone => pg_sys::ExclusiveLock,
    };
    // SAFETY: a valid tag and mode, inside a transaction, whose resource owner releases the lock.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, mode as i32, false, at_once) };
    outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}
