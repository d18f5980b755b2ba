//! Times as PostgreSQL reads them.

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, pg_sys};

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
    const UTC: i32 = 0;
    // SAFETY: reads a variable of the running transaction.
    encode(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }, Some(&UTC))
}

/// This instant, as clock_timestamp() gives it.
pub fn clock<'a>() -> DatumWithOid<'a> {
    // SAFETY: reads the clock; a timestamptz is a number of microseconds.
    unsafe { DatumWithOid::new(pg_sys::GetCurrentTimestamp(), pg_sys::TIMESTAMPTZOID) }
}

/// A timestamptz as a row has it (microseconds since 2000) as jsonb writes it, in the session's TimeZone.
pub fn json(micros: i64) -> String {
    encode(micros, None)
}

fn encode(micros: i64, zone: Option<&i32>) -> String {
    // The longest form of a timestamp, as PostgreSQL's datetime.h has it.
    const MAXDATELEN: usize = 128;
    let mut text = [0; MAXDATELEN + 1];
    let zone = zone.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the encoder writes at most MAXDATELEN bytes and a NUL.
    unsafe {
        pg_sys::JsonEncodeDateTime(
            text.as_mut_ptr(),
            pg_sys::Datum::from(micros),
            pg_sys::TIMESTAMPTZOID,
            zone,
        );
        std::ffi::CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// A timestamptz as a row has it (microseconds since 2000), in Unix time, whole seconds.
pub fn unix_seconds(micros: i64) -> i64 {
    const EPOCH: i64 = 946_684_800;
    micros.div_euclid(1_000_000) + EPOCH
}

/// Unix time in seconds as a timestamptz.
pub fn of_unix_seconds(seconds: i64) -> TimestampWithTimeZone {
    const EPOCH: i64 = 946_684_800;
    let micros = (seconds - EPOCH).saturating_mul(1_000_000);
    TimestampWithTimeZone::try_from(micros).unwrap_or_else(|_| TimestampWithTimeZone::positive_infinity())
}

/// Unix time in seconds as a timestamptz's text, for hints; in UTC.
pub fn shown(unix_seconds: i64) -> String {
    let utc = |days: i64| {
        // Days since 1970 to a date of the proleptic Gregorian calendar (Howard Hinnant, chrono-compatible low-level date algorithms).
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day = days.rem_euclid(146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + era * 400 + i64::from(month <= 2), month, day)
    };
    let (year, month, day) = utc(unix_seconds.div_euclid(86_400));
    let second = unix_seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// This instant, as clock_timestamp(): microseconds since 2000.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// A timestamptz in microseconds since 2000.
pub fn microseconds(time: TimestampWithTimeZone) -> i64 {
    time.into_datum().map_or(0, |datum| datum.value() as i64)
}

/// A timestamp of so many microseconds since 2000.
pub fn from_micros(micros: i64) -> TimestampWithTimeZone {
    // SAFETY: a timestamptz's datum is its microseconds.
    unsafe { TimestampWithTimeZone::from_datum(pg_sys::Datum::from(micros), false) }.expect("not NULL")
}

/// When the client's statement began, as statement_timestamp(): microseconds since 2000.
pub fn statement() -> i64 {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// When the client's statement began, as statement_timestamp() gives it: what was committed before is not after it.
pub fn statement_start() -> TimestampWithTimeZone {
    from_micros(statement())
}

#[cfg(test)]
mod tests {
    #[test]
    fn unix_time_is_shown_as_a_date() {
        assert_eq!(super::shown(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(super::shown(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(super::shown(4_102_444_799), "2099-12-31 23:59:59 UTC");
        assert_eq!(super::unix_seconds(-1), 946_684_799);
    }
}
