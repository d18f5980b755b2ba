//! The master keys that are in use, newest first, and what they wrap. No PostgreSQL here.
//!
//! Wrapped: a version byte, the master key's id, a nonce, the ciphertext with its tag. The first two are bound as well.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, binding};

/// Which master key: the start of a hash of it.
pub type KeyId = [u8; 8];

const VERSION: u8 = 1;
const HEADER: usize = 1 + size_of::<KeyId>();

/// The keys, newest first; at least one. Beside them, in the same order, what keys for other purposes are made of.
pub struct Ring(Vec<(KeyId, Cipher)>, Vec<Zeroizing<[u8; KEY_BYTES]>>);

/// Why something cannot be unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The ring has no such key.
    UnknownKey(KeyId),
    /// It is not what was wrapped, or is bound to something else.
    Tampered,
}

impl Ring {
    /// From what a file or a command gives: 32 bytes, or one key per line as 64 hexadecimal digits or in base64, newest first. Lines that
    /// are empty or start with # are passed over. What is wrong is told without the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (mut keys, mut bases) = (Vec::new(), Vec::new());
        if let Ok(key) = <&[u8; KEY_BYTES]>::try_from(bytes) {
            keys.push(checked(key, 1)?);
            bases.push(hmac(key, b"memory_ext derivation 1"));
        } else {
            let text = std::str::from_utf8(bytes).map_err(|_| "it is neither 32 bytes long nor text".to_owned())?;
            let lines = text.lines().map(str::trim).enumerate();
            for (i, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
                let key = decoded(line).ok_or_else(|| format!("line {} is no key", i + 1))?;
                keys.push(checked(&key, i + 1)?);
                bases.push(hmac(&key, b"memory_ext derivation 1"));
            }
        }
        if keys.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        Ok(Self(keys, bases))
    }

    /// A key for another purpose of each key: HMAC-SHA-256 twice, as HKDF (RFC 5869) does with a key that is random already.
    pub fn derived(&self, purpose: &str) -> Vec<Zeroizing<[u8; KEY_BYTES]>> {
        self.1.iter().map(|base| hmac(base, purpose.as_bytes())).collect()
    }

    /// The key that wraps.
    pub fn newest(&self) -> KeyId {
        self.0[0].0
    }

    /// The keys, for who protects their memory.
    pub fn ciphers(&self) -> impl Iterator<Item = &Cipher> {
        self.0.iter().map(|(_, cipher)| cipher)
    }

    pub fn has(&self, id: KeyId) -> bool {
        self.0.iter().any(|(known, _)| *known == id)
    }

    /// Wrapped by the newest key, bound to all the parts.
    pub fn wrap(&self, nonce: [u8; NONCE_BYTES], plain: &[u8], bound_to: &[&[u8]]) -> Vec<u8> {
        let (id, cipher) = &self.0[0];
        let header = [&[VERSION][..], id].concat();
        let sealed = cipher.seal(nonce, &bound(&header, bound_to), plain);
        [header, sealed].concat()
    }

    pub fn unwrap(&self, wrapped: &[u8], bound_to: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let id = key_of(wrapped).ok_or(Refused::Tampered)?;
        let (header, sealed) = wrapped.split_at(HEADER);
        let key = self.0.iter().find(|(known, _)| *known == id);
        let (_, cipher) = key.ok_or(Refused::UnknownKey(id))?;
        cipher.open(&bound(header, bound_to), sealed).ok_or(Refused::Tampered)
    }
}

/// The master key that wrapped it; None where nothing of ours did.
pub fn key_of(wrapped: &[u8]) -> Option<KeyId> {
    match wrapped.get(..HEADER)? {
        [VERSION, id @ ..] => id.try_into().ok(),
        _ => None,
    }
}

fn bound(header: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    binding(&[&[header], parts].concat())
}

fn decoded(line: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let bytes = Zeroizing::new(if line.len() == 2 * KEY_BYTES {
        let mut bytes = Vec::with_capacity(KEY_BYTES);
        for pair in line.as_bytes().chunks_exact(2) {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            bytes.push((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
        }
        bytes
    } else {
        STANDARD.decode(line).or_else(|_| STANDARD_NO_PAD.decode(line)).ok()?
    });
    let key: &[u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*key))
}

fn hmac(key: &[u8; KEY_BYTES], message: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    Zeroizing::new(mac.chain_update(message).finalize().into_bytes().into())
}

fn checked(key: &[u8; KEY_BYTES], line: usize) -> Result<(KeyId, Cipher), String> {
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(format!("line {line} is no random key: all its bytes are the same"));
    }
    let digest = Sha256::new()
        .chain_update(b"memory_ext master key id\0")
        .chain_update(key)
        .finalize();
    let id = digest[..size_of::<KeyId>()].try_into().expect("eight of 32 bytes");
    Ok((id, Cipher::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    fn ring(text: &str) -> Ring {
        Ring::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(bytes: &[u8]) -> String {
        Ring::parse(bytes).err().expect("no ring")
    }

    #[test]
    fn one_key_reads_the_same_in_every_form() {
        let raw: Vec<u8> = (0..32).collect();
        let id = Ring::parse(&raw).map(|ring| ring.newest()).ok();
        assert_eq!(Some(ring(ONE).newest()), id);
        assert_eq!(
            Some(ring(&format!("# the key\n\n {}\r\n", ONE.to_uppercase())).newest()),
            id
        );
        assert_eq!(Some(ring("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").newest()), id);
    }

    #[test]
    fn what_is_no_key_is_told_without_it() {
        assert_eq!(error(b""), "there is no key in it");
        assert_eq!(error(b"# nothing\n"), "there is no key in it");
        assert_eq!(error(format!("{ONE}\nsecret").as_bytes()), "line 2 is no key");
        assert_eq!(error(&ONE.as_bytes()[1..]), "line 1 is no key");
        assert_eq!(error(ONE.replace('0', "g").as_bytes()), "line 1 is no key");
        assert_eq!(error(&[0xff; 33]), "it is neither 32 bytes long nor text");
        assert_eq!(error(&[0; 32]), "line 1 is no random key: all its bytes are the same");
    }

    #[test]
    fn the_newest_key_wraps_and_each_unwraps_its_own() {
        let (old, both, new) = (ring(ONE), ring(&format!("{TWO}\n{ONE}")), ring(TWO));
        let wrapped = old.wrap([1; 12], b"secret", &[b"purpose", b"a"]);
        assert_eq!(key_of(&wrapped), Some(old.newest()));
        assert_eq!(
            both.unwrap(&wrapped, &[b"purpose", b"a"]).unwrap().as_slice(),
            b"secret"
        );
        assert_eq!(
            new.unwrap(&wrapped, &[b"purpose", b"a"]),
            Err(Refused::UnknownKey(old.newest()))
        );
        assert_eq!(both.unwrap(&wrapped, &[b"purpose", b"b"]), Err(Refused::Tampered));
        assert_eq!(key_of(&both.wrap([1; 12], b"secret", &[])), Some(new.newest()));
        assert!(both.has(old.newest()) && !new.has(old.newest()));
    }

    #[test]
    fn a_header_cannot_be_exchanged() {
        let both = ring(&format!("{TWO}\n{ONE}"));
        let mut wrapped = both.wrap([1; 12], b"secret", &[]);
        wrapped[1..9].copy_from_slice(&ring(ONE).newest());
        assert_eq!(both.unwrap(&wrapped, &[]), Err(Refused::Tampered));
        wrapped[0] = 2;
        assert_eq!(both.unwrap(&wrapped, &[]), Err(Refused::Tampered));
    }

    #[test]
    fn a_key_for_a_purpose_is_one_of_each_key() {
        let both = ring(&format!("{TWO}\n{ONE}")).derived("a");
        assert_eq!(both, [ring(TWO).derived("a"), ring(ONE).derived("a")].concat());
        assert_ne!(both[0], both[1]);
        assert_ne!(both, ring(&format!("{TWO}\n{ONE}")).derived("b"));
        assert_ne!(both[1].as_slice(), (0..32).collect::<Vec<u8>>());
    }

    proptest! {
        #[test]
        fn bytes_from_outside_neither_unwrap_nor_panic(bytes: Vec<u8>) {
            prop_assert!(ring(ONE).unwrap(&bytes, &[]).is_err());
            let _ = Ring::parse(&bytes);
        }

        #[test]
        fn text_from_outside_makes_no_panic(text in "[0-9a-fA-FxéA-Z+/=# \n]{0,200}") {
            let _ = Ring::parse(text.as_bytes());
        }
    }
}
