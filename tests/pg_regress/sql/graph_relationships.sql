-- Relationships, traversal and statistics.
INSERT INTO memory.tenants (slug) VALUES ('graph-rel');
CREATE ROLE regress_graph_service LOGIN;
SELECT FROM memory.grant_access('regress_graph_service', 'service', '{graph-rel}');
\c - regress_graph_service
SELECT FROM memory.set_security_context('graph-rel', 'ann', is_local => false);
\set VERBOSITY sqlstate
SELECT * FROM memory.get_user_stats();
-- nodes a to f, named by their entity_id
SELECT count(*) FROM memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('context_type', 'domain_entity', 'valid_from', '2020-01-01Z',
    'content', jsonb_build_object('entity_system', 'g', 'entity_id', name)) ORDER BY name) FROM unnest('{a,b,c,d,e,f}'::text[]) AS name));
SELECT max(node_id::text) FILTER (WHERE entity_id = 'a') AS a, max(node_id::text) FILTER (WHERE entity_id = 'b') AS b,
    max(node_id::text) FILTER (WHERE entity_id = 'c') AS c, max(node_id::text) FILTER (WHERE entity_id = 'd') AS d FROM memory.nodes \gset
SELECT memory.store_relationship(:'a', :'b', 'led_to', 0.5, '{"x": 1}', '2020-01-01Z') AS ab \gset
-- again: the same, strength and metadata renewed
SELECT memory.store_relationship(:'a', :'b', 'led_to', 0.75, '{"y": 1}', '2021-01-01Z') = :'ab' AS same;
SELECT strength, metadata, valid_from = '2020-01-01Z' AS valid_from, valid_to FROM memory.relationships;
-- another type, the other way, with itself: others
SELECT count(DISTINCT id) FROM unnest(ARRAY[:'ab', memory.store_relationship(:'a', :'b', 'relates_to'), memory.store_relationship(:'b', :'a', 'led_to'),
    memory.store_relationship(:'a', :'a', 'led_to')]) AS id;
-- what is refused
SELECT memory.store_relationship(:'a', :'b', 'led_too');
SELECT memory.store_relationship(:'a', :'b', NULL);
SELECT memory.store_relationship(:'a', :'b', 'led_to', 'NaN');
SELECT memory.store_relationship(:'a', :'b', 'led_to', 1.01);
SELECT memory.store_relationship(:'a', :'b', 'led_to', -0.01);
SELECT memory.store_relationship(:'a', :'b', 'led_to', metadata => '[]');
SELECT memory.store_relationship(:'a', NULL, 'led_to');
\set VERBOSITY default
SELECT memory.store_relationship('00000000-0000-7000-8000-000000000000', :'b', 'led_to');
SELECT memory.store_relationship(:'a', '00000000-0000-7000-8000-000000000000', 'led_to');
SELECT memory.store_relationships(jsonb_build_array(
    jsonb_build_object('from_node_id', :'c', 'to_node_id', :'d', 'relationship_type', 'led_to'),
    jsonb_build_object('from_node_id', :'c', 'to_node_id', '00000000-0000-7000-8000-000000000000', 'relationship_type', 'led_to'),
    jsonb_build_object('from_node_id', '00000000-0000-7000-8000-000000000000', 'to_node_id', :'d', 'relationship_type', 'led_to')));
SELECT memory.store_relationships('[{"from_node_id": "x", "to_node_id": "y", "relationship_type": "led_to"}]');
SELECT memory.store_relationships('[{"relationship_type": "led_to"}]');
SELECT memory.store_relationships('[{"relationship_type": "led"}]');
SELECT memory.end_node(NULL);
SELECT memory.end_relationship(NULL);
\set VERBOSITY sqlstate
SELECT count(*) FROM memory.relationships WHERE from_node_id = :'c';
-- a batch: of one that comes twice the last wins, once
SELECT memory.store_relationships(jsonb_build_array(
    jsonb_build_object('from_node_id', :'b', 'to_node_id', :'c', 'relationship_type', 'depends_on', 'strength', 0.25),
    jsonb_build_object('from_node_id', :'c', 'to_node_id', :'d', 'relationship_type', 'depends_on'),
    jsonb_build_object('from_node_id', :'b', 'to_node_id', :'c', 'relationship_type', 'depends_on', 'strength', 0.5, 'metadata', '{"last": true}'::jsonb),
    jsonb_build_object('from_node_id', :'a', 'to_node_id', :'b', 'relationship_type', 'led_to', 'strength', 1)));
SELECT strength, metadata FROM memory.relationships WHERE from_node_id = :'b' AND relationship_type = 'depends_on';
SELECT memory.store_relationships('[]');
-- reading: direction, with itself once, oldest first
SELECT direction, string_agg(format('%s %s %s', f.entity_id, relationship_type, t.entity_id), ', ' ORDER BY place)
FROM unnest('{out,in,both}'::text[]) AS direction
CROSS JOIN LATERAL (SELECT *, row_number() OVER () AS place FROM memory.get_relationships(:'a', direction)) AS r
JOIN memory.nodes f ON f.node_id = from_node_id JOIN memory.nodes t ON t.node_id = to_node_id GROUP BY direction ORDER BY direction;
SELECT count(*) FROM memory.get_relationships(memory.uuid_v7());
SELECT count(*) FROM memory.get_relationships(:'a', 'sideways');
SELECT count(*) FROM memory.get_relationships(:'a', NULL);
SELECT count(*) FROM memory.get_relationships(:'a', as_of => '2020-06-01Z');
SELECT count(*) FROM memory.get_relationships(:'a', as_of => '2019-06-01Z');

-- traversal
CREATE FUNCTION pg_temp.walk(VARIADIC names text[]) RETURNS uuid[] LANGUAGE sql AS
    $$SELECT array_agg(n.node_id) FROM memory.nodes n WHERE n.entity_id = ANY (names)$$;
PREPARE walk AS SELECT n.entity_id AS node, depth, p.entity_id AS parent, relationship_type AS type,
    (SELECT string_agg(s.entity_id, '>' ORDER BY place) FROM unnest(path) WITH ORDINALITY AS w (node_id, place) JOIN memory.nodes s USING (node_id)) AS path
FROM memory.traverse($1, $2, $3, $4, $5, $6) AS w JOIN memory.nodes n USING (node_id) LEFT JOIN memory.nodes p ON p.node_id = w.parent_id
ORDER BY depth, n.node_id;
EXECUTE walk (pg_temp.walk('a'), 3, 'out', NULL, 0, NULL);
EXECUTE walk (pg_temp.walk('c', 'd'), 1, 'in', NULL, 0, NULL);
EXECUTE walk (pg_temp.walk('c'), 9, 'both', '{depends_on}', 0.6, NULL);
EXECUTE walk (pg_temp.walk('a') || pg_temp.walk('a') || memory.uuid_v7() || NULL, 0, 'out', NULL, 0, NULL);
EXECUTE walk (pg_temp.walk('a'), 3, 'out', '{}', 0, NULL);
EXECUTE walk ('{}', 3, 'out', NULL, 0, NULL);
EXECUTE walk (pg_temp.walk('a'), 3, 'out', NULL, 0, '2019-01-01Z');
EXECUTE walk (pg_temp.walk('a'), 3, 'out', NULL, 0, '2020-01-01Z');
EXECUTE walk (pg_temp.walk('a'), 2147483647, 'out', NULL, 2, NULL);
SELECT depth, path FROM memory.traverse(ARRAY[:'a'::uuid], paths => false) ORDER BY 1;
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], max_nodes => 4);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], max_nodes => 3);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], max_nodes => 0);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], -1);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], NULL);
SELECT count(*) FROM memory.traverse(NULL);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], direction => 'up');
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], relationship_types => '{led_to,led}');
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], relationship_types => ARRAY[NULL]);
SELECT count(*) FROM memory.traverse(ARRAY[:'a'::uuid], min_strength => 'NaN');
-- ended relationships, and nodes that are not seen, stop a walk; as_of before still goes on
SELECT FROM memory.end_relationship(:'ab', now() - interval '1 microsecond');
SELECT FROM memory.end_node(:'c');
EXECUTE walk (pg_temp.walk('a'), 9, 'out', NULL, 0, NULL);
EXECUTE walk (pg_temp.walk('d', 'c'), 9, 'both', NULL, 0, NULL);
SELECT count(*) FROM memory.get_relationships(:'d');
SELECT total_nodes, total_relationships, entities, first_activity <= last_activity AS activity FROM memory.get_user_stats();
SELECT memory.store_relationship(:'d', :'c', 'led_to');
SELECT memory.store_relationship(:'d', memory.store_node('{}', 'tool_output', valid_from => now() + interval '1 day'), 'led_to');
SELECT memory.store_relationship(:'d', memory.store_node('{}', 'tool_output', valid_from => now() + interval '1 day'), 'led_to', valid_from => now() + interval '2 days') IS NOT NULL AS planned;
SELECT memory.store_node('{"entity_system": "g", "entity_id": "c"}', 'domain_entity') = :'c' AS revived;
SELECT count(*) FROM memory.get_relationships(:'d');
-- ending: stored again it is a new one
SELECT FROM memory.end_relationship(memory.uuid_v7());
SELECT FROM memory.end_relationship(:'ab', '2019-01-01Z');
SELECT memory.store_relationship(:'a', :'b', 'led_to') <> :'ab' AS another;
SELECT count(*), count(valid_to) AS ended FROM memory.relationships WHERE from_node_id = :'a' AND to_node_id = :'b' AND relationship_type = 'led_to';
-- deleting nodes takes their relationships along
SELECT memory.delete_nodes(ARRAY[:'b'::uuid]);
SELECT count(*) FROM memory.relationships WHERE :'b' IN (from_node_id, to_node_id);
-- at most one current; strength in [0, 1]
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES (memory.current_tenant_id(), 'ann', :'a', :'a', 'led_to');
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type, strength) VALUES (memory.current_tenant_id(), 'ann', :'a', :'a', 'produces', 'NaN');
-- a service walks through the whole tenant, each user's graph for itself
SELECT FROM memory.set_security_context('graph-rel', service_name => 'x', is_local => false);
SELECT memory.store_node('{"entity_system": "g", "entity_id": "z"}', 'domain_entity', user_id => 'bob') AS z \gset
SELECT memory.store_relationship(:'z', :'z', 'led_to', user_id => 'bob') IS NOT NULL AS stored;
SELECT memory.store_relationship(:'a', :'z', 'led_to', user_id => 'bob');
SELECT memory.store_relationship(:'a', :'z', 'led_to', user_id => 'ann');
SELECT memory.store_relationship(:'a', :'a', 'led_to');
SELECT memory.store_relationships(jsonb_build_array(jsonb_build_object('from_node_id', :'z', 'to_node_id', :'z', 'relationship_type', 'produces', 'user_id', 'bob'),
    jsonb_build_object('from_node_id', :'a', 'to_node_id', :'c', 'relationship_type', 'produces', 'user_id', 'ann')));
EXECUTE walk (pg_temp.walk('a', 'z'), 9, 'out', NULL, 0, NULL);
SELECT count(*) FROM memory.traverse(ARRAY[:'a', :'z']::uuid[], 0, user_id => 'bob');
SELECT count(*) FROM memory.get_relationships(:'z');
SELECT count(*) FROM memory.get_relationships(:'z', user_id => 'bob');
SELECT count(*) FROM memory.get_relationships(:'z', user_id => 'ann');
SELECT * FROM memory.get_user_stats();
SELECT total_nodes, total_relationships, entities FROM memory.get_user_stats(user_id => 'bob');
\c - postgres
DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('graph-rel');
SELECT count(*) FROM memory.relationships;
SELECT FROM memory.revoke_access('regress_graph_service');
DROP ROLE regress_graph_service;
DELETE FROM memory.tenants WHERE slug = 'graph-rel';
