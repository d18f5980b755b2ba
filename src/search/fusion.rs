//! One ranking of several: weighted reciprocal rank (Cormack, Clarke, Büttcher: Reciprocal Rank Fusion, 2009). What stands at rank r of
//! a leg gets weight / (k + r) from it.
//!
//! Pure: no PostgreSQL.

use std::collections::HashMap;
use std::hash::Hash;

/// What a search ranks by.
#[derive(Clone, Copy, Debug)]
pub struct Leg<'a, T> {
    /// Best first, each once.
    pub ranked: &'a [T],
    pub weight: f64,
}

/// Everything that stands in a leg, with its score: best first, ties in the order of `T`.
pub fn fuse<T: Copy + Ord + Hash>(legs: &[Leg<'_, T>], k: f64) -> Vec<(T, f64)> {
    let mut scores: HashMap<T, f64> = HashMap::new();
    for leg in legs {
        for (place, item) in leg.ranked.iter().enumerate() {
            *scores.entry(*item).or_default() += leg.weight / (k + 1.0 + place as f64);
        }
    }
    let mut fused: Vec<(T, f64)> = scores.into_iter().collect();
    fused.sort_unstable_by(best_first);
    fused
}

/// The order of answers: by score, then by the item, so that equal scores come in one order always.
pub fn best_first<T: Ord>(a: &(T, f64), b: &(T, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_two_legs_rank_well_comes_first_and_ties_by_id() {
        let legs = [
            Leg {
                ranked: &[3, 1, 2],
                weight: 1.0,
            },
            Leg {
                ranked: &[4, 1],
                weight: 1.0,
            },
        ];
        let fused = fuse(&legs, 1.0);
        assert_eq!(fused.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [1, 3, 4, 2]);
        assert!((fused[0].1 - 2.0 / 3.0).abs() < 1e-12 && (fused[1].1 - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_leg_without_weight_orders_nothing() {
        let legs = [
            Leg {
                ranked: &[2, 1],
                weight: 0.0,
            },
            Leg {
                ranked: &[1],
                weight: 0.1,
            },
        ];
        assert_eq!(fuse(&legs, 60.0)[0].0, 1);
    }

    proptest! {
        #[test]
        fn one_leg_keeps_its_order(mut ids in prop::collection::vec(any::<u64>(), 0..50), k in 0.0f64..100.0, weight in 0.1f64..10.0) {
            let mut seen = std::collections::HashSet::new();
            ids.retain(|id| seen.insert(*id));
            let fused = fuse(&[Leg { ranked: &ids, weight }], k);
            prop_assert_eq!(fused.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        }
    }
}
