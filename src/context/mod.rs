//! The security context: who is asking. A user context (tenant and user) sees that user's rows, a service context
//! (tenant and service) all of the tenant's, none sees nothing.
//!
//! It lives in the setting `memory.context` (see `pg::guc`), so PostgreSQL itself undoes it with transactions and savepoints and
//! copies it to parallel workers; here stands its parsed form. A *seal* is noted beside it, with the savepoint it was made in: while it
//! stands no assignment is taken over, whatever resets the setting.

pub mod access;
pub mod hold;
pub mod key;
pub mod pass;
pub mod scope;
mod sql;
mod subject;

use std::cell::Cell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shown};
use crate::pg::call::StaticText;
use crate::pg::slot::Slot;
use crate::pg::trigger::Trigger;
use crate::pg::{guc, role, xact};
use crate::tenant::identifier::parse_uuid;
use crate::violation::{self, Violation, Who};
use pass::{Pass, Terms};
use scope::Scope;
pub use subject::{Reach, Subject, subject, subject_of_caller, subject_to};

/// The setting's form: what SHOW tells a superuser.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Of a context that was made from a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<Terms>,
}

/// The parsed context, with its values as PostgreSQL takes them.
pub struct Context {
    pub tenant: [u8; 16],
    pub user: Option<String>,
    pub session: Option<String>,
    pub service: Option<String>,
    user_text: Option<StaticText>,
    session_text: Option<StaticText>,
    service_text: Option<StaticText>,
    /// None: not made from a token.
    pass: Option<Pass>,
    /// The range of user ids that row-level security lets through.
    low: StaticText,
    high: StaticText,
}

/// Below and above every user id: ids are not empty and stay below U+10FFFF, which is no character.
const LOWEST: &str = "\u{1}";
const HIGHEST: &str = "\u{10ffff}";

thread_local! {
    static CURRENT: Slot<Context> = const { Slot::new() };
    /// The savepoint (or transaction) in which the context was sealed.
    static SEALED: Cell<Option<u32>> = const { Cell::new(None) };
    /// Whether the setting was assigned to while the seal stood, so that it says something else than the context.
    static OVERRULED: Cell<bool> = const { Cell::new(false) };
}

impl Context {
    fn parse(value: &str) -> Option<Self> {
        let setting: Setting = serde_json::from_str(value).ok()?;
        let text = |value: &Option<String>| value.as_deref().map(StaticText::new);
        let pass = match setting.pass {
            Some(terms) => Some(Pass::new(terms)?),
            None => None,
        };
        let (low, high) = match &setting.user {
            // No user is above the highest and below the lowest.
            _ if !pass.as_ref().is_none_or(|pass| pass.has(Scope::Read)) => (HIGHEST, LOWEST),
            Some(user) => (user.as_str(), user.as_str()),
            None => (LOWEST, HIGHEST),
        };
        Some(Self {
            tenant: parse_uuid(setting.tenant.as_bytes())?,
            user_text: text(&setting.user),
            session_text: text(&setting.session),
            service_text: text(&setting.service),
            low: StaticText::new(low),
            high: StaticText::new(high),
            user: setting.user,
            session: setting.session,
            service: setting.service,
            pass,
        })
    }

    /// Whether what it was made from gives the scope.
    pub fn gives(&self, scope: Scope) -> bool {
        self.pass.as_ref().is_none_or(|pass| pass.has(scope))
    }

    /// Whether it covers the whole tenant.
    pub fn is_service(&self) -> bool {
        self.user.is_none()
    }
}

/// Whether there is a context, and this user's rows are in it.
pub fn covers(tenant: &[u8; 16], user: &str) -> bool {
    current().is_some_and(|context| context.tenant == *tenant && context.user.as_deref().is_none_or(|own| own == user))
}

/// The context that holds now. One that was made from a token which holds no more raises 42501.
pub fn current() -> Option<&'static Context> {
    let context = named()?;
    if let Some(pass) = &context.pass
        && let Err(error) = pass.verify()
    {
        error.raise();
    }
    Some(context)
}

/// The context whether or not its token holds, for saying who tried.
fn named() -> Option<&'static Context> {
    CURRENT.with(Slot::get)
}

/// Raises 42501 where the context was made from a token that does not give the scope, and records it.
pub fn require(scope: Scope) -> Result<()> {
    if current().is_none_or(|context| context.gives(scope)) {
        return Ok(());
    }
    let message = format!("the token does not give the scope \"{}\"", scope.name());
    record_violation(Violation::MissingScope, &message);
    Err(Error::not_allowed(
        message,
        format!(
            "Ask who issues tokens for one whose claim \"scope\" has {}.",
            scope.name()
        ),
    ))
}

/// The setting `memory.context`.
pub const WATCH: guc::Watch = guc::Watch {
    is_acceptable,
    assigned,
};

/// Seals, and what is held, end with transactions and savepoints.
pub const LISTENER: xact::Listener = xact::Listener {
    after_commit: at_transaction_end,
    after_abort: at_transaction_end,
    savepoint_released: at_savepoint_release,
    savepoint_rolled_back: at_savepoint_rollback,
    ..xact::Listener::DEAF
};

/// Whether the setting may take this value: '' or a context that parses, and nothing while a seal stands.
fn is_acceptable(value: &str) -> bool {
    SEALED.get().is_none() && (value.is_empty() || Context::parse(value).is_some())
}

/// The setting has taken this value. While a seal stands, nothing changes: what resets the setting then (RESET ALL) counts
/// when the seal goes.
fn assigned(value: &str) {
    if SEALED.get().is_none() {
        CURRENT.with(|slot| slot.set(Context::parse(value)));
    } else {
        OVERRULED.set(true);
    }
}

/// The seal goes; what the setting says holds again. PostgreSQL assigns to it afterwards only where it restores another value.
fn unseal() {
    SEALED.set(None);
    if OVERRULED.take() {
        assigned(&guc::context());
    }
}

/// The transaction has ended; its seal goes first, so that the setting's old value is taken over.
fn at_transaction_end() {
    hold::forget();
    unseal();
    // A procedure that commits may still hold what it was called with: CALL p(memory.current_user_id()).
    if !xact::statement_goes_on() {
        CURRENT.with(Slot::collect);
    }
}

fn at_savepoint_release(savepoint: u32, parent: u32) {
    if SEALED.get() == Some(savepoint) {
        SEALED.set(Some(parent));
    }
}

fn at_savepoint_rollback(savepoint: u32) {
    hold::forget();
    if SEALED.get() == Some(savepoint) {
        unseal();
    }
}

/// Sets the context for the current role, which the caller has checked.
fn set(setting: &Setting, is_local: bool, sealed: bool) -> Result<()> {
    refuse_if_sealed()?;
    let value = serde_json::to_string(setting).expect("strings serialise");
    guc::set_context(&value, is_local);
    if sealed {
        SEALED.set(Some(xact::current_subtransaction()));
    }
    Ok(())
}

/// A context that was made from a token: local to the transaction and sealed. The caller has verified the token.
pub fn admit(
    tenant: [u8; 16],
    user: Option<String>,
    session: Option<String>,
    service: Option<String>,
    terms: Terms,
) -> Result<()> {
    warn_outside_a_transaction("BEGIN first.");
    let setting = Setting {
        tenant: uuid::Uuid::from_bytes(tenant).to_string(),
        user,
        session,
        service,
        pass: Some(terms),
    };
    set(&setting, true, true)
}

fn warn_outside_a_transaction(hint: &str) {
    if !guc::in_transaction_block() {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
            "a local security context ends with this statement",
            "memory_ext",
        )
        .set_hint(hint)
        .report(PgLogLevel::WARNING);
    }
}

fn clear() -> Result<()> {
    refuse_if_sealed()?;
    guc::set_context("", false);
    Ok(())
}

/// Raises 42501 where the context may not be changed, and records it.
pub fn refuse_if_sealed() -> Result<()> {
    if SEALED.get().is_some() {
        record_violation(Violation::SealedContext, "the context was to be changed");
        return Err(Error::not_allowed(
            "the security context is sealed",
            "It holds until the transaction ends: COMMIT or ROLLBACK first.",
        ));
    }
    Ok(())
}

/// Raises 42501 where the context's token does not give what writing to the trigger's table takes.
pub fn require_to_write(trigger: &Trigger) -> Result<()> {
    match named() {
        Some(Context { pass: Some(_), .. }) => Scope::to_write(&trigger.table_name()).map_or(Ok(()), require),
        _ => Ok(()),
    }
}

/// Raises 42501 where there is a context already, sealed or not.
pub fn refuse_if_set() -> Result<()> {
    refuse_if_sealed()?;
    match named() {
        None => Ok(()),
        Some(_) => Err(Error::not_allowed(
            "there is a security context already",
            "COMMIT or ROLLBACK first; a context of the session goes with memory.clear_security_context().",
        )),
    }
}

/// Raises 42501 unless the context is a service's that gives the scope `archive`, or there is none and the role is a superuser.
pub fn require_service() -> Result<()> {
    require(Scope::Archive)?;
    match current() {
        Some(context) if context.is_service() => Ok(()),
        None if role::is_superuser() => Ok(()),
        Some(_) => Err(Error::not_allowed(
            "the archive is not open to a user context",
            "A service context names no user: SELECT memory.set_security_context('<tenant>', service_name => '…').",
        )),
        None => Err(Error::not_allowed(
            "there is no security context",
            "A service sets it: SELECT memory.set_security_context('<tenant>', service_name => '…').",
        )),
    }
}

/// Runs `work` for a tenant under the context's service, which the caller has required: if it is another tenant than the
/// context's, in a context of that tenant which ends with `work`. 42501 where the role does not serve it, or under a seal.
pub fn serving<R>(tenant: [u8; 16], work: impl FnOnce() -> R) -> Result<R> {
    let Some(context) = current().filter(|context| context.tenant != tenant) else {
        return Ok(work());
    };
    let name = uuid::Uuid::from_bytes(tenant).to_string();
    if SEALED.get().is_some() || !access::may_serve(&tenant) {
        return Err(another(Violation::OtherTenant, "tenant", &name));
    }
    let setting = Setting {
        tenant: name,
        user: None,
        session: context.session.clone(),
        service: context.service.clone(),
        // A context of a token is sealed: it does not come here.
        pass: None,
    };
    let value = serde_json::to_string(&setting).expect("strings serialise");
    let _until_then = guc::TemporaryContext::new(&value);
    Ok(work())
}

/// Records a security violation by whoever the context names; the caller raises its error afterwards.
pub fn record_violation(violation: Violation, detail: &str) {
    violation::record(violation, detail, who());
}

/// The same, about a user: named beside the detail, never in it, so that erasing the user finds the name. The tenant is the
/// context's, if there is one.
pub fn record_violation_about(violation: Violation, detail: &str, tenant: [u8; 16], user: &str) {
    let named = Who {
        tenant_id: Some(uuid::Uuid::from_bytes(tenant).to_string()),
        named_user_id: Some(user.to_owned()),
        ..who()
    };
    violation::record(violation, detail, named);
}

fn who() -> Who {
    named()
        .map(|context| Who {
            tenant_id: Some(uuid::Uuid::from_bytes(context.tenant).to_string()),
            user_id: context.user.clone(),
            service_name: context.service.clone(),
            named_user_id: None,
        })
        .unwrap_or_default()
}

fn another(violation: Violation, argument: &str, value: &str) -> Error {
    let message = format!("{argument} {} is not the context's", shown(value));
    match (violation, current()) {
        (Violation::OtherUser, Some(context)) => {
            record_violation_about(violation, "user_id is not the context's", context.tenant, value);
        }
        _ => record_violation(violation, &message),
    }
    Error::not_allowed(
        message,
        "Leave the argument out, or have a service set another context.",
    )
}

/// A user id is any text but the empty one and those that start with U+10FFFF, where service contexts end.
pub fn check_user_id(user: &str) -> Result<()> {
    if !(LOWEST..HIGHEST).contains(&user) {
        return Err(Error::bad_argument(
            format!("user_id {} is no user id", shown(user)),
            "A user id is a text that is not empty.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

    #[test]
    fn a_setting_that_says_more_or_less_than_a_context_is_none() {
        for value in [
            "{}",
            "x",
            r#"{"tenant":"x"}"#,
            &format!(r#"{{"tenant":"{TENANT}","role":"x"}}"#),
        ] {
            assert!(Context::parse(value).is_none(), "{value}");
        }
        let context = Context::parse(&format!(r#"{{"tenant":"{TENANT}","user":"u\"\n"}}"#)).unwrap();
        assert_eq!(context.user.as_deref(), Some("u\"\n"));
        assert!(!context.is_service());
    }

    #[test]
    fn every_user_id_lies_between_the_bounds() {
        assert!(check_user_id("").is_err());
        assert!(check_user_id(HIGHEST).is_err());
        for user in ["a", "\u{1}", "\u{10fffe}\u{10fffe}", "Ω"] {
            assert!(check_user_id(user).is_ok(), "{user}");
        }
    }
}
