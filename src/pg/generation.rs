//! Generations: how a cache in memory knows that what it holds is what the database holds.
//!
//! A *topic* is something that changes: a table, or a part of one (a user's rows). Each has a generation in shared memory. Who
//! fills a cache reads the topic's `stamp` first, then the rows, and keeps both; what is kept serves while the stamp stands and no longer.
//!
//! **Protocol.** A trigger says what its transaction changes (`changed`). Before that transaction can be seen to have committed
//! (or is prepared: who ends it then tells nobody) its id is noted with the topic, then the generation moves. So
//! - what was kept under an older generation is out of use before anybody sees the change;
//! - who asks `is_seen` with a snapshot, after reading the stamp, learns whether that snapshot sees the end of every transaction that is
//!   noted. Only then does the stamp speak of what the snapshot sees: it may fill a cache, or be answered from one.
//!
//! Together: an answer from a cache is what the reader's own snapshot would have given, whatever its age. A rolled-back change costs
//! a cache its contents, no more; a transaction does not use what it has changed itself (`has_changed`). Atomics only: nobody waits, and who
//! is killed leaves nothing behind. Topics that share a line by their hash share their changes.
//!
//! A standby learns of changes by replay, of which nobody tells: there a stamp says nothing of changes, and what is kept under it is as old as whoever
//! keeps it allows. Stamps of a server that replays and of one that writes are never equal, so promotion puts all that was kept before out of
//! use at once; and what was prepared before it is waited for, as after a start.
//!
//! Of each topic the ids of three transactions are kept, so that a long transaction elsewhere, which holds back every snapshot's xmin, does not stop
//! the caches. One that has ended makes room for the next; a snapshot then has to be younger than that (or to have its xmin above it).

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::xact::{self, Listener};
use super::{process, shmem};

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    table: u64,
    /// 0: the whole table.
    part: u64,
}

impl Topic {
    /// A table, by its database and OID.
    pub const fn table(database: u32, relation: u32) -> Self {
        Self {
            table: (database as u64) << 32 | relation as u64,
            part: 0,
        }
    }

    /// The part of the table that has this hash.
    pub fn part(self, hash: u64) -> Self {
        Self { part: hash | 1, ..self }
    }

    /// The table's database and OID in one.
    pub fn table_word(self) -> u64 {
        self.table
    }

    fn whole(self) -> Self {
        Self { part: 0, ..self }
    }
}

/// The generations of a topic and of its table at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub table: u64,
    pub part: u64,
}

/// What a snapshot says of transactions, by ids of 64 bits.
pub trait Seen {
    /// Every id below has ended.
    fn xmin(&self) -> u64;
    /// No id from here on has.
    fn xmax(&self) -> u64;
    fn has_ended(&self, xid: u64) -> bool;
}

/// Of the transactions that run now.
pub trait Running {
    fn is_running(&self, xid: u64) -> bool;
    fn next_xid(&self) -> u64;
}

const LINE: usize = 8;
const TABLES: usize = 256;
const PARTS: usize = 4096;

// Words of a line.
const GENERATION: usize = 0;
const CHANGERS: std::ops::Range<usize> = 1..4;
/// The highest id that made room for another, and the next id to be given out at that moment.
const ENDED: usize = 4;
const ENDED_BEFORE: usize = 5;
/// The highest id for which there was no room.
const UNPLACED: usize = 6;

/// What the server does. Also the word that holds the id above all that may have changed anything before the generations began in this era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Writing = 0,
    Replaying = 1,
}

/// Of the generation in a stamp: whether the server replayed.
const REPLAYING: u64 = 1 << 63;

/// How many words of memory the generations take.
pub fn words() -> usize {
    LINE * (1 + TABLES + PARTS)
}

/// The generations in some words, in an era.
#[derive(Clone, Copy)]
pub struct Generations<'a> {
    pub words: &'a [AtomicU64],
    pub era: Era,
}

impl Generations<'_> {
    pub fn stamp(&self, topic: Topic) -> Stamp {
        let generation = |line: &[AtomicU64]| line[GENERATION].load(Ordering::Acquire);
        let era = if self.era == Era::Replaying { REPLAYING } else { 0 };
        Stamp {
            table: generation(self.table(topic)) | era,
            part: if topic.part == 0 {
                0
            } else {
                generation(self.part(topic))
            },
        }
    }

    /// Whether the snapshot sees the end of every transaction that is known to have changed the topic. Ask after `stamp`.
    pub fn is_seen(&self, topic: Topic, snapshot: &impl Seen) -> bool {
        let born = self.born().load(Ordering::Acquire);
        let part = (topic.part != 0).then(|| self.part(topic));
        let mut lines = [Some(self.table(topic)), part].into_iter().flatten();
        born != 0
            && born <= snapshot.xmin()
            && lines.all(|line| {
                let mut changers = line[CHANGERS].iter().map(|changer| changer.load(Ordering::Acquire));
                changers.all(|xid| xid == 0 || snapshot.has_ended(xid))
                    && (line[ENDED].load(Ordering::Acquire) < snapshot.xmin()
                        || line[ENDED_BEFORE].load(Ordering::Acquire) < snapshot.xmax())
                    && line[UNPLACED].load(Ordering::Acquire) < snapshot.xmin()
            })
    }

    /// Notes who changes the topic, and makes every stamp of it an old one.
    pub fn change(&self, topic: Topic, xid: u64, running: &impl Running) {
        let line = if topic.part == 0 {
            self.table(topic)
        } else {
            self.part(topic)
        };
        let replace = |word: &AtomicU64, old: u64| {
            word.compare_exchange(old, xid, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        let placed = line[CHANGERS].iter().any(|word| {
            let old = word.load(Ordering::Acquire);
            if old == xid {
                return true;
            }
            if old != 0 {
                if running.is_running(old) {
                    return false;
                }
                // Who no longer finds the old id finds these.
                line[ENDED].fetch_max(old, Ordering::AcqRel);
                line[ENDED_BEFORE].fetch_max(running.next_xid(), Ordering::AcqRel);
            }
            replace(word, old)
        });
        if !placed {
            line[UNPLACED].fetch_max(xid, Ordering::AcqRel);
        }
        self.advance(topic);
    }

    /// Makes every stamp of the topic an old one.
    pub fn advance(&self, topic: Topic) {
        let line = if topic.part == 0 {
            self.table(topic)
        } else {
            self.part(topic)
        };
        line[GENERATION].fetch_add(1, Ordering::AcqRel);
    }

    /// Begins, once in an era: transactions up to here are not known.
    pub fn begin(&self, running: &impl Running) {
        if self.born().load(Ordering::Acquire) == 0 {
            let _ = self
                .born()
                .compare_exchange(0, running.next_xid(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn born(&self) -> &AtomicU64 {
        &self.words[self.era as usize]
    }

    fn table(&self, topic: Topic) -> &[AtomicU64] {
        self.line(1 + fold(topic.table, 0x9e37_79b9_7f4a_7c15) as usize % TABLES)
    }

    fn part(&self, topic: Topic) -> &[AtomicU64] {
        self.line(1 + TABLES + fold(topic.table ^ topic.part, 0xa076_1d64_78bd_642f) as usize % PARTS)
    }

    fn line(&self, number: usize) -> &[AtomicU64] {
        &self.words[number * LINE..(number + 1) * LINE]
    }
}

/// Folded multiplication: the two halves of the 128-bit product, xor-ed (as in wyhash).
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A hash of some bytes and of where each ends.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xe703_7ed1_a0b4_28db;
    for part in parts {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = fold(hash ^ u64::from_le_bytes(word), 0x9e37_79b9_7f4a_7c15);
        }
        hash = fold(hash ^ part.len() as u64, 0xa076_1d64_78bd_642f);
    }
    hash
}

/// The memory that the generations live in: `_PG_init` hands it to `shmem`.
pub static MEMORY: shmem::Part = shmem::Part::new(words);

/// How many topics a transaction changes before it is said to change their tables.
const MOST_TOPICS: usize = 64;

thread_local! {
    /// What this transaction has changed.
    static CHANGED: RefCell<Vec<Topic>> = const { RefCell::new(Vec::new()) };
    /// The tables that it writes to, of which it may see more than `CHANGED` says.
    static WRITTEN: RefCell<Vec<Topic>> = const { RefCell::new(Vec::new()) };
}

fn generations() -> Generations<'static> {
    let generations = Generations {
        words: MEMORY.words(),
        era: if xact::is_standby() {
            Era::Replaying
        } else {
            Era::Writing
        },
    };
    generations.begin(&xact::Now);
    generations
}

/// This transaction changes the topic; called by a trigger.
pub fn changed(topic: Topic) {
    CHANGED.with_borrow_mut(|changed| {
        if changed.contains(&topic) || changed.contains(&topic.whole()) {
            return;
        }
        if changed.len() < MOST_TOPICS {
            return changed.push(topic);
        }
        changed.retain(|other| other.table != topic.table);
        changed.push(topic.whole());
    });
}

/// This transaction begins to write to the table; `changed` tells later what.
pub fn writes(table: Topic) {
    WRITTEN.with_borrow_mut(|written| {
        if !written.contains(&table) {
            written.push(table);
        }
    });
}

/// Whether this transaction has changed the topic, or may have: then no cache speaks of what it sees.
pub fn has_changed(topic: Topic) -> bool {
    let changed = CHANGED.with_borrow(|changed| {
        changed
            .iter()
            .any(|other| *other == topic || other.table == topic.table && (other.part == 0 || topic.part == 0))
    });
    changed
        || WRITTEN.with_borrow(|written| written.iter().any(|table| table.table == topic.table))
        || process::is_parallel_worker_of_a_writer()
}

/// The topic's stamp now.
pub fn stamp(topic: Topic) -> Stamp {
    generations().stamp(topic)
}

/// Whether what was kept under the topic's stamp is what the snapshot sees; ask after `stamp`.
pub fn is_seen(topic: Topic, snapshot: &xact::Snapshot) -> bool {
    generations().is_seen(topic, snapshot)
}

/// Makes every stamp of the topic an old one.
pub fn advance(topic: Topic) {
    generations().advance(topic);
}

/// The ends of transactions move the generations.
pub const LISTENER: Listener = Listener {
    before_commit: tell,
    before_prepare: tell,
    after_commit: forget,
    after_abort: forget,
    ..Listener::DEAF
};

fn tell() {
    CHANGED.with_borrow(|changed| {
        if let (false, Some(xid)) = (changed.is_empty(), xact::own_xid()) {
            let generations = generations();
            for topic in changed {
                generations.change(*topic, xid, &xact::Now);
            }
        }
    });
}

fn forget() {
    CHANGED.with_borrow_mut(Vec::clear);
    WRITTEN.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
#[path = "generation_tests.rs"]
mod tests;
