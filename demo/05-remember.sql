-- 5. REMEMBER: each run of dpkg as a session, each line of its log as an event.
\connect - demo_service
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', service_name => 'log-reader', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;

-- log_events() makes a session that is not there yet; an event that is there already changes nothing.
\timing on
WITH run AS (
    SELECT session, jsonb_agg(jsonb_build_object('event_id', id, 'event_type', type, 'occurred_at', at,
                                                 'payload', payload) ORDER BY id) AS events
    FROM input.event GROUP BY session
)
SELECT count(*) AS sessions, sum(memory.log_events(session, events)) AS events FROM run;
\timing off

-- What is known of a session itself is its metadata, merged key by key.
SELECT count(memory.save_session(session, jsonb_build_object('packages', packages), mode => 'dpkg')) AS described
FROM (SELECT session, count(DISTINCT payload->>'package') AS packages FROM input.event GROUP BY session) AS run;

SELECT max(session) AS last FROM input.event \gset
SELECT event_id, event_type, payload FROM memory.get_events(:'last', max_events => 4);

-- All but the last of them are over.
SELECT count(*) AS ended
FROM (SELECT DISTINCT session FROM input.event) AS run CROSS JOIN LATERAL memory.end_session(session)
WHERE session <> :'last';
SELECT session_id, status, metadata FROM memory.list_sessions(max_sessions => 3);
COMMIT;
