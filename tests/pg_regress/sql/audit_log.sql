-- Every change gives audit rows, however it came; who did it is right under SET ROLE; nobody takes from the log.
\set VERBOSITY sqlstate
CREATE ROLE audit_service LOGIN;
CREATE ROLE audit_app;
CREATE ROLE audit_auditor;
CREATE ROLE audit_auditor_all;
GRANT audit_app TO audit_service;
INSERT INTO memory.tenants (slug) VALUES ('audit-a'), ('audit-b');
SELECT memory.grant_access('audit_service', 'service', '{audit-a,audit-b}');
SELECT memory.grant_access('audit_app', 'app');
SELECT memory.grant_access('audit_auditor', 'auditor', '{audit-a}');
SELECT memory.grant_access('audit_auditor_all', 'auditor');

-- What has been logged of tenant audit-a since the last look.
CREATE SEQUENCE audit_seen;
GRANT USAGE, SELECT, UPDATE ON audit_seen TO PUBLIC;
SELECT setval('audit_seen', max(id)) > 0 AS set FROM memory.audit_log;
CREATE VIEW audit_news AS
    SELECT id, user_id, operation, table_name, row_key, row_count, actor_role, login_role, actor_user_id,
           actor_session_id, actor_service_name, application_name,
           changes #- '{new,started_at}' #- '{new,last_activity}' #- '{old,started_at}' #- '{old,last_activity}'
               #- '{new,occurred_at}' #- '{old,occurred_at}' #- '{new,tenant_id}' #- '{old,tenant_id}'
               #- '{new,created_at}' #- '{old,created_at}' #- '{new,updated_at}' #- '{old,updated_at}' AS changes
    FROM memory.audit_log
    WHERE id > (SELECT last_value FROM audit_seen) AND tenant_id = memory.tenant_id('audit-a');
\set news 'SELECT operation, table_name, user_id, row_key - ''tenant_id'' AS row_key, row_count FROM audit_news ORDER BY operation, table_name, row_key; SELECT count(setval(''audit_seen'', (SELECT max(id) FROM memory.audit_log))) AS seen;'

SET SESSION AUTHORIZATION audit_service;
SET application_name = 'audit test';
BEGIN;
SELECT memory.set_security_context('audit-a', 'ann', session_id => 's1', service_name => 'desk', sealed => true);
SET LOCAL ROLE audit_app;
INSERT INTO memory.sessions (tenant_id, user_id, session_id)
    SELECT memory.current_tenant_id(), 'ann', 's' || i FROM generate_series(1, 3) i;
UPDATE memory.sessions SET mode = 'changed' WHERE session_id = 's1';
COMMIT;
RESET SESSION AUTHORIZATION;
-- who
SELECT DISTINCT actor_role, login_role, actor_user_id, actor_session_id, actor_service_name, application_name
FROM audit_news;
-- what an update changed
SELECT changes FROM audit_news WHERE operation = 'UPDATE';
-- when and where: one transaction, over a Unix socket
SELECT count(DISTINCT transaction_id), bool_and(client_address IS NULL), bool_and(changed_at > now() - interval '1 minute')
FROM memory.audit_log WHERE id IN (SELECT id FROM audit_news);
:news

-- COPY
COPY memory.sessions (tenant_id, user_id, session_id) FROM PROGRAM 'true';
CREATE TEMP TABLE source AS SELECT memory.tenant_id('audit-a') AS tenant_id, 'bob' AS user_id, 'c' || i AS session_id
    FROM generate_series(1, 2) i;
\copy source TO 'audit_copy.tsv'
\copy memory.sessions (tenant_id, user_id, session_id) FROM 'audit_copy.tsv'
:news

-- ON CONFLICT: one row inserted, one updated
INSERT INTO memory.sessions (tenant_id, user_id, session_id, mode)
    SELECT memory.tenant_id('audit-a'), 'bob', x, 'again' FROM unnest('{c1,c3}'::text[]) x
    ON CONFLICT (tenant_id, user_id, session_id) DO UPDATE SET mode = excluded.mode;
:news

-- MERGE: update, delete, insert
MERGE INTO memory.sessions s
USING (VALUES ('c1', 'u'), ('c2', 'd'), ('c4', 'i')) v (session_id, what)
ON s.tenant_id = memory.tenant_id('audit-a') AND s.user_id = 'bob' AND s.session_id = v.session_id
WHEN MATCHED AND v.what = 'u' THEN UPDATE SET mode = 'merged'
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED THEN INSERT (tenant_id, user_id, session_id) VALUES (memory.tenant_id('audit-a'), 'bob', v.session_id);
:news

-- a cascade: the events of a session that is deleted
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
    SELECT memory.tenant_id('audit-a'), 'bob', 'c1', 'e' || i, 'log', '{}' FROM generate_series(1, 2) i;
DELETE FROM memory.sessions WHERE tenant_id = memory.tenant_id('audit-a') AND user_id = 'bob' AND session_id = 'c1';
:news

-- a key that changes, of one row and of many at once: twice in the log; and a statement that changes nothing
UPDATE memory.sessions SET session_id = 'y', mode = 'moved' WHERE tenant_id = memory.tenant_id('audit-a') AND user_id = 'bob' AND session_id = 'c4';
SELECT row_key - 'tenant_id' AS row_key, changes -> 'old' AS old, changes -> 'new' AS new FROM audit_news ORDER BY row_key;
UPDATE memory.sessions SET session_id = session_id WHERE tenant_id = memory.tenant_id('audit-a') AND user_id = 'bob' AND session_id = 'y';
:news
UPDATE memory.sessions SET session_id = 'x' || session_id WHERE tenant_id = memory.tenant_id('audit-a') AND user_id = 'bob';
UPDATE memory.sessions SET mode = 'none' WHERE tenant_id = memory.tenant_id('audit-a') AND user_id = 'nobody';
:news

-- a rolled back change leaves nothing
BEGIN;
DELETE FROM memory.sessions;
ROLLBACK;
:news

-- TRUNCATE
BEGIN;
TRUNCATE memory.sessions CASCADE;
SELECT operation, table_name, row_count, tenant_id FROM memory.audit_log
WHERE id > (SELECT last_value FROM audit_seen) ORDER BY table_name;
ROLLBACK;

-- an auditor reads its tenants, and only reads
SET ROLE audit_auditor;
SELECT count(*) > 0 AS some, bool_and(tenant_id = (SELECT memory.tenant_id('audit-a'))) FROM memory.audit_log;
RESET ROLE;
SELECT memory.tenant_id('audit-a') AS a \gset
SET ROLE audit_auditor;
SELECT count(*) > 0 AS some, bool_and(tenant_id = :'a') AS only_a FROM memory.audit_log;
DELETE FROM memory.audit_log;
INSERT INTO memory.audit_log (changed_at, transaction_id, tenant_id, operation, table_name, row_count, actor_role, login_role)
    VALUES (now(), '1', :'a', 'x', 'x', 1, 'x', 'x');
SET ROLE audit_auditor_all;
SELECT count(DISTINCT tenant_id) > 1 AS more FROM memory.audit_log;
SET ROLE audit_app;
SELECT count(*) FROM memory.audit_log;
RESET ROLE;

-- append-only, for a superuser too
DELETE FROM memory.audit_log;
UPDATE memory.audit_log SET actor_role = 'nobody';
TRUNCATE memory.audit_log;

-- where the log, its sequence or the holds are not under their names, nothing is changed
\set VERBOSITY terse
\set as_service 'SET LOCAL ROLE audit_service; SELECT FROM memory.set_security_context(''audit-a'', ''ann'', service_name => ''desk'');'
BEGIN;
ALTER TABLE memory.audit_log RENAME TO audit_log_gone;
:as_service
INSERT INTO memory.navigation (tenant_id, user_id, path) VALUES (memory.current_tenant_id(), 'ann', '/');
ROLLBACK;
BEGIN;
ALTER TABLE memory.audit_log RENAME TO audit_log_gone;
TRUNCATE memory.navigation;
ROLLBACK;
BEGIN;
ALTER SEQUENCE memory.audit_log_id_seq RENAME TO audit_log_gone;
:as_service
INSERT INTO memory.navigation (tenant_id, user_id, path) VALUES (memory.current_tenant_id(), 'ann', '/');
ROLLBACK;
BEGIN;
:as_service
INSERT INTO memory.navigation (tenant_id, user_id, path) VALUES (memory.current_tenant_id(), 'ann', '/');
ROLLBACK;
BEGIN;
ALTER TABLE memory.legal_holds RENAME TO legal_holds_gone;
:as_service
INSERT INTO memory.navigation (tenant_id, user_id, path) VALUES (memory.current_tenant_id(), 'ann', '/');
DELETE FROM memory.navigation WHERE user_id = 'ann';
ROLLBACK;
-- and the extension can still be dropped
SET client_min_messages = warning;
BEGIN;
ALTER TABLE memory.audit_log RENAME TO audit_log_gone;
DROP EXTENSION memory_ext CASCADE;
SELECT to_regclass('memory.audit_log_gone') IS NULL AS dropped;
ROLLBACK;
RESET client_min_messages;
\set VERBOSITY sqlstate

-- the trigger functions are no functions to call
SELECT memory.audit_change();
SET ROLE audit_app;
SELECT memory.audit_change();
RESET ROLE;

SELECT memory.revoke_access(r::regrole) FROM unnest('{audit_service,audit_app,audit_auditor,audit_auditor_all}'::text[]) r;
DROP VIEW audit_news;
DROP SEQUENCE audit_seen;
DELETE FROM memory.sessions WHERE tenant_id IN (memory.tenant_id('audit-a'), memory.tenant_id('audit-b'));
DELETE FROM memory.tenants WHERE slug IN ('audit-a', 'audit-b');
DROP ROLE audit_service, audit_app, audit_auditor, audit_auditor_all;
