-- The setting that holds the context is nobody's to set, by any of PostgreSQL's ways to set a setting.
\set VERBOSITY sqlstate
\c - attack_app
SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
SET LOCAL memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
SET "Memory.Context" = '';
SET memory.context TO DEFAULT;
SELECT set_config('memory.context', '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}', false);
SELECT set_config('memory.context', '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}', true);
SELECT set_config('MEMORY.CONTEXT', '', true);
UPDATE pg_settings SET setting = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}' WHERE name = 'memory.context';
CREATE FUNCTION pg_temp.forges() RETURNS text LANGUAGE sql SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}'
    AS 'SELECT memory.current_user_id()';
SELECT pg_temp.forges();
-- nor can settings of other names be made up
SET memory.tenant = 'attack-a';
SET memory.current_tenant_id = '00000000-0000-7000-8000-00000000000a';
SET memory.sealed = off;
SELECT set_config('memory.current_user_id', 'alice', false);
SET app.current_tenant_id = '00000000-0000-7000-8000-00000000000a';
SELECT memory.current_tenant_id() IS NULL AS none, (SELECT count(*) FROM attack_notes) AS notes;
-- and nobody reads it
SHOW memory.context;
SELECT current_setting('memory.context');
SELECT count(*) FROM pg_settings WHERE name LIKE 'memory.context%';

-- the functions are not app's, whatever their arguments; a service's are for its tenants
SELECT memory.set_security_context('attack-a', 'alice');
SELECT memory.clear_security_context();
SELECT memory.grant_access('attack_app', 'service');
INSERT INTO memory.access_grants (grantee, profile) VALUES ('attack_app', 'service');
SELECT count(*) FROM memory.access_grants;
UPDATE memory.profile_privileges SET profile = 'app';
SELECT memory.declare_table('attack_notes', 'shared');
SET ROLE attack_service;
SET SESSION AUTHORIZATION attack_service;
\c - attack_nobody
SELECT memory.current_tenant_id();
SELECT memory.set_security_context('attack-a', 'alice');
SELECT count(*) FROM attack_notes;
SET memory.context = '';

-- a superuser may, by SET as by function, but not what is no context
\c - postgres
SET memory.context = 'alice';
SET memory.context = '{"tenant": "attack-a", "user": "alice"}';
SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice", "sealed": true}';
SET memory.context = '{"user": "alice"}';
SELECT memory.current_user_id() IS NULL AS none;
