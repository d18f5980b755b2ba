//! What is walked on: nodes as numbers, edges that are asked for many at once.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// How many parents are asked for at once: bounds what is read past a bound that is passed.
pub const CHUNK: usize = 8192;

/// A node as the number that orders as its UUID does.
pub type Node = u128;

/// Which way edges are asked for: as the walk goes, or where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Along,
    Against,
}

/// An edge from a node that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    pub parent: Node,
    pub target: Node,
    pub kind: &'a str,
    pub strength: f32,
}

/// Nodes and edges, whatever stands behind them.
pub trait Graph {
    /// Calls `visit` with every edge of these parents (distinct, ascending).
    fn edges(&mut self, way: Way, parents: &[Node], visit: &mut dyn FnMut(Edge<'_>));

    /// Calls `visit` with each of these nodes (distinct) that is seen.
    fn seen(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node));

    /// The same of nodes that edges lead to, which are there, seen or not.
    fn seen_ends(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
        self.seen(nodes, visit);
    }

    /// Called in every loop that may take long: whoever wants to stop the work unwinds from here.
    fn pause(&mut self) {}
}

/// More than allowed, of nodes or of edges.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// Types as numbers; the number says nothing of their order.
#[derive(Debug, Default)]
pub struct Kinds {
    pub names: Vec<String>,
    numbers: HashMap<String, u32>,
    last: u32,
}

impl Kinds {
    pub fn number(&mut self, name: &str) -> u32 {
        if self.names.get(self.last as usize).is_some_and(|last| last == name) {
            return self.last;
        }
        self.last = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
        };
        self.last
    }

    pub fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }
}

/// A hash for UUIDs: one multiplication, with a key of the process's own, so that nobody can choose ids that collide.
#[derive(Clone)]
pub struct Mixed(u64);

impl Default for Mixed {
    fn default() -> Self {
        Self(std::hash::RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Mixed {
    type Hasher = Mix;
    fn build_hasher(&self) -> Mix {
        Mix(self.0)
    }
}

pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed")
    }
    fn write_u128(&mut self, node: u128) {
        let (high, low) = ((node >> 64) as u64, node as u64);
        let product = u128::from(high ^ self.0) * u128::from(low ^ self.0.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Graphs of a few lines, for the tests of what walks on them.
#[cfg(test)]
pub mod sample {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Clone, Debug, Default)]
    pub struct Sample {
        pub edges: Vec<(Node, Node, &'static str, f32)>,
        pub hidden: BTreeSet<Node>,
    }

    impl Graph for Sample {
        fn edges(&mut self, way: Way, parents: &[Node], visit: &mut dyn FnMut(Edge<'_>)) {
            assert!(parents.is_sorted_by(|a, b| a < b));
            // Whatever stands behind a graph may have an order of its own.
            for &asked in parents.iter().rev() {
                for &(from, to, kind, strength) in &self.edges {
                    let (parent, target) = if way == Way::Along { (from, to) } else { (to, from) };
                    if parent == asked {
                        visit(Edge {
                            parent,
                            target,
                            kind,
                            strength,
                        });
                    }
                }
            }
        }
        fn seen(&mut self, nodes: &[Node], visit: &mut dyn FnMut(Node)) {
            for node in nodes.iter().rev().filter(|node| !self.hidden.contains(node)) {
                visit(*node);
            }
        }
    }
}
