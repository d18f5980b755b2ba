-- Metrics: named by the contract, each with its type and help, counters with since when; no label names anybody; for operators.
\set VERBOSITY sqlstate
CREATE ROLE metric_operator;
CREATE ROLE metric_app;
CREATE ROLE metric_scraper;
INSERT INTO memory.tenants (slug) VALUES ('metric-tenant');
SELECT memory.grant_access('metric_operator', 'operator'), memory.grant_access('metric_app', 'app');
SELECT memory.set_security_context('metric-tenant', 'metric-user', is_local => false);
SELECT memory.log_event('metric-session', 'log', '{}') IS NOT NULL AS logged;
SELECT memory.clear_security_context();
SET ROLE metric_operator;
SELECT name, type, count(*) > 0 AS told FROM memory.metrics() GROUP BY name, type ORDER BY name COLLATE "C";
-- the resolver's and the archival job's by these names, all others memory_
SELECT name FROM memory.metrics() WHERE name !~ '^(tenant_resolve_cache_|archival_job_|memory_)[a-z_]+$';
SELECT name FROM (VALUES ('tenant_resolve_cache_size'), ('tenant_resolve_cache_hits_total'), ('tenant_resolve_cache_misses_total'), ('tenant_resolve_cache_hit_ratio'),
    ('tenant_resolve_cache_ttl_ms'), ('archival_job_duration_seconds'), ('archival_job_rows_total'), ('archival_job_failures_total')) AS c (name)
EXCEPT SELECT name FROM memory.metrics();
-- one type and help for each name, samples apart by their labels, every value a number
SELECT name FROM memory.metrics() GROUP BY name HAVING count(DISTINCT (type, help)) > 1;
SELECT name, labels FROM memory.metrics() GROUP BY name, labels HAVING count(*) > 1;
SELECT name FROM memory.metrics() WHERE value IS NULL OR value = 'NaN' OR labels IS NULL OR type NOT IN ('counter', 'gauge') OR help = '';
-- counters end in _total and say since when they count; what they refer to is there
SELECT name FROM memory.metrics() WHERE (type = 'counter') <> (name ~ '_total$') OR type = 'counter' AND help !~ 'since memory_[a-z]+_since_seconds';
SELECT DISTINCT substring(m.help FROM 'since (memory_[a-z]+_since_seconds)') FROM memory.metrics() AS m WHERE m.type = 'counter'
EXCEPT SELECT name FROM memory.metrics();
-- labels are the extension's own words
SELECT DISTINCT key FROM memory.metrics(), jsonb_object_keys(labels) AS key ORDER BY key;
SELECT name, labels FROM memory.metrics() WHERE labels::text ~ 'metric-';
SELECT value BETWEEN extract(epoch FROM now() - interval '1 day') AND extract(epoch FROM now()) + 1 AS since FROM memory.metrics() WHERE name = 'memory_counting_since_seconds';
-- they move
SELECT value AS hits FROM memory.metrics() WHERE name = 'tenant_resolve_cache_hits_total' \gset
SELECT count(memory.resolve_canonical_tenant('metric-tenant')) FROM generate_series(1, 10);
SELECT value >= :hits + 9 AS more FROM memory.metrics() WHERE name = 'tenant_resolve_cache_hits_total';
RESET ROLE;
SELECT pg_stat_force_next_flush();
SET ROLE metric_operator;
SELECT value > 0 AS some FROM memory.metrics() WHERE name = 'memory_rows_total' AND labels = '{"relation": "events", "operation": "insert"}';
-- the text: a line for each value, behind one of help and one of type
SELECT count(*) = (SELECT count(*) FROM memory.metrics()) AS samples FROM regexp_split_to_table(memory.prometheus_metrics(), '\n') AS line WHERE line !~ '^#' AND line <> '';
SELECT line FROM regexp_split_to_table(memory.prometheus_metrics(), '\n') AS line WHERE line !~ '^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+-]+|)$';
SELECT line FROM regexp_split_to_table(memory.prometheus_metrics(), '\n') AS line WHERE line ~ 'tenant_resolve_cache_ttl_ms';
SELECT count(*) FROM regexp_split_to_table(memory.prometheus_metrics(), '\n') AS line JOIN pg_extension AS e ON line = format('memory_info{version="%s"} 1', e.extversion) WHERE e.extname = 'memory_ext';
-- by somebody who may do nothing else
RESET ROLE;
GRANT USAGE ON SCHEMA memory TO metric_scraper;
GRANT EXECUTE ON FUNCTION memory.metrics(), memory.prometheus_metrics() TO metric_scraper;
SET ROLE metric_scraper;
SELECT count(*) > 100 AS told FROM memory.metrics();
SELECT length(memory.prometheus_metrics()) > 10000 AS told;
SELECT count(*) FROM memory.tenants;
-- others may not
SET ROLE metric_app;
SELECT count(*) FROM memory.metrics();
SELECT memory.prometheus_metrics();
RESET ROLE;
REVOKE ALL ON SCHEMA memory FROM metric_scraper;
REVOKE ALL ON FUNCTION memory.metrics(), memory.prometheus_metrics() FROM metric_scraper;
SELECT memory.revoke_access('metric_operator'), memory.revoke_access('metric_app');
DROP ROLE metric_operator;
DROP ROLE metric_app;
DROP ROLE metric_scraper;
DELETE FROM memory.events WHERE tenant_id = memory.tenant_id('metric-tenant');
DELETE FROM memory.sessions WHERE tenant_id = memory.tenant_id('metric-tenant');
DELETE FROM memory.tenants WHERE slug = 'metric-tenant';
