-- Runs what stands in attack_tries as each profile: app as a back end's user, in a sealed context; a service in its tenant's. The caller
-- may set only: which answers are shown.
\set ECHO none
\set was_quiet :QUIET
\set QUIET on
\if :{?only}
\else
\set only true
\endif
\pset footer off
\c - attack_service
BEGIN;
\o /dev/null
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
\o
SET LOCAL ROLE attack_app;
\echo -- app
SELECT * FROM attack_run() WHERE :only;
ROLLBACK;
BEGIN;
\o /dev/null
SELECT FROM memory.set_security_context('attack-a', service_name => 'attacker');
\o
\echo -- service
SELECT * FROM attack_run() WHERE :only;
ROLLBACK;
\c - attack_auditor
\echo -- auditor
SELECT * FROM attack_run() WHERE :only;
\c - attack_operator
\echo -- operator
SELECT * FROM attack_run() WHERE :only;
\c - attack_attributes
\echo -- every attribute but SUPERUSER, and nothing granted
SELECT * FROM attack_run() WHERE :only;
\c - postgres
TRUNCATE attack_tries RESTART IDENTITY;
\pset footer on
\set QUIET :was_quiet
\set ECHO all
