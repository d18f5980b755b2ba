//! Moving the embeddings of users with many into the HNSW index of their space.
//!
//! A row says by `indexed` where it is found; moving it is an UPDATE like any other, so at every instant each row is in one of the two.

use pgrx::datum::Uuid;
use pgrx::pg_sys;

use super::space;
use crate::audit;
use crate::check;
use crate::context::hold;
use crate::error::Result;
use crate::pg::call::Call;
use crate::pg::spi::{read_once, unwrap, write_once};
use crate::pg::xact;
use crate::raw_function;

/// Of a user whose embeddings are in the index already, as many may wait for it.
const MOST_WAITING: i32 = 1_000;

/// The users of a space with more than $1 that wait.
fn waiting(space: &str) -> String {
    format!(
        "SELECT t.tenant_id, t.user_id FROM memory.{space} t WHERE NOT t.indexed GROUP BY 1, 2
         HAVING count(*) > CASE WHEN EXISTS (
             SELECT FROM memory.{space} i WHERE i.indexed AND i.tenant_id = t.tenant_id AND i.user_id = t.user_id
         ) THEN least($1, {MOST_WAITING}) ELSE $1 END"
    )
}

/// Whether there are embeddings to move; reads only.
pub fn is_due(large: i32) -> bool {
    space::with_index().iter().any(|space| {
        read_once(
            &format!("SELECT EXISTS ({})", waiting(space)),
            &[large.into()],
            |rows| unwrap(rows.first().get_one()) == Some(true),
        )
    })
}

/// Moves one batch; gives how many, and whether more are to be moved.
fn index(batch_size: i32, large: i32) -> (i64, bool) {
    let mut moved = 0;
    for space in space::with_index() {
        let sql = format!("{} ORDER BY 1, 2", waiting(&space));
        let users: Vec<(Uuid, String)> = write_once(&sql, &[large.into()], |rows| {
            rows.filter_map(|row| Some((unwrap(row.get(1))?, unwrap(row.get(2))?)))
                .collect()
        });
        for (tenant, user) in users {
            if moved >= i64::from(batch_size) {
                return (moved, true);
            }
            if hold::try_share(tenant.as_bytes(), &user) {
                let most = i64::from(batch_size) - moved;
                // What the index does not take, written past store_embedding(), stays where it is, and is in nobody else's way.
                if let Ok(of_user) = xact::attempt(|| index_user(&space, tenant, &user, most)) {
                    moved += of_user;
                }
            }
        }
    }
    (moved, moved >= i64::from(batch_size))
}

fn index_user(space: &str, tenant: Uuid, user: &str, most: i64) -> i64 {
    let sql = format!(
        "WITH taken AS MATERIALIZED (
             SELECT t.node_id, t.vector_type FROM memory.{space} t
             WHERE NOT t.indexed AND t.tenant_id = $1 AND t.user_id = $2
             ORDER BY t.node_id, t.vector_type LIMIT $3 FOR NO KEY UPDATE OF t SKIP LOCKED
         ), moved AS (
             UPDATE memory.{space} t SET indexed = true FROM taken
             WHERE t.tenant_id = $1 AND t.user_id = $2 AND t.node_id = taken.node_id AND t.vector_type = taken.vector_type
                 AND NOT t.indexed
             RETURNING 1
         )
         SELECT count(*) FROM moved"
    );
    let moved = audit::in_bulk(|| {
        write_once(&sql, &[tenant.into(), user.into(), most.into()], |rows| {
            unwrap(rows.first().get_one::<i64>())
        })
    });
    moved.unwrap_or_default()
}

fn index_embeddings(call: Call) -> Result<pg_sys::Datum> {
    let batch_size = check::positive("batch_size", call.argument(0))?;
    let large = check::positive("large", call.argument(1))?;
    let (moved, more) = index(batch_size, large);
    Ok(call.row([Some(pg_sys::Datum::from(moved)), Some(pg_sys::Datum::from(more))]))
}

raw_function!(index_embeddings_wrapper, pg_finfo_index_embeddings_wrapper, |call| {
    index_embeddings(call).unwrap_or_else(|error| error.raise())
});
