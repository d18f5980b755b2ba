//! The context as SQL calls it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::access::may_serve;
use super::scope::Scope;
use super::{Context, Reach, Setting, Subject, check_user_id, current, subject_of_caller, subject_to};
use crate::context;
use crate::error::{Error, shown};
use crate::pg::call::Call;
use crate::raw_function;
use crate::tenant;
use crate::violation::Violation;

#[pg_extern(sql = false)]
fn set_security_context(
    tenant: Option<&str>,
    user_id: Option<&str>,
    session_id: Option<&str>,
    service_name: Option<&str>,
    is_local: Option<bool>,
    sealed: Option<bool>,
) -> std::result::Result<(), ErrorReport> {
    let (is_local, sealed) = (is_local.unwrap_or(true), sealed.unwrap_or(false));
    let tenant = tenant.ok_or_else(|| Error::missing("tenant is NULL", "A context belongs to a tenant: name it."))?;
    let id = tenant::require(tenant)?;
    if user_id.is_none() && service_name.is_none() {
        return Err(Error::missing(
            "user_id and service_name are both NULL",
            "A user context needs user_id, a service context service_name.",
        )
        .into());
    }
    if let Some(user) = user_id {
        check_user_id(user)?;
    }
    if sealed && !is_local {
        return Err(Error::bad_argument(
            "a sealed context is local to its transaction",
            "Leave is_local out, or do not seal.",
        )
        .into());
    }
    if !may_serve(&id) {
        let message = format!("the role may not act for tenant {}", shown(tenant));
        context::record_violation(Violation::OtherTenant, &message);
        return Err(Error::not_allowed(
            message,
            "A superuser grants it: SELECT memory.grant_access('<role>', 'service', '{<tenant>}').",
        )
        .into());
    }
    if is_local {
        super::warn_outside_a_transaction("BEGIN first, or pass is_local => false.");
    }
    let owned = |value: Option<&str>| value.map(str::to_owned);
    let setting = Setting {
        tenant: uuid::Uuid::from_bytes(id).to_string(),
        user: owned(user_id),
        session: owned(session_id),
        service: owned(service_name),
        pass: None,
    };
    Ok(context::set(&setting, is_local, sealed)?)
}

#[pg_extern(sql = false)]
fn clear_security_context() -> std::result::Result<(), ErrorReport> {
    Ok(context::clear()?)
}

raw_function!(current_tenant_id, pg_finfo_current_tenant_id, |call| {
    call.uuid_in_place(current().map(|c| &c.tenant))
});

raw_function!(service_tenant_id, pg_finfo_service_tenant_id, |call| {
    let covers = |c: &&Context| c.is_service() && (c.gives(Scope::Archive) || c.gives(Scope::Admin));
    call.uuid_in_place(current().filter(covers).map(|c| &c.tenant))
});

raw_function!(current_user_id, pg_finfo_current_user_id, |call| {
    call.text_in_place(current().and_then(|c| c.user_text.as_ref()))
});

raw_function!(current_session_id, pg_finfo_current_session_id, |call| {
    call.text_in_place(current().and_then(|c| c.session_text.as_ref()))
});

raw_function!(current_service_name, pg_finfo_current_service_name, |call| {
    call.text_in_place(current().and_then(|c| c.service_text.as_ref()))
});

raw_function!(context_user_low, pg_finfo_context_user_low, |call| {
    call.text_in_place(current().map(|c: &Context| &c.low))
});

raw_function!(context_user_high, pg_finfo_context_user_high, |call| {
    call.text_in_place(current().map(|c: &Context| &c.high))
});

/// Arguments 0 and 1 of a call: tenant and user.
pub(super) fn subject_of(call: Call, scope: Scope, reach: Reach) -> Subject {
    let text = |i| call.str(i);
    subject_to(scope, text(0), text(1), reach).unwrap_or_else(|error| error.raise())
}

raw_function!(subject_wrapper, pg_finfo_subject_wrapper, |call| {
    let subject = subject_of(call, Scope::Read, Reach::User);
    call.row([Some(call.uuid(subject.tenant)), subject.user.into_datum()])
});

raw_function!(scope_wrapper, pg_finfo_scope_wrapper, |call| {
    let subject = subject_of(call, Scope::Read, Reach::Tenant);
    let (low, high) = subject.users();
    call.row([Some(call.uuid(subject.tenant)), low.into_datum(), high.into_datum()])
});

raw_function!(owned_scope, pg_finfo_owned_scope, |call| {
    let subject =
        subject_of_caller(Scope::Read, call.str(0), call.str(1), Reach::Tenant).unwrap_or_else(|error| error.raise());
    let (low, high) = subject.users();
    call.row([Some(call.uuid(subject.tenant)), low.into_datum(), high.into_datum()])
});
