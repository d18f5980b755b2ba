//! The nearest of many candidates of which only a bound on the score is known: reads no more of them in full than it takes to be sure.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::filter::Chunks;

/// What is known of the candidates, which have numbers.
pub trait Source {
    /// Of each candidate its exact score, greater is nearer; None where it does not pass the filter.
    fn scores(&mut self, candidates: &[usize]) -> Vec<Option<f64>>;
}

/// A candidate and the most that its score can be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64, usize);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// The `wanted` nearest that pass, nearest first, with their scores; among equals the smaller number first. `most` has for each
/// candidate what its score does not exceed.
///
/// Candidates are looked at in the order of their bounds. Once there are enough, and the next bound is below the least of their
/// scores, no other can be among them.
pub fn nearest(most: &[f64], wanted: usize, source: &mut impl Source) -> Vec<(usize, f64)> {
    let mut rest: BinaryHeap<Bound> = most.iter().enumerate().map(|(i, &bound)| Bound(bound, i)).collect();
    let mut found: Vec<(usize, f64)> = Vec::new();
    if wanted == 0 {
        return found;
    }
    for chunk in Chunks::new(most.len(), wanted) {
        let least = (found.len() == wanted).then(|| found[wanted - 1].1);
        let mut candidates = Vec::with_capacity(chunk.len());
        while candidates.len() < chunk.len()
            && let Some(Bound(bound, candidate)) = rest.peek().copied()
            && least.is_none_or(|least| bound >= least)
        {
            rest.pop();
            candidates.push(candidate);
        }
        if candidates.is_empty() {
            break;
        }
        let scores = source.scores(&candidates);
        found.extend(
            candidates
                .into_iter()
                .zip(scores)
                .filter_map(|(candidate, score)| Some((candidate, score?))),
        );
        found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(wanted);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Known<'a> {
        scores: &'a [Option<f64>],
        asked: Vec<usize>,
    }

    impl Source for Known<'_> {
        fn scores(&mut self, candidates: &[usize]) -> Vec<Option<f64>> {
            self.asked.extend(candidates);
            candidates.iter().map(|&i| self.scores[i]).collect()
        }
    }

    fn sorted(scores: &[Option<f64>]) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = scores
            .iter()
            .enumerate()
            .filter_map(|(i, score)| Some((i, (*score)?)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }

    proptest! {
        #[test]
        fn it_finds_what_filtering_and_sorting_all_finds(
            candidates in prop::collection::vec((prop::option::weighted(0.7, -8i32..8), 0u8..4), 0..400),
            wanted in 0usize..50,
        ) {
            let scores: Vec<Option<f64>> = candidates.iter().map(|c| c.0.map(f64::from)).collect();
            // A bound says nothing of whether a candidate passes.
            let most: Vec<f64> = candidates.iter().map(|c| f64::from(c.0.unwrap_or(3)) + f64::from(c.1) / 2.0).collect();
            let mut source = Known { scores: &scores, asked: Vec::new() };
            let mut expected = sorted(&scores);
            expected.truncate(wanted);
            prop_assert_eq!(nearest(&most, wanted, &mut source), expected);
            let mut asked = source.asked.clone();
            asked.sort_unstable();
            asked.dedup();
            prop_assert_eq!(asked.len(), source.asked.len(), "each is asked once");
        }
    }

    #[test]
    fn good_bounds_save_reading() {
        let scores: Vec<Option<f64>> = (0..10_000).map(|i| Some(f64::from(i % 1000))).collect();
        let most: Vec<f64> = scores.iter().map(|score| score.unwrap() + 0.5).collect();
        let mut source = Known {
            scores: &scores,
            asked: Vec::new(),
        };
        assert_eq!(nearest(&most, 5, &mut source)[0], (999, 999.0));
        assert!(source.asked.len() < 50, "{}", source.asked.len());
        let mut blind = Known {
            scores: &scores,
            asked: Vec::new(),
        };
        nearest(&[f64::INFINITY; 10_000], 5, &mut blind);
        assert_eq!(blind.asked.len(), 10_000);
    }
}
