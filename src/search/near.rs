//! What stands around the hits of a search: neighbours in their sessions, what they are related to, and since when things hold.
//!
//! A session's nodes lie together in an index, in their order, and are read beyond row-level security (see `pg::range`): what comes of
//! them passes the search's filter, which reads the nodes as the caller (`passing`).

use std::collections::{BTreeMap, HashMap};

use pgrx::pg_sys;

use super::answer::{Item, Users};
use super::filter::{Chunks, Filter, nodes_at};
use super::widen::{Near, Relations};
use crate::context::Subject;
use crate::error::{Error, Result};
use crate::graph;
use crate::pg::catalog::TableName;
use crate::pg::range::{self, Range};
use crate::pg::rows::{Query, Row};

thread_local! {
    static NODES: TableName = const { TableName::new(c"nodes", [c"nodes_session_idx", c"nodes_pkey"]) };
    static ABOUT: Query = const {
        Query::new(
            concat!(
                "SELECT c.number, n.session_id, n.valid_from FROM",
                nodes_at!("coalesce(n.session_id, '') AS session_id, n.valid_from", "")
            ),
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIDARRAYOID],
        )
    };
}

/// How many neighbours a search takes in, each as often as a hit is near it: 64 MB, and 100 ms to put in order.
const MOST_NEAR: usize = 1_000_000;

/// The column of the node in the index of sessions.
const NODE: usize = 4;

/// Reads the nodes of the items: calls `visit` with an item's place, its session ('' for none) and since when it holds, in microseconds
/// since 2000.
fn about(filter: &Filter<'_>, items: &[Item], users: &Users, visit: &mut dyn FnMut(usize, &str, i64)) {
    let keys: Vec<_> = items.iter().map(|item| users.key(*item)).collect();
    let found = filter.find(&keys);
    let arguments = found.arguments(filter.scope());
    // A timestamp is its microseconds.
    let mut row = |row: &Row<'_>| visit(found.key(row.bigint(0)), row.text(1), row.bigint(2));
    ABOUT.with(|query| query.each(&arguments, &mut row));
}

/// The rows of the hits' sessions within `reach` of them, by (valid_from, node_id), whether they pass the filter or not: what does not stands
/// where it stands, and nothing takes its place.
///
/// 54000 where they are more than `MOST_NEAR`.
pub fn neighbours(filter: &Filter<'_>, hits: &[Item], users: &Users, reach: u32) -> Result<Vec<Near<Item>>> {
    let Some(table) = NODES.with(TableName::find).filter(|table| range::may_read(table.oid)) else {
        return Ok(Vec::new());
    };
    let mut sessions: BTreeMap<(u32, String), Vec<usize>> = BTreeMap::new();
    about(filter, hits, users, &mut |place, session, _| {
        if !session.is_empty() {
            sessions
                .entry((hits[place].user, session.to_owned()))
                .or_default()
                .push(place);
        }
    });
    let mut near: Vec<Near<Item>> = Vec::new();
    let mut nodes: Vec<u128> = Vec::new();
    for ((user, session), mut inside) in sessions {
        let name = users.name(user);
        let range = Range {
            tenant: filter.scope().tenant,
            users: (name, name),
            third: Some(&session),
        };
        nodes.clear();
        range::each(table.oid, table.indexes[0], &range, &mut |row, _| {
            nodes.push(row.uuid(NODE));
            true
        });
        let stand: HashMap<u128, usize> = nodes.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        inside.sort_unstable();
        for hit in inside {
            let Some(at) = stand.get(&hits[hit].node) else {
                continue;
            };
            let first = at.saturating_sub(reach as usize);
            let last = at.saturating_add(reach as usize).min(nodes.len() - 1);
            pgrx::check_for_interrupts!();
            if near.len() + (last - first) > MOST_NEAR {
                return Err(Error::bound_passed(
                    format!("more than {MOST_NEAR} neighbours stand around the hits"),
                    "Ask for less: fewer neighbours, a smaller max_results.",
                ));
            }
            near.extend((first..=last).filter(|place| place != at).map(|place| Near {
                hit,
                item: Item {
                    node: nodes[place],
                    user,
                },
                steps: place.abs_diff(*at) as u32,
            }));
        }
    }
    near.sort_unstable_by_key(|near| (near.hit, near.steps, near.item));
    Ok(near)
}

/// The first `most` candidates that pass the filter, in their order. What the legs found has passed; others are asked as they are needed.
pub fn passing(
    filter: &Filter<'_>,
    candidates: Vec<(Item, f64)>,
    has_passed: impl Fn(&Item) -> bool,
    users: &Users,
    most: usize,
) -> Vec<(Item, f64)> {
    let mut found = Vec::new();
    for chunk in Chunks::new(candidates.len(), most) {
        let chunk = &candidates[chunk];
        let asked: Vec<Item> = chunk.iter().map(|row| row.0).filter(|item| !has_passed(item)).collect();
        let keys: Vec<_> = asked.iter().map(|item| users.key(*item)).collect();
        let mut passes = filter.passing(&keys).into_iter();
        found.extend(
            chunk
                .iter()
                .filter(|(item, _)| has_passed(item) || passes.next().unwrap_or(false)),
        );
        if found.len() >= most {
            found.truncate(most);
            break;
        }
    }
    found
}

/// Since when each holds, in microseconds since 2000; in the order of the items.
pub fn since(filter: &Filter<'_>, items: &[Item], users: &Users) -> Vec<i64> {
    let mut since = vec![i64::MAX; items.len()];
    about(filter, items, users, &mut |place, _, valid_from| {
        since[place] = valid_from
    });
    since
}

/// Relationships in both directions, to nodes that pass.
pub struct Related<'a> {
    pub filter: &'a Filter<'a>,
    pub users: &'a Users,
}

impl Relations<Item> for Related<'_> {
    fn related(&mut self, items: &[Item], visit: &mut dyn FnMut(Item, Item)) {
        let mut owners: Vec<u32> = items.iter().map(|item| item.user).collect();
        owners.sort_unstable();
        owners.dedup();
        for user in owners {
            pgrx::check_for_interrupts!();
            let subject = Subject {
                tenant: self.filter.scope().tenant,
                user: Some(self.users.name(user).to_owned()),
            };
            let nodes: Vec<u128> = items
                .iter()
                .filter(|item| item.user == user)
                .map(|item| item.node)
                .collect();
            let mut pairs: Vec<(u128, u128)> = Vec::new();
            graph::related(&subject, self.filter.as_of(), &nodes, &mut |node, related| {
                pairs.push((node, related));
            });
            let mut targets: Vec<Item> = pairs.iter().map(|(_, node)| Item { node: *node, user }).collect();
            targets.sort_unstable();
            targets.dedup();
            let keys: Vec<_> = targets.iter().map(|item| self.users.key(*item)).collect();
            let passing = self.filter.passing(&keys);
            for (node, related) in pairs {
                let target = Item { node: related, user };
                if targets.binary_search(&target).is_ok_and(|place| passing[place]) {
                    visit(Item { node, user }, target);
                }
            }
        }
    }
}
