//! Set-returning functions that answer with many rows: those of a statement, which go from the executor into the answer, past Rust; or
//! rows that are put one by one. They go to disk where they pass work_mem.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CString;
use std::marker::PhantomData;

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

/// The answer's tuplestore and its descriptor, made where the caller wants them. The descriptor is the caller's own of the declared type:
/// to have PostgreSQL look it up anew would leave some 800 bytes in the memory of the calling statement with each call.
///
/// # Safety
/// The call of a function that is declared to return rows.
unsafe fn begin(call: Call) -> *mut pg_sys::ReturnSetInfo {
    // SAFETY: as the caller promises; raises an error where the caller takes no materialised answer.
    unsafe {
        let info = call.info();
        pg_sys::InitMaterializedSRF(info, pg_sys::MAT_SRF_USE_EXPECTED_DESC);
        (*info).resultinfo.cast::<pg_sys::ReturnSetInfo>()
    }
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
        let result = begin(call);
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

/// The answer of a call, column by column. Rows are gathered and handed over many at once: to cross from Rust to PostgreSQL and back for each
/// takes as long as to store it.
pub struct Rows<'a> {
    rows: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    columns: usize,
    /// Of the rows that are gathered, one after the other.
    values: Vec<Gathered>,
    nulls: Vec<bool>,
    /// What values are that are passed by reference.
    words: Vec<u64>,
    texts: PhantomData<&'a StaticText>,
}

#[derive(Clone, Copy)]
enum Gathered {
    Datum(pg_sys::Datum),
    /// At this place in `words`.
    Inside(usize),
}

/// How many words and values are gathered: they stay in the processor's nearest memory.
const MOST_WORDS: usize = 1024;
const MOST_VALUES: usize = 512;

/// Not the binding's, which guards each call against PostgreSQL's errors: `flush` guards many.
mod unguarded {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        pub fn tuplestore_putvalues(
            state: *mut pg_sys::Tuplestorestate,
            descriptor: pg_sys::TupleDesc,
            values: *mut pg_sys::Datum,
            nulls: *mut bool,
        );
    }
}

impl<'a> Rows<'a> {
    /// Begins the answer of a function that is declared to return rows. In memory they may take what a hash table may (work_mem times
    /// hash_mem_multiplier): such an answer is what a recursive query has in one.
    pub fn begin(call: Call) -> Self {
        // SAFETY: as in `run`; the empty tuplestore is replaced by another of the same lifetime.
        let (rows, descriptor, columns) = unsafe {
            let result = begin(call);
            pg_sys::tuplestore_end((*result).setResult);
            let before = pg_sys::MemoryContextSwitchTo((*(*result).econtext).ecxt_per_query_memory);
            let again = (*result).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32 != 0;
            let kilobytes = i32::try_from(pg_sys::get_hash_memory_limit() / 1024).unwrap_or(i32::MAX);
            (*result).setResult = pg_sys::tuplestore_begin_heap(again, false, kilobytes);
            pg_sys::MemoryContextSwitchTo(before);
            let descriptor = (*result).setDesc;
            ((*result).setResult, descriptor, (*descriptor).natts as usize)
        };
        Self {
            rows,
            descriptor,
            columns,
            values: Vec::with_capacity(MOST_VALUES + columns),
            nulls: Vec::with_capacity(MOST_VALUES + columns),
            words: Vec::with_capacity(MOST_WORDS),
            texts: PhantomData,
        }
    }

    pub fn null(&mut self) {
        self.values.push(Gathered::Datum(pg_sys::Datum::null()));
        self.nulls.push(true);
    }

    pub fn integer(&mut self, number: i32) {
        self.value(Gathered::Datum(pg_sys::Datum::from(number)));
    }

    pub fn text(&mut self, text: &'a StaticText) {
        self.value(Gathered::Datum(text.datum()));
    }

    pub fn uuid(&mut self, id: u128) {
        self.value(Gathered::Inside(self.words.len()));
        self.id(id);
    }

    /// A uuid[], not empty; its ids come last first.
    pub fn uuids_from_the_end(&mut self, length: usize, ids: impl Iterator<Item = u128>) {
        // ArrayType, of one dimension: total length, number of dimensions, no NULLs, element type, length, lower bound.
        const HEAD: usize = 3;
        let begin = self.words.len();
        self.value(Gathered::Inside(begin));
        let bytes = ((HEAD + 2 * length) * size_of::<u64>()) as u32;
        let size = if cfg!(target_endian = "little") {
            bytes << 2
        } else {
            bytes
        };
        let pair = |a: u32, b: u32| {
            let mut word = [0; 8];
            word[..4].copy_from_slice(&a.to_ne_bytes());
            word[4..].copy_from_slice(&b.to_ne_bytes());
            u64::from_ne_bytes(word)
        };
        self.words.push(pair(size, 1));
        self.words.push(pair(0, u32::from(pg_sys::UUIDOID)));
        self.words.push(pair(length as u32, 1));
        let first = self.words.len();
        ids.for_each(|id| self.id(id));
        let ids = &mut self.words[first..];
        assert!(ids.len() == 2 * length, "as many as were said");
        ids.reverse();
        ids.chunks_exact_mut(2).for_each(|id| id.swap(0, 1));
    }

    /// Ends a row, which has as many values as the function has columns.
    pub fn end_row(&mut self) {
        assert!(
            self.values.len().is_multiple_of(self.columns),
            "as many values as columns"
        );
        if self.values.len() >= MOST_VALUES || self.words.len() >= MOST_WORDS {
            self.flush();
        }
    }

    /// Ends the answer.
    pub fn end(mut self) {
        self.flush();
    }

    fn value(&mut self, value: Gathered) {
        self.values.push(value);
        self.nulls.push(false);
    }

    fn id(&mut self, id: u128) {
        self.words.push(((id >> 64) as u64).to_be());
        self.words.push((id as u64).to_be());
    }

    fn flush(&mut self) {
        pgrx::check_for_interrupts!();
        let words = self.words.as_ptr();
        let datum = |value: &Gathered| match *value {
            Gathered::Datum(datum) => datum,
            Gathered::Inside(place) => pg_sys::Datum::from(words.wrapping_add(place)),
        };
        let mut datums: Vec<pg_sys::Datum> = self.values.iter().map(datum).collect();
        let (rows, descriptor, columns) = (self.rows, self.descriptor, self.columns);
        let (values, nulls, count) = (datums.as_mut_ptr(), self.nulls.as_mut_ptr(), datums.len() / columns);
        // SAFETY: an open tuplestore of this descriptor, which has as many columns; what the datums point to outlives the call, which copies it.
        // Inside the boundary is nothing that could panic or wants dropping when PostgreSQL raises an error.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for row in 0..count {
                    unguarded::tuplestore_putvalues(
                        rows,
                        descriptor,
                        values.wrapping_add(row * columns),
                        nulls.wrapping_add(row * columns),
                    );
                }
            });
        }
        self.values.clear();
        self.nulls.clear();
        self.words.clear();
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
