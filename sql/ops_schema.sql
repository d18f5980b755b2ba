-- The schema as it should be, as it is, and what makes the one of the other.
--
-- What should be is recorded by the last statement of an installation and of an upgrade, from the catalog, by the same function that looks
-- at what is: so it is right for the server's version and for where pgvector stands, and a restore, which installs anew, records it anew. Nobody but
-- a superuser can change it: who could would have repair_schema() run statements of theirs.

CREATE TABLE memory.schema_expectation (
    kind text COLLATE "C" NOT NULL,
    relation text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, relation, name)
);
COMMENT ON TABLE memory.schema_expectation IS
    'The extension''s schema as it was installed: what schema_drift() compares with. Written by record_schema(); not dumped, for a restore installs anew.';
COMMENT ON COLUMN memory.schema_expectation.kind IS 'What is defined: a column, a default, a constraint, an index, a trigger, a policy, a function ….';
COMMENT ON COLUMN memory.schema_expectation.relation IS 'The table, function or type, with its schema.';
COMMENT ON COLUMN memory.schema_expectation.name IS 'What of it, quoted for SQL; empty: itself.';
COMMENT ON COLUMN memory.schema_expectation.definition IS
    'As SQL says it; @vector@ and @pg_trgm@ stand for the schemas of those extensions.';
ALTER TABLE memory.schema_expectation ALTER COLUMN kind SET STATISTICS 0, ALTER COLUMN relation SET STATISTICS 0,
    ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN definition SET STATISTICS 0;

-- How a value is written in a definition must not depend on who asks. Nor is any of these statements, which run a few milliseconds and are large, compiled:
-- the planner, which knows little of the catalog, takes them for dear, and compiling them took seconds.
CREATE FUNCTION memory.schema_objects(
    OUT kind text, OUT relation text, OUT name text, OUT definition text, OUT of_space boolean
) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE COST 100000 ROWS 2000
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET extra_float_digits = 1 SET intervalstyle = postgres
SET datestyle = 'ISO, MDY' SET timezone = 'UTC' SET bytea_output = hex SET standard_conforming_strings = on SET jit = off
BEGIN ATOMIC
    WITH extension AS (
        SELECT e.oid, e.extowner, e.extconfig, e.extcondition FROM pg_extension AS e WHERE e.extname = 'memory_ext'
    ), member AS (
        SELECT d.classid, d.objid FROM pg_depend AS d JOIN extension AS e ON d.refobjid = e.oid
        WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
    ), vectors AS (
        SELECT quote_ident(n.nspname) || '.' AS prefix FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
    ), trigrams AS (
        SELECT quote_ident(n.nspname) || '.' AS prefix FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'
    ), rel AS (
        SELECT c.oid, 'memory.' || quote_ident(c.relname) AS relation, c.relkind, c.relowner, c.relacl, c.reloptions, c.relrowsecurity,
            c.relforcerowsecurity, c.relpersistence, false AS of_space
        FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid
        UNION ALL
        SELECT c.oid, 'memory.' || quote_ident(c.relname), c.relkind, c.relowner, c.relacl, c.reloptions, c.relrowsecurity,
            c.relforcerowsecurity, c.relpersistence, true
        FROM pg_class AS c JOIN memory.embedding_spaces AS s ON s.relation = c.relname
        WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r'
    ), tab AS (
        SELECT r.oid, r.relation, r.relkind, r.relrowsecurity, r.relforcerowsecurity, r.of_space FROM rel AS r WHERE r.relkind IN ('r', 'p')
    ), routine AS (
        SELECT p.oid, p.oid::regprocedure::text AS relation, p.prokind, p.proowner, p.proacl
        FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid
    ), type AS (
        SELECT t.oid, 'memory.' || quote_ident(t.typname) AS relation, t.typowner, t.typacl, t.typrelid
        FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid
        LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        -- From PostgreSQL 17 on tables' row types and all arrays are members too.
        WHERE t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
    ), object AS (
        SELECT 'relation' AS kind, r.relation, '' AS name,
            CASE r.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                ELSE 'RELATION ' || r.relkind::text END || CASE r.relpersistence WHEN 'p' THEN '' ELSE ' (not logged)' END AS definition, r.of_space
        FROM rel AS r WHERE r.relkind <> 'c'
        UNION ALL
        SELECT 'view', r.relation, '',
            coalesce('WITH (' || array_to_string(r.reloptions, ', ') || ') ', '') || 'AS' || chr(10) || pg_get_viewdef(r.oid), r.of_space
        FROM rel AS r WHERE r.relkind IN ('v', 'm')
        UNION ALL
        -- The library reads many tables by the places of their columns; one that has gone leaves its place empty.
        SELECT 'columns', r.relation, '',
            string_agg(CASE WHEN a.attisdropped THEN '-' ELSE quote_ident(a.attname) END, ', ' ORDER BY a.attnum), r.of_space
        FROM rel AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
        WHERE r.relkind IN ('r', 'p') AND NOT r.of_space GROUP BY r.relation, r.of_space
        UNION ALL
        SELECT 'column', r.relation, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
                THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END
            || CASE a.attgenerated WHEN '' THEN '' ELSE ' GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ')'
                || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END
            || CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY' ELSE '' END,
            r.of_space
        FROM tab AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        UNION ALL
        SELECT 'default', r.relation, quote_ident(a.attname), pg_get_expr(d.adbin, d.adrelid), r.of_space
        FROM tab AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attgenerated = '' AND NOT a.attisdropped
        JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        UNION ALL
        SELECT 'not null', r.relation, quote_ident(a.attname), 'NOT NULL', r.of_space
        FROM tab AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
        UNION ALL
        SELECT 'storage', r.relation, quote_ident(a.attname),
            CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END, r.of_space
        FROM tab AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        -- Which columns keep none; how many others keep is an administrator's to say.
        SELECT 'statistics', r.relation, quote_ident(a.attname), '0', r.of_space
        FROM tab AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget = 0
        UNION ALL
        -- NOT NULL is said of the column, whatever the server's version makes of it.
        SELECT 'constraint', r.relation, quote_ident(c.conname), pg_get_constraintdef(c.oid), r.of_space
        FROM tab AS r JOIN pg_constraint AS c ON c.conrelid = r.oid WHERE c.contype IN ('c', 'f', 'p', 'u', 'x')
        UNION ALL
        SELECT 'index', r.relation, quote_ident(c.relname),
            pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' -- invalid' END, r.of_space
        FROM rel AS r JOIN pg_index AS i ON i.indrelid = r.oid JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT 'trigger', r.relation, quote_ident(t.tgname), pg_get_triggerdef(t.oid), r.of_space
        FROM rel AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
        UNION ALL
        SELECT 'trigger state', r.relation, quote_ident(t.tgname),
            CASE t.tgenabled WHEN 'O' THEN 'ENABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, r.of_space
        FROM rel AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
        UNION ALL
        -- The triggers by which PostgreSQL keeps foreign keys: as many as are off.
        SELECT 'foreign key triggers', r.relation, '', count(*) FILTER (WHERE t.tgenabled <> 'O') || ' off', r.of_space
        FROM tab AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND t.tgisinternal GROUP BY r.relation, r.of_space
        UNION ALL
        SELECT 'policy', r.relation, quote_ident(p.polname),
            'AS ' || CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END || ' FOR '
            || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END || ' TO '
            || (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ' ORDER BY pg_get_userbyid(role))
                FROM unnest(p.polroles) AS role)
            || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
            || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''), r.of_space
        FROM rel AS r JOIN pg_policy AS p ON p.polrelid = r.oid
        UNION ALL
        SELECT 'row security', r.relation, '',
            CASE WHEN r.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END || ' ROW LEVEL SECURITY, '
            || CASE WHEN r.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END || ' ROW LEVEL SECURITY', r.of_space
        FROM tab AS r
        UNION ALL
        SELECT 'rule', r.relation, quote_ident(w.rulename), pg_get_ruledef(w.oid), r.of_space
        FROM rel AS r JOIN pg_rewrite AS w ON w.ev_class = r.oid WHERE w.rulename <> '_RETURN'
        UNION ALL
        SELECT 'function', r.relation, '', pg_get_functiondef(r.oid), false FROM routine AS r WHERE r.prokind <> 'a'
        UNION ALL
        SELECT 'aggregate', r.relation, '', format('STYPE %s, SFUNC %s, FINALFUNC %s, COMBINEFUNC %s, INITCOND %s',
            format_type(a.aggtranstype, NULL), a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.agginitval), false
        FROM routine AS r JOIN pg_aggregate AS a ON a.aggfnoid = r.oid
        UNION ALL
        SELECT 'type', t.relation, '', coalesce((
                SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), (
                SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid), ''), false
        FROM type AS t
        UNION ALL
        SELECT 'owner', o.kind || ' ' || o.relation, '',
            CASE WHEN o.owner = e.extowner THEN 'the extension''s' ELSE quote_ident(pg_get_userbyid(o.owner)) END, o.of_space
        FROM (
            SELECT 'TABLE', r.relation, r.relowner, r.of_space FROM rel AS r WHERE r.relkind <> 'c'
            UNION ALL SELECT 'ROUTINE', r.relation, r.proowner, false FROM routine AS r
            UNION ALL SELECT 'TYPE', t.relation, t.typowner, false FROM type AS t
            UNION ALL SELECT 'SCHEMA', quote_ident(n.nspname), n.nspowner, false FROM pg_namespace AS n WHERE n.nspname = 'memory'
        ) AS o (kind, relation, owner, of_space), extension AS e
        UNION ALL
        SELECT 'public privileges', o.kind || ' ' || o.relation, '',
            coalesce((SELECT string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type) FROM aclexplode(o.acl) AS a WHERE a.grantee = 0), 'none'),
            o.of_space
        FROM (
            SELECT 'TABLE', r.relation, coalesce(r.relacl, acldefault('r', r.relowner)), r.of_space FROM rel AS r WHERE r.relkind NOT IN ('c', 'S')
            UNION ALL SELECT 'SEQUENCE', r.relation, coalesce(r.relacl, acldefault('s', r.relowner)), r.of_space FROM rel AS r WHERE r.relkind = 'S'
            UNION ALL SELECT 'ROUTINE', r.relation, coalesce(r.proacl, acldefault('f', r.proowner)), false FROM routine AS r
            UNION ALL SELECT 'TYPE', t.relation, coalesce(t.typacl, acldefault('T', t.typowner)), false FROM type AS t
            UNION ALL SELECT 'TYPE', r.relation, coalesce(t.typacl, acldefault('T', t.typowner)), false
                FROM rel AS r JOIN pg_type AS t ON t.typrelid = r.oid WHERE r.relkind <> 'c' AND NOT r.of_space
            UNION ALL SELECT 'SCHEMA', quote_ident(n.nspname), coalesce(n.nspacl, acldefault('n', n.nspowner)), false
                FROM pg_namespace AS n WHERE n.nspname = 'memory'
        ) AS o (kind, relation, acl, of_space)
        UNION ALL
        -- What \d+ and \df+ show is the manual.
        SELECT 'comment', o.kind || ' ' || o.relation, '', coalesce(quote_literal(d.description), 'NULL'), false
        FROM (
            SELECT CASE r.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, r.relation,
                'pg_catalog.pg_class'::regclass, r.oid, 0 FROM rel AS r WHERE r.relkind <> 'c' AND NOT r.of_space
            UNION ALL SELECT 'COLUMN', r.relation || '.' || quote_ident(a.attname), 'pg_catalog.pg_class'::regclass, a.attrelid, a.attnum
                FROM (SELECT t.relation, t.typrelid AS oid FROM type AS t
                      UNION ALL SELECT u.relation, u.oid FROM rel AS u WHERE u.relkind IN ('r', 'p', 'v', 'm') AND NOT u.of_space) AS r
                JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT 'ROUTINE', r.relation, 'pg_catalog.pg_proc'::regclass, r.oid, 0 FROM routine AS r
            UNION ALL SELECT 'TYPE', t.relation, 'pg_catalog.pg_type'::regclass, t.oid, 0 FROM type AS t
            UNION ALL SELECT 'SCHEMA', quote_ident(n.nspname), 'pg_catalog.pg_namespace'::regclass, n.oid, 0 FROM pg_namespace AS n WHERE n.nspname = 'memory'
        ) AS o (kind, relation, classoid, oid, part)
        LEFT JOIN pg_description AS d ON d.objoid = o.oid AND d.classoid = o.classoid AND d.objsubid = o.part
        UNION ALL
        SELECT 'dump', r.relation, '', 'WITH DATA ' || c.condition, false
        FROM extension AS e CROSS JOIN unnest(e.extconfig, e.extcondition) AS c (oid, condition) JOIN rel AS r ON r.oid = c.oid
    )
    SELECT o.kind, replace(replace(o.relation, v.prefix, '@vector@.'), t.prefix, '@pg_trgm@.'), o.name,
        -- a comment's words are no names
        CASE o.kind WHEN 'comment' THEN o.definition ELSE replace(replace(o.definition, v.prefix, '@vector@.'), t.prefix, '@pg_trgm@.') END, o.of_space
    FROM object AS o CROSS JOIN vectors AS v CROSS JOIN trigrams AS t
    -- of a space, what keeps its rows apart and heard of
    WHERE NOT o.of_space OR o.kind IN ('row security', 'policy', 'trigger', 'trigger state', 'foreign key triggers', 'owner', 'public privileges');
END;
COMMENT ON FUNCTION memory.schema_objects() IS
    'Internal: what the extension''s schema is made of, as the catalog says now, without OIDs and owners'' names; and, of_space, what keeps the '
    'rows of embedding spaces apart. Some 100 ms.';

CREATE FUNCTION memory.record_schema() RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    DELETE FROM memory.schema_expectation;
    INSERT INTO memory.schema_expectation (kind, relation, name, definition)
    SELECT o.kind, o.relation, o.name, o.definition FROM memory.schema_objects() AS o WHERE NOT o.of_space
    UNION ALL SELECT 'server', 'PostgreSQL', '', (current_setting('server_version_num')::integer / 10000)::text;
    SELECT count(*) FROM memory.schema_expectation;
END;
COMMENT ON FUNCTION memory.record_schema() IS
    'Takes the extension''s schema, as it is now, for what it should be; gives how many definitions that are. Installation and upgrade end with it. '
    'A superuser''s: after pg_upgrade, whose server writes definitions in its own way, and to accept a change of one''s own.';

CREATE FUNCTION memory.schema_fingerprint() RETURNS text
LANGUAGE sql STABLE
SET jit = off
BEGIN ATOMIC
    -- Where pgvector and pg_trgm stand is not told apart.
    SELECT encode(sha256(convert_to(string_agg(replace(concat_ws(chr(31), o.kind, o.relation, o.name, o.definition), '@pg_trgm@', '@vector@'), chr(30)
        ORDER BY o.kind COLLATE "C", o.relation COLLATE "C", o.name COLLATE "C"), getdatabaseencoding())), 'hex')
    FROM memory.schema_objects() AS o WHERE NOT o.of_space;
END;
COMMENT ON FUNCTION memory.schema_fingerprint() IS
    'One number for the extension''s schema as it is: SHA-256 over every definition, in hexadecimal. The same in every database that has the '
    'same version of the extension on the same major version of PostgreSQL, whoever owns it and whatever roles have access; another where anything '
    'drifted. An operator''s. Some 150 ms.';

-- Both sides, beside each other; of spaces, what their common shape has.
CREATE FUNCTION memory.schema_comparison(
    OUT kind text, OUT relation text, OUT name text, OUT expected text, OUT actual text
) RETURNS SETOF record
LANGUAGE sql STABLE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET jit = off
BEGIN ATOMIC
    WITH actual AS (
        SELECT o.kind, o.relation, o.name, o.definition FROM memory.schema_objects() AS o
    ), spaces AS (
        SELECT 'memory.' || quote_ident(s.relation) AS relation FROM memory.embedding_spaces AS s
    ), expected AS (
        SELECT e.kind, e.relation, e.name, e.definition FROM memory.schema_expectation AS e WHERE e.kind <> 'server'
        UNION ALL
        SELECT e.kind, replace(e.relation, 'memory.embeddings', s.relation), e.name, replace(e.definition, ' ON memory.embeddings ', ' ON ' || s.relation || ' ')
        FROM memory.schema_expectation AS e CROSS JOIN spaces AS s
        WHERE e.relation IN ('memory.embeddings', 'TABLE memory.embeddings')
            AND e.kind IN ('row security', 'policy', 'trigger', 'trigger state', 'owner', 'public privileges')
        UNION ALL SELECT 'foreign key triggers', s.relation, '', '0 off' FROM spaces AS s
    )
    SELECT coalesce(e.kind, a.kind), coalesce(e.relation, a.relation), coalesce(e.name, a.name), e.definition, a.definition
    FROM expected AS e FULL JOIN actual AS a ON a.kind = e.kind AND a.relation = e.relation AND a.name = e.name
    WHERE replace(e.definition, '@pg_trgm@', '@vector@') IS DISTINCT FROM replace(a.definition, '@pg_trgm@', '@vector@')
        -- what follows from another difference says nothing more
        AND NOT (e.kind IS NULL AND a.kind IN ('storage', 'trigger state', 'owner', 'public privileges', 'foreign key triggers', 'comment'))
        AND NOT (a.kind IS NULL AND e.kind IN ('owner', 'foreign key triggers', 'comment'))
        AND (coalesce(e.kind, a.kind) IN ('relation', 'view') OR a.kind IS NOT NULL OR NOT EXISTS (
            SELECT FROM expected AS r WHERE r.kind = 'relation' AND r.relation = regexp_replace(e.relation, '^(TABLE|TYPE|SEQUENCE) ', '')
                AND NOT EXISTS (SELECT FROM actual AS t WHERE t.kind = 'relation' AND t.relation = r.relation)));
END;
COMMENT ON FUNCTION memory.schema_comparison() IS
    'Internal: the definitions that are not as they were recorded; expected NULL: nothing was, actual NULL: it is not there.';

-- What roles have, beside what grant_access() gave them.
CREATE FUNCTION memory.schema_grants(
    OUT object text, OUT role text, OUT privilege text, OUT expected boolean, OUT actual boolean
) RETURNS SETOF record
LANGUAGE sql STABLE COST 10000 ROWS 10
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET jit = off
BEGIN ATOMIC
    WITH extension AS (
        SELECT e.oid, e.extowner FROM pg_extension AS e WHERE e.extname = 'memory_ext'
    ), member AS (
        SELECT d.classid, d.objid FROM pg_depend AS d JOIN extension AS e ON d.refobjid = e.oid
        WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass, c.oid FROM pg_class AS c JOIN memory.embedding_spaces AS s ON s.relation = c.relname
        WHERE c.relnamespace = 'memory'::regnamespace
    ), thing AS (
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, 'memory.' || quote_ident(c.relname) AS name,
            c.relname::text AS plain, c.relacl AS acl, '' AS part
        FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid WHERE c.relkind <> 'c'
        UNION ALL
        SELECT 'TABLE', 'memory.' || quote_ident(c.relname), c.relname, a.attacl, ' (' || quote_ident(a.attname) || ')'
        FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text, p.proname, p.proacl, ''
        FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid
        UNION ALL
        SELECT 'TYPE', 'memory.' || quote_ident(t.typname), t.typname, t.typacl, ''
        FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid
        LEFT JOIN pg_class AS c ON c.oid = t.typrelid WHERE t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
        UNION ALL SELECT 'SCHEMA', quote_ident(n.nspname), n.nspname, n.nspacl, '' FROM pg_namespace AS n WHERE n.nspname = 'memory'
    ), actual AS (
        SELECT DISTINCT t.kind || ' ' || t.name AS object, a.grantee AS role, a.privilege_type || t.part AS privilege
        FROM thing AS t, LATERAL aclexplode(t.acl) AS a, extension AS e WHERE a.grantee NOT IN (0, e.extowner)
    ), granted AS (
        -- A profile names a function without its arguments.
        SELECT g.grantee, regexp_replace(regexp_replace(p.object, '^(FUNCTION|PROCEDURE) ', 'ROUTINE '), '\(.*', '') AS object, privilege.words[1] || coalesce(' (' || trim(part.name) || ')', '') AS privilege
        FROM memory.access_grants AS g
        JOIN memory.profile_privileges AS p ON p.profile = g.profile OR p.profile = 'app' AND g.profile = 'service'
        CROSS JOIN LATERAL regexp_matches(p.privileges, '([A-Z]+)(?: *\(([^)]*)\))?', 'g') AS privilege (words)
        -- of a table, or of some of its columns
        CROSS JOIN LATERAL regexp_split_to_table(coalesce(privilege.words[2], ''), ',') AS named (name)
        CROSS JOIN LATERAL (SELECT nullif(named.name, '')) AS part (name)
        WHERE EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = g.grantee)
    ), expected AS (
        SELECT DISTINCT t.kind || ' ' || t.name AS object, g.grantee::oid AS role, g.privilege
        FROM granted AS g JOIN thing AS t ON t.part = '' AND t.kind || ' memory.' || t.plain = g.object
        -- a space by its common shape
        UNION SELECT 'TABLE memory.' || quote_ident(s.relation), g.grantee::oid, g.privilege
        FROM granted AS g CROSS JOIN memory.embedding_spaces AS s WHERE g.object = 'TABLE memory.embeddings'
        UNION SELECT 'SCHEMA memory', g.grantee::oid, 'USAGE' FROM granted AS g
    )
    SELECT coalesce(e.object, a.object), quote_ident(pg_get_userbyid(coalesce(e.role, a.role))), coalesce(e.privilege, a.privilege),
        e.role IS NOT NULL, a.role IS NOT NULL
    FROM expected AS e FULL JOIN actual AS a ON a.object = e.object AND a.role = e.role AND a.privilege = e.privilege
    WHERE e.role IS NULL AND pg_get_userbyid(a.role) !~ '^unknown ' OR a.role IS NULL AND NOT EXISTS (SELECT FROM extension AS x WHERE x.extowner = e.role);
END;
COMMENT ON FUNCTION memory.schema_grants() IS
    'Internal: privileges that roles have and their profiles do not give them, or the other way round.';

CREATE FUNCTION memory.schema_drift(OUT object text, OUT expected text, OUT actual text) RETURNS SETOF record
LANGUAGE sql STABLE COST 100000 ROWS 10
SET jit = off
BEGIN ATOMIC
    WITH recorded AS (
        SELECT s.definition AS major, (current_setting('server_version_num')::integer / 10000)::text AS now
        FROM memory.schema_expectation AS s WHERE s.kind = 'server'
    ), found AS (
        -- Another version of PostgreSQL writes definitions in another way: nothing can be said.
        SELECT 'schema_expectation' AS object, 'recorded on PostgreSQL ' || r.now || ': SELECT memory.record_schema()' AS expected,
            'recorded on PostgreSQL ' || r.major AS actual
        FROM recorded AS r WHERE r.major <> r.now
        UNION ALL
        SELECT 'schema_expectation', 'recorded: SELECT memory.record_schema()', 'nothing' WHERE NOT EXISTS (SELECT FROM recorded)
        UNION ALL
        SELECT c.kind || ' ' || c.relation || CASE WHEN c.name = '' THEN '' ELSE '.' || c.name END, c.expected, c.actual
        FROM memory.schema_comparison() AS c WHERE EXISTS (SELECT FROM recorded AS r WHERE r.major = r.now)
        UNION ALL
        SELECT 'grant on ' || g.object || ' to ' || g.role, CASE WHEN g.expected THEN g.privilege END, CASE WHEN g.actual THEN g.privilege END
        FROM memory.schema_grants() AS g
    )
    SELECT f.object, f.expected, f.actual FROM found AS f ORDER BY f.object COLLATE "C", f.expected COLLATE "C", f.actual COLLATE "C";
END;
COMMENT ON FUNCTION memory.schema_drift() IS
    'Where the extension''s schema is not as it was installed: dropped, added or changed columns, defaults, constraints, indexes, triggers, policies, rules, '
    'functions and comments, disabled triggers and row-level security, owners, and privileges that no profile gives. expected NULL: nothing should be there; '
    'actual NULL: nothing is. Of embedding spaces: row-level security, policies, triggers, privileges. '
    'No rows: none. An operator''s. Some 200 ms.';

CREATE FUNCTION memory.schema_repair(OUT step integer, OUT object text, OUT statement text) RETURNS SETOF record
LANGUAGE sql STABLE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET standard_conforming_strings = on SET jit = off
BEGIN ATOMIC
    WITH vectors AS (
        SELECT quote_ident(n.nspname) || '.' AS prefix FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
    ), trigrams AS (
        SELECT quote_ident(n.nspname) || '.' AS prefix FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'
    ), recorded AS (
        SELECT FROM memory.schema_expectation AS s
        WHERE s.kind = 'server' AND s.definition = (current_setting('server_version_num')::integer / 10000)::text
    ), changed AS (
        SELECT c.kind, replace(replace(c.relation, '@vector@.', v.prefix), '@pg_trgm@.', t.prefix) AS relation, c.name,
            CASE c.kind WHEN 'comment' THEN c.expected ELSE replace(replace(c.expected, '@vector@.', v.prefix), '@pg_trgm@.', t.prefix) END AS expected,
            c.actual, c.kind || ' ' || c.relation || CASE WHEN c.name = '' THEN '' ELSE '.' || c.name END AS object,
            -- a column that is added takes its default along, for the rows that are there
            (SELECT ' DEFAULT ' || d.definition FROM memory.schema_expectation AS d
             WHERE d.kind = 'default' AND d.relation = c.relation AND d.name = c.name) AS given
        FROM recorded, memory.schema_comparison() AS c, vectors AS v, trigrams AS t
    ), owner AS (
        SELECT quote_ident(pg_get_userbyid(e.extowner)) AS name FROM pg_extension AS e WHERE e.extname = 'memory_ext'
    ), repair AS (
        SELECT c.object, r.step, r.statement
        FROM changed AS c, owner AS o, LATERAL (
            SELECT 10 AS step, CASE WHEN to_regclass(c.relation) IS NOT NULL AND c.expected IS NOT NULL AND c.actual IS NULL
                THEN 'ALTER EXTENSION memory_ext ADD ' || c.expected || ' ' || c.relation END AS statement WHERE c.kind = 'relation'
            UNION ALL SELECT 20, CASE WHEN c.expected IS NULL THEN NULL
                WHEN c.actual IS NULL THEN 'ALTER TABLE ' || c.relation || ' ADD COLUMN ' || c.name || ' ' || c.expected || coalesce(c.given, '')
                WHEN c.expected || c.actual !~ ' GENERATED ' THEN 'ALTER TABLE ' || c.relation || ' ALTER COLUMN ' || c.name || ' TYPE ' || c.expected
                END WHERE c.kind = 'column'
            UNION ALL SELECT 20, NULL WHERE c.kind IN ('columns', 'type', 'aggregate', 'dump')
            -- What is in C needs no table, what is in SQL does.
            UNION ALL SELECT CASE WHEN c.expected ~ '\n LANGUAGE c\n' THEN 15 ELSE 30 END, CASE WHEN c.expected IS NULL THEN NULL
                WHEN c.actual IS NULL AND to_regprocedure(c.relation) IS NOT NULL THEN 'ALTER EXTENSION memory_ext ADD ROUTINE ' || c.relation
                ELSE c.expected END WHERE c.kind = 'function'
            UNION ALL SELECT 35, CASE WHEN c.expected LIKE '%AS' || chr(10) || '%' AND NOT EXISTS (
                    SELECT FROM pg_class AS m WHERE m.oid = to_regclass(c.relation) AND m.relkind = 'm')
                THEN 'CREATE OR REPLACE VIEW ' || c.relation || ' ' || c.expected END WHERE c.kind = 'view'
            UNION ALL SELECT 40, 'ALTER TABLE ' || c.relation || ' ALTER COLUMN ' || c.name || coalesce(' SET DEFAULT ' || c.expected, ' DROP DEFAULT')
                WHERE c.kind = 'default'
            UNION ALL SELECT 41, 'ALTER TABLE ' || c.relation || ' ALTER COLUMN ' || c.name || CASE WHEN c.expected IS NULL THEN ' DROP' ELSE ' SET' END || ' NOT NULL'
                WHERE c.kind = 'not null'
            UNION ALL SELECT 42, 'ALTER TABLE ' || c.relation || ' ALTER COLUMN ' || c.name || ' SET STORAGE ' || c.expected
                WHERE c.kind = 'storage' AND c.expected IS NOT NULL
            UNION ALL SELECT 43, 'ALTER TABLE ' || c.relation || ' ALTER COLUMN ' || c.name || ' SET STATISTICS ' || coalesce(c.expected, '-1')
                WHERE c.kind = 'statistics'
            UNION ALL SELECT CASE WHEN c.expected ~ '^FOREIGN KEY' THEN 51 ELSE 50 END, CASE WHEN c.expected IS NOT NULL
                THEN 'ALTER TABLE ' || c.relation || CASE WHEN c.actual IS NULL THEN '' ELSE ' DROP CONSTRAINT ' || c.name || ',' END
                    || ' ADD CONSTRAINT ' || c.name || ' ' || c.expected END
                WHERE c.kind = 'constraint'
            UNION ALL SELECT 55, 'DROP INDEX memory.' || c.name WHERE c.kind = 'index' AND c.expected IS NOT NULL AND c.actual IS NOT NULL
            UNION ALL SELECT 56, c.expected WHERE c.kind = 'index'
            UNION ALL SELECT 60, 'DROP TRIGGER ' || c.name || ' ON ' || c.relation WHERE c.kind = 'trigger' AND c.expected IS NOT NULL AND c.actual IS NOT NULL
            UNION ALL SELECT 61, c.expected WHERE c.kind = 'trigger'
            UNION ALL SELECT 62, CASE WHEN c.expected IS NOT NULL THEN 'ALTER TABLE ' || c.relation || ' ' || c.expected || ' TRIGGER ' || c.name END
                WHERE c.kind = 'trigger state' AND (c.expected IS NOT NULL)
            UNION ALL SELECT 63, CASE WHEN c.expected = '0 off' AND c.actual IS NOT NULL THEN f.statement END
                FROM (SELECT 'ALTER TABLE ' || c.relation || ' ' || string_agg('ENABLE TRIGGER ' || quote_ident(t.tgname), ', ' ORDER BY t.tgname)
                      FROM pg_trigger AS t WHERE t.tgrelid = to_regclass(c.relation) AND t.tgisinternal AND t.tgenabled <> 'O') AS f (statement)
                WHERE c.kind = 'foreign key triggers' AND c.expected IS NOT NULL AND c.actual IS NOT NULL
            UNION ALL SELECT 65, NULL WHERE c.kind = 'rule'
            UNION ALL SELECT 70, 'DROP POLICY ' || c.name || ' ON ' || c.relation WHERE c.kind = 'policy' AND c.actual IS NOT NULL
            UNION ALL SELECT 71, 'CREATE POLICY ' || c.name || ' ON ' || c.relation || ' ' || c.expected WHERE c.kind = 'policy' AND c.expected IS NOT NULL
            UNION ALL SELECT 72, 'ALTER TABLE ' || c.relation || ' ' || c.expected WHERE c.kind = 'row security' AND c.expected IS NOT NULL
            UNION ALL SELECT 80, 'ALTER ' || c.relation || ' OWNER TO ' || o.name WHERE c.kind = 'owner' AND c.expected IS NOT NULL AND c.actual IS NOT NULL
            UNION ALL SELECT 90, 'COMMENT ON ' || c.relation || ' IS ' || c.expected WHERE c.kind = 'comment' AND c.expected IS NOT NULL
            UNION ALL SELECT 81, 'REVOKE ALL ON ' || c.relation || ' FROM PUBLIC'
                WHERE c.kind = 'public privileges' AND c.expected = 'none'
        ) AS r
        UNION ALL
        SELECT 'grant on ' || g.object || ' to ' || g.role, 82,
            CASE WHEN g.actual THEN 'REVOKE ' ELSE 'GRANT ' END || g.privilege || ' ON ' || g.object || CASE WHEN g.actual THEN ' FROM ' ELSE ' TO ' END || g.role
                -- who had it with GRANT OPTION may have handed it on
                || CASE WHEN g.actual THEN ' CASCADE' ELSE '' END
        FROM memory.schema_grants() AS g
        UNION ALL
        SELECT 'schema_expectation', 0, NULL WHERE NOT EXISTS (SELECT FROM recorded)
    )
    SELECT p.step, p.object, p.statement FROM repair AS p ORDER BY p.step, p.object COLLATE "C", p.statement COLLATE "C";
END;
COMMENT ON FUNCTION memory.schema_repair() IS
    'Internal: the statements that take schema_drift() back, in the order in which they depend on each other; NULL where there is none to be had.';

-- Runs as its owner, whose the schema is; what it runs is made of schema_expectation, which nobody but a superuser writes, and read as it was written,
-- whatever the caller has set; nor has the caller a say in where an index goes.
CREATE FUNCTION memory.repair_schema(dry_run boolean DEFAULT true, OUT object text, OUT statement text) RETURNS SETOF record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET default_tablespace = ''
SET check_function_bodies = on SET row_security = on
AS 'MODULE_PATHNAME', 'repair_schema_wrapper';
COMMENT ON FUNCTION memory.repair_schema(boolean) IS
    'The statements that make the extension''s schema what it was installed as, in the order in which they depend on each other; with dry_run false they have '
    'been run, all or none. What was dropped comes back; policies and privileges that were added go. statement NULL: left to you, for it is '
    'not the extension''s (a column, index, constraint, trigger or rule that was added), or cannot be made again (a table, the place of a column: restore a dump). '
    'Locks the tables that it changes; an index is made again while writers wait, so make a large one yourself, CONCURRENTLY. The data that a dropped column held is gone. '
    'An operator''s. 22004: dry_run NULL.';

SELECT memory.allow('operator', 'schema_objects', 'schema_comparison', 'schema_grants', 'schema_fingerprint', 'schema_drift', 'schema_repair', 'repair_schema');
-- Which role has which profile is an operator's to see.
SELECT memory.allow_table('operator', 'SELECT', 'schema_expectation', 'profile_privileges', 'access_grants');
