-- How the extension is, and whether it works.

-- Both run as their owner: an operator may not read what they look at. They take nothing of the caller's, and tell no more than counts, times and
-- names of objects.

CREATE FUNCTION memory.health() RETURNS jsonb
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET datestyle = 'ISO, MDY' SET timezone = 'UTC'
AS 'MODULE_PATHNAME', 'health_wrapper';
COMMENT ON FUNCTION memory.health() IS
    'How the extension is in this database: {"status", "version", "checked_at", "latency_ms", "checks": {name: {"status", "latency_ms", "detail", "advice"}}}. '
    'status: ok; degraded: it works, and somebody should look; failing: something that it promises does not hold; of all, the worst. advice says what to do, '
    'where status is not ok. Writes nothing, works on a standby and without shared_preload_libraries, and waits for no lock longer than 20 ms: what it could '
    'not read is degraded. An operator''s. Some 10 ms, whatever the tables hold.';

CREATE FUNCTION memory.verify(OUT check_name text, OUT ok boolean, OUT detail text) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS 'MODULE_PATHNAME', 'verify_wrapper';
COMMENT ON FUNCTION memory.verify() IS
    'Exercises the whole stack with a tenant of its own, which it rolls back: resolver, context, session, event, graph, searches, isolation, archive, audit, '
    'encryption and tokens where there is a master key, export, seal, erasure. A line per check; an error is a line that is not ok, with its SQLSTATE. Leaves nothing but a gap in the audit log''s ids and dead rows. '
    'An operator''s, without a security context (else 42501). On a standby and in a READ ONLY transaction 25006. Under another isolation than READ COMMITTED 55000. Some 100 ms, and what an erasure takes to look through the audit log.';

SELECT memory.allow('operator', 'health', 'verify');
