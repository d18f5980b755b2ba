-- The performance log, which services write, and what is made of it and of the tables for operators.

CREATE TABLE memory.performance_metrics (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    tenant_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    category text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    unit text COLLATE "C" NOT NULL
);
COMMENT ON TABLE memory.performance_metrics IS
    'What services measured: numbers under names, nobody''s data. Kept until set_retention_policy(''performance_metrics'', …) lets it go. Write with '
    'log_performance_metric().';
COMMENT ON COLUMN memory.performance_metrics.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.performance_metrics.tenant_id IS 'Whose service.';
COMMENT ON COLUMN memory.performance_metrics.recorded_at IS 'When.';
COMMENT ON COLUMN memory.performance_metrics.category IS 'What of: retrieval, model, and so on; the service''s word.';
COMMENT ON COLUMN memory.performance_metrics.name IS 'What was measured; the service''s word.';
COMMENT ON COLUMN memory.performance_metrics.value IS 'How much.';
COMMENT ON COLUMN memory.performance_metrics.unit IS 'Of what: ms, bytes, tokens.';
CREATE INDEX performance_metrics_recorded_at_idx ON memory.performance_metrics (recorded_at);
SELECT memory.declare_table('memory.performance_metrics', 'service', '{category, name, unit}', audited => false);
SELECT memory.allow_table('service', 'SELECT, INSERT', 'performance_metrics');

CREATE FUNCTION memory.log_performance_metric(tenant text, category text, name text, value double precision, unit text) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'log_performance_metric_wrapper';
COMMENT ON FUNCTION memory.log_performance_metric(text, text, text, double precision, text) IS
    'Notes what a service measured; tenant NULL: the context''s. Texts are the service''s own words, of at most 200 bytes: put nobody''s name in them. Needs a '
    'service context (42501), of a token with the scope archive; another tenant is 42501, an unknown one P0002, an empty text or a '
    'value that is no finite number 22023, NULL 22004. Not audited. Some 20 µs.';

-- Runs as its owner: an operator has no context.
CREATE FUNCTION memory.performance_summary(since timestamptz)
RETURNS TABLE (
    tenant_id uuid, category text, name text, unit text, samples bigint, average double precision, lowest double precision,
    p50 double precision, p95 double precision, p99 double precision, highest double precision, last_at timestamptz
)
LANGUAGE sql STABLE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT m.tenant_id, m.category, m.name, m.unit, count(*), avg(m.value), min(m.value),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY m.value), percentile_cont(0.95) WITHIN GROUP (ORDER BY m.value),
        percentile_cont(0.99) WITHIN GROUP (ORDER BY m.value), max(m.value), max(m.recorded_at)
    FROM memory.performance_metrics AS m
    WHERE m.recorded_at >= performance_summary.since
    GROUP BY m.tenant_id, m.category, m.name, m.unit
    ORDER BY m.tenant_id, m.category, m.name, m.unit;
END;
COMMENT ON FUNCTION memory.performance_summary(timestamptz) IS
    'What was measured since then, of all tenants: how often, the average, the least, the greatest and what 50, 95 and 99 of a hundred stay under. Reads '
    'the log from then on. An operator''s.';

CREATE VIEW memory.system_performance_summary WITH (security_invoker = true) AS
    SELECT s.tenant_id, s.category, s.name, s.unit, s.samples, s.average, s.lowest, s.p50, s.p95, s.p99, s.highest, s.last_at
    FROM memory.performance_summary(now() - interval '24 hours') AS s;
COMMENT ON VIEW memory.system_performance_summary IS 'performance_summary() of the last 24 hours. An operator''s.';
COMMENT ON COLUMN memory.system_performance_summary.tenant_id IS 'Whose service.';
COMMENT ON COLUMN memory.system_performance_summary.category IS 'What of.';
COMMENT ON COLUMN memory.system_performance_summary.name IS 'What was measured.';
COMMENT ON COLUMN memory.system_performance_summary.unit IS 'Of what.';
COMMENT ON COLUMN memory.system_performance_summary.samples IS 'How often.';
COMMENT ON COLUMN memory.system_performance_summary.average IS 'The average.';
COMMENT ON COLUMN memory.system_performance_summary.lowest IS 'The least.';
COMMENT ON COLUMN memory.system_performance_summary.p50 IS 'What half of them stay under.';
COMMENT ON COLUMN memory.system_performance_summary.p95 IS 'What 95 of a hundred stay under.';
COMMENT ON COLUMN memory.system_performance_summary.p99 IS 'What 99 of a hundred stay under.';
COMMENT ON COLUMN memory.system_performance_summary.highest IS 'The greatest.';
COMMENT ON COLUMN memory.system_performance_summary.last_at IS 'The last of them.';

CREATE VIEW memory.system_health WITH (security_invoker = true) AS
    SELECT s.relname::text AS relation, greatest(c.reltuples, 0)::bigint AS rows, s.n_dead_tup AS dead_rows,
        s.n_mod_since_analyze AS changed_since_analyze, pg_table_size(s.relid) AS table_bytes, pg_indexes_size(s.relid) AS index_bytes,
        greatest(s.last_vacuum, s.last_autovacuum) AS last_vacuum, greatest(s.last_analyze, s.last_autoanalyze) AS last_analyze,
        age(c.relfrozenxid)::bigint AS transaction_age
    FROM pg_catalog.pg_stat_all_tables AS s JOIN pg_catalog.pg_class AS c ON c.oid = s.relid
    WHERE s.schemaname = 'memory' AND c.relkind IN ('r', 'm');
COMMENT ON VIEW memory.system_health IS 'How each table of the extension is kept, as PostgreSQL counts. An operator''s. health() judges.';
COMMENT ON COLUMN memory.system_health.relation IS 'The table.';
COMMENT ON COLUMN memory.system_health.rows IS 'Its rows, as of the last VACUUM or ANALYZE.';
COMMENT ON COLUMN memory.system_health.dead_rows IS 'Rows that are dead and wait for VACUUM, estimated.';
COMMENT ON COLUMN memory.system_health.changed_since_analyze IS 'Rows written since it was analysed, estimated.';
COMMENT ON COLUMN memory.system_health.table_bytes IS 'Its size, with what stands out of line.';
COMMENT ON COLUMN memory.system_health.index_bytes IS 'The size of its indexes.';
COMMENT ON COLUMN memory.system_health.last_vacuum IS 'When it was last vacuumed.';
COMMENT ON COLUMN memory.system_health.last_analyze IS 'When it was last analysed.';
COMMENT ON COLUMN memory.system_health.transaction_age IS 'How many transactions ago its oldest row that is not frozen was written.';

-- Runs as its owner: an operator has no context, and reads no rows.
CREATE FUNCTION memory.get_tenant_memory_usage(tenant text) RETURNS TABLE (relation text, rows bigint, bytes bigint)
LANGUAGE c VOLATILE ROWS 30 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'get_tenant_memory_usage_wrapper';
COMMENT ON FUNCTION memory.get_tenant_memory_usage(text) IS
    'How much a tenant has, exactly: of each table with rows of tenants how many are the tenant''s, and what they weigh, what stands out of line '
    'included, without indexes and what is dead. Embeddings of all spaces are one relation. Reads all of the tenant''s rows, and all of the tables whose key does not begin '
    'with the tenant. An operator''s. An unknown tenant is P0002.';

-- No user is named: it outlives an erasure until it is refreshed.
CREATE MATERIALIZED VIEW memory.user_stats AS
    SELECT t.id AS tenant_id, count(u.user_id) AS users, count(*) FILTER (WHERE u.last_activity > now() - interval '1 day') AS users_of_the_day,
        count(*) FILTER (WHERE u.last_activity > now() - interval '30 days') AS users_of_the_month,
        coalesce(sum(u.sessions), 0)::bigint AS sessions, coalesce(sum(u.nodes), 0)::bigint AS nodes,
        coalesce(sum(u.relationships), 0)::bigint AS relationships,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY u.nodes) AS nodes_p50, percentile_disc(0.95) WITHIN GROUP (ORDER BY u.nodes) AS nodes_p95,
        max(u.nodes) AS nodes_greatest, max(u.last_activity) AS last_activity
    FROM memory.tenants AS t LEFT JOIN (
        SELECT a.tenant_id, a.user_id, sum(a.sessions)::bigint AS sessions, sum(a.nodes)::bigint AS nodes,
            sum(a.relationships)::bigint AS relationships, max(a.last_activity) AS last_activity
        FROM (
            SELECT s.tenant_id, s.user_id, count(*) AS sessions, 0::bigint AS nodes, 0::bigint AS relationships, max(s.last_activity) AS last_activity
            FROM memory.sessions AS s GROUP BY s.tenant_id, s.user_id
            UNION ALL
            SELECT s.tenant_id, s.user_id, count(*), 0, 0, max(s.last_activity) FROM memory.agent_sessions_archive AS s GROUP BY s.tenant_id, s.user_id
            UNION ALL
            SELECT n.tenant_id, n.user_id, 0, count(*), 0, max(n.updated_at) FROM memory.nodes AS n GROUP BY n.tenant_id, n.user_id
            UNION ALL
            SELECT r.tenant_id, r.user_id, 0, 0, count(*), max(r.created_at) FROM memory.relationships AS r GROUP BY r.tenant_id, r.user_id
        ) AS a GROUP BY a.tenant_id, a.user_id
    ) AS u ON u.tenant_id = t.id
    GROUP BY t.id;
CREATE UNIQUE INDEX user_stats_key ON memory.user_stats (tenant_id);
COMMENT ON MATERIALIZED VIEW memory.user_stats IS
    'What the users of each tenant have, counted, as of the last refresh_analytics_views(); it names no user. An operator''s, and nobody else''s: '
    'it has no row-level security.';
COMMENT ON COLUMN memory.user_stats.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.user_stats.users IS 'Users with anything in sessions, their archive or the graph.';
COMMENT ON COLUMN memory.user_stats.users_of_the_day IS 'Of them, active in the day before the refresh.';
COMMENT ON COLUMN memory.user_stats.users_of_the_month IS 'Of them, active in the 30 days before the refresh.';
COMMENT ON COLUMN memory.user_stats.sessions IS 'Sessions, hot and archived.';
COMMENT ON COLUMN memory.user_stats.nodes IS 'Nodes.';
COMMENT ON COLUMN memory.user_stats.relationships IS 'Relationships.';
COMMENT ON COLUMN memory.user_stats.nodes_p50 IS 'So many nodes, or fewer, half of the users have.';
COMMENT ON COLUMN memory.user_stats.nodes_p95 IS 'So many nodes, or fewer, 95 of a hundred users have.';
COMMENT ON COLUMN memory.user_stats.nodes_greatest IS 'So many nodes the user with the most has.';
COMMENT ON COLUMN memory.user_stats.last_activity IS 'When any of them was last active.';

-- Runs as its owner, whose the view is.
CREATE FUNCTION memory.refresh_analytics_views() RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'refresh_analytics_views_wrapper';
COMMENT ON FUNCTION memory.refresh_analytics_views() IS
    'Has user_stats say what is so now. Readers of it do not wait, nor do writers of the tables; a second refresh does. Reads sessions, their archive and '
    'the graph. After a restore it is empty until this is called. An operator''s; the job analytics calls it within an hour of a change.';

SELECT memory.allow('service', 'log_performance_metric');
SELECT memory.allow('operator', 'performance_summary', 'get_tenant_memory_usage', 'refresh_analytics_views');
SELECT memory.allow_table('operator', 'SELECT', 'system_performance_summary', 'system_health', 'user_stats');
