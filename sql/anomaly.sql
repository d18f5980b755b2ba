-- What is unusual in what was refused, written, read and exported; for auditors.

CREATE VIEW memory.security_metrics WITH (security_invoker = true) AS
    SELECT v.tenant_id, v.kind, (v.occurred_at AT TIME ZONE 'UTC')::date AS day, count(*) AS violations,
        count(DISTINCT (v.login_role, v.user_id, v.service_name)) AS actors, max(v.occurred_at) AS last_at
    FROM memory.security_violations AS v
    GROUP BY v.tenant_id, v.kind, (v.occurred_at AT TIME ZONE 'UTC')::date;
COMMENT ON VIEW memory.security_metrics IS 'How many violations there were, by tenant, kind and day. An auditor sees the tenants that it audits.';
COMMENT ON COLUMN memory.security_metrics.tenant_id IS 'The tenant; all zero where it is no tenant''s.';
COMMENT ON COLUMN memory.security_metrics.kind IS 'As in security_violations.';
COMMENT ON COLUMN memory.security_metrics.day IS 'The day, in UTC.';
COMMENT ON COLUMN memory.security_metrics.violations IS 'How many.';
COMMENT ON COLUMN memory.security_metrics.actors IS 'Of how many different logins, users and services.';
COMMENT ON COLUMN memory.security_metrics.last_at IS 'The last of them.';
SELECT memory.allow_table('auditor', 'SELECT', 'security_metrics');

CREATE FUNCTION memory.surprise(count bigint, expected double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN surprise.count > surprise.expected
        THEN (surprise.count * ln(surprise.count / surprise.expected) - surprise.count + surprise.expected) / ln(10::double precision)
        ELSE 0 END;
END;
COMMENT ON FUNCTION memory.surprise(bigint, double precision) IS
    'Internal: how unlikely it is to count as many where so many are expected: minus the decimal logarithm of the Chernoff bound on the Poisson tail. 6 is one in a million.';

-- What each actor did in the period, beside the seven days before (of a longer period, seven of it), cut into pieces of the period's length.
CREATE FUNCTION memory.security_anomalies(until timestamptz, period interval)
RETURNS TABLE (kind text, subject text, score double precision, detail jsonb)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH span AS MATERIALIZED (
        SELECT b.until, b.period, b.until - b.period AS since, b.until - b.period - greatest(interval '7 days', 7 * b.period) AS history,
            b.until - b.period - interval '28 days' AS month,
            extract(epoch FROM greatest(interval '7 days', 7 * b.period)) / extract(epoch FROM b.period) AS pieces
        FROM (
            SELECT memory.check_needed('until', security_anomalies.until) AS until, make_interval(secs => seconds) AS period
            FROM (SELECT least(extract(epoch FROM security_anomalies.period), 31536000)::double precision AS seconds) AS p
            -- Whole months have no length.
            WHERE memory.check_positive('period', CASE WHEN security_anomalies.period IS NOT NULL THEN ceil(p.seconds)::integer END) > 0
        ) AS b
    ), seen AS (
        SELECT 'refusals' AS kind, v.tenant_id, v.login_role, v.user_id, v.service_name, v.occurred_at AS at, v.id::text AS item
        FROM memory.security_violations AS v, span AS s
        WHERE v.occurred_at >= s.history AND v.occurred_at < s.until
        UNION ALL
        SELECT 'probing', v.tenant_id, v.login_role, v.user_id, v.service_name, v.occurred_at, coalesce(v.named_user_id, v.detail)
        FROM memory.security_violations AS v, span AS s
        WHERE v.occurred_at >= s.history AND v.occurred_at < s.until AND v.kind IN ('other_user', 'other_tenant', 'unknown_tenant')
        UNION ALL
        SELECT 'users_reached', a.tenant_id, a.login_role, NULL, a.actor_service_name, a.changed_at, a.user_id
        FROM memory.audit_log AS a, span AS s
        WHERE a.changed_at >= s.history AND a.changed_at < s.until AND a.actor_service_name IS NOT NULL AND a.actor_user_id IS NULL
            AND a.user_id IS NOT NULL
        UNION ALL
        SELECT 'users_read', l.tenant_id, l.login_role, NULL, l.actor_service_name, l.occurred_at, l.user_id
        FROM memory.data_access_log AS l, span AS s
        WHERE l.occurred_at >= s.history AND l.occurred_at < s.until AND l.actor_service_name IS NOT NULL AND l.actor_user_id IS NULL
            AND l.user_id IS NOT NULL
    ), pieces AS (
        SELECT n.kind, n.tenant_id, n.login_role, n.user_id, n.service_name, date_bin(s.period, n.at, s.until) = s.since AS is_now,
            count(DISTINCT n.item) AS count
        FROM seen AS n, span AS s
        GROUP BY n.kind, n.tenant_id, n.login_role, n.user_id, n.service_name, date_bin(s.period, n.at, s.until), s.since
    ), actors AS (
        SELECT p.kind, p.tenant_id, p.login_role, p.user_id, p.service_name, coalesce(max(p.count) FILTER (WHERE p.is_now), 0) AS count,
            coalesce(sum(p.count) FILTER (WHERE NOT p.is_now), 0) / s.pieces AS mean,
            coalesce(max(p.count) FILTER (WHERE NOT p.is_now), 0) AS most
        FROM pieces AS p, span AS s
        GROUP BY p.kind, p.tenant_id, p.login_role, p.user_id, p.service_name, s.pieces
    ), scored AS (
        -- What is expected is what was, and never so little that a few are a surprise.
        SELECT a.kind, a.tenant_id, a.login_role, a.user_id, a.service_name, a.count, a.mean, a.most,
            memory.surprise(a.count, CASE
                WHEN a.kind IN ('users_reached', 'users_read') THEN greatest(3, a.mean, a.most) ELSE greatest(0.5, a.mean, a.most / 2.0) END::double precision) AS score
        FROM actors AS a
        WHERE a.count > 0
    ), performed AS MATERIALIZED (
        SELECT p.tenant_id, p.user_id, p.finished_by, p.request_id, p.finished_at
        FROM memory.privacy_requests AS p, span AS s
        WHERE p.kind = 'export' AND p.state = 'done' AND p.finished_at >= s.month AND p.finished_at < s.until
    ), moments AS (
        SELECT p.tenant_id, p.finished_by AS login_role, p.request_id, NULL::uuid AS read_id, p.finished_at AS at FROM performed AS p
        UNION ALL
        -- export_user_document() reads by export_user_data(); so does a request that is performed, which is counted above.
        SELECT l.tenant_id, l.login_role, NULL, l.id, l.occurred_at
        FROM memory.data_access_log AS l, span AS s
        WHERE l.function_name = 'export_user_data' AND l.occurred_at >= s.month AND l.occurred_at < s.until AND NOT EXISTS (
            SELECT FROM performed AS p
            WHERE p.tenant_id = l.tenant_id AND p.user_id = l.user_id
                AND p.finished_at BETWEEN l.occurred_at - interval '1 minute' AND l.occurred_at + interval '1 minute')
    ), exports AS (
        SELECT m.tenant_id, m.login_role, m.request_id, m.read_id, m.at, m.at >= s.since AS is_now,
            extract(hour FROM m.at AT TIME ZONE 'UTC') AS hour
        FROM moments AS m, span AS s
    ), hours AS (
        SELECT e.tenant_id, e.login_role, e.request_id, e.read_id, e.at, count(b.at) AS before,
            -- The hour itself, and the one on either side.
            count(b.at) FILTER (WHERE abs(b.hour - e.hour) IN (0, 1, 23)) AS near
        FROM exports AS e LEFT JOIN exports AS b ON b.tenant_id = e.tenant_id AND NOT b.is_now
        WHERE e.is_now
        GROUP BY e.tenant_id, e.login_role, e.request_id, e.read_id, e.at
    )
    SELECT c.kind, concat_ws('/', c.login_role, c.service_name, c.user_id), c.score, jsonb_build_object('tenant_id', c.tenant_id,
        'login_role', c.login_role, 'user_id', c.user_id, 'service_name', c.service_name, 'count', c.count,
        'mean', round(c.mean::numeric, 3), 'most', c.most, 'since', s.since, 'until', s.until)
    FROM scored AS c, span AS s
    WHERE c.score >= 6
    UNION ALL
    SELECT 'export_hour', h.login_role, -log((h.near + 0.5) / (h.before + 12.0))::double precision, jsonb_build_object('tenant_id', h.tenant_id,
        'request_id', h.request_id, 'read_id', h.read_id, 'login_role', h.login_role, 'at', h.at, 'exports_before', h.before)
    FROM hours AS h
    WHERE h.before >= 10 AND h.near = 0
    ORDER BY 3 DESC, 1, 2;
END;
COMMENT ON FUNCTION memory.security_anomalies(timestamptz, interval) IS
    'detect_security_anomalies() as of another time (NULL is 22004), of what is in the tables. An auditor''s.';

CREATE FUNCTION memory.detect_security_anomalies(period interval DEFAULT '1 hour')
RETURNS TABLE (kind text, subject text, score double precision, detail jsonb)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT memory.flush_security_violations();
    SELECT a.kind, a.subject, a.score, a.detail FROM memory.security_anomalies(clock_timestamp(), detect_security_anomalies.period) AS a;
END;
COMMENT ON FUNCTION memory.detect_security_anomalies(interval) IS
    'What is unusual in the last period, beside the actor''s own seven days (if longer, seven periods) before it, in the tenants that the caller audits; the greatest score first. refusals: far more violations of a login, '
    'service and user than it had. probing: far more different users and tenants that were named and refused. users_reached: a service that wrote to far more users than it did; users_read: '
    'that read far more, as far as memory.log_reads has them logged. For these four the score is minus the decimal logarithm of the chance of as many (Poisson, expecting the mean of the past and at least half of its busiest piece, for users_reached and users_read '
    'all of it; never under 0.5, or 3 users), from 6 on. export_hour: an export, by a performed request or logged as a read, where there were ten in 28 days, at an hour of the day (UTC) at and beside which there was none; '
    'the score is minus the decimal logarithm of the share of such hours. detail: who, how many, what was usual. Run it once per period. A period of more than a year counts as one; one that is not above zero is 22023, NULL 22004. An auditor''s. '
    'Costs reading seven days of the violations, of the audit log and of the access log, and 28 days of exports.';
SELECT memory.allow('auditor', 'surprise', 'security_anomalies', 'detect_security_anomalies', 'check_needed', 'check_positive');
