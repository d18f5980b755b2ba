//! Reading many rows where the executor has them: no tuple is copied, no value converted that is not asked for. For walks
//! and other loops over a hundred thousand rows; everything else uses `spi::Statement`.
//!
//! Protocol: as `spi::Statement::read` (search_path pinned, planned once per backend, the calling statement's snapshot, the
//! current role's row-level security), but the plan is the generic one from the first call on: arrays of any length are one
//! plan. The visitor runs inside the executor: it calls nothing of PostgreSQL's, and keeps nothing that it is shown.

use std::cell::Cell;
use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::call::{utf8, varlena};
use super::jsonb::Jsonb;
use super::spi::PinnedPath;
use super::trigger::Trigger;

/// A reading statement with the types of its parameters; make one per `thread_local!`.
pub struct Query {
    sql: &'static str,
    types: &'static [pg_sys::Oid],
    plan: Cell<pg_sys::SPIPlanPtr>,
}

/// One row, valid inside the visitor. Columns count from 0; their types are as the statement says.
pub struct Row<'a> {
    pub(super) values: &'a [pg_sys::Datum],
    pub(super) nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// The columns, and which of them are NULL.
    pub(super) fn new(values: &'a [pg_sys::Datum], nulls: &'a [bool]) -> Self {
        Self { values, nulls }
    }

    /// A column that is a uuid and not NULL, as the number that orders the same way.
    pub fn uuid(&self, column: usize) -> u128 {
        assert!(!self.nulls[column]);
        // SAFETY: a uuid's datum points to its 16 bytes.
        unsafe { u128::from_be_bytes(*self.values[column].cast_mut_ptr::<[u8; 16]>()) }
    }

    /// A column that is a uuid, as above.
    pub fn optional_uuid(&self, column: usize) -> Option<u128> {
        (!self.nulls[column]).then(|| self.uuid(column))
    }

    /// A column of type bigint that is not NULL; of timestamptz, its microseconds; of xid8, its bits.
    pub fn bigint(&self, column: usize) -> i64 {
        assert!(!self.nulls[column]);
        self.values[column].value() as i64
    }

    /// The same of one that may be.
    pub fn optional_bigint(&self, column: usize) -> Option<i64> {
        (!self.nulls[column]).then(|| self.bigint(column))
    }

    /// A column that is a boolean and not NULL.
    pub fn boolean(&self, column: usize) -> bool {
        assert!(!self.nulls[column]);
        self.values[column].value() != 0
    }

    /// A column that is a real and not NULL.
    pub fn real(&self, column: usize) -> f32 {
        assert!(!self.nulls[column]);
        f32::from_bits(self.values[column].value() as u32)
    }

    /// A column that is a text.
    pub fn optional_text(&self, column: usize) -> Option<&str> {
        (!self.nulls[column]).then(|| self.text(column))
    }

    /// A column that is a bytea and not NULL.
    pub fn bytes(&self, column: usize) -> &[u8] {
        assert!(!self.nulls[column]);
        // SAFETY: a bytea's datum points to a varlena.
        unsafe { varlena(self.values[column]) }
    }

    /// A column that is a bytea.
    pub fn optional_bytes(&self, column: usize) -> Option<&[u8]> {
        (!self.nulls[column]).then(|| self.bytes(column))
    }

    /// A column that is a jsonb and not NULL, in the current memory context.
    pub fn jsonb(&self, column: usize) -> Jsonb<'_> {
        assert!(!self.nulls[column]);
        // SAFETY: a jsonb's datum points to a varlena.
        unsafe { Jsonb::new(pg_sys::pg_detoast_datum(self.values[column].cast_mut_ptr())) }
    }

    /// A column that is a text[] and not NULL.
    pub fn texts(&self, column: usize) -> Vec<Option<String>> {
        assert!(!self.nulls[column]);
        // SAFETY: a text[]'s datum.
        unsafe { FromDatum::from_datum(self.values[column], false) }.expect("not NULL")
    }

    /// Whether a column, of a type of varying length, is stored alike in both rows.
    pub fn is_alike(&self, other: &Row<'_>, column: usize) -> bool {
        if self.nulls[column] || other.nulls[column] {
            return self.nulls[column] == other.nulls[column];
        }
        // SAFETY: both point to a varlena.
        unsafe { super::trigger::is_stored_alike(self.values[column], other.values[column], -1, false) }
    }

    /// A column that is a text and not NULL. One that stands in an index is neither compressed nor elsewhere; another may have to be
    /// fetched.
    pub fn text(&self, column: usize) -> &str {
        assert!(!self.nulls[column]);
        // SAFETY: a text's datum points to a varlena; the bytes are the database's encoding, which is checked.
        utf8(unsafe { varlena(self.values[column]) })
    }
}

#[repr(C)]
struct Receiver<'a> {
    base: pg_sys::DestReceiver,
    visit: &'a mut dyn FnMut(&Row<'_>),
}

impl Query {
    pub const fn new(sql: &'static str, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            sql,
            types,
            plan: Cell::new(std::ptr::null_mut()),
        }
    }

    /// Calls `visit` with every row.
    pub fn each(&self, arguments: &[DatumWithOid<'_>], visit: &mut dyn FnMut(&Row<'_>)) {
        self.run(None, arguments, visit);
    }

    /// The same of a statement that reads the transition tables of a trigger.
    pub fn each_of(&self, trigger: &Trigger, arguments: &[DatumWithOid<'_>], visit: &mut dyn FnMut(&Row<'_>)) {
        self.run(Some(trigger), arguments, visit);
    }

    fn run(&self, trigger: Option<&Trigger>, arguments: &[DatumWithOid<'_>], visit: &mut dyn FnMut(&Row<'_>)) {
        let _pinned = PinnedPath::new();
        Spi::connect(|_client| {
            if let Some(trigger) = trigger {
                trigger.register_tables();
            }
            let mut receiver = Receiver {
                base: pg_sys::DestReceiver {
                    receiveSlot: Some(receive),
                    rStartup: Some(start_up),
                    rShutdown: Some(nothing),
                    rDestroy: Some(nothing),
                    // Neither DestNone nor DestSPI: those mean something to SPI.
                    mydest: pg_sys::CommandDest::DestSQLFunction,
                },
                visit,
            };
            // SAFETY: connected to SPI; the plan is kept for the backend's life; the parameters have the plan's types;
            // the receiver outlives the execution. A SQL error unwinds.
            unsafe {
                let options = pg_sys::SPIExecuteOptions {
                    params: parameters(self.types, arguments),
                    read_only: true,
                    dest: (&raw mut receiver).cast(),
                    ..Default::default()
                };
                let code = pg_sys::SPI_execute_plan_extended(self.plan(), &options);
                assert!(code == pg_sys::SPI_OK_SELECT as i32, "SPI: {code}");
            }
        });
    }

    /// # Safety
    /// Connected to SPI.
    pub(super) unsafe fn plan(&self) -> pg_sys::SPIPlanPtr {
        if self.plan.get().is_null() {
            let sql = CString::new(self.sql).expect("no NUL");
            // SAFETY: as the caller promises; SPI copies the types.
            unsafe {
                let plan = pg_sys::SPI_prepare_cursor(
                    sql.as_ptr(),
                    self.types.len() as i32,
                    self.types.as_ptr().cast_mut(),
                    pg_sys::CURSOR_OPT_GENERIC_PLAN as i32,
                );
                assert!(!plan.is_null(), "SPI could not prepare the statement");
                pg_sys::SPI_keepplan(plan);
                self.plan.set(plan);
            }
        }
        self.plan.get()
    }

    pub(super) fn types(&self) -> &'static [pg_sys::Oid] {
        self.types
    }
}

/// The parameters of a statement, as many as it has.
pub(super) fn parameters(types: &[pg_sys::Oid], arguments: &[DatumWithOid<'_>]) -> pg_sys::ParamListInfo {
    assert_eq!(arguments.len(), types.len());
    // SAFETY: a list with as many parameters as it is made for, all of which are set.
    unsafe {
        let list = pg_sys::makeParamList(arguments.len() as i32);
        let parameters = (*list).params.as_mut_slice(arguments.len());
        for ((parameter, argument), oid) in parameters.iter_mut().zip(arguments).zip(types) {
            let datum = argument.datum();
            parameter.isnull = datum.is_none();
            parameter.value = datum.map_or(pg_sys::Datum::null(), |datum| datum.sans_lifetime());
            parameter.pflags = pg_sys::PARAM_FLAG_CONST as u16;
            parameter.ptype = *oid;
        }
        list
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the executor passes a filled slot and the receiver that it was given.
    unsafe {
        let columns = (*(*slot).tts_tupleDescriptor).natts;
        if i32::from((*slot).tts_nvalid) < columns {
            pg_sys::slot_getsomeattrs_int(slot, columns);
        }
        let row = Row::new(
            std::slice::from_raw_parts((*slot).tts_values, columns as usize),
            std::slice::from_raw_parts((*slot).tts_isnull, columns as usize),
        );
        ((*receiver.cast::<Receiver<'_>>()).visit)(&row);
    }
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn start_up(_receiver: *mut pg_sys::DestReceiver, _operation: i32, _row: pg_sys::TupleDesc) {}

#[pg_guard]
unsafe extern "C-unwind" fn nothing(_receiver: *mut pg_sys::DestReceiver) {}
