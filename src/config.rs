//! Every setting of the extension, each with the reason for its default.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::pg;

/// 16384 entries are 3.5 MB: a tenant's UUID and slug are two entries, so 8,000 active tenants fit without eviction.
pub static TENANT_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(16384);

/// Freshness is transactional, so the TTL only bounds the delay where no commit tells (a standby): a minute.
pub static TENANT_CACHE_TTL_MS: GucSetting<i32> = GucSetting::<i32>::new(60_000);

/// Unset: the identifier `system` resolves to nothing until an operator decides which tenant it is.
pub static SYSTEM_TENANT_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// A hundred steps tell where a user came from; older ones are events, not navigation.
pub static NAVIGATION_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(100);

/// 64 MB: above what an agent's tool returns, far below jsonb's own bound of 255 MB where errors turn obscure.
pub static MAX_PAYLOAD_SIZE_KB: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);

/// English, which most texts of agents are in; a tenant has its own by set_search_language(). A superuser's: what runs is a dictionary.
pub static TEXT_SEARCH_CONFIG: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"pg_catalog.english"));

/// The text search configuration of tenants without one of their own, as set.
pub fn text_search_config() -> String {
    let value = TEXT_SEARCH_CONFIG.get();
    value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
}

/// The largest payload, in bytes.
pub fn max_payload_size() -> usize {
    MAX_PAYLOAD_SIZE_KB.get() as usize * 1024
}

/// Defines the settings; called once, when the library is loaded. `context` is asked and told of the security context's, `is_uuid` of
/// those that hold a UUID.
pub fn define(context: pg::guc::Watch, is_uuid: fn(&str) -> bool) {
    // The size of a shared cache is fixed at start; a backend's own cache takes it when it is first used.
    let size_context = if pg::shmem::preloading() {
        GucContext::Postmaster
    } else {
        GucContext::Suset
    };
    GucRegistry::define_int_guc(
        c"memory.tenant_cache_size",
        c"Number of entries of the tenant cache.",
        c"The cache is shared by all databases; at most an eighth of it holds answers that found nothing.",
        &TENANT_CACHE_SIZE,
        8,
        1 << 24,
        size_context,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"memory.tenant_cache_ttl",
        c"How long an answer of the tenant cache is used; 0 turns the cache off.",
        c"A change of a tenant is seen at its commit, whatever this says; on a standby it bounds the delay.",
        &TENANT_CACHE_TTL_MS,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"memory.navigation_limit",
        c"Number of navigation entries that are kept per user, the newest.",
        c"",
        &NAVIGATION_LIMIT,
        1,
        100_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"memory.max_payload_size",
        c"The largest payload, content or metadata that a function accepts.",
        c"",
        &MAX_PAYLOAD_SIZE_KB,
        1,
        250 * 1024,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_string_guc(
        c"memory.text_search_config",
        c"The text search configuration that texts are read in, of tenants without one of their own.",
        c"Where there is no such configuration, texts are read as pg_catalog.simple reads them.",
        &TEXT_SEARCH_CONFIG,
        GucContext::Suset,
        GucFlags::default(),
    );
    pg::guc::define_uuid_setting(
        c"memory.system_tenant_id",
        c"The UUID that the identifier \"system\" resolves to.",
        &SYSTEM_TENANT_ID,
        is_uuid,
    );
    pg::guc::define_context(context);
    pg::guc::reserve_prefix(c"memory");
}
