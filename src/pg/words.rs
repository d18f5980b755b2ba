//! PostgreSQL's text search: the words that a configuration's parser and dictionaries make of a text, and configurations by name.

use std::ffi::CString;

use pgrx::PgMemoryContexts;
use pgrx::pg_sys;

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
}
