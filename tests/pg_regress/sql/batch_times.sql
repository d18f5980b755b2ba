-- Times in a batch are what PostgreSQL reads in them, under whatever settings.
INSERT INTO memory.tenants (slug) VALUES ('times');
CREATE ROLE regress_times LOGIN;
SELECT FROM memory.grant_access('regress_times', 'service', '{times}');
\c - regress_times
SELECT FROM memory.set_security_context('times', service_name => 'tests', is_local => false);
CREATE TEMP TABLE given AS SELECT row_number() OVER () AS number, text FROM (
    SELECT unnest(ARRAY['2026-01-31T23:59:59.123456+00:00', '2026-01-31 23:59:59Z', '2026-01-31T23:59:59', '2026-01-31', '2026-01-31T23:59:59.5-03:30',
        '2026-01-31T23:59:59.1234567Z', '2026-12-31T23:59:60Z', '2026-06-30T24:00:00Z', '2026-01-31T23:59+01', '31/1/2026 10:00', 'infinity', '-infinity', 'epoch',
        '0001-01-01T00:00:00Z', '0001-01-01T00:00:00+14:00', '9999-12-31T23:59:59.999999-14:00', '2000-02-29T00:00:00+05:45', '2026-01-31T23:59:59+15:59',
        '2026-01-31 23:59:59.1 Europe/Berlin', '20260131T235959Z', '2026-01-31T23:59:59.000001z']) AS text
    UNION ALL SELECT to_char(timestamp '0900-01-01' + n * interval '97 days 5 hours 3.000001 seconds', 'YYYY-MM-DD"T"HH24:MI:SS.US')
        || to_char(n % 14, 'SG00') || ':' || to_char(n % 60, 'FM00') FROM generate_series(1, 4000) AS n) AS t;
CREATE FUNCTION pg_temp.differ() RETURNS TABLE (stored bigint, different bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM memory.archive_events((SELECT jsonb_agg(jsonb_build_object('user_id', 'ann', 'session_id', 's', 'event_id', number::text, 'event_type', 'log',
        'occurred_at', text, 'payload', '{}'::jsonb)) FROM given));
    RETURN QUERY SELECT count(*), count(*) FILTER (WHERE a.occurred_at <> g.text::timestamptz)
        FROM given AS g JOIN memory.agent_events_archive AS a ON a.event_id = g.number::text AND a.user_id = 'ann';
END
$$;
SET TimeZone = 'America/St_Johns';
SET DateStyle = 'SQL, DMY';
SELECT * FROM pg_temp.differ();
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'ISO, DMY';
SELECT * FROM pg_temp.differ();
-- what it does not read either
\set VERBOSITY sqlstate
SELECT text, memory.archive_events(jsonb_build_array(jsonb_build_object('user_id', 'ann', 'session_id', 's', 'event_id', 'x', 'event_type', 'log',
    'occurred_at', text, 'payload', '{}'::jsonb))) FROM unnest('{2026-02-29T00:00:00Z}'::text[]) AS text;
SELECT memory.archive_events(jsonb_build_array(jsonb_build_object('user_id', 'ann', 'session_id', 's', 'event_id', 'x', 'event_type', 'log',
    'occurred_at', text, 'payload', '{}'::jsonb))) FROM unnest('{0000-01-01T00:00:00Z}'::text[]) AS text;
DELETE FROM memory.agent_events_archive;
\c - postgres
DELETE FROM memory.tenants WHERE slug = 'times';
SELECT FROM memory.revoke_access('regress_times');
DROP ROLE regress_times;
