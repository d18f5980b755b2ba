//! Sealing: closing what is new in the log under a root, chained to the last seal.
//!
//! Protocol. A row takes its id before its transaction commits, so a smaller id may become visible later. Therefore: first the greatest id
//! that is visible; then whoever is writing to the log at that moment is waited for, since nobody else can have taken a smaller one; then
//! the leaves are locked, which keeps other sealers and all redactions and removals off (in this order: a redaction that waits for the lock
//! has written to the log); then, by a snapshot of that moment, the rows behind the last seal up to that id are read. Whoever redacts one of them
//! meanwhile waits for the lock, and finds its leaf. Nobody is waited for longer than a second: an open transaction puts the sealing off.

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ground::{self, Newest};
use super::key;
use super::proof::block::{self, Block, SALT_LENGTH, Slot};
use super::proof::seal::Seal;
use super::proof::{Hash, NO_KEY, merkle_root, personal_digest};
use crate::error::{Error, Result};
use crate::pg::rows::Query;
use crate::pg::spi::{self, Statement};
use crate::pg::{catalog, lock, process, time, xact};

/// How long whoever writes or redacts is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many blocks are written at once.
const BLOCKS_AT_ONCE: usize = 500;

thread_local! {
    /// The last of the next rows behind an id: a seal has at most so many.
    static UP_TO: Query = const {
        Query::new(
            "SELECT max(n.id) FROM (SELECT t.id FROM memory.audit_log t WHERE t.id > $1 ORDER BY t.id LIMIT 100000) n
             HAVING max(n.id) IS NOT NULL",
            &[pg_sys::INT8OID],
        )
    };
    static WRITE_BLOCKS: Statement = const {
        Statement::new(
            "INSERT INTO memory.audit_leaves (block, seal_id, root, leaves)
             SELECT n.block, $1, n.root, n.leaves FROM unnest($2, $3, $4) AS n (block, root, leaves)",
            &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::BYTEAARRAYOID],
        )
    };
    static WRITE_SEAL: Statement = const {
        Statement::new(
            "INSERT INTO memory.audit_seals (seal_id, last_id, row_count, root, previous, sealed_at, key_name, tag, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                pg_sys::INT8OID,
                pg_sys::INT8OID,
                pg_sys::INT8OID,
                pg_sys::BYTEAOID,
                pg_sys::BYTEAOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::BYTEAOID,
                pg_sys::BYTEAOID,
                pg_sys::BYTEAOID,
            ],
        )
    };
}

/// The leaves of the rows that are being sealed, block by block.
struct Leaves {
    seal: i64,
    rows: i64,
    block: i64,
    slots: Vec<(u8, Slot)>,
    hashes: Vec<Hash>,
    /// The blocks that are full: number, root, bytes.
    done: Vec<(i64, Hash, Vec<u8>)>,
    roots: Vec<Hash>,
}

impl Leaves {
    fn new(seal: i64) -> Self {
        Self {
            seal,
            rows: 0,
            block: i64::MIN,
            slots: Vec::new(),
            hashes: Vec::new(),
            done: Vec::new(),
            roots: Vec::new(),
        }
    }

    fn add(&mut self, id: i64, slot: Slot, leaf: Hash) {
        let block = block::of(id);
        if block != self.block {
            self.close_block();
            self.block = block;
        }
        self.rows += 1;
        self.slots.push((block::offset(id), slot));
        self.hashes.push(leaf);
    }

    fn close_block(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let root = merkle_root(&self.hashes);
        let slots = std::mem::take(&mut self.slots);
        self.hashes.clear();
        self.roots.push(root);
        self.done.push((self.block, root, Block::Rows(slots).encode()));
    }

    /// Writes the blocks; gives the root over them.
    fn write(mut self) -> (i64, Hash) {
        self.close_block();
        for blocks in self.done.chunks(BLOCKS_AT_ONCE) {
            pgrx::check_for_interrupts!();
            let numbers: Vec<i64> = blocks.iter().map(|(number, ..)| *number).collect();
            let roots: Vec<&[u8]> = blocks.iter().map(|(_, root, _)| &root[..]).collect();
            let leaves: Vec<&[u8]> = blocks.iter().map(|(.., bytes)| &bytes[..]).collect();
            let arguments = [self.seal.into(), numbers.into(), roots.into(), leaves.into()];
            WRITE_BLOCKS.with(|statement| statement.write(&arguments, |_| ()));
        }
        (self.rows, merkle_root(&self.roots))
    }
}

#[pg_extern(sql = false)]
fn seal_audit_log() -> std::result::Result<i64, ErrorReport> {
    Ok(seal()?)
}

fn seal() -> Result<i64> {
    spi::require_writable();
    let before = xact::as_of_now(ground::newest);
    let Some(up_to) = xact::as_of_now(|| ground::number(&UP_TO, before.last_id)) else {
        return Ok(0);
    };
    if !lock::wait_for_writers(catalog::database(), ground::log(), PATIENCE)
        || !lock::try_relation(ground::leaves(), ground::ALONE, PATIENCE)
    {
        pgrx::notice!("nothing was sealed: a transaction that has written to the audit log is still open");
        return Ok(0);
    }
    let last = xact::as_of_now(ground::newest);
    if last.last_id >= up_to {
        // Another sealer has been here.
        return Ok(0);
    }
    let keys = key::keys()?;
    if last.is_signed && keys.0.is_empty() {
        return Err(no_key());
    }
    write(&last, up_to, &keys)
}

/// What was signed is not to go on unsigned.
pub fn no_key() -> Error {
    Error::not_ready(
        "the audit log is sealed with a key, and there is none now",
        "Set memory.master_key_file or memory.master_key_command as it was: the seal key is made of the master key.",
    )
}

fn write(last: &Newest, up_to: i64, keys: &super::proof::Keys) -> Result<i64> {
    let mut leaves = Leaves::new(last.head.seal + 1);
    xact::as_of_now(|| {
        ground::each_entry(last.last_id, up_to, |entry| {
            let salt: [u8; SALT_LENGTH] = process::random_bytes();
            let leaf = entry.leaf(&personal_digest(&salt, &entry.personal));
            leaves.add(entry.id, Slot::Salt(salt), leaf);
        });
    });
    if leaves.rows == 0 {
        return Ok(0);
    }
    let id = leaves.seal;
    let (rows, root) = leaves.write();
    let seal = Seal {
        id,
        last_id: up_to,
        rows,
        root,
        previous: last.head.hash,
        sealed_at: time::now(),
        key: keys.0.first().map_or(NO_KEY, |key| key.name),
    };
    let signature = seal.sign(keys);
    let signed = seal.key != NO_KEY;
    let arguments = [
        seal.id.into(),
        seal.last_id.into(),
        seal.rows.into(),
        (&seal.root[..]).into(),
        (&seal.previous[..]).into(),
        time::from_micros(seal.sealed_at).into(),
        signed.then_some(&seal.key[..]).into(),
        signed.then_some(&signature.tag[..]).into(),
        seal.hash().to_vec().into(),
    ];
    WRITE_SEAL.with(|statement| statement.write(&arguments, |_| ()));
    Ok(rows)
}
