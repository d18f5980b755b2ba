//! Keys that sign tokens, and service tokens: registered, issued. (Revoked, and listed, by SQL: sql/trust_token.sql.)

use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::jwt::{self, Algorithm};
use super::{master, user_key};
use crate::check;
use crate::config;
use crate::context::key::{self, Key};
use crate::context::scope::{Scope, Scopes};
use crate::context::{self, Reach};
use crate::error::{Error, Result, Situation, shown};
use crate::pg::process;
use crate::pg::spi::{Statement, unwrap};
use crate::tenant;
use crate::violation::Violation;

/// What our own tokens say of who made them and whom they are for.
pub const OWN: &str = "memory_ext";

/// What the master key binds the secret of a key to.
pub fn binding(key_id: &str) -> [&[u8]; 2] {
    [b"auth_keys", key_id.as_bytes()]
}

/// What verifies a key's tokens.
pub fn material(key: &Key) -> Result<Zeroizing<Vec<u8>>> {
    match (&key.public_key, &key.wrapped_secret) {
        (Some(public), _) => Ok(Zeroizing::new(public.clone())),
        (None, Some(wrapped)) => master::unwrap(wrapped, &binding(&key.id)).inspect_err(|error| {
            if error.situation == Situation::Corrupt {
                context::record_violation(Violation::Tampering, "the secret of a token's key fails its check");
            }
        }),
        (None, None) => Err(Error::not_ready(
            "the token's key is empty",
            "A CHECK of auth_keys was dropped: revoke the key.",
        )),
    }
}

pub fn no_audience() -> Error {
    Error::not_ready(
        "the audience of tokens is not set",
        "Register the key with audience => '…' (or '*' for any), or have a superuser set memory.token_audience.",
    )
}

thread_local! {
    static REGISTER: Statement = const {
        Statement::new(
            "INSERT INTO memory.auth_keys
                 (key_id, algorithm, public_key, wrapped_secret, issuer, audience, tenants, scopes, may_serve, is_own, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (key_id) DO NOTHING RETURNING key_id",
            &[
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::BYTEAOID,
                pg_sys::BYTEAOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::BOOLOID,
                pg_sys::BOOLOID,
                pg_sys::TIMESTAMPTZOID,
            ],
        )
    };
    static OWN_KEY: Statement = const {
        Statement::new(
            "SELECT key_id FROM memory.auth_keys
             WHERE is_own AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp() + $1)
             ORDER BY created_at DESC, key_id DESC LIMIT 1",
            &[pg_sys::INTERVALOID],
        )
    };
    static ISSUE: Statement = const {
        Statement::new(
            "INSERT INTO memory.service_tokens (token_id, key_id, tenant_id, service_name, scopes, issued_at, expires_at)
             SELECT $1, $2, $3, $4, $5, t.now, t.now + $6
             FROM (SELECT date_trunc('second', clock_timestamp()) AS now) AS t
             RETURNING extract(epoch FROM issued_at)::bigint, extract(epoch FROM expires_at)::bigint,
                 $6 > interval '0' AND expires_at < 'infinity'",
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::INTERVALOID,
            ],
        )
    };
}

/// Words that are all scopes.
fn given_scopes(scopes: Option<Array<'_, &str>>) -> Result<Scopes> {
    let scopes = check::needed("scopes", scopes)?;
    let mut words = Vec::new();
    for scope in scopes.iter() {
        let word = check::element("scopes", scope)?;
        if Scope::named(word).is_none() {
            return Err(Error::bad_argument(
                format!("scope {} is unknown", shown(word)),
                "Scopes are read, write, archive and admin.",
            ));
        }
        words.push(word);
    }
    if words.is_empty() {
        return Err(Error::bad_argument(
            "scopes is empty",
            "Give at least one of read, write, archive and admin.",
        ));
    }
    Ok(Scopes::of(words))
}

/// A key of the table, but for what PostgreSQL fills in.
struct NewKey<'a> {
    id: &'a str,
    algorithm: Algorithm,
    public_key: Option<Vec<u8>>,
    wrapped_secret: Option<Vec<u8>>,
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    tenants: Option<Vec<Uuid>>,
    scopes: Scopes,
    may_serve: bool,
    is_own: bool,
    expires_at: Option<TimestampWithTimeZone>,
}

impl NewKey<'_> {
    /// False where the id is taken.
    fn insert(self) -> bool {
        let scopes: Vec<String> = self.scopes.words().into_iter().map(str::to_owned).collect();
        let row = [
            self.id.into(),
            self.algorithm.name().into(),
            self.public_key.into(),
            self.wrapped_secret.into(),
            self.issuer.into(),
            self.audience.into(),
            self.tenants.into(),
            scopes.into(),
            self.may_serve.into(),
            self.is_own.into(),
            self.expires_at.into(),
        ];
        REGISTER.with(|statement| statement.write(&row, |rows| !rows.is_empty()))
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn register_auth_key(
    key_id: Option<&str>,
    algorithm: Option<&str>,
    key: Option<&str>,
    audience: Option<&str>,
    issuer: Option<&str>,
    tenants: Option<Array<'_, &str>>,
    scopes: Option<Array<'_, &str>>,
    may_serve: Option<bool>,
    expires_at: Option<TimestampWithTimeZone>,
) -> std::result::Result<(), ErrorReport> {
    context::require(Scope::Admin)?;
    let id = check::text("key_id", key_id)?;
    if id.len() > jwt::MOST_KEY_ID_BYTES {
        return Err(Error::bad_argument(
            format!("key_id {} is longer than {} bytes", shown(id), jwt::MOST_KEY_ID_BYTES),
            "Tokens name the key by it in the header kid: make it short.",
        )
        .into());
    }
    let name = check::text("algorithm", algorithm)?;
    let algorithm = Algorithm::named(name).ok_or_else(|| {
        Error::bad_argument(
            format!("algorithm {} is not taken", shown(name)),
            "HS256, ES256, EdDSA and RS256 are.",
        )
    })?;
    let key = check::text("key", key)?;
    // What was given is not shown: it may be a secret.
    let wrong = |what: &str| {
        Error::bad_argument(
            format!("key {what}"),
            "A public key is given in PEM form (-----BEGIN PUBLIC KEY-----), the secret of HS256 as at least 32 bytes in base64.",
        )
    };
    let (public_key, wrapped_secret) = match algorithm {
        Algorithm::Hs256 => {
            let secret = jwt::read_secret(key).map_err(wrong)?;
            (None, Some(wrap(&secret, id)?))
        }
        _ => (Some(algorithm.read_public_key(key).map_err(wrong)?), None),
    };
    let given = |argument: &str, value: Option<&str>| {
        value
            .map(|value| check::text(argument, Some(value)).map(|_| ()))
            .transpose()
    };
    given("audience", audience)?;
    given("issuer", issuer)?;
    if audience.is_none() && config::token_audience().is_none() {
        return Err(no_audience().into());
    }
    let tenants = tenants
        .map(|tenants| {
            let id = |tenant: Option<&str>| Ok(Uuid::from_bytes(tenant::require(check::element("tenants", tenant)?)?));
            tenants.iter().map(id).collect::<Result<Vec<_>>>()
        })
        .transpose()?;
    let new = NewKey {
        id,
        algorithm,
        public_key,
        wrapped_secret,
        issuer,
        audience,
        tenants,
        scopes: given_scopes(scopes)?,
        may_serve: check::needed("may_serve", may_serve)?,
        is_own: false,
        expires_at,
    };
    if !new.insert() {
        return Err(Error::bad_argument(
            format!("key_id {} is taken", shown(id)),
            "A key is replaced by a second one beside it, under an id of its own; then the first is revoked.",
        )
        .into());
    }
    Ok(())
}

fn wrap(secret: &[u8], key_id: &str) -> Result<Vec<u8>> {
    user_key::share_master_key();
    master::wrap(secret, &binding(key_id))
}

/// The key that signs service tokens, made where there is none that outlives them.
fn own_key(ttl: Interval) -> Result<(String, Zeroizing<Vec<u8>>)> {
    let found = OWN_KEY.with(|s| {
        s.read(&[ttl.into()], |rows| {
            (!rows.is_empty()).then(|| unwrap(rows.first().get_one::<String>()))
        })
    });
    if let Some(id) = found.flatten()
        && let Some(key) = key::find(&id)
    {
        return Ok((id, material(&key)?));
    }
    let id = format!("{OWN}:{}", uuid::Uuid::now_v7());
    let secret = Zeroizing::new(process::random_bytes::<32>().to_vec());
    NewKey {
        id: &id,
        algorithm: Algorithm::Hs256,
        public_key: None,
        wrapped_secret: Some(wrap(&secret, &id)?),
        issuer: Some(OWN),
        audience: Some(OWN),
        tenants: None,
        scopes: Scopes::of(["read", "write", "archive", "admin"]),
        may_serve: true,
        is_own: true,
        expires_at: None,
    }
    .insert();
    Ok((id, secret))
}

#[pg_extern(sql = false)]
fn issue_service_token(
    service_name: Option<&str>,
    tenant: Option<&str>,
    scopes: Option<Array<'_, &str>>,
    ttl: Option<Interval>,
) -> std::result::Result<String, ErrorReport> {
    let tenant = check::text("tenant", tenant)?;
    // An operator has no context; where there is one, it binds.
    let tenant = match context::current() {
        None => tenant::require(tenant)?,
        Some(context) if context.is_service() => {
            context::subject_to(Scope::Admin, Some(tenant), None, Reach::Tenant)?.tenant
        }
        Some(_) => {
            return Err(Error::not_allowed(
                "service tokens are not issued in a user context",
                "An operator issues them without a context.",
            )
            .into());
        }
    };
    let service = check::text("service_name", service_name)?;
    let scopes = given_scopes(scopes)?;
    let ttl = check::interval("ttl", check::needed("ttl", ttl)?)?;
    let (key_id, secret) = own_key(ttl)?;
    let id = uuid::Uuid::now_v7();
    let words: Vec<String> = scopes.words().into_iter().map(str::to_owned).collect();
    let row = [
        Uuid::from_bytes(*id.as_bytes()).into(),
        key_id.as_str().into(),
        Uuid::from_bytes(tenant).into(),
        service.into(),
        words.clone().into(),
        ttl.into(),
    ];
    let (issued, expires, is_finite) = ISSUE.with(|s| {
        s.write(&row, |rows| {
            let row = rows.first();
            let time = |i| unwrap(row.get::<i64>(i)).unwrap_or_default();
            (time(1), time(2), unwrap(row.get::<bool>(3)) == Some(true))
        })
    });
    if !is_finite {
        return Err(Error::bad_argument("ttl is zero", "Give a length of time, such as '90 days'.").into());
    }
    if let Some(longest) = config::token_max_ttl()
        && expires - issued > longest
    {
        return Err(Error::bad_argument(
            format!("ttl is {} seconds, more than memory.token_max_ttl", expires - issued),
            format!("At most {longest} seconds are accepted: issue for less, and again before they are over."),
        )
        .into());
    }
    let claims = jwt::ServiceClaims {
        iss: OWN,
        aud: OWN,
        jti: &id.to_string(),
        tenant: &uuid::Uuid::from_bytes(tenant).to_string(),
        service,
        scope: &words.join(" "),
        iat: issued,
        exp: expires,
    };
    jwt::sign(&key_id, &secret, &claims).ok_or_else(|| {
        Error::not_ready(
            "the token could not be signed",
            "Revoke its key; the next call makes another.",
        )
        .into()
    })
}
