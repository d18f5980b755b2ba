//! Vectors in eight bits per dimension, with a bound on what that loses.
//!
//! A vector x is written as s·c + r: whole numbers c from -127 to 127, one scale s, a residual r of which only the norm is kept. The
//! query q is written the same way, in twelve bits. The dot product q·x then lies within
//! |q̂|·|r_x| + |r_q|·|x| of what the whole numbers give (Cauchy-Schwarz, twice), so that a few vectors read in full settle which
//! are nearest: the answer is exact. (Scalar quantisation with re-ranking is common; Qdrant and Lucene describe it. The bound makes it
//! exact.)

/// How near is measured: the cosine of the angle, the Euclidean distance, the inner product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    Cosine,
    L2,
    Ip,
}

impl Distance {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Self::Cosine),
            "l2" => Some(Self::L2),
            "ip" => Some(Self::Ip),
            _ => None,
        }
    }
}

/// In front of the bytes: scale, norm of the residual, norm of the vector; floats, least byte first.
pub const LENGTH_OF_HEAD: usize = 12;
const HEAD: usize = LENGTH_OF_HEAD;
const MOST: f32 = 127.0;
/// A query's numbers; at 16,000 dimensions their products with a code's still fit into 32 bits.
const MOST_IN_QUERY: f32 = 1023.0;
/// What computing in floating point may add to a bound, relative to the norms: far more than it does.
const SLACK: f64 = 1e-6;

/// The code of a vector: `HEAD` + one byte per dimension.
pub fn encode(vector: &[f32]) -> Vec<u8> {
    let largest = vector.iter().fold(0f32, |most, x| most.max(x.abs()));
    let scale = scale(largest, MOST);
    let mut code = Vec::with_capacity(HEAD + vector.len());
    code.extend([0; HEAD]);
    let (mut residual, mut norm) = (0f64, 0f64);
    for &x in vector {
        let number = whole(x, scale, MOST);
        let rest = f64::from(x) - f64::from(scale) * f64::from(number);
        residual += rest * rest;
        norm += f64::from(x) * f64::from(x);
        code.push(number as i8 as u8);
    }
    code[..4].copy_from_slice(&scale.to_le_bytes());
    code[4..8].copy_from_slice(&above(residual.sqrt()).to_le_bytes());
    code[8..12].copy_from_slice(&(norm.sqrt() as f32).to_le_bytes());
    code
}

/// A code's scale, norm of the residual and norm of the vector, and its numbers, one byte each.
pub fn parts(code: &[u8]) -> Option<([f32; 3], &[u8])> {
    let (head, numbers) = code.split_at_checked(HEAD)?;
    let float = |i: usize| f32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    Some(([float(0), float(4), float(8)], numbers))
}

/// The scale by which the largest becomes `most`; 1 where a float has no such small number.
fn scale(largest: f32, most: f32) -> f32 {
    let scale = largest / most;
    if scale.is_normal() { scale } else { 1.0 }
}

fn whole(x: f32, scale: f32, most: f32) -> f32 {
    (x / scale).round().clamp(-most, most)
}

/// A float that is not below the number.
fn above(number: f64) -> f32 {
    let near = number as f32;
    if f64::from(near) < number { near.next_up() } else { near }
}

/// A query, made ready once.
pub struct Query<'a> {
    distance: Distance,
    vector: &'a [f32],
    norm: f64,
    whole: Vec<i16>,
    scale: f64,
    /// The norm of what the whole numbers stand for, and of what they leave.
    coded: f64,
    residual: f64,
}

impl<'a> Query<'a> {
    pub fn new(distance: Distance, vector: &'a [f32]) -> Self {
        let largest = vector.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = scale(largest, MOST_IN_QUERY);
        let whole: Vec<i16> = vector
            .iter()
            .map(|&x| self::whole(x, scale, MOST_IN_QUERY) as i16)
            .collect();
        let scale = f64::from(scale);
        let (mut norm, mut coded, mut residual) = (0f64, 0f64, 0f64);
        for (&x, &number) in vector.iter().zip(&whole) {
            let (x, near) = (f64::from(x), scale * f64::from(number));
            norm += x * x;
            coded += near * near;
            residual += (x - near) * (x - near);
        }
        Self {
            distance,
            vector,
            norm: norm.sqrt(),
            whole,
            scale,
            coded: coded.sqrt(),
            residual: residual.sqrt(),
        }
    }

    pub fn dimensions(&self) -> usize {
        self.vector.len()
    }

    pub fn vector(&self) -> &'a [f32] {
        self.vector
    }

    /// The score of a vector of the same dimensions, greater is nearer: the cosine of the angle, the negative distance, the inner
    /// product. A vector without a direction is as near as one at a right angle.
    pub fn score(&self, vector: &[f32]) -> f64 {
        debug_assert_eq!(vector.len(), self.vector.len());
        match self.distance {
            // Differences of large numbers that are near each other: one by one.
            Distance::L2 => -sum(self.vector, vector, |q, x| (q - x) * (q - x)).sqrt(),
            Distance::Ip => sum(self.vector, vector, |q, x| q * x),
            Distance::Cosine => {
                let dot = sum(self.vector, vector, |q, x| q * x);
                let lengths = self.norm * sum(vector, vector, |x, _| x * x).sqrt();
                if lengths == 0.0 {
                    0.0
                } else {
                    (dot / lengths).clamp(-1.0, 1.0)
                }
            }
        }
    }

    /// What the score of the encoded vector does not exceed. None where the code is none of as many dimensions.
    pub fn most(&self, code: &[u8]) -> Option<f64> {
        let (head, numbers) = parts(code)?;
        (numbers.len() == self.whole.len()).then(|| self.bound(head, numbers))
    }

    /// The same of a code in its parts.
    pub fn bound(&self, head: [f32; 3], numbers: &[u8]) -> f64 {
        let [scale, residual, norm] = head;
        // Too long or too short for a float to hold its length well: it is read in full.
        if !(norm.is_normal() || norm == 0.0) || !residual.is_finite() || !self.norm.is_normal() {
            return f64::INFINITY;
        }
        let (scale, residual, norm) = (f64::from(scale), f64::from(residual), f64::from(norm));
        let dot = f64::from(dot(&self.whole, numbers)) * self.scale * scale;
        let error = self.coded * residual + self.residual * norm + SLACK * self.norm * norm;
        match self.distance {
            Distance::Ip => dot + error,
            Distance::Cosine if norm == 0.0 => 0.0,
            Distance::Cosine => ((dot + error) / (self.norm * norm)).min(1.0),
            Distance::L2 => {
                let squares = self.norm * self.norm + norm * norm;
                -(squares * (1.0 - SLACK) - 2.0 * (dot + error)).max(0.0).sqrt()
            }
        }
    }
}

/// The dot product of whole numbers. Compiles to multiply-add of pairs (pmaddwd and its like), as wide as the machine has it.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn dot(query: &[i16], code: &[u8]) -> i32 {
    query
        .iter()
        .zip(code)
        .map(|(&q, &c)| i32::from(q) * i32::from(c as i8))
        .sum()
}

/// A sum over pairs, in double precision, in eight lanes that the compiler may run side by side.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0f64; LANES];
    let (whole_a, rest_a) = a.split_at(a.len() - a.len() % LANES);
    let (whole_b, rest_b) = b.split_at(whole_a.len());
    for (a, b) in whole_a.chunks_exact(LANES).zip(whole_b.chunks_exact(LANES)) {
        for i in 0..LANES {
            lanes[i] += term(f64::from(a[i]), f64::from(b[i]));
        }
    }
    let rest: f64 = rest_a
        .iter()
        .zip(rest_b)
        .map(|(&a, &b)| term(f64::from(a), f64::from(b)))
        .sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::search::nearest::{Source, nearest};

    const ALL: [Distance; 3] = [Distance::Cosine, Distance::L2, Distance::Ip];

    /// Floats of every size, zero and the smallest among them, and of one size.
    fn number() -> impl Strategy<Value = f32> {
        prop_oneof![4 => -1f32..1.0, 1 => Just(0f32), 1 => -1e3f32..1e3, 1 => prop::num::f32::NORMAL, 1 => prop::num::f32::SUBNORMAL]
    }

    struct Vectors<'a>(&'a Query<'a>, &'a [Vec<f32>]);

    impl Source for Vectors<'_> {
        fn scores(&mut self, candidates: &[usize]) -> Vec<f64> {
            candidates.iter().map(|&i| self.0.score(&self.1[i])).collect()
        }

        fn passing(&mut self, candidates: &[usize]) -> Vec<bool> {
            vec![true; candidates.len()]
        }
    }

    proptest! {
        #[test]
        fn no_score_exceeds_its_bound(
            pair in (1usize..70).prop_flat_map(|n| [prop::collection::vec(number(), n), prop::collection::vec(number(), n)])
        ) {
            let [vector, query] = pair;
            let code = encode(&vector);
            prop_assert_eq!(code.len(), HEAD + vector.len());
            for distance in ALL {
                let query = Query::new(distance, &query);
                let (score, most) = (query.score(&vector), query.most(&code).unwrap());
                prop_assert!(score <= most, "{:?}: {} > {}", distance, score, most);
            }
        }

        #[test]
        fn the_nearest_are_those_of_brute_force(
            vectors in (1usize..20).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(-1f32..1.0, n), 1..80)),
            wanted in 1usize..20,
        ) {
            let (query, vectors) = vectors.split_first().unwrap();
            for distance in ALL {
                let query = Query::new(distance, query);
                let most: Vec<f64> = vectors.iter().map(|v| query.most(&encode(v)).unwrap()).collect();
                let mut all: Vec<(usize, f64)> = vectors.iter().map(|v| query.score(v)).enumerate().collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                all.truncate(wanted);
                prop_assert_eq!(nearest(&most, wanted, &mut Vectors(&query, vectors)), all);
            }
        }
    }

    #[test]
    fn bounds_are_near() {
        // As far as a model's vectors are: 384 numbers of about one size.
        let mut state = 1u64;
        let mut vector = || -> Vec<f32> {
            let numbers = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            });
            numbers.take(384).collect()
        };
        let (a, b) = (vector(), vector());
        let query = Query::new(Distance::Cosine, &a);
        let slack = query.most(&encode(&b)).unwrap() - query.score(&b);
        assert!((0.0..0.02).contains(&slack), "{slack}");
    }

    #[test]
    fn scores_are_what_their_names_say() {
        let score = |distance, a: &[f32], b: &[f32]| Query::new(distance, a).score(b);
        assert_eq!(score(Distance::Cosine, &[1.0, 0.0], &[5.0, 0.0]), 1.0);
        assert_eq!(score(Distance::Cosine, &[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(score(Distance::Cosine, &[1.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(score(Distance::L2, &[0.0, 0.0], &[3.0, 4.0]), -5.0);
        assert_eq!(score(Distance::Ip, &[1.0, 2.0], &[3.0, 4.0]), 11.0);
        assert_eq!(Query::new(Distance::Ip, &[1.0]).most(&[0; HEAD]), None);
        assert_eq!(Query::new(Distance::Ip, &[1.0]).most(b"short"), None);
        assert!(Distance::parse("cosine") == Some(Distance::Cosine) && Distance::parse("l1").is_none());
    }

    #[test]
    fn the_longest_vectors_do_not_overflow() {
        let (query, vector) = (vec![f32::MAX; 16_000], vec![-f32::MAX; 16_000]);
        for distance in ALL {
            let query = Query::new(distance, &query);
            assert!(query.score(&vector) <= query.most(&encode(&vector)).unwrap());
        }
        assert_eq!(dot(&[1023; 16_000], &[127; 16_000]), 1023 * 127 * 16_000);
    }
}
