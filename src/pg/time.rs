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

/// When the transaction began, as now() gives it, in UTC: 2026-01-31T23:59:59.123456Z.
pub fn transaction_start() -> String {
    // SAFETY: reads a variable of the running transaction.
    utc_text(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })
}

/// When the client's statement began, as statement_timestamp() gives it: what was committed before is not after it.
pub fn statement_start() -> TimestampWithTimeZone {
    // SAFETY: reads a variable of the running statement; a timestamptz's datum is its microseconds.
    unsafe {
        let datum = pg_sys::Datum::from(pg_sys::GetCurrentStatementStartTimestamp());
        TimestampWithTimeZone::from_datum(datum, false).expect("not NULL")
    }
}

/// Microseconds since 2000-01-01 UTC as text.
fn utc_text(microseconds: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let (days, rest) = (microseconds.div_euclid(DAY), microseconds.rem_euclid(DAY));
    // Civil from days, after Howard Hinnant's chrono-compatible low-level date algorithms: years begin in March.
    let days = days + 10_957 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn utc_text_knows_the_calendar() {
        for (days, text) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (365, "2000-12-31"),
            (-1, "1999-12-31"),
            (9_922, "2027-03-02"),
            (36_524, "2099-12-31"),
            (36_584, "2100-03-01"),
        ] {
            let noon = days * 86_400_000_000 + 43_200_000_001;
            assert_eq!(super::utc_text(noon), format!("{text}T12:00:00.000001Z"));
        }
    }
}

/// When the client's statement began, as statement_timestamp(): microseconds since 2000.
pub fn statement() -> i64 {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}
