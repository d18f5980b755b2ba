//! Tokens as SQL calls them: a context from a signed token; keys and service tokens, registered, issued and revoked.
//!
//! A refused token is 42501. Until its signature is verified the error is one and the same, whatever is wrong: a forger learns nothing. What is wrong
//! with a genuine one is said in the hint. Both are recorded, with the reason, as security violations.

use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::jwt::{self, Algorithm, Claims, Refusal, Rules};
use super::{master, user_key};
use crate::check;
use crate::config;
use crate::context::key::{self, Key};
use crate::context::pass::{KeyTerms, Terms};
use crate::context::scope::{Scope, Scopes};
use crate::context::{self, Reach, check_user_id};
use crate::error::{Error, Result, Situation, shown};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{guc, process, role, time};
use crate::tenant;
use crate::tenant::identifier::parse_uuid;
use crate::violation::Violation;

/// What our own tokens say of who made them and whom they are for.
const OWN: &str = "memory_ext";

/// What the master key binds the secret of a key to.
pub fn binding(key_id: &str) -> [&[u8]; 2] {
    [b"auth_keys", key_id.as_bytes()]
}

fn forged(why: &str) -> Error {
    context::record_violation(Violation::ForgedToken, why);
    Error::not_allowed(
        "the token is not accepted",
        "It is none that is meant for this database; memory.security_violations says why. Ask who issues tokens for another.",
    )
}

/// Of a token with a good signature.
fn refused(kind: Violation, message: String, hint: String) -> Error {
    context::record_violation(kind, &message);
    Error::not_allowed(message, hint)
}

fn explain(refusal: Refusal) -> Error {
    let old = |message: String, hint: &str| refused(Violation::RefusedToken, message, hint.to_owned());
    match refusal {
        Refusal::Forged(why) => forged(why),
        Refusal::Malformed(why) => refused(
            Violation::ForgedToken,
            format!("the token is not accepted: {why}"),
            "Its signature is good: tell who issues tokens.".to_owned(),
        ),
        Refusal::Expired(end) => old(
            format!("the token has expired: it was good until {}", time::shown(end)),
            "Get a new one.",
        ),
        Refusal::Early(start) => old(
            format!("the token is not good before {}", time::shown(start)),
            "Wait; if that time has come, a clock is wrong (memory.token_leeway).",
        ),
        Refusal::TooLong(longest) => old(
            format!("the token lives longer than the {longest} seconds of memory.token_max_ttl"),
            "Get one with a shorter life.",
        ),
        Refusal::Issuer => refused(
            Violation::ForgedToken,
            "the token's issuer is not its key's".to_owned(),
            "The claim iss is compared with the issuer that the key was registered for, else with memory.token_issuer.".to_owned(),
        ),
        Refusal::Audience => refused(
            Violation::ForgedToken,
            "the token is for another audience".to_owned(),
            "The claim aud is compared with the audience that the key was registered for, else with memory.token_audience.".to_owned(),
        ),
    }
}

/// Who a token says is asking.
struct Who {
    tenant: [u8; 16],
    user: Option<String>,
    session: Option<String>,
    service: Option<String>,
    terms: Terms,
}

#[pg_extern(sql = false)]
fn authenticate(token: Option<&str>) -> std::result::Result<(), ErrorReport> {
    let token = check::needed("token", token)?;
    context::refuse_if_sealed()?;
    let who = verify(token)?;
    Ok(context::admit(
        who.tenant,
        who.user,
        who.session,
        who.service,
        who.terms,
    )?)
}

fn verify(token: &str) -> Result<Who> {
    let head = jwt::head(token).map_err(explain)?;
    let key = key::find(&head.key_id).ok_or_else(|| forged("an unknown key"))?;
    let algorithm = Algorithm::named(&key.algorithm).filter(|algorithm| *algorithm == head.algorithm);
    let algorithm = algorithm.ok_or_else(|| forged("another algorithm than its key's"))?;
    let material = material(&key)?;
    let claims = jwt::verify(token, algorithm, &material).map_err(explain)?;
    let now = process::unix_seconds();
    if key.is_revoked || key.has_expired(now) {
        return Err(refused(
            Violation::RefusedToken,
            "the token's key no longer holds".to_owned(),
            "Get a new token, which another key signs.".to_owned(),
        ));
    }
    let terms = |until: i64, token, scopes| Terms {
        key: Some(KeyTerms {
            id: key.id.clone(),
            fingerprint: key.fingerprint(),
        }),
        token,
        until: key.expires_at.map_or(until, |end| until.min(end)),
        scopes,
    };
    if key.is_own {
        claims.check(rules(now, Some(OWN), Some(OWN))).map_err(explain)?;
        return verify_issued(&key, &claims, now, |until, token, scopes| {
            terms(until, Some(token), scopes)
        });
    }
    let (issuer, audience) = expected(&key)?;
    let rules = rules(now, issuer.as_deref(), audience.as_deref());
    let until = claims.check(rules).map_err(explain)?;
    let tenant = tenant_of(&claims)?;
    if !key.is_for(&tenant) {
        return Err(refused(
            Violation::OtherTenant,
            format!(
                "the token's key may not speak for tenant {}",
                shown(claims.tenant.as_deref().unwrap_or_default())
            ),
            "An operator registers a key for the tenants that its tokens may name.".to_owned(),
        ));
    }
    let scopes = scopes_of(&claims, key.scopes)?;
    let service = match (&claims.sub, claims.service.clone()) {
        (Some(_), _) => None,
        (None, Some(service)) if key.may_serve => Some(service),
        (None, _) => {
            return Err(explain(Refusal::Malformed(
                "it has no sub, and its key or claims make it no service's",
            )));
        }
    };
    Ok(Who {
        tenant,
        user: claims.sub,
        session: claims.sid,
        service,
        terms: terms(until, None, scopes),
    })
}

/// Of a service token the table has the last word; the token only says which row.
fn verify_issued(
    key: &Key,
    claims: &Claims,
    now: i64,
    terms: impl FnOnce(i64, String, Scopes) -> Terms,
) -> Result<Who> {
    let id = claims.jti.as_deref().and_then(|id| parse_uuid(id.as_bytes()));
    let issued = id.and_then(key::find_issued).filter(|issued| issued.key_id == key.id);
    let Some((id, issued)) = id.zip(issued) else {
        return Err(forged("a service token that was never issued"));
    };
    if issued.is_revoked {
        return Err(refused(
            Violation::RefusedToken,
            "the service token was revoked".to_owned(),
            "An operator issues another: SELECT memory.issue_service_token(…).".to_owned(),
        ));
    }
    // This server's clock has set the time: no leeway.
    if issued.expires_at <= now {
        return Err(explain(Refusal::Expired(issued.expires_at)));
    }
    let id = uuid::Uuid::from_bytes(id).to_string();
    Ok(Who {
        tenant: tenant::require(&uuid::Uuid::from_bytes(issued.tenant).to_string())?,
        user: None,
        session: None,
        service: Some(issued.service),
        terms: terms(issued.expires_at, id, issued.scopes.completed()),
    })
}

fn material(key: &Key) -> Result<Zeroizing<Vec<u8>>> {
    match (&key.public_key, &key.wrapped_secret) {
        (Some(public), _) => Ok(Zeroizing::new(public.clone())),
        (None, Some(wrapped)) => master::unwrap(wrapped, &binding(&key.id)).inspect_err(|error| {
            if error.situation == Situation::Corrupt {
                context::record_violation(Violation::Tampering, "the secret of a token's key fails its check");
            }
        }),
        (None, None) => Err(forged("a key that is empty")),
    }
}

fn rules<'a>(now: i64, issuer: Option<&'a str>, audience: Option<&'a str>) -> Rules<'a> {
    Rules {
        issuer,
        audience,
        now,
        leeway: config::TOKEN_LEEWAY_S.get().into(),
        longest: config::token_max_ttl(),
    }
}

/// The issuer and the audience that a key's tokens must name; an audience of `*` is any.
fn expected(key: &Key) -> Result<(Option<String>, Option<String>)> {
    let audience = key
        .audience
        .clone()
        .or_else(config::token_audience)
        .ok_or_else(no_audience)?;
    Ok((
        key.issuer.clone().or_else(config::token_issuer),
        (audience != ANY).then_some(audience),
    ))
}

const ANY: &str = "*";

fn no_audience() -> Error {
    Error::not_ready(
        "the audience of tokens is not set",
        "Register the key with audience => '…' (or '*' for any), or have a superuser set memory.token_audience.",
    )
}

fn tenant_of(claims: &Claims) -> Result<[u8; 16]> {
    let Some(tenant) = claims.tenant.as_deref() else {
        return Err(explain(Refusal::Malformed("tenant is missing")));
    };
    if let Some(user) = &claims.sub
        && check_user_id(user).is_err()
    {
        return Err(explain(Refusal::Malformed("sub is no user id")));
    }
    tenant::require(tenant)
}

/// What the token asks for, of what its key may give. A token that says nothing reads and writes.
fn scopes_of(claims: &Claims, most: Scopes) -> Result<Scopes> {
    let asked = claims.scopes().unwrap_or_else(|| vec!["read", "write"]);
    let scopes = Scopes::of(asked).and(most);
    if scopes.is_empty() {
        return Err(refused(
            Violation::MissingScope,
            "the token gives no scope that its key may give".to_owned(),
            format!("Its key may give: {}.", most.words().join(", ")),
        ));
    }
    Ok(scopes.completed())
}

#[pg_extern(sql = false)]
fn authenticate_request() -> std::result::Result<(), ErrorReport> {
    let trusted = config::trust_request_claims_from();
    if !trusted.is_some_and(|trusted| role::logged_in_as(&trusted)) || role::session_is_superuser() {
        return Err(refused(
            Violation::ForgedToken,
            "request.jwt.claims are not trusted in this session".to_owned(),
            "A superuser names the login of PostgREST in postgresql.conf: memory.trust_request_claims_from = '…'. Or hand the token itself \
             to memory.authenticate()."
                .to_owned(),
        )
        .into());
    }
    context::refuse_if_set()?;
    let claims = guc::setting(c"request.jwt.claims").unwrap_or_default();
    let claims = jwt::read_claims(&claims).map_err(explain)?;
    let issuer = config::token_issuer();
    let audience = config::token_audience();
    let until = claims
        .check(rules(process::unix_seconds(), issuer.as_deref(), audience.as_deref()))
        .map_err(explain)?;
    let tenant = tenant_of(&claims)?;
    let scopes = scopes_of(&claims, Scopes::of(["read", "write"]))?;
    let user = claims
        .sub
        .ok_or_else(|| explain(Refusal::Malformed("sub is missing")))?;
    let terms = Terms {
        key: None,
        token: None,
        until,
        scopes,
    };
    Ok(context::admit(tenant, Some(user), claims.sid, None, terms)?)
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
        may_serve: may_serve.unwrap_or(false),
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
