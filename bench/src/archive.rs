//! The archive: events by a thousand, new and unchanged, and moved from hot memory; microseconds per event. Every side writes the same
//! table under the same audit.

use cluster::{Cluster, SUPERUSER};

use crate::batches::Ground;
use crate::measure::{Job, Side, left_out, sized};
use crate::rival;

const CONTEXT: &str = "SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false)";
const RESET: &str = "TRUNCATE memory.agent_events_archive, memory.agent_sessions_archive, memory.audit_log";
const COLUMNS: &str = "tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload";

/// Three hundred users' events, ten in a session, as one document and as arrays for each thousand.
const SET_UP: &str = r#"
    CREATE TABLE source AS
        SELECT (i - 1) / 1000 + 1 AS batch, memory.tenant_id('acme') AS tenant_id, 'user-' || i % 300 AS user_id, 'session-' || i / 3000 AS session_id,
            'event-' || i AS event_id, 'message' AS event_type, timestamptz '2026-01-01' + i * interval '1 second' AS occurred_at,
            jsonb_build_object('text', md5(i::text) || ' ' || md5((i + 1)::text), 'number', i,
                '_tenant', '{"input": "acme", "slug": "acme", "source": "db-slug", "found": true}'::jsonb) AS payload
        FROM generate_series(1, EVENTS) AS i;
    CREATE TABLE batches AS
        SELECT batch, jsonb_agg(jsonb_build_object('tenant', 'acme', 'tenant_id', tenant_id, 'user_id', user_id, 'session_id', session_id,
                'event_id', event_id, 'event_type', event_type, 'occurred_at', occurred_at, 'payload', payload)) AS document,
            array_agg(tenant_id) AS tenants, array_agg(user_id) AS users, array_agg(session_id) AS sessions, array_agg(event_id) AS events,
            array_agg(event_type) AS types, array_agg(occurred_at) AS times, array_agg(payload) AS payloads
        FROM source GROUP BY batch;
    ALTER TABLE batches ADD PRIMARY KEY (batch);
    CREATE ROLE bench_archive LOGIN;
    SELECT memory.grant_access('bench_archive', 'service');
    GRANT SELECT ON source, batches TO bench_archive"#;

/// Loads the events and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let rows: i32 = sized(300_000, 30_000);
    let ground = Ground::new(cluster, "archive", &SET_UP.replace("EVENTS", &rows.to_string()));
    let client = ground.client("bench_archive", CONTEXT);
    let batches = |reset: &str, sql: &str| ground.batches(&client, reset, sql, rows / 1000, rows);
    let ours = "SELECT memory.archive_events(document) FROM batches WHERE batch = $1";
    let unnest = format!(
        "INSERT INTO memory.agent_events_archive ({COLUMNS}) SELECT r.* FROM batches,
         unnest(tenants, users, sessions, events, types, times, payloads) AS r WHERE batch = $1"
    );
    let recordset = format!(
        "INSERT INTO memory.agent_events_archive ({COLUMNS}) SELECT r.* FROM batches, jsonb_to_recordset(document) AS r
         (tenant_id uuid, user_id text, session_id text, event_id text, event_type text, occurred_at timestamptz, payload jsonb) WHERE batch = $1"
    );
    let again = format!("{RESET}; {CONTEXT}; SELECT memory.archive_events(document) FROM batches");
    let hot = format!(
        "{RESET}, memory.sessions, memory.events;
         INSERT INTO memory.sessions (tenant_id, user_id, session_id, started_at, last_activity)
             SELECT tenant_id, user_id, session_id, min(occurred_at), min(occurred_at) FROM source GROUP BY 1, 2, 3;
         INSERT INTO memory.events ({COLUMNS}) SELECT {COLUMNS} FROM source ORDER BY 1, 2, 3, 4; ANALYZE memory.sessions, memory.events"
    );
    let operator = ground.client(SUPERUSER, CONTEXT);
    let run =
        "DO $$ BEGIN WHILE (SELECT more FROM memory.run_archival('0 seconds', 1000)) LOOP COMMIT; END LOOP; END $$";
    let source = format!("SELECT {COLUMNS} FROM source");
    let copy = || {
        ground.copy(
            CONTEXT,
            RESET,
            &source,
            &format!("memory.agent_events_archive ({COLUMNS})"),
            rows,
        )
    };
    let job = |name: &str, ours: Side<'static>, rival: Side<'static>, goal| Job {
        name: format!("archive: {name}"),
        unit: "us",
        ours,
        rival,
        goal: Some(goal),
    };
    let mut jobs = vec![
        job(
            "archive_events by 1000 / unnest by 1000",
            batches(RESET, ours),
            batches(RESET, &unnest),
            1.0,
        ),
        job(
            "archive_events by 1000 / jsonb_to_recordset by 1000",
            batches(RESET, ours),
            batches(RESET, &recordset),
            1.2,
        ),
        job("archive_events by 1000 / COPY", batches(RESET, ours), copy(), 0.8),
        job(
            "again unchanged / the first time",
            batches(&again, ours),
            batches(RESET, ours),
            2.0,
        ),
        job(
            "run_archival / COPY",
            ground.once(&operator, &hot, run, rows),
            copy(),
            0.6,
        ),
    ];
    match ground.python("bench_archive") {
        None => left_out("psycopg row at a time (archive)", &rival::how("'psycopg[binary]'")),
        Some(python) => jobs.push(Job {
            name: "archive: archive_events by 1000, from Python / psycopg row at a time".to_owned(),
            unit: "us",
            ours: ground.python_side(&python, RESET, "archive_events", sized(100_000, 10_000)),
            rival: ground.python_side(&python, RESET, "event_at_a_time", sized(10_000, 1_000)),
            goal: None,
        }),
    }
    jobs
}
