//! Data keys: 32 random bytes per user, wrapped by the master key (sql/trust_key.sql).
//!
//! Protocol: who makes a key holds its user (context::hold) and shares the number of the master key until its transaction ends; a rotation has that number
//! alone. So a rotation waits for keys that are being made, and what is made later is made by the newest master key.
//!
//! Unwrapped keys are kept until the transaction or a savepoint is over, or the user's key is destroyed by this transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use super::cipher::{Cipher, KEY_BYTES};
use super::master;
use crate::check;
use crate::context::{self, hold};
use crate::error::{Error, Result, shown};
use crate::pg::catalog::TableName;
use crate::pg::lock::{self, Mode};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::{process, role, scan, xact};

/// What the wrapped keys are for, before what else they are bound to.
const PURPOSE: &[u8] = b"memory_ext user key 1";

/// Above the numbers of users (context::hold, hold) and of rings (violation).
const MASTER_KEY: u32 = 4 * hold::STRIPES;

/// So many unwrapped keys are kept; then it begins anew.
const MOST_KEPT: usize = 1024;

/// A user's key, ready for use.
#[derive(Clone)]
pub struct DataKey {
    pub id: [u8; 16],
    pub cipher: Rc<Cipher>,
}

/// Whose key it is.
type Owner = ([u8; 16], String);

#[derive(Default)]
struct Kept {
    current: HashMap<Owner, [u8; 16]>,
    ciphers: HashMap<(Owner, [u8; 16]), Rc<Cipher>>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
    static USER_KEYS: TableName =
        const { TableName::new(c"user_keys", [c"user_keys_pkey", c"user_keys_current_idx"]) };
    static CURRENT: Statement = const {
        Statement::new(
            "SELECT k.key_id, k.wrapped_key FROM memory.user_keys k WHERE k.tenant_id = $1 AND k.user_id = $2 AND k.is_current",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID],
        )
    };
    static BY_ID: Statement = const {
        Statement::new(
            "SELECT k.wrapped_key FROM memory.user_keys k WHERE k.tenant_id = $1 AND k.user_id = $2 AND k.key_id = $3",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::UUIDOID],
        )
    };
    static MAKE: Statement = const {
        Statement::new("SELECT memory.make_user_key($1, $2)", &[pg_sys::UUIDOID, pg_sys::TEXTOID])
    };
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.user_keys (tenant_id, user_id, key_id, wrapped_key) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant_id, user_id) WHERE is_current DO NOTHING",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::BYTEAOID],
        )
    };
}

/// Kept keys go with the transaction, or the savepoint that may have made them.
pub const LISTENER: xact::Listener = xact::Listener {
    after_commit: forget,
    after_abort: forget,
    savepoint_rolled_back: |_| forget(),
    ..xact::Listener::DEAF
};

/// Kept keys go; who destroys a user's keys calls it.
pub fn forget() {
    KEPT.with_borrow_mut(|kept| {
        if !kept.ciphers.is_empty() {
            *kept = Kept::default();
        }
    });
}

/// The key that encrypts what is new of a user, made on first use. The caller holds the user.
pub fn current(tenant: [u8; 16], user: &str) -> Result<DataKey> {
    let owner = (tenant, user.to_owned());
    let kept = KEPT.with_borrow(|kept| {
        let id = *kept.current.get(&owner)?;
        let cipher = Rc::clone(kept.ciphers.get(&(owner.clone(), id))?);
        Some(DataKey { id, cipher })
    });
    if let Some(key) = kept {
        return Ok(key);
    }
    let arguments = [Uuid::from_bytes(tenant).into(), user.into()];
    // What is read now also shows a key that another transaction has made while this one waited.
    let find = || {
        CURRENT.with(|s| {
            s.write(&arguments, |rows| {
                let row = rows.first();
                (!row.is_empty()).then(|| (unwrap(row.get::<Uuid>(1)), unwrap(row.get::<Vec<u8>>(2))))
            })
        })
    };
    let mut found = find();
    if found.is_none() {
        MAKE.with(|s| s.write(&arguments, |_| ()));
        found = find();
    }
    let usable = found.and_then(|(id, wrapped)| Some((*id?.as_bytes(), wrapped?)));
    // A snapshot from before an erasure still shows the key that it destroyed.
    let usable = usable.filter(|(id, _)| !xact::keeps_snapshot() || is_there(tenant, user, *id));
    let (id, wrapped) = usable.ok_or_else(|| {
        Error::changed(
            format!("the data key of user_id {} has changed meanwhile", shown(user)),
            "Begin the transaction again.",
        )
    })?;
    let cipher = keep(owner.clone(), id, &wrapped)?;
    KEPT.with_borrow_mut(|kept| kept.current.insert(owner, id));
    Ok(DataKey { id, cipher })
}

/// A user's key by its id; 55000 where it is not here.
pub fn by_id(tenant: [u8; 16], user: &str, id: [u8; 16]) -> Result<Rc<Cipher>> {
    let place = ((tenant, user.to_owned()), id);
    // Whoever used it earlier in this transaction may have had another context.
    if context::covers(&tenant, user)
        && let Some(cipher) = KEPT.with_borrow(|kept| kept.ciphers.get(&place).cloned())
    {
        return Ok(cipher);
    }
    let arguments = [
        Uuid::from_bytes(tenant).into(),
        user.into(),
        Uuid::from_bytes(id).into(),
    ];
    let wrapped = BY_ID.with(|s| {
        s.read(&arguments, |rows| {
            let row = rows.first();
            if row.is_empty() {
                None
            } else {
                unwrap(row.get::<Vec<u8>>(1))
            }
        })
    });
    let wrapped = wrapped.ok_or_else(|| {
        Error::not_ready(
            format!("the data key {} is not here", Uuid::from_bytes(id)),
            "It was destroyed when its user was erased or anonymised, or it has not come back after a restore: SELECT memory.import_user_keys(…).",
        )
    })?;
    keep(place.0, id, &wrapped)
}

/// Whether the key is there at this instant, whatever the snapshot shows; one that this transaction has made is.
fn is_there(tenant: [u8; 16], user: &str, id: [u8; 16]) -> bool {
    const TENANT: i16 = 1;
    const USER: i16 = 2;
    const KEY_ID: usize = 3;
    let mut found = false;
    if let Some(table) = USER_KEYS.with(TableName::find) {
        let user = [(USER, user)];
        scan::each_now(
            table.oid,
            table.indexes[1],
            scan::Key::Owned((TENANT, tenant), &user),
            |row| {
                found = row.get::<Uuid>(KEY_ID).is_some_and(|key| *key.as_bytes() == id);
                !found
            },
        );
    }
    found
}

fn keep(owner: Owner, id: [u8; 16], wrapped: &[u8]) -> Result<Rc<Cipher>> {
    let key = open(owner.0, &owner.1, id, wrapped)?;
    let cipher = Rc::new(Cipher::new(&key));
    process::keep_from_swap(cipher.memory());
    KEPT.with_borrow_mut(|kept| {
        if kept.ciphers.len() >= MOST_KEPT {
            *kept = Kept::default();
        }
        kept.ciphers.insert((owner, id), Rc::clone(&cipher));
    });
    Ok(cipher)
}

/// The key that the master key has wrapped.
fn open(tenant: [u8; 16], user: &str, id: [u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    let key = master::unwrap(wrapped, &bound_to(&tenant, user, &id)).inspect_err(|error| {
        super::tampered(error, "a data key fails its check", tenant, user);
    })?;
    let key = <[u8; KEY_BYTES]>::try_from(key.as_slice());
    Ok(Zeroizing::new(key.expect("what make_user_key() wrapped")))
}

/// What a key is bound to.
pub fn bound_to<'a>(tenant: &'a [u8; 16], user: &'a str, id: &'a [u8; 16]) -> [&'a [u8]; 4] {
    [PURPOSE, tenant, user.as_bytes(), id]
}

/// No key is being made from here on, until the transaction ends.
pub fn hold_all() {
    lock::number(MASTER_KEY, Mode::Alone);
}

/// Whatever is wrapped from here on is wrapped before or after a rotation, not beside it. Who stores what `master::wrap` gives calls this first.
pub fn share_master_key() {
    lock::number(MASTER_KEY, Mode::Shared);
}

/// Runs as its owner; the context binds.
#[pg_extern(sql = false)]
fn make_user_key(tenant_id: Option<Uuid>, user_id: Option<&str>) -> std::result::Result<(), ErrorReport> {
    let tenant_id = check::needed("tenant_id", tenant_id)?;
    let tenant = *tenant_id.as_bytes();
    let user = check::needed("user_id", user_id)?;
    context::check_user_id(user)?;
    let covered = context::covers(&tenant, user) || context::current().is_none() && role::outer_is_superuser();
    if !covered {
        return Err(Error::not_allowed(
            format!("the security context does not cover user_id {}", shown(user)),
            "Ask of users that the context covers.",
        )
        .into());
    }
    hold::share(&tenant, user);
    share_master_key();
    let id = *uuid::Uuid::now_v7().as_bytes();
    let key = Zeroizing::new(process::random_bytes::<KEY_BYTES>());
    let wrapped = master::wrap(&key[..], &bound_to(&tenant, user, &id))?;
    let row = [
        tenant_id.into(),
        user.into(),
        Uuid::from_bytes(id).into(),
        wrapped.into(),
    ];
    INSERT.with(|s| s.write(&row, |_| ()));
    Ok(())
}

#[pg_extern(sql = false)]
fn check_user_key(
    tenant_id: Option<Uuid>,
    user_id: Option<&str>,
    key_id: Option<Uuid>,
    wrapped_key: Option<&[u8]>,
) -> std::result::Result<Vec<u8>, ErrorReport> {
    let tenant = *check::needed("tenant_id", tenant_id)?.as_bytes();
    let user = check::needed("user_id", user_id)?;
    let key = *check::needed("key_id", key_id)?.as_bytes();
    let wrapped = check::needed("wrapped_key", wrapped_key)?;
    open(tenant, user, key, wrapped)?;
    Ok(wrapped.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::bound_to;

    #[test]
    fn a_data_key_is_bound_to_its_tenant_user_and_id() {
        let (one, other) = ([1; 16], [2; 16]);
        let all = HashSet::from([
            bound_to(&one, "u", &one),
            bound_to(&other, "u", &one),
            bound_to(&one, "v", &one),
            bound_to(&one, "u", &other),
        ]);
        assert_eq!(all.len(), 4);
    }
}
