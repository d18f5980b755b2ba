-- What users ask for: from request to receipt.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
CREATE ROLE request_service LOGIN;
CREATE ROLE request_other LOGIN;
CREATE ROLE request_operator LOGIN;
CREATE ROLE request_auditor LOGIN;
INSERT INTO memory.tenants (slug) VALUES ('request-a'), ('request-b');
SELECT count(*) FROM (SELECT memory.grant_access('request_service', 'service', '{request-a}'), memory.grant_access('request_other', 'service', '{request-b}'),
    memory.grant_access('request_operator', 'operator'), memory.grant_access('request_auditor', 'auditor', '{request-a}')) AS x;

SET SESSION AUTHORIZATION request_service;
SELECT memory.set_security_context('request-a', service_name => 'desk', is_local => false);
SELECT memory.log_event('s1', 'log', '{"text": "x"}', 'e1', user_id => 'ann'), memory.log_event('s1', 'log', '{"text": "x"}', 'e1', user_id => 'bob');
SELECT memory.request_privacy('export', 'ann') AS export \gset
SELECT memory.request_privacy('erase', 'ann', due => '1 day') AS erase \gset
SELECT memory.request_privacy('anonymize', 'bob', '0 s', 'request-a') AS anonymize \gset
SELECT memory.request_privacy('anonymize', 'cat') AS refused \gset
SELECT user_id, kind, state, due_at - requested_at AS due, requested_by, requested_service, finished_at, receipt FROM memory.list_privacy_requests();
SELECT user_id, kind FROM memory.list_privacy_requests(overdue => true);
-- what is wrong
SELECT memory.request_privacy('delete', 'ann');
SELECT memory.request_privacy(NULL, 'ann');
SELECT memory.request_privacy('erase', NULL);
SELECT memory.request_privacy('erase', '');
SELECT memory.request_privacy('erase', 'ann', due => '-1 day');
SELECT memory.request_privacy('erase', 'ann', due => NULL);
SELECT memory.request_privacy('erase', 'ann', tenant => 'request-b');
SELECT memory.request_privacy('erase', 'ann', tenant => 'request-none');
SELECT memory.list_privacy_requests('open');
SELECT memory.list_privacy_requests(overdue => NULL);
SELECT memory.list_privacy_requests(tenant => 'request-b');
SELECT memory.perform_privacy_request(NULL);
SELECT memory.perform_privacy_request('00000000-0000-0000-0000-000000000000');
SELECT memory.refuse_privacy_request(:'refused', '');
-- no receipt is written by hand
INSERT INTO memory.privacy_requests DEFAULT VALUES;
UPDATE memory.privacy_requests SET state = 'done';
SELECT FROM memory.privacy_requests;

-- an export gives the document
SELECT kind, state, receipt -> 'counts' AS counts, receipt ->> 'audit_head' ~ '^[0-9]+:[0-9a-f]{64}$' AS head, (receipt ->> 'performed_at')::timestamptz <= clock_timestamp() AS time,
    document -> 'relations' -> 'events' -> 0 -> 'payload' AS payload, document -> 'relations' = memory.export_user_document('ann') -> 'relations' AS same
FROM memory.perform_privacy_request(:'export');
SELECT memory.perform_privacy_request(:'export');
SELECT memory.refuse_privacy_request(:'export', 'too late');

-- held: nothing is done, and nothing is wrong
RESET SESSION AUTHORIZATION;
SET ROLE request_operator;
SELECT memory.place_legal_hold('ann', 'case', 'request-a') AS hold \gset
SELECT memory.list_privacy_requests();
RESET ROLE;
SET SESSION AUTHORIZATION request_service;
SELECT * FROM memory.perform_privacy_request(:'erase');
SELECT kind, state, finished_at FROM memory.list_privacy_requests('held');
SELECT count(*) FROM memory.get_events('s1', user_id => 'ann');
SELECT memory.request_privacy('erase', 'ann') AS another \gset
SELECT state FROM memory.list_privacy_requests() WHERE request_id = :'another';
SELECT kind, state FROM memory.list_privacy_requests('held');
RESET SESSION AUTHORIZATION;
SELECT memory.lift_legal_hold(:'hold');
SET SESSION AUTHORIZATION request_service;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT memory.perform_privacy_request(:'erase');
ROLLBACK;
-- rolled back: as if nothing had been
BEGIN;
SELECT state FROM memory.perform_privacy_request(:'erase');
ROLLBACK;
SELECT kind, state, receipt #> '{counts,events}' AS events, receipt #> '{counts,legal_holds}' AS holds, receipt ->> 'audit_head' ~ '^[0-9]+:' AS head, document
FROM memory.perform_privacy_request(:'erase');
-- its user is nobody, in what was asked for before too
SELECT count(*) AS requests, count(DISTINCT user_id) AS users, bool_and(user_id ~ '^anon-') AS pseudonym
FROM memory.list_privacy_requests() WHERE user_id NOT IN ('bob', 'cat');
SELECT count(*) FROM memory.export_user_data('ann');
-- what is erased is gone; what is anonymised is there, and nobody's
SELECT user_id, count(*) FROM memory.events GROUP BY user_id ORDER BY user_id;
SELECT kind, state, receipt #> '{counts,events}' AS events FROM memory.perform_privacy_request(:'anonymize');
SELECT user_id ~ '^anon-' AS pseudonym, count(*) FROM memory.events GROUP BY 1 ORDER BY 1;
SELECT kind, state, finished_by FROM memory.list_privacy_requests('done') ORDER BY kind;
SELECT memory.refuse_privacy_request(:'refused', 'not the user who asked');
SELECT kind, state, reason, finished_by FROM memory.list_privacy_requests('refused');
SELECT memory.refuse_privacy_request(:'refused', 'again');
SELECT memory.perform_privacy_request(:'refused');
-- overdue is what is open past its time: held ones too, no longer those that are done or refused
RESET SESSION AUTHORIZATION;
SELECT memory.place_legal_hold('dan', 'case', 'request-a') AS hold \gset
SET SESSION AUTHORIZATION request_service;
SELECT memory.request_privacy('erase', 'dan', '0 s') AS held \gset
SELECT memory.request_privacy('export', 'dan', '0 s') AS open \gset
SELECT user_id, kind, state FROM memory.list_privacy_requests(overdue => true) ORDER BY kind;
SELECT memory.refuse_privacy_request(:'held', 'x'), memory.refuse_privacy_request(:'open', 'x');
SELECT user_id, kind, state FROM memory.list_privacy_requests(overdue => true);
RESET SESSION AUTHORIZATION;
SELECT memory.lift_legal_hold(:'hold');
SET SESSION AUTHORIZATION request_service;
-- not as a user, not as another tenant's service, not without a context
BEGIN;
SELECT memory.set_security_context('request-a', 'cat');
SELECT memory.request_privacy('erase', 'cat');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('request-a', 'cat');
SELECT memory.list_privacy_requests();
ROLLBACK;
SELECT memory.clear_security_context();
SELECT memory.list_privacy_requests(tenant => 'request-a');
SELECT memory.perform_privacy_request(:'erase', 'request-a');
SET SESSION AUTHORIZATION request_other;
SELECT memory.set_security_context('request-b', service_name => 'desk', is_local => false);
SELECT * FROM memory.list_privacy_requests();
SELECT memory.perform_privacy_request(:'erase');
SELECT memory.perform_privacy_request(:'erase', 'request-a');
SELECT memory.refuse_privacy_request(:'erase', 'no');
SELECT memory.request_privacy('export', 'zoe') IS NOT NULL AS requested;
RESET SESSION AUTHORIZATION;
-- the auditor's, and in the log
SET ROLE request_auditor;
SELECT count(DISTINCT tenant_id) AS tenants FROM memory.privacy_requests;
SELECT kind, state, count(*) FROM memory.privacy_requests GROUP BY 1, 2 ORDER BY 1, 2;
SELECT operation, sum(row_count), bool_or(changes::text ~ 'ann|bob') AS names FROM memory.audit_log WHERE table_name = 'privacy_requests' GROUP BY 1 ORDER BY 1;
RESET ROLE;
-- a superuser without a context names the tenant
SELECT memory.clear_security_context();
SELECT count(*) FROM memory.list_privacy_requests(tenant => 'request-a');
SELECT memory.list_privacy_requests();

SELECT memory.revoke_access(r::regrole) FROM unnest('{request_service,request_other,request_operator,request_auditor}'::text[]) r;
DELETE FROM memory.tenants WHERE slug IN ('request-a', 'request-b');
DROP ROLE request_service, request_other, request_operator, request_auditor;
