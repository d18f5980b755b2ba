-- Users with many embeddings: moved into the HNSW index of their space, they are found as before; what is not moved yet, is written
-- later or passes a filter that hardly anything passes is found with them.
INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-0000000000e4', 'embedding-large');
CREATE ROLE regress_large_service LOGIN;
CREATE ROLE regress_large_operator LOGIN;
SELECT FROM memory.grant_access('regress_large_service', 'service', '{embedding-large}');
SELECT FROM memory.grant_access('regress_large_operator', 'operator');
\c - regress_large_operator
\set VERBOSITY terse
SELECT memory.create_embedding_space('none', 8), memory.create_embedding_space('half', 8, 'l2', 'half'), memory.create_embedding_space('binary', 8, 'ip', 'binary'),
    memory.create_embedding_space('too long for an index', 2001), memory.create_embedding_space('not for half', 2001, 'cosine', 'half');
\c - postgres
SELECT s.model, pg_get_indexdef(i.indexrelid) ~ 'hnsw' AS hnsw, substring(pg_get_indexdef(i.indexrelid) FROM 'hnsw(.*)$') AS of
FROM memory.embedding_spaces AS s LEFT JOIN pg_index AS i ON i.indexrelid = to_regclass('memory.' || s.relation || '_near') ORDER BY 1;
-- vectors of a user and a number, the same in every run
CREATE FUNCTION regress_vector(seed text) RETURNS vector LANGUAGE sql AS $$
    SELECT array_agg(('x' || substr(md5(regress_vector.seed || i), 1, 4))::bit(16)::int / 32768.0 - 1)::real[]::vector FROM generate_series(1, 8) AS i
$$;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
SELECT '00000000-0000-7000-8000-0000000000e4', u, md5(u || n)::uuid, jsonb_build_object('n', n), 'domain_entity' FROM (VALUES ('large', 60), ('larger', 400), ('small', 20)) AS v (u, most), generate_series(1, most) AS n;
\c - regress_large_service
SELECT FROM memory.set_security_context('embedding-large', service_name => 'x', is_local => false);
SELECT s.model, n.user_id, memory.store_embeddings(s.model, array_agg(n.node_id), array_agg(regress_vector(n.node_id::text)), user_id => n.user_id)
FROM memory.embedding_spaces AS s, memory.nodes AS n WHERE s.dimensions = 8 GROUP BY 1, 2 ORDER BY 1, 2;
-- the ten nearest by reading all; then those that are not what nearest_nodes() gives
CREATE TABLE pg_temp.expected AS
SELECT s.model, u.user_id, q.n, t.* FROM memory.embedding_spaces AS s, (VALUES ('large'), ('larger'), ('small')) AS u (user_id), generate_series(1, 10) AS q (n),
    LATERAL (SELECT e.node_id FROM memory.embeddings AS e WHERE e.model = s.model AND e.user_id = u.user_id
        ORDER BY CASE s.distance WHEN 'cosine' THEN e.embedding <=> regress_vector(q.n::text) WHEN 'l2' THEN e.embedding <-> regress_vector(q.n::text) ELSE e.embedding <#> regress_vector(q.n::text) END, e.node_id LIMIT 10) AS t
WHERE s.dimensions = 8;
CREATE VIEW pg_temp.wrong AS
SELECT x.model, x.user_id, count(*) FROM (SELECT DISTINCT model, user_id, n FROM expected) AS x
WHERE (SELECT array_agg(node_id ORDER BY node_id) FROM expected AS e WHERE (e.model, e.user_id, e.n) = (x.model, x.user_id, x.n))
    <> (SELECT array_agg(node_id ORDER BY node_id) FROM memory.nearest_nodes(regress_vector(x.n::text), x.model, user_id => x.user_id)) GROUP BY 1, 2;
SELECT count(*) FROM expected;
SELECT * FROM wrong;
\c - regress_large_operator
SELECT * FROM memory.index_embeddings();
SELECT * FROM memory.index_embeddings(0);
SELECT * FROM memory.index_embeddings(large => NULL);
SELECT * FROM memory.index_embeddings(100, large => 50);
SELECT * FROM memory.index_embeddings(5000, large => 50);
SELECT * FROM memory.index_embeddings(5000, large => 50);
\c - regress_large_service
SELECT FROM memory.set_security_context('embedding-large', service_name => 'x', is_local => false);
SELECT model, user_id, indexed, count(*), count(*) FILTER (WHERE updated_at > created_at) AS renewed FROM memory.embeddings GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
CREATE TABLE pg_temp.expected AS
SELECT s.model, u.user_id, q.n, t.* FROM memory.embedding_spaces AS s, (VALUES ('large'), ('small')) AS u (user_id), generate_series(1, 10) AS q (n),
    LATERAL (SELECT e.node_id FROM memory.embeddings AS e WHERE e.model = s.model AND e.user_id = u.user_id
        ORDER BY CASE s.distance WHEN 'cosine' THEN e.embedding <=> regress_vector(q.n::text) WHEN 'l2' THEN e.embedding <-> regress_vector(q.n::text) ELSE e.embedding <#> regress_vector(q.n::text) END, e.node_id LIMIT 10) AS t
WHERE s.dimensions = 8;
CREATE VIEW pg_temp.wrong AS
SELECT x.model, x.user_id, count(*) FROM (SELECT DISTINCT model, user_id, n FROM expected) AS x
WHERE (SELECT array_agg(node_id ORDER BY node_id) FROM expected AS e WHERE (e.model, e.user_id, e.n) = (x.model, x.user_id, x.n))
    <> (SELECT array_agg(node_id ORDER BY node_id) FROM memory.nearest_nodes(regress_vector(x.n::text), x.model, user_id => x.user_id)) GROUP BY 1, 2;
SELECT * FROM wrong;
-- of more than the index is asked for at first: the nearest of all of them
SELECT model, count(DISTINCT node_id), max(score) >= 0.99999 AS itself FROM memory.embedding_spaces AS s, LATERAL memory.nearest_nodes((SELECT regress_vector(node_id::text) FROM memory.nodes WHERE user_id = 'larger' AND content->>'n' = '77'), s.model, user_id => 'larger')
WHERE s.model = 'none' GROUP BY 1;
-- a filter that one in a hundred, that nothing passes
SELECT s.model, array_agg(n.content->>'n' ORDER BY n.content->>'n') AS passed
FROM memory.embedding_spaces AS s, unnest('{5,55,155,255}'::int[]) AS f (n), LATERAL memory.nearest_nodes(regress_vector('1'), s.model, filter => jsonb_build_object('n', f.n), user_id => 'larger') AS x JOIN memory.nodes AS n ON n.user_id = 'larger' AND n.node_id = x.node_id
WHERE s.dimensions = 8 GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM memory.nearest_nodes(regress_vector('1'), 'none', filter => '{"n": 1000}', user_id => 'larger');
-- written later: new, replaced, another kind of a node that was moved; each node once
SELECT memory.store_embedding('none', node_id, regress_vector('later'), 'query', user_id => user_id) FROM memory.nodes WHERE user_id = 'large' AND content->>'n' IN ('1', '2');
SELECT memory.store_embedding('none', node_id, regress_vector('later'), user_id => user_id) FROM memory.nodes WHERE user_id = 'large' AND content->>'n' = '3';
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES (memory.current_tenant_id(), 'large', md5('new')::uuid, '{"n": 0}', 'domain_entity');
SELECT memory.store_embedding('none', md5('new')::uuid, regress_vector('later'), user_id => 'large');
SELECT n.content->>'n' AS n, round(x.score::numeric, 6) AS score FROM memory.nearest_nodes(regress_vector('later'), 'none', max_results => 4, user_id => 'large') AS x JOIN memory.nodes AS n ON n.user_id = 'large' AND n.node_id = x.node_id ORDER BY 2 DESC, 1;
SELECT count(*), count(DISTINCT node_id) FROM memory.nearest_nodes(regress_vector('later'), 'none', max_results => 1000, user_id => 'large');
-- the whole tenant: moved and not, each once
SELECT count(*), count(DISTINCT node_id) FROM memory.nearest_nodes(regress_vector('later'), 'none', max_results => 1000);
-- nobody sees another's in the index that they share
SELECT count(*) FILTER (WHERE n.user_id IS NULL) AS not_ones_own, count(*) FROM memory.nearest_nodes(regress_vector('1'), 'half', max_results => 100, user_id => 'large') AS x LEFT JOIN memory.nodes AS n ON n.user_id = 'large' AND n.node_id = x.node_id;
-- deleted with their nodes
SELECT memory.delete_nodes(array_agg(node_id), user_id => 'large') FROM memory.nodes WHERE user_id = 'large' AND (content->>'n')::int > 1;
SELECT n.content->>'n' AS n FROM memory.nearest_nodes(regress_vector('later'), 'none', user_id => 'large') AS x JOIN memory.nodes AS n ON n.user_id = 'large' AND n.node_id = x.node_id ORDER BY 1;
-- more than 16 bits hold
SELECT memory.store_embedding('half', md5('new')::uuid, '[70000,0,0,0,0,0,0,0]', user_id => 'large');
-- no row says that it is where no index is
\set VERBOSITY sqlstate
SELECT relation AS space FROM memory.embedding_spaces WHERE model = 'too long for an index' \gset
INSERT INTO memory.:space (tenant_id, user_id, node_id, embedding, indexed) VALUES (memory.current_tenant_id(), 'large', md5('new')::uuid, array_fill(1, '{2001}')::real[]::vector, true);
\c - postgres
SELECT operation, sum(row_count), bool_or(changes IS NOT NULL) AS images FROM memory.audit_log
WHERE table_name = (SELECT relation FROM memory.embedding_spaces WHERE model = 'half') AND tenant_id = '00000000-0000-7000-8000-0000000000e4' GROUP BY 1 ORDER BY 1;
SELECT model, memory.drop_embedding_space(model) FROM memory.embedding_spaces ORDER BY model;
DELETE FROM memory.nodes WHERE tenant_id = '00000000-0000-7000-8000-0000000000e4';
DELETE FROM memory.tenants WHERE slug = 'embedding-large';
DROP FUNCTION regress_vector;
SELECT FROM memory.revoke_access('regress_large_service');
SELECT FROM memory.revoke_access('regress_large_operator');
DROP ROLE regress_large_service, regress_large_operator;
