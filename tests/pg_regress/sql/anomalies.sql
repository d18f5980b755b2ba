-- A fortnight of generated traffic, the same in every run, with each pattern planted once in its second week: what an hourly look finds, and what it
-- takes for a pattern that is none.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE ROLE anomaly_auditor;
CREATE ROLE anomaly_other;
INSERT INTO memory.tenants (slug) VALUES ('anomaly-a'), ('anomaly-b');
SELECT FROM memory.grant_access('anomaly_auditor', 'auditor', '{anomaly-a}');
SELECT FROM memory.grant_access('anomaly_other', 'auditor', '{anomaly-b}');
SELECT memory.tenant_id('anomaly-a') AS a \gset
-- evenly in [0, 1), from a fixed seed
CREATE FUNCTION pg_temp.chance(VARIADIC of anyarray) RETURNS double precision LANGUAGE sql AS
    $$ SELECT ('x' || substr(md5('seed 1:' || of::text), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
CREATE TEMP TABLE hours AS SELECT h, '2026-01-05 00:00+00'::timestamptz + h * interval '1 hour' AS at, h % 24 AS hour, h / 24 AS day,
    h % 24 BETWEEN 8 AND 18 AND h / 24 % 7 < 5 AS office FROM generate_series(0, 335) AS h;

-- twelve users are refused now and then, most in office hours; one client has a bug, and tries the same six times every morning
INSERT INTO memory.security_violations (occurred_at, kind, detail, tenant_id, user_id, named_user_id, actor_role, login_role, pid)
SELECT at + pg_temp.chance(1, h, u, i) * interval '1 hour', 'other_user', 'user_id is not the context''s', :'a'::uuid, 'u' || u,
    'u' || floor(50 * pg_temp.chance(2, h, u, i)), 'app', 'shop', 1
FROM hours, generate_series(1, 12) AS u, generate_series(1, 4) AS i WHERE pg_temp.chance(3, h, u, i) < CASE WHEN office THEN 0.06 ELSE 0.01 END
UNION ALL SELECT at + i * interval '3 seconds', 'other_user', 'user_id is not the context''s', :'a'::uuid, 'u99', 'u1', 'app', 'shop', 1
FROM hours, generate_series(1, 6) AS i WHERE hour = 9;
-- three services: one that serves who comes, one with a batch at night, one for single users
INSERT INTO memory.audit_log (row_key, changes, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_count, actor_role, login_role, actor_tenant_id, actor_service_name)
SELECT '{}', '{}', at + pg_temp.chance(4, h, i, s) * interval '1 hour', '1', :'a', 'w' || floor(400 * pg_temp.chance(5, h, i, s)), 'INSERT', 'events', 1, 'svc', 'svc', :'a', service
FROM hours, (VALUES (1, 'backend'), (2, 'batch'), (3, 'desk')) AS services (s, service), generate_series(1, 60) AS i
WHERE pg_temp.chance(6, h, i, s) < CASE service WHEN 'backend' THEN CASE WHEN office THEN 0.3 ELSE 0.05 END
    WHEN 'batch' THEN CASE hour WHEN 2 THEN 0.9 ELSE 0 END ELSE CASE WHEN office THEN 0.02 ELSE 0 END END;
-- exports on working days
INSERT INTO memory.privacy_requests (tenant_id, user_id, kind, state, due_at, requested_by, finished_at, finished_by)
SELECT :'a', 'u' || h, 'export', 'done', at + interval '30 days', 'svc', at + pg_temp.chance(7, h) * interval '1 hour', 'svc'
FROM hours WHERE office AND hour < 17 AND pg_temp.chance(8, h) < 0.5;
-- what the same services read, and the exports: those that a request performed, and some without one
INSERT INTO memory.data_access_log (id, occurred_at, function_name, tenant_id, user_id, actor_role, login_role, actor_service_name)
SELECT gen_random_uuid(), at + pg_temp.chance(9, h, i, s) * interval '1 hour', 'get_events', :'a'::uuid, 'w' || floor(400 * pg_temp.chance(10, h, i, s)), 'svc', 'svc', service
FROM hours, (VALUES (1, 'backend'), (2, 'batch'), (3, 'desk')) AS services (s, service), generate_series(1, 60) AS i
WHERE pg_temp.chance(11, h, i, s) < CASE service WHEN 'backend' THEN CASE WHEN office THEN 0.5 ELSE 0.08 END
    WHEN 'batch' THEN CASE hour WHEN 2 THEN 0.9 ELSE 0 END ELSE CASE WHEN office THEN 0.05 ELSE 0 END END
UNION ALL SELECT gen_random_uuid(), finished_at - interval '1 second', 'export_user_data', tenant_id, user_id, 'svc', 'svc', 'desk'
FROM memory.privacy_requests WHERE tenant_id = :'a'
UNION ALL SELECT gen_random_uuid(), at + interval '20 minutes', 'export_user_data', :'a', 'w' || h, 'svc', 'svc', 'desk'
FROM hours WHERE office AND hour < 17 AND pg_temp.chance(12, h) < 0.2;
SELECT count(*) > 4000 AS reads FROM memory.data_access_log WHERE tenant_id = :'a';
SELECT count(*) > 300 AS violations FROM memory.security_violations WHERE tenant_id = :'a';
SELECT count(DISTINCT user_id) AS users, count(*) > 3000 AS writes FROM memory.audit_log WHERE tenant_id = :'a' AND actor_service_name IS NOT NULL;

-- planted: a burst, a probe of ids at night, a service that writes to all users, one that reads of them, an export at night by a request and one by hand
CREATE TEMP TABLE planted (kind text, at timestamptz, subject text);
INSERT INTO planted VALUES ('refusals', '2026-01-14 14:00+00', 'shop/u7'), ('probing', '2026-01-15 03:00+00', 'shop/u5'), ('refusals', '2026-01-15 03:00+00', 'shop/u5'),
    ('users_reached', '2026-01-16 15:00+00', 'svc/backend'), ('export_hour', '2026-01-17 03:00+00', 'svc'),
    ('users_read', '2026-01-16 11:00+00', 'svc/desk'), ('export_hour', '2026-01-17 22:00+00', 'shop');
INSERT INTO memory.security_violations (occurred_at, kind, detail, tenant_id, user_id, named_user_id, actor_role, login_role, pid)
SELECT '2026-01-14 14:10+00'::timestamptz + i * interval '5 seconds', 'other_user', 'user_id is not the context''s', :'a'::uuid, 'u7', 'u3', 'app', 'shop', 1 FROM generate_series(1, 40) AS i
UNION ALL SELECT '2026-01-15 03:20+00'::timestamptz + i * interval '5 seconds', 'other_user', 'user_id is not the context''s', :'a'::uuid, 'u5', 'id' || i, 'app', 'shop', 1 FROM generate_series(1, 25) AS i;
INSERT INTO memory.audit_log (row_key, changes, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_count, actor_role, login_role, actor_tenant_id, actor_service_name)
SELECT '{}', '{}', '2026-01-16 15:30+00'::timestamptz + i * interval '1 second', '1', :'a', 'w' || i, 'UPDATE', 'preferences', 1, 'svc', 'svc', :'a', 'backend' FROM generate_series(1, 200) AS i;
INSERT INTO memory.privacy_requests (tenant_id, user_id, kind, state, due_at, requested_by, finished_at, finished_by)
VALUES (:'a', 'u8', 'export', 'done', '2026-02-01', 'svc', '2026-01-17 03:30+00', 'svc');
INSERT INTO memory.data_access_log (id, occurred_at, function_name, tenant_id, user_id, actor_role, login_role, actor_service_name)
SELECT gen_random_uuid(), '2026-01-16 11:30+00'::timestamptz + i * interval '1 second', 'get_nodes', :'a'::uuid, 'w' || i, 'svc', 'svc', 'desk' FROM generate_series(1, 60) AS i
UNION ALL VALUES (gen_random_uuid(), '2026-01-17 03:30+00'::timestamptz, 'export_user_data', :'a'::uuid, 'u8', 'svc', 'svc', 'desk'),
    (gen_random_uuid(), '2026-01-17 22:30+00'::timestamptz, 'export_user_data', :'a'::uuid, 'u9', 'shop', 'shop', 'desk');

-- an hourly look, all of the second week
GRANT SELECT ON hours, planted TO anomaly_auditor, anomaly_other;
SET ROLE anomaly_auditor;
CREATE TEMP TABLE found AS SELECT h.at, a.* FROM hours AS h, memory.security_anomalies(h.at + interval '1 hour', '1 hour') AS a WHERE h.h >= 168;
SELECT kind, subject, at, round(score::numeric, 1) AS score, detail -> 'count' AS count, detail -> 'mean' AS mean, detail -> 'most' AS most,
    EXISTS (SELECT FROM planted AS p WHERE (p.kind, p.subject, p.at) = (f.kind, f.subject, f.at)) AS planted
FROM found AS f ORDER BY at, kind;
SELECT count(*) FILTER (WHERE planted) AS hits, (SELECT count(*) FROM planted) AS of, count(*) FILTER (WHERE NOT planted) AS false_alarms, 168 AS hours
FROM (SELECT EXISTS (SELECT FROM planted AS p WHERE (p.kind, p.subject, p.at) = (f.kind, f.subject, f.at)) AS planted FROM found AS f) AS f;
-- by the day instead
SELECT kind, subject, round(score::numeric, 1) AS score FROM memory.security_anomalies('2026-01-16', '1 day');
-- nothing of other tenants; a look at now, which finds what was just refused
SELECT kind, day, violations, actors FROM memory.security_metrics WHERE day BETWEEN '2026-01-14' AND '2026-01-15' ORDER BY day;
RESET ROLE;
SET ROLE anomaly_other;
SELECT count(*) FROM hours AS h, memory.security_anomalies(h.at, '1 hour') AS a WHERE h.h >= 300;
SELECT count(*) FROM memory.security_metrics;
RESET ROLE;
-- the least that counts, of each kind, where there is no past: one less is none
SELECT memory.tenant_id('anomaly-b') AS b \gset
INSERT INTO memory.security_violations (occurred_at, kind, detail, tenant_id, user_id, named_user_id, actor_role, login_role, pid)
SELECT '2026-03-02 10:00+00'::timestamptz + i * interval '1 second', 'other_user', 'user_id is not the context''s', :'b'::uuid, user_id, CASE WHEN varied THEN 'x' || i ELSE 'x' END, 'app', 'shop', 1
FROM (VALUES ('r7', 7, false), ('r8', 8, false), ('p7', 7, true), ('p8', 8, true)) AS v (user_id, times, varied), generate_series(1, times) AS i;
INSERT INTO memory.audit_log (row_key, changes, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_count, actor_role, login_role, actor_tenant_id, actor_service_name, actor_user_id)
SELECT '{}', '{}', '2026-03-02 10:00+00'::timestamptz + i * interval '1 second', '1', :'b', 'w' || i, 'INSERT', 'events', 1, 'svc', 'svc', :'b', service, actor
FROM (VALUES ('s16', 16, NULL), ('s17', 17, NULL), ('for one', 20, 'one')) AS v (service, times, actor), generate_series(1, times) AS i;
INSERT INTO memory.data_access_log (id, occurred_at, function_name, tenant_id, user_id, actor_role, login_role, actor_service_name, actor_user_id)
SELECT gen_random_uuid(), '2026-03-02 10:00+00'::timestamptz + i * interval '1 second', 'get_events', :'b'::uuid, 'w' || i, 'svc', 'svc', service, actor
FROM (VALUES ('s16', 16, NULL), ('s17', 17, NULL), ('for one', 20, 'one')) AS v (service, times, actor), generate_series(1, times) AS i
UNION ALL SELECT gen_random_uuid(), '2026-03-02 10:30+00', 'export_user_data', :'b', 'w1', 'svc', 'svc', 'desk', NULL
UNION ALL SELECT gen_random_uuid(), '2026-03-02 12:00+00'::timestamptz - i * interval '1 day', 'export_user_data', :'b', 'w1', 'svc', 'svc', 'desk', NULL FROM generate_series(1, 9) AS i;
SELECT kind, subject, round(score::numeric, 1) AS score FROM memory.security_anomalies('2026-03-02 11:00', '1 hour');
INSERT INTO memory.data_access_log (id, occurred_at, function_name, tenant_id, user_id, actor_role, login_role) VALUES (gen_random_uuid(), '2026-02-20 12:10+00', 'export_user_data', :'b', 'w1', 'svc', 'svc');
SELECT kind, subject FROM memory.security_anomalies('2026-03-02 11:00', '1 hour') WHERE kind = 'export_hour';
-- what is refused for other reasons is no probing, however varied; tenants that there are not are
INSERT INTO memory.security_violations (occurred_at, kind, detail, tenant_id, user_id, actor_role, login_role, pid)
SELECT '2026-03-09 10:00+00'::timestamptz + i * interval '1 second', kind, 'x' || i, :'b'::uuid, kind, 'app', 'shop', 1
FROM unnest('{refused_token,unknown_tenant}'::text[]) AS kind, generate_series(1, 8) AS i;
SELECT kind, subject FROM memory.security_anomalies('2026-03-09 11:00', '1 hour');
-- more than a year counts as one
SELECT DISTINCT (detail ->> 'until')::timestamptz - (detail ->> 'since')::timestamptz AS period FROM memory.security_anomalies('2026-03-09 11:00', '10 years') WHERE kind = 'refusals';
-- exports, each for itself: one by hand that another user's request, another tenant's, or one at another time does not explain counts; one that a request performed counts
-- once; what was refused, and what was no export, does not; half an hour before midnight is near half an hour after it
INSERT INTO memory.tenants (slug) VALUES ('anomaly-c'), ('anomaly-d');
SELECT memory.tenant_id('anomaly-c') AS c, memory.tenant_id('anomaly-d') AS d \gset
INSERT INTO memory.data_access_log (id, occurred_at, function_name, tenant_id, user_id, actor_role, login_role)
SELECT gen_random_uuid(), '2026-04-01 12:00+00'::timestamptz - i * interval '1 day', 'export_user_data', tenant, 'w1', 'svc', 'svc' FROM generate_series(1, 11) AS i, unnest(ARRAY[:'c', :'d']::uuid[]) AS tenant
UNION ALL SELECT gen_random_uuid(), '2026-03-30 23:30+00', 'export_user_data', :'c', 'w1', 'svc', 'svc'
UNION ALL SELECT gen_random_uuid(), '2026-04-02 00:00+00'::timestamptz + minutes * interval '1 minute', 'export_user_data', tenant, user_id, 'svc', 'svc'
FROM (VALUES (30, :'c'::uuid, 'c'), (30, :'d'::uuid, 'x'), (5, :'d'::uuid, 'x'), (30, :'d'::uuid, 'y'), (40, :'d'::uuid, 'z')) AS v (minutes, tenant, user_id);
INSERT INTO memory.privacy_requests (tenant_id, user_id, kind, state, due_at, requested_by, finished_at, finished_by)
SELECT tenant, user_id, kind, state, '2026-05-01', 'svc', '2026-04-02 00:00+00'::timestamptz + minutes * interval '1 minute', 'desk'
FROM (VALUES (30, :'d'::uuid, 'x', 'export', 'done'), (40, :'c'::uuid, 'z', 'export', 'done'), (20, :'d'::uuid, 'e', 'erase', 'done'), (25, :'d'::uuid, 'r', 'export', 'refused')) AS v (minutes, tenant, user_id, kind, state);
SELECT kind, subject, detail ->> 'tenant_id' = :'d' AS of_d, to_char((detail ->> 'at')::timestamptz, 'HH24:MI') AS at, detail -> 'request_id' <> 'null' AS by_request
FROM memory.security_anomalies('2026-04-02 01:00', '1 hour') ORDER BY 4, 2;
DELETE FROM memory.privacy_requests WHERE tenant_id IN (:'c', :'d');
CREATE ROLE anomaly_service LOGIN;
SELECT FROM memory.grant_access('anomaly_service', 'service', '{anomaly-a}');
SET SESSION AUTHORIZATION anomaly_service;
DO $$
BEGIN
    FOR i IN 1..12 LOOP
        BEGIN
            PERFORM memory.set_security_context('anomaly-a', 'eve');
            PERFORM memory.get_preferences(user_id => 'somebody-' || i);
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END LOOP;
END
$$;
RESET SESSION AUTHORIZATION;
SET ROLE anomaly_auditor;
SELECT kind, subject, detail -> 'count' AS count FROM memory.detect_security_anomalies() ORDER BY 1;
SELECT kind FROM memory.detect_security_anomalies('1 month') WHERE subject ~ 'eve' ORDER BY 1;
SELECT memory.detect_security_anomalies('0');
SELECT memory.detect_security_anomalies('-1 hour');
SELECT memory.detect_security_anomalies(NULL);
SELECT count(*) FROM memory.detect_security_anomalies('1000000 years') WHERE kind = 'none';
RESET ROLE;
SET ROLE anomaly_service;
SELECT memory.detect_security_anomalies();
SELECT FROM memory.security_metrics;
RESET ROLE;

DROP TABLE planted, hours;
DROP OWNED BY anomaly_auditor;
SELECT memory.revoke_access(r::regrole) FROM unnest('{anomaly_auditor,anomaly_other,anomaly_service}'::text[]) r;
DELETE FROM memory.privacy_requests WHERE tenant_id = :'a';
DELETE FROM memory.tenants WHERE slug IN ('anomaly-a', 'anomaly-b', 'anomaly-c', 'anomaly-d');
DROP ROLE anomaly_auditor, anomaly_other, anomaly_service;
