//! AES-256-GCM (NIST SP 800-38D) over bytes, and what a ciphertext is bound to. No PostgreSQL here.
//!
//! Nonces are 96 random bits: a key is good for 2^32 messages (SP 800-38D, 8.3), then the chance that two share a nonce passes 2^-32.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;

/// A key, ready for use; overwritten when it is dropped.
pub struct Cipher(Box<Aes256Gcm>);

impl Cipher {
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Box::new(Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key))))
    }

    /// Where the key is, for who protects its memory.
    pub fn memory(&self) -> std::ops::Range<usize> {
        let start = std::ptr::from_ref(&*self.0).addr();
        start..start + size_of::<Aes256Gcm>()
    }

    /// The nonce, then the ciphertext with its tag. The nonce is fresh from the system's random source.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        let payload = Payload {
            msg: plain,
            aad: bound_to,
        };
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), payload);
        let sealed = sealed.expect("GCM takes 64 GB, a value of PostgreSQL has 1 GB");
        [&nonce[..], &sealed].concat()
    }

    /// What `seal` was given; None where a bit of it, of the binding or of the key differs.
    pub fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let payload = Payload {
            msg: sealed,
            aad: bound_to,
        };
        self.0
            .decrypt(Nonce::from_slice(nonce), payload)
            .ok()
            .map(Zeroizing::new)
    }
}

/// What a ciphertext belongs to, as associated data: each part with its length before it, so that no two lists look alike.
pub fn binding(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The Galois/Counter Mode of Operation (McGrew and Viega), test case 16: AES-256 with associated data.
    #[test]
    fn the_published_test_vector_holds() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = bytes("cafebabefacedbaddecaf888");
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let bound_to = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let sealed = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        let cipher = Cipher::new(&key.try_into().unwrap());
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().unwrap();
        assert_eq!(cipher.seal(nonce, &bound_to, &plain), [&nonce[..], &sealed].concat());
    }

    #[test]
    fn lists_of_parts_that_join_alike_are_bound_apart() {
        assert_ne!(binding(&[b"ab", b"c"]), binding(&[b"a", b"bc"]));
        assert_ne!(binding(&[b"", b"a"]), binding(&[b"a", b""]));
        assert_ne!(binding(&[b"a"]), binding(&[b"a", b""]));
    }

    proptest! {
        #[test]
        fn only_what_was_sealed_is_opened(
            plain: Vec<u8>, bound: Vec<u8>, other: Vec<u8>, key: [u8; 32], nonce: [u8; 12], at: usize, bit in 0..8u8
        ) {
            let cipher = Cipher::new(&key);
            let mut sealed = cipher.seal(nonce, &bound, &plain);
            prop_assert_eq!(cipher.open(&bound, &sealed).map(|opened| opened.to_vec()), Some(plain));
            prop_assert!(bound == other || cipher.open(&other, &sealed).is_none());
            let length = sealed.len();
            prop_assert!(cipher.open(&bound, &sealed[..length - 1]).is_none());
            sealed[at % length] ^= 1 << bit;
            prop_assert!(cipher.open(&bound, &sealed).is_none());
        }

        #[test]
        fn bytes_from_outside_are_refused(bytes: Vec<u8>) {
            prop_assert!(Cipher::new(&[7; 32]).open(b"", &bytes).is_none());
        }
    }
}
