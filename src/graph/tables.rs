//! The tables as a graph: each level of a walk is one statement or two.

use std::collections::{BTreeMap, HashMap, HashSet};

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;

use super::Direction;
use super::adjacency::{self, Along, Sieve};
use super::ground::{Edge, Graph, Kinds, Mixed, Node, Way};
use super::memory::Lifetime;
use super::place;
use crate::context::Subject;
use crate::pg::catalog::{Table, TableName};
use crate::pg::rows::Query;
use crate::pg::time::microseconds;
use crate::pg::{array, lock, under};

/// The edges that leave nodes by column `$from`, to those in column `$to`. An index-only scan: one range per node.
macro_rules! edges {
    ($from:literal, $to:literal) => {
        Query::new(
            concat!(
                "SELECT r.",
                $from,
                ", r.",
                $to,
                ", r.relationship_type, r.strength FROM memory.relationships AS r
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

/// Columns of those of some nodes that are seen, from where they stand: a planner, who knows nothing of users, would rather read all of one's.
macro_rules! nodes {
    ($columns:literal) => {
        Query::new(
            concat!(
                "SELECT n.* FROM unnest($4) AS asked (place) CROSS JOIN LATERAL (SELECT ",
                $columns,
                " FROM memory.nodes AS n
                 WHERE n.ctid = asked.place AND n.tenant_id = $1 AND n.user_id BETWEEN $2 AND $3
                     AND n.valid_from <= $5 AND (n.valid_to IS NULL OR n.valid_to > $5)
                     AND (n.expires_at IS NULL OR n.expires_at > $5)
                 OFFSET 0) AS n"
            ),
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TIDARRAYOID,
                pg_sys::TIMESTAMPTZOID,
            ],
        )
    };
}

thread_local! {
    static OUT: Query = const { edges!("from_node_id", "to_node_id") };
    static IN: Query = const { edges!("to_node_id", "from_node_id") };
    static SEEN: Query = const { nodes!("n.node_id") };
    static OWNERS: Query = const { nodes!("n.node_id, n.user_id") };
    /// All that may be unseen at a time: what has an end, what was to begin later than it came, and what came later; and whether it is
    /// seen. Two index-only ranges, however many nodes there are.
    static EXCEPTIONS: Query = const {
        Query::new(
            "SELECT n.node_id, n.valid_from <= $4 AND (n.valid_to IS NULL OR n.valid_to > $4)
                 AND (n.expires_at IS NULL OR n.expires_at > $4)
             FROM ((SELECT bounded.node_id, bounded.valid_from, bounded.valid_to, bounded.expires_at FROM memory.nodes AS bounded
                    WHERE bounded.tenant_id = $1 AND bounded.user_id BETWEEN $2 AND $3
                        AND (bounded.valid_to IS NOT NULL OR bounded.expires_at IS NOT NULL
                             OR bounded.valid_from > bounded.created_at)
                    LIMIT $5)
                   UNION ALL
                   (SELECT later.node_id, later.valid_from, later.valid_to, later.expires_at FROM memory.nodes AS later
                    WHERE later.tenant_id = $1 AND later.user_id BETWEEN $2 AND $3 AND later.created_at > $4
                    LIMIT $5)) AS n",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID],
        )
    };
    static RELATIONSHIPS: TableName = const {
        TableName::new(c"relationships", [c"relationships_out_idx", c"relationships_in_idx"])
    };
    static SHOWN: Query = const { nodes!("n.node_id, n.context_type, n.summary, n.entity_id") };
}

/// All of one user's.
macro_rules! all {
    ($columns:literal, $table:literal) => {
        Query::new(
            concat!(
                "SELECT ",
                $columns,
                " FROM memory.",
                $table,
                " AS t WHERE t.tenant_id = $1 AND t.user_id = $2 LIMIT $3"
            ),
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::INT8OID],
        )
    };
}

thread_local! {
    static ALL_NODES: Query = const { all!("t.node_id, t.valid_from, t.valid_to, t.expires_at", "nodes") };
    static ALL_EDGES: Query = const {
        all!("t.from_node_id, t.to_node_id, t.relationship_type, t.strength, t.valid_from, t.valid_to", "relationships")
    };
}

/// The tables as one call sees them: one user's relationships. A call about a whole tenant walks through its users' graphs one by one: a
/// node's id is its user's own, and another user may have given a node of his the same one.
#[derive(Clone)]
pub struct Tables {
    tenant: Uuid,
    users: (String, String),
    pub direction: Direction,
    pub kinds: Option<Vec<String>>,
    pub least_strength: f32,
    pub as_of: TimestampWithTimeZone,
    /// The nodes that are not seen, once they are read.
    unseen: Unseen,
}

#[derive(Clone)]
enum Unseen {
    /// Not read yet; nodes are asked one by one, so many so far.
    Asked(usize),
    Known(HashSet<Node, Mixed>),
    TooMany,
}

/// After so many nodes it is worth to read which are unseen instead, if they and the like of them are no more than so many.
const ASKED: usize = 64;
const EXCEPTIONS_READ: i64 = 1000;

/// A node as people read it.
pub struct Shown<'a> {
    pub node: Node,
    pub context_type: &'a str,
    pub summary: Option<&'a str>,
    pub entity_id: Option<&'a str>,
}

impl Tables {
    /// Of all that the call is about, as it is at `as_of` (None: now); every type, every strength.
    pub fn new(subject: &Subject, direction: Direction, as_of: Option<TimestampWithTimeZone>) -> Self {
        let (low, high) = subject.users();
        Self {
            tenant: Uuid::from_bytes(subject.tenant),
            users: (low.to_owned(), high.to_owned()),
            direction,
            kinds: None,
            least_strength: 0.0,
            as_of: as_of.unwrap_or_else(crate::pg::time::statement_start),
            unseen: Unseen::Asked(0),
        }
    }

    /// The graphs of the users that have some of these nodes, and which; by user. Of one user's graph it is not asked whether it has them.
    pub fn graphs(&self, nodes: &[Node]) -> Vec<(Self, Vec<Node>)> {
        if self.users.0 == self.users.1 {
            return vec![(self.clone(), nodes.to_vec())];
        }
        let mut owners: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        if !nodes.is_empty() {
            OWNERS.with(|query| {
                query.each(&self.standing(nodes), &mut |row| {
                    let nodes = match owners.get_mut(row.text(1)) {
                        Some(nodes) => nodes,
                        None => owners.entry(row.text(1).to_owned()).or_default(),
                    };
                    nodes.push(row.uuid(0));
                });
            });
        }
        let graph = |(user, nodes): (String, Vec<Node>)| {
            let users = (user.clone(), user);
            (Self { users, ..self.clone() }, nodes)
        };
        owners.into_iter().map(graph).collect()
    }

    /// Calls `visit` with each of these nodes (distinct) that is seen.
    pub fn show(&self, nodes: &[Node], visit: &mut dyn FnMut(Shown<'_>)) {
        SHOWN.with(|query| {
            query.each(&self.standing(nodes), &mut |row| {
                visit(Shown {
                    node: row.uuid(0),
                    context_type: row.text(1),
                    summary: row.optional_text(2),
                    entity_id: row.optional_text(3),
                });
            });
        });
    }

    /// Whose they are, if they are one user's.
    pub fn owner(&self) -> Option<([u8; 16], &str)> {
        (self.users.0 == self.users.1).then(|| (*self.tenant.as_bytes(), self.users.0.as_str()))
    }

    /// What a graph in memory with these types is walked along.
    pub fn along(&self, kinds: &[String]) -> Along {
        let takes = |asked: &Vec<String>| kinds.iter().map(|kind| asked.contains(kind)).collect();
        Along {
            direction: self.direction,
            kinds: self.kinds.as_ref().map(takes),
            least_strength: self.least_strength,
        }
    }

    /// All nodes of the user whose the tables are, whenever they are seen, in the order of their ids; None of more than `most`.
    pub fn all_nodes(&self, most: u64) -> Option<Vec<Lifetime>> {
        let mut nodes = Vec::new();
        ALL_NODES.with(|query| {
            query.each(&self.all(most), &mut |row| {
                let ends = [row.optional_bigint(2), row.optional_bigint(3)];
                nodes.push(Lifetime {
                    id: row.uuid(0),
                    from: row.bigint(1),
                    to: ends.into_iter().flatten().min(),
                });
            });
        });
        nodes.sort_unstable_by_key(|node| node.id);
        (nodes.len() as u64 <= most).then_some(nodes)
    }

    /// The types (ascending) and edges that are seen, between these nodes by their places; None of more than `most`.
    pub fn all_edges(
        &self,
        most: u64,
        nodes: &[Lifetime],
        sieve: &mut Sieve,
    ) -> Option<(Vec<String>, Vec<adjacency::Edge>)> {
        let numbers: HashMap<Node, u32, Mixed> = (0..).zip(nodes).map(|(number, node)| (node.id, number)).collect();
        let (mut kinds, mut edges, mut read) = (Kinds::default(), Vec::new(), 0);
        ALL_EDGES.with(|query| {
            query.each(&self.all(most), &mut |row| {
                read += 1;
                let ends = (numbers.get(&row.uuid(0)), numbers.get(&row.uuid(1)));
                // Without one of its nodes it leads nowhere.
                if let ((Some(&from), Some(&to)), true) = (ends, sieve.sees(row.bigint(4), row.optional_bigint(5))) {
                    edges.push(adjacency::Edge {
                        from,
                        to,
                        kind: kinds.number(row.text(2)) as u16,
                        strength: row.real(3),
                    });
                }
            });
        });
        if read > most || kinds.names.len() > usize::from(u16::MAX) {
            return None;
        }
        let mut order: Vec<usize> = (0..kinds.names.len()).collect();
        order.sort_unstable_by(|a, b| kinds.names[*a].cmp(&kinds.names[*b]));
        let mut places = vec![0; order.len()];
        for (place, kind) in order.iter().enumerate() {
            places[*kind] = place as u16;
        }
        for edge in &mut edges {
            edge.kind = places[usize::from(edge.kind)];
        }
        Some((order.into_iter().map(|kind| kinds.names[kind].clone()).collect(), edges))
    }

    fn unseen(&self) -> Unseen {
        let [tenant, low, high, _, as_of] = self.who(&[]);
        let (mut unseen, mut read) = (HashSet::default(), 0);
        EXCEPTIONS.with(|query| {
            query.each(&[tenant, low, high, as_of, (EXCEPTIONS_READ + 1).into()], &mut |row| {
                read += 1;
                if !row.boolean(1) {
                    unseen.insert(row.uuid(0));
                }
            });
        });
        if read > EXCEPTIONS_READ {
            Unseen::TooMany
        } else {
            Unseen::Known(unseen)
        }
    }

    fn all(&self, most: u64) -> [DatumWithOid<'static>; 3] {
        let limit = i64::try_from(most).map_or(i64::MAX, |most| most.saturating_add(1));
        [self.tenant.into(), self.users.0.clone().into(), limit.into()]
    }

    /// As `who`, with where the nodes stand.
    fn standing(&self, nodes: &[Node]) -> [DatumWithOid<'static>; 5] {
        let users = (self.users.0.as_str(), self.users.1.as_str());
        let places = place::of_nodes(*self.tenant.as_bytes(), users, nodes);
        let [tenant, low, high, _, as_of] = self.who(&[]);
        [tenant, low, high, array::places(&places), as_of]
    }

    fn who(&self, nodes: &[Node]) -> [DatumWithOid<'static>; 5] {
        [
            self.tenant.into(),
            self.users.0.clone().into(),
            self.users.1.clone().into(),
            array::uuids(nodes),
            self.as_of.into(),
        ]
    }

    /// Which indexes of relationships, by the one end and by the other, say what a statement would: where it is one user's graph, and all that
    /// the context allows.
    fn indexes(&self) -> Option<Table> {
        self.owner()?;
        let table = RELATIONSHIPS.with(TableName::find)?;
        lock::relation(table.oid, pg_sys::AccessShareLock);
        let there = !table.indexes.contains(&pg_sys::InvalidOid);
        (there && under::may_read(table.oid)).then_some(table)
    }

    /// `read` past the executor, in half the time.
    fn read_under(
        &self,
        (table, index): (pg_sys::Oid, pg_sys::Oid),
        parents: &[Node],
        with_itself: bool,
        visit: &mut dyn FnMut(Edge<'_>),
    ) {
        let as_of = microseconds(self.as_of);
        // The columns of both indexes: tenant, an end, the other end, then
        const TYPE: usize = 3;
        const STRENGTH: usize = 4;
        const FROM: usize = 5;
        const TO: usize = 6;
        const USER: usize = 7;
        under::each(
            table,
            index,
            self.tenant.as_bytes(),
            parents.iter().copied(),
            &mut |row| {
                let edge = Edge {
                    parent: row.uuid(1),
                    target: row.uuid(2),
                    kind: row.text(TYPE),
                    strength: row.real(STRENGTH),
                };
                let seen = row.bigint(FROM) <= as_of && row.optional_bigint(TO).is_none_or(|to| to > as_of);
                let kind = || {
                    let asked = |kinds: &Vec<String>| kinds.iter().any(|kind| kind == edge.kind);
                    self.kinds.as_ref().is_none_or(asked)
                };
                if seen
                    && row.text(USER) == self.users.0
                    && edge.strength >= self.least_strength
                    && kind()
                    && (with_itself || edge.parent != edge.target)
                {
                    visit(edge);
                }
            },
        );
    }

    fn read(&self, query: &Query, parents: &[Node], with_itself: bool, visit: &mut dyn FnMut(Edge<'_>)) {
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
        query.each(&arguments, &mut |row| {
            let edge = Edge {
                parent: row.uuid(0),
                target: row.uuid(1),
                kind: row.text(2),
                strength: row.real(3),
            };
            if with_itself || edge.parent != edge.target {
                visit(edge);
            }
        });
    }
}

impl Graph for Tables {
    fn edges(&mut self, way: Way, parents: &[Node], visit: &mut dyn FnMut(Edge<'_>)) {
        let direction = match way {
            Way::Along => self.direction,
            Way::Against => self.direction.turned(),
        };
        let indexes = self.indexes();
        if direction != Direction::In {
            match indexes {
                Some(table) => self.read_under((table.oid, table.indexes[0]), parents, true, visit),
                None => OUT.with(|query| self.read(query, parents, true, visit)),
            }
        }
        if direction != Direction::Out {
            // In both directions a relationship of a node with itself was found above already.
            let with_itself = direction == Direction::In;
            match indexes {
                Some(table) => self.read_under((table.oid, table.indexes[1]), parents, with_itself, visit),
                None => IN.with(|query| self.read(query, parents, with_itself, visit)),
            }
        }
    }

    fn seen(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        SEEN.with(|query| query.each(&self.standing(nodes), &mut |row| visit(row.uuid(0))));
    }

    fn seen_ends(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        if let Unseen::Asked(before) = self.unseen {
            let asked = before + nodes.len();
            self.unseen = if asked > ASKED {
                self.unseen()
            } else {
                Unseen::Asked(asked)
            };
        }
        match &self.unseen {
            Unseen::Known(unseen) => nodes
                .iter()
                .filter(|node| !unseen.contains(node))
                .for_each(|node| visit(*node)),
            _ => self.seen(nodes, visit),
        }
    }

    fn pause(&mut self) {
        pgrx::check_for_interrupts!();
    }
}

/// An id of a column or an argument, as walks count them.
pub fn node(uuid: Uuid) -> Node {
    Node::from_be_bytes(*uuid.as_bytes())
}

/// The same back.
pub fn uuid(node: Node) -> Uuid {
    Uuid::from_bytes(node.to_be_bytes())
}
