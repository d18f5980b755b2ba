//! Security violations: what was refused, by whom. A violation outlives the transaction that it ends: the server log gets
//! it first, then a ring in shared memory, from which a background worker writes it to the table (some 5 ms, for which the refusal waits, which also
//! slows down whoever tries many). What the ring does not take, because the library is not preloaded or a name is very long, a worker of its own
//! writes.
//!
//! An erasure beside this: whoever writes a record shares its users, so an erasure comes wholly before or wholly after. Where it came before,
//! and after the record was made, the record's names are left out (`hold::may_name`).

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Serialize;

use crate::context::hold;
use crate::pg::drain::{self, Drain, Fill};
use crate::pg::ring::Record;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{autonomous, process, role, shmem, xact};
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
    /// A token that is none, or was not made for here.
    ForgedToken,
    /// A token that was good once, or will be.
    RefusedToken,
    /// A token does not give what was tried with it.
    MissingScope,
    /// Something encrypted fails its check.
    Tampering,
}

impl Violation {
    fn name(self) -> &'static str {
        match self {
            Self::OtherTenant => "other_tenant",
            Self::OtherUser => "other_user",
            Self::SealedContext => "sealed_context",
            Self::UnknownTenant => "unknown_tenant",
            Self::HeldDeletion => "held_deletion",
            Self::ForgedToken => "forged_token",
            Self::RefusedToken => "refused_token",
            Self::MissingScope => "missing_scope",
            Self::Tampering => "tampering",
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

/// 1 MB: a flood fills half a thousand places only while no worker can be had; a record is some 400 bytes.
const SLOTS: usize = 512;
const SLOT_BYTES: usize = 2008;

pub static MEMORY: shmem::Part = shmem::Part::new(|| {
    if shmem::preloading() {
        drain::words_for(SLOTS, SLOT_BYTES)
    } else {
        0
    }
});

static DRAIN: Drain = Drain {
    memory: &MEMORY,
    slots: SLOTS,
    slot_bytes: SLOT_BYTES,
    name: "memory_ext violations",
    worker: "write_violations",
    table: c"security_violations",
    // After the two numbers that each stripe of users has.
    number: 2 * hold::STRIPES,
    store,
};

/// A refusal waits so long for its record to be written; what takes longer is written all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// The user is being erased.
pub fn erasing(tenant: &[u8; 16], user: &str) {
    hold::erasing(&DRAIN, tenant, user);
}

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    occurred_at: Option<String>,
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
    static CLIENT: Statement = const {
        Statement::new("SELECT host(inet_client_addr()), to_json(clock_timestamp()) #>> '{}'", &[])
    };
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.security_violations
                 (id, occurred_at, kind, detail, tenant_id, user_id, service_name, named_user_id, actor_role, login_role, client_address,
                  application_name, pid)
             SELECT r.id, r.occurred_at, r.kind, r.detail, coalesce(r.tenant_id, '00000000-0000-0000-0000-000000000000'), r.user_id,
                    r.service_name, r.named_user_id, r.actor_role, r.login_role, r.client_address, r.application_name, r.pid
             FROM jsonb_populate_record(NULL::memory.security_violations, $1) r
             ON CONFLICT (id) DO NOTHING",
            &[pg_sys::JSONBOID],
        )
    };
}

/// Records that something was refused. The caller raises its error afterwards.
pub fn record(violation: Violation, detail: &str, who: Who) {
    // Writing to the log looks for a cancel: whoever sets a short statement_timeout would get away there.
    let held = process::CancelHeld::new();
    let (client_address, occurred_at) = CLIENT.with(|s| s.read(&[], |row| unwrap(row.first().get_two())));
    let row = Row {
        id: uuid::Uuid::now_v7().to_string(),
        occurred_at,
        kind: violation.name(),
        detail,
        who,
        actor_role: role::outer_name(),
        login_role: role::session_name(),
        client_address,
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
    if let Some(place) = DRAIN.push(text.as_bytes()) {
        let is_coming = DRAIN.start();
        drop(held);
        if is_coming {
            DRAIN.wait(place, PATIENCE);
        }
        return;
    }
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

/// Names only whom it may.
fn leave_out_the_erased(row: &mut serde_json::Value, number: Option<u64>) {
    let text = |row: &serde_json::Value, name: &str| row[name].as_str().map(str::to_owned);
    let Some(tenant) = text(row, "tenant_id").and_then(|tenant| parse_uuid(tenant.as_bytes())) else {
        return;
    };
    for name in ["user_id", "named_user_id"] {
        let Some(user) = text(row, name) else { continue };
        if !hold::may_name(&DRAIN, &tenant, &user, number) {
            row[name] = serde_json::Value::Null;
            row["client_address"] = serde_json::Value::Null;
            row["application_name"] = serde_json::Value::Null;
        }
    }
}

fn insert(text: &[u8], number: Option<u64>) {
    let mut row: serde_json::Value = serde_json::from_slice(text).expect("what record() wrote");
    leave_out_the_erased(&mut row, number);
    INSERT.with(|statement| statement.write(&[pgrx::JsonB(row).into()], |_| ()));
}

/// Stores what the ring gave. A record that the table refuses stands in the server log, and is not tried again.
fn store(records: &[Record]) {
    let all = || {
        for record in records {
            insert(&record.bytes, Some(record.place.number));
        }
    };
    if xact::attempt(all).is_ok() {
        return;
    }
    for record in records {
        if let Err(refused) = xact::attempt(|| insert(&record.bytes, Some(record.place.number))) {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
                format!("a security violation stands in this log only: {}", refused.0),
                "memory_ext",
            )
            .report(PgLogLevel::LOG_SERVER_ONLY);
        }
    }
}

/// The background worker that writes one violation.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn record_violation(argument: pg_sys::Datum) {
    autonomous::perform(argument, |payload| insert(payload, None));
}

/// The background worker that empties the ring of a database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn write_violations(argument: pg_sys::Datum) {
    DRAIN.empty(argument);
}

/// Writes what the ring has and no worker could be had for: by a worker if there is one now, else in this transaction.
/// How full the ring is, if there is one.
pub fn fill() -> Option<Fill> {
    DRAIN.fill()
}

#[pg_extern(sql = false)]
fn flush_security_violations() -> i64 {
    DRAIN.flush(PATIENCE) as i64
}
