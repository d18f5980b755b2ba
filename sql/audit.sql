-- The audit log: who changed what, when. Written by one statement-level trigger function on every table of the extension.

CREATE TABLE memory.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    transaction_id xid8 NOT NULL,
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C",
    operation text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    row_key jsonb,
    changes jsonb,
    row_count bigint NOT NULL,
    actor_role text COLLATE "C" NOT NULL,
    login_role text COLLATE "C" NOT NULL,
    actor_tenant_id uuid,
    actor_user_id text COLLATE "C",
    actor_session_id text COLLATE "C",
    actor_service_name text COLLATE "C",
    client_address inet,
    application_name text
);
CREATE INDEX audit_log_changed_at_idx ON memory.audit_log USING brin (changed_at);
COMMENT ON TABLE memory.audit_log IS
    'Every change of the extension''s tables, however it came. Append-only, but for the redaction of users who were erased. One row per row changed; what the extension does in '
    'bulk (archival, retention, erasure) stands in one row per table, with its count and no images.';
COMMENT ON COLUMN memory.audit_log.id IS 'In the order of writing; a gap is a transaction that was rolled back.';
COMMENT ON COLUMN memory.audit_log.changed_at IS 'When.';
COMMENT ON COLUMN memory.audit_log.transaction_id IS 'The transaction; pg_current_xact_id() there.';
COMMENT ON COLUMN memory.audit_log.tenant_id IS 'Whose row it is; all zero where the row is no tenant''s.';
COMMENT ON COLUMN memory.audit_log.user_id IS 'Whose row it is; NULL where it is no user''s.';
COMMENT ON COLUMN memory.audit_log.operation IS 'INSERT, UPDATE, DELETE or TRUNCATE.';
COMMENT ON COLUMN memory.audit_log.table_name IS 'The table, in schema memory.';
COMMENT ON COLUMN memory.audit_log.row_key IS 'The row''s primary key.';
COMMENT ON COLUMN memory.audit_log.changes IS
    'INSERT: {"new": the row}; DELETE: {"old": the row}; UPDATE: {"old": …, "new": …}, the columns that changed.';
COMMENT ON COLUMN memory.audit_log.row_count IS 'How many rows this entry stands for.';
COMMENT ON COLUMN memory.audit_log.actor_role IS 'The role that did it, as SET ROLE says.';
COMMENT ON COLUMN memory.audit_log.login_role IS 'The role that logged in.';
COMMENT ON COLUMN memory.audit_log.actor_tenant_id IS 'The context''s tenant.';
COMMENT ON COLUMN memory.audit_log.actor_user_id IS 'The context''s user.';
COMMENT ON COLUMN memory.audit_log.actor_session_id IS 'The context''s session.';
COMMENT ON COLUMN memory.audit_log.actor_service_name IS 'The context''s service.';
COMMENT ON COLUMN memory.audit_log.client_address IS 'The client''s address; NULL over a Unix socket.';
COMMENT ON COLUMN memory.audit_log.application_name IS 'What the client called itself.';

-- The trigger writes as its owner: nobody else has INSERT on the log.
CREATE FUNCTION memory.audit_change() RETURNS trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'audit_change';
COMMENT ON FUNCTION memory.audit_change() IS
    'Trigger: writes memory.audit_log for the rows of a statement. Stands aside in a restore (session_user a superuser, '
    'row_security off).';

CREATE FUNCTION memory.audit_append_only() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'audit_append_only';
COMMENT ON FUNCTION memory.audit_append_only() IS 'Trigger: refuses every change of what has been logged (42501).';

-- Redaction goes past it, by a flag that only the functions of privacy set.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.audit_log IS 'What has been logged stays.';

-- What redaction changes is itself logged, as a count; as what retention takes is (sql/retention.sql).
CREATE TRIGGER audit_update AFTER UPDATE ON memory.audit_log REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_change();
COMMENT ON TRIGGER audit_update ON memory.audit_log IS 'Logs how many rows were redacted.';

-- For policies of auditors.
CREATE FUNCTION memory.audited_tenants() RETURNS uuid[]
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'audited_tenants_wrapper';
COMMENT ON FUNCTION memory.audited_tenants() IS
    'For policies: the tenants that the current role audits, by its profile auditor; all of them and the all-zero one where '
    'it was granted without tenants.';

ALTER TABLE memory.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.audit_log FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.audit_log IS 'An auditor reads the tenants that it audits.';
ALTER TABLE memory.audit_log ALTER COLUMN user_id SET STATISTICS 0, ALTER COLUMN row_key SET STATISTICS 0,
    ALTER COLUMN changes SET STATISTICS 0, ALTER COLUMN actor_user_id SET STATISTICS 0,
    ALTER COLUMN actor_session_id SET STATISTICS 0, ALTER COLUMN application_name SET STATISTICS 0,
    ALTER COLUMN client_address SET STATISTICS 0, ALTER COLUMN actor_service_name SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('memory.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('memory.audit_log', 'id'), '');
SELECT memory.declare_personal('memory.audit_log', '{
    "user_id, actor_user_id": "user", "actor_session_id": "pseudonym:session",
    "row_key, client_address, application_name": "clear", "changes": "images",
    "id, changed_at, transaction_id, tenant_id, operation, table_name, row_count, actor_role, login_role, actor_tenant_id": "keep",
    "actor_service_name": "keep"}', 'redact');
SELECT memory.allow_table('auditor', 'SELECT', 'audit_log');
SELECT memory.allow('auditor', 'audited_tenants');

SELECT memory.declare_table('memory.projects', 'shared', '{name, description, owner_id, metadata}');
SELECT memory.declare_table('memory.tenants', 'shared', '{slug, name, settings}');
SELECT memory.declare_table('memory.access_grants', 'shared');
