//! What can go wrong, by the contract's table: a situation fixes the SQLSTATE, the message names the argument and
//! its value, the hint says what to do.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::process;

/// A situation of the contract, each with one SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// 22023: a negative depth, a malformed element of a batch, an unknown word.
    BadArgument,
    /// 22004: a value that is needed is NULL and the context has none.
    Missing,
    /// P0002: an unknown tenant, session or node where one is required.
    Unknown,
    /// 42501: another user, another tenant, a missing profile.
    NotAllowed,
    /// 40001: what the transaction has seen has changed meanwhile.
    Changed,
    /// 54000: a configured bound is passed.
    BoundPassed,
    /// 55000: the library or a setting that is needed is missing.
    NotReady,
    /// XX001: a tampered ciphertext, a broken seal.
    Corrupt,
}

impl Situation {
    fn sqlstate(self) -> PgSqlErrorCode {
        match self {
            Self::BadArgument => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Missing => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Unknown => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Self::NotAllowed => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Changed => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::BoundPassed => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::NotReady => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Corrupt => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        }
    }
}

/// An error before it reaches PostgreSQL. A function that SQL calls returns `Result<_, ErrorReport>`; `?` converts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub situation: Situation,
    pub message: String,
    pub hint: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(situation: Situation, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            situation,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub fn bad_argument(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::BadArgument, message, hint)
    }

    pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::Missing, message, hint)
    }

    pub fn unknown(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::Unknown, message, hint)
    }

    pub fn not_allowed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::NotAllowed, message, hint)
    }

    pub fn changed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::Changed, message, hint)
    }

    pub fn bound_passed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::BoundPassed, message, hint)
    }

    pub fn not_ready(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::NotReady, message, hint)
    }

    pub fn corrupt(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Situation::Corrupt, message, hint)
    }

    /// Raises the error in PostgreSQL; for places that cannot return a `Result`.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(pgrx::PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        // A client that cannot be told an ellipsis would be told of that (22P05) instead of the error.
        let said = |text: String| {
            if process::client_reads_unicode() {
                text
            } else {
                text.replace('…', "...")
            }
        };
        ErrorReport::new(error.situation.sqlstate(), said(error.message), "memory_ext").set_hint(said(error.hint))
    }
}

/// A value as error messages show it: quoted, cut at 100 characters.
pub fn shown(value: &str) -> String {
    const MOST: usize = 100;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", &value[..end]),
        None => format!("\"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn shown_cuts_at_100_characters_not_bytes() {
        assert_eq!(shown("a"), "\"a\"");
        assert_eq!(shown(&"é".repeat(100)), format!("\"{}\"", "é".repeat(100)));
        assert_eq!(shown(&"é".repeat(101)), format!("\"{}…\"", "é".repeat(100)));
    }
}
