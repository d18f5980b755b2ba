//! The tenant cache: answers of the resolver in one array of 64-bit atomics that all backends share.
//!
//! **Layout.** A header (seed), counters striped by backend, one tag per entry, the entries.
//! An entry belongs to a set of 8 to 15; a key may stand in either of two sets. The first place of each set holds an answer
//! that found nothing, the others one that found a tenant, so a flood of unknown keys never displaces a known one.
//!
//! **Reading** takes no lock: an entry is a seqlock. The reader copies its words between two reads of its sequence number
//! and takes an uneven or moved number for a miss. A writer owns an entry by making the number odd; who finds it odd gives up.
//!
//! **Freshness.** An answer is published under the generation of its table (see `pg::generation`); an answer of another generation
//! is none.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::answer::{self, Answer};
use super::identifier::Key;
use crate::pg::generation::{Topic, fold};

const LINE: usize = 8;
const STRIPES: usize = 256;
const COUNTERS: usize = LINE;
const TAGS: usize = COUNTERS + STRIPES * LINE;
const ENTRY: usize = 24;
const WAYS: usize = 8;

// Words of an entry.
const SEQUENCE: usize = 0;
const GENERATION: usize = 1;
const FILLED: usize = 2;
const TABLE: usize = 3;
const REFERENCED: usize = 4;
const KEY: usize = 5;
const ANSWER: usize = 13;

/// The counters, summed over all backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub size: u64,
}

/// One of the counters.
#[derive(Clone, Copy)]
pub enum Counter {
    Hits,
    Misses,
    Evictions,
}

/// How many words a cache of this many entries takes.
pub fn words_for(entries: usize) -> usize {
    TAGS + entries.next_multiple_of(LINE) + entries * ENTRY
}

/// A view of the words.
#[derive(Clone, Copy)]
pub struct Cache<'a> {
    words: &'a [AtomicU64],
    entries: usize,
    /// Which stripe this backend counts in.
    stripe: usize,
}

impl<'a> Cache<'a> {
    pub fn new(words: &'a [AtomicU64], entries: usize, backend: usize) -> Self {
        debug_assert!(words.len() >= words_for(entries));
        Self {
            words,
            entries,
            stripe: backend % STRIPES,
        }
    }

    pub fn capacity(&self) -> usize {
        self.entries
    }

    pub fn count(&self, counter: Counter) {
        self.words[COUNTERS + self.stripe * LINE + counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The answer for the key, of this generation and not older than `ttl_ms`.
    pub fn get(&self, table: Topic, key: &Key, generation: u64, now_ms: u64, ttl_ms: u64) -> Option<Answer> {
        let words = key.words();
        let tag = self.tag(table, key, &words);
        for set in self.sets(tag) {
            for place in set {
                if self.words[TAGS + place].load(Ordering::Relaxed) == tag
                    && let Some(entry) = self.read(place)
                    && entry.table == table.table_word()
                    && entry.key == words
                    && entry.generation == generation
                    && now_ms.saturating_sub(entry.filled_ms) < ttl_ms
                {
                    let referenced = &self.entry(place)[REFERENCED];
                    if referenced.load(Ordering::Relaxed) == 0 {
                        referenced.store(1, Ordering::Relaxed);
                    }
                    return Answer::from_words(&entry.answer);
                }
            }
        }
        None
    }

    /// Publishes an answer under the generation that was read before its lookup. Gives up where another backend is
    /// writing to the same place.
    pub fn put(&self, table: Topic, key: &Key, answer: &Answer, generation: u64, now_ms: u64) {
        let words = key.words();
        let tag = self.tag(table, key, &words);
        let place = self.choose(tag, answer.found(), table, &words, generation);
        let entry = self.entry(place);
        let sequence = entry[SEQUENCE].load(Ordering::Relaxed);
        let owned = sequence.is_multiple_of(2)
            && entry[SEQUENCE]
                .compare_exchange(sequence, sequence + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !owned {
            return;
        }
        fence(Ordering::Release);
        let before = self.words[TAGS + place].load(Ordering::Relaxed);
        if before != 0 && before != tag {
            self.count(Counter::Evictions);
        }
        let set = |at: usize, value: u64| entry[at].store(value, Ordering::Relaxed);
        set(GENERATION, generation);
        set(FILLED, now_ms);
        set(TABLE, table.table_word());
        set(REFERENCED, 1);
        for (i, word) in words.iter().enumerate() {
            set(KEY + i, *word);
        }
        for (i, word) in answer.to_words().into_iter().enumerate() {
            set(ANSWER + i, word);
        }
        self.words[TAGS + place].store(tag, Ordering::Relaxed);
        entry[SEQUENCE].store(sequence + 2, Ordering::Release);
    }

    /// Empties the cache; the counters go on.
    pub fn clear(&self) {
        for place in 0..self.entries {
            self.words[TAGS + place].store(0, Ordering::Relaxed);
        }
    }

    pub fn stats(&self) -> Stats {
        let sum = |counter: Counter| {
            (0..STRIPES)
                .map(|stripe| self.words[COUNTERS + stripe * LINE + counter as usize].load(Ordering::Relaxed))
                .sum()
        };
        let filled = |place: &usize| self.words[TAGS + place].load(Ordering::Relaxed) != 0;
        Stats {
            hits: sum(Counter::Hits),
            misses: sum(Counter::Misses),
            evictions: sum(Counter::Evictions),
            size: (0..self.entries).filter(filled).count() as u64,
        }
    }

    /// Sets the seed of the hash, once; keys that collide on one server do not on another.
    pub fn seed(&self, seed: u64) {
        let _ = self.words[0].compare_exchange(0, seed | 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn entry(&self, place: usize) -> &'a [AtomicU64] {
        let start = TAGS + self.entries.next_multiple_of(LINE) + place * ENTRY;
        &self.words[start..start + ENTRY]
    }

    /// The hash of table and key; never 0, which marks an empty place.
    fn tag(&self, table: Topic, key: &Key, words: &[u64; 8]) -> u64 {
        let seed = self.words[0].load(Ordering::Relaxed);
        let mut hash = seed ^ table.table_word();
        for word in &words[..key.used_words()] {
            hash = fold(hash ^ word, 0xa076_1d64_78bd_642f);
        }
        fold(hash, 0xe703_7ed1_a0b4_28db) | 1
    }

    /// The two sets that a tag may stand in.
    fn sets(&self, tag: u64) -> [std::ops::Range<usize>; 2] {
        let sets = self.entries / WAYS;
        let range = |set: usize| set * self.entries / sets..(set + 1) * self.entries / sets;
        [range((tag >> 1) as usize % sets), range((tag >> 33) as usize % sets)]
    }

    /// The place to write to: the key's own, else an empty or stale one, else the first that was not used since the last
    /// time round.
    fn choose(&self, tag: u64, found: bool, table: Topic, words: &[u64; 8], generation: u64) -> usize {
        let sets = self.sets(tag);
        // The first place of each set is for answers that found nothing, the others for tenants.
        let places = || {
            sets.iter().flat_map(|set| {
                let at = set.start + 1;
                if found { at..set.end } else { set.start..at }
            })
        };
        let own = |place: &usize| {
            self.words[TAGS + place].load(Ordering::Relaxed) == tag
                && self
                    .read(*place)
                    .is_some_and(|e| e.table == table.table_word() && e.key == *words)
        };
        let free = |place: &usize| {
            self.words[TAGS + place].load(Ordering::Relaxed) == 0
                || self
                    .read(*place)
                    .is_some_and(|e| e.table == table.table_word() && e.generation != generation)
        };
        if let Some(place) = places().find(own).or_else(|| places().find(free)) {
            return place;
        }
        // Second chance: the first unused since the last time round, starting where the key says.
        let all: Vec<usize> = places().collect();
        let start = (tag >> 17) as usize % all.len();
        let round = || all[start..].iter().chain(&all[..start]).copied();
        let unused = |place: &usize| self.entry(*place)[REFERENCED].load(Ordering::Relaxed) == 0;
        round().find(unused).unwrap_or_else(|| {
            for place in round() {
                self.entry(place)[REFERENCED].store(0, Ordering::Relaxed);
            }
            all[start]
        })
    }

    fn read(&self, place: usize) -> Option<Entry> {
        let entry = self.entry(place);
        let before = entry[SEQUENCE].load(Ordering::Acquire);
        if !before.is_multiple_of(2) {
            return None;
        }
        let get = |at: usize| entry[at].load(Ordering::Relaxed);
        let copy = Entry {
            generation: get(GENERATION),
            filled_ms: get(FILLED),
            table: get(TABLE),
            key: std::array::from_fn(|i| get(KEY + i)),
            answer: std::array::from_fn(|i| get(ANSWER + i)),
        };
        fence(Ordering::Acquire);
        (entry[SEQUENCE].load(Ordering::Relaxed) == before).then_some(copy)
    }
}

struct Entry {
    generation: u64,
    filled_ms: u64,
    table: u64,
    key: [u64; 8],
    answer: [u64; answer::WORDS],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::answer::Slug;
    use crate::tenant::identifier::Identifier;

    const T: Topic = Topic::table(5, 16_384);
    /// The generation of most of what is put and asked.
    const G: u64 = 3;

    fn words(entries: usize) -> Vec<AtomicU64> {
        std::iter::repeat_with(AtomicU64::default)
            .take(words_for(entries))
            .collect()
    }

    fn key(text: &str) -> Key {
        match Identifier::parse(text.as_bytes()) {
            Identifier::Key(key) => key,
            other => panic!("{other:?}"),
        }
    }

    fn tenant(n: u8) -> Answer {
        Answer::BySlug {
            uuid: [n; 16],
            slug: Slug::new(&format!("tenant-{n}")).unwrap(),
        }
    }

    #[test]
    fn gives_back_what_was_put_until_the_ttl() {
        let words = words(64);
        let cache = Cache::new(&words, 64, 0);
        cache.put(T, &key("acme"), &tenant(7), G, 1000);
        assert_eq!(cache.get(T, &key("acme"), G, 1999, 1000), Some(tenant(7)));
        assert_eq!(cache.get(T, &key("acme"), G, 2000, 1000), None);
        assert_eq!(cache.get(T, &key("acmf"), G, 1000, 1000), None);
        let other = Topic::table(6, 16_384);
        assert_eq!(cache.get(other, &key("acme"), G, 1000, 1000), None);
    }

    #[test]
    fn an_answer_of_another_generation_is_none() {
        let words = words(64);
        let cache = Cache::new(&words, 64, 0);
        cache.put(T, &key("a"), &tenant(1), G - 1, 0);
        assert_eq!(cache.get(T, &key("a"), G, 0, 1000), None);
        assert_eq!(cache.get(T, &key("a"), G - 1, 0, 1000), Some(tenant(1)));
    }

    #[test]
    fn a_full_cache_evicts_and_keeps_its_capacity() {
        for entries in [8, 15, 64, 100] {
            let words = words(entries);
            let cache = Cache::new(&words, entries, 3);
            for i in 0..1000 {
                cache.put(T, &key(&format!("t{i}")), &tenant(1), G, 0);
            }
            let stats = cache.stats();
            assert!(
                stats.size <= entries as u64 && stats.evictions > 0,
                "{entries}: {stats:?}"
            );
        }
    }

    #[test]
    fn a_flood_of_unknown_keys_displaces_no_known_one() {
        let words = words(128);
        let cache = Cache::new(&words, 128, 0);
        for i in 0..64 {
            cache.put(T, &key(&format!("known{i}")), &tenant(i), G, 0);
        }
        let kept = (0..64)
            .filter(|i| cache.get(T, &key(&format!("known{i}")), G, 0, 1).is_some())
            .count();
        let size = cache.stats().size;
        for i in 0..100_000 {
            cache.put(T, &key(&format!("unknown{i}")), &Answer::UnknownSlug, G, 0);
        }
        let still = (0..64)
            .filter(|i| cache.get(T, &key(&format!("known{i}")), G, 0, 1).is_some())
            .count();
        assert_eq!((kept, still), (64, 64));
        assert!(cache.stats().size - size <= 128 / 8);
    }

    #[test]
    fn readers_beside_writers_never_see_a_mixture() {
        let words = words(8);
        let cache = Cache::new(&words, 8, 0);
        std::thread::scope(|scope| {
            for n in 1..=2u8 {
                scope.spawn(move || {
                    for _ in 0..200_000 {
                        cache.put(T, &key("k"), &tenant(n), G, 0);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..200_000 {
                    let answer = cache.get(T, &key("k"), G, 0, 1);
                    assert!(answer.is_none_or(|a| a == tenant(1) || a == tenant(2)), "{answer:?}");
                }
            });
        });
    }

    #[test]
    fn clearing_forgets_answers_and_keeps_counters() {
        let words = words(64);
        let cache = Cache::new(&words, 64, 0);
        cache.put(T, &key("a"), &tenant(1), G, 0);
        cache.count(Counter::Hits);
        cache.clear();
        assert_eq!(cache.get(T, &key("a"), G, 0, 1000), None);
        assert_eq!(
            cache.stats(),
            Stats {
                hits: 1,
                ..Stats::default()
            }
        );
    }
}
