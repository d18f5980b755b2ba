-- 6. ARCHIVE: what is over moves out of the hot tables, each event exactly once.
\connect - demo_operator
SELECT sessions, events, more FROM memory.run_archival();

-- A second run finds nothing to do.
SELECT sessions, events, more FROM memory.run_archival();

-- Archived is not forgotten: a service replays a session from both.
\connect - demo_service
BEGIN;
SELECT memory.set_security_context('this-machine', service_name => 'replayer', sealed => true) \g /dev/null
SELECT session FROM input.event GROUP BY session ORDER BY count(*) DESC LIMIT 1 \gset
SELECT seq, event_type, payload->>'do' AS "do", payload->>'package' AS package, archived
FROM memory.replay_session(:'session', user_id => 'admin') LIMIT 6;

INSERT INTO input.claim
SELECT 'the replay tells all that was logged', (SELECT count(*) FROM memory.replay_session(:'session', user_id => 'admin')), count(*)
FROM input.event WHERE session = :'session'
UNION ALL
SELECT 'every event is hot or archived, never both',
       (SELECT count(*) FROM (SELECT session_id, event_id FROM memory.events
                              UNION ALL SELECT session_id, event_id FROM memory.agent_events_archive) AS e), count(*)
FROM input.event
RETURNING *;
COMMIT;
