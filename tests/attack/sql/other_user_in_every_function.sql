-- Every function that takes tenant and user_id refuses another user and another tenant (42501), knows of no unknown one
-- (P0002), and does nothing without a context (42501), whatever its other arguments are.
CREATE TABLE attack_calls (function text, call text, refuses text, tries text);
-- called with an argument of each needed type
INSERT INTO attack_calls
SELECT p.oid::regprocedure::text, format(
    'SELECT * FROM memory.%I(%s', p.proname,
    (SELECT string_agg(format('%I => ', a.name) || CASE
        WHEN a.name = 'event_type' THEN quote_literal('log')
        WHEN a.name = 'context_type' THEN quote_literal('domain_entity')
        WHEN a.name = 'relationship_type' THEN quote_literal('relates_to')
        WHEN a.type = 'jsonb'::regtype AND a.name IN ('events', 'nodes', 'relationships', 'sessions') THEN quote_literal('[]')
        WHEN a.type = 'jsonb'::regtype THEN quote_literal('{}')
        WHEN a.type = 'uuid'::regtype THEN quote_literal('00000000-0000-7000-8000-0000000000ff')
        WHEN a.type IN ('uuid[]'::regtype, 'text[]'::regtype, 'vector[]'::regtype) THEN quote_literal('{}')
        WHEN a.type = 'vector'::regtype THEN quote_literal('[1]')
        WHEN a.type = 'timestamptz'::regtype THEN 'now()'
        WHEN a.type IN ('int'::regtype, 'bigint'::regtype, 'real'::regtype, 'float8'::regtype) THEN '1'
        ELSE quote_literal('x') END || ', ', '' ORDER BY a.n)
     FROM unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, n)
     WHERE a.n <= p.pronargs - p.pronargdefaults AND a.name NOT IN ('tenant', 'user_id'))
), t.refuses, t.tries
FROM pg_proc AS p, (VALUES
    ('42501', $$user_id => 'bob'$$), ('42501', $$tenant => 'attack-b'$$), ('42501', $$tenant => 'attack-b', user_id => 'alice'$$),
    ('P0002', $$tenant => 'attack-none'$$), ('P0002', $$tenant => ''$$)
) AS t (refuses, tries)
WHERE p.pronamespace = 'memory'::regnamespace AND p.proargnames[p.pronargs - 1:p.pronargs] = '{tenant,user_id}' AND p.pronargdefaults >= 2
    AND has_function_privilege('attack_service', p.oid, 'EXECUTE');
SELECT count(DISTINCT function) > 20 AS many FROM attack_calls;
UPDATE attack_calls SET call = replace(call || tries || ')', '(%s', '(');
GRANT SELECT ON attack_calls TO attack_app;
CREATE FUNCTION attack_try() RETURNS TABLE (function text, tries text, got text) LANGUAGE plpgsql AS $$
DECLARE
    c attack_calls;
BEGIN
    FOR c IN SELECT * FROM attack_calls ORDER BY attack_calls.function COLLATE "C", attack_calls.tries COLLATE "C" LOOP
        function := c.function; tries := c.tries; got := 'nothing';
        BEGIN
            EXECUTE c.call;
        EXCEPTION WHEN OTHERS THEN
            got := sqlstate;
            IF sqlstate NOT IN ('42501', 'P0002') THEN got := sqlstate || ' ' || sqlerrm; END IF;
        END;
        IF got <> c.refuses THEN RETURN NEXT; END IF;
    END LOOP;
END
$$;
\c - attack_service
-- in alice's context
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT * FROM attack_try();
ROLLBACK;
-- in a service's context: another tenant, an unknown one
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'x');
SELECT * FROM attack_try() WHERE tries LIKE 'tenant%';
ROLLBACK;
-- in none: a known tenant and user too
SELECT * FROM attack_try() WHERE got <> '42501';
\c - postgres
DROP FUNCTION attack_try;
DROP TABLE attack_calls;
