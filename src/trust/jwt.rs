//! JSON Web Tokens (RFC 7515, 7519): what a token says, and whether it says so to us, now. Nothing here knows PostgreSQL.
//!
//! A token is believed nothing before its signature is verified, but for the id of its key, which is looked up exactly. What it is verified
//! by is the *key's* algorithm; the token only has to name the same. (`none`, and an RSA key's public half as an HMAC secret, are the classical
//! attacks on libraries that asked the token.)

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use rsa::pkcs1::{DecodeRsaPublicKey as _, EncodeRsaPublicKey as _};
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest token: four times what web servers take in a header.
const MOST_BYTES: usize = 32 * 1024;
/// The longest key id.
pub const MOST_KEY_ID_BYTES: usize = 255;
/// 31 December 9999: later times are as good as this one.
const LAST: f64 = 253_402_300_799.0;

/// What a signature is made and verified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Es256,
    EdDsa,
    Rs256,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Es256, Self::EdDsa, Self::Rs256];

    /// As the standard spells it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }

    /// The bytes that a key is verified by, from its PEM; an error says what is wrong with it.
    pub fn read_public_key(self, pem: &str) -> Result<Vec<u8>, &'static str> {
        const LEAST_BITS: usize = 2048;
        let pem = pem.trim();
        if pem.contains("PRIVATE KEY-----") {
            return Err("is a private key, which has no place here: give its public half");
        }
        match self {
            Self::Hs256 => Err("is a secret, which has no public half"),
            Self::Rs256 => {
                let key = rsa::RsaPublicKey::from_public_key_pem(pem)
                    .ok()
                    .or_else(|| rsa::RsaPublicKey::from_pkcs1_pem(pem).ok())
                    .ok_or("is no RSA public key in PEM form of at most 4096 bits")?;
                if key.n().bits() < LEAST_BITS {
                    return Err("is an RSA key of less than 2048 bits");
                }
                let der = key.to_pkcs1_der().map_err(|_| "cannot be written down")?;
                Ok(der.as_bytes().to_vec())
            }
            Self::Es256 => p256::ecdsa::VerifyingKey::from_public_key_pem(pem)
                .map(|key| key.to_encoded_point(false).as_bytes().to_vec())
                .map_err(|_| "is no public key on the curve P-256 in PEM form"),
            Self::EdDsa => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem)
                    .map_err(|_| "is no Ed25519 public key in PEM form")?;
                if key.is_weak() {
                    return Err("is an Ed25519 key of small order, under which anything verifies");
                }
                Ok(key.as_bytes().to_vec())
            }
        }
    }

    fn decoding_key(self, material: &[u8]) -> DecodingKey {
        match self {
            Self::Hs256 => DecodingKey::from_secret(material),
            Self::Es256 => DecodingKey::from_ec_der(material),
            Self::EdDsa => DecodingKey::from_ed_der(material),
            Self::Rs256 => DecodingKey::from_rsa_der(material),
        }
    }
}

/// The secret of an HMAC key, from base64 of either alphabet, padded or not.
pub fn read_secret(text: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    /// As long as the hash (RFC 7518, 3.2).
    const LEAST_BYTES: usize = 32;
    let text = text.trim().trim_end_matches('=');
    let secret = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text))
        .map(Zeroizing::new)
        .map_err(|_| "is not base64")?;
    if secret.len() < LEAST_BYTES {
        return Err("is a secret of less than 32 bytes");
    }
    Ok(secret)
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// It is none of ours: nobody outside is told more.
    Forged(&'static str),
    /// Its signature is good, but a claim is missing or not what it should be.
    Malformed(&'static str),
    /// Unix times.
    Expired(i64),
    Early(i64),
    /// It lives longer than is allowed, in seconds.
    TooLong(i64),
    Issuer,
    Audience,
}

/// What a token says of itself, not verified.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub key_id: String,
    pub algorithm: Algorithm,
}

#[derive(Deserialize)]
struct RawHead {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    // What would change the meaning of the rest, and is not understood here.
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    b64: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    enc: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    zip: Option<serde::de::IgnoredAny>,
}

/// The id of the token's key, and the algorithm that it claims.
pub fn head(token: &str) -> Result<Head, Refusal> {
    if token.len() > MOST_BYTES {
        return Err(Refusal::Forged("longer than any token"));
    }
    let mut parts = token.split('.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::Forged("not three parts"));
    };
    let head = URL_SAFE_NO_PAD
        .decode(head)
        .map_err(|_| Refusal::Forged("a header that is not base64url"))?;
    let head: RawHead = serde_json::from_slice(&head).map_err(|_| Refusal::Forged("a header that does not parse"))?;
    if head.crit.is_some() || head.b64.is_some() || head.enc.is_some() || head.zip.is_some() {
        return Err(Refusal::Forged("a header that asks for an extension"));
    }
    let algorithm = Algorithm::named(&head.alg).ok_or(Refusal::Forged("an algorithm that is not taken"))?;
    let key_id = head.kid.ok_or(Refusal::Forged("no key id"))?;
    if key_id.is_empty() || key_id.len() > MOST_KEY_ID_BYTES || key_id.contains('\0') {
        return Err(Refusal::Forged("a key id that none of ours could be"));
    }
    Ok(Head { key_id, algorithm })
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn words(&self) -> Vec<&str> {
        match self {
            Self::One(text) => text.split(' ').collect(),
            Self::More(texts) => texts.iter().map(String::as_str).collect(),
        }
    }

    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(text) => text == wanted,
            Self::More(texts) => texts.iter().any(|text| text == wanted),
        }
    }
}

/// The claims that count here; a name that is there twice is an error.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub struct Claims {
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    iss: Option<String>,
    aud: Option<OneOrMore>,
    scope: Option<OneOrMore>,
    pub tenant: Option<String>,
    pub sub: Option<String>,
    pub sid: Option<String>,
    pub service: Option<String>,
    pub jti: Option<String>,
}

/// The claims of a token, its signature verified by the key and its algorithm.
pub fn verify(token: &str, algorithm: Algorithm, material: &[u8]) -> Result<Claims, Refusal> {
    let mut validation = Validation::new(algorithm.library());
    // `check` asks of the claims, with the settings and a clock that tests can set.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    use jsonwebtoken::errors::ErrorKind;
    // The library takes it for granted.
    if algorithm == Algorithm::EdDsa && material.len() != ed25519_dalek::PUBLIC_KEY_LENGTH {
        return Err(Refusal::Forged("a key that is none"));
    }
    jsonwebtoken::decode::<Claims>(token, &algorithm.decoding_key(material), &validation)
        .map(|token| token.claims)
        .map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::Utf8(_) => Refusal::Forged("claims that do not parse"),
            _ => Refusal::Forged("a signature that its key did not make"),
        })
}

/// The claims of a JSON object that somebody else has verified.
pub fn read_claims(json: &str) -> Result<Claims, Refusal> {
    if json.len() > MOST_BYTES {
        return Err(Refusal::Forged("longer than any token"));
    }
    serde_json::from_str(json)
        .map_err(|_| Refusal::Malformed("the claims are no object, or one of them is not what it should be"))
}

/// What claims are compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// None: any.
    pub issuer: Option<&'a str>,
    pub audience: Option<&'a str>,
    /// Unix time.
    pub now: i64,
    /// By how many seconds clocks may differ.
    pub leeway: i64,
    /// The longest life that a token may have left, in seconds.
    pub longest: Option<i64>,
}

impl Claims {
    /// Until when the claims hold, leeway included, in Unix time.
    pub fn check(&self, rules: Rules<'_>) -> Result<i64, Refusal> {
        let time = |claim: &Option<serde_json::Number>, wrong| {
            let Some(claim) = claim else { return Ok(None) };
            match claim.as_f64() {
                Some(time) if (0.0..f64::INFINITY).contains(&time) => Ok(Some(time.min(LAST) as i64)),
                _ => Err(Refusal::Malformed(wrong)),
            }
        };
        let end = time(&self.exp, "exp is no time")?.ok_or(Refusal::Malformed("exp is missing"))?;
        let until = end + rules.leeway;
        if until <= rules.now {
            return Err(Refusal::Expired(end));
        }
        if let Some(start) = time(&self.nbf, "nbf is no time")?
            && start > rules.now + rules.leeway
        {
            return Err(Refusal::Early(start));
        }
        if let Some(longest) = rules.longest
            && end - rules.now > longest + rules.leeway
        {
            return Err(Refusal::TooLong(longest));
        }
        if rules.issuer.is_some_and(|wanted| self.iss.as_deref() != Some(wanted)) {
            return Err(Refusal::Issuer);
        }
        if rules
            .audience
            .is_some_and(|wanted| !self.aud.as_ref().is_some_and(|aud| aud.has(wanted)))
        {
            return Err(Refusal::Audience);
        }
        for text in [&self.sub, &self.sid, &self.service, &self.tenant]
            .into_iter()
            .flatten()
        {
            if text.contains('\0') {
                return Err(Refusal::Malformed("a claim holds U+0000"));
            }
            if text.is_empty() {
                return Err(Refusal::Malformed("one of sub, sid, service and tenant is empty"));
            }
        }
        Ok(until)
    }

    /// The words of the claim `scope`; None where it is missing.
    pub fn scopes(&self) -> Option<Vec<&str>> {
        self.scope.as_ref().map(OneOrMore::words)
    }
}

/// What a service token says.
#[derive(Serialize)]
pub struct ServiceClaims<'a> {
    pub iss: &'a str,
    pub aud: &'a str,
    pub jti: &'a str,
    pub tenant: &'a str,
    pub service: &'a str,
    pub scope: &'a str,
    pub iat: i64,
    pub exp: i64,
}

/// A token of our own, signed with a secret.
pub fn sign(key_id: &str, secret: &[u8], claims: &ServiceClaims<'_>) -> Option<String> {
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(key_id.to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).ok()
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
