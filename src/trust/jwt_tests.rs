use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000;
const SECRET: [u8; 32] = [7; 32];
const RULES: Rules<'_> = Rules {
    issuer: Some("https://issuer"),
    audience: Some("memory"),
    now: NOW,
    leeway: 60,
    longest: None,
};
const GOOD: &str = r#"{"iss":"https://issuer","aud":"memory","exp":1800000600,"tenant":"acme","sub":"alice"}"#;

// Keys for tests only, in tests/data/tokens.
const ED: (&[u8], &str) = (
    include_bytes!("../../tests/data/tokens/ed.der"),
    include_str!("../../tests/data/tokens/ed.public.pem"),
);
const EC: (&[u8], &str) = (
    include_bytes!("../../tests/data/tokens/ec.der"),
    include_str!("../../tests/data/tokens/ec.public.pem"),
);
const RSA: (&[u8], &str) = (
    include_bytes!("../../tests/data/tokens/rsa.der"),
    include_str!("../../tests/data/tokens/rsa.public.pem"),
);

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn signed(algorithm: Algorithm, header: &str, claims: &str, key: &EncodingKey) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm.library()).unwrap();
    format!("{message}.{signature}")
}

fn hs256(header: &str, claims: &str) -> String {
    signed(Algorithm::Hs256, header, claims, &EncodingKey::from_secret(&SECRET))
}

const HEADER: &str = r#"{"alg":"HS256","kid":"k"}"#;

fn claims(json: &str) -> Claims {
    verify(&hs256(HEADER, json), Algorithm::Hs256, &SECRET).unwrap()
}

#[test]
fn each_algorithm_verifies_its_own_signature_and_no_other() {
    let keys = [
        (Algorithm::Hs256, EncodingKey::from_secret(&SECRET), SECRET.to_vec()),
        (
            Algorithm::EdDsa,
            EncodingKey::from_ed_der(ED.0),
            Algorithm::EdDsa.read_public_key(ED.1).unwrap(),
        ),
        (
            Algorithm::Es256,
            EncodingKey::from_ec_der(EC.0),
            Algorithm::Es256.read_public_key(EC.1).unwrap(),
        ),
        (
            Algorithm::Rs256,
            EncodingKey::from_rsa_der(RSA.0),
            Algorithm::Rs256.read_public_key(RSA.1).unwrap(),
        ),
    ];
    for (signer, key, _) in &keys {
        let token = signed(
            *signer,
            &format!(r#"{{"alg":"{}","kid":"k"}}"#, signer.name()),
            GOOD,
            key,
        );
        assert_eq!(head(&token).unwrap().algorithm, *signer);
        for (verifier, _, material) in &keys {
            let outcome = verify(&token, *verifier, material);
            assert_eq!(
                outcome.is_ok(),
                signer == verifier,
                "{signer:?} by {verifier:?}: {outcome:?}"
            );
        }
        // one bit elsewhere
        let mut bytes = token.into_bytes();
        let last = bytes.len() - 5;
        bytes[last] = if bytes[last] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        let material = &keys.iter().find(|(algorithm, ..)| algorithm == signer).unwrap().2;
        assert!(verify(&forged, *signer, material).is_err(), "{signer:?}");
    }
}

#[test]
fn the_public_half_of_an_rsa_key_is_no_secret_for_hmac() {
    let material = Algorithm::Rs256.read_public_key(RSA.1).unwrap();
    for secret in [RSA.1.as_bytes(), RSA.1.trim().as_bytes(), &material] {
        let token = signed(
            Algorithm::Hs256,
            r#"{"alg":"HS256","kid":"k"}"#,
            GOOD,
            &EncodingKey::from_secret(secret),
        );
        assert!(verify(&token, Algorithm::Rs256, &material).is_err());
        let token = signed(
            Algorithm::Hs256,
            r#"{"alg":"RS256","kid":"k"}"#,
            GOOD,
            &EncodingKey::from_secret(secret),
        );
        assert!(verify(&token, Algorithm::Rs256, &material).is_err());
    }
}

#[test]
fn an_algorithm_or_header_that_is_not_taken_is_refused_before_a_key_is_looked_up() {
    for header in [
        r#"{"alg":"none","kid":"k"}"#,
        r#"{"alg":"None","kid":"k"}"#,
        r#"{"alg":"","kid":"k"}"#,
        r#"{"alg":"HS384","kid":"k"}"#,
        r#"{"alg":"RS512","kid":"k"}"#,
        r#"{"alg":"hs256","kid":"k"}"#,
        r#"{"alg":["HS256"],"kid":"k"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","kid":""}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","kid":"a\u0000b"}"#,
        r#"{"alg":"HS256","alg":"none","kid":"k"}"#,
        r#"{"alg":"HS256","kid":"k","kid":"l"}"#,
        r#"{"alg":"HS256","kid":"k","crit":["exp"]}"#,
        r#"{"alg":"HS256","kid":"k","b64":false}"#,
        r#"{"alg":"HS256","kid":"k","zip":"DEF"}"#,
        "[]",
        "",
        "{",
    ] {
        let token = hs256(header, GOOD);
        assert!(matches!(head(&token), Err(Refusal::Forged(_))), "{header}");
    }
    let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(MOST_KEY_ID_BYTES + 1));
    assert!(head(&hs256(&long, GOOD)).is_err());
    assert!(head(&"a".repeat(1 << 20)).is_err());
    assert!(head(HEADER).is_err());
    for token in ["", ".", "..", "...", "a.b.c.d", " . . ", "é.é.é"] {
        assert!(head(token).is_err(), "{token}");
    }
    // keys that a token brings along itself are not looked at
    let brought = r#"{"alg":"HS256","kid":"k","jku":"http://x","jwk":{"kty":"oct","k":"AA"}}"#;
    assert_eq!(head(&hs256(brought, GOOD)).unwrap().key_id, "k");
}

#[test]
fn claims_that_say_something_twice_or_in_another_shape_do_not_parse() {
    for json in [
        r#"{"exp":1,"exp":9999999999}"#,
        r#"{"sub":"alice","sub":"bob"}"#,
        r#"{"sub":7}"#,
        r#"{"sub":["alice"]}"#,
        r#"{"tenant":{"a":1}}"#,
        r#"{"exp":"9999999999"}"#,
        r#"{"aud":7}"#,
        r#"{"scope":{"admin":true}}"#,
        "[]",
        "null",
        "",
        r#"{"exp":1e999}x"#,
    ] {
        let token = hs256(HEADER, json);
        assert_eq!(
            verify(&token, Algorithm::Hs256, &SECRET),
            Err(Refusal::Forged("claims that do not parse")),
            "{json}"
        );
    }
    // What is nested without end is passed over without a stack.
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(claims(&deep), Claims::default());
    let deep = format!(r#"{{"scope":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(verify(&hs256(HEADER, &deep), Algorithm::Hs256, &SECRET).is_err());
}

#[test]
fn times_count_with_the_leeway_and_to_the_second() {
    let check = |json: &str| claims(json).check(RULES);
    let with = |exp: &str| check(&format!(r#"{{"iss":"https://issuer","aud":"memory","exp":{exp}}}"#));
    assert_eq!(with("1800000600"), Ok(1_800_000_660));
    assert_eq!(with("1799999941"), Ok(NOW + 1));
    assert_eq!(with("1799999940"), Err(Refusal::Expired(NOW - 60)));
    assert_eq!(with("1799999941.9"), Ok(NOW + 1));
    assert_eq!(with("1.8e9"), Ok(NOW + 60));
    assert_eq!(with("1e300"), Ok(LAST as i64 + 60));
    assert_eq!(with("1e999"), Err(Refusal::Malformed("exp is no time")));
    assert_eq!(with("-1"), Err(Refusal::Malformed("exp is no time")));
    assert_eq!(with("0"), Err(Refusal::Expired(0)));
    assert_eq!(with("null"), Err(Refusal::Malformed("exp is missing")));
    let early = |nbf: i64| {
        check(&format!(
            r#"{{"iss":"https://issuer","aud":"memory","exp":1900000000,"nbf":{nbf}}}"#
        ))
    };
    assert!(early(NOW + 60).is_ok());
    assert_eq!(early(NOW + 61), Err(Refusal::Early(NOW + 61)));
    let rules = Rules {
        longest: Some(3600),
        ..RULES
    };
    assert!(claims(GOOD).check(rules).is_ok());
    let long = claims(r#"{"iss":"https://issuer","aud":"memory","exp":1800003661}"#);
    assert_eq!(long.check(rules), Err(Refusal::TooLong(3600)));
}

#[test]
fn issuer_and_audience_are_compared_whole() {
    let with = |issuer: &str, audience: &str| {
        claims(&format!(r#"{{"iss":{issuer},"aud":{audience},"exp":1800000600}}"#)).check(RULES)
    };
    assert!(with(r#""https://issuer""#, r#""memory""#).is_ok());
    assert!(with(r#""https://issuer""#, r#"["other","memory"]"#).is_ok());
    for issuer in ["null", r#""""#, r#""https://issuer/""#, r#""HTTPS://ISSUER""#] {
        assert_eq!(with(issuer, r#""memory""#), Err(Refusal::Issuer), "{issuer}");
    }
    for audience in [
        "null",
        r#""""#,
        "[]",
        r#""memory other""#,
        r#""memor""#,
        r#"["memoryx"]"#,
    ] {
        assert_eq!(
            with(r#""https://issuer""#, audience),
            Err(Refusal::Audience),
            "{audience}"
        );
    }
    let none = claims(r#"{"exp":1800000600}"#);
    assert!(
        none.check(Rules {
            issuer: None,
            audience: None,
            ..RULES
        })
        .is_ok()
    );
}

#[test]
fn who_is_named_has_a_name() {
    for claim in ["sub", "sid", "service", "tenant"] {
        for value in [r#""""#, r#""a\u0000b""#] {
            let json = format!(r#"{{"iss":"https://issuer","aud":"memory","exp":1800000600,"{claim}":{value}}}"#);
            assert!(
                matches!(claims(&json).check(RULES), Err(Refusal::Malformed(_))),
                "{json}"
            );
        }
    }
}

#[test]
fn scopes_are_words_or_a_list() {
    assert_eq!(
        claims(r#"{"scope":"read write"}"#).scopes(),
        Some(vec!["read", "write"])
    );
    assert_eq!(
        claims(r#"{"scope":["read","write"]}"#).scopes(),
        Some(vec!["read", "write"])
    );
    assert_eq!(claims("{}").scopes(), None);
}

#[test]
fn keys_that_are_none_are_told_so() {
    let small = include_str!("../../tests/data/tokens/rsa1024.public.pem");
    assert!(Algorithm::Rs256.read_public_key(small).unwrap_err().contains("2048"));
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        for pem in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert!(algorithm.read_public_key(pem).is_err());
        }
        let own = [ED.1, EC.1, RSA.1]
            .iter()
            .filter(|pem| algorithm.read_public_key(pem).is_ok())
            .count();
        assert_eq!(own, 1);
    }
    assert!(
        Algorithm::EdDsa
            .read_public_key("-----BEGIN PRIVATE KEY-----\n")
            .unwrap_err()
            .contains("private")
    );
    // The neutral element: under it some signature of anything verifies.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----";
    assert!(
        Algorithm::EdDsa
            .read_public_key(weak)
            .unwrap_err()
            .contains("small order")
    );
    assert!(read_secret("c2hvcnQ=").is_err());
    assert!(read_secret("*").is_err());
    let long = STANDARD_NO_PAD.encode([0xfb; 32]);
    assert_eq!(*read_secret(&long).unwrap(), [0xfb; 32]);
    assert_eq!(
        *read_secret(&format!(" {}=\n", long.replace('+', "-").replace('/', "_"))).unwrap(),
        [0xfb; 32]
    );
}

#[test]
fn what_is_signed_here_verifies_here() {
    let claims = ServiceClaims {
        iss: "https://issuer",
        aud: "memory",
        jti: "j",
        tenant: "t",
        service: "s",
        scope: "read",
        iat: NOW,
        exp: NOW + 1,
    };
    let token = sign("k", &SECRET, &claims).unwrap();
    assert_eq!(
        head(&token).unwrap(),
        Head {
            key_id: "k".to_owned(),
            algorithm: Algorithm::Hs256
        }
    );
    let read = verify(&token, Algorithm::Hs256, &SECRET).unwrap();
    assert_eq!(read.check(RULES), Ok(NOW + 61));
    assert_eq!(read.service.as_deref(), Some("s"));
    assert!(verify(&token, Algorithm::Hs256, &[8; 32]).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = head(&text);
        let _ = verify(&text, Algorithm::Hs256, &SECRET);
        let _ = read_claims(&text);
        let _ = read_secret(&text);
        for algorithm in Algorithm::ALL {
            let _ = algorithm.read_public_key(&text);
        }
    }

    #[test]
    fn no_claims_make_the_reader_panic(header in ".{0,60}", json in r#"\{("(exp|nbf|iss|aud|sub|tenant|scope)":(-?[0-9]{1,30}(\.[0-9]{1,5})?(e[0-9]{1,4})?|"[a-z ]{0,5}"|\[\]|null),?){0,4}\}"#) {
        let token = hs256(&header, &json);
        let _ = head(&token);
        if let Ok(claims) = verify(&hs256(HEADER, &json), Algorithm::Hs256, &SECRET) {
            let _ = claims.check(RULES);
        }
    }

    #[test]
    fn any_bytes_as_keys_and_signatures_are_refused(key in prop::collection::vec(any::<u8>(), 0..100), signature in prop::collection::vec(any::<u8>(), 0..100)) {
        for algorithm in Algorithm::ALL {
            let header = format!(r#"{{"alg":"{}","kid":"k"}}"#, algorithm.name());
            let token = format!("{}.{}.{}", part(&header), part(GOOD), URL_SAFE_NO_PAD.encode(&signature));
            prop_assert!(verify(&token, algorithm, &key).is_err());
        }
    }
}
