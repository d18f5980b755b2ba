-- Embedding spaces: for each model one table of the vectors that stand for nodes.
--
-- memory.embeddings is their common shape and holds no row itself. A space is a table that inherits from it, made at run time by
-- create_embedding_space() and no member of the extension, so that pg_dump carries it: with keys, row-level security, audit and
-- privileges of its own. What is said of all embeddings (export, erasure) is said to memory.embeddings and reaches every space.

CREATE TABLE memory.embedding_spaces (
    model text COLLATE "C" PRIMARY KEY CHECK (octet_length(model) BETWEEN 1 AND 100),
    relation text COLLATE "C" NOT NULL UNIQUE,
    dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    distance text COLLATE "C" NOT NULL CHECK (distance IN ('cosine', 'l2', 'ip')),
    quantization text COLLATE "C" NOT NULL CHECK (quantization IN ('none', 'half', 'binary')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.embedding_spaces IS
    'The models whose embeddings are kept. Write with create_embedding_space(), drop_embedding_space().';
COMMENT ON COLUMN memory.embedding_spaces.model IS 'What the application calls the model.';
COMMENT ON COLUMN memory.embedding_spaces.relation IS 'The table of its embeddings, in schema memory.';
COMMENT ON COLUMN memory.embedding_spaces.dimensions IS 'How many numbers an embedding has.';
COMMENT ON COLUMN memory.embedding_spaces.distance IS 'How near is measured: cosine, l2 or ip.';
COMMENT ON COLUMN memory.embedding_spaces.quantization IS
    'How an index for large scopes holds the vectors: none (whole), half or binary. The vectors themselves are kept whole.';
COMMENT ON COLUMN memory.embedding_spaces.created_at IS 'When it was made.';
SELECT memory.declare_table('memory.embedding_spaces', 'shared');
SELECT memory.allow_table('app', 'SELECT', 'embedding_spaces');
SELECT memory.allow_table('operator', 'SELECT', 'embedding_spaces');

-- pgvector stands in whatever schema it was put; what is made here is bound to its types by their OIDs.
DO $$
DECLARE
    vectors name := (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
                     WHERE e.extname = 'vector');
BEGIN
    EXECUTE format($sql$
        CREATE FUNCTION memory.embedding_code(embedding %1$I.vector, beside text) RETURNS bytea
        LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
        AS 'MODULE_PATHNAME', 'embedding_code';

        CREATE TABLE memory.embeddings (
            tenant_id uuid NOT NULL,
            user_id text COLLATE "C" NOT NULL,
            node_id uuid NOT NULL,
            vector_type text COLLATE "C" NOT NULL DEFAULT 'knowledge'
                CHECK (vector_type IN ('query', 'response', 'context', 'knowledge')),
            model text COLLATE "C" NOT NULL,
            embedding %1$I.vector NOT NULL,
            code bytea GENERATED ALWAYS AS (memory.embedding_code(embedding, user_id)) STORED,
            indexed boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant_id, user_id, model, node_id, vector_type),
            CONSTRAINT embeddings_go_into_a_space CHECK (false) NO INHERIT
        );

        CREATE FUNCTION memory.store_embedding(
            model text, node_id uuid, embedding %1$I.vector, vector_type text DEFAULT 'knowledge',
            tenant text DEFAULT NULL, user_id text DEFAULT NULL
        ) RETURNS void
        LANGUAGE c VOLATILE
        AS 'MODULE_PATHNAME', 'store_embedding';

        CREATE FUNCTION memory.store_embeddings(
            model text, node_ids uuid[], embeddings %1$I.vector[], vector_type text DEFAULT 'knowledge',
            tenant text DEFAULT NULL, user_id text DEFAULT NULL
        ) RETURNS bigint
        LANGUAGE c VOLATILE
        AS 'MODULE_PATHNAME', 'store_embeddings';

        CREATE FUNCTION memory.nearest_nodes(
            embedding %1$I.vector, model text DEFAULT NULL, context_types text[] DEFAULT NULL, tags text[] DEFAULT NULL,
            tiers text[] DEFAULT NULL, filter jsonb DEFAULT NULL, as_of timestamptz DEFAULT NULL, max_results integer DEFAULT 10,
            tenant text DEFAULT NULL, user_id text DEFAULT NULL, OUT node_id uuid, OUT score double precision
        ) RETURNS SETOF record
        LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
        AS 'MODULE_PATHNAME', 'nearest_nodes_wrapper';

        COMMENT ON FUNCTION memory.nearest_nodes(%1$I.vector, text, text[], text[], text[], jsonb, timestamptz, integer, text, text) IS
            'The vector leg of a search by itself: of the nodes that are seen at as_of (NULL: now) and pass the filters (any of the context types, all of '
            'the tags, any of the tiers, content @> filter), the nearest to embedding in the space of model (NULL: the only one), nearest first, each once, by the best '
            'of its vectors. score, greater is nearer: the cosine of the angle, the negative Euclidean distance, or the inner product, as the space has it. Exact, '
            'but for a user whose embeddings index_embeddings() has moved. '
            'The errors of store_embedding(); an unknown context type or tier, max_results below 1 is 22023. Costs some 0.3 µs per vector in the scope.';

        COMMENT ON FUNCTION memory.embedding_code(%1$I.vector, text) IS
            'Internal: a vector in one byte per dimension, behind its scale, the norm of what that loses and its norm (12 bytes), for the '
            'primary key''s index to hold beside the key; NULL where the two and the user''s id are too long for that. See src/search/code.rs.';
        COMMENT ON FUNCTION memory.store_embedding(text, uuid, %1$I.vector, text, text, text) IS
            'Stores the vector that stands for a node in a model''s space. There is one of each vector_type (query, response, context, '
            'knowledge): again replaces it. It goes when its node is deleted. An unknown node is P0002; an unknown model or vector_type, another '
            'number of dimensions, in a cosine space a vector without a direction (all zero) is 22023. Costs some 100 µs, the audit '
            'included, whose entry names the row without its vector.';
        COMMENT ON FUNCTION memory.store_embeddings(text, uuid[], %1$I.vector[], text, text, text) IS
            'store_embedding() of many nodes of one user, in one statement; all or none. Gives how many were stored: of a node that comes '
            'twice the last vector. Arrays of different lengths are 22023, a NULL in them is 22004; what is wrong is named by its place. Two '
            'batches at once never deadlock. Costs some 50 µs per vector of 384 dimensions.';
    $sql$, vectors);
END
$$;
-- Out of line only where it must be: what is ranked is read from here. The code is never compressed, so that it is read in its place.
ALTER TABLE memory.embeddings ALTER COLUMN code SET STORAGE EXTERNAL;
COMMENT ON TABLE memory.embeddings IS
    'The vectors of all models: the common shape of the spaces'' tables, which inherit from it. Write with store_embedding(), '
    'store_embeddings().';
COMMENT ON COLUMN memory.embeddings.tenant_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.embeddings.user_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.embeddings.node_id IS 'What it stands for.';
COMMENT ON COLUMN memory.embeddings.vector_type IS 'Of what of the node: query, response, context or knowledge.';
COMMENT ON COLUMN memory.embeddings.model IS 'The space: memory.embedding_spaces.model.';
COMMENT ON COLUMN memory.embeddings.embedding IS 'The vector.';
COMMENT ON COLUMN memory.embeddings.code IS 'The vector in one byte per dimension, for ranking; computed.';
COMMENT ON COLUMN memory.embeddings.indexed IS
    'Whether it is found by the index for large scopes, not by reading the user''s codes. index_embeddings() moves it there.';
COMMENT ON COLUMN memory.embeddings.created_at IS 'When it was first stored.';
COMMENT ON COLUMN memory.embeddings.updated_at IS 'When it was last stored.';
SELECT memory.declare_table('memory.embeddings', 'user', '{user_id, vector_type, model, embedding, code}');
-- An UPDATE of this table, which changes rows of the spaces, fires triggers of this table only.
SELECT memory.declare_kept('memory.embeddings');
SELECT memory.declare_personal('memory.embeddings', '{
    "user_id": "user", "node_id": "pseudonym:node", "vector_type, model, embedding, code": "clear",
    "tenant_id, indexed, created_at, updated_at": "keep"}', 'delete always');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'embeddings');

-- An operator may not make tables here: these run as their owner, whose the tables are to be.
CREATE FUNCTION memory.create_embedding_space(
    model text, dimensions integer DEFAULT 384, distance text DEFAULT 'cosine', quantization text DEFAULT 'none'
) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'create_embedding_space_wrapper';
COMMENT ON FUNCTION memory.create_embedding_space(text, integer, text, text) IS
    'Makes room for the embeddings of a model, of 1 to 16000 dimensions; distance: cosine, l2 or ip (inner product); quantization: none, half or '
    'binary. Any number of models stand side by side. An operator''s. A model that has a space already, or is longer than 100 bytes, is '
    '22023, as is any other value.';

CREATE FUNCTION memory.drop_embedding_space(model text) RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'drop_embedding_space_wrapper';
COMMENT ON FUNCTION memory.drop_embedding_space(text) IS
    'Removes a model''s space with the embeddings in it, all tenants''; gives how many there were. Waits for the transactions that use it. '
    'An operator''s. An unknown model is 22023; one with embeddings of somebody under a legal hold is 55000.';

-- Runs as its owner: an operator may not read what it moves.
CREATE FUNCTION memory.index_embeddings(
    batch_size integer DEFAULT 1000, large integer DEFAULT 20000, OUT indexed bigint, OUT more boolean
) RETURNS record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'index_embeddings_wrapper';
COMMENT ON FUNCTION memory.index_embeddings(integer, integer) IS
    'Moves embeddings of users with more than large of them in a space into its HNSW index, batch_size rows per call; gives how many, and whether '
    'more wait: call it, and COMMIT, until none do, and again now and then. What is not moved is found all the same, in time linear to its number: the '
    'index is for speed. Users who are being erased are passed over. Some 1 ms per row, and reading the keys of those not moved yet. Spaces of more dimensions than '
    'HNSW takes (2000; half 4000) have no index. batch_size or large below 1 is 22023. An operator''s.';

SELECT memory.allow('app', 'embedding_code', 'store_embedding', 'store_embeddings', 'nearest_nodes');
SELECT memory.allow('operator', 'create_embedding_space', 'drop_embedding_space', 'index_embeddings');
