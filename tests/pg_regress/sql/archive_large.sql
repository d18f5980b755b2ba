-- Batches of 100,000, payloads of 10 MB, a wrong element in the middle of them.
\set VERBOSITY terse
SET client_min_messages = warning;
INSERT INTO memory.tenants (slug) VALUES ('large-a');

CREATE FUNCTION pg_temp.events(wrong integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('tenant', 'large-a', 'user_id', 'u' || i % 7, 'session_id', 's' || i % 100,
        'event_id', 'e' || i, 'event_type', 'log', 'timestamp', '2024-01-01T00:00:00Z',
        'payload', CASE WHEN i = wrong THEN '1' ELSE jsonb_build_object('i', i) END) ORDER BY i)
    FROM generate_series(1, 100000) AS i
$$;
SELECT * FROM memory.archive_events(pg_temp.events(50000));
SELECT count(*) FROM memory.agent_events_archive WHERE payload->'_tenant'->>'slug' = 'large-a';
CREATE TEMP TABLE batch AS SELECT pg_temp.events(0) AS events;
SELECT a.* FROM batch, memory.archive_events(events) AS a;
SELECT a.* FROM batch, memory.archive_events(events) AS a;
SELECT count(*), sum((payload->>'i')::int) FROM memory.agent_events_archive WHERE payload->'_tenant'->>'slug' = 'large-a';

-- log_events takes as many
CREATE FUNCTION pg_temp.hot(wrong integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('event_type', CASE WHEN i = wrong THEN 'lo' ELSE 'log' END, 'event_id', 'e' || i,
        'payload', jsonb_build_object('i', i)) ORDER BY i)
    FROM generate_series(1, 100000) AS i
$$;
SELECT memory.log_events('hot', pg_temp.hot(50000), 'large-a', 'u');
SELECT memory.log_events('hot', pg_temp.hot(0), 'large-a', 'u');
SELECT FROM memory.end_session('hot', 'large-a', 'u');
SELECT sessions, events FROM memory.run_archival();
SELECT memory.log_events('hot', pg_temp.hot(0), 'large-a', 'u');
SELECT count(*), max(seq) FROM memory.replay_session('hot', 'large-a', 'u');

-- a payload of 10 MB comes back as it was, hot and archived
CREATE TEMP TABLE big AS SELECT jsonb_build_object('text', string_agg(md5(i::text), '')) AS payload FROM generate_series(1, 320000) AS i;
SELECT length(payload->>'text') > 10000000 AS is_big FROM big;
SELECT memory.log_event('big', 'log', payload, 'e1', tenant => 'large-a', user_id => 'u') FROM big;
SELECT memory.log_events('big', jsonb_build_array(jsonb_build_object('event_type', 'log', 'event_id', 'e2', 'payload', payload)), 'large-a', 'u') FROM big;
SELECT count(*) FROM memory.get_events('big', tenant => 'large-a', user_id => 'u') AS e, big WHERE e.payload = big.payload;
SELECT FROM memory.end_session('big', 'large-a', 'u');
SELECT sessions, events FROM memory.run_archival();
SELECT * FROM memory.archive_events((SELECT jsonb_build_array(jsonb_build_object('tenant', 'large-a', 'user_id', 'u', 'session_id', 'big',
    'event_id', 'e3', 'event_type', 'log', 'timestamp', '2024-01-01', 'payload', payload)) FROM big));
SELECT count(*) FROM memory.replay_session('big', 'large-a', 'u') AS e, big WHERE e.payload - '_tenant' = big.payload;

-- a long batch can be cancelled
SET statement_timeout = '60ms';
SELECT memory.archive_events(events) FROM batch;
RESET statement_timeout;
