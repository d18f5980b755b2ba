-- Retention: how long each class of data is kept, and what removes the rest. src/retention/class.rs says which table a class is and
-- what counts as a row's age.

CREATE TABLE memory.retention_policies (
    tenant_id uuid NOT NULL,
    data_class text COLLATE "C" NOT NULL,
    keep interval NOT NULL CHECK (keep > '0'),
    action text COLLATE "C" NOT NULL DEFAULT 'delete' CHECK (action IN ('delete', 'anonymize')),
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, data_class)
);
COMMENT ON TABLE memory.retention_policies IS
    'How long a class of data is kept. A tenant''s own policy beats the general one, which stands under the all-zero tenant. Write with '
    'set_retention_policy(), drop_retention_policy().';
COMMENT ON COLUMN memory.retention_policies.tenant_id IS 'The tenant; all zero: everybody without a policy of their own.';
COMMENT ON COLUMN memory.retention_policies.data_class IS 'sessions, events, sessions_archive, and so on: see set_retention_policy().';
COMMENT ON COLUMN memory.retention_policies.keep IS 'How long; what is strictly older goes.';
COMMENT ON COLUMN memory.retention_policies.action IS 'delete or anonymize.';
COMMENT ON COLUMN memory.retention_policies.set_at IS 'When it was last set.';

SELECT memory.declare_table('memory.retention_policies', 'service');
SELECT memory.allow_table('service', 'SELECT', 'retention_policies');

-- What retention takes from the audit log is itself logged, as a count.
CREATE TRIGGER audit_delete AFTER DELETE ON memory.audit_log REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_change();
COMMENT ON TRIGGER audit_delete ON memory.audit_log IS 'Logs how many rows retention took.';

-- clean_expired() looks for them. Storing an entity again moves it only together with expires_at.
CREATE INDEX nodes_expires_at_idx ON memory.nodes (expires_at) WHERE expires_at IS NOT NULL;

-- All of these run as their owner: an operator has no context, no privilege on what goes, and nobody has one on the audit log.

CREATE FUNCTION memory.set_retention_policy(
    data_class text, keep interval, tenant text DEFAULT NULL, action text DEFAULT 'delete'
) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'set_retention_policy_wrapper';
COMMENT ON FUNCTION memory.set_retention_policy(text, interval, text, text) IS
    'From the next apply_retention() on, what is strictly older than keep goes. tenant NULL: for every tenant without a policy of its own. '
    'data_class and what its age is counted from: sessions (last activity, or the last event; their events go along), events (occurred_at, or '
    'when it was logged if that is earlier), sessions_archive (last_activity, else started_at, else when it was archived), events_archive '
    '(as events), nodes (created_at; their relationships go along), relationships (created_at), navigation (visited_at), audit_log '
    '(changed_at; 7 years without a policy), performance_metrics (recorded_at; anonymize has no effect: they are nobody''s). Whatever has no policy is kept. '
    '22023: an unknown class or action, keep not above zero in each of its parts or beyond 1000 years; P0002: an unknown tenant. '
    'action anonymize: rows become nobody''s, as anonymize_user_data() makes them, under pseudonyms made anew in each batch. An operator''s.';

CREATE FUNCTION memory.drop_retention_policy(data_class text, tenant text DEFAULT NULL) RETURNS boolean
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'drop_retention_policy_wrapper';
COMMENT ON FUNCTION memory.drop_retention_policy(text, text) IS
    'Takes a policy back, the general one where tenant is NULL; whether there was one. An operator''s. 22023: an unknown class; P0002: an '
    'unknown tenant.';

CREATE FUNCTION memory.list_retention_policies() RETURNS SETOF memory.retention_policies
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p FROM memory.retention_policies AS p ORDER BY p.data_class, p.tenant_id;
END;
COMMENT ON FUNCTION memory.list_retention_policies() IS
    'The policies, by class; the general one of each (all-zero tenant) first. An operator''s.';

CREATE FUNCTION memory.apply_retention(
    dry_run boolean DEFAULT false, batch_size integer DEFAULT 10000,
    OUT data_class text, OUT tenant_id uuid, OUT cutoff timestamptz, OUT affected bigint, OUT more boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'apply_retention_wrapper';
COMMENT ON FUNCTION memory.apply_retention(boolean, integer) IS
    'Removes or anonymises what the policies let go: of each class the oldest batch_size rows, for each tenant told with its cutoff. more: the tenant has '
    'more of them; call again. A tenant''s own policy is told even where nothing was due, of the general one only whom it affected. '
    'dry_run removes nothing and tells what a call would. Rows in use are skipped and held users passed over, so it neither waits for nor '
    'stops a writer, nor a second run, unless both take from sealed rows of the audit log within the same 64. The audit log gets counts; the images that it has of the rows go. Reads the table of each class '
    'that has a policy, and the audit log once where something goes. An operator''s. batch_size below 1 is 22023.';

CREATE FUNCTION memory.clean_expired(
    batch_size integer DEFAULT 10000, OUT relation text, OUT removed bigint, OUT more boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'clean_expired_wrapper';
COMMENT ON FUNCTION memory.clean_expired(integer) IS
    'Takes what has expired out of the hot tables: sessions with their events move to the archive, as run_archival() moves them; nodes are '
    'deleted with their relationships, but for those of held users. At most batch_size sessions and batch_size nodes; more: call again. '
    'Rows in use are skipped. Needs no policy. An operator''s. batch_size below 1 is 22023.';

CREATE FUNCTION memory.cleanup_old_nodes(user_id text, days integer, tenant text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cleanup_old_nodes_wrapper';
COMMENT ON FUNCTION memory.cleanup_old_nodes(text, integer, text) IS
    'Deletes the user''s nodes that were created strictly longer than days days ago (of the session''s time zone), ended ones too, with '
    'their relationships; gives how many nodes. The audit log gets counts, and the images that it has of them go. Waits for writers of '
    'these nodes. All of them in one call: reads the audit log once. days below 0 is 22023, a held user 55000, somebody whom the '
    'context does not cover 42501.';

CREATE FUNCTION memory.archive_old_audit_logs(days integer) RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'archive_old_audit_logs_wrapper';
COMMENT ON FUNCTION memory.archive_old_audit_logs(integer) IS
    'Deletes audit rows of more than days days ago, but none that retention keeps (set_retention_policy(''audit_log'', …), 7 years without '
    'one) and none of a held user; gives how many. Copy them elsewhere before, as a role with the profile auditor. Of the deletion the '
    'audit log has a count per tenant; that sealed rows were there stays proven (verify_audit_log()). An operator''s. days below 0 is 22023.';

SELECT memory.allow('app', 'cleanup_old_nodes');
SELECT memory.allow('operator', 'set_retention_policy', 'drop_retention_policy', 'list_retention_policies', 'apply_retention',
    'clean_expired', 'archive_old_audit_logs');
