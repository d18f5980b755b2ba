//! The rows that a statement has changed, as its trigger finds them: no statement reads them, and no value is converted that is not
//! asked for.
//!
//! Protocol: PostgreSQL keeps an UPDATE's rows in pairs, as they were and as they became, in the order in which it changed them. What a visitor
//! has PostgreSQL allocate is freed when it is done; it may run statements, and keeps nothing that it is shown.

use std::ffi::CStr;

use pgrx::{PgMemoryContexts, pg_sys};

use super::rows::Row;
use super::trigger::Trigger;

/// A transition table that is being read.
struct Reading {
    table: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Reading {
    /// Reads the columns of the next row; false at the end.
    ///
    /// # Safety
    /// Of the running trigger.
    unsafe fn next(&mut self, columns: &[i32]) -> bool {
        // SAFETY: a read pointer and a slot of our own; a row is good until the next is read.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.table, self.pointer);
            if !pg_sys::tuplestore_gettupleslot(self.table, true, false, self.slot) {
                return false;
            }
            pg_sys::slot_getsomeattrs_int(self.slot, columns.iter().copied().max().unwrap_or(0));
            for (i, column) in columns.iter().enumerate() {
                let place = *column as usize - 1;
                self.values[i] = *(*self.slot).tts_values.add(place);
                self.nulls[i] = *(*self.slot).tts_isnull.add(place);
            }
        }
        true
    }

    fn row(&self) -> Row<'_> {
        Row {
            values: &self.values,
            nulls: &self.nulls,
        }
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
            (!table.is_null()).then(|| {
                let pointer = pg_sys::tuplestore_alloc_read_pointer(table, pg_sys::EXEC_FLAG_REWIND as i32);
                pg_sys::tuplestore_select_read_pointer(table, pointer);
                pg_sys::tuplestore_rescan(table);
                Reading {
                    table,
                    pointer,
                    slot: pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsMinimalTuple),
                    values: vec![pg_sys::Datum::null(); columns.len()],
                    nulls: vec![true; columns.len()],
                }
            })
        };
        let (mut old, mut new) = (read(old), read(new));
        loop {
            pgrx::check_for_interrupts!();
            let was = old.as_mut().is_some_and(|old| old.next(&columns));
            let is = new.as_mut().is_some_and(|new| new.next(&columns));
            if !was && !is {
                break;
            }
            let (was, is) = (old.as_ref().filter(|_| was), new.as_ref().filter(|_| is));
            memory.switch_to(|_| visit(was.map(Reading::row), is.map(Reading::row)));
            memory.reset();
        }
        for reading in [old, new].into_iter().flatten() {
            pg_sys::ExecDropSingleTupleTableSlot(reading.slot);
        }
    }
}
