//! The vector leg of a search: of all nodes in the scope that pass the filter, the nearest.
//!
//! Small scopes are read whole, exactly. A user's vectors lie together in an index of the space, in eight bits per dimension (`code`), and a
//! backend keeps those of the users it searched last in memory (`listed`): one pass over them bounds every score, then the nodes are asked whether they pass and the vectors of those that do are read in full, best
//! bounds first, until no other can be nearer (`nearest`). The answer is that of reading all vectors in full.
//!
//! Of a user with many vectors, those that index_embeddings() has moved are in an HNSW index instead, one for the space. It gives the
//! about nearest of them, some more than are asked for, and these join what was read; where too few pass the filter it gives more, and in the end
//! all of the scope's are read. So what is moved is a matter of speed, and of recall, never of whether a row is seen.
//!
//! Both read beyond row-level security (see `pg::range`): for the tenant and users that `context::subject` let through, who may SELECT
//! from the space. They only order: whatever is in the answer has passed a `Filter`, which reads the nodes as the caller.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::code::Query;
use super::filter::{Asked, Filter, Hit, Key};
use super::listed::{self, Listed};
use super::nearest::{Source, nearest};
use super::space::{Space, Use};
use crate::access;
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::Jsonb;
use crate::pg::range::{self, Place, Range};
use crate::pg::vector::{Form, Sought, Vector, numbers};

/// The columns of the index of codes, and of that of the key.
const USER: usize = 1;
pub(super) const NODE: usize = 2;
pub(super) const CODE: usize = 4;
/// How many nodes are looked at between two looks for a cancel: 50 µs or so.
const PAUSE: usize = 1024;
/// Columns of a space's table, counted from 1.
mod column {
    pub const TENANT: usize = 1;
    pub const USER: usize = 2;
    pub const NODE: usize = 3;
    pub const EMBEDDING: usize = 6;
}

/// Nodes of a scope, each with its vectors, one to four of them, by numbers in the order of their keys; those that an HNSW index gave
/// come after the others.
#[derive(Default)]
struct Candidates {
    users: Vec<Rc<str>>,
    /// The user's number, the node, the place of its first vector in `places`.
    nodes: Vec<(u32, u128, u32)>,
    places: Vec<Place>,
    /// What a node's best score does not exceed.
    most: Vec<f64>,
    /// Vectors of nodes that were there already.
    more: HashMap<usize, Vec<Place>>,
}

impl Candidates {
    /// What an index of keys holds of the range; where it has codes, with their bounds.
    fn read(space: &Space, index: pg_sys::Oid, range: &Range<'_>, query: &Query<'_>) -> Self {
        let has_codes = index == space.codes;
        if has_codes && let Some(found) = listed::of_user(space, range, |listed| Self::of(range.users.0, listed, query))
        {
            return found;
        }
        let mut found = Self::default();
        range::each(space.table, index, range, &mut |row, place| {
            let code = if has_codes { row.optional_bytes(CODE) } else { None };
            let most = code.and_then(|code| query.most(code)).unwrap_or(f64::INFINITY);
            let user = found.user(row.text(USER));
            let node = row.uuid(NODE);
            match found.nodes.last() {
                Some(&(of, last, _)) if of == user && last == node => {
                    let best = found.most.last_mut().expect("one per node");
                    *best = best.max(most);
                    found.places.push(place);
                }
                _ => found.push(user, node, most, place),
            }
            true
        });
        found
    }

    /// Those of a user, from memory.
    fn of(user: &str, listed: &Listed, query: &Query<'_>) -> Self {
        let mut found = Self {
            users: vec![user.into()],
            nodes: Vec::with_capacity(listed.nodes.len()),
            places: listed.places.clone(),
            most: Vec::with_capacity(listed.nodes.len()),
            more: HashMap::new(),
        };
        for (i, &(node, first)) in listed.nodes.iter().enumerate() {
            if i % PAUSE == 0 {
                pgrx::check_for_interrupts!();
            }
            let end = listed
                .nodes
                .get(i + 1)
                .map_or(listed.places.len(), |next| next.1 as usize);
            let bounds = (first as usize..end).map(|vector| listed.bound(vector, query));
            found.most.push(bounds.fold(f64::NEG_INFINITY, f64::max));
            found.nodes.push((0, node, first));
        }
        found
    }

    fn user(&mut self, user: &str) -> u32 {
        if self.users.last().is_none_or(|last| **last != *user) {
            self.users.push(user.into());
        }
        self.users.len() as u32 - 1
    }

    fn push(&mut self, user: u32, node: u128, most: f64, place: Place) {
        self.nodes.push((user, node, self.places.len() as u32));
        self.most.push(most);
        self.places.push(place);
    }

    /// Adds what the HNSW index has of the range, about nearest first, `wanted` vectors at most; gives whether it has more.
    fn add_near(
        &mut self,
        space: &Space,
        near: (pg_sys::Oid, Form),
        range: &Range<'_>,
        query: &Query<'_>,
        wanted: usize,
    ) -> bool {
        let mut known: HashMap<(Rc<str>, u128), usize> = HashMap::new();
        let (low, high) = range.users;
        // Those that were read are found among these by search, as they are in order.
        let read = self.nodes.len();
        let mut taken = 0;
        let (index, form) = near;
        let sought = Sought::new(form, query.vector());
        range::nearest(space.table, index, &sought, wanted, &mut |row| {
            let user = row.text(column::USER);
            if row.uuid(column::TENANT) != u128::from_be_bytes(range.tenant) || user < low || user > high {
                return true;
            }
            let node = row.uuid(column::NODE);
            let score = row.with_bytes(column::EMBEDDING, |bytes| {
                numbers(bytes).map(|numbers| query.score(numbers))
            });
            let score = score.unwrap_or(f64::INFINITY);
            let key = (Rc::<str>::from(user), node);
            let before = known.get(&key).copied().or_else(|| self.position(&key.0, node, read));
            let candidate = match before {
                Some(candidate) => {
                    self.most[candidate] = self.most[candidate].max(score);
                    self.more.entry(candidate).or_default().push(row.place);
                    candidate
                }
                None => {
                    let user = self.user(user);
                    self.push(user, node, score, row.place);
                    self.nodes.len() - 1
                }
            };
            known.insert(key, candidate);
            taken += 1;
            taken < wanted
        });
        taken == wanted
    }

    /// The place of a node among the first `read`.
    fn position(&self, user: &str, node: u128, read: usize) -> Option<usize> {
        self.nodes[..read]
            .binary_search_by(|&(of, other, _)| self.users[of as usize].as_ref().cmp(user).then(other.cmp(&node)))
            .ok()
    }

    fn key(&self, candidate: usize) -> Key<'_> {
        let (user, node, _) = self.nodes[candidate];
        Key {
            user: &self.users[user as usize],
            node,
        }
    }

    /// Where the vectors of a node are.
    fn places(&self, candidate: usize) -> impl Iterator<Item = Place> {
        let start = self.nodes[candidate].2 as usize;
        let next = self.nodes.get(candidate + 1);
        let end = next.map_or(self.places.len(), |next| next.2 as usize);
        let more = self.more.get(&candidate).map_or(&[][..], Vec::as_slice);
        self.places[start..end].iter().chain(more).copied()
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
    /// The best of a node's vectors.
    fn scores(&mut self, asked: &[usize]) -> Vec<f64> {
        let mut scores = vec![f64::NEG_INFINITY; asked.len()];
        let (mut of, mut places) = (Vec::new(), Vec::new());
        for (i, &candidate) in asked.iter().enumerate() {
            for place in self.candidates.places(candidate) {
                of.push(i);
                places.push(place);
            }
        }
        let (table, key) = (self.space.table, self.space.key);
        range::fetch(table, key, places, column::EMBEDDING, &mut |row, bytes| {
            if let Some(numbers) = numbers(bytes).filter(|numbers| numbers.len() == self.query.dimensions()) {
                let best = &mut scores[of[row]];
                *best = best.max(self.query.score(numbers));
            }
        });
        scores
    }

    fn passing(&mut self, asked: &[usize]) -> Vec<bool> {
        let keys: Vec<Key<'_>> = asked.iter().map(|&i| self.candidates.key(i)).collect();
        self.filter.passing(&keys)
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
    let scope = filter.scope();
    let range = Range {
        tenant: scope.tenant,
        users: scope.users(),
        third: None,
    };
    let best = |candidates: &Candidates| {
        let mut rows = Rows {
            space,
            filter,
            query: &query,
            candidates,
        };
        nearest(&candidates.most, pool, &mut rows)
    };
    let mut candidates = Candidates::read(space, space.codes, &range, &query);
    let mut found;
    match space.near.filter(|_| is_large(space, &range)) {
        None => found = best(&candidates),
        Some(near) => {
            let mut wanted = LEAST_NEAR.max(pool.saturating_mul(2));
            loop {
                let more = candidates.add_near(space, near, &range, &query, wanted);
                found = best(&candidates);
                if found.len() >= pool {
                    break;
                }
                if !more || wanted > MOST_NEAR {
                    // Hardly anything passes: all are asked, as of a small scope.
                    candidates = Candidates::read(space, space.key, &range, &query);
                    found = best(&candidates);
                    break;
                }
                wanted *= 4;
                candidates = Candidates::read(space, space.codes, &range, &query);
            }
        }
    }
    let mut hits: Vec<Hit> = found
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

/// How many vectors an HNSW index is asked for first, and after how many it is given up.
const LEAST_NEAR: usize = 64;
const MOST_NEAR: usize = 3_000;

/// Whether somebody's vectors of the range are in the HNSW index.
fn is_large(space: &Space, range: &Range<'_>) -> bool {
    let mut found = false;
    range::each(space.table, space.large, range, &mut |_, _| {
        found = true;
        false
    });
    found
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
    access::note("nearest_nodes", &scope, Some(hits.len()));
    let row = |hit: Hit| (Uuid::from_bytes(hit.node.to_be_bytes()), hit.score);
    Ok(TableIterator::new(hits.into_iter().map(row).collect::<Vec<_>>()))
}
