//! What the resolver found for a key, and its form in the cache: a fixed number of words.

/// What the resolver found for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A tenant, found by its slug.
    BySlug { uuid: [u8; 16], slug: Slug },
    /// A tenant, found by its UUID.
    ById { uuid: [u8; 16], slug: Slug },
    /// A UUID that is no tenant's.
    UnknownId { uuid: [u8; 16] },
    /// A text that is no tenant's slug.
    UnknownSlug,
}

/// A slug: at most 63 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slug {
    bytes: [u8; 64],
    len: u8,
}

/// An answer's words: its kind and the slug's length, the UUID, the slug.
pub const WORDS: usize = 1 + 2 + 8;

impl Answer {
    /// Whether it names a tenant.
    pub fn found(&self) -> bool {
        matches!(self, Self::BySlug { .. } | Self::ById { .. })
    }

    pub fn to_words(self) -> [u64; WORDS] {
        let (kind, uuid, slug) = match self {
            Self::BySlug { uuid, slug } => (1, uuid, slug),
            Self::ById { uuid, slug } => (2, uuid, slug),
            Self::UnknownId { uuid } => (3, uuid, Slug::EMPTY),
            Self::UnknownSlug => (4, [0; 16], Slug::EMPTY),
        };
        let mut words = [0; WORDS];
        words[0] = kind | u64::from(slug.len) << 8;
        let bytes = uuid.as_chunks::<8>().0.iter().chain(slug.bytes.as_chunks::<8>().0);
        for (word, chunk) in words[1..].iter_mut().zip(bytes) {
            *word = u64::from_ne_bytes(*chunk);
        }
        words
    }

    /// None where the words are no answer's.
    pub fn from_words(words: &[u64; WORDS]) -> Option<Self> {
        let mut bytes = [[0; 8]; WORDS - 1];
        for (chunk, word) in bytes.iter_mut().zip(&words[1..]) {
            *chunk = word.to_ne_bytes();
        }
        let (uuid, slug) = bytes.as_flattened().split_first_chunk::<16>()?;
        let (uuid, slug) = (
            *uuid,
            Slug {
                bytes: slug.try_into().ok()?,
                len: (words[0] >> 8) as u8,
            },
        );
        match words[0] & 0xff {
            1 => Some(Self::BySlug { uuid, slug }),
            2 => Some(Self::ById { uuid, slug }),
            3 => Some(Self::UnknownId { uuid }),
            4 => Some(Self::UnknownSlug),
            _ => None,
        }
    }
}

impl Slug {
    const EMPTY: Self = Self { bytes: [0; 64], len: 0 };

    /// None where the text is longer than a slug can be.
    pub fn new(text: &str) -> Option<Self> {
        let mut slug = Self::EMPTY;
        if text.len() >= slug.bytes.len() {
            return None;
        }
        slug.bytes[..text.len()].copy_from_slice(text.as_bytes());
        slug.len = text.len() as u8;
        Some(slug)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_its_words() {
        let uuid = *b"0123456789abcdef";
        let slug = Slug::new(&"s".repeat(63)).unwrap();
        for answer in [
            Answer::BySlug { uuid, slug },
            Answer::ById { uuid, slug },
            Answer::UnknownId { uuid },
            Answer::UnknownSlug,
        ] {
            assert_eq!(Answer::from_words(&answer.to_words()), Some(answer));
        }
        assert_eq!(Answer::from_words(&[0; WORDS]), None);
        assert_eq!(Slug::new(&"s".repeat(64)), None);
    }
}
