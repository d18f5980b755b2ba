-- Legal holds: placed and lifted by an operator, asked of by whoever removes.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000b01a', 'hold-a'), ('00000000-0000-7000-8000-00000000b01b', 'hold-b');
CREATE ROLE hold_service LOGIN;
CREATE ROLE hold_app LOGIN;
CREATE ROLE hold_operator LOGIN;
CREATE ROLE hold_auditor LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('hold_service', 'service', '{hold-a}');
    PERFORM memory.grant_access('hold_app', 'app');
    GRANT hold_app TO hold_service;
    PERFORM memory.grant_access('hold_operator', 'operator');
    PERFORM memory.grant_access('hold_auditor', 'auditor', '{hold-a}');
END
$$;

\connect - hold_operator
SELECT memory.place_legal_hold('ann', 'case 1', 'hold-a') AS first \gset
SELECT memory.place_legal_hold('ann', 'case 2', 'hold-a') AS second \gset
SELECT memory.place_legal_hold('ann', 'case 3', 'hold-b') AS other \gset
SELECT tenant_id, user_id, reason, placed_by, lifted_at FROM memory.list_legal_holds();
SELECT reason FROM memory.list_legal_holds('hold-b');
SELECT FROM memory.list_legal_holds('hold-none');
-- what is no hold
SELECT memory.place_legal_hold('ann', '', 'hold-a');
SELECT memory.place_legal_hold('ann', NULL, 'hold-a');
SELECT memory.place_legal_hold(NULL, 'x', 'hold-a');
SELECT memory.place_legal_hold('', 'x', 'hold-a');
SELECT memory.place_legal_hold('ann', 'x');
SELECT memory.place_legal_hold('ann', 'x', 'hold-none');
-- the table is not an operator's
SELECT FROM memory.legal_holds;
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');

-- a_hold_is_asked_of_by_whom_the_context_covers
\connect - hold_service
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'bob');
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01b', 'ann');
SELECT memory.check_hold(NULL, 'ann');
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', NULL);
SELECT user_id, reason FROM memory.legal_holds ORDER BY reason;
DELETE FROM memory.legal_holds;
SELECT memory.place_legal_hold('bob', 'x');
BEGIN;
SELECT FROM memory.set_security_context('hold-a', 'bob');
SET LOCAL ROLE hold_app;
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'bob');
SAVEPOINT here;
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
ROLLBACK TO here;
-- the user is not told of the reason
SELECT count(*) FROM memory.legal_holds;
ROLLBACK;

-- nothing_held_is_removed, by whichever way; what is stored goes on
BEGIN;
SELECT FROM memory.set_security_context('hold-a', 'ann');
SET LOCAL ROLE hold_app;
SELECT count(memory.record_navigation(n::text)) FROM generate_series(1, 102) AS n;
SELECT count(*) FROM memory.navigation;
SELECT memory.set_preferences('{"a": 1}'), memory.set_preferences('{"b": 2}');
SELECT memory.store_node('{}', 'knowledge_atom') AS node \gset
SELECT memory.log_event('s', 'log', '{}', 'e');
SAVEPOINT here;
SELECT memory.delete_nodes(ARRAY[:'node'::uuid]);
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('ann', 0);
ROLLBACK TO here;
DELETE FROM memory.preferences;
ROLLBACK TO here;
DELETE FROM memory.navigation WHERE path = '1';
ROLLBACK TO here;
DELETE FROM memory.sessions;
ROLLBACK TO here;
COMMIT;
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
DELETE FROM memory.nodes;
-- nor given to somebody else, nor put under another key; a change leaves its old version in the audit log
UPDATE memory.preferences SET user_id = 'eve';
UPDATE memory.navigation SET user_id = 'eve';
UPDATE memory.navigation SET id = memory.uuid_v7();
UPDATE memory.nodes SET node_id = memory.uuid_v7();
UPDATE memory.preferences SET preferences = preferences || '{"c": 3}' RETURNING user_id;
SELECT * FROM memory.erase_user_data('ann');
SELECT * FROM memory.anonymize_user_data('ann');
SELECT count(*) FROM memory.nodes;
-- somebody else is not held
SELECT FROM memory.set_preferences('{"a": 1}', user_id => 'bob');
DELETE FROM memory.preferences WHERE user_id = 'bob';

-- a_hold_stands_until_the_last_one_is_lifted
-- in a context only what it covers is listed and lifted
\connect - postgres
SELECT FROM memory.set_security_context('hold-b', service_name => 'tests', is_local => false);
SELECT reason FROM memory.list_legal_holds();
SELECT memory.lift_legal_hold(:'first');
SELECT FROM memory.set_security_context('hold-a', 'bob', is_local => false);
SELECT reason FROM memory.list_legal_holds();
SELECT memory.lift_legal_hold(:'first');
SELECT FROM memory.set_security_context('hold-a', 'ann', is_local => false);
SELECT reason FROM memory.list_legal_holds();
SELECT FROM memory.clear_security_context();
SET ROLE hold_operator;
SELECT memory.lift_legal_hold(:'first');
SELECT reason FROM memory.list_legal_holds('hold-a');
SELECT memory.lift_legal_hold(:'first');
SELECT memory.lift_legal_hold('00000000-0000-7000-8000-000000000000');
RESET ROLE;
SELECT lifted_by FROM memory.legal_holds WHERE reason = 'case 1';
\connect - hold_service
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
\connect - hold_operator
SELECT memory.lift_legal_hold(:'second');
\connect - hold_service
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
SELECT memory.delete_nodes(array_agg(node_id), user_id => 'ann') FROM memory.nodes;
SELECT FROM memory.record_navigation('103', user_id => 'ann');
SELECT count(*) FROM memory.navigation;
SELECT reason, placed_by, lifted_by, lifted_at >= placed_at AS lifted FROM memory.legal_holds ORDER BY reason;

-- the_attempt_is_recorded
\connect - hold_auditor
SELECT kind, detail, user_id, service_name, named_user_id, actor_role, count(*) FROM memory.security_violations
WHERE kind = 'held_deletion' GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 3, 4, 5, 6;

-- a superuser takes the holds themselves, and what is left here
\connect - postgres
DELETE FROM memory.legal_holds;
DELETE FROM memory.sessions WHERE tenant_id = '00000000-0000-7000-8000-00000000b01a';
DELETE FROM memory.navigation WHERE tenant_id = '00000000-0000-7000-8000-00000000b01a';
DELETE FROM memory.preferences WHERE tenant_id = '00000000-0000-7000-8000-00000000b01a';
DELETE FROM memory.tenants WHERE slug IN ('hold-a', 'hold-b');
DO $$
BEGIN
    PERFORM memory.revoke_access(role::regrole) FROM unnest('{hold_service, hold_app, hold_operator, hold_auditor}'::text[]) AS role;
END
$$;
DROP ROLE hold_service, hold_app, hold_operator, hold_auditor;
