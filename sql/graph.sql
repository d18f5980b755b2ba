-- The knowledge graph: its tables, nodes and the relationships between them, and what the statements over them share.

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
) WITH (fillfactor = 85);
-- A node by its id is one index condition whatever range of users the context covers; whether it is valid, the index
-- says itself. No column that storing again or touching changes stands in an index, so those updates stay in the heap, and on their page
-- while it has room: then no index hears of them.
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

SELECT memory.declare_table('memory.nodes', 'user',
    '{user_id, session_id, content, context_type, summary, tags, metadata, entity_id, entity_type, entity_system}');
SELECT memory.declare_table('memory.relationships', 'user', '{user_id, relationship_type, metadata}');
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
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'nodes', 'relationships');

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

SELECT memory.allow('app', 'holds_at', 'merge_entity', 'check_end', 'check_direction', 'check_context_types');
