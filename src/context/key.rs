//! The keys that tokens are signed by, and the service tokens that were issued, as they stand at this instant.
//!
//! Protocol: both tables are read past privileges, and with a snapshot of this instant, whatever snapshot the transaction keeps: a
//! revocation counts from its commit on. That something has changed is heard by PostgreSQL's own invalidation messages: a row trigger
//! of both tables sends one for the table (`keys_changed`), as DDL and TRUNCATE do by themselves. A message is sent after its change is visible and before
//! its commit is acknowledged; it is in the WAL, for standbys, and in the state of a prepared transaction.

use pgrx::datum::Uuid;
use sha2::{Digest, Sha256};

use super::scope::Scopes;
use crate::pg::catalog::{self, TableName};
use crate::pg::{scan, time, trigger};
use crate::raw_function;

thread_local! {
    static KEYS: TableName = const { TableName::new(c"auth_keys", [c"auth_keys_pkey", c"auth_keys_pkey"]) };
    static TOKENS: TableName = const { TableName::new(c"service_tokens", [c"service_tokens_pkey", c"service_tokens_pkey"]) };
}

/// A row of auth_keys.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub algorithm: String,
    /// As its algorithm has it; None for a secret.
    pub public_key: Option<Vec<u8>>,
    pub wrapped_secret: Option<Vec<u8>>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    /// None: all.
    pub tenants: Option<Vec<[u8; 16]>>,
    pub scopes: Scopes,
    /// Whether its tokens may stand for a service.
    pub may_serve: bool,
    /// Whether it signs what issue_service_token() gives.
    pub is_own: bool,
    /// As PostgreSQL counts: it tells two keys apart that had one id after each other.
    pub created_at: i64,
    /// Unix time in seconds.
    pub expires_at: Option<i64>,
    pub is_revoked: bool,
}

impl Key {
    pub fn is_for(&self, tenant: &[u8; 16]) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    pub fn has_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Of what its tokens prove. Another key under the same id is another key, and so is one that is for others.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.algorithm.as_bytes());
        part(self.public_key.as_deref().unwrap_or_default());
        part(&self.created_at.to_le_bytes());
        part(self.issuer.as_deref().unwrap_or_default().as_bytes());
        part(self.audience.as_deref().unwrap_or_default().as_bytes());
        for tenant in self.tenants.iter().flatten() {
            part(tenant);
        }
        part(&[self.tenants.is_some().into(), self.may_serve.into(), self.is_own.into()]);
        part(self.scopes.words().join(" ").as_bytes());
        u64::from_le_bytes(hash.finalize()[..8].try_into().expect("8 bytes"))
    }
}

/// The key of an id, exactly.
pub fn find(id: &str) -> Option<Key> {
    const ID: i16 = 1;
    let table = KEYS.with(TableName::find)?;
    let mut found = None;
    scan::each_now(table.oid, table.indexes[0], scan::Key::Text(ID, id), |row| {
        found = Some(Key {
            id: row.get(1).unwrap_or_default(),
            algorithm: row.get(2).unwrap_or_default(),
            public_key: row.get(3),
            wrapped_secret: row.get(4),
            issuer: row.get(5),
            audience: row.get(6),
            tenants: row
                .get::<Vec<Uuid>>(7)
                .map(|tenants| tenants.iter().map(|tenant| *tenant.as_bytes()).collect()),
            scopes: Scopes::of(row.get::<Vec<String>>(8).unwrap_or_default().iter().map(String::as_str)),
            may_serve: row.get(9).unwrap_or_default(),
            is_own: row.get(10).unwrap_or_default(),
            created_at: row.get(11).unwrap_or_default(),
            expires_at: row.get(12).map(time::unix_seconds),
            is_revoked: row.get::<i64>(13).is_some(),
        });
        false
    });
    found
}

/// A row of service_tokens.
#[derive(Clone, Debug)]
pub struct Issued {
    pub key_id: String,
    pub tenant: [u8; 16],
    pub service: String,
    pub scopes: Scopes,
    /// Unix time in seconds.
    pub expires_at: i64,
    pub is_revoked: bool,
}

/// The service token of an id.
pub fn find_issued(id: [u8; 16]) -> Option<Issued> {
    const ID: i16 = 1;
    let table = TOKENS.with(TableName::find)?;
    let mut found = None;
    scan::each_now(table.oid, table.indexes[0], scan::Key::Uuid(ID, id), |row| {
        found = Some(Issued {
            key_id: row.get(2).unwrap_or_default(),
            tenant: row.get::<Uuid>(3).map(|tenant| *tenant.as_bytes()).unwrap_or_default(),
            service: row.get(4).unwrap_or_default(),
            scopes: Scopes::of(row.get::<Vec<String>>(5).unwrap_or_default().iter().map(String::as_str)),
            expires_at: row.get(7).map(time::unix_seconds).unwrap_or_default(),
            is_revoked: row.get::<i64>(8).is_some(),
        });
        false
    });
    found
}

raw_function!(keys_changed, pg_finfo_keys_changed, |call| {
    let trigger = trigger::Trigger::of(call);
    catalog::invalidate(trigger.relation());
    trigger.keep_row()
});
