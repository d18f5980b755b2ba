//! Requests of users about their data: from the day one comes in to its receipt (sql/privacy_request.sql).
//!
//! Protocol: who performs or refuses a request first holds its user (alone, to erase or anonymise; an erasure redacts the user's requests), then locks the
//! request and looks at it again.

use std::thread::LocalKey;

use pgrx::datum::Uuid;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach, hold};
use crate::error::{Error, Result, shown};
use crate::pg::call::Call;
use crate::pg::role;
use crate::pg::rows_out::{self, Snapshot};
use crate::pg::spi::{Statement, unwrap};
use crate::raw_function;

const KINDS: [&str; 3] = ["export", "erase", "anonymize"];

thread_local! {
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.privacy_requests (tenant_id, user_id, kind, state, due_at, requested_by, requested_service)
             VALUES ($1, $2, $3, $4, now() + $5, $6, $7) RETURNING request_id",
            &[
                pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INTERVALOID, pg_sys::TEXTOID,
                pg_sys::TEXTOID,
            ],
        )
    };
    static FIND: Statement = const {
        Statement::new(
            "SELECT p.kind, p.state, p.user_id FROM memory.privacy_requests p WHERE p.tenant_id = $1 AND p.request_id = $2",
            &[pg_sys::UUIDOID, pg_sys::UUIDOID],
        )
    };
    static LOCK: Statement = const {
        Statement::new(
            "SELECT p.kind, p.state, p.user_id FROM memory.privacy_requests p WHERE p.tenant_id = $1 AND p.request_id = $2
             FOR NO KEY UPDATE",
            &[pg_sys::UUIDOID, pg_sys::UUIDOID],
        )
    };
    static REFUSE: Statement = const {
        Statement::new(
            "UPDATE memory.privacy_requests AS p SET state = 'refused', reason = $3, finished_at = clock_timestamp(), finished_by = $4
             WHERE p.tenant_id = $1 AND p.request_id = $2",
            &[pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static ERASE: Statement = const {
        Statement::new(
            "SELECT jsonb_object_agg(e.relation, e.rows) FROM memory.erase_user_data($1, $2) AS e",
            &[pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static ANONYMIZE: Statement = const {
        Statement::new(
            "SELECT jsonb_object_agg(e.relation, e.rows) FROM memory.anonymize_user_data($1, $2) AS e",
            &[pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static HEAD: Statement = const { Statement::new("SELECT memory.audit_head()", &[]) };
}

/// The call's answer where a legal hold stands: $1 the tenant, $2 the request.
const WAITS: &str = "WITH moved AS (
        UPDATE memory.privacy_requests AS p SET state = 'held' WHERE p.tenant_id = $1 AND p.request_id = $2
        RETURNING p.kind, p.state
    )
    SELECT m.kind, m.state, NULL::jsonb, NULL::jsonb FROM moved AS m";

/// The call's answer where it is done: $3 the counts, $4 the head of the audit log, $5 who did it.
const DONE: &str = "WITH moved AS (
        UPDATE memory.privacy_requests AS p
        SET state = 'done', finished_at = clock_timestamp(), finished_by = $5,
            receipt = jsonb_build_object('counts', $3::jsonb, 'audit_head', $4::text, 'performed_at', clock_timestamp())
        WHERE p.tenant_id = $1 AND p.request_id = $2
        RETURNING p.kind, p.state, p.receipt
    )
    SELECT m.kind, m.state, m.receipt, NULL::jsonb FROM moved AS m";

/// The same of an export; $3 is the user, as the statement reads the document itself: it may be larger than what passes through here.
const EXPORTED: &str = "WITH d AS MATERIALIZED (
        SELECT memory.export_user_document($3::text, $1::uuid::text) AS document
    ), moved AS (
        UPDATE memory.privacy_requests AS p
        SET state = 'done', finished_at = clock_timestamp(), finished_by = $5,
            receipt = jsonb_build_object('audit_head', $4::text, 'performed_at', clock_timestamp(), 'counts', (
                SELECT coalesce(jsonb_object_agg(r.key, jsonb_array_length(r.value)), '{}')
                FROM d, jsonb_each((d.document -> 'relations') || (d.document -> 'records')) AS r
            ))
        WHERE p.tenant_id = $1 AND p.request_id = $2
        RETURNING p.kind, p.state, p.receipt
    )
    SELECT m.kind, m.state, m.receipt, d.document FROM moved AS m, d";

/// The tenant that a call is about, for a service.
fn tenant(named: Option<&str>) -> Result<[u8; 16]> {
    super::require_service("exported, erased and anonymised")?;
    if context::current().is_none() && named.is_none() {
        return Err(Error::missing(
            "tenant is NULL and there is no security context",
            "Name it: tenant => '…', or call memory.set_security_context() first.",
        ));
    }
    match (context::current(), named) {
        (None, Some(named)) => crate::tenant::require(named),
        _ => Ok(context::subject_to(Scope::Admin, named, None, Reach::Tenant)?.tenant),
    }
}

#[pg_extern(sql = false)]
fn privacy_tenant(tenant: Option<&str>) -> std::result::Result<Uuid, ErrorReport> {
    Ok(Uuid::from_bytes(self::tenant(tenant)?))
}

#[pg_extern(sql = false)]
fn request_privacy(
    kind: Option<&str>,
    user_id: Option<&str>,
    due: Option<Interval>,
    tenant: Option<&str>,
) -> std::result::Result<Option<Uuid>, ErrorReport> {
    super::require_service("exported, erased and anonymised")?;
    let kind = check::needed("kind", kind)?;
    if !KINDS.contains(&kind) {
        return Err(Error::bad_argument(
            format!("kind {} is none", shown(kind)),
            format!("It is one of: {}.", KINDS.join(", ")),
        )
        .into());
    }
    let due = check::interval("due", check::needed("due", due)?)?;
    let subject = context::subject_to(Scope::Admin, tenant, user_id, Reach::User)?;
    let user = subject.user.unwrap_or_default();
    hold::share(&subject.tenant, &user);
    let state = match kind {
        "export" => "requested",
        _ if crate::hold::stands(subject.tenant, &user) => "held",
        _ => "requested",
    };
    let row = [
        Uuid::from_bytes(subject.tenant).into(),
        user.into(),
        kind.into(),
        state.into(),
        due.into(),
        role::outer_name().into(),
        context::current().and_then(|context| context.service.as_deref()).into(),
    ];
    Ok(INSERT.with(|s| s.write(&row, |rows| unwrap(rows.first().get_one()))))
}

/// An open request: its kind and user, as of this instant.
fn find(statement: &'static LocalKey<Statement>, tenant: [u8; 16], request: Uuid) -> Result<(String, String)> {
    let found = statement.with(|s| {
        s.write(&[Uuid::from_bytes(tenant).into(), request.into()], |mut rows| {
            rows.next().map(|row| {
                let text = |i| unwrap(row.get::<String>(i)).unwrap_or_default();
                (text(1), text(2), text(3))
            })
        })
    });
    match found {
        None => Err(check::unknown("privacy request", &request.to_string())),
        Some((kind, state, user)) if ["requested", "held"].contains(&state.as_str()) => Ok((kind, user)),
        Some((_, state, _)) => Err(Error::not_ready(
            format!("the privacy request {} is {state}", shown(&request.to_string())),
            "Nothing was done. Ask for another with memory.request_privacy().",
        )),
    }
}

/// The head of the audit log's seals.
fn audit_head() -> Option<String> {
    HEAD.with(|s| s.read(&[], |rows| unwrap(rows.first().get_one())))
}

fn perform(call: Call) -> Result<pg_sys::Datum> {
    let tenant = self::tenant(call.str(1))?;
    let id = Uuid::from_bytes(tenant);
    let request = check::needed("request_id", call.uuid_argument(0).map(Uuid::from_bytes))?;
    let (kind, user) = find(&FIND, tenant, request)?;
    let is_export = kind == "export";
    if !is_export && crate::hold::stands(tenant, &user) {
        return Ok(rows_out::answer(
            call,
            Snapshot::Now,
            WAITS,
            &[id.into(), request.into()],
        ));
    }
    if is_export {
        hold::share(&tenant, &user);
    } else {
        hold::alone(&tenant, &user);
    }
    let (kind, user) = find(&LOCK, tenant, request)?;
    let (head, by) = (audit_head(), role::outer_name());
    if is_export {
        let arguments = [id.into(), request.into(), user.into(), head.into(), by.into()];
        return Ok(rows_out::answer(call, Snapshot::Now, EXPORTED, &arguments));
    }
    let name = uuid::Uuid::from_bytes(tenant).to_string();
    let statement = if kind == "erase" { &ERASE } else { &ANONYMIZE };
    let counts: Option<pgrx::JsonB> =
        statement.with(|s| s.write(&[user.into(), name.into()], |rows| unwrap(rows.first().get_one())));
    let arguments = [id.into(), request.into(), counts.into(), head.into(), by.into()];
    Ok(rows_out::answer(call, Snapshot::Now, DONE, &arguments))
}

raw_function!(perform_privacy_request, pg_finfo_perform_privacy_request, |call| {
    perform(call).unwrap_or_else(|error| error.raise())
});

#[pg_extern(sql = false)]
fn refuse_privacy_request(
    request_id: Option<Uuid>,
    reason: Option<&str>,
    tenant: Option<&str>,
) -> std::result::Result<(), ErrorReport> {
    let tenant = self::tenant(tenant)?;
    let request = check::needed("request_id", request_id)?;
    let reason = check::text("reason", reason)?;
    let (_, user) = find(&FIND, tenant, request)?;
    hold::share(&tenant, &user);
    find(&LOCK, tenant, request)?;
    let arguments = [
        Uuid::from_bytes(tenant).into(),
        request.into(),
        reason.into(),
        role::outer_name().into(),
    ];
    REFUSE.with(|s| s.write(&arguments, |_| ()));
    Ok(())
}
