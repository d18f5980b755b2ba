//! Traversal, as SQL calls it.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ground::{Node, TooMany};
use super::question::nodes;
use super::tables::{Tables, uuid};
use super::walk::{self, Walk};
use super::{Direction, check_depth, check_words};
use crate::access;
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::vocabulary::Vocabulary;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn traverse(
    start_nodes: Option<Vec<Option<Uuid>>>,
    max_depth: Option<i32>,
    direction: Option<&str>,
    relationship_types: Option<Vec<Option<String>>>,
    min_strength: Option<f32>,
    as_of: Option<TimestampWithTimeZone>,
    max_nodes: Option<i32>,
    paths: Option<bool>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(node_id, Uuid),
            name!(depth, i32),
            name!(parent_id, Option<Uuid>),
            name!(relationship_type, Option<String>),
            name!(path, Option<Vec<Uuid>>),
        ),
    >,
    ErrorReport,
> {
    let subject = context::subject(tenant, user_id, Reach::Tenant)?;
    let start = nodes("start_nodes", start_nodes)?;
    let depth = check_depth(max_depth)?;
    let most = check::positive("max_nodes", max_nodes)?;
    let paths = check::needed("paths", paths)?;
    let mut tables = Tables::new(&subject, Direction::parse(direction)?, as_of);
    tables.kinds = check_words(Vocabulary::Relationship, "relationship_types", relationship_types)?;
    tables.least_strength = least_strength(min_strength)?;
    let walks = walks(&tables, &start, depth, most as usize).map_err(|TooMany| {
        Error::bound_passed(
            format!("the traversal reaches more than {most} nodes"),
            "Ask for fewer: a smaller max_depth, a greater min_strength, fewer relationship_types; or raise max_nodes.",
        )
    })?;
    access::note(
        "traverse",
        &subject,
        Some(walks.iter().map(|walk| walk.reached.len()).sum()),
    );
    let rows = order(&walks).into_iter().map(move |(walk, i)| {
        let walk = &walks[walk];
        let reached = walk.reached[i];
        let parent = reached.from.map(|(parent, _)| uuid(walk.reached[parent as usize].node));
        let kind = reached.from.map(|(_, kind)| walk.kinds[kind as usize].clone());
        let path = paths.then(|| walk.path(i).into_iter().map(uuid).collect());
        (uuid(reached.node), reached.depth as i32, parent, kind, path)
    });
    Ok(TableIterator::new(rows))
}

/// A walk through each user's graph that has some of the start nodes; `most` nodes in all.
fn walks(tables: &Tables, start: &[Node], depth: u32, most: usize) -> std::result::Result<Vec<Walk>, TooMany> {
    let mut left = most;
    let mut walks = Vec::new();
    for (mut graph, start) in tables.graphs(start) {
        let walk = walk::walk(&mut graph, &start, depth, left)?;
        left -= walk.reached.len();
        walks.push(walk);
    }
    Ok(walks)
}

/// The rows, each by its walk and its place there, by depth and node. Where users have nodes with one id, the least depth stands,
/// then the smallest parent and type.
fn order(walks: &[Walk]) -> Vec<(usize, usize)> {
    let all = |walk: usize| (0..walks[walk].reached.len()).map(move |i| (walk, i));
    if walks.len() == 1 {
        return all(0).collect();
    }
    let mut rows: Vec<(usize, usize)> = (0..walks.len()).flat_map(all).collect();
    rows.sort_by_cached_key(|&(walk, i)| {
        let (walk, reached) = (&walks[walk], &walks[walk].reached[i]);
        let from = reached
            .from
            .map(|(parent, kind)| (walk.reached[parent as usize].node, walk.kinds[kind as usize].as_str()));
        (reached.node, reached.depth, from)
    });
    rows.dedup_by_key(|(walk, i)| walks[*walk].reached[*i].node);
    rows.sort_by_key(|&(walk, i)| (walks[walk].reached[i].depth, walks[walk].reached[i].node));
    rows
}

/// Any number but NaN, which no strength reaches.
fn least_strength(given: Option<f32>) -> Result<f32> {
    let given = check::needed("min_strength", given)?;
    if given.is_nan() {
        return Err(Error::bad_argument("min_strength is NaN", "Give a number from 0 to 1."));
    }
    Ok(given)
}
