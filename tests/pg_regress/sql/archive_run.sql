-- run_archival and replay_session: from hot to archive, each event once, one stream.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
-- What other tests left hot goes first.
SELECT more FROM memory.run_archival('0', 100000);
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-000000001f0a', 'run-a'), ('00000000-0000-7000-8000-000000001f0b', 'run-b');
CREATE ROLE run_service LOGIN;
CREATE ROLE run_operator LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('run_service', 'service');
    PERFORM memory.grant_access('run_operator', 'operator');
END
$$;

\connect - run_service
SELECT FROM memory.set_security_context('run-a', 'u1', is_local => false);
SELECT FROM memory.save_session('ended', '{"topic": "x", "kept": 1}', 'expert', 'parent', '1 hour');
SELECT memory.log_events('ended', '[
    {"event_type": "log", "payload": {"n": 1}, "event_id": "b", "occurred_at": "2024-01-01T00:00:00Z"},
    {"event_type": "log", "payload": {"n": 2, "_tenant": "mine"}, "event_id": "a", "occurred_at": "2024-01-01T00:00:00Z"},
    {"event_type": "log", "payload": {"n": 0}, "event_id": "z", "occurred_at": "2023-01-01T00:00:00Z"}]');
SELECT FROM memory.end_session('ended');
SELECT FROM memory.save_session('expired', ttl => '0');
SELECT FROM memory.save_session('active');
SELECT memory.log_event('active', 'log', '{}', 'old', now() - interval '1 day');
SELECT FROM memory.save_session('idle');
SELECT memory.log_event('busy', 'log', '{}', 'e');
-- idle: nothing for an hour; busy: an event just now, although last_activity is an hour old, as a bare INSERT leaves it
UPDATE memory.sessions SET last_activity = now() - interval '1 hour' WHERE session_id IN ('idle', 'busy');
SELECT FROM memory.set_security_context('run-b', 'u1', is_local => false);
SELECT memory.log_event('ended', 'log', '{"in": "b"}', 'a');
SELECT FROM memory.end_session('ended');

\connect - run_operator
SELECT sessions, events, more, duration_ms > 0 AS took FROM memory.run_archival();
SELECT sessions, events, more FROM memory.run_archival();
SELECT FROM memory.run_archival(batch_size => 0);
SELECT FROM memory.run_archival(batch_size => NULL);
SELECT FROM memory.run_archival('-1 second');
SELECT FROM memory.run_archival(NULL);
SELECT FROM memory.agent_sessions_archive;

\connect - run_service
SELECT FROM memory.set_security_context('run-a', service_name => 'tests', is_local => false);
SELECT session_id FROM memory.sessions ORDER BY 1;
SELECT session_id, event_id FROM memory.events ORDER BY 1;
SELECT session_id, payload - '{ended_at, expires_at}'::text[] AS payload, payload->'expires_at' <> 'null' AS expires,
    payload->'ended_at' <> 'null' AS ended, archived_at = created_at AS new, started_at <= last_activity AS times
FROM memory.agent_sessions_archive ORDER BY 1;
SELECT event_id, event_type, occurred_at AT TIME ZONE 'UTC' AS occurred_at, payload FROM memory.agent_events_archive ORDER BY 1;

-- an_archived_session_is_gone_from_hot_memory
SELECT count(*) FROM memory.get_session('ended', user_id => 'u1');
SELECT count(*) FROM memory.get_events('ended', user_id => 'u1');

-- a_retry_of_an_archived_event_changes_nothing, and brings nothing back
SELECT memory.log_event('ended', 'log', '{"n": 9}', 'a', user_id => 'u1');
SELECT memory.log_events('ended', '[{"event_type": "log", "payload": {}, "event_id": "a"}, {"event_type": "log", "payload": {}, "event_id": "b"}]', user_id => 'u1');
SELECT count(*) FROM memory.get_session('ended', user_id => 'u1');

-- a_session_written_to_again_comes_back_hot: one stream, archived first
SELECT memory.log_events('ended', '[{"event_type": "log", "payload": {"n": 3}, "event_id": "c", "occurred_at": "2024-01-01T00:00:01Z"},
    {"event_type": "log", "payload": {"n": 9}, "event_id": "a"}]', user_id => 'u1');
SELECT session_id, metadata FROM memory.save_session('ended', '{"topic": "y"}', user_id => 'u1');
SELECT seq, event_id, payload - '_tenant' AS payload, archived FROM memory.replay_session('ended', user_id => 'u1');
SELECT seq, event_id FROM memory.replay_session('ended', 'run-a', 'nobody');
SELECT count(*) FROM memory.replay_session('ended');
SELECT FROM memory.replay_session(NULL);
SELECT FROM memory.replay_session('');
SELECT FROM memory.replay_session('ended', 'run-b', 'u1');
SELECT FROM memory.replay_session('ended', 'nowhere', 'u1');

-- … and is archived again into the same row; what was known of it stays known
SELECT id, archived_at AS archived, created_at AS created FROM memory.agent_sessions_archive WHERE session_id = 'ended' \gset
SELECT FROM memory.end_session('ended', user_id => 'u1');
-- the same event by the service itself, before: it stays as it is there
SELECT memory.archive_event('run-a', 'u1', 'ended', 'c', 'log', '2024-01-01 00:00:01+00', '{"n": "by service"}') IS NOT NULL AS stored;
SELECT seq, event_id, payload - '_tenant' AS payload, archived FROM memory.replay_session('ended', user_id => 'u1') WHERE event_id = 'c';
\connect - run_operator
SELECT sessions, events, more FROM memory.run_archival();
\connect - run_service
SELECT FROM memory.set_security_context('run-a', service_name => 'tests', is_local => false);
SELECT id = :'id' AS same_id, archived_at > :'archived' AS moved, created_at = :'created' AS kept, payload->'metadata' AS metadata
FROM memory.agent_sessions_archive WHERE session_id = 'ended';
SELECT seq, event_id, payload - '_tenant' AS payload, archived FROM memory.replay_session('ended', user_id => 'u1');
SELECT count(*) FROM memory.agent_events_archive WHERE session_id = 'ended';

-- a_batch_is_bounded, and more says whether to go on
SELECT count(*) FROM generate_series(1, 5) AS i, memory.log_event('many-' || i, 'log', '{}', user_id => 'u2'),
    memory.end_session('many-' || i, user_id => 'u2');
\connect - run_operator
SELECT sessions, events, more FROM memory.run_archival(batch_size => 2);
SELECT sessions, events, more FROM memory.run_archival(batch_size => 2);
SELECT sessions, events, more FROM memory.run_archival(batch_size => 1);
-- idle_for_zero_takes_all
SELECT sessions, events, more FROM memory.run_archival('0');

-- archival_is_audited_by_count_without_images
\connect - postgres
SELECT table_name, operation, row_count, user_id, row_key, changes, actor_role FROM memory.audit_log
WHERE tenant_id = '00000000-0000-7000-8000-000000001f0b' AND actor_role = 'run_operator' ORDER BY id;

-- a_tenant_that_is_gone_is_no_obstacle
SELECT memory.log_event('orphan', 'log', '{}', tenant => 'run-b', user_id => 'u') IS NOT NULL AS logged;
DELETE FROM memory.tenants WHERE slug = 'run-b';
SELECT sessions, events, more FROM memory.run_archival('0');
SELECT payload->'_tenant' AS _tenant FROM memory.agent_events_archive WHERE session_id = 'orphan';

-- an_error_in_the_archive_ends_the_call_and_not_the_session
SELECT memory.log_event('stuck', 'log', '{}', tenant => 'run-a', user_id => 'u') IS NOT NULL AS logged;
CREATE FUNCTION run_stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'stop'; END $$;
CREATE TRIGGER run_stop BEFORE INSERT ON memory.agent_events_archive FOR EACH STATEMENT EXECUTE FUNCTION run_stop();
SELECT sessions, events, more FROM memory.run_archival('0');
DROP TRIGGER run_stop ON memory.agent_events_archive;
DROP FUNCTION run_stop;
SELECT sessions, events, more FROM memory.run_archival('0');

-- read_only_functions_work_in_a_read_only_transaction
BEGIN READ ONLY;
SELECT count(*) FROM memory.replay_session('ended', 'run-a', 'u1');
SELECT count(*) FROM memory.get_events('ended', tenant => 'run-a', user_id => 'u1');
SELECT count(*) FROM memory.list_sessions(tenant => 'run-a', user_id => 'u1');
SELECT memory.get_preferences('run-a', 'u1');
SELECT count(*) FROM memory.get_navigation(tenant => 'run-a', user_id => 'u1');
COMMIT;

DO $$
BEGIN
    PERFORM memory.revoke_access(r) FROM unnest('{run_service, run_operator}'::regrole[]) AS r;
END
$$;
DROP ROLE run_service, run_operator;
