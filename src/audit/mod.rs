//! The audit log: one trigger function writes, per statement, who changed which rows.
//!
//! How a table's rows are shown is worked out once, and kept until the table changes. What the extension does in bulk runs inside
//! `in_bulk`: then the log gets one row per tenant and table with the number of rows, no images.

mod access;
mod entry;
mod ground;
mod key;
mod proof;
mod redaction;
mod seal;
mod statement;
mod verify;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::thread::LocalKey;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;

use crate::context;
use crate::error::Error;
use crate::pg::trigger::{Operation, Trigger};
use crate::pg::{catalog, process, role, spi};
use crate::raw_function;
use entry::Actor;

/// What is kept of tables, and the relation-cache epoch it was made in.
type Keep<K, V> = RefCell<(u64, HashMap<K, Rc<V>>)>;

thread_local! {
    static IN_BULK: Cell<bool> = const { Cell::new(false) };
    static REDACTING: Cell<bool> = const { Cell::new(false) };
    static TABLES: Keep<pg_sys::Oid, entry::Table> = RefCell::default();
    static STATEMENTS: Keep<(pg_sys::Oid, Operation), spi::Kept> = RefCell::default();
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
    if operation != Operation::Truncate && trigger.rows() == 0 {
        return;
    }
    // The entry names the user who did it: that user too is held.
    context::hold::share_own();
    let context = context::current();
    let text = |value: Option<&'static String>| value.map(String::as_str);
    let actor = Actor {
        role: role::outer_name().into(),
        login: role::session_name().into(),
        tenant: context.map(|c| Uuid::from_bytes(c.tenant)).into(),
        user: text(context.and_then(|c| c.user.as_ref())).into(),
        session: text(context.and_then(|c| c.session.as_ref())).into(),
        service: text(context.and_then(|c| c.service.as_ref())).into(),
        application: process::application_name().into(),
    };
    let relation = trigger.relation();
    catalog::watch(relation);
    if IN_BULK.get() || operation == Operation::Truncate {
        count(trigger, actor);
    } else {
        let table = kept(&TABLES, relation, || entry::Table::new(catalog::columns(relation)));
        entry::log(trigger, &table, &actor);
    }
}

/// What is kept under this key until a table that is watched changes.
fn kept<K: Copy + Eq + Hash, V>(keep: &'static LocalKey<Keep<K, V>>, key: K, make: impl FnOnce() -> V) -> Rc<V> {
    let epoch = catalog::epoch();
    let found = keep.with_borrow_mut(|(seen, kept)| {
        if std::mem::replace(seen, epoch) != epoch {
            kept.clear();
        }
        kept.get(&key).cloned()
    });
    found.unwrap_or_else(|| {
        let made = Rc::new(make());
        keep.with_borrow_mut(|(_, kept)| kept.insert(key, Rc::clone(&made)));
        made
    })
}

/// One entry per tenant, with the number of its rows.
fn count(trigger: &Trigger, actor: Actor<'_>) {
    let arguments: [DatumWithOid<'_>; 8] = [
        actor.role,
        actor.login,
        actor.tenant,
        actor.user,
        actor.session,
        actor.service,
        actor.application,
        trigger.table_name().into(),
    ];
    let (relation, operation) = (trigger.relation(), trigger.operation());
    trigger.with_transition_tables(|client| {
        let statement = kept(&STATEMENTS, (relation, operation), || {
            let sql = statement::build(&catalog::columns(relation), operation);
            spi::Kept::new(client, &sql, &statement::TYPES)
        });
        statement.write(client, &arguments);
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
