-- Nodes: storing, merging entities, reading, ending, deleting.
INSERT INTO memory.tenants (slug) VALUES ('graph-nodes');
CREATE ROLE regress_graph_service LOGIN;
SELECT FROM memory.grant_access('regress_graph_service', 'service', '{graph-nodes}');
\c - regress_graph_service
SELECT FROM memory.set_security_context('graph-nodes', 'ann', 's-1', is_local => false);
\set VERBOSITY sqlstate

-- a node that is no entity is stored as it is, each time anew; session_id is the context's
SELECT memory.store_node('{"fact": "x", "n": 1.50, "update_count": 9}', 'conversation_fact') AS fact \gset
SELECT session_id, content, context_type, summary, tags, metadata, base_relevance, tier, entity_id, entity_type, entity_system,
    valid_from = now() AS valid_from, valid_to, expires_at, access_count
FROM memory.nodes WHERE node_id = :'fact' AND valid_from <= now();
SELECT memory.store_node('{"fact": "x"}', 'conversation_fact') <> memory.store_node('{"fact": "x"}', 'conversation_fact') AS two;
-- entity_id alone makes none
SELECT memory.store_node('{"entity_id": "1"}', 'tool_output') <> memory.store_node('{"entity_id": "1"}', 'tool_output') AS two;
SELECT memory.store_node('{"entity_id": "1", "entity_system": null}', 'tool_output') IS NOT NULL AS stored;

-- an entity: once per user, merged
SELECT memory.store_node('{"entity_id": 7, "entity_system": "crm", "entity_type": "person", "update_count": 9,
    "entity_data": {"name": {"first": "Ann", "last": "Lee"}, "mails": ["a", "b"], "age": 41.0}, "source": {"a": 1}, "kept": true}',
    'domain_entity', 'Ann Lee', '{x,y,x}', '{"a": {"b": 1}, "c": 1}', 0.9, 'shared', 's-0', '2020-01-01Z') AS ann \gset
SELECT content - 'last_updated' AS content, content->>'last_updated' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00$' AS last_updated, tags, entity_id,
    entity_system, entity_type, access_count, session_id FROM memory.get_nodes(ARRAY[:'ann'::uuid]);
SELECT memory.store_node('{"entity_id": "7", "entity_system": "crm", "entity_type": "customer",
    "entity_data": {"name": {"last": "Low", "title": null}, "mails": ["c"], "new": {}}, "source": {"b": 2}}',
    'tool_output', NULL, '{z,x}', '{"a": {"d": 2}}', 0.1, 'private', 's-2', '2021-01-01Z') = :'ann' AS same;
SELECT content - 'last_updated' AS content, context_type, summary, tags, metadata, base_relevance, tier, entity_type, session_id,
    valid_from = '2020-01-01Z' AS valid_from, access_count FROM memory.get_nodes(ARRAY[:'ann'::uuid]);
-- summary if given; NULL stands for the default
SELECT memory.store_node('{"entity_id": "7", "entity_system": "crm"}', 'tool_output', 'new', NULL, NULL, NULL, NULL, NULL, NULL) = :'ann' AS same;
SELECT summary, tags, content->'update_count' AS update_count, access_count FROM memory.get_nodes(ARRAY[:'ann'::uuid]);
-- the text of a number is the number's text; another system, another entity
SELECT count(DISTINCT memory.store_node(content::jsonb, 'domain_entity')) FROM unnest(ARRAY[
    '{"entity_id": 1.0, "entity_system": "n"}', '{"entity_id": "1.0", "entity_system": "n"}', '{"entity_id": 1, "entity_system": "n"}',
    '{"entity_id": 1, "entity_system": 5}']) AS content;
-- what it is is merged whatever its depth
SELECT memory.store_node(('{"entity_id": "deep", "entity_system": "crm", "entity_data": ' || repeat('{"a": ', 500) || '{"x": 1}' || repeat('}', 501))::jsonb, 'domain_entity') AS deep \gset
SELECT memory.store_node(('{"entity_id": "deep", "entity_system": "crm", "entity_data": ' || repeat('{"a": ', 500) || '{"y": 2}' || repeat('}', 501))::jsonb, 'domain_entity') = :'deep' AS same;
SELECT content#>(ARRAY['entity_data'] || array_fill('a'::text, ARRAY[500])) AS innermost FROM memory.get_nodes(ARRAY[:'deep'::uuid]);
-- numbers keep their digits
SELECT memory.store_node('{"entity_id": "digits", "entity_system": "crm", "entity_data": {"pi": 3.14159265358979323846264338327950288000}}', 'domain_entity') AS digits \gset
SELECT memory.store_node('{"entity_id": "digits", "entity_system": "crm", "entity_data": {"big": 1e400}}', 'domain_entity') = :'digits' AS same;
SELECT content->'entity_data'->>'pi' AS pi, length(content->'entity_data'->>'big') AS big FROM memory.get_nodes(ARRAY[:'digits'::uuid]);

-- an ended entity is revived, an expired one too
SELECT FROM memory.end_node(:'ann');
SELECT count(*) FROM memory.get_nodes(ARRAY[:'ann'::uuid]);
SELECT memory.store_node('{"entity_id": "7", "entity_system": "crm"}', 'domain_entity') = :'ann' AS same;
SELECT count(*), max(valid_to) AS valid_to FROM memory.get_nodes(ARRAY[:'ann'::uuid]);
SELECT memory.store_node('{"entity_id": "gone", "entity_system": "crm"}', 'domain_entity', expires_at => now() - interval '1 hour') AS gone \gset
SELECT count(*) FROM memory.get_nodes(ARRAY[:'gone'::uuid]);
SELECT memory.store_node('{"entity_id": "gone", "entity_system": "crm"}', 'domain_entity') = :'gone' AS same;
SELECT count(*), max(expires_at) AS expires_at FROM memory.get_nodes(ARRAY[:'gone'::uuid]);
-- an end or an expiry that is still to come stays
SELECT memory.store_node('{"entity_id": "soon", "entity_system": "crm"}', 'domain_entity', expires_at => now() + interval '1 day') AS soon \gset
SELECT FROM memory.end_node(:'soon', now() + interval '1 hour');
SELECT memory.store_node('{"entity_id": "soon", "entity_system": "crm"}', 'domain_entity') = :'soon' AS same;
SELECT valid_to > now() AS valid_to, expires_at > now() AS expires_at FROM memory.get_nodes(ARRAY[:'soon'::uuid]);
-- not yet valid: not seen
SELECT memory.store_node('{}', 'tool_output', valid_from => now() + interval '1 day') AS later \gset
SELECT count(*) FROM memory.get_nodes(ARRAY[:'later'::uuid]);

-- what is refused
SELECT memory.store_node('[1]', 'tool_output');
SELECT memory.store_node('1', 'tool_output');
SELECT memory.store_node(NULL, 'tool_output');
SELECT memory.store_node('{}', NULL);
SELECT memory.store_node('{}', '');
SELECT memory.store_node('{}', 'tool_outptu');
SELECT memory.store_node('{}', 'tool_output', tier => 'public');
SELECT memory.store_node('{}', 'tool_output', base_relevance => 'NaN');
SELECT memory.store_node('{}', 'tool_output', base_relevance => 1.1);
SELECT memory.store_node('{}', 'tool_output', base_relevance => -0.1);
SELECT memory.store_node('{}', 'tool_output', metadata => '[]');
SELECT memory.store_node('{}', 'tool_output', tags => ARRAY['a', NULL]);
SELECT memory.store_node('{"entity_id": "", "entity_system": "crm"}', 'domain_entity');
SELECT memory.store_node('{"entity_id": [1], "entity_system": "crm"}', 'domain_entity');
SELECT memory.store_node('{"entity_id": true, "entity_system": "crm"}', 'domain_entity');
SELECT memory.store_node('{"entity_id": "1", "entity_system": {}}', 'domain_entity');
SELECT memory.store_node('{"entity_type": {}}', 'domain_entity');
SELECT memory.store_node(jsonb_build_object('entity_id', repeat('x', 1001), 'entity_system', 'crm'), 'domain_entity');
SELECT memory.store_node('{}', 'tool_output', tenant => 'no-such');
SELECT memory.store_node('{}', 'tool_output', user_id => 'bob');
\set VERBOSITY default
SELECT memory.store_node('{}', 'tool_outptu');
SELECT memory.store_node('{"entity_id": []}', 'tool_output');
\set VERBOSITY sqlstate

-- batches: places in input order; of an entity that comes twice the first is new
CREATE TEMP TABLE stored AS SELECT * FROM memory.store_nodes('[
    {"content": {"entity_id": "b2", "entity_system": "batch", "entity_data": {"a": {"x": 1}}}, "context_type": "domain_entity", "summary": "first", "tags": ["a"], "metadata": {"m": 1}},
    {"content": {"n": 1}, "context_type": "tool_output", "summary": "no entity"},
    {"content": {"entity_id": "b1", "entity_system": "batch"}, "context_type": "domain_entity"},
    {"content": {"entity_id": "b2", "entity_system": "batch", "entity_data": {"a": {"y": 2}}}, "context_type": "tool_output", "tags": ["b", "a"], "metadata": {"n": 2}, "base_relevance": 1},
    {"content": {"entity_id": "7", "entity_system": "crm"}, "context_type": "domain_entity"},
    {"content": {"entity_id": "b2", "entity_system": "batch", "entity_type": "t"}, "context_type": "domain_entity", "summary": "last"}]');
SELECT ordinality, coalesce(n.entity_id, n.summary) AS node, created FROM stored JOIN memory.nodes AS n USING (node_id) ORDER BY ordinality;
DROP TABLE stored;
SELECT content - 'last_updated' AS content, context_type, summary, tags, metadata, base_relevance, entity_type, access_count
FROM memory.list_nodes(max_nodes => 1000) WHERE entity_system = 'batch' ORDER BY entity_id;
-- folding a batch is storing its elements one after the other, also where an object follows a scalar
SELECT created FROM memory.store_nodes('[
    {"content": {"entity_id": "f", "entity_system": "batch", "entity_data": {"k": {"old": 1}}}, "context_type": "domain_entity"},
    {"content": {"entity_id": "f", "entity_system": "batch", "entity_data": {"k": 1}}, "context_type": "domain_entity"},
    {"content": {"entity_id": "f", "entity_system": "batch", "entity_data": {"k": {"new": 1}}}, "context_type": "domain_entity"}]');
SELECT created FROM memory.store_nodes('[
    {"content": {"entity_id": "f", "entity_system": "batch", "entity_data": {"k": 2}}, "context_type": "domain_entity"},
    {"content": {"entity_id": "f", "entity_system": "batch", "entity_data": {"k": {"newer": 1}}}, "context_type": "domain_entity"}]');
SELECT content - 'last_updated' AS content, access_count FROM memory.list_nodes() WHERE entity_id = 'f';
SELECT * FROM memory.store_nodes('[]');
-- 10,000 at once, every tenth an entity that came before
SELECT count(*), count(DISTINCT node_id) AS nodes, count(*) FILTER (WHERE created) AS created, bool_and(ordinality = place) AS in_order
FROM (SELECT *, row_number() OVER () AS place FROM memory.store_nodes((
    SELECT jsonb_agg(jsonb_build_object('context_type', 'domain_entity', 'tags', jsonb_build_array('bulk'), 'content', jsonb_build_object('entity_system', 'bulk', 'entity_id', i % 9000)) ORDER BY i)
    FROM generate_series(0, 9999) AS i))) AS s;
SELECT count(*), sum(access_count), sum((content->>'update_count')::int) AS updates FROM memory.nodes WHERE entity_system = 'bulk';
-- an element that is wrong is named, nothing is stored
\set VERBOSITY default
SELECT * FROM memory.store_nodes('[{"content": {"wrong": 1}, "context_type": "tool_output"}, {"content": {}, "context_type": "nope"}]');
SELECT * FROM memory.store_nodes('[{"content": {"wrong": 1}, "context_type": "tool_output"}, {"context_type": "tool_output"}]');
SELECT * FROM memory.store_nodes('[{"content": {"wrong": 1}, "context_type": "tool_output"}, {"content": {}, "context_type": "tool_output", "base_relevance": 2}]');
SELECT * FROM memory.store_nodes('[{"content": {"wrong": 1}, "context_type": "tool_output"}, 5]');
SELECT * FROM memory.store_nodes('[{"content": {"wrong": 1}, "context_type": "tool_output"}, {"content": {}, "context_type": "tool_output", "user_id": "bob"}]');
SELECT * FROM memory.store_nodes('{}');
\set VERBOSITY sqlstate
SELECT * FROM memory.store_nodes(NULL);
SELECT count(*) FROM memory.nodes WHERE content ? 'wrong';

-- reading
SELECT place, n.node_id = wanted.node_id AS right_one
FROM unnest(ARRAY[:'soon', :'ann', :'fact']::uuid[]) WITH ORDINALITY AS wanted (node_id, place)
LEFT JOIN (SELECT *, row_number() OVER () AS place FROM memory.get_nodes(ARRAY[:'soon', :'ann', memory.uuid_v7(), :'later', :'ann', :'fact', NULL]::uuid[])) AS n USING (place) ORDER BY place;
SELECT count(*) FROM memory.get_nodes(NULL);
BEGIN;
SELECT memory.store_node('{"l": 1}', 'tool_output', tags => '{l,m}') IS NOT NULL AS stored;
COMMIT;
SELECT memory.store_node('{"l": 2}', 'search_result', tags => '{l}') IS NOT NULL AS stored;
SELECT content FROM memory.list_nodes(max_nodes => 2);
SELECT content FROM memory.list_nodes('{tool_output,search_result}', '{l}');
SELECT content FROM memory.list_nodes(tags => '{m,l}');
SELECT content FROM memory.list_nodes('{search_result}', '{m}');
SELECT content FROM memory.list_nodes('{}');
SELECT content FROM memory.list_nodes('{tool_outptu}');
SELECT content FROM memory.list_nodes(ARRAY[NULL]);
SELECT content FROM memory.list_nodes(max_nodes => 0);
SELECT content FROM memory.list_nodes(max_nodes => NULL);

-- touching counts each node once, and only what is seen
SELECT memory.touch_nodes(ARRAY[:'ann', :'ann', :'fact', :'later', memory.uuid_v7()]::uuid[]);
SELECT access_count, last_accessed >= updated_at AS touched FROM memory.get_nodes(ARRAY[:'fact'::uuid]);
SELECT memory.touch_nodes('{}');
-- ending
SELECT FROM memory.end_node(:'fact', '2020-01-01Z');
SELECT FROM memory.end_node(memory.uuid_v7());
SELECT FROM memory.end_node(NULL);
SELECT FROM memory.end_node(:'fact', NULL);
SELECT count(*) FROM memory.get_nodes(ARRAY[:'fact'::uuid]);
SELECT FROM memory.end_node(:'fact', now() + interval '1 hour');
SELECT count(*) FROM memory.get_nodes(ARRAY[:'fact'::uuid]);
-- deleting, what is not seen too
SELECT memory.delete_nodes(ARRAY[:'fact', :'later', :'later', memory.uuid_v7()]::uuid[]);
SELECT memory.delete_nodes(ARRAY[:'fact', :'later']::uuid[]);
-- what is refused past the functions too
UPDATE memory.nodes SET content = '[]' WHERE node_id = :'ann';
UPDATE memory.nodes SET base_relevance = 'NaN' WHERE node_id = :'ann';
UPDATE memory.nodes SET tier = 'x' WHERE node_id = :'ann';
UPDATE memory.nodes SET valid_to = '1990-01-01' WHERE node_id = :'ann';

-- a service stores for users that it names, and reads them all
SELECT FROM memory.set_security_context('graph-nodes', service_name => 'x', is_local => false);
SELECT memory.store_node('{}', 'tool_output');
SELECT memory.store_node('{"entity_id": 7, "entity_system": "crm"}', 'tool_output', user_id => 'bob') <> :'ann' AS another;
CREATE TEMP TABLE stored AS SELECT * FROM memory.store_nodes('[
    {"content": {"entity_id": 7, "entity_system": "crm"}, "context_type": "tool_output"},
    {"content": {"entity_id": 7, "entity_system": "crm"}, "context_type": "tool_output", "user_id": "ann"},
    {"content": {"entity_id": 7, "entity_system": "crm"}, "context_type": "tool_output", "user_id": "cid", "tenant": "graph-nodes"}]', user_id => 'bob');
SELECT n.user_id, created FROM stored JOIN memory.nodes n USING (node_id) ORDER BY ordinality;
DROP TABLE stored;
SELECT * FROM memory.store_nodes('[{"content": {}, "context_type": "tool_output"}]');
SELECT * FROM memory.store_nodes('[{"content": {}, "context_type": "tool_output", "user_id": "bob", "tenant": "regress-a"}]');
SELECT user_id FROM memory.list_nodes('{tool_output}', max_nodes => 2);
SELECT memory.delete_nodes(ARRAY[:'ann'::uuid]);
SELECT memory.delete_nodes(ARRAY[:'ann'::uuid], user_id => 'bob');
SELECT memory.delete_nodes(ARRAY[:'ann'::uuid], user_id => 'ann');

-- what is known of a user as such
SELECT memory.get_user_metadata();
SELECT memory.get_user_metadata(user_id => 'bob'), memory.set_user_metadata('{"a": {"b": 1}, "c": 1}', user_id => 'bob');
SELECT memory.set_user_metadata('{"a": {"d": 1}}', user_id => 'bob'), memory.get_user_metadata(user_id => 'ann');
SELECT memory.get_user_metadata(user_id => 'bob');
SELECT memory.set_user_metadata('[]', user_id => 'bob');
SELECT memory.set_user_metadata(NULL, user_id => 'bob');
\c - postgres
SELECT count(*) > 100 AS many, memory.store_node('{}', 'tool_output', tenant => 'graph-nodes', user_id => 'dan') IS NOT NULL AS stored
FROM memory.list_nodes(max_nodes => 10000, tenant => 'graph-nodes', user_id => 'ann');
DELETE FROM memory.user_metadata WHERE tenant_id = memory.tenant_id('graph-nodes');
DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('graph-nodes');
SELECT FROM memory.revoke_access('regress_graph_service');
DROP ROLE regress_graph_service;
DELETE FROM memory.tenants WHERE slug = 'graph-nodes';
