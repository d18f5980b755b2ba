-- What one user wrote, by whatever way, stops nobody else's archival, and the operator who runs it is not told of it.
CREATE ROLE attack_archivist LOGIN;
SELECT FROM memory.grant_access('attack_archivist', 'operator');
-- stands for what the archive refuses and hot memory does not, as a row that is too large with the tenant's stamp
ALTER TABLE memory.agent_events_archive ADD CONSTRAINT attack_refused CHECK (event_id <> 'poison');
\c - attack_service
-- an event that the archive would not take for its type
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'mallory');
SELECT FROM memory.save_session('stop-m');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type)
VALUES (memory.current_tenant_id(), 'mallory', 'stop-m', 'e', '');
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'mallory');
SELECT FROM memory.log_event('stop-m', 'log', '{"secret": "of mallory"}', 'e');
SELECT FROM memory.log_event('stop-m', 'log', '{"secret": "of mallory"}', 'poison');
SELECT FROM memory.end_session('stop-m');
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT FROM memory.log_event('stop-a', 'log', '{}', 'e');
SELECT FROM memory.end_session('stop-a');
COMMIT;
\c - attack_archivist
SELECT sessions, events, more FROM memory.run_archival();
-- again, though nothing else is there to move
SELECT sessions, events, more FROM memory.run_archival(batch_size => 1);
\c - postgres
-- nothing of the refused session has moved; what has moved is logged as always
SELECT s.session_id, e.event_id FROM memory.sessions s JOIN memory.events e USING (tenant_id, user_id, session_id) WHERE s.session_id LIKE 'stop-%' ORDER BY 2;
SELECT session_id, event_id FROM memory.agent_events_archive WHERE session_id IN ('stop-m', 'stop-a') ORDER BY 1, 2;
SELECT table_name, operation, row_count FROM memory.audit_log WHERE actor_role = 'attack_archivist' ORDER BY id;
-- it goes as soon as it is not refused any more
ALTER TABLE memory.agent_events_archive DROP CONSTRAINT attack_refused;
SELECT sessions, events, more FROM memory.run_archival();
DELETE FROM memory.agent_sessions_archive WHERE session_id IN ('stop-m', 'stop-a');
DELETE FROM memory.agent_events_archive WHERE session_id IN ('stop-m', 'stop-a');
SELECT FROM memory.revoke_access('attack_archivist');
DROP ROLE attack_archivist;
