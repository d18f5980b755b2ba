-- Tables of tenants and projects: defaults, constraints, who may write.
\set VERBOSITY sqlstate
BEGIN;
INSERT INTO memory.tenants (slug) VALUES ('tables-acme');
SELECT substr(id::text, 15, 1) AS uuid_version, slug, project_id, name, isolation_level, encryption_enabled, settings,
    created_at = now() AS created, updated_at = now() AS updated
FROM memory.tenants WHERE slug = 'tables-acme';
INSERT INTO memory.projects (name) VALUES ('tables-project');
SELECT substr(id::text, 15, 1) AS uuid_version, name, description, owner_id, metadata FROM memory.projects WHERE name = 'tables-project';
-- ids ascend
SELECT bool_and(later > earlier) AS ascending
FROM (SELECT id AS later, lag(id) OVER (ORDER BY n) AS earlier FROM (SELECT n, memory.uuid_v7() AS id FROM generate_series(1, 10000) AS n) AS ids) AS pairs;
ROLLBACK;

-- slugs: lower case, 1 to 63 of [a-z0-9_-], no UUID in any form, not `system`, once
CREATE FUNCTION pg_temp.slug(candidate text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO memory.tenants (slug) VALUES (candidate);
    DELETE FROM memory.tenants WHERE slug = candidate;
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END
$$;
SELECT candidate, pg_temp.slug(candidate)
FROM unnest(ARRAY[
    'a', '0', '-', '_', 'a-b_c-9', repeat('z', 63), 'deadbeef', 'system1', '-system', 'a0eebc999c0b4ef8bb6d6bb9bd380a1',
    'a0eebc999c0b4ef8bb6d6bb9bd380a111', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g',
    '', ' ', 'A', 'aB', 'a b', ' a', 'a ', E'a\n', 'ä', 'a.b', 'a/b', '{a}', repeat('z', 64), repeat('z', 100000), 'system', 'System', NULL,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11', 'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11',
    'a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11']) WITH ORDINALITY AS c (candidate, n)
WHERE length(candidate) < 70 OR candidate IS NULL ORDER BY n;
SELECT pg_temp.slug(repeat('z', 100000));
-- a slug that PostgreSQL and the resolver would take for a UUID never gets in, whatever its hyphens
SELECT count(*) AS forms, count(*) FILTER (WHERE pg_temp.slug(form) = 'taken') AS taken, count(*) FILTER (WHERE form::uuid IS NOT NULL) AS uuids
FROM (
    SELECT string_agg(substr('a0eebc999c0b4ef8bb6d6bb9bd380a11', 4 * i + 1, 4) || CASE WHEN i < 7 AND mask & (1 << i) > 0 THEN '-' ELSE '' END, '' ORDER BY i) AS form
    FROM generate_series(0, 127) AS mask, generate_series(0, 7) AS i GROUP BY mask
) AS forms;

INSERT INTO memory.tenants (slug) VALUES ('tables-acme');
INSERT INTO memory.tenants (slug) VALUES ('tables-acme');
INSERT INTO memory.tenants (id, slug) SELECT id, 'tables-other' FROM memory.tenants WHERE slug = 'tables-acme';
UPDATE memory.tenants SET isolation_level = 'none' WHERE slug = 'tables-acme';
UPDATE memory.tenants SET isolation_level = 'federated', encryption_enabled = true, settings = '{"a": 1}', name = 'Acme' WHERE slug = 'tables-acme';
UPDATE memory.tenants SET settings = '[]' WHERE slug = 'tables-acme';
UPDATE memory.tenants SET settings = NULL WHERE slug = 'tables-acme';
UPDATE memory.tenants SET slug = 'System' WHERE slug = 'tables-acme';
UPDATE memory.tenants SET project_id = memory.uuid_v7() WHERE slug = 'tables-acme';
INSERT INTO memory.projects (name) VALUES (''), ('p');
INSERT INTO memory.projects (name, metadata) VALUES ('tables-p', '3');
INSERT INTO memory.projects (name) VALUES ('tables-p');
INSERT INTO memory.projects (name) VALUES ('tables-p');
UPDATE memory.tenants SET project_id = (SELECT id FROM memory.projects WHERE name = 'tables-p') WHERE slug = 'tables-acme';
DELETE FROM memory.projects WHERE name = 'tables-p';
SELECT slug, p.name AS project, isolation_level, encryption_enabled, settings
FROM memory.tenants t JOIN memory.projects p ON p.id = t.project_id WHERE slug = 'tables-acme';

-- operators write tenants and projects; app, service and auditor neither read nor write them
CREATE ROLE regress_tables_operator;
CREATE ROLE regress_tables_app;
CREATE ROLE regress_tables_service;
CREATE ROLE regress_tables_auditor;
CREATE ROLE regress_tables_nobody;
SELECT memory.grant_access('regress_tables_operator', 'operator');
SELECT memory.grant_access('regress_tables_app', 'app');
SELECT memory.grant_access('regress_tables_service', 'service');
SELECT memory.grant_access('regress_tables_auditor', 'auditor');
SELECT role, t.name, p.may
FROM unnest('{regress_tables_app,regress_tables_service,regress_tables_auditor,regress_tables_operator,regress_tables_nobody}'::text[]) WITH ORDINALITY AS r (role, n),
    unnest('{projects,tenants}'::text[]) AS t (name),
    LATERAL (
        SELECT string_agg(privilege, ', ') AS may
        FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
        WHERE has_table_privilege(role, 'memory.' || t.name, privilege)
    ) AS p
ORDER BY n, 2;
SET ROLE regress_tables_operator;
INSERT INTO memory.tenants (slug, name) VALUES ('tables-new', 'New');
UPDATE memory.tenants SET name = 'Newer' WHERE slug = 'tables-new' RETURNING name;
SELECT source FROM memory.resolve_canonical_tenant('tables-new');
DELETE FROM memory.tenants WHERE slug = 'tables-new';
SELECT source FROM memory.resolve_canonical_tenant('tables-new');
INSERT INTO memory.projects (name) VALUES ('tables-operator') RETURNING name;
DELETE FROM memory.projects WHERE name = 'tables-operator';
TRUNCATE memory.tenants CASCADE;
ALTER TABLE memory.tenants DISABLE TRIGGER cache;
SET ROLE regress_tables_service;
SELECT count(*) FROM memory.tenants;
INSERT INTO memory.tenants (slug) VALUES ('tables-new');
SET ROLE regress_tables_nobody;
SELECT memory.uuid_v7();
RESET ROLE;

SELECT memory.revoke_access(r) FROM unnest('{regress_tables_operator,regress_tables_app,regress_tables_service,regress_tables_auditor}'::regrole[]) AS r;
DROP ROLE regress_tables_operator, regress_tables_app, regress_tables_service, regress_tables_auditor, regress_tables_nobody;
DELETE FROM memory.tenants WHERE slug LIKE 'tables-%';
DELETE FROM memory.projects WHERE name LIKE 'tables-%';
