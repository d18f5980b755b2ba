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
