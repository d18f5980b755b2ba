//! The rotation of the master key: what older ones have wrapped is wrapped by the newest (sql/trust_key.sql).

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{master, signer, user_key};
use crate::audit;
use crate::context;
use crate::context::scope::Scope;
use crate::error::{Error, Result, shown};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::xact;

/// So many keys in one call: a fraction of a second.
const BATCH: i64 = 10_000;

thread_local! {
    // The master key's id stands behind the version byte.
    static OLD: Statement = const {
        Statement::new(
            "SELECT k.tenant_id, k.user_id, k.key_id, k.wrapped_key FROM memory.user_keys k
             WHERE substr(k.wrapped_key, 2, 8) <> $1
             ORDER BY k.tenant_id, k.user_id, k.key_id LIMIT $2 FOR NO KEY UPDATE",
            &[pg_sys::BYTEAOID, pg_sys::INT8OID],
        )
    };
    static RENEW: Statement = const {
        Statement::new(
            "UPDATE memory.user_keys k SET wrapped_key = n.wrapped_key
             FROM unnest($1, $2, $3, $4) AS n (tenant_id, user_id, key_id, wrapped_key)
             WHERE k.tenant_id = n.tenant_id AND k.user_id = n.user_id AND k.key_id = n.key_id",
            &[
                pg_sys::UUIDARRAYOID,
                pg_sys::TEXTARRAYOID,
                pg_sys::UUIDARRAYOID,
                pg_sys::BYTEAARRAYOID,
            ],
        )
    };
}

thread_local! {
    static OLD_SECRETS: Statement = const {
        Statement::new(
            "SELECT k.key_id, k.wrapped_secret FROM memory.auth_keys k
             WHERE substr(k.wrapped_secret, 2, 8) <> $1 ORDER BY k.key_id FOR NO KEY UPDATE",
            &[pg_sys::BYTEAOID],
        )
    };
    static RENEW_SECRET: Statement = const {
        Statement::new(
            "UPDATE memory.auth_keys k SET wrapped_secret = $2 WHERE k.key_id = $1",
            &[pg_sys::TEXTOID, pg_sys::BYTEAOID],
        )
    };
}

/// Keys of users, as arrays.
#[derive(Default)]
struct Keys {
    tenants: Vec<Uuid>,
    users: Vec<String>,
    ids: Vec<Uuid>,
    wrapped: Vec<Vec<u8>>,
}

fn old_user_keys(newest: &[u8], most: i64) -> Keys {
    let mut keys = Keys::default();
    OLD.with(|s| {
        s.write(&[newest.to_vec().into(), most.into()], |rows| {
            for row in rows {
                keys.tenants.extend(unwrap(row.get::<Uuid>(1)));
                keys.users.extend(unwrap(row.get::<String>(2)));
                keys.ids.extend(unwrap(row.get::<Uuid>(3)));
                keys.wrapped.extend(unwrap(row.get::<Vec<u8>>(4)));
            }
        })
    });
    keys
}

fn renew_user_keys(newest: &[u8], most: i64) -> Result<i64> {
    let mut keys = old_user_keys(newest, most);
    for (i, wrapped) in keys.wrapped.iter_mut().enumerate() {
        pgrx::check_for_interrupts!();
        let (tenant, user, id) = (keys.tenants[i].as_bytes(), &keys.users[i], keys.ids[i].as_bytes());
        let renewed = master::rewrap(wrapped, &user_key::bound_to(tenant, user, id)).map_err(|error| {
            super::tampered(&error, "a data key fails its check", *tenant, user);
            Error {
                message: format!("data key {}: {}", keys.ids[i], error.message),
                ..error
            }
        })?;
        if let Some(renewed) = renewed {
            *wrapped = renewed;
        }
    }
    let count = keys.ids.len() as i64;
    let row = [
        keys.tenants.into(),
        keys.users.into(),
        keys.ids.into(),
        keys.wrapped.into(),
    ];
    audit::in_bulk(|| RENEW.with(|s| s.write(&row, |_| ())));
    Ok(count)
}

/// The secrets that sign and verify tokens: a handful.
fn renew_secrets(newest: &[u8]) -> Result<i64> {
    let old: Vec<(String, Vec<u8>)> = OLD_SECRETS.with(|s| {
        s.write(&[newest.to_vec().into()], |rows| {
            rows.filter_map(|row| Some((unwrap(row.get(1))?, unwrap(row.get(2))?)))
                .collect()
        })
    });
    let count = old.len() as i64;
    for (id, wrapped) in old {
        pgrx::check_for_interrupts!();
        let renewed = master::rewrap(&wrapped, &signer::binding(&id)).map_err(|error| Error {
            message: format!("auth key {}: {}", shown(&id), error.message),
            ..error
        })?;
        let row = [id.into(), renewed.unwrap_or(wrapped).into()];
        audit::in_bulk(|| RENEW_SECRET.with(|s| s.write(&row, |_| ())));
    }
    Ok(count)
}

/// Runs as its owner: an operator sees no keys.
#[pg_extern(sql = false)]
fn rotate_master_key() -> std::result::Result<i64, ErrorReport> {
    context::require(Scope::Admin)?;
    if xact::keeps_snapshot() {
        return Err(Error::not_ready(
            "the master key is rotated under READ COMMITTED only: this transaction's snapshot may miss keys that were made since",
            "BEGIN ISOLATION LEVEL READ COMMITTED.",
        )
        .into());
    }
    user_key::hold_all();
    let newest = master::refresh()?;
    let secrets = renew_secrets(&newest)?;
    Ok(secrets + renew_user_keys(&newest, BATCH)?)
}
