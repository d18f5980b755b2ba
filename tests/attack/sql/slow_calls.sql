-- No argument makes a call that neither ends nor can be cancelled.
\c - attack_service
SET statement_timeout = '20s';
-- search: as long as the text, however much of it looks like the query
SELECT memory.contains_text(repeat('a', 8000000), repeat('a', 4000000) || 'b');
SELECT memory.contains_text(repeat('é', 4000000), repeat('É', 2000000) || 'b');
SELECT memory.contains_text(repeat('a', 8000000) || 'b', repeat('A', 4000000) || 'B');
-- tags: each is looked up, not compared with all others
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT memory.store_node('{"entity_id": "slow", "entity_system": "x"}', 'domain_entity',
    tags => ARRAY(SELECT i::text FROM generate_series(1, 250000) AS i)) IS NOT NULL AS stored;
SELECT cardinality(tags) FROM memory.nodes WHERE entity_id = 'slow';
-- merging as many is long, and can be cancelled
SET LOCAL statement_timeout = '200ms';
\set VERBOSITY sqlstate
SELECT memory.store_node('{"entity_id": "slow", "entity_system": "x"}', 'domain_entity',
    tags => ARRAY(SELECT (-i)::text FROM generate_series(1, 250000) AS i)) IS NOT NULL AS stored;
ROLLBACK;
-- words to filter by: each is looked up, some 1 µs, and the array may be long
SET statement_timeout = '100ms';
DO $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    PERFORM memory.check_context_types(array_fill('domain_entity'::text, '{3000000}'));
    RAISE 'not cancelled';
EXCEPTION WHEN query_canceled THEN
    IF clock_timestamp() > began + interval '1.5 seconds' THEN
        RAISE 'cancelled after %', clock_timestamp() - began;
    END IF;
END
$$;
\c - postgres
