//! What a trigger function gets: its table, the operation, the row.

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use super::call::{Call, utf8, varlena};
use super::transition::Reader;
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

    /// Calls `visit` with the tenant and user of each row that was changed, before and after: of a row trigger its row, of a statement trigger
    /// its transition tables, several rows of one user that follow each other once. Of a TRUNCATE there is nothing to visit.
    pub fn each_owner(&self, visit: &mut dyn FnMut([u8; 16], &str)) {
        // SAFETY: trigger data of an open relation, whose rows are of its row type; see `transition` for the tables. Values
        // are read from a slot while it holds their row; tenant_id is a uuid, user_id a text.
        unsafe {
            let row_type = (*(*self.0).tg_relation).rd_att;
            let column = |name: &std::ffi::CStr| i32::from(pg_sys::get_attnum(self.relation(), name.as_ptr()));
            let (tenant, user) = (column(c"tenant_id"), column(c"user_id"));
            assert!(tenant > 0 && user > 0, "a table of users' rows");
            let mut last: Option<([u8; 16], String)> = None;
            let mut see = |slot: *mut pg_sys::TupleTableSlot| {
                pg_sys::slot_getsomeattrs_int(slot, tenant.max(user));
                let value = |column: i32| *(*slot).tts_values.add(column as usize - 1);
                let tenant = *value(tenant).cast_mut_ptr::<[u8; 16]>();
                let user = utf8(varlena(value(user)));
                if last.as_ref().is_none_or(|last| last.0 != tenant || last.1 != user) {
                    visit(tenant, user);
                    last = Some((tenant, user.to_owned()));
                }
            };
            if (*self.0).tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 {
                let slot = pg_sys::MakeSingleTupleTableSlot(row_type, &raw const pg_sys::TTSOpsHeapTuple);
                for row in [(*self.0).tg_trigtuple, (*self.0).tg_newtuple] {
                    if !row.is_null() {
                        see(pg_sys::ExecStoreHeapTuple(row, slot, false));
                    }
                }
                pg_sys::ExecDropSingleTupleTableSlot(slot);
                return;
            }
            for table in [(*self.0).tg_oldtable, (*self.0).tg_newtable] {
                if table.is_null() {
                    continue;
                }
                let mut rows = Reader::new(table, row_type);
                while let Some(slot) = rows.next() {
                    see(slot);
                }
            }
        }
    }

    /// Its transition tables, before and after, each NULL where there is none, and its table.
    pub(super) fn tables(
        &self,
    ) -> (
        *mut pg_sys::Tuplestorestate,
        *mut pg_sys::Tuplestorestate,
        pg_sys::Relation,
    ) {
        // SAFETY: trigger data.
        unsafe { ((*self.0).tg_oldtable, (*self.0).tg_newtable, (*self.0).tg_relation) }
    }

    /// Whether it fires before a statement, not after it and not for a row.
    pub fn is_before_statement(&self) -> bool {
        // SAFETY: trigger data.
        let event = unsafe { (*self.0).tg_event };
        event & pg_sys::TRIGGER_EVENT_ROW == 0
            && event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
    }

    /// The arguments that CREATE TRIGGER gave it.
    pub fn arguments(&self) -> Vec<String> {
        // SAFETY: trigger data; as many NUL-terminated texts as it says.
        unsafe {
            let trigger = (*self.0).tg_trigger;
            (0..(*trigger).tgnargs as usize)
                .map(|i| {
                    std::ffi::CStr::from_ptr(*(*trigger).tgargs.add(i))
                        .to_string_lossy()
                        .into_owned()
                })
                .collect()
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

    /// Runs statements that see the transition tables under the names that CREATE TRIGGER gave them.
    pub fn with_transition_tables(&self, work: impl FnOnce(&mut SpiClient<'_>)) {
        Spi::connect_mut(|client| {
            self.register_tables();
            work(client);
        });
    }

    /// Has the statements of the SPI connection that is open see the transition tables.
    pub(super) fn register_tables(&self) {
        // SAFETY: connected to SPI, with trigger data.
        let code = unsafe { pg_sys::SPI_register_trigger_data(self.0) };
        super::spi::unwrap(Spi::check_status(code));
    }

    /// A row trigger's new row.
    fn new_row(&self) -> pg_sys::HeapTuple {
        // SAFETY: trigger data.
        unsafe {
            match self.operation() {
                Operation::Update => (*self.0).tg_newtuple,
                _ => (*self.0).tg_trigtuple,
            }
        }
    }

    fn value(&self, row: pg_sys::HeapTuple, column: &str) -> Option<pg_sys::Datum> {
        let name = std::ffi::CString::new(column).expect("a name");
        // SAFETY: a row of the table's row type; a column that is not there is a mistake of this library.
        unsafe {
            let row_type = (*(*self.0).tg_relation).rd_att;
            let number = pg_sys::SPI_fnumber(row_type, name.as_ptr());
            assert!(number > 0, "{column} is a column");
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(row, row_type, number, &mut is_null);
            (!is_null).then_some(value)
        }
    }

    /// A column of a row trigger's new row, of the type that the table declares; None where it is NULL.
    pub fn new_value<T: pgrx::FromDatum>(&self, column: &str) -> Option<T> {
        let value = self.value(self.new_row(), column)?;
        // SAFETY: the callers name columns with their types.
        unsafe { T::from_datum(value, false) }
    }

    /// A column of a row trigger's new row as text; '' where it is NULL.
    pub fn new_text(&self, column: &str) -> String {
        let name = std::ffi::CString::new(column).expect("a name");
        // SAFETY: a row of the table's row type; the answer is palloc'd and NUL-terminated, or NULL.
        unsafe {
            let row_type = (*(*self.0).tg_relation).rd_att;
            let text = pg_sys::SPI_getvalue(self.new_row(), row_type, pg_sys::SPI_fnumber(row_type, name.as_ptr()));
            if text.is_null() {
                return String::new();
            }
            utf8(std::ffi::CStr::from_ptr(text).to_bytes()).to_owned()
        }
    }

    /// Whether a row trigger's UPDATE leaves these columns as they are stored.
    pub fn keeps<'b>(&self, columns: impl IntoIterator<Item = &'b str>) -> bool {
        if self.operation() != Operation::Update {
            return false;
        }
        // SAFETY: trigger data of an UPDATE; a Datum is looked at as its column's type has it.
        unsafe {
            let row_type = (*(*self.0).tg_relation).rd_att;
            columns.into_iter().all(|column| {
                let name = std::ffi::CString::new(column).expect("a name");
                let number = pg_sys::SPI_fnumber(row_type, name.as_ptr());
                let (mut length, mut by_value) = (0, false);
                pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(row_type, number), &mut length, &mut by_value);
                let pair = (
                    self.value((*self.0).tg_trigtuple, column),
                    self.value((*self.0).tg_newtuple, column),
                );
                match pair {
                    (Some(old), Some(new)) => is_stored_alike(old, new, length, by_value),
                    (old, new) => old.is_none() && new.is_none(),
                }
            })
        }
    }

    /// The answer of a row trigger that puts another value into a column of the new row.
    pub fn new_row_with(&self, column: &str, value: impl pgrx::IntoDatum) -> pg_sys::Datum {
        let name = std::ffi::CString::new(column).expect("a name");
        let mut datum = value.into_datum().unwrap_or(pg_sys::Datum::null());
        // SAFETY: trigger data; the new tuple is palloc'd in the current context, as PostgreSQL expects of a trigger.
        unsafe {
            let row_type = (*(*self.0).tg_relation).rd_att;
            let mut number = pg_sys::SPI_fnumber(row_type, name.as_ptr());
            let mut is_null = false;
            let row =
                pg_sys::heap_modify_tuple_by_cols(self.new_row(), row_type, 1, &mut number, &mut datum, &mut is_null);
            pg_sys::Datum::from(row)
        }
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

/// Whether two values are the same bytes as they are stored: out of line, in the same place.
///
/// # Safety
/// Both are of one type, of which the others are `typlen` and `typbyval`.
pub(super) unsafe fn is_stored_alike(a: pg_sys::Datum, b: pg_sys::Datum, length: i16, by_value: bool) -> bool {
    if by_value {
        return a == b;
    }
    // SAFETY: as the caller promises; what else a length says, is taken for another value.
    unsafe {
        let bytes = |datum: pg_sys::Datum| {
            let size = match length {
                1.. => length as usize,
                -1 => pgrx::varsize_any(datum.cast_mut_ptr()),
                _ => return None,
            };
            Some(std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), size))
        };
        bytes(a).is_some_and(|a| bytes(b) == Some(a))
    }
}
