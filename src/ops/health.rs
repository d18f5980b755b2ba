//! Health: a list of checks, each of which says how it is, and what to do where it is not well.
//!
//! Protocol: nothing is written and no transaction id is taken, so it works on a standby. Each check runs in a subtransaction of its own, with a lock
//! timeout: what is broken or locked is a finding, not an error of the call. Each reads by an index, or the catalog: never a table of users' data as a whole.

use std::time::Instant;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

use crate::config;
use crate::pg::drain::Fill;
use crate::pg::{catalog, shmem, spi, xact};
use crate::trust::master;
use crate::{access, violation};

/// How a part is; the greater the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Ok,
    Degraded,
    Failing,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

struct Finding {
    status: Status,
    detail: String,
    advice: Option<String>,
}

impl Finding {
    fn ok(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Ok,
            detail: detail.into(),
            advice: None,
        }
    }

    fn degraded(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Degraded,
            detail: detail.into(),
            advice: Some(advice.into()),
        }
    }

    fn failing(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Failing,
            ..Self::degraded(detail, advice)
        }
    }
}

/// A check by one statement: whether it is well, what there is to say, and what to do where it is not. No row is well.
struct Asked {
    name: &'static str,
    /// What it is where it is not well.
    status: Status,
    sql: &'static str,
    advice: &'static str,
}

const ASKED: [Asked; 12] = [
    Asked {
        name: "row_security",
        status: Status::Failing,
        sql: "SELECT count(*) FILTER (WHERE t.is_off) = 0 AND count(*) FILTER (WHERE t.is_recorded) > 0,
                  CASE WHEN count(*) FILTER (WHERE t.is_recorded) = 0 THEN 'it is not recorded which tables have it'
                      ELSE coalesce('off: ' || string_agg(t.relation, ', ' ORDER BY t.relation) FILTER (WHERE t.is_off), 'enabled and forced') END
              FROM (
                  SELECT o.relation, o.is_recorded, (c.relrowsecurity AND c.relforcerowsecurity) IS NOT TRUE AS is_off FROM (
                      SELECT e.relation, true AS is_recorded FROM memory.schema_expectation AS e WHERE e.kind = 'row security' AND e.definition LIKE 'ENABLE%'
                      UNION ALL SELECT 'memory.' || quote_ident(s.relation), false FROM memory.embedding_spaces AS s
                  ) AS o LEFT JOIN pg_class AS c ON c.oid = to_regclass(o.relation)
              ) AS t",
        advice: "SELECT * FROM memory.repair_schema() shows the statements, repair_schema(false) runs them.",
    },
    Asked {
        name: "triggers",
        status: Status::Failing,
        sql: "SELECT count(*) = 0, coalesce('disabled: ' || string_agg(c.relname || '.' || t.tgname, ', ' ORDER BY c.relname, t.tgname), 'enabled')
              FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
              WHERE c.relnamespace = 'memory'::regnamespace AND t.tgenabled = 'D'",
        advice: "What they keep (the audit log, documents of search, foreign keys) has a gap since. SELECT * FROM memory.repair_schema(false) enables them.",
    },
    Asked {
        name: "resolver",
        status: Status::Degraded,
        sql: "SELECT s.hits + s.misses < 10000 OR s.hit_ratio >= 0.9 OR s.size < 0.8 * s.capacity, format('%s of %s entries, hit ratio %s, %s evictions%s',
                  s.size, s.capacity, coalesce(round(s.hit_ratio::numeric, 3)::text, '-'), s.evictions, CASE WHEN s.ttl_ms = 0 THEN ', turned off' ELSE '' END)
              FROM memory.tenant_cache_stats() AS s",
        advice: "More tenants are asked for than there are entries: raise memory.tenant_cache_size (two entries per tenant) and restart.",
    },
    Asked {
        name: "archival",
        status: Status::Degraded,
        // The end of its index: a count beside it would read them all.
        sql: "SELECT s.last_activity > clock_timestamp() - interval '1 day 1 hour', 'the longest idle session has been so since ' || s.last_activity
              FROM memory.sessions AS s ORDER BY s.last_activity LIMIT 1",
        advice: "Nobody archives: CALL memory.maintain() by pg_cron, or name this database in memory.worker_databases. A legal hold keeps sessions, too.",
    },
    Asked {
        name: "expiry",
        status: Status::Degraded,
        sql: "SELECT false, 'nodes have expired since ' || n.expires_at
              FROM (SELECT m.expires_at FROM memory.nodes AS m WHERE m.expires_at IS NOT NULL ORDER BY m.expires_at LIMIT 1) AS n
              WHERE n.expires_at < clock_timestamp() - interval '1 day' AND NOT EXISTS (SELECT FROM memory.legal_holds AS h WHERE h.lifted_at IS NULL)",
        advice: "Nobody removes what has expired: CALL memory.maintain() by pg_cron, or name this database in memory.worker_databases.",
    },
    Asked {
        name: "audit_seals",
        status: Status::Degraded,
        sql: "SELECT u.changed_at IS NULL OR u.changed_at > clock_timestamp() - interval '1 day 1 hour',
                  CASE WHEN u.changed_at IS NULL THEN 'all is sealed' ELSE 'not sealed: rows since ' || u.changed_at END
                  || CASE WHEN s.seal_id IS NULL THEN '; no seal yet' WHEN s.tag IS NULL THEN '; the last seal is not signed, for want of a master key' ELSE '' END
              FROM (SELECT) AS one
              LEFT JOIN LATERAL (SELECT a.seal_id, a.last_id, a.tag FROM memory.audit_seals AS a ORDER BY a.seal_id DESC LIMIT 1) AS s ON true
              LEFT JOIN LATERAL (SELECT l.changed_at FROM memory.audit_log AS l WHERE l.id > coalesce(s.last_id, 0) ORDER BY l.id LIMIT 1) AS u ON true",
        advice: "What is not sealed can be changed without a trace: SELECT memory.seal_audit_log() until it gives 0, and CALL memory.maintain() regularly.",
    },
    Asked {
        name: "violations",
        status: Status::Degraded,
        // Ids of version 7 begin with the millisecond.
        sql: "SELECT count(*) < 1000, count(*) || ' in the last hour' FROM (
                  SELECT FROM memory.security_violations AS v
                  WHERE v.id > (lpad(to_hex((extract(epoch FROM clock_timestamp() - interval '1 hour') * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
                  LIMIT 10000) AS n",
        advice: "Somebody is trying: SELECT * FROM memory.detect_security_anomalies() as an auditor.",
    },
    Asked {
        name: "dead_rows",
        status: Status::Degraded,
        sql: "SELECT count(*) = 0, coalesce(string_agg(format('%s: %s dead, %s live', c.relname, pg_stat_get_dead_tuples(c.oid), pg_stat_get_live_tuples(c.oid)), '; '), 'few')
              FROM pg_class AS c WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r'
                  AND pg_stat_get_dead_tuples(c.oid) > 100000 AND pg_stat_get_dead_tuples(c.oid) > pg_stat_get_live_tuples(c.oid) / 2",
        advice: "autovacuum does not keep up: see whether it is on and what holds it back (transactions); VACUUM these tables.",
    },
    Asked {
        name: "transactions",
        status: Status::Degraded,
        sql: "SELECT count(*) = 0, coalesce(string_agg(t.what, '; '), 'none is older than an hour') FROM (
                  SELECT 'prepared ' || p.gid || ' at ' || p.prepared AS what FROM pg_prepared_xacts AS p
                  WHERE p.database = current_database() AND p.prepared < clock_timestamp() - interval '1 hour'
                  UNION ALL SELECT 'process ' || a.pid || ' since ' || a.xact_start FROM pg_stat_activity AS a
                  WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - interval '1 hour'
              ) AS t",
        advice: "An open transaction keeps VACUUM from dead rows, seals from being set, and, where it has changed tenants, the resolver's cache from being used: end it.",
    },
    Asked {
        name: "invalid_indexes",
        status: Status::Degraded,
        sql: "SELECT count(*) = 0, coalesce(string_agg(i.indexrelid::regclass::text, ', '), 'none')
              FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
              WHERE c.relnamespace = 'memory'::regnamespace AND NOT (i.indisvalid AND i.indisready)",
        advice: "REINDEX them, or DROP the one that a REINDEX CONCURRENTLY has left.",
    },
    Asked {
        name: "jobs",
        status: Status::Degraded,
        sql: "SELECT count(*) = 0, coalesce(string_agg(j.job || ': ' || j.last_error || ' at ' || j.last_failure_at, '; ' ORDER BY j.job), 'none failed when it last ran')
              FROM memory.jobs AS j WHERE j.last_failure_at > coalesce(j.last_success_at, '-infinity')",
        advice: "See memory.job_runs and, at that time, the server's log; CALL memory.maintain() tries again.",
    },
    Asked {
        name: "worker",
        status: Status::Degraded,
        sql: "SELECT NOT w.configured OR pg_is_in_recovery() OR greatest(w.last_round_at, pg_postmaster_start_time())
                      > clock_timestamp() - make_interval(secs => 3 * w.naptime + 300),
                  CASE WHEN NOT w.configured THEN 'not configured for this database' ELSE 'last round: ' || coalesce(w.last_round_at::text, 'none yet') END
              FROM memory.worker_status() AS w",
        advice: "The worker is configured and does not come round: see the server's log, and whether max_worker_processes leaves it a place.",
    },
];

fn ask(asked: &Asked) -> Finding {
    let answer = spi::read_once(asked.sql, &[], |mut rows| {
        let row = rows.next()?;
        Some((
            spi::unwrap(row.get::<bool>(1)).unwrap_or_default(),
            spi::unwrap(row.get::<String>(2)).unwrap_or_default(),
        ))
    });
    match answer {
        None => Finding::ok("nothing to look at"),
        Some((true, detail)) => Finding::ok(detail),
        Some((false, detail)) => Finding {
            status: asked.status,
            ..Finding::degraded(detail, asked.advice)
        },
    }
}

fn text(sql: &str) -> Option<String> {
    spi::read_once(sql, &[], |mut rows| rows.next().and_then(|row| spi::unwrap(row.get(1))))
}

fn library() -> Finding {
    if shmem::is_shared() {
        Finding::ok("preloaded")
    } else {
        Finding::degraded(
            "not in shared_preload_libraries: the resolver's cache is each session's own, violations are written by a process each, reads are not logged, the worker does not run",
            "ALTER SYSTEM SET shared_preload_libraries = 'memory_ext' (beside what is there), and restart.",
        )
    }
}

/// The version of this library.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn version() -> Finding {
    let sql = text("SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'memory_ext'").unwrap_or_default();
    if sql == VERSION {
        return Finding::ok(VERSION);
    }
    Finding::degraded(
        format!("the library is {VERSION}, the extension in this database {sql}"),
        "ALTER EXTENSION memory_ext UPDATE; where the library is the older one, restart the server so that it is loaded anew.",
    )
}

fn ring(what: &str, fill: Option<Fill>, advice: &str) -> Finding {
    let Some(fill) = fill else {
        return Finding::ok("not shared");
    };
    let detail = format!(
        "{} of {} {what} wait, {} found no place since the server started",
        fill.taken, fill.slots, fill.dropped
    );
    if fill.dropped == 0 && fill.taken * 2 < fill.slots {
        Finding::ok(detail)
    } else {
        Finding::degraded(detail, advice)
    }
}

fn master_key() -> Finding {
    // Reads the tenants, which is for where something is wrong.
    let is_needed = || {
        text(
        "SELECT 'needed' WHERE EXISTS (SELECT FROM memory.user_keys) OR EXISTS (SELECT FROM memory.tenants AS t WHERE t.encryption_enabled)
             OR EXISTS (SELECT FROM memory.auth_keys AS k WHERE k.wrapped_secret IS NOT NULL)
             OR EXISTS (SELECT FROM (SELECT a.tag FROM memory.audit_seals AS a ORDER BY a.seal_id DESC LIMIT 1) AS s WHERE s.tag IS NOT NULL)",
    )
    .is_some()
    };
    let bad = |detail: String, advice: &str| {
        if is_needed() {
            Finding::failing(format!("{detail}; there is what it has encrypted or signed"), advice)
        } else {
            Finding::degraded(detail, advice)
        }
    };
    match (config::master_key_file(), config::master_key_command()) {
        (None, None) if !is_needed() => Finding::ok("none; nothing needs one"),
        (None, None) => bad(
            "there is no master key".to_owned(),
            "Set memory.master_key_file or memory.master_key_command as it was.",
        ),
        // It may take seconds.
        (None, Some(_)) => Finding::ok("by a command, which is not run here"),
        _ => match master::refresh() {
            Ok(_) => Finding::ok("readable"),
            Err(error) => bad(error.message, &error.hint),
        },
    }
}

/// So many embeddings of a user are ranked without the index, and up to so many wait in all before anything is said.
const EXACT: i64 = 20_000;
const MANY_WAIT: f32 = 1_000_000.0;

/// Two things. Whether the index of a space is there and usable: exactly, where embeddings are found by it, or there are more than one user's may be without it. And whether
/// index_embeddings() is called at all: by what the last VACUUM or ANALYZE counted, for who has more than `EXACT` is known only by reading all that wait.
fn embedding_index() -> Finding {
    // A space whose vectors are too long for an index has none by design.
    const SPACES: &str = "SELECT s.model, quote_ident(s.relation), i.indexrelid IS NOT NULL, coalesce(i.indisvalid AND i.indisready, false),
            coalesce(codes.reltuples, 0), coalesce(near.reltuples, 0)
        FROM memory.embedding_spaces AS s
        LEFT JOIN pg_class AS near ON near.relname = s.relation || '_near' AND near.relnamespace = 'memory'::regnamespace
        LEFT JOIN pg_index AS i ON i.indexrelid = near.oid
        LEFT JOIN pg_class AS codes ON codes.relname = s.relation || '_codes' AND codes.relnamespace = 'memory'::regnamespace
        WHERE near.oid IS NOT NULL OR s.dimensions <= CASE s.quantization WHEN 'none' THEN 2000 WHEN 'half' THEN 4000 ELSE 16000 END
        ORDER BY s.model";
    type Space = (String, String, bool, bool, f32, f32);
    let spaces: Vec<Space> = spi::read_once(SPACES, &[], |rows| {
        rows.filter_map(|row| {
            Some((
                spi::unwrap(row.get(1))?,
                spi::unwrap(row.get(2))?,
                spi::unwrap(row.get(3))?,
                spi::unwrap(row.get(4))?,
                spi::unwrap(row.get(5))?,
                spi::unwrap(row.get(6))?,
            ))
        })
        .collect()
    });
    let (mut lost, mut missed, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for (model, relation, is_there, is_valid, codes, near) in spaces {
        if !is_valid {
            let state = if is_there { "is not valid" } else { "is not there" };
            let exists = |rows: &str| {
                let sql = format!("SELECT EXISTS (SELECT FROM memory.{relation} AS t {rows})");
                spi::read_once(&sql, &[], |rows| spi::unwrap(rows.first().get_one())) == Some(true)
            };
            if exists("WHERE t.indexed") {
                lost.push(format!(
                    "{model}: the index that embeddings of memory.{relation} are found by {state}"
                ));
            } else if exists(&format!("OFFSET {EXACT}")) {
                missed.push(format!("{model}: the index of more than {EXACT} embeddings {state}"));
            }
        } else if codes > MANY_WAIT && near < codes / 10.0 {
            waiting.push(format!("{model}: some {codes} embeddings are not in its index"));
        }
    }
    if !lost.is_empty() {
        return Finding::failing(
            lost.join("; "),
            "Searches do not find them. UPDATE that table SET indexed = false WHERE indexed has them read one by one again. REINDEX the index where it is not valid.",
        );
    }
    if !missed.is_empty() {
        return Finding::degraded(
            missed.join("; "),
            "Searches read every embedding. REINDEX the index where it is not valid; where it is not there, make the space anew, or the index as a dump of the schema has it.",
        );
    }
    if waiting.is_empty() {
        return Finding::ok("nothing large is left out");
    }
    Finding::degraded(
        waiting.join("; "),
        "Where a user has more than 20,000 embeddings, SELECT memory.index_embeddings() until nothing waits; CALL memory.maintain() does.",
    )
}

fn replication() -> Finding {
    if !xact::is_standby() {
        return Finding::ok("a primary");
    }
    let behind = text(
        "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::bigint::text
         WHERE pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()",
    );
    match behind.and_then(|seconds| seconds.parse::<i64>().ok()) {
        Some(seconds) if seconds > 60 => Finding::degraded(
            format!("a standby, {seconds} seconds behind what it has received"),
            "A query may hold the replay up (max_standby_streaming_delay), or the standby is too slow. The resolver's answers are as old, memory.tenant_cache_ttl more at most.",
        ),
        _ => Finding::ok("a standby"),
    }
}

/// In what these read nothing of the tables can be read before the update.
const OF_THIS_VERSION: [&str; 2] = ["jobs", "worker"];

/// What is another server's on a standby; the rest is as the primary wrote it, and for the primary to mend.
const OF_THIS_SERVER: [&str; 9] = [
    "library",
    "version",
    "replication",
    "violations_ring",
    "access_ring",
    "master_key",
    "resolver",
    "transactions",
    "worker",
];

fn findings(mut each: impl FnMut(&'static str, &dyn Fn() -> Finding)) {
    each("library", &library);
    each("version", &version);
    each("replication", &replication);
    each("violations_ring", &|| {
        ring(
            "violations",
            violation::fill(),
            "SELECT memory.flush_security_violations(). What found no place is in the server's log.",
        )
    });
    each("access_ring", &|| {
        ring(
            "reads",
            access::fill(),
            "SELECT memory.flush_data_access_log(). Reads that found no place are not logged: see that max_worker_processes leaves a place, or set memory.log_reads = sampled.",
        )
    });
    each("master_key", &master_key);
    each("embedding_index", &embedding_index);
    for asked in &ASKED {
        if !OF_THIS_VERSION.contains(&asked.name) || catalog::relation_named("jobs") != pg_sys::InvalidOid {
            each(asked.name, &|| ask(asked));
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

#[pg_extern(sql = false)]
fn health() -> JsonB {
    let began = Instant::now();
    let (mut worst, mut checks) = (Status::Ok, Map::new());
    let done = xact::enclosed(false, || {
        let _ = text("SELECT set_config('lock_timeout', '20ms', true)");
        findings(|name, look| {
            let since = Instant::now();
            let finding = xact::enclosed(false, look).unwrap_or_else(|failed| {
                Finding::degraded(
                    format!("cannot be looked at: {}: {}", failed.sqlstate, failed.message),
                    "55P03: a lock on the table is held by somebody else. Anything else: SELECT * FROM memory.schema_drift().",
                )
            });
            worst = worst.max(finding.status);
            let mut check =
                json!({"status": finding.status.word(), "latency_ms": milliseconds(since), "detail": finding.detail});
            if let Some(advice) = finding.advice {
                let elsewhere = xact::is_standby() && !OF_THIS_SERVER.contains(&name);
                let to = if elsewhere { "On the primary: " } else { "" };
                check["advice"] = Value::String(format!("{to}{advice}"));
            }
            checks.insert(name.to_owned(), check);
        });
    });
    if let Err(failed) = done {
        worst = Status::Failing;
        checks.insert(
            "health".to_owned(),
            json!({"status": "failing", "detail": failed.message}),
        );
    }
    JsonB(json!({
        "status": worst.word(),
        "version": VERSION,
        "checked_at": text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"),
        "latency_ms": milliseconds(began),
        "checks": checks,
    }))
}
