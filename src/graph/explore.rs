//! What has been read of a graph: nodes and types by number, edges only to nodes that are seen.
//!
//! Pure, as `ground`: for algorithms that go through a graph more than once, or from several sides.

use std::collections::HashMap;

use super::ground::{CHUNK, Graph, Kinds, Mixed, Node, TooMany, Way};

/// How many edges a call reads at most: with what is made of them, some hundred bytes each.
pub const MOST_EDGES: usize = 4_000_000;

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
        }
    }

    pub fn number(&mut self, node: Node) -> u32 {
        number(&mut self.numbers, &mut self.nodes, &mut self.sights, node)
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

/// The edges between these nodes (distinct), which are known to be seen; a node's number is its place. And the names of their types.
pub fn among<G: Graph>(graph: &mut G, nodes: &[Node], most: usize) -> Result<(Vec<Link>, Kinds), TooMany> {
    let mut explorer = Explorer::new(graph, most);
    let all: Vec<u32> = nodes.iter().map(|node| explorer.number(*node)).collect();
    let mut links = explorer.edges(Way::Along, &all)?;
    links.retain(|link| (link.target as usize) < nodes.len());
    Ok((links, explorer.kinds))
}

#[cfg(test)]
mod tests {
    use super::super::ground::sample::Sample;
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
}
