-- The rules that hold for every function and table (contract, section 0), asked of the catalog: each is a view of what
-- breaks it, so it goes on holding when tables and functions are added. Afterwards something is made that breaks each.
SET search_path = pg_catalog, pg_temp;
-- What is made at run time is like what was there from the first.
SELECT memory.create_embedding_space('regress catalog', 3);

-- Tables of all tenants: keyed by an id of their own, without the policy of the context.
CREATE TEMP TABLE tables_of_all (name text PRIMARY KEY, audited boolean, why text);
INSERT INTO tables_of_all VALUES
    ('projects', true, 'groups tenants'), ('tenants', true, 'the tenants'), ('access_grants', true, 'roles'),
    ('profile_privileges', false, 'constant'), ('personal_columns', false, 'constant'), ('context_types', true, 'words for all'), ('event_types', true, 'words for all'),
    ('auth_keys', true, 'keys for all'), ('service_tokens', true, 'read by auditors'),
    ('relationship_types', true, 'words for all'), ('embedding_spaces', true, 'models for all'),
    ('audit_log', false, 'is the audit'), ('audit_seals', false, 'proves the audit'), ('audit_leaves', false, 'proves the audit'), ('data_access_log', false, 'is an audit'), ('security_violations', false, 'is an audit'),
    ('privacy_requests', true, 'auditors read it'), ('schema_expectation', false, 'constant'), ('job_runs', false, 'what the jobs did'), ('jobs', false, 'what the jobs did'),
    ('performance_metrics', false, 'measurements, nobody''s data');
-- What triggers derive from audited tables, and nobody else may write: not audited itself.
CREATE TEMP TABLE derived (name text PRIMARY KEY, why text);
INSERT INTO derived VALUES ('search_documents', 'the words of nodes');
-- Functions that run as their owner, each for a reason.
CREATE TEMP TABLE definers (signature text PRIMARY KEY, why text);
INSERT INTO definers VALUES
    ('memory.audit_change()', 'nobody else has INSERT on the log'),
    ('memory.node_changes(uuid,text,text)', 'only auditors read the log'),
    ('memory.make_user_key(uuid,text)', 'who may use a key may not write one'),
    ('memory.rotate_master_key()', 'an operator sees no keys'),
    ('memory.run_archival(interval,integer)', 'an operator moves what it may not read'),
    ('memory.export_user_data(text,text)', 'reads the audit log for the service of its tenant'),
    ('memory.erase_user_data(text,text)', 'redacts the audit log for the service of its tenant'),
    ('memory.anonymize_user_data(text,text)', 'redacts the audit log for the service of its tenant'),
    ('memory.place_legal_hold(text,text,text)', 'an operator has no context'),
    ('memory.lift_legal_hold(uuid)', 'an operator has no context'),
    ('memory.list_legal_holds(text)', 'an operator has no context'),
    ('memory.set_retention_policy(text,interval,text,text)', 'an operator has no context'),
    ('memory.drop_retention_policy(text,text)', 'an operator has no context'),
    ('memory.list_retention_policies()', 'an operator has no context'),
    ('memory.apply_retention(boolean,integer)', 'an operator removes what it may not read'),
    ('memory.clean_expired(integer)', 'an operator removes what it may not read'),
    ('memory.archive_old_audit_logs(integer)', 'nobody else has DELETE on the log'),
    ('memory.cleanup_old_nodes(text,integer,text)', 'redacts the log'),
    ('memory.flush_data_access_log()', 'nobody else has INSERT on the table'),
    ('memory.seal_audit_log()', 'nobody else writes seals'), ('memory.audit_head()', 'an auditor of one tenant reads no seals'),
    ('memory.verify_audit_log(text)', 'an auditor of one tenant verifies the rows of all'),
    ('memory.documents_follow()', 'nobody else may write documents'),
    ('memory.set_search_language(text,regconfig)', 'an operator has no context'),
    ('memory.rebuild_search_documents(text,integer)', 'an operator has no context, and may not read what is rebuilt'),
    ('memory.create_embedding_space(text,integer,text,text)', 'an operator may not make tables'),
    ('memory.drop_embedding_space(text)', 'an operator may not drop tables'),
    ('memory.index_embeddings(integer,integer)', 'an operator moves what it may not read'),
    ('memory.flush_security_violations()', 'nobody else has INSERT on the violations'),
    ('memory.register_auth_key(text,text,text,text,text,text[],text[],boolean,timestamp with time zone)', 'an operator reads no keys'),
    ('memory.revoke_auth_key(text)', 'an operator reads no keys'),
    ('memory.issue_service_token(text,text,text[],interval)', 'an operator reads no keys'),
    ('memory.revoke_service_token(uuid)', 'an operator may not take a revocation back'),
    ('memory.list_service_tokens(text)', 'an operator has no context'),
    ('memory.request_privacy(text,text,interval,text)', 'a receipt is nobody''s to write'),
    ('memory.perform_privacy_request(uuid,text)', 'a receipt is nobody''s to write'),
    ('memory.refuse_privacy_request(uuid,text,text)', 'a receipt is nobody''s to write'),
    ('memory.list_privacy_requests(text,boolean,text)', 'only auditors read the table'),
    ('memory.repair_schema(boolean)', 'an operator owns no table'),
    ('memory.health()', 'an operator may not read what it looks at'), ('memory.verify()', 'an operator has no context, and reads no audit log'),
    ('memory.run_job(text)', 'an operator may not read what the jobs look at'),
    ('memory.note_job_run(text,double precision,bigint,bigint,text)', 'nobody else writes what the jobs did'),
    ('memory.metrics()', 'an operator may not read what it measures'),
    ('memory.performance_summary(timestamp with time zone)', 'an operator has no context'),
    ('memory.get_tenant_memory_usage(text)', 'an operator has no context'),
    ('memory.refresh_analytics_views()', 'an operator owns no views');
-- Columns of text, jsonb and the like that may have statistics: words from a list, names that the extension gives.
CREATE TEMP TABLE words (col text PRIMARY KEY);
INSERT INTO words VALUES
    ('access_grants.profile'), ('tenants.isolation_level'), ('profile_privileges.profile'), ('profile_privileges.object'),
    ('profile_privileges.privileges'), ('audit_log.operation'), ('audit_log.table_name'), ('audit_log.actor_role'),
    ('audit_log.login_role'), ('security_violations.kind'), ('security_violations.actor_role'),
    ('security_violations.login_role'), ('data_access_log.function_name'), ('data_access_log.actor_role'), ('data_access_log.login_role'), ('context_types.name'), ('event_types.name'), ('relationship_types.name'),
    ('personal_columns.relation'), ('personal_columns.column_name'), ('personal_columns.treatment'), ('personal_columns.erasure'),
    ('sessions.status'), ('nodes.tier'), ('auth_keys.algorithm'),
    ('legal_holds.placed_by'), ('legal_holds.lifted_by'),
    ('privacy_requests.kind'), ('privacy_requests.state'), ('privacy_requests.requested_by'), ('privacy_requests.finished_by'),
    ('retention_policies.data_class'), ('retention_policies.action'),
    ('job_runs.job'), ('job_runs.error'), ('jobs.job'), ('jobs.last_error'),
    ('embedding_spaces.model'), ('embedding_spaces.relation'), ('embedding_spaces.distance'), ('embedding_spaces.quantization');

CREATE TEMP VIEW relations AS
    SELECT c.*, a.attnum AS tenant_column, u.attnum AS user_column
    FROM pg_class AS c
    LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    LEFT JOIN pg_attribute AS u ON u.attrelid = c.oid AND u.attname = 'user_id' AND NOT u.attisdropped
    WHERE c.relnamespace = 'memory'::regnamespace;
CREATE TEMP VIEW tenant_tables AS
    SELECT * FROM relations WHERE relkind IN ('r', 'p') AND relname NOT IN (SELECT name FROM tables_of_all);
CREATE TEMP VIEW functions AS SELECT * FROM pg_proc WHERE pronamespace = 'memory'::regnamespace;

CREATE TEMP VIEW a_table_is_a_tenants_or_listed AS
    SELECT relname::text AS breaks FROM tenant_tables WHERE tenant_column IS NULL;
CREATE TEMP VIEW tenant_and_user_are_never_null AS
    SELECT relname || '.' || attname AS breaks FROM tenant_tables AS t JOIN pg_attribute AS a ON attrelid = t.oid
    WHERE attnum IN (tenant_column, user_column) AND NOT attnotnull;
CREATE TEMP VIEW unique_keys_start_with_tenant_and_user AS
    SELECT relname || ': ' || i.indexrelid::regclass AS breaks FROM tenant_tables AS t JOIN pg_index AS i ON i.indrelid = t.oid
    WHERE i.indisunique AND (
        i.indkey[0] IS DISTINCT FROM t.tenant_column OR t.user_column IS NOT NULL AND i.indkey[1] IS DISTINCT FROM t.user_column
    )
    UNION ALL SELECT relname || ': no primary key' FROM tenant_tables AS t
    WHERE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = t.oid AND i.indisprimary);
CREATE TEMP VIEW foreign_keys_start_with_tenant_and_user AS
    SELECT t.relname || ': ' || conname AS breaks
    FROM tenant_tables AS t JOIN pg_constraint AS c ON conrelid = t.oid AND contype = 'f'
    JOIN relations AS r ON r.oid = confrelid
    WHERE r.relname NOT IN (SELECT name FROM tables_of_all) AND (
        conkey[1] IS DISTINCT FROM t.tenant_column OR confkey[1] IS DISTINCT FROM r.tenant_column
        OR t.user_column IS NOT NULL AND r.user_column IS NOT NULL
            AND (conkey[2] IS DISTINCT FROM t.user_column OR confkey[2] IS DISTINCT FROM r.user_column)
    );
CREATE TEMP VIEW row_level_security_is_enabled_and_forced AS
    SELECT relname::text AS breaks FROM tenant_tables WHERE NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL SELECT relname::text FROM relations
    WHERE relkind IN ('r', 'p') AND tenant_column IS NOT NULL AND NOT (relrowsecurity AND relforcerowsecurity);
CREATE TEMP VIEW a_table_has_one_policy_without_or AS
    SELECT relname || ': ' || count(polname) || ' policies' AS breaks
    FROM relations AS t LEFT JOIN pg_policy AS p ON polrelid = t.oid
    WHERE relkind IN ('r', 'p') AND relrowsecurity GROUP BY relname HAVING count(polname) <> 1
    UNION ALL SELECT relname || ': ' || polname
    FROM relations AS t JOIN pg_policy AS p ON polrelid = t.oid
    WHERE pg_get_expr(polqual, polrelid) ~ '\mOR\M' OR pg_get_expr(polwithcheck, polrelid) ~ '\mOR\M'
        OR pg_get_expr(polqual, polrelid) ~ '\mCASE|coalesce\M' OR polqual IS NULL OR polroles <> '{0}' OR NOT polpermissive
    UNION ALL SELECT t.relname || ': ' || polname || ' is not the context''s'
    FROM tenant_tables AS t JOIN pg_policy AS p ON polrelid = t.oid
    WHERE polcmd <> '*' OR pg_get_expr(polqual, polrelid) IS DISTINCT FROM pg_get_expr(polwithcheck, polrelid)
        OR pg_get_expr(polqual, polrelid) NOT IN (
            '((tenant_id = memory.current_tenant_id()) AND ((user_id >= memory.context_user_low()) AND (user_id <= memory.context_user_high())))',
            '(tenant_id = memory.service_tenant_id())', '(tenant_id = memory.current_tenant_id())');
CREATE TEMP VIEW nothing_is_public AS
    SELECT k.kind || ' ' || k.name || ': ' || a.privilege_type AS breaks
    FROM (
        SELECT 'schema', nspname::text, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE nspname = 'memory'
        UNION ALL SELECT 'relation', relname, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM relations
        UNION ALL SELECT 'column', relname || '.' || attname, attacl FROM relations AS c JOIN pg_attribute ON attrelid = c.oid
        UNION ALL SELECT 'function', oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) FROM functions
        UNION ALL SELECT 'type', typname, coalesce(typacl, acldefault('T', typowner)) FROM pg_type
            WHERE typnamespace = 'memory'::regnamespace AND typcategory <> 'A'
                -- pg_dump carries no privileges of a table's row type
                AND typname NOT IN (SELECT relation FROM memory.embedding_spaces)
    ) AS k (kind, name, acl), aclexplode(k.acl) AS a
    WHERE a.grantee = 0;
CREATE TEMP VIEW nobody_owns_anything_but_the_installing_role AS
    SELECT k.name AS breaks
    FROM (
        SELECT relname::text, relowner FROM relations UNION ALL SELECT oid::regprocedure::text, proowner FROM functions
        UNION ALL SELECT typname, typowner FROM pg_type WHERE typnamespace = 'memory'::regnamespace
        UNION ALL SELECT nspname, nspowner FROM pg_namespace WHERE nspname = 'memory'
    ) AS k (name, owner)
    WHERE owner <> (SELECT extowner FROM pg_extension WHERE extname = 'memory_ext');
CREATE TEMP VIEW no_profile_may_more_than_use AS
    SELECT profile || ': ' || privileges || ' ON ' || object AS breaks FROM memory.profile_privileges
    WHERE privileges !~ '^(SELECT|INSERT|UPDATE|DELETE|EXECUTE|USAGE)(, (SELECT|INSERT|UPDATE|DELETE))*$|^SELECT \([a-z_, ]+\)$'
        OR object !~ '^(TABLE|FUNCTION|PROCEDURE|SEQUENCE|TYPE) memory\.[a-z0-9_]+(\(.*\))?$';
CREATE TEMP VIEW the_security_definers_are_these AS
    SELECT p.oid::regprocedure || ' is not listed' AS breaks FROM functions AS p
    WHERE prosecdef AND p.oid::regprocedure::text NOT IN (SELECT signature FROM definers)
    UNION ALL SELECT signature || ' is listed' FROM definers
    WHERE NOT EXISTS (SELECT FROM functions WHERE prosecdef AND oid::regprocedure::text = signature)
    UNION ALL SELECT p.oid::regprocedure || ' pins no search_path' FROM functions AS p
    WHERE prosecdef AND NOT coalesce(proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}';
CREATE TEMP VIEW member_tables_are_dumped AS
    SELECT relname::text AS breaks FROM relations AS c
    WHERE relkind IN ('r', 'p', 'S') AND relname NOT IN ('profile_privileges', 'personal_columns', 'schema_expectation')
        AND EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
        AND NOT c.oid = ANY ((SELECT extconfig FROM pg_extension WHERE extname = 'memory_ext')::oid[]);
CREATE TEMP VIEW everything_in_the_schema_is_a_member AS
    SELECT k.class::regclass || ' ' || k.name AS breaks
    FROM (
        SELECT 'pg_class'::regclass, oid, relname::text FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'f') OR relkind = 'S' AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relations.oid AND deptype = 'i')
        UNION ALL SELECT 'pg_proc'::regclass, oid, oid::regprocedure::text FROM functions
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprname FROM pg_operator WHERE oprnamespace = 'memory'::regnamespace
    ) AS k (class, oid, name)
    WHERE NOT EXISTS (SELECT FROM pg_depend WHERE classid = k.class AND objid = k.oid AND deptype = 'e') AND k.name NOT IN (SELECT relation FROM memory.embedding_spaces)
    -- but what is made at run time is none, or it would not be dumped
    UNION ALL SELECT 'space ' || relation FROM memory.embedding_spaces JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = ('memory.' || relation)::regclass AND deptype = 'e';
CREATE TEMP VIEW identities_and_free_text_have_no_statistics AS
    SELECT relname || '.' || attname AS breaks
    FROM relations AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped JOIN pg_type AS t ON t.oid = atttypid
    WHERE relkind IN ('r', 'p') AND coalesce(attstattarget, -1) <> 0
        AND (typname IN ('text', 'varchar', 'jsonb', 'json', 'inet', 'bytea', 'tsvector', 'vector', 'halfvec', 'name', '_text', '_uuid'))
        AND relname || '.' || attname NOT IN (SELECT col FROM words)
        AND relname || '.' || attname NOT IN ('access_grants.tenants')
    UNION ALL SELECT c.oid::regclass || ' statistics' FROM relations AS c JOIN pg_statistic_ext ON stxrelid = c.oid;
CREATE TEMP VIEW an_index_on_an_expression_of_text_has_no_statistics AS
    SELECT i.indexrelid::regclass::text AS breaks FROM relations AS c JOIN pg_index AS i ON indrelid = c.oid
    JOIN pg_attribute ON attrelid = i.indexrelid JOIN pg_type AS t ON t.oid = atttypid
    WHERE indkey[attnum - 1] = 0 AND coalesce(attstattarget, -1) <> 0 AND typcategory NOT IN ('N', 'D', 'T', 'B');
CREATE TEMP VIEW everything_has_a_comment AS
    SELECT k.kind || ' ' || k.name AS breaks
    FROM (
        SELECT 'function', oid::regprocedure::text, obj_description(oid, 'pg_proc') FROM functions
        UNION ALL SELECT 'relation', relname, obj_description(oid, 'pg_class') FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition
        UNION ALL SELECT 'column', relname || '.' || attname, col_description(c.oid, attnum)
            FROM relations AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition
        UNION ALL SELECT 'type', typname, obj_description(t.oid, 'pg_type') FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = typrelid
            WHERE typnamespace = 'memory'::regnamespace AND typcategory <> 'A' AND (typrelid = 0 OR c.relkind = 'c')
        UNION ALL SELECT 'policy', c.relname || '.' || polname, obj_description(p.oid, 'pg_policy') FROM pg_policy AS p JOIN relations AS c ON polrelid = c.oid
        UNION ALL SELECT 'trigger', c.relname || '.' || tgname, obj_description(t.oid, 'pg_trigger') FROM pg_trigger AS t JOIN relations AS c ON tgrelid = c.oid
            WHERE NOT tgisinternal AND tgparentid = 0
        UNION ALL SELECT 'schema', nspname, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'memory'
    ) AS k (kind, name, comment)
    WHERE coalesce(comment, '') !~ '...';
CREATE TEMP VIEW every_change_is_audited AS
    SELECT relname || ': ' || event AS breaks
    FROM relations AS c, unnest('{INSERT,DELETE,UPDATE,TRUNCATE}'::text[], '{4,8,16,32}'::int[]) AS e (event, bit)
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname NOT IN (SELECT name FROM tables_of_all WHERE NOT audited)
        AND relname NOT IN (SELECT name FROM derived) AND NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgfoid = 'memory.audit_change'::regproc AND tgtype & bit <> 0
            AND tgtype & 67 = 0 AND tgenabled IN ('O', 'A') AND tgqual IS NULL
            AND (tgnewtable IS NOT NULL OR event NOT IN ('INSERT', 'UPDATE')) AND (tgoldtable IS NOT NULL OR event NOT IN ('DELETE', 'UPDATE'))
    );
CREATE TEMP VIEW what_is_derived_nobody_writes AS
    SELECT object || ': ' || privileges AS breaks FROM memory.profile_privileges
    WHERE object IN (SELECT 'TABLE memory.' || name FROM derived) AND privileges <> 'SELECT';
CREATE TEMP VIEW no_plpgsql AS
    SELECT p.oid::regprocedure::text AS breaks FROM functions AS p JOIN pg_language AS l ON l.oid = prolang
    WHERE lanname NOT IN ('sql', 'c') AND p.prokind <> 'a' AND NOT (prokind = 'p' AND lanname = 'plpgsql' AND prosrc ~* '\mcommit\M');
CREATE TEMP VIEW sql_functions_are_bound_when_created AS
    SELECT p.oid::regprocedure::text AS breaks FROM functions AS p JOIN pg_language AS l ON l.oid = prolang
    WHERE lanname = 'sql' AND prosqlbody IS NULL;
CREATE TEMP VIEW what_a_column_holds_of_a_user_is_declared AS
    SELECT c.relname || '.' || a.attname AS breaks FROM relations AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND NOT EXISTS (
        SELECT FROM memory.personal_columns AS p WHERE p.relation = c.relname AND p.column_name = a.attname
    ) AND NOT EXISTS (
        -- declared of the table that it inherits from, whose statements reach it
        SELECT FROM memory.personal_columns AS p JOIN pg_inherits ON inhrelid = c.oid AND inhparent = ('memory.' || quote_ident(p.relation))::regclass
        WHERE p.column_name = a.attname
    ) AND EXISTS (SELECT FROM pg_attribute AS u WHERE u.attrelid = c.oid AND u.attname ~ 'user_id$' AND NOT u.attisdropped)
    -- and every column that names a user says so; no identity, text or object is kept that is not a word of a list
    UNION ALL SELECT relation || '.' || column_name || ' is no ' || treatment FROM memory.personal_columns
    WHERE (treatment = 'user') <> (column_name ~ 'user_id$')
    UNION ALL SELECT relation || '.' || column_name || ' is kept' FROM memory.personal_columns
    JOIN pg_attribute ON attrelid = ('memory.' || quote_ident(relation))::regclass AND attname = column_name
    WHERE treatment = 'keep' AND atttypid IN ('text'::regtype, 'jsonb'::regtype, 'text[]'::regtype, 'bytea'::regtype, 'inet'::regtype)
        AND relation || '.' || column_name NOT IN (SELECT col FROM words)
        -- what services and the extension call themselves and each other
        AND relation || '.' || column_name NOT IN ('audit_log.actor_service_name', 'data_access_log.actor_service_name', 'security_violations.service_name', 'security_violations.detail',
            'privacy_requests.requested_service', 'privacy_requests.receipt');
CREATE TEMP VIEW user_ids_are_in_c_order AS
    SELECT relname || '.' || attname AS breaks FROM relations AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    WHERE relkind IN ('r', 'p') AND attname ~ 'user_id$' AND NOT (atttypid = 'text'::regtype AND attcollation = 'pg_catalog."C"'::regcollation);
CREATE TEMP VIEW tenant_and_user_are_the_last_arguments AS
    SELECT p.oid::regprocedure::text AS breaks
    FROM functions AS p, LATERAL (
        SELECT array_agg(name ORDER BY n) AS names, count(*) AS n FROM unnest(proargnames[:pronargs]) WITH ORDINALITY AS a (name, n)
    ) AS args
    WHERE ('tenant' = ANY (names) OR 'user_id' = ANY (names)) AND NOT (names[n - 1:] = '{tenant,user_id}' AND pronargdefaults >= 2)
        -- who is asking, and the archive, in their own order; a function about a whole tenant
        AND proname NOT IN ('set_security_context', 'subject', 'scope', 'owned_scope', 'writer', 'note_read', 'held_user', 'archive_scope', 'archive_session', 'archive_event', 'export_user_data',
            'erase_user_data', 'anonymize_user_data', 'export_user_document', 'request_privacy', 'privacy_tenant',
            -- about one user, by a name that is needed
            'check_hold', 'may_remove', 'removable_user', 'place_legal_hold', 'cleanup_old_nodes',
            'make_user_key', 'check_user_key', 'encrypt_field',
            -- what a service measured, in the contract''s order
            'log_performance_metric',
            -- a tenant''s policy and tokens, in the contract''s order
            'set_retention_policy', 'issue_service_token',
            -- about one tenant, by a name that is needed
            'set_search_language', 'rebuild_search_documents', 'get_tenant_memory_usage') AND NOT (names[n] = 'tenant' AND pronargdefaults >= 1 AND NOT 'user_id' = ANY (names));
CREATE TEMP VIEW views_ask_as_their_caller AS
    SELECT relname::text AS breaks FROM relations
    -- a materialised one asks as its owner: the one that there is counts, and is no service's to read
    WHERE relkind = 'm' AND relname <> 'user_stats' OR relkind = 'v' AND NOT coalesce(reloptions, '{}') && '{security_invoker=true,security_invoker=on,security_invoker=1}';
CREATE TEMP VIEW the_cache_hears_of_replicas AS
    SELECT tgname::text AS breaks FROM pg_trigger WHERE tgfoid = 'memory.tenants_changed'::regproc AND tgenabled <> 'A'
    UNION ALL SELECT 'events' FROM pg_trigger WHERE tgfoid = 'memory.tenants_changed'::regproc HAVING bit_or(tgtype) & 60 <> 60;

-- every rule holds
CREATE TEMP TABLE rules AS SELECT relname::text AS rule FROM pg_class
    WHERE relkind = 'v' AND relnamespace = pg_my_temp_schema() AND relname NOT IN ('relations', 'tenant_tables', 'functions');
SELECT count(*) FROM rules;
CREATE TEMP TABLE broken (rule text, breaks text);
DO $$
DECLARE
    rule text;
BEGIN
    FOR rule IN SELECT r.rule FROM rules AS r LOOP
        EXECUTE format('INSERT INTO broken SELECT %L, breaks FROM pg_temp.%I', rule, rule);
    END LOOP;
END
$$;
SELECT * FROM broken ORDER BY rule COLLATE "C", breaks COLLATE "C";
TRUNCATE broken;

-- each finds what breaks it
BEGIN;
CREATE TABLE memory.bad (id int UNIQUE, tenant_id uuid, user_id text, note text, other int);
CREATE TABLE memory.bad_keyed (
    tenant_id uuid, user_id text COLLATE "C", id int, of_id int, PRIMARY KEY (tenant_id, user_id, id), UNIQUE (user_id, tenant_id, id), UNIQUE (tenant_id, id)
);
ALTER TABLE memory.bad_keyed ADD FOREIGN KEY (of_id, tenant_id) REFERENCES memory.bad_keyed (id, tenant_id);
CREATE TABLE memory.bad_plain (id int PRIMARY KEY);
CREATE INDEX bad_lower ON memory.bad_keyed (lower(user_id));
ALTER TABLE memory.bad_keyed ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON memory.bad_keyed USING (tenant_id = memory.current_tenant_id() OR user_id = memory.current_user_id());
CREATE POLICY two ON memory.bad_keyed USING (true);
GRANT SELECT ON memory.bad TO PUBLIC;
GRANT UPDATE (note) ON memory.bad TO PUBLIC;
GRANT USAGE ON SCHEMA memory TO PUBLIC;
CREATE STATISTICS memory.bad_statistics ON user_id, id FROM memory.bad_keyed;
CREATE FUNCTION memory.bad_function(tenant text, other text) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END';
CREATE FUNCTION memory.bad_sql() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE memory.bad_type AS ENUM ('x');
CREATE VIEW memory.bad_view AS SELECT * FROM memory.bad;
ALTER TABLE memory.bad OWNER TO regress_app;
ALTER EXTENSION memory_ext ADD TABLE memory.bad_plain;
CREATE TRIGGER bad_trigger AFTER INSERT ON memory.bad FOR EACH ROW EXECUTE FUNCTION memory.tenants_changed();
INSERT INTO memory.profile_privileges VALUES ('app', 'TABLE memory.bad', 'SELECT, TRUNCATE'), ('app', 'ALL TABLES IN SCHEMA memory', 'SELECT'),
    ('auditor', 'TABLE memory.search_documents', 'SELECT, INSERT');
DO $$
DECLARE
    rule text;
BEGIN
    FOR rule IN SELECT r.rule FROM rules AS r LOOP
        EXECUTE format('INSERT INTO broken SELECT %L, breaks FROM pg_temp.%I', rule, rule);
    END LOOP;
END
$$;
SELECT * FROM broken WHERE rule NOT IN ('everything_has_a_comment', 'every_change_is_audited') ORDER BY rule COLLATE "C", breaks COLLATE "C";
SELECT * FROM broken WHERE rule IN ('everything_has_a_comment', 'every_change_is_audited') AND breaks ~ 'bad(|_type|_sql|_trigger|_view)(\.note|\M)' ORDER BY rule COLLATE "C", breaks COLLATE "C";
SELECT rule AS never_broken FROM rules EXCEPT SELECT rule FROM broken ORDER BY 1;
ROLLBACK;
SELECT memory.drop_embedding_space('regress catalog');
