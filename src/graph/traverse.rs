//! Traversal, as SQL calls it.

use super::ground::{Node, TooMany};
use super::memory::Source;
use super::question::nodes;
use super::tables::Tables;
use super::walk::Walk;
use super::{Direction, check_depth, check_words};
use crate::access;
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::pg::call::{Call, StaticText};
use crate::pg::rows_out::Rows;
use crate::raw_function;
use crate::vocabulary::Vocabulary;

raw_function!(traverse, pg_finfo_traverse, |call| match answer(call) {
    Ok(()) => call.null(),
    Err(error) => error.raise(),
});

fn answer(call: Call) -> Result<()> {
    let subject = context::subject(call.str(8), call.str(9), Reach::Tenant)?;
    let start = nodes("start_nodes", call.argument(0))?;
    let depth = check_depth(call.argument(1))?;
    let most = check::positive("max_nodes", call.argument(6))?;
    let paths = check::needed("paths", call.argument(7))?;
    let mut tables = Tables::new(&subject, Direction::parse(call.str(2))?, call.argument(5));
    tables.kinds = check_words(Vocabulary::Relationship, "relationship_types", call.argument(3))?;
    tables.least_strength = least_strength(call.argument(4))?;
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
    let kinds: Vec<Vec<StaticText>> = walks
        .iter()
        .map(|walk| walk.kinds.iter().map(|kind| StaticText::new(kind)).collect())
        .collect();
    let mut rows = Rows::begin(call);
    for (of, place) in order(&walks) {
        let walk = &walks[of];
        let reached = walk.reached[place];
        rows.uuid(reached.node);
        rows.integer(reached.depth as i32);
        match reached.from {
            Some((parent, kind)) => {
                rows.uuid(walk.reached[parent as usize].node);
                rows.text(&kinds[of][kind as usize]);
            }
            None => {
                rows.null();
                rows.null();
            }
        }
        if paths {
            rows.uuids_from_the_end(reached.depth as usize + 1, walk.back(place));
        } else {
            rows.null();
        }
        rows.end_row();
    }
    rows.end();
    Ok(())
}

/// A walk through each user's graph that has some of the start nodes; `most` nodes in all.
fn walks(tables: &Tables, start: &[Node], depth: u32, most: usize) -> std::result::Result<Vec<Walk>, TooMany> {
    let mut left = most;
    let mut walks = Vec::new();
    for (graph, start) in tables.graphs(start) {
        let walk = Source::new(graph).walk(&start, depth, left)?;
        left -= walk.reached.len();
        walks.push(walk);
    }
    Ok(walks)
}

/// The rows, each by its walk and its place there, by depth and node. Where users have nodes with one id, the least depth stands,
/// then the smallest parent and type.
fn order(walks: &[Walk]) -> Box<dyn Iterator<Item = (usize, usize)> + '_> {
    let all = |walk: usize| (0..walks[walk].reached.len()).map(move |i| (walk, i));
    if walks.len() == 1 {
        return Box::new(all(0));
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
    Box::new(rows.into_iter())
}

/// Any number but NaN, which no strength reaches.
fn least_strength(given: Option<f32>) -> Result<f32> {
    let given = check::needed("min_strength", given)?;
    if given.is_nan() {
        return Err(Error::bad_argument("min_strength is NaN", "Give a number from 0 to 1."));
    }
    Ok(given)
}
