-- A user as one document: export, import elsewhere, export again: the same.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
CREATE ROLE document_service LOGIN;
CREATE ROLE document_app LOGIN;
INSERT INTO memory.tenants (slug) VALUES ('document-a'), ('document-b'), ('document-c');
INSERT INTO memory.tenants (slug, encryption_enabled) VALUES ('document-e', true);
SELECT FROM memory.grant_access('document_service', 'service', '{document-a,document-b,document-e}');
SELECT FROM memory.grant_access('document_app', 'app');
SELECT memory.create_embedding_space('document-m', 3), memory.create_embedding_space('document-n', 2, 'l2');

SET SESSION AUTHORIZATION document_service;
SELECT memory.set_security_context('document-a', service_name => 'desk', is_local => false);
SELECT session_id FROM memory.save_session('s1', '{"n": 1.10, "deep": {"a": [null, true, "x"]}}', 'chatty', 's0', user_id => 'ann');
SELECT FROM memory.log_event('s1', 'message_user', '{"text": "Zürich \"quoted\""}', 'e1', '2024-02-29 12:34:56.789012+00', user_id => 'ann');
SELECT FROM memory.log_event('s2', 'log', '{"n": 12345678901234567890.123456789, "e": 1e-300}', user_id => 'ann');
SELECT FROM memory.end_session('s2', user_id => 'ann');
SELECT count(*) FROM (SELECT memory.set_preferences('{"p": 1}', user_id => 'ann'), memory.set_user_metadata('{"m": {}}', user_id => 'ann')) AS x;
SELECT count(*) FROM (SELECT memory.record_navigation('/a', user_id => 'ann'), memory.record_navigation('/b', user_id => 'ann')) AS x;
SELECT FROM memory.store_node('{"entity_id": "i", "entity_system": "y", "entity_type": "z", "text": "mountain"}', 'domain_entity', 'sum', '{t,"u v"}', '{"k": 1}',
    valid_from => '-infinity', expires_at => 'infinity', user_id => 'ann') AS n;
SELECT memory.store_node('{"text": "river"}', 'tool_output', session_id => 's1', user_id => 'ann') AS river \gset
SELECT memory.store_relationship(node_id, :'river', 'produces', 0.1, '{"w": 1}', user_id => 'ann') IS NOT NULL AS stored FROM memory.list_nodes('{domain_entity}', user_id => 'ann');
SELECT memory.end_relationship(id, user_id => 'ann') FROM memory.get_relationships(:'river', user_id => 'ann');
SELECT memory.end_node(memory.store_node('{"text": "over"}', 'tool_output', user_id => 'ann'), user_id => 'ann');
SELECT count(*) FROM (SELECT memory.store_embedding('document-m', :'river', '[0.1,1e-30,3.4e38]', 'query', user_id => 'ann'), memory.store_embedding('document-n', :'river', '[0,-1]', user_id => 'ann')) AS x;
SELECT FROM memory.archive_session('document-a', 'ann', 'old', '{"m": 1}', '2020-01-01');
SELECT FROM memory.archive_event('document-a', 'ann', 'old', 'e', 'free word', '2020-01-01', '{"o": 1}');
SELECT memory.encrypt_field('ann', 'iban', E'DE02 "é" \\ \n'), memory.encrypt_field('ann', 'empty', '') \g /dev/null
SELECT set_config('timezone', 'Asia/Tokyo', false);
SELECT memory.export_user_document('ann') AS document \gset
SELECT :'document'::jsonb - 'exported_at' - 'relations' - 'records' AS rest, (:'document'::jsonb ->> 'exported_at')::timestamptz <= clock_timestamp() AS time;
SELECT key AS relation, jsonb_array_length(value) AS rows FROM jsonb_each(:'document'::jsonb -> 'relations') ORDER BY 1;
SELECT key AS record FROM jsonb_each(:'document'::jsonb -> 'records') ORDER BY 1;

-- the same tenant, another user; another tenant, the same user
CREATE FUNCTION pg_temp.carried(document jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(r.key, (SELECT jsonb_agg(CASE WHEN r.key LIKE '%archive' THEN e.value #- '{payload,_tenant}' ELSE e.value END ORDER BY e.n)
        FROM jsonb_array_elements(r.value) WITH ORDINALITY AS e (value, n)))
    FROM jsonb_each(document -> 'relations') AS r
$$;
SELECT * FROM memory.import_user_data(:'document', user_id => 'bea');
SELECT pg_temp.carried(memory.export_user_document('bea'))::text = pg_temp.carried(:'document')::text AS exact;
SELECT memory.export_user_document('bea') ->> 'user_id' AS user_id;
SELECT memory.set_security_context('document-b', service_name => 'desk', is_local => false);
SELECT count(*) FROM memory.import_user_data(:'document', 'document-b');
SELECT pg_temp.carried(memory.export_user_document('ann'))::text = pg_temp.carried(:'document')::text AS exact;
SELECT payload FROM memory.agent_events_archive AS e, LATERAL (SELECT e.payload #>> '{_tenant,input}' AS i, e.payload #>> '{_tenant,slug}' AS s) AS t (input, slug)
    WHERE input IS DISTINCT FROM 'document-b' OR slug IS DISTINCT FROM 'document-b';
-- what is derived is there: search, nearest, history
SELECT summary FROM memory.search('mountain', model => 'document-m', user_id => 'ann');
SELECT count(*) FROM memory.search_documents;
SELECT count(*) FROM memory.nearest_nodes('[1,1,1]', 'document-m', user_id => 'ann');
SELECT count(*) FROM memory.node_history(:'river', user_id => 'ann');
-- again: nothing is merged
SELECT * FROM memory.import_user_data(:'document');
-- erased, and again
SELECT FROM memory.erase_user_data('ann') LIMIT 1;
SELECT sum(rows) > 10 AS back FROM memory.import_user_data(:'document');
SELECT pg_temp.carried(memory.export_user_document('ann'))::text = pg_temp.carried(:'document')::text AS exact;

-- encrypted fields come under the key of whom they come to, with their ids
SELECT field, memory.decrypt_field(field_id) = :'document'::jsonb #>> ARRAY['relations', 'encrypted_fields', (place - 1)::text, 'plaintext'] AS same, key_id <> ALL (
    SELECT key_id FROM memory.user_keys WHERE user_id <> 'ann') AS own_key, ciphertext::text ~ encode('DE02', 'hex') AS told
FROM memory.encrypted_fields, LATERAL (SELECT n FROM jsonb_array_elements(:'document'::jsonb #> '{relations,encrypted_fields}') WITH ORDINALITY AS a (e, n) WHERE e ->> 'field_id' = field_id::text) AS x (place)
ORDER BY 1;
-- to a tenant that is encrypted at rest, and back from there
SELECT memory.set_security_context('document-e', service_name => 'desk', is_local => false);
SELECT count(*) FROM memory.import_user_data(:'document', 'document-e');
SELECT pg_temp.carried(memory.export_user_document('ann'))::text = pg_temp.carried(:'document')::text AS exact;
SELECT bool_and(payload = '{}' OR payload ? '_encrypted') AS encrypted, count(*) FROM (
    SELECT payload - '_tenant' FROM memory.events UNION ALL SELECT payload - '_tenant' FROM memory.agent_events_archive UNION ALL SELECT content FROM memory.nodes) AS p (payload);
SELECT (SELECT count(*) FROM memory.search('mountain')) AS mountain, (SELECT count(*) FROM memory.search('river')) AS river;
SELECT summary, content ->> 'text' AS text FROM memory.search('sum');
SELECT memory.export_user_document('ann') AS of_encrypted \gset
SELECT count(*) FROM memory.import_user_data(:'of_encrypted', user_id => 'eli');
SELECT pg_temp.carried(memory.export_user_document('eli'))::text = pg_temp.carried(:'document')::text AS exact, pg_temp.carried(memory.export_user_document('ann'))::text = pg_temp.carried(:'document')::text AS still;
SELECT count(*) FROM memory.user_keys;
SELECT sum(rows) > 10 AS erased FROM memory.erase_user_data('ann');
SELECT pg_temp.carried(memory.export_user_document('eli'))::text = pg_temp.carried(:'document')::text AS exact;
SELECT memory.set_security_context('document-b', service_name => 'desk', is_local => false);
SELECT count(*) FROM memory.import_user_data(:'of_encrypted', user_id => 'fay');
SELECT pg_temp.carried(memory.export_user_document('fay'))::text = pg_temp.carried(:'document')::text AS exact;
RESET SESSION AUTHORIZATION;
SELECT count(*) > 10 AS audited, count(*) FILTER (WHERE changes::text ~ 'mountain|river|quoted|12345678901234567890|DE02') AS told
FROM memory.audit_log WHERE tenant_id = memory.tenant_id('document-e');
SELECT count(*) FILTER (WHERE l::text ~ 'mountain|river|quoted') AS told, count(*) > 0 AS found FROM memory.search_documents AS l WHERE tenant_id = memory.tenant_id('document-e');
SET SESSION AUTHORIZATION document_service;
SELECT memory.set_security_context('document-b', service_name => 'desk', is_local => false);

-- however the rows were stored, each relation is in order, the times in UTC; of who has nothing there is nothing
RESET SESSION AUTHORIZATION;
INSERT INTO memory.sessions (tenant_id, user_id, session_id) SELECT memory.tenant_id('document-b'), 'ord', s FROM unnest('{z,y,x}'::text[]) AS s;
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
    SELECT memory.tenant_id('document-b'), 'ord', s, e, 'log', '{}' FROM unnest('{z,y}'::text[]) AS s, unnest('{9,10,1}'::text[]) AS e;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
    SELECT memory.tenant_id('document-b'), 'ord', ('00000000-0000-7000-8000-00000000000' || n)::uuid, '{}', 'tool_output' FROM unnest('{3,1,2}'::int[]) AS n;
INSERT INTO memory.relationships (tenant_id, user_id, id, from_node_id, to_node_id, relationship_type)
    SELECT memory.tenant_id('document-b'), 'ord', ('00000000-0000-7000-8000-00000000000' || n)::uuid, '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', t
    FROM (VALUES (3, 'led_to'), (1, 'produces'), (2, 'depends_on')) AS v (n, t);
SET SESSION AUTHORIZATION document_service;
SELECT memory.set_security_context('document-b', service_name => 'desk', is_local => false);
SELECT count(memory.store_embedding(m, ('00000000-0000-7000-8000-00000000000' || n)::uuid, v::vector, t, user_id => 'ord'))
FROM (VALUES ('document-n', '[1,2]'), ('document-m', '[1,2,3]')) AS s (m, v), unnest('{response,context,query}'::text[]) AS t, unnest('{2,1}'::int[]) AS n;
SELECT count(memory.encrypt_field('ord', 'f' || n, 'x')) FROM generate_series(1, 4) AS n;
RESET SESSION AUTHORIZATION;
UPDATE memory.encrypted_fields SET created_at = created_at WHERE field = 'f1' AND user_id = 'ord';
SET SESSION AUTHORIZATION document_service;
SELECT memory.set_security_context('document-b', service_name => 'desk', is_local => false);
SET timezone = 'Asia/Tokyo';
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT memory.export_user_document('ord') AS ordered \gset
RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan;
SELECT r.key AS relation, jsonb_array_length(r.value) AS rows, r.value = (SELECT jsonb_agg(e ORDER BY e ->> 'session_id' COLLATE "C", e ->> 'event_id' COLLATE "C", e ->> 'node_id' COLLATE "C",
    e ->> 'id' COLLATE "C", e ->> 'model' COLLATE "C", e ->> 'vector_type' COLLATE "C", e ->> 'field_id' COLLATE "C") FROM jsonb_array_elements(r.value) AS e) AS in_order
FROM jsonb_each(:'ordered'::jsonb -> 'relations') AS r ORDER BY 1;
SELECT r.key AS record, jsonb_array_length(r.value) > 1 AS some, r.value = (SELECT jsonb_agg(e ORDER BY e) FROM jsonb_array_elements(r.value) AS e) AS in_order
FROM jsonb_each(:'ordered'::jsonb -> 'records') AS r WHERE r.key = 'audit_log';
SELECT :'ordered'::jsonb #>> '{relations,sessions,0,started_at}' ~ '[+]00:00$' AS utc, :'ordered'::jsonb ->> 'exported_at' ~ '[+]00:00$' AS exported;
SELECT memory.export_user_document('nobody') - 'exported_at' AS nobody;
SELECT count(*) > 5 AS erased FROM memory.erase_user_data('ord');

-- what is wrong is named, and nothing stays
\set VERBOSITY terse
CREATE TEMP TABLE bad (n serial, document jsonb);
INSERT INTO bad (document) SELECT d FROM (SELECT :'document'::jsonb AS good) AS g, LATERAL (VALUES
    ('[]'::jsonb), ('1'), ('null'), ('{}'), ('{"version": 1}'), ('{"version": 2, "relations": {}}'), ('{"version": "1", "relations": {}}'),
    ('{"version": 1, "relations": [], "user_id": "x"}'), (good || '{"more": 1}'), (jsonb_set(good, '{relations,audit_log}', '[]')), (jsonb_set(good, '{relations,events}', '{}')),
    (jsonb_set(good, '{relations,events,1}', '7')), (jsonb_set(good, '{relations,events,1,tenant_id}', '"x"')), (good #- '{relations,events,1,payload}'),
    (jsonb_set(good, '{relations,events,1,event_type}', '"mesage_user"')), (jsonb_set(good, '{relations,events,1,event_type}', '1')), (jsonb_set(good, '{relations,events,1,session_id}', '"none"')),
    (jsonb_set(good, '{relations,events,1,occurred_at}', '"noon"')), (jsonb_set(good, '{relations,events,1,payload}', '[]')), (jsonb_set(good, '{relations,events,1,payload}', 'null')),
    (jsonb_set(good, '{relations,events,1,event_id}', 'null')), (jsonb_insert(good, '{relations,events,0}', good #> '{relations,events,1}')),
    (jsonb_set(good, '{relations,nodes,0,base_relevance}', '2')), (jsonb_set(good, '{relations,nodes,0,tags}', '"t"')), (jsonb_set(good, '{relations,nodes,0,node_id}', '"x"')),
    (jsonb_set(good, '{relations,nodes,0,context_type}', '"none"')), (good #- '{relations,nodes}'),
    (jsonb_set(good, '{relations,embeddings,0,model}', '"document-x"')), (jsonb_set(good, '{relations,embeddings,0,embedding}', '"[1]"')), (jsonb_set(good, '{relations,embeddings,0,embedding}', '"[1,x,2]"')),
    (jsonb_set(good, '{relations,embeddings,0,model}', '1')), (jsonb_set(good, '{relations,embeddings,0,code}', '"\\x00"')),
    (jsonb_set(good, '{relations,relationships,0,strength}', '"NaN"')), (jsonb_set(good, '{relations,events,1,payload}', '{"_encrypted": "x"}')),
    (jsonb_set(good, '{relations,encrypted_fields,1,field_id}', '"x"')), (jsonb_set(good, '{relations,encrypted_fields,1,plaintext}', 'null')), (good #- '{relations,encrypted_fields,1,plaintext}'),
    (jsonb_set(good, '{relations,encrypted_fields,1,ciphertext}', '"\\x00"')), (jsonb_set(good, '{relations,encrypted_fields,1,created_at}', '"noon"')),
    (jsonb_set(good, '{relations,encrypted_fields,1,field}', '""')), (jsonb_insert(good, '{relations,encrypted_fields,0}', good #> '{relations,encrypted_fields,1}'))) AS v (d);
CREATE PROCEDURE pg_temp.try_all() LANGUAGE plpgsql AS $$
DECLARE b record; said text; code text;
BEGIN
    FOR b IN SELECT * FROM bad ORDER BY n LOOP
        BEGIN
            PERFORM memory.import_user_data(b.document, user_id => 'eve');
            RAISE WARNING '% was imported', b.n;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
            RAISE WARNING '% % %', b.n, code, said;
        END;
    END LOOP;
END
$$;
CALL pg_temp.try_all();
SELECT count(*) FROM memory.export_user_data('eve') WHERE relation <> 'audit_log';
\set VERBOSITY sqlstate
SELECT memory.import_user_data(NULL);
SELECT memory.import_user_data('{"version": 1, "relations": {}}');
SELECT memory.import_user_data('{"version": 1, "relations": {}}', user_id => '');
SELECT memory.import_user_data(:'document', 'document-c');
SELECT memory.import_user_data(:'document', 'document-none');
SELECT * FROM memory.import_user_data('{"version": 1, "relations": {}, "user_id": "nobody"}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT memory.import_user_data(:'document', user_id => 'eve');
ROLLBACK;
-- neither a user nor nobody
BEGIN;
SELECT memory.set_security_context('document-b', 'eve');
SELECT memory.import_user_data(:'document');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('document-b', 'eve');
SELECT memory.import_user_data('{"version": 1, "relations": {}}', user_id => 'eve');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('document-b', 'eve');
SELECT memory.export_user_document('eve');
ROLLBACK;
SELECT memory.clear_security_context();
SELECT memory.import_user_data(:'document', 'document-b', 'eve');
SELECT memory.export_user_document('ann', 'document-b');
RESET SESSION AUTHORIZATION;
SET ROLE document_app;
SELECT memory.import_user_data('{}');
SELECT memory.export_user_document('ann');
RESET ROLE;

SELECT count(*) FROM (SELECT memory.drop_embedding_space('document-m'), memory.drop_embedding_space('document-n')) AS x;
SELECT FROM unnest('{document-a,document-b,document-e}'::text[]) AS t, unnest('{ann,bea,eli,fay}'::text[]) AS u, LATERAL (SELECT count(*) FROM memory.erase_user_data(u, t)) AS e;
SELECT memory.revoke_access(r::regrole) FROM unnest('{document_service,document_app}'::text[]) r;
DELETE FROM memory.tenants WHERE slug LIKE 'document-%';
DROP OWNED BY document_service;
DROP ROLE document_service, document_app;
