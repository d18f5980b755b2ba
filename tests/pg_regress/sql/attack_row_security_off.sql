-- row_security = off shows nobody more: it turns a filter into an error, also for the role that owns the table.
\set VERBOSITY sqlstate
\c - regress_service
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SET LOCAL row_security = off;
SAVEPOINT s;
SELECT note FROM regress_notes;
ROLLBACK TO s;
UPDATE regress_notes SET note = note;
ROLLBACK TO s;
COPY regress_notes TO STDOUT;
ROLLBACK TO s;
SET LOCAL row_security = on;
SELECT note FROM regress_notes;
COPY regress_notes (note) TO STDOUT;
-- functions and leaky operators in the condition see no other row
CREATE FUNCTION pg_temp.leak(note text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'sees %', note; RETURN true; END $$;
\set VERBOSITY terse
SELECT note FROM regress_notes WHERE pg_temp.leak(note);
\set VERBOSITY sqlstate
SELECT note FROM regress_notes WHERE 1 / (note = 'a1')::int = 1;
-- no policy, no switch, no bypass for these roles
SAVEPOINT s;
ALTER TABLE regress_notes DISABLE ROW LEVEL SECURITY;
ROLLBACK TO s;
CREATE POLICY mine ON regress_notes USING (true);
ROLLBACK TO s;
ALTER ROLE regress_service BYPASSRLS;
ROLLBACK;
SET session_replication_role = replica;
-- FORCE: the owner, where it is no superuser, is filtered too
\c - postgres
BEGIN;
ALTER TABLE regress_notes OWNER TO regress_app;
SET LOCAL ROLE regress_app;
SELECT count(*) FROM regress_notes;
ROLLBACK;
