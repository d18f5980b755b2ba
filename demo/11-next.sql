-- 11. THE RESOLVER, after all these calls.
\connect - demo_operator
SELECT size, capacity, hits, misses, round(hit_ratio::numeric, 2) AS hit_ratio, shared FROM memory.tenant_cache_stats();

-- GO ON with `make psql`. There you are a superuser, who has to say whose memory is meant. Try:
\connect - postgres
SELECT memory.set_security_context('this-machine', 'admin', is_local => false);

SELECT summary FROM memory.list_nodes(tags => '{libs}', max_nodes => 5);

SELECT n.entity_id, count(*) AS needed_by
FROM memory.relationships r JOIN memory.nodes n ON n.node_id = r.to_node_id
WHERE r.valid_to IS NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;

SELECT event_type, payload FROM memory.get_events((SELECT session_id FROM memory.list_sessions('active', 1)), max_events => 5);
