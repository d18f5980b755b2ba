//! Tenants and the resolver: from an identifier (slug, UUID, `system`) to the tenant, through a cache that is fresh by
//! transaction.
//!
//! When the cache is passed by: TTL 0; this transaction has changed tenants; the transaction keeps a snapshot that is
//! older than the last change. Then the table is read and nothing is published; nor is it while a transaction that changed tenants
//! has not ended, a prepared one for instance (see `pg::generation`).

mod answer;
mod cache;
pub mod identifier;
mod sql;

use std::cell::{Cell, OnceCell};

use pgrx::datum::Uuid;

use crate::config;
use crate::error::{Error, Result, shown};
use crate::pg::generation::{self, Topic};
use crate::pg::xact::Snapshot;
use crate::pg::{catalog, process, scan, shmem, xact};
use answer::{Answer, Slug};
use cache::{Cache, Counter};
use identifier::{Identifier, Key};

/// An answer of the resolver, and where it comes from.
#[derive(Clone, Copy, Debug)]
struct Resolution {
    answer: Answer,
    source: &'static str,
}

thread_local! {
    static TENANTS: catalog::TableName =
        const { catalog::TableName::new(c"tenants", [c"tenants_pkey", c"tenants_slug_key"]) };
    /// Without shared memory: the relation-cache epoch up to which the cache is right.
    static SEEN_EPOCH: Cell<u64> = const { Cell::new(0) };
    static CACHE: OnceCell<Cache<'static>> = const { OnceCell::new() };
}

const ID: i16 = 1;
const SLUG: i16 = 2;
const ENCRYPTION_ENABLED: i16 = 6;

/// The memory of the cache, for `_PG_init` to hand to `pg::shmem`.
pub static CACHE_MEMORY: shmem::Part = shmem::Part::new(|| cache::words_for(config::TENANT_CACHE_SIZE.get() as usize));

fn cache() -> Cache<'static> {
    CACHE.with(|cache| {
        *cache.get_or_init(|| {
            let cache = Cache::new(
                CACHE_MEMORY.words(),
                config::TENANT_CACHE_SIZE.get() as usize,
                process::backend_number(),
            );
            cache.seed(process::random());
            cache
        })
    })
}

fn table() -> Result<(catalog::Table, Topic)> {
    let found = TENANTS.with(catalog::TableName::find).ok_or_else(|| {
        Error::not_ready(
            "the extension memory_ext is not installed in this database",
            "CREATE EXTENSION memory_ext CASCADE;",
        )
    })?;
    Ok((found, topic(found.oid)))
}

/// What changes when a table of tenants does.
fn topic(relation: pgrx::pg_sys::Oid) -> Topic {
    Topic::table(u32::from(catalog::database()), u32::from(relation))
}

/// Resolves a key through the cache.
fn resolve_key(key: &Key) -> Result<Resolution> {
    let cache = cache();
    if !shmem::is_shared() {
        catalog::accept_invalidations();
    }
    let (_, table) = table()?;
    if !shmem::is_shared() && SEEN_EPOCH.replace(catalog::epoch()) != catalog::epoch() {
        generation::advance(table);
    }
    let ttl_ms = config::TENANT_CACHE_TTL_MS.get() as u64;
    let usable = ttl_ms > 0 && !generation::has_changed(table);
    // What this backend's own cache knows of other backends' commits is no older than a relation-cache invalidation,
    // which says nothing about an old snapshot.
    let usable = usable && (shmem::is_shared() || !xact::keeps_snapshot());
    let stamp = generation::stamp(table);
    let is_kept = || generation::is_seen(table, &Snapshot::of_transaction());
    if usable
        && let Some(answer) = cache.get(table, key, stamp.table, process::coarse_ms(), ttl_ms)
        && (!xact::keeps_snapshot() || is_kept())
    {
        cache.count(Counter::Hits);
        return Ok(Resolution {
            answer,
            source: match answer {
                Answer::BySlug { .. } => "db-slug-cache",
                Answer::ById { .. } => "db-id-cache",
                Answer::UnknownId { .. } => "uuid-input-cache",
                Answer::UnknownSlug => "slug-input-cache",
            },
        });
    }
    cache.count(Counter::Misses);
    // What is remembered may have been replaced since: the table by another, an index by REINDEX CONCURRENTLY.
    catalog::accept_invalidations();
    let (relation, table_now) = self::table()?;
    let stamp = generation::stamp(table);
    // Asked before the lookup, whose snapshot is no older: what has ended for this one has for that one.
    let publishable = usable
        && table_now == table
        && if xact::keeps_snapshot() {
            is_kept()
        } else {
            generation::is_seen(table, &Snapshot::latest(relation.oid))
        };
    let answer = look_up(&relation, key);
    if publishable {
        cache.put(table, key, &answer, stamp.table, process::coarse_ms());
    }
    Ok(Resolution {
        answer,
        source: match answer {
            Answer::BySlug { .. } => "db-slug",
            Answer::ById { .. } => "db-id",
            Answer::UnknownId { .. } => "uuid-input",
            Answer::UnknownSlug => "slug-input",
        },
    })
}

/// Reads the table by one of its indexes.
fn look_up(relation: &catalog::Table, key: &Key) -> Answer {
    let [by_id, by_slug] = relation.indexes;
    let mut found = None;
    let mut take = |row: &scan::Row| {
        let id = row.get::<Uuid>(ID as usize).map(|id| *id.as_bytes());
        let slug = row.get::<&str>(SLUG as usize).and_then(Slug::new);
        found = id.zip(slug);
        false
    };
    if let Some(uuid) = key.uuid() {
        scan::each(relation.oid, by_id, scan::Key::Uuid(ID, uuid), &mut take);
        return match found {
            Some((uuid, slug)) => Answer::ById { uuid, slug },
            None => Answer::UnknownId { uuid },
        };
    }
    if key.may_be_slug()
        && let Ok(slug) = std::str::from_utf8(key.as_bytes())
    {
        scan::each(relation.oid, by_slug, scan::Key::Text(SLUG, slug), &mut take);
    }
    match found {
        Some((uuid, slug)) => Answer::BySlug { uuid, slug },
        None => Answer::UnknownSlug,
    }
}

/// Every tenant.
pub fn all() -> Vec<Uuid> {
    let mut tenants = Vec::new();
    if let Ok((relation, _)) = table() {
        scan::each(relation.oid, pgrx::pg_sys::InvalidOid, scan::Key::All, |row| {
            tenants.extend(row.get::<Uuid>(ID as usize));
            true
        });
    }
    tenants
}

thread_local! {
    static ENCRYPTS: Cell<Option<Encrypts>> = const { Cell::new(None) };
}

/// What is known of a tenant's encryption_enabled, under the stamp of the table.
#[derive(Clone, Copy)]
struct Encrypts {
    under: (Topic, generation::Stamp),
    tenant: [u8; 16],
    answer: bool,
}

/// Whether the tenant's payloads are encrypted, as of this instant; the last answer is kept until a tenant changes.
pub fn encrypts(tenant: [u8; 16]) -> bool {
    let Ok((relation, topic)) = table() else { return false };
    let usable = shmem::is_shared() && !generation::has_changed(topic);
    let stamp = generation::stamp(topic);
    if let Some(known) = ENCRYPTS.get()
        && usable
        && (known.under, known.tenant) == ((topic, stamp), tenant)
    {
        return known.answer;
    }
    let publishable = usable && generation::is_seen(topic, &Snapshot::latest(relation.oid));
    let mut answer = false;
    scan::each_now(relation.oid, relation.indexes[0], scan::Key::Uuid(ID, tenant), |row| {
        answer = row.get::<bool>(ENCRYPTION_ENABLED as usize).unwrap_or_default();
        false
    });
    ENCRYPTS.set(publishable.then_some(Encrypts {
        under: (topic, stamp),
        tenant,
        answer,
    }));
    answer
}

/// The setting memory.system_tenant_id.
fn system_tenant() -> Option<[u8; 16]> {
    let value = config::SYSTEM_TENANT_ID.get()?;
    identifier::parse_uuid(value.to_bytes())
}

/// The tenant's UUID, as `memory.tenant_id(text)` gives it; P0002 where there is none.
pub fn id_of(identifier: &[u8]) -> Result<[u8; 16]> {
    match Identifier::parse(identifier) {
        Identifier::Key(key) => match resolve_key(&key)?.answer {
            Answer::BySlug { uuid, .. } | Answer::ById { uuid, .. } => Ok(uuid),
            _ => Err(unknown(identifier)),
        },
        Identifier::System => system_tenant().ok_or_else(|| {
            Error::unknown(
                "the tenant \"system\" is not set",
                "A superuser sets it: SET memory.system_tenant_id = '<uuid>'.",
            )
        }),
        Identifier::Empty | Identifier::TooLong => Err(unknown(identifier)),
    }
}

/// The UUID of a tenant that is in the table; P0002 where it is not, also for a `system` that names no row.
pub fn require(identifier: &str) -> Result<[u8; 16]> {
    let uuid = id_of(identifier.as_bytes())?;
    if matches!(Identifier::parse(identifier.as_bytes()), Identifier::System) {
        let text = Uuid::from_bytes(uuid).to_string();
        return id_of(text.as_bytes());
    }
    Ok(uuid)
}

/// A tenant, and how an identifier led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub uuid: [u8; 16],
    pub slug: Option<String>,
    /// As the resolver names it, without `-cache`.
    pub source: &'static str,
    pub found: bool,
}

/// The tenant that an identifier names, and how; P0002 where it is not in the table.
pub fn resolve(identifier: &str) -> Result<Resolved> {
    let uuid = require(identifier)?;
    Ok(Resolved {
        uuid,
        ..describe(identifier)?
    })
}

/// What the resolver says of an identifier, as `resolve_canonical_tenant()` gives it; without a UUID all zero.
pub fn describe(identifier: &str) -> Result<Resolved> {
    let shaped = sql::shape(identifier.as_bytes())?;
    Ok(Resolved {
        uuid: shaped.uuid.unwrap_or_default(),
        slug: shaped.slug,
        source: shaped.source.trim_end_matches("-cache"),
        found: shaped.found,
    })
}

fn unknown(identifier: &[u8]) -> Error {
    Error::unknown(
        format!("unknown tenant {}", shown(&String::from_utf8_lossy(identifier))),
        "An operator adds it: INSERT INTO memory.tenants(slug) VALUES ('…').",
    )
}

/// A row of the table changes; called by its trigger.
fn changed(relation: pgrx::pg_sys::Oid) {
    if !shmem::is_shared() {
        catalog::invalidate(relation);
    }
    generation::changed(topic(relation));
}

/// Empties the cache.
fn reset() {
    if let Ok((_, table)) = table() {
        generation::advance(table);
    }
    cache().clear();
}
