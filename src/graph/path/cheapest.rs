//! Least cost. Two parts: searches from both ends find out which edges can lie on a cheapest path and read no others; then one search
//! over these, in memory and in one direction, decides. So costs are added up in one order only, and the answer does not hang on
//! where the two searches happened to meet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::{Onward, Step};
use crate::graph::explore::{Explorer, Link, MOST_EDGES};
use crate::graph::ground::{Graph, TooMany, Way};

/// How many nodes' edges are read at once: at least this many, and a part of those read so far, so that few statements are run and
/// little is read in vain.
const LEAST_READ: usize = 16;
const PART_READ: usize = 4;

/// Costs from both ends are added up in different orders; what differs by less than this may be equal.
const ROUNDING: f64 = 1e-9;

/// What is known to lead on from each node.
type Edges = HashMap<u32, Vec<Link>>;

/// The path between two different nodes that are seen.
pub fn search<G: Graph>(
    explorer: &mut Explorer<'_, G>,
    ends: [u32; 2],
    most_steps: u32,
) -> Result<Option<Vec<Step>>, TooMany> {
    let edges = between(explorer, ends)?;
    let Some(path) = decide(explorer, &edges, ends, None)? else {
        return Ok(None);
    };
    if path.len() as u64 <= u64::from(most_steps) + 1 {
        return Ok(Some(path));
    }
    // The cheapest has too many steps: all that can be reached in few enough counts.
    let edges = within(explorer, ends[0], most_steps)?;
    decide(explorer, &edges, ends, Some(most_steps))
}

fn cost(link: &Link) -> f64 {
    1.0 / f64::from(link.strength)
}

/// Costs are finite and not negative: so they order as their bits do.
fn order(cost: f64) -> u64 {
    cost.to_bits()
}

/// Dijkstra's search from one end.
struct Side {
    way: Way,
    cost: HashMap<u32, f64>,
    /// By cost; a node may stand here more than once, the first time counts.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    /// Nodes whose edges have been followed.
    done: HashSet<u32>,
    edges: Edges,
}

impl Side {
    fn new(way: Way, start: u32) -> Self {
        Self {
            way,
            cost: [(start, 0.0)].into(),
            next: [Reverse((order(0.0), start))].into(),
            done: HashSet::new(),
            edges: Edges::new(),
        }
    }

    /// The cost of the node to be followed next; None where all that can be reached has been.
    fn front(&mut self) -> Option<f64> {
        while let Some(Reverse((cost, node))) = self.next.peek() {
            if !self.done.contains(node) {
                return Some(f64::from_bits(*cost));
            }
            self.next.pop();
        }
        None
    }

    /// Reads the edges of the next node, if they have not been, and of some that come soon after it.
    fn read<G: Graph>(&mut self, explorer: &mut Explorer<'_, G>) -> Result<(), TooMany> {
        if self
            .next
            .peek()
            .is_none_or(|Reverse((_, node))| self.edges.contains_key(node))
        {
            return Ok(());
        }
        let most = LEAST_READ.max(self.edges.len() / PART_READ);
        let mut soon = Vec::new();
        let mut nodes = Vec::new();
        while nodes.len() < most
            && soon.len() < 4 * most
            && let Some(entry) = self.next.pop()
        {
            let node = entry.0.1;
            self.edges.entry(node).or_insert_with(|| {
                nodes.push(node);
                Vec::new()
            });
            soon.push(entry);
        }
        self.next.extend(soon);
        // Whether a node is seen is asked when its turn comes: most nodes that edges lead to never have one.
        explorer.look(nodes.iter().copied());
        nodes.retain(|node| explorer.is_seen(*node));
        for link in explorer.edges(self.way, &nodes)? {
            if link.strength > 0.0 {
                self.edges.entry(link.parent).or_default().push(link);
            }
        }
        Ok(())
    }

    /// Follows the edges of the next node; gives the cost of the best path over one of them to where the other side has been, if that is
    /// less than `least`.
    fn follow<G: Graph>(&mut self, explorer: &mut Explorer<'_, G>, other: &Side, mut least: f64) -> f64 {
        let Some(Reverse((at, node))) = self.next.pop() else {
            return least;
        };
        self.done.insert(node);
        for link in &self.edges[&node] {
            let cost = f64::from_bits(at) + cost(link);
            let known = self.cost.entry(link.target).or_insert(f64::INFINITY);
            if cost < *known {
                *known = cost;
                self.next.push(Reverse((order(cost), link.target)));
                // The other nodes of the path have been followed from one end, and so been seen.
                if let Some(rest) = other.cost.get(&link.target)
                    && cost + rest < least
                {
                    explorer.look(std::iter::once(link.target));
                    if explorer.is_seen(link.target) {
                        least = cost + rest;
                    }
                }
            }
        }
        least
    }
}

/// Every edge that can lie on a cheapest path: read until the costs of the two fronts together pass the cost of a path that is
/// known. An edge that has been followed from neither end leads from a node that costs the first front or more to one from which the rest
/// costs the second front or more: no path over it is a cheapest.
fn between<G: Graph>(explorer: &mut Explorer<'_, G>, ends: [u32; 2]) -> Result<Edges, TooMany> {
    let mut sides = [Side::new(Way::Along, ends[0]), Side::new(Way::Against, ends[1])];
    let mut least = f64::INFINITY;
    loop {
        explorer.tick();
        let [first, second] = &mut sides;
        // Where one side has been everywhere, it knows every path.
        let (Some(one), Some(two)) = (first.front(), second.front()) else {
            break;
        };
        if one + two > least * (1.0 + ROUNDING) {
            break;
        }
        let (side, other) = if first.next.len() <= second.next.len() {
            (first, &*second)
        } else {
            (second, &*first)
        };
        side.read(explorer)?;
        least = side.follow(explorer, other, least);
    }
    let [Side { mut edges, .. }, against] = sides;
    for link in against.edges.into_values().flatten() {
        explorer.tick();
        edges.entry(link.target).or_default().push(Link {
            parent: link.target,
            target: link.parent,
            ..link
        });
    }
    // A node from which nothing leads on is the end, which is seen, or on no path.
    let mut between = Vec::new();
    for link in edges.values().flatten() {
        explorer.tick();
        if edges.contains_key(&link.target) {
            between.push(link.target);
        }
    }
    explorer.look(between.into_iter());
    for links in edges.values_mut() {
        explorer.tick();
        links.retain(|link| explorer.is_seen(link.target));
    }
    Ok(edges)
}

/// Every edge that the first `steps` steps from a node can follow.
fn within<G: Graph>(explorer: &mut Explorer<'_, G>, start: u32, steps: u32) -> Result<Edges, TooMany> {
    let mut edges: Edges = [(start, Vec::new())].into();
    let mut front = vec![start];
    for _ in 0..steps {
        if front.is_empty() {
            break;
        }
        let links = explorer.edges_to_seen(Way::Along, &front)?;
        front.clear();
        for link in links.into_iter().filter(|link| link.strength > 0.0) {
            explorer.tick();
            edges.entry(link.target).or_insert_with(|| {
                front.push(link.target);
                Vec::new()
            });
            edges.entry(link.parent).or_default().push(link);
        }
    }
    Ok(edges)
}

/// A way to a node: none that is cheaper has as few steps.
struct Label {
    node: u32,
    steps: u32,
    cost: f64,
    /// The labels that it comes from, and by which type.
    before: Vec<(u32, u32)>,
}

/// A step from a label to a node, which may make a label of it: in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Try {
    cost: u64,
    steps: u32,
    node: u32,
    before: u32,
    kind: u32,
}

/// The path over these edges. Labels are made in the order of their cost, then steps. Without a bound on the steps a node has one label, its
/// cheapest; with one, also those that cost more and take fewer steps: they may be what the bound leaves room for.
fn decide<G: Graph>(
    explorer: &mut Explorer<'_, G>,
    edges: &Edges,
    ends: [u32; 2],
    most_steps: Option<u32>,
) -> Result<Option<Vec<Step>>, TooMany> {
    let mut labels: Vec<Label> = Vec::new();
    let mut latest: HashMap<u32, u32> = HashMap::new();
    // The start's label is the first, and comes from none.
    let start = Try {
        cost: order(0.0),
        steps: 0,
        node: ends[0],
        before: 0,
        kind: 0,
    };
    let mut next: BinaryHeap<Reverse<Try>> = [Reverse(start)].into();
    let mut last = None;
    loop {
        explorer.tick();
        let Some(Reverse(tried)) = next.pop() else {
            break;
        };
        let Try { steps, node, .. } = tried;
        let rank = |label: &Label| (order(label.cost), label.steps);
        if last.is_some_and(|last: u32| rank(&labels[last as usize]) < (tried.cost, steps)) {
            break;
        }
        if let Some(known) = latest.get(&node) {
            let label = &mut labels[*known as usize];
            if rank(label) == (tried.cost, steps) {
                label.before.push((tried.before, tried.kind));
                continue;
            }
            if most_steps.is_none() || label.steps <= steps {
                continue;
            }
        }
        let number = labels.len() as u32;
        let at = f64::from_bits(tried.cost);
        labels.push(Label {
            node,
            steps,
            cost: at,
            before: vec![(tried.before, tried.kind)],
        });
        latest.insert(node, number);
        if node == ends[1] {
            last.get_or_insert(number);
            continue;
        }
        if most_steps.is_some_and(|most| steps >= most) {
            continue;
        }
        for link in edges.get(&node).into_iter().flatten() {
            explorer.tick();
            next.push(Reverse(Try {
                cost: order(at + cost(link)),
                steps: steps + 1,
                node: link.target,
                before: number,
                kind: link.kind,
            }));
        }
        if labels.len() > MOST_EDGES || next.len() > 4 * MOST_EDGES {
            return Err(TooMany);
        }
    }
    Ok(last.map(|last| best(explorer, &labels, last)))
}

fn best<G: Graph>(explorer: &mut Explorer<'_, G>, labels: &[Label], last: u32) -> Vec<Step> {
    let mut onward = Onward::default();
    let mut reached = vec![last];
    let mut been: HashSet<u32> = [last].into();
    while let Some(number) = reached.pop() {
        explorer.tick();
        let label = &labels[number as usize];
        for &(before, kind) in label.before.iter().filter(|_| label.steps > 0) {
            onward.offer(explorer, before, number, kind, |number| labels[number as usize].node);
            if been.insert(before) {
                reached.push(before);
            }
        }
    }
    let step = |number: u32, kind: Option<u32>| Step {
        node: explorer.nodes[labels[number as usize].node as usize],
        kind: kind.map(|kind| explorer.kinds.name(kind).to_owned()),
        cost: labels[number as usize].cost,
    };
    let mut path = vec![step(0, None)];
    let mut at = 0;
    while let Some((next, kind)) = onward.from(at).filter(|_| at != last) {
        at = next;
        path.push(step(at, Some(kind)));
    }
    path
}
