-- The knowledge graph: nodes, stored, read, touched, ended and deleted.

-- Whose a call is about is asked before anything else: as one side of a join, subject() is not called where the other
-- side has no row. Hence a statement of its own, or a LATERAL that needs its answer.

CREATE FUNCTION memory.store_node(
    content jsonb, context_type text, summary text DEFAULT NULL, tags text[] DEFAULT '{}', metadata jsonb DEFAULT '{}',
    base_relevance real DEFAULT 0.5, tier text DEFAULT 'private', session_id text DEFAULT NULL,
    valid_from timestamptz DEFAULT now(), expires_at timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'store_node_wrapper';
COMMENT ON FUNCTION memory.store_node(jsonb, text, text, text[], jsonb, real, text, text, timestamptz, timestamptz, text, text) IS
    'Stores a node; gives its id. content is an object; where it names entity_id and entity_system (strings or numbers) the node '
    'is an entity, stored once per user: storing it again gives the same id, merges content (entity_data deep, other keys: new '
    'wins), tags and metadata, takes summary and expires_at if given, counts in content.update_count and access_count, and '
    'revives it if it was ended or has expired; context_type, tier, base_relevance, session_id and valid_from stay. '
    'session_id NULL: the context''s; NULL elsewhere: the default. 22023: content no object, an unknown context_type or tier, '
    'base_relevance outside of 0 to 1; 54000: more than memory.max_payload_size.';

CREATE FUNCTION memory.store_nodes(
    nodes jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL,
    OUT ordinality bigint, OUT node_id uuid, OUT created boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 1000
AS 'MODULE_PATHNAME', 'store_nodes_wrapper';
COMMENT ON FUNCTION memory.store_nodes(jsonb, text, text) IS
    'store_node() of each element of an array of objects with its argument names (and user_id, in a service context), in one '
    'statement; all or none. Gives each element''s place, its node and whether it is new, in input order; of an entity that '
    'comes twice the first is new. An element that is wrong is 22023 and named by its place. Two batches at once never '
    'deadlock. Costs some 50 µs per element, the audit included.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.nodes FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.content ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('content', 'node', 'node_id');
COMMENT ON TRIGGER encrypt ON memory.nodes IS 'Encrypts the content but for what names the entity, where the tenant has that.';

CREATE FUNCTION memory.readable_nodes(node memory.nodes) RETURNS memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_nodes.node).content ? '_encrypted' THEN jsonb_populate_record(readable_nodes.node, jsonb_build_object('content',
        memory.decrypted((readable_nodes.node).tenant_id, (readable_nodes.node).user_id, 'node', (readable_nodes.node).node_id::text, '', (readable_nodes.node).content)))
        ELSE readable_nodes.node END;
END;
COMMENT ON FUNCTION memory.readable_nodes(memory.nodes) IS 'Internal: the node with its content decrypted, if it is encrypted.';

CREATE FUNCTION memory.get_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(get_nodes.tenant, get_nodes.user_id) AS s
    CROSS JOIN LATERAL (
        SELECT n, wanted.place
        FROM (
            SELECT asked.node_id, min(asked.place) AS place
            FROM unnest(get_nodes.node_ids) WITH ORDINALITY AS asked (node_id, place)
            GROUP BY asked.node_id
        ) AS wanted
        JOIN memory.nodes AS n ON n.node_id = wanted.node_id
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
        OFFSET 0
    ) AS found
    WHERE memory.check_needed('node_ids', get_nodes.node_ids) IS NOT NULL
        AND memory.note_read('get_nodes', get_nodes.tenant, get_nodes.user_id)
    ORDER BY found.place;
END;
COMMENT ON FUNCTION memory.get_nodes(uuid[], text, text) IS
    'The nodes with these ids, each once, in the order of the ids; unknown, ended and invisible ones are left out alike. NULL is 22004.';

CREATE FUNCTION memory.holds_tags(tags text[], asked text[]) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS 'MODULE_PATHNAME', 'holds_tags';
COMMENT ON FUNCTION memory.holds_tags(text[], text[]) IS
    'Internal: tags @> asked where both are long: each is looked up, not compared with all others, and it can be cancelled.';

CREATE FUNCTION memory.list_nodes(
    context_types text[] DEFAULT NULL, tags text[] DEFAULT NULL, max_nodes integer DEFAULT 100,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(list_nodes.tenant, list_nodes.user_id) AS s
    CROSS JOIN memory.check_context_types(list_nodes.context_types) AS asked (context_types)
    CROSS JOIN LATERAL (
        SELECT n, n.created_at, n.node_id
        FROM memory.nodes AS n
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
            AND (asked.context_types IS NULL OR n.context_type = ANY (asked.context_types))
            AND (list_nodes.tags IS NULL OR CASE
                WHEN cardinality(n.tags)::bigint * cardinality(list_nodes.tags) <= 100000 THEN n.tags @> list_nodes.tags
                ELSE memory.holds_tags(n.tags, list_nodes.tags) END)
        ORDER BY n.created_at DESC, n.node_id DESC
        LIMIT memory.check_positive('max_nodes', list_nodes.max_nodes)
    ) AS found
    WHERE memory.note_read('list_nodes', list_nodes.tenant, list_nodes.user_id)
    ORDER BY found.created_at DESC, found.node_id DESC;
END;
COMMENT ON FUNCTION memory.list_nodes(text[], text[], integer, text, text) IS
    'The newest nodes by created_at, of any of the context types and with all of the tags. An unknown context type is 22023, '
    'max_nodes below 1 too. Costs reading the nodes of the user (of the tenant, for a service that names none).';

CREATE FUNCTION memory.end_node(
    node_id uuid, valid_to timestamptz DEFAULT now(), tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(end_node.tenant, end_node.user_id);
    WITH ended AS (
        UPDATE memory.nodes AS n SET valid_to = memory.check_end(n.valid_from, end_node.valid_to), updated_at = now()
        FROM memory.subject(end_node.tenant, end_node.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = end_node.node_id
        RETURNING n.node_id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM ended), 'node', end_node.node_id::text)
    WHERE memory.subject(end_node.tenant, end_node.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_node(uuid, timestamptz, text, text) IS
    'From valid_to on the node is not seen any more, nor are its relationships; as_of before that still sees them. Ending it '
    'again moves the end. An unknown node is P0002, valid_to before the node''s valid_from 22023.';

SELECT memory.allow('app', 'store_node', 'store_nodes', 'readable_nodes', 'get_nodes', 'holds_tags', 'list_nodes', 'delete_nodes',
    'end_node', 'touch_nodes');
