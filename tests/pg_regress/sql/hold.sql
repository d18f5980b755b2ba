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

-- a_hold_stands_until_the_last_one_is_lifted
\connect - hold_operator
SELECT memory.lift_legal_hold(:'first');
SELECT memory.lift_legal_hold(:'first');
SELECT memory.lift_legal_hold('00000000-0000-7000-8000-000000000000');
\connect - hold_service
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
\connect - hold_operator
SELECT memory.lift_legal_hold(:'second');
\connect - hold_service
SELECT FROM memory.set_security_context('hold-a', service_name => 'tests', is_local => false);
SELECT memory.check_hold('00000000-0000-7000-8000-00000000b01a', 'ann');
SELECT reason, placed_by, lifted_by, lifted_at >= placed_at AS lifted FROM memory.legal_holds ORDER BY reason;

-- the_attempt_is_recorded
\connect - hold_auditor
SELECT kind, detail, named_user_id, service_name FROM memory.security_violations WHERE kind = 'held_deletion' ORDER BY occurred_at;

\connect - postgres
DELETE FROM memory.legal_holds;
DELETE FROM memory.tenants WHERE slug IN ('hold-a', 'hold-b');
DO $$
BEGIN
    PERFORM memory.revoke_access(role::regrole) FROM unnest('{hold_service, hold_app, hold_operator, hold_auditor}'::text[]) AS role;
END
$$;
DROP ROLE hold_service, hold_app, hold_operator, hold_auditor;
