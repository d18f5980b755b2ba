//! Reading what stands under many ids, in an index whose first two columns are tenant_id and a uuid: a step of a walk. Index-only where the
//! table's pages are known to be visible to all; a descent of the index per id, 0.1 µs per row.
//!
//! Protocol, and what it reads past: as in `range`. What it reads is given away as it is. So it serves only where `may_read` says that a statement
//! would read the same: the role may read the table, row-level security is on, and the table has one policy, the extension's, which lets
//! everybody see what the context allows; whose rows are asked for comes from `context::subject`.

use std::cell::Cell;

use pgrx::{FromDatum, pg_sys};

use super::range::{self, Scan};
use super::rows::Row;
use super::spi::PinnedPath;
use super::{catalog, xact};

/// Whether a statement of the current role would see all that the context allows of the table, and this may read it in its stead. The caller holds
/// a lock on the table.
pub fn may_read(relation: pg_sys::Oid) -> bool {
    // SAFETY: a setting of the backend.
    unsafe { pg_sys::row_security && range::may_read(relation) && is_as_declared(relation) }
}

/// What `context::access::secure` has made the policy of a table of users' rows, as PostgreSQL writes it.
const CONDITION: &std::ffi::CStr = c"((tenant_id = memory.current_tenant_id()) AND ((user_id >= memory.context_user_low()) AND (user_id <= memory.context_user_high())))";

thread_local! {
    /// The table that was looked at last, what `catalog::epoch_of` it was, and what was found.
    static DECLARED: Cell<(pg_sys::Oid, u64, bool)> = const { Cell::new((pg_sys::InvalidOid, 0, false)) };
}

/// Whether the table has the extension's policy for users' rows, as it was declared, and no other.
fn is_as_declared(relation: pg_sys::Oid) -> bool {
    let epoch = catalog::epoch_of(relation);
    let (known, seen, declared) = DECLARED.get();
    if known == relation && seen == epoch {
        return declared;
    }
    let _pinned = PinnedPath::new();
    // SAFETY: the caller holds a lock on the relation, so its entry in the cache stays as it is; its policies are a list or nothing, each with an
    // array of roles, of which one that is nobody's role is everybody. The text of the expression is palloc'd.
    let declared = unsafe {
        let table = pg_sys::RelationIdGetRelation(relation);
        let policies = (*table).rd_rsdesc;
        let policies =
            (!policies.is_null()).then(|| pgrx::PgList::<pg_sys::RowSecurityPolicy>::from_pg((*policies).policies));
        let declared = policies.filter(|policies| policies.len() == 1).is_some_and(|policies| {
            let policy = &*policies.get_ptr(0).expect("there is one");
            let roles = Vec::<pg_sys::Oid>::from_datum(pg_sys::Datum::from(policy.roles), false).unwrap_or_default();
            let context = pg_sys::deparse_context_for(c"t".as_ptr(), relation);
            let text = pg_sys::deparse_expression(policy.qual.cast(), context, false, false);
            policy.polcmd == b'*' as std::ffi::c_char
                && policy.permissive
                && roles == [pg_sys::InvalidOid]
                && std::ffi::CStr::from_ptr(text) == CONDITION
        });
        pg_sys::RelationClose(table);
        declared
    };
    DECLARED.set((relation, epoch, declared));
    declared
}

/// How many index entries are gathered at once, in how many words.
const MOST: usize = 256;
const ROOM: usize = 4096;
/// How many words the largest entry takes, by the bits of its header that say so.
const LARGEST: usize = (SIZE_MASK as usize + 1) / size_of::<u64>();
const SIZE_MASK: u16 = 0x1fff;

/// The most columns of an index, the included ones too.
const MOST_COLUMNS: usize = 32;

/// Not the bindings', which guard each call against PostgreSQL's errors: `gather` guards many, and the last raises none.
mod unguarded {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        pub fn index_getnext_tid(
            scan: pg_sys::IndexScanDesc,
            direction: pg_sys::ScanDirection::Type,
        ) -> pg_sys::ItemPointer;
        pub fn index_fetch_heap(scan: pg_sys::IndexScanDesc, slot: *mut pg_sys::TupleTableSlot) -> bool;
        pub fn visibilitymap_get_status(
            relation: pg_sys::Relation,
            block: pg_sys::BlockNumber,
            page: *mut pg_sys::Buffer,
        ) -> u8;
        pub fn index_deform_tuple(
            tuple: pg_sys::IndexTuple,
            descriptor: pg_sys::TupleDesc,
            values: *mut pg_sys::Datum,
            nulls: *mut bool,
        );
    }
}

/// Copies of index entries.
struct Entries {
    words: Box<[u64; ROOM]>,
    places: [u32; MOST],
}

impl Entries {
    /// The next entries of the scan whose rows the snapshot sees: how many, and whether there may be more.
    fn gather(&mut self, scan: &mut Scan, always_ask: bool) -> (usize, bool) {
        let (table, index_scan, slot, page) = (scan.table, scan.scan, scan.slot, &raw mut scan.page);
        let (words, places) = (self.words.as_mut_ptr(), self.places.as_mut_ptr());
        // SAFETY: an open scan of a B-tree that returns its entries, each good until the next is asked for and copied before; it is no longer than its
        // header can say, for which there is room. Inside the boundary is nothing that panics or wants dropping when PostgreSQL raises an error.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                let (mut count, mut used) = (0, 0);
                while count < MOST && used + LARGEST <= ROOM {
                    let place = unguarded::index_getnext_tid(index_scan, pg_sys::ScanDirection::ForwardScanDirection);
                    if place.is_null() {
                        return (count, false);
                    }
                    let block = (u32::from((*place).ip_blkid.bi_hi) << 16) | u32::from((*place).ip_blkid.bi_lo);
                    let visible = !always_ask
                        && u32::from(unguarded::visibilitymap_get_status(table, block, page))
                            & pg_sys::VISIBILITYMAP_ALL_VISIBLE
                            != 0;
                    if !visible && !unguarded::index_fetch_heap(index_scan, slot) {
                        continue;
                    }
                    let entry = (*index_scan).xs_itup;
                    let bytes = usize::from((*entry).t_info & SIZE_MASK);
                    std::ptr::copy_nonoverlapping(entry.cast::<u8>(), words.wrapping_add(used).cast(), bytes);
                    *places.wrapping_add(count) = used as u32;
                    count += 1;
                    used += bytes.div_ceil(size_of::<u64>());
                }
                (count, true)
            })
        }
    }
}

/// Calls `visit` with each row under each of these ids, those of one id together. A row's columns are those of the index: the key, then what it
/// includes. The visitor keeps nothing that it is shown.
pub fn each(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    tenant: &[u8; 16],
    ids: impl IntoIterator<Item = u128>,
    visit: &mut dyn FnMut(&Row<'_>),
) {
    const KEYS: usize = 2;
    let always_ask = xact::is_serializable();
    let mut keys = [pg_sys::ScanKeyData::default(); KEYS];
    let mut key = |column: usize, datum: pg_sys::Datum| {
        // SAFETY: the datum is of the type that the function compares, and outlives the scan.
        unsafe {
            pg_sys::ScanKeyInit(
                &mut keys[column],
                column as i16 + 1,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::Oid::from(pg_sys::F_UUID_EQ),
                datum,
            );
        }
    };
    let mut sought = [0u8; 16];
    let sought_at = &raw mut sought;
    key(0, pg_sys::Datum::from(tenant.as_ptr()));
    key(1, pg_sys::Datum::from(sought_at));
    let mut entries = Entries {
        words: Box::new([0; ROOM]),
        places: [0; MOST],
    };
    let mut values = [pg_sys::Datum::null(); MOST_COLUMNS];
    let mut nulls = [true; MOST_COLUMNS];
    let mut scan = Scan::open(relation, index, KEYS as i32, 0);
    // SAFETY: an open scan of a B-tree, which returns its entries when asked to.
    let (descriptor, columns) = unsafe {
        (*scan.scan).xs_want_itup = true;
        ((*scan.index).rd_att, (*(*scan.index).rd_att).natts as usize)
    };
    assert!(columns <= MOST_COLUMNS, "an index of the extension");
    for id in ids {
        pgrx::check_for_interrupts!();
        // SAFETY: the place that the second key points to; nobody reads it but the scan. The keys are copied.
        unsafe {
            *sought_at = id.to_be_bytes();
            pg_sys::index_rescan(scan.scan, keys.as_mut_ptr(), KEYS as i32, std::ptr::null_mut(), 0);
        }
        loop {
            let (count, more) = entries.gather(&mut scan, always_ask);
            for place in &entries.places[..count] {
                // SAFETY: a whole entry of an index of this descriptor, copied and aligned as it was, and a place for each column. What the datums point
                // to lives until the next are gathered.
                unsafe {
                    unguarded::index_deform_tuple(
                        entries.words.as_mut_ptr().wrapping_add(*place as usize).cast(),
                        descriptor,
                        values.as_mut_ptr(),
                        nulls.as_mut_ptr(),
                    );
                }
                visit(&Row::new(&values[..columns], &nulls[..columns]));
            }
            if !more {
                break;
            }
        }
    }
}
