//! Vocabularies: whether a word is one, and which known one was probably meant.

use std::collections::HashSet;

use crate::error::{Error, Result, shown};
use crate::pg::catalog::TableName;
use crate::pg::scan;

/// The words for one kind of type: of a node's context, of a relationship, of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    Context,
    Relationship,
    Event,
}

thread_local! {
    static TABLES: [TableName; 3] = const {
        [
            TableName::new(c"context_types", [c"context_types_pkey", c"context_types_pkey"]),
            TableName::new(c"relationship_types", [c"relationship_types_pkey", c"relationship_types_pkey"]),
            TableName::new(c"event_types", [c"event_types_pkey", c"event_types_pkey"]),
        ]
    };
}

const NAME: i16 = 1;

impl Vocabulary {
    /// Raises 22023 unless the word is known; the hint names the nearest known one. Costs 1 µs.
    pub fn check(self, word: &str) -> Result<()> {
        let (argument, register) = match self {
            Self::Context => ("context_type", "register_context_type"),
            Self::Relationship => ("relationship_type", "register_relationship_type"),
            Self::Event => ("event_type", "register_event_type"),
        };
        if self.read(scan::Key::Text(NAME, word)).is_empty() {
            let known = self.read(scan::Key::All);
            let meant = nearest(word, &known)
                .map(|known| format!("Did you mean \"{known}\"? "))
                .unwrap_or_default();
            return Err(Error::bad_argument(
                format!("{argument} {} is unknown", shown(word)),
                format!("{meant}An operator adds words: SELECT memory.{register}('…', '…')."),
            ));
        }
        Ok(())
    }

    fn read(self, key: scan::Key<'_>) -> Vec<String> {
        let mut words = Vec::new();
        let table = TABLES.with(|tables| tables[self as usize].find());
        if let Some(table) = table {
            scan::each(table.oid, table.indexes[0], key, |row| {
                words.extend(row.get::<String>(NAME as usize));
                true
            });
        }
        words
    }
}

/// The words that a batch names: each is looked up once.
pub struct Named<'a> {
    vocabulary: Vocabulary,
    known: HashSet<&'a str>,
}

impl<'a> Named<'a> {
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            known: HashSet::new(),
        }
    }

    /// As `Vocabulary::check`.
    pub fn check(&mut self, word: &'a str) -> Result<()> {
        if !self.known.contains(word) {
            self.vocabulary.check(word)?;
            self.known.insert(word);
        }
        Ok(())
    }
}

/// The known word with the least edit distance (Damerau-Levenshtein), the first of the alphabet among equals.
pub fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let word: String = word.chars().take(100).collect();
    known
        .iter()
        .min_by_key(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate.as_str()))
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_edits() {
        let known = ["message_user", "message_system", "log"].map(str::to_owned);
        assert_eq!(super::nearest("mesage_user", &known), Some("message_user"));
        assert_eq!(super::nearest("logg", &known), Some("log"));
        assert_eq!(super::nearest("x", &[]), None);
    }
}
