-- The extension's trigger functions run as their owner: on a table of the attacker's they would write what the attacker likes into the
-- audit log, or empty caches. Nobody may use them.
SELECT count(*) > 3 AS some FROM pg_proc WHERE pronamespace = 'memory'::regnamespace AND prorettype = 'trigger'::regtype;
INSERT INTO attack_tries (statements)
SELECT ARRAY['CREATE TABLE attack_lab.mine (tenant_id uuid, user_id text, summary text)',
    format('CREATE TRIGGER mine AFTER INSERT ON attack_lab.mine FOR EACH %s EXECUTE FUNCTION memory.%I()', level, proname),
    'INSERT INTO attack_lab.mine VALUES (''00000000-0000-7000-8000-00000000000b'', ''bob'', ''x'')']
FROM (SELECT proname FROM pg_proc WHERE pronamespace = 'memory'::regnamespace AND prorettype = 'trigger'::regtype ORDER BY proname COLLATE "C") AS p,
    unnest('{ROW,STATEMENT}'::text[]) AS level;
\set only 'got <> ''42501'''
\i input/each_profile.sql
\unset only
