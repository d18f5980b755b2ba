-- Hot memory, as a back end's roles: sessions, events, preferences, navigation.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-000000000e0a', 'session-a'), ('00000000-0000-7000-8000-000000000e0b', 'session-b');
CREATE ROLE session_app LOGIN;
CREATE ROLE session_service LOGIN IN ROLE session_app;
CREATE ROLE session_operator LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('session_app', 'app');
    PERFORM memory.grant_access('session_service', 'service', '{session-a}');
    PERFORM memory.grant_access('session_operator', 'operator');
END
$$;

\connect - session_service
SELECT FROM memory.set_security_context('session-a', 'alice', is_local => false);
SET ROLE session_app;

-- arguments_are_checked_although_there_is_nothing
SELECT FROM memory.get_session(NULL);
SELECT FROM memory.get_events('');
SELECT FROM memory.list_sessions('gone');
SELECT FROM memory.end_session(NULL);
SELECT FROM memory.get_navigation(0);
-- save_session_creates_then_merges
SELECT session_id, user_id, mode, status, parent_session_id, metadata, expires_at, ended_at, started_at = last_activity AS new
FROM memory.save_session('s1', '{"a": {"x": 1}, "b": 1}');
SELECT mode, metadata, last_activity > started_at AS moved, expires_at - last_activity AS ttl
FROM memory.save_session('s1', '{"a": {"y": 2}, "c": 3}', parent_session_id => 's0', ttl => '1 hour');
-- mode_stays_unless_another_is_named, a parent and an expiry that are known stay
SELECT mode FROM memory.save_session('s1', mode => 'expert');
SELECT mode, parent_session_id, expires_at > now() + '59 minutes' AS expires
FROM memory.save_session('s1', parent_session_id => 'other');
SELECT session_id, metadata FROM memory.get_session('s1');
SELECT count(*) FROM memory.get_session('unknown');

-- save_session_checks_its_arguments
SELECT FROM memory.save_session(NULL);
SELECT FROM memory.save_session('');
SELECT FROM memory.save_session('s1', '[]');
SELECT FROM memory.save_session('s1', '1');
SELECT FROM memory.save_session('s1', NULL);
SELECT FROM memory.save_session('s1', ttl => '-1 second');
SELECT FROM memory.save_session('s1', mode => NULL);
SELECT FROM memory.save_session('s1', tenant => 'nowhere');
SELECT FROM memory.save_session('s1', tenant => 'session-b');
SELECT FROM memory.save_session('s1', user_id => 'bob');

-- log_event_gives_its_id, its own or a UUIDv7
SELECT memory.log_event('s1', 'message_user', '{"text": "hi"}', 'e1', '2024-01-02 03:04:05+00');
SELECT memory.log_event('s1', 'log', '{}', occurred_at => '2024-01-01 00:00:00+00') ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7' AS uuid_v7;
-- log_event_again_changes_nothing
SELECT memory.log_event('s1', 'log', '{"text": "other"}', 'e1');
SELECT row_number() OVER () AS n, event_type, payload, occurred_at AT TIME ZONE 'UTC' AS occurred_at FROM memory.get_events('s1');
-- log_event_creates_a_missing_session
SELECT memory.log_event('s2', 'log', '{}', 'e1');
SELECT mode, status, metadata FROM memory.get_session('s2');
SELECT occurred_at BETWEEN now() - interval '1 minute' AND now() AS now FROM memory.get_events('s2');

-- log_event_checks_its_arguments
SELECT memory.log_event(NULL, 'log', '{}');
SELECT memory.log_event('', 'log', '{}');
SELECT memory.log_event('s3', NULL, '{}');
SELECT memory.log_event('s3', '', '{}');
SELECT memory.log_event('s3', 'loog', '{}');
SELECT memory.log_event('s3', 'log', '[]');
SELECT memory.log_event('s3', 'log', NULL);
SELECT memory.log_event('s3', 'log', '{}', '');
SELECT memory.log_event('s3', 'log', '{}', tenant => 'session-b');
SELECT memory.log_event('s3', 'log', '{}', tenant => 'nowhere');
SELECT memory.log_event('s3', 'log', '{}', user_id => 'bob');
SELECT memory.log_event('s3', 'log', '{"text": "\u0000"}');
SELECT count(*) FROM memory.get_session('s3');
\set VERBOSITY terse
SELECT memory.log_event('s3', 'loog', '{}');
\set VERBOSITY sqlstate

-- log_events_stores_a_batch_in_order: of duplicates the first counts, what is there already does not
SELECT memory.log_events('s3', '[
    {"event_type": "log", "payload": {"n": 1}},
    {"event_type": "action", "payload": {"n": 2}, "event_id": "b", "occurred_at": "2024-05-01T00:00:00Z"},
    {"event_type": "action", "payload": {"n": 3}, "event_id": "a", "occurred_at": "2024-05-01T00:00:00Z"},
    {"event_type": "log", "payload": {"n": 4}, "event_id": "a"},
    {"event_type": "log", "payload": {"n": 5}, "event_id": null, "occurred_at": null}]');
SELECT payload->'n' AS n, event_type FROM memory.get_events('s3');
SELECT memory.log_events('s3', '[{"event_type": "log", "payload": {}, "event_id": "a"}, {"event_type": "log", "payload": {}, "event_id": "c"}]');
SELECT memory.log_events('s3', '[]');

-- log_events_names_the_wrong_element, and stores nothing
\set VERBOSITY terse
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}}, {"event_type": "log", "payload": 1}, {"event_type": "log", "payload": {}}]');
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}}, {"event_type": "lgo", "payload": {}}]');
SELECT memory.log_events('s4', '[{"event_type": "log"}]');
SELECT memory.log_events('s4', '[{"payload": {}}]');
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}, "event_id": ""}]');
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}, "event_id": 7}]');
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}, "occurred_at": "yesteryear"}]');
SELECT memory.log_events('s4', '[{"event_type": "log", "payload": {}}, 2]');
SELECT memory.log_events('s4', '{}');
SELECT memory.log_events('s4', NULL);
\set VERBOSITY sqlstate
SELECT count(*) FROM memory.get_session('s4');

-- get_events_gives_the_oldest_from_since_on: since is inclusive, types are any of
SELECT event_id FROM memory.get_events('s3', since => '2024-05-01T00:00:00Z', max_events => 2);
SELECT payload->'n' AS n FROM memory.get_events('s3', event_types => '{action, decision}');
SELECT payload->'n' AS n FROM memory.get_events('s3', since => '2024-05-01T00:00:01Z', event_types => '{action}');
SELECT count(*) FROM memory.get_events('s3', event_types => '{}');
SELECT FROM memory.get_events('s3', max_events => 0);
SELECT FROM memory.get_events('s3', max_events => NULL);
SELECT FROM memory.get_events('');
SELECT FROM memory.get_events(NULL);

-- end_session_ends_once; logging_or_saving_revives_it, but a retry does not
SELECT FROM memory.end_session('s2');
SELECT status, ended_at IS NOT NULL AS ended, ended_at AS before FROM memory.get_session('s2') \gset
SELECT FROM memory.end_session('s2');
SELECT status, ended_at = :'before' AS same FROM memory.get_session('s2');
SELECT memory.log_event('s2', 'log', '{}', 'e1');
SELECT memory.log_events('s2', '[{"event_type": "log", "payload": {}, "event_id": "e1"}]');
SELECT status FROM memory.get_session('s2');
SELECT memory.log_event('s2', 'log', '{}', 'e2');
SELECT status, ended_at FROM memory.get_session('s2');
SELECT FROM memory.end_session('s2');
SELECT status, ended_at FROM memory.save_session('s2');
SELECT FROM memory.end_session('unknown');
SELECT FROM memory.end_session('');
SELECT FROM memory.end_session(NULL);

-- expired_sessions_are_invisible_at_once; saving_or_logging_revives_them
SELECT session_id FROM memory.save_session('short', '{"kept": true}', ttl => '0');
SELECT count(*) FROM memory.get_session('short');
SELECT count(*) FROM memory.list_sessions() WHERE session_id = 'short';
SELECT FROM memory.end_session('short');
SELECT memory.log_event('short', 'log', '{}', 'e1');
SELECT metadata, expires_at FROM memory.get_session('short');
SELECT session_id FROM memory.save_session('short', ttl => '0');
SELECT count(*) FROM memory.get_events('short');
-- … a retry does not
SELECT memory.log_event('short', 'log', '{}', 'e1');
SELECT count(*) FROM memory.get_session('short');
SELECT expires_at FROM memory.save_session('short');
SELECT event_id FROM memory.get_events('short');
-- … inside one transaction too
BEGIN;
SELECT session_id FROM memory.save_session('soon', ttl => '50 milliseconds');
SELECT count(*) FROM memory.get_session('soon');
SELECT FROM pg_sleep(0.06);
SELECT count(*) FROM memory.get_session('soon');
COMMIT;

-- list_sessions_gives_the_latest_activity_first
SELECT session_id, status FROM memory.list_sessions();
SELECT FROM memory.end_session('s1');
SELECT session_id FROM memory.list_sessions('ended');
SELECT session_id FROM memory.list_sessions('active', 1);
SELECT FROM memory.list_sessions('gone');
SELECT FROM memory.list_sessions(max_sessions => 0);

-- log_event_moves_last_activity_once_a_minute
UPDATE memory.sessions SET last_activity = now() - interval '50 seconds' WHERE session_id = 's2';
SELECT memory.log_event('s2', 'log', '{}', 'e3');
SELECT last_activity < now() - interval '49 seconds' AS left_alone FROM memory.get_session('s2');
UPDATE memory.sessions SET last_activity = now() - interval '70 seconds' WHERE session_id = 's2';
SELECT memory.log_event('s2', 'log', '{}', 'e4');
SELECT last_activity > now() - interval '10 seconds' AS moved FROM memory.get_session('s2');

-- preferences_are_merged_by_top_level_key
SELECT memory.get_preferences();
SELECT memory.set_preferences('{"theme": {"name": "dark", "size": 2}, "lang": "en"}');
SELECT memory.set_preferences('{"theme": {"name": "light"}}');
SELECT memory.get_preferences();
SELECT memory.set_preferences('"dark"');
SELECT memory.set_preferences(NULL);

-- navigation_keeps_the_newest
SELECT count(*) FROM generate_series(1, 103) AS i, memory.record_navigation('/p/' || i);
SELECT count(*), count(DISTINCT user_id) FROM memory.navigation;
SELECT path, visited_at <= clock_timestamp() AS past FROM memory.get_navigation(2);
SELECT path FROM memory.get_navigation() OFFSET 98;
SELECT FROM memory.get_navigation(0);
SELECT FROM memory.record_navigation('');
SELECT FROM memory.record_navigation(NULL);

-- a_bare_insert_by_app_goes_through_the_same_rules
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
VALUES (memory.current_tenant_id(), 'alice', 's1', 'own', 'log', '{}');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
VALUES (memory.current_tenant_id(), 'alice', 'no session', 'own', 'log', '{}');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
VALUES (memory.current_tenant_id(), 'bob', 's1', 'own', 'log', '{}');
INSERT INTO memory.sessions (tenant_id, user_id, session_id) VALUES (memory.current_tenant_id(), 'bob', 's1');

-- users_do_not_see_each_other
RESET ROLE;
SELECT FROM memory.set_security_context('session-a', 'bob', is_local => false);
SET ROLE session_app;
SELECT count(*) FROM memory.sessions;
SELECT count(*) FROM memory.get_session('s1');
SELECT count(*) FROM memory.get_events('s1');
SELECT FROM memory.end_session('s1');
SELECT memory.get_preferences();
SELECT count(*) FROM memory.get_navigation();
SELECT memory.log_event('s1', 'log', '{"by": "bob"}', 'e1');
SELECT event_id, payload FROM memory.get_events('s1');

-- a_service_context_covers_the_tenant, and needs a user where one is
RESET ROLE;
SELECT FROM memory.set_security_context('session-a', service_name => 'tests', is_local => false);
SELECT user_id, count(*) FROM memory.get_events('s1') GROUP BY user_id ORDER BY user_id;
SELECT user_id, session_id FROM memory.list_sessions() LIMIT 1;
SELECT user_id FROM memory.list_sessions(user_id => 'alice') LIMIT 1;
SELECT FROM memory.get_session('s1');
SELECT user_id FROM memory.get_session('s1', user_id => 'bob');
SELECT memory.log_event('s1', 'log', '{}');
SELECT FROM memory.save_session('s1');
SELECT memory.get_preferences();
SELECT memory.set_preferences('{}');
SELECT FROM memory.record_navigation('/');
SELECT FROM memory.get_navigation();
SELECT memory.get_preferences(user_id => 'alice');
SELECT memory.log_event('s1', 'log', '{}', 'by-service', user_id => 'bob');

-- no_context_no_rows
SELECT FROM memory.clear_security_context();
SELECT count(*) FROM memory.sessions;
SELECT FROM memory.get_session('s1', 'session-a', 'alice');
SELECT memory.log_event('s1', 'log', '{}', tenant => 'session-a', user_id => 'alice');
SELECT memory.log_event('s1', 'log', '{}', tenant => 'nowhere', user_id => 'alice');

-- an_operator_sees_none_of_it
\connect - session_operator
SELECT FROM memory.sessions;
SELECT FROM memory.events;
SELECT memory.log_event('s1', 'log', '{}');

-- a_superuser_without_a_context_names_both
\connect - postgres
SELECT event_id FROM memory.get_events('s1', tenant => 'session-a', user_id => 'bob');
SELECT memory.log_event('s1', 'log', '{}', 'by-superuser', tenant => 'session-a', user_id => 'bob');
SELECT memory.log_event('s1', 'log', '{}', tenant => 'session-a');

-- every_change_is_audited
SELECT table_name, operation, count(*), sum(row_count) FROM memory.audit_log
WHERE tenant_id = '00000000-0000-7000-8000-000000000e0a' AND user_id = 'bob' GROUP BY 1, 2 ORDER BY 1, 2;

-- payload_size_is_bound
SET memory.max_payload_size = '1kB';
SELECT memory.log_event('s1', 'log', jsonb_build_object('t', repeat('x', 1024)), tenant => 'session-a', user_id => 'bob');
SELECT memory.log_events('s1', jsonb_build_array(jsonb_build_object('event_type', 'log', 'payload',
    jsonb_build_object('t', repeat('x', 1024)))), tenant => 'session-a', user_id => 'bob');
RESET memory.max_payload_size;

DO $$
BEGIN
    PERFORM memory.revoke_access(r) FROM unnest('{session_app, session_service, session_operator}'::regrole[]) AS r;
END
$$;
DROP ROLE session_app, session_service, session_operator;
