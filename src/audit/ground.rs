//! The rows of the log, and what is kept of them once they are sealed, as `proof` takes them. All of it is read by `Query`, which takes the
//! snapshot that is active: the calling statement's, or that of `xact::as_of_now`.

use std::collections::HashMap;
use std::thread::LocalKey;

use pgrx::prelude::*;

use super::proof::block::{self, Block};
use super::proof::seal::{Head, Seal};
use super::proof::{Entry, Hash, KeyName, NO_KEY, Personal, Signature, TAG_LENGTH};
use crate::pg::catalog;
use crate::pg::rows::{Query, Row};

/// The columns of an entry, of the row t, in the order that `entry` reads them: first what stays, then what redaction takes.
macro_rules! columns {
    ($row:literal) => {
        concat!(
            $row, ".id, ", $row, ".changed_at, ", $row, ".transaction_id, ", $row, ".tenant_id, ", $row, ".operation, ", $row,
            ".table_name, ", $row, ".row_count, ", $row, ".actor_role, ", $row, ".login_role, ", $row, ".actor_tenant_id, ", $row,
            ".actor_service_name, ", columns!(personal $row)
        )
    };
    (personal $row:literal) => {
        concat!(
            $row, ".user_id, ", $row, ".actor_user_id, ", $row, ".actor_session_id, ", $row, ".row_key::text, ", $row, ".changes::text, ",
            $row, ".client_address::text, ", $row, ".application_name"
        )
    };
}
pub(super) use columns;

/// How many columns stay.
const KEPT: usize = 11;
/// Where what comes after the columns of an entry stands.
pub const AFTER_ENTRY: usize = KEPT + 7;

/// The entry that a row selects with `columns`.
pub fn entry<'a>(row: &'a Row<'_>) -> Entry<'a> {
    Entry {
        id: row.bigint(0),
        changed_at: row.bigint(1),
        transaction_id: row.bigint(2) as u64,
        tenant: row.uuid(3),
        operation: row.text(4),
        table: row.text(5),
        row_count: row.bigint(6),
        actor_role: row.text(7),
        login_role: row.text(8),
        actor_tenant: row.optional_uuid(9),
        actor_service: row.optional_text(10),
        personal: personal(row, KEPT),
    }
}

/// What redaction takes, where a row has it from that column on.
pub fn personal<'a>(row: &'a Row<'_>, from: usize) -> Personal<'a> {
    std::array::from_fn(|i| row.optional_text(from + i))
}

thread_local! {
    /// The rows between two ids, by id.
    static ENTRIES: Query = const {
        Query::new(
            concat!("SELECT ", columns!("t"), " FROM memory.audit_log t WHERE t.id > $1 AND t.id <= $2 ORDER BY t.id"),
            &[pg_sys::INT8OID, pg_sys::INT8OID],
        )
    };
    static SEALS: Query = const {
        Query::new(
            "SELECT s.seal_id, s.last_id, s.row_count, s.root, s.previous, s.sealed_at, s.key_name, s.tag, s.hash
             FROM memory.audit_seals s WHERE s.seal_id >= $1 ORDER BY s.seal_id",
            &[pg_sys::INT8OID],
        )
    };
    static NEWEST: Query = const {
        Query::new(
            "SELECT s.seal_id, s.last_id, s.hash, s.key_name FROM memory.audit_seals s ORDER BY s.seal_id DESC LIMIT 1",
            &[],
        )
    };
    static BLOCKS: Query = const {
        Query::new(
            "SELECT l.block, l.root, l.leaves FROM memory.audit_leaves l
             WHERE l.block BETWEEN $1 AND $2 AND l.seal_id = $3 ORDER BY l.block",
            &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
        )
    };
}

/// Calls `visit` with the log's rows behind one id up to another, by id.
pub fn each_entry(after: i64, up_to: i64, mut visit: impl FnMut(&Entry<'_>)) {
    ENTRIES.with(|entries| entries.each(&[after.into(), up_to.into()], &mut |row| visit(&entry(row))));
}

/// A seal as it is stored.
pub struct Stored {
    pub seal: Seal,
    pub signature: Signature,
    pub hash: Hash,
    /// Whether its columns have the lengths that they have to have.
    pub is_whole: bool,
}

/// A digest as it is stored; what has another length is none.
fn fixed<const N: usize>(bytes: &[u8], is_whole: &mut bool) -> [u8; N] {
    bytes.try_into().unwrap_or_else(|_| {
        *is_whole = false;
        [0; N]
    })
}

/// The seals, in order.
pub fn seals() -> Vec<Stored> {
    let mut seals = Vec::new();
    SEALS.with(|statement| {
        statement.each(&[i64::MIN.into()], &mut |row| {
            let mut is_whole = true;
            let key: KeyName = row.optional_bytes(6).map_or(NO_KEY, |name| fixed(name, &mut is_whole));
            let tag = row
                .optional_bytes(7)
                .map_or([0; TAG_LENGTH], |tag| fixed(tag, &mut is_whole));
            let seal = Seal {
                id: row.bigint(0),
                last_id: row.bigint(1),
                rows: row.bigint(2),
                root: fixed(row.bytes(3), &mut is_whole),
                previous: fixed(row.bytes(4), &mut is_whole),
                sealed_at: row.bigint(5),
                key,
            };
            seals.push(Stored {
                seal,
                signature: Signature { key, tag },
                hash: fixed(row.bytes(8), &mut is_whole),
                is_whole,
            });
        });
    });
    seals
}

/// The newest seal.
pub struct Newest {
    pub head: Head,
    pub last_id: i64,
    pub is_signed: bool,
}

/// The newest seal, as the snapshot has it; before the first, one that covers nothing.
pub fn newest() -> Newest {
    let mut newest = Newest {
        head: Head::EMPTY,
        last_id: i64::MIN,
        is_signed: false,
    };
    NEWEST.with(|statement| {
        statement.each(&[], &mut |row| {
            newest = Newest {
                head: Head {
                    seal: row.bigint(0),
                    hash: fixed(row.bytes(2), &mut true),
                },
                last_id: row.bigint(1),
                is_signed: row.optional_bytes(3).is_some(),
            };
        });
    });
    newest
}

/// The number that a statement gives for an id.
pub fn number(query: &'static LocalKey<Query>, id: i64) -> Option<i64> {
    let mut number = None;
    query.with(|query| query.each(&[id.into()], &mut |row| number = Some(row.bigint(0))));
    number
}

/// What is kept of a seal's rows: of each block its number, its root and its bytes.
pub fn blocks(seal: i64, after: i64, last: i64) -> Vec<(i64, Vec<u8>, Vec<u8>)> {
    let mut blocks = Vec::new();
    BLOCKS.with(|statement| {
        let arguments = [block::of(after).into(), block::of(last).into(), seal.into()];
        statement.each(&arguments, &mut |row| {
            blocks.push((row.bigint(0), row.bytes(1).to_vec(), row.bytes(2).to_vec()));
        });
    });
    blocks
}

/// The log's table.
pub fn log() -> pg_sys::Oid {
    catalog::relation_named("audit_log")
}

/// What is locked, until the transaction ends, by who seals, alone, and by those who redact or remove, together: readers and pg_dump go on.
pub fn leaves() -> pg_sys::Oid {
    catalog::relation_named("audit_leaves")
}

/// The lock on `leaves` of who seals.
pub const ALONE: u32 = pg_sys::ShareRowExclusiveLock;
/// Of who redacts or removes.
pub const TOGETHER: u32 = pg_sys::RowExclusiveLock;

/// Blocks that are being changed, by number and seal.
pub type Blocks = HashMap<(i64, i64), Block>;
