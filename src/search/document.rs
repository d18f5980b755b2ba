//! The document of a node: its terms with how often each stands there, in parts that fit the tuples of an index.
//!
//! A node has three fields: summary, content's strings and numbers (its keys not), tags. A term counts as often as in the field that
//! has it most often: applications repeat in content what the summary says.
//!
//! Pure: no PostgreSQL. Layout of a part, little-endian: the language (4 bytes), the document's length, which is the sum of its counts
//! (4 bytes), then a word of 8 bytes per term, ascending over the parts: the term in the upper 56 bits, its count, at most 255, in the lower 8.

use std::borrow::Cow;

use super::text::{self, Lexer, Term};

/// How much of a node's text is read, in bytes.
pub const MOST_TEXT: usize = 1 << 20;

/// The most terms in a part: 2,000 bytes of the 2,700 that a tuple of an index takes.
const MOST_TERMS: usize = 250;

const HEADER: usize = 8;

/// Content that a summary holds word by word is not read again; looked for in summaries of at most so many bytes.
const LONGEST_SUMMARY: usize = 4096;

/// A node's text, by fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text<'a> {
    summary: Cow<'a, str>,
    content: Vec<Cow<'a, str>>,
    tags: Vec<Cow<'a, str>>,
    /// Bytes that are still taken.
    left: usize,
}

impl<'a> Text<'a> {
    pub fn new(summary: Option<Cow<'a, str>>) -> Self {
        let mut text = Self {
            left: MOST_TEXT,
            ..Self::default()
        };
        if let Some(summary) = summary.and_then(|summary| text.take(summary)) {
            text.summary = summary;
        }
        text
    }

    /// As much as is left to take; None where nothing is.
    fn take(&mut self, value: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let end = value.floor_char_boundary(self.left);
        self.left -= end;
        match value {
            _ if end == 0 => None,
            Cow::Borrowed(value) => Some(Cow::Borrowed(&value[..end])),
            Cow::Owned(mut value) => {
                value.truncate(end);
                Some(Cow::Owned(value))
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// A value in content.
    pub fn add_content(&mut self, value: Cow<'a, str>) {
        if self.summary.len() <= LONGEST_SUMMARY && holds_words(&self.summary, &value) {
            return;
        }
        if let Some(value) = self.take(value) {
            self.content.push(value);
        }
    }

    pub fn add_tag(&mut self, tag: Cow<'a, str>) {
        if let Some(tag) = self.take(tag) {
            self.tags.push(tag);
        }
    }

    fn fields(&self) -> [&[Cow<'a, str>]; 3] {
        [std::slice::from_ref(&self.summary), &self.content, &self.tags]
    }

    /// The document's parts, at least one.
    pub fn parts(
        &self,
        language: u32,
        most_bytes: usize,
        lexer: &mut impl Lexer,
        pause: &mut dyn FnMut(),
    ) -> Vec<Vec<u8>> {
        // Each field's terms, then what each field says of each term.
        let mut terms: Vec<(Term, bool)> = Vec::new();
        let mut counts: Vec<(Term, u32, bool)> = Vec::new();
        for field in self.fields() {
            for value in field {
                text::read(value, lexer, pause, &mut |term, _, weighs| terms.push((term, weighs)));
            }
            terms.sort_unstable();
            let of_term = terms.chunk_by(|a, b| a.0 == b.0);
            // false goes before true.
            counts.extend(of_term.map(|same| (same[0].0, same.len() as u32, same[same.len() - 1].1)));
            terms.clear();
        }
        // In the order of the fields, for one term: the length takes what weighs beyond the fields before.
        counts.sort_by_key(|(term, ..)| *term);
        let mut length = 0u32;
        let word = |same: &[(Term, u32, bool)]| {
            let count = same.iter().fold(0u32, |before, (_, count, weighs)| {
                let more = count.saturating_sub(before);
                if *weighs {
                    length = length.saturating_add(more);
                }
                before + more
            });
            (same[0].0 << 8) | u64::from(count.min(255))
        };
        let words: Vec<u64> = counts.chunk_by(|a, b| a.0 == b.0).map(word).collect();
        let most = (most_bytes.saturating_sub(HEADER) / 8).clamp(1, MOST_TERMS);
        let part = |words: &[u64]| {
            let mut part = Vec::with_capacity(HEADER + 8 * words.len());
            part.extend(language.to_le_bytes());
            part.extend(length.to_le_bytes());
            for word in words {
                part.extend(word.to_le_bytes());
            }
            part
        };
        if words.is_empty() {
            return vec![part(&[])];
        }
        words.chunks(most).map(part).collect()
    }

    /// The terms of each value with their places, to look for phrases.
    pub fn places(&self, lexer: &mut impl Lexer, pause: &mut dyn FnMut(), visit: &mut dyn FnMut(Term, u32)) {
        let mut base = 0u32;
        for value in self.fields().into_iter().flatten() {
            let last = text::read(value, lexer, pause, &mut |term, place, _| visit(term, base + place));
            // No phrase goes from one value into the next.
            base = base.saturating_add(last).saturating_add(1000);
        }
    }
}

/// Whether the text holds the part, from the beginning of a word to the end of one.
fn holds_words(text: &str, part: &str) -> bool {
    /// Looked for place by place; longer ones by an algorithm that prepares itself first.
    const SHORT: usize = 64;
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_word = |at: usize| !word(text[..at].chars().next_back()) && !word(text[at + part.len()..].chars().next());
    let (bytes, wanted) = (text.as_bytes(), part.as_bytes());
    match wanted {
        [] => false,
        // Where a whole character begins alike, a whole character ends alike.
        [first, ..] if wanted.len() <= SHORT => (0..(bytes.len() + 1).saturating_sub(wanted.len()))
            .any(|at| bytes[at] == *first && bytes[at..].starts_with(wanted) && is_word(at)),
        _ => text.match_indices(part).any(|(at, _)| is_word(at)),
    }
}

/// A part of a document, read in place.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub language: u32,
    pub length: u32,
    words: &'a [u8],
}

impl<'a> Part<'a> {
    /// None where the bytes are no part: an anonymised document's, until its node's trigger has run.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            language: number(0)?,
            length: number(4)?,
            words: &bytes[HEADER..],
        })
    }

    pub fn len(&self) -> usize {
        self.words.len() / 8
    }

    fn word(&self, i: usize) -> u64 {
        u64::from_le_bytes(self.words[8 * i..8 * i + 8].try_into().expect("8 bytes"))
    }

    /// Each term with its count, ascending.
    pub fn terms(&self) -> impl Iterator<Item = (Term, u8)> + use<'a> {
        let part = *self;
        (0..self.len()).map(move |i| (part.word(i) >> 8, part.word(i) as u8))
    }

    /// How often the term stands in the part.
    pub fn count(&self, term: Term) -> Option<u8> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let word = self.word(middle);
            match (word >> 8).cmp(&term) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(word as u8),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::text::{Plain, term};
    use super::*;

    fn text<'a>(summary: &'a str, content: &[&'a str], tags: &[&'a str]) -> Text<'a> {
        let mut text = Text::new(Some(summary.into()));
        content.iter().for_each(|value| text.add_content((*value).into()));
        tags.iter().for_each(|tag| text.add_tag((*tag).into()));
        text
    }

    fn count(parts: &[Vec<u8>], word: &str) -> Option<u8> {
        parts
            .iter()
            .find_map(|part| Part::read(part).unwrap().count(term(word.as_bytes())))
    }

    fn parts(text: &Text<'_>) -> Vec<Vec<u8>> {
        text.parts(7, 2500, &mut Plain, &mut || ())
    }

    #[test]
    fn a_term_counts_as_often_as_in_the_field_that_has_it_most_often() {
        let parts = parts(&text("jon: a cat", &["jon", "cat cat", "a cat"], &["cat", "pet"]));
        assert_eq!(parts.len(), 1);
        let part = Part::read(&parts[0]).unwrap();
        assert_eq!((part.language, part.length, part.len()), (7, 1 + 1 + 2 + 1, 4));
        assert_eq!(
            (
                count(&parts, "cat"),
                count(&parts, "jon"),
                count(&parts, "pet"),
                count(&parts, "dog")
            ),
            (Some(2), Some(1), Some(1), None)
        );
    }

    #[test]
    fn content_that_the_summary_holds_word_by_word_is_not_read_again() {
        assert!(holds_words("Jon: hello there", "hello there"));
        assert!(holds_words("cat, concatenate", "cat"));
        assert!(!holds_words("concatenate", "cat"));
        assert!(!holds_words("x", ""));
        assert_eq!(text("Jon: hello", &["hello", "hell"], &[]).content, ["hell"]);
    }

    #[test]
    fn a_text_without_terms_is_a_part_without_terms() {
        for empty in [Text::new(None), text("", &[""], &[]), text("the of", &[], &[])] {
            assert_eq!(parts(&empty), [[7, 0, 0, 0, 0, 0, 0, 0]]);
        }
        assert!(Part::read(b"").is_none() && Part::read(b"1234567").is_none());
    }

    #[test]
    fn so_much_text_is_read_and_no_more() {
        let long = "x ".repeat(MOST_TEXT);
        let mut text = Text::new(Some("é".into()));
        text.add_content(long.into());
        assert!(text.is_full());
        text.add_tag("tag".into());
        assert_eq!(text.tags.len(), 0);
        assert_eq!(text.content[0].len(), MOST_TEXT - 2);
    }

    #[test]
    fn phrases_end_with_their_value() {
        let mut places = Vec::new();
        text("a b", &["c"], &["d"]).places(&mut Plain, &mut || (), &mut |_, place| places.push(place));
        assert_eq!(places, [1, 2, 1003, 2004]);
    }

    proptest! {
        #[test]
        fn every_term_is_found_in_one_part(words in prop::collection::vec("[a-d]{1,4}", 0..900), most in 0usize..3000) {
            let joined = words.join(" ");
            let parts = text(&joined, &[], &[]).parts(1, most, &mut Plain, &mut || ());
            prop_assert!(parts.iter().all(|part| part.len() <= HEADER + 8 * MOST_TERMS && part.len() <= most.max(HEADER + 8)));
            let all: Vec<(Term, u8)> = parts.iter().flat_map(|part| Part::read(part).unwrap().terms().collect::<Vec<_>>()).collect();
            prop_assert!(all.is_sorted_by(|a, b| a.0 < b.0));
            let mut expected: HashMap<Term, u32> = HashMap::new();
            let mut length = 0;
            text::read(&joined, &mut Plain, &mut || (), &mut |term, _, _| { *expected.entry(term).or_default() += 1; length += 1; });
            prop_assert_eq!(all.len(), expected.len());
            for (term, count) in all {
                prop_assert_eq!(u32::from(count), expected[&term].min(255));
            }
            prop_assert_eq!(Part::read(&parts[0]).unwrap().length, length);
        }
    }
}
