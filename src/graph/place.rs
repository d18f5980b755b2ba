//! Where nodes and relationships stand, by ids, for statements about some of many. A planner knows nothing of users, whose statistics would
//! tell of others': it takes all rows of one for few, and would rather read them than look some up.

use pgrx::datum::Uuid;
use pgrx::itemptr::item_pointer_to_u64;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::context::{self, Reach};
use crate::error::Result;
use crate::pg::catalog::TableName;
use crate::pg::range::{self, Place};

thread_local! {
    static NODES: TableName = const { TableName::new(c"nodes", [c"nodes_node_id_idx", c"nodes_pkey"]) };
    static RELATIONSHIPS: TableName = const {
        TableName::new(c"relationships", [c"relationships_out_idx", c"relationships_in_idx"])
    };
}

/// The number of the column user_id, in both tables.
const USER: usize = 2;

type Tids = SetOfIterator<'static, pg_sys::ItemPointerData>;

/// Where the nodes with these ids stand, of users from one to another.
pub fn of_nodes(tenant: [u8; 16], users: (&str, &str), ids: &[u128]) -> Vec<Place> {
    let Some(table) = NODES.with(TableName::find) else {
        return Vec::new();
    };
    range::under(table.oid, table.indexes[0], tenant, ids, (USER, users))
}

/// Where the relationships of nodes with these ids stand, in both directions, each once or, between two of them, twice.
fn of_relationships(tenant: [u8; 16], users: (&str, &str), ids: &[u128]) -> Vec<Place> {
    let Some(table) = RELATIONSHIPS.with(TableName::find) else {
        return Vec::new();
    };
    let under = |index: &pg_sys::Oid| range::under(table.oid, *index, tenant, ids, (USER, users));
    table.indexes.iter().flat_map(under).collect()
}

/// What `of` finds of a user's rows, each once.
fn places(
    node_ids: Option<Vec<Option<Uuid>>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
    of: impl Fn([u8; 16], (&str, &str), &[u128]) -> Vec<Place>,
) -> Result<Tids> {
    let subject = context::subject(tenant, user_id, Reach::User)?;
    let ids = check::needed("node_ids", node_ids)?;
    let number = |id: &Uuid| u128::from_be_bytes(*id.as_bytes());
    let ids: Vec<u128> = ids.iter().flatten().map(number).collect();
    let found = of(subject.tenant, subject.users(), &ids);
    let mut tids: Vec<_> = found.into_iter().map(Place::tid).collect();
    tids.sort_unstable_by_key(|tid| item_pointer_to_u64(*tid));
    tids.dedup_by_key(|tid| item_pointer_to_u64(*tid));
    Ok(SetOfIterator::new(tids))
}

#[pg_extern(sql = false)]
fn node_places(
    node_ids: Option<Vec<Option<Uuid>>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<Tids, ErrorReport> {
    Ok(places(node_ids, tenant, user_id, of_nodes)?)
}

#[pg_extern(sql = false)]
fn relationship_places(
    node_ids: Option<Vec<Option<Uuid>>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<Tids, ErrorReport> {
    Ok(places(node_ids, tenant, user_id, of_relationships)?)
}
