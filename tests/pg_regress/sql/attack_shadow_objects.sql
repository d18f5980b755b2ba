-- Objects of the attacker that carry our names, or PostgreSQL's, and come first in the search_path.
\set VERBOSITY sqlstate
CREATE SCHEMA regress_evil AUTHORIZATION regress_app;
GRANT USAGE ON SCHEMA regress_evil TO regress_service;
\c - regress_app
-- in pg_temp and in a schema of its own: tables, functions, operators, types, casts' functions
CREATE FUNCTION regress_evil.always(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION regress_evil.always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR regress_evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = regress_evil.always);
CREATE OPERATOR regress_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_evil.always);
CREATE OPERATOR regress_evil.>= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_evil.always);
CREATE OPERATOR regress_evil.<= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_evil.always);
CREATE FUNCTION regress_evil.current_user_id() RETURNS text LANGUAGE sql AS $$ SELECT 'bob' $$;
CREATE FUNCTION regress_evil.current_tenant_id() RETURNS uuid LANGUAGE sql AS $$ SELECT '00000000-0000-7000-8000-00000000000b'::uuid $$;
CREATE FUNCTION regress_evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil as %', current_user; END $$;
CREATE FUNCTION regress_evil.has_privs(oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TABLE regress_evil.access_grants AS SELECT 'regress_app'::regrole AS grantee, 'service' AS profile, NULL::uuid[] AS tenants;
CREATE TABLE regress_evil.tenants AS SELECT '00000000-0000-7000-8000-00000000000b'::uuid AS id, 'regress-a' AS slug;
CREATE TABLE regress_evil.regress_notes (tenant_id uuid, user_id text, note text);
GRANT ALL ON ALL TABLES IN SCHEMA regress_evil TO PUBLIC;
GRANT ALL ON ALL FUNCTIONS IN SCHEMA regress_evil TO PUBLIC;

\c - regress_service
CREATE TEMP TABLE tenants AS SELECT '00000000-0000-7000-8000-00000000000b'::uuid AS id, 'regress-a' AS slug;
CREATE TEMP TABLE access_grants AS SELECT 'regress_service'::regrole AS grantee, 'service' AS profile, NULL::uuid[] AS tenants;
CREATE TYPE pg_temp.tenant_resolution AS (uuid uuid);
SET search_path = regress_evil, pg_temp, pg_catalog, memory, public;
-- the caller's own query is the caller's affair
SELECT current_user_id();
-- the resolver, the context's check and the policies are not
SELECT * FROM memory.resolve_canonical_tenant('regress-a');
SELECT memory.tenant_id('regress-a');
SELECT memory.set_security_context('regress-b', 'alice');
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM public.regress_notes) AS notes;
-- the attacker's own = is what it writes, behind the policy
SELECT note FROM public.regress_notes WHERE user_id = 'bob' ORDER BY 1;
SELECT note FROM public.regress_notes WHERE user_id OPERATOR(regress_evil.=) 'bob' ORDER BY 1;
SAVEPOINT s;
INSERT INTO public.regress_notes VALUES ('00000000-0000-7000-8000-00000000000a', 'bob', 'x');
ROLLBACK;
-- a plan made under a clean path is not replaced under an evil one, nor the other way round
\c - regress_app
SET search_path = regress_evil, pg_temp, pg_catalog;
SELECT memory.tenant_id('regress-a') = memory.tenant_id('regress-b') AS evil_equal;
SELECT * FROM memory.resolve_canonical_tenants('{regress-a,regress-b}');

-- what a superuser calls runs none of it
\c - postgres
SET search_path = regress_evil, pg_temp, pg_catalog, public;
SELECT FROM memory.grant_access('regress_nobody', 'app', '{regress-a}');
SELECT FROM memory.grant_access('regress_nobody', 'app', '{regress-b}');
SELECT grantee, profile, tenants, granted_at IS NOT NULL AS dated FROM memory.access_grants WHERE grantee OPERATOR(pg_catalog.=) 'regress_nobody'::regrole;
SELECT FROM memory.revoke_access('regress_nobody');
INSERT INTO memory.tenants (slug) VALUES ('regress-shadow');
UPDATE memory.tenants SET name = 'x' WHERE slug OPERATOR(pg_catalog.=) 'regress-shadow';
DELETE FROM memory.tenants WHERE slug OPERATOR(pg_catalog.=) 'regress-shadow';
SELECT count(*) FROM memory.tenants WHERE slug LIKE 'regress-%';
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_evil CASCADE;
