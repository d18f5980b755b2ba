-- The access log: reads through the extension's functions.

CREATE TABLE memory.data_access_log (
    id uuid PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    function_name text COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C",
    row_count bigint,
    actor_role text COLLATE "C" NOT NULL,
    login_role text COLLATE "C" NOT NULL,
    actor_user_id text COLLATE "C",
    actor_service_name text COLLATE "C"
);
COMMENT ON TABLE memory.data_access_log IS
    'Reads through the extension''s functions, as memory.log_reads says: off, sampled (one in a hundred) or full. Append-only. Written by a background '
    'worker, a second later or with the next read; a crash loses what it had not written. Not from standbys, nor without shared_preload_libraries.';
COMMENT ON COLUMN memory.data_access_log.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.data_access_log.occurred_at IS 'When.';
COMMENT ON COLUMN memory.data_access_log.function_name IS 'The function, in schema memory.';
COMMENT ON COLUMN memory.data_access_log.tenant_id IS 'Whose data: the tenant.';
COMMENT ON COLUMN memory.data_access_log.user_id IS 'Whose data; NULL: of the whole tenant, or of a user who was erased since.';
COMMENT ON COLUMN memory.data_access_log.row_count IS 'How many rows were given; NULL where the function does not count them (those that are SQL).';
COMMENT ON COLUMN memory.data_access_log.actor_role IS 'The role that read, as SET ROLE says.';
COMMENT ON COLUMN memory.data_access_log.login_role IS 'The role that logged in.';
COMMENT ON COLUMN memory.data_access_log.actor_user_id IS 'The context''s user.';
COMMENT ON COLUMN memory.data_access_log.actor_service_name IS 'The context''s service.';
CREATE INDEX data_access_log_occurred_at_idx ON memory.data_access_log USING brin (occurred_at);

ALTER TABLE memory.data_access_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.data_access_log FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.data_access_log IS 'An auditor reads the tenants that it audits.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.data_access_log
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.data_access_log IS 'What has been logged stays.';
CREATE TRIGGER audit_update AFTER UPDATE ON memory.data_access_log REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_change();
COMMENT ON TRIGGER audit_update ON memory.data_access_log IS 'Logs how many rows were redacted.';
ALTER TABLE memory.data_access_log ALTER COLUMN user_id SET STATISTICS 0, ALTER COLUMN actor_user_id SET STATISTICS 0,
    ALTER COLUMN actor_service_name SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('memory.data_access_log', '');
SELECT memory.declare_personal('memory.data_access_log', '{
    "user_id, actor_user_id": "user",
    "id, occurred_at, function_name, tenant_id, row_count, actor_role, login_role, actor_service_name": "keep"}', 'redact');

CREATE FUNCTION memory.note_read(function_name text, tenant text, user_id text) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'note_read';
COMMENT ON FUNCTION memory.note_read(text, text, text) IS
    'Internal: logs a read by a function of these arguments, where memory.log_reads says so; true.';

-- Runs as its owner because nobody else has INSERT on the table; it takes nothing and tells nothing but a number.
CREATE FUNCTION memory.flush_data_access_log() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'flush_data_access_log_wrapper';
COMMENT ON FUNCTION memory.flush_data_access_log() IS
    'Writes the reads of this database that wait in shared memory: by a worker if there is one to be had, else in this transaction. Gives how many. '
    'Waits up to a second. An operator''s, and an auditor''s.';
SELECT memory.allow('app', 'note_read');
SELECT memory.allow('operator', 'flush_data_access_log');
SELECT memory.allow('auditor', 'flush_data_access_log');
SELECT memory.allow_table('auditor', 'SELECT', 'data_access_log');
