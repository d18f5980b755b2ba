//! A ring of records in shared memory: many processes put records in, any number take them out.
//!
//! **Layout.** A header (the next number, how many were dropped), then slots: state, tag, length, bytes in words. A record has a number, in the
//! order of `push`, and a tag that says whose it is (a database and a table).
//!
//! **States.** A slot is free, being written, or ready; the number of its record stands beside. A producer takes the first free slot from where
//! its number points, by compare-and-swap, so nobody waits and nothing unread is overwritten: where all are taken the record is dropped and counted.
//! Who reads copies a ready slot and looks whether it was the same record all along. It stays until `free`, which whoever has stored the record calls
//! after its commit: until then others may read it too, so a record has an id of its own by which the second one to store it does nothing.
//!
//! A process that is killed while it writes leaves a slot taken; PostgreSQL then starts anew, with empty memory.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The next number, and how many were dropped, on a line of their own.
const HEADER: usize = 8;
const NEXT: usize = 0;
const DROPPED: usize = 1;

// Words of a slot.
const STATE: usize = 0;
const TAG: usize = 1;
const LENGTH: usize = 2;
const BYTES: usize = 3;

// A state is the number of the record, times four, and one of these.
const FREE: u64 = 0;
const WRITING: u64 = 1;
const READY: u64 = 2;

/// A view of the words.
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    words: &'a [AtomicU64],
    slots: usize,
    slot_bytes: usize,
}

/// Where a record is, for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: usize,
    /// In the order of `push`, from 0.
    pub number: u64,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub place: Place,
    pub tag: u64,
    pub bytes: Vec<u8>,
}

/// How many words a ring of so many slots takes.
pub const fn words_for(slots: usize, slot_bytes: usize) -> usize {
    HEADER + slots * slot_words(slot_bytes)
}

/// Whole cache lines.
const fn slot_words(slot_bytes: usize) -> usize {
    (BYTES + slot_bytes.div_ceil(8)).next_multiple_of(8)
}

impl<'a> Ring<'a> {
    /// On words that are zero at first.
    pub fn new(words: &'a [AtomicU64], slots: usize, slot_bytes: usize) -> Self {
        assert!(words.len() >= words_for(slots, slot_bytes));
        Self {
            words,
            slots,
            slot_bytes,
        }
    }

    fn slot(&self, slot: usize) -> &'a [AtomicU64] {
        let words = slot_words(self.slot_bytes);
        &self.words[HEADER + slot * words..][..words]
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.words[NEXT].load(Ordering::SeqCst)
    }

    /// How many records found no place, of those that fit into a slot.
    pub fn dropped(&self) -> u64 {
        self.words[DROPPED].load(Ordering::Relaxed)
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        (0..self.slots)
            .filter(|slot| self.slot(*slot)[STATE].load(Ordering::Relaxed) & 3 != FREE)
            .count()
    }

    /// Puts a record in. None where it does not fit into a slot, or every slot is taken, which is counted.
    pub fn push(&self, tag: u64, bytes: &[u8]) -> Option<Place> {
        if bytes.len() > self.slot_bytes {
            return None;
        }
        let number = self.words[NEXT].fetch_add(1, Ordering::SeqCst);
        for i in 0..self.slots {
            let at = (number as usize).wrapping_add(i) % self.slots;
            let slot = self.slot(at);
            let state = slot[STATE].load(Ordering::Relaxed);
            let taken = state & 3 != FREE
                || slot[STATE]
                    .compare_exchange(state, number << 2 | WRITING, Ordering::Acquire, Ordering::Relaxed)
                    .is_err();
            if taken {
                continue;
            }
            // A reader that copies what follows sees that the state has moved.
            fence(Ordering::Release);
            slot[TAG].store(tag, Ordering::Relaxed);
            slot[LENGTH].store(bytes.len() as u64, Ordering::Relaxed);
            for (word, chunk) in slot[BYTES..].iter().zip(bytes.chunks(8)) {
                let mut eight = [0; 8];
                eight[..chunk.len()].copy_from_slice(chunk);
                word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
            }
            slot[STATE].store(number << 2 | READY, Ordering::Release);
            return Some(Place { slot: at, number });
        }
        self.words[DROPPED].fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The records that are there and whose tag is `wanted`, at most so many, the oldest first.
    pub fn read(&self, most: usize, wanted: impl Fn(u64) -> bool) -> Vec<Record> {
        let mut ready: Vec<Place> = (0..self.slots)
            .filter_map(|slot| {
                let state = self.slot(slot)[STATE].load(Ordering::Acquire);
                (state & 3 == READY).then_some(Place {
                    slot,
                    number: state >> 2,
                })
            })
            .collect();
        ready.sort_unstable_by_key(|place| place.number);
        let records = ready.into_iter().filter_map(|place| self.copy(place));
        records.filter(|record| wanted(record.tag)).take(most).collect()
    }

    fn copy(&self, place: Place) -> Option<Record> {
        let slot = self.slot(place.slot);
        if !self.holds(place) {
            return None;
        }
        let tag = slot[TAG].load(Ordering::Relaxed);
        let length = (slot[LENGTH].load(Ordering::Relaxed) as usize).min(self.slot_bytes);
        let mut bytes: Vec<u8> = slot[BYTES..][..length.div_ceil(8)]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        bytes.truncate(length);
        fence(Ordering::Acquire);
        self.holds(place).then_some(Record { place, tag, bytes })
    }

    /// Whether the record is still there.
    pub fn holds(&self, place: Place) -> bool {
        self.slot(place.slot)[STATE].load(Ordering::Acquire) == place.number << 2 | READY
    }

    /// The record's slot is free again; once it was freed, nothing.
    pub fn free(&self, place: Place) {
        let _ = self.slot(place.slot)[STATE].compare_exchange(
            place.number << 2 | READY,
            place.number << 2 | FREE,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet, VecDeque};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    fn words(slots: usize, slot_bytes: usize) -> Vec<AtomicU64> {
        std::iter::repeat_with(AtomicU64::default)
            .take(words_for(slots, slot_bytes))
            .collect()
    }

    fn drain(ring: &Ring<'_>, tag: u64) -> Vec<Vec<u8>> {
        let records = ring.read(99, |of| of == tag);
        records.iter().for_each(|record| ring.free(record.place));
        records.into_iter().map(|record| record.bytes).collect()
    }

    #[test]
    fn a_full_ring_overwrites_nothing_and_counts() {
        let words = words(2, 10);
        let ring = Ring::new(&words, 2, 10);
        assert!(ring.push(1, b"eleven byte").is_none());
        assert_eq!(ring.dropped(), 0);
        let a = ring.push(1, b"a").unwrap();
        ring.push(2, b"ten bytes!").unwrap();
        assert!(ring.push(1, b"c").is_none());
        assert_eq!(ring.dropped(), 1);
        let all: Vec<_> = ring.read(9, |_| true).into_iter().map(|r| r.bytes).collect();
        assert_eq!(all, [b"a".to_vec(), b"ten bytes!".to_vec()]);
        ring.free(a);
        ring.free(a);
        assert!(!ring.holds(a));
        assert!(ring.push(1, b"").is_some());
        assert_eq!(drain(&ring, 1), [b"".to_vec()]);
        assert_eq!(ring.read(9, |_| true).len(), 1);
    }

    proptest! {
        /// Against a queue of bounded length.
        #[test]
        fn it_is_a_bounded_queue(steps in proptest::collection::vec((0u8..3, 0u64..3, proptest::collection::vec(any::<u8>(), 0..20)), 0..200)) {
            let words = words(7, 16);
            let ring = Ring::new(&words, 7, 16);
            let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
            let mut dropped = 0;
            for (what, tag, bytes) in steps {
                if what < 2 {
                    let fits = bytes.len() <= 16;
                    let placed = ring.push(tag, &bytes).is_some();
                    prop_assert_eq!(placed, fits && model.len() < 7);
                    dropped += u64::from(fits && !placed);
                    if placed {
                        model.push_back((tag, bytes));
                    }
                } else {
                    let drained = drain(&ring, tag);
                    let expected: Vec<_> = model.iter().filter(|(of, _)| *of == tag).map(|(_, b)| b.clone()).collect();
                    prop_assert_eq!(drained, expected);
                    model.retain(|(of, _)| *of != tag);
                }
                prop_assert_eq!(ring.dropped(), dropped);
                let all: Vec<_> = ring.read(99, |_| true).into_iter().map(|r| (r.tag, r.bytes)).collect();
                prop_assert_eq!(all, model.iter().cloned().collect::<Vec<_>>());
            }
        }
    }

    /// Producers and readers at once: each record comes out whole, and at least once, or was counted as dropped.
    #[test]
    fn threads_lose_nothing() {
        const PRODUCERS: u64 = 4;
        const EACH: u64 = 20_000;
        let words = words(16, 64);
        let ring = Ring::new(&words, 16, 64);
        let seen: Mutex<HashMap<u64, u64>> = Mutex::default();
        let done = AtomicBool::new(false);
        let read = || {
            for record in ring.read(9, |_| true) {
                let id = u64::from_ne_bytes(record.bytes[..8].try_into().unwrap());
                let length = 8 + (id % 57) as usize;
                assert_eq!(record.bytes.len(), length);
                assert!(record.bytes[8..].iter().all(|byte| *byte == id as u8), "torn");
                assert_eq!(record.tag, id);
                seen.lock().unwrap().insert(record.place.number, id);
                ring.free(record.place);
            }
        };
        let pushed: Mutex<HashSet<u64>> = Mutex::default();
        std::thread::scope(|scope| {
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let pushed = &pushed;
                    scope.spawn(move || {
                        for i in 0..EACH {
                            let id = producer * EACH + i;
                            let mut bytes = id.to_ne_bytes().to_vec();
                            bytes.resize(8 + (id % 57) as usize, id as u8);
                            if ring.push(id, &bytes).is_some() {
                                pushed.lock().unwrap().insert(id);
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        read();
                    }
                });
            }
            for producer in producers {
                producer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        read();
        read();
        let (seen, pushed) = (seen.into_inner().unwrap(), pushed.into_inner().unwrap());
        assert_eq!(seen.values().copied().collect::<HashSet<_>>(), pushed);
        assert_eq!(seen.len(), pushed.len());
        assert_eq!(pushed.len() as u64 + ring.dropped(), PRODUCERS * EACH);
        assert!(!pushed.is_empty());
    }
}
