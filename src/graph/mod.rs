//! The knowledge graph: nodes, of which those that name an entity are stored once per user and merged, relationships
//! between them, and walks along these.
//!
//! Locks: every writer of nodes takes their row locks in the order of (user, entity_system, entity_id, node_id), every writer
//! of relationships first locks the nodes that they join (FOR KEY SHARE), in the same order, then the relationships in the order of
//! (user, from, to, type). So no two batches deadlock.

mod adjacency;
mod content;
mod draw;
mod explore;
mod ground;
mod memory;
mod merge;
mod node;
mod path;
mod place;
mod question;
mod rank;
mod relationship;
mod tables;
mod traverse;
mod walk;

use std::collections::HashSet;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::context::Subject;
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::Jsonb;
use crate::raw_function;
use crate::vocabulary::Vocabulary;
use ground::{Graph, Way};
use tables::Tables;

/// Which way relationships are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Out,
    In,
    Both,
}

impl Direction {
    pub fn parse(direction: Option<&str>) -> Result<Self> {
        match check::needed("direction", direction)? {
            "out" => Ok(Self::Out),
            "in" => Ok(Self::In),
            "both" => Ok(Self::Both),
            other => Err(Error::bad_argument(
                format!("direction {} is unknown", shown(other)),
                "It is out, in or both.",
            )),
        }
    }

    /// Where one comes from who goes this way.
    fn turned(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
            Self::Both => Self::Both,
        }
    }
}

/// How many steps a walk makes at most.
fn check_depth(max_depth: Option<i32>) -> Result<u32> {
    let depth = check::needed("max_depth", max_depth)?;
    u32::try_from(depth)
        .map_err(|_| Error::bad_argument(format!("max_depth is {depth}"), "Give a number of at least 0."))
}

/// A number from 0 to 1; NaN is none.
fn check_unit(argument: &str, value: f32) -> Result<f32> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(Error::bad_argument(
        format!("{argument} is {value}"),
        "Give a number from 0 to 1.",
    ))
}

raw_function!(merge_entity, pg_finfo_merge_entity, |call| {
    // Declared STRICT: no argument is NULL.
    let (Some(old), Some(new), Some(stores)) = (
        call.argument::<Jsonb<'_>>(0),
        call.argument::<Jsonb<'_>>(1),
        call.argument::<i64>(2),
    ) else {
        return call.null();
    };
    let merged = content::again(old, new, stores);
    match check::payload_size("the merged content", merged.bytes()) {
        Ok(()) => call.value(merged),
        Err(error) => error.raise(),
    }
});

raw_function!(holds_tags, pg_finfo_holds_tags, |call| {
    // Declared STRICT: no argument is NULL.
    let texts = |i| call.argument::<Vec<Option<String>>>(i).unwrap_or_default();
    let asked = texts(1);
    let mut missing: HashSet<&str> = HashSet::with_capacity(asked.len());
    for tag in &asked {
        pgrx::check_for_interrupts!();
        let Some(tag) = tag else {
            return call.value(false);
        };
        missing.insert(tag);
    }
    for tag in texts(0).iter().flatten() {
        pgrx::check_for_interrupts!();
        missing.remove(tag.as_str());
    }
    call.value(missing.is_empty())
});

/// Calls `visit` with each of a user's nodes and one that it is related to, in whatever direction and by whatever type, at `as_of`; once
/// per relationship, whether the other is seen or not.
pub fn related(subject: &Subject, as_of: TimestampWithTimeZone, nodes: &[u128], visit: &mut dyn FnMut(u128, u128)) {
    let mut tables = Tables::new(subject, Direction::Both, Some(as_of));
    tables.edges(Way::Along, nodes, &mut |edge| visit(edge.parent, edge.target));
}

#[pg_extern(sql = false)]
fn check_end(
    valid_from: Option<TimestampWithTimeZone>,
    valid_to: Option<TimestampWithTimeZone>,
) -> std::result::Result<TimestampWithTimeZone, ErrorReport> {
    let valid_from = check::needed("valid_from", valid_from)?;
    let valid_to = valid_to.unwrap_or_else(pgrx::datum::datetime_support::now);
    if valid_to < valid_from {
        return Err(Error::bad_argument(
            format!("valid_to {valid_to} is before valid_from {valid_from}"),
            "Something ends when it began or later; delete what never held.",
        )
        .into());
    }
    Ok(valid_to)
}

raw_function!(check_direction, pg_finfo_check_direction, |call| {
    let direction = call.str(0);
    match Direction::parse(direction) {
        Ok(_) => call.value(direction),
        Err(error) => error.raise(),
    }
});

#[pg_extern(sql = false)]
fn check_context_types(
    context_types: Option<Vec<Option<String>>>,
) -> std::result::Result<Option<Vec<String>>, ErrorReport> {
    Ok(self::context_types(context_types)?)
}

/// The context types to filter by, checked; None stands for all.
pub fn context_types(given: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    check_words(Vocabulary::Context, "context_types", given)
}

/// Words to filter by; NULL stands for all, but not inside the array.
fn check_words(
    vocabulary: Vocabulary,
    argument: &str,
    words: Option<Vec<Option<String>>>,
) -> Result<Option<Vec<String>>> {
    let Some(words) = words else {
        return Ok(None);
    };
    let check = |word: Option<String>| {
        pgrx::check_for_interrupts!();
        let word = check::element(argument, word)?;
        vocabulary.check(&word)?;
        Ok(word)
    };
    words.into_iter().map(check).collect::<Result<_>>().map(Some)
}
