//! What has been read of a graph: nodes and types by number, edges only to nodes that are seen.
//!
//! Pure, as `ground`: for algorithms that go through a graph more than once, or from several sides.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ground::{CHUNK, Graph, Kinds, Mixed, Node, TooMany, Way};

/// How many edges a call reads at most: with what is made of them, some hundred bytes each.
pub const MOST_EDGES: usize = 4_000_000;

/// How many rounds of a loop pass between two pauses.
const PAUSE: usize = 4096;

/// An edge between nodes that have numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub parent: u32,
    pub target: u32,
    pub kind: u32,
    pub strength: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Unknown,
    Seen,
    Unseen,
}

/// A graph as far as it is known.
pub struct Explorer<'g, G> {
    pub graph: &'g mut G,
    numbers: HashMap<Node, u32, Mixed>,
    pub nodes: Vec<Node>,
    sights: Vec<Sight>,
    pub kinds: Kinds,
    edges: usize,
    most: usize,
    rounds: usize,
}

impl<'g, G: Graph> Explorer<'g, G> {
    /// Of at most `most` edges.
    pub fn new(graph: &'g mut G, most: usize) -> Self {
        Self {
            graph,
            numbers: HashMap::default(),
            nodes: Vec::new(),
            sights: Vec::new(),
            kinds: Kinds::default(),
            edges: 0,
            most,
            rounds: 0,
        }
    }

    pub fn number(&mut self, node: Node) -> u32 {
        number(&mut self.numbers, &mut self.nodes, &mut self.sights, node)
    }

    /// Called in every round of a loop that may be long.
    pub fn tick(&mut self) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(PAUSE) {
            self.graph.pause();
        }
    }

    /// The edges of these nodes (distinct), to nodes of which it may not be known yet whether they are seen.
    pub fn edges(&mut self, way: Way, parents: &[u32]) -> Result<Vec<Link>, TooMany> {
        let mut asked: Vec<Node> = parents.iter().map(|parent| self.nodes[*parent as usize]).collect();
        asked.sort_unstable();
        let mut links = Vec::new();
        for asked in asked.chunks(CHUNK) {
            self.graph.pause();
            let mut last = (asked[0], self.numbers[&asked[0]]);
            self.graph.edges(way, asked, &mut |edge| {
                self.edges += 1;
                if self.edges > self.most {
                    return;
                }
                // Edges of one parent come one after the other.
                if last.0 != edge.parent {
                    last = (edge.parent, self.numbers[&edge.parent]);
                }
                let target = number(&mut self.numbers, &mut self.nodes, &mut self.sights, edge.target);
                if self.sights[target as usize] != Sight::Unseen {
                    links.push(Link {
                        parent: last.1,
                        target,
                        kind: self.kinds.number(edge.kind),
                        strength: edge.strength,
                    });
                }
            });
            if self.edges > self.most {
                return Err(TooMany);
            }
        }
        Ok(links)
    }

    /// Finds out which of these nodes are seen, where that is not known.
    pub fn look(&mut self, nodes: impl Iterator<Item = u32>) {
        let mut unknown = Vec::new();
        for node in nodes {
            let sight = &mut self.sights[node as usize];
            if *sight == Sight::Unknown {
                // Until it is found below.
                *sight = Sight::Unseen;
                unknown.push(self.nodes[node as usize]);
            }
        }
        for unknown in unknown.chunks(CHUNK) {
            self.graph.pause();
            self.graph.seen(unknown, &mut |node| {
                self.sights[self.numbers[&node] as usize] = Sight::Seen;
            });
        }
    }

    /// Whether a node that was looked at is seen.
    pub fn is_seen(&self, node: u32) -> bool {
        self.sights[node as usize] == Sight::Seen
    }

    /// The edges of these nodes (distinct) to nodes that are seen.
    pub fn edges_to_seen(&mut self, way: Way, parents: &[u32]) -> Result<Vec<Link>, TooMany> {
        let mut links = self.edges(way, parents)?;
        self.look(links.iter().map(|link| link.target));
        links.retain(|link| self.is_seen(link.target));
        Ok(links)
    }
}

fn number(numbers: &mut HashMap<Node, u32, Mixed>, nodes: &mut Vec<Node>, sights: &mut Vec<Sight>, node: Node) -> u32 {
    *numbers.entry(node).or_insert_with(|| {
        nodes.push(node);
        sights.push(Sight::Unknown);
        nodes.len() as u32 - 1
    })
}

/// A part of a graph: nodes, the first `starts` of them those that it was looked for from, and every edge between them.
#[derive(Debug, Default)]
pub struct Part {
    pub nodes: Vec<Node>,
    pub starts: usize,
    /// A node's number is its place.
    pub links: Vec<Link>,
    pub kinds: Kinds,
}

/// The nodes that are seen within `depth` steps of others, `most` at most, and the edges between them.
pub fn around<G: Graph>(
    graph: &mut G,
    start: &[Node],
    depth: u32,
    most: usize,
    most_edges: usize,
) -> Result<Part, TooMany> {
    let mut explorer = Explorer::new(graph, most_edges);
    let mut start = start.to_vec();
    start.sort_unstable();
    start.dedup();
    let mut level: Vec<u32> = start.iter().map(|node| explorer.number(*node)).collect();
    explorer.look(level.iter().copied());
    level.retain(|node| explorer.is_seen(*node));
    let mut part = Part {
        starts: level.len(),
        ..Part::default()
    };
    let mut places: HashMap<u32, u32> = HashMap::new();
    for taken in 0.. {
        if part.nodes.len() + level.len() > most {
            return Err(TooMany);
        }
        // Numbers by depth, then node, whatever order the edges came in.
        level.sort_unstable_by_key(|node| explorer.nodes[*node as usize]);
        for node in &level {
            places.insert(*node, part.nodes.len() as u32);
            part.nodes.push(explorer.nodes[*node as usize]);
        }
        if level.is_empty() || taken == depth {
            break;
        }
        let links = explorer.edges_to_seen(Way::Along, &level)?;
        level.clear();
        for link in &links {
            explorer.tick();
            // Not yet, or found in this loop already.
            if let Entry::Vacant(place) = places.entry(link.target) {
                place.insert(u32::MAX);
                level.push(link.target);
            }
        }
        part.links.extend(links);
    }
    part.links.extend(explorer.edges(Way::Along, &level)?);
    let mut within = Vec::with_capacity(part.links.len());
    for link in &part.links {
        explorer.tick();
        if let (Some(parent), Some(target)) = (places.get(&link.parent), places.get(&link.target)) {
            within.push(Link {
                parent: *parent,
                target: *target,
                ..*link
            });
        }
    }
    part.links = within;
    part.kinds = explorer.kinds;
    Ok(part)
}

/// The edges between these nodes (distinct, ascending), which are known to be seen; a node's number is its place. And the names of their types.
pub fn among<G: Graph>(graph: &mut G, nodes: &[Node], most: usize) -> Result<(Vec<Link>, Kinds), TooMany> {
    let part = around(graph, nodes, 0, usize::MAX, most)?;
    Ok((part.links, part.kinds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ground::sample::Sample;
    use super::super::walk;
    use super::*;

    #[test]
    fn only_edges_to_seen_nodes_come_and_more_than_allowed_are_too_many() {
        let mut graph = Sample {
            edges: vec![(1, 2, "a", 0.5), (1, 3, "b", 1.0), (2, 1, "a", 0.25)],
            hidden: [3].into(),
        };
        let mut explorer = Explorer::new(&mut graph, 3);
        let one = explorer.number(1);
        let links = explorer.edges_to_seen(Way::Along, &[one]).unwrap();
        assert_eq!(links.len(), 1);
        assert_eq!((explorer.nodes[links[0].target as usize], links[0].strength), (2, 0.5));
        // The third edge is read against its direction, a fourth is too many.
        assert_eq!(explorer.edges_to_seen(Way::Against, &[one]).unwrap().len(), 1);
        assert_eq!(explorer.edges(Way::Along, &[one]), Err(TooMany));
    }
    proptest! {
        #[test]
        fn what_is_around_is_what_a_walk_reaches_and_all_between(
            edges in prop::collection::vec((0..9u128, 0..9u128, Just("a"), 0.0f32..1.0), 0..30),
            hidden in prop::collection::btree_set(0..9u128, 0..4),
            start in prop::collection::vec(0..9u128, 0..4),
            depth in 0..5u32,
        ) {
            let mut graph = Sample { edges, hidden };
            let part = around(&mut graph, &start, depth, 9, 99).unwrap();
            let reached = walk::walk(&mut graph, &start, depth, 9).unwrap().reached;
            let sorted = |mut nodes: Vec<Node>| { nodes.sort_unstable(); nodes };
            prop_assert_eq!(sorted(part.nodes.clone()), sorted(reached.iter().map(|reached| reached.node).collect()));
            prop_assert_eq!(part.starts, reached.iter().filter(|reached| reached.depth == 0).count());
            prop_assert!(part.nodes[..part.starts].iter().all(|node| start.contains(node)));
            let mut expected: Vec<(Node, Node, u32)> = Vec::new();
            for &(from, to, _, strength) in &graph.edges {
                if part.nodes.contains(&from) && part.nodes.contains(&to) {
                    expected.push((from, to, strength.to_bits()));
                }
            }
            let node = |number: u32| part.nodes[number as usize];
            let mut found: Vec<(Node, Node, u32)> =
                part.links.iter().map(|link| (node(link.parent), node(link.target), link.strength.to_bits())).collect();
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            if part.nodes.len() > 1 {
                prop_assert_eq!(around(&mut graph, &start, depth, part.nodes.len() - 1, 99).unwrap_err(), TooMany);
            }
        }
    }
}
