-- Messages, details and hints: of another's rows they say what they say of none.
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, there, missing))
FROM (VALUES
    ($$SELECT memory.end_session('?')$$, 'hidden-bob-session', 'nothing'),
    ($$SELECT * FROM memory.get_session('?')$$, 'hidden-bob-session', 'nothing'),
    ($$SELECT * FROM memory.get_session('?', tenant => 'attack-b', user_id => 'bob')$$, 'secret-bob-session', 'nothing'),
    ($$SELECT * FROM memory.get_events('?', tenant => 'attack-b')$$, 'secret-bob-session', 'nothing'),
    ($$SELECT * FROM memory.replay_session('?', 'attack-b', 'bob')$$, 'secret-bob-archived', 'nothing'),
    ($$SELECT * FROM memory.get_preferences(tenant => 'attack-b', user_id => '?')$$, 'bob', 'nobody'),
    ($$SELECT * FROM memory.list_nodes(tenant => 'attack-b', user_id => '?')$$, 'bob', 'nobody'),
    ($$SELECT memory.end_node('?')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.end_node('?', tenant => 'attack-b', user_id => 'bob')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.end_relationship('?')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT * FROM memory.traverse('{?}')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT * FROM memory.shortest_path('?', '?')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT * FROM memory.rank_related('{?}')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.graph_dot('{?}') || memory.graph_mermaid('{?}')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.delete_nodes('{?}')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT * FROM memory.get_relationships('?')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff'),
    ($$SELECT memory.set_security_context('attack-b', '?')$$, 'bob', 'nobody'),
    ($$SELECT memory.lift_legal_hold('?')$$, '00000000-0000-7000-8000-0000000001bb', '00000000-0000-7000-8000-0000000001ff')
) AS probe (statement, there, missing);
-- what fails in the middle of rows: checks, casts, NOT NULL, too long, in one statement over all that is seen
SELECT attack(statement) FROM unnest(ARRAY[
    'UPDATE memory.nodes SET content = ''[]''',
    'UPDATE memory.nodes SET base_relevance = 2',
    'UPDATE memory.sessions SET user_id = NULL',
    'UPDATE memory.sessions SET status = session_id',
    'UPDATE memory.events SET event_type = payload->>''m''',
    'UPDATE memory.nodes SET context_type = summary',
    'UPDATE memory.relationships SET relationship_type = metadata->>''m''',
    'UPDATE memory.preferences SET user_id = ''x''',
    'UPDATE memory.agent_sessions_archive SET payload = ''{}''',
    'UPDATE memory.agent_events_archive SET tenant_id = ''00000000-0000-7000-8000-00000000000b''',
    'DELETE FROM memory.sessions WHERE metadata->>''m'' < ALL (SELECT summary::date::text FROM memory.nodes)',
    'SELECT * FROM memory.search_nodes(''secret-'', fuzzy => true)',
    'SELECT * FROM memory.search_nodes(''%'')',
    'SELECT (memory.list_nodes()).summary::int',
    'SELECT memory.store_nodes(''[{"content": {}, "context_type": "nothing"}]'')',
    'SELECT memory.store_relationship(''00000000-0000-7000-8000-0000000001bb'', ''00000000-0000-7000-8000-0000000002bb'', ''led_to'')'
]) AS statement;
\i input/each_profile.sql
