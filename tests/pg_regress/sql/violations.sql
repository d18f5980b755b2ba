-- A violation is recorded although the transaction that tried it is rolled back.
\set VERBOSITY sqlstate
CREATE ROLE violation_service LOGIN;
CREATE ROLE violation_auditor;
INSERT INTO memory.tenants (slug) VALUES ('violation-a'), ('violation-b');
SELECT memory.grant_access('violation_service', 'service', '{violation-a}');
SELECT memory.grant_access('violation_auditor', 'auditor', '{violation-a}');

SET SESSION AUTHORIZATION violation_service;
-- a tenant that the role may not act for
SELECT memory.set_security_context('violation-b', 'ann');
BEGIN;
SELECT memory.set_security_context('violation-a', 'ann', sealed => true);
SAVEPOINT here;
-- a change of a sealed context
SELECT memory.clear_security_context();
ROLLBACK TO here;
-- another tenant, another user
SELECT memory.subject('violation-b', NULL);
ROLLBACK TO here;
SELECT memory.subject(NULL, 'bob');
ROLLBACK;
RESET SESSION AUTHORIZATION;

SELECT kind, detail, user_id, named_user_id, actor_role, login_role, client_address, pid = pg_backend_pid() AS this_process,
       tenant_id = memory.tenant_id('violation-a') AS known_tenant
FROM memory.security_violations WHERE login_role = 'violation_service' ORDER BY occurred_at;

SELECT memory.tenant_id('violation-a') AS a \gset
SET ROLE violation_auditor;
SELECT count(*), bool_and(tenant_id = :'a') AS only_a FROM memory.security_violations;
RESET ROLE;
DELETE FROM memory.security_violations;

SELECT memory.revoke_access(r::regrole) FROM unnest('{violation_service,violation_auditor}'::text[]) r;
DELETE FROM memory.tenants WHERE slug IN ('violation-a', 'violation-b');
DROP ROLE violation_service, violation_auditor;
