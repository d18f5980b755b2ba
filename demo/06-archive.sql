-- 6. ARCHIVE: what is over moves out of the hot tables, each event exactly once.
\connect - demo_operator
SELECT sessions, events, more FROM memory.run_archival();

-- A second run finds nothing to do.
SELECT sessions, events, more FROM memory.run_archival();

-- Archived is not forgotten. The longest of these sessions, and an event that is logged into it late:
\connect - demo_service
SELECT session FROM input.event GROUP BY session ORDER BY count(*) DESC, session LIMIT 1 \gset
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT memory.log_event(:'session', 'decision', '{"do": "remember"}', event_id => 'note');
COMMIT;

-- A service replays it, archived and hot events as one stream.
BEGIN;
SELECT memory.set_security_context('this-machine', service_name => 'replayer', sealed => true) \g /dev/null
SELECT seq, occurred_at::timestamp(0) AS at, event_type, payload->>'do' AS "do", payload->>'package' AS package, archived
FROM memory.replay_session(:'session', user_id => 'admin')
WHERE seq <= 4 OR event_id = 'note';

INSERT INTO input.claim
SELECT 'the replay tells all that was logged', (SELECT count(*) FROM memory.replay_session(:'session', user_id => 'admin')),
       count(*) + 1
FROM input.event WHERE session = :'session'
UNION ALL
SELECT 'every event is hot or archived, never both',
       (SELECT count(*) FROM (SELECT session_id, event_id FROM memory.events
                              UNION ALL SELECT session_id, event_id FROM memory.agent_events_archive) AS e), count(*) + 1
FROM input.event
RETURNING *;
COMMIT;
