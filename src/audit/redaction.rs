//! What redaction and retention leave of a sealed row: its salt goes, what proves the rest of it stays.
//!
//! A trigger on the log, which does something only inside `super::redacting`. Protocol: the statement has changed its rows; then sealers are
//! kept off (see `super::seal`); then the blocks that the rows are in are locked, in order, and read as of that moment: whoever sealed or took from
//! the same blocks has committed. A transaction that keeps an older snapshot could not change what was sealed since: 40001.

use std::cell::OnceCell;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::ground::{self, AFTER_ENTRY, Blocks, columns};
use super::proof::block::{self, Block};
use super::proof::{Entry, Keys, Personal};
use super::{REDACTING, key, seal};
use crate::error::{Error, Result};
use crate::pg::rows::Query;
use crate::pg::spi::{Kept, Statement};
use crate::pg::trigger::{Operation, Trigger};
use crate::pg::{lock, role, xact};
use crate::raw_function;

thread_local! {
    static LOCK: OnceCell<Kept> = const { OnceCell::new() };
    static BLOCKS: Query = const {
        Query::new(
            "SELECT l.block, l.seal_id, l.leaves FROM memory.audit_leaves l
             WHERE l.block IN (SELECT o.id >> 6 FROM old_rows o WHERE o.id <= $1) ORDER BY l.block, l.seal_id",
            &[pg_sys::INT8OID],
        )
    };
    static REDACTED: Query = const {
        Query::new(
            concat!(
                "SELECT ", columns!("o"), ", ", columns!(personal "n"),
                " FROM old_rows o JOIN new_rows n ON n.id = o.id WHERE o.id <= $1"
            ),
            &[pg_sys::INT8OID],
        )
    };
    static REMOVED: Query = const {
        Query::new(concat!("SELECT ", columns!("o"), " FROM old_rows o WHERE o.id <= $1"), &[pg_sys::INT8OID])
    };
    static WRITE: Statement = const {
        Statement::new(
            "UPDATE memory.audit_leaves l SET leaves = n.leaves FROM unnest($1, $2, $3) AS n (block, seal_id, leaves)
             WHERE l.block = n.block AND l.seal_id = n.seal_id",
            &[pg_sys::INT8ARRAYOID, pg_sys::INT8ARRAYOID, pg_sys::BYTEAARRAYOID],
        )
    };
}

const LOCK_BLOCKS: &str =
    "SELECT FROM memory.audit_leaves l WHERE l.block IN (SELECT o.id >> 6 FROM old_rows o WHERE o.id <= $1)
    ORDER BY l.block, l.seal_id FOR UPDATE OF l";

/// How many blocks are written at once.
const BLOCKS_AT_ONCE: usize = 500;

raw_function!(audit_keep_proof, pg_finfo_audit_keep_proof, |call| {
    let trigger = Trigger::of(call);
    if !role::is_restoring() && REDACTING.get() && trigger.rows() > 0 {
        keep_proof(&trigger).unwrap_or_else(|error| error.raise());
    }
    trigger.keep_row()
});

fn keep_proof(trigger: &Trigger) -> Result<()> {
    lock::relation(ground::leaves(), ground::TOGETHER);
    let sealed = xact::as_of_now(ground::newest);
    if xact::keeps_snapshot() && ground::newest().head != sealed.head {
        return Err(Error::changed(
            "the audit log was sealed after this transaction began",
            "Try the transaction again.",
        ));
    }
    if sealed.head.seal == 0 {
        return Ok(());
    }
    let keys = key::keys()?;
    if sealed.is_signed && keys.0.is_empty() {
        return Err(seal::no_key());
    }
    let up_to = [sealed.last_id.into()];
    trigger.with_transition_tables(|client| {
        LOCK.with(|statement| {
            let statement = statement.get_or_init(|| Kept::new(client, LOCK_BLOCKS, &[pg_sys::INT8OID]));
            statement.write(client, &up_to);
        });
    });
    let mut blocks = read(trigger, &up_to);
    if blocks.is_empty() {
        return Ok(());
    }
    // A block is in two seals where one ends in it: the row is in one of them.
    let mut seals: std::collections::HashMap<i64, Vec<i64>> = std::collections::HashMap::new();
    for (block, seal) in blocks.keys() {
        seals.entry(*block).or_default().push(*seal);
    }
    let mut change = |entry: &Entry<'_>, now: Option<&Personal<'_>>| {
        let number = block::of(entry.id);
        for seal in seals.get(&number).into_iter().flatten() {
            if let Some(slot) = blocks
                .get_mut(&(number, *seal))
                .and_then(|block| block.slot(block::offset(entry.id)))
            {
                match now {
                    Some(now) => slot.redact(entry, now, &keys),
                    None => slot.remove(entry, &keys),
                }
            }
        }
    };
    xact::as_of_now(|| match trigger.operation() {
        Operation::Update => REDACTED.with(|statement| {
            statement.each_of(trigger, &up_to, &mut |row| {
                change(&ground::entry(row), Some(&ground::personal(row, AFTER_ENTRY)));
            });
        }),
        _ => REMOVED.with(|statement| {
            statement.each_of(trigger, &up_to, &mut |row| change(&ground::entry(row), None));
        }),
    });
    write(blocks, &keys);
    Ok(())
}

fn read(trigger: &Trigger, up_to: &[DatumWithOid<'_>]) -> Blocks {
    let mut blocks = Blocks::new();
    xact::as_of_now(|| {
        BLOCKS.with(|statement| {
            statement.each_of(trigger, up_to, &mut |row| {
                // What cannot be read stays as it is: verifying tells of it.
                if let Ok(block) = Block::decode(row.bytes(2)) {
                    blocks.insert((row.bigint(0), row.bigint(1)), block);
                }
            });
        });
    });
    blocks
}

fn write(blocks: Blocks, keys: &Keys) {
    let mut changed: Vec<(i64, i64, Vec<u8>)> = blocks
        .into_iter()
        .map(|((number, seal), mut block)| {
            pgrx::check_for_interrupts!();
            block.collapse(seal, number, keys);
            (number, seal, block.encode())
        })
        .collect();
    changed.sort_unstable();
    for blocks in changed.chunks(BLOCKS_AT_ONCE) {
        pgrx::check_for_interrupts!();
        let numbers: Vec<i64> = blocks.iter().map(|(number, ..)| *number).collect();
        let seals: Vec<i64> = blocks.iter().map(|(_, seal, _)| *seal).collect();
        let leaves: Vec<&[u8]> = blocks.iter().map(|(.., bytes)| &bytes[..]).collect();
        WRITE.with(|statement| statement.write(&[numbers.into(), seals.into(), leaves.into()], |_| ()));
    }
}
