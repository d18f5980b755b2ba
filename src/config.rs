//! Every setting of the extension, each with the reason for its default.

use std::ffi::{CStr, CString};

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

/// Unset: nothing is encrypted until an operator has made a key, outside the database. For the whole server, from its configuration.
pub static MASTER_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static MASTER_KEY_COMMAND: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The path of the file that the master key is in, if one is set.
pub fn master_key_file() -> Option<String> {
    set_text(&MASTER_KEY_FILE)
}

/// The command that prints the master key, if one is set.
pub fn master_key_command() -> Option<String> {
    set_text(&MASTER_KEY_COMMAND)
}

fn set_text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    let value = setting.get()?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// Which reads the access log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, pgrx::PostgresGucEnum)]
pub enum LogReads {
    #[name = c"off"]
    Off,
    #[name = c"sampled"]
    Sampled,
    #[name = c"full"]
    Full,
}

/// Off: a read costs some 2 µs more, and a table grows, where nobody has said that they want to know.
pub static LOG_READS: GucSetting<LogReads> = GucSetting::<LogReads>::new(LogReads::Off);

/// The constants of BM25 that Anserini found to do well on short passages; on dialogues they are ahead of the textbook's 1.2 and 0.75.
pub static SEARCH_BM25_K1: GucSetting<f64> = GucSetting::<f64>::new(0.9);
pub static SEARCH_BM25_B: GucSetting<f64> = GucSetting::<f64>::new(0.4);

/// Small: the first few of each leg count much more than the rest. The 60 of the method's paper blurs legs of which one is better.
pub static SEARCH_RRF_K: GucSetting<f64> = GucSetting::<f64>::new(5.0);

/// Words find more than small embeddings do.
pub static SEARCH_TEXT_WEIGHT: GucSetting<f64> = GucSetting::<f64>::new(1.5);
pub static SEARCH_VECTOR_WEIGHT: GucSetting<f64> = GucSetting::<f64>::new(1.0);

/// Half of a hit's score for each step from it: what stands between hits is worth as much as one.
pub static SEARCH_DAMPING: GucSetting<f64> = GucSetting::<f64>::new(0.5);

/// Fifty of each leg: what comes later adds noise rather than finds, and costs time.
pub static SEARCH_POOL: GucSetting<i32> = GucSetting::<i32>::new(50);

/// A minute, which clocks of servers differ by at most where they are kept at all.
pub static TOKEN_LEEWAY_S: GucSetting<i32> = GucSetting::<i32>::new(60);

/// 0: as long as whoever issues tokens lets them live.
pub static TOKEN_MAX_TTL_S: GucSetting<i32> = GucSetting::<i32>::new(0);

/// Unset: each key says for itself.
pub static TOKEN_AUDIENCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static TOKEN_ISSUER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Unset: claims that nobody signed are nobody's.
pub static TRUST_REQUEST_CLAIMS_FROM: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The longest life of a token in seconds, where one is set.
pub fn token_max_ttl() -> Option<i64> {
    Some(TOKEN_MAX_TTL_S.get().into()).filter(|longest| *longest > 0)
}

pub fn token_audience() -> Option<String> {
    set_text(&TOKEN_AUDIENCE)
}

pub fn token_issuer() -> Option<String> {
    set_text(&TOKEN_ISSUER)
}

pub fn trust_request_claims_from() -> Option<String> {
    set_text(&TRUST_REQUEST_CLAIMS_FROM)
}

/// 64 MB hold the codes of 160,000 embeddings of 384 dimensions, as work_mem is held: by each backend that needs them.
pub static VECTOR_CACHE_SIZE_KB: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);

/// 64 MB hold a graph of a million relationships twice over, by each backend that walks through it.
pub static GRAPH_CACHE_SIZE_KB: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);

/// How much a backend may keep of graphs, in bytes.
pub fn graph_cache_size() -> usize {
    GRAPH_CACHE_SIZE_KB.get() as usize * 1024
}

/// How much a backend may keep of embeddings, in bytes.
pub fn vector_cache_size() -> usize {
    VECTOR_CACHE_SIZE_KB.get() as usize * 1024
}

/// Unset: nothing runs by itself where nobody has said so.
pub static WORKER_DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// A minute, as autovacuum's: what expires and what is over is gone soon, and a round with nothing to do is some 12 ms of a processor.
pub static WORKER_NAPTIME_S: GucSetting<i32> = GucSetting::<i32>::new(60);

/// The names of the databases that the worker keeps in order.
pub fn worker_databases() -> Vec<String> {
    let named = set_text(&WORKER_DATABASES).unwrap_or_default();
    let names = named.split(',').map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// How long the worker rests between two rounds.
pub fn worker_naptime() -> std::time::Duration {
    std::time::Duration::from_secs(WORKER_NAPTIME_S.get().unsigned_abs().into())
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
    define_kept();
    define_keys();
    GucRegistry::define_enum_guc(
        c"memory.log_reads",
        c"Which reads through the extension's functions are logged in memory.data_access_log.",
        c"off, sampled (one in a hundred) or full. Needs shared_preload_libraries.",
        &LOG_READS,
        GucContext::Suset,
        GucFlags::default(),
    );
    define_search();
    define_tokens();
    define_worker();
    pg::guc::define_uuid_setting(
        c"memory.system_tenant_id",
        c"The UUID that the identifier \"system\" resolves to.",
        &SYSTEM_TENANT_ID,
        is_uuid,
    );
    pg::guc::define_context(context);
    pg::guc::reserve_prefix(c"memory");
}

/// What a backend may keep in memory: as with work_mem, it is a session's own to say.
fn define_kept() {
    for (name, about, setting) in [
        (
            c"memory.graph_cache_size",
            c"How much memory each backend may use to keep the graphs that it walks through; 0 keeps none.",
            &GRAPH_CACHE_SIZE_KB,
        ),
        (
            c"memory.vector_cache_size",
            c"How much memory each backend may use to keep the embeddings that it searches; 0 keeps none.",
            &VECTOR_CACHE_SIZE_KB,
        ),
    ] {
        GucRegistry::define_int_guc(
            name,
            about,
            c"What is kept is as fresh as the tables.",
            setting,
            0,
            i32::MAX,
            GucContext::Userset,
            GucFlags::UNIT_KB,
        );
    }
}

/// Where the master key is: not to be read by who may not know, and the same for every session, so that none wraps by another key.
fn define_keys() {
    for (name, about, more, setting) in [
        (
            c"memory.master_key_file",
            c"The file that the master key is in.",
            c"One key per line, newest first: 64 hexadecimal digits or base64. The server's user's alone, outside the data folder.",
            &MASTER_KEY_FILE,
        ),
        (
            c"memory.master_key_command",
            c"The command that prints the master key, in place of a file.",
            c"Run by sh as the server's user; what it prints is read as the file is.",
            &MASTER_KEY_COMMAND,
        ),
    ] {
        GucRegistry::define_string_guc(name, about, more, setting, GucContext::Sighup, GucFlags::SUPERUSER_ONLY);
    }
}

/// Who keeps the memory in order, and how often: the server's, as it is one for all sessions.
fn define_worker() {
    GucRegistry::define_string_guc(
        c"memory.worker_databases",
        c"The databases that the worker keeps in order, separated by commas.",
        c"Names as in pg_database. Needs shared_preload_libraries. A name that is no database is tried again in each round.",
        &WORKER_DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"memory.worker_naptime",
        c"How long the worker rests between two rounds.",
        c"",
        &WORKER_NAPTIME_S,
        1,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
}

/// What tokens are held against.
fn define_tokens() {
    for (name, about, more, setting, most) in [
        (
            c"memory.token_leeway",
            c"By how much clocks may differ: so long after its exp, and before its nbf, a token is accepted.",
            c"",
            &TOKEN_LEEWAY_S,
            300,
        ),
        (
            c"memory.token_max_ttl",
            c"The longest life that a token may have left; 0: any.",
            c"Service tokens are not issued for longer.",
            &TOKEN_MAX_TTL_S,
            i32::MAX,
        ),
    ] {
        GucRegistry::define_int_guc(name, about, more, setting, 0, most, GucContext::Suset, GucFlags::UNIT_S);
    }
    for (name, about, more, setting) in [
        (
            c"memory.token_audience",
            c"What tokens say in aud, where their key does not say it.",
            c"",
            &TOKEN_AUDIENCE,
        ),
        (
            c"memory.token_issuer",
            c"What tokens say in iss, where their key does not say it.",
            c"",
            &TOKEN_ISSUER,
        ),
        (
            c"memory.trust_request_claims_from",
            c"The login of PostgREST, whose request.jwt.claims authenticate_request() trusts.",
            c"Unset, nobody's. Whoever runs SQL in such a session before that call is whoever they want to be.",
            &TRUST_REQUEST_CLAIMS_FROM,
        ),
    ] {
        GucRegistry::define_string_guc(name, about, more, setting, GucContext::Suset, GucFlags::default());
    }
}

/// What a search is tuned by: anyone's to set, for it changes no more than the order of what one sees.
fn define_search() {
    type Number = (&'static CStr, &'static CStr, &'static GucSetting<f64>, f64);
    let numbers: [Number; 6] = [
        (
            c"memory.search_bm25_k1",
            c"BM25's k1: how soon more of the same word stops to count.",
            &SEARCH_BM25_K1,
            100.0,
        ),
        (
            c"memory.search_bm25_b",
            c"BM25's b: how much its length counts against a document.",
            &SEARCH_BM25_B,
            1.0,
        ),
        (
            c"memory.search_rrf_k",
            c"The k of reciprocal rank fusion: a rank r counts weight / (k + r).",
            &SEARCH_RRF_K,
            10_000.0,
        ),
        (
            c"memory.search_text_weight",
            c"How much the lexical leg of a search counts.",
            &SEARCH_TEXT_WEIGHT,
            1000.0,
        ),
        (
            c"memory.search_vector_weight",
            c"How much the vector leg of a search counts.",
            &SEARCH_VECTOR_WEIGHT,
            1000.0,
        ),
        (
            c"memory.search_damping",
            c"What a hit hands on of its score, per step in its session or along relationships.",
            &SEARCH_DAMPING,
            1.0,
        ),
    ];
    for (name, about, setting, most) in numbers {
        GucRegistry::define_float_guc(
            name,
            about,
            c"",
            setting,
            0.0,
            most,
            GucContext::Userset,
            GucFlags::default(),
        );
    }
    GucRegistry::define_int_guc(
        c"memory.search_pool",
        c"How many candidates each leg of a search gives at least; twice the results that are asked for, if that is more.",
        c"",
        &SEARCH_POOL,
        1,
        10_000,
        GucContext::Userset,
        GucFlags::default(),
    );
}
