-- Profiles: granted, replaced, revoked.
\set VERBOSITY sqlstate
CREATE ROLE regress_grantee LOGIN;
CREATE ROLE "Regress ""odd"" role";
-- what a role may do in the schema, as the catalog says it
CREATE FUNCTION regress_privileges(role regrole) RETURNS TABLE (kind text, privileges bigint, grantable bigint) LANGUAGE sql AS $$
    SELECT k.kind, count(*), count(*) FILTER (WHERE a.is_grantable)
    FROM (
        SELECT 'schema', nspacl FROM pg_namespace WHERE nspname = 'memory'
        UNION ALL SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, relacl FROM pg_class WHERE relnamespace = 'memory'::regnamespace
        UNION ALL SELECT 'function', proacl FROM pg_proc WHERE pronamespace = 'memory'::regnamespace
        UNION ALL SELECT 'type', typacl FROM pg_type WHERE typnamespace = 'memory'::regnamespace
        UNION ALL SELECT 'column', attacl FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'memory'::regnamespace
    ) AS k (kind, acl), aclexplode(k.acl) AS a
    WHERE a.grantee = role GROUP BY 1
$$;
CREATE FUNCTION regress_grants() RETURNS TABLE (grantee regrole, profile text, tenants text) LANGUAGE sql AS $$
    SELECT grantee, profile, (SELECT string_agg(right(t::text, 1), '') FROM unnest(tenants) AS t) FROM memory.access_grants
    WHERE grantee::text ILIKE '%regress_grantee%' OR grantee::text LIKE '%odd%' ORDER BY 1, 2
$$;

SELECT memory.grant_access('regress_grantee', 'app');
SELECT * FROM regress_grants();
SELECT kind, privileges > 0 AS some, grantable FROM regress_privileges('regress_grantee') ORDER BY 1;
-- exactly what is declared for the profile: nothing more, nothing less
CREATE FUNCTION regress_surplus(role name, VARIADIC profiles text[]) RETURNS TABLE (object text, privilege text, surplus boolean) LANGUAGE sql AS $$
    WITH declared AS (
        SELECT DISTINCT p.object, btrim(privilege) AS privilege
        FROM memory.profile_privileges AS p, regexp_split_to_table(p.privileges, ',') AS privilege
        WHERE p.profile = ANY (profiles) AND p.privileges !~ '\('
        UNION SELECT p.object || '.' || btrim(c), 'SELECT'
        FROM memory.profile_privileges AS p, regexp_split_to_table(substring(p.privileges FROM '\((.*)\)'), ',') AS c
        WHERE p.profile = ANY (profiles)
    ), granted AS (
        SELECT 'TABLE memory.' || relname, a.privilege_type FROM pg_class, aclexplode(relacl) AS a
        WHERE relnamespace = 'memory'::regnamespace AND a.grantee = role::regrole
        UNION SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END || ' memory.' || proname, a.privilege_type FROM pg_proc, aclexplode(proacl) AS a
        WHERE pronamespace = 'memory'::regnamespace AND a.grantee = role::regrole
        UNION SELECT 'TABLE memory.' || relname || '.' || attname, a.privilege_type
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid, aclexplode(attacl) AS a
        WHERE relnamespace = 'memory'::regnamespace AND a.grantee = role::regrole
    )
    SELECT g.*, true FROM (TABLE granted EXCEPT TABLE declared) AS g UNION ALL SELECT d.*, false FROM (TABLE declared EXCEPT TABLE granted) AS d
$$;
SELECT * FROM regress_surplus('regress_grantee', 'app');
-- again: the same
SELECT FROM memory.grant_access('regress_grantee', 'app');
SELECT * FROM regress_grants();

-- tenants are replaced; a second profile stands beside the first; service includes app
SELECT FROM memory.grant_access('regress_grantee', 'service', '{regress-a}');
SELECT * FROM regress_grants();
SELECT FROM memory.grant_access('regress_grantee', 'service', '{regress-b, 00000000-0000-7000-8000-00000000000A}');
SELECT * FROM regress_grants();
SELECT FROM memory.grant_access('regress_grantee', 'service');
SELECT * FROM regress_grants();
SELECT * FROM regress_surplus('regress_grantee', 'app', 'service');
SELECT FROM memory.revoke_access('regress_grantee');
SELECT FROM memory.grant_access('regress_grantee', 'service', '{regress-a}');
SELECT * FROM regress_surplus('regress_grantee', 'app', 'service');
\c - regress_grantee
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT memory.current_user_id();
ROLLBACK;
\c - postgres

-- revoked: nothing is left, and the role can go
SELECT FROM memory.revoke_access('regress_grantee');
SELECT * FROM regress_grants();
SELECT * FROM regress_privileges('regress_grantee');
SELECT FROM memory.revoke_access('regress_grantee');
SELECT FROM memory.grant_access('regress_grantee', 'auditor', '{regress-a}');
SELECT * FROM regress_surplus('regress_grantee', 'auditor');
SELECT FROM memory.revoke_access('regress_grantee');
SELECT FROM memory.grant_access('regress_grantee', 'operator');
SELECT * FROM regress_surplus('regress_grantee', 'operator');
-- an operator has no context to set, and sees no user's rows
\c - regress_grantee
SELECT memory.set_security_context('regress-a', 'alice');
SELECT memory.current_user_id();
SELECT memory.grant_access('regress_grantee', 'service');
\c - postgres
SELECT FROM memory.revoke_access('regress_grantee');
DROP ROLE regress_grantee;
-- a role that has access cannot be dropped before it is revoked
SELECT FROM memory.grant_access('"Regress ""odd"" role"', 'service', '{regress-a}');
SELECT * FROM regress_grants();
DROP ROLE "Regress ""odd"" role";
SELECT FROM memory.revoke_access('"Regress ""odd"" role"');
DROP ROLE "Regress ""odd"" role";
SELECT * FROM regress_grants();

-- errors: each leaves everything as it was
SELECT memory.grant_access(NULL, 'app');
SELECT memory.grant_access('regress_nobody', NULL);
SELECT memory.grant_access('regress_nobody', 'superuser');
SELECT memory.grant_access('regress_nobody', 'App');
SELECT memory.grant_access('regress_nobody', 'service', '{regress-a,regress-none}');
SELECT memory.grant_access('regress_nobody', 'service', '{NULL}');
SELECT memory.grant_access('regress_none', 'app');
SELECT memory.grant_access(4294967295::oid::regrole, 'app');
SELECT memory.revoke_access(NULL);
SELECT memory.revoke_access(4294967295::oid::regrole);
SELECT count(*) FROM memory.access_grants WHERE grantee = 'regress_nobody'::regrole;
SELECT * FROM regress_privileges('regress_nobody');
\set VERBOSITY default
SELECT memory.grant_access('regress_nobody', 'superuser');
SELECT memory.grant_access('regress_nobody', 'service', '{regress-none}');

DROP FUNCTION regress_privileges, regress_grants, regress_surplus;
