//! Security violations: what was refused, by whom. A violation outlives the transaction that it ends: the server log gets
//! it first, then the table, through a transaction of its own (some 5 ms, which also slows down whoever tries many).

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Serialize;

use crate::context::hold;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{autonomous, process, role};
use crate::tenant::identifier::parse_uuid;

/// What was refused.
#[derive(Clone, Copy, Debug)]
pub enum Violation {
    /// A tenant other than the context's was named, or one that the role may not act for.
    OtherTenant,
    /// A user other than the context's was named.
    OtherUser,
    /// A sealed context was to be changed.
    SealedContext,
    /// An archive call named a tenant that does not exist.
    UnknownTenant,
    /// Something of a user under legal hold was to be removed.
    HeldDeletion,
}

impl Violation {
    fn name(self) -> &'static str {
        match self {
            Self::OtherTenant => "other_tenant",
            Self::OtherUser => "other_user",
            Self::SealedContext => "sealed_context",
            Self::UnknownTenant => "unknown_tenant",
            Self::HeldDeletion => "held_deletion",
        }
    }
}

/// Who tried, as far as the security context says.
#[derive(Default, Serialize)]
pub struct Who {
    pub tenant_id: Option<String>,
    pub user_id: Option<String>,
    pub service_name: Option<String>,
    /// The user that was named, of the same tenant.
    pub named_user_id: Option<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    detail: &'a str,
    #[serde(flatten)]
    who: Who,
    actor_role: String,
    login_role: String,
    client_address: Option<String>,
    application_name: Option<String>,
    pid: i32,
}

thread_local! {
    static CLIENT: Statement = const { Statement::new("SELECT host(inet_client_addr())", &[]) };
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.security_violations
                 (kind, detail, tenant_id, user_id, service_name, named_user_id, actor_role, login_role, client_address,
                  application_name, pid)
             SELECT r.kind, r.detail, coalesce(r.tenant_id, '00000000-0000-0000-0000-000000000000'), r.user_id,
                    r.service_name, r.named_user_id, r.actor_role, r.login_role, r.client_address, r.application_name, r.pid
             FROM jsonb_populate_record(NULL::memory.security_violations, $1) r",
            &[pg_sys::JSONBOID],
        )
    };
}

/// Records that something was refused. The caller raises its error afterwards.
pub fn record(violation: Violation, detail: &str, who: Who) {
    // Writing to the log looks for a cancel: whoever sets a short statement_timeout would get away there.
    let held = process::CancelHeld::new();
    let row = Row {
        kind: violation.name(),
        detail,
        who,
        actor_role: role::outer_name(),
        login_role: role::session_name(),
        client_address: CLIENT.with(|s| s.read(&[], |row| unwrap(row.first().get_one()))),
        application_name: process::application_name(),
        pid: process::pid(),
    };
    let text = serde_json::to_string(&row).expect("strings serialise");
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("memory_ext security violation: {text}"),
        "memory_ext",
    )
    .report(PgLogLevel::LOG_SERVER_ONLY);
    let started = autonomous::start("memory_ext violation", "record_violation", text.as_bytes());
    if started.is_none() {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            "the security violation stands in this log only: no background worker could be started",
            "memory_ext",
        )
        .set_hint("Raise max_worker_processes.")
        .report(PgLogLevel::LOG_SERVER_ONLY);
    }
    drop(held);
    if let Some(worker) = started {
        worker.wait();
    }
}

/// A user who is being erased at this instant is not named: the erasure may have read the table already. Nobody waits, because
/// the erasure may be waiting for whoever waits for this worker.
fn leave_out_the_erased(row: &mut serde_json::Value) {
    let text = |row: &serde_json::Value, name: &str| row[name].as_str().map(str::to_owned);
    let Some(tenant) = text(row, "tenant_id").and_then(|tenant| parse_uuid(tenant.as_bytes())) else {
        return;
    };
    for name in ["user_id", "named_user_id"] {
        if text(row, name).is_some_and(|user| !hold::try_share(&tenant, &user)) {
            row[name] = serde_json::Value::Null;
            row["client_address"] = serde_json::Value::Null;
            row["application_name"] = serde_json::Value::Null;
        }
    }
}

/// The background worker that writes one violation.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn record_violation(argument: pg_sys::Datum) {
    autonomous::perform(argument, |payload| {
        let mut row: serde_json::Value = serde_json::from_slice(payload).expect("what record() wrote");
        leave_out_the_erased(&mut row);
        INSERT.with(|statement| statement.write(&[pgrx::JsonB(row).into()], |_| ()));
    });
}
