-- Each function of sections 3 to 8 takes a scope, of contexts that were made from a token; so does what a statement does by itself.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE scopes_service LOGIN;
CREATE ROLE scopes_operator LOGIN;
INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-0000000000da', 'scopes-a');
SELECT FROM memory.grant_access('scopes_service', 'service');
SELECT FROM memory.grant_access('scopes_operator', 'service');
SELECT FROM memory.grant_access('scopes_operator', 'operator');
SELECT FROM memory.create_embedding_space('scopes', 3);
-- something to read
SELECT FROM memory.log_event('s', 'log', '{"m": 1}', 'e', tenant => 'scopes-a', user_id => 'u');
SELECT FROM memory.record_navigation('/', 'scopes-a', 'u');
SELECT FROM memory.set_preferences('{"m": 1}', 'scopes-a', 'u');
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES
    ('00000000-0000-7000-8000-0000000000da', 'u', '00000000-0000-7000-8000-000000000001', '{}', 'knowledge_atom'),
    ('00000000-0000-7000-8000-0000000000da', 'u', '00000000-0000-7000-8000-000000000002', '{}', 'knowledge_atom');
SELECT FROM memory.archive_session('scopes-a', 'u', 'old', '{}');
CREATE SCHEMA scopes_test;
GRANT USAGE ON SCHEMA scopes_test TO scopes_service, scopes_operator;
CREATE TABLE scopes_test.calls (n int GENERATED ALWAYS AS IDENTITY, takes text, call text, by_operator boolean DEFAULT false);
INSERT INTO scopes_test.calls (takes, call) VALUES
    ('write', $$save_session('s', user_id => 'u')$$),
    ('read', $$get_session('s', user_id => 'u')$$),
    ('write', $$end_session('s', user_id => 'u')$$),
    ('read', $$list_sessions()$$),
    ('write', $$log_event('s', 'log', '{}', user_id => 'u')$$),
    ('write', $$log_events('s', '[{"event_type": "log", "payload": {}}]', user_id => 'u')$$),
    ('write', $$log_events('s', '[]', user_id => 'u')$$),
    ('read', $$get_events('s')$$),
    ('write', $$set_preferences('{"a": 1}', user_id => 'u')$$),
    ('read', $$get_preferences(user_id => 'u')$$),
    ('write', $$record_navigation('/', user_id => 'u')$$),
    ('read', $$get_navigation(user_id => 'u')$$),
    ('archive', $$archive_session('scopes-a', 'u', 's', '{}')$$),
    ('archive', $$archive_event('scopes-a', 'u', 's', 'e', 'log', now(), '{}')$$),
    ('archive', $$archive_sessions('[{"tenant": "scopes-a", "user_id": "u", "session_id": "s", "payload": {}}]')$$),
    ('archive', $$archive_events('[]')$$),
    ('archive', $$log_performance_metric('scopes-a', 'retrieval', 'search', 1, 'ms')$$),
    ('archive and read', $$replay_session('old', 'scopes-a', 'u')$$),
    ('write', $$store_node('{}', 'knowledge_atom', user_id => 'u')$$),
    ('write', $$store_nodes('[{"content": {}, "context_type": "knowledge_atom"}]', user_id => 'u')$$),
    ('read', $$get_nodes('{00000000-0000-7000-8000-000000000001}')$$),
    ('read', $$list_nodes()$$),
    ('write', $$delete_nodes('{00000000-0000-7000-8000-000000000001}', user_id => 'u')$$),
    ('write', $$end_node('00000000-0000-7000-8000-000000000001', user_id => 'u')$$),
    ('write', $$touch_nodes('{00000000-0000-7000-8000-000000000001}', user_id => 'u')$$),
    ('write', $$store_relationship('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 'led_to', user_id => 'u')$$),
    ('write', $$store_relationships('[{"from_node_id": "00000000-0000-7000-8000-000000000001", "to_node_id": "00000000-0000-7000-8000-000000000002", "relationship_type": "led_to"}]', user_id => 'u')$$),
    ('write', $$end_relationship('00000000-0000-7000-8000-000000000001', user_id => 'u')$$),
    ('read', $$get_relationships('00000000-0000-7000-8000-000000000001')$$),
    ('read', $$traverse('{00000000-0000-7000-8000-000000000001}')$$),
    ('read', $$shortest_path('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002')$$),
    ('read', $$rank_related('{00000000-0000-7000-8000-000000000001}')$$),
    ('read', $$graph_dot('{00000000-0000-7000-8000-000000000001}')$$),
    ('read', $$graph_mermaid('{00000000-0000-7000-8000-000000000001}')$$),
    ('read', $$node_history('00000000-0000-7000-8000-000000000001')$$),
    ('read', $$node_changes('00000000-0000-7000-8000-000000000001', NULL, NULL)$$),
    ('read', $$node_places('{00000000-0000-7000-8000-000000000001}', user_id => 'u')$$),
    ('read', $$relationship_places('{00000000-0000-7000-8000-000000000001}', user_id => 'u')$$),
    ('read', $$node_as_of('00000000-0000-7000-8000-000000000001', now())$$),
    ('read', $$get_user_stats(user_id => 'u')$$),
    ('write', $$set_user_metadata('{"a": 1}', user_id => 'u')$$),
    ('read', $$get_user_metadata(user_id => 'u')$$),
    ('write', $$store_embedding('scopes', '00000000-0000-7000-8000-000000000001', '[1,2,3]', user_id => 'u')$$),
    ('write', $$store_embeddings('scopes', '{00000000-0000-7000-8000-000000000001}', '{"[1,2,3]"}', user_id => 'u')$$),
    ('read', $$nearest_nodes('[1,2,3]')$$),
    ('read', $$search('x')$$),
    ('read', $$search_nodes('x')$$),
    ('write', $$cleanup_old_nodes('u', 30)$$),
    ('write', $$make_user_key('00000000-0000-7000-8000-0000000000da', 'u')$$),
    ('admin', $$encrypt_field('u', 'f', 'x')$$),
    ('admin', $$decrypt_field(memory.encrypt_field('u', 'f', 'x'))$$),
    ('admin', $$decrypt_field('00000000-0000-7000-8000-000000000001')$$),
    ('admin', $$export_user_data('u')$$),
    ('admin', $$erase_user_data('u')$$),
    ('admin', $$anonymize_user_data('u')$$),
    ('admin', $$export_user_document('u')$$),
    ('admin', $$import_user_data('{"version": 1, "relations": {}}', user_id => 'nobody')$$),
    ('admin', $$request_privacy('export', 'u')$$),
    ('admin', $$perform_privacy_request(memory.request_privacy('export', 'u'))$$),
    ('admin', $$perform_privacy_request('00000000-0000-7000-8000-000000000001')$$),
    ('admin', $$refuse_privacy_request('00000000-0000-7000-8000-000000000001', 'x')$$),
    ('admin', $$list_privacy_requests()$$),
    ('admin', $$privacy_tenant(NULL)$$);
-- an operator who acts in the context of a token
INSERT INTO scopes_test.calls (takes, call, by_operator) SELECT 'admin', c, true FROM unnest(ARRAY[
    $$place_legal_hold('u', 'x')$$,
    $$lift_legal_hold(memory.place_legal_hold('u', 'x'))$$,
    $$rotate_master_key()$$,
    -- before the arguments are looked at
    $$place_legal_hold('u', '')$$,
    $$register_auth_key('scopes', 'none', 'x')$$,
    $$issue_service_token('x', 'scopes-a', '{}', '1 hour')$$,
    $$register_auth_key('scopes', 'HS256', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', audience => '*', scopes => '{read}')$$,
    $$issue_service_token('x', 'scopes-a', '{read}', '1 hour')$$,
    $$revoke_service_token((SELECT token_id FROM memory.list_service_tokens() LIMIT 1))$$,
    $$revoke_auth_key((SELECT key_id FROM memory.list_auth_keys() LIMIT 1))$$,
    $$set_retention_policy('nodes', '1 year', 'scopes-a')$$]) AS c;
-- every function that a back end may call is among them, but what belongs to the library, and what has no rows of anybody to give
SELECT p.object FROM memory.profile_privileges AS p
WHERE p.profile IN ('app', 'service') AND p.object LIKE 'FUNCTION %'
    AND NOT EXISTS (SELECT FROM scopes_test.calls AS c WHERE c.call LIKE substr(p.object, length('FUNCTION memory.') + 1) || '(%')
    AND substr(p.object, length('FUNCTION memory.') + 1) NOT IN (
        -- who is asking, and which tenants there are
        'authenticate', 'authenticate_request', 'set_security_context', 'clear_security_context', 'current_tenant_id', 'current_user_id',
        'current_session_id', 'current_service_name', 'service_tenant_id', 'context_user_low', 'context_user_high', 'subject', 'scope', 'writer', 'note_read',
        'archive_scope', 'tenant_id', 'resolve_canonical_tenant', 'resolve_canonical_tenants',
        -- checks and computations
        'check_needed', 'check_object', 'check_text', 'check_positive', 'check_interval', 'check_word', 'check_found', 'check_hold', 'may_remove', 'uuid_v7',
        'holds_at', 'holds_tags', 'merge_entity', 'check_end', 'check_direction', 'check_context_types', 'contains_text', 'is_similar',
        'embedding_code', 'overlay', 'encrypts', 'decrypted', 'readable_events', 'readable_nodes', 'readable_agent_events_archive')
ORDER BY 1;
-- what a statement does to a table by itself; rows that are not seen are as good as a refusal
CREATE TABLE scopes_test.statements (n int GENERATED ALWAYS AS IDENTITY, takes text, statement text);
INSERT INTO scopes_test.statements (takes, statement) VALUES
    ('read', 'SELECT FROM memory.events'),
    ('read', 'SELECT FROM memory.nodes'),
    ('archive or admin', 'SELECT FROM memory.agent_sessions_archive'),
    ('write', $$UPDATE memory.nodes SET summary = 'x' RETURNING 1$$),
    ('write', $$DELETE FROM memory.preferences RETURNING 1$$),
    ('write', $$INSERT INTO memory.navigation (tenant_id, user_id, path) VALUES ('00000000-0000-7000-8000-0000000000da', 'u', '/x') RETURNING 1$$),
    ('archive', $$UPDATE memory.agent_sessions_archive SET archived_at = now() RETURNING 1$$),
    ('archive', $$DELETE FROM memory.agent_sessions_archive RETURNING 1$$);

CREATE FUNCTION scopes_test.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    counted bigint := 0;
BEGIN
    BEGIN
        FOR counted IN EXECUTE format('%s', statement) LOOP EXIT; END LOOP;
        IF NOT FOUND THEN RETURN 'nothing'; END IF;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE WHEN sqlstate = 'ZZ000' THEN 'ok' WHEN sqlstate = '42501' AND sqlerrm ~ 'scope' THEN 'scope' ELSE sqlstate || ' ' || sqlerrm END;
    END;
END
$$;
CREATE TABLE scopes_test.results (scope text, kind text, n int, got text);
GRANT INSERT ON scopes_test.results TO scopes_service, scopes_operator;
CREATE TABLE scopes_test.tokens AS
    SELECT scope, memory.issue_service_token('tester', 'scopes-a', scope, '1 hour') AS token
    FROM (VALUES ('{read}'::text[]), ('{write}'), ('{archive}'), ('{admin}'), ('{archive,read}'), ('{read,write,archive,admin}')) AS v (scope);
GRANT SELECT ON ALL TABLES IN SCHEMA scopes_test TO scopes_service, scopes_operator;
CREATE FUNCTION scopes_test.try_all(by_operator boolean) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    t record;
    got record;
BEGIN
    FOR t IN SELECT * FROM scopes_test.tokens LOOP
        BEGIN
            PERFORM memory.authenticate(t.token);
            CREATE TEMP TABLE got AS
            SELECT 'call' AS kind, n, scopes_test.try('SELECT 1 FROM (SELECT count(*) FROM memory.' || call || ') AS c') AS got FROM scopes_test.calls WHERE by_operator = try_all.by_operator
            UNION ALL SELECT 'statement', n, scopes_test.try(CASE WHEN statement ~ '^SELECT' THEN replace(statement, 'SELECT', 'SELECT 1') ELSE statement END)
            FROM scopes_test.statements WHERE NOT try_all.by_operator;
            -- the savepoint takes the sealed context with it
            RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = (SELECT jsonb_agg(g)::text FROM got AS g);
        EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
            INSERT INTO scopes_test.results SELECT t.scope::text, r.kind, r.n, r.got FROM jsonb_populate_recordset(NULL::scopes_test.results, sqlerrm::jsonb) AS r;
        END;
    END LOOP;
END
$$;
\c - scopes_service
SELECT FROM scopes_test.try_all(false);
\c - scopes_operator
SELECT FROM scopes_test.try_all(true);
\c - postgres
-- which scopes let each through
SELECT c.takes, c.call, string_agg(r.scope, ' ' ORDER BY r.scope COLLATE "C") FILTER (WHERE got !~ '^(scope|42501)') AS through
FROM scopes_test.results AS r JOIN scopes_test.calls AS c ON r.kind = 'call' AND r.n = c.n GROUP BY c.n, c.takes, c.call ORDER BY c.n;
SELECT c.takes, c.statement, string_agg(r.scope, ' ' ORDER BY r.scope COLLATE "C") FILTER (WHERE got !~ '^(scope|nothing|42501)') AS through
FROM scopes_test.results AS r JOIN scopes_test.statements AS c ON r.kind = 'statement' AND r.n = c.n GROUP BY c.n, c.takes, c.statement ORDER BY c.n;
-- what came otherwise
SELECT DISTINCT coalesce(c.call, s.statement) AS what, r.got FROM scopes_test.results AS r
LEFT JOIN scopes_test.calls AS c ON r.kind = 'call' AND r.n = c.n LEFT JOIN scopes_test.statements AS s ON r.kind = 'statement' AND r.n = s.n
WHERE got NOT IN ('ok', 'scope', 'nothing') ORDER BY 1, 2;
SELECT count(*) > 0 AS recorded FROM memory.security_violations WHERE kind = 'missing_scope' AND login_role = 'scopes_service';
SET client_min_messages = warning;
DROP SCHEMA scopes_test CASCADE;
SELECT FROM memory.drop_embedding_space('scopes');
TRUNCATE memory.auth_keys, memory.service_tokens;
DROP OWNED BY scopes_service, scopes_operator;
DROP ROLE scopes_service, scopes_operator;
