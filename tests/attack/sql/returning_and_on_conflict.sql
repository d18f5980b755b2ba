-- RETURNING, ON CONFLICT and MERGE give and change no row that SELECT and UPDATE would not.
SELECT attack(statement) FROM unnest(ARRAY[
    $$INSERT INTO memory.preferences AS p (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000a', 'bob', '{}')
      ON CONFLICT (tenant_id, user_id) DO UPDATE SET updated_at = now() WHERE p.tenant_id <> '00000000-0000-7000-8000-00000000000a' RETURNING p.*$$,
    $$INSERT INTO memory.preferences AS p (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '{}')
      ON CONFLICT (tenant_id, user_id) DO UPDATE SET preferences = p.preferences RETURNING p.preferences$$,
    $$INSERT INTO memory.preferences (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '{}')
      ON CONFLICT DO NOTHING RETURNING preferences$$,
    $$INSERT INTO memory.preferences AS p (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '{}')
      ON CONFLICT (tenant_id, user_id) DO UPDATE SET tenant_id = '00000000-0000-7000-8000-00000000000b', user_id = 'carol' RETURNING p.*$$,
    $$INSERT INTO memory.preferences AS p (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000a', 'alice', '{}')
      ON CONFLICT (tenant_id, user_id) DO UPDATE SET preferences = jsonb_build_object('x', (SELECT string_agg(preferences::text, '') FROM memory.preferences)) RETURNING p.preferences$$,
    $$INSERT INTO memory.agent_sessions_archive AS a (tenant_id, user_id, session_id, payload)
      VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', 'secret' || '-bob-archived', '{"_tenant": {}}')
      ON CONFLICT (tenant_id, user_id, session_id) DO UPDATE SET archived_at = now() RETURNING a.payload$$,
    $$UPDATE memory.nodes AS n SET summary = 'x' FROM memory.nodes AS o WHERE n.tenant_id = o.tenant_id RETURNING o.summary, n.user_id$$,
    $$UPDATE memory.nodes SET user_id = 'bob', tenant_id = '00000000-0000-7000-8000-00000000000b' RETURNING *$$,
    $$DELETE FROM memory.nodes AS n USING memory.sessions AS s RETURNING s.*, n.*$$,
    $$WITH gone AS (DELETE FROM memory.events RETURNING *) SELECT * FROM gone$$,
    $$INSERT INTO memory.navigation (tenant_id, user_id, path) SELECT tenant_id, user_id, path FROM memory.navigation RETURNING *$$,
    $$MERGE INTO memory.preferences AS p USING (VALUES ('00000000-0000-7000-8000-00000000000b'::uuid, 'bob')) AS v (t, u) ON p.tenant_id = v.t AND p.user_id = v.u
      WHEN MATCHED THEN UPDATE SET preferences = '{}' WHEN NOT MATCHED THEN DO NOTHING$$,
    $$MERGE INTO memory.preferences AS p USING (VALUES ('00000000-0000-7000-8000-00000000000b'::uuid, 'bob')) AS v (t, u) ON p.tenant_id = v.t AND p.user_id = v.u
      WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (tenant_id, user_id, preferences) VALUES (v.t, v.u, '{}')$$,
    $$SELECT * FROM memory.nodes WHERE user_id = 'bob' AND tenant_id = '00000000-0000-7000-8000-00000000000b' FOR UPDATE$$,
    $$TABLE memory.agent_events_archive$$
]) AS statement;
-- a conflict tells no more of one that is there than of one that is not
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, 'bob', 'nobody')) FROM unnest(ARRAY[
    $$INSERT INTO memory.preferences (tenant_id, user_id, preferences) VALUES ('00000000-0000-7000-8000-00000000000b', '?', '{}') ON CONFLICT DO NOTHING$$,
    $$INSERT INTO memory.user_metadata AS m (tenant_id, user_id) VALUES ('00000000-0000-7000-8000-00000000000b', '?')
      ON CONFLICT (tenant_id, user_id) DO UPDATE SET metadata = m.metadata RETURNING m.metadata$$
]) AS statement;
\i input/each_profile.sql
-- nothing of it happened
SELECT user_id, preferences FROM memory.preferences ORDER BY tenant_id, user_id;
