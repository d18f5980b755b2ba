//! What a query asks for, written as for websearch_to_tsquery: words; "phrases"; -words and -"phrases" that may not be there; the
//! word or, which says nothing here, as any word may match. Every text is a query: there is no syntax to get wrong.

/// The most phrases; what is quoted beyond counts as words.
const MOST_PHRASES: usize = 64;

/// How much of a query is read, in bytes.
const MOST_TEXT: usize = 256 * 1024;

/// A query's texts, as they were written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// Of which any may match.
    pub words: Vec<&'a str>,
    /// Each of which may match as a whole.
    pub phrases: Vec<&'a str>,
    /// Of which none may be there.
    pub excluded_words: Vec<&'a str>,
    /// Of which none may be there as a whole.
    pub excluded_phrases: Vec<&'a str>,
}

impl<'a> Query<'a> {
    pub fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        let mut rest = &query[..query.floor_char_boundary(MOST_TEXT)];
        loop {
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else {
                return parsed;
            };
            let excluded = first == '-' && rest[1..].starts_with(|c: char| !c.is_whitespace());
            if excluded {
                rest = &rest[1..];
            }
            if let Some(quoted) = rest.strip_prefix('"') {
                // A quote that is not closed goes on to the end.
                let (phrase, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                parsed.add_phrase(phrase, excluded);
                rest = after;
            } else {
                let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                if excluded {
                    parsed.excluded_words.push(word);
                } else if !word.eq_ignore_ascii_case("or") {
                    parsed.words.push(word);
                }
                rest = after;
            }
        }
    }

    fn add_phrase(&mut self, phrase: &'a str, excluded: bool) {
        let room = self.phrases.len() + self.excluded_phrases.len() < MOST_PHRASES;
        match (room, excluded) {
            (true, true) => self.excluded_phrases.push(phrase),
            (true, false) => self.phrases.push(phrase),
            // To drop whatever holds one of its words would be another question.
            (false, true) => {}
            (false, false) => self.words.push(phrase),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed<'a>(
        words: &[&'a str],
        phrases: &[&'a str],
        excluded: &[&'a str],
        excluded_phrases: &[&'a str],
    ) -> Query<'a> {
        Query {
            words: words.to_vec(),
            phrases: phrases.to_vec(),
            excluded_words: excluded.to_vec(),
            excluded_phrases: excluded_phrases.to_vec(),
        }
    }

    #[test]
    fn a_query_is_written_as_for_websearch() {
        for (text, expected) in [
            ("cats and dogs", parsed(&["cats", "and", "dogs"], &[], &[], &[])),
            ("\"new york\" pizza", parsed(&["pizza"], &["new york"], &[], &[])),
            ("jaguar -car", parsed(&["jaguar"], &[], &["car"], &[])),
            ("jaguar -\"sports car\"", parsed(&["jaguar"], &[], &[], &["sports car"])),
            (
                "well-known - thing",
                parsed(&["well-known", "-", "thing"], &[], &[], &[]),
            ),
            ("cats OR dogs or", parsed(&["cats", "dogs"], &[], &[], &[])),
            ("\"open to the end", parsed(&[], &["open to the end"], &[], &[])),
            ("a\"b c\"d", parsed(&["a", "d"], &["b c"], &[], &[])),
            ("--x", parsed(&[], &[], &["-x"], &[])),
            ("-", parsed(&["-"], &[], &[], &[])),
            ("-\"", parsed(&[], &[], &[], &[""])),
            (
                "' & | ! <-> :* ()",
                parsed(&["'", "&", "|", "!", "<->", ":*", "()"], &[], &[], &[]),
            ),
            ("", Query::default()),
            (" \t\n", Query::default()),
        ] {
            assert_eq!(Query::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn phrases_beyond_the_most_are_words() {
        let text = "\"a b\" ".repeat(100) + "-\"c d\"";
        let query = Query::parse(&text);
        assert_eq!(
            (query.phrases.len(), query.words.len(), query.excluded_phrases.len()),
            (64, 36, 0)
        );
    }

    proptest! {
        /// Words and phrases that are written down are read again, each as what it was written as.
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec((any::<bool>(), prop_oneof!["[a-z\u{e9}][a-z0-9-]{0,5}", "[a-z ]{1,8}"]), 0..20)) {
            let mut expected = Query::default();
            let mut text = String::new();
            for (excluded, part) in &parts {
                let is_phrase = part.contains(' ') || part == "or";
                let minus = if *excluded { "-" } else { "" };
                let quote = if is_phrase { "\"" } else { "" };
                text.push_str(&format!("{minus}{quote}{part}{quote} "));
                match (is_phrase, *excluded) {
                    (true, false) => expected.phrases.push(part),
                    (true, true) => expected.excluded_phrases.push(part),
                    (false, false) => expected.words.push(part),
                    (false, true) => expected.excluded_words.push(part),
                }
            }
            prop_assert_eq!(Query::parse(&text), expected);
        }

        #[test]
        fn every_text_is_a_query(text in "[a\"\\- \u{e9}or]{0,40}") {
            let query = Query::parse(&text);
            let read: usize = [&query.words, &query.phrases, &query.excluded_words, &query.excluded_phrases]
                .into_iter().flatten().map(|part| part.len()).sum();
            prop_assert!(read <= text.len());
        }
    }
}
