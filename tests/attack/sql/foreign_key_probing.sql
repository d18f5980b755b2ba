-- A foreign key must not tell whether another's row is there: what is told of one that is, is told of one that is not.
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, there, missing))
FROM (VALUES
    ($$INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
       VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000001aa', '?', 'led_to')$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
       VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '?', '?', 'led_to')$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$UPDATE memory.relationships SET to_node_id = '?' WHERE user_id = 'alice'$$,
     '00000000-0000-7000-8000-0000000001ab', '00000000-0000-7000-8000-0000000001ff'),
    ($$INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type)
       VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '?', 'x', 'log')$$, 'hidden-bob-session', 'nothing'),
    ($$INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type)
       VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '?', 'x', 'log')$$, 'secret-bob-session', 'nothing'),
    ($$UPDATE memory.events SET session_id = '?' WHERE user_id = 'alice'$$, 'hidden-bob-session', 'nothing'),
    -- another's node is not held by what points to it, nor let go
    ($$DELETE FROM memory.nodes WHERE node_id = '?' RETURNING node_id$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.store_relationship('00000000-0000-7000-8000-0000000001aa', '?', 'led_to', user_id => 'alice')$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff')
) AS probe (statement, there, missing);
-- a foreign key of the attacker's own: REFERENCES is nobody's
SELECT attack('CREATE TABLE attack_lab.mine (tenant_id uuid, user_id text COLLATE "C", node_id uuid)',
    'ALTER TABLE attack_lab.mine ADD FOREIGN KEY (tenant_id, user_id, node_id) REFERENCES memory.nodes');
SELECT attack('CREATE TABLE attack_lab.mine (id uuid REFERENCES memory.tenants)');
SELECT attack('CREATE TABLE attack_lab.mine (name text REFERENCES memory.event_types)');
\i input/each_profile.sql
