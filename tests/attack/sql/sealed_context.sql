-- The back end's way: its login sets a sealed context, becomes app, and runs the user's statements. Those are alice's, and
-- she tries to be somebody else.
\set VERBOSITY sqlstate
\c - attack_service
-- unsealed, one injected SELECT is enough: this is why there are seals
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SET LOCAL ROLE attack_app;
SELECT set_config('role', 'attack_service', true), query_to_xml($$ SELECT memory.set_security_context('attack-a', 'bob') $$, true, true, '') IS NOT NULL AS done;
SELECT memory.current_user_id();
ROLLBACK;

-- sealed, it is refused
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
SAVEPOINT attack;
SELECT set_config('role', 'attack_service', true), query_to_xml($$ SELECT memory.set_security_context('attack-a', 'bob') $$, true, true, '');
ROLLBACK TO attack;
SELECT set_config('role', 'none', true), query_to_xml($$ SELECT memory.clear_security_context() $$, true, true, '');
ROLLBACK TO attack;
SELECT set_config('session_authorization', 'attack_service', true), set_config('role', 'none', true), query_to_xml($$ SELECT memory.set_security_context('attack-a', service_name => 'x') $$, true, true, '');
ROLLBACK TO attack;
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM attack_notes) AS notes;

-- RESET ALL resets the setting, and nothing of the context
RESET ALL;
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM attack_notes) AS notes;
SELECT memory.set_security_context('attack-a', 'bob');
ROLLBACK TO attack;
SELECT memory.current_user_id();
SELECT query_to_xml('RESET ALL', true, true, '') IS NULL;
ROLLBACK TO attack;
DO $$ BEGIN RESET ALL; EXECUTE 'RESET ALL'; END $$;
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM attack_notes) AS notes;
RELEASE attack;
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM attack_notes) AS notes;
COMMIT;
-- nor does it carry the context over the transaction's end, into the next client's of a pool
SELECT memory.current_user_id() IS NULL AS gone, (SELECT count(*) FROM attack_notes) AS notes;
BEGIN;
SELECT memory.current_user_id() IS NULL AS gone;
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
RESET ALL;
ROLLBACK;
SELECT memory.current_user_id() IS NULL AS gone;

-- rolling back to a savepoint inside the seal brings back what was there: the seal and its context
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SAVEPOINT a;
RESET ALL;
SAVEPOINT b;
RESET ALL;
ROLLBACK TO b;
SELECT memory.current_user_id();
ROLLBACK TO a;
SELECT memory.current_user_id();
SELECT memory.set_security_context('attack-a', 'bob');
ROLLBACK;
-- rolling back past the seal leaves nothing of it, RESET ALL or not
BEGIN;
SAVEPOINT a;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
RESET ALL;
SELECT memory.current_user_id();
ROLLBACK TO a;
SELECT memory.current_user_id() IS NULL AS gone;
COMMIT;
SELECT memory.current_user_id() IS NULL AS gone;
-- over a session's context: RESET ALL under the seal clears that one, as it does without a seal
SELECT FROM memory.set_security_context('attack-a', 'carol', is_local => false);
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
RESET ALL;
SELECT memory.current_user_id();
COMMIT;
SELECT memory.current_user_id() IS NULL AS gone;

-- no way to end the transaction from inside a statement
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
SAVEPOINT attack;
DO $$ BEGIN COMMIT; PERFORM memory.set_security_context('attack-a', 'bob'); END $$;
ROLLBACK TO attack;
DISCARD ALL;
ROLLBACK TO attack;
-- RESET ROLE is allowed, as ever, and gives no other context
RESET ROLE;
SELECT current_user, memory.current_user_id();
SELECT memory.set_security_context('attack-a', 'bob');
ROLLBACK;

-- a temporary function, an error handler, a function with SET: the seal is above them
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
CREATE FUNCTION pg_temp.tries() RETURNS text LANGUAGE plpgsql SET role = 'attack_service' AS $$
BEGIN
    BEGIN
        PERFORM memory.set_security_context('attack-a', 'bob');
    EXCEPTION WHEN insufficient_privilege THEN
        BEGIN
            PERFORM memory.clear_security_context();
        EXCEPTION WHEN insufficient_privilege THEN
            RETURN memory.current_user_id();
        END;
    END;
    RETURN 'got through';
END
$$;
SELECT pg_temp.tries();
COMMIT;
