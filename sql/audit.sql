-- The audit log.
CREATE FUNCTION memory.audit_change() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'tenants_changed';
COMMENT ON FUNCTION memory.audit_change() IS 'x';

SELECT memory.declare_table('memory.projects', 'shared', '{name, description, owner_id, metadata}');
SELECT memory.declare_table('memory.tenants', 'shared', '{slug, name, settings}');
SELECT memory.declare_table('memory.access_grants', 'shared');
