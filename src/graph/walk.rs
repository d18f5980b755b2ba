//! Breadth-first search over a graph that is read level by level.
//!
//! Pure: it knows nodes by number and asks a `Graph` for edges, whatever stands behind it. Each node is reached once, at its
//! least depth; of several parents at that depth the smallest stands, of several edges from it the smallest type.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ground::{CHUNK, Graph, Kinds, Mixed, Node, TooMany, Way};

/// A node that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub node: Node,
    pub depth: u32,
    /// Where it was reached from: the parent's place and the type's; None for a start node.
    pub from: Option<(u32, u32)>,
}

/// The nodes that were reached, by depth, then node; and the types' names.
#[derive(Debug, Default)]
pub struct Walk {
    pub reached: Vec<Reached>,
    pub kinds: Vec<String>,
}

impl Walk {
    /// The nodes from this place back to the start, both included: one more than its depth.
    pub fn back(&self, place: usize) -> impl Iterator<Item = Node> {
        let mut next = Some(place);
        std::iter::from_fn(move || {
            let at = &self.reached[next?];
            next = at.from.map(|(parent, _)| parent as usize);
            Some(at.node)
        })
    }
}

/// Where a node stands, while the walk goes on.
#[derive(Clone, Copy)]
enum Place {
    /// In `reached`.
    Reached(u32),
    /// In the level that is being found.
    Found(u32),
    /// Asked for and not seen.
    Unseen,
}

/// A node of the level that is being found.
struct Found {
    node: Node,
    parent: u32,
    kind: u32,
    seen: bool,
}

/// Walks from `start` for at most `depth` steps; `TooMany` as soon as more than `most` nodes are reached.
pub fn walk(graph: &mut impl Graph, start: &[Node], depth: u32, most: usize) -> Result<Walk, TooMany> {
    let mut walk = Walk::default();
    let mut kinds = Kinds::default();
    let mut places: HashMap<Node, Place, Mixed> = HashMap::default();
    let mut start = start.to_vec();
    start.sort_unstable();
    start.dedup();
    if !start.is_empty() {
        graph.seen(&start, &mut |node| {
            walk.reached.push(Reached {
                node,
                depth: 0,
                from: None,
            });
        });
    }
    walk.reached.sort_unstable_by_key(|reached| reached.node);
    if walk.reached.len() > most {
        return Err(TooMany);
    }
    for (i, reached) in walk.reached.iter().enumerate() {
        places.insert(reached.node, Place::Reached(i as u32));
    }
    let mut level = 0..walk.reached.len();
    for step in 1..=depth {
        if level.is_empty() {
            break;
        }
        let parents: Vec<Node> = walk.reached[level.clone()].iter().map(|reached| reached.node).collect();
        let mut found: Vec<Found> = Vec::new();
        let mut seen = 0;
        for parents in parents.chunks(CHUNK) {
            graph.pause();
            let asked = found.len();
            // Edges of one parent come one after the other.
            let mut last = (parents[0], place_of(&places, parents[0]));
            graph.edges(Way::Along, parents, &mut |edge| {
                if last.0 != edge.parent {
                    last = (edge.parent, place_of(&places, edge.parent));
                }
                let (parent, kind) = (last.1, edge.kind);
                let next = found.len() as u32;
                match places.entry(edge.target) {
                    Entry::Vacant(place) => {
                        place.insert(Place::Found(next));
                        found.push(Found {
                            node: edge.target,
                            parent,
                            kind: kinds.number(kind),
                            seen: false,
                        });
                    }
                    Entry::Occupied(place) => {
                        if let Place::Found(i) = *place.get() {
                            // Places of one level ascend with their nodes.
                            let best = &mut found[i as usize];
                            if parent < best.parent || parent == best.parent && kind < kinds.name(best.kind) {
                                best.parent = parent;
                                best.kind = kinds.number(kind);
                            }
                        }
                    }
                }
            });
            let candidates: Vec<Node> = found[asked..].iter().map(|found| found.node).collect();
            if !candidates.is_empty() {
                graph.seen_ends(&candidates, &mut |node| {
                    if let Some(Place::Found(i)) = places.get(&node) {
                        let found = &mut found[*i as usize];
                        seen += usize::from(!found.seen);
                        found.seen = true;
                    }
                });
            }
            if walk.reached.len() + seen > most {
                return Err(TooMany);
            }
        }
        for unseen in found.iter().filter(|found| !found.seen) {
            places.insert(unseen.node, Place::Unseen);
        }
        found.retain(|found| found.seen);
        found.sort_unstable_by_key(|found| found.node);
        level = walk.reached.len()..walk.reached.len() + found.len();
        for (i, found) in level.clone().zip(&found) {
            places.insert(found.node, Place::Reached(i as u32));
            walk.reached.push(Reached {
                node: found.node,
                depth: step,
                from: Some((found.parent, found.kind)),
            });
        }
    }
    walk.kinds = kinds.names;
    Ok(walk)
}

fn place_of(places: &HashMap<Node, Place, Mixed>, parent: Node) -> u32 {
    match places.get(&parent) {
        Some(Place::Reached(place)) => *place,
        _ => unreachable!("edges start where they were asked for"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::ground::sample::Sample;
    use super::*;

    type Row = (u32, Node, Option<(Node, String)>);

    fn rows(walk: &Walk) -> Vec<Row> {
        let row = |r: &Reached| {
            let from = r
                .from
                .map(|(parent, kind)| (walk.reached[parent as usize].node, walk.kinds[kind as usize].clone()));
            (r.depth, r.node, from)
        };
        walk.reached.iter().map(row).collect()
    }

    /// The same by relaxing every edge until nothing changes.
    fn model(graph: &Sample, start: &[Node], depth: u32) -> Vec<Row> {
        let mut best: BTreeMap<Node, (u32, Option<(Node, String)>)> = BTreeMap::new();
        for node in start.iter().filter(|node| !graph.hidden.contains(node)) {
            best.insert(*node, (0, None));
        }
        for step in 0..depth {
            for &(from, to, kind, _) in &graph.edges {
                if graph.hidden.contains(&to) || best.get(&from).is_none_or(|(d, _)| *d != step) {
                    continue;
                }
                let candidate = (step + 1, Some((from, kind.to_owned())));
                if best.get(&to).is_none_or(|before| candidate < *before) {
                    best.insert(to, candidate);
                }
            }
        }
        let mut rows: Vec<Row> = best
            .into_iter()
            .map(|(node, (depth, from))| (depth, node, from))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn ties_go_to_the_smallest_parent_then_type() {
        let edges = [
            (1, 3, "b"),
            (1, 2, "b"),
            (3, 4, "a"),
            (2, 4, "c"),
            (2, 4, "b"),
            (4, 1, "a"),
            (2, 2, "a"),
        ];
        let mut graph = Sample {
            edges: edges.map(|(from, to, kind)| (from, to, kind, 1.0)).into(),
            hidden: BTreeSet::new(),
        };
        let walk = walk(&mut graph, &[1, 1], 9, 10).unwrap();
        assert_eq!(rows(&walk)[3], (2, 4, Some((2, "b".to_owned()))));
        assert_eq!(walk.back(3).collect::<Vec<_>>(), [4, 2, 1]);
        assert_eq!(walk.reached.len(), 4);
    }

    #[test]
    fn more_nodes_than_allowed_are_too_many() {
        let mut graph = Sample {
            edges: vec![(1, 2, "a", 1.0), (1, 3, "a", 1.0), (1, 4, "a", 1.0)],
            hidden: [4].into(),
        };
        assert_eq!(walk(&mut graph, &[1], 1, 2).unwrap_err(), TooMany);
        assert_eq!(walk(&mut graph, &[1], 1, 3).unwrap().reached.len(), 3);
        assert_eq!(walk(&mut graph, &[1], 0, 1).unwrap().reached.len(), 1);
        assert_eq!(walk(&mut graph, &[1, 2], 0, 1).unwrap_err(), TooMany);
    }

    proptest! {
        #[test]
        fn a_walk_is_what_relaxing_gives(
            edges in prop::collection::vec((0..12u128, 0..12u128, prop::sample::select(vec!["a", "b", "c"])), 0..40),
            hidden in prop::collection::btree_set(0..12u128, 0..4),
            start in prop::collection::vec(0..14u128, 0..4),
            depth in 0..6u32,
        ) {
            let hidden = hidden.into_iter().chain([12, 13]).collect();
            let edges = edges.into_iter().map(|(from, to, kind)| (from, to, kind, 1.0)).collect();
            let mut graph = Sample { edges, hidden };
            let expected = model(&graph, &start, depth);
            let walk = walk(&mut graph, &start, depth, 100).unwrap();
            prop_assert_eq!(rows(&walk), expected);
            for (i, reached) in walk.reached.iter().enumerate() {
                let back: Vec<Node> = walk.back(i).collect();
                prop_assert_eq!(back.len() as u32, reached.depth + 1);
                prop_assert_eq!(back[0], reached.node);
                prop_assert!(start.contains(back.last().unwrap()));
            }
        }
    }
}
