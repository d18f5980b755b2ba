-- What nodes of others were; what a node was before it was given to one, and became after it was given away.
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000003b1', '{"m": "hidden-1"}', 'tool_output', 'hidden-1'),
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000003b2', '{"m": "hidden-2"}', 'tool_output', 'hidden-2'),
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000003b3', '{"m": "hidden-3"}', 'tool_output', 'hidden-3'),
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000003a1', '{"m": "own-1"}', 'tool_output', 'own-1'),
    ('00000000-0000-7000-8000-00000000000b', 'bob', '00000000-0000-7000-8000-0000000003c1', '{"m": "secret-1"}', 'tool_output', 'secret-1');
-- bob's to alice: one, and two in one statement; alice's to bob, who goes on with it; and by bob the second user of alice's id
UPDATE memory.nodes SET user_id = 'alice', content = '{}', summary = 'own-2' WHERE node_id = '00000000-0000-7000-8000-0000000003b1';
UPDATE memory.nodes SET user_id = 'alice', content = '{}', summary = 'own-3' WHERE node_id IN ('00000000-0000-7000-8000-0000000003b2', '00000000-0000-7000-8000-0000000003b3');
UPDATE memory.nodes SET user_id = 'bob', summary = 'hidden-4' WHERE node_id = '00000000-0000-7000-8000-0000000003a1';
UPDATE memory.nodes SET summary = 'hidden-5' WHERE node_id = '00000000-0000-7000-8000-0000000003a1';
UPDATE memory.nodes SET node_id = '00000000-0000-7000-8000-0000000003a2', summary = 'hidden-6' WHERE node_id = '00000000-0000-7000-8000-0000000003a1';
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000003b1', '{}', 'tool_output', 'hidden-7');
SELECT attack(format('SELECT * FROM memory.%s', call)) FROM unnest(ARRAY[
    'node_history(%s)', 'node_changes(%s)', 'node_as_of(%s, ''infinity'')', 'node_as_of(%s, now() - interval ''1 millisecond'')',
    'node_history(%s, user_id => ''bob'')', 'node_history(%s, ''attack-b'')', 'node_history(%s, ''attack-b'', ''bob'')',
    'node_as_of(%s, now(), user_id => ''bob'')', 'node_changes(%s, ''attack-b'', ''bob'')'
]) AS v (tried), unnest(ARRAY['3b1', '3b2', '3b3', '3a1', '3a2', '3c1', '1ab', '1bb']) AS n (node),
    format(tried, quote_literal('00000000-0000-7000-8000-000000000' || node)) AS call;
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
SELECT attack(statement) FROM unnest(ARRAY[
    -- what alice may see of them
    $$SELECT summary FROM memory.node_history('00000000-0000-7000-8000-0000000003b1')$$,
    $$SELECT summary FROM memory.node_history('00000000-0000-7000-8000-0000000003b2')$$,
    $$SELECT summary FROM memory.node_history('00000000-0000-7000-8000-0000000003a1')$$,
    $$SELECT * FROM memory.node_history('00000000-0000-7000-8000-0000000003a2')$$,
    -- past the functions
    $$SELECT * FROM memory.audit_log LIMIT 1$$,
    $$SELECT * FROM memory.owned_scope(NULL, NULL)$$,
    $$SELECT memory.overlay(changes) FROM memory.audit_log$$
]) AS statement;
-- whether there is a node, or was, is not told
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, there, '00000000-0000-7000-8000-0000000003ff')) FROM unnest(ARRAY[
    $$SELECT * FROM memory.node_history('?')$$, $$SELECT * FROM memory.node_changes('?')$$, $$SELECT memory.node_as_of('?', now())$$
]) AS statement, unnest(ARRAY['00000000-0000-7000-8000-0000000003c1', '00000000-0000-7000-8000-0000000001bb']) AS there;
-- functions and operators of one's own in search_path change nothing
SELECT attack('CREATE FUNCTION attack_lab.jsonb_concat(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS ''SELECT jsonb_build_object(current_user, $2)''',
    'SET LOCAL search_path = attack_lab, pg_temp, pg_catalog, memory', 'SELECT summary FROM memory.node_history(''00000000-0000-7000-8000-0000000003b1'')');
\i input/each_profile.sql
DELETE FROM memory.nodes WHERE node_id::text ~ '0000000003..$';
