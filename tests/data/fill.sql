-- Every table gets rows; every function that writes is used, so that triggers and defaults have worked once. Statements end with a semicolon at
-- the end of a line; each is a transaction of its own.
CREATE ROLE backup_app;
CREATE ROLE backup_service;
INSERT INTO memory.projects (name) VALUES ('p');
INSERT INTO memory.tenants (slug, project_id) SELECT 'acme', id FROM memory.projects;
INSERT INTO memory.tenants (slug) VALUES ('globex');
SELECT memory.grant_access('backup_app', 'app');
SELECT memory.grant_access('backup_service', 'service', '{acme}');
SELECT memory.register_context_type('note', 'a word of one''s own'),
       memory.register_relationship_type('cites', ''), memory.register_event_type('clicked', NULL);
SELECT memory.set_security_context('acme', service_name => 'filler', is_local => false);
SELECT memory.log_events(s, (SELECT jsonb_agg(jsonb_build_object('event_id', i::text, 'event_type', 'clicked',
                                'payload', jsonb_build_object('i', i, 'text', E'\\ \t '' " é')))
                             FROM generate_series(1, 20) i), user_id => u)
FROM unnest('{a, b}'::text[]) u, unnest('{s1, s2}'::text[]) s;
SELECT memory.end_session('s1', user_id => 'a');
SELECT memory.run_archival();
SELECT memory.log_event('s1', 'clicked', '{}', user_id => 'a');
SELECT memory.set_preferences('{"theme": "dark"}', user_id => 'a'), memory.record_navigation('/home', user_id => 'a'),
       memory.set_user_metadata('{"n": 1}', user_id => 'a');
SELECT count(*) FROM memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('context_type', 'note', 'tags', '["x"]'::jsonb,
    'content', jsonb_build_object('entity_system', 'test', 'entity_id', i % 30, 'entity_data', jsonb_build_object('k' || i, i))))
    FROM generate_series(1, 60) i), user_id => 'a');
SELECT memory.store_relationships((SELECT jsonb_agg(jsonb_build_object('from_node_id', a.node_id, 'to_node_id', b.node_id,
    'relationship_type', 'cites', 'strength', 0.3)) FROM memory.nodes a, memory.nodes b WHERE a.entity_id < b.entity_id), user_id => 'a');
SELECT memory.create_embedding_space('a "model''s"', 3), memory.create_embedding_space('empty', 2, 'l2', 'half');
SELECT memory.store_embeddings('a "model''s"', array_agg(node_id), array_agg(ARRAY[1, right(entity_id, 1)::int, 3]::real[]::vector), user_id => 'a')
FROM memory.nodes WHERE user_id = 'a';
SELECT memory.end_node((SELECT node_id FROM memory.nodes LIMIT 1), user_id => 'a');
SELECT memory.set_search_language('acme', 'german');
SELECT memory.set_retention_policy('nodes', '1 year'), memory.set_retention_policy('audit_log', '10 years', 'acme');
SELECT length(memory.issue_service_token('filler', 'acme', '{read}', '1 day'));
SELECT memory.encrypt_field('a', 'iban', 'secret'), memory.encrypt_field('a', 'iban', 'other');
INSERT INTO memory.tenants (slug, encryption_enabled) VALUES ('sealed', true);
SELECT memory.clear_security_context();
SELECT memory.log_event('s1', 'clicked', '{"text": "the zebra"}', 'e', '2026-01-02', 'sealed', 'c'),
       memory.log_event('s2', 'clicked', '{"text": "another zebra"}', 'e', '2026-01-02', 'sealed', 'c'), memory.end_session('s2', 'sealed', 'c'),
       memory.store_node('{"entity_system": "zoo", "entity_id": 1, "text": "a zebra"}', 'note', tenant => 'sealed', user_id => 'c'),
       memory.store_node('{"entity_system": "zoo", "entity_id": 1, "more": "a zebra"}', 'note', tenant => 'sealed', user_id => 'c'),
       memory.archive_event('sealed', 'c', 's0', 'e', 'clicked', '2025-01-02', '{"text": "an old zebra"}');
SELECT memory.run_archival();
SELECT memory.set_security_context('acme', service_name => 'filler', is_local => false);
SELECT memory.revoke_service_token(token_id) FROM memory.list_service_tokens();
SELECT memory.place_legal_hold('b', 'case', 'acme');
SELECT memory.apply_retention(), memory.clean_expired();
INSERT INTO memory.data_access_log SELECT memory.uuid_v7(), now(), 'get_events', id, 'a', NULL, 'r', 'r', NULL, 'desk' FROM memory.tenants;
SELECT memory.seal_audit_log();
SELECT memory.log_event('s', 'clicked', '{}', user_id => 'gone');
SELECT memory.seal_audit_log();
SELECT memory.erase_user_data('gone', 'acme');
SELECT memory.register_auth_key('shop', 'HS256', encode(repeat('k', 32)::bytea, 'base64'), 'memory', 'issuer', '{acme}'),
       memory.register_auth_key('old', 'HS256', encode(repeat('o', 32)::bytea, 'base64'), '*'), memory.revoke_auth_key('old');
SELECT length(memory.issue_service_token('crawler', 'acme', '{read}', '1 day')) > 0;
SELECT memory.request_privacy('erase', 'b'), memory.refuse_privacy_request(memory.request_privacy('anonymize', 'a'), 'why');
SELECT memory.perform_privacy_request(memory.request_privacy('export', 'a'));
DO $$ BEGIN PERFORM memory.get_user_stats('globex', 'a'); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
