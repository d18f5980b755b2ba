//! A block: what is kept of the sealed rows of 64 consecutive ids, so that their leaves can be made again.
//!
//! Of a row that is whole its salt; of one that was redacted the digest of what was taken, signed together with what stands there now; of one that
//! was removed its leaf, signed. Where all rows of a block are removed, the block's root is all that is kept.

use super::{Entry, Hash, KeyName, Keys, Personal, Signature, TAG_LENGTH, Tag, Verdict, merkle_root, personal_digest};

/// How many ids a block has.
pub const IDS: i64 = 64;

pub const SALT_LENGTH: usize = 16;

/// What is kept of a sealed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    Salt([u8; SALT_LENGTH]),
    Redacted { digest: Hash, signature: Signature },
    Removed { leaf: Hash, signature: Signature },
}

/// What is kept of a block's rows in one seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// By offset of the id, ascending.
    Rows(Vec<(u8, Slot)>),
    /// All rows were removed: their number, the root of their leaves.
    Removed { rows: u8, root: Hash, signature: Signature },
}

/// What the bytes of a block are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The block that an id is in.
pub fn of(id: i64) -> i64 {
    id >> IDS.trailing_zeros()
}

/// Where in its block an id is.
pub fn offset(id: i64) -> u8 {
    (id & (IDS - 1)) as u8
}

/// The id at an offset of a block.
pub fn id(block: i64, offset: u8) -> i64 {
    (block << IDS.trailing_zeros()) | i64::from(offset)
}

const SALT: u8 = 1;
const REDACTED: u8 = 2;
const REMOVED: u8 = 3;
/// No offset: a block of which all rows were removed.
const ALL_REMOVED: u8 = 0xff;

impl Block {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let put_signature = |bytes: &mut Vec<u8>, signature: &Signature| {
            bytes.extend_from_slice(&signature.key);
            bytes.extend_from_slice(&signature.tag);
        };
        match self {
            Self::Rows(slots) => {
                for (offset, slot) in slots {
                    bytes.push(*offset);
                    match slot {
                        Slot::Salt(salt) => {
                            bytes.push(SALT);
                            bytes.extend_from_slice(salt);
                        }
                        Slot::Redacted { digest, signature } => {
                            bytes.push(REDACTED);
                            bytes.extend_from_slice(digest);
                            put_signature(&mut bytes, signature);
                        }
                        Slot::Removed { leaf, signature } => {
                            bytes.push(REMOVED);
                            bytes.extend_from_slice(leaf);
                            put_signature(&mut bytes, signature);
                        }
                    }
                }
            }
            Self::Removed { rows, root, signature } => {
                bytes.extend([ALL_REMOVED, *rows]);
                bytes.extend_from_slice(root);
                put_signature(&mut bytes, signature);
            }
        }
        bytes
    }

    /// Refuses everything that `encode` does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if bytes.first() == Some(&ALL_REMOVED) {
            reader.byte()?;
            let block = Self::Removed {
                rows: reader.byte()?,
                root: reader.take()?,
                signature: reader.signature()?,
            };
            return if reader.0.is_empty() { Ok(block) } else { Err(Malformed) };
        }
        let mut slots: Vec<(u8, Slot)> = Vec::new();
        while !reader.0.is_empty() {
            let offset = reader.byte()?;
            let follows = slots.last().is_none_or(|(last, _)| *last < offset);
            if i64::from(offset) >= IDS || !follows {
                return Err(Malformed);
            }
            let slot = match reader.byte()? {
                SALT => Slot::Salt(reader.take()?),
                REDACTED => Slot::Redacted {
                    digest: reader.take()?,
                    signature: reader.signature()?,
                },
                REMOVED => Slot::Removed {
                    leaf: reader.take()?,
                    signature: reader.signature()?,
                },
                _ => return Err(Malformed),
            };
            slots.push((offset, slot));
        }
        Ok(Self::Rows(slots))
    }

    /// The slot of a row.
    pub fn slot(&mut self, offset: u8) -> Option<&mut Slot> {
        let Self::Rows(slots) = self else {
            return None;
        };
        let at = slots.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        Some(&mut slots[at].1)
    }

    /// Where all rows are removed, keeps their root only.
    pub fn collapse(&mut self, seal: i64, block: i64, keys: &Keys) {
        let Self::Rows(slots) = self else {
            return;
        };
        let leaves: Option<Vec<Hash>> = slots
            .iter()
            .map(|(offset, slot)| match slot {
                // Never of what nobody has signed well: that would make it good.
                Slot::Removed { leaf, signature }
                    if is_good(keys, signature, || {
                        removed_tag(keys, id(block, *offset), leaf, signature)
                    }) =>
                {
                    Some(*leaf)
                }
                _ => None,
            })
            .collect();
        if let Some(leaves) = leaves.filter(|leaves| !leaves.is_empty()) {
            let root = merkle_root(&leaves);
            let rows = leaves.len() as u8;
            *self = Self::Removed {
                rows,
                root,
                signature: keys.sign(BLOCK, &[&seal.to_le_bytes(), &block.to_le_bytes(), &[rows], &root]),
            };
        }
    }

    /// What the signature of a block that was removed is worth.
    pub fn verify_removed(seal: i64, block: i64, rows: u8, root: &Hash, signature: &Signature, keys: &Keys) -> Verdict {
        keys.verify(
            signature,
            BLOCK,
            &[&seal.to_le_bytes(), &block.to_le_bytes(), &[rows], root],
        )
    }
}

/// Signed where there are keys, else by nobody.
fn is_good(keys: &Keys, signature: &Signature, verdict: impl FnOnce() -> Verdict) -> bool {
    match verdict() {
        Verdict::Signed => true,
        Verdict::Unsigned => keys.0.is_empty() && signature.tag == [0; TAG_LENGTH],
        Verdict::Wrong | Verdict::UnknownKey => false,
    }
}

/// What signatures are of.
const REDACTION: &str = "memory_ext redaction 1";
const REMOVAL: &str = "memory_ext removal 1";
const BLOCK: &str = "memory_ext removed block 1";

fn redacted_parts(id: i64, digest: &Hash, now: &Personal<'_>) -> [Vec<u8>; 3] {
    // The tag is made with a key, so what stands in the row needs no salt here.
    [
        id.to_le_bytes().to_vec(),
        digest.to_vec(),
        personal_digest(&[], now).to_vec(),
    ]
}

fn removed_tag(keys: &Keys, id: i64, leaf: &Hash, signature: &Signature) -> Verdict {
    keys.verify(signature, REMOVAL, &[&id.to_le_bytes(), leaf])
}

impl Slot {
    /// The row is redacted: `before` stood in it, `now` stands there. What was wrong before stays so.
    pub fn redact(&mut self, before: &Entry<'_>, now: &Personal<'_>, keys: &Keys) {
        let was_good = self.leaf(before, keys).is_ok();
        let digest = match self {
            Self::Salt(salt) => personal_digest(salt, &before.personal),
            Self::Redacted { digest, .. } => *digest,
            Self::Removed { .. } => return,
        };
        let signature = if was_good {
            let parts = redacted_parts(before.id, &digest, now);
            keys.sign(REDACTION, &[&parts[0], &parts[1], &parts[2]])
        } else {
            Signature::BROKEN
        };
        *self = Self::Redacted { digest, signature };
    }

    /// The row is removed. What was wrong before stays so.
    pub fn remove(&mut self, before: &Entry<'_>, keys: &Keys) {
        if matches!(self, Self::Removed { .. }) {
            return;
        }
        let (leaf, was_good) = match self.leaf(before, keys) {
            Ok((leaf, _)) => (leaf, true),
            Err(Fault { leaf, .. }) => (leaf, false),
        };
        let signature = if was_good {
            keys.sign(REMOVAL, &[&before.id.to_le_bytes(), &leaf])
        } else {
            Signature::BROKEN
        };
        *self = Self::Removed { leaf, signature };
    }

    /// The leaf of a row that is there, and whether a signature vouches for what stands in it.
    pub fn leaf(&self, entry: &Entry<'_>, keys: &Keys) -> Result<(Hash, Verdict), Fault> {
        match self {
            Self::Salt(salt) => Ok((entry.leaf(&personal_digest(salt, &entry.personal)), Verdict::Signed)),
            Self::Redacted { digest, signature } => {
                let leaf = entry.leaf(digest);
                let parts = redacted_parts(entry.id, digest, &entry.personal);
                match keys.verify(signature, REDACTION, &[&parts[0], &parts[1], &parts[2]]) {
                    verdict @ (Verdict::Signed | Verdict::Unsigned) => Ok((leaf, verdict)),
                    verdict => Err(Fault { leaf, verdict }),
                }
            }
            Self::Removed { leaf, .. } => Err(Fault {
                leaf: *leaf,
                verdict: Verdict::Wrong,
            }),
        }
    }

    /// The leaf of a row that was removed; None of one that ought to be there.
    pub fn leaf_of_removed(&self, id: i64, keys: &Keys) -> Option<Result<(Hash, Verdict), Fault>> {
        let Self::Removed { leaf, signature } = self else {
            return None;
        };
        Some(match removed_tag(keys, id, leaf, signature) {
            verdict @ (Verdict::Signed | Verdict::Unsigned) => Ok((*leaf, verdict)),
            verdict => Err(Fault { leaf: *leaf, verdict }),
        })
    }
}

/// A slot that does not fit its row, and the leaf that it would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub leaf: Hash,
    pub verdict: Verdict,
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn signature(&mut self) -> Result<Signature, Malformed> {
        Ok(Signature {
            key: self.take::<{ size_of::<KeyName>() }>()?,
            tag: self.take::<{ size_of::<Tag>() }>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;
    use proptest::prelude::*;

    fn entry(changes: Option<&str>) -> Entry<'_> {
        super::super::tests::entry(130, [Some("u"), None, None, None, changes, None, None])
    }

    fn keys() -> Keys {
        Keys(vec![Key::new(vec![7; 32])])
    }

    fn signature() -> impl Strategy<Value = Signature> {
        (any::<KeyName>(), any::<Tag>()).prop_map(|(key, tag)| Signature { key, tag })
    }

    fn slot() -> impl Strategy<Value = Slot> {
        prop_oneof![
            any::<[u8; 16]>().prop_map(Slot::Salt),
            (any::<Hash>(), signature()).prop_map(|(digest, signature)| Slot::Redacted { digest, signature }),
            (any::<Hash>(), signature()).prop_map(|(leaf, signature)| Slot::Removed { leaf, signature }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(slots in prop::collection::btree_map(0u8..64, slot(), 0..64)) {
            let block = Block::Rows(slots.into_iter().collect());
            prop_assert_eq!(Block::decode(&block.encode()), Ok(block));
        }

        #[test]
        fn any_bytes_are_refused_or_one_blocks_only(bytes in prop::collection::vec(0u8..8, 0..200)) {
            if let Ok(block) = Block::decode(&bytes) {
                prop_assert_eq!(block.encode(), bytes);
            }
        }

        /// Whatever redaction, further redaction and retention do to a sealed row, with the key: its leaf stays, its salt goes at the first.
        #[test]
        fn what_the_key_does_to_a_row_keeps_its_leaf(texts in prop::collection::vec(prop::option::of("[a-c]{0,3}"), 1..5), removed: bool, salt: [u8; 16]) {
            let keys = keys();
            let mut slot = Slot::Salt(salt);
            let (leaf, _) = slot.leaf(&entry(texts[0].as_deref()), &keys).unwrap();
            for pair in texts.windows(2) {
                let (before, after) = (entry(pair[0].as_deref()), entry(pair[1].as_deref()));
                slot.redact(&before, &after.personal, &keys);
                prop_assert_eq!(slot.leaf(&after, &keys), Ok((leaf, Verdict::Signed)));
                let other = entry(Some("other"));
                prop_assert!(slot.leaf(&other, &keys).is_err(), "what stands there now is signed");
                prop_assert!(!slot.clone_bytes().windows(16).any(|bytes| bytes == salt));
            }
            if removed {
                slot.remove(&entry(texts.last().unwrap().as_deref()), &keys);
                prop_assert_eq!(slot.leaf_of_removed(130, &keys), Some(Ok((leaf, Verdict::Signed))));
                prop_assert!(slot.leaf(&entry(None), &keys).is_err(), "a removed row is not there");
            }
        }

        #[test]
        fn an_id_is_in_its_block(id in any::<i64>()) {
            prop_assert_eq!(super::id(of(id), offset(id)), id);
        }
    }

    #[test]
    fn redaction_and_removal_keep_the_leaf() {
        let keys = keys();
        let before = entry(Some("{}"));
        let mut slot = Slot::Salt([9; 16]);
        let (leaf, _) = slot.leaf(&before, &keys).unwrap();
        let after = entry(None);
        slot.redact(&before, &after.personal, &keys);
        assert_eq!(slot.leaf(&after, &keys), Ok((leaf, Verdict::Signed)));
        assert!(
            !slot.clone_bytes().windows(16).any(|bytes| bytes == [9; 16]),
            "the salt is gone"
        );
        // once more
        slot.redact(&after, &after.personal, &keys);
        slot.remove(&after, &keys);
        assert_eq!(slot.leaf_of_removed(130, &keys), Some(Ok((leaf, Verdict::Signed))));
        assert!(slot.leaf_of_removed(131, &keys).unwrap().is_err());
    }

    #[test]
    fn what_was_changed_before_it_was_redacted_stays_wrong() {
        let keys = keys();
        let before = entry(Some("{}"));
        let mut slot = Slot::Salt([9; 16]);
        let (leaf, _) = slot.leaf(&before, &keys).unwrap();
        let tampered = entry(Some("[]"));
        slot.redact(&tampered, &entry(None).personal, &keys);
        assert_ne!(slot.leaf(&entry(None), &keys).map(|(leaf, _)| leaf), Ok(leaf));

        let mut slot = Slot::Salt([9; 16]);
        slot.redact(&before, &entry(None).personal, &keys);
        let forged = entry(Some("forged"));
        assert!(
            slot.leaf(&forged, &keys).is_err(),
            "what stands in a redacted row is signed"
        );
        slot.redact(&forged, &entry(None).personal, &keys);
        assert!(slot.leaf(&entry(None), &keys).is_err());
        slot.remove(&entry(None), &keys);
        assert!(slot.leaf_of_removed(130, &keys).unwrap().is_err());
    }

    #[test]
    fn without_the_key_no_redaction_is_made() {
        let mut slot = Slot::Salt([9; 16]);
        slot.redact(&entry(Some("{}")), &entry(None).personal, &Keys::default());
        assert_eq!(
            slot.leaf(&entry(None), &keys()).map(|(_, verdict)| verdict),
            Ok(Verdict::Unsigned)
        );
    }

    #[test]
    fn a_block_collapses_when_all_of_it_is_removed() {
        let keys = keys();
        let before = entry(None);
        let mut slot = Slot::Salt([9; 16]);
        let (leaf, _) = slot.leaf(&before, &keys).unwrap();
        slot.remove(&before, &keys);
        let mut block = Block::Rows(vec![(1, Slot::Salt([1; 16])), (2, slot)]);
        block.collapse(1, 2, &keys);
        assert!(matches!(block, Block::Rows(_)));
        let Block::Rows(slots) = &mut block else { unreachable!() };
        slots.remove(0);
        block.collapse(1, 2, &keys);
        let Block::Removed { rows, root, signature } = &block else {
            panic!("it did not collapse")
        };
        assert_eq!((*rows, *root), (1, merkle_root(&[leaf])));
        assert_eq!(Block::verify_removed(1, 2, 1, root, signature, &keys), Verdict::Signed);
        assert_eq!(Block::verify_removed(1, 3, 1, root, signature, &keys), Verdict::Wrong);
        assert_eq!(Block::decode(&block.encode()), Ok(block));
    }

    impl Slot {
        fn clone_bytes(&self) -> Vec<u8> {
            Block::Rows(vec![(0, self.clone())]).encode()
        }
    }
}
