//! Traversal: the walk over the tables, as SQL calls it.

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::walk::{self, Graph, Node};
use super::{Direction, check_words};
use crate::check;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::pg::array;
use crate::pg::rows::Query;
use crate::vocabulary::Vocabulary;

/// The edges that leave nodes by column `$from`, to those in column `$to`. An index-only scan: one range per node.
macro_rules! edges {
    ($from:literal, $to:literal) => {
        Query::new(
            concat!(
                "SELECT r.",
                $from,
                ", r.",
                $to,
                ", r.relationship_type FROM memory.relationships AS r
                 WHERE r.tenant_id = $1 AND r.user_id BETWEEN $2 AND $3 AND r.",
                $from,
                " = ANY ($4)
                     AND r.valid_from <= $5 AND (r.valid_to IS NULL OR r.valid_to > $5) AND r.strength >= $6
                     AND ($7 IS NULL OR r.relationship_type = ANY ($7))"
            ),
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDARRAYOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::FLOAT4OID,
                pg_sys::TEXTARRAYOID,
            ],
        )
    };
}

thread_local! {
    static OUT: Query = const { edges!("from_node_id", "to_node_id") };
    static IN: Query = const { edges!("to_node_id", "from_node_id") };
    static SEEN: Query = const {
        Query::new(
            "SELECT n.node_id FROM memory.nodes AS n
             WHERE n.tenant_id = $1 AND n.user_id BETWEEN $2 AND $3 AND n.node_id = ANY ($4)
                 AND n.valid_from <= $5 AND (n.valid_to IS NULL OR n.valid_to > $5)
                 AND (n.expires_at IS NULL OR n.expires_at > $5)",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
        )
    };
}

/// The tables as one call sees them.
struct Tables<'a> {
    tenant: Uuid,
    users: (&'a str, &'a str),
    direction: Direction,
    kinds: Option<Vec<String>>,
    least_strength: f32,
    as_of: TimestampWithTimeZone,
}

impl Tables<'_> {
    fn who(&self, nodes: &[Node]) -> [DatumWithOid<'static>; 5] {
        [
            self.tenant.into(),
            self.users.0.into(),
            self.users.1.into(),
            array::uuids(nodes),
            self.as_of.into(),
        ]
    }

    fn along(&self, query: &Query, parents: &[Node], visit: &mut dyn FnMut(Node, Node, &str)) {
        let [tenant, low, high, nodes, as_of] = self.who(parents);
        let arguments = [
            tenant,
            low,
            high,
            nodes,
            as_of,
            self.least_strength.into(),
            self.kinds.clone().into(),
        ];
        query.each(&arguments, &mut |row| visit(row.uuid(0), row.uuid(1), row.text(2)));
    }
}

impl Graph for Tables<'_> {
    fn edges(&mut self, parents: &[Node], visit: &mut dyn FnMut(Node, Node, &str)) {
        pgrx::check_for_interrupts!();
        if self.direction != Direction::In {
            OUT.with(|query| self.along(query, parents, visit));
        }
        if self.direction != Direction::Out {
            IN.with(|query| self.along(query, parents, visit));
        }
    }

    fn seen(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        SEEN.with(|query| query.each(&self.who(nodes), &mut |row| visit(row.uuid(0))));
    }
}

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
    let start: Vec<Node> = check::needed("start_nodes", start_nodes)?
        .into_iter()
        .flatten()
        .map(node)
        .collect();
    let depth = check::needed("max_depth", max_depth)?;
    let depth = u32::try_from(depth).map_err(|_| {
        Error::bad_argument(
            format!("max_depth is {depth}"),
            "0 gives the start nodes, 1 their neighbours too.",
        )
    })?;
    let most = check::positive("max_nodes", max_nodes)?;
    let paths = check::needed("paths", paths)?;
    let mut tables = Tables {
        tenant: Uuid::from_bytes(subject.tenant),
        users: subject.users(),
        direction: Direction::parse(direction)?,
        kinds: check_words(Vocabulary::Relationship, "relationship_types", relationship_types)?,
        least_strength: least_strength(min_strength)?,
        as_of: as_of.unwrap_or_else(crate::pg::time::statement_start),
    };
    let walk = walk::walk(&mut tables, &start, depth, most as usize).map_err(|walk::TooMany| {
        Error::bound_passed(
            format!("the traversal reaches more than {most} nodes"),
            "Ask for fewer: a smaller max_depth, a greater min_strength, fewer relationship_types; or raise max_nodes.",
        )
    })?;
    let rows = (0..walk.reached.len()).map(move |i| {
        let reached = walk.reached[i];
        let parent = reached.from.map(|(parent, _)| uuid(walk.reached[parent as usize].node));
        let kind = reached.from.map(|(_, kind)| walk.kinds[kind as usize].clone());
        let path = paths.then(|| walk.path(i).into_iter().map(uuid).collect());
        (uuid(reached.node), reached.depth as i32, parent, kind, path)
    });
    Ok(TableIterator::new(rows))
}

fn node(uuid: Uuid) -> Node {
    Node::from_be_bytes(*uuid.as_bytes())
}

fn uuid(node: Node) -> Uuid {
    Uuid::from_bytes(node.to_be_bytes())
}

/// Any number but NaN, which no strength reaches.
fn least_strength(given: Option<f32>) -> Result<f32> {
    let given = check::needed("min_strength", given)?;
    if given.is_nan() {
        return Err(Error::bad_argument("min_strength is NaN", "Give a number from 0 to 1."));
    }
    Ok(given)
}
