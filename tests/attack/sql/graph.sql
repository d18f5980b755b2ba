-- The graph of others: by their ids, by foreign keys, past the functions, as an ordinary app role.
INSERT INTO memory.tenants (slug) VALUES ('graph-one'), ('graph-two');
CREATE ROLE attack_graph_app LOGIN;
CREATE ROLE attack_graph_service LOGIN IN ROLE attack_graph_app;
SELECT FROM memory.grant_access('attack_graph_app', 'app');
SELECT FROM memory.grant_access('attack_graph_service', 'service', '{graph-one,graph-two}');
\c - attack_graph_service
-- bob's two nodes and their relationship; the other tenant's ann has one
SELECT FROM memory.set_security_context('graph-one', 'bob', is_local => false);
SELECT memory.store_node('{"entity_id": 1, "entity_system": "crm", "secret": "b"}', 'domain_entity', 'secret') AS b1 \gset
SELECT memory.store_node('{"secret": "b"}', 'domain_entity') AS b2 \gset
SELECT memory.store_relationship(:'b1', :'b2', 'led_to') AS r \gset
SELECT FROM memory.set_user_metadata('{"secret": "b"}');
SELECT FROM memory.set_security_context('graph-two', 'ann', is_local => false);
SELECT memory.store_node('{"entity_id": 1, "entity_system": "crm", "secret": "t"}', 'domain_entity') AS t1 \gset
SELECT FROM memory.clear_security_context();
\set VERBOSITY sqlstate
BEGIN;
SELECT FROM memory.set_security_context('graph-one', 'ann', sealed => true);
SET LOCAL ROLE attack_graph_app;
-- the same entity is ann's own, and tells nothing of bob's
SELECT memory.store_node('{"entity_id": 1, "entity_system": "crm"}', 'domain_entity') AS a1 \gset
SELECT :'a1' NOT IN (:'b1', :'t1') AS own, (SELECT content->'update_count' FROM memory.nodes) AS update_count;
-- reading by id
SELECT count(*) FROM memory.get_nodes(ARRAY[:'b1', :'b2', :'t1']::uuid[]);
SELECT count(*) FROM memory.get_relationships(:'b1');
SELECT count(*) FROM memory.traverse(ARRAY[:'b1', :'b2', :'t1']::uuid[], 9, 'both');
SELECT count(*) FROM memory.shortest_path(:'b1', :'b2');
SELECT count(*) FROM memory.shortest_path(:'b1', :'b1');
SELECT count(*) FROM memory.rank_related(ARRAY[:'b1', :'t1']::uuid[]);
SELECT memory.graph_dot(ARRAY[:'b1', :'t1']::uuid[]) ~ 'n0', memory.graph_mermaid(ARRAY[:'b1', :'t1']::uuid[]) ~ 'n0';
SELECT count(*) FROM memory.search_nodes('secret');
SELECT memory.get_user_metadata();
SELECT count(*) FROM memory.nodes WHERE node_id <> :'a1';
SELECT count(*) FROM memory.relationships;
-- writing by id does nothing, or finds nothing
SELECT memory.touch_nodes(ARRAY[:'b1', :'t1']::uuid[]), memory.delete_nodes(ARRAY[:'b1', :'t1']::uuid[]);
SAVEPOINT s;
SELECT memory.end_node(:'b1');
ROLLBACK TO s;
SELECT memory.end_relationship(:'r');
ROLLBACK TO s;
SELECT memory.store_relationship(:'a1', :'b1', 'led_to');
ROLLBACK TO s;
SELECT memory.store_relationship(:'b1', :'a1', 'led_to');
ROLLBACK TO s;
SELECT memory.store_relationships(jsonb_build_array(jsonb_build_object('from_node_id', :'a1', 'to_node_id', :'t1', 'relationship_type', 'led_to')));
ROLLBACK TO s;
-- a foreign key ends at the user: no relationship to another's node, no node of one's own behind another's
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES (memory.current_tenant_id(), 'ann', :'a1', :'b1', 'led_to');
ROLLBACK TO s;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES (memory.current_tenant_id(), 'ann', :'t1', :'a1', 'led_to');
ROLLBACK TO s;
INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type) VALUES (memory.current_tenant_id(), 'bob', :'b1', :'b2', 'produces');
ROLLBACK TO s;
-- a node with the id of another's is no conflict, and joins nothing
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES (memory.current_tenant_id(), 'ann', :'b1', '{}', 'tool_output');
SELECT count(*) FROM memory.traverse(ARRAY[:'b1'::uuid], 9, 'both');
SELECT count(*) FROM memory.shortest_path(:'b1', :'b2', direction => 'both');
SELECT count(*) FROM memory.rank_related(ARRAY[:'b1'::uuid]);
SELECT memory.graph_mermaid(ARRAY[:'b1'::uuid], 9) ~ 'n1';
ROLLBACK TO s;
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type) VALUES (memory.current_tenant_id(), 'bob', '{}', 'tool_output');
ROLLBACK TO s;
UPDATE memory.nodes SET user_id = 'bob' WHERE node_id = :'a1';
ROLLBACK TO s;
-- somebody else as an argument
SELECT memory.store_node('{}', 'tool_output', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.store_nodes('[{"content": {}, "context_type": "tool_output", "user_id": "bob"}]');
ROLLBACK TO s;
SELECT * FROM memory.store_nodes('[{"content": {}, "context_type": "tool_output", "tenant": "graph-two"}]');
ROLLBACK TO s;
SELECT memory.store_relationships('[]', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.get_nodes('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.list_nodes(user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.list_nodes(tenant => 'graph-two');
ROLLBACK TO s;
SELECT * FROM memory.traverse('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.shortest_path(:'b1', :'b2', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.rank_related('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.graph_dot('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.graph_mermaid('{}', tenant => 'graph-two');
ROLLBACK TO s;
SELECT * FROM memory.get_relationships(:'b1', user_id => 'bob');
ROLLBACK TO s;
SELECT * FROM memory.search_nodes('x', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.delete_nodes('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.touch_nodes('{}', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.end_node(:'b1', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.end_relationship(:'r', user_id => 'bob');
ROLLBACK TO s;
SELECT memory.get_user_metadata(user_id => 'bob');
ROLLBACK TO s;
SELECT memory.get_user_stats(user_id => 'bob');
ROLLBACK TO s;
-- functions and operators of one's own in search_path change nothing
CREATE TEMP TABLE nodes (node_id uuid);
ROLLBACK TO s;
SET LOCAL search_path = pg_temp, memory, public, pg_catalog;
SELECT count(*) FROM traverse(ARRAY[:'a1', :'b1']::uuid[]);
TRUNCATE memory.nodes;
ROLLBACK;
-- nor does such a node join what a service sees of the whole tenant: no walk goes from ann's graph to bob's, or back
BEGIN;
SELECT FROM memory.set_security_context('graph-one', 'ann');
SELECT memory.store_node('{}', 'tool_output', 'ann''s') AS a2 \gset
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES (memory.current_tenant_id(), 'ann', :'b1', '{}', 'tool_output');
SELECT memory.store_relationship(:'a2', :'b1', 'led_to') IS NOT NULL AS stored;
SELECT FROM memory.set_security_context('graph-one', service_name => 'x');
SELECT count(*) FROM memory.traverse(ARRAY[:'a2'::uuid], 9);
SELECT count(*) FROM memory.traverse(ARRAY[:'b2'::uuid], 9, 'in') WHERE node_id = :'a2';
SELECT count(*) FROM memory.shortest_path(:'a2', :'b2');
SELECT count(*) FROM memory.rank_related(ARRAY[:'a2'::uuid]) WHERE node_id = :'b2';
SELECT memory.graph_dot(ARRAY[:'a2'::uuid], 9) ~ :'b2' AS drawn;
ROLLBACK;
-- without a context: no rows, 42501
SELECT count(*) FROM memory.nodes;
SELECT * FROM memory.get_nodes(ARRAY[:'b1'::uuid]);
SELECT * FROM memory.list_nodes();
SELECT * FROM memory.traverse(ARRAY[:'b1'::uuid], tenant => 'graph-one', user_id => 'bob');
SELECT * FROM memory.shortest_path(:'b1', :'b2', tenant => 'graph-one', user_id => 'bob');
SELECT * FROM memory.rank_related(ARRAY[:'b1'::uuid], tenant => 'graph-one', user_id => 'bob');
SELECT memory.graph_dot(ARRAY[:'b1'::uuid], tenant => 'graph-one', user_id => 'bob');
SELECT memory.store_node('{}', 'tool_output', tenant => 'graph-one', user_id => 'bob');
-- nothing happened to bob
\c - postgres
SELECT access_count, content - 'last_updated' AS content, valid_to FROM memory.list_nodes(tenant => 'graph-one', user_id => 'bob');
SELECT count(*) FROM memory.get_relationships(:'b1', tenant => 'graph-one', user_id => 'bob');
DELETE FROM memory.nodes WHERE tenant_id IN (memory.tenant_id('graph-one'), memory.tenant_id('graph-two'));
DELETE FROM memory.user_metadata WHERE tenant_id IN (memory.tenant_id('graph-one'), memory.tenant_id('graph-two'));
SELECT FROM memory.revoke_access('attack_graph_app');
SELECT FROM memory.revoke_access('attack_graph_service');
DROP ROLE attack_graph_app, attack_graph_service;
DELETE FROM memory.tenants WHERE slug IN ('graph-one', 'graph-two');
