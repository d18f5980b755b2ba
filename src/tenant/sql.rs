//! The resolver as SQL calls it.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::answer::Answer;
use super::identifier::Identifier;
use super::{Resolution, cache, changed, id_of, reset, resolve_key, system_tenant};
use crate::config;
use crate::error::Result;
use crate::pg::call::Call;
use crate::pg::{shmem, trigger};
use crate::raw_function;

/// An answer in the shape of the SQL type `tenant_resolution`; `slug` None stands for the identifier as given.
pub(super) struct Shaped {
    pub uuid: Option<[u8; 16]>,
    pub slug: Option<String>,
    pub source: &'static str,
    pub found: bool,
}

pub(super) fn shape(identifier: &[u8]) -> Result<Shaped> {
    let given = || Some(String::from_utf8_lossy(identifier).into_owned());
    let shaped = |uuid, slug, source, found| Shaped {
        uuid,
        slug,
        source,
        found,
    };
    let key = match Identifier::parse(identifier) {
        Identifier::Empty => return Ok(shaped(None, None, "empty", false)),
        Identifier::TooLong => return Ok(shaped(None, given(), "slug-input", false)),
        Identifier::System => {
            let slug = Some("system".to_owned());
            return Ok(match system_tenant() {
                Some(uuid) => shaped(Some(uuid), slug, "env", true),
                None => shaped(None, slug, "slug-input", false),
            });
        }
        Identifier::Key(key) => key,
    };
    let Resolution { answer, source } = resolve_key(&key)?;
    Ok(match answer {
        Answer::BySlug { uuid, slug } | Answer::ById { uuid, slug } => {
            shaped(Some(uuid), Some(slug.as_str().to_owned()), source, true)
        }
        Answer::UnknownId { uuid } => shaped(Some(uuid), given(), source, false),
        Answer::UnknownSlug => shaped(None, given(), source, false),
    })
}

raw_function!(tenant_id, pg_finfo_tenant_id, |call| {
    // Declared STRICT: the argument is never NULL.
    match id_of(call.text(0).unwrap_or_default()) {
        Ok(uuid) => call.uuid(uuid),
        Err(error) => error.raise(),
    }
});

raw_function!(resolve_canonical_tenant, pg_finfo_resolve_canonical_tenant, resolve_one);

fn resolve_one(call: Call) -> pg_sys::Datum {
    match shape(call.text(0).unwrap_or_default()) {
        Ok(Shaped {
            uuid,
            slug,
            source,
            found,
        }) => call.row([
            uuid.map(|uuid| call.uuid(uuid)),
            slug.and_then(IntoDatum::into_datum),
            source.into_datum(),
            found.into_datum(),
        ]),
        Err(error) => error.raise(),
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn resolve_canonical_tenants(
    identifiers: Array<'_, &str>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(input, Option<String>),
            name!(uuid, Option<Uuid>),
            name!(slug, Option<String>),
            name!(source, &'static str),
            name!(found, bool),
        ),
    >,
    ErrorReport,
> {
    let mut rows = Vec::with_capacity(identifiers.len());
    for identifier in identifiers.iter() {
        let shaped = shape(identifier.unwrap_or_default().as_bytes())?;
        rows.push((
            identifier.map(str::to_owned),
            shaped.uuid.map(Uuid::from_bytes),
            shaped.slug,
            shaped.source,
            shaped.found,
        ));
        pgrx::check_for_interrupts!();
    }
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn tenant_cache_stats() -> TableIterator<
    'static,
    (
        name!(ttl_ms, i64),
        name!(capacity, i64),
        name!(size, i64),
        name!(hits, i64),
        name!(misses, i64),
        name!(evictions, i64),
        name!(hit_ratio, f64),
        name!(shared, bool),
    ),
> {
    let cache = cache();
    let stats = cache.stats();
    let calls = stats.hits + stats.misses;
    let hit_ratio = if calls == 0 {
        0.0
    } else {
        stats.hits as f64 / calls as f64
    };
    TableIterator::once((
        i64::from(config::TENANT_CACHE_TTL_MS.get()),
        cache.capacity() as i64,
        stats.size as i64,
        stats.hits as i64,
        stats.misses as i64,
        stats.evictions as i64,
        hit_ratio,
        shmem::is_shared(),
    ))
}

#[pg_extern(sql = false)]
fn reset_tenant_cache() {
    reset();
}

raw_function!(tenants_changed, pg_finfo_tenants_changed, |call| {
    let trigger = trigger::Trigger::of(call);
    changed(trigger.relation());
    trigger.keep_row()
});
