//! Paths, ranking and drawings, as SQL calls them.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::draw::{self, Arrow, Drawing, Drawn};
use super::explore::{self, MOST_EDGES};
use super::ground::{Node, TooMany};
use super::memory::Source;
use super::path::{self, Step};
use super::rank::{self, NoEnd, Subgraph};
use super::tables::{Tables, node, uuid};
use super::{Direction, check_depth, check_words, walk};
use crate::access;
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::vocabulary::Vocabulary;

/// How many nodes are ranked at most.
const MOST_RANKED: usize = 100_000;

/// How many nodes are drawn at most, and how many relationships: more than anybody can look at.
const MOST_DRAWN: usize = 100_000;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn shortest_path(
    from_node_id: Option<Uuid>,
    to_node_id: Option<Uuid>,
    max_depth: Option<i32>,
    weighted: Option<bool>,
    direction: Option<&str>,
    relationship_types: Option<Vec<Option<String>>>,
    as_of: Option<TimestampWithTimeZone>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(node_id, Uuid),
            name!(relationship_type, Option<String>),
            name!(cost, f64),
        ),
    >,
    ErrorReport,
> {
    let subject = context::subject(tenant, user_id, Reach::Tenant)?;
    let from = node(check::needed("from_node_id", from_node_id)?);
    let to = node(check::needed("to_node_id", to_node_id)?);
    let depth = check_depth(max_depth)?;
    let weighted = check::needed("weighted", weighted)?;
    let mut tables = Tables::new(&subject, Direction::parse(direction)?, as_of);
    tables.kinds = check_words(Vocabulary::Relationship, "relationship_types", relationship_types)?;
    if weighted {
        tables.least_strength = f32::from_bits(1);
    }
    let mut best: Option<Vec<Step>> = None;
    for (graph, _) in tables.graphs(&[from]) {
        let mut graph = Source::new(graph);
        let path = path::shortest(&mut graph, from, to, depth, weighted).map_err(|TooMany| {
            Error::bound_passed(
                format!("the search reads more than {MOST_EDGES} relationships"),
                "Ask for less: a smaller max_depth, fewer relationship_types.",
            )
        })?;
        if let Some(path) = path
            && best.as_ref().is_none_or(|best| rank_of(&path) < rank_of(best))
        {
            best = Some(path);
        }
    }
    let best = best.unwrap_or_default();
    access::note("shortest_path", &subject, Some(best.len()));
    let rows = best.into_iter().enumerate();
    Ok(TableIterator::new(
        rows.map(|(i, step)| (i as i32, uuid(step.node), step.kind, step.cost)),
    ))
}

/// Between the rounds of work that calls nothing of PostgreSQL's.
fn pause() {
    pgrx::check_for_interrupts!();
}

/// Paths of several users through nodes with the same ids compare as those of one.
fn rank_of(path: &[Step]) -> (f64, usize, Vec<Node>, Vec<Option<&str>>) {
    (
        path.last().map_or(0.0, |step| step.cost),
        path.len(),
        path.iter().map(|step| step.node).collect(),
        path.iter().map(|step| step.kind.as_deref()).collect(),
    )
}

#[pg_extern(sql = false)]
fn rank_related(
    seed_nodes: Option<Vec<Option<Uuid>>>,
    max_results: Option<i32>,
    damping: Option<f32>,
    max_depth: Option<i32>,
    direction: Option<&str>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<TableIterator<'static, (name!(node_id, Uuid), name!(score, f64))>, ErrorReport> {
    let subject = context::subject(tenant, user_id, Reach::Tenant)?;
    let seeds = nodes("seed_nodes", seed_nodes)?;
    let most = check::positive("max_results", max_results)?;
    let damping = check_damping(damping)?;
    let depth = check_depth(max_depth)?;
    let tables = Tables::new(&subject, Direction::parse(direction)?, None);
    let mut whole = Subgraph::default();
    for (graph, seeds) in tables.graphs(&seeds) {
        let mut graph = Source::new(graph);
        let left = (MOST_RANKED - whole.nodes.len(), MOST_EDGES - whole.links.len());
        let part = explore::around(&mut graph, &seeds, depth, left.0, left.1).map_err(|TooMany| {
            Error::bound_passed(
                format!(
                    "more than {MOST_RANKED} nodes or {MOST_EDGES} relationships are within max_depth of the seeds"
                ),
                "Ask for fewer: a smaller max_depth, fewer seed_nodes.",
            )
        })?;
        whole.add(part);
    }
    let scores = rank::rank(&whole, damping, &mut pause).map_err(|NoEnd| {
        Error::bound_passed(
            format!("the scores do not settle with a damping of {damping}"),
            "The nearer to 1, the longer it takes: 0.85 is usual, 0.99 still settles.",
        )
    })?;
    let best = rank::best(&whole.nodes, &scores, most as usize);
    access::note("rank_related", &subject, Some(best.len()));
    let rows = best.into_iter();
    Ok(TableIterator::new(rows.map(|(node, score)| (uuid(node), score))))
}

/// The damping as it was written: the real nearest to 0.85 is 0.8500000238, and so far off would the scores be.
fn check_damping(damping: Option<f32>) -> Result<f64> {
    let damping = check::needed("damping", damping)?;
    let damping: f64 = damping.to_string().parse().unwrap_or(f64::NAN);
    if (0.0..1.0).contains(&damping) {
        return Ok(damping);
    }
    Err(Error::bad_argument(
        format!("damping is {damping}"),
        "Give a number from 0 to below 1: how probable it is that a walk goes on.",
    ))
}

/// The nodes that an array names; NULL names none.
pub fn nodes(argument: &str, given: Option<Vec<Option<Uuid>>>) -> Result<Vec<Node>> {
    Ok(check::needed(argument, given)?
        .into_iter()
        .flatten()
        .map(node)
        .collect())
}

#[pg_extern(sql = false)]
fn graph_dot(
    start_nodes: Option<Vec<Option<Uuid>>>,
    max_depth: Option<i32>,
    direction: Option<&str>,
    max_nodes: Option<i32>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<String, ErrorReport> {
    Ok(drawn(
        draw::dot,
        start_nodes,
        max_depth,
        direction,
        max_nodes,
        (tenant, user_id),
    )?)
}

#[pg_extern(sql = false)]
fn graph_mermaid(
    start_nodes: Option<Vec<Option<Uuid>>>,
    max_depth: Option<i32>,
    direction: Option<&str>,
    max_nodes: Option<i32>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<String, ErrorReport> {
    Ok(drawn(
        draw::mermaid,
        start_nodes,
        max_depth,
        direction,
        max_nodes,
        (tenant, user_id),
    )?)
}

type Language = fn(&Drawing, &mut dyn FnMut()) -> String;

fn drawn(
    language: Language,
    start_nodes: Option<Vec<Option<Uuid>>>,
    max_depth: Option<i32>,
    direction: Option<&str>,
    max_nodes: Option<i32>,
    (tenant, user_id): (Option<&str>, Option<&str>),
) -> Result<String> {
    let subject = context::subject(tenant, user_id, Reach::Tenant)?;
    let start = nodes("start_nodes", start_nodes)?;
    let depth = check_depth(max_depth)?;
    let most = check::positive("max_nodes", max_nodes)?;
    let tables = Tables::new(&subject, Direction::parse(direction)?, None);
    let most = MOST_DRAWN.min(most as usize);
    let drawing = drawing(&tables, &start, depth, most).map_err(|TooMany| {
        Error::bound_passed(
            format!("the drawing has more than {most} nodes, or more than {MOST_DRAWN} relationships"),
            "Draw less: a smaller max_depth, fewer start_nodes; or raise max_nodes.",
        )
    })?;
    access::note("graph_dot", &subject, None);
    Ok(language(&drawing, &mut pause))
}

/// What a walk reaches, and every relationship between these nodes. Where users have nodes with one id, each is drawn.
fn drawing(tables: &Tables, start: &[Node], depth: u32, most: usize) -> std::result::Result<Drawing, TooMany> {
    let mut boxes: Vec<(Drawn, usize)> = Vec::new();
    let mut graphs = Vec::new();
    for (owner, (mut graph, start)) in tables.graphs(start).into_iter().enumerate() {
        let reached = walk::walk(&mut graph, &start, depth, most - boxes.len())?.reached;
        let mut depths: Vec<(Node, u32)> = reached.iter().map(|reached| (reached.node, reached.depth)).collect();
        depths.sort_unstable();
        let asked: Vec<Node> = depths.iter().map(|(node, _)| *node).collect();
        graph.show(&asked, &mut |shown| {
            let place = asked.binary_search(&shown.node).expect("it was asked for");
            let drawn = Drawn {
                depth: depths[place].1,
                node: shown.node,
                label: draw::label(&[shown.summary, shown.entity_id, Some(shown.context_type)]),
                context_type: shown.context_type.to_owned(),
            };
            boxes.push((drawn, owner));
        });
        graph.direction = Direction::Out;
        graphs.push((graph, asked));
    }
    boxes.sort_unstable_by(|(a, one), (b, other)| (a.depth, a.node, one).cmp(&(b.depth, b.node, other)));
    let mut drawing = Drawing::default();
    // Where each graph's nodes are drawn.
    let mut places: Vec<Vec<u32>> = graphs.iter().map(|(_, asked)| vec![0; asked.len()]).collect();
    for (place, (drawn, owner)) in boxes.iter().enumerate() {
        let number = graphs[*owner].1.binary_search(&drawn.node).expect("it was asked for");
        places[*owner][number] = place as u32;
    }
    for ((graph, asked), places) in graphs.iter_mut().zip(&places) {
        let (links, kinds) = explore::among(graph, asked, MOST_EDGES)?;
        if drawing.arrows.len() + links.len() > MOST_DRAWN {
            return Err(TooMany);
        }
        drawing.arrows.extend(links.into_iter().map(|link| Arrow {
            from: places[link.parent as usize],
            to: places[link.target as usize],
            kind: kinds.name(link.kind).to_owned(),
            strength: link.strength,
        }));
    }
    drawing.boxes = boxes.into_iter().map(|(drawn, _)| drawn).collect();
    drawing.arrows.sort_by(|a, b| {
        (a.from, a.to, &a.kind)
            .cmp(&(b.from, b.to, &b.kind))
            .then(a.strength.total_cmp(&b.strength))
    });
    Ok(drawing)
}
