-- Security violations: what was refused.

CREATE TABLE memory.security_violations (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text COLLATE "C" NOT NULL,
    detail text NOT NULL,
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C",
    service_name text COLLATE "C",
    named_user_id text COLLATE "C",
    actor_role text COLLATE "C" NOT NULL,
    login_role text COLLATE "C" NOT NULL,
    client_address inet,
    application_name text,
    pid integer NOT NULL
);
COMMENT ON TABLE memory.security_violations IS
    'What was refused: kept although the transaction that tried it was rolled back. Append-only. The server log has each row too.';
COMMENT ON COLUMN memory.security_violations.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.security_violations.occurred_at IS 'When.';
COMMENT ON COLUMN memory.security_violations.kind IS 
    'other_tenant, other_user, sealed_context, unknown_tenant, held_deletion, forged_token, refused_token, missing_scope or tampering.';
COMMENT ON COLUMN memory.security_violations.detail IS 'What was tried.';
COMMENT ON COLUMN memory.security_violations.tenant_id IS 'The context''s tenant; without a context that of the user who is named, else all zero.';
COMMENT ON COLUMN memory.security_violations.user_id IS 'The context''s user.';
COMMENT ON COLUMN memory.security_violations.service_name IS 'The context''s service.';
COMMENT ON COLUMN memory.security_violations.named_user_id IS
    'The user of the tenant that was named, if one was. A user is named here or in user_id, never in detail.';
COMMENT ON COLUMN memory.security_violations.actor_role IS 'The role that tried it, as SET ROLE says.';
COMMENT ON COLUMN memory.security_violations.login_role IS 'The role that logged in.';
COMMENT ON COLUMN memory.security_violations.client_address IS 'The client''s address; NULL over a Unix socket.';
COMMENT ON COLUMN memory.security_violations.application_name IS 'What the client called itself.';
COMMENT ON COLUMN memory.security_violations.pid IS 'The server process, as in the server log.';
ALTER TABLE memory.security_violations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.security_violations FOR SELECT
    USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.security_violations IS 'An auditor reads the tenants that it audits.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.security_violations
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.security_violations IS 'What has been recorded stays.';
CREATE TRIGGER audit_update AFTER UPDATE ON memory.security_violations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_change();
COMMENT ON TRIGGER audit_update ON memory.security_violations IS 'Logs how many rows were redacted.';
ALTER TABLE memory.security_violations ALTER COLUMN user_id SET STATISTICS 0,
    ALTER COLUMN named_user_id SET STATISTICS 0, ALTER COLUMN detail SET STATISTICS 0,
    ALTER COLUMN service_name SET STATISTICS 0, ALTER COLUMN client_address SET STATISTICS 0,
    ALTER COLUMN application_name SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('memory.security_violations', '');
SELECT memory.declare_personal('memory.security_violations', '{
    "user_id, named_user_id": "user", "client_address, application_name": "clear",
    "id, occurred_at, kind, detail, tenant_id, service_name, actor_role, login_role, pid": "keep"}', 'redact');
SELECT memory.allow_table('auditor', 'SELECT', 'security_violations');

-- Runs as its owner because nobody else has INSERT on the table; it takes nothing and tells nothing but a number.
CREATE FUNCTION memory.flush_security_violations() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'flush_security_violations_wrapper';
COMMENT ON FUNCTION memory.flush_security_violations() IS
    'Writes the violations of this database that wait in shared memory because no background worker was to be had (max_worker_processes): by a worker if '
    'there is one now, else in this transaction. Gives how many. Waits up to a second. Nothing waits as a rule: each violation is written when it '
    'happens. An operator''s, and an auditor''s.';
SELECT memory.allow('operator', 'flush_security_violations');
SELECT memory.allow('auditor', 'flush_security_violations');
