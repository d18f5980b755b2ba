-- Search in the knowledge graph: by words and by embeddings, and for a part of a text.

CREATE FUNCTION memory.contains_text(content text, part text) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20
AS 'MODULE_PATHNAME', 'contains_text';
COMMENT ON FUNCTION memory.contains_text(text, text) IS
    'Internal: whether a text contains another, case ignored as Unicode knows it, in every locale.';

-- pg_trgm stands in whatever schema it was put; the function is bound to it by its OID. Words count, not the whole: a
-- query is like a long text if it is like some words of it.
DO $$
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.is_similar(query text, content text) RETURNS boolean
        LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 100
        BEGIN ATOMIC
            SELECT %I.word_similarity(is_similar.query, is_similar.content) >= 0.4;
        END
    $sql$, (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'pg_trgm'));
END
$$;
COMMENT ON FUNCTION memory.is_similar(text, text) IS
    'Internal: whether a query is like some words of a text: pg_trgm''s word_similarity is at least 0.4.';

CREATE FUNCTION memory.search_nodes(
    query text, context_types text[] DEFAULT NULL, max_results integer DEFAULT 50, fuzzy boolean DEFAULT false,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.nodes
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT memory.readable_nodes(found.n)
    FROM memory.scope(search_nodes.tenant, search_nodes.user_id) AS s
    CROSS JOIN memory.check_context_types(search_nodes.context_types) AS asked (context_types)
    -- In content's text a quote or a backslash stands escaped: the query is looked for in both forms.
    CROSS JOIN LATERAL (
        SELECT checked.query, substr(escaped.query, 2, length(escaped.query) - 2) AS escaped
        FROM memory.check_text('query', search_nodes.query) AS checked (query)
        CROSS JOIN LATERAL CAST(to_jsonb(checked.query) AS text) AS escaped (query)
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT n, hit.in_summary, n.created_at, n.node_id
        FROM memory.nodes AS n
        CROSS JOIN LATERAL (
            SELECT coalesce(CASE WHEN search_nodes.fuzzy THEN memory.is_similar(wanted.query, n.summary)
                ELSE memory.contains_text(n.summary, wanted.query) END, false) AS in_summary
            OFFSET 0
        ) AS hit
        WHERE n.tenant_id = s.tenant_id AND n.user_id BETWEEN s.user_low AND s.user_high
            AND memory.holds_at(n.valid_from, n.valid_to, n.expires_at, statement_timestamp())
            AND (asked.context_types IS NULL OR n.context_type = ANY (asked.context_types))
            AND (hit.in_summary OR CASE WHEN n.content ? '_encrypted' THEN false
                WHEN search_nodes.fuzzy THEN memory.is_similar(wanted.query, n.content::text)
                ELSE memory.contains_text(n.content::text, wanted.query)
                    OR (wanted.escaped <> wanted.query AND memory.contains_text(n.content::text, wanted.escaped)) END)
        ORDER BY hit.in_summary DESC, n.created_at DESC, n.node_id DESC
        LIMIT memory.check_positive('max_results', search_nodes.max_results)
    ) AS found
    WHERE memory.check_needed('fuzzy', search_nodes.fuzzy) IS NOT NULL
        AND memory.note_read('search_nodes', search_nodes.tenant, search_nodes.user_id)
    ORDER BY found.in_summary DESC, found.created_at DESC, found.node_id DESC;
END;
COMMENT ON FUNCTION memory.search_nodes(text, text[], integer, boolean, text, text) IS
    'The nodes whose summary or content (its JSON text: keys, values) contains the query, case ignored; fuzzy: is like it by '
    'trigram similarity. Those whose summary does come first, the newest first. An empty query, an unknown context type or '
    'max_results below 1 is 22023. Reads all the nodes of the user (of the tenant, for a service that names none): some 5 µs '
    'per node, fuzzy some 20.';

-- A hit's neighbours in its session, in their order; no update moves a node in it but one that says when it holds.
CREATE INDEX nodes_session_idx ON memory.nodes (tenant_id, user_id, session_id, valid_from, node_id) WHERE session_id IS NOT NULL;

-- pgvector stands in whatever schema it was put; the function is bound to its type by the OID.
DO $$
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.search(
            query text DEFAULT NULL, embedding %1$I.vector DEFAULT NULL, model text DEFAULT NULL, context_types text[] DEFAULT NULL,
            tags text[] DEFAULT NULL, tiers text[] DEFAULT NULL, filter jsonb DEFAULT NULL, as_of timestamptz DEFAULT NULL,
            expand_depth integer DEFAULT 0, neighbours integer DEFAULT 0, max_results integer DEFAULT 10, half_life interval DEFAULT NULL,
            tenant text DEFAULT NULL, user_id text DEFAULT NULL,
            OUT node_id uuid, OUT score double precision, OUT text_rank integer, OUT text_score double precision,
            OUT vector_rank integer, OUT vector_score double precision, OUT graph_depth integer, OUT summary text, OUT content jsonb
        ) RETURNS SETOF record
        LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000
        AS 'MODULE_PATHNAME', 'search';

        COMMENT ON FUNCTION memory.search(
            text, %1$I.vector, text, text[], text[], text[], jsonb, timestamptz, integer, integer, integer, interval, text, text
        ) IS
            'The nodes that match a query by its words (BM25: any word may match, rare ones weigh more; "a phrase" as a whole; -word is not there), by its '
            'embedding, or by both, best first. Only what is seen at as_of (NULL: now) and passes the filters is ranked: any of the context types, all of '
            'the tags, any of the tiers, content @> filter. neighbours: so many rows on each side of a hit in its session, by valid_from, come along, and hits that '
            'stand near each other support each other; expand_depth: so many steps along relationships; both within max_results. half_life: what '
            'is that old counts half. text_rank and vector_rank say where a row stood in each leg, text_score (BM25) and vector_score why; graph_depth '
            'is 0 for a hit, the steps for what relationships brought, NULL for a neighbour. Equal scores come by node_id. 22023: query and embedding '
            'both NULL, an unknown model, context type or tier, a number out of range, half_life not above zero. Costs some 0.5 µs per node in the scope.';
    $sql$, (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            WHERE e.extname = 'vector'));
END
$$;

SELECT memory.allow('app', 'contains_text', 'is_similar', 'search', 'search_nodes');
