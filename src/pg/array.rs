//! Arrays for the parameters of statements.

use pgrx::datum::{Datum, DatumWithOid};
use pgrx::pg_sys;

use super::range::Place;

/// A text[] as PostgreSQL reads it from text: for arrays of arrays, which SQL has only in one length.
pub fn text_literal(texts: &[String]) -> String {
    let mut literal = String::with_capacity(2 + texts.iter().map(|text| text.len() + 3).sum::<usize>());
    literal.push('{');
    for (i, text) in texts.iter().enumerate() {
        literal.push_str(if i == 0 { "\"" } else { ",\"" });
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

/// A uuid[] of numbers that order as the UUIDs do; `bytes` holds them until the array is made.
pub fn uuids(ids: &[u128]) -> DatumWithOid<'static> {
    let bytes: Vec<[u8; 16]> = ids.iter().map(|id| id.to_be_bytes()).collect();
    let mut datums: Vec<pg_sys::Datum> = bytes.iter().map(|id| pg_sys::Datum::from(id.as_ptr())).collect();
    // SAFETY: as many datums as said, each pointing to 16 bytes, which construct_array copies: uuid has length 16, is passed
    // by reference and aligned to bytes.
    unsafe {
        let array = pg_sys::construct_array(
            datums.as_mut_ptr(),
            datums.len() as i32,
            pg_sys::UUIDOID,
            16,
            false,
            b'c' as std::ffi::c_char,
        );
        let datum = std::mem::transmute::<pg_sys::Datum, Datum<'static>>(pg_sys::Datum::from(array));
        DatumWithOid::new_from_datum(Some(datum), pg_sys::UUIDARRAYOID)
    }
}

/// A tid[] of places in a table; `places` holds them until the array is made.
pub fn places(places: &[Place]) -> DatumWithOid<'static> {
    let mut datums: Vec<pg_sys::Datum> = places
        .iter()
        .map(|place| pg_sys::Datum::from(&raw const place.0))
        .collect();
    // SAFETY: as many datums as said, each pointing to a tid, which construct_array copies: it has length 6, is passed by reference
    // and aligned to two bytes.
    unsafe {
        let array = pg_sys::construct_array(
            datums.as_mut_ptr(),
            datums.len() as i32,
            pg_sys::TIDOID,
            size_of::<pg_sys::ItemPointerData>() as i32,
            false,
            b's' as std::ffi::c_char,
        );
        let datum = std::mem::transmute::<pg_sys::Datum, Datum<'static>>(pg_sys::Datum::from(array));
        DatumWithOid::new_from_datum(Some(datum), pg_sys::TIDARRAYOID)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_literal_quotes_every_element() {
        let literal = |texts: &[&str]| super::text_literal(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>());
        assert_eq!(literal(&[]), "{}");
        assert_eq!(literal(&["a", "", "NULL", "{,}"]), r#"{"a","","NULL","{,}"}"#);
        assert_eq!(literal(&[r#"a"b\c"#, "ä\n"]), "{\"a\\\"b\\\\c\",\"ä\n\"}");
    }
}
