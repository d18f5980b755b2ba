//! What a trigger function gets: its table, the operation, the row.

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use super::call::Call;
use crate::error::Error;

/// What fired the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    /// As TG_OP names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

/// The trigger data of a running trigger function.
pub struct Trigger(*mut pg_sys::TriggerData);

impl Trigger {
    /// Raises 22023 where the function was not called as a trigger.
    pub fn of(call: Call) -> Self {
        let data = call.context().cast::<pg_sys::TriggerData>();
        // SAFETY: the node's tag says whether it is trigger data.
        let is_trigger = !data.is_null() && unsafe { (*data).type_ == pg_sys::NodeTag::T_TriggerData };
        if !is_trigger {
            Error::bad_argument(
                "a trigger function was called as a plain function",
                "PostgreSQL calls it; there is nothing to call it for.",
            )
            .raise();
        }
        Self(data)
    }

    /// The table's OID.
    pub fn relation(&self) -> pg_sys::Oid {
        // SAFETY: PostgreSQL keeps the relation open while the trigger runs.
        unsafe { (*(*self.0).tg_relation).rd_id }
    }

    /// The table's name, without its schema.
    pub fn table_name(&self) -> String {
        // SAFETY: as above; a relation's name is NUL-terminated.
        unsafe {
            let name = &(*(*(*self.0).tg_relation).rd_rel).relname;
            std::ffi::CStr::from_ptr(name.data.as_ptr())
                .to_string_lossy()
                .into_owned()
        }
    }

    pub fn operation(&self) -> Operation {
        // SAFETY: trigger data.
        match unsafe { (*self.0).tg_event } & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        }
    }

    /// Whether the UPDATE sets a column of the table's primary key.
    pub fn sets_key(&self) -> bool {
        // SAFETY: trigger data of an open relation; the bitmap of the key is a copy of our own.
        unsafe {
            let key = pg_sys::RelationGetIndexAttrBitmap(
                (*self.0).tg_relation,
                pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY,
            );
            let sets = pg_sys::bms_overlap((*self.0).tg_updatedcols, key);
            pg_sys::bms_free(key);
            sets
        }
    }

    /// How many rows the statement changed; 0 where the trigger has no transition tables.
    pub fn rows(&self) -> i64 {
        let count = |table: *mut pg_sys::Tuplestorestate| {
            if table.is_null() {
                return 0;
            }
            // SAFETY: a transition table of the running statement.
            unsafe { pg_sys::tuplestore_tuple_count(table) }
        };
        // SAFETY: trigger data.
        unsafe { count((*self.0).tg_oldtable).max(count((*self.0).tg_newtable)) }
    }

    /// Whether an UPDATE sets one of these columns, by their names; where that is not known, yes.
    pub fn sets_any(&self, columns: &[&std::ffi::CStr]) -> bool {
        // SAFETY: trigger data; the set is NULL or PostgreSQL's own. A column that is not there has no number that is in it.
        unsafe {
            let set = (*self.0).tg_updatedcols;
            set.is_null()
                || columns.iter().any(|column| {
                    let number = i32::from(pg_sys::get_attnum(self.relation(), column.as_ptr()));
                    pg_sys::bms_is_member(number - pg_sys::FirstLowInvalidHeapAttributeNumber, set)
                })
        }
    }

    /// Runs statements that see the transition tables under the names that CREATE TRIGGER gave them.
    pub fn with_transition_tables(&self, work: impl FnOnce(&mut SpiClient<'_>)) {
        Spi::connect_mut(|client| {
            // SAFETY: connected to SPI, with trigger data.
            let code = unsafe { pg_sys::SPI_register_trigger_data(self.0) };
            super::spi::unwrap(Spi::check_status(code));
            work(client);
        });
    }

    /// The answer of a row trigger that leaves the row as it is; NULL for a statement trigger.
    pub fn keep_row(&self) -> pg_sys::Datum {
        // SAFETY: the rows are set for row triggers and NULL otherwise.
        unsafe {
            let is_update = self.operation() == Operation::Update;
            let row = if is_update {
                (*self.0).tg_newtuple
            } else {
                (*self.0).tg_trigtuple
            };
            pg_sys::Datum::from(row)
        }
    }
}
