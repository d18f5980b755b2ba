//! What a tenant's identifier says: nothing, `system`, a UUID, or a text that may be a slug.

/// The longest slug, and the longest text that can name a tenant at all, in bytes.
pub const MOST_BYTES: usize = 63;

/// The trimmed, lower-cased identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 64],
    len: u8,
}

/// What an identifier may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// NULL, '' or blanks.
    Empty,
    /// The reserved word `system`.
    System,
    /// Longer than anything that names a tenant.
    TooLong,
    Key(Key),
}

impl Identifier {
    pub fn parse(input: &[u8]) -> Self {
        let trimmed = input.trim_ascii();
        if trimmed.is_empty() {
            return Self::Empty;
        }
        if trimmed.len() > MOST_BYTES {
            return Self::TooLong;
        }
        let mut bytes = [0; 64];
        bytes[..trimmed.len()].copy_from_slice(trimmed);
        bytes.make_ascii_lowercase();
        if &bytes[..trimmed.len()] == b"system" {
            return Self::System;
        }
        Self::Key(Key {
            bytes,
            len: trimmed.len() as u8,
        })
    }
}

impl Key {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The key as eight words, zero behind its end: no text holds a zero byte, so equal words are equal keys.
    pub fn words(&self) -> [u64; 8] {
        let mut words = [0; 8];
        for (word, chunk) in words.iter_mut().zip(self.bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        words
    }

    /// The words that are not all zero.
    pub fn used_words(&self) -> usize {
        usize::from(self.len).div_ceil(8)
    }

    pub fn uuid(&self) -> Option<[u8; 16]> {
        parse_uuid(self.as_bytes())
    }

    /// Whether a tenant may have this slug: 1 to 63 of `[a-z0-9_-]`.
    pub fn may_be_slug(&self) -> bool {
        self.as_bytes()
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_' || *b == b'-')
    }
}

/// Whether a text is a UUID in one of the forms that PostgreSQL reads.
pub fn is_uuid(text: &str) -> bool {
    parse_uuid(text.as_bytes()).is_some()
}

/// Reads a UUID in every form that PostgreSQL reads: upper or lower case, in braces or not, a hyphen or none after each
/// group of four digits.
pub fn parse_uuid(input: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match input {
        [b'{', inner @ .., b'}'] => inner,
        _ => input,
    };
    let mut uuid = [0; 16];
    for (i, byte) in uuid.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else { return None };
        *byte = hex(*high)? << 4 | hex(*low)?;
        rest = match tail {
            [b'-', after @ ..] if i % 2 == 1 && i < 15 => after,
            _ => tail,
        };
    }
    rest.is_empty().then_some(uuid)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_uuid_in_every_form_that_postgresql_reads() {
        let uuid = *b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11";
        for form in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(parse_uuid(form.as_bytes()), Some(uuid), "{form}");
        }
        for form in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(parse_uuid(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn blanks_are_empty_and_case_is_ignored() {
        assert_eq!(Identifier::parse(b" \t\n"), Identifier::Empty);
        assert_eq!(Identifier::parse(b" SysTem "), Identifier::System);
        assert_eq!(Identifier::parse(b" Acme "), Identifier::parse(b"acme"));
        assert_eq!(Identifier::parse(&[b'a'; 64]), Identifier::TooLong);
        assert!(matches!(Identifier::parse(&[b'a'; 63]), Identifier::Key(_)));
    }

    /// PostgreSQL's rule, said the other way round: take the braces, then the hyphens, each of which follows a multiple of four
    /// digits and is followed by one; 32 hexadecimal digits remain.
    fn as_postgresql_reads(text: &str) -> Option<[u8; 16]> {
        let inner = match (text.strip_prefix('{'), text.ends_with('}')) {
            (Some(rest), true) => rest.strip_suffix('}')?,
            (Some(_), false) => return None,
            (None, _) => text,
        };
        let mut digits = String::new();
        for (i, c) in inner.char_indices() {
            let is_placed = || {
                !digits.is_empty()
                    && digits.len().is_multiple_of(4)
                    && digits.len() < 32
                    && inner[i + 1..].starts_with(|c: char| c != '-')
            };
            match c {
                '-' if is_placed() => {}
                c if c.is_ascii_hexdigit() => digits.push(c),
                _ => return None,
            }
        }
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
        Some(number.to_be_bytes())
    }

    /// The 32 digits of a UUID with hyphens, braces and strays put in.
    fn nearly_a_uuid() -> impl Strategy<Value = String> {
        let hyphens = prop::collection::vec(prop::bool::weighted(0.5), 8);
        let stray = prop::option::weighted(0.3, (0usize..45, "[-{}g \u{e9}0]"));
        ("[0-9a-fA-F]{32}", hyphens, any::<bool>(), stray).prop_map(|(digits, hyphens, braces, stray)| {
            let mut text = String::new();
            for (i, group) in digits.as_bytes().chunks(4).enumerate() {
                if i > 0 && hyphens[i] {
                    text.push('-');
                }
                text.push_str(std::str::from_utf8(group).unwrap());
            }
            if braces {
                text = format!("{{{text}}}");
            }
            if let Some((at, stray)) = stray {
                text.insert_str(at.min(text.len()), &stray);
            }
            text
        })
    }

    proptest! {
        #[test]
        fn a_uuid_is_read_where_postgresql_reads_one(text in prop_oneof![nearly_a_uuid(), "[0-9a-f{}-]{0,45}", ".{0,50}"]) {
            prop_assert_eq!(parse_uuid(text.as_bytes()), as_postgresql_reads(&text));
        }

        #[test]
        fn any_bytes_are_one_identifier_and_blanks_and_case_change_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let identifier = Identifier::parse(&bytes);
            let around = [b" \t", &bytes[..], b"\n "].concat();
            prop_assert_eq!(Identifier::parse(&around), identifier);
            prop_assert_eq!(Identifier::parse(&bytes.to_ascii_uppercase()), Identifier::parse(&bytes.to_ascii_lowercase()));
            if let Identifier::Key(key) = identifier {
                prop_assert!((1..=MOST_BYTES).contains(&key.as_bytes().len()));
                prop_assert_eq!(key.as_bytes(), bytes.trim_ascii().to_ascii_lowercase());
                prop_assert_eq!(key.used_words(), key.as_bytes().chunks(8).count());
            }
        }

        #[test]
        fn a_slug_is_what_the_contract_says(text in "[a-z0-9_A-Z .\u{e9}-]{1,70}") {
            if let Identifier::Key(key) = Identifier::parse(text.as_bytes()) {
                let lower = text.trim_ascii().to_ascii_lowercase();
                let allowed = lower.chars().all(|c| "abcdefghijklmnopqrstuvwxyz0123456789_-".contains(c));
                prop_assert_eq!(key.may_be_slug(), allowed && (1..=63).contains(&lower.len()));
            }
        }
    }
}
