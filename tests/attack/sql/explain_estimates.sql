-- EXPLAIN tells of another's rows no more than of rows that are not there: neither by estimates nor by what ANALYZE counts.
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', explain || query, there, missing))
FROM (VALUES
    ($$SELECT * FROM memory.nodes WHERE user_id = '?' AND tenant_id <> '00000000-0000-7000-8000-00000000000a'$$, 'bob', 'nobody'),
    ($$SELECT * FROM memory.nodes WHERE tenant_id = '00000000-0000-7000-8000-00000000000b' AND user_id = '?'$$, 'bob', 'nobody'),
    ($$SELECT * FROM memory.nodes WHERE node_id = '?'$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT * FROM memory.nodes WHERE summary = '?'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.nodes WHERE tags @> '{?}'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.nodes WHERE content @> '{"m": "?"}'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.nodes WHERE entity_system = 'crm' AND entity_id = '?'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.sessions WHERE session_id = '?'$$, 'secret-bob-session', 'nothing'),
    ($$SELECT * FROM memory.sessions WHERE mode = '?'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.events WHERE event_id = '?'$$, 'secret-bob-event', 'nothing'),
    ($$SELECT * FROM memory.events WHERE payload->>'m' = '?'$$, 'secret-bob', 'nothing'),
    ($$SELECT * FROM memory.preferences WHERE user_id = '?' AND tenant_id = '00000000-0000-7000-8000-00000000000b'$$, 'bob', 'nobody'),
    ($$SELECT * FROM memory.navigation WHERE path = '?'$$, '/secret-bob', 'nothing'),
    ($$SELECT * FROM memory.agent_sessions_archive WHERE session_id = '?'$$, 'secret-bob-archived', 'nothing'),
    ($$SELECT * FROM memory.agent_events_archive WHERE user_id = '?' AND tenant_id = '00000000-0000-7000-8000-00000000000b'$$, 'bob', 'nobody'),
    ($$SELECT * FROM memory.audit_log WHERE user_id = '?' AND tenant_id = '00000000-0000-7000-8000-00000000000b'$$, 'bob', 'nobody'),
    ($$UPDATE memory.nodes SET summary = 'x' WHERE tenant_id = '00000000-0000-7000-8000-00000000000b' AND user_id = '?'$$, 'bob', 'nobody')
) AS probe (query, there, missing), unnest('{"EXPLAIN ","EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) "}'::text[]) AS explain;
-- the same without the indexes, where a filter tells what it removed
SELECT attack('SET LOCAL enable_indexscan = off', 'SET LOCAL enable_bitmapscan = off', 'SET LOCAL enable_indexonlyscan = off',
    format('SELECT * FROM attack_differ(%L, %L, %L)', 'EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query, 'bob', 'nobody'))
FROM unnest(ARRAY[
    $$SELECT * FROM memory.nodes WHERE tenant_id = '00000000-0000-7000-8000-00000000000b' AND user_id = '?'$$,
    $$SELECT * FROM memory.nodes AS n JOIN memory.sessions AS s ON n.user_id = s.user_id AND n.user_id = '?' AND n.tenant_id = '00000000-0000-7000-8000-00000000000b'$$,
    $$SELECT * FROM memory.nodes AS n WHERE user_id = '?' AND tenant_id = '00000000-0000-7000-8000-00000000000b' AND EXISTS (SELECT FROM memory.events AS e WHERE e.user_id = n.user_id)$$,
    $$SELECT * FROM memory.sessions WHERE session_id = 'secret-?-session'$$
]) AS query;
-- the plan's text holds constants of the query, and none of the context's
SELECT attack('EXPLAIN (VERBOSE) SELECT * FROM memory.nodes'), attack('EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM memory.list_nodes()');
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
