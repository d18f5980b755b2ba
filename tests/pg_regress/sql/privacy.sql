-- Export, erase, anonymise: whose they are, what they give, what they leave.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
CREATE ROLE privacy_service LOGIN;
CREATE ROLE privacy_app LOGIN;
CREATE ROLE privacy_operator LOGIN;
GRANT privacy_app TO privacy_service;
INSERT INTO memory.tenants (slug) VALUES ('privacy-a'), ('privacy-b');
DO $$
BEGIN
    PERFORM memory.grant_access('privacy_service', 'service', '{privacy-a}');
    PERFORM memory.grant_access('privacy_app', 'app');
    PERFORM memory.grant_access('privacy_operator', 'operator');
END
$$;
SELECT memory.tenant_id('privacy-a') AS a, memory.tenant_id('privacy-b') AS b \gset

SET SESSION AUTHORIZATION privacy_service;
-- without a context nothing, though the function's owner could
SELECT memory.export_user_data('ann', 'privacy-a');
SELECT memory.erase_user_data('ann', 'privacy-a');
SELECT memory.anonymize_user_data('ann', 'privacy-a');
-- nor as a user, not even about oneself
BEGIN;
SELECT memory.set_security_context('privacy-a', 'ann');
SELECT memory.export_user_data('ann');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('privacy-a', 'ann', sealed => true);
SET LOCAL ROLE privacy_app;
SELECT memory.erase_user_data('ann');
ROLLBACK;
-- nor for another tenant, an unknown one, nobody
SELECT memory.set_security_context('privacy-a', service_name => 'backend', is_local => false);
SELECT memory.export_user_data('ann', 'privacy-b');
SELECT memory.erase_user_data('ann', 'privacy-none');
SELECT memory.erase_user_data(NULL);
SELECT memory.erase_user_data('');
-- a snapshot that is older than the wait would miss what was written since
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT memory.erase_user_data('ann');
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM memory.export_user_data('ann');
SELECT memory.erase_user_data('ann');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SET ROLE privacy_operator;
SELECT memory.erase_user_data('ann', 'privacy-a');
SELECT memory.held_user(NULL, NULL);
RESET ROLE;

-- an unknown user: nothing, and no error
SET SESSION AUTHORIZATION privacy_service;
SELECT memory.set_security_context('privacy-a', service_name => 'backend', is_local => false);
SELECT * FROM memory.export_user_data('ann');
SELECT sum(rows) FROM memory.erase_user_data('ann');
SELECT sum(rows) FROM memory.anonymize_user_data('ann');

-- two users with the same ids, and a third in another tenant
SELECT count(*) FROM unnest('{ann,bob}'::text[]) AS u,
    LATERAL (SELECT memory.save_session('s1', '{"k": 1}', 'chatty', 's0', user_id => u), memory.log_event('s1', 'message_user', '{"text": "x"}', 'e1', user_id => u),
        memory.log_event('s0', 'log', '{"text": "x"}', 'e1', user_id => u), memory.set_preferences('{"p": 1}', user_id => u),
        memory.store_relationship(memory.store_node('{"entity_id": "i", "entity_system": "y"}', 'domain_entity', 'sum', '{t}', user_id => u),
            memory.store_node('{"n": 1}', 'tool_output', session_id => 's1', user_id => u), 'produces', user_id => u),
        memory.archive_event('privacy-a', u, 's1', 'old', 'free word', '2024-01-01', '{"o": 1}'),
        memory.archive_event('privacy-a', u, 's1', 'old2', 'log', '2024-01-01', '{"o": 1}')) AS done;
RESET SESSION AUTHORIZATION;
SELECT memory.clear_security_context();
SELECT memory.log_event('s1', 'log', '{}', 'e1', tenant => 'privacy-b', user_id => 'ann');
SET SESSION AUTHORIZATION privacy_service;
SELECT memory.set_security_context('privacy-a', service_name => 'backend', is_local => false);
SELECT relation, count(*) FROM memory.export_user_data('ann') GROUP BY 1 ORDER BY 1;
SELECT record ->> 'event_id' AS event_id, record -> 'payload' AS payload FROM memory.export_user_data('ann', 'privacy-a') WHERE relation = 'events' ORDER BY 2;

-- rolled back: nothing
BEGIN;
SELECT sum(rows) > 10 AS changed FROM memory.anonymize_user_data('ann');
ROLLBACK;
SELECT relation, count(*) FROM memory.export_user_data('ann') GROUP BY 1 ORDER BY 1;
SELECT * FROM memory.anonymize_user_data('ann');
SELECT * FROM memory.export_user_data('ann');
RESET SESSION AUTHORIZATION;
-- one pseudonym for the user, one for each session wherever it is named; types, structure, the default and known words stay
CREATE TEMP TABLE nobody AS SELECT user_id FROM memory.preferences WHERE tenant_id = :'a' AND user_id LIKE 'anon-%';
SELECT count(*) FROM nobody WHERE user_id ~ '^anon-[0-9a-f]{32}$';
SELECT s.session_id ~ '^anon-' AS session, s.mode = 'simple' AS simple, s.mode ~ '^anon-' AS mode, s.metadata,
    parent.session_id IS NOT NULL AS parent, e.event_type, e.event_id ~ '^anon-' AS event, e.payload
FROM memory.sessions AS s JOIN nobody USING (user_id) JOIN memory.events AS e USING (tenant_id, user_id, session_id)
LEFT JOIN memory.sessions AS parent ON parent.tenant_id = s.tenant_id AND parent.user_id = s.user_id AND parent.session_id = s.parent_session_id
ORDER BY e.event_type;
SELECT count(DISTINCT e.event_id) AS one_event_id_in_two_sessions FROM memory.events AS e JOIN nobody USING (user_id);
SELECT n.content, n.context_type, n.summary, n.tags, n.metadata, n.entity_id ~ '^anon-' AS entity, n.entity_system ~ '^anon-' AS system,
    s.session_id IS NOT NULL AS of_a_session, (SELECT count(*) FROM memory.relationships AS r WHERE r.from_node_id = n.node_id) AS out,
    (SELECT count(*) FROM memory.relationships AS r WHERE r.to_node_id = n.node_id) AS inward
FROM memory.nodes AS n JOIN nobody USING (user_id) LEFT JOIN memory.sessions AS s USING (tenant_id, user_id, session_id) ORDER BY 2;
SELECT a.event_type ~ '^anon-' AS pseudonym, CASE WHEN a.event_type !~ '^anon-' THEN a.event_type END AS event_type, a.occurred_at = '2024-01-01' AS time,
    a.payload - '_tenant' AS payload, a.payload #>> '{_tenant,slug}' AS tenant, s.session_id IS NOT NULL AS of_a_session
FROM memory.agent_events_archive AS a JOIN nobody USING (user_id) LEFT JOIN memory.sessions AS s USING (tenant_id, user_id, session_id) ORDER BY 1, 2;
SELECT operation, table_name, count(*), count(row_key) AS keys, count(changes) AS images, sum(row_count)
FROM memory.audit_log JOIN nobody USING (user_id) GROUP BY 1, 2 ORDER BY 2, 1;
-- what was done is in the log, by count
SELECT operation, table_name, row_count, user_id, row_key, changes, actor_role, login_role FROM memory.audit_log
WHERE transaction_id = (SELECT max(transaction_id::text::bigint)::text::xid8 FROM memory.audit_log WHERE tenant_id = :'a') ORDER BY table_name;
-- the others are as they were
SELECT tenant_id = :'a' AS a, user_id, session_id, count(*) FROM memory.events WHERE user_id IN ('ann', 'bob') AND tenant_id IN (:'a', :'b') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- erased: only the redacted log is left
SET SESSION AUTHORIZATION privacy_service;
SELECT memory.set_security_context('privacy-a', service_name => 'backend', is_local => false);
SELECT * FROM memory.erase_user_data('bob');
SELECT * FROM memory.export_user_data('bob');
RESET SESSION AUTHORIZATION;
SELECT operation, table_name, row_count, user_id, row_key, changes FROM memory.audit_log
WHERE transaction_id = (SELECT max(transaction_id::text::bigint)::text::xid8 FROM memory.audit_log WHERE tenant_id = :'a') ORDER BY table_name;
-- the log is append-only again, for superusers too
UPDATE memory.audit_log SET user_id = NULL;
DELETE FROM memory.security_violations;
-- the other tenant's ann
SELECT memory.clear_security_context();
SELECT relation, count(*) FROM memory.export_user_data('ann', 'privacy-b') GROUP BY 1 ORDER BY 1;
-- held: refused, recorded under the name, and lifted
SELECT memory.place_legal_hold('ann', 'a reason', 'privacy-b') AS hold \gset
SELECT memory.erase_user_data('ann', 'privacy-b');
SELECT memory.anonymize_user_data('ann', 'privacy-b');
SELECT kind, detail, named_user_id FROM memory.security_violations WHERE tenant_id = :'b';
SELECT memory.lift_legal_hold(:'hold');
SELECT relation, rows FROM memory.erase_user_data('ann', 'privacy-b') WHERE rows > 0;
SELECT kind, detail, named_user_id ~ '^anon-' AS pseudonym FROM memory.security_violations WHERE tenant_id = :'b';
SELECT relation, rows FROM memory.erase_user_data((SELECT user_id FROM nobody), 'privacy-a') WHERE rows > 0;

SELECT memory.revoke_access(r::regrole) FROM unnest('{privacy_service,privacy_app,privacy_operator}'::text[]) r;
DELETE FROM memory.tenants WHERE slug IN ('privacy-a', 'privacy-b');
DROP ROLE privacy_service, privacy_app, privacy_operator;
