-- A tenant whose events and nodes are encrypted at rest: the functions give what was stored, the tables do not.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug, encryption_enabled) VALUES
    ('00000000-0000-7000-8000-00000000c02a', 'payload-a', true), ('00000000-0000-7000-8000-00000000c02b', 'payload-b', false);
CREATE ROLE payload_service LOGIN;
CREATE ROLE payload_app LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('payload_service', 'service', '{payload-a, payload-b}');
    PERFORM memory.grant_access('payload_app', 'app');
    GRANT payload_app TO payload_service;
END
$$;
\connect - payload_service
-- as a user of the application
BEGIN;
SELECT FROM memory.set_security_context('payload-a', 'ann', 's1', sealed => true);
SET LOCAL ROLE payload_app;
SELECT memory.log_event('s1', 'log', '{"text": "the zebra", "n": 1.10, "deep": [{"x": null}]}', 'e1', '2026-01-01');
SELECT memory.log_event('s1', 'log', '{"text": "the zebra"}', 'e1', '2026-01-01');
SELECT memory.log_events('s1', '[{"event_type": "log", "event_id": "e2", "occurred_at": "2026-01-02", "payload": {"text": "a zebra"}}, {"event_type": "log", "event_id": "e3", "occurred_at": "2026-01-03", "payload": {}}]');
SELECT event_id, payload FROM memory.get_events('s1');
SELECT event_id, (SELECT array_agg(k) FROM jsonb_object_keys(payload) k) AS keys, payload::text ~ 'zebra' AS told FROM memory.events ORDER BY 1;
-- an entity is merged
SELECT memory.store_node('{"entity_id": 7, "entity_system": "zoo", "entity_data": {"a": 1, "b": {"c": 2}}, "secret": "zebra"}', 'domain_entity', 'an animal', '{zoo}') AS node \gset
SELECT memory.store_node('{"entity_id": 7, "entity_system": "zoo", "entity_data": {"b": {"d": 3}}}', 'domain_entity') = :'node' AS same;
SELECT memory.store_node('{"text": "zebra"}', 'knowledge_atom', 'plain words') AS other \gset
SELECT count(*) FROM memory.store_nodes('[{"content": {"entity_id": "7", "entity_system": "zoo", "entity_data": {"e": 4}}, "context_type": "domain_entity"}]');
SELECT content - 'last_updated' AS content FROM memory.get_nodes(ARRAY[:'node', :'other']::uuid[]);
SELECT content ->> 'text' FROM memory.list_nodes('{knowledge_atom}');
SELECT content - '_encrypted' AS content, content ? '_encrypted' AS encrypted, content::text ~ 'zebra' AS told FROM memory.nodes ORDER BY created_at, node_id;
-- found by what stays plain, read as it was
SELECT summary, content ->> 'text' AS text FROM memory.search('plain words');
SELECT count(*) FROM memory.search('zebra');
SELECT content ->> 'secret' AS secret FROM memory.search('animal', filter => '{"entity_id": "7"}');
SELECT content ->> 'text' AS text FROM memory.search_nodes('plain');
SELECT count(*) FROM memory.search_nodes('a', fuzzy => false) WHERE summary IS NULL;
SELECT version, operation, content #> '{entity_data,b}' AS b, content ->> 'secret' AS secret FROM memory.node_history(:'node');
SELECT memory.node_as_of(:'node', NULL) -> 'content' -> 'entity_data' AS data;
SELECT memory.touch_nodes(ARRAY[:'node', :'other']::uuid[]);
-- what is written past the functions is encrypted too, and the key is reserved
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
VALUES ('00000000-0000-7000-8000-00000000c02a', 'ann', 's1', 'e4', 'log', '{"text": "by hand, zebra"}');
UPDATE memory.events SET payload = '{"text": "changed, zebra"}' WHERE event_id = 'e2';
SELECT event_id, payload FROM memory.get_events('s1') WHERE event_id IN ('e2', 'e4');
SELECT count(*) FROM memory.events WHERE payload::text ~ 'zebra';
SAVEPOINT here;
SELECT memory.log_event('s1', 'log', '{"_encrypted": "x"}');
ROLLBACK TO here;
SELECT memory.log_event('s1', 'log', '{"_encrypted": {}}');
ROLLBACK TO here;
-- a ciphertext has its place
UPDATE memory.events SET payload = (SELECT payload FROM memory.events WHERE event_id = 'e1') WHERE event_id = 'e2';
ROLLBACK TO here;
UPDATE memory.events SET event_id = 'e9' WHERE event_id = 'e1';
ROLLBACK TO here;
COMMIT;

-- a data key that was used in one context of a transaction is not there for the next one: neither another user's nor no context at all, whatever
-- ciphertext it was handed
BEGIN;
SELECT FROM memory.set_security_context('payload-a', 'ann');
SELECT payload AS ciphertext FROM memory.events WHERE event_id = 'e1' \gset
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext') ->> 'text' AS own;
SAVEPOINT here;
SELECT FROM memory.set_security_context('payload-a', 'eve');
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext');
ROLLBACK TO here;
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext') ->> 'text' AS own;
SELECT FROM memory.set_security_context('payload-b', service_name => 'backend');
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext');
ROLLBACK TO here;
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext') ->> 'text' AS own;
SELECT FROM memory.clear_security_context();
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext');
ROLLBACK TO here;
SELECT FROM memory.set_security_context('payload-a', service_name => 'backend');
SELECT memory.decrypted('00000000-0000-7000-8000-00000000c02a', 'ann', 'event', 's1', 'e1', :'ciphertext') ->> 'text' AS the_tenants_service;
COMMIT;

-- the service: archived, replayed, exported
SELECT memory.set_security_context('payload-a', service_name => 'backend', is_local => false);
SELECT event_id, payload ->> 'text' AS text FROM memory.get_events('s1');
SELECT FROM memory.end_session('s1', user_id => 'ann');
\connect - postgres
SELECT sessions > 0 AS moved, events >= 4 AS all FROM memory.run_archival();
SELECT event_id, payload ? '_tenant' AS stamped, payload ? '_encrypted' AS encrypted FROM memory.agent_events_archive WHERE tenant_id = '00000000-0000-7000-8000-00000000c02a' ORDER BY 1;
\connect - payload_service
SELECT memory.set_security_context('payload-a', service_name => 'backend', is_local => false);
SELECT event_id, payload - '_tenant' AS payload, archived FROM memory.replay_session('s1');
SELECT * FROM memory.archive_events('[{"user_id": "ann", "session_id": "s1", "event_id": "e5", "event_type": "log", "timestamp": "2026-01-05", "payload": {"text": "zebra"}}]');
SELECT * FROM memory.archive_events('[{"user_id": "ann", "session_id": "s1", "event_id": "e5", "event_type": "log", "timestamp": "2026-01-05", "payload": {"text": "zebra"}}]');
SELECT * FROM memory.archive_events('[{"user_id": "ann", "session_id": "s1", "event_id": "e5", "event_type": "log", "timestamp": "2026-01-05", "payload": {"text": "gnu"}}]');
SELECT FROM memory.encrypt_field('ann', 'iban', 'DE02');
SELECT relation, coalesce(record #>> '{payload,text}', record #>> '{content,text}', record #>> '{content,secret}', record ->> 'plaintext') AS text
FROM memory.export_user_data('ann') WHERE relation IN ('agent_events_archive', 'events', 'nodes', 'encrypted_fields') ORDER BY 1, 2;
-- nothing told: tables, the log
\connect - postgres
SELECT count(*) FROM memory.audit_log WHERE tenant_id = '00000000-0000-7000-8000-00000000c02a' AND changes::text ~ 'zebra';
SELECT count(*) FROM memory.agent_events_archive WHERE payload::text ~ 'zebra';
-- tampered: told, not given
UPDATE memory.nodes SET metadata = metadata WHERE node_id = :'other';
ALTER TABLE memory.nodes DISABLE TRIGGER encrypt;
UPDATE memory.nodes SET content = (SELECT content FROM memory.nodes WHERE node_id = :'node') WHERE node_id = :'other';
ALTER TABLE memory.nodes ENABLE TRIGGER encrypt;
SELECT content FROM memory.get_nodes(ARRAY[:'other']::uuid[], 'payload-a', 'ann');
SELECT kind, detail, named_user_id FROM memory.security_violations WHERE tenant_id = '00000000-0000-7000-8000-00000000c02a' AND detail ~ 'payload' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- another tenant is not encrypted; switched on, what is written from then on is, and off again all is read
SELECT memory.log_event('s', 'log', '{"n": 1}', '1', tenant => 'payload-b', user_id => 'bob');
UPDATE memory.tenants SET encryption_enabled = true WHERE slug = 'payload-b';
SELECT memory.log_event('s', 'log', '{"n": 2}', '2', tenant => 'payload-b', user_id => 'bob');
UPDATE memory.tenants SET encryption_enabled = false WHERE slug = 'payload-b';
SELECT memory.log_event('s', 'log', '{"n": 3}', '3', tenant => 'payload-b', user_id => 'bob');
SELECT event_id, payload ? '_encrypted' AS encrypted FROM memory.events WHERE user_id = 'bob' AND tenant_id = '00000000-0000-7000-8000-00000000c02b' ORDER BY 1;
SELECT event_id, payload FROM memory.get_events('s', tenant => 'payload-b', user_id => 'bob');
SELECT memory.log_event('s', 'log', '{"_encrypted": "x"}', '4', tenant => 'payload-b', user_id => 'bob');
-- gone with the key
SELECT relation, rows FROM memory.anonymize_user_data('bob', 'payload-b') WHERE relation IN ('events', 'user_keys');
SELECT payload, count(*) FROM memory.events WHERE tenant_id = '00000000-0000-7000-8000-00000000c02b' GROUP BY 1;
SELECT count(*) > 0 AS gone FROM memory.erase_user_data('ann', 'payload-a');
SELECT count(*) FROM memory.user_keys;

SELECT memory.revoke_access(r::regrole) FROM unnest('{payload_service,payload_app}'::text[]) r;
DELETE FROM memory.events WHERE tenant_id = '00000000-0000-7000-8000-00000000c02b';
DELETE FROM memory.sessions WHERE tenant_id = '00000000-0000-7000-8000-00000000c02b';
DELETE FROM memory.tenants WHERE slug IN ('payload-a', 'payload-b');
DROP ROLE payload_service, payload_app;
