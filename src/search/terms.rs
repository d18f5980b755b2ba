//! A query's terms in one language, and where terms stand in a text: what BM25 looks for, and what tells whether a phrase is there.
//!
//! Pure: no PostgreSQL.

use std::collections::HashMap;

use super::query::Query;
use super::text::{self, Lexer, Term};

/// A phrase: per place, counted from its first, the terms of which one stands there.
pub type Phrase = Vec<(u32, Vec<Term>)>;

/// The most phrases of a query, those that a word falls into included: a bit each.
const MOST_PHRASES: usize = 64;

/// A phrase is taken by so many of its first words.
const LONGEST_PHRASE: usize = 32;

/// A query's terms in one language.
#[derive(Debug, Default)]
pub struct Terms {
    /// Any of which may match, each once.
    pub words: Vec<Term>,
    pub phrases: Vec<Phrase>,
    pub excluded: Vec<Term>,
    excluded_phrases: Vec<Phrase>,
}

impl Terms {
    pub fn new(query: &Query<'_>, lexer: &mut impl Lexer, pause: &mut dyn FnMut()) -> Self {
        let mut terms = Self::default();
        let words = query.words.join(" ");
        text::read(&words, lexer, pause, &mut |term, _, weighs| {
            if weighs {
                terms.words.push(term);
            }
        });
        for phrase in &query.phrases {
            let phrase = read_phrase(phrase, lexer, pause);
            match &phrase[..] {
                [(_, alternatives)] => terms.words.extend(alternatives),
                phrase => terms.add_phrase(phrase, false),
            }
        }
        // An excluded word that the parser takes apart is a phrase.
        for phrase in query.excluded_words.iter().chain(&query.excluded_phrases) {
            let phrase = read_phrase(phrase, lexer, pause);
            match &phrase[..] {
                [(_, alternatives)] => terms.excluded.extend(alternatives),
                phrase => terms.add_phrase(phrase, true),
            }
        }
        for list in [&mut terms.words, &mut terms.excluded] {
            list.sort_unstable();
            list.dedup();
        }
        terms
    }

    fn add_phrase(&mut self, phrase: &[(u32, Vec<Term>)], excluded: bool) {
        if phrase.is_empty() || self.phrases.len() + self.excluded_phrases.len() == MOST_PHRASES {
            return;
        }
        let list = if excluded {
            &mut self.excluded_phrases
        } else {
            &mut self.phrases
        };
        list.push(phrase.to_vec());
    }

    /// All phrases; the excluded ones come last.
    pub fn all_phrases(&self) -> impl Iterator<Item = &Phrase> {
        self.phrases.iter().chain(&self.excluded_phrases)
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.phrases.is_empty()
    }
}

fn read_phrase(phrase: &str, lexer: &mut impl Lexer, pause: &mut dyn FnMut()) -> Phrase {
    let mut read: Phrase = Vec::new();
    text::read(phrase, lexer, pause, &mut |term, place, _| {
        let room = read.len() < LONGEST_PHRASE;
        match read.last_mut() {
            Some((last, alternatives)) if *last == place => alternatives.push(term),
            _ if room => read.push((place, vec![term])),
            _ => {}
        }
    });
    let first = read.first().map_or(0, |(place, _)| *place);
    read.iter_mut().for_each(|(place, _)| *place -= first);
    read
}

/// Where terms stand in a text.
#[derive(Default)]
pub struct Places(HashMap<Term, Vec<u32>>);

impl Places {
    /// Places come ascending.
    pub fn add(&mut self, term: Term, place: u32) {
        self.0.entry(term).or_default().push(place);
    }

    /// Whether the phrase is there. `pause` is called for each place where it may begin.
    pub fn hold(&self, phrase: &Phrase, pause: &mut dyn FnMut()) -> bool {
        let stands = |(offset, terms): &(u32, Vec<Term>), start: u32| {
            terms.iter().any(|term| {
                self.0
                    .get(term)
                    .is_some_and(|places| places.binary_search(&(start + offset)).is_ok())
            })
        };
        let Some((_, first)) = phrase.first() else {
            return false;
        };
        let starts = first.iter().filter_map(|term| self.0.get(term)).flatten();
        starts.into_iter().any(|start| {
            pause();
            phrase[1..].iter().all(|place| stands(place, *start))
        })
    }
}
