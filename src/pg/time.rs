//! Times as PostgreSQL reads them.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::{FromDatum, pg_sys};

/// A timestamp in any form that PostgreSQL reads under the session's settings; None where it reads none.
pub fn parse(text: &str) -> Option<TimestampWithTimeZone> {
    let text = std::ffi::CString::new(text).ok()?;
    let arguments = [
        Some(pg_sys::Datum::from(text.as_ptr())),
        Some(pg_sys::Datum::from(0u32)),
        Some(pg_sys::Datum::from(-1i32)),
    ];
    // timestamptz_in takes no lock, no buffer and no snapshot, so its error leaves nothing behind that a subtransaction
    // would have to undo.
    let datum = PgTryBuilder::new(|| {
        // SAFETY: timestamptz_in with the arguments of a type's input function.
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::timestamptz_in, &arguments) }
    })
    .catch_others(|_| None)
    .execute()?;
    // SAFETY: the datum is what timestamptz_in returned.
    unsafe { TimestampWithTimeZone::from_datum(datum, false) }
}

/// When the transaction began, as now() gives it and jsonb writes it, in UTC: 2026-01-31T23:59:59.123456+00:00.
pub fn transaction_start() -> String {
    // The longest form of a timestamp, as PostgreSQL's datetime.h has it.
    const MAXDATELEN: usize = 128;
    const UTC: i32 = 0;
    let mut text = [0; MAXDATELEN + 1];
    // SAFETY: reads a variable of the running transaction; the encoder writes at most MAXDATELEN bytes and a NUL.
    unsafe {
        let now = pg_sys::Datum::from(pg_sys::GetCurrentTransactionStartTimestamp());
        pg_sys::JsonEncodeDateTime(text.as_mut_ptr(), now, pg_sys::TIMESTAMPTZOID, &UTC);
        std::ffi::CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// When the client's statement began, as statement_timestamp(): microseconds since 2000.
pub fn statement() -> i64 {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// When the client's statement began, as statement_timestamp() gives it: what was committed before is not after it.
pub fn statement_start() -> TimestampWithTimeZone {
    // SAFETY: a timestamptz's datum is its microseconds.
    unsafe { TimestampWithTimeZone::from_datum(pg_sys::Datum::from(statement()), false) }.expect("not NULL")
}
