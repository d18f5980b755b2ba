//! Shortest paths, searched from both ends.
//!
//! Which one, where there are several: of the cheapest (unweighted: each step costs 1) the one with the fewest steps; of these the one
//! whose nodes come first, compared one after the other; then the one whose types do. Between two nodes that are joined by several edges the
//! cheapest counts. So the answer to one question is always the same, whatever order the edges are read in.

mod cheapest;
mod fewest;

use std::collections::HashMap;

use super::explore::{Explorer, MOST_EDGES};
use super::ground::{Graph, Node, TooMany};

/// A node of a path, with the type of the edge that leads to it and what the way to it costs.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Step {
    pub node: Node,
    pub kind: Option<String>,
    pub cost: f64,
}

/// The path from one node to another with at most `most_steps` steps, if both are seen and there is one. Weighted, an edge costs 1 /
/// strength, and one of strength 0 is none.
pub fn shortest(
    graph: &mut impl Graph,
    from: Node,
    to: Node,
    most_steps: u32,
    weighted: bool,
) -> Result<Option<Vec<Step>>, TooMany> {
    let mut explorer = Explorer::new(graph, MOST_EDGES);
    let ends = [explorer.number(from), explorer.number(to)];
    explorer.look(ends.into_iter());
    if !ends.iter().all(|end| explorer.is_seen(*end)) {
        return Ok(None);
    }
    if from == to {
        return Ok(Some(vec![Step {
            node: from,
            kind: None,
            cost: 0.0,
        }]));
    }
    if weighted {
        cheapest::search(&mut explorer, ends, most_steps)
    } else {
        fewest::search(&mut explorer, ends, most_steps)
    }
}

/// The best next step from each place: to the smallest node, along the smallest type. Places are what a search counts in: nodes,
/// or labels of nodes.
#[derive(Default)]
struct Onward(HashMap<u32, (u32, u32)>);

impl Onward {
    /// There is a way on from `place` to `next`; `node` tells a place's node.
    fn offer<G: Graph>(
        &mut self,
        explorer: &Explorer<'_, G>,
        place: u32,
        next: u32,
        kind: u32,
        node: impl Fn(u32) -> u32,
    ) {
        let key = |(next, kind): (u32, u32)| (explorer.nodes[node(next) as usize], explorer.kinds.name(kind));
        let best = self.0.entry(place).or_insert((next, kind));
        if key((next, kind)) < key(*best) {
            *best = (next, kind);
        }
    }

    fn from(&self, place: u32) -> Option<(u32, u32)> {
        self.0.get(&place).copied()
    }
}

#[cfg(test)]
mod tests {
    use petgraph::graphmap::DiGraphMap;
    use proptest::prelude::*;

    use super::super::ground::sample::Sample;
    use super::*;

    type Row = (Node, Option<&'static str>, f64);

    fn rows(graph: &mut Sample, from: Node, to: Node, most_steps: u32, weighted: bool) -> Vec<(Node, String, f64)> {
        let path = shortest(graph, from, to, most_steps, weighted)
            .unwrap()
            .unwrap_or_default();
        path.into_iter()
            .map(|step| (step.node, step.kind.unwrap_or_default(), step.cost))
            .collect()
    }

    /// Every simple path, the best of them.
    fn model(graph: &Sample, from: Node, to: Node, most_steps: u32, weighted: bool) -> Vec<(Node, String, f64)> {
        fn go(graph: &Sample, to: Node, left: u32, weighted: bool, way: &mut Vec<Row>, best: &mut Option<Vec<Row>>) {
            let &(at, _, cost) = way.last().unwrap();
            if at == to {
                let key = |way: &Vec<Row>| {
                    let nodes: Vec<Node> = way.iter().map(|row| row.0).collect();
                    let kinds: Vec<Option<&str>> = way.iter().map(|row| row.1).collect();
                    let costs: Vec<f64> = way.iter().map(|row| row.2).collect();
                    (way.last().unwrap().2, way.len(), nodes, costs, kinds)
                };
                if best
                    .as_ref()
                    .is_none_or(|best| key(way).partial_cmp(&key(best)).unwrap().is_lt())
                {
                    *best = Some(way.clone());
                }
                return;
            }
            if left == 0 {
                return;
            }
            for &(parent, target, kind, strength) in &graph.edges {
                let unseen = graph.hidden.contains(&target) || weighted && strength == 0.0;
                if parent != at || unseen || way.iter().any(|row| row.0 == target) {
                    continue;
                }
                let step = if weighted { 1.0 / f64::from(strength) } else { 1.0 };
                way.push((target, Some(kind), cost + step));
                go(graph, to, left - 1, weighted, way, best);
                way.pop();
            }
        }
        let mut best = None;
        if !graph.hidden.contains(&from) && !graph.hidden.contains(&to) {
            go(graph, to, most_steps, weighted, &mut vec![(from, None, 0.0)], &mut best);
        }
        let row = |(node, kind, cost): Row| (node, kind.unwrap_or_default().to_owned(), cost);
        best.unwrap_or_default().into_iter().map(row).collect()
    }

    const KINDS: [&str; 3] = ["a", "b", "c"];

    fn sample(edges: Vec<(u128, u128, usize, f32)>, hidden: std::collections::BTreeSet<Node>) -> Sample {
        let edges = edges
            .into_iter()
            .map(|(from, to, kind, strength)| (from, to, KINDS[kind], strength));
        Sample {
            edges: edges.collect(),
            hidden,
        }
    }

    #[test]
    fn from_a_node_to_itself_is_one_step_that_costs_nothing() {
        let mut graph = sample(vec![(1, 1, 0, 1.0)], [2].into());
        for weighted in [false, true] {
            assert_eq!(rows(&mut graph, 1, 1, 0, weighted), [(1, String::new(), 0.0)]);
            assert_eq!(rows(&mut graph, 2, 2, 9, weighted), []);
        }
    }

    #[test]
    fn a_bound_on_steps_takes_the_cheapest_within_it() {
        // The long way round costs 3, the direct edge 8.
        let mut graph = sample(
            vec![
                (1, 2, 0, 1.0),
                (2, 3, 0, 1.0),
                (3, 4, 0, 1.0),
                (1, 4, 0, 0.125),
                (1, 3, 0, 0.25),
            ],
            [].into(),
        );
        let cost = |graph: &mut Sample, most| rows(graph, 1, 4, most, true).last().map(|row| row.2);
        assert_eq!(cost(&mut graph, 3), Some(3.0));
        assert_eq!(cost(&mut graph, 2), Some(5.0));
        assert_eq!(cost(&mut graph, 1), Some(8.0));
        assert_eq!(cost(&mut graph, 0), None);
    }

    #[test]
    fn a_cheap_start_that_takes_too_many_steps_hides_no_dear_one_that_does_not() {
        // The cheapest way to 3 has two steps, after which 4 is out of reach in two.
        let mut graph = sample(
            vec![(1, 2, 0, 1.0), (2, 3, 0, 1.0), (1, 3, 1, 0.125), (3, 4, 0, 1.0)],
            [].into(),
        );
        assert_eq!(
            rows(&mut graph, 1, 4, 2, true),
            [(1, String::new(), 0.0), (3, "b".into(), 8.0), (4, "a".into(), 9.0)]
        );
    }

    #[test]
    fn of_paths_that_cost_the_same_the_smaller_nodes_stand_whatever_their_starts_cost() {
        let edges = [
            (1, 2, 2, 0.25),
            (2, 4, 0, 1.0),
            (1, 3, 0, 1.0),
            (3, 4, 0, 0.25),
            (2, 4, 2, 1.0),
            (1, 2, 1, 0.25),
        ];
        // However the edges are ordered.
        for turn in 0..edges.len() {
            let mut edges = edges;
            edges.rotate_left(turn);
            let mut graph = sample(edges.into(), [].into());
            let expected = [(1, String::new(), 0.0), (2, "b".into(), 4.0), (4, "a".into(), 5.0)];
            assert_eq!(rows(&mut graph, 1, 4, 9, true), expected);
            let expected = [(1, String::new(), 0.0), (2, "b".into(), 1.0), (4, "a".into(), 2.0)];
            assert_eq!(rows(&mut graph, 1, 4, 9, false), expected);
        }
    }

    #[test]
    fn strengths_that_are_hardly_any_cost_much_and_overflow_nothing() {
        let least = f32::from_bits(1);
        let mut graph = sample((0..9).map(|i| (i, i + 1, 0, least)).collect(), [].into());
        let path = rows(&mut graph, 0, 9, 9, true);
        assert_eq!(path.len(), 10);
        assert!(path[9].2.is_finite() && path[9].2 > 6e45, "{path:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        // Costs are 1, 2, 4 and 8: sums are exact, and ties frequent.
        #[test]
        fn a_path_is_the_best_of_all(
            edges in prop::collection::vec((0..6u128, 0..6u128, 0..3usize, prop::sample::select(vec![1.0f32, 0.5, 0.25, 0.0])), 0..28),
            hidden in prop::collection::btree_set(0..20u128, 0..4),
            (from, to) in (0..7u128, 0..7u128),
            most_steps in 0..9u32,
            weighted in any::<bool>(),
        ) {
            let mut graph = sample(edges, hidden);
            let expected = model(&graph, from, to, most_steps, weighted);
            prop_assert_eq!(rows(&mut graph, from, to, most_steps, weighted), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_path_costs_what_petgraph_says(
            edges in prop::collection::vec((0..60u32, 0..60u32, 0..3usize, 0.001f32..1.0), 0..400),
            pairs in prop::collection::vec((0..60u32, 0..60u32), 8),
            weighted in any::<bool>(),
        ) {
            let cost = |strength: f32| if weighted { 1.0 / f64::from(strength) } else { 1.0 };
            let mut rival = DiGraphMap::<u32, f64>::new();
            for &(from, to, _, strength) in &edges {
                let before = rival.edge_weight(from, to).copied().unwrap_or(f64::INFINITY);
                rival.add_edge(from, to, before.min(cost(strength)));
            }
            let edges = edges.into_iter().map(|(from, to, kind, strength)| (from.into(), to.into(), kind, strength));
            let mut graph = sample(edges.collect(), [].into());
            for (from, to) in pairs {
                rival.add_node(from);
                let expected = petgraph::algo::dijkstra(&rival, from, Some(to), |edge| *edge.2).get(&to).copied();
                let found = rows(&mut graph, from.into(), to.into(), u32::MAX, weighted);
                // petgraph adds up in the same order.
                prop_assert_eq!(found.last().map(|row| row.2), if from == to { Some(0.0) } else { expected });
            }
        }
    }
}
