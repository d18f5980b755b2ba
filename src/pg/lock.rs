//! PostgreSQL's own locks, asked.

use pgrx::pg_sys;

/// Whether a transaction other than this one, prepared ones included, has written to the relation and not ended. Once it
/// answers no, what such a transaction wrote is visible to every new snapshot: locks go last.
pub fn has_other_writers(database: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: u32::from(database),
        locktag_field2: u32::from(relation),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    let mut count = 0;
    // SAFETY: a valid tag and mode; the answer is palloc'd in the current context and goes with it. ShareLock conflicts
    // with what every writer of a table holds until its transaction ends, ROW EXCLUSIVE and stronger.
    unsafe { pg_sys::GetLockConflicts(&tag, pg_sys::ShareLock as i32, &mut count) };
    count > 0
}
