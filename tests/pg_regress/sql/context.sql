-- The security context: what it shows, how long it holds, whom it lets through.
CREATE VIEW regress_who WITH (security_invoker) AS
    SELECT right(memory.current_tenant_id()::text, 1) AS tenant, memory.current_user_id() AS "user",
        memory.current_session_id() AS session, memory.current_service_name() AS service,
        (SELECT string_agg(note, ' ' ORDER BY note) FROM regress_notes) AS notes;
GRANT SELECT ON regress_who TO regress_app;
\c - regress_service
-- without one: nobody, nothing
SELECT * FROM regress_who;

-- a user's: local to the transaction
BEGIN;
SELECT memory.set_security_context('regress-a', 'alice');
SELECT * FROM regress_who;
COMMIT;
SELECT * FROM regress_who;
-- the tenant by its UUID or in capitals, a session, a service beside the user
BEGIN;
SELECT FROM memory.set_security_context('00000000-0000-7000-8000-00000000000A', 'bob', 's-1', 'crawler');
SELECT * FROM regress_who;
SELECT FROM memory.set_security_context(' Regress-A ', 'nobody''s "quoted" \ id', session_id => '');
SELECT * FROM regress_who;
ROLLBACK;
-- a service's: the whole tenant, and no other
BEGIN;
SELECT FROM memory.set_security_context('regress-a', service_name => 'crawler');
SELECT * FROM regress_who;
COMMIT;
SELECT * FROM regress_who;

-- outside a transaction block a local context warns, as SET LOCAL does, and is gone with its statement
SELECT memory.set_security_context('regress-a', 'alice');
SELECT * FROM regress_who;
SELECT memory.set_security_context('regress-a', 'alice'), (SELECT count(*) FROM regress_notes);
-- a block that never was begun: a function, a DO
DO $$
BEGIN
    PERFORM memory.set_security_context('regress-a', 'alice');
    RAISE NOTICE '%', (SELECT w FROM regress_who AS w);
END
$$;
SELECT * FROM regress_who;

-- is_local => false: until the session ends, or it is cleared
SELECT memory.set_security_context('regress-a', 'alice', is_local => false);
SELECT * FROM regress_who;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'bob');
SELECT * FROM regress_who;
COMMIT;
SELECT * FROM regress_who;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'bob', is_local => false);
ROLLBACK;
SELECT * FROM regress_who;
BEGIN;
SELECT FROM memory.clear_security_context();
SELECT * FROM regress_who;
ROLLBACK;
SELECT * FROM regress_who;
SELECT memory.clear_security_context();
SELECT * FROM regress_who;
SELECT memory.clear_security_context();
-- NULL stands for the default
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', NULL, NULL, NULL, NULL);
SELECT * FROM regress_who;
COMMIT;
SELECT * FROM regress_who;

-- it follows savepoints, and the errors of PL/pgSQL blocks
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SAVEPOINT s;
SELECT FROM memory.set_security_context('regress-a', 'bob');
SELECT * FROM regress_who;
ROLLBACK TO s;
SELECT * FROM regress_who;
SAVEPOINT t;
SELECT FROM memory.set_security_context('regress-a', service_name => 'crawler');
RELEASE t;
SELECT * FROM regress_who;
SAVEPOINT u;
SELECT FROM memory.clear_security_context();
SELECT * FROM regress_who;
ROLLBACK TO u;
SELECT * FROM regress_who;
DO $$
BEGIN
    PERFORM memory.set_security_context('regress-a', 'bob');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN NULL;
END
$$;
SELECT * FROM regress_who;
ROLLBACK TO s;
SELECT * FROM regress_who;
ROLLBACK;
SELECT * FROM regress_who;
-- a function with settings of its own hands it out, as SET LOCAL does
CREATE FUNCTION pg_temp.sets_it() RETURNS void LANGUAGE sql SET search_path = pg_catalog SET work_mem = '1MB'
    AS $$ SELECT memory.set_security_context('regress-a', 'alice') $$;
BEGIN;
SELECT FROM pg_temp.sets_it();
SELECT * FROM regress_who;
COMMIT;
SELECT * FROM regress_who;

-- it survives SET LOCAL ROLE: the role changes, who is asking does not
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SET LOCAL ROLE regress_app;
SELECT current_user, * FROM regress_who;
\set VERBOSITY sqlstate
SAVEPOINT s;
SELECT memory.set_security_context('regress-a', 'bob');
ROLLBACK TO s;
SELECT memory.clear_security_context();
ROLLBACK TO s;
\set VERBOSITY default
SELECT current_user, * FROM regress_who;
COMMIT;
SELECT current_user, * FROM regress_who;

-- writes go where the context says, and nowhere else
\set VERBOSITY sqlstate
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
INSERT INTO regress_notes SELECT memory.current_tenant_id(), memory.current_user_id(), 'own';
UPDATE regress_notes SET note = note || '!' RETURNING note;
DELETE FROM regress_notes RETURNING note;
SAVEPOINT s;
INSERT INTO regress_notes SELECT memory.current_tenant_id(), 'bob', 'foreign';
ROLLBACK TO s;
INSERT INTO regress_notes VALUES ('00000000-0000-7000-8000-00000000000b', 'alice', 'foreign');
ROLLBACK;
INSERT INTO regress_notes VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', 'no context');
-- user ids: any text but the empty one; the ends of the range that a service sees
BEGIN;
SELECT FROM memory.set_security_context('regress-a', '');
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', U&'\+10FFFF');
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', U&'\+10FFFE');
INSERT INTO regress_notes SELECT memory.current_tenant_id(), memory.current_user_id(), 'last';
SELECT FROM memory.set_security_context('regress-a', E'\u0001');
INSERT INTO regress_notes SELECT memory.current_tenant_id(), memory.current_user_id(), 'first';
SELECT FROM memory.set_security_context('regress-a', repeat('x', 100000));
INSERT INTO regress_notes SELECT memory.current_tenant_id(), 'x' , 'foreign';
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', U&'\+10FFFE');
INSERT INTO regress_notes SELECT memory.current_tenant_id(), memory.current_user_id(), 'last';
SELECT FROM memory.set_security_context('regress-a', E'\u0001');
INSERT INTO regress_notes SELECT memory.current_tenant_id(), memory.current_user_id(), 'first';
SELECT note FROM regress_notes;
SELECT FROM memory.set_security_context('regress-a', service_name => 'crawler');
SELECT note FROM regress_notes ORDER BY user_id;
ROLLBACK;

-- errors: no tenant, an unknown one, nobody, a seal without a transaction
SELECT memory.set_security_context(NULL, 'alice');
SELECT memory.set_security_context('', 'alice');
SELECT memory.set_security_context('regress-none', 'alice');
SELECT memory.set_security_context('system', 'alice');
SELECT memory.set_security_context('regress-a');
SELECT memory.set_security_context('regress-a', session_id => 's');
SELECT memory.set_security_context('regress-a', 'alice', is_local => false, sealed => true);
\set VERBOSITY default
SELECT memory.set_security_context('regress-a');
SELECT memory.set_security_context('regress-b', 'alice');
SELECT * FROM regress_who;

-- a value that was handed out stays as it was, also after the context and the transaction have gone
SELECT FROM memory.set_security_context('regress-a', 'alice-with-an-id-of-some-length', 's-0123456789', is_local => false);
CREATE PROCEDURE pg_temp.outlives(tenant uuid, "user" text, session text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        PERFORM memory.set_security_context('regress-a', 'somebody-else-with-another-id-' || i, 'other', is_local => false);
        COMMIT;
    END LOOP;
    RESET ALL;
    COMMIT;
    RAISE NOTICE '% % %', tenant, "user", session;
END
$$;
CALL pg_temp.outlives(memory.current_tenant_id(), memory.current_user_id(), memory.current_session_id());
SELECT * FROM regress_who;

-- prepared statements and cursors follow the context of their execution, not of their planning
PREPARE notes AS SELECT string_agg(note, ' ' ORDER BY note) FROM regress_notes;
SET plan_cache_mode = force_generic_plan;
EXECUTE notes;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
EXECUTE notes;
SELECT FROM memory.set_security_context('regress-a', 'bob');
EXECUTE notes;
COMMIT;
EXECUTE notes;
RESET plan_cache_mode;

-- parallel workers have it
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', 's', 'v');
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT set_config(name, 'on', true) AS forced FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
EXPLAIN (COSTS OFF) SELECT memory.current_user_id(), note FROM regress_notes;
SELECT right(memory.current_tenant_id()::text, 1) AS tenant, memory.current_user_id(), memory.current_session_id(), memory.current_service_name(), note FROM regress_notes;
COMMIT;

\c - postgres
-- a superuser needs no grant
BEGIN;
SELECT FROM memory.set_security_context('regress-b', 'alice');
SET LOCAL ROLE regress_app;
SELECT * FROM regress_who;
COMMIT;
DROP VIEW regress_who;
