-- Operators and casts of PostgreSQL that fail with the value in the message, or by a value that was guessed.
SELECT attack(statement) FROM unnest(ARRAY[
    -- a cast tells the text that it cannot read
    'SELECT summary FROM memory.nodes WHERE summary::int = 1',
    'SELECT path FROM memory.navigation WHERE path::uuid IS NOT NULL',
    $$SELECT preferences FROM memory.preferences WHERE (preferences->>'m')::date = now()$$,
    $$SELECT payload FROM memory.agent_sessions_archive WHERE (payload->>'m')::int = 1$$,
    -- only of the rows that are others'
    $$SELECT summary FROM memory.nodes WHERE user_id <> 'alice' AND summary::int = 1$$,
    $$SELECT mode FROM memory.sessions WHERE tenant_id <> '00000000-0000-7000-8000-00000000000a' AND mode::int = 1$$,
    -- a division by zero where a guess is right
    $$SELECT count(*) FROM memory.nodes WHERE 1 / (CASE WHEN summary = 'secret' || '-bob' THEN 0 ELSE 1 END) = 1$$,
    $$SELECT count(*) FROM memory.nodes WHERE 1 / (CASE WHEN user_id = 'bob' AND tenant_id = '00000000-0000-7000-8000-00000000000b' THEN 0 ELSE 1 END) = 1$$,
    $$SELECT count(*) FROM memory.sessions WHERE 1 / (CASE WHEN session_id LIKE 'secret%' THEN 0 ELSE 1 END) = 1$$,
    -- regular expressions, JSON paths and array subscripts that fail by what they read
    $$SELECT count(*) FROM memory.nodes WHERE 'x' ~ ('[' || summary)$$,
    $$SELECT count(*) FROM memory.nodes WHERE jsonb_path_exists(content, (content->>'m')::jsonpath)$$,
    $$SELECT count(*) FROM memory.nodes WHERE repeat(summary, 2000000000) = 'x' AND user_id = 'bob' AND tenant_id = '00000000-0000-7000-8000-00000000000b'$$
]) AS statement;
-- an operator of the attacker's
SELECT attack($$CREATE FUNCTION pg_temp.leak(v text, w text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    'BEGIN PERFORM set_config(''attack.seen'', current_setting(''attack.seen'') || v, false); RETURN true; END'$$,
    'CREATE OPERATOR pg_temp.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.leak, RESTRICT = eqsel)',
    statement)
FROM unnest(ARRAY[
    $$SELECT summary FROM memory.nodes WHERE summary OPERATOR(pg_temp.~~~) 'x'$$,
    $$SELECT user_id FROM memory.sessions WHERE session_id OPERATOR(pg_temp.~~~) 'x'$$,
    $$SELECT path FROM memory.navigation WHERE path OPERATOR(pg_temp.~~~) 'x'$$,
    $$SELECT user_id FROM memory.agent_events_archive WHERE event_id OPERATOR(pg_temp.~~~) 'x'$$
]) AS statement;
\i input/each_profile.sql
