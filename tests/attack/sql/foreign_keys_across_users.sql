-- Rows that point to another user's: refused by the keys, and refused alike whether the other's row exists or not.
\set VERBOSITY sqlstate
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, entity_system, entity_id) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a1', '{}', 'domain_entity', 's', 'e'),
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000000b1', '{"secret": 1}', 'domain_entity', 's', 'bobs'),
    ('00000000-0000-7000-8000-00000000000b', 'alice', '00000000-0000-7000-8000-0000000000c1', '{"secret": 1}', 'domain_entity', 's', 'theirs');
INSERT INTO memory.relationships (tenant_id, user_id, id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a2', '00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000a1', 'relates_to');
SELECT FROM memory.save_session('bobs', tenant => 'attack-a', user_id => 'bob');
SELECT FROM memory.log_event('bobs', 'log', '{"secret": 1}', 'e1', tenant => 'attack-a', user_id => 'bob');
\c - attack_service
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
SAVEPOINT s;
-- a relationship to bob's node, to another tenant's, to none: one error, one message
\set VERBOSITY default
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000b1', 'relates_to');
ROLLBACK TO s;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000c1', 'relates_to');
ROLLBACK TO s;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000ff', 'relates_to');
ROLLBACK TO s;
\set VERBOSITY sqlstate
SELECT memory.store_relationship('00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000b1', 'relates_to');
ROLLBACK TO s;
SELECT memory.store_relationship('00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000ff', 'relates_to');
ROLLBACK TO s;
UPDATE memory.relationships SET to_node_id = '00000000-0000-7000-8000-0000000000b1';
ROLLBACK TO s;
-- as bob: no row of his is hers to make
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'bob', '00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000b1', 'relates_to');
ROLLBACK TO s;
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type) VALUES ('00000000-0000-7000-8000-00000000000a', 'bob', 'bobs', 'mine', 'log');
ROLLBACK TO s;
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type) VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', 'bobs', 'mine', 'log');
ROLLBACK TO s;
-- nor can she give him hers, or take his
UPDATE memory.nodes SET user_id = 'bob';
ROLLBACK TO s;
UPDATE memory.nodes SET tenant_id = '00000000-0000-7000-8000-00000000000b';
ROLLBACK TO s;
UPDATE memory.nodes SET summary = 'mine' WHERE user_id = 'bob' OR true RETURNING user_id, summary;
DELETE FROM memory.nodes WHERE node_id = '00000000-0000-7000-8000-0000000000b1';
SELECT memory.delete_nodes('{00000000-0000-7000-8000-0000000000b1, 00000000-0000-7000-8000-0000000000c1}');
SELECT memory.touch_nodes('{00000000-0000-7000-8000-0000000000b1}');
SELECT count(*) FROM memory.get_nodes('{00000000-0000-7000-8000-0000000000b1, 00000000-0000-7000-8000-0000000000c1}');
SELECT count(*) FROM memory.traverse('{00000000-0000-7000-8000-0000000000b1}');
-- no conflict tells of his rows: the same ids and entities are free
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, entity_system, entity_id) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000b1', '{}', 'domain_entity', 's', 'bobs') RETURNING user_id;
SELECT FROM memory.save_session('bobs');
SELECT memory.log_event('bobs', 'log', '{}', 'e1');
SELECT count(*) FROM memory.get_events('bobs');
-- and what she then points to is hers
SELECT count(*) FROM memory.get_nodes('{00000000-0000-7000-8000-0000000000b1}') WHERE user_id = 'alice';
ROLLBACK;
-- a service sees both, and joins them no more than they can
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'x');
SAVEPOINT s;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', '00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000b1', 'relates_to');
ROLLBACK TO s;
SELECT memory.store_relationship('00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-0000000000b1', 'relates_to', user_id => 'bob');
ROLLBACK TO s;
UPDATE memory.nodes SET tenant_id = '00000000-0000-7000-8000-00000000000b';
ROLLBACK;

\c - postgres
DELETE FROM memory.sessions WHERE session_id = 'bobs';
DELETE FROM memory.nodes WHERE entity_system = 's';
