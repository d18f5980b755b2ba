//! What proves the audit log: leaves over its rows, a tree over the leaves, seals over the trees, each chained to the one before.
//!
//! A leaf is SHA-256 over two halves, so that a row which is redacted still proves the rest of itself: what stays of a row (its id, when, which
//! transaction, which table, which roles) as it is, and a digest of a random salt and what redaction takes (users, keys, images, addresses).
//! Redaction destroys the salt and keeps the digest: nobody can try out what the row may have said. The tree is that of RFC 6962, in two levels:
//! blocks of 64 consecutive ids, and over the blocks a seal.
//!
//! What has the seal key (see `super::key`) is a seal, and every redaction and removal of what was sealed: without the key nobody makes one.
//! Nothing here knows PostgreSQL.

pub mod block;
pub mod seal;

use hmac::{Hmac, Mac as _};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// What a seal or a redaction is signed with.
pub const TAG_LENGTH: usize = 16;
pub type Tag = [u8; TAG_LENGTH];

/// A key's name: the start of a digest of it. All zero: none.
pub type KeyName = [u8; 4];
pub const NO_KEY: KeyName = [0; 4];

/// A key that signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub name: KeyName,
    bytes: zeroize::Zeroizing<Vec<u8>>,
}

/// The keys: the first signs, all verify. None: what is signed says that nobody did.
#[derive(Clone, Default)]
pub struct Keys(pub Vec<Key>);

/// A signature and the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key: KeyName,
    pub tag: Tag,
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Signed,
    /// By nobody: whoever can write the table can have made it.
    Unsigned,
    Wrong,
    /// By a key that is not among these.
    UnknownKey,
}

impl Key {
    pub fn new(bytes: Vec<u8>) -> Self {
        let digest: Hash = Sha256::new_with_prefix(b"memory_ext seal key name 1")
            .chain_update(&bytes)
            .finalize()
            .into();
        let mut name = [digest[0], digest[1], digest[2], digest[3]];
        // Zero is nobody's name.
        if name == NO_KEY {
            name = [1; 4];
        }
        Self {
            name,
            bytes: zeroize::Zeroizing::new(bytes),
        }
    }

    fn tag(&self, what: &str, parts: &[&[u8]]) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).expect("HMAC takes a key of any length");
        mac.update(what.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let whole = mac.finalize().into_bytes();
        let mut tag = [0; TAG_LENGTH];
        tag.copy_from_slice(&whole[..TAG_LENGTH]);
        tag
    }
}

impl Keys {
    /// Signs by the first key.
    pub fn sign(&self, what: &str, parts: &[&[u8]]) -> Signature {
        match self.0.first() {
            Some(key) => Signature {
                key: key.name,
                tag: key.tag(what, parts),
            },
            None => Signature {
                key: NO_KEY,
                tag: [0; TAG_LENGTH],
            },
        }
    }

    pub fn verify(&self, signature: &Signature, what: &str, parts: &[&[u8]]) -> Verdict {
        if signature.key == NO_KEY {
            return Verdict::Unsigned;
        }
        let mut named = self.0.iter().filter(|key| key.name == signature.key).peekable();
        if named.peek().is_none() {
            return Verdict::UnknownKey;
        }
        // In constant time: the tag is compared as a whole.
        let same = |key: &Key| {
            let tag = key.tag(what, parts);
            tag.iter()
                .zip(&signature.tag)
                .fold(0, |differ, (a, b)| differ | (a ^ b))
                == 0
        };
        if named.any(same) {
            Verdict::Signed
        } else {
            Verdict::Wrong
        }
    }
}

impl Signature {
    /// One that no key verifies.
    pub const BROKEN: Self = Self {
        key: [0xff; 4],
        tag: [0xff; TAG_LENGTH],
    };
}

/// A row of the log.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub id: i64,
    /// Microseconds.
    pub changed_at: i64,
    pub transaction_id: u64,
    pub tenant: u128,
    pub operation: &'a str,
    pub table: &'a str,
    pub row_count: i64,
    pub actor_role: &'a str,
    pub login_role: &'a str,
    pub actor_tenant: Option<u128>,
    pub actor_service: Option<&'a str>,
    pub personal: Personal<'a>,
}

/// What redaction changes: user_id, actor_user_id, actor_session_id, row_key, changes, client_address, application_name, as text.
pub type Personal<'a> = [Option<&'a str>; 7];

fn feed(hash: &mut impl FnMut(&[u8]), value: Option<&[u8]>) {
    match value {
        None => hash(&[0]),
        Some(value) => {
            hash(&[1]);
            hash(&(value.len() as u64).to_le_bytes());
            hash(value);
        }
    }
}

/// The digest of what redaction takes from a row.
pub fn personal_digest(salt: &[u8], personal: &Personal<'_>) -> Hash {
    let mut hasher = Sha256::new_with_prefix(b"memory_ext audit personal 1");
    let mut hash = |bytes: &[u8]| hasher.update(bytes);
    feed(&mut hash, Some(salt));
    for value in personal {
        feed(&mut hash, value.map(str::as_bytes));
    }
    hasher.finalize().into()
}

impl Entry<'_> {
    /// The row's leaf, by the digest of its personal half.
    pub fn leaf(&self, personal: &Hash) -> Hash {
        let mut hasher = Sha256::new_with_prefix([0]);
        hasher.update(personal);
        let mut hash = |bytes: &[u8]| hasher.update(bytes);
        for number in [self.id, self.changed_at, self.transaction_id as i64, self.row_count] {
            hash(&number.to_le_bytes());
        }
        hash(&self.tenant.to_be_bytes());
        feed(
            &mut hash,
            self.actor_tenant
                .map(u128::to_be_bytes)
                .as_ref()
                .map(|tenant| &tenant[..]),
        );
        for text in [self.operation, self.table, self.actor_role, self.login_role] {
            feed(&mut hash, Some(text.as_bytes()));
        }
        feed(&mut hash, self.actor_service.map(str::as_bytes));
        hasher.finalize().into()
    }
}

/// The root of a tree over leaves that are hashed already: RFC 6962, section 2.1.
pub fn merkle_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        leaves => {
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            Sha256::new_with_prefix([1])
                .chain_update(merkle_root(left))
                .chain_update(merkle_root(right))
                .finalize()
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// The inputs and roots that Certificate Transparency's own implementations are tested with.
    #[test]
    fn the_root_is_that_of_rfc_6962() {
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let leaves: Vec<Hash> = inputs
            .iter()
            .map(|input| Sha256::new_with_prefix([0]).chain_update(hex(input)).finalize().into())
            .collect();
        let roots = [
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ];
        assert_eq!(
            merkle_root(&[]).to_vec(),
            hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
        for (size, root) in roots {
            assert_eq!(merkle_root(&leaves[..size]).to_vec(), hex(root), "{size} leaves");
        }
    }

    pub(super) fn entry(id: i64, personal: Personal<'_>) -> Entry<'_> {
        Entry {
            id,
            changed_at: 1,
            transaction_id: 2,
            tenant: 3,
            operation: "INSERT",
            table: "events",
            row_count: 1,
            actor_role: "a",
            login_role: "b",
            actor_tenant: None,
            actor_service: None,
            personal,
        }
    }

    #[test]
    fn every_part_of_a_row_is_in_its_leaf() {
        let whole = entry(7, [Some("u"), None, None, Some("{}"), Some("{}"), None, None]);
        let leaf = |entry: &Entry<'_>| entry.leaf(&personal_digest(&[1; 16], &entry.personal));
        let first = leaf(&whole);
        let mut changed = Vec::new();
        let mut with = |change: fn(&mut Entry<'static>)| {
            let mut entry = whole.clone();
            change(&mut entry);
            changed.push(leaf(&entry));
        };
        with(|e| e.id = 8);
        with(|e| e.changed_at = 8);
        with(|e| e.transaction_id = 8);
        with(|e| e.tenant = 8);
        with(|e| e.operation = "DELETE");
        with(|e| e.table = "nodes");
        with(|e| e.row_count = 8);
        with(|e| e.actor_role = "x");
        with(|e| e.login_role = "x");
        with(|e| e.actor_tenant = Some(0));
        with(|e| e.actor_service = Some(""));
        for i in 0..7 {
            let mut entry = whole.clone();
            entry.personal[i] = if entry.personal[i].is_some() { None } else { Some("") };
            changed.push(leaf(&entry));
        }
        changed.push(whole.leaf(&personal_digest(&[2; 16], &whole.personal)));
        changed.push(first);
        let count = changed.len();
        changed.sort_unstable();
        changed.dedup();
        assert_eq!(changed.len(), count);
    }

    /// What is kept of sealed rows has to be made again by every later version: computed apart from this code, with hashlib.
    #[test]
    fn a_leaf_is_made_as_it_was_first_made() {
        let entry = entry(7, [Some("u"), None, None, Some("{}"), Some("{}"), None, None]);
        let leaf = entry.leaf(&personal_digest(&[1; 16], &entry.personal));
        assert_eq!(
            leaf.to_vec(),
            hex("9d36d1934c3586ec1869a2baf2ef9020f4636cfc85c252d8c17e9e96118520f4")
        );
    }

    #[test]
    fn a_text_does_not_run_into_the_next() {
        let a = personal_digest(&[0; 16], &[Some("ab"), Some("c"), None, None, None, None, None]);
        let b = personal_digest(&[0; 16], &[Some("a"), Some("bc"), None, None, None, None, None]);
        assert_ne!(a, b);
    }

    #[test]
    fn only_the_key_that_signed_verifies() {
        let (one, other) = (Key::new(vec![1; 32]), Key::new(vec![2; 32]));
        let keys = Keys(vec![one.clone()]);
        let signature = keys.sign("seal", &[b"ab", b"c"]);
        assert_eq!(keys.verify(&signature, "seal", &[b"ab", b"c"]), Verdict::Signed);
        assert_eq!(keys.verify(&signature, "seal", &[b"a", b"bc"]), Verdict::Wrong);
        assert_eq!(keys.verify(&signature, "other", &[b"ab", b"c"]), Verdict::Wrong);
        let after = Keys(vec![other.clone(), one]);
        assert_eq!(after.verify(&signature, "seal", &[b"ab", b"c"]), Verdict::Signed);
        assert_eq!(
            Keys(vec![other]).verify(&signature, "seal", &[b"ab", b"c"]),
            Verdict::UnknownKey
        );
        let nobodys = Keys::default().sign("seal", &[b"x"]);
        assert_eq!(after.verify(&nobodys, "seal", &[b"x"]), Verdict::Unsigned);
        assert_eq!(after.verify(&Signature::BROKEN, "seal", &[b"x"]), Verdict::UnknownKey);
    }
}
