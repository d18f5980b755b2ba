-- The first statement refuses a schema that somebody else prepared: who owns it could drop it with all data, and
-- who may create in it could put a function of his own in the place of one of ours.
DO $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF EXISTS (
        SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS acl
        WHERE n.nspname = 'memory' AND acl.privilege_type = 'CREATE' AND acl.grantee <> n.nspowner
    ) OR EXISTS (
        SELECT FROM pg_namespace n WHERE n.nspname = 'memory' AND n.nspowner <> current_user::regrole
    ) OR EXISTS (
        SELECT FROM pg_namespace n JOIN (
            SELECT pronamespace, proowner FROM pg_proc UNION ALL SELECT relnamespace, relowner FROM pg_class
            UNION ALL SELECT oprnamespace, oprowner FROM pg_operator UNION ALL SELECT typnamespace, typowner FROM pg_type
        ) AS planted (schema, owner) ON planted.schema = n.oid
        WHERE n.nspname = 'memory' AND planted.owner <> n.nspowner
    ) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'the schema "memory" exists and is not the installing role''s alone',
            HINT = 'Look at what it holds, then DROP SCHEMA memory or give it to the installing role: '
                'ALTER SCHEMA memory OWNER TO CURRENT_USER; REVOKE CREATE ON SCHEMA memory FROM ….';
    END IF;
    -- Texts are read as UTF-8 everywhere: in another encoding two users could look alike. (SQL_ASCII is none; what is no UTF-8
    -- is refused there when it comes.)
    IF getdatabaseencoding() NOT IN ('UTF8', 'SQL_ASCII') THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the encoding of this database is %s', getdatabaseencoding()),
            HINT = 'memory_ext needs UTF8: CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'memory, pg_temp', true);
END
$$;

REVOKE ALL ON SCHEMA memory FROM PUBLIC;
COMMENT ON SCHEMA memory IS 'Memory for AI agents: tenants, sessions, archive, knowledge graph, search, audit.';

-- What each profile may do, declared beside each object and granted by grant_access(). GRANT <privileges> ON <object>.
CREATE TABLE memory.profile_privileges (
    profile text COLLATE "C" NOT NULL CHECK (profile IN ('app', 'service', 'auditor', 'operator')),
    object text COLLATE "C" NOT NULL,
    privileges text NOT NULL,
    PRIMARY KEY (profile, object)
);
COMMENT ON TABLE memory.profile_privileges IS
    'What each profile may do: grant_access() runs GRANT privileges ON object for each row. service includes app.';
COMMENT ON COLUMN memory.profile_privileges.profile IS 'app, service, auditor or operator.';
COMMENT ON COLUMN memory.profile_privileges.object IS 'As GRANT names it: TABLE memory.sessions, FUNCTION memory.log_event.';
COMMENT ON COLUMN memory.profile_privileges.privileges IS 'As GRANT names them.';

-- Grants EXECUTE on functions to a profile.
CREATE FUNCTION memory.allow(profile text, VARIADIC functions text[]) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.profile_privileges (profile, object, privileges)
    SELECT allow.profile, 'FUNCTION memory.' || name, 'EXECUTE' FROM unnest(allow.functions) AS name;
END;
COMMENT ON FUNCTION memory.allow(text, text[]) IS
    'Internal, at installation: declares that a profile may execute the functions.';

-- Grants privileges on a table to a profile.
CREATE FUNCTION memory.allow_table(profile text, privileges text, VARIADIC tables text[]) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.profile_privileges (profile, object, privileges)
    SELECT allow_table.profile, 'TABLE memory.' || name, allow_table.privileges FROM unnest(allow_table.tables) AS name;
END;
COMMENT ON FUNCTION memory.allow_table(text, text, text[]) IS
    'Internal, at installation: declares what a profile may do with the tables.';

CREATE FUNCTION memory.uuid_v7() RETURNS uuid
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'uuid_v7_wrapper';
COMMENT ON FUNCTION memory.uuid_v7() IS
    'A new UUID, version 7 (RFC 9562): ordered by the millisecond it was made in.';
SELECT memory.allow('app', 'uuid_v7');
SELECT memory.allow('operator', 'uuid_v7');

CREATE FUNCTION memory.declare_table(
    relation regclass, reach text, free_text text[] DEFAULT '{}', filter text DEFAULT '', audited boolean DEFAULT true
) RETURNS void
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'declare_table_wrapper';
COMMENT ON FUNCTION memory.declare_table(regclass, text, text[], text, boolean) IS
    'Internal, at installation: makes a table one of the extension''s. reach user: rows of the context''s user, of all users '
    'for a service; service: rows of the context''s tenant, for a service only; shared: no row-level security. '
    'It gets row-level security, audit triggers, no statistics on free_text columns, and a place in pg_dump (rows by filter). audited false: '
    'what triggers derive from tables that are audited, and nobody else may write.';

-- What backends keep in memory of users' rows (src/pg/kept.rs) is told of every change, by logical replication and in a restore too.
CREATE FUNCTION memory.kept_changed() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'kept_changed';
COMMENT ON FUNCTION memory.kept_changed() IS
    'Trigger: what is kept in memory of the rows of the table that its argument names is not used after this transaction''s commit.';

CREATE FUNCTION memory.declare_kept(relation regclass) RETURNS void
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'declare_kept_wrapper';
COMMENT ON FUNCTION memory.declare_kept(regclass) IS
    'Internal, at installation: the rows of a table of users'' rows are kept in memory in another shape, so its changes are told.';

-- What each column of a table with users' data holds of a user, declared beside the table: the statements of export, erasure and
-- anonymising are made from it.
CREATE TABLE memory.personal_columns (
    relation text COLLATE "C" NOT NULL,
    column_name text COLLATE "C" NOT NULL,
    treatment text COLLATE "C" NOT NULL
        CHECK (treatment ~ '^(keep|user|clear|clear:_tenant|secret|images|pseudonym:[a-z_]+|word(:[a-z_]+)?)$'),
    erasure text COLLATE "C" NOT NULL CHECK (erasure IN ('delete', 'delete always', 'redact')),
    PRIMARY KEY (relation, column_name)
);
COMMENT ON TABLE memory.personal_columns IS
    'What each column of a table with users'' data holds of a user, and so how it is exported, erased and anonymised. Constant.';
COMMENT ON COLUMN memory.personal_columns.relation IS 'The table, in schema memory.';
COMMENT ON COLUMN memory.personal_columns.column_name IS 'The column.';
COMMENT ON COLUMN memory.personal_columns.treatment IS
    'When a user is anonymised. keep: stays (times, counts, words of a CHECK list, the tenant). user: becomes the user''s pseudonym where '
    'it names the user; the rows of a user are those where one such column does. pseudonym:kind: one pseudonym per value, the same in '
    'every column of the kind. word:table: stays where it is a word of that vocabulary (word: of none) or the column''s default, else a pseudonym per '
    'value. clear: NULL, or empty where it may not be NULL; clear:_tenant: an object of which the key _tenant stays; secret: clear, and not exported; images: clear, of the '
    'audit log, and a row is also the user''s where one of its images says so.';
COMMENT ON COLUMN memory.personal_columns.erasure IS
    'When a user is erased: delete the rows, or redact them, which is to anonymise them. delete always: also when anonymised.';

CREATE FUNCTION memory.declare_personal(relation regclass, treatments jsonb, erasure text DEFAULT 'delete') RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.personal_columns (relation, column_name, treatment, erasure)
    SELECT c.relname, a.attname, t.treatment, declare_personal.erasure
    FROM jsonb_each_text(declare_personal.treatments) AS t (columns, treatment)
    CROSS JOIN regexp_split_to_table(t.columns, ', ') AS named (name)
    JOIN pg_catalog.pg_class AS c ON c.oid = declare_personal.relation
    -- A name that is no column is NULL, which the table refuses.
    LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = c.oid AND a.attname = named.name AND a.attnum > 0 AND NOT a.attisdropped;
END;
COMMENT ON FUNCTION memory.declare_personal(regclass, jsonb, text) IS
    'Internal, at installation: declares what columns hold of a user. treatments: {"column, column": "treatment"}, as '
    'personal_columns says.';

-- Tenants, projects and the resolver.

CREATE TABLE memory.projects (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    name text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    description text,
    owner_id text COLLATE "C",
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.projects IS 'Projects group tenants.';
COMMENT ON COLUMN memory.projects.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.projects.name IS 'Unique among all projects.';
COMMENT ON COLUMN memory.projects.description IS 'For people.';
COMMENT ON COLUMN memory.projects.owner_id IS 'Who is responsible, as the operator names people.';
COMMENT ON COLUMN memory.projects.metadata IS 'An object; the operator''s own.';
COMMENT ON COLUMN memory.projects.created_at IS 'When the row was made.';

-- The resolver reads columns 1 and 2 by their position.
CREATE TABLE memory.tenants (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    slug text COLLATE "C" NOT NULL UNIQUE
        CHECK (slug ~ '^[a-z0-9_-]{1,63}$')
        CONSTRAINT tenants_slug_is_no_uuid CHECK (slug !~ '^([0-9a-f]{4}-?){7}[0-9a-f]{4}$')
        CONSTRAINT tenants_slug_is_not_reserved CHECK (slug <> 'system'),
    project_id uuid REFERENCES memory.projects (id),
    name text,
    isolation_level text NOT NULL DEFAULT 'strict' CHECK (isolation_level IN ('strict', 'shared', 'federated')),
    encryption_enabled boolean NOT NULL DEFAULT false,
    settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tenants_project_id_idx ON memory.tenants (project_id);
COMMENT ON TABLE memory.tenants IS 'Tenants: INSERT INTO memory.tenants(slug) VALUES (''acme'') suffices.';
COMMENT ON COLUMN memory.tenants.id IS 'UUIDv7; stands in every row of the tenant.';
COMMENT ON COLUMN memory.tenants.slug IS '1 to 63 of [a-z0-9_-], no UUID, not "system".';
COMMENT ON COLUMN memory.tenants.project_id IS 'The project it belongs to, if any.';
COMMENT ON COLUMN memory.tenants.name IS 'For people.';
COMMENT ON COLUMN memory.tenants.isolation_level IS 'strict, shared or federated; a label for now.';
COMMENT ON COLUMN memory.tenants.encryption_enabled IS 'Whether what is written from now on of events'' payloads and nodes'' contents is encrypted at rest.';
COMMENT ON COLUMN memory.tenants.settings IS 'An object; the operator''s own.';
COMMENT ON COLUMN memory.tenants.created_at IS 'When the row was made.';
COMMENT ON COLUMN memory.tenants.updated_at IS 'When the row was last changed, as the operator writes it.';

CREATE FUNCTION memory.tenants_changed() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'tenants_changed';
COMMENT ON FUNCTION memory.tenants_changed() IS
    'Trigger: answers of the tenant cache that were found before this transaction''s commit are not used after it.';

-- Row triggers, because logical replication fires no statement triggers; ALWAYS, because it applies changes as a replica.
CREATE TRIGGER cache BEFORE INSERT OR UPDATE OR DELETE ON memory.tenants
    FOR EACH ROW EXECUTE FUNCTION memory.tenants_changed();
CREATE TRIGGER cache_truncate BEFORE TRUNCATE ON memory.tenants
    FOR EACH STATEMENT EXECUTE FUNCTION memory.tenants_changed();
ALTER TABLE memory.tenants ENABLE ALWAYS TRIGGER cache, ENABLE ALWAYS TRIGGER cache_truncate;
COMMENT ON TRIGGER cache ON memory.tenants IS 'Keeps the tenant cache fresh.';
COMMENT ON TRIGGER cache_truncate ON memory.tenants IS 'Keeps the tenant cache fresh.';

CREATE TYPE memory.tenant_resolution AS (uuid uuid, slug text, source text, found boolean);
COMMENT ON TYPE memory.tenant_resolution IS
    'What an identifier resolves to. source: empty, env, db-id, db-slug, uuid-input or slug-input; -cache behind it when it '
    'came from the cache.';

CREATE FUNCTION memory.resolve_canonical_tenant(identifier text) RETURNS memory.tenant_resolution
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'resolve_canonical_tenant';
COMMENT ON FUNCTION memory.resolve_canonical_tenant(text) IS
    'Resolves a tenant''s slug or UUID (in any form that PostgreSQL reads; case and outer blanks are ignored), or "system". '
    'Never an error: found says whether. Costs some 0.2 µs from the cache, 2 µs from the table.';

CREATE FUNCTION memory.resolve_canonical_tenants(
    identifiers text[], OUT input text, OUT uuid uuid, OUT slug text, OUT source text, OUT found boolean
) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'resolve_canonical_tenants_wrapper';
COMMENT ON FUNCTION memory.resolve_canonical_tenants(text[]) IS
    'resolve_canonical_tenant() of each identifier, in input order, duplicates kept.';

CREATE FUNCTION memory.tenant_id(identifier text) RETURNS uuid
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tenant_id';
COMMENT ON FUNCTION memory.tenant_id(text) IS
    'The tenant''s UUID, for a WHERE clause. NULL gives NULL; an identifier that is not found is P0002. Costs some 0.1 µs from '
    'the cache.';

CREATE FUNCTION memory.tenant_cache_stats(
    OUT ttl_ms bigint, OUT capacity bigint, OUT size bigint, OUT hits bigint, OUT misses bigint, OUT evictions bigint,
    OUT hit_ratio double precision, OUT shared boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 1
AS 'MODULE_PATHNAME', 'tenant_cache_stats_wrapper';
COMMENT ON FUNCTION memory.tenant_cache_stats() IS
    'The tenant cache of the server: time to live, entries it has room for, entries in use, counters since the start. shared is '
    'false without shared_preload_libraries; then the figures are this backend''s.';

CREATE FUNCTION memory.reset_tenant_cache() RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'reset_tenant_cache_wrapper';
COMMENT ON FUNCTION memory.reset_tenant_cache() IS 'Empties the tenant cache, for all databases; the counters go on.';

SELECT memory.allow('app', 'tenant_id', 'resolve_canonical_tenant', 'resolve_canonical_tenants');
SELECT memory.allow('operator', 'tenant_id', 'resolve_canonical_tenant', 'resolve_canonical_tenants',
    'tenant_cache_stats', 'reset_tenant_cache');
SELECT memory.allow_table('operator', 'SELECT, INSERT, UPDATE, DELETE', 'projects', 'tenants');

-- Checks of arguments, for functions written in SQL. Each gives its value back, or raises the contract's error.

CREATE FUNCTION memory.check_needed(argument text, value anyelement) RETURNS anyelement
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_needed';
COMMENT ON FUNCTION memory.check_needed(text, anyelement) IS
    'Internal: the value, if it is not NULL; else 22004, naming the argument. As a condition by itself it is asked even where there is nothing to read.';

CREATE FUNCTION memory.check_object(argument text, value jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_object';
COMMENT ON FUNCTION memory.check_object(text, jsonb) IS
    'Internal: the value, if it is a jsonb object of at most memory.max_payload_size; else 22023, 22004 or 54000, naming the argument.';

CREATE FUNCTION memory.check_text(argument text, value text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_text';
COMMENT ON FUNCTION memory.check_text(text, text) IS
    'Internal: the value, if it is a text that is not empty; NULL is 22004, '''' is 22023, naming the argument.';

CREATE FUNCTION memory.check_positive(argument text, value integer) RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_positive_wrapper';
COMMENT ON FUNCTION memory.check_positive(text, integer) IS
    'Internal: the value, if it is at least 1; NULL is 22004, less is 22023, naming the argument.';

CREATE FUNCTION memory.check_interval(argument text, value interval) RETURNS interval
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_interval_wrapper';
COMMENT ON FUNCTION memory.check_interval(text, interval) IS
    'Internal: the value, if it is not below zero, else 22023, naming the argument; NULL gives NULL.';

CREATE FUNCTION memory.check_word(argument text, value text, words text[]) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_word_wrapper';
COMMENT ON FUNCTION memory.check_word(text, text, text[]) IS
    'Internal: the value, if it is one of the words, else 22023, naming the argument; NULL gives NULL.';

CREATE FUNCTION memory.check_found(found boolean, kind text, id text) RETURNS void
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_found_wrapper';
COMMENT ON FUNCTION memory.check_found(boolean, text, text) IS
    'Internal: raises P0002 "unknown <kind> <id>" unless found; 22004 where the id is NULL.';

SELECT memory.allow('app', 'check_needed', 'check_object', 'check_text', 'check_positive', 'check_interval', 'check_word',
    'check_found');

-- The security context, access, and the subject of a call.

CREATE FUNCTION memory.set_security_context(
    tenant text, user_id text DEFAULT NULL, session_id text DEFAULT NULL, service_name text DEFAULT NULL,
    is_local boolean DEFAULT true, sealed boolean DEFAULT false
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_security_context_wrapper';
COMMENT ON FUNCTION memory.set_security_context(text, text, text, text, boolean, boolean) IS
    'Says who is asking: with user_id that user of the tenant, without it a service (service_name) that sees the whole tenant. '
    'NULL stands for the default. session_id goes into the audit log, and is the session of nodes that are stored without one. Local to the transaction '
    'unless is_local is false; outside of a transaction block a local one warns and is gone at once. sealed: nobody changes it '
    'until the transaction ends. Needs the profile service for the tenant, else 42501, and so does a change of a sealed one; an '
    'unknown tenant is P0002; neither user_id nor service_name 22004; sealed without is_local 22023.';

CREATE FUNCTION memory.clear_security_context() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'clear_security_context_wrapper';
COMMENT ON FUNCTION memory.clear_security_context() IS
    'From here on nobody is asking: no rows, no writes. A sealed context is 42501.';

CREATE FUNCTION memory.current_tenant_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_tenant_id';
COMMENT ON FUNCTION memory.current_tenant_id() IS 'The context''s tenant; NULL without a context.';

CREATE FUNCTION memory.current_user_id() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_user_id';
COMMENT ON FUNCTION memory.current_user_id() IS 'The context''s user; NULL in a service context and without one.';

CREATE FUNCTION memory.current_session_id() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_session_id';
COMMENT ON FUNCTION memory.current_session_id() IS 'The context''s session; NULL where unset.';

CREATE FUNCTION memory.current_service_name() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_service_name';
COMMENT ON FUNCTION memory.current_service_name() IS 'The context''s service; NULL where unset.';

CREATE FUNCTION memory.service_tenant_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'service_tenant_id';
COMMENT ON FUNCTION memory.service_tenant_id() IS
    'For policies: the context''s tenant in a service context (of a token: with the scope archive or admin), else NULL.';

CREATE FUNCTION memory.context_user_low() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'context_user_low';
COMMENT ON FUNCTION memory.context_user_low() IS
    'For policies: the least user id that the context sees, in the order of COLLATE "C"; above the greatest where it sees none.';

CREATE FUNCTION memory.context_user_high() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'context_user_high';
COMMENT ON FUNCTION memory.context_user_high() IS
    'For policies: the greatest user id that the context sees, in the order of COLLATE "C".';

-- The two ways in which a call is about somebody; each checks its arguments against the context and raises contract's errors.
-- A join does not call them where its other side is empty. Functions therefore say `WHERE memory.subject(…) IS NOT NULL` besides:
-- a condition on no column is checked once, before anything is read.
CREATE FUNCTION memory.subject(tenant text, user_id text, OUT tenant_id uuid, OUT subject_id text) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'subject_wrapper';
COMMENT ON FUNCTION memory.subject(text, text) IS
    'Internal: the tenant and user that a call with these arguments is about; NULL stands for the context''s. Somebody else than the '
    'context allows, or a token without the scope read, is 42501, an unknown tenant P0002, no user 22004.';

CREATE FUNCTION memory.writer(tenant text, user_id text, OUT tenant_id uuid, OUT subject_id text) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'writer_subject';
COMMENT ON FUNCTION memory.writer(text, text) IS
    'Internal: subject(), for what stores (of a token: with the scope write): waits while the user is erased or anonymised, and holds both off until the transaction '
    'ends.';

CREATE FUNCTION memory.held_user(tenant_id uuid, user_id text) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'held_user';
COMMENT ON FUNCTION memory.held_user(uuid, text) IS
    'Internal: the user, held as by writer(). The audit asks it of every row that is written.';

CREATE FUNCTION memory.hold_own() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'hold_own';
COMMENT ON FUNCTION memory.hold_own() IS
    'Trigger, before a statement: holds the context''s user as writer() does, before any row is locked.';

CREATE FUNCTION memory.scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'scope_wrapper';
COMMENT ON FUNCTION memory.scope(text, text) IS
    'Internal: the tenant and the range of users that a reading call with these arguments is about: like subject(), but a service context '
    'without a user is about them all.';

CREATE TABLE memory.access_grants (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    grantee regrole NOT NULL,
    profile text COLLATE "C" NOT NULL CHECK (profile IN ('app', 'service', 'auditor', 'operator')),
    tenants uuid[],
    granted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (grantee, profile)
);
COMMENT ON TABLE memory.access_grants IS 'Which role has which profile, for which tenants; written by grant_access().';
COMMENT ON COLUMN memory.access_grants.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.access_grants.grantee IS 'The role; its members have the profile too.';
COMMENT ON COLUMN memory.access_grants.profile IS 'app, service, auditor or operator.';
COMMENT ON COLUMN memory.access_grants.tenants IS 'The tenants it holds for; NULL: all.';
COMMENT ON COLUMN memory.access_grants.granted_at IS 'When it was granted, or last changed.';

CREATE FUNCTION memory.grant_access(grantee regrole, profile text, tenants text[] DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'grant_access_wrapper';
COMMENT ON FUNCTION memory.grant_access(regrole, text, text[]) IS
    'Gives a role a profile, for the tenants named or for all. app: sessions, events and the graph through row-level security; '
    'service: all of app, security contexts for its tenants, the archive; auditor: reads the audit log and the violations; '
    'operator: tenants, vocabularies, archival, the cache, no payload. Members of the role have it too. Granting again '
    'replaces the tenants. A superuser''s; an unknown tenant is P0002, an unknown profile 22023.';

CREATE FUNCTION memory.revoke_access(grantee regrole) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'revoke_access_wrapper';
COMMENT ON FUNCTION memory.revoke_access(regrole) IS
    'Takes every profile from a role, and every privilege on the schema''s objects. A superuser''s.';

SELECT memory.allow('app', 'current_tenant_id', 'current_user_id', 'current_session_id', 'current_service_name',
    'service_tenant_id', 'context_user_low', 'context_user_high', 'subject', 'scope', 'writer');
SELECT memory.allow('service', 'set_security_context', 'clear_security_context');

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

-- Vocabularies: the words that types are chosen from. Rows, so that an operator can add some.

CREATE TABLE memory.context_types (
    name text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    description text,
    built_in boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.context_types IS 'What a node can be. register_context_type() adds one.';

CREATE TABLE memory.relationship_types (LIKE memory.context_types INCLUDING ALL);
COMMENT ON TABLE memory.relationship_types IS 'What a relationship can say. register_relationship_type() adds one.';

CREATE TABLE memory.event_types (LIKE memory.context_types INCLUDING ALL);
COMMENT ON TABLE memory.event_types IS 'What an event can be. register_event_type() adds one.';

INSERT INTO memory.context_types (name, description, built_in) VALUES
    ('search_result', 'Something that a search brought.', true),
    ('user_selection', 'Something that the user chose.', true),
    ('tool_output', 'What a tool returned.', true),
    ('domain_entity', 'A thing of the user''s world: a person, an order, a package.', true),
    ('completed_action', 'Something that was done.', true),
    ('conversation_fact', 'Something that was said.', true),
    ('temporary_state', 'Something that holds for a while.', true),
    ('knowledge_atom', 'A single piece of knowledge.', true);
INSERT INTO memory.relationship_types (name, description, built_in) VALUES
    ('led_to', 'The first brought about the second.', true),
    ('relates_to', 'The two have to do with each other.', true),
    ('depends_on', 'The first needs the second.', true),
    ('produces', 'The first makes the second.', true),
    ('belongs_to', 'The first is part of the second.', true);
INSERT INTO memory.event_types (name, description, built_in) VALUES
    ('session_metadata', 'What is known of the session itself.', true),
    ('message_user', 'The user said something.', true),
    ('message_assistant', 'The agent said something.', true),
    ('message_system', 'The system said something.', true),
    ('context', 'What the agent was given to work with.', true),
    ('action', 'The agent did something.', true),
    ('issue', 'Something went wrong.', true),
    ('decision', 'Something was decided.', true),
    ('log', 'A line of a log.', true),
    ('tool_call', 'The agent called a tool.', true);

CREATE FUNCTION memory.register_context_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.context_types (name, description)
    VALUES (memory.check_text('name', register_context_type.name), register_context_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_context_type(text, text) IS
    'Adds a word for nodes, or describes it anew; the description may be NULL. An operator''s.';

CREATE FUNCTION memory.register_relationship_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.relationship_types (name, description)
    VALUES (memory.check_text('name', register_relationship_type.name), register_relationship_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_relationship_type(text, text) IS
    'Adds a word for relationships, or describes it anew; the description may be NULL. An operator''s.';

CREATE FUNCTION memory.register_event_type(name text, description text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.event_types (name, description)
    VALUES (memory.check_text('name', register_event_type.name), register_event_type.description)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description;
END;
COMMENT ON FUNCTION memory.register_event_type(text, text) IS
    'Adds a word for events, or describes it anew; the description may be NULL. An operator''s.';

SELECT memory.declare_table(vocabulary, 'shared', '{description}', 'WHERE NOT built_in')
FROM unnest('{memory.context_types, memory.relationship_types, memory.event_types}'::regclass[]) AS vocabulary;

SELECT memory.allow_table('app', 'SELECT', 'context_types', 'relationship_types', 'event_types');
SELECT memory.allow_table('operator', 'SELECT, INSERT, UPDATE, DELETE',
    'context_types', 'relationship_types', 'event_types');
SELECT memory.allow('operator', 'register_context_type', 'register_relationship_type', 'register_event_type',
    'check_text');

DO $$
DECLARE
    vocabulary text;
BEGIN
    FOREACH vocabulary IN ARRAY '{context_types, relationship_types, event_types}'::text[] LOOP
        EXECUTE format($sql$
            COMMENT ON COLUMN memory.%1$I.name IS 'The word.';
            COMMENT ON COLUMN memory.%1$I.description IS 'What it means, for people.';
            COMMENT ON COLUMN memory.%1$I.built_in IS 'Whether the extension brought it; a dump carries the others.';
            COMMENT ON COLUMN memory.%1$I.created_at IS 'When it was added.';
        $sql$, vocabulary);
    END LOOP;
END
$$;

-- Tokens: who may say who is asking. Keys that sign them, service tokens that were issued.

-- The library reads both tables by the positions of their columns (src/context/key.rs).
CREATE TABLE memory.auth_keys (
    key_id text COLLATE "C" PRIMARY KEY CHECK (key_id <> ''),
    algorithm text COLLATE "C" NOT NULL CHECK (algorithm IN ('HS256', 'ES256', 'EdDSA', 'RS256')),
    public_key bytea,
    wrapped_secret bytea,
    issuer text COLLATE "C" CHECK (issuer <> ''),
    audience text COLLATE "C" CHECK (audience <> ''),
    tenants uuid[],
    scopes text[] COLLATE "C" NOT NULL CHECK (scopes <@ '{read,write,archive,admin}' AND scopes <> '{}'),
    may_serve boolean NOT NULL DEFAULT false,
    is_own boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT auth_keys_are_public_or_secret CHECK (
        CASE algorithm WHEN 'HS256' THEN public_key IS NULL AND wrapped_secret IS NOT NULL
        ELSE public_key IS NOT NULL AND wrapped_secret IS NULL END)
);
COMMENT ON TABLE memory.auth_keys IS
    'The keys that tokens are verified by; written by register_auth_key() and issue_service_token(). Two keys beside each other are a rotation.';
COMMENT ON COLUMN memory.auth_keys.key_id IS 'As tokens name it in their header: kid.';
COMMENT ON COLUMN memory.auth_keys.algorithm IS 'HS256, ES256, EdDSA or RS256. The key''s, never the token''s.';
COMMENT ON COLUMN memory.auth_keys.public_key IS
    'ES256: an uncompressed point; EdDSA: 32 bytes; RS256: PKCS #1 in DER. NULL for HS256.';
COMMENT ON COLUMN memory.auth_keys.wrapped_secret IS 'The secret of HS256, wrapped by the master key.';
COMMENT ON COLUMN memory.auth_keys.issuer IS 'What tokens say in iss; NULL: memory.token_issuer, if that is set.';
COMMENT ON COLUMN memory.auth_keys.audience IS 'What tokens say in aud, among others; NULL: memory.token_audience; *: anything.';
COMMENT ON COLUMN memory.auth_keys.tenants IS 'The tenants that its tokens may speak for; NULL: all.';
COMMENT ON COLUMN memory.auth_keys.scopes IS 'What its tokens may give: read, write, archive, admin.';
COMMENT ON COLUMN memory.auth_keys.may_serve IS 'Whether its tokens may stand for a service (the whole tenant) rather than a user.';
COMMENT ON COLUMN memory.auth_keys.is_own IS 'Whether issue_service_token() signs by it.';
COMMENT ON COLUMN memory.auth_keys.created_at IS 'When it was registered.';
COMMENT ON COLUMN memory.auth_keys.expires_at IS 'From when on its tokens are refused; NULL: by their own time only.';
COMMENT ON COLUMN memory.auth_keys.revoked_at IS 'When it was revoked; NULL: it holds.';

CREATE TABLE memory.service_tokens (
    token_id uuid PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    service_name text COLLATE "C" NOT NULL CHECK (service_name <> ''),
    scopes text[] COLLATE "C" NOT NULL CHECK (scopes <@ '{read,write,archive,admin}' AND scopes <> '{}'),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX service_tokens_tenant_id_idx ON memory.service_tokens (tenant_id);
COMMENT ON TABLE memory.service_tokens IS
    'The service tokens that were issued: what they give, not the tokens. A token counts for as much as its row says.';
COMMENT ON COLUMN memory.service_tokens.token_id IS 'UUIDv7; jti in the token.';
COMMENT ON COLUMN memory.service_tokens.key_id IS 'The key that signed it.';
COMMENT ON COLUMN memory.service_tokens.tenant_id IS 'The tenant that it is for.';
COMMENT ON COLUMN memory.service_tokens.service_name IS 'The service that it stands for.';
COMMENT ON COLUMN memory.service_tokens.scopes IS 'What it gives: read, write, archive, admin.';
COMMENT ON COLUMN memory.service_tokens.issued_at IS 'When.';
COMMENT ON COLUMN memory.service_tokens.expires_at IS 'Until when it holds.';
COMMENT ON COLUMN memory.service_tokens.revoked_at IS 'When it was revoked; NULL: it was not.';

CREATE FUNCTION memory.keys_changed() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'keys_changed';
COMMENT ON FUNCTION memory.keys_changed() IS
    'Trigger: contexts that were made from a token look at its key again, in every session, once this transaction has committed.';

-- Row triggers, because logical replication fires no statement triggers; ALWAYS, because it applies changes as a replica. (TRUNCATE is heard of
-- without one.)
CREATE TRIGGER revocation BEFORE INSERT OR UPDATE OR DELETE ON memory.auth_keys
    FOR EACH ROW EXECUTE FUNCTION memory.keys_changed();
CREATE TRIGGER revocation BEFORE INSERT OR UPDATE OR DELETE ON memory.service_tokens
    FOR EACH ROW EXECUTE FUNCTION memory.keys_changed();
ALTER TABLE memory.auth_keys ENABLE ALWAYS TRIGGER revocation;
ALTER TABLE memory.service_tokens ENABLE ALWAYS TRIGGER revocation;
COMMENT ON TRIGGER revocation ON memory.auth_keys IS 'Has a revocation count at once.';
COMMENT ON TRIGGER revocation ON memory.service_tokens IS 'Has a revocation count at once.';

SELECT memory.declare_table('memory.auth_keys', 'shared', '{public_key, wrapped_secret, issuer, audience, tenants, key_id, scopes}');
SELECT memory.declare_table('memory.service_tokens', 'shared', '{service_name, key_id, scopes}');
ALTER TABLE memory.service_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.service_tokens FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.service_tokens IS 'An auditor reads the tenants that it audits.';
SELECT memory.allow_table('auditor', 'SELECT', 'service_tokens');
-- All but what keys are made of.
SELECT memory.allow_table('operator',
    'SELECT (key_id, algorithm, issuer, audience, tenants, scopes, may_serve, is_own, created_at, expires_at, revoked_at)', 'auth_keys');

CREATE FUNCTION memory.authenticate(token text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'authenticate_wrapper';
COMMENT ON FUNCTION memory.authenticate(text) IS
    'Sets the security context from a signed JWT (HS256, ES256, EdDSA, RS256; by the key that its header kid names): of the user sub of the '
    'tenant, with sid as session; without sub, of the service that the claim service names, if the key may; of a service token, of its service. The '
    'claim scope (read, write, archive, admin) bounds what the context may do; write and admin bring read; none at all stands for read and write. Local to the '
    'transaction and sealed; outside of a transaction block it warns and is gone at once. It holds until exp and memory.token_leeway, and '
    'until the key or the service token is revoked: from then on its next use is 42501. A token that is refused is 42501, and '
    'recorded; so is a context that is sealed already. An unknown tenant is P0002, no audience to compare with or no master key 55000. Costs '
    'some 20 µs for HS256, 100 for EdDSA, 400 for RS256 and 700 for ES256.';

CREATE FUNCTION memory.authenticate_request() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'authenticate_request_wrapper';
COMMENT ON FUNCTION memory.authenticate_request() IS
    'authenticate() for PostgREST, from the claims that it has verified and left in the setting request.jwt.claims: of the user sub, with '
    'the scopes read and write at most. Only where the session''s login is the role that memory.trust_request_claims_from names, and '
    'there is no context yet; else 42501. Anybody who gets to run SQL before this call in such a session is whoever they want to be: docs/token.md.';

CREATE FUNCTION memory.register_auth_key(
    key_id text, algorithm text, key text, audience text DEFAULT NULL, issuer text DEFAULT NULL, tenants text[] DEFAULT NULL,
    scopes text[] DEFAULT '{read,write}', may_serve boolean DEFAULT false, expires_at timestamptz DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'register_auth_key_wrapper';
COMMENT ON FUNCTION memory.register_auth_key(text, text, text, text, text, text[], text[], boolean, timestamptz) IS
    'From its COMMIT on tokens that this key has signed are accepted. algorithm: HS256 (key is at least 32 bytes in base64, kept wrapped by the '
    'master key), ES256, EdDSA or RS256 (key is a public key in PEM form). audience: what tokens say in aud, NULL: '
    'memory.token_audience, *: anything. issuer: what they say in iss, NULL: memory.token_issuer, if set. tenants: those that its tokens may name, '
    'NULL: all. scopes: the most that they may give. may_serve: whether they may stand for a service. An operator''s. A key_id that is '
    'taken, revoked keys too, or a key that is none is 22023; an unknown tenant P0002; no audience or no master key 55000.';

CREATE FUNCTION memory.revoke_auth_key(key_id text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE memory.auth_keys AS k SET revoked_at = coalesce(k.revoked_at, clock_timestamp())
    WHERE k.key_id = revoke_auth_key.key_id;
    SELECT memory.check_found(
        EXISTS (SELECT FROM memory.auth_keys AS k WHERE k.key_id = revoke_auth_key.key_id), 'key', revoke_auth_key.key_id);
END;
COMMENT ON FUNCTION memory.revoke_auth_key(text) IS
    'From its COMMIT on no token of the key is accepted, and a context that was made from one is an error (42501) at its next use, in every '
    'session. Again: nothing more. An unknown key is P0002. An operator''s.';

CREATE FUNCTION memory.list_auth_keys(
    OUT key_id text, OUT algorithm text, OUT issuer text, OUT audience text, OUT tenants uuid[], OUT scopes text[],
    OUT may_serve boolean, OUT is_own boolean, OUT created_at timestamptz, OUT expires_at timestamptz, OUT revoked_at timestamptz
) RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT k.key_id, k.algorithm, k.issuer, k.audience, k.tenants, k.scopes, k.may_serve, k.is_own, k.created_at, k.expires_at,
        k.revoked_at
    FROM memory.auth_keys AS k ORDER BY k.created_at, k.key_id;
END;
COMMENT ON FUNCTION memory.list_auth_keys() IS 'The keys that were registered, without what they are made of; the oldest first. An operator''s.';

CREATE FUNCTION memory.issue_service_token(service_name text, tenant text, scopes text[], ttl interval) RETURNS text
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'issue_service_token_wrapper';
COMMENT ON FUNCTION memory.issue_service_token(text, text, text[], interval) IS
    'A token with which authenticate() makes a context of the service for the tenant, with the scopes (read, write, archive, admin), until ttl is '
    'over or it is revoked. It is shown this once: the table service_tokens has what it gives, not the token. Signed by a key of the extension''s own, '
    'made when first needed and wrapped by the master key (none is 55000). An operator''s. An unknown tenant is P0002; an unknown scope, none '
    'at all, or a ttl that is not above zero or above memory.token_max_ttl 22023.';

CREATE FUNCTION memory.revoke_service_token(token_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE memory.service_tokens AS t SET revoked_at = coalesce(t.revoked_at, clock_timestamp())
    WHERE t.token_id = revoke_service_token.token_id;
    SELECT memory.check_found(
        EXISTS (SELECT FROM memory.service_tokens AS t WHERE t.token_id = revoke_service_token.token_id),
        'token', revoke_service_token.token_id::text);
END;
COMMENT ON FUNCTION memory.revoke_service_token(uuid) IS
    'From its COMMIT on the token is refused, and a context that was made from it is an error (42501) at its next use, in every session. '
    'Again: nothing more. An unknown token is P0002. An operator''s.';

CREATE FUNCTION memory.list_service_tokens(tenant text DEFAULT NULL) RETURNS SETOF memory.service_tokens
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t FROM memory.service_tokens AS t
    WHERE t.tenant_id = coalesce(memory.tenant_id(list_service_tokens.tenant), t.tenant_id)
    ORDER BY t.issued_at, t.token_id;
END;
COMMENT ON FUNCTION memory.list_service_tokens(text) IS
    'The service tokens that were issued, of one tenant or of all; the oldest first. An unknown tenant is P0002. An operator''s.';

SELECT memory.allow('app', 'authenticate', 'authenticate_request');
SELECT memory.allow('operator', 'register_auth_key', 'revoke_auth_key', 'list_auth_keys', 'issue_service_token', 'revoke_service_token',
    'list_service_tokens');

-- Legal holds: whose data may not be removed.

CREATE TABLE memory.legal_holds (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    hold_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    reason text NOT NULL,
    placed_by text COLLATE "C" NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text COLLATE "C",
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, user_id, hold_id)
);
CREATE INDEX legal_holds_standing_idx ON memory.legal_holds (tenant_id, user_id) WHERE lifted_at IS NULL;
COMMENT ON TABLE memory.legal_holds IS
    'Whose data may not be removed or anonymised, and why; lifted ones stay as a record. A service reads its tenant''s, the user does not. '
    'Write with place_legal_hold(), lift_legal_hold().';
COMMENT ON COLUMN memory.legal_holds.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.legal_holds.user_id IS 'Whose data is held.';
COMMENT ON COLUMN memory.legal_holds.hold_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.legal_holds.reason IS 'Why, for people.';
COMMENT ON COLUMN memory.legal_holds.placed_by IS 'The role that placed it.';
COMMENT ON COLUMN memory.legal_holds.placed_at IS 'When.';
COMMENT ON COLUMN memory.legal_holds.lifted_by IS 'The role that lifted it.';
COMMENT ON COLUMN memory.legal_holds.lifted_at IS 'Until when it stood; NULL: it stands.';

SELECT memory.declare_table('memory.legal_holds', 'service', '{user_id, reason}');
SELECT memory.declare_personal('memory.legal_holds', '{
    "user_id": "user", "hold_id": "pseudonym:hold", "reason": "clear",
    "tenant_id, placed_by, placed_at, lifted_by, lifted_at": "keep"}');
SELECT memory.allow_table('service', 'SELECT', 'legal_holds');

CREATE FUNCTION memory.check_hold(tenant_id uuid, user_id text) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'check_hold_wrapper';
COMMENT ON FUNCTION memory.check_hold(uuid, text) IS
    'Internal, before something of a user is removed: raises 55000 and records a violation where a legal hold stands, as of this instant. '
    'No hold is placed then until the transaction ends. Somebody whom the context does not cover is 42501; superusers ask of everyone.';

CREATE FUNCTION memory.may_remove(tenant_id uuid, user_id text) RETURNS boolean
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'may_remove_wrapper';
COMMENT ON FUNCTION memory.may_remove(uuid, text) IS
    'Internal: check_hold() for what tidies up and is not worth an error: false where a hold stands or is being placed.';

CREATE FUNCTION memory.removable_user(tenant_id uuid, user_id text) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'removable_user';
COMMENT ON FUNCTION memory.removable_user(uuid, text) IS
    'Internal: held_user() and check_hold(). The audit asks it of every row that is deleted or gets another key, so that neither DELETE nor UPDATE gets past a hold.';

-- Run as their owner: an operator has no context and no privilege on the table. Where there is a context, it binds.
CREATE FUNCTION memory.place_legal_hold(user_id text, reason text, tenant text DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'place_legal_hold_wrapper';
COMMENT ON FUNCTION memory.place_legal_hold(text, text, text) IS
    'From its COMMIT on nothing of the user is removed or anonymised until it is lifted: a direct call is refused (55000) and recorded, batch '
    'jobs pass the user over. Gives the hold''s id; several may stand. Waits for the user''s removals that are under way. An '
    'operator''s. An unknown tenant is P0002, no tenant 22004 (without a context), an empty reason 22023.';

CREATE FUNCTION memory.lift_legal_hold(hold_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH lifted AS (
        UPDATE memory.legal_holds AS h SET lifted_at = now(),
            lifted_by = CASE pg_catalog.current_setting('role')
                WHEN 'none' THEN session_user ELSE pg_catalog.current_setting('role') END
        WHERE h.hold_id = lift_legal_hold.hold_id AND h.lifted_at IS NULL
            AND h.tenant_id = coalesce(memory.current_tenant_id(), h.tenant_id)
            AND h.user_id BETWEEN coalesce(memory.context_user_low(), h.user_id) AND coalesce(memory.context_user_high(), h.user_id)
        RETURNING h.hold_id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM lifted), 'standing legal hold', lift_legal_hold.hold_id::text);
END;
COMMENT ON FUNCTION memory.lift_legal_hold(uuid) IS
    'Ends a legal hold; others of the same user go on. One that is unknown or was lifted before is P0002. An operator''s.';

CREATE FUNCTION memory.list_legal_holds(tenant text DEFAULT NULL) RETURNS SETOF memory.legal_holds
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT h
    FROM memory.legal_holds AS h
    WHERE h.lifted_at IS NULL
        AND h.tenant_id = coalesce(memory.tenant_id(list_legal_holds.tenant), h.tenant_id)
        AND h.tenant_id = coalesce(memory.current_tenant_id(), h.tenant_id)
        AND h.user_id BETWEEN coalesce(memory.context_user_low(), h.user_id) AND coalesce(memory.context_user_high(), h.user_id)
    ORDER BY h.placed_at, h.hold_id;
END;
COMMENT ON FUNCTION memory.list_legal_holds(text) IS
    'The legal holds that stand, oldest first: the tenant''s, or all. An operator''s. An unknown tenant is P0002.';

SELECT memory.allow('app', 'check_hold', 'may_remove');
SELECT memory.allow('operator', 'place_legal_hold', 'lift_legal_hold', 'list_legal_holds');

-- Encryption: a data key per user, wrapped by the master key (memory.master_key_file, memory.master_key_command), and fields that are
-- encrypted by it. Whoever has the tables and not the master key has noise; so has whoever has a dump and not the user's key, which
-- is in none: destroying it (erasure, anonymising) makes noise of what older dumps hold.

CREATE TABLE memory.user_keys (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    key_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    wrapped_key bytea NOT NULL,
    is_current boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, key_id)
);
CREATE UNIQUE INDEX user_keys_current_idx ON memory.user_keys (tenant_id, user_id) WHERE is_current;
COMMENT ON TABLE memory.user_keys IS
    'The data keys of users, each wrapped by the master key. In no dump: export_user_keys() gives them apart, import_user_keys() brings them back. '
    'Written by the extension''s functions only.';
COMMENT ON COLUMN memory.user_keys.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.user_keys.user_id IS 'Whose data the key encrypts.';
COMMENT ON COLUMN memory.user_keys.key_id IS 'UUIDv7; each ciphertext names it.';
COMMENT ON COLUMN memory.user_keys.wrapped_key IS
    'The key, 32 random bytes, wrapped by AES-256-GCM: a version byte, 8 bytes that tell the master key, the nonce, ciphertext and tag. Bound to tenant, user and key_id.';
COMMENT ON COLUMN memory.user_keys.is_current IS 'Whether it encrypts what is new; one per user does. The others decrypt.';
COMMENT ON COLUMN memory.user_keys.created_at IS 'When it was made.';
SELECT memory.declare_table('memory.user_keys', 'user', '{user_id, wrapped_key}', 'WHERE false');
SELECT memory.declare_personal('memory.user_keys', '{
    "user_id": "user", "key_id": "pseudonym:key", "wrapped_key": "secret", "tenant_id, is_current, created_at": "keep"}', 'delete always');
SELECT memory.allow_table('app', 'SELECT', 'user_keys');

CREATE TABLE memory.encrypted_fields (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    field_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    field text COLLATE "C" NOT NULL CHECK (field <> ''),
    key_id uuid NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, field_id)
);
-- With the tenant, or the planner would rather read the primary key of a whole tenant.
CREATE INDEX encrypted_fields_field_id_idx ON memory.encrypted_fields (field_id, tenant_id);
COMMENT ON TABLE memory.encrypted_fields IS
    'Texts that a service has encrypted; the user does not see them. Written by encrypt_field(), read by decrypt_field().';
COMMENT ON COLUMN memory.encrypted_fields.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.encrypted_fields.user_id IS 'Whose text it is.';
COMMENT ON COLUMN memory.encrypted_fields.field_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.encrypted_fields.field IS 'What the text is, as the application names it; not encrypted.';
COMMENT ON COLUMN memory.encrypted_fields.key_id IS 'The key in user_keys. No foreign key: a dump brings the text, not the key.';
COMMENT ON COLUMN memory.encrypted_fields.ciphertext IS
    'AES-256-GCM: the nonce, ciphertext and tag. Bound to tenant, user, field, field_id and key_id.';
COMMENT ON COLUMN memory.encrypted_fields.created_at IS 'When it was encrypted.';
SELECT memory.declare_table('memory.encrypted_fields', 'service', '{user_id, field, ciphertext}');
SELECT memory.declare_personal('memory.encrypted_fields', '{
    "user_id": "user", "field_id": "pseudonym:field", "field, ciphertext": "clear", "key_id": "pseudonym:key",
    "tenant_id, created_at": "keep"}', 'delete always');
SELECT memory.allow_table('service', 'SELECT, INSERT, DELETE', 'encrypted_fields');

-- Runs as its owner: who may use a key may not write one, or the first to come could spoil it for the others.
CREATE FUNCTION memory.make_user_key(tenant_id uuid, user_id text) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'make_user_key_wrapper';
COMMENT ON FUNCTION memory.make_user_key(uuid, text) IS
    'Internal: makes the user''s data key, unless there is one. A user whom the context does not cover is 42501, no master key 55000.';

CREATE FUNCTION memory.encrypt_field(user_id text, field text, plaintext text, tenant text DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'encrypt_field_wrapper';
COMMENT ON FUNCTION memory.encrypt_field(text, text, text, text) IS
    'Encrypts a text under the user''s data key, which is made on first use, and gives the id that decrypt_field() takes. field says what it is, '
    'as the application names it; each call stores one more, the old one stays until the application deletes it from encrypted_fields. Pass the text as a parameter: as a literal it stands in pg_stat_activity and '
    'in the server''s log. A service context''s (42501); an empty field is 22023, NULL 22004, an unknown tenant P0002, a text above memory.max_payload_size '
    '54000, no master key 55000. Costs little more than the INSERT, which is audited.';

CREATE FUNCTION memory.decrypt_field(field_id uuid) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'decrypt_field_wrapper';
COMMENT ON FUNCTION memory.decrypt_field(uuid) IS
    'The text that encrypt_field() was given. A service context''s (42501). An id that is unknown, or another tenant''s, is P0002; a text that was changed, or '
    'moved here from another tenant, user or field, is XX001 and recorded as a violation; a user''s key or a master key that is not here 55000. '
    'Costs two lookups by key, and one more decryption per transaction and user.';

CREATE FUNCTION memory.rotate_master_key() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'rotate_master_key_wrapper';
COMMENT ON FUNCTION memory.rotate_master_key() IS
    'Wraps by the newest master key what older ones have wrapped (keys of users, secrets of auth_keys), 10,000 users at most, and gives how many: call it until that is 0, then the old '
    'master key is not needed any more. First put the new one above the old one, in the file or in what the command prints. Data stays '
    'readable throughout; new users wait for their first key meanwhile. An operator''s. Under REPEATABLE READ 55000; a key that fails its check XX001.';

CREATE FUNCTION memory.export_user_keys(tenant text DEFAULT NULL) RETURNS SETOF jsonb
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT jsonb_agg(k.key ORDER BY k.n)
    FROM (
        SELECT row_number() OVER (ORDER BY u.tenant_id, u.user_id, u.key_id) AS n, to_jsonb(u) AS key
        FROM memory.user_keys AS u
        WHERE u.tenant_id = coalesce(memory.tenant_id(export_user_keys.tenant), u.tenant_id)
    ) AS k
    GROUP BY (k.n - 1) / 1000
    ORDER BY (k.n - 1) / 1000;
END;
COMMENT ON FUNCTION memory.export_user_keys(text) IS
    'The users'' data keys, of one tenant or of all, as the master key has wrapped them: arrays of a thousand. What a dump leaves out. Keep the newest '
    'one only: with an older one, older dumps of users who were erased since can be read. A superuser''s. An unknown tenant is P0002.';

CREATE FUNCTION memory.check_user_key(tenant_id uuid, user_id text, key_id uuid, wrapped_key bytea) RETURNS bytea
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'check_user_key_wrapper';
COMMENT ON FUNCTION memory.check_user_key(uuid, text, uuid, bytea) IS
    'Internal: the wrapped key, if a configured master key has wrapped it for this user; else XX001 or 55000.';

CREATE FUNCTION memory.import_user_keys(keys jsonb) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH imported AS (
        INSERT INTO memory.user_keys AS u (tenant_id, user_id, key_id, wrapped_key, is_current, created_at)
        SELECT k.tenant_id, memory.held_user(k.tenant_id, k.user_id), k.key_id,
            memory.check_user_key(k.tenant_id, k.user_id, k.key_id, k.wrapped_key),
            -- where the user has got a new key since, that one goes on
            k.is_current AND NOT EXISTS (
                SELECT FROM memory.user_keys AS c WHERE c.tenant_id = k.tenant_id AND c.user_id = k.user_id AND c.is_current
            ),
            k.created_at
        FROM jsonb_to_recordset(memory.check_needed('keys', import_user_keys.keys)) AS k (
            tenant_id uuid, user_id text, key_id uuid, wrapped_key bytea, is_current boolean, created_at timestamptz
        )
        ORDER BY k.tenant_id, k.user_id COLLATE "C", k.key_id
        ON CONFLICT (tenant_id, user_id, key_id) DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM imported;
END;
COMMENT ON FUNCTION memory.import_user_keys(jsonb) IS
    'Brings back keys that export_user_keys() gave, one array a call, and gives how many were not there yet. A superuser''s, after a dump was restored. '
    'Keys of another master key are 55000: configure that one too, below the newest. Keys that were changed are XX001.';

-- Tenants whose events and nodes are encrypted at rest (tenants.encryption_enabled).
CREATE FUNCTION memory.encrypts(tenant_id uuid) RETURNS boolean
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'encrypts';
COMMENT ON FUNCTION memory.encrypts(uuid) IS 'Internal: the tenant''s encryption_enabled, as of this instant.';

CREATE FUNCTION memory.encrypt_row() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'encrypt_row';
COMMENT ON FUNCTION memory.encrypt_row() IS
    'Trigger, before a row is written: encrypts a column under its user''s data key. Arguments: the column, what the row is, the columns of its ids.';

CREATE FUNCTION memory.decrypted(
    tenant_id uuid, owner text, kind text, first_id text, second_id text, object jsonb
) RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'decrypted';
COMMENT ON FUNCTION memory.decrypted(uuid, text, text, text, text, jsonb) IS
    'Internal: the object that encrypt_row() was given; one that is not encrypted as it is. XX001 where it was changed or moved, 55000 where its key is not here.';

SELECT memory.allow('app', 'make_user_key', 'encrypts', 'decrypted');
SELECT memory.allow('service', 'encrypt_field', 'decrypt_field');
SELECT memory.allow('operator', 'rotate_master_key');

CREATE FUNCTION memory.decrypt_field_of(owner text, field_id uuid) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'decrypt_field_of_wrapper';
COMMENT ON FUNCTION memory.decrypt_field_of(text, uuid) IS
    'Internal, for an export: as decrypt_field(), of this user. After an import into the same tenant two users have fields of one id.';

CREATE FUNCTION memory.readable_encrypted_fields(encrypted memory.encrypted_fields) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT to_jsonb(readable_encrypted_fields.encrypted) - 'ciphertext' || jsonb_build_object('plaintext', memory.decrypt_field_of((readable_encrypted_fields.encrypted).user_id, (readable_encrypted_fields.encrypted).field_id));
END;
COMMENT ON FUNCTION memory.readable_encrypted_fields(memory.encrypted_fields) IS 'Internal: the field with its text in place of the ciphertext, for an export.';

-- Hot memory: sessions, their events, preferences, navigation.
--
-- Who locks what: a writer of events holds a KEY SHARE lock on its session (the foreign key's lock, taken before anything else);
-- archival takes its sessions FOR UPDATE SKIP LOCKED. So archival never takes a session that has an event which is not committed yet,
-- and writers of one session never wait for each other.

-- log_event() reads sessions and events by the positions of their columns.
CREATE TABLE memory.sessions (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    mode text NOT NULL DEFAULT 'simple',
    status text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'ended')),
    parent_session_id text COLLATE "C",
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    started_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    last_activity timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, user_id, session_id)
);
-- What archival looks for: sessions that have ended or expired, and those without activity.
CREATE INDEX sessions_over_idx ON memory.sessions (
    (least(expires_at, CASE WHEN status = 'ended' THEN coalesce(ended_at, last_activity) END))
);
CREATE INDEX sessions_last_activity_idx ON memory.sessions (last_activity);
COMMENT ON TABLE memory.sessions IS 'Sessions that are running or ended lately; run_archival() moves them away.';
COMMENT ON COLUMN memory.sessions.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.sessions.user_id IS 'The user.';
COMMENT ON COLUMN memory.sessions.session_id IS 'As the application names it; unique per user.';
COMMENT ON COLUMN memory.sessions.mode IS 'Free text.';
COMMENT ON COLUMN memory.sessions.status IS 'active or ended.';
COMMENT ON COLUMN memory.sessions.parent_session_id IS 'The session it came from, if any.';
COMMENT ON COLUMN memory.sessions.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.sessions.started_at IS 'When it was first saved or logged into.';
COMMENT ON COLUMN memory.sessions.last_activity IS
    'When it was last saved or logged into; log_event() moves it once a minute at most.';
COMMENT ON COLUMN memory.sessions.expires_at IS 'From then on nobody sees it; NULL: never.';
COMMENT ON COLUMN memory.sessions.ended_at IS 'When end_session() was called; NULL while active.';

CREATE TABLE memory.events (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL CHECK (event_id <> ''),
    event_type text COLLATE "C" NOT NULL CHECK (event_type <> ''),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(payload) = 'object'),
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id, event_id),
    FOREIGN KEY (tenant_id, user_id, session_id) REFERENCES memory.sessions ON DELETE CASCADE
);
CREATE INDEX events_occurred_at_idx ON memory.events (tenant_id, user_id, session_id, occurred_at);
COMMENT ON TABLE memory.events IS 'What happened in the sessions of memory.sessions; goes with its session.';
COMMENT ON COLUMN memory.events.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.events.user_id IS 'The user.';
COMMENT ON COLUMN memory.events.session_id IS 'The session.';
COMMENT ON COLUMN memory.events.event_id IS 'As the application names it, else a UUIDv7; unique per session.';
COMMENT ON COLUMN memory.events.event_type IS 'A word of memory.event_types.';
COMMENT ON COLUMN memory.events.occurred_at IS 'When it happened, as the application says.';
COMMENT ON COLUMN memory.events.payload IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.events.created_at IS 'When it was logged.';

CREATE TABLE memory.preferences (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    preferences jsonb NOT NULL CHECK (jsonb_typeof(preferences) = 'object'),
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE memory.preferences IS 'What users prefer: one object per user.';
COMMENT ON COLUMN memory.preferences.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.preferences.user_id IS 'The user.';
COMMENT ON COLUMN memory.preferences.preferences IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.preferences.updated_at IS 'When it was last set.';

CREATE TABLE memory.navigation (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    path text NOT NULL,
    visited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, id)
);
COMMENT ON TABLE memory.navigation IS 'Where users have been: the newest memory.navigation_limit steps of each.';
COMMENT ON COLUMN memory.navigation.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.navigation.user_id IS 'The user.';
COMMENT ON COLUMN memory.navigation.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.navigation.path IS 'The place, as the application names it.';
COMMENT ON COLUMN memory.navigation.visited_at IS 'When.';

SELECT memory.declare_table('memory.sessions', 'user', '{user_id, session_id, parent_session_id, mode, metadata}');
SELECT memory.declare_table('memory.events', 'user', '{user_id, session_id, event_id, event_type, payload}');
SELECT memory.declare_table('memory.preferences', 'user', '{user_id, preferences}');
SELECT memory.declare_table('memory.navigation', 'user', '{user_id, path}');
SELECT memory.declare_personal('memory.sessions', '{
    "user_id": "user", "session_id, parent_session_id": "pseudonym:session", "mode": "word", "metadata": "clear",
    "tenant_id, status, started_at, last_activity, expires_at, ended_at": "keep"}');
SELECT memory.declare_personal('memory.events', '{
    "user_id": "user", "session_id": "pseudonym:session", "event_id": "pseudonym:event", "event_type": "word:event_types",
    "payload": "clear", "tenant_id, occurred_at, created_at": "keep"}');
SELECT memory.declare_personal('memory.preferences',
    '{"user_id": "user", "preferences": "clear", "tenant_id, updated_at": "keep"}');
SELECT memory.declare_personal('memory.navigation',
    '{"user_id": "user", "id": "pseudonym:navigation", "path": "clear", "tenant_id, visited_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'sessions', 'events', 'preferences', 'navigation');

CREATE FUNCTION memory.save_session(
    session_id text, metadata jsonb DEFAULT '{}', mode text DEFAULT 'simple', parent_session_id text DEFAULT NULL,
    ttl interval DEFAULT NULL, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS memory.sessions
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.sessions AS t (tenant_id, user_id, session_id, metadata, mode, parent_session_id, expires_at)
    SELECT s.tenant_id, s.subject_id, memory.check_text('session_id', save_session.session_id),
        memory.check_object('metadata', save_session.metadata), memory.check_text('mode', save_session.mode),
        save_session.parent_session_id, statement_timestamp() + memory.check_interval('ttl', save_session.ttl)
    FROM memory.writer(save_session.tenant, save_session.user_id) AS s
    ON CONFLICT (tenant_id, user_id, session_id) DO UPDATE SET
        metadata = t.metadata || excluded.metadata,
        mode = CASE WHEN excluded.mode = 'simple' THEN t.mode ELSE excluded.mode END,
        parent_session_id = coalesce(t.parent_session_id, excluded.parent_session_id),
        last_activity = excluded.last_activity,
        status = 'active',
        ended_at = NULL,
        expires_at = CASE
            WHEN save_session.ttl IS NULL AND t.expires_at > statement_timestamp() THEN t.expires_at
            ELSE excluded.expires_at
        END
    RETURNING t;
END;
COMMENT ON FUNCTION memory.save_session(text, jsonb, text, text, interval, text, text) IS
    'Creates a session, or merges metadata into it key by key (top level) and moves last_activity; a mode other than the '
    'default simple replaces the old one, parent_session_id is filled in if it was NULL. ttl: from now on; NULL leaves an expiry that is still to come. Brings a session '
    'that ended or expired back. Gives the row. metadata no object or '''' as session_id 22023, NULL 22004.';

CREATE FUNCTION memory.get_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS SETOF memory.sessions
LANGUAGE sql STABLE ROWS 1
BEGIN ATOMIC
    SELECT t
    FROM memory.subject(get_session.tenant, get_session.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
        AND t.session_id = memory.check_text('session_id', get_session.session_id)
    WHERE (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        AND memory.subject(get_session.tenant, get_session.user_id) IS NOT NULL
        AND memory.note_read('get_session', get_session.tenant, get_session.user_id)
        AND memory.check_text('session_id', get_session.session_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.get_session(text, text, text) IS
    'The hot session, or no row where there is none or it has expired.';

CREATE FUNCTION memory.end_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH ended AS (
        UPDATE memory.sessions AS t
        SET status = 'ended', ended_at = coalesce(t.ended_at, statement_timestamp()), last_activity = statement_timestamp()
        FROM memory.writer(end_session.tenant, end_session.user_id) AS s
        WHERE t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
            AND t.session_id = memory.check_text('session_id', end_session.session_id)
            AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        RETURNING 1
    )
    SELECT memory.check_found((SELECT count(*) > 0 FROM ended), 'session', end_session.session_id)
    WHERE memory.subject(end_session.tenant, end_session.user_id) IS NOT NULL
        AND memory.check_text('session_id', end_session.session_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_session(text, text, text) IS
    'Ends a session: the next run_archival() moves it. Ending it again changes nothing but last_activity. An unknown or expired '
    'one is P0002.';

CREATE FUNCTION memory.list_sessions(
    status text DEFAULT NULL, max_sessions integer DEFAULT 100, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.sessions
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t
    FROM memory.scope(list_sessions.tenant, list_sessions.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id BETWEEN s.user_low AND s.user_high
    WHERE (list_sessions.status IS NULL OR t.status = list_sessions.status)
        AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        AND memory.scope(list_sessions.tenant, list_sessions.user_id) IS NOT NULL
        AND memory.note_read('list_sessions', list_sessions.tenant, list_sessions.user_id)
        AND (list_sessions.status IS NULL OR memory.check_word('status', list_sessions.status, '{active, ended}') IS NOT NULL)
    ORDER BY t.last_activity DESC, t.user_id, t.session_id
    LIMIT memory.check_positive('max_sessions', list_sessions.max_sessions);
END;
COMMENT ON FUNCTION memory.list_sessions(text, integer, text, text) IS
    'Hot sessions, latest activity first: of the user, or of the whole tenant in a service context. status: active, ended, or NULL '
    'for both; another word is 22023. Costs a sort of all that the call covers.';

CREATE FUNCTION memory.log_event(
    session_id text, event_type text, payload jsonb, event_id text DEFAULT NULL, occurred_at timestamptz DEFAULT now(),
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'log_event_wrapper';
COMMENT ON FUNCTION memory.log_event(text, text, jsonb, text, timestamptz, text, text) IS
    'Logs an event and gives its id (event_id NULL: a new UUIDv7). A missing session is created; one that ended or expired comes back. '
    'An event_id that the session has already, hot or archived, changes nothing, so a retry is safe. An event_type that is no word of '
    'event_types, a payload that is no object or an empty id is 22023; NULL in one of the first three 22004; a payload above '
    'memory.max_payload_size 54000. Costs little more than the INSERT; with an event_id one look into the archive besides.';

CREATE FUNCTION memory.log_events(
    session_id text, events jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'log_events_wrapper';
COMMENT ON FUNCTION memory.log_events(text, jsonb, text, text) IS
    'Logs an array of objects {event_type, payload, event_id, occurred_at} (the last two may be missing) into one session, and '
    'gives how many are new. Same rules as log_event(); of duplicates inside the batch the first counts. What is wrong is 22023 and '
    'names the element, counted from 1; then nothing is stored.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.events FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.payload ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('payload', 'event', 'session_id', 'event_id');
COMMENT ON TRIGGER encrypt ON memory.events IS 'Encrypts the payload, where the tenant has that.';

CREATE FUNCTION memory.readable_events(event memory.events) RETURNS memory.events
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_events.event).payload ? '_encrypted' THEN jsonb_populate_record(readable_events.event, jsonb_build_object('payload',
        memory.decrypted((readable_events.event).tenant_id, (readable_events.event).user_id, 'event', (readable_events.event).session_id, (readable_events.event).event_id,
            (readable_events.event).payload))) ELSE readable_events.event END;
END;
COMMENT ON FUNCTION memory.readable_events(memory.events) IS 'Internal: the event with its payload decrypted, if it is encrypted.';
SELECT memory.allow('app', 'readable_events');

CREATE FUNCTION memory.get_events(
    session_id text, event_types text[] DEFAULT NULL, since timestamptz DEFAULT NULL, max_events integer DEFAULT 1000,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.events
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT memory.readable_events(e)
    FROM memory.scope(get_events.tenant, get_events.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id BETWEEN s.user_low AND s.user_high
        AND t.session_id = memory.check_text('session_id', get_events.session_id)
        AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
    JOIN memory.events AS e ON e.tenant_id = t.tenant_id AND e.user_id = t.user_id AND e.session_id = t.session_id
    WHERE (get_events.event_types IS NULL OR e.event_type = ANY (get_events.event_types))
        AND e.occurred_at >= coalesce(get_events.since, '-infinity')
        AND memory.scope(get_events.tenant, get_events.user_id) IS NOT NULL
        AND memory.note_read('get_events', get_events.tenant, get_events.user_id)
        AND memory.check_text('session_id', get_events.session_id) IS NOT NULL
    ORDER BY e.occurred_at, e.event_id, e.user_id
    LIMIT memory.check_positive('max_events', get_events.max_events);
END;
COMMENT ON FUNCTION memory.get_events(text, text[], timestamptz, integer, text, text) IS
    'The session''s hot events, oldest first (by occurred_at, then event_id): the oldest max_events of those at or after since '
    '(NULL: from the start) and of one of event_types (NULL: of any). To page, pass the last occurred_at as since and skip the ids '
    'already seen. None where the session is unknown or has expired. What is archived: replay_session().';

CREATE FUNCTION memory.set_preferences(preferences jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.preferences AS t (tenant_id, user_id, preferences)
    SELECT s.tenant_id, s.subject_id, memory.check_object('preferences', set_preferences.preferences)
    FROM memory.writer(set_preferences.tenant, set_preferences.user_id) AS s
    ON CONFLICT (tenant_id, user_id) DO UPDATE
        SET preferences = t.preferences || excluded.preferences, updated_at = excluded.updated_at
    RETURNING t.preferences;
END;
COMMENT ON FUNCTION memory.set_preferences(jsonb, text, text) IS
    'Merges an object into the user''s preferences key by key (top level) and gives the result. No object is 22023.';

CREATE FUNCTION memory.get_preferences(tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(t.preferences, '{}')
    FROM memory.subject(get_preferences.tenant, get_preferences.user_id) AS s
    LEFT JOIN memory.preferences AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
    WHERE memory.note_read('get_preferences', get_preferences.tenant, get_preferences.user_id);
END;
COMMENT ON FUNCTION memory.get_preferences(text, text) IS 'The user''s preferences; {} where none were set.';

-- Trimming skips what another call is removing just now: two calls of one user neither wait for each other nor deadlock.
CREATE FUNCTION memory.record_navigation(path text, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.navigation (tenant_id, user_id, path)
    SELECT s.tenant_id, s.subject_id, memory.check_text('path', record_navigation.path)
    FROM memory.writer(record_navigation.tenant, record_navigation.user_id) AS s;
    DELETE FROM memory.navigation AS t
    USING (
        SELECT n.tenant_id, n.user_id, n.id
        FROM memory.navigation AS n
        JOIN (
            SELECT o.tenant_id, o.user_id, o.id
            FROM memory.subject(record_navigation.tenant, record_navigation.user_id) AS s
            JOIN memory.navigation AS o ON o.tenant_id = s.tenant_id AND o.user_id = s.subject_id
            ORDER BY o.visited_at DESC, o.id DESC
            OFFSET coalesce(pg_catalog.current_setting('memory.navigation_limit', true)::integer, 100)
        ) AS old ON n.tenant_id = old.tenant_id AND n.user_id = old.user_id AND n.id = old.id
        WHERE memory.may_remove(n.tenant_id, n.user_id)
        FOR UPDATE OF n SKIP LOCKED
    ) AS trimmed
    WHERE t.tenant_id = trimmed.tenant_id AND t.user_id = trimmed.user_id AND t.id = trimmed.id;
END;
COMMENT ON FUNCTION memory.record_navigation(text, text, text) IS
    'Notes that the user is at a place now, and drops the user''s steps beyond the newest memory.navigation_limit, '
    'unless a legal hold stands.';

CREATE FUNCTION memory.get_navigation(max_entries integer DEFAULT 100, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (path text, visited_at timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t.path, t.visited_at
    FROM memory.subject(get_navigation.tenant, get_navigation.user_id) AS s
    JOIN memory.navigation AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
    WHERE memory.subject(get_navigation.tenant, get_navigation.user_id) IS NOT NULL
        AND memory.note_read('get_navigation', get_navigation.tenant, get_navigation.user_id)
    ORDER BY t.visited_at DESC, t.id DESC
    LIMIT least(memory.check_positive('max_entries', get_navigation.max_entries),
        coalesce(pg_catalog.current_setting('memory.navigation_limit', true)::integer, 100));
END;
COMMENT ON FUNCTION memory.get_navigation(integer, text, text) IS
    'Where the user has been, newest first: at most max_entries and memory.navigation_limit.';

SELECT memory.allow('app', 'save_session', 'get_session', 'end_session', 'list_sessions', 'log_event', 'log_events', 'get_events',
    'set_preferences', 'get_preferences', 'record_navigation', 'get_navigation');

-- The archive: sessions and events that left hot memory, and what services archive themselves.

CREATE TABLE memory.agent_sessions_archive (
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    started_at timestamptz,
    last_activity timestamptz,
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object' AND payload ? '_tenant'),
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id)
);
COMMENT ON TABLE memory.agent_sessions_archive IS 'Archived sessions, one row per session. A service context''s.';
COMMENT ON COLUMN memory.agent_sessions_archive.id IS 'UUIDv7; stays when the session is archived again.';
COMMENT ON COLUMN memory.agent_sessions_archive.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.agent_sessions_archive.user_id IS 'The user.';
COMMENT ON COLUMN memory.agent_sessions_archive.session_id IS 'The session; unique per user.';
COMMENT ON COLUMN memory.agent_sessions_archive.started_at IS 'When it started, if known.';
COMMENT ON COLUMN memory.agent_sessions_archive.last_activity IS 'When it was last active, if known.';
COMMENT ON COLUMN memory.agent_sessions_archive.payload IS
    'An object with _tenant: {input, slug, uuid, source, found}, how the tenant was resolved. From run_archival(): metadata, mode, '
    'status, parent_session_id, expires_at, ended_at.';
COMMENT ON COLUMN memory.agent_sessions_archive.archived_at IS 'When it was last archived.';
COMMENT ON COLUMN memory.agent_sessions_archive.created_at IS 'When it was first archived.';

-- log_event() reads columns 2 to 5 by their positions.
CREATE TABLE memory.agent_events_archive (
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    event_id text COLLATE "C" NOT NULL CHECK (event_id <> ''),
    event_type text COLLATE "C" NOT NULL CHECK (event_type <> ''),
    occurred_at timestamptz NOT NULL,
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object' AND payload ? '_tenant'),
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id, event_id)
);
COMMENT ON TABLE memory.agent_events_archive IS 'Archived events, each once. A service context''s.';
COMMENT ON COLUMN memory.agent_events_archive.id IS 'UUIDv7; stays when the event is archived again.';
COMMENT ON COLUMN memory.agent_events_archive.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.agent_events_archive.user_id IS 'The user.';
COMMENT ON COLUMN memory.agent_events_archive.session_id IS 'The session.';
COMMENT ON COLUMN memory.agent_events_archive.event_id IS 'The event; unique per session.';
COMMENT ON COLUMN memory.agent_events_archive.event_type IS 'Any word; the vocabulary binds hot events only.';
COMMENT ON COLUMN memory.agent_events_archive.occurred_at IS 'When it happened.';
COMMENT ON COLUMN memory.agent_events_archive.payload IS
    'An object with _tenant: {input, slug, uuid, source, found}, how the tenant was resolved.';
COMMENT ON COLUMN memory.agent_events_archive.archived_at IS 'When it was last archived.';
COMMENT ON COLUMN memory.agent_events_archive.created_at IS 'When it was first archived.';

SELECT memory.declare_table('memory.agent_sessions_archive', 'service', '{user_id, session_id, payload}');
SELECT memory.declare_table('memory.agent_events_archive', 'service', '{user_id, session_id, event_id, event_type, payload}');
SELECT memory.declare_personal('memory.agent_sessions_archive', '{
    "user_id": "user", "session_id": "pseudonym:session", "id": "pseudonym:archive", "payload": "clear:_tenant",
    "tenant_id, started_at, last_activity, archived_at, created_at": "keep"}');
SELECT memory.declare_personal('memory.agent_events_archive', '{
    "user_id": "user", "session_id": "pseudonym:session", "event_id": "pseudonym:event", "id": "pseudonym:archive",
    "event_type": "word:event_types", "payload": "clear:_tenant",
    "tenant_id, occurred_at, archived_at, created_at": "keep"}');
SELECT memory.allow_table('service', 'SELECT, INSERT, UPDATE, DELETE', 'agent_sessions_archive', 'agent_events_archive');

CREATE FUNCTION memory.archive_session(
    tenant text, user_id text, session_id text, payload jsonb, started_at timestamptz DEFAULT NULL,
    last_activity timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_session';
COMMENT ON FUNCTION memory.archive_session(text, text, text, jsonb, timestamptz, timestamptz) IS
    'Archives a session and gives its id in the archive. Again: the same id, the newer payload, archived_at moved; a time that is NULL '
    'leaves the one known. tenant: slug or UUID, NULL the context''s; an unknown one is P0002 and recorded as a violation. Needs a '
    'service context (42501); another tenant than the context''s needs the profile service for it. The payload gets _tenant.';

CREATE FUNCTION memory.archive_event(
    tenant text, user_id text, session_id text, event_id text, event_type text, occurred_at timestamptz, payload jsonb
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_event';
COMMENT ON FUNCTION memory.archive_event(text, text, text, text, text, timestamptz, jsonb) IS
    'Archives an event, of any type, and gives its id in the archive. Again: the same id; what is equal is not written. Otherwise '
    'as archive_session().';

CREATE FUNCTION memory.archive_sessions(
    sessions jsonb, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint
) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_sessions';
COMMENT ON FUNCTION memory.archive_sessions(jsonb) IS
    'Archives an array of objects {tenant, user_id, session_id, payload, started_at, last_activity}; tenants may be mixed where the '
    'role serves them all and the context is not sealed. Of duplicates the last counts. unchanged: equal to what is there; '
    'not written. What is wrong is 22023 and names the element, counted from 1; then nothing is stored.';

CREATE FUNCTION memory.archive_events(
    events jsonb, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint
) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_events';
COMMENT ON FUNCTION memory.archive_events(jsonb) IS
    'Archives an array of objects {tenant, user_id, session_id, event_id, event_type, occurred_at, payload}; timestamp is read as '
    'occurred_at. Otherwise as archive_sessions(). One statement per tenant, whatever the size.';

-- Runs as its owner, for all tenants: an operator sees no payload, and has no privilege on the tables that it moves.
CREATE FUNCTION memory.run_archival(
    idle_for interval DEFAULT '30 minutes', batch_size integer DEFAULT 1000,
    OUT sessions bigint, OUT events bigint, OUT more boolean, OUT duration_ms double precision
) RETURNS record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'run_archival';
COMMENT ON FUNCTION memory.run_archival(interval, integer) IS
    'Moves at most batch_size sessions of any tenant, with all their events, from hot memory to the archive: those that ended, expired '
    'or had no activity for idle_for. more: call again. Safe beside writers and beside another run: sessions in use are '
    'skipped; a crash loses and doubles nothing. An operator''s. batch_size below 1 or idle_for below 0 is 22023.';

CREATE FUNCTION memory.archive_scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'archive_scope';
COMMENT ON FUNCTION memory.archive_scope(text, text) IS
    'Internal: as scope(), for what reads the archive: a user context is 42501.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.agent_events_archive FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.payload ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('payload', 'event', 'session_id', 'event_id');
COMMENT ON TRIGGER encrypt ON memory.agent_events_archive IS 'Encrypts the payload but for _tenant, where the tenant has that.';

CREATE FUNCTION memory.readable_agent_events_archive(event memory.agent_events_archive) RETURNS memory.agent_events_archive
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_agent_events_archive.event).payload ? '_encrypted' THEN jsonb_populate_record(readable_agent_events_archive.event, jsonb_build_object('payload',
        memory.decrypted((readable_agent_events_archive.event).tenant_id, (readable_agent_events_archive.event).user_id, 'event', (readable_agent_events_archive.event).session_id, (readable_agent_events_archive.event).event_id,
            (readable_agent_events_archive.event).payload))) ELSE readable_agent_events_archive.event END;
END;
COMMENT ON FUNCTION memory.readable_agent_events_archive(memory.agent_events_archive) IS 'Internal: the archived event with its payload decrypted, if it is encrypted.';
SELECT memory.allow('service', 'readable_agent_events_archive');

CREATE FUNCTION memory.replay_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (
    seq bigint, event_id text, event_type text, occurred_at timestamptz, payload jsonb, archived boolean
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH stream AS (
        SELECT e.user_id, e.event_id, e.event_type, e.occurred_at, (memory.readable_events(e)).payload, false AS archived
        FROM memory.archive_scope(replay_session.tenant, replay_session.user_id) AS s
        JOIN memory.events AS e ON e.tenant_id = s.tenant_id AND e.user_id BETWEEN s.user_low AND s.user_high
            AND e.session_id = memory.check_text('session_id', replay_session.session_id)
        WHERE memory.note_read('replay_session', replay_session.tenant, replay_session.user_id) AND NOT EXISTS (
            SELECT FROM memory.agent_events_archive AS a
            WHERE a.tenant_id = e.tenant_id AND a.user_id = e.user_id AND a.session_id = e.session_id
                AND a.event_id = e.event_id
        )
        UNION ALL
        SELECT a.user_id, a.event_id, a.event_type, a.occurred_at, (memory.readable_agent_events_archive(a)).payload, true
        FROM memory.archive_scope(replay_session.tenant, replay_session.user_id) AS s
        JOIN memory.agent_events_archive AS a ON a.tenant_id = s.tenant_id AND a.user_id BETWEEN s.user_low AND s.user_high
            AND a.session_id = memory.check_text('session_id', replay_session.session_id)
    )
    SELECT row_number() OVER (ORDER BY t.occurred_at, t.event_id, t.user_id), t.event_id, t.event_type, t.occurred_at,
        t.payload, t.archived
    FROM stream AS t
    WHERE memory.archive_scope(replay_session.tenant, replay_session.user_id) IS NOT NULL
        AND memory.check_text('session_id', replay_session.session_id) IS NOT NULL
    ORDER BY t.occurred_at, t.event_id, t.user_id;
END;
COMMENT ON FUNCTION memory.replay_session(text, text, text) IS
    'The session''s events, hot and archived (expired ones too), as one stream by occurred_at, then event_id, numbered from 1; each once. '
    'Archived payloads have _tenant. Needs a service context (42501); without user_id it reads the whole tenant''s keys, and mixes users '
    'who share a session_id.';

SELECT memory.allow('service', 'archive_session', 'archive_event', 'archive_sessions', 'archive_events', 'archive_scope',
    'replay_session');
SELECT memory.allow('operator', 'run_archival');

-- The knowledge graph: its tables, nodes and the relationships between them, and what the statements over them share.

CREATE TABLE memory.nodes (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    node_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    session_id text COLLATE "C",
    content jsonb NOT NULL CHECK (jsonb_typeof(content) = 'object'),
    context_type text COLLATE "C" NOT NULL,
    summary text,
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    -- NaN is greater than every number.
    base_relevance real NOT NULL DEFAULT 0.5 CHECK (base_relevance BETWEEN 0 AND 1),
    tier text COLLATE "C" NOT NULL DEFAULT 'private' CHECK (tier IN ('private', 'shared', 'consensus')),
    entity_id text COLLATE "C",
    entity_type text COLLATE "C",
    entity_system text COLLATE "C",
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz CHECK (valid_to >= valid_from),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_accessed timestamptz NOT NULL DEFAULT now(),
    access_count bigint NOT NULL DEFAULT 1 CHECK (access_count >= 0),
    PRIMARY KEY (tenant_id, user_id, node_id),
    UNIQUE (tenant_id, user_id, entity_system, entity_id)
) WITH (fillfactor = 85);
-- A node by its id is one index condition whatever range of users the context covers; whether it is valid, the index
-- says itself. No column that storing again or touching changes stands in an index, so those updates stay in the heap, and on their page
-- while it has room: then no index hears of them.
CREATE INDEX nodes_node_id_idx ON memory.nodes (tenant_id, node_id)
    INCLUDE (user_id, valid_from, valid_to, expires_at);
CREATE INDEX nodes_created_at_idx ON memory.nodes (tenant_id, user_id, created_at);
-- What may be unseen is little of all: a walk reads it once instead of asking each node.
CREATE INDEX nodes_bounded_idx ON memory.nodes (tenant_id, user_id, node_id)
    WHERE valid_to IS NOT NULL OR expires_at IS NOT NULL OR valid_from > created_at;
COMMENT ON TABLE memory.nodes IS
    'What a user''s agents know. A node whose content names entity_id and entity_system is an entity: stored once per user, '
    'merged when it is stored again. Write with store_node(), store_nodes(), end_node(), touch_nodes(), delete_nodes().';
COMMENT ON COLUMN memory.nodes.tenant_id IS 'Whose it is.';
COMMENT ON COLUMN memory.nodes.user_id IS 'Whose it is.';
COMMENT ON COLUMN memory.nodes.node_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.nodes.session_id IS 'The session that it was first stored in, if any.';
COMMENT ON COLUMN memory.nodes.content IS
    'An object. In an entity''s, update_count says how often it was stored again, last_updated when it last was (UTC).';
COMMENT ON COLUMN memory.nodes.context_type IS 'What it is: a word of memory.context_types.';
COMMENT ON COLUMN memory.nodes.summary IS 'For people and for search.';
COMMENT ON COLUMN memory.nodes.tags IS 'A set, in the order in which they came.';
COMMENT ON COLUMN memory.nodes.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.nodes.base_relevance IS 'From 0 to 1, as the application rates it; nothing ranks by it yet.';
COMMENT ON COLUMN memory.nodes.tier IS 'private, shared or consensus; a label for now.';
COMMENT ON COLUMN memory.nodes.entity_id IS 'content''s entity_id: what the system calls it.';
COMMENT ON COLUMN memory.nodes.entity_type IS 'content''s entity_type.';
COMMENT ON COLUMN memory.nodes.entity_system IS 'content''s entity_system: where the id is unique.';
COMMENT ON COLUMN memory.nodes.valid_from IS 'From when on it holds.';
COMMENT ON COLUMN memory.nodes.valid_to IS 'Until when it holds, itself excluded; NULL: no end.';
COMMENT ON COLUMN memory.nodes.expires_at IS 'From then on it is unseen, and clean_expired() removes it; NULL: never.';
COMMENT ON COLUMN memory.nodes.created_at IS 'When it was first stored.';
COMMENT ON COLUMN memory.nodes.updated_at IS 'When it was last stored or ended.';
COMMENT ON COLUMN memory.nodes.last_accessed IS 'When it was last stored or touched.';
COMMENT ON COLUMN memory.nodes.access_count IS 'How often it was stored or touched.';

CREATE TABLE memory.relationships (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    from_node_id uuid NOT NULL,
    to_node_id uuid NOT NULL,
    relationship_type text COLLATE "C" NOT NULL,
    strength real NOT NULL DEFAULT 1 CHECK (strength BETWEEN 0 AND 1),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz CHECK (valid_to >= valid_from),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, id),
    FOREIGN KEY (tenant_id, user_id, from_node_id) REFERENCES memory.nodes ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id, to_node_id) REFERENCES memory.nodes ON DELETE CASCADE
);
CREATE UNIQUE INDEX relationships_current_key ON memory.relationships
    (tenant_id, user_id, from_node_id, to_node_id, relationship_type) WHERE valid_to IS NULL;
-- A step of a walk reads one of these and nothing else. They serve the foreign keys too.
CREATE INDEX relationships_out_idx ON memory.relationships (tenant_id, from_node_id)
    INCLUDE (to_node_id, relationship_type, strength, valid_from, valid_to, user_id);
CREATE INDEX relationships_in_idx ON memory.relationships (tenant_id, to_node_id)
    INCLUDE (from_node_id, relationship_type, strength, valid_from, valid_to, user_id);
COMMENT ON TABLE memory.relationships IS
    'Relationships between two nodes of one user, or of a node with itself; at most one current of each type and direction. '
    'Write with store_relationship(), store_relationships(), end_relationship().';
COMMENT ON COLUMN memory.relationships.tenant_id IS 'Whose it is, and both its nodes.';
COMMENT ON COLUMN memory.relationships.user_id IS 'Whose it is, and both its nodes.';
COMMENT ON COLUMN memory.relationships.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.relationships.from_node_id IS 'Where it starts.';
COMMENT ON COLUMN memory.relationships.to_node_id IS 'Where it ends.';
COMMENT ON COLUMN memory.relationships.relationship_type IS 'What it says: a word of memory.relationship_types.';
COMMENT ON COLUMN memory.relationships.strength IS 'From 0 to 1; traverse() can ask for a least one.';
COMMENT ON COLUMN memory.relationships.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.relationships.valid_from IS 'From when on it holds.';
COMMENT ON COLUMN memory.relationships.valid_to IS 'Until when it holds, itself excluded; NULL: it is current.';
COMMENT ON COLUMN memory.relationships.created_at IS 'When it was first stored.';

SELECT memory.declare_table('memory.nodes', 'user',
    '{user_id, session_id, content, context_type, summary, tags, metadata, entity_id, entity_type, entity_system}');
SELECT memory.declare_table('memory.relationships', 'user', '{user_id, relationship_type, metadata}');
-- A graph in memory is of relationships, and of when their nodes are seen.
SELECT memory.declare_kept('memory.relationships');
CREATE TRIGGER kept_validity BEFORE UPDATE ON memory.nodes FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.user_id, OLD.node_id, OLD.valid_from, OLD.valid_to, OLD.expires_at) IS DISTINCT FROM
          (NEW.tenant_id, NEW.user_id, NEW.node_id, NEW.valid_from, NEW.valid_to, NEW.expires_at))
    EXECUTE FUNCTION memory.kept_changed('relationships');
ALTER TABLE memory.nodes ENABLE ALWAYS TRIGGER kept_validity;
COMMENT ON TRIGGER kept_validity ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph.';
-- A node that comes has no relationships, and one that goes takes them along; but not where no foreign key is watched.
CREATE TRIGGER kept_insert AFTER INSERT ON memory.nodes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.kept_changed('relationships');
CREATE TRIGGER kept_delete AFTER DELETE ON memory.nodes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.kept_changed('relationships');
ALTER TABLE memory.nodes ENABLE REPLICA TRIGGER kept_insert, ENABLE REPLICA TRIGGER kept_delete;
COMMENT ON TRIGGER kept_insert ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph, in logical replication.';
COMMENT ON TRIGGER kept_delete ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph, in logical replication.';
SELECT memory.declare_personal('memory.nodes', '{
    "user_id": "user", "node_id": "pseudonym:node", "session_id": "pseudonym:session", "entity_id": "pseudonym:entity",
    "entity_type": "pseudonym:entity_type", "entity_system": "pseudonym:entity_system", "context_type": "word:context_types",
    "content, summary, tags, metadata": "clear",
    "tenant_id, base_relevance, tier, valid_from, valid_to, expires_at, created_at, updated_at, last_accessed, access_count": "keep"}');
SELECT memory.declare_personal('memory.relationships', '{
    "user_id": "user", "id": "pseudonym:relationship", "from_node_id, to_node_id": "pseudonym:node",
    "relationship_type": "word:relationship_types", "metadata": "clear",
    "tenant_id, strength, valid_from, valid_to, created_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'nodes', 'relationships');

-- Internal helpers, each one statement's part.

CREATE FUNCTION memory.holds_at(
    valid_from timestamptz, valid_to timestamptz, expires_at timestamptz, as_of timestamptz
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT holds_at.valid_from <= holds_at.as_of
        AND (holds_at.valid_to IS NULL OR holds_at.valid_to > holds_at.as_of)
        AND (holds_at.expires_at IS NULL OR holds_at.expires_at > holds_at.as_of);
END;
COMMENT ON FUNCTION memory.holds_at(timestamptz, timestamptz, timestamptz, timestamptz) IS
    'Internal: whether something with this validity, [valid_from, valid_to) and before expires_at, is seen at as_of.';

CREATE FUNCTION memory.merge_entity(old jsonb, new jsonb, stores bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'merge_entity';
COMMENT ON FUNCTION memory.merge_entity(jsonb, jsonb, bigint) IS
    'Internal: an entity''s content after it was stored again: entity_data merged deep, other keys of new win, update_count plus stores. '
    '54000 when that passes memory.max_payload_size.';

CREATE FUNCTION memory.check_end(valid_from timestamptz, valid_to timestamptz) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_end_wrapper';
COMMENT ON FUNCTION memory.check_end(timestamptz, timestamptz) IS
    'Internal: valid_to (NULL: now), if it is not before valid_from, else 22023.';

CREATE FUNCTION memory.check_direction(direction text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_direction';
COMMENT ON FUNCTION memory.check_direction(text) IS 'Internal: the direction, if it is out, in or both; else 22023, NULL 22004.';

CREATE FUNCTION memory.check_context_types(context_types text[]) RETURNS text[]
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'check_context_types_wrapper';
COMMENT ON FUNCTION memory.check_context_types(text[]) IS
    'Internal: the words, if all are context types; else 22023 with the nearest known one in the hint. NULL stands for all.';

SELECT memory.allow('app', 'holds_at', 'merge_entity', 'check_end', 'check_direction', 'check_context_types');

-- The knowledge graph: nodes, stored, read, touched, ended and deleted.

-- Whose a call is about is asked before anything else: as one side of a join, subject() is not called where the other
-- side has no row. Hence a statement of its own, or a LATERAL that needs its answer.

CREATE FUNCTION memory.store_node(
    content jsonb, context_type text, summary text DEFAULT NULL, tags text[] DEFAULT '{}', metadata jsonb DEFAULT '{}',
    base_relevance real DEFAULT 0.5, tier text DEFAULT 'private', session_id text DEFAULT NULL,
    valid_from timestamptz DEFAULT now(), expires_at timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_node_wrapper';
COMMENT ON FUNCTION memory.store_node(jsonb, text, text, text[], jsonb, real, text, text, timestamptz, timestamptz, text, text) IS
    'Stores a node; gives its id. content is an object; where it names entity_id and entity_system (strings or numbers) the node '
    'is an entity, stored once per user: storing it again gives the same id, merges content (entity_data deep, other keys: new '
    'wins), tags and metadata, takes summary and expires_at if given, counts in content.update_count and access_count, and '
    'revives it if it was ended or has expired; context_type, tier, base_relevance, session_id and valid_from stay. '
    'session_id NULL: the context''s; NULL elsewhere: the default. 22023: content no object, an unknown context_type or tier, '
    'base_relevance outside of 0 to 1; 54000: more than memory.max_payload_size.';

CREATE FUNCTION memory.store_nodes(
    nodes jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT ordinality bigint, OUT node_id uuid, OUT created boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 1000
AS 'MODULE_PATHNAME', 'store_nodes_wrapper';
COMMENT ON FUNCTION memory.store_nodes(jsonb, text, text) IS
    'store_node() of each element of an array of objects with its argument names (and user_id, in a service context), in one '
    'statement; all or none. Gives each element''s place, its node and whether it is new, in input order; of an entity that '
    'comes twice the first is new. An element that is wrong is 22023 and named by its place. Two batches at once never '
    'deadlock. Costs some 50 µs per element, the audit included.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.nodes FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.content ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('content', 'node', 'node_id');
COMMENT ON TRIGGER encrypt ON memory.nodes IS 'Encrypts the content but for what names the entity, where the tenant has that.';

CREATE FUNCTION memory.readable_nodes(node memory.nodes) RETURNS memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_nodes.node).content ? '_encrypted' THEN jsonb_populate_record(readable_nodes.node, jsonb_build_object('content',
        memory.decrypted((readable_nodes.node).tenant_id, (readable_nodes.node).user_id, 'node', (readable_nodes.node).node_id::text, '', (readable_nodes.node).content)))
        ELSE readable_nodes.node END;
END;
COMMENT ON FUNCTION memory.readable_nodes(memory.nodes) IS 'Internal: the node with its content decrypted, if it is encrypted.';

CREATE FUNCTION memory.get_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(get_nodes.tenant, get_nodes.user_id) AS s
    CROSS JOIN LATERAL (
        SELECT n, wanted.place
        FROM (
            SELECT asked.node_id, min(asked.place) AS place
            FROM unnest(get_nodes.node_ids) WITH ORDINALITY AS asked (node_id, place)
            GROUP BY asked.node_id
        ) AS wanted
        JOIN memory.nodes AS n ON n.node_id = wanted.node_id
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
        OFFSET 0
    ) AS found
    WHERE memory.check_needed('node_ids', get_nodes.node_ids) IS NOT NULL
        AND memory.note_read('get_nodes', get_nodes.tenant, get_nodes.user_id)
    ORDER BY found.place;
END;
COMMENT ON FUNCTION memory.get_nodes(uuid[], text, text) IS
    'The nodes with these ids, each once, in the order of the ids; unknown, ended and invisible ones are left out alike. NULL is 22004.';

CREATE FUNCTION memory.holds_tags(tags text[], asked text[]) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'holds_tags';
COMMENT ON FUNCTION memory.holds_tags(text[], text[]) IS
    'Internal: tags @> asked where both are long: each is looked up, not compared with all others, and it can be cancelled.';

CREATE FUNCTION memory.list_nodes(
    context_types text[] DEFAULT NULL, tags text[] DEFAULT NULL, max_nodes integer DEFAULT 100,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(list_nodes.tenant, list_nodes.user_id) AS s
    CROSS JOIN memory.check_context_types(list_nodes.context_types) AS asked (context_types)
    CROSS JOIN LATERAL (
        SELECT n, n.created_at, n.node_id
        FROM memory.nodes AS n
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
            AND (asked.context_types IS NULL OR n.context_type = ANY (asked.context_types))
            AND (list_nodes.tags IS NULL OR CASE
                WHEN cardinality(n.tags)::bigint * cardinality(list_nodes.tags) <= 100000 THEN n.tags @> list_nodes.tags
                ELSE memory.holds_tags(n.tags, list_nodes.tags) END)
        ORDER BY n.created_at DESC, n.node_id DESC
        LIMIT memory.check_positive('max_nodes', list_nodes.max_nodes)
    ) AS found
    WHERE memory.note_read('list_nodes', list_nodes.tenant, list_nodes.user_id)
    ORDER BY found.created_at DESC, found.node_id DESC;
END;
COMMENT ON FUNCTION memory.list_nodes(text[], text[], integer, text, text) IS
    'The newest nodes by created_at, of any of the context types and with all of the tags. An unknown context type is 22023, '
    'max_nodes below 1 too. Costs reading the nodes of the user (of the tenant, for a service that names none).';

-- Every writer of nodes locks them in this order first, and only the next statement, whose snapshot sees what was locked,
-- changes them: a change by way of an older version waits for others who wait for this transaction.
CREATE FUNCTION memory.delete_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(delete_nodes.tenant, delete_nodes.user_id) WHERE memory.check_needed('node_ids', delete_nodes.node_ids) IS NOT NULL;
    SELECT n.node_id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
    WHERE n.node_id = ANY (delete_nodes.node_ids)
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR UPDATE OF n;
    -- The cascade takes a node's relationships one node after the other: two deletions at once, of the two ends of several, would wait
    -- for each other. None is added meanwhile: that takes a lock on both nodes.
    SELECT r.id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    JOIN memory.relationships AS r ON r.tenant_id = s.tenant_id AND r.user_id = s.subject_id
    WHERE r.from_node_id = ANY (delete_nodes.node_ids) OR r.to_node_id = ANY (delete_nodes.node_ids)
    ORDER BY r.id
    FOR UPDATE OF r;
    WITH deleted AS (
        DELETE FROM memory.nodes AS n
        USING memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = ANY (delete_nodes.node_ids)
        RETURNING n.node_id
    )
    SELECT count(*) FROM deleted WHERE memory.subject(delete_nodes.tenant, delete_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.delete_nodes(uuid[], text, text) IS
    'Deletes nodes, ended ones too, with their relationships; gives how many there were. end_node() keeps the past. A '
    'held user is 55000, node_ids NULL 22004.';

CREATE FUNCTION memory.end_node(
    node_id uuid, valid_to timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(end_node.tenant, end_node.user_id);
    WITH ended AS (
        UPDATE memory.nodes AS n SET valid_to = memory.check_end(n.valid_from, end_node.valid_to), updated_at = now()
        FROM memory.subject(end_node.tenant, end_node.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = end_node.node_id
        RETURNING n.node_id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM ended), 'node', end_node.node_id::text)
    WHERE memory.subject(end_node.tenant, end_node.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_node(uuid, timestamptz, text, text) IS
    'From valid_to on the node is not seen any more, nor are its relationships; as_of before that still sees them. Ending it '
    'again moves the end. An unknown node is P0002, valid_to before the node''s valid_from 22023.';

CREATE FUNCTION memory.touch_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(touch_nodes.tenant, touch_nodes.user_id) WHERE memory.check_needed('node_ids', touch_nodes.node_ids) IS NOT NULL;
    SELECT n.node_id
    FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
    WHERE n.node_id = ANY (touch_nodes.node_ids)
        AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR NO KEY UPDATE OF n;
    WITH touched AS (
        UPDATE memory.nodes AS n SET last_accessed = now(), access_count = n.access_count + 1
        FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = ANY (touch_nodes.node_ids)
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
        RETURNING n.node_id
    )
    SELECT count(*) FROM touched WHERE memory.subject(touch_nodes.tenant, touch_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.touch_nodes(uuid[], text, text) IS
    'Counts an access to each of these nodes (last_accessed, access_count); gives how many there were. NULL is 22004.';

SELECT memory.allow('app', 'store_node', 'store_nodes', 'readable_nodes', 'get_nodes', 'holds_tags', 'list_nodes', 'delete_nodes',
    'end_node', 'touch_nodes');

-- The knowledge graph: relationships, stored, read and ended, and the walk along them.

CREATE FUNCTION memory.store_relationship(
    from_node_id uuid, to_node_id uuid, relationship_type text, strength real DEFAULT 1.0, metadata jsonb DEFAULT '{}',
    valid_from timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_relationship_wrapper';
COMMENT ON FUNCTION memory.store_relationship(uuid, uuid, text, real, jsonb, timestamptz, text, text) IS
    'Stores a relationship between two nodes of the user, or of a node with itself; gives its id. Again, with the same nodes and '
    'type: the same id, strength and metadata replaced. A node that is unknown, or is not seen now (nor at valid_from, if that is '
    'later), is P0002; an unknown type, or a strength outside of 0 to 1, is 22023.';

CREATE FUNCTION memory.store_relationships(relationships jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_relationships_wrapper';
COMMENT ON FUNCTION memory.store_relationships(jsonb, text, text) IS
    'store_relationship() of each element of an array of objects with its argument names (and user_id, in a service context), '
    'in one statement; all or none. Of one that comes twice the last wins. Gives how many distinct ones were stored, new or '
    'again. An element that is wrong is 22023, one that names an unknown node P0002, both named by their place.';

CREATE FUNCTION memory.end_relationship(
    relationship_id uuid, valid_to timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(end_relationship.tenant, end_relationship.user_id);
    WITH ended AS (
        UPDATE memory.relationships AS r SET valid_to = memory.check_end(r.valid_from, end_relationship.valid_to)
        FROM memory.subject(end_relationship.tenant, end_relationship.user_id) AS s
        WHERE r.tenant_id = s.tenant_id AND r.user_id = s.subject_id AND r.id = end_relationship.relationship_id
        RETURNING r.id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM ended), 'relationship', end_relationship.relationship_id::text)
    WHERE memory.subject(end_relationship.tenant, end_relationship.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_relationship(uuid, timestamptz, text, text) IS
    'From valid_to on the relationship is not seen any more; stored again, it is a new one. Ending it again moves the end. An '
    'unknown one is P0002, valid_to before its valid_from 22023.';

CREATE FUNCTION memory.get_relationships(
    node_id uuid, direction text DEFAULT 'both', as_of timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.relationships
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT found.r
    FROM memory.scope(get_relationships.tenant, get_relationships.user_id) AS s
    CROSS JOIN memory.check_direction(get_relationships.direction) AS asked (direction)
    CROSS JOIN coalesce(get_relationships.as_of, statement_timestamp()) AS moment (as_of)
    CROSS JOIN LATERAL (
        SELECT r, r.id
        FROM memory.relationships AS r
        WHERE asked.direction <> 'in' AND r.tenant_id = s.tenant_id AND r.user_id BETWEEN s.user_low AND s.user_high
            AND r.from_node_id = get_relationships.node_id
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
        UNION ALL
        -- One with itself was found above already.
        SELECT r, r.id
        FROM memory.relationships AS r
        WHERE asked.direction <> 'out' AND r.tenant_id = s.tenant_id AND r.user_id BETWEEN s.user_low AND s.user_high
            AND r.to_node_id = get_relationships.node_id
            AND (asked.direction = 'in' OR r.from_node_id <> r.to_node_id)
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
    ) AS found
    WHERE (
        SELECT count(*) = CASE WHEN (found.r).from_node_id = (found.r).to_node_id THEN 1 ELSE 2 END
        FROM memory.nodes AS n
        WHERE n.tenant_id = (found.r).tenant_id AND n.user_id = (found.r).user_id
            AND n.node_id IN ((found.r).from_node_id, (found.r).to_node_id)
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, moment.as_of)
    ) AND memory.check_needed('node_id', get_relationships.node_id) IS NOT NULL
        AND memory.note_read('get_relationships', get_relationships.tenant, get_relationships.user_id)
    ORDER BY found.id;
END;
COMMENT ON FUNCTION memory.get_relationships(uuid, text, timestamptz, text, text) IS
    'The node''s relationships at as_of (NULL: now), oldest first: out of it, in to it, or both (one with itself once). '
    'Those whose other node is not seen at as_of are left out. Another direction is 22023, node_id NULL 22004; of an unknown node there are none.';

CREATE FUNCTION memory.traverse(
    start_nodes uuid[], max_depth integer DEFAULT 3, direction text DEFAULT 'out', relationship_types text[] DEFAULT NULL,
    min_strength real DEFAULT 0, as_of timestamptz DEFAULT NULL, max_nodes integer DEFAULT 100000,
    paths boolean DEFAULT true, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT node_id uuid, OUT depth integer, OUT parent_id uuid, OUT relationship_type text, OUT path uuid[]
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'traverse';
COMMENT ON FUNCTION memory.traverse(uuid[], integer, text, text[], real, timestamptz, integer, boolean, text, text) IS
    'The nodes that can be reached from start_nodes along relationships of at least min_strength, of these types (NULL: all), '
    'valid at as_of (NULL: now), in max_depth steps at most: each once, at its least depth, by depth and node_id. A start node '
    'has depth 0 and no parent; of several parents the smallest, then the smallest type, stands. path runs from the start to '
    'the node, both included (NULL where paths is false). Unknown and invisible start nodes are skipped, and no walk passes '
    'through a node that is not seen. More than max_nodes rows: 54000, nothing returned. A negative max_depth, another '
    'direction than out, in or both, an unknown type are 22023. A breadth-first search, level by level: two index scans per '
    'level, some 5 to 10 µs per node reached.';

SELECT memory.allow('app', 'store_relationship', 'store_relationships', 'end_relationship', 'get_relationships', 'traverse');

-- The knowledge graph: what is known of a user as such.

CREATE TABLE memory.user_metadata (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE memory.user_metadata IS 'What is known of a user as such. Write with set_user_metadata().';
COMMENT ON COLUMN memory.user_metadata.tenant_id IS 'Whose it is.';
COMMENT ON COLUMN memory.user_metadata.user_id IS 'Whose it is.';
COMMENT ON COLUMN memory.user_metadata.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.user_metadata.created_at IS 'When it was first set.';
COMMENT ON COLUMN memory.user_metadata.updated_at IS 'When it was last set.';

SELECT memory.declare_table('memory.user_metadata', 'user', '{user_id, metadata}');
SELECT memory.declare_personal('memory.user_metadata',
    '{"user_id": "user", "metadata": "clear", "tenant_id, created_at, updated_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'user_metadata');

CREATE FUNCTION memory.get_user_stats(
    tenant text DEFAULT NULL, user_id text DEFAULT NULL, OUT total_nodes bigint, OUT total_relationships bigint,
    OUT entities bigint, OUT first_activity timestamptz, OUT last_activity timestamptz
) RETURNS record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT n.total_nodes, r.total_relationships, n.entities, n.first_activity,
        greatest(n.last_activity, r.last_activity)
    FROM memory.subject(get_user_stats.tenant, get_user_stats.user_id) AS s
    CROSS JOIN statement_timestamp() AS moment (as_of)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_nodes,
            count(*) FILTER (WHERE n.entity_id IS NOT NULL AND n.entity_system IS NOT NULL) AS entities,
            min(n.created_at) AS first_activity, max(greatest(n.updated_at, n.last_accessed)) AS last_activity
        FROM memory.nodes AS n
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, moment.as_of)
    ) AS n
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_relationships, max(r.created_at) AS last_activity
        FROM memory.relationships AS r
        JOIN memory.nodes AS f ON f.tenant_id = r.tenant_id AND f.user_id = r.user_id AND f.node_id = r.from_node_id
        JOIN memory.nodes AS t ON t.tenant_id = r.tenant_id AND t.user_id = r.user_id AND t.node_id = r.to_node_id
        WHERE r.tenant_id = s.tenant_id AND r.user_id = s.subject_id
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
            AND memory.holds_at(f.valid_from, f.valid_to, f.expires_at, moment.as_of)
            AND memory.holds_at(t.valid_from, t.valid_to, t.expires_at, moment.as_of)
    ) AS r
    WHERE memory.note_read('get_user_stats', get_user_stats.tenant, get_user_stats.user_id);
END;
COMMENT ON FUNCTION memory.get_user_stats(text, text) IS
    'How many nodes, relationships (between two of these nodes) and entities the user has now, counted; first_activity is when '
    'the oldest of these nodes was stored, last_activity when one was last stored or touched or a relationship was added.';

CREATE FUNCTION memory.set_user_metadata(metadata jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.user_metadata AS m (tenant_id, user_id, metadata)
    SELECT s.tenant_id, s.subject_id, memory.check_object('metadata', set_user_metadata.metadata)
    FROM memory.writer(set_user_metadata.tenant, set_user_metadata.user_id) AS s
    ON CONFLICT (tenant_id, user_id) DO UPDATE SET metadata = m.metadata || excluded.metadata, updated_at = now()
    RETURNING m.metadata;
END;
COMMENT ON FUNCTION memory.set_user_metadata(jsonb, text, text) IS
    'Merges an object into what is known of the user, key by key (new wins); gives the whole. No object: 22023.';

CREATE FUNCTION memory.get_user_metadata(tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT m.metadata FROM memory.user_metadata AS m WHERE m.tenant_id = s.tenant_id AND m.user_id = s.subject_id), '{}')
    FROM memory.subject(get_user_metadata.tenant, get_user_metadata.user_id) AS s
    WHERE memory.note_read('get_user_metadata', get_user_metadata.tenant, get_user_metadata.user_id);
END;
COMMENT ON FUNCTION memory.get_user_metadata(text, text) IS 'What is known of the user; {} if nothing is.';

SELECT memory.allow('app', 'get_user_stats', 'set_user_metadata', 'get_user_metadata');

-- Questions to the graph that walk it: paths, ranking, drawings.

CREATE FUNCTION memory.shortest_path(
    from_node_id uuid, to_node_id uuid, max_depth integer DEFAULT 16, weighted boolean DEFAULT false,
    direction text DEFAULT 'out', relationship_types text[] DEFAULT NULL, as_of timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT step integer, OUT node_id uuid, OUT relationship_type text, OUT cost double precision
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'shortest_path_wrapper';
COMMENT ON FUNCTION memory.shortest_path(uuid, uuid, integer, boolean, text, text[], timestamptz, text, text) IS
    'The shortest path between two nodes along relationships of these types (NULL: all) that are valid at as_of (NULL: now), in '
    'max_depth steps at most, through nodes that are seen then: one row per node, step 0 is from_node_id, cost adds up. A step costs 1; '
    'weighted, 1 / strength, and strength 0 is no way. Of several the one with the fewest steps, then the smallest node ids in '
    'their order, then types. From a node to itself: step 0. No path, and an unknown, ended or invisible node: no rows. '
    'A negative max_depth, another direction than out, in or both, an unknown type are 22023; more than 4 million relationships '
    'read 54000. Breadth-first, weighted Dijkstra''s search, from both ends: milliseconds where few steps lie between; a weighted one whose '
    'cheapest path has more than max_depth steps reads all within max_depth.';

CREATE FUNCTION memory.rank_related(
    seed_nodes uuid[], max_results integer DEFAULT 20, damping real DEFAULT 0.85, max_depth integer DEFAULT 4,
    direction text DEFAULT 'both', tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT node_id uuid, OUT score double precision
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20
AS 'MODULE_PATHNAME', 'rank_related_wrapper';
COMMENT ON FUNCTION memory.rank_related(uuid[], integer, real, integer, text, text, text) IS
    'The nodes that have most to do with seed_nodes, best first (then by node_id), the seeds among them: personalised PageRank over the '
    'nodes within max_depth steps and the relationships between these, followed in the direction given (both: each counts both ways) '
    'with probabilities by strength; parallel ones add up. With the probability 1 - damping, and from a node without a way on, it '
    'starts again at one of the seeds, each alike. Scores sum to 1 before the cut to max_results, and are exact to 1e-8. Unknown and '
    'invisible seeds are skipped; without any there are no rows. damping outside of [0, 1), a negative max_depth, max_results below 1, another '
    'direction are 22023; more than 100,000 nodes or 4 million relationships, or a damping so near to 1 that 10,000 rounds do not '
    'settle, 54000. Costs a traverse() one step deeper, and some 100 rounds over its relationships in memory.';

CREATE FUNCTION memory.graph_dot(
    start_nodes uuid[], max_depth integer DEFAULT 2, direction text DEFAULT 'both', max_nodes integer DEFAULT 200,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'graph_dot_wrapper';
COMMENT ON FUNCTION memory.graph_dot(uuid[], integer, text, integer, text, text) IS
    'What traverse() reaches from start_nodes, and every relationship between these nodes, as a graph for Graphviz (dot -Tsvg): one '
    'column per depth, start nodes framed, coloured by context type, relationships as thick as they are strong. A label is the summary, '
    'else entity_id, else the context type, 40 characters at most, and cannot say anything but itself. The same graph gives the same '
    'text. More than max_nodes nodes: 54000, no drawing of a part. A negative max_depth, another direction, max_nodes below 1 are 22023.';

CREATE FUNCTION memory.graph_mermaid(
    start_nodes uuid[], max_depth integer DEFAULT 2, direction text DEFAULT 'both', max_nodes integer DEFAULT 200,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'graph_mermaid_wrapper';
COMMENT ON FUNCTION memory.graph_mermaid(uuid[], integer, text, integer, text, text) IS
    'The same as graph_dot() for Mermaid, as a flowchart: where Markdown is read, such as on code hosts. Mermaid places the nodes itself, '
    'and draws 500 relationships unless configured to draw more.';

SELECT memory.allow('app', 'shortest_path', 'rank_related', 'graph_dot', 'graph_mermaid');

-- The documents that search reads: a node's words, kept beside it by a trigger. And the language that they are read in.

-- Nothing refers from here to nodes: to check that for each document would cost as much as making it. The trigger on nodes is what keeps both
-- together; nobody else may write here.
CREATE TABLE memory.search_documents (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    node_id uuid NOT NULL,
    part integer NOT NULL,
    terms bytea NOT NULL
);
-- In the index as it is: hashes do not compress. Said before the index is made, which takes it over.
ALTER TABLE memory.search_documents ALTER COLUMN terms SET STORAGE PLAIN;
-- A search reads a user's part of this index, and nothing else, from one end to the other.
ALTER TABLE memory.search_documents ADD PRIMARY KEY (tenant_id, user_id, node_id, part) INCLUDE (terms);
COMMENT ON TABLE memory.search_documents IS
    'What search reads instead of nodes: the words of summary, content and tags as hashes. Derived: a trigger on nodes keeps it; not audited.';
COMMENT ON COLUMN memory.search_documents.tenant_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.search_documents.user_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.search_documents.node_id IS 'The node.';
COMMENT ON COLUMN memory.search_documents.part IS 'Counted from 0: a long document has several.';
COMMENT ON COLUMN memory.search_documents.terms IS
    'The language, the document''s length, and hashes of its words with how often each stands there (src/search/document.rs).';

SELECT memory.declare_table('memory.search_documents', 'user', '{user_id, terms}', audited => false);
SELECT memory.declare_personal('memory.search_documents',
    '{"user_id": "user", "node_id": "pseudonym:node", "terms": "clear", "tenant_id, part": "keep"}');
SELECT memory.allow_table('app', 'SELECT', 'search_documents');

CREATE TABLE memory.search_languages (
    tenant_id uuid PRIMARY KEY,
    config_schema text COLLATE "C" NOT NULL,
    config_name text COLLATE "C" NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.search_languages IS
    'In which text search configuration a tenant''s texts are read, where it is not memory.text_search_config. Written by set_search_language().';
COMMENT ON COLUMN memory.search_languages.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.search_languages.config_schema IS 'The configuration''s schema.';
COMMENT ON COLUMN memory.search_languages.config_name IS 'The configuration''s name.';
COMMENT ON COLUMN memory.search_languages.set_at IS 'When it was last set.';
SELECT memory.declare_table('memory.search_languages', 'service', '{config_schema, config_name}');
SELECT memory.allow_table('service', 'SELECT', 'search_languages');

CREATE FUNCTION memory.document_parts(tenant_id uuid, owner text, summary text, content jsonb, tags text[]) RETURNS bytea[]
LANGUAGE c STABLE COST 1000
AS 'MODULE_PATHNAME', 'document_parts';
COMMENT ON FUNCTION memory.document_parts(uuid, text, text, jsonb, text[]) IS
    'Internal: the parts of a node''s document, in the tenant''s language. The first 1 MB of text counts. Some 4 µs per 100 bytes.';

-- The trigger writes as its owner: nobody else may write documents.
CREATE FUNCTION memory.documents_follow() RETURNS trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'documents_follow';
COMMENT ON FUNCTION memory.documents_follow() IS
    'Trigger: keeps the documents of the nodes that a statement wrote. Stands aside in a restore (session_user a superuser, row_security off).';

CREATE TRIGGER documents_insert AFTER INSERT ON memory.nodes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_update AFTER UPDATE ON memory.nodes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_delete AFTER DELETE ON memory.nodes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_truncate AFTER TRUNCATE ON memory.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
COMMENT ON TRIGGER documents_insert ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_update ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_delete ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_truncate ON memory.nodes IS 'Keeps memory.search_documents.';

-- Both run as their owner: an operator has no context, and no privilege on what they write.

CREATE FUNCTION memory.set_search_language(tenant text, config regconfig) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'set_search_language';
COMMENT ON FUNCTION memory.set_search_language(text, regconfig) IS
    'From now on the tenant''s nodes are read in this text search configuration (its stop words, its stemming); NULL: in '
    'memory.text_search_config. Documents that are there stay as they were read, and are found as they were, until rebuild_search_documents() '
    'has read them again. An operator''s. P0002: an unknown tenant.';

CREATE FUNCTION memory.rebuild_search_documents(
    tenant text, batch_size integer DEFAULT 10000, OUT rebuilt bigint, OUT more boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'rebuild_search_documents_wrapper';
COMMENT ON FUNCTION memory.rebuild_search_documents(text, integer) IS
    'Reads again what was read in another language than the tenant''s texts are read in now, or was written while the trigger was off: at most '
    'batch_size nodes, which are locked against change meanwhile; call it until more is false. An operator''s. Some 50 µs per node, and looking '
    'through the tenant''s nodes. P0002: an unknown tenant; 22023: batch_size below 1.';

SELECT memory.allow('operator', 'set_search_language', 'rebuild_search_documents');

-- Embedding spaces: for each model one table of the vectors that stand for nodes.
--
-- memory.embeddings is their common shape and holds no row itself. A space is a table that inherits from it, made at run time by
-- create_embedding_space() and no member of the extension, so that pg_dump carries it: with keys, row-level security, audit and
-- privileges of its own. What is said of all embeddings (export, erasure) is said to memory.embeddings and reaches every space.

CREATE TABLE memory.embedding_spaces (
    model text COLLATE "C" PRIMARY KEY CHECK (octet_length(model) BETWEEN 1 AND 100),
    relation text COLLATE "C" NOT NULL UNIQUE,
    dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    distance text COLLATE "C" NOT NULL CHECK (distance IN ('cosine', 'l2', 'ip')),
    quantization text COLLATE "C" NOT NULL CHECK (quantization IN ('none', 'half', 'binary')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.embedding_spaces IS
    'The models whose embeddings are kept. Write with create_embedding_space(), drop_embedding_space().';
COMMENT ON COLUMN memory.embedding_spaces.model IS 'What the application calls the model.';
COMMENT ON COLUMN memory.embedding_spaces.relation IS 'The table of its embeddings, in schema memory.';
COMMENT ON COLUMN memory.embedding_spaces.dimensions IS 'How many numbers an embedding has.';
COMMENT ON COLUMN memory.embedding_spaces.distance IS 'How near is measured: cosine, l2 or ip.';
COMMENT ON COLUMN memory.embedding_spaces.quantization IS
    'How an index for large scopes holds the vectors: none (whole), half or binary. The vectors themselves are kept whole.';
COMMENT ON COLUMN memory.embedding_spaces.created_at IS 'When it was made.';
SELECT memory.declare_table('memory.embedding_spaces', 'shared');
SELECT memory.allow_table('app', 'SELECT', 'embedding_spaces');
SELECT memory.allow_table('operator', 'SELECT', 'embedding_spaces');

-- pgvector stands in whatever schema it was put; what is made here is bound to its types by their OIDs.
DO $$
DECLARE
    vectors name := (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
                     WHERE e.extname = 'vector');
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.embedding_code(embedding %1$I.vector, beside text) RETURNS bytea
        LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
        AS 'MODULE_PATHNAME', 'embedding_code';

        CREATE TABLE memory.embeddings (
            tenant_id uuid NOT NULL,
            user_id text COLLATE "C" NOT NULL,
            node_id uuid NOT NULL,
            vector_type text COLLATE "C" NOT NULL DEFAULT 'knowledge'
                CHECK (vector_type IN ('query', 'response', 'context', 'knowledge')),
            model text COLLATE "C" NOT NULL,
            embedding %1$I.vector NOT NULL,
            code bytea GENERATED ALWAYS AS (memory.embedding_code(embedding, user_id)) STORED,
            indexed boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, user_id, model, node_id, vector_type),
            CONSTRAINT embeddings_go_into_a_space CHECK (false) NO INHERIT
        );

        CREATE FUNCTION memory.store_embedding(
            model text, node_id uuid, embedding %1$I.vector, vector_type text DEFAULT 'knowledge',
            tenant text DEFAULT NULL, user_id text DEFAULT NULL
        ) RETURNS void
        LANGUAGE c VOLATILE
        AS 'MODULE_PATHNAME', 'store_embedding';

        CREATE FUNCTION memory.store_embeddings(
            model text, node_ids uuid[], embeddings %1$I.vector[], vector_type text DEFAULT 'knowledge',
            tenant text DEFAULT NULL, user_id text DEFAULT NULL
        ) RETURNS bigint
        LANGUAGE c VOLATILE
        AS 'MODULE_PATHNAME', 'store_embeddings';

        CREATE FUNCTION memory.nearest_nodes(
            embedding %1$I.vector, model text DEFAULT NULL, context_types text[] DEFAULT NULL, tags text[] DEFAULT NULL,
            tiers text[] DEFAULT NULL, filter jsonb DEFAULT NULL, as_of timestamptz DEFAULT NULL, max_results integer DEFAULT 10,
            tenant text DEFAULT NULL, user_id text DEFAULT NULL, OUT node_id uuid, OUT score double precision
        ) RETURNS SETOF record
        LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
        AS 'MODULE_PATHNAME', 'nearest_nodes_wrapper';

        COMMENT ON FUNCTION memory.nearest_nodes(%1$I.vector, text, text[], text[], text[], jsonb, timestamptz, integer, text, text) IS
            'The vector leg of a search by itself: of the nodes that are seen at as_of (NULL: now) and pass the filters (any of the context types, all of '
            'the tags, any of the tiers, content @> filter), the nearest to embedding in the space of model (NULL: the only one), nearest first, each once, by the best '
            'of its vectors. score, greater is nearer: the cosine of the angle, the negative Euclidean distance, or the inner product, as the space has it. Exact, '
            'but for a user whose embeddings index_embeddings() has moved. '
            'The errors of store_embedding(); an unknown context type or tier, max_results below 1 is 22023. Costs some 0.3 µs per vector in the scope.';

        COMMENT ON FUNCTION memory.embedding_code(%1$I.vector, text) IS
            'Internal: a vector in one byte per dimension, behind its scale, the norm of what that loses and its norm (12 bytes), for the '
            'primary key''s index to hold beside the key; NULL where the two and the user''s id are too long for that. See src/search/code.rs.';
        COMMENT ON FUNCTION memory.store_embedding(text, uuid, %1$I.vector, text, text, text) IS
            'Stores the vector that stands for a node in a model''s space. There is one of each vector_type (query, response, context, '
            'knowledge): again replaces it. It goes when its node is deleted. An unknown node is P0002; an unknown model or vector_type, another '
            'number of dimensions, in a cosine space a vector without a direction (all zero) is 22023. Costs some 100 µs, the audit '
            'included, whose entry names the row without its vector.';
        COMMENT ON FUNCTION memory.store_embeddings(text, uuid[], %1$I.vector[], text, text, text) IS
            'store_embedding() of many nodes of one user, in one statement; all or none. Gives how many were stored: of a node that comes '
            'twice the last vector. Arrays of different lengths are 22023, a NULL in them is 22004; what is wrong is named by its place. Two '
            'batches at once never deadlock. Costs some 50 µs per vector of 384 dimensions.';
    $sql$, vectors);
END
$$;
-- Out of line only where it must be: what is ranked is read from here. The code is never compressed, so that it is read in its place.
ALTER TABLE memory.embeddings ALTER COLUMN code SET STORAGE EXTERNAL;
COMMENT ON TABLE memory.embeddings IS
    'The vectors of all models: the common shape of the spaces'' tables, which inherit from it. Write with store_embedding(), '
    'store_embeddings().';
COMMENT ON COLUMN memory.embeddings.tenant_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.embeddings.user_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.embeddings.node_id IS 'What it stands for.';
COMMENT ON COLUMN memory.embeddings.vector_type IS 'Of what of the node: query, response, context or knowledge.';
COMMENT ON COLUMN memory.embeddings.model IS 'The space: memory.embedding_spaces.model.';
COMMENT ON COLUMN memory.embeddings.embedding IS 'The vector.';
COMMENT ON COLUMN memory.embeddings.code IS 'The vector in one byte per dimension, for ranking; computed.';
COMMENT ON COLUMN memory.embeddings.indexed IS
    'Whether it is found by the index for large scopes, not by reading the user''s codes. index_embeddings() moves it there.';
COMMENT ON COLUMN memory.embeddings.created_at IS 'When it was first stored.';
COMMENT ON COLUMN memory.embeddings.updated_at IS 'When it was last stored.';
SELECT memory.declare_table('memory.embeddings', 'user', '{user_id, vector_type, model, embedding, code}');
-- An UPDATE of this table, which changes rows of the spaces, fires triggers of this table only.
SELECT memory.declare_kept('memory.embeddings');
SELECT memory.declare_personal('memory.embeddings', '{
    "user_id": "user", "node_id": "pseudonym:node", "vector_type, model, embedding, code": "clear",
    "tenant_id, indexed, created_at, updated_at": "keep"}', 'delete always');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'embeddings');

-- An operator may not make tables here: these run as their owner, whose the tables are to be.
CREATE FUNCTION memory.create_embedding_space(
    model text, dimensions integer DEFAULT 384, distance text DEFAULT 'cosine', quantization text DEFAULT 'none'
) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'create_embedding_space_wrapper';
COMMENT ON FUNCTION memory.create_embedding_space(text, integer, text, text) IS
    'Makes room for the embeddings of a model, of 1 to 16000 dimensions; distance: cosine, l2 or ip (inner product); quantization: none, half or '
    'binary. Any number of models stand side by side. An operator''s. A model that has a space already, or is longer than 100 bytes, is '
    '22023, as is any other value.';

CREATE FUNCTION memory.drop_embedding_space(model text) RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'drop_embedding_space_wrapper';
COMMENT ON FUNCTION memory.drop_embedding_space(text) IS
    'Removes a model''s space with the embeddings in it, all tenants''; gives how many there were. Waits for the transactions that use it. '
    'An operator''s. An unknown model is 22023; one with embeddings of somebody under a legal hold is 55000.';

-- Runs as its owner: an operator may not read what it moves.
CREATE FUNCTION memory.index_embeddings(
    batch_size integer DEFAULT 1000, large integer DEFAULT 20000, OUT indexed bigint, OUT more boolean
) RETURNS record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'index_embeddings_wrapper';
COMMENT ON FUNCTION memory.index_embeddings(integer, integer) IS
    'Moves embeddings of users with more than large of them in a space into its HNSW index, batch_size rows per call; gives how many, and whether '
    'more wait: call it, and COMMIT, until none do, and again now and then. What is not moved is found all the same, in time linear to its number: the '
    'index is for speed. Users who are being erased are passed over. Some 1 ms per row, and reading the keys of those not moved yet. Spaces of more dimensions than '
    'HNSW takes (2000; half 4000) have no index. batch_size or large below 1 is 22023. An operator''s.';

SELECT memory.allow('app', 'embedding_code', 'store_embedding', 'store_embeddings', 'nearest_nodes');
SELECT memory.allow('operator', 'create_embedding_space', 'drop_embedding_space', 'index_embeddings');

-- Search in the knowledge graph: by words and by embeddings, and for a part of a text.

CREATE FUNCTION memory.contains_text(content text, part text) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20
AS 'MODULE_PATHNAME', 'contains_text';
COMMENT ON FUNCTION memory.contains_text(text, text) IS
    'Internal: whether a text contains another, case ignored as Unicode knows it, in every locale.';

-- pg_trgm stands in whatever schema it was put; the function is bound to it by its OID. Words count, not the whole: a
-- query is like a long text if it is like some words of it.
DO $$
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.is_similar(query text, content text) RETURNS boolean
        LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 100
        BEGIN ATOMIC
            SELECT %I.word_similarity(is_similar.query, is_similar.content) >= 0.4;
        END
    $sql$, (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'pg_trgm'));
END
$$;
COMMENT ON FUNCTION memory.is_similar(text, text) IS
    'Internal: whether a query is like some words of a text: pg_trgm''s word_similarity is at least 0.4.';

CREATE FUNCTION memory.search_nodes(
    query text, context_types text[] DEFAULT NULL, max_results integer DEFAULT 50, fuzzy boolean DEFAULT false,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(search_nodes.tenant, search_nodes.user_id) AS s
    CROSS JOIN memory.check_context_types(search_nodes.context_types) AS asked (context_types)
    -- In content's text a quote or a backslash stands escaped: the query is looked for in both forms.
    CROSS JOIN LATERAL (
        SELECT checked.query, substr(escaped.query, 2, length(escaped.query) - 2) AS escaped
        FROM memory.check_text('query', search_nodes.query) AS checked (query)
        CROSS JOIN LATERAL CAST(to_jsonb(checked.query) AS text) AS escaped (query)
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT n, hit.in_summary, n.created_at, n.node_id
        FROM memory.nodes AS n
        CROSS JOIN LATERAL (
            SELECT coalesce(CASE WHEN search_nodes.fuzzy THEN memory.is_similar(wanted.query, n.summary)
                ELSE memory.contains_text(n.summary, wanted.query) END, false) AS in_summary
            OFFSET 0
        ) AS hit
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
            AND (asked.context_types IS NULL OR n.context_type = ANY (asked.context_types))
            AND (hit.in_summary OR CASE WHEN n.content ? '_encrypted' THEN false
                WHEN search_nodes.fuzzy THEN memory.is_similar(wanted.query, n.content::text)
                ELSE memory.contains_text(n.content::text, wanted.query)
                    OR (wanted.escaped <> wanted.query AND memory.contains_text(n.content::text, wanted.escaped)) END)
        ORDER BY hit.in_summary DESC, n.created_at DESC, n.node_id DESC
        LIMIT memory.check_positive('max_results', search_nodes.max_results)
    ) AS found
    WHERE memory.check_needed('fuzzy', search_nodes.fuzzy) IS NOT NULL
        AND memory.note_read('search_nodes', search_nodes.tenant, search_nodes.user_id)
    ORDER BY found.in_summary DESC, found.created_at DESC, found.node_id DESC;
END;
COMMENT ON FUNCTION memory.search_nodes(text, text[], integer, boolean, text, text) IS
    'The nodes whose summary or content (its JSON text: keys, values) contains the query, case ignored; fuzzy: is like it by '
    'trigram similarity. Those whose summary does come first, the newest first. An empty query, an unknown context type or '
    'max_results below 1 is 22023. Reads all the nodes of the user (of the tenant, for a service that names none): some 5 µs '
    'per node, fuzzy some 20.';

-- A hit's neighbours in its session, in their order; no update moves a node in it but one that says when it holds.
CREATE INDEX nodes_session_idx ON memory.nodes (tenant_id, user_id, session_id, valid_from, node_id) WHERE session_id IS NOT NULL;

-- pgvector stands in whatever schema it was put; the function is bound to its type by the OID.
DO $$
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.search(
            query text DEFAULT NULL, embedding %1$I.vector DEFAULT NULL, model text DEFAULT NULL, context_types text[] DEFAULT NULL,
            tags text[] DEFAULT NULL, tiers text[] DEFAULT NULL, filter jsonb DEFAULT NULL, as_of timestamptz DEFAULT NULL,
            expand_depth integer DEFAULT 0, neighbours integer DEFAULT 0, max_results integer DEFAULT 10, half_life interval DEFAULT NULL,
            tenant text DEFAULT NULL, user_id text DEFAULT NULL,
            OUT node_id uuid, OUT score double precision, OUT text_rank integer, OUT text_score double precision,
            OUT vector_rank integer, OUT vector_score double precision, OUT graph_depth integer, OUT summary text, OUT content jsonb
        ) RETURNS SETOF record
        LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000
        AS 'MODULE_PATHNAME', 'search';

        COMMENT ON FUNCTION memory.search(
            text, %1$I.vector, text, text[], text[], text[], jsonb, timestamptz, integer, integer, integer, interval, text, text
        ) IS
            'The nodes that match a query by its words (BM25: any word may match, rare ones weigh more; "a phrase" as a whole; -word is not there), by its '
            'embedding, or by both, best first. Only what is seen at as_of (NULL: now) and passes the filters is ranked: any of the context types, all of '
            'the tags, any of the tiers, content @> filter. neighbours: so many rows on each side of a hit in its session, by valid_from, come along, and hits that '
            'stand near each other support each other; expand_depth: so many steps along relationships; both within max_results. half_life: what '
            'is that old counts half. text_rank and vector_rank say where a row stood in each leg, text_score (BM25) and vector_score why; graph_depth '
            'is 0 for a hit, the steps for what relationships brought, NULL for a neighbour. Equal scores come by node_id. 22023: query and embedding '
            'both NULL, an unknown model, context type or tier, a number out of range, half_life not above zero. Costs some 0.5 µs per node in the scope.';
    $sql$, (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'vector'));
END
$$;

SELECT memory.allow('app', 'contains_text', 'is_similar', 'search', 'search_nodes');

-- A user's right to see, to be forgotten, to be made nobody. What each table holds of a user stands beside the table
-- (declare_personal); the statements are made from that.

-- They run as their owner because they redact the audit log, which nobody else may change, and read the archive, the log and the
-- violations for whoever serves the tenant. Tenant and user come from the checked context.
CREATE FUNCTION memory.export_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, record jsonb)
LANGUAGE c STABLE ROWS 1000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'export_user_data';
COMMENT ON FUNCTION memory.export_user_data(text, text) IS
    'Everything that is kept about a user: one row per row of each table, as jsonb by column name; the entries of the audit log with their '
    'images, the violations too. Of one instant. An unknown user gives no rows. Needs a service context (42501); an unknown tenant is '
    'P0002. Costs reading the user''s rows, and all of the audit log and the violations.';

CREATE FUNCTION memory.erase_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 20
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'erase_user_data';
COMMENT ON FUNCTION memory.erase_user_data(text, text) IS
    'Forgets a user, in this transaction: the rows go; the entries of the audit log and the violations stay without images and keys, under a '
    'random pseudonym. Gives how many rows of each table; an unknown user, 0 of each. Writers to the user wait until the transaction ends, '
    'then write as for a new user: call it first in a transaction of its own. A legal hold refuses it (55000), and so does REPEATABLE READ, '
    'whose snapshot is older than the wait. Needs a service context (42501); an unknown tenant is P0002. Costs some 10 µs per row, and '
    'reading all of the audit log and the violations.';

CREATE FUNCTION memory.anonymize_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 20
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'anonymize_user_data';
COMMENT ON FUNCTION memory.anonymize_user_data(text, text) IS
    'Makes a user nobody, in this transaction: the user id becomes one random pseudonym anon-… everywhere, the ids of sessions, events, '
    'nodes, relationships and entities pseudonyms of their own; text, payloads, contents, tags, preferences and metadata go; types, times, '
    'counts and the graph''s shape stay. The key that the pseudonyms are made with is random and kept nowhere. Costs some 25 µs per row; '
    'everything else as for erase_user_data().';

SELECT memory.allow('service', 'export_user_data', 'erase_user_data', 'anonymize_user_data');

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
    '(changed_at; 7 years without a policy), performance_metrics (nothing is stored of it yet: no effect). Whatever has no policy is kept. '
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

-- The seals of the audit log: what proves that no row was changed, removed, added or moved. src/audit/proof says how.

CREATE TABLE memory.audit_seals (
    seal_id bigint PRIMARY KEY,
    last_id bigint NOT NULL,
    row_count bigint NOT NULL,
    root bytea NOT NULL,
    previous bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    key_name bytea,
    tag bytea,
    hash bytea NOT NULL
);
COMMENT ON TABLE memory.audit_seals IS
    'Seals of the audit log, each over the rows behind the one before it and chained to that. Append-only; written by seal_audit_log().';
COMMENT ON COLUMN memory.audit_seals.seal_id IS 'From 1, without a gap.';
COMMENT ON COLUMN memory.audit_seals.last_id IS 'The last id of audit_log that it covers; the first is the one behind the seal before.';
COMMENT ON COLUMN memory.audit_seals.row_count IS 'How many rows were sealed.';
COMMENT ON COLUMN memory.audit_seals.root IS 'The Merkle root of the rows'' leaves, 32 bytes.';
COMMENT ON COLUMN memory.audit_seals.previous IS 'The hash of the seal before; all zero in the first.';
COMMENT ON COLUMN memory.audit_seals.sealed_at IS 'When.';
COMMENT ON COLUMN memory.audit_seals.key_name IS 'Which key signs it, 4 bytes of a digest; NULL: none.';
COMMENT ON COLUMN memory.audit_seals.tag IS 'HMAC-SHA-256 of the hash by the key, 16 bytes; NULL without a key.';
COMMENT ON COLUMN memory.audit_seals.hash IS 'SHA-256 over all of this but the tag; audit_head() gives the newest.';

CREATE TABLE memory.audit_leaves (
    block bigint NOT NULL,
    seal_id bigint NOT NULL,
    root bytea NOT NULL,
    leaves bytea NOT NULL,
    PRIMARY KEY (block, seal_id)
);
ALTER TABLE memory.audit_leaves ALTER COLUMN leaves SET STORAGE EXTERNAL;
COMMENT ON TABLE memory.audit_leaves IS
    'What is kept of sealed rows of audit_log so that their leaves can be made again: a salt of each, in the place of a redacted or removed row '
    'what proves the rest of it. Nobody''s to read.';
COMMENT ON COLUMN memory.audit_leaves.block IS 'Sixty-four ids of audit_log: id / 64, rounded down.';
COMMENT ON COLUMN memory.audit_leaves.seal_id IS 'The seal that the rows are in; a block may have rows in two.';
COMMENT ON COLUMN memory.audit_leaves.root IS 'The Merkle root of these rows, to say where something was changed.';
COMMENT ON COLUMN memory.audit_leaves.leaves IS 'See src/audit/proof/block.rs.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.audit_seals IS 'A seal stays.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.audit_leaves IS 'Only redaction and retention take salts.';

ALTER TABLE memory.audit_seals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.audit_seals FOR SELECT
    USING ('00000000-0000-0000-0000-000000000000' = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.audit_seals IS 'An auditor of all tenants reads them; they are over the rows of all.';
ALTER TABLE memory.audit_leaves ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON memory.audit_leaves USING (false);
COMMENT ON POLICY nobody ON memory.audit_leaves IS 'Salts are nobody''s to read.';
ALTER TABLE memory.audit_seals ALTER COLUMN root SET STATISTICS 0, ALTER COLUMN previous SET STATISTICS 0,
    ALTER COLUMN key_name SET STATISTICS 0, ALTER COLUMN tag SET STATISTICS 0, ALTER COLUMN hash SET STATISTICS 0;
ALTER TABLE memory.audit_leaves ALTER COLUMN root SET STATISTICS 0, ALTER COLUMN leaves SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('memory.audit_seals', '');
SELECT pg_catalog.pg_extension_config_dump('memory.audit_leaves', '');

CREATE FUNCTION memory.audit_keep_proof() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'audit_keep_proof';
COMMENT ON FUNCTION memory.audit_keep_proof() IS
    'Trigger: when redaction or retention takes from sealed rows, destroys their salts and keeps what proves the rest, signed with the seal key. '
    'Who takes from the same 64 ids waits; 55000 where the seal key is missing, 40001 where the log was sealed after a REPEATABLE READ transaction began.';
CREATE TRIGGER keep_proof_update AFTER UPDATE ON memory.audit_log REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_keep_proof();
COMMENT ON TRIGGER keep_proof_update ON memory.audit_log IS 'Redacted rows stay proven.';
CREATE TRIGGER keep_proof_delete AFTER DELETE ON memory.audit_log REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_keep_proof();
COMMENT ON TRIGGER keep_proof_delete ON memory.audit_log IS 'That removed rows were there stays proven.';

-- They run as their owner: nobody else writes seals, and an auditor of one tenant verifies the rows of all, of which it is told no more than
-- whether they hold.
CREATE FUNCTION memory.seal_audit_log() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'seal_audit_log_wrapper';
COMMENT ON FUNCTION memory.seal_audit_log() IS
    'Closes what is new in the audit log under a seal, chained to the last one, and signed where there is a seal key. Gives how many rows, at most '
    '100,000: call again until it gives 0. Waits at most a second for transactions that have written to the log; where one stays open, gives 0, '
    'with a NOTICE, and seals next time. Stops no writer. An operator''s. 55000 where earlier seals are signed and the key is missing. '
    'Some 10 µs per row.';

CREATE FUNCTION memory.audit_head() RETURNS text
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'audit_head_wrapper';
COMMENT ON FUNCTION memory.audit_head() IS
    'The newest seal, as number:hash, ''0:'' and zeros before the first. Keep it where nobody who can change the database can change it: '
    'verify_audit_log(head) then shows every change of what was sealed by then.';

CREATE FUNCTION memory.verify_audit_log(head text DEFAULT NULL, OUT seal bigint, OUT ok boolean, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'verify_audit_log_wrapper';
COMMENT ON FUNCTION memory.verify_audit_log(text) IS
    'Makes every seal again from the rows, of one instant: a line per seal, ok where all of its rows are as they were sealed, or were redacted or '
    'removed since by the extension itself; else detail names rows, or the 64 ids among which one was changed. Then lines without a seal: '
    'for a head (whether the chain contains it: 22023 where it is none), for leaves without a seal, and how much is not sealed yet. '
    'Without the seal key, whoever can write the tables can forge a chain as a whole: then only a head kept outside shows it. Reads all of the log, some 6 µs per '
    'row, with the memory of one seal.';

SELECT memory.allow_table('auditor', 'SELECT', 'audit_seals');
SELECT memory.allow('auditor', 'verify_audit_log', 'audit_head');
SELECT memory.allow('operator', 'seal_audit_log', 'audit_head');

-- The history of nodes: what the audit log says of one, put together. The log is the only source, so what is erased, anonymised or
-- removed by retention is gone from here too.

-- Of table nodes only: writers of nodes pay for it, nobody else. A TRUNCATE stands under the all-zero tenant, without a key.
CREATE INDEX audit_log_node_idx ON memory.audit_log (tenant_id, ((row_key ->> 'node_id')::uuid), id) WHERE table_name = 'nodes';
ALTER INDEX memory.audit_log_node_idx ALTER COLUMN 2 SET STATISTICS 0;

CREATE AGGREGATE memory.overlay(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '{}');
COMMENT ON AGGREGATE memory.overlay(jsonb) IS 'Internal: objects laid over each other, key by key; the last one wins.';

CREATE FUNCTION memory.owned_scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'owned_scope';
COMMENT ON FUNCTION memory.owned_scope(text, text) IS
    'Internal: scope(), for functions that run as their owner: whether the caller may do without a context is asked of the role outside.';

-- Runs as its owner because only auditors read the log. Tenant and users come from the checked context.
-- The images are handed on unread, as they lie in the log's TOAST table, so that a long history of large nodes is not copied.
CREATE FUNCTION memory.node_changes(
    node_id uuid, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT owner text, OUT life bigint, OUT place bigint, OUT changed_at timestamptz, OUT operation text, OUT actor text, OUT changes jsonb
) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH asked AS MATERIALIZED (
        SELECT s.tenant_id, s.user_low, s.user_high
        FROM memory.owned_scope(node_changes.tenant, node_changes.user_id) AS s
        WHERE memory.note_read('node_changes', node_changes.tenant, node_changes.user_id)
    ), logged AS MATERIALIZED (
        SELECT a.user_id AS owner, a.id AS place, a.changed_at,
            -- A row whose key changed stands in the log twice: as it was under the old key, as it became under the new one.
            CASE
                WHEN a.operation <> 'UPDATE' THEN a.operation
                WHEN a.changes -> 'old' = 'null' THEN 'INSERT'
                WHEN a.changes -> 'new' = 'null' THEN 'DELETE'
                ELSE 'UPDATE'
            END AS operation,
            -- Another user, or another tenant's service, is named to nobody.
            CASE
                WHEN a.actor_tenant_id <> s.tenant_id THEN a.actor_role
                WHEN a.actor_user_id BETWEEN s.user_low AND s.user_high THEN a.actor_user_id
                ELSE coalesce(a.actor_service_name, a.actor_role)
            END AS actor,
            a.changes
        FROM asked AS s
        JOIN memory.audit_log AS a ON a.table_name = 'nodes' AND a.tenant_id = s.tenant_id
            AND (a.row_key ->> 'node_id')::uuid = node_changes.node_id AND a.user_id BETWEEN s.user_low AND s.user_high
    ), known AS (
        SELECT l.owner, l.place, l.changed_at, l.operation, l.actor, l.changes FROM logged AS l
        UNION ALL
        SELECT o.owner, a.id, a.changed_at, 'TRUNCATE', a.actor_role, NULL
        FROM (SELECT DISTINCT l.owner FROM logged AS l) AS o
        JOIN memory.audit_log AS a ON a.table_name = 'nodes' AND a.tenant_id = '00000000-0000-0000-0000-000000000000'
            AND (a.row_key ->> 'node_id')::uuid IS NULL AND a.operation = 'TRUNCATE'
        UNION ALL
        -- The row as it is now: from it the states before are found.
        SELECT n.user_id, 9223372036854775807, 'infinity', 'PRESENT', NULL, jsonb_build_object('old', to_jsonb(n))
        FROM asked AS s
        JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND n.node_id = node_changes.node_id
    ), living AS (
        SELECT k.owner, k.place, k.changed_at, k.operation, k.actor, k.changes,
            coalesce(lag(k.operation) OVER so_far IN ('DELETE', 'TRUNCATE'), true) AS was_gone,
            count(*) FILTER (WHERE k.operation = 'INSERT') OVER so_far
                + count(*) FILTER (WHERE k.operation IN ('DELETE', 'TRUNCATE'))
                    OVER (so_far ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS life
        FROM known AS k
        WINDOW so_far AS (PARTITION BY k.owner ORDER BY k.place)
    ), whole AS (
        SELECT l.owner, l.life, l.place, l.changed_at, l.operation, l.actor,
            CASE WHEN l.operation = 'TRUNCATE' THEN (
                SELECT jsonb_build_object('old', memory.overlay(e.changes -> 'new' ORDER BY e.place))
                FROM living AS e
                WHERE e.owner = l.owner AND e.life = l.life AND e.operation IN ('INSERT', 'UPDATE')
            ) ELSE l.changes END AS changes
        FROM living AS l
        WHERE NOT (l.operation = 'TRUNCATE' AND l.was_gone)
        UNION ALL
        -- A life of which the log has forgotten the beginning begins with what it left.
        SELECT l.owner, l.life, l.place - 1, b.updated_at, CASE WHEN b.updated_at = b.created_at THEN 'INSERT' ELSE 'UPDATE' END, NULL, NULL
        FROM living AS l
        CROSS JOIN LATERAL (
            SELECT (s.state ->> 'created_at')::timestamptz, (s.state ->> 'updated_at')::timestamptz
            FROM (
                SELECT memory.overlay(e.changes -> 'old' ORDER BY e.place DESC) AS state
                FROM living AS e
                WHERE e.owner = l.owner AND e.life = l.life AND e.operation IN ('UPDATE', 'DELETE', 'PRESENT')
            ) AS s
        ) AS b (created_at, updated_at)
        WHERE l.was_gone AND l.operation NOT IN ('INSERT', 'TRUNCATE')
    )
    SELECT w.owner, w.life, w.place, w.changed_at, w.operation, w.actor, w.changes
    FROM whole AS w
    -- Asked even where there is nothing to read: see context.sql.
    WHERE memory.owned_scope(node_changes.tenant, node_changes.user_id) IS NOT NULL
        AND memory.check_needed('node_id', node_changes.node_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.node_changes(uuid, text, text) IS
    'Internal: the changes of a node that the audit log knows, of each user who had it (owner), in the order of place: changes is the log''s, '
    '{"old": …, "new": …}, of an UPDATE the columns that changed. A life begins with an INSERT, or with an entry without changes and actor where '
    'the log has forgotten its beginning, and ends with DELETE, TRUNCATE or PRESENT, whose old is the whole row. So the state after an entry is '
    'the old of all later ones of its life laid over each other, the earliest last. Errors as scope(); node_id NULL is 22004.';

CREATE FUNCTION memory.node_history(
    node_id uuid, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT version bigint, OUT changed_at timestamptz, OUT operation text, OUT actor text, OUT content jsonb, OUT summary text, OUT tags text[]
) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT row_number() OVER (ORDER BY v.place, v.life), v.changed_at, v.operation, v.actor, v.content, v.summary, v.tags
    FROM (
        SELECT c.place, c.life, c.changed_at, c.operation, c.actor, (memory.readable_nodes(n)).content, n.summary, n.tags
        FROM (
            SELECT o.place, o.life, o.changed_at, o.operation, o.actor,
                CASE WHEN o.operation <> 'DELETE' THEN o.changes -> 'new' END AS new,
                CASE
                    WHEN o.operation IN ('DELETE', 'TRUNCATE') THEN o.changes -> 'old'
                    ELSE memory.overlay(CASE WHEN o.operation <> 'INSERT' THEN o.changes -> 'old' END) OVER (
                        PARTITION BY o.owner, o.life ORDER BY o.place DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    )
                END AS state
            FROM memory.node_changes(node_history.node_id, node_history.tenant, node_history.user_id) AS o
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.nodes, c.state || coalesce(c.new, '{}')) AS n
        WHERE c.operation <> 'PRESENT'
            AND (c.operation <> 'UPDATE' OR c.new - '{last_accessed, access_count, updated_at}'::text[] IS DISTINCT FROM '{}')
    ) AS v
    ORDER BY v.place, v.life;
END;
COMMENT ON FUNCTION memory.node_history(uuid, text, text) IS
    'The versions of a node, oldest first, counted from 1: when and by whom it was changed, and content, summary and tags after that (of DELETE and '
    'TRUNCATE: before). operation is INSERT, UPDATE, DELETE or TRUNCATE; being given to another user is DELETE here and INSERT there. Each change is a '
    'version, the end of its validity too, but not a touch. actor is the user in whose context it was done, else the service, else '
    'the role; NULL where the audit log remembers no more: then the first version is the state that it left. Ended and deleted nodes have a '
    'history; of an unknown or invisible one, or one that was erased or removed by retention, there is none; NULL is 22004. Costs 1 ms, and 30 µs per version of 1 kB.';

CREATE FUNCTION memory.node_as_of(
    node_id uuid, at timestamptz, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH logged AS MATERIALIZED (
        SELECT c.owner, c.life, c.place, c.changed_at, c.operation, c.changes
        FROM memory.node_changes(node_as_of.node_id, node_as_of.tenant, node_as_of.user_id) AS c
    ), reached AS (
        SELECT DISTINCT ON (c.owner) c.owner, c.life, c.place, c.operation, c.changes
        FROM logged AS c
        WHERE c.changed_at <= coalesce(node_as_of.at, statement_timestamp()) AND c.operation <> 'PRESENT'
        ORDER BY c.owner, c.place DESC, c.life DESC
    )
    SELECT to_jsonb(memory.readable_nodes(n))
    FROM reached AS r
    CROSS JOIN LATERAL (
        SELECT memory.overlay(c.old) AS state, count(*) AS changes
        FROM (
            -- Sorted unread.
            SELECT l.changes -> 'old' AS old
            FROM (
                SELECT s.changes FROM logged AS s WHERE s.owner = r.owner AND s.life = r.life AND s.place > r.place ORDER BY s.place DESC OFFSET 0
            ) AS l
        ) AS c
    ) AS later
    -- The later ones win: of what was written past the log, the present is right.
    CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.nodes, coalesce(r.changes -> 'new', '{}') || later.state) AS n
    -- What has no end and is not there has gone nobody knows when.
    WHERE r.operation NOT IN ('DELETE', 'TRUNCATE') AND later.changes > 0
    ORDER BY r.place DESC
    LIMIT 1;
END;
COMMENT ON FUNCTION memory.node_as_of(uuid, timestamptz, text, text) IS
    'The node''s row as the database had it at a moment (NULL: now), as jsonb by column name, touches and all; NULL where there was none. What was '
    'written by then counts, not what was valid: for that, ask with as_of, or look at valid_from and valid_to. Before what the audit log '
    'remembers it is NULL, unknown. node_id NULL is 22004. Costs 1 ms, and 15 µs per change of 1 kB.';

SELECT memory.allow('app', 'overlay', 'node_changes', 'node_history', 'node_as_of');

-- A user's data as one document, elsewhere and back; and what users ask for, from request to receipt.

CREATE FUNCTION memory.privacy_tenant(tenant text) RETURNS uuid
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'privacy_tenant_wrapper';
COMMENT ON FUNCTION memory.privacy_tenant(text) IS
    'Internal: the tenant whose requests a call is about, NULL: the context''s. 42501 unless a service''s context covers it; a superuser without a context names it (22004).';

-- The zone makes the times of two exports alike.
CREATE FUNCTION memory.export_user_document(user_id text, tenant text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE SET timezone = 'UTC'
BEGIN ATOMIC
    WITH of_user AS MATERIALIZED (
        SELECT e.relation, e.record - '{tenant_id,user_id,code,indexed,key_id}'::text[] AS carried, e.record,
            e.relation IN ('sessions', 'events', 'preferences', 'navigation', 'nodes', 'relationships', 'user_metadata',
                'agent_sessions_archive', 'agent_events_archive', 'embeddings', 'encrypted_fields') AS is_carried
        FROM memory.export_user_data(export_user_document.user_id, export_user_document.tenant) AS e
        WHERE e.relation <> 'search_documents'
    ), relations AS (
        SELECT u.relation, u.is_carried,
            CASE WHEN u.is_carried
                THEN jsonb_agg(u.carried ORDER BY u.record ->> 'session_id' COLLATE "C", u.record ->> 'event_id' COLLATE "C",
                    u.record ->> 'node_id' COLLATE "C", u.record ->> 'id' COLLATE "C", u.record ->> 'model' COLLATE "C",
                    u.record ->> 'vector_type' COLLATE "C", u.record ->> 'field_id' COLLATE "C")
                ELSE jsonb_agg(u.record ORDER BY u.record) END AS rows
        FROM of_user AS u
        GROUP BY u.relation, u.is_carried
    )
    SELECT jsonb_build_object('version', 1, 'tenant', (memory.resolve_canonical_tenant(s.tenant_id::text)).slug,
        'user_id', export_user_document.user_id, 'exported_at', statement_timestamp(),
        'relations', coalesce((SELECT jsonb_object_agg(r.relation, r.rows) FROM relations AS r WHERE r.is_carried), '{}'),
        'records', coalesce((SELECT jsonb_object_agg(r.relation, r.rows) FROM relations AS r WHERE NOT r.is_carried), '{}'))
    FROM memory.privacy_tenant(export_user_document.tenant) AS s (tenant_id);
END;
COMMENT ON FUNCTION memory.export_user_document(text, text) IS
    'What export_user_data() gives, as one document: {version, tenant, user_id, exported_at, relations, records}. relations has the user''s own data by table, each row '
    'without tenant and user, times in UTC, what is encrypted in plain: keep it as you would keep that; import_user_data() takes it elsewhere. records has what is kept about the user and stays here: the log, violations, '
    'holds, requests. What is computed of the rows (search documents, the codes of embeddings) is not in it. The errors of export_user_data(); more than 255 MB of rows of one table '
    'is 54000: take the rows of export_user_data() then.';

CREATE FUNCTION memory.import_user_data(document jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 10
AS 'MODULE_PATHNAME', 'import_user_data_wrapper';
COMMENT ON FUNCTION memory.import_user_data(jsonb, text, text) IS
    'Stores what export_user_document() gave for a user of the tenant, NULL: the document''s user, all or none; gives how many rows of each relation. Ids, times and words '
    'stay; archived payloads get the tenant''s _tenant; encrypted fields, and the payloads of a tenant with encryption_enabled, are encrypted under the user''s key here; what is under records is not imported. The rows are audited as any other, and found by searches. A user who has data already '
    'is 55000: nothing is merged. A document with an unknown key, column or word, without one, with a value that the table refuses, or with embeddings '
    'of a model without a space is 22023, naming the element. Needs a service context (42501), and READ COMMITTED (55000). Waits for writers to the user. Some 100 µs per row.';

CREATE TABLE memory.privacy_requests (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('export', 'erase', 'anonymize')),
    state text COLLATE "C" NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'held', 'done', 'refused')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,
    requested_by text COLLATE "C" NOT NULL,
    requested_service text COLLATE "C",
    finished_at timestamptz,
    finished_by text COLLATE "C",
    reason text,
    receipt jsonb,
    PRIMARY KEY (tenant_id, user_id, request_id)
);
CREATE INDEX privacy_requests_open_idx ON memory.privacy_requests (tenant_id, due_at) WHERE state IN ('requested', 'held');
COMMENT ON TABLE memory.privacy_requests IS
    'What users ask for about their data, and what became of it. Once its user is erased or anonymised a request names the pseudonym. Auditors read it; write with request_privacy(), '
    'perform_privacy_request(), refuse_privacy_request().';
COMMENT ON COLUMN memory.privacy_requests.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.privacy_requests.user_id IS 'Whose data it is about; a pseudonym once that is erased or anonymised.';
COMMENT ON COLUMN memory.privacy_requests.request_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.privacy_requests.kind IS 'export, erase or anonymize.';
COMMENT ON COLUMN memory.privacy_requests.state IS 'requested; held: a legal hold stood when it was asked for or last tried; done; refused.';
COMMENT ON COLUMN memory.privacy_requests.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN memory.privacy_requests.due_at IS 'Until when it is to be done.';
COMMENT ON COLUMN memory.privacy_requests.requested_by IS 'The role that entered it.';
COMMENT ON COLUMN memory.privacy_requests.requested_service IS 'The service that entered it.';
COMMENT ON COLUMN memory.privacy_requests.finished_at IS 'When it was done or refused.';
COMMENT ON COLUMN memory.privacy_requests.finished_by IS 'The role that did it or refused.';
COMMENT ON COLUMN memory.privacy_requests.reason IS 'Why it was refused, for people.';
COMMENT ON COLUMN memory.privacy_requests.receipt IS
    '{"counts": {relation: rows}, "audit_head": the head of the audit''s seals or null, "performed_at": when}.';

-- No context reads it: the functions are the way for services, the policy for auditors.
SELECT memory.declare_table('memory.privacy_requests', 'shared', '{user_id, requested_service, reason, receipt}');
ALTER TABLE memory.privacy_requests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.privacy_requests FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.privacy_requests IS 'An auditor reads the tenants that it audits.';
SELECT memory.declare_personal('memory.privacy_requests', '{
    "user_id": "user", "request_id": "keep", "reason": "clear",
    "tenant_id, kind, state, requested_at, due_at, requested_by, requested_service, finished_at, finished_by, receipt": "keep"}', 'redact');
SELECT memory.allow_table('auditor', 'SELECT', 'privacy_requests');

-- They run as their owner because no service may write the table itself: a receipt is what was done. Tenant and user come from the checked context.
CREATE FUNCTION memory.request_privacy(
    kind text, user_id text, due interval DEFAULT '30 days', tenant text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'request_privacy_wrapper';
COMMENT ON FUNCTION memory.request_privacy(text, text, interval, text) IS
    'Enters what a user asked for: export, erase or anonymize, to be done within due (a month by the GDPR, Art. 12(3)). Gives the request''s id. It is held at once where a legal '
    'hold stands and it is no export. Any number may be open. Needs a service context (42501); an unknown kind, or due below zero, is 22023.';

CREATE FUNCTION memory.perform_privacy_request(request_id uuid, tenant text DEFAULT NULL)
RETURNS TABLE (kind text, state text, receipt jsonb, document jsonb)
LANGUAGE c VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'perform_privacy_request';
COMMENT ON FUNCTION memory.perform_privacy_request(uuid, text) IS
    'Does what was asked for, in this transaction, and keeps the receipt: counts per relation, the head of the audit log''s seals, the time. document: of an export, what export_user_document() '
    'gives. Where a legal hold stands nothing is done and the request is held: call it again when the hold is lifted. One that is done or refused is 55000, an unknown one P0002. Needs a service context (42501), and to '
    'erase or anonymise READ COMMITTED (55000). Costs what the verb costs.';

CREATE FUNCTION memory.refuse_privacy_request(request_id uuid, reason text, tenant text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'refuse_privacy_request_wrapper';
COMMENT ON FUNCTION memory.refuse_privacy_request(uuid, text, text) IS
    'Closes a request without doing it, and says why (GDPR Art. 12(4): the user is told). One that is done or refused is 55000, an unknown one P0002, no reason 22004 or 22023. Needs a service '
    'context (42501).';

CREATE FUNCTION memory.list_privacy_requests(state text DEFAULT NULL, overdue boolean DEFAULT false, tenant text DEFAULT NULL)
RETURNS SETOF memory.privacy_requests
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p
    FROM memory.privacy_requests AS p
    WHERE memory.privacy_tenant(list_privacy_requests.tenant) IS NOT NULL
        AND p.tenant_id = memory.privacy_tenant(list_privacy_requests.tenant)
        AND p.state = coalesce(memory.check_word('state', list_privacy_requests.state, '{requested,held,done,refused}'), p.state)
        AND memory.check_needed('overdue', list_privacy_requests.overdue) IS NOT NULL
        AND (NOT list_privacy_requests.overdue OR p.state IN ('requested', 'held') AND p.due_at < now())
    ORDER BY p.due_at, p.request_id;
END;
COMMENT ON FUNCTION memory.list_privacy_requests(text, boolean, text) IS
    'The tenant''s requests, of one state or all, the first due first; overdue: those that are still open past their time. Needs a service context (42501); an unknown state is 22023, overdue NULL 22004.';

SELECT memory.allow('service', 'privacy_tenant', 'export_user_document', 'import_user_data', 'request_privacy', 'perform_privacy_request',
    'refuse_privacy_request', 'list_privacy_requests');

-- What is unusual in what was refused, written, read and exported; for auditors.

CREATE VIEW memory.security_metrics WITH (security_invoker = true) AS
    SELECT v.tenant_id, v.kind, (v.occurred_at AT TIME ZONE 'UTC')::date AS day, count(*) AS violations,
        count(DISTINCT (v.login_role, v.user_id, v.service_name)) AS actors, max(v.occurred_at) AS last_at
    FROM memory.security_violations AS v
    GROUP BY v.tenant_id, v.kind, (v.occurred_at AT TIME ZONE 'UTC')::date;
COMMENT ON VIEW memory.security_metrics IS 'How many violations there were, by tenant, kind and day. An auditor sees the tenants that it audits.';
COMMENT ON COLUMN memory.security_metrics.tenant_id IS 'The tenant; all zero where it is no tenant''s.';
COMMENT ON COLUMN memory.security_metrics.kind IS 'As in security_violations.';
COMMENT ON COLUMN memory.security_metrics.day IS 'The day, in UTC.';
COMMENT ON COLUMN memory.security_metrics.violations IS 'How many.';
COMMENT ON COLUMN memory.security_metrics.actors IS 'Of how many different logins, users and services.';
COMMENT ON COLUMN memory.security_metrics.last_at IS 'The last of them.';
SELECT memory.allow_table('auditor', 'SELECT', 'security_metrics');

CREATE FUNCTION memory.surprise(count bigint, expected double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN surprise.count > surprise.expected
        THEN (surprise.count * ln(surprise.count / surprise.expected) - surprise.count + surprise.expected) / ln(10::double precision)
        ELSE 0 END;
END;
COMMENT ON FUNCTION memory.surprise(bigint, double precision) IS
    'Internal: how unlikely it is to count as many where so many are expected: minus the decimal logarithm of the Chernoff bound on the Poisson tail. 6 is one in a million.';

-- What each actor did in the period, beside the seven days before (of a longer period, seven of it), cut into pieces of the period's length.
CREATE FUNCTION memory.security_anomalies(until timestamptz, period interval)
RETURNS TABLE (kind text, subject text, score double precision, detail jsonb)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH span AS MATERIALIZED (
        SELECT b.until, b.period, b.until - b.period AS since, b.until - b.period - greatest(interval '7 days', 7 * b.period) AS history,
            b.until - b.period - interval '28 days' AS month,
            extract(epoch FROM greatest(interval '7 days', 7 * b.period)) / extract(epoch FROM b.period) AS pieces
        FROM (
            SELECT memory.check_needed('until', security_anomalies.until) AS until, make_interval(secs => seconds) AS period
            FROM (SELECT least(extract(epoch FROM security_anomalies.period), 31536000)::double precision AS seconds) AS p
            -- Whole months have no length.
            WHERE memory.check_positive('period', CASE WHEN security_anomalies.period IS NOT NULL THEN ceil(p.seconds)::integer END) > 0
        ) AS b
    ), seen AS (
        SELECT 'refusals' AS kind, v.tenant_id, v.login_role, v.user_id, v.service_name, v.occurred_at AS at, v.id::text AS item
        FROM memory.security_violations AS v, span AS s
        WHERE v.occurred_at >= s.history AND v.occurred_at < s.until
        UNION ALL
        SELECT 'probing', v.tenant_id, v.login_role, v.user_id, v.service_name, v.occurred_at, coalesce(v.named_user_id, v.detail)
        FROM memory.security_violations AS v, span AS s
        WHERE v.occurred_at >= s.history AND v.occurred_at < s.until AND v.kind IN ('other_user', 'other_tenant', 'unknown_tenant')
        UNION ALL
        SELECT 'users_reached', a.tenant_id, a.login_role, NULL, a.actor_service_name, a.changed_at, a.user_id
        FROM memory.audit_log AS a, span AS s
        WHERE a.changed_at >= s.history AND a.changed_at < s.until AND a.actor_service_name IS NOT NULL AND a.actor_user_id IS NULL
            AND a.user_id IS NOT NULL
        UNION ALL
        SELECT 'users_read', l.tenant_id, l.login_role, NULL, l.actor_service_name, l.occurred_at, l.user_id
        FROM memory.data_access_log AS l, span AS s
        WHERE l.occurred_at >= s.history AND l.occurred_at < s.until AND l.actor_service_name IS NOT NULL AND l.actor_user_id IS NULL
            AND l.user_id IS NOT NULL
    ), pieces AS (
        SELECT n.kind, n.tenant_id, n.login_role, n.user_id, n.service_name, date_bin(s.period, n.at, s.until) = s.since AS is_now,
            count(DISTINCT n.item) AS count
        FROM seen AS n, span AS s
        GROUP BY n.kind, n.tenant_id, n.login_role, n.user_id, n.service_name, date_bin(s.period, n.at, s.until), s.since
    ), actors AS (
        SELECT p.kind, p.tenant_id, p.login_role, p.user_id, p.service_name, coalesce(max(p.count) FILTER (WHERE p.is_now), 0) AS count,
            coalesce(sum(p.count) FILTER (WHERE NOT p.is_now), 0) / s.pieces AS mean,
            coalesce(max(p.count) FILTER (WHERE NOT p.is_now), 0) AS most
        FROM pieces AS p, span AS s
        GROUP BY p.kind, p.tenant_id, p.login_role, p.user_id, p.service_name, s.pieces
    ), scored AS (
        -- What is expected is what was, and never so little that a few are a surprise.
        SELECT a.kind, a.tenant_id, a.login_role, a.user_id, a.service_name, a.count, a.mean, a.most,
            memory.surprise(a.count, CASE
                WHEN a.kind IN ('users_reached', 'users_read') THEN greatest(3, a.mean, a.most) ELSE greatest(0.5, a.mean, a.most / 2.0) END::double precision) AS score
        FROM actors AS a
        WHERE a.count > 0
    ), performed AS MATERIALIZED (
        SELECT p.tenant_id, p.user_id, p.finished_by, p.request_id, p.finished_at
        FROM memory.privacy_requests AS p, span AS s
        WHERE p.kind = 'export' AND p.state = 'done' AND p.finished_at >= s.month AND p.finished_at < s.until
    ), moments AS (
        SELECT p.tenant_id, p.finished_by AS login_role, p.request_id, NULL::uuid AS read_id, p.finished_at AS at FROM performed AS p
        UNION ALL
        -- export_user_document() reads by export_user_data(); so does a request that is performed, which is counted above.
        SELECT l.tenant_id, l.login_role, NULL, l.id, l.occurred_at
        FROM memory.data_access_log AS l, span AS s
        WHERE l.function_name = 'export_user_data' AND l.occurred_at >= s.month AND l.occurred_at < s.until AND NOT EXISTS (
            SELECT FROM performed AS p
            WHERE p.tenant_id = l.tenant_id AND p.user_id = l.user_id
                AND p.finished_at BETWEEN l.occurred_at - interval '1 minute' AND l.occurred_at + interval '1 minute')
    ), exports AS (
        SELECT m.tenant_id, m.login_role, m.request_id, m.read_id, m.at, m.at >= s.since AS is_now,
            extract(hour FROM m.at AT TIME ZONE 'UTC') AS hour
        FROM moments AS m, span AS s
    ), hours AS (
        SELECT e.tenant_id, e.login_role, e.request_id, e.read_id, e.at, count(b.at) AS before,
            -- The hour itself, and the one on either side.
            count(b.at) FILTER (WHERE abs(b.hour - e.hour) IN (0, 1, 23)) AS near
        FROM exports AS e LEFT JOIN exports AS b ON b.tenant_id = e.tenant_id AND NOT b.is_now
        WHERE e.is_now
        GROUP BY e.tenant_id, e.login_role, e.request_id, e.read_id, e.at
    )
    SELECT c.kind, concat_ws('/', c.login_role, c.service_name, c.user_id), c.score, jsonb_build_object('tenant_id', c.tenant_id,
        'login_role', c.login_role, 'user_id', c.user_id, 'service_name', c.service_name, 'count', c.count,
        'mean', round(c.mean::numeric, 3), 'most', c.most, 'since', s.since, 'until', s.until)
    FROM scored AS c, span AS s
    WHERE c.score >= 6
    UNION ALL
    SELECT 'export_hour', h.login_role, -log((h.near + 0.5) / (h.before + 12.0))::double precision, jsonb_build_object('tenant_id', h.tenant_id,
        'request_id', h.request_id, 'read_id', h.read_id, 'login_role', h.login_role, 'at', h.at, 'exports_before', h.before)
    FROM hours AS h
    WHERE h.before >= 10 AND h.near = 0
    ORDER BY 3 DESC, 1, 2;
END;
COMMENT ON FUNCTION memory.security_anomalies(timestamptz, interval) IS
    'detect_security_anomalies() as of another time (NULL is 22004), of what is in the tables. An auditor''s.';

CREATE FUNCTION memory.detect_security_anomalies(period interval DEFAULT '1 hour')
RETURNS TABLE (kind text, subject text, score double precision, detail jsonb)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT memory.flush_security_violations();
    SELECT a.kind, a.subject, a.score, a.detail FROM memory.security_anomalies(clock_timestamp(), detect_security_anomalies.period) AS a;
END;
COMMENT ON FUNCTION memory.detect_security_anomalies(interval) IS
    'What is unusual in the last period, beside the actor''s own seven days (if longer, seven periods) before it, in the tenants that the caller audits; the greatest score first. refusals: far more violations of a login, '
    'service and user than it had. probing: far more different users and tenants that were named and refused. users_reached: a service that wrote to far more users than it did; users_read: '
    'that read far more, as far as memory.log_reads has them logged. For these four the score is minus the decimal logarithm of the chance of as many (Poisson, expecting the mean of the past and at least half of its busiest piece, for users_reached and users_read '
    'all of it; never under 0.5, or 3 users), from 6 on. export_hour: an export, by a performed request or logged as a read, where there were ten in 28 days, at an hour of the day (UTC) at and beside which there was none; '
    'the score is minus the decimal logarithm of the share of such hours. detail: who, how many, what was usual. Run it once per period. A period of more than a year counts as one; one that is not above zero is 22023, NULL 22004. An auditor''s. '
    'Costs reading seven days of the violations, of the audit log and of the access log, and 28 days of exports.';
SELECT memory.allow('auditor', 'surprise', 'security_anomalies', 'detect_security_anomalies', 'check_needed', 'check_positive');

-- Closed by default: nothing here is PUBLIC's.
REVOKE ALL ON ALL TABLES IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA memory FROM PUBLIC;
DO $$
DECLARE
    type regtype;
BEGIN
    -- Row types of tables too; arrays follow their elements.
    FOR type IN SELECT t.oid FROM pg_type t
        WHERE t.typnamespace = 'memory'::regnamespace AND t.typcategory <> 'A'
    LOOP
        EXECUTE format('REVOKE ALL ON TYPE %s FROM PUBLIC', type);
    END LOOP;
END
$$;
