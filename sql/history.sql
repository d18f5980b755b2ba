-- The history of nodes: what the audit log says of one, put together. The log is the only source, so what is erased, anonymised or
-- removed by retention is gone from here too.

-- Of table nodes only: writers of nodes pay for it, nobody else. A TRUNCATE stands under the all-zero tenant, without a key.
CREATE INDEX audit_log_node_idx ON memory.audit_log (tenant_id, ((row_key ->> 'node_id')::uuid), id) WHERE table_name = 'nodes';
ALTER INDEX memory.audit_log_node_idx ALTER COLUMN 2 SET STATISTICS 0;

CREATE AGGREGATE memory.overlay(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '{}');
COMMENT ON AGGREGATE memory.overlay(jsonb) IS 'Internal: objects laid over each other, key by key; the last one wins.';

CREATE FUNCTION memory.owned_scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'owned_scope';
COMMENT ON FUNCTION memory.owned_scope(text, text) IS
    'Internal: scope(), for functions that run as their owner: whether the caller may do without a context is asked of the role outside.';

-- Runs as its owner because only auditors read the log. Tenant and users come from the checked context.
-- The images are handed on unread, as they lie in the log's TOAST table, so that a long history of large nodes is not copied.
CREATE FUNCTION memory.node_changes(
    node_id uuid, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT owner text, OUT life bigint, OUT place bigint, OUT changed_at timestamptz, OUT operation text, OUT actor text, OUT changes jsonb
) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH asked AS MATERIALIZED (
        SELECT s.tenant_id, s.user_low, s.user_high
        FROM memory.owned_scope(node_changes.tenant, node_changes.user_id) AS s
        WHERE memory.note_read('node_changes', node_changes.tenant, node_changes.user_id)
    ), logged AS MATERIALIZED (
        SELECT a.user_id AS owner, a.id AS place, a.changed_at,
            -- A row whose key changed stands in the log twice: as it was under the old key, as it became under the new one.
            CASE
                WHEN a.operation <> 'UPDATE' THEN a.operation
                WHEN a.changes -> 'old' = 'null' THEN 'INSERT'
                WHEN a.changes -> 'new' = 'null' THEN 'DELETE'
                ELSE 'UPDATE'
            END AS operation,
            -- Another user, or another tenant's service, is named to nobody.
            CASE
                WHEN a.actor_tenant_id <> s.tenant_id THEN a.actor_role
                WHEN a.actor_user_id BETWEEN s.user_low AND s.user_high THEN a.actor_user_id
                ELSE coalesce(a.actor_service_name, a.actor_role)
            END AS actor,
            a.changes
        FROM asked AS s
        JOIN memory.audit_log AS a ON a.table_name = 'nodes' AND a.tenant_id = s.tenant_id
            AND (a.row_key ->> 'node_id')::uuid = node_changes.node_id AND a.user_id BETWEEN s.user_low AND s.user_high
    ), known AS (
        SELECT l.owner, l.place, l.changed_at, l.operation, l.actor, l.changes FROM logged AS l
        UNION ALL
        SELECT o.owner, a.id, a.changed_at, 'TRUNCATE', a.actor_role, NULL
        FROM (SELECT DISTINCT l.owner FROM logged AS l) AS o
        JOIN memory.audit_log AS a ON a.table_name = 'nodes' AND a.tenant_id = '00000000-0000-0000-0000-000000000000'
            AND (a.row_key ->> 'node_id')::uuid IS NULL AND a.operation = 'TRUNCATE'
        UNION ALL
        -- The row as it is now: from it the states before are found.
        SELECT n.user_id, 9223372036854775807, 'infinity', 'PRESENT', NULL, jsonb_build_object('old', to_jsonb(n))
        FROM asked AS s
        JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND n.node_id = node_changes.node_id
    ), living AS (
        SELECT k.owner, k.place, k.changed_at, k.operation, k.actor, k.changes,
            coalesce(lag(k.operation) OVER so_far IN ('DELETE', 'TRUNCATE'), true) AS was_gone,
            count(*) FILTER (WHERE k.operation = 'INSERT') OVER so_far
                + count(*) FILTER (WHERE k.operation IN ('DELETE', 'TRUNCATE'))
                    OVER (so_far ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS life
        FROM known AS k
        WINDOW so_far AS (PARTITION BY k.owner ORDER BY k.place)
    ), whole AS (
        SELECT l.owner, l.life, l.place, l.changed_at, l.operation, l.actor,
            CASE WHEN l.operation = 'TRUNCATE' THEN (
                SELECT jsonb_build_object('old', memory.overlay(e.changes -> 'new' ORDER BY e.place))
                FROM living AS e
                WHERE e.owner = l.owner AND e.life = l.life AND e.operation IN ('INSERT', 'UPDATE')
            ) ELSE l.changes END AS changes
        FROM living AS l
        WHERE NOT (l.operation = 'TRUNCATE' AND l.was_gone)
        UNION ALL
        -- A life of which the log has forgotten the beginning begins with what it left.
        SELECT l.owner, l.life, l.place - 1, b.updated_at, CASE WHEN b.updated_at = b.created_at THEN 'INSERT' ELSE 'UPDATE' END, NULL, NULL
        FROM living AS l
        CROSS JOIN LATERAL (
            SELECT (s.state ->> 'created_at')::timestamptz, (s.state ->> 'updated_at')::timestamptz
            FROM (
                SELECT memory.overlay(e.changes -> 'old' ORDER BY e.place DESC) AS state
                FROM living AS e
                WHERE e.owner = l.owner AND e.life = l.life AND e.operation IN ('UPDATE', 'DELETE', 'PRESENT')
            ) AS s
        ) AS b (created_at, updated_at)
        WHERE l.was_gone AND l.operation NOT IN ('INSERT', 'TRUNCATE')
    )
    SELECT w.owner, w.life, w.place, w.changed_at, w.operation, w.actor, w.changes
    FROM whole AS w
    -- Asked even where there is nothing to read: see context.sql.
    WHERE memory.owned_scope(node_changes.tenant, node_changes.user_id) IS NOT NULL
        AND memory.check_needed('node_id', node_changes.node_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.node_changes(uuid, text, text) IS
    'Internal: the changes of a node that the audit log knows, of each user who had it (owner), in the order of place: changes is the log''s, '
    '{"old": …, "new": …}, of an UPDATE the columns that changed. A life begins with an INSERT, or with an entry without changes and actor where '
    'the log has forgotten its beginning, and ends with DELETE, TRUNCATE or PRESENT, whose old is the whole row. So the state after an entry is '
    'the old of all later ones of its life laid over each other, the earliest last. Errors as scope(); node_id NULL is 22004.';

CREATE FUNCTION memory.node_history(
    node_id uuid, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT version bigint, OUT changed_at timestamptz, OUT operation text, OUT actor text, OUT content jsonb, OUT summary text, OUT tags text[]
) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT row_number() OVER (ORDER BY v.place, v.life), v.changed_at, v.operation, v.actor, v.content, v.summary, v.tags
    FROM (
        SELECT c.place, c.life, c.changed_at, c.operation, c.actor, (memory.readable_nodes(n)).content, n.summary, n.tags
        FROM (
            SELECT o.place, o.life, o.changed_at, o.operation, o.actor,
                CASE WHEN o.operation <> 'DELETE' THEN o.changes -> 'new' END AS new,
                CASE
                    WHEN o.operation IN ('DELETE', 'TRUNCATE') THEN o.changes -> 'old'
                    ELSE memory.overlay(CASE WHEN o.operation <> 'INSERT' THEN o.changes -> 'old' END) OVER (
                        PARTITION BY o.owner, o.life ORDER BY o.place DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    )
                END AS state
            FROM memory.node_changes(node_history.node_id, node_history.tenant, node_history.user_id) AS o
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.nodes, c.state || coalesce(c.new, '{}')) AS n
        WHERE c.operation <> 'PRESENT'
            AND (c.operation <> 'UPDATE' OR c.new - '{last_accessed, access_count, updated_at}'::text[] IS DISTINCT FROM '{}')
    ) AS v
    ORDER BY v.place, v.life;
END;
COMMENT ON FUNCTION memory.node_history(uuid, text, text) IS
    'The versions of a node, oldest first, counted from 1: when and by whom it was changed, and content, summary and tags after that (of DELETE and '
    'TRUNCATE: before). operation is INSERT, UPDATE, DELETE or TRUNCATE; being given to another user is DELETE here and INSERT there. Each change is a '
    'version, the end of its validity too, but not a touch. actor is the user in whose context it was done, else the service, else '
    'the role; NULL where the audit log remembers no more: then the first version is the state that it left. Ended and deleted nodes have a '
    'history; of an unknown or invisible one, or one that was erased or removed by retention, there is none; NULL is 22004. Costs 1 ms, and 30 µs per version of 1 kB.';

CREATE FUNCTION memory.node_as_of(
    node_id uuid, at timestamptz, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH logged AS MATERIALIZED (
        SELECT c.owner, c.life, c.place, c.changed_at, c.operation, c.changes
        FROM memory.node_changes(node_as_of.node_id, node_as_of.tenant, node_as_of.user_id) AS c
    ), reached AS (
        SELECT DISTINCT ON (c.owner) c.owner, c.life, c.place, c.operation, c.changes
        FROM logged AS c
        WHERE c.changed_at <= coalesce(node_as_of.at, statement_timestamp()) AND c.operation <> 'PRESENT'
        ORDER BY c.owner, c.place DESC, c.life DESC
    )
    SELECT to_jsonb(memory.readable_nodes(n))
    FROM reached AS r
    CROSS JOIN LATERAL (
        SELECT memory.overlay(c.old) AS state, count(*) AS changes
        FROM (
            -- Sorted unread.
            SELECT l.changes -> 'old' AS old
            FROM (
                SELECT s.changes FROM logged AS s WHERE s.owner = r.owner AND s.life = r.life AND s.place > r.place ORDER BY s.place DESC OFFSET 0
            ) AS l
        ) AS c
    ) AS later
    -- The later ones win: of what was written past the log, the present is right.
    CROSS JOIN LATERAL jsonb_populate_record(NULL::memory.nodes, coalesce(r.changes -> 'new', '{}') || later.state) AS n
    -- What has no end and is not there has gone nobody knows when.
    WHERE r.operation NOT IN ('DELETE', 'TRUNCATE') AND later.changes > 0
    ORDER BY r.place DESC
    LIMIT 1;
END;
COMMENT ON FUNCTION memory.node_as_of(uuid, timestamptz, text, text) IS
    'The node''s row as the database had it at a moment (NULL: now), as jsonb by column name, touches and all; NULL where there was none. What was '
    'written by then counts, not what was valid: for that, ask with as_of, or look at valid_from and valid_to. Before what the audit log '
    'remembers it is NULL, unknown. node_id NULL is 22004. Costs 1 ms, and 15 µs per change of 1 kB.';

SELECT memory.allow('app', 'overlay', 'node_changes', 'node_history', 'node_as_of');
