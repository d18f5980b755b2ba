-- A cursor is a query that has begun: it gives no row that neither the context it was opened in nor the one it is read in covers.
\c - attack_service
\set VERBOSITY sqlstate
-- opened before there was a context, or in one that was cleared
BEGIN;
DECLARE early CURSOR FOR SELECT user_id, summary FROM memory.nodes;
FETCH ALL FROM early;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
FETCH ALL FROM early;
SELECT count(*) FROM memory.nodes WHERE user_id <> 'alice';
COMMIT;
-- opened by alice and read in bob's context, which only a service can do, unsealed: the policy asks anew for each row
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
DECLARE hers CURSOR FOR SELECT tenant_id, user_id FROM memory.nodes;
FETCH 1 FROM hers;
SELECT FROM memory.set_security_context('attack-a', 'bob');
FETCH ALL FROM hers;
COMMIT;
-- a cursor ends with its transaction, and its context with it
FETCH 1 FROM hers;
-- WITH HOLD keeps the rows of its context after COMMIT, by PostgreSQL's design: they were read, and are now the connection's (documented:
-- a pool resets with DISCARD ALL). It reads no further.
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
DECLARE held CURSOR WITH HOLD FOR SELECT user_id, summary FROM memory.nodes;
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'bob', sealed => true);
SET LOCAL ROLE attack_app;
FETCH ALL FROM held;
SELECT DISTINCT user_id, summary FROM memory.nodes;
COMMIT;
DISCARD ALL;
FETCH ALL FROM held;
-- one that was opened in no context holds nothing
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT user_id, summary FROM memory.nodes;
COMMIT;
SELECT FROM memory.set_security_context('attack-a', service_name => 'attacker', is_local => false);
FETCH ALL FROM held;
DISCARD ALL;
\c - postgres
SELECT attack('DECLARE c CURSOR FOR SELECT summary FROM memory.nodes', 'SELECT cursor_to_xml(''c'', 1000, true, true, '''')');
SELECT attack('DECLARE c CURSOR FOR SELECT user_id FROM memory.nodes FOR UPDATE', 'MOVE 1 FROM c', 'UPDATE memory.nodes SET user_id = ''nobody'' WHERE CURRENT OF c RETURNING user_id');
SELECT attack('DECLARE c CURSOR WITH HOLD FOR SELECT payload FROM memory.agent_events_archive', 'SELECT cursor_to_xml(''c'', 1000, true, true, '''')');
\i input/each_profile.sql
