-- The knowledge graph: nodes, relationships between them, and what is known of a user as such.

CREATE TABLE memory.nodes (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    node_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    session_id text COLLATE "C",
    content jsonb NOT NULL CHECK (jsonb_typeof(content) = 'object'),
    context_type text COLLATE "C" NOT NULL,
    summary text,
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    -- NaN is greater than every number.
    base_relevance real NOT NULL DEFAULT 0.5 CHECK (base_relevance BETWEEN 0 AND 1),
    tier text COLLATE "C" NOT NULL DEFAULT 'private' CHECK (tier IN ('private', 'shared', 'consensus')),
    entity_id text COLLATE "C",
    entity_type text COLLATE "C",
    entity_system text COLLATE "C",
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz CHECK (valid_to >= valid_from),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_accessed timestamptz NOT NULL DEFAULT now(),
    access_count bigint NOT NULL DEFAULT 1 CHECK (access_count >= 0),
    PRIMARY KEY (tenant_id, user_id, node_id),
    UNIQUE (tenant_id, user_id, entity_system, entity_id)
);
-- A node by its id is one index condition whatever range of users the context covers; whether it is valid, the index
-- says itself. No column that storing again or touching changes stands in an index, so those updates stay in the heap.
CREATE INDEX nodes_node_id_idx ON memory.nodes (tenant_id, node_id)
    INCLUDE (user_id, valid_from, valid_to, expires_at);
CREATE INDEX nodes_created_at_idx ON memory.nodes (tenant_id, user_id, created_at);
-- What may be unseen is little of all: a walk reads it once instead of asking each node.
CREATE INDEX nodes_bounded_idx ON memory.nodes (tenant_id, user_id, node_id)
    WHERE valid_to IS NOT NULL OR expires_at IS NOT NULL OR valid_from > created_at;
COMMENT ON TABLE memory.nodes IS
    'What a user''s agents know. A node whose content names entity_id and entity_system is an entity: stored once per user, '
    'merged when it is stored again. Write with store_node(), store_nodes(), end_node(), touch_nodes(), delete_nodes().';
COMMENT ON COLUMN memory.nodes.tenant_id IS 'Whose it is.';
COMMENT ON COLUMN memory.nodes.user_id IS 'Whose it is.';
COMMENT ON COLUMN memory.nodes.node_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.nodes.session_id IS 'The session that it was first stored in, if any.';
COMMENT ON COLUMN memory.nodes.content IS
    'An object. In an entity''s, update_count says how often it was stored again, last_updated when it last was (UTC).';
COMMENT ON COLUMN memory.nodes.context_type IS 'What it is: a word of memory.context_types.';
COMMENT ON COLUMN memory.nodes.summary IS 'For people and for search.';
COMMENT ON COLUMN memory.nodes.tags IS 'A set, in the order in which they came.';
COMMENT ON COLUMN memory.nodes.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.nodes.base_relevance IS 'From 0 to 1, as the application rates it; nothing ranks by it yet.';
COMMENT ON COLUMN memory.nodes.tier IS 'private, shared or consensus; a label for now.';
COMMENT ON COLUMN memory.nodes.entity_id IS 'content''s entity_id: what the system calls it.';
COMMENT ON COLUMN memory.nodes.entity_type IS 'content''s entity_type.';
COMMENT ON COLUMN memory.nodes.entity_system IS 'content''s entity_system: where the id is unique.';
COMMENT ON COLUMN memory.nodes.valid_from IS 'From when on it holds.';
COMMENT ON COLUMN memory.nodes.valid_to IS 'Until when it holds, itself excluded; NULL: no end.';
COMMENT ON COLUMN memory.nodes.expires_at IS 'From then on it is unseen, and clean_expired() removes it; NULL: never.';
COMMENT ON COLUMN memory.nodes.created_at IS 'When it was first stored.';
COMMENT ON COLUMN memory.nodes.updated_at IS 'When it was last stored or ended.';
COMMENT ON COLUMN memory.nodes.last_accessed IS 'When it was last stored or touched.';
COMMENT ON COLUMN memory.nodes.access_count IS 'How often it was stored or touched.';

CREATE TABLE memory.relationships (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    from_node_id uuid NOT NULL,
    to_node_id uuid NOT NULL,
    relationship_type text COLLATE "C" NOT NULL,
    strength real NOT NULL DEFAULT 1 CHECK (strength BETWEEN 0 AND 1),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz CHECK (valid_to >= valid_from),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, id),
    FOREIGN KEY (tenant_id, user_id, from_node_id) REFERENCES memory.nodes ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id, to_node_id) REFERENCES memory.nodes ON DELETE CASCADE
);
CREATE UNIQUE INDEX relationships_current_key ON memory.relationships
    (tenant_id, user_id, from_node_id, to_node_id, relationship_type) WHERE valid_to IS NULL;
-- A step of a walk reads one of these and nothing else. They serve the foreign keys too.
CREATE INDEX relationships_out_idx ON memory.relationships (tenant_id, from_node_id)
    INCLUDE (to_node_id, relationship_type, strength, valid_from, valid_to, user_id);
CREATE INDEX relationships_in_idx ON memory.relationships (tenant_id, to_node_id)
    INCLUDE (from_node_id, relationship_type, strength, valid_from, valid_to, user_id);
COMMENT ON TABLE memory.relationships IS
    'Relationships between two nodes of one user, or of a node with itself; at most one current of each type and direction. '
    'Write with store_relationship(), store_relationships(), end_relationship().';
COMMENT ON COLUMN memory.relationships.tenant_id IS 'Whose it is, and both its nodes.';
COMMENT ON COLUMN memory.relationships.user_id IS 'Whose it is, and both its nodes.';
COMMENT ON COLUMN memory.relationships.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.relationships.from_node_id IS 'Where it starts.';
COMMENT ON COLUMN memory.relationships.to_node_id IS 'Where it ends.';
COMMENT ON COLUMN memory.relationships.relationship_type IS 'What it says: a word of memory.relationship_types.';
COMMENT ON COLUMN memory.relationships.strength IS 'From 0 to 1; traverse() can ask for a least one.';
COMMENT ON COLUMN memory.relationships.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.relationships.valid_from IS 'From when on it holds.';
COMMENT ON COLUMN memory.relationships.valid_to IS 'Until when it holds, itself excluded; NULL: it is current.';
COMMENT ON COLUMN memory.relationships.created_at IS 'When it was first stored.';

CREATE TABLE memory.user_metadata (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE memory.user_metadata IS 'What is known of a user as such. Write with set_user_metadata().';
COMMENT ON COLUMN memory.user_metadata.tenant_id IS 'Whose it is.';
COMMENT ON COLUMN memory.user_metadata.user_id IS 'Whose it is.';
COMMENT ON COLUMN memory.user_metadata.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.user_metadata.created_at IS 'When it was first set.';
COMMENT ON COLUMN memory.user_metadata.updated_at IS 'When it was last set.';

SELECT memory.declare_table('memory.nodes', 'user',
    '{user_id, session_id, content, context_type, summary, tags, metadata, entity_id, entity_type, entity_system}');
SELECT memory.declare_table('memory.relationships', 'user', '{user_id, relationship_type, metadata}');
SELECT memory.declare_table('memory.user_metadata', 'user', '{user_id, metadata}');
-- A graph in memory is of relationships, and of when their nodes are seen.
SELECT memory.declare_kept('memory.relationships');
CREATE TRIGGER kept_validity BEFORE UPDATE ON memory.nodes FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.user_id, OLD.node_id, OLD.valid_from, OLD.valid_to, OLD.expires_at) IS DISTINCT FROM
          (NEW.tenant_id, NEW.user_id, NEW.node_id, NEW.valid_from, NEW.valid_to, NEW.expires_at))
    EXECUTE FUNCTION memory.kept_changed('relationships');
ALTER TABLE memory.nodes ENABLE ALWAYS TRIGGER kept_validity;
COMMENT ON TRIGGER kept_validity ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph.';
-- A node that comes has no relationships, and one that goes takes them along; but not where no foreign key is watched.
CREATE TRIGGER kept_insert AFTER INSERT ON memory.nodes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.kept_changed('relationships');
CREATE TRIGGER kept_delete AFTER DELETE ON memory.nodes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.kept_changed('relationships');
ALTER TABLE memory.nodes ENABLE REPLICA TRIGGER kept_insert, ENABLE REPLICA TRIGGER kept_delete;
COMMENT ON TRIGGER kept_insert ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph, in logical replication.';
COMMENT ON TRIGGER kept_delete ON memory.nodes IS 'Keeps fresh what is kept in memory of the graph, in logical replication.';
SELECT memory.declare_personal('memory.nodes', '{
    "user_id": "user", "node_id": "pseudonym:node", "session_id": "pseudonym:session", "entity_id": "pseudonym:entity",
    "entity_type": "pseudonym:entity_type", "entity_system": "pseudonym:entity_system", "context_type": "word:context_types",
    "content, summary, tags, metadata": "clear",
    "tenant_id, base_relevance, tier, valid_from, valid_to, expires_at, created_at, updated_at, last_accessed, access_count": "keep"}');
SELECT memory.declare_personal('memory.relationships', '{
    "user_id": "user", "id": "pseudonym:relationship", "from_node_id, to_node_id": "pseudonym:node",
    "relationship_type": "word:relationship_types", "metadata": "clear",
    "tenant_id, strength, valid_from, valid_to, created_at": "keep"}');
SELECT memory.declare_personal('memory.user_metadata',
    '{"user_id": "user", "metadata": "clear", "tenant_id, created_at, updated_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'nodes', 'relationships', 'user_metadata');

-- Internal helpers, each one statement's part.

CREATE FUNCTION memory.holds_at(
    valid_from timestamptz, valid_to timestamptz, expires_at timestamptz, as_of timestamptz
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT holds_at.valid_from <= holds_at.as_of
        AND (holds_at.valid_to IS NULL OR holds_at.valid_to > holds_at.as_of)
        AND (holds_at.expires_at IS NULL OR holds_at.expires_at > holds_at.as_of);
END;
COMMENT ON FUNCTION memory.holds_at(timestamptz, timestamptz, timestamptz, timestamptz) IS
    'Internal: whether something with this validity, [valid_from, valid_to) and before expires_at, is seen at as_of.';

CREATE FUNCTION memory.merge_entity(old jsonb, new jsonb, stores bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'merge_entity';
COMMENT ON FUNCTION memory.merge_entity(jsonb, jsonb, bigint) IS
    'Internal: an entity''s content after it was stored again: entity_data merged deep, other keys of new win, update_count plus stores. '
    '54000 when that passes memory.max_payload_size.';

CREATE FUNCTION memory.check_end(valid_from timestamptz, valid_to timestamptz) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_end_wrapper';
COMMENT ON FUNCTION memory.check_end(timestamptz, timestamptz) IS
    'Internal: valid_to (NULL: now), if it is not before valid_from, else 22023.';

CREATE FUNCTION memory.check_direction(direction text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_direction';
COMMENT ON FUNCTION memory.check_direction(text) IS 'Internal: the direction, if it is out, in or both; else 22023, NULL 22004.';

CREATE FUNCTION memory.check_context_types(context_types text[]) RETURNS text[]
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'check_context_types_wrapper';
COMMENT ON FUNCTION memory.check_context_types(text[]) IS
    'Internal: the words, if all are context types; else 22023 with the nearest known one in the hint. NULL stands for all.';

-- Nodes. Whose a call is about is asked before anything else: as one side of a join, subject() is not called where the other
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
SELECT memory.allow('app', 'readable_nodes');

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
    WHERE memory.note_read('get_nodes', get_nodes.tenant, get_nodes.user_id)
    ORDER BY found.place;
END;
COMMENT ON FUNCTION memory.get_nodes(uuid[], text, text) IS
    'The nodes with these ids, each once, in the order of the ids; unknown, ended and invisible ones are left out alike.';

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

-- Every writer of nodes locks them in this order first, and only the next statement, whose snapshot sees what was locked,
-- changes them: a change by way of an older version waits for others who wait for this transaction.
CREATE FUNCTION memory.delete_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(delete_nodes.tenant, delete_nodes.user_id);
    SELECT n.node_id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
    WHERE n.node_id = ANY (delete_nodes.node_ids)
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR UPDATE OF n;
    -- The cascade takes a node's relationships one node after the other: two deletions at once, of the two ends of several, would wait
    -- for each other. None is added meanwhile: that takes a lock on both nodes.
    SELECT r.id
    FROM memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
    JOIN memory.relationships AS r ON r.tenant_id = s.tenant_id AND r.user_id = s.subject_id
    WHERE r.from_node_id = ANY (delete_nodes.node_ids) OR r.to_node_id = ANY (delete_nodes.node_ids)
    ORDER BY r.id
    FOR UPDATE OF r;
    WITH deleted AS (
        DELETE FROM memory.nodes AS n
        USING memory.subject(delete_nodes.tenant, delete_nodes.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = ANY (delete_nodes.node_ids)
        RETURNING n.node_id
    )
    SELECT count(*) FROM deleted WHERE memory.subject(delete_nodes.tenant, delete_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.delete_nodes(uuid[], text, text) IS
    'Deletes nodes, ended ones too, with their relationships; gives how many there were. end_node() keeps the past. A '
    'held user is 55000.';

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

CREATE FUNCTION memory.touch_nodes(node_ids uuid[], tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT FROM memory.writer(touch_nodes.tenant, touch_nodes.user_id);
    SELECT n.node_id
    FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s
    JOIN memory.nodes AS n ON n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
    WHERE n.node_id = ANY (touch_nodes.node_ids)
        AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
    ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id
    FOR NO KEY UPDATE OF n;
    WITH touched AS (
        UPDATE memory.nodes AS n SET last_accessed = now(), access_count = n.access_count + 1
        FROM memory.subject(touch_nodes.tenant, touch_nodes.user_id) AS s
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id AND n.node_id = ANY (touch_nodes.node_ids)
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
        RETURNING n.node_id
    )
    SELECT count(*) FROM touched WHERE memory.subject(touch_nodes.tenant, touch_nodes.user_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.touch_nodes(uuid[], text, text) IS
    'Counts an access to each of these nodes (last_accessed, access_count); gives how many there were.';

-- Relationships.

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
    ) AND memory.note_read('get_relationships', get_relationships.tenant, get_relationships.user_id)
    ORDER BY found.id;
END;
COMMENT ON FUNCTION memory.get_relationships(uuid, text, timestamptz, text, text) IS
    'The node''s relationships at as_of (NULL: now), oldest first: out of it, in to it, or both (one with itself once). '
    'Those whose other node is not seen at as_of are left out. Another direction is 22023; of an unknown node there are none.';

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

-- What is one user's by nature.

CREATE FUNCTION memory.get_user_stats(
    tenant text DEFAULT NULL, user_id text DEFAULT NULL, OUT total_nodes bigint, OUT total_relationships bigint,
    OUT entities bigint, OUT first_activity timestamptz, OUT last_activity timestamptz
) RETURNS record
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT n.total_nodes, r.total_relationships, n.entities, n.first_activity,
        greatest(n.last_activity, r.last_activity)
    FROM memory.subject(get_user_stats.tenant, get_user_stats.user_id) AS s
    CROSS JOIN statement_timestamp() AS moment (as_of)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_nodes,
            count(*) FILTER (WHERE n.entity_id IS NOT NULL AND n.entity_system IS NOT NULL) AS entities,
            min(n.created_at) AS first_activity, max(greatest(n.updated_at, n.last_accessed)) AS last_activity
        FROM memory.nodes AS n
        WHERE n.tenant_id = s.tenant_id AND n.user_id = s.subject_id
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, moment.as_of)
    ) AS n
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_relationships, max(r.created_at) AS last_activity
        FROM memory.relationships AS r
        JOIN memory.nodes AS f ON f.tenant_id = r.tenant_id AND f.user_id = r.user_id AND f.node_id = r.from_node_id
        JOIN memory.nodes AS t ON t.tenant_id = r.tenant_id AND t.user_id = r.user_id AND t.node_id = r.to_node_id
        WHERE r.tenant_id = s.tenant_id AND r.user_id = s.subject_id
            AND memory.holds_at(r.valid_from, r.valid_to, NULL, moment.as_of)
            AND memory.holds_at(f.valid_from, f.valid_to, f.expires_at, moment.as_of)
            AND memory.holds_at(t.valid_from, t.valid_to, t.expires_at, moment.as_of)
    ) AS r
    WHERE memory.note_read('get_user_stats', get_user_stats.tenant, get_user_stats.user_id);
END;
COMMENT ON FUNCTION memory.get_user_stats(text, text) IS
    'How many nodes, relationships (between two of these nodes) and entities the user has now, counted; first_activity is when '
    'the oldest of these nodes was stored, last_activity when one was last stored or touched or a relationship was added.';

CREATE FUNCTION memory.set_user_metadata(metadata jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO memory.user_metadata AS m (tenant_id, user_id, metadata)
    SELECT s.tenant_id, s.subject_id, memory.check_object('metadata', set_user_metadata.metadata)
    FROM memory.writer(set_user_metadata.tenant, set_user_metadata.user_id) AS s
    ON CONFLICT (tenant_id, user_id) DO UPDATE SET metadata = m.metadata || excluded.metadata, updated_at = now()
    RETURNING m.metadata;
END;
COMMENT ON FUNCTION memory.set_user_metadata(jsonb, text, text) IS
    'Merges an object into what is known of the user, key by key (new wins); gives the whole. No object: 22023.';

CREATE FUNCTION memory.get_user_metadata(tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT m.metadata FROM memory.user_metadata AS m WHERE m.tenant_id = s.tenant_id AND m.user_id = s.subject_id), '{}')
    FROM memory.subject(get_user_metadata.tenant, get_user_metadata.user_id) AS s
    WHERE memory.note_read('get_user_metadata', get_user_metadata.tenant, get_user_metadata.user_id);
END;
COMMENT ON FUNCTION memory.get_user_metadata(text, text) IS 'What is known of the user; {} if nothing is.';

SELECT memory.allow('app', 'holds_at', 'holds_tags', 'merge_entity', 'check_end', 'check_direction', 'check_context_types',
    'store_node', 'store_nodes', 'get_nodes', 'list_nodes', 'delete_nodes', 'end_node', 'touch_nodes',
    'store_relationship', 'store_relationships', 'end_relationship', 'get_relationships', 'traverse',
    'get_user_stats', 'set_user_metadata', 'get_user_metadata');
