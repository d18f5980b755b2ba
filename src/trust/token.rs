//! A context from a signed token.
//!
//! A refused token is 42501. Until its signature is verified the error is one and the same, whatever is wrong: a forger learns nothing. What is wrong
//! with a genuine one is said in the hint. Both are recorded, with the reason, as security violations.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::jwt::{self, Algorithm, Claims, Refusal, Rules};
use super::signer::{OWN, material, no_audience};
use crate::check;
use crate::config;
use crate::context::key::{self, Key};
use crate::context::pass::{KeyTerms, Terms};
use crate::context::scope::Scopes;
use crate::context::{self, check_user_id};
use crate::error::{Error, Result, shown};
use crate::pg::{guc, process, role, time};
use crate::tenant;
use crate::tenant::identifier::parse_uuid;
use crate::violation::Violation;

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
