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
    -- halfvec and binary_quantize came with 0.7, iterative scans with 0.8.
    IF (SELECT string_to_array(regexp_replace(extversion, '[^0-9.].*', ''), '.')::integer[] < '{0,8}' FROM pg_extension WHERE extname = 'vector') THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the extension vector is of version %s', (SELECT extversion FROM pg_extension WHERE extname = 'vector')),
            HINT = 'memory_ext needs pgvector 0.8 or newer: install its package or source, then ALTER EXTENSION vector UPDATE.';
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
