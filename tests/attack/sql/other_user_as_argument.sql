-- Arguments that name somebody else than the context allows are refused, never silently replaced.
\set VERBOSITY sqlstate
\c - attack_service
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SET LOCAL ROLE attack_app;
SELECT right(tenant_id::text, 1) AS tenant, subject_id FROM memory.subject(NULL, NULL);
SELECT right(tenant_id::text, 1) AS tenant, subject_id FROM memory.subject('attack-a', 'alice');
SELECT right(tenant_id::text, 1) AS tenant, user_low, user_high FROM memory.scope('ATTACK-A', NULL);
SAVEPOINT s;
SELECT * FROM memory.subject(NULL, 'bob');
ROLLBACK TO s;
SELECT * FROM memory.subject(NULL, 'ALICE');
ROLLBACK TO s;
SELECT * FROM memory.subject(NULL, ' alice');
ROLLBACK TO s;
SELECT * FROM memory.subject(NULL, '');
ROLLBACK TO s;
SELECT * FROM memory.scope(NULL, 'bob');
ROLLBACK TO s;
SELECT * FROM memory.scope('attack-b', 'alice');
ROLLBACK TO s;
SELECT * FROM memory.scope('attack-none', 'alice');
ROLLBACK TO s;
SELECT * FROM memory.scope('', 'alice');
ROLLBACK;
-- a service names any user of its tenant; without one it reads them all, and stores for nobody
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'x');
SELECT right(tenant_id::text, 1) AS tenant, subject_id FROM memory.subject(NULL, 'bob');
SELECT right(tenant_id::text, 1) AS tenant, user_low, user_high FROM memory.scope(NULL, 'bob');
SELECT right(tenant_id::text, 1) AS tenant, user_low = E'\u0001' AS user_low, user_high = U&'\+10FFFF' AS user_high FROM memory.scope(NULL, NULL);
SAVEPOINT s;
SELECT * FROM memory.subject(NULL, NULL);
ROLLBACK;
-- no context: 42501 for everyone but superusers, who name both
SELECT * FROM memory.subject('attack-a', 'alice');
SELECT * FROM memory.scope('attack-a', NULL);
SELECT * FROM memory.subject('attack-none', 'alice');
\c - postgres
SELECT right(tenant_id::text, 1) AS tenant, subject_id FROM memory.subject('attack-b', 'alice');
SELECT * FROM memory.subject('attack-b', NULL);
SELECT * FROM memory.subject(NULL, 'alice');
SELECT * FROM memory.scope('attack-b', NULL);
\set VERBOSITY default
SELECT * FROM memory.subject(NULL, 'alice');
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT * FROM memory.subject(NULL, repeat('b', 101));
ROLLBACK;
