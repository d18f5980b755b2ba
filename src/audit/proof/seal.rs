//! A seal: the root over the rows between two ids, chained to the seal before it; and a head, which names one.

use sha2::{Digest, Sha256};

use super::{Hash, KeyName, Keys, Signature, Verdict};

/// The hash before the first seal.
pub const NOTHING: Hash = [0; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// From 1, without a gap.
    pub id: i64,
    /// The last id that it covers; the first is the one behind the seal before.
    pub last_id: i64,
    pub rows: i64,
    pub root: Hash,
    /// The hash of the seal before.
    pub previous: Hash,
    /// Microseconds.
    pub sealed_at: i64,
    /// The key that signs it.
    pub key: KeyName,
}

const SEAL: &str = "memory_ext seal 1";

impl Seal {
    pub fn hash(&self) -> Hash {
        Sha256::new_with_prefix(SEAL.as_bytes())
            .chain_update(self.id.to_le_bytes())
            .chain_update(self.last_id.to_le_bytes())
            .chain_update(self.rows.to_le_bytes())
            .chain_update(self.root)
            .chain_update(self.previous)
            .chain_update(self.sealed_at.to_le_bytes())
            .chain_update(self.key)
            .finalize()
            .into()
    }

    pub fn sign(&self, keys: &Keys) -> Signature {
        keys.sign(SEAL, &[&self.hash()])
    }

    pub fn verify(&self, signature: &Signature, keys: &Keys) -> Verdict {
        if signature.key != self.key {
            return Verdict::Wrong;
        }
        keys.verify(signature, SEAL, &[&self.hash()])
    }
}

/// What is kept outside: a seal's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seal: i64,
    pub hash: Hash,
}

impl Head {
    /// Of a log without a seal.
    pub const EMPTY: Self = Self { seal: 0, hash: NOTHING };

    /// As `Display` writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (seal, hex) = text.split_once(':')?;
        let is_number = !seal.is_empty() && seal.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_number || !is_hex {
            return None;
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self {
            seal: seal.parse().ok()?,
            hash,
        })
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.seal)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_head_reads_as_it_is_written(seal in 0i64.., hash in any::<Hash>()) {
            let head = Head { seal, hash };
            prop_assert_eq!(Head::parse(&head.to_string()), Some(head));
        }

        #[test]
        fn other_texts_are_no_head(text in "\\PC{0,80}") {
            if let Some(head) = Head::parse(&text) {
                prop_assert_eq!(head.to_string().len() <= text.len(), true);
            }
        }
    }

    #[test]
    fn a_head_is_not_a_little_wrong() {
        let head = Head::EMPTY.to_string();
        for text in [
            "",
            ":",
            "0",
            "+0:",
            "x:",
            &head[..head.len() - 1],
            &format!("{head}0"),
            &head.replace("0:0", "0:é"),
            &format!("-{head}"),
        ] {
            assert_eq!(Head::parse(text), None, "{text}");
        }
    }

    /// As for leaves: computed apart from this code, with hashlib and hmac.
    #[test]
    fn a_seal_is_hashed_and_signed_as_it_was_first() {
        let keys = Keys(vec![Key::new(vec![1; 32])]);
        let seal = Seal {
            id: 1,
            last_id: 2,
            rows: 3,
            root: [4; 32],
            previous: [5; 32],
            sealed_at: 6,
            key: keys.0[0].name,
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&seal.key), "3bb1fd09");
        assert_eq!(
            hex(&seal.hash()),
            "461c27e4aac753ce3fb6a8c087c482b712ac4531eeb59091254f97e04e7aa4ce"
        );
        assert_eq!(hex(&seal.sign(&keys).tag), "4685bd751f67d0a9dcd04d9aad2f1e78");
    }

    #[test]
    fn every_part_of_a_seal_is_signed() {
        let keys = Keys(vec![Key::new(vec![1; 32])]);
        let seal = Seal {
            id: 1,
            last_id: 2,
            rows: 3,
            root: [4; 32],
            previous: [5; 32],
            sealed_at: 6,
            key: keys.0[0].name,
        };
        let signature = seal.sign(&keys);
        assert_eq!(seal.verify(&signature, &keys), Verdict::Signed);
        let changes: [fn(&mut Seal); 7] = [
            |s| s.id += 1,
            |s| s.last_id += 1,
            |s| s.rows += 1,
            |s| s.root[0] ^= 1,
            |s| s.previous[0] ^= 1,
            |s| s.sealed_at += 1,
            |s| s.key[0] ^= 1,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = seal.clone();
            change(&mut other);
            assert_eq!(other.verify(&signature, &keys), Verdict::Wrong, "{i}");
            assert_ne!(other.hash(), seal.hash(), "{i}");
        }
    }
}
