-- The knowledge graph: relationships, stored, read and ended, and the walk along them.

CREATE FUNCTION memory.store_relationship(
    from_node_id uuid, to_node_id uuid, relationship_type text, strength real DEFAULT 1.0, metadata jsonb DEFAULT '{}',
    valid_from timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_relationship_wrapper';
COMMENT ON FUNCTION memory.store_relationship(uuid, uuid, text, real, jsonb, timestamptz, text, text) IS
    'Stores a relationship between two nodes of the user, or of a node with itself; gives its id. Again, with the same nodes and '
    'type: the same id, strength and metadata replaced. A node that is unknown, or is not seen now (nor at valid_from, if that is '
    'later), is P0002; an unknown type, or a strength outside of 0 to 1, is 22023.';

CREATE FUNCTION memory.store_relationships(relationships jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_relationships_wrapper';
COMMENT ON FUNCTION memory.store_relationships(jsonb, text, text) IS
    'store_relationship() of each element of an array of objects with its argument names (and user_id, in a service context), '
    'in one statement; all or none. Of one that comes twice the last wins. Gives how many distinct ones were stored, new or '
    'again. An element that is wrong is 22023, one that names an unknown node P0002, both named by their place.';

CREATE FUNCTION memory.end_relationship(
    relationship_id uuid, valid_to timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(end_relationship.tenant, end_relationship.user_id);
    WITH ended AS (
        UPDATE memory.relationships AS r SET valid_to = memory.check_end(r.valid_from, end_relationship.valid_to)
        FROM memory.subject(end_relationship.tenant, end_relationship.user_id) AS s
        WHERE r.tenant_id = s.tenant_id AND r.user_id = s.subject_id AND r.id = end_relationship.relationship_id
        RETURNING r.id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM ended), 'relationship', end_relationship.relationship_id::text)
    WHERE memory.subject(end_relationship.tenant, end_relationship.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_relationship(uuid, timestamptz, text, text) IS
    'From valid_to on the relationship is not seen any more; stored again, it is a new one. Ending it again moves the end. An '
    'unknown one is P0002, valid_to before its valid_from 22023.';

CREATE FUNCTION memory.get_relationships(
    node_id uuid, direction text DEFAULT 'both', as_of timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.relationships
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT found.r
    FROM memory.scope(get_relationships.tenant, get_relationships.user_id) AS s
    CROSS JOIN memory.check_direction(get_relationships.direction) AS asked (direction)
    CROSS JOIN coalesce(get_relationships.as_of, statement_timestamp()) AS moment (as_of)
    CROSS JOIN LATERAL (
        SELECT r, r.id
        FROM memory.relationships AS r
        WHERE asked.direction <> 'in' AND r.tenant_id = s.tenant_id AND r.user_id BETWEEN s.user_low AND s.user_high
            AND r.from_node_id = get_relationships.node_id
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
        UNION ALL
        -- One with itself was found above already.
        SELECT r, r.id
        FROM memory.relationships AS r
        WHERE asked.direction <> 'out' AND r.tenant_id = s.tenant_id AND r.user_id BETWEEN s.user_low AND s.user_high
            AND r.to_node_id = get_relationships.node_id
            AND (asked.direction = 'in' OR r.from_node_id <> r.to_node_id)
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
    ) AS found
    WHERE (
        SELECT count(*) = CASE WHEN (found.r).from_node_id = (found.r).to_node_id THEN 1 ELSE 2 END
        FROM memory.nodes AS n
        WHERE n.tenant_id = (found.r).tenant_id AND n.user_id = (found.r).user_id
            AND n.node_id IN ((found.r).from_node_id, (found.r).to_node_id)
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, moment.as_of)
    ) AND memory.check_needed('node_id', get_relationships.node_id) IS NOT NULL
        AND memory.note_read('get_relationships', get_relationships.tenant, get_relationships.user_id)
    ORDER BY found.id;
END;
COMMENT ON FUNCTION memory.get_relationships(uuid, text, timestamptz, text, text) IS
    'The node''s relationships at as_of (NULL: now), oldest first: out of it, in to it, or both (one with itself once). '
    'Those whose other node is not seen at as_of are left out. Another direction is 22023, node_id NULL 22004; of an unknown node there are none.';

CREATE FUNCTION memory.traverse(
    start_nodes uuid[], max_depth integer DEFAULT 3, direction text DEFAULT 'out', relationship_types text[] DEFAULT NULL,
    min_strength real DEFAULT 0, as_of timestamptz DEFAULT NULL, max_nodes integer DEFAULT 100000,
    paths boolean DEFAULT true, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT node_id uuid, OUT depth integer, OUT parent_id uuid, OUT relationship_type text, OUT path uuid[]
) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'traverse';
COMMENT ON FUNCTION memory.traverse(uuid[], integer, text, text[], real, timestamptz, integer, boolean, text, text) IS
    'The nodes that can be reached from start_nodes along relationships of at least min_strength, of these types (NULL: all), '
    'valid at as_of (NULL: now), in max_depth steps at most: each once, at its least depth, by depth and node_id. A start node '
    'has depth 0 and no parent; of several parents the smallest, then the smallest type, stands. path runs from the start to '
    'the node, both included (NULL where paths is false). Unknown and invisible start nodes are skipped, and no walk passes '
    'through a node that is not seen. More than max_nodes rows: 54000, nothing returned. A negative max_depth, another '
    'direction than out, in or both, an unknown type are 22023. A breadth-first search, level by level: two index scans per '
    'level, some 5 to 10 µs per node reached.';

SELECT memory.allow('app', 'store_relationship', 'store_relationships', 'end_relationship', 'get_relationships', 'traverse');
