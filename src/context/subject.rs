//! Whose rows a call is about: its last two arguments, checked against the context.

use super::scope::Scope;
use super::{HIGHEST, LOWEST, another, check_user_id, current, require};
use crate::error::{Error, Result};
use crate::pg::role;
use crate::tenant;
use crate::violation::Violation;

/// Whose rows a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub tenant: [u8; 16],
    /// None: the whole tenant.
    pub user: Option<String>,
}

impl Subject {
    /// The least and the greatest user id that the call is about.
    pub fn users(&self) -> (&str, &str) {
        match &self.user {
            Some(user) => (user, user),
            None => (LOWEST, HIGHEST),
        }
    }
}

/// Whether a call can be about a whole tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    User,
    Tenant,
}

/// Whose rows a call is about, from its last two arguments and the context. Errors: an unknown tenant is P0002, somebody else
/// than the context allows 42501, no context 42501 (for a superuser 22004 where an argument is missing), a user where one is
/// needed 22004, a token without the scope `read` 42501.
pub fn subject(tenant: Option<&str>, user: Option<&str>, reach: Reach) -> Result<Subject> {
    subject_to(Scope::Read, tenant, user, reach)
}

/// `subject`, for what takes another scope than `read`.
pub fn subject_to(scope: Scope, tenant: Option<&str>, user: Option<&str>, reach: Reach) -> Result<Subject> {
    require(scope)?;
    let named = tenant.map(tenant::require).transpose()?;
    if let Some(user) = user {
        check_user_id(user)?;
    }
    let Some(context) = current() else {
        return without_context(named, user);
    };
    if named.is_some_and(|named| named != context.tenant) {
        return Err(another(Violation::OtherTenant, "tenant", tenant.unwrap_or_default()));
    }
    let user = match (&context.user, user) {
        (Some(own), Some(user)) if own != user => {
            return Err(another(Violation::OtherUser, "user_id", user));
        }
        (Some(own), _) => Some(own.clone()),
        (None, user) => user.map(str::to_owned),
    };
    if user.is_none() && reach == Reach::User {
        return Err(Error::missing(
            "user_id is NULL and the context is a service's, which names no user",
            "Name the user: user_id => '…'.",
        ));
    }
    Ok(Subject {
        tenant: context.tenant,
        user,
    })
}

/// `subject`, for what runs as its owner, a superuser: whether the caller may do without a context is asked of the role outside.
pub fn subject_of_caller(scope: Scope, tenant: Option<&str>, user: Option<&str>, reach: Reach) -> Result<Subject> {
    if current().is_none() && !role::outer_is_superuser() {
        tenant.map(tenant::require).transpose()?;
        return Err(no_context());
    }
    subject_to(scope, tenant, user, reach)
}

/// The error of whoever may not do without a context.
fn no_context() -> Error {
    Error::not_allowed(
        "there is no security context",
        "A service sets it: SELECT memory.set_security_context('<tenant>', '<user>').",
    )
}

fn without_context(tenant: Option<[u8; 16]>, user: Option<&str>) -> Result<Subject> {
    if !role::is_superuser() {
        return Err(no_context());
    }
    let missing = |argument: &str| {
        Error::missing(
            format!("{argument} is NULL and there is no security context"),
            format!("Name it: {argument} => '…', or call memory.set_security_context() first."),
        )
    };
    Ok(Subject {
        tenant: tenant.ok_or_else(|| missing("tenant"))?,
        user: Some(user.ok_or_else(|| missing("user_id"))?.to_owned()),
    })
}
