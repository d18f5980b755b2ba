//! The audit log: one trigger function writes, per statement, who changed which rows.
//!
//! The statement that writes the log is made once per table and operation from the table's primary key and columns, and
//! kept until the table changes. What the extension does in bulk runs inside `in_bulk`: then the log gets one row per tenant and table
//! with the number of rows, no images.

mod access;
mod ground;
mod key;
mod proof;
mod redaction;
mod seal;
mod statement;
mod verify;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::thread::LocalKey;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;

use crate::context;
use crate::error::Error;
use crate::pg::trigger::{Operation, Trigger};
use crate::pg::{catalog, process, role, spi};
use crate::raw_function;
use statement::Kind;

type Statements = (u64, HashMap<(pg_sys::Oid, Kind), Rc<spi::Kept>>);

thread_local! {
    static IN_BULK: Cell<bool> = const { Cell::new(false) };
    static REDACTING: Cell<bool> = const { Cell::new(false) };
    /// The kept statements, and the relation-cache epoch they were made in.
    static STATEMENTS: RefCell<Statements> = RefCell::default();
}

/// Runs what the extension does in bulk: the log gets counts, no images.
pub fn in_bulk<R>(work: impl FnOnce() -> R) -> R {
    with(&IN_BULK, work)
}

/// Whether the extension is at work in bulk.
pub fn is_in_bulk() -> bool {
    IN_BULK.get()
}

/// Runs what takes from the audit log, or from the violations: retention and redaction, nothing else.
pub fn redacting<R>(work: impl FnOnce() -> R) -> R {
    with(&REDACTING, work)
}

/// Runs `work` while the flag stands.
fn with<R>(flag: &'static LocalKey<Cell<bool>>, work: impl FnOnce() -> R) -> R {
    struct Before(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Before {
        // Also while an error unwinds.
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _before = Before(flag, flag.replace(true));
    work()
}

raw_function!(audit_change, pg_finfo_audit_change, |call| {
    let trigger = Trigger::of(call);
    if !role::is_restoring() {
        log(&trigger);
    }
    trigger.keep_row()
});

fn log(trigger: &Trigger) {
    // What the extension does in bulk has been asked of before, by whoever calls for it.
    if !IN_BULK.get()
        && let Err(error) = context::require_to_write(trigger)
    {
        error.raise();
    }
    let operation = trigger.operation();
    let rows = trigger.rows();
    if operation != Operation::Truncate && rows == 0 {
        return;
    }
    let kind = Kind {
        operation,
        in_bulk: IN_BULK.get(),
        single: rows == 1 && (operation != Operation::Update || !trigger.changes_key()),
    };
    // The entry names the user who did it: that user too is held.
    context::hold::share_own();
    let context = context::current();
    let text = |value: Option<&'static String>| value.map(String::as_str);
    let arguments: [DatumWithOid<'_>; 8] = [
        role::outer_name().into(),
        role::session_name().into(),
        context.map(|c| Uuid::from_bytes(c.tenant)).into(),
        text(context.and_then(|c| c.user.as_ref())).into(),
        text(context.and_then(|c| c.session.as_ref())).into(),
        text(context.and_then(|c| c.service.as_ref())).into(),
        process::application_name().into(),
        trigger.table_name().into(),
    ];
    trigger.with_transition_tables(|client| {
        let relation = trigger.relation();
        catalog::watch(relation);
        let epoch = catalog::epoch();
        let kept = STATEMENTS.with_borrow_mut(|(seen, kept)| {
            if std::mem::replace(seen, epoch) != epoch {
                kept.clear();
            }
            kept.get(&(relation, kind)).cloned()
        });
        let kept = kept.unwrap_or_else(|| {
            let sql = statement::build(&catalog::columns(relation), kind);
            let made = Rc::new(spi::Kept::new(client, &sql, &statement::TYPES));
            STATEMENTS.with_borrow_mut(|(_, kept)| kept.insert((relation, kind), Rc::clone(&made)));
            made
        });
        kept.write(client, &arguments);
    });
}

raw_function!(audit_append_only, pg_finfo_audit_append_only, |call| {
    let trigger = Trigger::of(call);
    let allowed = REDACTING.get() && trigger.operation() != Operation::Truncate;
    if !role::is_restoring() && !allowed {
        Error::not_allowed(
            "the audit log is append-only",
            "Retention and redaction are the only ways to take from it: memory.set_retention_policy('audit_log', …).",
        )
        .raise();
    }
    trigger.keep_row()
});
