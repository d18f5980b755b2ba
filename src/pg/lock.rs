//! PostgreSQL's own locks, asked.

use pgrx::pg_sys;

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
