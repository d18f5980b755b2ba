-- 8. SEARCH: nodes by a part of their text, those first that have it in their summary.
\connect - demo_service
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
SELECT summary, content->'entity_data'->>'version' AS version FROM memory.search_nodes('compress', max_results => 5);

INSERT INTO input.claim
SELECT 'the search finds what a scan finds', (SELECT count(*) FROM memory.search_nodes('LIB', max_results => 100000)), count(*)
FROM memory.nodes WHERE summary ILIKE '%lib%' OR content::text ILIKE '%lib%'
RETURNING *;
COMMIT;
