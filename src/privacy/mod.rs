//! Export, erasure and anonymising of a user (sql/privacy.sql).
//!
//! Protocol: the legal hold is asked first, where its refusal is recorded under the user's name; then the user is held alone, which
//! waits for every writer that is there (context::hold; no legal hold is placed meanwhile); only then comes the one statement, whose snapshot is newer
//! than the wait. So what was committed before is seen, and what comes later waits.

mod import;
pub mod plan;
mod request;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::prelude::*;

use crate::audit;
use crate::context::scope::Scope;
use crate::context::{self, Reach, Subject, hold};
use crate::error::{Error, Result};
use crate::pg::call::Call;
use crate::pg::rows_out::{self, Snapshot};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{role, xact};
use crate::raw_function;
use crate::trust::user_key;
use plan::{Column, Erasure, Kind, Table, Treatment};

thread_local! {
    static DECLARED: Statement = const {
        Statement::new(
            "SELECT quote_ident(p.relation), quote_literal(p.relation), p.erasure, quote_ident(p.column_name),
                    format_type(a.atttypid, NULL), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), p.treatment,
                    to_regprocedure(format('memory.readable_%1$s(memory.%1$I)', p.relation)) IS NOT NULL
             FROM memory.personal_columns p
             JOIN pg_class c ON c.relname = p.relation AND c.relnamespace = 'memory'::regnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = p.column_name AND NOT a.attisdropped
             LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
             ORDER BY p.relation, a.attnum",
            &[],
        )
    };
}

/// The tables with users' data, in the order of their names.
pub fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    DECLARED.with(|declared| {
        declared.read(&[], |rows| {
            for row in rows {
                let text = |i| unwrap(row.get::<String>(i)).unwrap_or_default();
                let name = text(1);
                if tables.last().is_none_or(|table| table.name != name) {
                    tables.push(Table {
                        name,
                        literal: text(2),
                        erasure: match text(3).as_str() {
                            "redact" => Erasure::Redact,
                            "delete always" => Erasure::DeleteAlways,
                            _ => Erasure::Delete,
                        },
                        has_readable: unwrap(row.get(9)).unwrap_or_default(),
                        columns: Vec::new(),
                    });
                }
                let column = Column {
                    name: text(4),
                    kind: Kind::of(&text(5)),
                    nullable: unwrap(row.get(6)).unwrap_or_default(),
                    default: unwrap(row.get(7)),
                    treatment: Treatment::parse(&text(8)).expect("the table's CHECK"),
                };
                tables.last_mut().expect("pushed above").columns.push(column);
            }
        })
    });
    tables
}

/// Raises 42501 unless the context is a service's, or there is none and the role is a superuser. The functions run as their owner, so the role
/// outside is asked.
fn require_service(done: &str) -> Result<()> {
    let allowed = match context::current() {
        Some(context) => context.is_service(),
        None => role::outer_is_superuser(),
    };
    if allowed {
        return Ok(());
    }
    Err(Error::not_allowed(
        format!("a user's data is {done} by a service"),
        "A service context names no user: SELECT memory.set_security_context('<tenant>', service_name => '…').",
    ))
}

/// The user that a call is about.
fn subject(call: Call) -> Result<Subject> {
    require_service("exported, erased and anonymised")?;
    context::subject_to(Scope::Admin, call.str(1), call.str(0), Reach::User)
}

fn arguments(subject: &Subject) -> [DatumWithOid<'_>; 2] {
    let user = subject.user.as_deref().unwrap_or_default();
    [Uuid::from_bytes(subject.tenant).into(), user.into()]
}

/// Changes all that is kept of the user, once nobody else writes to that user.
fn change(call: Call, statement: fn(&[Table]) -> String) -> Result<pg_sys::Datum> {
    let subject = subject(call)?;
    if xact::keeps_snapshot() {
        return Err(Error::not_ready(
            "a user is erased or anonymised under READ COMMITTED only: this transaction's snapshot may miss what was written since",
            "BEGIN ISOLATION LEVEL READ COMMITTED.",
        ));
    }
    let user = subject.user.as_deref().unwrap_or_default();
    crate::hold::check(subject.tenant, user)?;
    hold::alone(&subject.tenant, user);
    crate::violation::erasing(&subject.tenant, user);
    // The user's key goes too.
    user_key::forget();
    crate::access::erasing(&subject.tenant, user);
    let sql = statement(&tables());
    Ok(audit::redacting(|| {
        audit::in_bulk(|| rows_out::answer(call, Snapshot::Now, &sql, &arguments(&subject)))
    }))
}

raw_function!(export_user_data, pg_finfo_export_user_data, |call| {
    let subject = subject(call).unwrap_or_else(|error| error.raise());
    crate::access::note("export_user_data", &subject, None);
    rows_out::answer(call, Snapshot::Caller, &plan::export(&tables()), &arguments(&subject))
});

raw_function!(erase_user_data, pg_finfo_erase_user_data, |call| {
    change(call, plan::erase).unwrap_or_else(|error| error.raise())
});

raw_function!(anonymize_user_data, pg_finfo_anonymize_user_data, |call| {
    change(call, plan::anonymise).unwrap_or_else(|error| error.raise())
});
