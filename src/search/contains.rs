//! Whether a text contains another, case ignored.
//!
//! Case is folded as Unicode lower case, character by character, whatever the database's locale is: under the locale C,
//! PostgreSQL's own lower() knows ASCII only. A text is read window by window, in time linear to its length, so that a long
//! one can be interrupted.

/// How much of a text is folded and searched at once, in bytes: a millisecond or so.
const WINDOW: usize = 1 << 20;

/// What is looked for, folded once.
pub struct Needle {
    folded: String,
}

impl Needle {
    pub fn new(needle: &str) -> Self {
        let mut folded = String::with_capacity(needle.len());
        fold(needle, &mut folded);
        Self { folded }
    }

    /// Whether a text in the server's encoding contains it; the empty one is in every text. `pause` is called between windows.
    pub fn is_in(&self, text: &[u8], pause: impl FnMut()) -> bool {
        self.is_in_windows(&String::from_utf8_lossy(text), WINDOW, pause)
    }

    fn is_in_windows(&self, text: &str, window: usize, mut pause: impl FnMut()) -> bool {
        // What is carried over to the next window is searched again: no more than is new there.
        let window = window.max(self.folded.len());
        let mut rest = text;
        let mut folded = String::with_capacity(window.min(text.len()) + self.folded.len());
        loop {
            let (now, later) = rest.split_at(rest.ceil_char_boundary(window));
            fold(now, &mut folded);
            if folded.contains(&self.folded) {
                return true;
            }
            if later.is_empty() {
                return false;
            }
            pause();
            // A match that is not over yet began among the last bytes, fewer than it has.
            let kept = folded.len() - folded.len().min(self.folded.len());
            folded.drain(..folded.ceil_char_boundary(kept));
            rest = later;
        }
    }
}

/// Lower case, character by character: unlike `str::to_lowercase` a capital sigma is the same at the end of a word.
fn fold(text: &str, folded: &mut String) {
    if text.is_ascii() {
        let start = folded.len();
        folded.push_str(text);
        folded[start..].make_ascii_lowercase();
    } else {
        folded.extend(text.chars().flat_map(char::to_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(text: &str, needle: &str) -> bool {
        Needle::new(needle).is_in(text.as_bytes(), || ())
    }

    #[test]
    fn case_is_ignored_beyond_ascii_too() {
        assert!(contains("Hello World", "O w"));
        assert!(contains("GRÜSSE aus Köln", "grüsse"));
        assert!(contains("ΟΔΟΣ", "οδοσ"));
        assert!(contains("5 \u{212a}", "5 k"));
        assert!(contains("abc", ""));
        assert!(contains("", ""));
        assert!(contains("aaab", "AAB"));
        assert!(!contains("abc", "abcd"));
        assert!(!contains("", "a"));
        assert!(!contains("100%", "1%"));
    }

    #[test]
    fn a_long_text_takes_linear_time_and_pauses() {
        let text = "a".repeat(4 * WINDOW);
        let mut pauses = 0;
        assert!(!Needle::new(&("a".repeat(WINDOW / 2) + "b")).is_in(text.as_bytes(), || pauses += 1));
        assert_eq!(pauses, 3);
    }

    proptest! {
        #[test]
        fn windows_do_not_matter(text in "[aAbBéİK ]{0,24}", needle in "[aAbBé ]{0,4}", window in 1usize..9) {
            let whole = |text: &str| { let mut folded = String::new(); fold(text, &mut folded); folded };
            prop_assert_eq!(
                Needle::new(&needle).is_in_windows(&text, window, || ()),
                whole(&text).contains(&whole(&needle))
            );
        }
    }
}
