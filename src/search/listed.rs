//! A user's codes in memory, one after the other (see `pg::kept` for why they are what the table says).

use super::code::{self, Query};
use super::space::Space;
use super::vector::{CODE, NODE};
use crate::config;
use crate::pg::kept::Kept;
use crate::pg::range::{self, Place, Range};

/// A user's vectors in a space that are not in its HNSW index, in the order of the nodes' ids.
#[derive(Default)]
pub struct Listed {
    /// Each node, and the number of its first vector.
    pub nodes: Vec<(u128, u32)>,
    /// Where each vector's row is.
    pub places: Vec<Place>,
    /// Of each vector the head of its code; of one without a code, nothing that bounds it.
    heads: Vec<[f32; 3]>,
    numbers: Vec<u8>,
    dimensions: usize,
}

thread_local! {
    /// None: more than may be kept.
    static KEPT: Kept<Option<Listed>> = Kept::default();
}

impl Listed {
    /// The most bytes that each vector takes.
    fn size(dimensions: usize) -> usize {
        size_of::<(u128, u32)>() + size_of::<Place>() + size_of::<[f32; 3]>() + dimensions
    }

    fn read(space: &Space, range: &Range<'_>, most: usize) -> Option<Self> {
        let mut listed = Self {
            dimensions: space.dimensions,
            ..Self::default()
        };
        let mut fits = true;
        range::each(space.table, space.codes, range, &mut |row, place| {
            let node = row.uuid(NODE);
            if listed.nodes.last().is_none_or(|(last, _)| *last != node) {
                listed.nodes.push((node, listed.places.len() as u32));
            }
            listed.places.push(place);
            let code = row.optional_bytes(CODE).and_then(code::parts);
            match code.filter(|(_, numbers)| numbers.len() == listed.dimensions) {
                Some((head, numbers)) => {
                    listed.heads.push(head);
                    listed.numbers.extend_from_slice(numbers);
                }
                None => {
                    listed.heads.push([f32::INFINITY; 3]);
                    listed.numbers.resize(listed.numbers.len() + listed.dimensions, 0);
                }
            }
            fits = listed.places.len() * Self::size(listed.dimensions) <= most;
            fits
        });
        fits.then_some(listed)
    }

    /// What the score of a vector does not exceed.
    pub fn bound(&self, vector: usize, query: &Query<'_>) -> f64 {
        let start = vector * self.dimensions;
        query.bound(self.heads[vector], &self.numbers[start..start + self.dimensions])
    }
}

/// What `work` makes of a user's codes, where they are, or may be, kept in memory. The space's table is locked.
pub fn of_user<R>(space: &Space, range: &Range<'_>, work: impl FnOnce(&Listed) -> R) -> Option<R> {
    let (user, last) = range.users;
    if user != last {
        return None;
    }
    let most = config::vector_cache_size();
    let listed = KEPT.with(|kept| {
        let place = kept.place(&[space.common, space.table], range.tenant, user, most)?;
        Some(place.get().unwrap_or_else(|| {
            let listed = Listed::read(space, range, most);
            let vectors = listed.as_ref().map_or(0, |listed| listed.places.len());
            place.put(listed, vectors * Listed::size(space.dimensions))
        }))
    })?;
    (*listed).as_ref().map(work)
}
