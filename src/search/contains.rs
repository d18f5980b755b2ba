//! Whether a text contains another, case ignored.
//!
//! Case is folded as Unicode lower case, character by character, whatever the database's locale is: under the locale C,
//! PostgreSQL's own lower() knows ASCII only.

/// What is looked for, folded once.
pub struct Needle {
    folded: String,
    /// Its first byte in both cases, where it is ASCII.
    first: Option<[u8; 2]>,
}

impl Needle {
    pub fn new(needle: &str) -> Self {
        let folded = fold(needle);
        let first = folded
            .bytes()
            .next()
            .filter(|_| needle.is_ascii())
            .map(|byte| [byte, byte.to_ascii_uppercase()]);
        Self { folded, first }
    }

    /// Whether a text in the server's encoding contains it; the empty one is in every text.
    pub fn is_in(&self, text: &[u8]) -> bool {
        match self.first {
            // In ASCII a byte is a character. Two characters beyond it become ASCII in lower case: İ (an i and a dot) and
            // K (the Kelvin sign); then only folding the whole text tells.
            Some(first) if text.is_ascii() => self.is_in_ascii(text, first),
            _ => fold(&String::from_utf8_lossy(text)).contains(&self.folded),
        }
    }

    fn is_in_ascii(&self, text: &[u8], first: [u8; 2]) -> bool {
        let needle = self.folded.as_bytes();
        let Some(last) = text.len().checked_sub(needle.len()) else {
            return false;
        };
        let mut from = 0;
        while let Some(step) = text[from..=last].iter().position(|byte| first.contains(byte)) {
            let at = from + step;
            if text[at..at + needle.len()].eq_ignore_ascii_case(needle) {
                return true;
            }
            from = at + 1;
            if from > last {
                return false;
            }
        }
        false
    }
}

/// Lower case, character by character: unlike `str::to_lowercase` a capital sigma is the same at the end of a word.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(text: &str, needle: &str) -> bool {
        Needle::new(needle).is_in(text.as_bytes())
    }

    #[test]
    fn case_is_ignored_beyond_ascii_too() {
        assert!(contains("Hello World", "O w"));
        assert!(contains("GRÜSSE aus Köln", "grüsse"));
        assert!(contains("ΟΔΟΣ", "οδοσ"));
        assert!(contains("5 \u{212a}", "5 k"));
        assert!(contains("abc", ""));
        assert!(contains("aaab", "AAB"));
        assert!(!contains("abc", "abcd"));
        assert!(!contains("", "a"));
        assert!(!contains("100%", "1%"));
    }

    proptest! {
        #[test]
        fn the_fast_way_is_the_plain_way(text in "[aAbBé ]{0,12}", needle in "[aAbB ]{0,4}") {
            prop_assert_eq!(contains(&text, &needle), fold(&text).contains(&fold(&needle)));
        }
    }
}
