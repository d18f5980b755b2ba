-- Embedding spaces, storing into them, and the vector leg of a search by itself.
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-0000000000e1', 'embedding-a'), ('00000000-0000-7000-8000-0000000000e2', 'embedding-b');
CREATE ROLE regress_embedding_service LOGIN;
CREATE ROLE regress_embedding_operator LOGIN;
CREATE ROLE regress_embedding_late LOGIN;
SELECT FROM memory.grant_access('regress_embedding_service', 'service', '{embedding-a, embedding-b}');
SELECT FROM memory.grant_access('regress_embedding_operator', 'operator');
-- spaces are an operator's
\c - regress_embedding_service
\set VERBOSITY sqlstate
SELECT memory.create_embedding_space('m', 3);
SELECT memory.drop_embedding_space('m');
\c - regress_embedding_operator
\set VERBOSITY terse
SELECT memory.create_embedding_space('m', 3);
SELECT memory.create_embedding_space('Model "x"; DROP TABLE memory.nodes; -- \'' é', 2, 'l2', 'half');
SELECT memory.create_embedding_space('ip', 2, distance => 'ip', quantization => 'binary');
SELECT model, dimensions, distance, quantization FROM memory.embedding_spaces ORDER BY model;
SELECT memory.create_embedding_space('m', 4);
SELECT memory.create_embedding_space('', 3);
SELECT memory.create_embedding_space(NULL, 3);
SELECT memory.create_embedding_space(repeat('x', 101), 3);
SELECT memory.create_embedding_space('n', 0);
SELECT memory.create_embedding_space('n', 16001);
SELECT memory.create_embedding_space('n', NULL);
SELECT memory.create_embedding_space('n', 3, 'l1');
SELECT memory.create_embedding_space('n', 3, NULL);
SELECT memory.create_embedding_space('n', 3, 'l2', 'tiny');
SELECT memory.drop_embedding_space('o');
SELECT count(*) FROM memory.embeddings;
INSERT INTO memory.embedding_spaces VALUES ('x', 'nodes', 3, 'l2', 'none');
\c - postgres
-- no members of the extension, but like every table of users' rows
SELECT count(*) AS spaces, count(d.objid) AS members, bool_and(c.relrowsecurity AND c.relforcerowsecurity) AS secured,
    bool_and((SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname ~ '^(audit|hold)') = 5) AS audited
FROM memory.embedding_spaces AS s JOIN pg_class AS c ON c.oid = ('memory.' || s.relation)::regclass
LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e';
SELECT privilege_type FROM information_schema.role_table_grants
WHERE grantee = 'regress_embedding_service' AND table_name = (SELECT relation FROM memory.embedding_spaces WHERE model = 'm') ORDER BY 1;
-- a role that gets the profile later
SELECT FROM memory.grant_access('regress_embedding_late', 'app');
SELECT count(DISTINCT table_name), count(*) FROM information_schema.role_table_grants
WHERE grantee = 'regress_embedding_late' AND table_name IN (SELECT relation FROM memory.embedding_spaces);
SELECT FROM memory.revoke_access('regress_embedding_late');
SELECT count(*) FROM information_schema.role_table_grants
WHERE grantee = 'regress_embedding_late' AND table_name IN (SELECT relation FROM memory.embedding_spaces);
DROP ROLE regress_embedding_late;

\c - regress_embedding_service
SELECT FROM memory.set_security_context('embedding-a', 'ann', is_local => false);
CREATE FUNCTION pg_temp.node(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT ('00000000-0000-7000-8000-0000000000' || to_hex(n + 16))::uuid $$;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, tags, tier)
SELECT memory.current_tenant_id(), 'ann', pg_temp.node(n), jsonb_build_object('n', n, 'even', n % 2 = 0),
    CASE n % 3 WHEN 0 THEN 'tool_output' ELSE 'domain_entity' END, CASE WHEN n < 4 THEN '{a,b}' ELSE '{a}' END::text[],
    CASE WHEN n = 5 THEN 'shared' ELSE 'private' END
FROM generate_series(1, 6) AS n;
-- at the angles of a clock, an hour apart
CREATE FUNCTION pg_temp.hour(n float8) RETURNS vector LANGUAGE sql AS $$ SELECT ARRAY[cosd(n * 30), sind(n * 30), 0]::real[]::vector $$;
SELECT memory.store_embeddings('m', array_agg(pg_temp.node(n)), array_agg(pg_temp.hour(n))) FROM generate_series(1, 5) AS n;
SELECT memory.store_embedding('m', pg_temp.node(6), pg_temp.hour(6));
SELECT n.content->'n' AS n, round(s.score::numeric, 6) AS score FROM memory.nearest_nodes(pg_temp.hour(2.2), 'm') AS s JOIN memory.nodes AS n USING (node_id);
SELECT n.content->'n' AS n, round(s.score::numeric, 6) AS score FROM memory.nearest_nodes(pg_temp.hour(2.2), 'm', max_results => 2) AS s JOIN memory.nodes AS n USING (node_id);
-- filters come before ranks
CREATE FUNCTION pg_temp.names(ids uuid[]) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(ltrim(split_part(i::text, '-', 5), '0'), ' ' ORDER BY n) FROM unnest(ids) WITH ORDINALITY AS u (i, n) $$;
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', context_types => '{tool_output}', max_results => 1);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(6), 'm', tags => '{b,a}', max_results => 2);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', tiers => '{shared,consensus}');
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', filter => '{"even": true}');
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', '{domain_entity}', '{a}', '{private}', '{"even": true}', max_results => 9);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', context_types => '{}');
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', tags => '{}', max_results => 1);
-- validity and expiry
BEGIN;
SELECT memory.end_node(pg_temp.node(1));
UPDATE memory.nodes SET expires_at = now() WHERE node_id = pg_temp.node(2);
UPDATE memory.nodes SET valid_from = now() + interval '1 day' WHERE node_id = pg_temp.node(3);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm');
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', as_of => now() + interval '2 days');
ROLLBACK;
-- again replaces; each vector_type has one; the best of a node's counts
SELECT memory.store_embedding('m', pg_temp.node(6), pg_temp.hour(11));
SELECT memory.store_embedding('m', pg_temp.node(6), pg_temp.hour(1), 'query');
SELECT vector_type, count(*), count(*) FILTER (WHERE updated_at > created_at) AS again FROM memory.embeddings GROUP BY 1 ORDER BY 1;
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(1), 'm', max_results => 3);
-- of one batch the last
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1), pg_temp.node(2), pg_temp.node(1)], ARRAY[pg_temp.hour(9), pg_temp.hour(8), pg_temp.hour(7)]);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(7), 'm', max_results => 2);
SELECT memory.store_embeddings('m', '{}', '{}');
-- the other distances
SELECT memory.store_embeddings(model, ARRAY[pg_temp.node(1), pg_temp.node(2)], ARRAY['[3,4]', '[6,8]']::vector[]) FROM memory.embedding_spaces WHERE dimensions = 2;
SELECT distance, score FROM memory.embedding_spaces AS s, memory.nearest_nodes('[0,0]', s.model) WHERE dimensions = 2 ORDER BY distance, score DESC;
SELECT distance, score FROM memory.embedding_spaces AS s, memory.nearest_nodes('[1,-1]', s.model) WHERE dimensions = 2 ORDER BY distance, score DESC;
-- errors name the argument, the place, the value
SELECT memory.store_embedding('mm', pg_temp.node(1), '[1,2,3]');
SELECT memory.store_embedding('m', pg_temp.node(1), '[1,2]');
SELECT memory.store_embedding('m', pg_temp.node(1), '[0,0,0]');
SELECT memory.store_embedding('ip', pg_temp.node(1), '[0,0]');
SELECT memory.store_embedding('m', pg_temp.node(1), '[1,2,3]', 'knowlegde');
SELECT memory.store_embedding('m', pg_temp.node(1), '[1,2,3]', NULL);
SELECT memory.store_embedding('m', pg_temp.node(1), NULL);
SELECT memory.store_embedding('m', NULL, '[1,2,3]');
SELECT memory.store_embedding(NULL, pg_temp.node(1), '[1,2,3]');
SELECT memory.store_embedding('m', '00000000-0000-7000-8000-000000000000', '[1,2,3]');
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1)], '{}');
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1), NULL], ARRAY['[1,2,3]', '[1,2,3]']::vector[]);
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1), pg_temp.node(2)], ARRAY['[1,2,3]', NULL]::vector[]);
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1), pg_temp.node(2)], ARRAY['[1,2,3]', '[1,2]']::vector[]);
SELECT memory.store_embeddings('m', ARRAY[pg_temp.node(1), '00000000-0000-7000-8000-000000000000'], ARRAY['[1,2,3]', '[1,2,3]']::vector[]);
SELECT memory.store_embeddings('m', NULL, '{}');
SELECT * FROM memory.nearest_nodes('[1,2,3]');
SELECT * FROM memory.nearest_nodes('[1,2]', 'm');
SELECT * FROM memory.nearest_nodes('[0,0,0]', 'm');
SELECT * FROM memory.nearest_nodes(NULL, 'm');
SELECT * FROM memory.nearest_nodes('[1,2,3]', 'm', context_types => '{tool_outptu}');
SELECT * FROM memory.nearest_nodes('[1,2,3]', 'm', tiers => '{public}');
SELECT * FROM memory.nearest_nodes('[1,2,3]', 'm', tags => '{NULL}');
SELECT * FROM memory.nearest_nodes('[1,2,3]', 'm', filter => '[]');
SELECT * FROM memory.nearest_nodes('[1,2,3]', 'm', max_results => 0);
-- nobody else's: another user's node is unknown, another user's vectors are not there
SELECT FROM memory.set_security_context('embedding-a', 'bob', is_local => false);
SELECT memory.store_embedding('m', pg_temp.node(1), '[1,2,3]');
SELECT count(*) FROM memory.nearest_nodes('[1,2,3]', 'm');
SELECT count(*) FROM memory.embeddings;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(7), '{}', 'domain_entity');
SELECT memory.store_embedding('m', pg_temp.node(7), pg_temp.hour(7));
-- a service sees its tenant's, and names a user to store
SELECT FROM memory.set_security_context('embedding-a', service_name => 'x', is_local => false);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(7), 'm', max_results => 3);
SELECT pg_temp.names(array_agg(node_id)) FROM memory.nearest_nodes(pg_temp.hour(7), 'm', max_results => 3, user_id => 'bob');
SELECT memory.store_embedding('m', pg_temp.node(7), pg_temp.hour(8));
SELECT memory.store_embedding('m', pg_temp.node(7), pg_temp.hour(8), user_id => 'bob');
SELECT FROM memory.set_security_context('embedding-b', service_name => 'x', is_local => false);
SELECT count(*) FROM memory.nearest_nodes(pg_temp.hour(7), 'm');
-- past the functions: no row that does not belong into its space, none in the common table
SELECT FROM memory.set_security_context('embedding-a', 'bob', is_local => false);
SELECT relation AS space FROM memory.embedding_spaces WHERE model = 'm' \gset
\set VERBOSITY sqlstate
INSERT INTO memory.:space (tenant_id, user_id, node_id, embedding) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(7), '[1,2]');
INSERT INTO memory.:space (tenant_id, user_id, node_id, model, embedding) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(7), 'ip', '[1,2,3]');
INSERT INTO memory.:space (tenant_id, user_id, node_id, embedding) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(1), '[1,2,3]');
INSERT INTO memory.:space (tenant_id, user_id, node_id, embedding) VALUES (memory.current_tenant_id(), 'ann', pg_temp.node(1), '[1,2,3]');
INSERT INTO memory.:space (tenant_id, user_id, node_id, code, embedding) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(7), 'x', '[1,2,3]');
INSERT INTO memory.embeddings (tenant_id, user_id, node_id, model, embedding) VALUES (memory.current_tenant_id(), 'bob', pg_temp.node(7), 'm', '[1,2,3]');
\set VERBOSITY terse
-- they go with their node
SELECT memory.delete_nodes(ARRAY[pg_temp.node(7)]);
SELECT count(*) FROM memory.embeddings;
-- the audit says which, not what
\c - postgres
SELECT operation, row_key->>'vector_type' AS vector_type, changes->'new' ? 'model' AS model, changes->'new' ?| '{embedding,code}' AS vector, count(*)
FROM memory.audit_log WHERE table_name = :'space' AND tenant_id = '00000000-0000-7000-8000-0000000000e1' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3;
-- a user's right to see and to be forgotten reaches every space
SELECT record->>'model' AS model, count(*), bool_and(record ? 'embedding') AS whole FROM memory.export_user_data('ann', 'embedding-a') WHERE relation = 'embeddings' GROUP BY 1 ORDER BY 1;
BEGIN;
SELECT * FROM memory.anonymize_user_data('ann', 'embedding-a') WHERE relation IN ('nodes', 'embeddings');
SELECT count(*) FROM memory.embeddings;
ROLLBACK;
-- nothing of a held user is dropped
SELECT memory.place_legal_hold('ann', 'court', 'embedding-a') AS hold \gset
SELECT memory.drop_embedding_space('m');
SELECT memory.lift_legal_hold(:'hold');
-- a user's id too long for its code to stand beside it in the index, and more numbers than that takes: the same answers
SELECT memory.create_embedding_space('long', 2600);
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
SELECT '00000000-0000-7000-8000-0000000000e1', u, ('00000000-0000-7000-8000-00000000000' || n)::uuid, '{}', 'domain_entity'
FROM generate_series(1, 4) AS n, (VALUES (repeat('u', 2550)), ('short')) AS v (u);
SELECT bool_and(memory.store_embedding('m', n.node_id, ARRAY[1, right(n.node_id::text, 1)::int, 0]::real[]::vector, tenant => 'embedding-a', user_id => n.user_id) IS NOT NULL)
FROM memory.nodes AS n WHERE user_id = repeat('u', 2550);
SELECT bool_and(memory.store_embedding('long', n.node_id, (ARRAY[1, right(n.node_id::text, 1)::int] || array_fill(0, '{2598}'))::real[]::vector, tenant => 'embedding-a', user_id => n.user_id) IS NOT NULL)
FROM memory.nodes AS n WHERE user_id = 'short';
SELECT model, count(*), count(code) AS coded FROM memory.embeddings GROUP BY 1 ORDER BY 1;
SELECT string_agg(right(node_id::text, 1), ' ') FROM memory.nearest_nodes('[1,2.9,0]', 'm', tenant => 'embedding-a', user_id => repeat('u', 2550));
SELECT string_agg(right(node_id::text, 1), ' ') FROM memory.nearest_nodes((ARRAY[1, 2.9] || array_fill(0, '{2598}'))::real[]::vector, 'long', tenant => 'embedding-a', user_id => 'short');
-- dropped with what is in it
\c - regress_embedding_operator
SELECT model, memory.drop_embedding_space(model) FROM memory.embedding_spaces ORDER BY model;
SELECT memory.drop_embedding_space('m');
\c - regress_embedding_service
SELECT FROM memory.set_security_context('embedding-a', 'ann', is_local => false);
SELECT * FROM memory.nearest_nodes('[1,2,3]');
\c - postgres
SELECT count(*) FROM pg_class WHERE relname LIKE 'embeddings\_m%';
DELETE FROM memory.nodes WHERE tenant_id = '00000000-0000-7000-8000-0000000000e1';
DELETE FROM memory.tenants WHERE slug LIKE 'embedding-_';
SELECT FROM memory.revoke_access('regress_embedding_service');
SELECT FROM memory.revoke_access('regress_embedding_operator');
DROP ROLE regress_embedding_service, regress_embedding_operator;
