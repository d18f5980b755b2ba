//! Appending rows to a table of the extension, past SQL: many rows at a time, as COPY does, without a statement that is planned, set up and
//! torn down for each.
//!
//! Protocol: the rows go in with the current command's id, and whatever runs next sees them. No privilege is asked for, no policy, no CHECK, no
//! default, and the table's own INSERT triggers do not fire: for tables that only the extension writes to, called where its owner's privileges
//! hold. The table's lock stays until the transaction ends. Columns behind those that are given are NULL.

use pgrx::datum::DatumWithOid;
use pgrx::{PgMemoryContexts, pg_sys};

use super::spi::require_writable;

/// The next number of a sequence.
pub fn next_of(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: a function of one oid that gives a bigint, and raises where that is no sequence.
    unsafe { pgrx::direct_function_call(pg_sys::nextval_oid, &[Some(pg_sys::Datum::from(sequence))]) }
        .expect("a sequence has a next number")
}

/// So many rows, or bytes, are written at once.
const ROWS: usize = 500;
const BYTES: usize = 1 << 16;

/// A table that is being appended to; `finish` writes what is left.
pub struct Append {
    table: pg_sys::Relation,
    indexes: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    /// One per row that waits; those beyond `waiting` are empty.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    waiting: usize,
    bytes: usize,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    /// What the rows that wait are made of.
    memory: PgMemoryContexts,
}

impl Append {
    pub fn to(relation: pg_sys::Oid) -> Self {
        require_writable();
        // SAFETY: the usual life of an executor's state without a plan, in the current memory context; an error frees all of it with the
        // (sub)transaction. Inside it the table stays open.
        unsafe {
            let table = pg_sys::table_open(relation, pg_sys::RowExclusiveLock as i32);
            let state = pg_sys::CreateExecutorState();
            let indexes = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*indexes).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(indexes, table, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(indexes, false);
            Self {
                table,
                indexes,
                state,
                slots: Vec::new(),
                waiting: 0,
                bytes: 0,
                values: Vec::new(),
                nulls: Vec::new(),
                memory: PgMemoryContexts::new("memory_ext append"),
            }
        }
    }

    /// Makes values of a row, in memory that is freed when the row is written.
    pub fn make<R>(&mut self, values: impl FnOnce() -> R) -> R {
        // SAFETY: a memory context of our own, current while the values are made; an error resets what is current.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory.value());
            let made = values();
            pg_sys::MemoryContextSwitchTo(before);
            made
        }
    }

    /// Adds a row, whose values have the types of the table's first columns; they are copied.
    pub fn put<const N: usize>(&mut self, row: [&DatumWithOid<'_>; N]) {
        // SAFETY: as many values as the row type has columns, of their types, which is looked at. The slot takes the tuple over.
        unsafe {
            let row_type = (*self.table).rd_att;
            let columns = (*row_type).natts as usize;
            assert!(N <= columns, "the table has these columns");
            self.values.resize(columns, pg_sys::Datum::null());
            self.nulls.resize(columns, true);
            for (i, value) in row.into_iter().enumerate() {
                let column = i as i32 + 1;
                assert!(
                    pg_sys::SPI_gettypeid(row_type, column) == value.oid(),
                    "column {column} is of the type"
                );
                let datum = value.datum();
                self.nulls[i] = datum.is_none();
                self.values[i] = datum.map_or(pg_sys::Datum::null(), |datum| datum.sans_lifetime());
            }
            if self.waiting == self.slots.len() {
                // As old as the state, whatever memory the caller makes its rows in.
                let before = pg_sys::MemoryContextSwitchTo((*self.state).es_query_cxt);
                let slot = pg_sys::MakeSingleTupleTableSlot(row_type, &raw const pg_sys::TTSOpsHeapTuple);
                pg_sys::MemoryContextSwitchTo(before);
                self.slots.push(slot);
            }
            let slot = self.slots[self.waiting];
            let before = pg_sys::MemoryContextSwitchTo(self.memory.value());
            let tuple = pg_sys::heap_form_tuple(row_type, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::ExecStoreHeapTuple(tuple, slot, true);
            (*slot).tts_tableOid = (*self.table).rd_id;
            self.waiting += 1;
            self.bytes += (*tuple).t_len as usize;
        }
        if self.waiting == ROWS || self.bytes >= BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        // SAFETY: as many filled slots as are waiting; heap_multi_insert notes in each where its row went, which is what its index entries say. What
        // both allocate is freed with the rows.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.memory.value());
            pg_sys::heap_multi_insert(
                self.table,
                self.slots.as_mut_ptr(),
                self.waiting as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            for slot in &self.slots[..self.waiting] {
                let mut conflict = false;
                pg_sys::ExecInsertIndexTuples(
                    self.indexes,
                    *slot,
                    self.state,
                    false,
                    false,
                    &mut conflict,
                    std::ptr::null_mut(),
                    #[cfg(not(feature = "pg15"))]
                    false,
                );
                let context = (*self.state).es_per_tuple_exprcontext;
                if !context.is_null() {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                }
                pg_sys::ExecClearTuple(*slot);
            }
            pg_sys::MemoryContextSwitchTo(before);
            self.memory.reset();
        }
        (self.waiting, self.bytes) = (0, 0);
    }

    /// Writes what waits, and has the rows seen by what comes next.
    pub fn finish(mut self) {
        if self.waiting > 0 {
            self.write();
        }
        // SAFETY: what `to` and `put` opened and made; the lock stays.
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::ExecCloseIndices(self.indexes);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::table_close(self.table, pg_sys::NoLock as i32);
            pg_sys::CommandCounterIncrement();
        }
    }
}
