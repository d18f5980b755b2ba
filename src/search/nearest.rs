//! The nearest of many candidates of which only a bound on the score is known: reads no more of them in full than it takes to be sure,
//! and asks of no more than it takes whether they pass a filter.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::filter::Chunks;

/// What can be learnt of the candidates, which have numbers.
pub trait Source {
    /// The exact score of each, greater is nearer: the cheaper of the two.
    fn scores(&mut self, candidates: &[usize]) -> Vec<f64>;
    /// Whether each passes.
    fn passing(&mut self, candidates: &[usize]) -> Vec<bool>;
}

/// A candidate, and its score or the most that this can be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    score: f64,
    is_exact: bool,
    candidate: usize,
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    /// Greater is next: what may be as near is read before what is known to be is given.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.is_exact.cmp(&self.is_exact))
            .then(other.candidate.cmp(&self.candidate))
    }
}

/// The candidates in the order of their scores, found out as far as is asked.
struct Ranking {
    rest: BinaryHeap<Known>,
    /// How many are read in full at once.
    batch: usize,
}

impl Ranking {
    /// The next `count`, nearest first, with their scores; among equals the smaller number first.
    fn next(&mut self, count: usize, source: &mut impl Source) -> Vec<(usize, f64)> {
        let mut next = Vec::with_capacity(count);
        while next.len() < count
            && let Some(known) = self.rest.pop()
        {
            if known.is_exact {
                next.push((known.candidate, known.score));
                continue;
            }
            // Those that come next by their bounds, too: most of them would be read anyway.
            let mut unread = vec![known.candidate];
            while unread.len() < self.batch
                && let Some(other) = self.rest.peek()
                && !other.is_exact
            {
                unread.push(other.candidate);
                self.rest.pop();
            }
            self.batch = (2 * self.batch).min(Self::MOST_AT_ONCE);
            let scores = source.scores(&unread);
            self.rest
                .extend(unread.into_iter().zip(scores).map(|(candidate, score)| Known {
                    score,
                    is_exact: true,
                    candidate,
                }));
        }
        next
    }

    const MOST_AT_ONCE: usize = 4_096;
}

/// The `wanted` nearest that pass, nearest first, with their scores; among equals the smaller number first. `most` has for each
/// candidate what its score does not exceed.
///
/// Candidates are read in the order of their bounds, until the nearest read is nearer than any other can be; those are asked, in the
/// order of their scores, until enough pass.
pub fn nearest(most: &[f64], wanted: usize, source: &mut impl Source) -> Vec<(usize, f64)> {
    let known = most.iter().enumerate().map(|(candidate, &score)| Known {
        score,
        is_exact: false,
        candidate,
    });
    let mut ranking = Ranking {
        rest: known.collect(),
        batch: wanted.saturating_mul(2).clamp(16, Ranking::MOST_AT_ONCE),
    };
    let mut found: Vec<(usize, f64)> = Vec::new();
    for chunk in Chunks::new(most.len(), wanted) {
        if found.len() >= wanted {
            break;
        }
        let next = ranking.next(chunk.len(), source);
        let candidates: Vec<usize> = next.iter().map(|(candidate, _)| *candidate).collect();
        let passes = source.passing(&candidates);
        found.extend(
            next.into_iter()
                .zip(passes)
                .filter_map(|(hit, passes)| passes.then_some(hit)),
        );
    }
    found.truncate(wanted);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores, and whether each passes.
    struct All<'a> {
        scores: &'a [(f64, bool)],
        read: Vec<usize>,
        asked: Vec<usize>,
    }

    impl<'a> All<'a> {
        fn new(scores: &'a [(f64, bool)]) -> Self {
            Self {
                scores,
                read: Vec::new(),
                asked: Vec::new(),
            }
        }
    }

    impl Source for All<'_> {
        fn scores(&mut self, candidates: &[usize]) -> Vec<f64> {
            self.read.extend(candidates);
            candidates.iter().map(|&i| self.scores[i].0).collect()
        }

        fn passing(&mut self, candidates: &[usize]) -> Vec<bool> {
            self.asked.extend(candidates);
            candidates.iter().map(|&i| self.scores[i].1).collect()
        }
    }

    fn sorted(scores: &[(f64, bool)]) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = scores
            .iter()
            .enumerate()
            .filter(|(_, (_, passes))| *passes)
            .map(|(i, (score, _))| (i, *score))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }

    proptest! {
        #[test]
        fn it_finds_what_filtering_and_sorting_all_finds(
            candidates in prop::collection::vec((-8i32..8, prop::bool::weighted(0.7), 0u8..4), 0..400),
            wanted in 0usize..50,
        ) {
            let scores: Vec<(f64, bool)> = candidates.iter().map(|c| (f64::from(c.0), c.1)).collect();
            let most: Vec<f64> = candidates.iter().map(|c| f64::from(c.0) + f64::from(c.2) / 2.0).collect();
            let mut source = All::new(&scores);
            let mut expected = sorted(&scores);
            expected.truncate(wanted);
            prop_assert_eq!(nearest(&most, wanted, &mut source), expected);
            for once in [&mut source.read, &mut source.asked] {
                let count = once.len();
                once.sort_unstable();
                once.dedup();
                prop_assert_eq!(once.len(), count, "each is read, and asked, once at most");
            }
        }
    }

    #[test]
    fn good_bounds_save_reading_and_asking() {
        let scores: Vec<(f64, bool)> = (0..10_000).map(|i| (f64::from(i % 1000), true)).collect();
        let most: Vec<f64> = scores.iter().map(|(score, _)| score + 0.5).collect();
        let mut source = All::new(&scores);
        assert_eq!(nearest(&most, 5, &mut source)[0], (999, 999.0));
        assert!(source.read.len() < 50, "{}", source.read.len());
        assert!(source.asked.len() < 20, "{}", source.asked.len());
        let mut blind = All::new(&scores);
        nearest(&[f64::INFINITY; 10_000], 5, &mut blind);
        assert_eq!(blind.read.len(), 10_000);
    }
}
