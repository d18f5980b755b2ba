-- COPY is behind the policies too; into a table under FORCE a COPY is checked row by row; files and programs are a superuser's.
SELECT attack(format('COPY memory.%I TO PROGRAM ''cat''', name)) FROM unnest('{nodes,agent_sessions_archive}'::text[]) AS name;
SELECT attack('COPY (SELECT * FROM memory.nodes) TO ''attack.csv'''), attack('COPY memory.nodes FROM ''attack.csv''');
\i input/each_profile.sql
\set VERBOSITY terse
\c - attack_service
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
COPY memory.nodes (user_id, summary) TO STDOUT;
COPY memory.navigation (user_id, path) TO STDOUT;
COPY (SELECT summary FROM memory.nodes WHERE user_id <> 'alice') TO STDOUT;
COPY (DELETE FROM memory.relationships RETURNING user_id, metadata) TO STDOUT;
SAVEPOINT s;
COPY memory.agent_sessions_archive TO STDOUT;
ROLLBACK TO s;
\copy memory.preferences (tenant_id, user_id, preferences) FROM /dev/null
ROLLBACK TO s;
\copy memory.navigation (tenant_id, user_id, path) FROM /dev/null
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'attacker');
COPY (SELECT user_id, payload->>'m' FROM memory.agent_sessions_archive ORDER BY 1) TO STDOUT;
COPY (SELECT user_id, path FROM memory.navigation ORDER BY 1) TO STDOUT;
SAVEPOINT s;
\copy memory.agent_sessions_archive (tenant_id, user_id, session_id, payload) FROM /dev/null
ROLLBACK;
-- with no context, no rows
COPY memory.nodes TO STDOUT;
\c - attack_auditor
COPY memory.nodes TO STDOUT;
COPY (SELECT changes FROM memory.audit_log WHERE tenant_id <> '00000000-0000-7000-8000-00000000000a') TO STDOUT;
\c - attack_operator
COPY memory.nodes TO STDOUT;
\c - attack_attributes
COPY memory.nodes TO STDOUT;
COPY memory.tenants TO STDOUT;
