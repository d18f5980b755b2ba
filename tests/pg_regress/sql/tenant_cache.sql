-- The tenant cache: statistics, reset, time to live, and the own transaction's changes.
\set VERBOSITY sqlstate
INSERT INTO memory.tenants (id, slug) VALUES ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'cache-a'), ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'cache-b');
SELECT FROM memory.reset_tenant_cache();
CREATE TABLE regress_stats AS SELECT * FROM memory.tenant_cache_stats();
-- what has happened since, and the state now
CREATE FUNCTION regress_since(OUT size bigint, OUT hits bigint, OUT misses bigint, OUT evictions bigint) LANGUAGE sql AS $$
    SELECT s.size, s.hits - r.hits, s.misses - r.misses, s.evictions - r.evictions FROM memory.tenant_cache_stats() AS s, regress_stats AS r
$$;
SELECT ttl_ms, capacity, size, hits >= 0 AS hits, misses >= 0 AS misses, evictions >= 0 AS evictions,
    hit_ratio = CASE WHEN hits + misses = 0 THEN 0 ELSE hits::double precision / (hits + misses) END AS hit_ratio, shared
FROM memory.tenant_cache_stats();
SELECT pg_typeof(s) FROM memory.tenant_cache_stats() AS s;

-- a miss fills, the rest are hits; slug and UUID are two entries, 'not found' one more
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
SELECT source FROM memory.resolve_canonical_tenant(' CACHE-A ');
SELECT source FROM memory.resolve_canonical_tenant('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT source FROM memory.resolve_canonical_tenant('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT source FROM memory.resolve_canonical_tenant('cache-none');
SELECT source FROM memory.resolve_canonical_tenant('cache-none');
SELECT memory.tenant_id('cache-a');
SELECT * FROM regress_since();
-- what never is cached counts for nothing
SELECT source FROM memory.resolve_canonical_tenants(ARRAY['', NULL, 'system', repeat('x', 64), repeat('x', 100000)]);
SELECT * FROM regress_since();

-- reset empties it; the counters go on
SELECT memory.reset_tenant_cache();
SELECT * FROM regress_since();
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
SELECT * FROM regress_since();

-- time to live: 0 turns the cache off, in both directions
SET memory.tenant_cache_ttl = 0;
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
SELECT source FROM memory.resolve_canonical_tenant('cache-b');
SELECT source FROM memory.resolve_canonical_tenant('cache-b');
SELECT ttl_ms FROM memory.tenant_cache_stats();
SET memory.tenant_cache_ttl = '1h';
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
SELECT source FROM memory.resolve_canonical_tenant('cache-b');
SELECT ttl_ms FROM memory.tenant_cache_stats();
-- an answer older than the time to live is looked up again
SET memory.tenant_cache_ttl = '50ms';
SELECT pg_sleep(0.1);
SELECT source FROM memory.resolve_canonical_tenant('cache-b');
SET memory.tenant_cache_ttl = '1h';
SELECT source FROM memory.resolve_canonical_tenant('cache-b');
SET memory.tenant_cache_ttl = -1;
RESET memory.tenant_cache_ttl;
-- for all sessions, without a restart
ALTER SYSTEM SET memory.tenant_cache_ttl = '2min';
SELECT pg_reload_conf(), pg_sleep(0.3);
\c -
SELECT ttl_ms FROM memory.tenant_cache_stats();
ALTER SYSTEM RESET memory.tenant_cache_ttl;
SELECT pg_reload_conf(), pg_sleep(0.3);
\c -
SELECT ttl_ms FROM memory.tenant_cache_stats();
SET memory.tenant_cache_size = 32;

-- a superuser's settings; an operator's functions
CREATE ROLE regress_cache_operator;
CREATE ROLE regress_cache_service;
SELECT memory.grant_access('regress_cache_operator', 'operator');
SELECT memory.grant_access('regress_cache_service', 'service');
SET ROLE regress_cache_operator;
SET memory.tenant_cache_ttl = 0;
SELECT set_config('memory.tenant_cache_ttl', '0', true);
ALTER ROLE regress_cache_operator SET memory.tenant_cache_ttl = 0;
SELECT FROM memory.reset_tenant_cache();
SELECT count(*) FROM memory.tenant_cache_stats();
SET ROLE regress_cache_service;
SELECT FROM memory.reset_tenant_cache();
SELECT count(*) FROM memory.tenant_cache_stats();
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
RESET ROLE;
SELECT memory.revoke_access('regress_cache_operator'), memory.revoke_access('regress_cache_service');
DROP ROLE regress_cache_operator, regress_cache_service;

-- a transaction that changes a tenant sees its own change at once, and nothing of it stays behind when it is undone
SELECT FROM memory.reset_tenant_cache();
SELECT source FROM memory.resolve_canonical_tenants('{cache-a,cache-b,cache-c}');
BEGIN;
UPDATE memory.tenants SET slug = 'cache-c' WHERE slug = 'cache-a';
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-c,c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}');
SELECT memory.tenant_id('cache-c');
SAVEPOINT s;
INSERT INTO memory.tenants (id, slug) VALUES ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', 'cache-a');
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-c}');
DELETE FROM memory.tenants WHERE slug = 'cache-c';
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-c}');
ROLLBACK TO s;
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-c}');
SET LOCAL client_min_messages = warning;
TRUNCATE memory.tenants CASCADE;
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-b,cache-c}');
ROLLBACK;
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-b,cache-c,c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}');
-- within one statement that calls and changes, and under REPEATABLE READ
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT source FROM memory.resolve_canonical_tenant('cache-a');
UPDATE memory.tenants SET slug = 'cache-c' WHERE slug = 'cache-a';
SELECT uuid, slug, source FROM memory.resolve_canonical_tenants('{cache-a,cache-c}');
ROLLBACK;
DO $$
BEGIN
    INSERT INTO memory.tenants (id, slug) VALUES ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a14', 'cache-d');
    IF memory.tenant_id('cache-d') IS DISTINCT FROM 'c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a14' THEN RAISE 'the own insert is not seen'; END IF;
    BEGIN
        UPDATE memory.tenants SET slug = 'cache-e' WHERE slug = 'cache-d';
        PERFORM memory.tenant_id('cache-e');
        RAISE 'undo';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    IF memory.tenant_id('cache-d') IS DISTINCT FROM 'c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a14' THEN RAISE 'the undone update is seen'; END IF;
    IF (SELECT r.found FROM memory.resolve_canonical_tenant('cache-e') AS r) THEN RAISE 'the undone update is seen'; END IF;
END
$$;
SELECT slug, source FROM memory.resolve_canonical_tenants('{cache-d,cache-e}');
-- a trigger that a replica fires too
SET session_replication_role = replica;
UPDATE memory.tenants SET slug = 'cache-e' WHERE slug = 'cache-d';
RESET session_replication_role;
SELECT slug, source FROM memory.resolve_canonical_tenants('{cache-d,cache-e}');

DROP FUNCTION regress_since();
DROP TABLE regress_stats;
DELETE FROM memory.tenants WHERE id::text LIKE 'c0eebc99-%';
