-- Nothing that the extension does is told by NOTIFY; who listens hears nothing.
\c - attack_service
LISTEN memory;
LISTEN memory_ext;
LISTEN audit;
LISTEN nodes;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'attacker');
SELECT FROM memory.save_session('told', tenant => 'attack-a', user_id => 'bob');
SELECT memory.log_event('told', 'log', '{}', 'told', user_id => 'bob');
SELECT FROM memory.archive_session('attack-a', 'bob', 'told', '{}');
DELETE FROM memory.sessions WHERE session_id = 'told';
DELETE FROM memory.agent_sessions_archive WHERE session_id = 'told';
-- all that a transaction has to tell is queued at its COMMIT: what others may hear
COMMIT;
SELECT pg_notification_queue_usage();
UNLISTEN *;
\c - postgres
-- in no code of the extension's
SELECT proname FROM pg_proc WHERE pronamespace = 'memory'::regnamespace AND (prosrc ~* 'notify' OR prosqlbody::text ~* 'pg_notify');
SELECT rulename FROM pg_rules WHERE schemaname = 'memory';
SELECT attack('SELECT pg_notify(''memory'', (SELECT string_agg(summary, '''') FROM memory.nodes))'), attack('SELECT pg_listening_channels()');
\i input/each_profile.sql
