-- Becoming somebody else: no profile may, and in a sealed context the login's own role is no way out.
SELECT attack(format(statement, name), 'SELECT string_agg(summary, '' '') FROM memory.nodes')
FROM unnest('{postgres,attack_attributes}'::text[]) AS name,
    unnest(ARRAY['SET SESSION AUTHORIZATION %I', 'SELECT set_config(''session_authorization'', %L, true)', 'SET ROLE %I', 'SELECT set_config(''role'', %L, true)']) AS statement;
SELECT attack('SET ROLE attack_service', 'SELECT set_config(''memory.context'', '''', true)', 'SELECT summary FROM memory.nodes');
SELECT attack('SET ROLE attack_service', 'SELECT memory.set_security_context(''attack-a'', ''bob'')', 'SELECT summary FROM memory.nodes');
SELECT attack('RESET SESSION AUTHORIZATION', 'SELECT memory.set_security_context(''attack-b'', ''bob'')', 'SELECT summary FROM memory.nodes');
SELECT attack('SET SESSION AUTHORIZATION DEFAULT', 'RESET ROLE', 'SELECT summary FROM memory.nodes');
SELECT attack('RESET ROLE', 'SELECT payload FROM memory.agent_sessions_archive');
SELECT attack('CREATE FUNCTION pg_temp.become() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET role = ''postgres'' AS ''SELECT count(*) FROM memory.nodes''', 'SELECT pg_temp.become()');
SELECT attack('ALTER FUNCTION memory.current_user_id() SECURITY DEFINER'), attack('ALTER FUNCTION memory.current_user_id() OWNER TO CURRENT_USER'),
    attack('ALTER ROLE CURRENT_USER SUPERUSER'), attack('CREATE ROLE attack_made SUPERUSER'), attack('GRANT postgres TO CURRENT_USER');
\i input/each_profile.sql
