-- 8. SEARCH: nodes by a question's words, and by a part of their text.
\connect - demo_service
BEGIN;
SELECT memory.set_security_context('this-machine', 'admin', sealed => true) \g /dev/null
SET LOCAL ROLE demo_app;
-- Any word may match, rare ones weigh more: BM25 over what this user has. An embedding of the question would be fused with it.
SELECT text_rank, round(text_score::numeric, 2) AS bm25, summary FROM memory.search('what can compress files', max_results => 5);

-- A part of the text, wherever it stands: in the summary first.
SELECT summary, content->'entity_data'->>'version' AS version FROM memory.search_nodes('compress', max_results => 5);

INSERT INTO input.claim
SELECT 'the search finds what a scan finds', (SELECT count(*) FROM memory.search_nodes('LIB', max_results => 100000)), count(*)
FROM memory.nodes WHERE summary ILIKE '%lib%' OR content::text ILIKE '%lib%'
UNION ALL
SELECT 'a package''s name finds it', count(*), 1
FROM memory.search('dpkg', filter => '{"entity_id": "dpkg"}')
RETURNING *;
COMMIT;
