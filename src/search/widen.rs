//! Widening: what stands next to the hits of a search, in their sessions and along relationships.
//!
//! In a session, rows share what they have: a hit hands its score to what stands within `reach` of it, multiplied by the damping for each
//! step, and everything sums up, so that hits which stand together support each other. Along relationships a node has the score of the
//! best path from a hit, multiplied by the damping for each step.
//!
//! Pure: no PostgreSQL.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::fusion::best_first;

/// A row near a hit in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<T> {
    /// The hit's place among the hits.
    pub hit: usize,
    pub item: T,
    /// How many steps from the hit, from 1.
    pub steps: u32,
}

/// How far a hit's score reaches where its neighbours within `neighbours` are wanted: one step beyond, so that what is a hit or a
/// neighbour itself gathers from both sides.
pub fn reach(neighbours: u32) -> u32 {
    neighbours.saturating_add(1)
}

/// The hits and their neighbours within `neighbours` steps, each with what it gathers from all hits near it; best first.
pub fn gather<T: Copy + Ord + Hash>(
    hits: &[(T, f64)],
    near: &[Near<T>],
    neighbours: u32,
    damping: f64,
) -> Vec<(T, f64)> {
    let mut scores: HashMap<T, f64> = hits.iter().copied().collect();
    for near in near.iter().filter(|near| near.steps <= neighbours) {
        scores.entry(near.item).or_default();
    }
    for near in near {
        if let Some(score) = scores.get_mut(&near.item) {
            *score += hits[near.hit].1 * damping.powi(near.steps as i32);
        }
    }
    let mut gathered: Vec<(T, f64)> = scores.into_iter().collect();
    gathered.sort_unstable_by(best_first);
    gathered
}

/// What is walked along: each of these nodes (given with its score) with those that it is related to.
pub trait Relations<T> {
    /// Calls `visit` with a node and one that it is related to, for nodes that are seen only.
    fn related(&mut self, nodes: &[T], visit: &mut dyn FnMut(T, T));
}

/// Widens an answer, best first, by what is within `depth` steps of it; gives the `most` best, each with the number of steps that
/// brought it, 0 where it was there before. Only what is among the best is walked from: what is worse brings nothing better.
pub fn expand<T: Copy + Ord + Hash>(
    answer: &[(T, f64)],
    relations: &mut dyn Relations<T>,
    depth: u32,
    damping: f64,
    most: usize,
) -> Vec<(T, f64, u32)> {
    let mut best: HashMap<T, (f64, u32)> = answer.iter().map(|(item, score)| (*item, (*score, 0))).collect();
    let mut frontier: Vec<(T, f64)> = answer.to_vec();
    for step in 1..=depth {
        let mut scores: Vec<f64> = best.values().map(|(score, _)| *score).collect();
        let least = match scores.len().checked_sub(most) {
            None | Some(0) => f64::NEG_INFINITY,
            Some(worse) => *scores.select_nth_unstable_by(worse, f64::total_cmp).1,
        };
        frontier.retain(|(_, score)| *score >= least);
        frontier.sort_unstable_by(best_first);
        frontier.truncate(most);
        if frontier.is_empty() {
            break;
        }
        let from: HashMap<T, f64> = frontier.iter().copied().collect();
        let mut reached: HashMap<T, f64> = HashMap::new();
        let mut nodes: Vec<T> = frontier.iter().map(|(item, _)| *item).collect();
        nodes.sort_unstable();
        relations.related(&nodes, &mut |node, related| {
            let score = from[&node] * damping;
            if best.get(&related).is_none_or(|(before, _)| score > *before) {
                match best.entry(related) {
                    Entry::Occupied(mut known) => {
                        // A hit stays one: only its score may be bettered, and it is by what it was found for.
                        if known.get().1 > 0 {
                            known.insert((score, step));
                            reached.insert(related, score);
                        }
                    }
                    Entry::Vacant(new) => {
                        new.insert((score, step));
                        reached.insert(related, score);
                    }
                }
            }
        });
        frontier = reached.into_iter().collect();
    }
    let mut widened: Vec<(T, f64, u32)> = best
        .into_iter()
        .map(|(item, (score, steps))| (item, score, steps))
        .collect();
    widened.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    widened.truncate(most);
    widened
}

/// What is left of a score after a time, halved each `half_life`; neither is below zero. Both in microseconds.
pub fn aged(score: f64, age: i64, half_life: i64) -> f64 {
    score * (-(age.max(0) as f64 / half_life as f64)).exp2()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn near(hit: usize, item: u32, steps: u32) -> Near<u32> {
        Near { hit, item, steps }
    }

    #[test]
    fn hits_that_stand_together_support_each_other_and_what_stands_between_them() {
        // 10 11 12 13 in a session; 10 and 12 are hits, 99 is one elsewhere.
        let hits = [(99, 1.1), (10, 1.0), (12, 0.5)];
        let rows = [
            near(1, 11, 1),
            near(1, 12, 2),
            near(2, 11, 1),
            near(2, 13, 1),
            near(2, 10, 2),
        ];
        let gathered = gather(&hits, &rows, 1, 0.5);
        assert_eq!(gathered, [(10, 1.125), (99, 1.1), (11, 0.75), (12, 0.75), (13, 0.25)]);
        assert_eq!(gather(&hits, &[], 1, 0.5), hits);
    }

    #[test]
    fn a_row_beyond_the_neighbours_is_not_added() {
        assert_eq!(
            gather(&[(1, 1.0)], &[near(0, 2, 1), near(0, 3, 2)], 1, 0.5),
            [(1, 1.0), (2, 0.5)]
        );
    }

    struct Edges(Vec<(u32, u32)>);

    impl Relations<u32> for Edges {
        fn related(&mut self, nodes: &[u32], visit: &mut dyn FnMut(u32, u32)) {
            assert!(nodes.is_sorted());
            for (from, to) in &self.0 {
                if nodes.contains(from) {
                    visit(*from, *to);
                }
            }
        }
    }

    #[test]
    fn a_related_row_has_the_score_of_the_best_that_brought_it() {
        let mut edges = Edges(vec![(1, 3), (2, 3), (3, 4), (1, 2), (4, 5)]);
        let answer = [(1, 1.0), (2, 0.4)];
        assert_eq!(
            expand(&answer, &mut edges, 2, 0.5, 10),
            [(1, 1.0, 0), (3, 0.5, 1), (2, 0.4, 0), (4, 0.25, 2)]
        );
        assert_eq!(expand(&answer, &mut edges, 1, 0.5, 2), [(1, 1.0, 0), (3, 0.5, 1)]);
        assert_eq!(expand(&answer, &mut edges, 0, 0.5, 10), [(1, 1.0, 0), (2, 0.4, 0)]);
    }

    #[test]
    fn a_score_halves_in_its_half_life() {
        assert_eq!(aged(1.0, 10, 10), 0.5);
        assert_eq!(aged(1.0, -5, 10), 1.0);
        assert_eq!(aged(2.0, 0, 10), 2.0);
    }

    proptest! {
        #[test]
        fn expanding_gives_what_relaxing_every_edge_gives(
            edges in prop::collection::vec((0u32..9, 0u32..9), 0..30),
            hits in prop::collection::btree_map(0u32..9, 1u32..50, 1..4),
            depth in 0u32..5,
            most in 1usize..12,
        ) {
            let mut answer: Vec<(u32, f64)> = hits.iter().map(|(item, score)| (*item, f64::from(*score))).collect();
            answer.sort_unstable_by(best_first);
            let mut best: BTreeMap<u32, f64> = answer.iter().copied().collect();
            let mut level = best.clone();
            for _ in 0..depth {
                let mut next = BTreeMap::new();
                for (from, to) in &edges {
                    if let Some(score) = level.get(from) && !hits.contains_key(to) && best.get(to).is_none_or(|b| score * 0.5 > *b) {
                        best.insert(*to, score * 0.5);
                        next.insert(*to, score * 0.5);
                    }
                }
                level = next;
            }
            let mut expected: Vec<f64> = best.values().copied().collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            expected.truncate(most);
            let found: Vec<f64> = expand(&answer, &mut Edges(edges), depth, 0.5, most).iter().map(|row| row.1).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
