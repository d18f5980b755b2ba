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
