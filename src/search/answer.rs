//! memory.search: the legs, fused, widened, aged; and the rows of the answer.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::pg_sys;

use super::filter::{Asked, Filter, Hit, Key, nodes_at};
use super::fusion::{self, Leg, best_first};
use super::space::{Space, Use};
use super::{lexical, near, vector, widen};
use crate::access;
use crate::check;
use crate::config;
use crate::context::{self, Reach};
use crate::error::{Error, Result};
use crate::pg::call::Call;
use crate::pg::jsonb::Jsonb;
use crate::pg::rows::Query;
use crate::pg::rows_out;
use crate::pg::vector::Vector;
use crate::raw_function;

/// A candidate: ordered by its id, then by its user's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    pub node: u128,
    pub user: u32,
}

/// The users of candidates, by numbers in the order in which they came.
#[derive(Default)]
pub struct Users {
    names: Vec<Rc<str>>,
    numbers: HashMap<Rc<str>, u32>,
}

impl Users {
    fn item(&mut self, user: &Rc<str>, node: u128) -> Item {
        let next = self.names.len() as u32;
        let user = *self.numbers.entry(Rc::clone(user)).or_insert_with(|| {
            self.names.push(Rc::clone(user));
            next
        });
        Item { node, user }
    }

    pub fn name(&self, user: u32) -> &str {
        &self.names[user as usize]
    }

    pub fn key(&self, item: Item) -> Key<'_> {
        Key {
            user: self.name(item.user),
            node: item.node,
        }
    }
}

/// How far an answer is widened along relationships at most: beyond, everything is related to everything.
const DEEPEST: i32 = 16;
/// How many neighbours on each side at most.
const MOST_NEIGHBOURS: i32 = 1000;

/// How an answer is made of what the legs find.
struct Shape {
    most: usize,
    neighbours: u32,
    depth: u32,
    /// In microseconds.
    half_life: Option<i64>,
}

impl Shape {
    fn read(
        depth: Option<i32>,
        neighbours: Option<i32>,
        most: Option<i32>,
        half_life: Option<Interval>,
    ) -> Result<Self> {
        Ok(Self {
            most: check::positive("max_results", most)? as usize,
            neighbours: within("neighbours", neighbours, MOST_NEIGHBOURS)?,
            depth: within("expand_depth", depth, DEEPEST)?,
            half_life: half_life.map(length).transpose()?,
        })
    }

    /// Whether it makes of the hits another order than theirs.
    fn reorders(&self) -> bool {
        self.neighbours > 0 || self.depth > 0 || self.half_life.is_some()
    }
}

fn within(argument: &str, value: Option<i32>, most: i32) -> Result<u32> {
    let value = check::needed(argument, value)?;
    if (0..=most).contains(&value) {
        return Ok(value as u32);
    }
    Err(Error::bad_argument(
        format!("{argument} is {value}"),
        format!("Give a number from 0 to {most}."),
    ))
}

/// Longer than nothing; a month counts as 30 days.
fn length(half_life: Interval) -> Result<i64> {
    const DAY: i128 = 24 * 60 * 60 * 1_000_000;
    let days = i128::from(half_life.months()) * 30 + i128::from(half_life.days());
    let length = days * DAY + i128::from(half_life.micros());
    if length <= 0 {
        return Err(Error::bad_argument(
            "half_life is not above zero",
            "Give a length of time, such as '30 days'; NULL: what is old counts as what is new.",
        ));
    }
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

/// What is known of a candidate besides its score.
#[derive(Clone, Copy, Default)]
struct Found {
    text: Option<(i32, f64)>,
    vector: Option<(i32, f64)>,
}

/// What the legs found.
#[derive(Default)]
struct Candidates {
    users: Users,
    known: HashMap<Item, Found>,
}

impl Candidates {
    /// Notes of each hit of a leg, best first, where it stood.
    fn rank(&mut self, hits: Vec<Hit>, of: fn(&mut Found) -> &mut Option<(i32, f64)>) -> Vec<Item> {
        let mut item = |(place, hit): (usize, Hit)| {
            let item = self.users.item(&hit.user, hit.node);
            *of(self.known.entry(item).or_default()) = Some((place as i32 + 1, hit.score));
            item
        };
        hits.into_iter().enumerate().map(&mut item).collect()
    }
}

thread_local! {
    static ROWS: Query = const {
        Query::new(
            concat!(
                "SELECT n.node_id, f.score, f.text_rank, f.text_score, f.vector_rank, f.vector_score, f.graph_depth, n.summary,
                        memory.decrypted($1, n.user_id, 'node', n.node_id::text, '', n.content)
                 FROM unnest($5, $6, $7, $8, $9, $10) WITH ORDINALITY
                     AS f (score, text_rank, text_score, vector_rank, vector_score, graph_depth, number)
                 JOIN (SELECT c.number, n.node_id, n.user_id, n.summary, n.content FROM",
                nodes_at!("n.node_id, n.user_id, n.summary, n.content", ""),
                ") AS n ON n.number = f.number ORDER BY f.number"
            ),
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TIDARRAYOID,
                pg_sys::FLOAT8ARRAYOID,
                pg_sys::INT4ARRAYOID,
                pg_sys::FLOAT8ARRAYOID,
                pg_sys::INT4ARRAYOID,
                pg_sys::FLOAT8ARRAYOID,
                pg_sys::INT4ARRAYOID,
            ],
        )
    };
}

raw_function!(search, pg_finfo_search, |call| {
    search_for(call).unwrap_or_else(|error| error.raise())
});

fn search_for(call: Call) -> Result<pg_sys::Datum> {
    let scope = context::subject(call.str(12), call.str(13), Reach::Tenant)?;
    let (query, embedding): (_, Option<Vector<'_>>) = (call.str(0), call.argument(1));
    if query.is_none() && embedding.is_none() {
        return Err(Error::bad_argument(
            "query and embedding are both NULL",
            "Say what to look for: query => '…', embedding => '[…]', or both.",
        ));
    }
    let shape = Shape::read(call.argument(8), call.argument(9), call.argument(10), call.argument(11))?;
    let as_of: Option<TimestampWithTimeZone> = call.argument(7);
    let asked = Asked {
        context_types: call.argument(3),
        tags: call.argument(4),
        tiers: call.argument(5),
        content: call.argument::<Jsonb<'_>>(6),
        as_of,
    };
    let filter = Filter::new(&scope, asked)?;
    let model = call.str(2);
    // A model that is named is there, whether it is used or not.
    let space = (model.is_some() || embedding.is_some())
        .then(|| Space::find(model, Use::Read))
        .transpose()?;
    if let (Some(space), Some(embedding)) = (&space, &embedding) {
        space.check("embedding", embedding.numbers())?;
    }
    // One leg by itself is the answer already: nothing from further down can come up.
    let pool = if query.is_some() && embedding.is_some() || shape.reorders() {
        shape.most.saturating_mul(2).max(config::SEARCH_POOL.get() as usize)
    } else {
        shape.most
    };

    let mut candidates = Candidates::default();
    let text = match query {
        Some(query) => lexical::leg(&filter, query, pool)?,
        None => Vec::new(),
    };
    let text = candidates.rank(text, |found| &mut found.text);
    let vector = match (&space, &embedding) {
        (Some(space), Some(embedding)) => vector::leg(&filter, space, embedding.numbers(), pool)?,
        _ => Vec::new(),
    };
    let vector = candidates.rank(vector, |found| &mut found.vector);
    let Candidates { users, known } = candidates;
    let legs = [
        (&text, config::SEARCH_TEXT_WEIGHT.get()),
        (&vector, config::SEARCH_VECTOR_WEIGHT.get()),
    ]
    .map(|(ranked, weight)| Leg { ranked, weight });
    let hits = fusion::fuse(&legs, config::SEARCH_RRF_K.get());
    let answer = shape_answer(&filter, &users, hits, &shape)?;
    let keys: Vec<Key<'_>> = answer.iter().map(|row| users.key(row.0)).collect();
    let places = filter.find(&keys);
    // All are there: they passed the filter in this statement.
    let answer: Vec<(Item, f64, u32)> = (1..=places.len())
        .map(|number| answer[places.key(number as i64)])
        .collect();

    let column = |of: fn(&Found) -> Option<(i32, f64)>| -> (Vec<Option<i32>>, Vec<Option<f64>>) {
        let found = |row: &(Item, f64, u32)| known.get(&row.0).and_then(of).unzip();
        answer.iter().map(found).unzip()
    };
    let (text_ranks, text_scores) = column(|found| found.text);
    let (vector_ranks, vector_scores) = column(|found| found.vector);
    // A neighbour is no hit and was not reached along relationships.
    let depth = |(item, _, steps): &(Item, f64, u32)| (*steps > 0 || known.contains_key(item)).then_some(*steps as i32);
    let columns: [DatumWithOid<'_>; 6] = [
        answer.iter().map(|row| row.1).collect::<Vec<f64>>().into(),
        text_ranks.into(),
        text_scores.into(),
        vector_ranks.into(),
        vector_scores.into(),
        answer.iter().map(depth).collect::<Vec<Option<i32>>>().into(),
    ];
    let arguments: Vec<DatumWithOid<'_>> = places.arguments(&scope).into_iter().chain(columns).collect();
    access::note("search", &scope, Some(answer.len()));
    Ok(ROWS.with(|rows| rows_out::answer_kept(call, rows, &arguments)))
}

/// The best of the hits and of what is around them, each with its score and the relationships that it is away.
fn shape_answer(
    filter: &Filter<'_>,
    users: &Users,
    hits: Vec<(Item, f64)>,
    shape: &Shape,
) -> Result<Vec<(Item, f64, u32)>> {
    let damping = config::SEARCH_DAMPING.get();
    // What is old may fall behind: then more are looked at than are given.
    let wanted = |candidates: usize| match shape.half_life {
        None => shape.most,
        Some(_) => candidates.max(shape.most),
    };
    let mut candidates = hits;
    if shape.neighbours > 0 {
        let hits: HashSet<Item> = candidates.iter().map(|(item, _)| *item).collect();
        let items: Vec<Item> = candidates.iter().map(|(item, _)| *item).collect();
        let around = near::neighbours(filter, &items, users, widen::reach(shape.neighbours))?;
        candidates = widen::gather(&candidates, &around, shape.neighbours, damping);
        let most = wanted(candidates.len());
        candidates = near::passing(filter, candidates, |item| hits.contains(item), users, most);
    }
    let most = wanted(candidates.len());
    let mut related = near::Related { filter, users };
    let mut answer = widen::expand(&candidates, &mut related, shape.depth, damping, most);
    if let Some(half_life) = shape.half_life {
        let items: Vec<Item> = answer.iter().map(|row| row.0).collect();
        let now = i64::from(filter.as_of());
        for (row, since) in answer.iter_mut().zip(near::since(filter, &items, users)) {
            row.1 = widen::aged(row.1, now.saturating_sub(since), half_life);
        }
        answer.sort_unstable_by(|a, b| best_first(&(a.0, a.1), &(b.0, b.1)));
        answer.truncate(shape.most);
    }
    Ok(answer)
}
