-- 9. TIME: a fact ends, and is still there for who asks about then.
\connect - demo_service
SELECT clock_timestamp() AS before \gset
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT node_id AS dpkg FROM memory.nodes WHERE (entity_system, entity_id) = ('dpkg', 'dpkg') \gset
SELECT node_id AS tar FROM memory.nodes WHERE (entity_system, entity_id) = ('dpkg', 'tar') \gset

-- Suppose that dpkg no longer needs tar.
SELECT memory.end_relationship(id)
FROM memory.get_relationships(:'dpkg', direction => 'out') WHERE to_node_id = :'tar' \g /dev/null
COMMIT;

BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT 'now' AS "when", array_agg(n.entity_id ORDER BY n.entity_id) AS "what dpkg needs"
FROM memory.get_relationships(:'dpkg', direction => 'out') AS r JOIN memory.nodes n ON n.node_id = r.to_node_id
UNION ALL
SELECT 'before', array_agg(n.entity_id ORDER BY n.entity_id)
FROM memory.get_relationships(:'dpkg', direction => 'out', as_of => :'before') AS r
JOIN memory.nodes n ON n.node_id = r.to_node_id;

-- What was known of a node, and when: each change is a version.
SELECT version, changed_at::time(0) AS at, operation, actor, content->'update_count' AS stored_again FROM memory.node_history(:'dpkg');

INSERT INTO input.claim
SELECT 'dpkg needs tar now', count(*) FILTER (WHERE to_node_id = :'tar'), 0
FROM memory.get_relationships(:'dpkg', direction => 'out')
UNION ALL
SELECT 'dpkg needed tar before', count(*) FILTER (WHERE to_node_id = :'tar'), 1
FROM memory.get_relationships(:'dpkg', direction => 'out', as_of => :'before')
RETURNING *;
COMMIT;
