//! Finding the extension's own relations by name, remembered until PostgreSQL says that they changed.
//!
//! Protocol: a relation-cache callback forgets what is remembered; PostgreSQL delivers it at the latest when a
//! transaction begins, or when a lock is taken. Names are looked up in the schema `memory` only, so search_path has no say.

use std::cell::{Cell, RefCell};
use std::sync::Once;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::spi::{Statement, unwrap};
use crate::error::{Error, Result};

/// A table of the schema `memory` and two of its indexes.
#[derive(Clone, Copy)]
pub struct Table {
    pub oid: pg_sys::Oid,
    pub indexes: [pg_sys::Oid; 2],
}

/// A table by name, remembered per backend.
pub struct TableName {
    pub table: &'static std::ffi::CStr,
    pub indexes: [&'static std::ffi::CStr; 2],
    known: Cell<Option<(u64, Table)>>,
}

thread_local! {
    /// Moves whenever a table that was found may have changed.
    static EPOCH: Cell<u64> = const { Cell::new(0) };
    /// The tables that were found, each with what `epoch` was when it may last have changed.
    static WATCHED: RefCell<Vec<(pg_sys::Oid, u64)>> = const { RefCell::new(Vec::new()) };
    /// What `epoch` was when all may last have changed.
    static ALL: Cell<u64> = const { Cell::new(0) };
}

impl TableName {
    pub const fn new(table: &'static std::ffi::CStr, indexes: [&'static std::ffi::CStr; 2]) -> Self {
        Self {
            table,
            indexes,
            known: Cell::new(None),
        }
    }

    /// The table, or None where the extension is not in this database.
    pub fn find(&self) -> Option<Table> {
        let epoch = epoch();
        if let Some((seen, table)) = self.known.get()
            && seen == epoch
        {
            return Some(table);
        }
        // SAFETY: catalog lookups inside a transaction; a missing name gives InvalidOid.
        let table = unsafe {
            let schema = pg_sys::get_namespace_oid(c"memory".as_ptr(), true);
            if schema == pg_sys::InvalidOid {
                return None;
            }
            let find = |name: &std::ffi::CStr| pg_sys::get_relname_relid(name.as_ptr(), schema);
            Table {
                oid: find(self.table),
                indexes: self.indexes.map(find),
            }
        };
        if table.oid == pg_sys::InvalidOid {
            return None;
        }
        watch(table.oid);
        // What was not found may come under its name without a word about the table, as a sequence does.
        if !table.indexes.contains(&pg_sys::InvalidOid) {
            self.known.set(Some((epoch, table)));
        }
        Some(table)
    }
}

/// A table of the schema `memory` by its name; InvalidOid where there is none.
pub fn relation_named(table: &str) -> pg_sys::Oid {
    let name = std::ffi::CString::new(table).unwrap_or_default();
    // SAFETY: catalog lookups inside a transaction; a missing name gives InvalidOid.
    unsafe { pg_sys::get_relname_relid(name.as_ptr(), pg_sys::get_namespace_oid(c"memory".as_ptr(), true)) }
}

/// The OIDs of all databases, as of this instant.
pub fn databases() -> Vec<u32> {
    thread_local! {
        static DATABASES: Statement = const { Statement::new("SELECT d.oid FROM pg_catalog.pg_database d", &[]) };
    }
    DATABASES.with(|databases| {
        databases.write(&[], |rows| {
            rows.filter_map(|row| unwrap(row.get::<pg_sys::Oid>(1)))
                .map(u32::from)
                .collect()
        })
    })
}

/// This database.
pub fn database() -> pg_sys::Oid {
    // SAFETY: set when the backend connects, never changed.
    unsafe { pg_sys::MyDatabaseId }
}

/// This database's name.
pub fn database_name() -> String {
    // SAFETY: a catalog lookup inside a transaction; the answer is palloc'd, or NULL where the database is gone.
    unsafe {
        let name = pg_sys::get_database_name(database());
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// Processes what other backends have said about changed relations.
pub fn accept_invalidations() {
    // SAFETY: allowed wherever a lock may be taken; callers are inside a transaction.
    unsafe { pg_sys::AcceptInvalidationMessages() }
}

/// Tells every backend, at commit, that the relation changed.
pub fn invalidate(relation: pg_sys::Oid) {
    // SAFETY: the caller holds a lock on the relation (a trigger on it is running).
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}

/// Counts the invalidations that this backend has processed and that may concern a table that was found.
pub fn epoch() -> u64 {
    register();
    EPOCH.get()
}

/// Has the epoch move when the table changes.
pub fn watch(table: pg_sys::Oid) {
    register();
    WATCHED.with_borrow_mut(|watched| {
        if !watched.iter().any(|(known, _)| *known == table) {
            watched.push((table, EPOCH.get()));
        }
    });
}

/// A number that moves when this table may have changed as a whole: its definition, its file, its statistics. The caller has a lock on
/// the table, so what others have said of it has been processed.
pub fn epoch_of(table: pg_sys::Oid) -> u64 {
    watch(table);
    let of_table = WATCHED.with_borrow(|watched| {
        let known = watched.iter().find(|(known, _)| *known == table);
        known.map_or(0, |(_, epoch)| *epoch)
    });
    of_table.max(ALL.get())
}

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: once per process; the callback lives as long as the library.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::null()) }
    });
}

#[pg_guard]
extern "C-unwind" fn forget(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let moved = EPOCH.get() + 1;
    let concerns = WATCHED.with(|watched| match watched.try_borrow_mut() {
        Ok(mut watched) if relation != pg_sys::InvalidOid => {
            let known = watched.iter_mut().find(|(known, _)| *known == relation);
            known.map(|(_, epoch)| *epoch = moved).is_some()
        }
        // All of them; so, too, if it came while the list is looked at.
        _ => {
            ALL.set(moved);
            true
        }
    });
    if concerns {
        EPOCH.set(moved);
    }
}

/// A column of a table.
pub struct Column {
    /// Quoted for SQL.
    pub name: String,
    pub plain_name: String,
    pub in_key: bool,
    pub type_oid: pg_sys::Oid,
    /// Where it stands among the table's columns, counted from 0.
    pub place: usize,
    /// Whether the audit log shows it: not what other extensions' types hold, nor what is computed, nor what the master key has wrapped: the log
    /// is in every dump, and what it kept would outlive its destruction.
    pub imaged: bool,
}

thread_local! {
    static COLUMNS: Statement = const {
        Statement::new(
            "SELECT quote_ident(a.attname), a.attname::text,
                    coalesce(a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]), false),
                    a.atttypid, row_number() OVER (ORDER BY a.attnum)::int - 1,
                    t.typnamespace = 'pg_catalog'::regnamespace AND a.attgenerated = ''
                        AND NOT (a.atttypid = 'bytea'::regtype AND a.attname LIKE 'wrapped%')
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                  LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[pg_sys::OIDOID],
        )
    };
}

thread_local! {
    static REFERRING: Statement = const {
        Statement::new(
            "SELECT DISTINCT quote_ident(r.relname) FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
             WHERE c.confrelid = $1 AND r.relnamespace = 'memory'::regnamespace ORDER BY 1",
            &[pg_sys::OIDOID],
        )
    };
}

/// The tables of the schema `memory` with a foreign key to this one of its tables, quoted for SQL.
pub fn referring_to(table: &str) -> Vec<String> {
    let relation = relation_named(table);
    REFERRING.with(|statement| {
        statement.read(&[relation.into()], |rows| {
            rows.filter_map(|row| unwrap(row.get(1))).collect()
        })
    })
}

/// A table's columns, in order.
pub fn columns(relation: pg_sys::Oid) -> Vec<Column> {
    COLUMNS.with(|statement| {
        statement.read(&[relation.into()], |rows| {
            rows.map(|row| Column {
                name: unwrap(row.get(1)).unwrap_or_default(),
                plain_name: unwrap(row.get(2)).unwrap_or_default(),
                in_key: unwrap(row.get(3)).unwrap_or_default(),
                type_oid: unwrap(row.get(4)).unwrap_or(pg_sys::InvalidOid),
                place: unwrap(row.get::<i32>(5)).unwrap_or_default() as usize,
                imaged: unwrap(row.get(6)).unwrap_or_default(),
            })
            .collect()
        })
    })
}

/// A role's name, quoted for SQL; P0002 where there is none.
pub fn role_name(role: pg_sys::Oid) -> Result<String> {
    // SAFETY: a catalog lookup; the answer is palloc'd or NULL.
    let name = unsafe { text(pg_sys::GetUserNameFromId(role, true)) };
    match name {
        Some(name) => Ok(pgrx::spi::quote_identifier(name)),
        None => Err(Error::unknown(
            format!("there is no role {}", u32::from(role)),
            "CREATE ROLE first.",
        )),
    }
}

/// A relation's name with its schema, quoted for SQL; P0002 where there is none.
pub fn qualified_name(relation: pg_sys::Oid) -> Result<String> {
    // SAFETY: catalog lookups; the answers are palloc'd or NULL.
    let (schema, name) = unsafe {
        (
            text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation))),
            text(pg_sys::get_rel_name(relation)),
        )
    };
    match (schema, name) {
        (Some(schema), Some(name)) => Ok(pgrx::spi::quote_qualified_identifier(schema, name)),
        _ => Err(Error::unknown(
            format!("there is no relation {}", u32::from(relation)),
            "Name one that exists.",
        )),
    }
}

/// # Safety
/// `value` is NULL or NUL-terminated.
unsafe fn text(value: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!value.is_null()).then(|| {
        unsafe { std::ffi::CStr::from_ptr(value) }
            .to_string_lossy()
            .into_owned()
    })
}
