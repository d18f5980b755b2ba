//! jsonb objects as bytes, written in one pass where the fields are known to come in jsonb's own order: by the length of their names, then by
//! the bytes. Nothing here knows PostgreSQL; the format is that of its utils/jsonb.h.

/// What a value is, as the entry of its object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u32);

pub const TEXT: Kind = Kind(0);
pub const NUMERIC: Kind = Kind(0x1000_0000);
const FALSE: Kind = Kind(0x2000_0000);
const TRUE: Kind = Kind(0x3000_0000);
pub const NULL: Kind = Kind(0x4000_0000);
pub const CONTAINER: Kind = Kind(0x5000_0000);

pub fn boolean(value: bool) -> Kind {
    if value { TRUE } else { FALSE }
}

const KINDS: u32 = 0x7000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;
const LENGTH: u32 = 0x0fff_ffff;
const OBJECT: u32 = 0x2000_0000;
const SCALAR: u32 = 0x1000_0000;
/// Every so many entries one says where its value ends, the others how long it is.
const STRIDE: usize = 32;
const WORD: usize = 4;

/// An object is longer than jsonb's lengths go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What an object's fields are sorted by.
pub fn order(name: &str) -> (usize, &[u8]) {
    (name.len(), name.as_bytes())
}

/// Numbers and containers begin at a word; what is before belongs to them.
pub fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(WORD), 0);
}

/// Appends an object with these fields, in their order; `write` appends the value of one and says what it is. `out` is as long as what stands
/// before the object in the jsonb, up to whole words.
pub fn object<'n, E: From<TooLong>>(
    out: &mut Vec<u8>,
    names: impl ExactSizeIterator<Item = &'n str>,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<Kind, E>,
) -> Result<Kind, E> {
    align(out);
    let count = names.len();
    put(out, OBJECT | count as u32);
    let entries = out.len();
    out.resize(entries + 2 * count * WORD, 0);
    let data = out.len();
    let enter = |out: &mut Vec<u8>, number: usize, start: usize, kind: Kind| {
        let by_offset = number.is_multiple_of(STRIDE);
        let length = out.len() - if by_offset { data } else { start };
        if out.len() - data > LENGTH as usize {
            return Err(TooLong);
        }
        let entry = kind.0 | length as u32 | if by_offset { HAS_OFFSET } else { 0 };
        out[entries + number * WORD..][..WORD].copy_from_slice(&entry.to_ne_bytes());
        Ok(())
    };
    for (number, name) in names.enumerate() {
        let start = out.len();
        out.extend_from_slice(name.as_bytes());
        enter(out, number, start, TEXT)?;
    }
    for number in 0..count {
        let start = out.len();
        let kind = write(number, out)?;
        enter(out, count + number, start, kind)?;
    }
    Ok(CONTAINER)
}

/// Appends a jsonb of its own, without its varlena's header, as a value of the object in the making.
pub fn value(out: &mut Vec<u8>, jsonb: &[u8]) -> Kind {
    let word = |at: usize| u32::from_ne_bytes([jsonb[at], jsonb[at + 1], jsonb[at + 2], jsonb[at + 3]]);
    if word(0) & SCALAR == 0 {
        align(out);
        out.extend_from_slice(jsonb);
        return CONTAINER;
    }
    // A scalar is an array of one.
    let (kind, length) = (Kind(word(WORD) & KINDS), (word(WORD) & LENGTH) as usize);
    if kind == NUMERIC {
        align(out);
    }
    out.extend_from_slice(&jsonb[2 * WORD..][..length]);
    kind
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u32> {
        let word = |chunk: &[u8]| u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        bytes.chunks(WORD).map(word).collect()
    }

    #[test]
    fn an_object_is_written_as_postgresql_writes_it() {
        let mut out = Vec::new();
        let kind = object::<TooLong>(&mut out, ["a", "bc"].into_iter(), |i, out| {
            Ok(if i == 0 {
                out.extend_from_slice(b"xy");
                TEXT
            } else {
                object::<TooLong>(out, [].into_iter(), |_, _| Ok(NULL))?
            })
        });
        assert_eq!(kind, Ok(CONTAINER));
        // {"a": "xy", "bc": {}}: the header, four entries of which the first says where it ends, "abcxy" and what aligns the empty object, that.
        assert_eq!(
            words(&out),
            [
                OBJECT | 2,
                HAS_OFFSET | 1,
                2,
                2,
                CONTAINER.0 | 7,
                u32::from_ne_bytes(*b"abcx"),
                u32::from_ne_bytes(*b"y\0\0\0"),
                OBJECT
            ]
        );
    }

    #[test]
    fn every_thirty_second_entry_says_where_its_value_ends() {
        let names: Vec<String> = (0..40).map(|i| format!("n{i:02}")).collect();
        let mut out = Vec::new();
        object::<TooLong>(&mut out, names.iter().map(String::as_str), |_, out| {
            out.extend_from_slice(b"12345");
            Ok(TEXT)
        })
        .unwrap();
        let entries = &words(&out)[1..81];
        for (i, entry) in entries.iter().enumerate() {
            let (names, values) = (i.min(40), (i as u32 + 1).saturating_sub(40));
            let end = if i < 40 {
                3 * (names as u32 + 1)
            } else {
                120 + 5 * values
            };
            let expected = match (i % 32 == 0, i < 40) {
                (true, _) => HAS_OFFSET | end,
                (false, true) => 3,
                (false, false) => 5,
            };
            assert_eq!(*entry, expected, "{i}");
        }
    }

    #[test]
    fn a_scalar_goes_in_without_its_array() {
        for (kind, data, expected) in [
            (TEXT, &b"hi"[..], &b"\0hi"[..]),
            (NULL, b"", b"\0"),
            (TRUE, b"", b"\0"),
            (NUMERIC, b"12345678", b"\0\0\0\x0012345678"),
        ] {
            let mut jsonb: Vec<u8> = [0x5000_0001u32, HAS_OFFSET | kind.0 | data.len() as u32]
                .into_iter()
                .flat_map(u32::to_ne_bytes)
                .collect();
            jsonb.extend_from_slice(data);
            let mut out = vec![0];
            assert_eq!(value(&mut out, &jsonb), kind);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn fields_go_by_length_then_bytes() {
        assert!(order("b") < order("aa") && order("aa") < order("ab"));
    }
}
