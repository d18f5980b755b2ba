//! Fewest steps: a breadth-first search from both ends, the end with fewer nodes to go on from taking the next step.
//!
//! Where no node is in both searches after a and b steps, every path has more than a + b. So when one more step of one search meets the other,
//! the path has a + b + 1 steps, and every shortest path passes through one of the nodes where they meet.

use std::collections::HashSet;

use super::{Onward, Step};
use crate::graph::explore::{Explorer, Link};
use crate::graph::ground::{Graph, TooMany, Way};

const FAR: u32 = u32::MAX;

struct Side {
    way: Way,
    /// The nodes that its last step found.
    front: Vec<u32>,
    /// By node; FAR where it has not been.
    depth: Vec<u32>,
    /// Of each step, the edges to nodes that it was the first to find.
    steps: Vec<Vec<Link>>,
}

impl Side {
    fn new(way: Way, start: u32) -> Self {
        let mut side = Self {
            way,
            front: vec![start],
            depth: Vec::new(),
            steps: Vec::new(),
        };
        side.mark(start, 0);
        side
    }

    fn mark(&mut self, node: u32, depth: u32) {
        if self.depth.len() <= node as usize {
            self.depth.resize(node as usize + 1, FAR);
        }
        self.depth[node as usize] = depth;
    }

    fn depth(&self, node: u32) -> u32 {
        self.depth.get(node as usize).copied().unwrap_or(FAR)
    }
}

/// The path between two different nodes that are seen.
pub fn search<G: Graph>(
    explorer: &mut Explorer<'_, G>,
    ends: [u32; 2],
    most_steps: u32,
) -> Result<Option<Vec<Step>>, TooMany> {
    let mut sides = [Side::new(Way::Along, ends[0]), Side::new(Way::Against, ends[1])];
    for taken in 1..=most_steps {
        let smaller = usize::from(sides[1].front.len() < sides[0].front.len());
        let [first, second] = &mut sides;
        let (side, other) = if smaller == 0 {
            (first, &*second)
        } else {
            (second, &*first)
        };
        if side.front.is_empty() {
            return Ok(None);
        }
        let depth = side.steps.len() as u32 + 1;
        let mut step = explorer.edges(side.way, &side.front)?;
        let mut found = Vec::new();
        let mut meeting = HashSet::new();
        step.retain(|link| {
            if side.depth(link.target) == FAR {
                side.mark(link.target, depth);
                found.push(link.target);
                if other.depth(link.target) != FAR {
                    meeting.insert(link.target);
                }
            }
            side.depth(link.target) == depth
        });
        if !meeting.is_empty() {
            side.steps.push(step);
            return Ok(Some(best(explorer, &sides, ends, meeting, taken)));
        }
        // Whether they are seen matters only now: where the searches meet, the other one knew.
        explorer.look(found.iter().copied());
        found.retain(|node| explorer.is_seen(*node));
        step.retain(|link| explorer.is_seen(link.target));
        side.front = found;
        side.steps.push(step);
    }
    Ok(None)
}

fn best<G: Graph>(
    explorer: &mut Explorer<'_, G>,
    sides: &[Side; 2],
    ends: [u32; 2],
    meeting: HashSet<u32>,
    taken: u32,
) -> Vec<Step> {
    let mut onward = Onward::default();
    // From where the searches meet back to the start, over every edge that lies on a shortest path.
    let mut reached = meeting.clone();
    for step in sides[0].steps.iter().rev() {
        let mut before = HashSet::new();
        for link in step {
            explorer.tick();
            if reached.contains(&link.target) {
                onward.offer(explorer, link.parent, link.target, link.kind, |node| node);
                before.insert(link.parent);
            }
        }
        reached = before;
    }
    let mut reached = meeting;
    for step in sides[1].steps.iter().rev() {
        let mut after = HashSet::new();
        for link in step {
            explorer.tick();
            if reached.contains(&link.target) {
                onward.offer(explorer, link.target, link.parent, link.kind, |node| node);
                after.insert(link.parent);
            }
        }
        reached = after;
    }
    let mut at = ends[0];
    let mut path = vec![Step {
        node: explorer.nodes[at as usize],
        kind: None,
        cost: 0.0,
    }];
    while let Some((next, kind)) = onward.from(at).filter(|_| at != ends[1]) {
        at = next;
        path.push(Step {
            node: explorer.nodes[at as usize],
            kind: Some(explorer.kinds.name(kind).to_owned()),
            cost: path.len() as f64,
        });
    }
    debug_assert_eq!(path.len() as u32, taken + 1);
    path
}
