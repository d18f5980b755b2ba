-- RESET, RESET ALL and DISCARD ALL take a context away at most; they give nobody one back.
\set VERBOSITY sqlstate
\c - attack_service
-- the pool's server_reset_query
SELECT FROM memory.set_security_context('attack-a', 'alice', is_local => false);
DISCARD ALL;
SELECT memory.current_user_id() IS NULL AS none, (SELECT count(*) FROM attack_notes) AS notes;
SELECT FROM memory.set_security_context('attack-a', 'alice', is_local => false);
RESET ALL;
SELECT memory.current_user_id() IS NULL AS none;
SELECT FROM memory.set_security_context('attack-a', 'alice', is_local => false);
RESET memory.context;
SELECT memory.current_user_id();
SELECT FROM memory.clear_security_context();

-- after another client's context was cleared, or rolled back, no reset finds it
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
COMMIT;
RESET ALL;
SELECT memory.current_user_id() IS NULL AS none;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', is_local => false);
ROLLBACK;
RESET ALL;
DISCARD ALL;
SELECT memory.current_user_id() IS NULL AS none;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SAVEPOINT s;
RESET ALL;
SELECT memory.current_user_id() IS NULL AS none;
ROLLBACK TO s;
SELECT memory.current_user_id();
RESET ALL;
COMMIT;
SELECT memory.current_user_id() IS NULL AS none;
-- app, in a context that was set for it
SELECT FROM memory.set_security_context('attack-a', 'alice', is_local => false);
SET ROLE attack_app;
RESET memory.context;
RESET ALL;
SELECT memory.current_user_id() IS NULL AS none;
SELECT memory.set_security_context('attack-a', 'bob');
RESET ROLE;
