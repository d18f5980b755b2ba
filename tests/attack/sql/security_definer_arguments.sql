-- Every function that runs as its owner, as far as a profile may call it at all, with another tenant and user: it takes them from the
-- context, or refuses. (An operator's jobs are for all tenants, and give counts.)
INSERT INTO attack_tries (statements)
SELECT ARRAY[format('SELECT * FROM memory.%I(%s)', p.proname, (
    SELECT string_agg(format('%I => ', a.name) || CASE
        WHEN a.name IN ('user_id', 'subject_id') THEN quote_literal('bob')
        WHEN a.name = 'tenant' THEN quote_literal(tenant)
        WHEN a.name = 'tenant_id' THEN quote_literal('00000000-0000-7000-8000-00000000000b')
        WHEN a.name = 'data_class' THEN quote_literal('nodes')
        WHEN a.name = 'action' THEN quote_literal('delete')
        WHEN a.type = 'jsonb'::regtype THEN quote_literal('{}')
        WHEN a.type = 'uuid'::regtype THEN quote_literal('00000000-0000-7000-8000-0000000001bb')
        WHEN a.type = 'interval'::regtype THEN quote_literal('1 second')
        WHEN a.type = 'boolean'::regtype THEN 'false'
        WHEN a.type = 'regrole'::regtype THEN 'CURRENT_USER::regrole'
        WHEN a.type = 'regclass'::regtype THEN quote_literal('memory.nodes')
        WHEN a.type IN ('uuid[]'::regtype, 'text[]'::regtype) THEN quote_literal('{}')
        WHEN a.type IN ('int'::regtype, 'bigint'::regtype, 'real'::regtype, 'float8'::regtype) THEN '1'
        ELSE quote_literal('x') END, ', ' ORDER BY a.n)
    FROM unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, n) WHERE a.n <= p.pronargs))]
FROM pg_proc AS p, unnest('{attack-b,attack-a,attack-none}'::text[]) AS tenant
WHERE p.pronamespace = 'memory'::regnamespace AND p.prosecdef AND p.prorettype <> 'trigger'::regtype AND p.prorettype <> 'event_trigger'::regtype AND p.prokind = 'f';
SELECT count(*) > 20 AS some FROM attack_tries;
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
-- their search_path is pinned, and they are nobody's to change
SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'memory'::regnamespace AND prosecdef
    AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'));
