-- 4. STORE: packages as entities, what they need as relationships.
\connect - demo_service

-- The way of a back end: its own login opens a transaction, seals who is asking, and becomes the application. What runs from here
-- to COMMIT, injected or not, reaches this user's rows only.
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true);
SET LOCAL ROLE demo_app;
SELECT memory.current_tenant_id() AS tenant, memory.current_user_id() AS "user", current_user AS role, session_user AS login;

-- A node's content is any object. entity_system and entity_id in it name a thing, kept once per user however often it is stored.
PREPARE store_packages AS
WITH batch AS (
    SELECT jsonb_agg(jsonb_build_object(
        'context_type', 'domain_entity',
        'summary', name || ': ' || coalesce(summary, '(no description)'),
        'tags', jsonb_build_array(coalesce(section, 'none')),
        'content', jsonb_build_object(
            'entity_system', 'dpkg', 'entity_id', name, 'entity_type', 'package',
            'entity_data', jsonb_build_object('version', version, 'section', section, 'kb', kb)))) AS nodes
    FROM (SELECT *, row_number() OVER (ORDER BY name) / 1000 AS n FROM input.package) AS p GROUP BY n
)
SELECT count(*) AS stored, count(*) FILTER (WHERE created) AS new
FROM batch CROSS JOIN LATERAL memory.store_nodes(batch.nodes);

\timing on
EXECUTE store_packages;
\timing off

-- The same again: the same nodes.
EXECUTE store_packages;

-- Relationships go from node to node. The table shows this user's rows only: row-level security sees to that.
WITH node AS (
    SELECT node_id, entity_id FROM memory.nodes WHERE entity_system = 'dpkg'
), batch AS (
    SELECT jsonb_agg(jsonb_build_object('from_node_id', a.node_id, 'to_node_id', b.node_id,
                                        'relationship_type', 'depends_on')) AS relationships
    FROM (SELECT *, row_number() OVER (ORDER BY name, needs) / 1000 AS n FROM input.dependency) AS d
    JOIN node a ON a.entity_id = d.name JOIN node b ON b.entity_id = d.needs
    GROUP BY n
)
SELECT sum(memory.store_relationships(batch.relationships)) AS relationships FROM batch;

INSERT INTO input.claim
SELECT 'every package is one entity', (SELECT entities FROM memory.get_user_stats()), count(*) FROM input.package
UNION ALL
SELECT 'every dependency is a relationship', (SELECT total_relationships FROM memory.get_user_stats()), count(*)
FROM input.dependency
RETURNING *;
COMMIT;

-- One node, as it stands now.
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT summary, tags, access_count, jsonb_pretty(content) AS content
FROM memory.nodes WHERE (entity_system, entity_id) = ('dpkg', 'dpkg');
COMMIT;

-- Another user of the same tenant: no rows, and no way to name somebody else's.
BEGIN;
SELECT memory.set_security_context('this-machine', 'guest', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT count(*) AS nodes FROM memory.nodes;
\set ON_ERROR_STOP off
SELECT * FROM memory.get_user_stats(user_id => 'admin');
\set ON_ERROR_STOP on
\set state :SQLSTATE
ROLLBACK;
INSERT INTO input.claim VALUES ('another user''s rows are refused', :'state', '42501') RETURNING *;
