-- Out of a context that was made from a token: into another user, another tenant, another scope, a longer life.
\i input/data/mint.sql
SELECT FROM memory.register_auth_key('k1', 'HS256', mint.secret('a'), 'memory', 'issuer', '{attack-a}', '{read,write,archive,admin}', true);
SELECT FROM memory.register_auth_key('reads', 'HS256', mint.secret('r'), 'memory', 'issuer', '{attack-a}', '{read}');
CREATE FUNCTION mint.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    EXECUTE 'SELECT string_agg(x::text, '' '') FROM (' || statement || ') AS x' INTO seen;
    RETURN coalesce(seen, 'nothing');
EXCEPTION WHEN OTHERS THEN
    -- PostgreSQL 16 has other words for it
    RETURN sqlstate || ' ' || replace(sqlerrm, 'must be superuser or have privileges of pg_read_all_settings', 'permission denied');
END
$$;
CREATE FUNCTION mint.tries() RETURNS TABLE (try text, got text) LANGUAGE sql AS $$
    SELECT s, mint.try(s) FROM unnest(ARRAY[
        'SELECT DISTINCT user_id FROM memory.nodes',
        'SELECT memory.set_security_context(''attack-a'', ''bob'')',
        'SELECT memory.clear_security_context()',
        'SELECT memory.authenticate(mint.token(''{"sub": "bob"}'', home => ''attack-a''))',
        'SELECT memory.authenticate_request()',
        'SELECT set_config(''memory.context'', '''', true)',
        'SELECT set_config(''memory.context'', ''{"tenant":"00000000-0000-7000-8000-00000000000b","user":"bob"}'', false)',
        'SELECT set_config(''memory.token_leeway'', ''300'', false)',
        'SELECT set_config(''memory.trust_request_claims_from'', session_user, false)',
        'SELECT set_config(''request.jwt.claims'', ''{"sub":"bob"}'', false), memory.authenticate_request()',
        'SELECT query_to_xml(''SELECT memory.authenticate(mint.token(jsonb_build_object(''''sub'''', ''''bob'''')))'', true, true, '''')',
        'SELECT * FROM memory.list_nodes(tenant => ''attack-b'')',
        'SELECT DISTINCT user_id FROM memory.list_nodes(user_id => ''bob'')',
        'SELECT * FROM memory.get_events(''s'', tenant => ''attack-b'', user_id => ''bob'')',
        'SELECT memory.archive_session(''attack-b'', ''bob'', ''s'', ''{}'')',
        'SELECT * FROM memory.export_user_data(''bob'')',
        'SELECT memory.log_event(''s'', ''log'', ''{}'')',
        'SELECT count(*) FROM memory.auth_keys', 'SELECT count(*) FROM memory.service_tokens',
        'SELECT memory.revoke_auth_key(''k1'')', 'SELECT memory.issue_service_token(''x'', ''attack-b'', ''{admin}'', ''1 day'')',
        'SELECT memory.register_auth_key(''k2'', ''HS256'', mint.secret(''z''), ''*'', scopes => ''{admin}'')',
        'SELECT current_setting(''memory.context'', true)'
    ]) AS s
$$;
\c - attack_service
-- a user's token that reads
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice"}', 'reads', 'r', home => 'attack-a'));
SELECT * FROM mint.tries();
-- what resets settings waits until the seal goes
RESET ALL;
SET SESSION AUTHORIZATION DEFAULT;
SELECT memory.current_user_id(), mint.try('SELECT memory.log_event(''s'', ''log'', ''{}'')') AS stores;
COMMIT;
SELECT memory.current_tenant_id();
-- a service's token for one tenant, in a session whose role serves it too
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"service": "crawler", "scope": "read archive"}', home => 'attack-a'));
SELECT * FROM mint.tries() WHERE try ~ 'attack-b|bob|log_event|context|auth';
COMMIT;
-- a savepoint takes the seal back, and the context with it
BEGIN;
SAVEPOINT s;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice"}', 'reads', 'r', home => 'attack-a'));
ROLLBACK TO s;
SELECT memory.current_user_id();
COMMIT;
-- the token is nowhere to be read afterwards
\c - postgres
SELECT count(*) FROM memory.audit_log WHERE changes::text ~ 'eyJ' OR row_key::text ~ 'eyJ';
SELECT count(*) FROM memory.security_violations WHERE detail ~ 'eyJ';
SELECT name, setting FROM pg_settings WHERE setting ~ 'eyJ';
-- parallel workers ask as their leader does
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice", "scope": "read"}', home => 'attack-a'));
SET LOCAL ROLE attack_app;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SELECT DISTINCT user_id, note FROM attack_notes;
COMMIT;
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"service": "x", "scope": "archive"}', home => 'attack-a'));
SET LOCAL ROLE attack_app;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT DISTINCT user_id, note FROM attack_notes;
COMMIT;
SET client_min_messages = warning;
DROP SCHEMA mint CASCADE;
TRUNCATE memory.auth_keys, memory.service_tokens;
