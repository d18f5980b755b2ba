-- The documents that search reads: a node's words, kept beside it by a trigger. And the language that they are read in.

-- Nothing refers from here to nodes: to check that for each document would cost as much as making it. The trigger on nodes is what keeps both
-- together; nobody else may write here.
CREATE TABLE memory.search_documents (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    node_id uuid NOT NULL,
    part integer NOT NULL,
    terms bytea NOT NULL
);
-- In the index as it is: hashes do not compress. Said before the index is made, which takes it over.
ALTER TABLE memory.search_documents ALTER COLUMN terms SET STORAGE PLAIN;
-- A search reads a user's part of this index, and nothing else, from one end to the other.
ALTER TABLE memory.search_documents ADD PRIMARY KEY (tenant_id, user_id, node_id, part) INCLUDE (terms);
COMMENT ON TABLE memory.search_documents IS
    'What search reads instead of nodes: the words of summary, content and tags as hashes. Derived: a trigger on nodes keeps it; not audited.';
COMMENT ON COLUMN memory.search_documents.tenant_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.search_documents.user_id IS 'Whose it is, and its node.';
COMMENT ON COLUMN memory.search_documents.node_id IS 'The node.';
COMMENT ON COLUMN memory.search_documents.part IS 'Counted from 0: a long document has several.';
COMMENT ON COLUMN memory.search_documents.terms IS
    'The language, the document''s length, and hashes of its words with how often each stands there (src/search/document.rs).';

SELECT memory.declare_table('memory.search_documents', 'user', '{user_id, terms}', audited => false);
SELECT memory.declare_personal('memory.search_documents',
    '{"user_id": "user", "node_id": "pseudonym:node", "terms": "clear", "tenant_id, part": "keep"}');
SELECT memory.allow_table('app', 'SELECT', 'search_documents');

CREATE TABLE memory.search_languages (
    tenant_id uuid PRIMARY KEY,
    config_schema text COLLATE "C" NOT NULL,
    config_name text COLLATE "C" NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE memory.search_languages IS
    'In which text search configuration a tenant''s texts are read, where it is not memory.text_search_config. Written by set_search_language().';
COMMENT ON COLUMN memory.search_languages.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.search_languages.config_schema IS 'The configuration''s schema.';
COMMENT ON COLUMN memory.search_languages.config_name IS 'The configuration''s name.';
COMMENT ON COLUMN memory.search_languages.set_at IS 'When it was last set.';
SELECT memory.declare_table('memory.search_languages', 'service', '{config_schema, config_name}');
SELECT memory.allow_table('service', 'SELECT', 'search_languages');

CREATE FUNCTION memory.document_parts(tenant_id uuid, owner text, summary text, content jsonb, tags text[]) RETURNS bytea[]
LANGUAGE c STABLE COST 1000
AS 'MODULE_PATHNAME', 'document_parts';
COMMENT ON FUNCTION memory.document_parts(uuid, text, text, jsonb, text[]) IS
    'Internal: the parts of a node''s document, in the tenant''s language. The first 1 MB of text counts. Some 4 µs per 100 bytes.';

-- The trigger writes as its owner: nobody else may write documents.
CREATE FUNCTION memory.documents_follow() RETURNS trigger
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'documents_follow';
COMMENT ON FUNCTION memory.documents_follow() IS
    'Trigger: keeps the documents of the nodes that a statement wrote. Stands aside in a restore (session_user a superuser, row_security off).';

CREATE TRIGGER documents_insert AFTER INSERT ON memory.nodes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_update AFTER UPDATE ON memory.nodes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_delete AFTER DELETE ON memory.nodes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
CREATE TRIGGER documents_truncate AFTER TRUNCATE ON memory.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION memory.documents_follow();
COMMENT ON TRIGGER documents_insert ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_update ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_delete ON memory.nodes IS 'Keeps memory.search_documents.';
COMMENT ON TRIGGER documents_truncate ON memory.nodes IS 'Keeps memory.search_documents.';

-- Both run as their owner: an operator has no context, and no privilege on what they write.

CREATE FUNCTION memory.set_search_language(tenant text, config regconfig) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'set_search_language';
COMMENT ON FUNCTION memory.set_search_language(text, regconfig) IS
    'From now on the tenant''s nodes are read in this text search configuration (its stop words, its stemming); NULL: in '
    'memory.text_search_config. Documents that are there stay as they were read, and are found as they were, until rebuild_search_documents() '
    'has read them again. An operator''s. P0002: an unknown tenant.';

CREATE FUNCTION memory.rebuild_search_documents(
    tenant text, batch_size integer DEFAULT 10000, OUT rebuilt bigint, OUT more boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'rebuild_search_documents_wrapper';
COMMENT ON FUNCTION memory.rebuild_search_documents(text, integer) IS
    'Reads again what was read in another language than the tenant''s texts are read in now, or was written while the trigger was off: at most '
    'batch_size nodes, which are locked against change meanwhile; call it until more is false. An operator''s. Some 50 µs per node, and looking '
    'through the tenant''s nodes. P0002: an unknown tenant; 22023: batch_size below 1.';

SELECT memory.allow('operator', 'set_search_language', 'rebuild_search_documents');
