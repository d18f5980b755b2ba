-- Statements of others, as other sessions are running them: PostgreSQL shows a role those of its own login only.
\! PGAPPNAME=attack_victim psql -X -q -U postgres -d memory_attack -c "SELECT 'secret-statement', pg_sleep(60)" >/dev/null 2>&1 &
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'attack_victim' AND query ~ 'secret-statement');
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'attack_victim' AND query ~ 'secret-statement';
SELECT attack(statement) FROM unnest(ARRAY[
    'SELECT string_agg(a::text, '''') FROM pg_stat_activity AS a',
    'SELECT string_agg(a::text, '''') FROM pg_stat_get_activity(NULL) AS a',
    'SELECT string_agg(pg_stat_get_backend_activity(b), '''') FROM pg_stat_get_backend_idset() AS b',
    'SELECT string_agg(l::text, '''') FROM pg_locks AS l',
    'SELECT string_agg(p::text, '''') FROM pg_prepared_statements AS p',
    'SELECT string_agg(c::text, '''') FROM pg_cursors AS c',
    'SELECT string_agg(x::text, '''') FROM pg_prepared_xacts AS x',
    'SELECT string_agg(s::text, '''') FROM pg_settings AS s WHERE name ~ ''^memory''',
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ''attack_victim''',
    'SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = ''attack_victim''',
    'SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE application_name = ''attack_victim'''
]) AS statement;
\set only 'leaked IS NOT NULL'
\i input/each_profile.sql
\unset only
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'attack_victim';
