-- The performance log: services write it, of their tenant; operators read what is made of it, of all tenants; retention lets it go. What a tenant has.
\set VERBOSITY sqlstate
CREATE ROLE perf_operator;
CREATE ROLE perf_service;
CREATE ROLE perf_app;
CREATE ROLE perf_auditor;
GRANT perf_app TO perf_service;
INSERT INTO memory.tenants (slug) VALUES ('perf-a'), ('perf-b');
SELECT memory.grant_access('perf_operator', 'operator'), memory.grant_access('perf_app', 'app'), memory.grant_access('perf_auditor', 'auditor'),
    memory.grant_access('perf_service', 'service', '{perf-a,perf-b}');
SELECT max(id) AS before FROM memory.audit_log \gset

SET ROLE perf_service;
SELECT memory.set_security_context('perf-b', service_name => 'x', is_local => false);
SELECT memory.log_performance_metric('perf-b', 'model', 'tokens', 7, 'tokens');
SELECT memory.set_security_context('perf-a', service_name => 'x', is_local => false);
SELECT count(memory.log_performance_metric('perf-a', 'retrieval', 'search', i, 'ms')) FROM generate_series(1, 100) AS i;
-- the context's tenant
SELECT memory.log_performance_metric(NULL, 'model', 'tokens', 12, 'tokens');
SELECT count(*) FROM memory.performance_metrics;
-- another's, an unknown one, what is no number, empty, long, NULL
SELECT memory.log_performance_metric('perf-b', 'retrieval', 'search', 1, 'ms');
SELECT memory.log_performance_metric('perf-c', 'retrieval', 'search', 1, 'ms');
SELECT memory.log_performance_metric('perf-a', 'retrieval', 'search', 'NaN', 'ms');
SELECT memory.log_performance_metric('perf-a', 'retrieval', 'search', '-Infinity', 'ms');
SELECT memory.log_performance_metric('perf-a', '', 'search', 1, 'ms');
SELECT memory.log_performance_metric('perf-a', 'retrieval', repeat('x', 201), 1, 'ms');
SELECT memory.log_performance_metric('perf-a', 'retrieval', 'search', NULL, 'ms');
SELECT memory.log_performance_metric('perf-a', 'retrieval', NULL, 1, 'ms');
-- past the function: of its tenant alone, and nothing is changed
INSERT INTO memory.performance_metrics (tenant_id, category, name, value, unit) VALUES (memory.tenant_id('perf-b'), 'a', 'b', 1, 'c');
UPDATE memory.performance_metrics SET value = 0;
DELETE FROM memory.performance_metrics;
-- a user context is no service's
SELECT memory.set_security_context('perf-a', 'ann', is_local => false);
SELECT memory.log_performance_metric('perf-a', 'retrieval', 'search', 1, 'ms');
SELECT count(*) FROM memory.performance_metrics;
SET ROLE perf_app;
SELECT memory.log_performance_metric('perf-a', 'retrieval', 'search', 1, 'ms');
SELECT count(*) FROM memory.performance_metrics;
SELECT count(*) FROM memory.system_performance_summary;
SELECT count(*) FROM memory.user_stats;
SELECT memory.get_tenant_memory_usage('perf-a');
RESET ROLE;
SELECT memory.clear_security_context();
-- it is not audited
SELECT count(*) FROM memory.audit_log WHERE id > :before AND table_name = 'performance_metrics';

-- operators; what was measured before is not in the summary
INSERT INTO memory.performance_metrics (tenant_id, recorded_at, category, name, value, unit)
VALUES (memory.tenant_id('perf-a'), now() - interval '25 hours', 'retrieval', 'yesterday', 1, 'ms');
SET ROLE perf_operator;
SELECT count(*) FROM memory.performance_summary(now() - interval '26 hours') WHERE name = 'yesterday';
SELECT bool_and(rank > before) AS in_order, count(*) > 2 AS some
FROM (SELECT rank, lag(rank) OVER () AS before FROM (SELECT concat_ws(' ', tenant_id, category, name, unit) AS rank FROM memory.performance_summary(now() - interval '26 hours')) AS s) AS s;
SELECT tenant_id = memory.tenant_id('perf-a') AS of_a, category, name, unit, samples, average, lowest, p50, p95, p99, highest, last_at <= clock_timestamp() AS last
FROM memory.system_performance_summary WHERE tenant_id IN (memory.tenant_id('perf-a'), memory.tenant_id('perf-b')) ORDER BY 1 DESC, 2, 3;
SELECT count(*) FROM memory.performance_metrics;
RESET ROLE;
DELETE FROM memory.performance_metrics WHERE name = 'yesterday';
SET ROLE perf_operator;
SELECT count(*) > 30 AS tables, bool_and(rows >= 0 AND dead_rows >= 0 AND table_bytes >= 0 AND index_bytes >= 0 AND transaction_age >= 0) AS counted FROM memory.system_health;
RESET ROLE;

-- what a tenant has: exact, of all tables
SELECT memory.set_security_context('perf-a', 'ann', is_local => false);
SELECT count(memory.log_event('s', 'log', jsonb_build_object('text', repeat('word ', 1000)), i::text)) FROM generate_series(1, 10) AS i;
SELECT count(memory.store_node('{}', 'tool_output')) FROM generate_series(1, 5);
SELECT memory.set_security_context('perf-b', 'ann', is_local => false);
SELECT memory.store_node('{}', 'tool_output') IS NOT NULL AS stored;
SELECT memory.clear_security_context();
SET ROLE perf_operator;
SELECT relation, rows, bytes >= 40 * rows AND (bytes = 0) = (rows = 0) AS weighs FROM memory.get_tenant_memory_usage('perf-a')
WHERE relation IN ('events', 'sessions', 'nodes', 'performance_metrics', 'relationships', 'embeddings') ORDER BY relation;
SELECT count(*) FROM memory.get_tenant_memory_usage('perf-a') WHERE relation ~ '^embeddings_';
SELECT memory.get_tenant_memory_usage('perf-c');
SELECT memory.get_tenant_memory_usage(NULL);

-- the statistics are as of the last refresh, and name nobody; one was active the day before yesterday, one is in the archive alone
RESET ROLE;
INSERT INTO memory.sessions (tenant_id, user_id, session_id, last_activity) VALUES (memory.tenant_id('perf-b'), 'bea', 's', now() - interval '36 hours');
SELECT memory.archive_session('perf-b', 'cat', 's', '{}', '2020-01-01', '2020-01-01') IS NOT NULL AS archived;
SET ROLE perf_operator;
SELECT memory.refresh_analytics_views();
SELECT t.slug, s.users, s.users_of_the_day, s.users_of_the_month, s.sessions, s.nodes, s.relationships, s.nodes_p50, s.nodes_p95, s.nodes_greatest, s.last_activity > now() - interval '1 minute' AS just_now
FROM memory.user_stats AS s JOIN memory.tenants AS t ON t.id = s.tenant_id WHERE t.slug ~ '^perf-' ORDER BY 1;
SELECT count(*) FROM memory.user_stats AS s WHERE s::text ~ 'ann';
REFRESH MATERIALIZED VIEW memory.user_stats;
RESET ROLE;
SELECT pg_stat_force_next_flush();
SELECT rows >= 0 AS any FROM memory.run_job('analytics');
SELECT rows FROM memory.run_job('analytics');
DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('perf-b');
SELECT pg_stat_force_next_flush();
SELECT pg_stat_clear_snapshot();
SELECT rows FROM memory.run_job('analytics');
SELECT s.nodes FROM memory.user_stats AS s WHERE s.tenant_id = memory.tenant_id('perf-b');
SET ROLE perf_service;
SELECT memory.refresh_analytics_views();
SELECT count(*) FROM memory.user_stats;
SET ROLE perf_auditor;
SELECT count(*) FROM memory.user_stats;
SELECT count(*) FROM memory.performance_summary(now());
RESET ROLE;

-- retention
UPDATE memory.performance_metrics SET recorded_at = now() - interval '31 days' WHERE name = 'search' AND value <= 60;
SELECT memory.set_retention_policy('performance_metrics', '30 days');
SET ROLE perf_operator;
SELECT data_class, affected, more FROM memory.apply_retention(true) WHERE data_class = 'performance_metrics';
SELECT data_class, affected, more FROM memory.apply_retention(batch_size => 50) WHERE data_class = 'performance_metrics';
SELECT data_class, affected, more FROM memory.apply_retention() WHERE data_class = 'performance_metrics';
SELECT data_class, affected, more FROM memory.apply_retention() WHERE data_class = 'performance_metrics';
SELECT memory.set_retention_policy('performance_metrics', '1 second', 'perf-a', 'anonymize');
SELECT data_class, affected, more FROM memory.apply_retention() WHERE data_class = 'performance_metrics';
SELECT memory.drop_retention_policy('performance_metrics'), memory.drop_retention_policy('performance_metrics', 'perf-a');
RESET ROLE;
SELECT name, count(*) FROM memory.performance_metrics WHERE tenant_id IN (memory.tenant_id('perf-a'), memory.tenant_id('perf-b')) GROUP BY name ORDER BY name;
SELECT table_name, operation, sum(row_count) FROM memory.audit_log WHERE id > :before AND table_name = 'performance_metrics' GROUP BY 1, 2;

DELETE FROM memory.performance_metrics;
DELETE FROM memory.sessions WHERE tenant_id = memory.tenant_id('perf-b');
DELETE FROM memory.agent_sessions_archive WHERE tenant_id = memory.tenant_id('perf-b');
SELECT memory.set_security_context('perf-a', service_name => 'x', is_local => false);
SELECT count(*) > 0 AS erased FROM memory.erase_user_data('ann');
SELECT memory.clear_security_context();
SELECT memory.revoke_access('perf_operator'), memory.revoke_access('perf_service'), memory.revoke_access('perf_app'), memory.revoke_access('perf_auditor');
DROP ROLE perf_operator;
DROP ROLE perf_service;
DROP ROLE perf_app;
DROP ROLE perf_auditor;
DELETE FROM memory.tenants WHERE slug IN ('perf-a', 'perf-b');
