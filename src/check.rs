//! Checks of arguments that every subject makes the same way.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::config;
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::Jsonb;
use crate::raw_function;

/// The value of an argument that may not be NULL.
pub fn needed<T>(argument: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::missing(format!("{argument} is NULL"), format!("Name it: {argument} => '…'.")))
}

/// An element of an array in which none may be NULL.
pub fn element<T>(argument: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| {
        Error::missing(
            format!("an element of {argument} is NULL"),
            "Leave it out, or say what is meant.",
        )
    })
}

/// A text that is neither NULL nor empty.
pub fn text<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    match needed(argument, value)? {
        "" => Err(Error::bad_argument(
            format!("{argument} is empty"),
            "Give a text of at least one character.",
        )),
        value => Ok(value),
    }
}

/// A batch or page size: at least 1.
pub fn positive(argument: &str, value: Option<i32>) -> Result<i32> {
    match needed(argument, value)? {
        value if value < 1 => Err(Error::bad_argument(
            format!("{argument} is {value}"),
            "Give a number of at least 1.",
        )),
        value => Ok(value),
    }
}

/// A length of time that is not negative; a month counts as 30 days.
pub fn interval(argument: &str, value: Interval) -> Result<Interval> {
    const DAY: i128 = 24 * 60 * 60 * 1_000_000;
    let days = i128::from(value.months()) * 30 + i128::from(value.days());
    if days * DAY + i128::from(value.micros()) < 0 {
        return Err(Error::bad_argument(
            format!("{argument} is below zero"),
            "Give a length of time, such as '30 minutes'.",
        ));
    }
    Ok(value)
}

/// A jsonb object of at most memory.max_payload_size.
pub fn object<'a>(argument: &str, value: Option<Jsonb<'a>>) -> Result<Jsonb<'a>> {
    let value = needed(argument, value)?;
    if !value.root().is_object() {
        return Err(Error::bad_argument(
            format!("{argument} is no object but {}", value.kind()),
            "Wrap it: jsonb_build_object('value', …).",
        ));
    }
    payload_size(argument, value.bytes())?;
    Ok(value)
}

/// The size in bytes of a payload, against memory.max_payload_size.
pub fn payload_size(argument: &str, bytes: usize) -> Result<()> {
    let most = config::max_payload_size();
    if bytes > most {
        return Err(Error::bound_passed(
            format!("{argument} takes {bytes} bytes, more than memory.max_payload_size"),
            format!(
                "At most {most} bytes are taken: store a reference instead, or have a superuser raise the setting."
            ),
        ));
    }
    Ok(())
}

/// An unknown session, node or the like where one is required.
pub fn unknown(kind: &str, id: &str) -> Error {
    Error::unknown(
        format!("unknown {kind} {}", shown(id)),
        format!("There is no such {kind}, or the security context does not cover it."),
    )
}

raw_function!(check_needed, pg_finfo_check_needed, |call| {
    match needed(call.str(0).unwrap_or_default(), call.is_given(1).then_some(())) {
        Ok(()) => call.same(1),
        Err(error) => error.raise(),
    }
});

raw_function!(check_object, pg_finfo_check_object, |call| {
    let argument = call.str(0).unwrap_or_default();
    match object(argument, call.argument(1)) {
        Ok(value) => call.value(value),
        Err(error) => error.raise(),
    }
});

raw_function!(check_text, pg_finfo_check_text, |call| {
    let argument = call.str(0).unwrap_or_default();
    match text(argument, call.argument(1)) {
        Ok(value) => call.value(value),
        Err(error) => error.raise(),
    }
});

#[pg_extern(sql = false)]
fn check_positive(argument: Option<&str>, value: Option<i32>) -> std::result::Result<Option<i32>, ErrorReport> {
    Ok(Some(positive(argument.unwrap_or_default(), value)?))
}

#[pg_extern(sql = false)]
fn check_interval(
    argument: Option<&str>,
    value: Option<Interval>,
) -> std::result::Result<Option<Interval>, ErrorReport> {
    Ok(value
        .map(|value| interval(argument.unwrap_or_default(), value))
        .transpose()?)
}

#[pg_extern(sql = false)]
fn check_word(
    argument: Option<&str>,
    value: Option<&str>,
    words: Option<Array<'_, &str>>,
) -> std::result::Result<Option<String>, ErrorReport> {
    let words = needed("words", words)?;
    let words: Vec<&str> = words.iter().flatten().collect();
    match value {
        Some(value) if !words.contains(&value) => Err(Error::bad_argument(
            format!("{} {} is unknown", argument.unwrap_or_default(), shown(value)),
            format!("It is one of: {}.", words.join(", ")),
        )
        .into()),
        value => Ok(value.map(str::to_owned)),
    }
}

#[pg_extern(sql = false)]
fn check_found(found: Option<bool>, kind: Option<&str>, id: Option<&str>) -> std::result::Result<(), ErrorReport> {
    if found == Some(true) {
        return Ok(());
    }
    let kind = kind.unwrap_or_default();
    // The argument is named as what it is of: a "standing legal hold" is hold_id's.
    let argument = format!("{}_id", kind.rsplit(' ').next().unwrap_or(kind));
    Err(unknown(kind, needed(&argument, id)?).into())
}
