//! Verifying: reads the whole log by one snapshot and makes each seal's root again. Memory is one seal's leaves.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ground::{self, Stored};
use super::key;
use super::proof::block::{self, Block, Fault};
use super::proof::seal::{Head, NOTHING};
use super::proof::{Entry, Hash, Keys, NO_KEY, Verdict, merkle_root};
use crate::error::{Error, Result, shown};
use crate::pg::rows::Query;

thread_local! {
    static UNSEALED: Query = const {
        Query::new("SELECT count(*) FROM memory.audit_log t WHERE t.id > $1", &[pg_sys::INT8OID])
    };
    /// For how many seconds the oldest row behind an id is there.
    static AGE: Query = const {
        Query::new(
            "SELECT greatest(extract(epoch FROM clock_timestamp() - t.changed_at)::bigint, 0) FROM memory.audit_log t WHERE t.id > $1
             ORDER BY t.id LIMIT 1",
            &[pg_sys::INT8OID],
        )
    };
    static LEAVES: Query = const { Query::new("SELECT count(*) FROM memory.audit_leaves l WHERE l.seal_id > $1", &[pg_sys::INT8OID]) };
}

/// What was found wrong with a seal: the first few in words, and how many there are.
#[derive(Default)]
struct Findings {
    told: Vec<String>,
    untold: usize,
}

impl Findings {
    const MOST: usize = 5;

    fn add(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < Self::MOST {
            self.told.push(what());
        } else {
            self.untold += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    fn tell(self) -> String {
        let more = if self.untold > 0 {
            format!("; {} more", self.untold)
        } else {
            String::new()
        };
        format!("{}{more}", self.told.join("; "))
    }
}

/// How many rows of a seal are what.
#[derive(Default)]
struct Counts {
    redacted: i64,
    removed: i64,
    unsigned: i64,
}

/// One seal's rows against what is kept of them.
struct Check<'a> {
    keys: &'a Keys,
    seal: i64,
    findings: Findings,
    counts: Counts,
    rows: i64,
    roots: Vec<Hash>,
    /// The blocks that are still to come, the next one last.
    blocks: Vec<(i64, Vec<u8>, Vec<u8>)>,
    current: Option<Current>,
}

/// The block that rows are compared with.
struct Current {
    number: i64,
    root: Vec<u8>,
    block: Block,
    /// The next slot.
    next: usize,
    hashes: Vec<Hash>,
    /// Whether something was found that explains another root.
    is_told: bool,
}

impl Check<'_> {
    fn vouch(&mut self, verdict: Verdict) {
        if verdict == Verdict::Unsigned {
            self.counts.unsigned += 1;
        }
    }

    fn row(&mut self, entry: &Entry<'_>) {
        let number = block::of(entry.id);
        self.open_up_to(number);
        let id = entry.id;
        let offset = block::offset(id);
        let Some(mut current) = self.current.take_if(|current| current.number == number) else {
            return self.findings.add(|| format!("row {id} was added"));
        };
        self.skip(&mut current, |next| next < offset);
        let fits = match &current.block {
            Block::Rows(slots) => slots
                .get(current.next)
                .filter(|(next, _)| *next == offset)
                .map(|(_, slot)| slot),
            Block::Removed { .. } => None,
        };
        match fits {
            None => {
                current.is_told = true;
                self.findings.add(|| format!("row {id} was added"));
            }
            Some(slot) => {
                let is_redacted = matches!(slot, block::Slot::Redacted { .. });
                match slot.leaf(entry, self.keys) {
                    Ok((leaf, verdict)) => {
                        self.counts.redacted += i64::from(is_redacted);
                        current.hashes.push(leaf);
                        self.vouch(verdict);
                    }
                    Err(Fault { leaf, verdict }) => {
                        current.hashes.push(leaf);
                        current.is_told = true;
                        self.findings.add(|| match (is_redacted, verdict) {
                            (false, _) => format!("row {id} was removed, and is there"),
                            (true, Verdict::UnknownKey) => {
                                format!(
                                    "row {id} was redacted with a key that is not known, or was changed before or since"
                                )
                            }
                            (true, _) => {
                                format!("row {id} was changed after it was redacted, or redacted without the key")
                            }
                        });
                    }
                }
                current.next += 1;
                self.rows += 1;
            }
        }
        self.current = Some(current);
    }

    /// Passes over slots without a row.
    fn skip(&mut self, current: &mut Current, mut before: impl FnMut(u8) -> bool) {
        let Block::Rows(slots) = &current.block else {
            return;
        };
        while let Some((offset, slot)) = slots.get(current.next).filter(|(offset, _)| before(*offset)) {
            let id = block::id(current.number, *offset);
            match slot.leaf_of_removed(id, self.keys) {
                Some(Ok((leaf, verdict))) => {
                    self.counts.removed += 1;
                    current.hashes.push(leaf);
                    self.vouch(verdict);
                }
                Some(Err(fault)) => {
                    current.hashes.push(fault.leaf);
                    current.is_told = true;
                    self.findings
                        .add(|| format!("row {id} was removed, but not by retention with the key"));
                }
                None => {
                    current.is_told = true;
                    self.findings.add(|| format!("row {id} is missing"));
                }
            }
            current.next += 1;
            self.rows += 1;
        }
    }

    /// Closes the blocks before this one, and opens it.
    fn open_up_to(&mut self, number: i64) {
        if self.current.as_ref().is_some_and(|current| current.number >= number) {
            return;
        }
        self.close();
        while let Some((next, ..)) = self.blocks.last() {
            if *next > number {
                return;
            }
            let (number_of_block, root, bytes) = self.blocks.pop().expect("it was there");
            match Block::decode(&bytes) {
                Ok(block) => {
                    self.current = Some(Current {
                        number: number_of_block,
                        root,
                        block,
                        next: 0,
                        hashes: Vec::new(),
                        is_told: false,
                    });
                }
                Err(block::Malformed) => self
                    .findings
                    .add(|| format!("the leaves of {} cannot be read", range(number_of_block))),
            }
            if number_of_block == number {
                return;
            }
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        self.skip(&mut current, |_| true);
        let number = current.number;
        let root = match &current.block {
            Block::Rows(_) => merkle_root(&current.hashes),
            Block::Removed { rows, root, signature } => {
                self.counts.removed += i64::from(*rows);
                self.rows += i64::from(*rows);
                match Block::verify_removed(self.seal, number, *rows, root, signature, self.keys) {
                    Verdict::Signed => {}
                    Verdict::Unsigned => self.counts.unsigned += i64::from(*rows),
                    _ => self
                        .findings
                        .add(|| format!("{} were removed, but not by retention with the key", range(number))),
                }
                *root
            }
        };
        if root[..] != current.root[..] && !current.is_told {
            self.findings.add(|| format!("one of {} was changed", range(number)));
        }
        self.roots.push(root);
    }
}

/// The ids of a block, in words.
fn range(number: i64) -> String {
    format!(
        "rows {} to {}",
        block::id(number, 0),
        block::id(number, (block::IDS - 1) as u8)
    )
}

/// A line of the answer: the seal, whether it holds, what there is to say.
type Line = (Option<i64>, bool, String);

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn verify_audit_log(
    head: Option<&str>,
) -> std::result::Result<
    TableIterator<'static, (name!(seal, Option<i64>), name!(ok, bool), name!(detail, String))>,
    ErrorReport,
> {
    Ok(TableIterator::new(verify(head)?))
}

#[pg_extern(sql = false)]
fn audit_head() -> String {
    ground::newest().head.to_string()
}

fn verify(head: Option<&str>) -> Result<Vec<Line>> {
    let head = head.map(parse_head).transpose()?;
    let keys = key::keys()?;
    let seals = ground::seals();
    // What a signed seal says of those before it is signed, too.
    let last_signed = seals
        .iter()
        .rposition(|stored| stored.seal.verify(&stored.signature, &keys) == Verdict::Signed);
    let mut lines = Vec::new();
    let mut after = i64::MIN;
    let mut leaves = 0;
    for (i, stored) in seals.iter().enumerate() {
        pgrx::check_for_interrupts!();
        let mut findings = Findings::default();
        let before = i.checked_sub(1).map(|before| &seals[before]);
        check_chain(&mut findings, before, stored);
        let vouched = check_signature(&mut findings, stored, &keys, last_signed.is_some_and(|last| i <= last));
        let last = stored.seal.last_id.max(after);
        let (counts, of_seal) = check_rows(&mut findings, stored, after, last, &keys);
        leaves += of_seal;
        after = last;
        let holds = findings.is_empty();
        let detail = if holds {
            counts.tell(stored, vouched)
        } else {
            findings.tell()
        };
        lines.push((Some(stored.seal.id), holds, detail));
    }
    if let Some(head) = head {
        lines.push(check_head(head, &seals));
    }
    let all_leaves = ground::number(&LEAVES, i64::MIN).unwrap_or_default();
    if all_leaves != leaves {
        let of_none = all_leaves - leaves;
        lines.push((
            None,
            false,
            format!("there are {of_none} blocks of leaves of no seal: a seal was removed"),
        ));
    }
    lines.push(unsealed(after));
    Ok(lines)
}

fn parse_head(text: &str) -> Result<Head> {
    Head::parse(text).ok_or_else(|| {
        Error::bad_argument(
            format!("head {} is none", shown(text)),
            "Give what memory.audit_head() once gave: a number, a colon, 64 hexadecimal digits.",
        )
    })
}

fn check_chain(findings: &mut Findings, before: Option<&Stored>, stored: &Stored) {
    let (expected, last, hash) = before.map_or((1, i64::MIN, NOTHING), |before| {
        (before.seal.id + 1, before.seal.last_id, before.seal.hash())
    });
    let seal = &stored.seal;
    if seal.id != expected {
        findings.add(|| {
            if seal.id == expected + 1 {
                format!("seal {expected} before it is missing")
            } else {
                format!("seals {expected} to {} before it are missing", seal.id - 1)
            }
        });
    } else if seal.previous != hash {
        findings.add(|| "the seal before it was changed".to_owned());
    }
    if seal.last_id <= last && before.is_some() {
        findings.add(|| "it ends before the seal before it does".to_owned());
    }
    if stored.hash != seal.hash() || !stored.is_whole {
        findings.add(|| "the seal was changed".to_owned());
    }
}

/// Whether the seal is signed, by itself or by a later one.
fn check_signature(findings: &mut Findings, stored: &Stored, keys: &Keys, is_vouched: bool) -> bool {
    let name = stored.seal.key;
    let key = || name.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match stored.seal.verify(&stored.signature, keys) {
        Verdict::Signed => return true,
        Verdict::Wrong => findings.add(|| "its signature is wrong".to_owned()),
        Verdict::UnknownKey if is_vouched => return true,
        Verdict::UnknownKey => findings.add(|| format!("it is signed with the key {}, which is not known here", key())),
        Verdict::Unsigned if keys.0.is_empty() || is_vouched => return is_vouched,
        Verdict::Unsigned => findings.add(|| "it is not signed, though there is a key".to_owned()),
    }
    false
}

/// Compares the rows of a seal; gives also how many blocks of leaves it has.
fn check_rows(findings: &mut Findings, stored: &Stored, after: i64, last: i64, keys: &Keys) -> (Counts, i64) {
    let seal = &stored.seal;
    let mut blocks = ground::blocks(seal.id, after, last);
    let count = blocks.len() as i64;
    blocks.reverse();
    let mut check = Check {
        keys,
        seal: seal.id,
        findings: std::mem::take(findings),
        counts: Counts::default(),
        rows: 0,
        roots: Vec::new(),
        blocks,
        current: None,
    };
    ground::each_entry(after, last, |entry| check.row(entry));
    check.open_up_to(i64::MAX);
    check.close();
    let root = merkle_root(&check.roots);
    if check.rows != seal.rows {
        let (rows, sealed) = (check.rows, seal.rows);
        check
            .findings
            .add(|| format!("{sealed} rows were sealed, and there are leaves of {rows}"));
    }
    if root != seal.root && check.findings.is_empty() {
        check.findings.add(|| "the leaves were changed".to_owned());
    }
    if seal.key != NO_KEY && check.counts.unsigned > 0 {
        let unsigned = check.counts.unsigned;
        check
            .findings
            .add(|| format!("{unsigned} rows were redacted or removed without the key"));
    }
    *findings = check.findings;
    (check.counts, count)
}

impl Counts {
    fn tell(&self, stored: &Stored, is_vouched: bool) -> String {
        let mut parts = vec![format!("{} rows up to {}", stored.seal.rows, stored.seal.last_id)];
        if self.redacted > 0 {
            parts.push(format!("{} redacted", self.redacted));
        }
        if self.removed > 0 {
            parts.push(format!("{} removed by retention", self.removed));
        }
        if self.unsigned > 0 && is_vouched {
            parts.push(format!("{} of these without a key", self.unsigned));
        }
        if stored.seal.key == NO_KEY {
            parts.push(
                if is_vouched {
                    "not signed itself, but by a later one"
                } else {
                    "not signed: there is no key"
                }
                .to_owned(),
            );
        }
        parts.join(", ")
    }
}

fn check_head(head: Head, seals: &[Stored]) -> Line {
    let count = seals.len();
    let newest = seals.last().map_or(0, |stored| stored.seal.id);
    let found = seals.iter().find(|stored| stored.seal.id == head.seal);
    let (ok, detail) = match found {
        _ if head.seal == 0 => (head.hash == NOTHING, "the head is of a log without a seal".to_owned()),
        Some(stored) if stored.seal.hash() == head.hash => (true, format!("the head is seal {} of {count}", head.seal)),
        Some(_) => (false, format!("seal {} is not the one that the head is of", head.seal)),
        None if head.seal > newest => (
            false,
            format!(
                "the head is seal {}, and the last one here is {newest}: the end was cut off",
                head.seal
            ),
        ),
        None => (false, format!("seal {}, which the head is of, is missing", head.seal)),
    };
    (None, ok, detail)
}

/// What no seal covers yet.
fn unsealed(after: i64) -> Line {
    let rows = ground::number(&UNSEALED, after).unwrap_or_default();
    let seconds = ground::number(&AGE, after).unwrap_or_default();
    let detail = match rows {
        0 => "every row is sealed".to_owned(),
        _ => format!("{rows} rows are not sealed yet, the oldest for {seconds} s"),
    };
    (None, true, detail)
}
