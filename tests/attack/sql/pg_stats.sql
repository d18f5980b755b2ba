-- Planner statistics hold samples of values: of identities and free text there are none, for nobody.
ANALYZE;
SELECT attack('SELECT s::text FROM pg_stats AS s WHERE schemaname = ''memory'''), attack('SELECT s::text FROM pg_stats_ext AS s'), attack('SELECT s::text FROM pg_stats_ext_exprs AS s'),
    attack('SELECT string_agg(s::text, '''') FROM pg_statistic AS s'), attack('SELECT string_agg(s::text, '''') FROM pg_statistic_ext_data AS s');
SELECT attack('CREATE STATISTICS attack_lab.mine (mcv) ON user_id, summary FROM memory.nodes');
SELECT attack('ALTER TABLE memory.nodes ALTER summary SET STATISTICS 1000'), attack('SET LOCAL client_min_messages = error', 'ANALYZE memory.nodes',
    'SELECT string_agg(s::text, '''') FROM pg_stats AS s WHERE schemaname = ''memory''');
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
-- what a superuser sees, and so what a dump of the server's files holds
SELECT tablename, attname FROM pg_stats WHERE schemaname = 'memory' AND pg_stats::text ~ '(own|hidden|secret)-|\m(alice|bob)\M';
