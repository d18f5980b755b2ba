-- 1. INSTALL: the extension, and who may do what.

CREATE EXTENSION memory_ext CASCADE;

-- The extension creates no roles. These are the back end's login, the role that its users' statements run as, the one who
-- runs the system, and the one who reads the audit log.
CREATE ROLE demo_service LOGIN;
CREATE ROLE demo_app;
CREATE ROLE demo_operator LOGIN;
CREATE ROLE demo_auditor LOGIN;
GRANT demo_app TO demo_service;

SELECT memory.grant_access('demo_operator', 'operator'), memory.grant_access('demo_auditor', 'auditor'),
       memory.grant_access('demo_app', 'app');

-- A tenant is a row. The operator adds it; then the service is let in, to this tenant only.
SET ROLE demo_operator;
INSERT INTO memory.tenants (slug, name) VALUES ('this-machine', 'The machine that this demo runs on'),
                                               ('elsewhere', 'Somebody else''s');
RESET ROLE;
SELECT memory.grant_access('demo_service', 'service', '{this-machine}');

-- What is read in goes to tables of the demo's own, outside of the extension.
CREATE SCHEMA input AUTHORIZATION demo_service;
