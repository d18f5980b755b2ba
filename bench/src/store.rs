//! Storing nodes, half of them stored before (microseconds per node): by a thousand against one set-based ON CONFLICT into a table
//! indexed for search as people do it, with our policies and audit on both sides and without audit on either, and one at a time against a
//! bare ON CONFLICT into our own table.

use cluster::Cluster;

use crate::batches::Ground;
use crate::measure::{Job, left_out, sized};
use crate::rival;

const CONTEXT: &str = "SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false)";
const RESET: &str = "TRUNCATE memory.nodes, memory.audit_log, rival, audited CASCADE;
    ALTER TABLE memory.nodes ENABLE TRIGGER audit_insert, ENABLE TRIGGER audit_update";

/// The audit's price is a line of its own.
const WITHOUT_AUDIT: &str = "; ALTER TABLE memory.nodes DISABLE TRIGGER audit_insert, DISABLE TRIGGER audit_update";

/// A hundred users' nodes; the tables of the rival, the second with our policies and audit.
const SET_UP: &str = r#"
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE FUNCTION words(seed int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT string_agg(substr(md5((seed * 13 + n * n)::text), 1, 3 + n % 6), ' ') FROM generate_series(1, 12) AS n
    $$;
    CREATE TABLE source AS
        SELECT i AS number, (i - 1) / 1000 + 1 AS batch, memory.tenant_id('acme') AS tenant_id, 'user-' || e % 100 AS user_id, 'domain_entity' AS context_type,
            jsonb_build_object('entity_id', 'e' || e, 'entity_system', 'crm', 'entity_type', 'customer', 'name', md5(e::text),
                'round', i / 50000, 'address', jsonb_build_object('city', md5((e % 500)::text))) AS content,
            words(e) AS summary, ARRAY['tag' || e % 50, 'of' || e % 7] AS tags
        FROM generate_series(1, NODES) AS i, LATERAL (SELECT (i::bigint * 7919 % (NODES / 2))::int AS e) AS x;
    ALTER TABLE source ADD PRIMARY KEY (number);
    CREATE TABLE batches AS SELECT batch, jsonb_agg(jsonb_build_object('user_id', user_id, 'context_type', context_type, 'content', content,
        'summary', summary, 'tags', tags) ORDER BY number) AS document FROM source GROUP BY batch;
    ALTER TABLE batches ADD PRIMARY KEY (batch);
    CREATE TABLE rival (LIKE memory.nodes INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
        PRIMARY KEY (tenant_id, user_id, node_id), UNIQUE (tenant_id, user_id, entity_system, entity_id));
    CREATE INDEX ON rival (user_id, created_at);
    CREATE INDEX ON rival USING gin (tags);
    CREATE INDEX ON rival USING gin (content);
    CREATE INDEX ON rival USING gin (summary gin_trgm_ops);
    CREATE TABLE audited (LIKE rival INCLUDING ALL);
    DO $$
    DECLARE definition text;
    BEGIN
        FOR definition IN SELECT replace(pg_get_triggerdef(oid), ' ON memory.nodes ', ' ON public.audited ') FROM pg_trigger
            WHERE tgrelid = 'memory.nodes'::regclass AND tgfoid = 'memory.audit_change'::regproc LOOP
            EXECUTE definition;
        END LOOP;
        SELECT format('CREATE POLICY context ON audited USING (%1$s) WITH CHECK (%1$s)', pg_get_expr(polqual, polrelid)) INTO definition
            FROM pg_policy WHERE polrelid = 'memory.nodes'::regclass;
        EXECUTE definition;
    END $$;
    ALTER TABLE audited ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE ROLE bench_store LOGIN;
    SELECT memory.grant_access('bench_store', 'service');
    GRANT SELECT, INSERT, UPDATE ON source, batches, rival, audited, memory.nodes TO bench_store;
    GRANT CREATE ON SCHEMA public TO bench_store"#;

const PACKAGES: &str = "langgraph-checkpoint-postgres 'psycopg[binary]'";

/// Of a batch's duplicates the last counts, since one statement may not touch a row twice.
const ROWS: &str = "SELECT DISTINCT ON (user_id, content ->> 'entity_id') memory.current_tenant_id(), user_id, content, context_type, summary, tags,
        content ->> 'entity_id', content ->> 'entity_type', content ->> 'entity_system'";

fn on_conflict(table: &str, rows: &str) -> String {
    format!(
        "INSERT INTO {table} AS t (tenant_id, user_id, content, context_type, summary, tags, entity_id, entity_type, entity_system) {rows}
         ON CONFLICT (tenant_id, user_id, entity_system, entity_id) DO UPDATE SET content = t.content || excluded.content,
             summary = excluded.summary, tags = excluded.tags, updated_at = now(), access_count = t.access_count + 1"
    )
}

/// Loads the nodes and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let rows: i32 = sized(100_000, 10_000);
    let singles: i32 = sized(5_000, 1_000);
    let ground = Ground::new(cluster, "store", &SET_UP.replace("NODES", &rows.to_string()));
    let client = ground.client("bench_store", CONTEXT);
    let batches_after =
        |audit: &str, sql: &str| ground.batches(&client, format!("{RESET}{audit}"), sql, rows / 1000, rows);
    let batches = |sql: &str| batches_after("", sql);
    let one = |sql: &str| ground.batches(&client, RESET, sql, singles, singles);
    let ours = "SELECT count(*) FROM batches, memory.store_nodes(document) WHERE batch = $1";
    let set_based = |table: &str| {
        on_conflict(
            table,
            &format!(
                "{ROWS} FROM batches, ROWS FROM (jsonb_to_recordset(document)
                     AS (user_id text, content jsonb, context_type text, summary text, tags text[]))
                     WITH ORDINALITY AS r (user_id, content, context_type, summary, tags, place)
                 WHERE batch = $1 ORDER BY user_id, content ->> 'entity_id', place DESC"
            ),
        )
    };
    let store_node = "SELECT memory.store_node(content, context_type, summary, tags, user_id => user_id) FROM source WHERE number = $1";
    let bare = on_conflict("memory.nodes", &format!("{ROWS} FROM source WHERE number = $1"));
    let job = |name: &str, ours, rival, goal| Job {
        name: format!("store: {name}"),
        unit: "us",
        ours,
        rival,
        goal,
    };
    let mut jobs = vec![
        job(
            "store_nodes by 1000 / set-based, our policies and audit on both sides",
            batches(ours),
            batches(&set_based("audited")),
            Some(2.0),
        ),
        job(
            "store_nodes by 1000 / set-based, audit on neither side",
            batches_after(WITHOUT_AUDIT, ours),
            batches(&set_based("rival")),
            None,
        ),
        job(
            "store_nodes by 1000 with audit / without: its price",
            batches(ours),
            batches_after(WITHOUT_AUDIT, ours),
            None,
        ),
        job(
            "store_node / bare ON CONFLICT, same table and triggers",
            one(store_node),
            one(&bare),
            Some(0.95),
        ),
    ];
    let Some(python) = ground.python("bench_store") else {
        left_out(
            "psycopg row at a time, LangGraph's PostgresStore",
            &rival::how(PACKAGES),
        );
        return jobs;
    };
    let ours = || ground.python_side(&python, RESET, "store_nodes", rows);
    jobs.push(job(
        "store_nodes by 1000, from Python / psycopg row at a time, no audit",
        ours(),
        ground.python_side(&python, RESET, "node_at_a_time", singles),
        None,
    ));
    if !rival::has("langgraph.store.postgres") {
        left_out("LangGraph's PostgresStore", &rival::how(PACKAGES));
        return jobs;
    }
    // It makes its table.
    ground.python_side(&python, "", "langgraph_setup", 1)();
    jobs.push(job(
        "store_nodes by 1000, from Python / LangGraph's PostgresStore.batch",
        ours(),
        ground.python_side(&python, "TRUNCATE store", "langgraph", rows),
        Some(1.5),
    ));
    jobs
}
