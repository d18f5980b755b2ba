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
SET statement_timeout = '60s';
-- paths: many ways that cost more and take fewer steps, of which none may be left out; ranks: a walk that hardly ever starts again
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
CREATE FUNCTION pg_temp.rung(i int) RETURNS uuid LANGUAGE sql AS $$SELECT lpad(i::text, 32, '0')::uuid$$;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
SELECT memory.current_tenant_id(), 'alice', pg_temp.rung(i), '{}', 'tool_output' FROM generate_series(0, 3000) AS i;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type, strength)
SELECT memory.current_tenant_id(), 'alice', pg_temp.rung(i), pg_temp.rung(i + step), 'led_to', CASE step WHEN 1 THEN 1 ELSE 0.25 END
FROM generate_series(1, 2) AS step, generate_series(0, 3000 - step) AS i;
SET LOCAL statement_timeout = '200ms';
DO $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    PERFORM memory.shortest_path(pg_temp.rung(0), pg_temp.rung(3000), 2300, true);
    RAISE 'not cancelled';
EXCEPTION WHEN query_canceled THEN
    IF clock_timestamp() > began + interval '1.5 seconds' THEN
        RAISE 'cancelled after %', clock_timestamp() - began;
    END IF;
END
$$;
SET LOCAL statement_timeout = '30ms';
DO $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    PERFORM memory.rank_related(ARRAY[pg_temp.rung(0)], damping => 0.9999999, max_depth => 3000);
    RAISE 'not cancelled';
EXCEPTION WHEN query_canceled THEN
    IF clock_timestamp() > began + interval '1.5 seconds' THEN
        RAISE 'cancelled after %', clock_timestamp() - began;
    END IF;
END
$$;
ROLLBACK;
-- search: values that the summary holds or nearly holds; tags that are all compared with all; neighbours of
-- everything, each with everything
CREATE FUNCTION pg_temp.cancelled(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN query_canceled THEN
    RETURN CASE WHEN clock_timestamp() > began + interval '1.5 seconds' THEN 'cancelled after ' || clock_timestamp() - began ELSE 'cancelled' END;
END
$$;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
INSERT INTO memory.nodes (tenant_id, user_id, session_id, content, context_type, summary, tags)
SELECT memory.current_tenant_id(), 'alice', 'slow', '{}', 'tool_output', 'slowly ' || i, '{}' FROM generate_series(1, 3000) AS i;
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary, tags)
SELECT memory.current_tenant_id(), 'alice', jsonb_build_object('a', repeat('bb ', 330000)), 'tool_output', 'phrase',
    ARRAY(SELECT i::text FROM generate_series(1, 20000) AS i);
SET LOCAL statement_timeout = '100ms';
SELECT pg_temp.cancelled($$INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary)
    SELECT memory.current_tenant_id(), 'alice', jsonb_build_object('a', array_fill('x'::text, '{100000}')), 'tool_output', repeat('x', 4000)$$);
SET LOCAL statement_timeout = '10s';
SELECT count(*) FROM memory.search('phrase', tags => array_fill('20000'::text, '{200000}'));
SELECT count(*) FROM memory.list_nodes(tags => array_fill('20000'::text, '{200000}'));
SELECT count(*) FROM memory.list_nodes(tags => ARRAY(SELECT i::text FROM generate_series(1, 20001) AS i));
SELECT count(*) FROM memory.list_nodes(tags => array_append(array_fill('20000'::text, '{200000}'), NULL));
SELECT count(*) FROM memory.search('slowly', neighbours => 1000, max_results => 2147483647);
ROLLBACK;
-- a phrase in large contents: one after the other, not all at once
\c - postgres
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type)
SELECT memory.tenant_id('attack-a'), 'large', jsonb_build_object('a', repeat('bb cc ', 3000000)), 'tool_output' FROM generate_series(1, 20);
\c - postgres
CREATE FUNCTION pg_temp.peak() RETURNS bigint LANGUAGE sql AS $$SELECT substring(pg_read_file('/proc/self/status') FROM 'VmPeak:\s+(\d+)')::bigint$$;
SELECT pg_temp.peak() AS before \gset
SELECT count(*) FROM memory.search('"bb cc bb"', tenant => 'attack-a', user_id => 'large');
SELECT pg_temp.peak() - :before < 200000 AS one_by_one;
DELETE FROM memory.nodes WHERE user_id = 'large';
