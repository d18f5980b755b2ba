//! A graph in memory: nodes by number, in the order of their ids; each with its edges, both ways.
//!
//! Pure. It holds the nodes and edges that are seen at one time and, as these change only when something begins or ends, through the span of
//! time around it that `Sieve` finds.

use std::cell::RefCell;

use super::Direction;
use super::ground::{Node, TooMany};
use super::walk::{Reached, Walk};

/// How many edges are walked between two pauses.
const PAUSE: usize = 1 << 16;

/// From microseconds on, until microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub since: i64,
    pub until: i64,
}

impl Span {
    pub fn holds(&self, at: i64) -> bool {
        (self.since..self.until).contains(&at)
    }
}

/// What is seen at a time, and for how long everything asked is seen, or not, as it is then.
pub struct Sieve {
    at: i64,
    pub span: Span,
}

impl Sieve {
    pub fn new(at: i64) -> Self {
        let span = Span {
            since: i64::MIN,
            until: i64::MAX,
        };
        Self { at, span }
    }

    /// Whether what holds from one time until another, itself excluded, is seen.
    pub fn sees(&mut self, from: i64, to: Option<i64>) -> bool {
        for turn in [Some(from), to].into_iter().flatten() {
            if turn <= self.at {
                self.span.since = self.span.since.max(turn);
            } else {
                self.span.until = self.span.until.min(turn);
            }
        }
        from <= self.at && to.is_none_or(|to| to > self.at)
    }
}

/// One end of an edge, seen from the other.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    pub node: u32,
    pub strength: f32,
    pub kind: u16,
}

/// The edges of all nodes in one direction, those of a node together, by the other node, then type.
#[derive(Debug, Default)]
struct Side {
    starts: Vec<u32>,
    halves: Vec<Half>,
}

/// An edge by its nodes' numbers.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub from: u32,
    pub to: u32,
    pub kind: u16,
    pub strength: f32,
}

#[derive(Debug)]
pub struct Adjacency {
    /// Ascending.
    pub nodes: Vec<Node>,
    /// Ascending.
    pub kinds: Vec<String>,
    out: Side,
    into: Side,
    /// For walks, by number: from which place a node was reached, along which type. What it holds between them means nothing; that it is
    /// there saves each walk to ask the system for as many bytes.
    from: RefCell<Vec<(u32, u16)>>,
}

/// What is walked along.
pub struct Along {
    pub direction: Direction,
    /// For each type whether; None: all.
    pub kinds: Option<Vec<bool>>,
    pub least_strength: f32,
}

impl Along {
    fn takes(&self, half: &Half) -> bool {
        half.strength >= self.least_strength && self.kinds.as_ref().is_none_or(|kinds| kinds[usize::from(half.kind)])
    }
}

impl Side {
    fn new(nodes: usize, edges: &[Edge], from: impl Fn(&Edge) -> u32, to: impl Fn(&Edge) -> u32) -> Self {
        let mut starts = vec![0u32; nodes + 1];
        for edge in edges {
            starts[from(edge) as usize + 1] += 1;
        }
        for i in 0..nodes {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let nothing = Half {
            node: 0,
            strength: 0.0,
            kind: 0,
        };
        let mut halves = vec![nothing; edges.len()];
        for edge in edges {
            let place = &mut next[from(edge) as usize];
            halves[*place as usize] = Half {
                node: to(edge),
                strength: edge.strength,
                kind: edge.kind,
            };
            *place += 1;
        }
        for node in 0..nodes {
            halves[starts[node] as usize..starts[node + 1] as usize]
                .sort_unstable_by_key(|half| (half.node, half.kind));
        }
        Self { starts, halves }
    }

    fn of(&self, node: u32) -> &[Half] {
        &self.halves[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }
}

impl Adjacency {
    /// Nodes (ascending) and types (ascending), and the edges between them by their places there.
    pub fn new(nodes: Vec<Node>, kinds: Vec<String>, edges: &[Edge]) -> Self {
        let out = Side::new(nodes.len(), edges, |edge| edge.from, |edge| edge.to);
        let into = Side::new(nodes.len(), edges, |edge| edge.to, |edge| edge.from);
        let from = RefCell::new(vec![(0, 0); nodes.len()]);
        Self {
            nodes,
            kinds,
            out,
            into,
            from,
        }
    }

    /// How many bytes a graph of so many nodes and edges takes.
    pub fn size(nodes: usize, edges: usize) -> usize {
        nodes * (size_of::<Node>() + 2 * size_of::<u32>() + size_of::<(u32, u16)>()) + edges * 2 * size_of::<Half>()
    }

    pub fn number(&self, node: Node) -> Option<u32> {
        self.nodes.binary_search(&node).ok().map(|number| number as u32)
    }

    /// Calls `visit` with the other end of each edge of a node; of one with itself once.
    pub fn each(&self, node: u32, along: &Along, visit: &mut impl FnMut(&Half)) {
        if along.direction != Direction::In {
            self.out
                .of(node)
                .iter()
                .filter(|half| along.takes(half))
                .for_each(&mut *visit);
        }
        if along.direction != Direction::Out {
            let with_itself = along.direction == Direction::In;
            let halves = self.into.of(node).iter();
            halves
                .filter(|half| along.takes(half) && (with_itself || half.node != node))
                .for_each(visit);
        }
    }

    /// Walks as `walk::walk` does, from nodes that are in this graph and some that are in none, all seen.
    pub fn walk(
        &self,
        start: &[Node],
        along: &Along,
        depth: u32,
        most: usize,
        pause: &mut dyn FnMut(),
    ) -> Result<Walk, TooMany> {
        let mut walk = Walk::default();
        let mut start = start.to_vec();
        start.sort_unstable();
        start.dedup();
        if start.len() > most {
            return Err(TooMany);
        }
        let words = self.nodes.len().div_ceil(64);
        // By number: whether reached, and whether in this step.
        let mut reached = vec![0u64; words];
        let mut level = vec![0u64; words];
        let mut from = self.from.borrow_mut();
        // The numbers of the last step's nodes, with their places.
        let mut parents: Vec<(u32, u32)> = Vec::new();
        for node in start {
            if let Some(number) = self.number(node) {
                parents.push((number, walk.reached.len() as u32));
                reached[number as usize / 64] |= 1 << (number % 64);
            }
            walk.reached.push(Reached {
                node,
                depth: 0,
                from: None,
            });
        }
        let mut walked = 0;
        for step in 1..=depth {
            if parents.is_empty() {
                break;
            }
            let mut count = walk.reached.len();
            let mut touched = (words, 0);
            for &(parent, place) in &parents {
                let mut meet = |half: &Half| {
                    let (word, bit) = (half.node as usize / 64, 1u64 << (half.node % 64));
                    let known = &mut from[half.node as usize];
                    if reached[word] & bit == 0 {
                        reached[word] |= bit;
                        level[word] |= bit;
                        touched = (touched.0.min(word), touched.1.max(word));
                        *known = (place, half.kind);
                        count += 1;
                    } else if level[word] & bit != 0 && known.0 == place && half.kind < known.1 {
                        known.1 = half.kind;
                    }
                };
                self.each(parent, along, &mut meet);
                walked += self.out.of(parent).len() + self.into.of(parent).len();
                if walked > PAUSE {
                    walked = 0;
                    pause();
                }
                if count > most {
                    return Err(TooMany);
                }
            }
            parents.clear();
            if touched.0 > touched.1 {
                break;
            }
            // Numbers ascend with the nodes.
            for (word, bits) in (touched.0..).zip(&mut level[touched.0..=touched.1]) {
                let mut bits = std::mem::take(bits);
                while bits != 0 {
                    let number = (word * 64) as u32 + bits.trailing_zeros();
                    bits &= bits - 1;
                    let (place, kind) = from[number as usize];
                    parents.push((number, walk.reached.len() as u32));
                    walk.reached.push(Reached {
                        node: self.nodes[number as usize],
                        depth: step,
                        from: Some((place, u32::from(kind))),
                    });
                }
            }
        }
        walk.kinds = self.kinds.clone();
        Ok(walk)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::graph::ground::sample::Sample;
    use crate::graph::walk;

    const KINDS: [&str; 3] = ["a", "b", "c"];

    /// The edges of a graph in one direction, as the sample has them.
    fn sample(edges: &[(Node, Node, usize, f32)], along: &Along) -> Sample {
        let mut sample = Sample::default();
        for &(from, to, kind, strength) in edges {
            let half = Half {
                node: 0,
                strength,
                kind: kind as u16,
            };
            if !along.takes(&half) {
                continue;
            }
            if along.direction != Direction::In {
                sample.edges.push((from, to, KINDS[kind], strength));
            }
            if along.direction != Direction::Out {
                sample.edges.push((to, from, KINDS[kind], strength));
            }
        }
        sample
    }

    fn adjacency(edges: &[(Node, Node, usize, f32)]) -> Adjacency {
        let nodes: BTreeSet<Node> = edges.iter().flat_map(|edge| [edge.0, edge.1]).collect();
        let nodes: Vec<Node> = nodes.into_iter().collect();
        let number = |node: Node| nodes.binary_search(&node).unwrap() as u32;
        let edges: Vec<Edge> = edges
            .iter()
            .map(|&(from, to, kind, strength)| Edge {
                from: number(from),
                to: number(to),
                kind: kind as u16,
                strength,
            })
            .collect();
        Adjacency::new(nodes.clone(), KINDS.map(str::to_owned).to_vec(), &edges)
    }

    proptest! {
        #[test]
        fn it_walks_as_level_by_level(
            edges in prop::collection::vec((0u128..20, 0u128..20, 0usize..3, 0u8..4), 0..60),
            start in prop::collection::vec(0u128..25, 0..4),
            direction in prop_oneof![Just(Direction::Out), Just(Direction::In), Just(Direction::Both)],
            kinds in prop::option::of(prop::collection::vec(any::<bool>(), 3)),
            least in 0u8..4,
            depth in 0u32..6,
            most in 1usize..30,
        ) {
            let edges: Vec<_> = edges.into_iter().map(|(from, to, kind, s)| (from, to, kind, f32::from(s) / 4.0)).collect();
            let along = Along { direction, kinds, least_strength: f32::from(least) / 4.0 };
            let mut sample = sample(&edges, &along);
            let expected = walk::walk(&mut sample, &start, depth, most);
            let found = adjacency(&edges).walk(&start, &along, depth, most, &mut || ());
            match (expected, found) {
                (Ok(expected), Ok(found)) => {
                    let rows = |walk: &Walk| -> Vec<_> {
                        walk.reached.iter().map(|r| (r.node, r.depth, r.from.map(|(p, k)| (p, walk.kinds[k as usize].clone())))).collect()
                    };
                    prop_assert_eq!(rows(&found), rows(&expected));
                }
                (expected, found) => prop_assert_eq!(expected.is_err(), found.is_err()),
            }
        }

        #[test]
        fn through_its_span_a_sieve_sees_the_same(
            things in prop::collection::vec((0i64..20, prop::option::of(0i64..20)), 0..10),
            at in 0i64..20,
            other in 0i64..20,
        ) {
            let sees = |at| {
                let mut sieve = Sieve::new(at);
                let seen: Vec<bool> = things.iter().map(|(from, to)| sieve.sees(*from, *to)).collect();
                (seen, sieve.span)
            };
            let (seen, span) = sees(at);
            prop_assert!(span.holds(at));
            if span.holds(other) {
                prop_assert_eq!(seen, sees(other).0);
            }
        }
    }
}
