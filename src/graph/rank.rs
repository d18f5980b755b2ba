//! Personalised PageRank (Brin and Page 1998; Haveliwala 2002) by power iteration.
//!
//! A walker on a node follows one of its edges with the probability `damping`, each as probable as it is strong, and else starts again at a
//! seed, each as probable as any other; from a node without an edge it starts again too. The score of a node is how probable it is
//! to find the walker there. Each round shrinks the distance from the answer, summed over all nodes, by `damping` at least.

use super::explore::{Link, Part};
use super::ground::Node;

/// How much the scores of two rounds differ in sum when they stand.
const TOLERANCE: f64 = 1e-9;

/// After so many rounds a damping is too near to 1: 0.99 takes 2,100 at most, 0.998 all of them.
const MOST_ROUNDS: usize = 10_000;

/// How many edges are gone through between two pauses.
const PAUSE: usize = 1 << 16;

/// Nodes by number, and the edges between them.
#[derive(Debug, Default)]
pub struct Subgraph {
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    /// Numbers, each once.
    pub seeds: Vec<u32>,
}

/// The rounds did not come to an end.
#[derive(Debug, PartialEq, Eq)]
pub struct NoEnd;

impl Subgraph {
    /// Takes in what is around some seeds. It shares no node with what is here: two nodes with one id are two.
    pub fn add(&mut self, part: Part) {
        let offset = self.nodes.len() as u32;
        self.nodes.extend(part.nodes);
        self.links.extend(part.links.into_iter().map(|link| Link {
            parent: link.parent + offset,
            target: link.target + offset,
            ..link
        }));
        // Those that were looked for from come first.
        self.seeds.extend((0..part.starts as u32).map(|seed| seed + offset));
    }
}

/// The scores of the nodes, which sum to 1. The order in which the edges were read changes nothing.
pub fn rank(graph: &Subgraph, damping: f64, pause: &mut dyn FnMut()) -> Result<Vec<f64>, NoEnd> {
    let nodes = graph.nodes.len();
    if graph.seeds.is_empty() {
        return Ok(Vec::new());
    }
    let into = Into::new(graph, pause);
    let seed = 1.0 / graph.seeds.len() as f64;
    let mut restart = vec![0.0; nodes];
    for at in &graph.seeds {
        restart[*at as usize] = seed;
    }
    let mut scores = restart.clone();
    for _ in 0..MOST_ROUNDS {
        let stray: f64 = (0..nodes)
            .filter(|node| into.loose[*node])
            .map(|node| scores[node])
            .sum();
        let again = damping * stray + (1.0 - damping);
        let mut after = vec![0.0; nodes];
        let mut since = 0;
        for node in 0..nodes {
            let edges = into.start[node]..into.start[node + 1];
            since += edges.len() + 1;
            if since > PAUSE {
                since = 0;
                pause();
            }
            let came: f64 = into.edges[edges]
                .iter()
                .map(|(from, part)| scores[*from as usize] * part)
                .sum();
            after[node] = damping * came + again * restart[node];
        }
        pause();
        // Rounding leaks a little in every round.
        let sum: f64 = after.iter().sum();
        let mut moved = 0.0;
        for (after, before) in after.iter_mut().zip(&scores) {
            *after /= sum;
            moved += (*after - before).abs();
        }
        scores = after;
        if moved < TOLERANCE {
            return Ok(scores);
        }
    }
    Err(NoEnd)
}

/// For each node, the edges that lead into it: from where, and which part of what is there comes over it.
struct Into {
    /// The edges into node n stand from start[n] to start[n + 1].
    start: Vec<usize>,
    edges: Vec<(u32, f64)>,
    /// Whether no edge leads out of a node.
    loose: Vec<bool>,
}

impl Into {
    fn new(graph: &Subgraph, pause: &mut dyn FnMut()) -> Self {
        let nodes = graph.nodes.len();
        let mut start = vec![0; nodes + 1];
        for links in graph.links.chunks(PAUSE) {
            pause();
            for link in links {
                start[link.target as usize + 1] += 1;
            }
        }
        for node in 0..nodes {
            start[node + 1] += start[node];
        }
        let mut free = start.clone();
        let mut edges = vec![(0, 0.0); graph.links.len()];
        for links in graph.links.chunks(PAUSE) {
            pause();
            for link in links {
                let place = &mut free[link.target as usize];
                edges[*place] = (link.parent, f64::from(link.strength));
                *place += 1;
            }
        }
        // Sums hang on the order of what is summed; nobody promised an order of the edges.
        for node in 0..nodes {
            let into = &mut edges[start[node]..start[node + 1]];
            if into.len() > 1024 || node % 1024 == 0 {
                pause();
            }
            into.sort_unstable_by_key(|edge| (edge.0, edge.1.to_bits()));
        }
        let mut strength = vec![0.0; nodes];
        for edges in edges.chunks(PAUSE) {
            pause();
            for (from, part) in edges {
                strength[*from as usize] += part;
            }
        }
        for edges in edges.chunks_mut(PAUSE) {
            pause();
            for (from, part) in edges.iter_mut().filter(|edge| edge.1 > 0.0) {
                *part /= strength[*from as usize];
            }
        }
        let loose = strength.iter().map(|strength| *strength == 0.0).collect();
        Self { start, edges, loose }
    }
}

/// The `most` best nodes, each id once: best score first, then the smallest id. Scores that the tolerance cannot tell apart are the same.
pub fn best(nodes: &[Node], scores: &[f64], most: usize) -> Vec<(Node, f64)> {
    const DIGITS: f64 = 1e12;
    let mut rows: Vec<(Node, f64)> = nodes.iter().copied().zip(scores.iter().copied()).collect();
    rows.sort_by_key(|row| row.0);
    rows.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1 += later.1;
        }
        same
    });
    for row in &mut rows {
        row.1 = (row.1 * DIGITS).round() / DIGITS;
    }
    // Stable: equal ones stay in the order of their ids.
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows.truncate(most);
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::explore;
    use super::super::ground::sample::Sample;
    use super::*;

    fn around(graph: &mut Sample, seeds: &[Node], depth: u32) -> Subgraph {
        let mut subgraph = Subgraph::default();
        subgraph.add(explore::around(graph, seeds, depth, 1000, 1000).unwrap());
        subgraph
    }

    fn scores(graph: &mut Sample, seeds: &[Node], depth: u32, damping: f64) -> BTreeMap<Node, f64> {
        let subgraph = around(graph, seeds, depth);
        let scores = rank(&subgraph, damping, &mut || ()).unwrap();
        subgraph.nodes.into_iter().zip(scores).collect()
    }

    /// The same as a linear equation, solved by elimination: s = d (A s + loose mass to the seeds) + (1 - d) seeds.
    fn solved(edges: &[(Node, Node, f32)], nodes: &[Node], seeds: &[Node], damping: f64) -> Vec<f64> {
        let n = nodes.len();
        let place = |node: Node| nodes.iter().position(|other| *other == node);
        let restart = |i: usize| {
            if seeds.contains(&nodes[i]) {
                1.0 / seeds.len() as f64
            } else {
                0.0
            }
        };
        let mut weight = vec![vec![0.0; n]; n];
        for &(from, to, strength) in edges {
            if let (Some(from), Some(to)) = (place(from), place(to)) {
                weight[to][from] += f64::from(strength);
            }
        }
        let mut rows: Vec<Vec<f64>> = vec![vec![0.0; n + 1]; n];
        for from in 0..n {
            let sum: f64 = (0..n).map(|to| weight[to][from]).sum();
            for (to, row) in rows.iter_mut().enumerate() {
                let part = if sum > 0.0 { weight[to][from] / sum } else { restart(to) };
                row[from] = f64::from(u8::from(from == to)) - damping * part;
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            row[n] = (1.0 - damping) * restart(i);
        }
        for i in 0..n {
            let pivot = (i..n)
                .max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs()))
                .unwrap();
            rows.swap(i, pivot);
            let pivot = rows[i].clone();
            for (_, row) in rows.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                let factor = row[i] / pivot[i];
                for (cell, other) in row.iter_mut().zip(&pivot).skip(i) {
                    *cell -= factor * other;
                }
            }
        }
        (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
    }

    #[test]
    fn what_is_alike_scores_alike_and_ties_go_to_the_smaller_node() {
        let mut graph = Sample {
            edges: vec![
                (1, 5, "a", 0.5),
                (1, 3, "a", 0.5),
                (1, 4, "b", 0.25),
                (1, 4, "a", 0.25),
                (2, 9, "a", 1.0),
            ],
            hidden: [].into(),
        };
        let subgraph = around(&mut graph, &[1, 7], 2);
        let best = best(&subgraph.nodes, &rank(&subgraph, 0.85, &mut || ()).unwrap(), 3);
        // 7 is a seed without edges.
        assert_eq!(best.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 7, 3]);
        assert_eq!(best[0].1, best[1].1);
        assert_eq!(super::best(&[3, 1, 3], &[0.25, 0.5, 0.25], 9), [(1, 0.5), (3, 0.5)]);
    }

    #[test]
    fn no_seed_no_scores_and_a_walk_that_never_settles_ends() {
        let mut graph = Sample {
            edges: vec![(1, 2, "a", 1.0), (2, 1, "a", 1.0)],
            hidden: [3].into(),
        };
        assert!(scores(&mut graph, &[3], 4, 0.85).is_empty());
        assert_eq!(scores(&mut graph, &[1], 4, 0.0), [(1, 1.0), (2, 0.0)].into());
        let subgraph = around(&mut graph, &[1], 4);
        assert_eq!(rank(&subgraph, 0.999_999_999, &mut || ()), Err(NoEnd));
    }

    proptest! {
        #[test]
        fn the_order_of_edges_changes_nothing(
            edges in prop::collection::vec((0..20u128, 0..20u128, Just("a"), 0.0f32..1.0), 0..80),
            seeds in prop::collection::vec(0..20u128, 1..4),
        ) {
            let mut graph = Sample { edges, hidden: [].into() };
            let one = scores(&mut graph, &seeds, 3, 0.85);
            graph.edges.sort_by(|a, b| a.3.total_cmp(&b.3));
            prop_assert_eq!(scores(&mut graph, &seeds, 3, 0.85), one);
        }

        #[test]
        fn scores_solve_the_equation(
            edges in prop::collection::vec((0..9u128, 0..9u128, prop::sample::select(vec![0.0f32, 0.1, 0.5, 1.0])), 0..30),
            hidden in prop::collection::btree_set(0..9u128, 0..3),
            seeds in prop::collection::btree_set(0..9u128, 1..4),
            depth in 0..5u32,
            damping in 0.0..0.95f64,
        ) {
            let kinds = edges.iter().map(|&(from, to, strength)| (from, to, "a", strength)).collect();
            let mut graph = Sample { edges: kinds, hidden: hidden.clone() };
            let found = scores(&mut graph, &seeds.iter().copied().collect::<Vec<_>>(), depth, damping);
            let seeds: Vec<Node> = seeds.into_iter().filter(|seed| !hidden.contains(seed)).collect();
            let nodes: Vec<Node> = found.keys().copied().collect();
            prop_assert!(seeds.iter().all(|seed| nodes.contains(seed)));
            let expected = solved(&edges, &nodes, &seeds, damping);
            for ((node, score), expected) in found.iter().zip(&expected) {
                prop_assert!((score - expected).abs() < 1e-7, "{node}: {score} {expected}");
            }
            let sum: f64 = found.values().sum();
            prop_assert!(found.is_empty() || (sum - 1.0).abs() < 1e-12);
        }
    }
}
