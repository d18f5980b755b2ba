-- Functions that run a query's text run it as the caller.
SELECT attack(statement) FROM unnest(ARRAY[
    $$SELECT query_to_xml('SELECT * FROM memory.nodes', true, true, '')$$,
    $$SELECT query_to_xml('SELECT * FROM memory.agent_sessions_archive', true, true, '')$$,
    $$SELECT query_to_xml_and_xmlschema('SELECT * FROM memory.sessions', true, true, '')$$,
    $$SELECT query_to_xml('SELECT * FROM memory.list_nodes(tenant => ''attack-b'', user_id => ''bob'')', true, true, '')$$,
    $$SELECT query_to_xml('SELECT memory.set_security_context(''attack-a'', ''bob'')', true, true, ''), (SELECT string_agg(summary, '') FROM memory.nodes)$$,
    $$SELECT table_to_xml('memory.nodes', true, true, '')$$,
    $$SELECT table_to_xml_and_xmlschema('memory.user_metadata', true, true, '')$$,
    $$SELECT table_to_xml('memory.agent_events_archive', true, true, '')$$,
    $$SELECT schema_to_xml('memory', true, true, '')$$,
    $$SELECT database_to_xml(true, true, '')$$,
    $$SELECT ts_stat('SELECT to_tsvector(summary) FROM memory.nodes')$$,
    $$SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, plainto_tsquery(string_agg(summary, '' '')) FROM memory.nodes')$$
]) AS statement;
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
