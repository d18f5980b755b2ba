//! Filtering before ranking. Both legs of a search put every node of the scope in an order first, by what an index holds; this asks
//! the nodes themselves, in that order, until enough of them pass. That gives what filtering first and ranking what is left would give,
//! whatever the share that passes, and reads few nodes where most do.
//!
//! The nodes are read under row-level security, with the caller's privileges: what does not pass here is not in the answer.

use std::rc::Rc;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;

use crate::check;
use crate::context::Subject;
use crate::error::{Error, Result, Situation, shown};
use crate::graph;
use crate::pg::catalog::TableName;
use crate::pg::jsonb::Jsonb;
use crate::pg::range::{self, Place};
use crate::pg::rows::Query;
use crate::pg::{array, time};

/// The nodes `n` that stand at the places $4, and their numbers `c.number`, in the scope $1 to $3: the end of a statement's FROM. By places, so
/// that no plan reads more than these, whatever statistics there are.
macro_rules! nodes_at {
    ($columns:literal, $conditions:literal) => {
        concat!(
            " unnest($4) WITH ORDINALITY AS c (place, number) CROSS JOIN LATERAL (SELECT ",
            $columns,
            " FROM memory.nodes AS n
              WHERE n.ctid = c.place AND n.tenant_id = $1 AND n.user_id BETWEEN $2 AND $3 ",
            $conditions,
            " OFFSET 0) AS n "
        )
    };
}
pub(super) use nodes_at;

thread_local! {
    static NODES: TableName = const { TableName::new(c"nodes", [c"nodes_pkey", c"nodes_pkey"]) };
    static PASSING: Query = const {
        Query::new(
            concat!(
                "SELECT c.number FROM",
                nodes_at!(
                    "",
                    "AND n.valid_from <= $5 AND (n.valid_to IS NULL OR n.valid_to > $5)
                     AND (n.expires_at IS NULL OR n.expires_at > $5)
                     AND ($6 IS NULL OR n.context_type = ANY ($6)) AND ($7 IS NULL OR CASE
                         WHEN cardinality(n.tags)::bigint * cardinality($7) <= 100000 THEN n.tags @> $7
                         ELSE memory.holds_tags(n.tags, $7) END)
                     AND ($8 IS NULL OR n.tier = ANY ($8)) AND ($9 IS NULL OR n.content @> $9)"
                )
            ),
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TIDARRAYOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::JSONBOID,
            ],
        )
    };
}

/// Where nodes stand, for a statement with `nodes_at!`.
pub struct Found {
    /// By the numbers that the statement gives, from 1: which of the keys that were asked for.
    keys: Vec<usize>,
    places: Vec<Place>,
}

impl Found {
    /// The place among the keys of what the statement gives this number.
    pub fn key(&self, number: i64) -> usize {
        self.keys[number as usize - 1]
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The first parameters of the statement.
    pub fn arguments<'a>(&self, scope: &'a Subject) -> [DatumWithOid<'a>; 4] {
        let (low, high) = scope.users();
        let tenant = Uuid::from_bytes(scope.tenant);
        [tenant.into(), low.into(), high.into(), array::places(&self.places)]
    }
}

/// What a caller asks of nodes, as `memory.search` has its arguments; None asks nothing.
#[derive(Default)]
pub struct Asked<'a> {
    /// Any of them.
    pub context_types: Option<Vec<Option<String>>>,
    /// All of them.
    pub tags: Option<Vec<Option<String>>>,
    /// Any of them.
    pub tiers: Option<Vec<Option<String>>>,
    /// What content contains (@>).
    pub content: Option<Jsonb<'a>>,
    /// When; None: now.
    pub as_of: Option<TimestampWithTimeZone>,
}

/// A filter of the nodes of a scope: valid and not expired at an instant, and what was asked.
pub struct Filter<'a> {
    scope: &'a Subject,
    context_types: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    tiers: Option<Vec<String>>,
    content: Option<Jsonb<'a>>,
    as_of: TimestampWithTimeZone,
}

/// A node of the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key<'a> {
    pub user: &'a str,
    /// Its id, as the number that orders the same way.
    pub node: u128,
}

/// A node that a leg found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub user: Rc<str>,
    /// Its id, as the number that orders the same way.
    pub node: u128,
    /// Greater is better, as the leg has it.
    pub score: f64,
}

impl<'a> Filter<'a> {
    /// Raises 22023 for an unknown context type or tier, and for what is no object; 22004 for a NULL in an array.
    pub fn new(scope: &'a Subject, asked: Asked<'a>) -> Result<Self> {
        let tier = |tier: String| match tier.as_str() {
            "private" | "shared" | "consensus" => Ok(tier),
            _ => Err(Error::bad_argument(
                format!("tier {} is unknown", shown(&tier)),
                "It is private, shared or consensus.",
            )),
        };
        let content = |content: Jsonb<'a>| {
            check::object("filter", Some(content)).map_err(|error| match error.situation {
                // What is wrapped would be looked for under a key that no content has.
                Situation::BadArgument => Error::bad_argument(
                    error.message,
                    "Give keys and values that content has: '{\"key\": \"value\"}'.",
                ),
                _ => error,
            })
        };
        Ok(Self {
            scope,
            context_types: graph::context_types(asked.context_types)?,
            tags: texts("tags", asked.tags, Ok)?,
            tiers: texts("tiers", asked.tiers, tier)?,
            content: asked.content.map(content).transpose()?,
            as_of: asked.as_of.unwrap_or_else(time::statement_start),
        })
    }

    pub fn scope(&self) -> &'a Subject {
        self.scope
    }

    pub fn as_of(&self) -> TimestampWithTimeZone {
        self.as_of
    }

    /// Where the nodes stand, for a statement that reads them as the caller; what is not in the scope is left out.
    pub fn find(&self, keys: &[Key<'_>]) -> Found {
        let (low, high) = self.scope.users();
        let found = NODES.with(TableName::find).map_or_else(Vec::new, |table| {
            let keys = keys.iter().map(|key| (key.user, key.node));
            range::find(table.oid, table.indexes[0], self.scope.tenant, keys)
        });
        let inside = |(key, _): &(usize, Place)| (low..=high).contains(&keys[*key].user);
        let (keys, places) = found.into_iter().filter(inside).unzip();
        Found { keys, places }
    }

    /// Whether each of the nodes passes; what is not there does not. One statement, some 3 µs per node.
    pub fn passing(&self, keys: &[Key<'_>]) -> Vec<bool> {
        let mut passes = vec![false; keys.len()];
        if keys.is_empty() {
            return passes;
        }
        let found = self.find(keys);
        let conditions: [DatumWithOid<'_>; 5] = [
            self.as_of.into(),
            self.context_types.clone().into(),
            self.tags.clone().into(),
            self.tiers.clone().into(),
            self.content.into(),
        ];
        let arguments: Vec<DatumWithOid<'_>> = found.arguments(self.scope).into_iter().chain(conditions).collect();
        PASSING.with(|query| query.each(&arguments, &mut |row| passes[found.key(row.bigint(0))] = true));
        passes
    }

    /// The places of the first `most` that pass, in their order; fewer where no more do.
    pub fn first(&self, keys: &[Key<'_>], most: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for chunk in Chunks::new(keys.len(), most) {
            pgrx::check_for_interrupts!();
            let passes = self.passing(&keys[chunk.clone()]);
            found.extend(chunk.zip(passes).filter_map(|(place, passes)| passes.then_some(place)));
            if found.len() >= most {
                found.truncate(most);
                break;
            }
        }
        found
    }
}

/// How many are asked at once: a few more than are wanted, then twice as many each time.
pub struct Chunks {
    next: usize,
    end: usize,
    size: usize,
}

impl Chunks {
    /// The most that one statement asks for.
    const MOST: usize = 16_384;

    pub fn new(count: usize, wanted: usize) -> Self {
        Self {
            next: 0,
            end: count,
            size: wanted.saturating_add(wanted / 4).clamp(16, Self::MOST),
        }
    }
}

impl Iterator for Chunks {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let start = self.next;
        self.next = self.end.min(start.saturating_add(self.size));
        self.size = (2 * self.size).min(Self::MOST);
        Some(start..self.next)
    }
}

/// The texts of an array without NULLs, each checked.
fn texts(
    argument: &str,
    given: Option<Vec<Option<String>>>,
    check: impl Fn(String) -> Result<String>,
) -> Result<Option<Vec<String>>> {
    let text = |text: Option<String>| {
        pgrx::check_for_interrupts!();
        check(check::element(argument, text)?)
    };
    given
        .map(|texts| texts.into_iter().map(text).collect::<Result<_>>())
        .transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Chunks;

    proptest! {
        #[test]
        fn chunks_cover_everything_once_and_in_order(count in 0usize..100_000, wanted in 0usize..100_000) {
            let mut next = 0;
            for chunk in Chunks::new(count, wanted) {
                prop_assert_eq!(chunk.start, next);
                prop_assert!(chunk.end > chunk.start && chunk.len() <= Chunks::MOST);
                next = chunk.end;
            }
            prop_assert_eq!(next, count);
        }
    }

    #[test]
    fn the_first_chunk_has_what_is_wanted_and_some() {
        let first = |wanted| Chunks::new(1_000_000, wanted).next().unwrap().len();
        assert_eq!((first(1), first(100), first(usize::MAX)), (16, 125, Chunks::MOST));
        let sizes: Vec<usize> = Chunks::new(1_000, 100).map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [125, 250, 500, 125]);
    }
}
