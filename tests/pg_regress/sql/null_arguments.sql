-- A needed value that is NULL is 22004, in every function that is there: each is called once for each of its arguments, with NULL in that one and
-- fitting values elsewhere. Not asked of tenant and user_id, which come from the context, nor where NULL is the default.
-- As a role that has every profile; what only a superuser may call, as one.
SET client_min_messages = warning;
SELECT memory.create_embedding_space('nulls', 3);
INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-0000000000f1', 'nulls');
CREATE ROLE nulls_all LOGIN;
SELECT memory.grant_access('nulls_all', profile) FROM unnest('{service, operator}'::text[]) AS profile;
SELECT memory.grant_access('nulls_all', 'auditor', '{nulls}');
CREATE SCHEMA nulls_test;
GRANT USAGE ON SCHEMA nulls_test TO nulls_all;

-- Values that get past the first check, by the argument's name, else by its type.
CREATE TABLE nulls_test.fitting (name text PRIMARY KEY, value text);
INSERT INTO nulls_test.fitting VALUES
    ('tenant', 'nulls'), ('user_id', 'u'), ('event_type', 'log'), ('context_type', 'tool_output'), ('relationship_type', 'relates_to'),
    ('model', 'nulls'), ('node_id', '00000000-0000-7000-8000-0000000000f2'), ('from_node_id', '00000000-0000-7000-8000-0000000000f2'),
    ('to_node_id', '00000000-0000-7000-8000-0000000000f2'), ('relationship_id', '00000000-0000-7000-8000-0000000000f3'),
    ('algorithm', 'HS256'), ('key', encode(repeat('k', 32)::bytea, 'base64')), ('kind', 'export'), ('data_class', 'navigation'),
    ('profile', 'service'), ('query', 'x'), ('audience', '*'), ('grantee', 'nulls_all'),
    ('text', 'x'), ('jsonb', '{}'), ('uuid', '00000000-0000-7000-8000-0000000000ff'), ('integer', '1'), ('double precision', '1'), ('interval', '1 day'), ('uuid[]', '{}'),
    ('text[]', '{read}'), ('timestamp with time zone', 'now'), ('vector', '[1,2,3]'), ('vector[]', '{}'), ('regconfig', 'english');

CREATE VIEW nulls_test.arguments AS
    SELECT p.oid, p.proname::text AS function, a.n, p.proargnames[a.n] AS argument, format_type(a.type, NULL) AS type,
        CASE WHEN a.n > p.pronargs - p.pronargdefaults THEN pg_get_function_arg_default(p.oid, a.n::integer) END AS default_value,
        a.n <= p.pronargs - p.pronargdefaults AS is_needed
    FROM pg_proc AS p, unnest(p.proargtypes) WITH ORDINALITY AS a (type, n)
    WHERE p.pronamespace = 'memory'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
        AND obj_description(p.oid, 'pg_proc') NOT LIKE 'Internal:%'
        AND p.proname !~ '^(allow|declare)(_|$)';     -- the install script's own
-- A call of each, the NULL in one place; arguments with a default are left out but for that one and what a call cannot do without.
CREATE TABLE nulls_test.calls AS
    SELECT c.function, c.argument, NOT has_function_privilege('nulls_all', c.oid, 'EXECUTE') AS by_superuser,
        format('SELECT FROM memory.%I(%s)', c.function, (
            SELECT string_agg(format('%I => %L::%s', a.argument, CASE WHEN a.n <> c.n THEN coalesce(f.value, t.value) END, a.type), ', ' ORDER BY a.n)
            FROM nulls_test.arguments AS a
            LEFT JOIN nulls_test.fitting AS f ON f.name = a.argument
            LEFT JOIN nulls_test.fitting AS t ON t.name = a.type
            WHERE a.oid = c.oid AND (a.is_needed OR a.n = c.n OR a.argument IN ('user_id', 'query', 'audience') AND a.function <> 'set_security_context'
                OR a.argument = 'service_name' AND a.function = 'set_security_context')
        )) AS call
    FROM nulls_test.arguments AS c
    WHERE (c.is_needed OR c.default_value !~ '^NULL') AND (c.argument NOT IN ('tenant', 'user_id') OR c.is_needed);
GRANT SELECT ON nulls_test.calls TO nulls_all;
SELECT count(*) > 100 AS enough FROM nulls_test.calls;
SELECT call AS unfitting FROM nulls_test.calls WHERE call ~ 'NULL.*NULL' ORDER BY call COLLATE "C";

CREATE FUNCTION nulls_test.state(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM memory.set_security_context('nulls', service_name => 'x');
    EXECUTE call;
    RAISE division_by_zero;
EXCEPTION
    WHEN division_by_zero THEN RETURN 'no error';
    WHEN OTHERS THEN RETURN sqlstate || CASE WHEN sqlstate <> '22004' THEN ' ' || sqlerrm ELSE '' END;
END
$$;
BEGIN;
SELECT FROM memory.set_security_context('nulls', 'u');
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
    VALUES (memory.current_tenant_id(), 'u', '00000000-0000-7000-8000-0000000000f2', '{}', 'tool_output');
INSERT INTO memory.relationships (tenant_id, user_id, id, from_node_id, to_node_id, relationship_type)
    VALUES (memory.current_tenant_id(), 'u', '00000000-0000-7000-8000-0000000000f3', '00000000-0000-7000-8000-0000000000f2',
        '00000000-0000-7000-8000-0000000000f2', 'relates_to');
COMMIT;

-- Only where NULL says something by itself: a default's place, 'now', 'nothing to resolve', 'no description'.
SET ROLE nulls_all;
SELECT function, argument, nulls_test.state(call) AS state FROM nulls_test.calls
WHERE NOT by_superuser AND nulls_test.state(call) <> '22004' ORDER BY function COLLATE "C", argument COLLATE "C";
RESET ROLE;
SELECT function, argument, nulls_test.state(call) AS state FROM nulls_test.calls
WHERE by_superuser ORDER BY function COLLATE "C", argument COLLATE "C";

-- So too in a query of its own rows, where nothing is found, and where nobody is asking.
SET ROLE nulls_all;
BEGIN;
SELECT FROM memory.set_security_context('nulls', 'nobody');
\set VERBOSITY sqlstate
SAVEPOINT s;
SELECT count(*) FROM (VALUES ('{}'::uuid[]), (NULL)) AS v (ids), memory.get_nodes(v.ids);
ROLLBACK TO s;
SELECT count(*) FROM (VALUES (gen_random_uuid()), (NULL)) AS v (id), memory.get_relationships(v.id);
ROLLBACK TO s;
SELECT count(*) FROM (VALUES (gen_random_uuid()), (NULL)) AS v (id), memory.node_history(v.id);
ROLLBACK TO s;
SELECT memory.node_as_of(v.id, NULL) FROM (VALUES (gen_random_uuid()), (NULL)) AS v (id);
ROLLBACK TO s;
SELECT memory.clear_security_context();
SELECT memory.touch_nodes(NULL);
ROLLBACK;
RESET ROLE;

SELECT FROM memory.erase_user_data('u', 'nulls');
SELECT FROM memory.drop_embedding_space('nulls');
SELECT memory.revoke_access('nulls_all');
DROP SCHEMA nulls_test CASCADE;
DROP ROLE nulls_all;
DELETE FROM memory.tenants WHERE slug = 'nulls';
