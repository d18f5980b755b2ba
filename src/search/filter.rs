//! Filtering before ranking. Both legs of a search put every node of the scope in an order first, by what an index holds; this asks
//! the nodes themselves, in that order, until enough of them pass. That gives what filtering first and ranking what is left would give,
//! whatever the share that passes, and reads few nodes where most do.
//!
//! The nodes are read under row-level security, with the caller's privileges: what does not pass here is not in the answer.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;

use crate::check;
use crate::context::Subject;
use crate::error::{Error, Result, shown};
use crate::graph;
use crate::pg::jsonb::Jsonb;
use crate::pg::rows::Query;
use crate::pg::{array, time};

thread_local! {
    // By an array, not node by node: where the planner knows nothing of the table yet it may read all nodes of the user, but once.
    static PASSING: Query = const {
        Query::new(
            "SELECT n.node_id, n.user_id FROM memory.nodes AS n
             WHERE n.tenant_id = $1 AND n.user_id BETWEEN $2 AND $3 AND n.node_id = ANY ($4)
                 AND n.valid_from <= $5 AND (n.valid_to IS NULL OR n.valid_to > $5)
                 AND (n.expires_at IS NULL OR n.expires_at > $5)
                 AND ($6 IS NULL OR n.context_type = ANY ($6)) AND ($7 IS NULL OR n.tags @> $7)
                 AND ($8 IS NULL OR n.tier = ANY ($8)) AND ($9 IS NULL OR n.content @> $9)",
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDARRAYOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::JSONBOID,
            ],
        )
    };
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

#[allow(dead_code)] // some for the lexical leg
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
        let content = |content: Jsonb<'a>| check::object("filter", Some(content));
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

    /// Whether each of the nodes passes; what is not there does not. One statement, some 2 µs per node.
    pub fn passing(&self, keys: &[Key<'_>]) -> Vec<bool> {
        let mut passes = vec![false; keys.len()];
        if keys.is_empty() {
            return passes;
        }
        let (low, high) = self.scope.users();
        let nodes: Vec<u128> = keys.iter().map(|key| key.node).collect();
        let arguments: [DatumWithOid<'_>; 9] = [
            Uuid::from_bytes(self.scope.tenant).into(),
            low.into(),
            high.into(),
            array::uuids(&nodes),
            self.as_of.into(),
            self.context_types.clone().into(),
            self.tags.clone().into(),
            self.tiers.clone().into(),
            self.content.into(),
        ];
        // In one user's scope an id says whose it is.
        let owner = |user| if low == high { "" } else { user };
        let places: HashMap<(u128, &str), usize> = keys
            .iter()
            .enumerate()
            .map(|(place, key)| ((key.node, owner(key.user)), place))
            .collect();
        PASSING.with(|query| {
            query.each(&arguments, &mut |row| {
                let user = if low == high { "" } else { row.text(1) };
                if let Some(place) = places.get(&(row.uuid(0), user)) {
                    passes[*place] = true;
                }
            });
        });
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
        check(check::needed(&format!("an element of {argument}"), text)?)
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
