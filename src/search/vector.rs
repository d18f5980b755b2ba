//! The vector leg of a search: of all nodes in the scope that pass the filter, the nearest.
//!
//! Small scopes are read whole, exactly. A user's vectors lie together in the index of the space's primary key, in eight bits per
//! dimension (`code`): one pass over them bounds every score, then the nodes are asked whether they pass and the vectors of those that do are
//! read in full, best bounds first, until no other can be nearer (`nearest`). The answer is that of reading all vectors in full.
//!
//! The pass reads beyond row-level security (see `pg::range`): for the tenant and users that `context::subject` let through, who may SELECT
//! from the space. It only orders: whatever is in the answer has passed a `Filter`, which reads the nodes as the caller.

use std::rc::Rc;

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::code::Query;
use super::filter::{Asked, Filter, Hit, Key};
use super::nearest::{Source, nearest};
use super::space::{Space, Use};
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::Jsonb;
use crate::pg::range::{self, Place, Range};
use crate::pg::vector::{Vector, numbers};

/// The columns of the key's index.
const USER: usize = 1;
const NODE: usize = 2;
const CODE: usize = 4;
/// The column of the vector in a space's table, counted from 1.
const EMBEDDING: usize = 6;

/// The nodes of a scope, each with its vectors, one to four of them, by numbers in the order of their keys.
#[derive(Default)]
struct Candidates {
    users: Vec<Rc<str>>,
    /// The user's number, the node, the place of its first vector in `places`.
    nodes: Vec<(u32, u128, u32)>,
    places: Vec<Place>,
    /// What a node's best score does not exceed.
    most: Vec<f64>,
}

impl Candidates {
    fn read(space: &Space, filter: &Filter<'_>, query: &Query<'_>) -> Self {
        let scope = filter.scope();
        let range = Range {
            tenant: scope.tenant,
            users: scope.users(),
            third: None,
        };
        let mut found = Self::default();
        range::each(space.table, space.key, &range, &mut |entry| {
            let user = entry.text(USER);
            if found.users.last().is_none_or(|last| **last != *user) {
                found.users.push(user.into());
            }
            let user = found.users.len() as u32 - 1;
            let node = entry.uuid(NODE);
            let most = entry
                .bytes(CODE)
                .and_then(|code| query.most(code))
                .unwrap_or(f64::INFINITY);
            match found.nodes.last() {
                Some(&(of, last, _)) if of == user && last == node => {
                    let best = found.most.last_mut().expect("one per node");
                    *best = best.max(most);
                }
                _ => {
                    found.nodes.push((user, node, found.places.len() as u32));
                    found.most.push(most);
                }
            }
            found.places.push(entry.place);
            true
        });
        found
    }

    fn key(&self, candidate: usize) -> Key<'_> {
        let (user, node, _) = self.nodes[candidate];
        Key {
            user: &self.users[user as usize],
            node,
        }
    }

    /// Where the vectors of a node are.
    fn places(&self, candidate: usize) -> &[Place] {
        let start = self.nodes[candidate].2 as usize;
        let end = self
            .nodes
            .get(candidate + 1)
            .map_or(self.places.len(), |next| next.2 as usize);
        &self.places[start..end]
    }
}

/// What the candidates' rows say of them.
struct Rows<'a> {
    space: &'a Space,
    filter: &'a Filter<'a>,
    query: &'a Query<'a>,
    candidates: &'a Candidates,
}

impl Source for Rows<'_> {
    fn scores(&mut self, asked: &[usize]) -> Vec<Option<f64>> {
        let keys: Vec<Key<'_>> = asked.iter().map(|&i| self.candidates.key(i)).collect();
        let passes = self.filter.passing(&keys);
        let mut scores: Vec<Option<f64>> = vec![None; asked.len()];
        let (mut of, mut places) = (Vec::new(), Vec::new());
        for (i, &candidate) in asked.iter().enumerate().filter(|&(i, _)| passes[i]) {
            for place in self.candidates.places(candidate) {
                of.push(i);
                places.push(*place);
            }
        }
        range::fetch(
            self.space.table,
            self.space.key,
            places,
            EMBEDDING,
            &mut |row, bytes| {
                let score = numbers(bytes)
                    .filter(|numbers| numbers.len() == self.query.dimensions())
                    .map(|numbers| self.query.score(numbers));
                let best = &mut scores[of[row]];
                *best = match (*best, score) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
            },
        );
        scores
    }
}

/// The `pool` nearest nodes that pass, nearest first, each once, by the best of its vectors (a score is the cosine of the angle, the negative
/// Euclidean distance, or the inner product); ties go to the smaller node id. `query` has
/// been checked (`Space::check`). Costs some 0.3 µs per vector in the scope, and 3 µs per node that is asked.
pub fn leg(filter: &Filter<'_>, space: &Space, query: &[f32], pool: usize) -> Result<Vec<Hit>> {
    if !range::may_read(space.table) {
        return Err(Error::not_allowed(
            format!("the role may not read the embeddings of model {}", shown(&space.model)),
            "A superuser grants it: SELECT memory.grant_access('<role>', 'app').",
        ));
    }
    let query = Query::new(space.distance, query);
    let candidates = Candidates::read(space, filter, &query);
    let mut rows = Rows {
        space,
        filter,
        query: &query,
        candidates: &candidates,
    };
    let mut hits: Vec<Hit> = nearest(&candidates.most, pool, &mut rows)
        .into_iter()
        .map(|(candidate, score)| {
            let (user, node, _) = candidates.nodes[candidate];
            Hit {
                user: Rc::clone(&candidates.users[user as usize]),
                node,
                score,
            }
        })
        .collect();
    hits.sort_by(|a, b| {
        let ties = || a.node.cmp(&b.node).then_with(|| a.user.cmp(&b.user));
        b.score.total_cmp(&a.score).then_with(ties)
    });
    Ok(hits)
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn nearest_nodes(
    embedding: Option<Vector<'_>>,
    model: Option<&str>,
    context_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<Option<String>>>,
    tiers: Option<Vec<Option<String>>>,
    filter: Option<Jsonb<'_>>,
    as_of: Option<TimestampWithTimeZone>,
    max_results: Option<i32>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<TableIterator<'static, (name!(node_id, Uuid), name!(score, f64))>, ErrorReport> {
    let scope = context::subject(tenant, user_id, Reach::Tenant)?;
    let embedding = check::needed("embedding", embedding)?;
    let space = Space::find(model, Use::Read)?;
    space.check("embedding", embedding.numbers())?;
    let asked = Asked {
        context_types,
        tags,
        tiers,
        content: filter,
        as_of,
    };
    let filter = Filter::new(&scope, asked)?;
    let most = check::positive("max_results", max_results)?;
    let hits = leg(&filter, &space, embedding.numbers(), most as usize)?;
    let row = |hit: Hit| (Uuid::from_bytes(hit.node.to_be_bytes()), hit.score);
    Ok(TableIterator::new(hits.into_iter().map(row).collect::<Vec<_>>()))
}
