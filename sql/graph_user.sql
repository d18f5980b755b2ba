-- The knowledge graph: what is known of a user as such.

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

SELECT memory.declare_table('memory.user_metadata', 'user', '{user_id, metadata}');
SELECT memory.declare_personal('memory.user_metadata',
    '{"user_id": "user", "metadata": "clear", "tenant_id, created_at, updated_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'user_metadata');

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

SELECT memory.allow('app', 'get_user_stats', 'set_user_metadata', 'get_user_metadata');
