-- A function of the attacker's, made to look cheap so that the planner would run it first, tells each value that it is given.
SELECT attack($$CREATE FUNCTION pg_temp.leak(v text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    'BEGIN PERFORM set_config(''attack.seen'', current_setting(''attack.seen'') || v, false); RETURN true; END'$$,
    format('SELECT string_agg(t::text, '''') FROM memory.%I AS t WHERE pg_temp.leak(t::text)', name))
FROM unnest('{sessions,events,preferences,navigation,nodes,relationships,user_metadata,agent_sessions_archive,agent_events_archive,legal_holds,audit_log,security_violations}'::text[]) AS name;
-- one that puts it into an error
SELECT attack($$CREATE FUNCTION pg_temp.leak(v text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    'BEGIN IF v ~ ''(hidden|secret)-'' THEN RAISE ''%'', v; END IF; RETURN true; END'$$,
    'SELECT summary FROM memory.nodes WHERE pg_temp.leak(summary)');
-- said to be leak-proof, which only a superuser may say
SELECT attack($$CREATE FUNCTION pg_temp.leak(v text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF AS 'BEGIN RETURN true; END'$$);
-- in UPDATE, DELETE, a join's condition, ORDER BY, an aggregate
SELECT attack($$CREATE FUNCTION pg_temp.leak(v text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    'BEGIN PERFORM set_config(''attack.seen'', current_setting(''attack.seen'') || v, false); RETURN true; END'$$, statement)
FROM unnest(ARRAY[
    'UPDATE memory.nodes SET summary = summary WHERE pg_temp.leak(summary) RETURNING summary',
    'DELETE FROM memory.navigation WHERE pg_temp.leak(path) RETURNING path',
    'SELECT a.summary FROM memory.nodes AS a JOIN memory.nodes AS b ON pg_temp.leak(a.summary || b.summary)',
    'SELECT count(*) FILTER (WHERE pg_temp.leak(summary)) FROM memory.nodes',
    'SELECT summary FROM memory.nodes ORDER BY pg_temp.leak(summary)',
    -- inside a function of the extension: its condition is behind the policy too
    'SELECT summary FROM memory.list_nodes() WHERE pg_temp.leak(summary)'
]) AS statement;
\i input/each_profile.sql
