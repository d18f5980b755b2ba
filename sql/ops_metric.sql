-- Metrics, as rows and in Prometheus' text format. No label names a user or a tenant.

CREATE FUNCTION memory.counting_since() RETURNS timestamptz
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'counting_since';
COMMENT ON FUNCTION memory.counting_since() IS
    'Internal: since when counters in shared memory count: the start of the server, or its recovery after a crash; without shared_preload_libraries since '
    'this backend began to count.';

-- Runs as its owner: an operator may not read the tables that it measures; it takes nothing, and tells nothing but numbers.
CREATE FUNCTION memory.metrics() RETURNS TABLE (name text, type text, help text, labels jsonb, value double precision)
LANGUAGE sql VOLATILE ROWS 300 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
BEGIN ATOMIC
    WITH tables AS MATERIALIZED (
        SELECT c.oid, c.relname::text AS relation, c.reltuples FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind IN ('r', 'm')
    )
    SELECT m.name, m.type, m.help, m.labels, m.value
    FROM (
        SELECT v.name, v.type, v.help, '{}'::jsonb AS labels, v.value
        FROM memory.tenant_cache_stats() AS s CROSS JOIN LATERAL (VALUES
            ('tenant_resolve_cache_size', 'gauge', 'Entries of the tenant cache, of all databases.', s.size::double precision),
            ('tenant_resolve_cache_hits_total', 'counter', 'Tenants resolved from the cache, in all databases, since memory_counting_since_seconds.', s.hits),
            ('tenant_resolve_cache_misses_total', 'counter', 'Tenants resolved from the table, in all databases, since memory_counting_since_seconds.', s.misses),
            ('tenant_resolve_cache_hit_ratio', 'gauge', 'Hits of all that was resolved since memory_counting_since_seconds, 0 to 1.', s.hit_ratio),
            ('tenant_resolve_cache_ttl_ms', 'gauge', 'memory.tenant_cache_ttl in milliseconds.', s.ttl_ms),
            ('memory_tenant_cache_capacity', 'gauge', 'Entries that the tenant cache has room for.', s.capacity),
            ('memory_tenant_cache_evictions_total', 'counter', 'Entries that the full tenant cache gave up, since memory_counting_since_seconds.', s.evictions),
            ('memory_preloaded', 'gauge', '1 where the library is in shared_preload_libraries.', s.shared::integer)
        ) AS v (name, type, help, value)
        UNION ALL
        SELECT v.name, v.type, v.help, '{}', v.value
        FROM (SELECT j FROM memory.jobs AS j WHERE j.job = 'archival' UNION ALL SELECT NULL LIMIT 1) AS a CROSS JOIN LATERAL (VALUES
            ('archival_job_duration_seconds', 'gauge', 'How long the last run of the archival job that did something took; 0: none yet.', coalesce((a.j).last_seconds, 0)),
            ('archival_job_rows_total', 'counter', 'Sessions and events that the archival job moved, since memory_job_since_seconds{job="archival"}.', coalesce((a.j).rows, 0)),
            ('archival_job_failures_total', 'counter', 'Runs of the archival job that failed, since memory_job_since_seconds{job="archival"}.', coalesce((a.j).failures, 0))
        ) AS v (name, type, help, value)
        UNION ALL
        SELECT v.name, v.type, v.help, jsonb_build_object('job', j.job), v.value
        FROM memory.jobs AS j CROSS JOIN LATERAL (VALUES
            ('memory_job_runs_total', 'counter', 'Runs of a job that did something or failed, since memory_job_since_seconds.', j.runs::double precision),
            ('memory_job_failures_total', 'counter', 'Runs of a job that failed, since memory_job_since_seconds.', j.failures),
            ('memory_job_rows_total', 'counter', 'Rows that a job moved, removed, wrote or sealed, since memory_job_since_seconds.', j.rows),
            ('memory_job_seconds_total', 'counter', 'How long a job ran in all, since memory_job_since_seconds.', j.seconds),
            ('memory_job_last_start_seconds', 'gauge', 'When the last run of a job that did something or failed began, Unix time.', extract(epoch FROM j.last_started_at)),
            ('memory_job_last_success_seconds', 'gauge', 'When the last run of a job that did something began, Unix time; 0: none yet.', coalesce(extract(epoch FROM j.last_success_at), 0)),
            ('memory_job_last_failed', 'gauge', '1 where the last run of a job failed.', (j.last_failure_at IS NOT DISTINCT FROM j.last_started_at)::integer),
            ('memory_job_since_seconds', 'gauge', 'Since when a job is counted, Unix time.', extract(epoch FROM j.since))
        ) AS v (name, type, help, value)
        UNION ALL
        SELECT v.name, v.type, v.help, '{}', v.value
        FROM memory.worker_status() AS w CROSS JOIN LATERAL (VALUES
            ('memory_worker_configured', 'gauge', '1 where memory.worker_databases names this database.', w.configured::integer::double precision),
            ('memory_worker_naptime_seconds', 'gauge', 'memory.worker_naptime.', w.naptime),
            ('memory_worker_last_round_seconds', 'gauge', 'When the worker''s last round in this database ended, Unix time; 0: none since the start.', coalesce(extract(epoch FROM w.last_round_at), 0)),
            ('memory_worker_rounds_total', 'counter', 'Rounds of the worker in this database, since memory_counting_since_seconds.', w.rounds),
            ('memory_counting_since_seconds', 'gauge', 'Since when counters in shared memory count: the start of the server, Unix time.', extract(epoch FROM memory.counting_since()))
        ) AS v (name, type, help, value)
        UNION ALL
        SELECT v.name, v.type, v.help, jsonb_build_object('relation', t.relation), v.value
        FROM tables AS t CROSS JOIN LATERAL (VALUES
            ('memory_relation_bytes', 'gauge', 'Size of a table with its indexes and what stands out of line.', pg_total_relation_size(t.oid)::double precision),
            ('memory_relation_rows', 'gauge', 'Rows of a table as of its last VACUUM or ANALYZE.', greatest(t.reltuples, 0)),
            ('memory_relation_dead_rows', 'gauge', 'Rows of a table that are dead and wait for VACUUM, estimated.', pg_stat_get_dead_tuples(t.oid))
        ) AS v (name, type, help, value)
        UNION ALL
        SELECT 'memory_rows_total', 'counter', 'Rows written to a table, those of transactions that were rolled back included, since memory_statistics_since_seconds.',
            jsonb_build_object('relation', t.relation, 'operation', v.operation), v.value
        FROM tables AS t CROSS JOIN LATERAL (VALUES
            ('insert', pg_stat_get_tuples_inserted(t.oid)), ('update', pg_stat_get_tuples_updated(t.oid)), ('delete', pg_stat_get_tuples_deleted(t.oid))
        ) AS v (operation, value)
        UNION ALL
        SELECT v.name, 'gauge', v.help, '{}', v.value
        FROM (VALUES
            ('memory_statistics_since_seconds', 'Since when PostgreSQL counts what is written in this database, Unix time; 0: since it was made.',
                coalesce(extract(epoch FROM pg_stat_get_db_stat_reset_time((SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()))), 0)::double precision),
            ('memory_oldest_session_seconds', 'How long ago the hot session that rests longest was last active.',
                coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(s.last_activity) FROM memory.sessions AS s)), 0)),
            ('memory_audit_unsealed_rows', 'Entries of the audit log behind the last seal, by their numbers.',
                greatest(coalesce((SELECT max(a.id) FROM memory.audit_log AS a), 0) - coalesce((SELECT max(s.last_id) FROM memory.audit_seals AS s), 0), 0)),
            ('memory_legal_holds', 'Legal holds that stand.', (SELECT count(*) FROM memory.legal_holds AS h WHERE h.lifted_at IS NULL)),
            ('memory_embedding_spaces', 'Embedding spaces.', (SELECT count(*) FROM memory.embedding_spaces))
        ) AS v (name, help, value)
        UNION ALL
        -- By id, which is of the time: the key's index gives the hour.
        SELECT 'memory_violations_last_hour', 'gauge', 'What was refused in the last hour, by kind.', jsonb_build_object('kind', k.kind), count(v.id)
        FROM unnest('{other_tenant,other_user,sealed_context,unknown_tenant,held_deletion,forged_token,refused_token,missing_scope,tampering}'::text[]) AS k (kind)
        LEFT JOIN memory.security_violations AS v ON v.kind = k.kind
            AND v.id >= (lpad(to_hex((extract(epoch FROM clock_timestamp() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
        GROUP BY k.kind
        UNION ALL
        SELECT 'memory_info', 'gauge', 'Always 1; the version of the extension''s SQL.', jsonb_build_object('version', e.extversion), 1
        FROM pg_catalog.pg_extension AS e WHERE e.extname = 'memory_ext'
    ) AS m
    ORDER BY m.name COLLATE "C", m.labels::text COLLATE "C";
END;
COMMENT ON FUNCTION memory.metrics() IS
    'What there is to be measured, a row per value, by name: type is counter or gauge, help says what it is and since when a counter counts, labels tell the '
    'values of a name apart (job, relation, operation, kind). Of this database, but the tenant cache''s, which is one for all. No value costs more than '
    'looking into an index: some 5 ms in all. Waits for who has a table alone, such as VACUUM FULL: set lock_timeout. An operator''s; a role that is to read '
    'nothing else needs USAGE on the schema and EXECUTE on this function alone.';

CREATE FUNCTION memory.prometheus_metrics() RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'prometheus_metrics_wrapper';
COMMENT ON FUNCTION memory.prometheus_metrics() IS
    'metrics() in Prometheus'' text format, version 0.0.4. Who calls it needs EXECUTE on both. An operator''s.';

SELECT memory.allow('operator', 'counting_since', 'metrics', 'prometheus_metrics');
