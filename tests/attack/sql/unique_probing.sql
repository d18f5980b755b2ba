-- Nor must a unique key: what another has is free for oneself, and a row in another's name is refused before its key is looked up.
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, there, missing))
FROM (VALUES
    -- in one's own name
    ($$INSERT INTO memory.sessions (tenant_id, user_id, session_id) VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '?')$$,
     'hidden-bob-session', 'nothing'),
    ($$INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
       VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '?', '{}', 'tool_output')$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, entity_system, entity_id)
       VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '{}', 'domain_entity', 'crm', '?')$$, 'hidden-bob', 'nothing'),
    ($$UPDATE memory.sessions SET session_id = '?' WHERE user_id = 'alice' AND NOT EXISTS (SELECT FROM memory.events)$$, 'hidden-bob-session', 'nothing'),
    -- in another's
    ($$INSERT INTO memory.sessions (tenant_id, user_id, session_id) VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '?')$$,
     'secret-bob-session', 'nothing'),
    ($$INSERT INTO memory.preferences (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000b', '?', '{}')$$,
     'bob', 'nobody'),
    ($$INSERT INTO memory.user_metadata (tenant_id, user_id) VALUES ('00000000-0000-7000-8000-00000000000b', '?')$$, 'bob', 'nobody'),
    ($$INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
       VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '?', '{}', 'tool_output')$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$INSERT INTO memory.agent_sessions_archive (tenant_id, user_id, session_id, payload)
       VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '?', '{"_tenant": {}}')$$, 'secret-bob-archived', 'nothing'),
    ($$INSERT INTO memory.agent_events_archive (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
       VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', 'secret-bob-archived', '?', 'log', now(), '{"_tenant": {}}')$$, 'secret-bob-event', 'nothing'),
    ($$UPDATE memory.nodes SET tenant_id = '00000000-0000-7000-8000-00000000000b', user_id = 'bob', node_id = '?' WHERE user_id = 'alice'$$,
     '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$UPDATE memory.preferences SET tenant_id = '00000000-0000-7000-8000-00000000000b', user_id = '?' WHERE user_id = 'alice'$$, 'bob', 'nobody'),
    -- by function
    ($$SELECT memory.archive_event('attack-b', 'bob', 'secret-bob-archived', '?', 'log', now(), '{}')$$, 'secret-bob-event', 'nothing'),
    ($$SELECT memory.save_session('?', tenant => 'attack-b', user_id => 'bob')$$, 'secret-bob-session', 'nothing'),
    ($$SELECT memory.log_event('secret-bob-session', 'log', '{}', '?', tenant => 'attack-b', user_id => 'bob')$$, 'secret-bob-event', 'nothing')
) AS probe (statement, there, missing);
\i input/each_profile.sql
