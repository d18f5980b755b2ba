//! An entry of the audit log for each row that a statement has changed, written past SQL (`pg::append`).

use std::ffi::{CStr, CString};

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;

use crate::context::hold;
use crate::error::{Error, Result};
use crate::pg::append::{self, Append};
use crate::pg::catalog::{self, Column};
use crate::pg::image::{Imager, Shape};
use crate::pg::rows::Row;
use crate::pg::trigger::Trigger;
use crate::pg::{process, time, transition, xact};

thread_local! {
    static LOG: catalog::TableName =
        const { catalog::TableName::new(c"audit_log", [c"audit_log_id_seq", c"audit_log_id_seq"]) };
}

/// An audited table: how its rows are shown, and whose they are.
pub struct Table {
    names: Vec<CString>,
    shape: Shape,
    tenant: Option<Column>,
    user: Option<Column>,
    /// Whether a row's user is there while the row stays: its key has the user.
    keeps_user: bool,
    /// Whether a legal hold on the user keeps the row; a superuser may take the holds themselves.
    holdable: bool,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let shape = Shape::new(&columns);
        let name = |column: &Column| CString::new(column.plain_name.as_str()).expect("a name");
        let names = columns.iter().map(name).collect();
        // A tenant's own row is the tenant's.
        let of_tenant = if has("tenant_id") {
            Some("tenant_id")
        } else {
            has("slug").then_some("id")
        };
        let of_user = has("tenant_id") && has("user_id");
        let holdable = of_user && !has("lifted_at");
        let mut user = None;
        let mut tenant = None;
        for column in columns {
            if column.name == "user_id" && column.type_oid == pg_sys::TEXTOID {
                user = Some(column);
            } else if Some(column.name.as_str()) == of_tenant && column.type_oid == pg_sys::UUIDOID {
                tenant = Some(column);
            }
        }
        Self {
            names,
            shape,
            keeps_user: user.as_ref().is_none_or(|user| user.in_key),
            tenant,
            user,
            holdable,
        }
    }
}

/// Who does it, from where: the columns of the log behind the row's own.
pub struct Actor<'a> {
    pub role: DatumWithOid<'a>,
    pub login: DatumWithOid<'a>,
    pub tenant: DatumWithOid<'a>,
    pub user: DatumWithOid<'a>,
    pub session: DatumWithOid<'a>,
    pub service: DatumWithOid<'a>,
    pub application: DatumWithOid<'a>,
}

/// Writes the entries of one statement.
struct Writer<'a> {
    log: Append,
    sequence: pg_sys::Oid,
    table: &'a Table,
    imager: Imager<'a>,
    actor: &'a Actor<'a>,
    /// What all entries of the statement say alike.
    changed_at: DatumWithOid<'a>,
    transaction: DatumWithOid<'a>,
    operation: DatumWithOid<'a>,
    table_name: DatumWithOid<'a>,
    no_tenant: DatumWithOid<'a>,
    no_user: DatumWithOid<'a>,
    one: DatumWithOid<'a>,
    address: DatumWithOid<'a>,
    /// Whose rows were found to be removable last.
    removable: Option<([u8; 16], String)>,
}

/// The log and its sequence. Without them nothing is changed: a change that nobody logs is one that nobody finds.
fn find() -> Result<catalog::Table> {
    LOG.with(catalog::TableName::find)
        .filter(|log| log.indexes[0] != pg_sys::InvalidOid)
        .ok_or_else(|| {
            Error::not_ready(
                "memory.audit_log or its sequence is missing: nothing is changed that the log does not tell of",
                "A superuser renamed or dropped it: put it back under its name. SELECT * FROM memory.schema_drift() says what is missing.",
            )
        })
}

/// Logs every row that the trigger's statement has changed. A row whose key has changed is logged twice: as it was under its old key, as it
/// became under the new one.
pub fn log(trigger: &Trigger, table: &Table, actor: &Actor<'_>) {
    let log = find().unwrap_or_else(|error| error.raise());
    let mut writer = Writer {
        log: Append::to(log.oid),
        sequence: log.indexes[0],
        table,
        imager: Imager::new(&table.shape),
        actor,
        changed_at: time::clock(),
        transaction: xact::id(),
        operation: trigger.operation().name().into(),
        table_name: trigger.table_name().into(),
        no_tenant: Uuid::from_bytes([0; 16]).into(),
        no_user: DatumWithOid::null::<&str>(),
        one: 1i64.into(),
        address: process::client_address(),
        removable: None,
    };
    let names: Vec<&CStr> = table.names.iter().map(CString::as_c_str).collect();
    transition::each(trigger, &names, &mut |old, new| match (&old, &new) {
        (Some(old), Some(new)) if table.shape.has_same_key(old, new) => {
            writer.hold(new);
            if !table.keeps_user {
                // The row may have been another user's: the image says so.
                writer.hold(old);
            }
            writer.write(new, |imager| imager.difference(old, new));
        }
        (Some(old), Some(new)) => {
            writer.let_go(old);
            writer.write(old, |imager| imager.half(Some(old), None));
            writer.hold(new);
            writer.write(new, |imager| imager.half(None, Some(new)));
        }
        (Some(old), None) => {
            writer.let_go(old);
            writer.write(old, |imager| imager.whole("old", old));
        }
        (None, Some(new)) => {
            writer.hold(new);
            writer.write(new, |imager| imager.whole("new", new));
        }
        (None, None) => {}
    });
    writer.log.finish();
}

impl<'a> Writer<'a> {
    fn owner<'t>(&self, row: &'t Row<'_>) -> Option<([u8; 16], &'t str)> {
        let (tenant, user) = (self.table.tenant.as_ref()?, self.table.user.as_ref()?);
        Some((
            row.optional_uuid(tenant.place)?.to_be_bytes(),
            row.optional_text(user.place)?,
        ))
    }

    /// Whoever writes a row holds its user against erasure (see context::hold).
    fn hold(&self, row: &Row<'_>) {
        if let Some((tenant, user)) = self.owner(row) {
            hold::share(&tenant, user);
        }
    }

    /// The same of a row that is taken away, whose user must allow it (see hold).
    fn let_go(&mut self, row: &Row<'_>) {
        let Some((tenant, user)) = self.owner(row) else { return };
        hold::share(&tenant, user);
        let is_known = self
            .removable
            .as_ref()
            .is_some_and(|known| known.0 == tenant && known.1 == user);
        if self.table.holdable && !is_known {
            crate::hold::check(tenant, user).unwrap_or_else(|error| error.raise());
            self.removable = Some((tenant, user.to_owned()));
        }
    }

    fn write<'t>(&mut self, row: &'t Row<'_>, changes: impl FnOnce(&mut Imager<'a>) -> DatumWithOid<'t>) {
        let id = append::next_of(self.sequence).into();
        let (table, imager) = (self.table, &mut self.imager);
        let (key, changes) = self.log.make(|| (imager.key(row), changes(imager)));
        let tenant = table.tenant.as_ref().map(|column| row.datum(column));
        let tenant = tenant.filter(|tenant| tenant.datum().is_some());
        let user = table.user.as_ref().map(|column| row.datum(column));
        let actor = self.actor;
        self.log.put([
            &id,
            &self.changed_at,
            &self.transaction,
            tenant.as_ref().unwrap_or(&self.no_tenant),
            user.as_ref().unwrap_or(&self.no_user),
            &self.operation,
            &self.table_name,
            &key,
            &changes,
            &self.one,
            &actor.role,
            &actor.login,
            &actor.tenant,
            &actor.user,
            &actor.session,
            &actor.service,
            &self.address,
            &actor.application,
        ]);
    }
}
