-- A plan made in one context, custom or generic, gives the rows of the context that it runs in, for whom ever it runs.
\c - attack_service
SET plan_cache_mode = force_generic_plan;
PREPARE nodes AS SELECT user_id, summary FROM memory.nodes ORDER BY summary;
PREPARE archive AS SELECT user_id, payload->>'m' AS m FROM memory.agent_sessions_archive ORDER BY 1;
PREPARE of_bob(text) AS SELECT summary FROM memory.nodes WHERE user_id = $1;
PREPARE listed AS SELECT user_id FROM memory.list_nodes();
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'bob');
EXECUTE nodes;
EXECUTE of_bob('bob');
EXECUTE listed;
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'attacker');
EXECUTE nodes;
EXECUTE archive;
COMMIT;
-- no context
EXECUTE nodes;
EXECUTE archive;
EXECUTE of_bob('bob');
-- alice's, as app
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
EXECUTE nodes;
EXECUTE of_bob('bob');
EXECUTE listed;
\set VERBOSITY sqlstate
EXECUTE archive;
ROLLBACK;
-- custom plans that turn generic in the middle
RESET plan_cache_mode;
PREPARE mixed(text) AS SELECT count(*), string_agg(summary, ' ') FROM memory.nodes WHERE user_id = $1;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'bob');
EXECUTE mixed('bob');
EXECUTE mixed('bob');
EXECUTE mixed('bob');
EXECUTE mixed('bob');
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
EXECUTE mixed('bob');
EXECUTE mixed('bob');
EXECUTE mixed('bob');
EXECUTE mixed('alice');
COMMIT;
-- the cached plans of a function of one's own
CREATE FUNCTION pg_temp.kept() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT string_agg(summary, '' '') FROM memory.nodes); END';
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'bob');
SELECT pg_temp.kept() FROM generate_series(1, 7);
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT pg_temp.kept();
SELECT FROM memory.clear_security_context();
SELECT pg_temp.kept() IS NULL AS none;
COMMIT;
