-- Retention: what is older than its policy goes, and nothing else.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000e70a', 'ret-a'), ('00000000-0000-7000-8000-00000000e70b', 'ret-b');
CREATE ROLE ret_service LOGIN;
CREATE ROLE ret_operator LOGIN;
CREATE ROLE ret_auditor LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('ret_service', 'service', '{ret-a, ret-b}');
    PERFORM memory.grant_access('ret_operator', 'operator');
    PERFORM memory.grant_access('ret_auditor', 'auditor', '{ret-a}');
END
$$;

-- nor past the function
INSERT INTO memory.retention_policies (tenant_id, data_class, keep) VALUES ('00000000-0000-7000-8000-00000000e70a', 'nodes', '0');
\connect - ret_operator
-- what is no policy
SELECT memory.set_retention_policy('secrets', '1 year');
SELECT memory.set_retention_policy(NULL, '1 year');
SELECT memory.set_retention_policy('nodes', NULL);
SELECT memory.set_retention_policy('nodes', '0');
SELECT memory.set_retention_policy('nodes', '-1 day');
SELECT memory.set_retention_policy('nodes', '1 month -29 days');
SELECT memory.set_retention_policy('nodes', '1001 years');
SELECT memory.set_retention_policy('nodes', '9000000 hours');
SELECT memory.set_retention_policy('nodes', '1 year', 'ret-none');
SELECT memory.set_retention_policy('nodes', '1 year', action => 'hide');
SELECT memory.set_retention_policy('nodes', '1 year', action => NULL);
SELECT FROM memory.apply_retention(batch_size => 0);
SELECT FROM memory.apply_retention(batch_size => NULL);
SELECT FROM memory.apply_retention(NULL);
SELECT FROM memory.clean_expired(0);
SELECT FROM memory.clean_expired(NULL);
SELECT memory.archive_old_audit_logs(-1);
SELECT memory.archive_old_audit_logs(NULL);
SELECT memory.cleanup_old_nodes('ann', 1, 'ret-a');
SELECT count(*) FROM memory.list_retention_policies();

-- nothing_goes_without_a_policy
SELECT more FROM memory.run_archival('0', 100000);
SELECT * FROM memory.apply_retention();

\connect - ret_service
CREATE FUNCTION pg_temp.fill(tenant text, who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    PERFORM memory.set_security_context(tenant, who, is_local => false);
    -- old, at the bound, new: in sessions by their last activity
    PERFORM memory.log_event(s, 'log', '{"secret": "marker"}', e, now() - a)
    FROM (VALUES ('old', 'e1', interval '40 days'), ('new', 'e2', '40 days'), ('new', 'e3', '1 day'), ('used', 'e4', '1 day')) AS v (s, e, a);
    UPDATE memory.sessions SET last_activity = now() - interval '40 days' WHERE session_id IN ('old', 'used');
    UPDATE memory.events SET created_at = now() - interval '40 days' WHERE session_id = 'old';
    SELECT array_agg(node_id ORDER BY ordinality) INTO ids FROM memory.store_nodes((
        SELECT jsonb_agg(jsonb_build_object('content', jsonb_build_object('n', n), 'context_type', 'knowledge_atom')) FROM generate_series(1, 4) AS n));
    PERFORM memory.store_relationship(ids[1], ids[2], 'led_to');
    PERFORM memory.store_relationship(ids[4], ids[1], 'led_to');
    PERFORM memory.store_relationship(ids[3], ids[4], 'led_to');
    -- those of ret-a are the older ones
    UPDATE memory.nodes SET created_at = now() - CASE content->>'n' WHEN '1' THEN interval '40 days' WHEN '2' THEN '31 days' ELSE '29 days' END
        - CASE tenant WHEN 'ret-a' THEN interval '1 second' ELSE '0' END;
    UPDATE memory.nodes SET valid_to = now() WHERE content->>'n' = '2';
    PERFORM memory.record_navigation('/old');
    UPDATE memory.navigation SET visited_at = now() - interval '40 days';
    PERFORM memory.record_navigation('/new');
END
$$;
CREATE FUNCTION pg_temp.look(tenant text) RETURNS TABLE (user_id text, sessions text[], events text[], nodes text[], relationships bigint, navigation text[])
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM memory.set_security_context(tenant, service_name => 'tests', is_local => false);
    RETURN QUERY SELECT u.id,
        (SELECT array_agg(t.session_id ORDER BY t.session_id) FROM memory.sessions AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.event_id ORDER BY t.event_id) FROM memory.events AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.content->>'n' ORDER BY t.content->>'n') FROM memory.nodes AS t WHERE t.user_id = u.id),
        (SELECT count(*) FROM memory.relationships AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.path ORDER BY t.path) FROM memory.navigation AS t WHERE t.user_id = u.id)
    FROM unnest('{ann, bob}'::text[]) AS u (id);
END
$$;
SELECT pg_temp.fill(t, u) FROM unnest('{ret-a, ret-b}'::text[]) AS t, unnest('{ann, bob}'::text[]) AS u;
SELECT * FROM pg_temp.look('ret-a');
SELECT FROM memory.archive_session('ret-a', 'ann', 'gone', '{}', now() - interval '50 days', now() - interval '40 days');
SELECT FROM memory.archive_session('ret-a', 'ann', 'there', '{}', now() - interval '50 days', now() - interval '20 days');
SELECT FROM memory.archive_event('ret-a', 'ann', 'gone', 'a1', 'log', now() - interval '40 days', '{"secret": "marker"}');
SELECT FROM memory.archive_event('ret-a', 'ann', 'gone', 'a2', 'log', now() - interval '20 days', '{}');

-- a_tenants_own_policy_beats_the_general_one; a_dry_run_changes_nothing
\connect - ret_operator
SELECT FROM memory.place_legal_hold('bob', 'case', 'ret-b');
SELECT memory.set_retention_policy(c, '30 days') FROM unnest('{sessions, events, nodes, navigation, performance_metrics}'::text[]) AS c;
-- (other tests leave archives behind)
SELECT memory.set_retention_policy(c, '30 days', 'ret-a') FROM unnest('{sessions_archive, events_archive}'::text[]) AS c;
SELECT memory.set_retention_policy('nodes', '35 days', 'ret-b');
SELECT memory.set_retention_policy('nodes', '39 days', 'ret-b');
SELECT memory.set_retention_policy('navigation', '1 year', 'ret-b');
SELECT tenant_id, data_class, keep, action FROM memory.list_retention_policies();
CREATE TEMP VIEW apply AS SELECT data_class, tenant_id, affected, more FROM memory.apply_retention(true);
SELECT * FROM apply;
SELECT * FROM apply;
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention(true, 1);
-- batches
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention(batch_size => 1);
SELECT data_class, tenant_id, affected, more, cutoff < now() - interval '29 days' AS cutoff FROM memory.apply_retention();
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention();

\connect - ret_service
CREATE FUNCTION pg_temp.look(tenant text) RETURNS TABLE (user_id text, sessions text[], events text[], nodes text[], relationships bigint, navigation text[])
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM memory.set_security_context(tenant, service_name => 'tests', is_local => false);
    RETURN QUERY SELECT u.id,
        (SELECT array_agg(t.session_id ORDER BY t.session_id) FROM memory.sessions AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.event_id ORDER BY t.event_id) FROM memory.events AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.content->>'n' ORDER BY t.content->>'n') FROM memory.nodes AS t WHERE t.user_id = u.id),
        (SELECT count(*) FROM memory.relationships AS t WHERE t.user_id = u.id),
        (SELECT array_agg(t.path ORDER BY t.path) FROM memory.navigation AS t WHERE t.user_id = u.id)
    FROM unnest('{ann, bob}'::text[]) AS u (id);
END
$$;
SELECT * FROM pg_temp.look('ret-a');
SELECT * FROM pg_temp.look('ret-b');
SELECT FROM memory.set_security_context('ret-a', service_name => 'tests', is_local => false);
SELECT session_id FROM memory.agent_sessions_archive ORDER BY 1;
SELECT event_id FROM memory.agent_events_archive ORDER BY 1;

-- the_audit_log_has_counts_and_no_image_of_what_went
\connect - ret_auditor
SELECT table_name, operation, sum(row_count), count(row_key) AS keys, count(changes) AS images
FROM memory.audit_log WHERE operation = 'DELETE' AND login_role = 'ret_operator' GROUP BY 1, 2 ORDER BY 1;
SELECT table_name, count(*) FILTER (WHERE changes IS NULL) AS redacted, count(*) FILTER (WHERE row_key IS NOT NULL) AS kept
FROM memory.audit_log WHERE operation IN ('INSERT', 'UPDATE') AND login_role = 'ret_service' GROUP BY 1 ORDER BY 1;
SELECT DISTINCT row_key->>'event_id' FROM memory.audit_log WHERE table_name ~ 'events' AND changes::text ~ 'marker' ORDER BY 1;

-- a relationship by itself
\connect - ret_service
SELECT FROM memory.set_security_context('ret-a', service_name => 'tests', is_local => false);
UPDATE memory.relationships SET created_at = now() - interval '40 days' WHERE user_id = 'bob';
\connect - ret_operator
SELECT memory.set_retention_policy('relationships', '30 days', 'ret-a');
SELECT affected, more FROM memory.apply_retention() WHERE data_class = 'relationships';
SELECT memory.drop_retention_policy('relationships', 'ret-a');

-- cleanup_old_nodes_takes_what_is_strictly_longer_ago
\connect - ret_service
SELECT memory.cleanup_old_nodes('ann', 29, 'ret-a');
BEGIN;
SELECT FROM memory.set_security_context('ret-a', 'ann');
SELECT count(memory.store_node(jsonb_build_object('n', n::text), 'knowledge_atom')) FROM generate_series(6, 8) AS n;
UPDATE memory.nodes SET created_at = now() - interval '10 days' WHERE content->>'n' = '6';
UPDATE memory.nodes SET created_at = now() - interval '10 days 1 microsecond' WHERE content->>'n' = '7';
UPDATE memory.nodes SET created_at = now() + interval '1 day' WHERE content->>'n' = '8';
SELECT memory.cleanup_old_nodes('ann', 2147483647);
SELECT memory.cleanup_old_nodes('ann', 30);
SELECT memory.cleanup_old_nodes('ann', 10);
SELECT content->>'n' AS n FROM memory.nodes ORDER BY 1;
SELECT memory.cleanup_old_nodes(NULL, 10);
SELECT memory.cleanup_old_nodes('ann', 0);
SELECT content->>'n' AS n FROM memory.nodes ORDER BY 1;
SELECT count(*) FROM memory.relationships;
SAVEPOINT here;
SELECT memory.cleanup_old_nodes('ann', -1);
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('ann', NULL);
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('bob', 1);
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('ann', 1, 'ret-b');
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('ann', 1, 'ret-none');
ROLLBACK TO here;
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('ret-b', service_name => 'tests');
SAVEPOINT here;
SELECT memory.cleanup_old_nodes(NULL, 1);
ROLLBACK TO here;
-- a_held_user_is_refused
SELECT memory.cleanup_old_nodes('bob', 1);
ROLLBACK TO here;
SELECT memory.cleanup_old_nodes('ann', 28);
ROLLBACK;

-- what_expired_goes: sessions to the archive, nodes for good
SELECT FROM memory.set_security_context('ret-b', 'ann', is_local => false);
SELECT FROM memory.save_session('expired', ttl => '0');
SELECT memory.log_event('later', 'log', '{}', 'x2');
SELECT memory.log_event('ended', 'log', '{}', 'x3');
SELECT memory.end_session('ended');
SELECT FROM memory.save_session('later', ttl => '1 day');
SELECT FROM memory.store_node('{"n": "expired"}', 'temporary_state', expires_at => now());
SELECT FROM memory.store_node('{"n": "later"}', 'temporary_state', expires_at => now() + interval '1 day');
SELECT memory.store_relationship(a.node_id, b.node_id, 'led_to') IS NOT NULL AS related FROM memory.nodes AS a, memory.nodes AS b
WHERE a.content->>'n' = 'later' AND b.content->>'n' = '3';
SELECT FROM memory.set_security_context('ret-b', 'bob', is_local => false);
SELECT FROM memory.store_node('{"n": "expired"}', 'temporary_state', expires_at => now() - interval '1 day');
SELECT FROM memory.store_node('{"n": "two"}', 'temporary_state', expires_at => now() - interval '1 day');
\connect - ret_operator
SELECT * FROM memory.clean_expired();
SELECT * FROM memory.clean_expired();
SELECT memory.lift_legal_hold(hold_id) FROM memory.list_legal_holds('ret-b');
SELECT * FROM memory.clean_expired(1);
SELECT * FROM memory.clean_expired(1);
\connect - ret_service
SELECT FROM memory.set_security_context('ret-b', service_name => 'tests', is_local => false);
SELECT user_id, session_id FROM memory.sessions WHERE user_id = 'ann' ORDER BY 1, 2;
SELECT user_id, session_id FROM memory.agent_sessions_archive ORDER BY 1, 2;
SELECT user_id, content->>'n' AS n FROM memory.nodes ORDER BY 1, 2;

-- a superuser needs no context, but has to name whom
\connect - postgres
SELECT memory.cleanup_old_nodes('ann', 1000, 'ret-b');
SELECT memory.cleanup_old_nodes('ann', 1000);

-- the_audit_log_is_kept_for_seven_years, and no longer
ALTER TABLE memory.audit_log DISABLE TRIGGER append_only;
UPDATE memory.audit_log SET changed_at = now() - CASE WHEN id % 2 = 0 THEN interval '7 years 1 day' ELSE '6 years' END
WHERE tenant_id = '00000000-0000-7000-8000-00000000e70a' AND table_name = 'navigation';
ALTER TABLE memory.audit_log ENABLE TRIGGER append_only;
SELECT count(*) AS old, count(*) FILTER (WHERE changed_at < now() - interval '7 years') AS older FROM memory.audit_log WHERE changed_at < now() - interval '1 year' \gset
\connect - ret_operator
SELECT memory.archive_old_audit_logs(3000);
SELECT memory.archive_old_audit_logs(0) = :older AS older_than_seven_years;
SELECT memory.archive_old_audit_logs(0);
SELECT memory.set_retention_policy('audit_log', '1 year', 'ret-b');
SELECT memory.archive_old_audit_logs(0);
SELECT memory.set_retention_policy('audit_log', '1 year', 'ret-a');
SELECT memory.archive_old_audit_logs(3000);
SELECT affected = :old - :older AS rest FROM memory.apply_retention() WHERE data_class = 'audit_log' AND tenant_id = '00000000-0000-7000-8000-00000000e70a';
\connect - ret_auditor
SELECT count(*) FROM memory.audit_log WHERE changed_at < now() - interval '1 year';
SELECT operation, table_name, count(*) AS entries, sum(row_count) = :old AS all_counted FROM memory.audit_log WHERE table_name = 'audit_log' AND operation = 'DELETE' GROUP BY 1, 2;
DELETE FROM memory.audit_log;
\connect - postgres
DELETE FROM memory.audit_log;
TRUNCATE memory.audit_log;

-- a_policy_is_taken_back
\connect - ret_operator
SELECT memory.drop_retention_policy('nodes', 'ret-b');
SELECT memory.drop_retention_policy('nodes', 'ret-b');
SELECT memory.drop_retention_policy(c) FROM unnest('{sessions, events, nodes, navigation, performance_metrics}'::text[]) AS c;
SELECT memory.drop_retention_policy('secrets');
SELECT data_class, tenant_id, affected FROM memory.apply_retention();

\connect - postgres
DO $$
BEGIN
    DELETE FROM memory.retention_policies;
    DELETE FROM memory.legal_holds;
    DELETE FROM memory.sessions WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b'));
    DELETE FROM memory.agent_sessions_archive WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b'));
    DELETE FROM memory.agent_events_archive WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b'));
    DELETE FROM memory.nodes WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b'));
    DELETE FROM memory.navigation WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b'));
    DELETE FROM memory.tenants WHERE slug IN ('ret-a', 'ret-b');
    PERFORM memory.revoke_access(role::regrole) FROM unnest('{ret_service, ret_operator, ret_auditor}'::text[]) AS role;
END
$$;
DROP ROLE ret_service, ret_operator, ret_auditor;
