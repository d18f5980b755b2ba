//! Set-returning functions that answer with many rows: those of a statement, which go from the executor into the answer, past Rust; or
//! rows that are put one by one. They go to disk where they pass work_mem.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CString;

use super::call::{Call, StaticText};
use super::rows::{self, Query};
use super::spi::PinnedPath;

#[repr(C)]
struct Receiver {
    base: pg_sys::DestReceiver,
    rows: *mut pg_sys::Tuplestorestate,
}

/// With which snapshot a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The calling statement's; it only reads.
    Caller,
    /// One of this instant; it may write.
    Now,
}

/// Runs a statement that is made at run time, for once; its rows are the call's answer.
/// Their columns have the types that the function is declared to return, else PostgreSQL raises an error.
pub fn answer(call: Call, snapshot: Snapshot, sql: &str, arguments: &[DatumWithOid<'_>]) -> pg_sys::Datum {
    let sql = CString::new(sql).expect("no NUL");
    let types: Vec<pg_sys::Oid> = arguments.iter().map(|argument| argument.oid()).collect();
    run(call, snapshot, &types, arguments, || {
        // SAFETY: connected to SPI, which copies the text and the types; the plan lives until the connection is closed.
        unsafe { pg_sys::SPI_prepare(sql.as_ptr(), types.len() as i32, types.as_ptr().cast_mut()) }
    })
}

/// The same by a statement that is kept; it reads with the calling statement's snapshot.
pub fn answer_kept(call: Call, query: &Query, arguments: &[DatumWithOid<'_>]) -> pg_sys::Datum {
    // SAFETY: connected to SPI, as `run` calls it.
    run(call, Snapshot::Caller, query.types(), arguments, || unsafe {
        query.plan()
    })
}

fn run(
    call: Call,
    snapshot: Snapshot,
    types: &[pg_sys::Oid],
    arguments: &[DatumWithOid<'_>],
    plan: impl FnOnce() -> pg_sys::SPIPlanPtr,
) -> pg_sys::Datum {
    let _pinned = PinnedPath::new();
    // SAFETY: a version-1 function's call, which says where a materialised answer goes or is refused; the tuplestore and its
    // descriptor are made in the caller's memory, before SPI has its own. The parameters are alive while the statement runs, and as
    // many as it names; the receiver outlives it. A SQL error unwinds.
    unsafe {
        let info = call.info();
        pg_sys::InitMaterializedSRF(info, 0);
        let result = (*info).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        let mut receiver = Receiver {
            base: pg_sys::DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(start_up),
                rShutdown: Some(nothing),
                rDestroy: Some(nothing),
                // Neither DestNone nor DestSPI: those mean something to SPI.
                mydest: pg_sys::CommandDest::DestTuplestore,
            },
            rows: (*result).setResult,
        };
        Spi::connect(|_client| {
            let plan = plan();
            assert!(!plan.is_null(), "SPI could not prepare the statement");
            let options = pg_sys::SPIExecuteOptions {
                params: rows::parameters(types, arguments),
                read_only: snapshot == Snapshot::Caller,
                dest: (&raw mut receiver).cast(),
                ..Default::default()
            };
            let code = pg_sys::SPI_execute_plan_extended(plan, &options);
            assert!(code == pg_sys::SPI_OK_SELECT as i32, "SPI: {code}");
        });
    }
    call.null()
}

/// A value of a row that is put.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Integer(i32),
    Uuid(&'a [u8; 16]),
    Text(&'a StaticText),
    Uuids(&'a UuidArray),
}

/// A uuid[] that is filled again and again: a varlena with its header, aligned.
#[derive(Default)]
pub struct UuidArray(Vec<u64>);

impl UuidArray {
    /// Takes the place of what is in it; not empty.
    pub fn fill(&mut self, ids: impl ExactSizeIterator<Item = u128>) {
        // ArrayType, of one dimension: total length, number of dimensions, no NULLs, element type, length, lower bound.
        const HEAD: usize = 24;
        let length = ids.len();
        let bytes = HEAD + 16 * length;
        self.0.clear();
        let size = if cfg!(target_endian = "little") {
            (bytes as u32) << 2
        } else {
            bytes as u32
        };
        let pair = |a: u32, b: u32| {
            let mut word = [0; 8];
            word[..4].copy_from_slice(&a.to_ne_bytes());
            word[4..].copy_from_slice(&b.to_ne_bytes());
            u64::from_ne_bytes(word)
        };
        self.0.push(pair(size, 1));
        self.0.push(pair(0, u32::from(pg_sys::UUIDOID)));
        self.0.push(pair(length as u32, 1));
        for id in ids {
            self.0.push(((id >> 64) as u64).to_be());
            self.0.push((id as u64).to_be());
        }
    }
}

/// The answer of a call, row by row.
pub struct Rows {
    rows: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Rows {
    /// Begins the answer of a function that is declared to return rows.
    pub fn begin(call: Call) -> Self {
        // SAFETY: as in `run`.
        unsafe {
            let info = call.info();
            pg_sys::InitMaterializedSRF(info, 0);
            let result = (*info).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            Self {
                rows: (*result).setResult,
                descriptor: (*result).setDesc,
            }
        }
    }

    /// Adds a row, whose values have the declared types; they are copied.
    pub fn put<const N: usize>(&mut self, values: [Value<'_>; N]) {
        let datum = |value: &Value<'_>| match value {
            Value::Null => pg_sys::Datum::null(),
            Value::Integer(number) => pg_sys::Datum::from(*number),
            Value::Uuid(id) => pg_sys::Datum::from(id.as_ptr()),
            Value::Text(text) => text.datum(),
            Value::Uuids(ids) => pg_sys::Datum::from(ids.0.as_ptr()),
        };
        let mut datums = values.each_ref().map(datum);
        let mut nulls = values.map(|value| matches!(value, Value::Null));
        // SAFETY: an open tuplestore of this descriptor, which has as many columns; what the datums point to outlives the call.
        unsafe {
            assert!((*self.descriptor).natts as usize == N, "as many values as columns");
            pg_sys::tuplestore_putvalues(self.rows, self.descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, receiver: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: the executor passes a filled slot and the receiver that it was given; the tuplestore copies the row.
    unsafe { pg_sys::tuplestore_puttupleslot((*receiver.cast::<Receiver>()).rows, slot) }
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn start_up(_receiver: *mut pg_sys::DestReceiver, _operation: i32, _row: pg_sys::TupleDesc) {}

#[pg_guard]
unsafe extern "C-unwind" fn nothing(_receiver: *mut pg_sys::DestReceiver) {}
