//! What a text says, as terms: the words that PostgreSQL's parser and dictionaries make of it, and what these drop or lump together,
//! whatever the database's locale is. Text in scripts that are written without spaces becomes its characters and pairs of them; an
//! emoji is a term of its own. Letters are folded to lower case as Unicode has it.
//!
//! Pure: the parser is behind `Lexer`.

/// A term as documents hold it: a hash of its bytes, of 56 bits.
pub type Term = u64;

/// Makes words of a text; PostgreSQL's parser and dictionaries, or a test's.
pub trait Lexer {
    /// Calls `visit` with each lexeme and its place, counted from 1; gives the last place, of stop words too. The text is of at
    /// most `CHUNK` bytes and a word.
    fn lexemes(&mut self, text: &str, visit: &mut dyn FnMut(&[u8], u32)) -> u32;
}

/// How much text is parsed at once: a few milliseconds, and fewer places than PostgreSQL's parser counts.
pub const CHUNK: usize = 16 * 1024;

/// Words longer than this are cut: PostgreSQL would drop them, and say so to the client.
const LONGEST: usize = 1000;

/// FNV-1a, and a last mix so that all bits of the hash count. Stored in documents: it stays as it is.
pub fn term(bytes: &[u8]) -> Term {
    let hash = fnv(bytes);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)) >> 8
}

/// FNV-1a, 64 bits.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What a character is to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As the parser reads it.
    Plain,
    /// Of a script without spaces.
    Unspaced,
    /// An emoji or another pictograph.
    Picture,
    /// Half of a flag.
    Flag,
    /// Punctuation beyond ASCII, which a parser may take for a letter.
    Space,
    /// An apostrophe beyond ASCII.
    Apostrophe,
    /// Shows nothing, or only changes the picture before it.
    Nothing,
}

fn kind(character: char) -> Kind {
    match character as u32 {
        ..0x80 => Kind::Plain,
        0xaa | 0xb5 | 0xba => Kind::Plain,
        0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff => Kind::Nothing,
        0x1f3fb..=0x1f3ff | 0xe0000..=0xe0fff | 0x20e3 => Kind::Nothing,
        0x2018 | 0x2019 | 0x201b | 0x2bc | 0xff07 => Kind::Apostrophe,
        0x80..0xc0 | 0xd7 | 0xf7 | 0x2000..=0x206f | 0x20a0..=0x20cf => Kind::Space,
        0x2300..=0x23ff | 0x2600..=0x27bf | 0x2b00..=0x2bff => Kind::Picture,
        0x2190..=0x2bff | 0x2e00..=0x2e7f => Kind::Space,
        0x3005..=0x3007 => Kind::Unspaced,
        0x3000..=0x3030 | 0xfe10..=0xfe6f | 0xff00..=0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65 => {
            Kind::Space
        }
        // Thai, Lao, Myanmar, Khmer
        0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff => Kind::Unspaced,
        // Hangul, kana, Han
        0x1100..=0x11ff | 0x2e80..=0x2fdf | 0x3031..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff => Kind::Unspaced,
        0xf900..=0xfaff | 0xff66..=0xffdc | 0x1b000..=0x1b16f | 0x20000..=0x3ffff => Kind::Unspaced,
        0x1f1e6..=0x1f1ff => Kind::Flag,
        0x1f000..=0x1faff => Kind::Picture,
        _ => Kind::Plain,
    }
}

/// Reads a text: calls `visit` with each term and its place, ascending; `weighs` is false for what stands there besides (the single
/// characters of a script without spaces, beside their pairs). Gives the last place. `pause` is called between chunks.
pub fn read(
    text: &str,
    lexer: &mut impl Lexer,
    pause: &mut dyn FnMut(),
    visit: &mut dyn FnMut(Term, u32, bool),
) -> u32 {
    let mut reader = Reader {
        lexer,
        words: String::with_capacity(text.len().min(CHUNK) + 4),
        unbroken: 0,
        place: 0,
        pause,
        visit,
    };
    let mut characters = text.chars().peekable();
    let mut run = Vec::new();
    while let Some(character) = characters.next() {
        match kind(character) {
            Kind::Plain => reader.letter(character),
            Kind::Space => reader.space(),
            Kind::Apostrophe => reader.letter('\''),
            Kind::Nothing => {}
            Kind::Picture => reader.picture(&[character]),
            Kind::Flag => match characters.next_if(|next| kind(*next) == Kind::Flag) {
                Some(second) => reader.picture(&[character, second]),
                None => reader.picture(&[character]),
            },
            Kind::Unspaced => {
                run.clear();
                run.push(character);
                while let Some(next) = characters.next_if(|next| kind(*next) == Kind::Unspaced) {
                    run.push(next);
                }
                reader.run(&run);
            }
        }
    }
    reader.flush();
    reader.place
}

struct Reader<'a, L> {
    lexer: &'a mut L,
    /// What the lexer has not been given yet.
    words: String,
    /// How many of its last bytes hold no blank.
    unbroken: usize,
    place: u32,
    pause: &'a mut dyn FnMut(),
    visit: &'a mut dyn FnMut(Term, u32, bool),
}

impl<L: Lexer> Reader<'_, L> {
    fn letter(&mut self, character: char) {
        if character.is_ascii() {
            self.words.push(character.to_ascii_lowercase());
        } else {
            self.words.extend(character.to_lowercase());
        }
        if character.is_ascii_whitespace() {
            self.unbroken = 0;
            if self.words.len() >= CHUNK - LONGEST - 16 {
                self.flush();
            }
        } else {
            self.unbroken += character.len_utf8();
            if self.unbroken >= LONGEST {
                self.space();
            }
        }
    }

    fn space(&mut self) {
        self.letter(' ');
    }

    fn flush(&mut self) {
        if !self.words.trim_ascii().is_empty() {
            let (place, visit) = (self.place, &mut *self.visit);
            let last = self
                .lexer
                .lexemes(&self.words, &mut |lexeme, at| visit(term(lexeme), place + at, true));
            self.place += last;
            (self.pause)();
        }
        self.words.clear();
        self.unbroken = 0;
    }

    fn picture(&mut self, characters: &[char]) {
        self.flush();
        self.place += 1;
        self.emit(characters, true);
    }

    /// Characters of a script without spaces: each, and each with the next. A pair weighs, and a single one that stands alone.
    fn run(&mut self, characters: &[char]) {
        self.flush();
        for (i, character) in characters.iter().enumerate() {
            if i % CHUNK == CHUNK - 1 {
                (self.pause)();
            }
            self.place += 1;
            self.emit(&[*character], characters.len() == 1);
            if let Some(next) = characters.get(i + 1) {
                self.emit(&[*character, *next], true);
            }
        }
    }

    fn emit(&mut self, characters: &[char], weighs: bool) {
        let mut bytes = [0; 8];
        let mut length = 0;
        for character in characters {
            length += character.encode_utf8(&mut bytes[length..]).len();
        }
        (self.visit)(term(&bytes[..length]), self.place, weighs);
    }
}

/// A lexer for tests: words are what stands between other characters, "the" and "of" are stop words, a last s goes.
#[cfg(test)]
pub struct Plain;

#[cfg(test)]
impl Lexer for Plain {
    fn lexemes(&mut self, text: &str, visit: &mut dyn FnMut(&[u8], u32)) -> u32 {
        assert!(text.len() <= CHUNK);
        let mut place = 0;
        for word in text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            assert!(word.len() <= LONGEST + 4);
            place += 1;
            if !["the", "of"].contains(&word) {
                visit(word.strip_suffix('s').unwrap_or(word).as_bytes(), place);
            }
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(text: &str) -> Vec<(Term, u32, bool)> {
        let mut terms = Vec::new();
        read(text, &mut Plain, &mut || (), &mut |term, place, weighs| {
            terms.push((term, place, weighs))
        });
        terms
    }

    fn words(expected: &[(&str, u32, bool)]) -> Vec<(Term, u32, bool)> {
        expected
            .iter()
            .map(|(word, place, weighs)| (term(word.as_bytes()), *place, *weighs))
            .collect()
    }

    #[test]
    fn words_are_the_lexers_and_stop_words_keep_their_place() {
        assert_eq!(
            terms("Cats of the House"),
            words(&[("cat", 1, true), ("house", 4, true)])
        );
        assert_eq!(
            terms("ÜBER “quoted” don’t"),
            words(&[("über", 1, true), ("quoted", 2, true), ("don", 3, true), ("t", 4, true)])
        );
        assert_eq!(terms(""), []);
        assert_eq!(terms("the — of"), []);
    }

    #[test]
    fn scripts_without_spaces_are_characters_and_pairs() {
        let expected = [
            ("我", 1, false),
            ("我爱", 1, true),
            ("爱", 2, false),
            ("爱你", 2, true),
            ("你", 3, false),
            ("ok", 4, true),
        ];
        assert_eq!(terms("我爱你。OK"), words(&expected));
        assert_eq!(terms("爱"), words(&[("爱", 1, true)]));
    }

    #[test]
    fn emoji_are_terms_whatever_modifies_them() {
        assert_eq!(terms("so 👍🏽!"), words(&[("so", 1, true), ("👍", 2, true)]));
        assert_eq!(terms("❤\u{fe0f}"), words(&[("❤", 1, true)]));
        assert_eq!(
            terms("👩\u{200d}💻🇩🇪🇫🇷"),
            words(&[("👩", 1, true), ("💻", 2, true), ("🇩🇪", 3, true), ("🇫🇷", 4, true)])
        );
    }

    #[test]
    fn long_words_are_cut_and_long_texts_read_in_pieces() {
        let text = format!("{} {}", "x".repeat(5000), "word ".repeat(20_000));
        let mut pauses = 0;
        let mut count = 0;
        let last = read(&text, &mut Plain, &mut || pauses += 1, &mut |_, _, _| count += 1);
        assert_eq!((count, last), (20_005, 20_005));
        assert!(pauses > 5);
    }

    #[test]
    fn a_term_is_the_same_for_ever() {
        assert_eq!(term(b""), 0xefd01f60ba9929);
        assert_eq!(term(b"cat"), 0x98e25a302c6eb1);
        assert_eq!(term("кот".as_bytes()), 0x4932be3f2fbd49);
    }

    proptest! {
        #[test]
        fn places_ascend_and_no_text_is_too_much(text in "[a-z \\u{4e00}-\\u{4e20}\\u{1f600}-\\u{1f610}\\u{2019}\\u{200d}\\u{1f1e6}-\\u{1f1e9}éÜ.]{0,60}") {
            let terms = terms(&text);
            prop_assert!(terms.is_sorted_by_key(|(_, place, _)| *place));
            prop_assert!(terms.iter().all(|(term, ..)| *term < 1 << 56));
        }

        #[test]
        fn case_does_not_matter(text in "[a-zA-ZéÉ ]{0,30}") {
            prop_assert_eq!(terms(&text), terms(&text.to_lowercase()));
        }
    }
}
