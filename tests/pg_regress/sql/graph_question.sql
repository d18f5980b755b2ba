-- Paths, ranking and drawings.
INSERT INTO memory.tenants (slug) VALUES ('graph-question');
CREATE ROLE regress_question_service LOGIN;
SELECT FROM memory.grant_access('regress_question_service', 'service', '{graph-question}');
\c - regress_question_service
SELECT FROM memory.set_security_context('graph-question', 'ann', is_local => false);
\set VERBOSITY sqlstate
-- nodes a to h with ids in that order, named by their entity_id
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, entity_system, entity_id, valid_from)
SELECT memory.current_tenant_id(), 'ann', ('00000000-0000-7000-8000-00000000000' || name)::uuid, '{}', 'domain_entity', 'q', name, '2020-01-01Z'
FROM unnest('{a,b,c,d,e,f}'::text[]) AS name;
CREATE FUNCTION pg_temp.n(name text) RETURNS uuid LANGUAGE sql AS $$SELECT ('00000000-0000-7000-8000-00000000000' || name)::uuid$$;
CREATE FUNCTION pg_temp.ns(VARIADIC names text[]) RETURNS uuid[] LANGUAGE sql AS $$SELECT array_agg(pg_temp.n(name)) FROM unnest(names) AS name$$;
-- a > b > d and a > c > d in two steps; a > e > f > d costs least by strength; d > a back
SELECT memory.store_relationships(jsonb_agg(jsonb_build_object('from_node_id', pg_temp.n(f), 'to_node_id', pg_temp.n(t), 'relationship_type', type, 'strength', s, 'valid_from', '2020-01-01Z')))
FROM (VALUES ('a', 'b', 'relates_to', 0.25), ('a', 'b', 'led_to', 0.125), ('b', 'd', 'led_to', 0.25), ('a', 'c', 'led_to', 0.25), ('c', 'd', 'led_to', 0.25),
    ('a', 'e', 'depends_on', 1), ('e', 'f', 'depends_on', 1), ('f', 'd', 'depends_on', 0.5), ('a', 'd', 'produces', 0), ('d', 'a', 'belongs_to', 0.8), ('b', 'b', 'led_to', 1)) AS r (f, t, type, s);
PREPARE path AS SELECT step, right(node_id::text, 1) AS node, relationship_type AS type, cost FROM memory.shortest_path(pg_temp.n($1), pg_temp.n($2), $3, $4, $5, $6, $7);
-- the direct edge has strength 0: a way, but none that is weighted
EXECUTE path ('a', 'd', 16, false, 'out', NULL, NULL);
EXECUTE path ('a', 'd', 16, true, 'out', NULL, NULL);
-- without it: of two paths of two steps the one through the smaller node, by the smaller type
EXECUTE path ('a', 'd', 16, false, 'out', '{led_to,relates_to}', NULL);
-- weighted, the cheaper of two types counts
EXECUTE path ('a', 'd', 16, true, 'out', '{led_to,relates_to}', NULL);
EXECUTE path ('a', 'd', 16, true, 'out', '{relates_to,led_to,depends_on}', NULL);
-- a bound on the steps takes the cheapest that has no more
EXECUTE path ('a', 'd', 2, true, 'out', NULL, NULL);
EXECUTE path ('a', 'd', 1, true, 'out', NULL, NULL);
EXECUTE path ('a', 'd', 0, false, 'out', NULL, NULL);
-- directions
EXECUTE path ('a', 'd', 16, true, 'in', NULL, NULL);
EXECUTE path ('d', 'a', 16, false, 'in', '{led_to}', NULL);
EXECUTE path ('b', 'c', 16, false, 'out', NULL, NULL);
EXECUTE path ('b', 'c', 16, false, 'both', NULL, NULL);
EXECUTE path ('b', 'c', 16, true, 'both', '{led_to}', NULL);
-- to itself; nowhere; no types at all
EXECUTE path ('a', 'a', 0, true, 'out', '{}', NULL);
EXECUTE path ('a', 'd', 16, false, 'out', '{}', NULL);
EXECUTE path ('a', '9', 16, false, 'out', NULL, NULL);
EXECUTE path ('9', 'a', 16, false, 'out', NULL, NULL);
EXECUTE path ('9', '9', 16, false, 'out', NULL, NULL);
-- then
EXECUTE path ('a', 'd', 16, false, 'out', NULL, '2019-01-01Z');
EXECUTE path ('a', 'a', 16, false, 'out', NULL, '2019-01-01Z');
-- what is refused
SELECT * FROM memory.shortest_path(NULL, pg_temp.n('a'));
SELECT * FROM memory.shortest_path(pg_temp.n('a'), NULL);
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), -1);
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), NULL);
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), weighted => NULL);
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), direction => 'up');
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), relationship_types => '{led_too}');
-- no path leads through a node that is not seen; as_of before it ended does
SELECT FROM memory.end_node(pg_temp.n('e'));
EXECUTE path ('a', 'd', 16, true, 'out', NULL, NULL);
EXECUTE path ('a', 'd', 16, true, 'out', NULL, '2020-06-01Z');
EXECUTE path ('a', 'e', 16, false, 'out', NULL, NULL);
EXECUTE path ('e', 'e', 16, false, 'out', NULL, NULL);
SELECT memory.store_node('{"entity_system": "q", "entity_id": "e"}', 'domain_entity') = pg_temp.n('e') AS revived;

-- ranking
PREPARE rank AS SELECT right(node_id::text, 1) AS node, round(score::numeric, 9) AS score FROM memory.rank_related($1, $2, $3, $4, $5);
EXECUTE rank (pg_temp.ns('a'), 20, 0.85, 4, 'both');
EXECUTE rank (pg_temp.ns('a', 'a', 'c') || NULL || memory.uuid_v7(), 20, 0.85, 4, 'out');
EXECUTE rank (pg_temp.ns('a'), 3, 0.5, 1, 'in');
EXECUTE rank (pg_temp.ns('a', 'c'), 20, 0, 1, 'out');
EXECUTE rank (pg_temp.ns('a'), 20, 0.85, 0, 'out');
EXECUTE rank ('{}', 20, 0.85, 4, 'both');
EXECUTE rank (pg_temp.ns('9'), 20, 0.85, 4, 'both');
SELECT sum(score) BETWEEN 1 - 1e-9 AND 1 + 1e-9 AS whole, count(*) FROM memory.rank_related(pg_temp.ns('b'), 1000, direction => 'out');
SELECT * FROM memory.rank_related(NULL);
SELECT * FROM memory.rank_related('{}', 0);
SELECT * FROM memory.rank_related('{}', NULL);
SELECT * FROM memory.rank_related('{}', damping => 1);
SELECT * FROM memory.rank_related('{}', damping => -0.1);
SELECT * FROM memory.rank_related('{}', damping => 'NaN');
SELECT * FROM memory.rank_related('{}', damping => NULL);
SELECT * FROM memory.rank_related('{}', max_depth => -1);
SELECT * FROM memory.rank_related('{}', direction => 'sideways');
\set VERBOSITY default
SELECT * FROM memory.rank_related('{}', damping => 1);
SELECT * FROM memory.rank_related('{}', max_depth => -2);
SELECT * FROM memory.shortest_path(pg_temp.n('a'), pg_temp.n('d'), relationship_types => '{led_to,NULL}');
\set VERBOSITY sqlstate

-- drawings
SELECT memory.graph_dot(pg_temp.ns('a'), 1, 'out');
SELECT memory.graph_mermaid(pg_temp.ns('a'), 1, 'out');
SELECT memory.graph_dot('{}'), memory.graph_mermaid(pg_temp.ns('9'));
-- hostile and long labels: the summary, else entity_id, else the context type
UPDATE memory.nodes SET summary = E'"]; x [label="\\N\n<b>&lt;' || repeat('y', 40) WHERE node_id = pg_temp.n('b');
UPDATE memory.nodes SET summary = E' \n' WHERE node_id = pg_temp.n('c');
UPDATE memory.nodes SET summary = repeat('é', 41), entity_id = NULL, entity_system = NULL WHERE node_id = pg_temp.n('d');
UPDATE memory.nodes SET entity_id = NULL, entity_system = NULL WHERE node_id = pg_temp.n('e');
SELECT line FROM string_to_table(memory.graph_dot(pg_temp.ns('a'), 9), E'\n') AS line WHERE line ~ '^    n';
SELECT line FROM string_to_table(memory.graph_mermaid(pg_temp.ns('a'), 9), E'\n') AS line WHERE line ~ '^  n.\[';
SELECT length(memory.graph_dot(pg_temp.ns('a'), max_nodes => 6)) > 0 AS drawn;
SELECT memory.graph_dot(pg_temp.ns('a'), max_nodes => 5);
SELECT memory.graph_mermaid(pg_temp.ns('a'), max_nodes => 5);
SELECT memory.graph_dot(NULL);
SELECT memory.graph_dot('{}', -1);
SELECT memory.graph_dot('{}', max_nodes => 0);
SELECT memory.graph_mermaid('{}', direction => NULL);
\set VERBOSITY default
SELECT memory.graph_dot(pg_temp.ns('a'), max_nodes => 5);
\set VERBOSITY sqlstate

-- a service walks through the whole tenant, each user's graph for itself: bob's node with the id of ann's b joins nothing
SELECT FROM memory.set_security_context('graph-question', 'bob', is_local => false);
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, entity_id) SELECT memory.current_tenant_id(), 'bob', id, '{}', 'tool_output', 'bob''s'
FROM unnest(pg_temp.ns('b', '7')) AS id;
SELECT memory.store_relationship(pg_temp.n('b'), pg_temp.n('7'), 'led_to') IS NOT NULL AS stored;
SELECT FROM memory.set_security_context('graph-question', service_name => 'x', is_local => false);
SELECT depth, right(node_id::text, 1) AS node, right(parent_id::text, 1) AS parent FROM memory.traverse(pg_temp.ns('a'), 9);
SELECT depth, right(node_id::text, 1) AS node, right(parent_id::text, 1) AS parent FROM memory.traverse(pg_temp.ns('b'), 1);
SELECT count(*) FROM memory.traverse(pg_temp.ns('b'), 0, max_nodes => 1);
EXECUTE path ('a', '7', 16, false, 'out', NULL, NULL);
EXECUTE path ('b', '7', 16, false, 'out', NULL, NULL);
EXECUTE path ('b', 'd', 16, true, 'out', NULL, NULL);
EXECUTE rank (pg_temp.ns('a'), 20, 0.85, 9, 'out');
EXECUTE rank (pg_temp.ns('b'), 20, 0.85, 1, 'out');
SELECT memory.graph_mermaid(pg_temp.ns('b'), 1, 'out');
SELECT count(*) FROM memory.traverse(pg_temp.ns('b'), 9, user_id => 'bob');
\c - postgres
DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('graph-question');
SELECT FROM memory.revoke_access('regress_question_service');
DROP ROLE regress_question_service;
DELETE FROM memory.tenants WHERE slug = 'graph-question';
