-- row_security = off shows nobody more: it turns a filter into an error, also for the role that owns the table.
\set VERBOSITY sqlstate
\c - attack_service
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SET LOCAL row_security = off;
SAVEPOINT s;
SELECT note FROM attack_notes;
ROLLBACK TO s;
UPDATE attack_notes SET note = note;
ROLLBACK TO s;
COPY attack_notes TO STDOUT;
ROLLBACK TO s;
SET LOCAL row_security = on;
SELECT note FROM attack_notes;
COPY attack_notes (note) TO STDOUT;
-- functions and leaky operators in the condition see no other row
CREATE FUNCTION pg_temp.leak(note text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'sees %', note; RETURN true; END $$;
\set VERBOSITY terse
SELECT note FROM attack_notes WHERE pg_temp.leak(note);
\set VERBOSITY sqlstate
SELECT note FROM attack_notes WHERE 1 / (note = 'a1')::int = 1;
-- no policy, no switch, no bypass for these roles
SAVEPOINT s;
ALTER TABLE attack_notes DISABLE ROW LEVEL SECURITY;
ROLLBACK TO s;
CREATE POLICY mine ON attack_notes USING (true);
ROLLBACK TO s;
ALTER ROLE attack_service BYPASSRLS;
ROLLBACK;
SET session_replication_role = replica;
-- FORCE: the owner, where it is no superuser, is filtered too
\c - postgres
BEGIN;
ALTER TABLE attack_notes OWNER TO attack_app;
SET LOCAL ROLE attack_app;
SELECT count(*) FROM attack_notes;
ROLLBACK;
