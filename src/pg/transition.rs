//! The rows that a statement has changed, as its trigger finds them: no statement reads them, and no value is converted that is not
//! asked for.
//!
//! Protocol: PostgreSQL keeps an UPDATE's rows in pairs, as they were and as they became, in the order in which it changed them. What a visitor
//! has PostgreSQL allocate is freed when it is done; it may run statements, and keeps nothing that it is shown.

use std::ffi::CStr;

use pgrx::{PgMemoryContexts, pg_sys};

use super::rows::Row;
use super::trigger::Trigger;

/// Reads a transition table from its beginning, with a pointer and a slot of its own.
pub(super) struct Reader {
    table: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Reader {
    /// # Safety
    /// A transition table of the running statement, with rows of this type; both outlive the reading.
    pub(super) unsafe fn new(table: *mut pg_sys::Tuplestorestate, row_type: pg_sys::TupleDesc) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(table, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(table, pointer);
            pg_sys::tuplestore_rescan(table);
            let slot = pg_sys::MakeSingleTupleTableSlot(row_type, &raw const pg_sys::TTSOpsMinimalTuple);
            Self { table, pointer, slot }
        }
    }

    /// The next row, good until the one after it is read.
    pub(super) fn next(&mut self) -> Option<*mut pg_sys::TupleTableSlot> {
        pgrx::check_for_interrupts!();
        // SAFETY: as `new`'s caller promises; the pointer and the slot are this reader's.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.table, self.pointer);
            pg_sys::tuplestore_gettupleslot(self.table, true, false, self.slot).then_some(self.slot)
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL cleans up with the (sub)transaction.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: made in `new`, dropped once.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}

/// Some columns of the rows of a transition table.
struct Reading {
    reader: Reader,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Reading {
    /// Reads the columns of the next row; false at the end.
    fn next(&mut self, columns: &[i32]) -> bool {
        let Some(slot) = self.reader.next() else {
            return false;
        };
        // SAFETY: a row is good until the next is read; the columns are the table's.
        unsafe {
            pg_sys::slot_getsomeattrs_int(slot, columns.iter().copied().max().unwrap_or(0));
            for (i, column) in columns.iter().enumerate() {
                let place = *column as usize - 1;
                self.values[i] = *(*slot).tts_values.add(place);
                self.nulls[i] = *(*slot).tts_isnull.add(place);
            }
        }
        true
    }

    fn row(&self) -> Row<'_> {
        Row::new(&self.values, &self.nulls)
    }
}

/// Calls `visit` with these columns of each row that the statement changed: as it was, where it was there, and as it became, where it is.
pub fn each(trigger: &Trigger, columns: &[&CStr], visit: &mut dyn FnMut(Option<Row<'_>>, Option<Row<'_>>)) {
    let (old, new, relation) = trigger.tables();
    // SAFETY: a catalog lookup.
    let number = |column: &&CStr| i32::from(unsafe { pg_sys::get_attnum((*relation).rd_id, column.as_ptr()) });
    let columns: Vec<i32> = columns.iter().map(number).collect();
    assert!(columns.iter().all(|number| *number > 0), "columns of the table");
    let mut memory = PgMemoryContexts::new("memory_ext rows");
    // SAFETY: the transition tables of a running statement, whose rows are of the table's row type; what the context holds is freed when
    // the visitor is done with it.
    unsafe {
        let read = |table: *mut pg_sys::Tuplestorestate| {
            (!table.is_null()).then(|| Reading {
                reader: Reader::new(table, (*relation).rd_att),
                values: vec![pg_sys::Datum::null(); columns.len()],
                nulls: vec![true; columns.len()],
            })
        };
        let (mut old, mut new) = (read(old), read(new));
        loop {
            let was = old.as_mut().is_some_and(|old| old.next(&columns));
            let is = new.as_mut().is_some_and(|new| new.next(&columns));
            if !was && !is {
                break;
            }
            let (was, is) = (old.as_ref().filter(|_| was), new.as_ref().filter(|_| is));
            memory.switch_to(|_| visit(was.map(Reading::row), is.map(Reading::row)));
            memory.reset();
        }
    }
}
