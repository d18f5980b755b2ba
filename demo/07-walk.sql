-- 7. WALK: what breaks if libc6 goes?
\connect - demo_service
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT node_id AS libc6 FROM memory.nodes WHERE (entity_system, entity_id) = ('dpkg', 'libc6') \gset

-- Against the direction of depends_on, as far as it goes.
\timing on
SELECT depth, count(*) AS packages, (array_agg(n.entity_id ORDER BY n.entity_id))[1:3] AS "for example"
FROM memory.traverse(ARRAY[:'libc6'::uuid], max_depth => 100, direction => 'in', relationship_types => '{depends_on}') AS t
JOIN memory.nodes n USING (node_id)
GROUP BY depth ORDER BY depth;
\timing off

-- Why does the farthest of them need it? The path says.
WITH farthest AS (
    SELECT path FROM memory.traverse(ARRAY[:'libc6'::uuid], max_depth => 100, direction => 'in') ORDER BY depth DESC, path LIMIT 1
)
SELECT string_agg(entity_id, ' → ' ORDER BY place DESC) AS needs
FROM farthest, unnest(path) WITH ORDINALITY AS step (node_id, place) JOIN memory.nodes n USING (node_id);
COMMIT;

-- Is that true? The file `closure` holds the answer that a few lines of awk found in dpkg-query's own output.
CREATE TABLE input.closure (name text COLLATE "C");
\copy input.closure FROM 'closure'
GRANT SELECT ON input.closure TO demo_app;
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
WITH walked AS (
    SELECT n.entity_id AS name
    FROM memory.traverse(ARRAY[:'libc6'::uuid], max_depth => 100, direction => 'in', paths => false) AS t
    JOIN memory.nodes n USING (node_id)
)
INSERT INTO input.claim
SELECT 'packages that the walk found and dpkg-query did not',
       (SELECT count(*) FROM (TABLE walked EXCEPT TABLE input.closure) AS x), 0
UNION ALL
SELECT 'packages that dpkg-query found and the walk did not',
       (SELECT count(*) FROM (TABLE input.closure EXCEPT TABLE walked) AS x), 0
UNION ALL
SELECT 'packages that break without libc6', (SELECT count(*) FROM walked), (SELECT count(*) FROM input.closure)
RETURNING *;
COMMIT;

-- How does one thing lead to another, what has most to do with it, and how does that look?
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT node_id AS apt FROM memory.nodes WHERE (entity_system, entity_id) = ('dpkg', 'apt') \gset
SELECT node_id AS far FROM memory.traverse(ARRAY[:'apt'::uuid], 100, paths => false) ORDER BY depth DESC, node_id LIMIT 1 \gset

\timing on
SELECT step, n.entity_id AS package, relationship_type AS because, cost
FROM memory.shortest_path(:'apt', :'far') AS p JOIN memory.nodes n USING (node_id) ORDER BY step;

SELECT n.entity_id AS package, round(r.score::numeric, 4) AS score
FROM memory.rank_related(ARRAY[:'apt'::uuid], max_results => 8) AS r JOIN memory.nodes n USING (node_id)
ORDER BY r.score DESC, node_id;
\timing off

-- A drawing is text, for Graphviz or for Mermaid: dot -Tsvg apt.dot > apt.svg
\pset tuples_only on
\pset format unaligned
SELECT memory.graph_dot(ARRAY[:'apt'::uuid], max_depth => 1, direction => 'out') AS dot \gset
SELECT :'dot' \g apt.dot
SELECT line FROM string_to_table(:'dot', E'\n') WITH ORDINALITY AS l (line, n) WHERE n <= 8 ORDER BY n;
\pset format aligned
\pset tuples_only off

-- The path from each package to libc6 is as long as the walk from libc6 to it was deep.
WITH walked AS (
    SELECT node_id, depth FROM memory.traverse(ARRAY[:'libc6'::uuid], max_depth => 100, direction => 'in', paths => false)
)
INSERT INTO input.claim
SELECT 'packages whose path to libc6 has another length than the walk had',
       (SELECT count(*) FROM walked
        WHERE depth IS DISTINCT FROM (SELECT max(step) FROM memory.shortest_path(walked.node_id, :'libc6', max_depth => 100))), 0
RETURNING *;
COMMIT;
