//! Users' graphs in memory (`pg::kept` says why they are what the tables say), and when it is worth to put one there.
//!
//! To read a whole graph takes longer than a few steps of a walk. So walks read the tables, and what they read is added up; when it comes to a share of
//! the graph the graph is read whole, and kept until it changes. However often it changes, reading it costs no more than the walks do.

use std::rc::Rc;

use pgrx::pg_sys;

use super::adjacency::{Adjacency, Along, Half, Sieve, Span};
use super::ground::{Edge, Graph, Node, TooMany, Way};
use super::tables::Tables;
use super::walk::{self, Walk};
use crate::config;
use crate::pg::catalog::TableName;
use crate::pg::kept::{Kept, Place};
use crate::pg::time::microseconds;
use crate::pg::{lock, range};

/// A walk that has read as many edges is worth reading the graph for, if that has no more than so many times as many.
const LEAST_WORK: u64 = 128;
const WORTH: u64 = 4;

enum Remembered {
    Graph {
        adjacency: Adjacency,
        span: Span,
    },
    /// It has more than so many nodes or edges.
    Larger(u64),
}

thread_local! {
    static KEPT: &'static Kept<Remembered> = Box::leak(Box::default());
    static RELATIONSHIPS: TableName = const {
        TableName::new(c"relationships", [c"relationships_pkey", c"relationships_current_key"])
    };
    static NODES: TableName = const { TableName::new(c"nodes", [c"nodes_pkey", c"nodes_node_id_idx"]) };
}

/// One user's graph as a call asks for it: in memory, or in the tables.
pub struct Source {
    tables: Tables,
    kept: Option<(Rc<Remembered>, Along)>,
    place: Option<Place<'static, Remembered>>,
    /// How many edges were read from the tables.
    read: u64,
}

impl Source {
    /// The tables are one user's (`Tables::graphs`).
    pub fn new(tables: Tables) -> Self {
        let at = microseconds(tables.as_of);
        let place = place(&tables);
        let remembered = place.as_ref().and_then(|place| {
            let found = place.get();
            let larger = match found.as_deref() {
                Some(Remembered::Graph { span, .. }) if span.holds(at) => return found,
                Some(Remembered::Larger(than)) => *than,
                _ => 0,
            };
            let worth = place.add_work(0).saturating_mul(WORTH);
            (worth >= LEAST_WORK * WORTH && worth / 2 >= larger)
                .then(|| build(&tables, at, place, worth))
                .filter(|built| matches!(**built, Remembered::Graph { span, .. } if span.holds(at)))
        });
        let kept = remembered.map(|remembered| {
            let along = tables.along(&graph(&remembered).kinds);
            (remembered, along)
        });
        Self {
            tables,
            kept,
            place,
            read: 0,
        }
    }

    /// `walk::walk` through it.
    pub fn walk(&mut self, start: &[Node], depth: u32, most: usize) -> Result<Walk, TooMany> {
        let Some((remembered, along)) = &self.kept else {
            return walk::walk(self, start, depth, most);
        };
        let adjacency = graph(remembered);
        // A node without edges is not in it.
        let (mut seen, alone): (Vec<Node>, Vec<Node>) =
            start.iter().partition(|node| adjacency.number(**node).is_some());
        if !alone.is_empty() {
            self.tables.seen(&alone, &mut |node| seen.push(node));
        }
        adjacency.walk(&seen, along, depth, most, &mut pause)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(place) = &self.place
            && self.kept.is_none()
            && self.read > 0
            && !std::thread::panicking()
        {
            place.add_work(self.read);
        }
    }
}

impl Graph for Source {
    fn edges(&mut self, way: Way, parents: &[Node], visit: &mut dyn FnMut(Edge<'_>)) {
        let Some((remembered, along)) = &mut self.kept else {
            let read = &mut self.read;
            return self.tables.edges(way, parents, &mut |edge| {
                *read += 1;
                visit(edge);
            });
        };
        let adjacency = graph(remembered);
        let direction = along.direction;
        if way == Way::Against {
            along.direction = direction.turned();
        }
        for &parent in parents {
            let Some(number) = adjacency.number(parent) else {
                continue;
            };
            adjacency.each(number, along, &mut |half: &Half| {
                visit(Edge {
                    parent,
                    target: adjacency.nodes[half.node as usize],
                    kind: &adjacency.kinds[usize::from(half.kind)],
                    strength: half.strength,
                });
            });
        }
        along.direction = direction;
    }

    fn seen(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        let Some((remembered, _)) = &self.kept else {
            return self.tables.seen(nodes, visit);
        };
        let adjacency = graph(remembered);
        let mut alone = Vec::new();
        for &node in nodes {
            match adjacency.number(node) {
                Some(_) => visit(node),
                None => alone.push(node),
            }
        }
        if !alone.is_empty() {
            self.tables.seen(&alone, visit);
        }
    }

    fn seen_ends(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        match self.kept {
            // Only what is seen is in it.
            Some(_) => nodes.iter().for_each(|node| visit(*node)),
            None => self.tables.seen_ends(nodes, visit),
        }
    }

    fn pause(&mut self) {
        pause();
    }
}

fn pause() {
    pgrx::check_for_interrupts!();
}

fn graph(remembered: &Remembered) -> &Adjacency {
    match remembered {
        Remembered::Graph { adjacency, .. } => adjacency,
        Remembered::Larger(_) => unreachable!("it is not walked on"),
    }
}

/// Where the user's graph may be kept. Who may not read the tables goes to them, and hears it there.
fn place(tables: &Tables) -> Option<Place<'static, Remembered>> {
    let (tenant, user) = tables.owner()?;
    let relationships = RELATIONSHIPS.with(TableName::find)?.oid;
    let nodes = NODES.with(TableName::find)?.oid;
    for table in [relationships, nodes] {
        lock::relation(table, pg_sys::AccessShareLock);
        if !range::may_read(table) {
            return None;
        }
    }
    KEPT.with(|kept| *kept)
        .place(&[relationships, nodes], tenant, user, config::graph_cache_size())
}

/// Reads the graph as it is at a time, if it has no more than `most` nodes and edges.
fn build(tables: &Tables, at: i64, place: &Place<'_, Remembered>, most: u64) -> Rc<Remembered> {
    // What fits into the cache, of as many nodes as edges.
    let room = (config::graph_cache_size() / Adjacency::size(1, 1)) as u64;
    let larger = || {
        let than = if most >= room { u64::MAX } else { most };
        place.put(Remembered::Larger(than), 0)
    };
    let most = most.min(room);
    let mut sieve = Sieve::new(at);
    let Some(nodes) = tables.all_nodes(most) else {
        return larger();
    };
    let Some((kinds, mut edges)) = tables.all_edges(most, &nodes, &mut sieve) else {
        return larger();
    };
    // Nodes with edges, as far as they are seen.
    let mut numbers = vec![0u32; nodes.len()];
    for edge in &edges {
        numbers[edge.from as usize] = 1;
        numbers[edge.to as usize] = 1;
    }
    let mut seen = Vec::new();
    for (number, node) in numbers.iter_mut().zip(&nodes) {
        if *number == 1 && sieve.sees(node.from, node.to) {
            seen.push(node.id);
            *number = seen.len() as u32;
        } else {
            *number = 0;
        }
    }
    edges.retain_mut(|edge| {
        let ends = [numbers[edge.from as usize], numbers[edge.to as usize]];
        if ends.contains(&0) {
            return false;
        }
        [edge.from, edge.to] = ends.map(|end| end - 1);
        true
    });
    let bytes = Adjacency::size(seen.len(), edges.len());
    let adjacency = Adjacency::new(seen, kinds, &edges);
    let span = sieve.span;
    place.put(Remembered::Graph { adjacency, span }, bytes)
}

/// A node of a user's, and when it is seen.
pub struct Lifetime {
    pub id: Node,
    pub from: i64,
    pub to: Option<i64>,
}
