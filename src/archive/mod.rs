//! The archive: what left hot memory, and what services archive themselves.
//!
//! Rows are written in the order of their keys, sessions before events, so that two batches wait for each other but do not
//! deadlock.

pub mod run;
mod store;

use crate::context::scope::Scope;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::pg::catalog::TableName;
use crate::pg::scan;
use crate::raw_function;
use crate::tenant::Resolved;
use pgrx::IntoDatum;
use serde::Serialize;

thread_local! {
    static EVENTS: TableName = const {
        TableName::new(c"agent_events_archive", [c"agent_events_archive_pkey", c"agent_events_archive_pkey"])
    };
}

/// Whether the archive has the event, as committed at this instant. Past row-level security, because a user context has no
/// access to the archive: the caller has checked that tenant and user are the context's.
pub fn has_event(tenant: [u8; 16], user: &str, session: &str, event: &str) -> bool {
    const TENANT: i16 = 2;
    const TEXTS: [i16; 3] = [3, 4, 5];
    let Some(table) = EVENTS.with(TableName::find) else {
        return false;
    };
    let texts = [(TEXTS[0], user), (TEXTS[1], session), (TEXTS[2], event)];
    scan::exists_now(table.oid, table.indexes[0], scan::Key::Owned((TENANT, tenant), &texts))
}

/// How the tenant of an archived row was resolved; every archived payload has it as `_tenant`.
#[derive(Serialize)]
struct Stamp<'a> {
    input: &'a str,
    slug: Option<&'a str>,
    uuid: String,
    source: &'a str,
    found: bool,
}

/// The jsonb text that is merged into a payload: `{"_tenant": {…}}`.
pub fn stamp(input: &str, resolved: &Resolved) -> String {
    let stamp = Stamp {
        input,
        slug: resolved.slug.as_deref().filter(|_| resolved.found),
        uuid: uuid::Uuid::from_bytes(resolved.uuid).to_string(),
        source: resolved.source,
        found: resolved.found,
    };
    serde_json::json!({ "_tenant": stamp }).to_string()
}

/// Answers `result`, or raises its error.
fn or_raise<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error: Error| error.raise())
}

raw_function!(archive_scope, pg_finfo_archive_scope, |call| {
    let text = |i| call.str(i);
    let subject = or_raise(context::subject_to(Scope::Archive, text(0), text(1), Reach::Tenant));
    or_raise(context::require_service());
    // The hot half belongs to it.
    or_raise(context::require(Scope::Read));
    let (low, high) = subject.users();
    call.row([Some(call.uuid(subject.tenant)), low.into_datum(), high.into_datum()])
});
