//! BM25 (Robertson, Zaragoza: The Probabilistic Relevance Framework, 2009) over the documents of a scope, in one pass: how many there
//! are, how long they are and how many hold each term is counted while they are matched. So the statistics are those of exactly the documents that
//! the caller sees.
//!
//! Any word of the query may match. A phrase counts as its words do, where they follow one another; a document that holds an excluded
//! word or phrase is none. Whether words follow one another a document does not say: its text is asked (`Phrases`).
//!
//! Pure: no PostgreSQL.

use std::collections::HashMap;

use super::document::Part;
use super::terms::Terms;
use super::text::Term;

/// Below so many terms each is looked for in a document; else each term of the document in the query.
const FEW: usize = 24;

/// A document that may match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Document {
    pub user: u32,
    pub node: u128,
    pub language: u32,
    length: u32,
    /// Where its matches begin.
    matches: u32,
}

/// A document that matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub user: u32,
    pub node: u128,
    pub score: f64,
}

/// Which phrases documents of one language hold, as bits in the order of `Terms::all_phrases`.
pub trait Phrases {
    fn held(&mut self, language: u32, terms: &Terms, documents: &[Document]) -> Vec<u64>;

    /// Called for every document: whoever wants to stop the work unwinds from here.
    fn pause(&mut self) {}
}

/// The constants of BM25.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// How soon more of the same word stops to count.
    pub k1: f64,
    /// How much length counts against a document, from 0 to 1.
    pub b: f64,
}

/// A term that is looked for.
struct Slot {
    term: Term,
    is_word: bool,
    is_excluded: bool,
    /// How many documents hold it.
    documents: u32,
}

/// What is looked for in documents of one language.
struct Language {
    code: u32,
    terms: Terms,
    slots: Vec<Slot>,
    by_term: HashMap<Term, u32>,
}

/// The pass over the documents.
pub struct Index {
    languages: Vec<Language>,
    /// Languages of documents that are not among these.
    unknown: Vec<u32>,
    users: Vec<String>,
    documents: Vec<Document>,
    /// Slot and count.
    matches: Vec<(u32, u8)>,
    count: u64,
    total_length: u64,
    /// The document whose parts are coming.
    current: Option<Current>,
}

struct Current {
    document: Document,
    language: usize,
    excluded: bool,
}

impl Index {
    /// Looks for a query in documents of these languages.
    pub fn new(languages: impl IntoIterator<Item = (u32, Terms)>) -> Self {
        let language = |(code, terms): (u32, Terms)| {
            let mut slots: HashMap<Term, Slot> = HashMap::new();
            let slot = |term: &Term| Slot {
                term: *term,
                is_word: false,
                is_excluded: false,
                documents: 0,
            };
            for term in &terms.words {
                slots.entry(*term).or_insert_with_key(slot).is_word = true;
            }
            for term in &terms.excluded {
                slots.entry(*term).or_insert_with_key(slot).is_excluded = true;
            }
            for term in terms.all_phrases().flatten().flat_map(|(_, alternatives)| alternatives) {
                slots.entry(*term).or_insert_with_key(slot);
            }
            let mut slots: Vec<Slot> = slots.into_values().collect();
            // What is summed up comes in one order whatever the hashing.
            slots.sort_unstable_by_key(|slot| slot.term);
            let by_term = slots
                .iter()
                .enumerate()
                .map(|(i, slot)| (slot.term, i as u32))
                .collect();
            Language {
                code,
                terms,
                slots,
                by_term,
            }
        };
        Self {
            languages: languages.into_iter().map(language).collect(),
            unknown: Vec::new(),
            users: Vec::new(),
            documents: Vec::new(),
            matches: Vec::new(),
            count: 0,
            total_length: 0,
            current: None,
        }
    }

    /// A part of a document. Parts of one document come one after the other, and documents of one user.
    pub fn visit(&mut self, user: &str, node: u128, part: &Part<'_>) {
        let new_user = self.users.last().is_none_or(|last| last != user);
        if new_user
            || self
                .current
                .as_ref()
                .is_none_or(|current| current.document.node != node)
        {
            self.end_document();
            if new_user {
                self.users.push(user.to_owned());
            }
            if part.len() > 0 {
                self.count += 1;
                self.total_length += u64::from(part.length);
            }
            let Some(language) = self
                .languages
                .iter()
                .position(|language| language.code == part.language)
            else {
                if !self.unknown.contains(&part.language) {
                    self.unknown.push(part.language);
                }
                return;
            };
            self.current = Some(Current {
                document: Document {
                    user: self.users.len() as u32 - 1,
                    node,
                    language: part.language,
                    length: part.length,
                    matches: self.matches.len() as u32,
                },
                language,
                excluded: false,
            });
        }
        let Some(current) = &mut self.current else {
            return;
        };
        let language = &mut self.languages[current.language];
        let mut matched = |slots: &mut [Slot], slot: usize, count: u8| {
            slots[slot].documents += 1;
            current.excluded |= slots[slot].is_excluded;
            self.matches.push((slot as u32, count));
        };
        if language.slots.len() <= FEW {
            for slot in 0..language.slots.len() {
                if let Some(count) = part.count(language.slots[slot].term) {
                    matched(&mut language.slots, slot, count);
                }
            }
        } else {
            for (term, count) in part.terms() {
                if let Some(slot) = language.by_term.get(&term) {
                    matched(&mut language.slots, *slot as usize, count);
                }
            }
        }
    }

    fn end_document(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        let first = current.document.matches as usize;
        if current.excluded || self.matches.len() == first {
            self.matches.truncate(first);
        } else {
            self.documents.push(current.document);
        }
    }

    /// Languages of documents that were passed over: nothing said what to look for there.
    pub fn unknown_languages(&self) -> &[u32] {
        &self.unknown
    }

    /// The users whose documents were visited, by the numbers that documents give.
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// The documents that match, in no order.
    pub fn score(&mut self, constants: Constants, phrases: &mut dyn Phrases) -> Vec<Scored> {
        self.end_document();
        let held = self.held_phrases(phrases);
        let average = self.total_length as f64 / self.count.max(1) as f64;
        let Constants { k1, b } = constants;
        let weights: Vec<Vec<f64>> = self.languages.iter().map(|language| self.weights(language)).collect();
        let ends = self.documents[..]
            .iter()
            .skip(1)
            .map(|document| document.matches as usize);
        let ends = ends.chain([self.matches.len()]);
        let mut scored = Vec::with_capacity(self.documents.len());
        for (i, (document, end)) in self.documents.iter().zip(ends).enumerate() {
            phrases.pause();
            let at = self.language(document.language);
            let language = &self.languages[at];
            let matches = &self.matches[document.matches as usize..end];
            let held = held.get(&(i as u32)).copied().unwrap_or(0);
            if held >> language.terms.phrases.len() != 0 {
                continue;
            }
            let norm = k1 * (1.0 - b + b * f64::from(document.length) / average.max(1.0));
            let worth = |(slot, count): &(u32, u8)| {
                let count = f64::from(*count);
                weights[at][*slot as usize] * count * (k1 + 1.0) / (count + norm)
            };
            let words = matches
                .iter()
                .filter(|(slot, _)| language.slots[*slot as usize].is_word);
            let mut score: f64 = words.map(worth).sum();
            for (number, phrase) in language.terms.phrases.iter().enumerate() {
                if held & (1 << number) != 0 {
                    let terms = |slot: u32| {
                        let term = language.slots[slot as usize].term;
                        phrase.iter().any(|(_, alternatives)| alternatives.contains(&term))
                    };
                    score += matches.iter().filter(|(slot, _)| terms(*slot)).map(worth).sum::<f64>();
                }
            }
            if score > 0.0 {
                scored.push(Scored {
                    user: document.user,
                    node: document.node,
                    score,
                });
            }
        }
        scored
    }

    /// Inverse document frequency, never below zero.
    fn weights(&self, language: &Language) -> Vec<f64> {
        let count = self.count as f64;
        let weight = |slot: &Slot| {
            let documents = f64::from(slot.documents).min(count);
            (1.0 + (count - documents + 0.5) / (documents + 0.5)).ln()
        };
        language.slots.iter().map(weight).collect()
    }

    fn language(&self, code: u32) -> usize {
        self.languages
            .iter()
            .position(|language| language.code == code)
            .expect("documents of known languages are kept")
    }

    /// Which phrases documents hold, of those that hold the words of one; others hold none.
    fn held_phrases(&self, phrases: &mut dyn Phrases) -> HashMap<u32, u64> {
        let mut held = HashMap::new();
        for language in &self.languages {
            if language.terms.all_phrases().next().is_none() {
                continue;
            }
            let places: Vec<u32> = (0..self.documents.len() as u32)
                .filter(|i| {
                    phrases.pause();
                    self.may_hold(language, *i)
                })
                .collect();
            let asked: Vec<Document> = places.iter().map(|i| self.documents[*i as usize]).collect();
            held.extend(
                places
                    .into_iter()
                    .zip(phrases.held(language.code, &language.terms, &asked)),
            );
        }
        held
    }

    /// Whether the document is of the language and holds all words of one of the phrases.
    fn may_hold(&self, language: &Language, document: u32) -> bool {
        let i = document as usize;
        if self.documents[i].language != language.code {
            return false;
        }
        let end = self
            .documents
            .get(i + 1)
            .map_or(self.matches.len(), |next| next.matches as usize);
        let matches = &self.matches[self.documents[i].matches as usize..end];
        let has = |term: &Term| {
            matches
                .iter()
                .any(|(slot, _)| language.slots[*slot as usize].term == *term)
        };
        language
            .terms
            .all_phrases()
            .any(|phrase| phrase.iter().all(|(_, alternatives)| alternatives.iter().any(has)))
    }
}

#[cfg(test)]
#[path = "bm25_tests.rs"]
mod tests;
