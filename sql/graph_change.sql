-- Changes of many nodes at once.

-- A planner knows nothing of users, whose statistics would tell of others' (see declare_table()): it takes all rows of one for few, and would read
-- them rather than look some up. These look up.
CREATE FUNCTION memory.node_places(
    node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF tid
LANGUAGE c STABLE ROWS 1
AS 'MODULE_PATHNAME', 'node_places_wrapper';
COMMENT ON FUNCTION memory.node_places(uuid[], text, text) IS
    'Internal: where those of a user''s nodes stand that are there, for the statement that asks.';

CREATE FUNCTION memory.relationship_places(
    node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF tid
LANGUAGE c STABLE ROWS 1
AS 'MODULE_PATHNAME', 'relationship_places_wrapper';
COMMENT ON FUNCTION memory.relationship_places(uuid[], text, text) IS
    'Internal: where all relationships of these nodes of a user stand, in both directions, for the statement that asks.';

-- Every writer of nodes locks them in this order first, and only the next statement, whose snapshot sees what was locked,
-- changes them: a change by way of an older version waits for others who wait for this transaction.
CREATE OR REPLACE FUNCTION memory.delete_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(delete_nodes.tenant, delete_nodes.user_id) WHERE memory.check_needed('node_ids', delete_nodes.node_ids) IS NOT NULL;
    SELECT n.node_id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    CROSS JOIN memory.node_places(delete_nodes.node_ids, delete_nodes.tenant, delete_nodes.user_id) AS asked (place)
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.ctid = asked.place
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR UPDATE OF n;
    -- The cascade takes a node's relationships one node after the other: two deletions at once, of the two ends of several, would wait
    -- for each other. None is added meanwhile: that takes a lock on both nodes.
    SELECT r.id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    CROSS JOIN memory.relationship_places(delete_nodes.node_ids, delete_nodes.tenant, delete_nodes.user_id) AS asked (place)
    JOIN memory.relationships AS r ON r.tenant_id = s.tenant_id AND r.user_id = s.subject_id AND r.ctid = asked.place
    ORDER BY r.id
    FOR UPDATE OF r;
    WITH deleted AS (
        DELETE FROM memory.nodes AS n
        USING memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s,
            memory.node_places(delete_nodes.node_ids, delete_nodes.tenant, delete_nodes.user_id) AS asked (place)
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.ctid = asked.place
        RETURNING n.node_id
    )
    SELECT count(*) FROM deleted WHERE memory.subject(delete_nodes.tenant, delete_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.delete_nodes(uuid[], text, text) IS
    'Deletes nodes, ended ones too, with their relationships; gives how many there were. end_node() keeps the past. A '
    'held user is 55000, node_ids NULL 22004.';

CREATE OR REPLACE FUNCTION memory.touch_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(touch_nodes.tenant, touch_nodes.user_id) WHERE memory.check_needed('node_ids', touch_nodes.node_ids) IS NOT NULL;
    SELECT n.node_id
    FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s
    CROSS JOIN memory.node_places(touch_nodes.node_ids, touch_nodes.tenant, touch_nodes.user_id) AS asked (place)
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.ctid = asked.place
    WHERE memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR NO KEY UPDATE OF n;
    WITH touched AS (
        UPDATE memory.nodes AS n SET last_accessed = now(), access_count = n.access_count + 1
        FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s,
            memory.node_places(touch_nodes.node_ids, touch_nodes.tenant, touch_nodes.user_id) AS asked (place)
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.ctid = asked.place
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
        RETURNING n.node_id
    )
    SELECT count(*) FROM touched WHERE memory.subject(touch_nodes.tenant, touch_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.touch_nodes(uuid[], text, text) IS
    'Counts an access to each of these nodes (last_accessed, access_count); gives how many there were. NULL is 22004.';

SELECT memory.allow('app', 'node_places', 'relationship_places');
