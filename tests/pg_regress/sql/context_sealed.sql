-- A sealed context holds, whatever anyone does, until its transaction ends; then nothing of it is left.
\set VERBOSITY sqlstate
\c - regress_service
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
SELECT memory.current_user_id();
SAVEPOINT s;
SELECT memory.set_security_context('regress-a', 'bob');
ROLLBACK TO s;
SELECT memory.set_security_context('regress-a', 'alice');
ROLLBACK TO s;
SELECT memory.set_security_context('regress-a', 'alice', sealed => true);
ROLLBACK TO s;
SELECT memory.set_security_context('regress-a', 'alice', is_local => false);
ROLLBACK TO s;
SELECT memory.clear_security_context();
ROLLBACK TO s;
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM regress_notes) AS notes;
COMMIT;
SELECT memory.current_user_id() IS NULL AS gone;

-- with the transaction the seal goes: the next one is free
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'bob');
SELECT memory.current_user_id();
COMMIT;

-- a seal in a savepoint goes with it when it is rolled back, and stays when it is released
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'bob');
SAVEPOINT a;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
ROLLBACK TO a;
SELECT memory.current_user_id();
SELECT FROM memory.set_security_context('regress-a', 'carol');
SELECT memory.current_user_id();
SAVEPOINT b;
SAVEPOINT c;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
RELEASE c;
SAVEPOINT d;
SELECT FROM memory.set_security_context('regress-a', 'bob');
ROLLBACK TO d;
RELEASE b;
SELECT FROM memory.set_security_context('regress-a', 'bob');
ROLLBACK TO a;
SELECT memory.current_user_id();
SELECT FROM memory.set_security_context('regress-a', 'carol');
SELECT memory.current_user_id();
COMMIT;
SELECT memory.current_user_id() IS NULL AS gone;

-- over a context of the session, which is there again afterwards
SELECT FROM memory.set_security_context('regress-a', 'carol', is_local => false);
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
SELECT memory.current_user_id();
COMMIT;
SELECT memory.current_user_id();
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
ROLLBACK;
SELECT memory.current_user_id();
SELECT FROM memory.clear_security_context();

-- a superuser is no exception
\c - postgres
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice', sealed => true);
SAVEPOINT s;
SELECT memory.set_security_context('regress-b', 'alice');
ROLLBACK TO s;
SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000b", "user": "alice"}';
ROLLBACK TO s;
SET LOCAL memory.context = '';
ROLLBACK TO s;
RESET memory.context;
SELECT right(memory.current_tenant_id()::text, 1) AS tenant, memory.current_user_id();
COMMIT;
SELECT memory.current_user_id() IS NULL AS gone;
