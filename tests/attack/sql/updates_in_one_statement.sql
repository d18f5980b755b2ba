-- Of several UPDATEs of a table in one statement PostgreSQL tells a trigger what the last one sets, with the rows of all. So the last one, which
-- does nothing, hides what the first one did: from a legal hold, from the audit, from search.
INSERT INTO memory.tenants (slug) VALUES ('several-updates');
CREATE ROLE attack_several LOGIN;
SELECT FROM memory.grant_access('attack_several', 'service', '{several-updates}');
\c - attack_several
SELECT FROM memory.set_security_context('several-updates', 'held', is_local => false);
SELECT memory.store_node('{"secret": "zebra"}', 'tool_output') IS NOT NULL AS stored;
SELECT session_id FROM memory.save_session('s');
SELECT FROM memory.set_security_context('several-updates', 'free', is_local => false);
SELECT memory.store_node('{"secret": "okapi"}', 'tool_output') IS NOT NULL AS stored;
\c - attack_operator
SELECT FROM memory.place_legal_hold('held', 'claim', 'several-updates');
\c - attack_several
SELECT FROM memory.set_security_context('several-updates', service_name => 'x', is_local => false);
-- what is held is not given away
WITH moved AS (UPDATE memory.nodes SET user_id = 'thief' WHERE user_id = 'held' RETURNING 1),
    hidden AS (UPDATE memory.nodes SET last_accessed = now() WHERE false RETURNING 1)
SELECT count(*) FROM moved;
WITH moved AS (UPDATE memory.sessions SET user_id = 'thief' WHERE user_id = 'held' RETURNING 1),
    hidden AS (UPDATE memory.sessions SET status = status WHERE false RETURNING 1)
SELECT count(*) FROM moved;
SELECT count(*) FROM memory.nodes WHERE user_id = 'held';
-- what is not, is, with its words, and the log says so under both keys
WITH moved AS (UPDATE memory.nodes SET user_id = 'heir' WHERE user_id = 'free' RETURNING 1),
    hidden AS (UPDATE memory.nodes SET last_accessed = now() WHERE false RETURNING 1)
SELECT count(*) FROM moved;
SELECT user_id FROM memory.search_documents WHERE user_id <> 'held';
SELECT count(*) FROM memory.search('okapi', user_id => 'heir');
-- nor do words stay that a node does not say any more
WITH changed AS (UPDATE memory.nodes SET content = '{"secret": "quagga"}' WHERE user_id = 'heir' RETURNING 1),
    hidden AS (UPDATE memory.nodes SET last_accessed = now() WHERE user_id = 'held' RETURNING 1)
SELECT count(*) FROM changed;
SELECT word, count(s.*) FROM unnest('{okapi,quagga}'::text[]) AS word LEFT JOIN memory.search(word, user_id => 'heir') AS s ON true GROUP BY 1 ORDER BY 1;
\c - postgres
SELECT a.user_id, a.operation, jsonb_typeof(a.changes -> 'old') AS before, jsonb_typeof(a.changes -> 'new') AS after
FROM memory.audit_log AS a WHERE a.user_id IN ('free', 'heir') AND a.table_name = 'nodes' ORDER BY a.user_id, a.id;
