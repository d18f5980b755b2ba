-- A point read on a million rows, by a user and by a service, is an index condition and touches a handful of pages.
SET client_min_messages = warning;
CREATE DATABASE regress_plans;
\c regress_plans
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'plans-a'), ('00000000-0000-7000-8000-00000000000b', 'plans-b');
SELECT memory.grant_access('regress_service', 'service'), memory.grant_access('regress_app', 'app');
-- as a restore does: no audit, no checks of keys
SET session_replication_role = replica;
INSERT INTO memory.preferences (tenant_id, user_id, preferences)
SELECT CASE n % 2 WHEN 0 THEN '00000000-0000-7000-8000-00000000000a'::uuid ELSE '00000000-0000-7000-8000-00000000000b' END, 'user-' || n, '{}'
FROM generate_series(1, 1000000) AS n;
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
SELECT '00000000-0000-7000-8000-00000000000a', 'user-' || n % 1000, 's-' || n % 10, 'e-' || n, 'log', now(), '{}'
FROM generate_series(1, 100000) AS n;
INSERT INTO memory.audit_log (changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role)
SELECT now(), '1', '00000000-0000-7000-8000-00000000000a', 'user-' || n % 1000, 'INSERT', CASE n % 2 WHEN 0 THEN 'nodes' ELSE 'events' END,
    jsonb_build_object('node_id', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))), '{"new": {"content": {"n": 1}}}', 1, 'x', 'x'
FROM generate_series(1, 100000) AS n;
-- one user's nodes, which a planner takes for few
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
SELECT '00000000-0000-7000-8000-00000000000a', 'user-7', ('00000000-0000-7001-8000-' || lpad(n::text, 12, '0'))::uuid, '{}', 'domain_entity'
FROM generate_series(1, 50000) AS n;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
SELECT tenant_id, user_id, node_id, ('00000000-0000-7001-8000-' || lpad((n % 50000 + 1)::text, 12, '0'))::uuid, 'led_to'
FROM (SELECT *, right(node_id::text, 12)::int AS n FROM memory.nodes) AS n;
RESET session_replication_role;
VACUUM ANALYZE memory.preferences, memory.events, memory.audit_log, memory.nodes, memory.relationships;
-- no statistics of identities: nothing in the plans tells who there is
SELECT tablename, attname FROM pg_stats WHERE schemaname = 'memory' AND attname ~ '(user|session|event)_id' ORDER BY 1, 2;

-- the plan, and the pages that it touched, up to so many
CREATE FUNCTION pages(query text, most int DEFAULT 20) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    pages int;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
    pages := (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
    RETURN CASE WHEN pages <= most THEN 'at most ' || most ELSE pages::text END;
END
$$;
GRANT EXECUTE ON FUNCTION pages TO regress_app;
\c - regress_service
SELECT pages('SELECT 1') AS warm;
-- a user's
BEGIN;
SELECT FROM memory.set_security_context('plans-a', 'user-500000');
SET LOCAL ROLE regress_app;
EXPLAIN (COSTS OFF) SELECT * FROM memory.preferences;
SELECT pages('SELECT * FROM memory.preferences');
SELECT count(*) FROM memory.preferences;
EXPLAIN (COSTS OFF) SELECT * FROM memory.preferences WHERE user_id = memory.current_user_id();
EXPLAIN (COSTS OFF) SELECT * FROM memory.preferences WHERE tenant_id = memory.tenant_id('plans-a') AND user_id = 'user-500000';
SELECT pages($$SELECT * FROM memory.preferences WHERE tenant_id = memory.tenant_id('plans-a') AND user_id = 'user-500000'$$);
UPDATE memory.preferences SET preferences = '{"a": 1}' RETURNING user_id, preferences;
EXPLAIN (COSTS OFF) DELETE FROM memory.preferences;
-- of the audit log what concerns the node (the first call reads catalogs)
SELECT content FROM memory.node_history('00000000-0000-7000-8000-000000001000');
SELECT count(*) FROM memory.node_history('00000000-0000-7000-8000-000000002000', user_id => 'user-500000');
SELECT pages($$SELECT * FROM memory.node_history('00000000-0000-7000-8000-000000001000')$$);
ROLLBACK;
-- some of many nodes are looked up, whoever writes to them or walks by them; the first call of each reads catalogs
BEGIN;
SELECT FROM memory.set_security_context('plans-a', 'user-7');
SET LOCAL plan_cache_mode = force_generic_plan;
SET LOCAL memory.graph_cache_size = 0;
CREATE FUNCTION pg_temp.few(i int) RETURNS uuid[] LANGUAGE sql AS $$
    SELECT array_agg(('00000000-0000-7001-8000-' || lpad((i + n)::text, 12, '0'))::uuid) FROM generate_series(0, 2) AS n
$$;
CREATE TEMP TABLE calls (n int GENERATED ALWAYS AS IDENTITY, call text);
INSERT INTO calls (call) VALUES
    ('count(*) FROM memory.get_nodes(pg_temp.few(%s))'), ('memory.touch_nodes(pg_temp.few(%s))'),
    ('count(*) FROM memory.traverse(pg_temp.few(%s), 2, paths => false)'), ('count(*) FROM memory.traverse(pg_temp.few(%s), 2, ''both'')'),
    ('memory.end_node((pg_temp.few(%s))[1])'), ('memory.delete_nodes(pg_temp.few(%s))');
SELECT call, pages('SELECT ' || format(call, 100 * n), 1000000), pages('SELECT ' || format(call, 100 * n + 50), 400) FROM calls ORDER BY n;
ROLLBACK;
-- a service's
BEGIN;
SELECT FROM memory.set_security_context('plans-a', service_name => 'x');
SELECT content, memory.node_as_of('00000000-0000-7000-8000-000000001000', now()) FROM memory.node_history('00000000-0000-7000-8000-000000001000');
SELECT pages($$SELECT * FROM memory.node_history('00000000-0000-7000-8000-000000001000')$$), pages($$SELECT memory.node_as_of('00000000-0000-7000-8000-000000001000', now())$$);
EXPLAIN (COSTS OFF) SELECT * FROM memory.preferences WHERE user_id = 'user-500000';
SELECT pages($$SELECT * FROM memory.preferences WHERE user_id = 'user-500000'$$);
SELECT count(*) FROM memory.preferences WHERE user_id = 'user-500000';
SELECT count(*) FROM memory.preferences WHERE user_id = 'user-500001';
EXPLAIN (COSTS OFF) SELECT * FROM memory.events WHERE user_id = 'user-500' AND session_id = 's-0' ORDER BY occurred_at LIMIT 10;
SELECT pages($$SELECT * FROM memory.events WHERE user_id = 'user-500' AND session_id = 's-0' ORDER BY occurred_at LIMIT 10$$);
COMMIT;
-- nobody's
SELECT pages('SELECT * FROM memory.preferences');
SELECT count(*) FROM memory.preferences;
\c memory_regress postgres
DROP DATABASE regress_plans;
