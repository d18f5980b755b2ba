-- The archive, as a service's and an operator's roles.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-000000000f0a', 'archive-a'), ('00000000-0000-7000-8000-000000000f0b', 'archive-b'),
    ('00000000-0000-7000-8000-000000000f0c', 'archive-c');
CREATE ROLE archive_app LOGIN;
CREATE ROLE archive_service LOGIN IN ROLE archive_app;
CREATE ROLE archive_operator LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('archive_app', 'app');
    PERFORM memory.grant_access('archive_service', 'service', '{archive-a, archive-b}');
    PERFORM memory.grant_access('archive_operator', 'operator');
END
$$;

\connect - archive_service
SELECT FROM memory.set_security_context('archive-a', service_name => 'tests', is_local => false);

-- archive_session_is_an_upsert: the same id, the newer payload, one row, archived_at moved, created_at kept
SELECT memory.archive_session('archive-a', 'u1', 's1', '{"v": 1, "_tenant": "mine"}', '2024-01-01 00:00:00+00') AS id \gset
SELECT id = :'id' AS same_id, payload, started_at = '2024-01-01 00:00:00+00' AS started, last_activity, archived_at = created_at AS new
FROM memory.agent_sessions_archive WHERE session_id = 's1';
SELECT archived_at AS archived, created_at AS created FROM memory.agent_sessions_archive WHERE session_id = 's1' \gset
SELECT memory.archive_session('archive-a', 'u1', 's1', '{"v": 2}', last_activity => '2024-01-02 00:00:00+00') = :'id' AS same_id;
SELECT id = :'id' AS same_id, payload->'v' AS v, started_at = '2024-01-01 00:00:00+00' AS started,
    last_activity = '2024-01-02 00:00:00+00' AS active, archived_at > :'archived' AS moved, created_at = :'created' AS kept
FROM memory.agent_sessions_archive WHERE session_id = 's1';
SELECT archived_at AS archived FROM memory.agent_sessions_archive WHERE session_id = 's1' \gset
SELECT memory.archive_session('archive-a', 'u1', 's1', '{"v": 2}') = :'id' AS same_id;
SELECT count(*), bool_and(archived_at > :'archived') AS moved FROM memory.agent_sessions_archive;

-- the_tenant_is_resolved, and the payload says how
SELECT FROM memory.archive_session('ARCHIVE-A ', 'u1', 's2', '{}');
SELECT FROM memory.archive_session('00000000-0000-7000-8000-000000000F0A', 'u1', 's3', '{}');
SELECT FROM memory.archive_session(NULL, 'u1', 's4', '{}');
SELECT session_id, payload->'_tenant' AS _tenant FROM memory.agent_sessions_archive WHERE session_id > 's1' ORDER BY 1;

-- archive_event_takes_any_type, and writes nothing that is equal
SELECT memory.archive_event('archive-a', 'u1', 's1', 'e1', 'weird type', '2024-01-01 00:00:00+00', '{"v": 1}') AS id \gset
SELECT archived_at AS archived FROM memory.agent_events_archive WHERE session_id = 's1' \gset
SELECT memory.archive_event('archive-a', 'u1', 's1', 'e1', 'weird type', '2024-01-01 00:00:00+00', '{"v": 1}') = :'id' AS same_id;
SELECT archived_at = :'archived' AS unchanged, payload->'_tenant'->>'source' AS source FROM memory.agent_events_archive;
SELECT memory.archive_event('archive-a', 'u1', 's1', 'e1', 'other', '2024-01-01 00:00:00+00', '{"v": 2}') = :'id' AS same_id;
SELECT archived_at > :'archived' AS moved, event_type, payload->'v' AS v FROM memory.agent_events_archive;

-- archive_functions_check_their_arguments
SELECT FROM memory.archive_session('archive-a', NULL, 's', '{}');
SELECT FROM memory.archive_session('archive-a', '', 's', '{}');
SELECT FROM memory.archive_session('archive-a', 'u', NULL, '{}');
SELECT FROM memory.archive_session('archive-a', 'u', '', '{}');
SELECT FROM memory.archive_session('archive-a', 'u', 's', '[]');
SELECT FROM memory.archive_session('archive-a', 'u', 's', NULL);
SELECT FROM memory.archive_event('archive-a', 'u', 's', NULL, 't', now(), '{}');
SELECT FROM memory.archive_event('archive-a', 'u', 's', '', 't', now(), '{}');
SELECT FROM memory.archive_event('archive-a', 'u', 's', 'e', NULL, now(), '{}');
SELECT FROM memory.archive_event('archive-a', 'u', 's', 'e', '', now(), '{}');
SELECT FROM memory.archive_event('archive-a', 'u', 's', 'e', 't', NULL, '{}');
SELECT FROM memory.archive_event('archive-a', 'u', 's', 'e', 't', now(), '{"a": "\u0000"}');

-- an_unknown_tenant_is_refused_and_recorded
SELECT FROM memory.archive_session('archive-nowhere', 'u', 's', '{}');
SELECT FROM memory.archive_session('', 'u', 's', '{}');
SELECT FROM memory.archive_event('archive-nowhere', 'u', 's', 'e', 't', now(), '{}');

-- batches count what they did
SELECT * FROM memory.archive_sessions('[
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b2", "payload": {"v": 1}},
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b1", "payload": {"v": 1}, "started_at": "2024-01-01T00:00:00Z"},
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b2", "payload": {"v": 2}}]');
SELECT * FROM memory.archive_sessions('[
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b2", "payload": {"v": 2}},
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b1", "payload": {"v": 2}},
    {"tenant": "archive-a", "user_id": "u2", "session_id": "b3", "payload": {"v": 2}}]');
SELECT session_id, payload->'v' AS v, started_at IS NOT NULL AS started FROM memory.agent_sessions_archive WHERE user_id = 'u2' ORDER BY 1;
SELECT * FROM memory.archive_events('[
    {"user_id": "u2", "session_id": "b1", "event_id": "2", "event_type": "t", "timestamp": "2024-01-01T00:00:02Z", "payload": {}},
    {"user_id": "u2", "session_id": "b1", "event_id": "1", "event_type": "t", "occurred_at": "2024-01-01T00:00:01Z", "payload": {"old": true}},
    {"user_id": "u2", "session_id": "b1", "event_id": "1", "event_type": "t", "occurred_at": "2024-01-01T00:00:01Z", "payload": {"new": true}}]');
SELECT * FROM memory.archive_events('[
    {"user_id": "u2", "session_id": "b1", "event_id": "2", "event_type": "t", "timestamp": "2024-01-01T00:00:02Z", "payload": {}},
    {"user_id": "u2", "session_id": "b1", "event_id": "1", "event_type": "t2", "occurred_at": "2024-01-01T00:00:01Z", "payload": {"new": true}}]');
SELECT * FROM memory.archive_events('[]');
SELECT event_id, event_type, payload - '_tenant' AS payload FROM memory.agent_events_archive WHERE user_id = 'u2' ORDER BY 1;

-- a_wrong_element_is_named_and_nothing_is_stored
\set VERBOSITY terse
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"user_id": "u3", "session_id": "", "payload": {}}, {"user_id": "u3", "session_id": "y", "payload": {}}]');
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"user_id": "u3", "session_id": "y", "payload": []}]');
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"session_id": "y", "payload": {}}]');
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"user_id": "u3", "session_id": "y"}]');
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"user_id": "u3", "session_id": "y", "payload": {}, "started_at": "never"}]');
SELECT * FROM memory.archive_sessions('[{"user_id": "u3", "session_id": "x", "payload": {}}, {"tenant": "archive-nowhere", "user_id": "u3", "session_id": "y", "payload": {}}]');
SELECT * FROM memory.archive_sessions('{}');
SELECT * FROM memory.archive_sessions(NULL);
SELECT * FROM memory.archive_events('[{"user_id": "u3", "session_id": "x", "event_id": "1", "event_type": "t", "payload": {}}]');
SELECT * FROM memory.archive_events('[{"user_id": "u3", "session_id": "x", "event_type": "t", "timestamp": "2024-01-01", "payload": {}}]');
SELECT * FROM memory.archive_events('[{"user_id": "u3", "session_id": "x", "event_id": "1", "event_type": "", "timestamp": "2024-01-01", "payload": {}}]');
\set VERBOSITY sqlstate
SELECT * FROM memory.archive_events('[{"user_id": "u3", "session_id": "x", "event_id": "1", "event_type": "t", "timestamp": "2024-01-01", "payload": {"a": "\u0000"}}]');
SELECT count(*) FROM memory.agent_sessions_archive WHERE user_id = 'u3';

-- a_batch_may_mix_tenants_that_the_role_serves: the context is the same afterwards
SELECT * FROM memory.archive_sessions('[
    {"tenant": "archive-b", "user_id": "u4", "session_id": "m", "payload": {}},
    {"tenant": "archive-a", "user_id": "u4", "session_id": "m", "payload": {}}]');
SELECT count(*) FROM memory.agent_sessions_archive WHERE user_id = 'u4';
SELECT memory.current_tenant_id(), memory.current_service_name();
SELECT * FROM memory.archive_sessions('[
    {"tenant": "archive-a", "user_id": "u5", "session_id": "m", "payload": {}},
    {"tenant": "archive-c", "user_id": "u5", "session_id": "m", "payload": {}}]');
SELECT FROM memory.archive_session('archive-c', 'u5', 'm', '{}');
SELECT memory.archive_event('archive-b', 'u4', 'm', 'e', 't', now(), '{}') IS NOT NULL AS stored;
BEGIN;
SELECT FROM memory.set_security_context('archive-a', service_name => 'sealed', sealed => true);
SELECT * FROM memory.archive_sessions('[{"tenant": "archive-b", "user_id": "u5", "session_id": "m", "payload": {}}]');
ROLLBACK;
-- … also after an error in that tenant
BEGIN;
SAVEPOINT s;
SELECT * FROM memory.archive_events(jsonb_build_array(jsonb_build_object('tenant', 'archive-b', 'user_id', repeat('x', 9000) || gen_random_uuid(),
    'session_id', (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 300)), 'event_id', 'e', 'event_type', 't',
    'timestamp', '2024-01-01', 'payload', '{}'::jsonb)));
ROLLBACK TO s;
SELECT memory.current_tenant_id(), memory.current_service_name();
COMMIT;
SELECT memory.current_tenant_id(), memory.current_service_name();
SELECT count(*) FROM memory.agent_sessions_archive WHERE user_id = 'u5';

-- only_a_service_context_reads_or_writes
SELECT FROM memory.set_security_context('archive-a', 'u1', is_local => false);
SELECT count(*) FROM memory.agent_sessions_archive;
SELECT count(*) FROM memory.agent_events_archive;
SELECT FROM memory.archive_session('archive-a', 'u1', 's9', '{}');
SELECT * FROM memory.archive_events('[]');
SELECT FROM memory.replay_session('s1');
SELECT FROM memory.archive_session('archive-nowhere', 'u1', 's9', '{}');
SET ROLE archive_app;
SELECT count(*) FROM memory.agent_sessions_archive;
SELECT FROM memory.replay_session('s1');
SELECT FROM memory.run_archival();
RESET ROLE;
SELECT FROM memory.clear_security_context();
SELECT count(*) FROM memory.agent_sessions_archive;
SELECT FROM memory.archive_session('archive-a', 'u1', 's9', '{}');
SELECT FROM memory.replay_session('s1', 'archive-a', 'u1');
INSERT INTO memory.agent_sessions_archive (tenant_id, user_id, session_id, payload)
VALUES ('00000000-0000-7000-8000-000000000f0a', 'u1', 's9', '{"_tenant": {}}');

-- a_superuser_without_a_context_archives_for_any_tenant
\connect - postgres
SELECT * FROM memory.archive_sessions('[
    {"tenant": "archive-b", "user_id": "u6", "session_id": "m", "payload": {}},
    {"tenant": "archive-c", "user_id": "u6", "session_id": "m", "payload": {}}]');
SELECT FROM memory.archive_session(NULL, 'u6', 'm', '{}');
SELECT kind, count(*) FROM memory.security_violations WHERE login_role = 'archive_service' GROUP BY 1 ORDER BY 1;
SELECT tenant_id, table_name, operation, actor_tenant_id, sum(row_count) FROM memory.audit_log
WHERE user_id = 'u4' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;

DO $$
BEGIN
    PERFORM memory.revoke_access(r) FROM unnest('{archive_app, archive_service, archive_operator}'::regrole[]) AS r;
END
$$;
DROP ROLE archive_app, archive_service, archive_operator;
