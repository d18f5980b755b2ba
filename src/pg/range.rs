//! Reading all rows of a user, or of a tenant, where an index keeps them together: an index-only scan of a B-tree whose first two
//! columns are tenant_id and user_id, 0.2 µs per row, whatever the table's heap looks like.
//!
//! Protocol: tables and indexes are the extension's. A read takes AccessShareLocks for its duration and sees what the calling
//! statement's snapshot sees; where a page of the table is not known to be visible to all, and always under SERIALIZABLE (whose
//! conflicts are found by what is read), the row itself is asked, as PostgreSQL's own index-only scans do.
//!
//! It reads past privileges and row-level security. So tenant and users come from `context::subject`, which lets nobody out of the
//! context; the caller asks `may_read` for the table, and what it gives away goes through a statement under row-level security
//! first: what was read here orders candidates.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::call::{utf8, varlena};
use super::rows::Row;
use super::vector::Sought;
use super::{guc, role, xact};

/// Whose rows are read.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    pub tenant: [u8; 16],
    /// The least and the greatest user id, in the order of COLLATE "C".
    pub users: (&'a str, &'a str),
    /// What the third column of the index, a text, has to be; None: anything.
    pub third: Option<&'a str>,
}

/// Where a row stands in its table; good for the statement that read it.
#[derive(Clone, Copy, Debug)]
pub struct Place(pub(super) pg_sys::ItemPointerData);

impl Place {
    pub fn tid(self) -> pg_sys::ItemPointerData {
        self.0
    }
}

/// Whether the current role may SELECT from the table.
pub fn may_read(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup; the relation exists, or this raises.
    unsafe {
        pg_sys::pg_class_aclcheck(relation, role::current(), pg_sys::ACL_SELECT as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// A scan of an index with its table, both open until it is dropped.
pub(super) struct Scan {
    pub(super) table: pg_sys::Relation,
    pub(super) index: pg_sys::Relation,
    pub(super) scan: pg_sys::IndexScanDesc,
    pub(super) slot: *mut pg_sys::TupleTableSlot,
    pub(super) page: pg_sys::Buffer,
}

const NONE: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;
const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

impl Scan {
    pub(super) fn open(relation: pg_sys::Oid, index: pg_sys::Oid, keys: i32, orders: i32) -> Self {
        // SAFETY: the usual life of an index scan; what an error leaves behind belongs to PostgreSQL's resource owner. The active
        // snapshot outlives the call that reads: it is the calling statement's.
        unsafe {
            let table = pg_sys::table_open(relation, SHARE);
            let index = pg_sys::index_open(index, SHARE);
            let snapshot = pg_sys::GetActiveSnapshot();
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(table, index, snapshot, keys, orders);
            #[cfg(feature = "pg18")]
            let scan = pg_sys::index_beginscan(table, index, snapshot, std::ptr::null_mut(), keys, orders);
            Self {
                table,
                index,
                scan,
                slot: pg_sys::table_slot_create(table, std::ptr::null_mut()),
                page: pg_sys::InvalidBuffer as pg_sys::Buffer,
            }
        }
    }

    /// Whether the row at the scan's place is one that the snapshot sees; it is in the slot then.
    fn fetch(&mut self) -> bool {
        // SAFETY: an open scan, whose slot is of its table.
        unsafe { pg_sys::index_fetch_heap(self.scan, self.slot) }
    }

    /// Whether the page of the table is visible to all.
    fn page_is_visible(&mut self, place: &pg_sys::ItemPointerData) -> bool {
        let block = (u32::from(place.ip_blkid.bi_hi) << 16) | u32::from(place.ip_blkid.bi_lo);
        // SAFETY: an open table; the buffer is this scan's, released in drop.
        let status = unsafe { pg_sys::visibilitymap_get_status(self.table, block, &mut self.page) };
        u32::from(status) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL cleans up with the (sub)transaction.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: opened in open(), closed once. The locks stay until the transaction ends, as a statement's do.
        unsafe {
            if self.page != pg_sys::InvalidBuffer as pg_sys::Buffer {
                pg_sys::ReleaseBuffer(self.page);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::index_endscan(self.scan);
            pg_sys::index_close(self.index, NONE);
            pg_sys::table_close(self.table, NONE);
        }
    }
}

/// The most keys of a scan: tenant, least and greatest user, third column.
const MOST_KEYS: usize = 4;
/// The most columns of an index, the included ones too.
const MOST_COLUMNS: usize = 32;
/// How many rows are read between two looks for a cancel: 50 µs or so.
const PAUSE: usize = 256;

/// Calls `visit` with every row of the range, in the index's order, and its place, until it returns false. A row's columns are those of the
/// index: the key, then what it includes. The visitor calls nothing of PostgreSQL's that reads or writes, and keeps nothing that it is shown.
pub fn each(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    range: &Range<'_>,
    visit: &mut dyn FnMut(&Row<'_>, Place) -> bool,
) {
    let (low, high) = range.users;
    let text = |value: &str| value.into_datum().expect("text has a datum");
    let mut keys = [pg_sys::ScanKeyData::default(); MOST_KEYS];
    let mut count = 0;
    let mut texts = Vec::with_capacity(MOST_KEYS);
    let mut key = |column: i16, strategy: u32, function: u32, datum: pg_sys::Datum| {
        // SAFETY: the datum is of the type that the function compares, and outlives the scan.
        unsafe {
            pg_sys::ScanKeyInit(
                &mut keys[count],
                column,
                strategy as u16,
                pg_sys::Oid::from(function),
                datum,
            );
        }
        count += 1;
    };
    let tenant = pg_sys::Datum::from(range.tenant.as_ptr());
    key(1, pg_sys::BTEqualStrategyNumber, pg_sys::F_UUID_EQ, tenant);
    let users = if low == high {
        &[(pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, low)][..]
    } else {
        &[
            (pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_TEXT_GE, low),
            (pg_sys::BTLessEqualStrategyNumber, pg_sys::F_TEXT_LE, high),
        ]
    };
    for (strategy, function, value) in users {
        texts.push(text(value));
        key(2, *strategy, *function, texts[texts.len() - 1]);
    }
    if let Some(third) = range.third {
        texts.push(text(third));
        key(
            3,
            pg_sys::BTEqualStrategyNumber,
            pg_sys::F_TEXTEQ,
            texts[texts.len() - 1],
        );
    }
    let always_ask = xact::is_serializable();
    let mut values = [pg_sys::Datum::null(); MOST_COLUMNS];
    let mut nulls = [true; MOST_COLUMNS];
    let mut scan = Scan::open(relation, index, count as i32, 0);
    // SAFETY: an open scan of a B-tree, which returns its tuples when asked to; a tuple is good until the next is fetched.
    let columns = unsafe {
        (*scan.scan).xs_want_itup = true;
        pg_sys::index_rescan(scan.scan, keys.as_mut_ptr(), count as i32, std::ptr::null_mut(), 0);
        (*(*scan.index).rd_att).natts as usize
    };
    assert!(columns <= MOST_COLUMNS, "an index of the extension");
    let mut read = 0;
    loop {
        if read % PAUSE == 0 {
            pgrx::check_for_interrupts!();
        }
        read += 1;
        // SAFETY: as above; the index's descriptor says what its tuples hold, and there is a place for each column.
        let place = unsafe {
            let place = pg_sys::index_getnext_tid(scan.scan, pg_sys::ScanDirection::ForwardScanDirection);
            if place.is_null() {
                break;
            }
            *place
        };
        if (always_ask || !scan.page_is_visible(&place)) && !scan.fetch() {
            continue;
        }
        // SAFETY: as above.
        unsafe {
            pg_sys::index_deform_tuple(
                (*scan.scan).xs_itup,
                (*scan.scan).xs_itupdesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        if !visit(&Row::new(&values[..columns], &nulls[..columns]), Place(place)) {
            break;
        }
    }
    drop(scan);
    for text in texts {
        // SAFETY: made above.
        unsafe { pg_sys::pfree(text.cast_mut_ptr()) };
    }
}

/// The rows of a table with these keys (user, and id), by the index of its primary key (tenant_id, user_id, id): the number of each that is
/// there, and its place, where a statement of the same snapshot finds it (`array::places`). 1 µs each, whatever the planner knows of
/// the table: no statistics are kept of users, so it takes a user's rows for few, and reads them all where it could read one.
pub fn find<'a>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    tenant: [u8; 16],
    keys: impl IntoIterator<Item = (&'a str, u128)>,
) -> Vec<(usize, Place)> {
    const KEYS: usize = 3;
    let mut found = Vec::new();
    let scan = Scan::open(relation, index, KEYS as i32, 0);
    let mut scan_keys = [pg_sys::ScanKeyData::default(); KEYS];
    let mut last: Option<(&str, pg_sys::Datum)> = None;
    for (i, (user, id)) in keys.into_iter().enumerate() {
        if i % PAUSE == 0 {
            pgrx::check_for_interrupts!();
        }
        let text = match last {
            Some((before, datum)) if before == user => datum,
            _ => {
                let datum = user.into_datum().expect("text has a datum");
                if let Some((_, before)) = last.replace((user, datum)) {
                    // SAFETY: made here for the user before, whom no key is about any more.
                    unsafe { pg_sys::pfree(before.cast_mut_ptr()) };
                }
                datum
            }
        };
        let id = id.to_be_bytes();
        // SAFETY: an open scan of an index with these columns; the datums are of the types that the functions compare, and outlive the
        // fetch. The slot holds the row that the snapshot sees, of however many versions.
        unsafe {
            let columns = [
                (pg_sys::F_UUID_EQ, pg_sys::Datum::from(tenant.as_ptr())),
                (pg_sys::F_TEXTEQ, text),
                (pg_sys::F_UUID_EQ, pg_sys::Datum::from(id.as_ptr())),
            ];
            for (column, (function, datum)) in columns.into_iter().enumerate() {
                pg_sys::ScanKeyInit(
                    &mut scan_keys[column],
                    column as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    pg_sys::Oid::from(function),
                    datum,
                );
            }
            pg_sys::index_rescan(scan.scan, scan_keys.as_mut_ptr(), KEYS as i32, std::ptr::null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            if pg_sys::index_getnext_slot(scan.scan, forward, scan.slot) {
                found.push((i, Place((*scan.slot).tts_tid)));
            }
        }
    }
    drop(scan);
    if let Some((_, datum)) = last {
        // SAFETY: made above.
        unsafe { pg_sys::pfree(datum.cast_mut_ptr()) };
    }
    found
}

/// The rows of some users under each of these ids, by an index whose first two columns are tenant_id and a uuid: their places, as `find` gives them.
/// `of` is the number of the table's column that says whose a row is, and the least and the greatest user.
pub fn under(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    tenant: [u8; 16],
    ids: &[u128],
    (user, (low, high)): (usize, (&str, &str)),
) -> Vec<Place> {
    const KEYS: usize = 2;
    let mut found = Vec::new();
    let scan = Scan::open(relation, index, KEYS as i32, 0);
    let mut keys = [pg_sys::ScanKeyData::default(); KEYS];
    for id in ids {
        let id = id.to_be_bytes();
        // SAFETY: an open scan of an index with these columns; the datums are uuids, and outlive the fetches. The slot holds a row that the
        // snapshot sees, whose column is a text, declared NOT NULL.
        unsafe {
            for (column, bytes) in [&tenant, &id].into_iter().enumerate() {
                pg_sys::ScanKeyInit(
                    &mut keys[column],
                    column as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    pg_sys::Oid::from(pg_sys::F_UUID_EQ),
                    pg_sys::Datum::from(bytes.as_ptr()),
                );
            }
            pg_sys::index_rescan(scan.scan, keys.as_mut_ptr(), KEYS as i32, std::ptr::null_mut(), 0);
            while pg_sys::index_getnext_slot(scan.scan, pg_sys::ScanDirection::ForwardScanDirection, scan.slot) {
                if found.len() % PAUSE == 0 {
                    pgrx::check_for_interrupts!();
                }
                pg_sys::slot_getsomeattrs_int(scan.slot, user as i32);
                if (low..=high).contains(&utf8(varlena(*(*scan.slot).tts_values.add(user - 1)))) {
                    found.push(Place((*scan.slot).tts_tid));
                }
            }
        }
    }
    found
}

/// Calls `visit` with the number in `places` and the bytes of a varlena column (counted from 1, of the table), of each row that
/// `each` found in the same statement; they are aligned as a detoasted varlena's are.
pub fn fetch(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    places: impl IntoIterator<Item = Place>,
    column: usize,
    visit: &mut dyn FnMut(usize, &[u8]),
) {
    let mut scan = Scan::open(relation, index, 0, 0);
    for (i, place) in places.into_iter().enumerate() {
        if i % PAUSE == 0 {
            pgrx::check_for_interrupts!();
        }
        // SAFETY: the place is that of a row which the statement's snapshot, still active, sees: it is neither pruned nor reused. The
        // slot holds the row until the next is fetched.
        unsafe {
            (*scan.scan).xs_heaptid = place.0;
            // Nothing else sets it where no index is read.
            (*scan.scan).xs_heap_continue = false;
            if !scan.fetch() {
                continue;
            }
            pg_sys::slot_getsomeattrs_int(scan.slot, column as i32);
            let (values, nulls) = ((*scan.slot).tts_values, (*scan.slot).tts_isnull);
            if *nulls.add(column - 1) {
                continue;
            }
            aligned(*values.add(column - 1), |bytes| visit(i, bytes));
        }
    }
}

/// Shows what a varlena holds, aligned as a detoasted one's is; what detoasting allocates is freed.
///
/// # Safety
/// The datum is that of a varlena.
unsafe fn aligned<R>(datum: pg_sys::Datum, read: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: as the caller promises; another varlena than the stored one is a copy of our own.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pg_sys::pg_detoast_datum(stored);
        let bytes = std::slice::from_raw_parts(pgrx::vardata_any(plain).cast::<u8>(), pgrx::varsize_any_exhdr(plain));
        let answer = read(bytes);
        if plain != stored {
            pg_sys::pfree(plain.cast());
        }
        answer
    }
}

/// A row of the table, valid inside the visitor of `nearest`. Columns count from 1.
pub struct Found<'a> {
    values: &'a [pg_sys::Datum],
    pub place: Place,
}

impl Found<'_> {
    /// A column that is a uuid, and declared NOT NULL.
    pub fn uuid(&self, column: usize) -> u128 {
        // SAFETY: a uuid's datum points to its 16 bytes.
        unsafe { u128::from_be_bytes(*self.values[column - 1].cast_mut_ptr::<[u8; 16]>()) }
    }

    /// A column that is a text, and declared NOT NULL.
    pub fn text(&self, column: usize) -> &str {
        // SAFETY: a text's datum.
        utf8(unsafe { varlena(self.values[column - 1]) })
    }

    /// Shows the bytes of a varlena that is declared NOT NULL, aligned as a detoasted one's are.
    pub fn with_bytes<R>(&self, column: usize, read: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: a varlena's datum.
        unsafe { aligned(self.values[column - 1], read) }
    }
}

/// Calls `visit` with the rows that an HNSW index of pgvector holds, about nearest first, until it returns false or the index
/// has no more to give (`hnsw.max_scan_tuples`). `breadth` is how many it weighs at once (`hnsw.ef_search`). The rows are everybody's:
/// the visitor keeps to its range.
pub fn nearest(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    sought: &Sought,
    breadth: usize,
    visit: &mut dyn FnMut(&Found<'_>) -> bool,
) {
    // 1000 is the most that pgvector takes.
    let breadth = breadth.clamp(1, 1000).to_string();
    let mut scan = Scan::open(relation, index, 0, 1);
    // SAFETY: the index orders by its first column and takes what it is compared with from the key, whose datum `sought` keeps; the slot
    // holds a row until the next is fetched, all of whose columns are read out.
    unsafe {
        let _settings =
            guc::Temporary::new(&[(c"hnsw.ef_search", &breadth), (c"hnsw.iterative_scan", "relaxed_order")]);
        let mut order = pg_sys::ScanKeyData {
            sk_attno: 1,
            sk_strategy: 1,
            sk_argument: sought.datum(),
            ..Default::default()
        };
        pg_sys::index_rescan(scan.scan, std::ptr::null_mut(), 0, &mut order, 1);
        let columns = (*(*scan.table).rd_att).natts;
        let mut read = 0;
        loop {
            if read % PAUSE == 0 {
                pgrx::check_for_interrupts!();
            }
            read += 1;
            let place = pg_sys::index_getnext_tid(scan.scan, pg_sys::ScanDirection::ForwardScanDirection);
            if place.is_null() {
                break;
            }
            let place = Place(*place);
            if !scan.fetch() {
                continue;
            }
            pg_sys::slot_getsomeattrs_int(scan.slot, columns);
            let values = std::slice::from_raw_parts((*scan.slot).tts_values, columns as usize);
            if !visit(&Found { values, place }) {
                break;
            }
        }
    }
}
