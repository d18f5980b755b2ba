-- Objects of the attacker that carry our names, or PostgreSQL's, and come first in the search_path.
\set VERBOSITY sqlstate
CREATE SCHEMA attack_evil AUTHORIZATION attack_app;
GRANT USAGE ON SCHEMA attack_evil TO attack_service;
\c - attack_app
-- in pg_temp and in a schema of its own: tables, functions, operators, types, casts' functions
CREATE FUNCTION attack_evil.always(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION attack_evil.always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR attack_evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = attack_evil.always);
CREATE OPERATOR attack_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = attack_evil.always);
CREATE OPERATOR attack_evil.>= (LEFTARG = text, RIGHTARG = text, FUNCTION = attack_evil.always);
CREATE OPERATOR attack_evil.<= (LEFTARG = text, RIGHTARG = text, FUNCTION = attack_evil.always);
CREATE FUNCTION attack_evil.current_user_id() RETURNS text LANGUAGE sql AS $$ SELECT 'bob' $$;
CREATE FUNCTION attack_evil.current_tenant_id() RETURNS uuid LANGUAGE sql AS $$ SELECT '00000000-0000-7000-8000-00000000000b'::uuid $$;
CREATE FUNCTION attack_evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil as %', current_user; END $$;
CREATE FUNCTION attack_evil.has_privs(oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TABLE attack_evil.access_grants AS SELECT 'attack_app'::regrole AS grantee, 'service' AS profile, NULL::uuid[] AS tenants;
CREATE TABLE attack_evil.tenants AS SELECT '00000000-0000-7000-8000-00000000000b'::uuid AS id, 'attack-a' AS slug;
CREATE TABLE attack_evil.attack_notes (tenant_id uuid, user_id text, note text);
GRANT ALL ON ALL TABLES IN SCHEMA attack_evil TO PUBLIC;
GRANT ALL ON ALL FUNCTIONS IN SCHEMA attack_evil TO PUBLIC;

\c - attack_service
CREATE TEMP TABLE tenants AS SELECT '00000000-0000-7000-8000-00000000000b'::uuid AS id, 'attack-a' AS slug;
CREATE TEMP TABLE access_grants AS SELECT 'attack_service'::regrole AS grantee, 'service' AS profile, NULL::uuid[] AS tenants;
CREATE TYPE pg_temp.tenant_resolution AS (uuid uuid);
SET search_path = attack_evil, pg_temp, pg_catalog, memory, public;
-- the caller's own query is the caller's affair
SELECT current_user_id();
-- the resolver, the context's check and the policies are not
SELECT * FROM memory.resolve_canonical_tenant('attack-a');
SELECT memory.tenant_id('attack-a');
SELECT memory.set_security_context('attack-b', 'alice');
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM public.attack_notes) AS notes;
-- the attacker's own = is what it writes, behind the policy
SELECT note FROM public.attack_notes WHERE user_id = 'bob' ORDER BY 1;
SELECT note FROM public.attack_notes WHERE user_id OPERATOR(attack_evil.=) 'bob' ORDER BY 1;
SAVEPOINT s;
INSERT INTO public.attack_notes VALUES ('00000000-0000-7000-8000-00000000000a', 'bob', 'x');
ROLLBACK;
-- a plan made under a clean path is not replaced under an evil one, nor the other way round
\c - attack_app
SET search_path = attack_evil, pg_temp, pg_catalog;
SELECT memory.tenant_id('attack-a') = memory.tenant_id('attack-b') AS evil_equal;
SELECT * FROM memory.resolve_canonical_tenants('{attack-a,attack-b}');

-- what a superuser calls runs none of it
\c - postgres
SET search_path = attack_evil, pg_temp, pg_catalog, public;
SELECT FROM memory.grant_access('attack_nobody', 'app', '{attack-a}');
SELECT FROM memory.grant_access('attack_nobody', 'app', '{attack-b}');
SELECT grantee, profile, tenants, granted_at IS NOT NULL AS dated FROM memory.access_grants WHERE grantee OPERATOR(pg_catalog.=) 'attack_nobody'::regrole;
SELECT FROM memory.revoke_access('attack_nobody');
INSERT INTO memory.tenants (slug) VALUES ('attack-shadow');
UPDATE memory.tenants SET name = 'x' WHERE slug OPERATOR(pg_catalog.=) 'attack-shadow';
DELETE FROM memory.tenants WHERE slug OPERATOR(pg_catalog.=) 'attack-shadow';
SELECT count(*) FROM memory.tenants WHERE slug LIKE 'attack-%';
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA attack_evil CASCADE;
