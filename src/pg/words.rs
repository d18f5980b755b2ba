//! PostgreSQL's text search: the words that a configuration's parser and dictionaries make of a text, and configurations by name.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::sync::Once;

use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

/// pg_ts_config's first column, as in all catalogs.
const OID_COLUMN: i16 = 1;

/// A text search configuration (regconfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration(pg_sys::Oid);

impl Configuration {
    /// The configuration of this name in this schema; None where there is none. Asks for no privilege on the schema.
    pub fn find(schema: &str, name: &str) -> Option<Self> {
        let schema = CString::new(schema).ok()?;
        let name = CString::new(name).ok()?;
        if name.as_bytes().len() >= pg_sys::NAMEDATALEN as usize {
            return None;
        }
        // SAFETY: catalog lookups inside a transaction; a missing name gives InvalidOid. The cache compares a name up to its NUL.
        let oid = unsafe {
            let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
            if schema == pg_sys::InvalidOid {
                return None;
            }
            pg_sys::GetSysCacheOid(
                pg_sys::SysCacheIdentifier::TSCONFIGNAMENSP as i32,
                OID_COLUMN,
                pg_sys::Datum::from(name.as_ptr()),
                pg_sys::Datum::from(schema),
                pg_sys::Datum::null(),
                pg_sys::Datum::null(),
            )
        };
        (oid != pg_sys::InvalidOid).then_some(Self(oid))
    }

    /// Calls `visit` with each lexeme of a text and its place, counted from 1; gives the last place, of stop words too. Places end at
    /// 16,383, so the text is of fewer words. What a dictionary allocates is freed.
    pub fn lexemes(self, text: &str, visit: &mut dyn FnMut(&[u8], u32)) -> u32 {
        KNOWN.with_borrow_mut(|known| {
            known.turn_to(self);
            // A tag may hold blanks.
            if !known.one_by_one || text.contains('<') {
                return self.parse(text, visit);
            }
            let mut place = 0;
            for word in text.split_ascii_whitespace() {
                // At the very beginning the parser reads some signs as it does nowhere else.
                if word.as_ptr() == text.as_ptr() && !word.as_bytes()[0].is_ascii_alphanumeric() {
                    place += self.parse(word, visit);
                } else {
                    place += known.read(word, place, visit);
                }
            }
            place
        })
    }

    /// The same by PostgreSQL's parser and dictionaries, always.
    fn parse(self, text: &str, visit: &mut dyn FnMut(&[u8], u32)) -> u32 {
        let mut memory = PgMemoryContexts::new("memory_ext words");
        // SAFETY: the parser reads as many bytes as said and writes none; it grows the array of words with repalloc, all in a memory
        // context that outlives what is read of it. A word's place is a number where alen is 0, as the parser leaves it.
        unsafe {
            memory.switch_to(|_| {
                let room = (text.len() / 6).max(8);
                let mut parsed = pg_sys::ParsedText {
                    words: pg_sys::palloc(room * size_of::<pg_sys::ParsedWord>()).cast(),
                    lenwords: room as i32,
                    curwords: 0,
                    pos: 0,
                };
                pg_sys::parsetext(self.0, &mut parsed, text.as_ptr().cast_mut().cast(), text.len() as i32);
                for i in 0..parsed.curwords as usize {
                    let word = &*parsed.words.add(i);
                    let lexeme = std::slice::from_raw_parts(word.word.cast::<u8>(), usize::from(word.len));
                    visit(lexeme, u32::from(word.pos.pos));
                }
                parsed.pos as u32
            })
        }
    }

    /// The dictionaries that words of a type go through; None where the configuration is not of PostgreSQL's own parser.
    fn dictionaries(self) -> Option<impl Fn(usize) -> Vec<pg_sys::Oid>> {
        // SAFETY: raises or gives an entry that stays until its configuration is looked up again; what it points to is copied.
        let lists: Vec<Vec<pg_sys::Oid>> = unsafe {
            let entry = &*pg_sys::lookup_ts_config_cache(self.0);
            if entry.prsId != DEFAULT_PARSER {
                return None;
            }
            let list = |i: usize| {
                let list = &*entry.map.add(i);
                (0..list.len as usize).map(|i| *list.dictIds.add(i)).collect()
            };
            (0..entry.lenmap as usize).map(list).collect()
        };
        Some(move |kind: usize| lists.get(kind).cloned().unwrap_or_default())
    }
}

/// PostgreSQL's own parser, and the last of the types of words that it knows, with two of them.
const DEFAULT_PARSER: pg_sys::Oid = pg_sys::Oid::from_u32(3722);
const LAST_KIND: usize = 23;
const WORD_WITH_DIGITS: usize = 3;
const NUMBER: usize = 22;

/// Words are remembered up to this many bytes, and so many of them: some 400 kB in a backend.
const LONGEST_KNOWN: usize = 32;
const MOST_KNOWN: usize = 4096;

/// What a configuration has made of single words. The default parser ends every word at a blank (but in a tag), and a dictionary of
/// PostgreSQL's sees one word at a time (but the thesaurus), so that a text's lexemes are those of its words; a language has few, and they come
/// again and again.
#[derive(Default)]
struct Known {
    configuration: Option<Configuration>,
    epoch: u64,
    /// Whether words can be read one by one.
    one_by_one: bool,
    /// Whether words with digits stay as they are.
    digits_stay: bool,
    words: HashMap<Box<str>, Word>,
}

/// Lexemes with their places, and the last place.
#[derive(Default)]
struct Word {
    lexemes: Vec<(u32, Box<[u8]>)>,
    last: u32,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    /// Moves when a configuration or a dictionary may have changed.
    static EPOCH: Cell<u64> = const { Cell::new(0) };
}

impl Known {
    fn turn_to(&mut self, configuration: Configuration) {
        watch();
        let epoch = EPOCH.get();
        if self.configuration == Some(configuration) && self.epoch == epoch {
            return;
        }
        *self = Self::default();
        if let Some(dictionaries) = configuration.dictionaries() {
            let all: HashSet<pg_sys::Oid> = (1..=LAST_KIND).flat_map(&dictionaries).collect();
            self.one_by_one = all.into_iter().all(reads_one_by_one);
            self.digits_stay = self.one_by_one
                && [WORD_WITH_DIGITS, NUMBER]
                    .into_iter()
                    .all(|kind| match dictionaries(kind)[..] {
                        [only] => changes_nothing(only),
                        _ => false,
                    });
        }
        (self.configuration, self.epoch) = (Some(configuration), epoch);
    }

    /// A word that stands after a blank, and after `place` others.
    fn read(&mut self, word: &str, place: u32, visit: &mut dyn FnMut(&[u8], u32)) -> u32 {
        if self.digits_stay && is_with_digits(word.as_bytes()) {
            visit(word.as_bytes(), place + 1);
            return 1;
        }
        let parse = |visit: &mut dyn FnMut(&[u8], u32)| {
            let configuration = self.configuration.expect("turned to");
            configuration.parse(&format!(" {word} "), visit)
        };
        if word.len() > LONGEST_KNOWN {
            return parse(&mut |lexeme, at| visit(lexeme, place + at));
        }
        if !self.words.contains_key(word) {
            let mut new = Word::default();
            new.last = parse(&mut |lexeme, at| new.lexemes.push((at, lexeme.into())));
            if self.words.len() == MOST_KNOWN {
                self.words.clear();
            }
            self.words.insert(word.into(), new);
        }
        let known = &self.words[word];
        for (at, lexeme) in &known.lexemes {
            visit(lexeme, place + at);
        }
        known.last
    }
}

/// Whether the default parser takes all of this for a number, or for one word of letters and digits, in lower case already. Not where it
/// may be a number in scientific notation.
fn is_with_digits(word: &[u8]) -> bool {
    let number = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_scientific =
        number > 0 && word.get(number) == Some(&b'e') && word.get(number + 1).is_some_and(u8::is_ascii_digit);
    word.iter().any(u8::is_ascii_digit)
        && word
            .iter()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        && !is_scientific
}

/// One of PostgreSQL's own, but the thesaurus, which looks for phrases.
fn reads_one_by_one(dictionary: pg_sys::Oid) -> bool {
    let function = lexize(dictionary);
    // SAFETY: a catalog lookup.
    let is_own = unsafe { pg_sys::get_func_namespace(function) } == pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
    is_own && function != pg_sys::Oid::from(pg_sys::F_THESAURUS_LEXIZE)
}

/// The dictionary simple without options: lower case, and no word is dropped or passed on.
fn changes_nothing(dictionary: pg_sys::Oid) -> bool {
    const OPTIONS: i16 = 6;
    lexize(dictionary) == pg_sys::Oid::from(pg_sys::F_DSIMPLE_LEXIZE)
        && attribute(pg_sys::SysCacheIdentifier::TSDICTOID, dictionary, OPTIONS).is_none()
}

/// The function that a dictionary calls.
fn lexize(dictionary: pg_sys::Oid) -> pg_sys::Oid {
    const TEMPLATE: i16 = 5;
    const LEXIZE: i16 = 5;
    let oid =
        |datum: Option<pg_sys::Datum>| datum.map_or(pg_sys::InvalidOid, |oid| pg_sys::Oid::from(oid.value() as u32));
    let template = oid(attribute(pg_sys::SysCacheIdentifier::TSDICTOID, dictionary, TEMPLATE));
    oid(attribute(pg_sys::SysCacheIdentifier::TSTEMPLATEOID, template, LEXIZE))
}

/// A column of the row with this OID in a catalog; None where it is NULL, or there is no such row. A value that is passed by reference is not
/// to be looked at.
fn attribute(cache: pg_sys::SysCacheIdentifier::Type, oid: pg_sys::Oid, column: i16) -> Option<pg_sys::Datum> {
    // SAFETY: a catalog lookup inside a transaction; the row is released after the column is read.
    unsafe {
        let row = pg_sys::SearchSysCache1(cache as i32, pg_sys::Datum::from(oid));
        if row.is_null() {
            return None;
        }
        let mut is_null = false;
        let value = pg_sys::SysCacheGetAttr(cache as i32, row, column, &mut is_null);
        pg_sys::ReleaseSysCache(row);
        (!is_null).then_some(value)
    }
}

/// Has the epoch move when another transaction, or this one, changes what words become.
fn watch() {
    use pg_sys::SysCacheIdentifier::{TSCONFIGMAP, TSCONFIGOID, TSDICTOID, TSTEMPLATEOID};
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        for cache in [TSCONFIGMAP, TSCONFIGOID, TSDICTOID, TSTEMPLATEOID] {
            // SAFETY: once per process; the callback lives as long as the library.
            unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(forget), pg_sys::Datum::null()) }
        }
    });
}

#[pg_guard]
extern "C-unwind" fn forget(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    EPOCH.set(EPOCH.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::is_with_digits;

    #[test]
    fn a_word_with_digits_is_no_number_in_scientific_notation() {
        for word in ["e12", "12", "3f2a", "12e", "12ex5", "0x1f", "a1e5"] {
            assert!(is_with_digits(word.as_bytes()), "{word}");
        }
        for word in ["", "cat", "12e5", "1e5f", "E12", "1.5", "-1", "a1b2é", "a_1"] {
            assert!(!is_with_digits(word.as_bytes()), "{word}");
        }
    }
}
