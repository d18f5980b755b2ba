-- search_nodes: substring of summary or content, case ignored; fuzzy by trigrams.
INSERT INTO memory.tenants (slug) VALUES ('graph-search');
CREATE ROLE regress_graph_service LOGIN;
SELECT FROM memory.grant_access('regress_graph_service', 'service', '{graph-search}');
\c - regress_graph_service
SELECT FROM memory.set_security_context('graph-search', 'ann', is_local => false);
\set VERBOSITY sqlstate
SELECT count(memory.store_node(content::jsonb, context_type, summary)) FROM (VALUES
    ('{"name": "libc6", "note": "GNU C Library"}', 'domain_entity', 'the C library'),
    ('{"name": "zlib1g"}', 'domain_entity', 'Compression LIBRARY'),
    ('{"said": "He said \"100% sure\" C:\\dir"}', 'conversation_fact', NULL),
    ('{"Größe": "ÜBERGROSS", "n": 4217}', 'tool_output', 'Straße nach Köln'),
    ('{"web": "nginx"}', 'tool_output', 'a web server called nginx, which is fast'),
    ('{}', 'tool_output', '')) AS v (content, context_type, summary);
SELECT query, (SELECT string_agg(coalesce(nullif(summary, ''), content::text), ' | ' ORDER BY place) FROM (SELECT *, row_number() OVER () AS place FROM memory.search_nodes(query)) AS n) AS hits
FROM unnest(ARRAY['library', 'LIBRARY', 'gnu c', 'c library', 'zlib', 'name', '100%', '0% s', '1%', '_', '"100%', 'c:\dir', 'c:\\dir', 'GRÖSSE', 'größe', 'übergross', 'köLN',
    '421', 'STRASSE', 'nothing', ' ', '{}']) WITH ORDINALITY AS q (query, n) ORDER BY n;
-- summary hits first, newest first; context types; bounds
SELECT content->>'name' AS name FROM memory.search_nodes('lib');
SELECT content->>'name' AS name FROM memory.search_nodes('lib', max_results => 1);
SELECT count(*) FROM memory.search_nodes('e');
SELECT count(*) FROM memory.search_nodes('e', '{tool_output,domain_entity}');
SELECT count(*) FROM memory.search_nodes('e', '{tool_output}');
SELECT count(*) FROM memory.search_nodes('e', '{}');
SELECT * FROM memory.search_nodes('e', '{tool_outptu}');
SELECT * FROM memory.search_nodes('');
SELECT * FROM memory.search_nodes(NULL);
SELECT * FROM memory.search_nodes('e', max_results => 0);
-- fuzzy
SELECT query, (SELECT string_agg(coalesce(nullif(summary, ''), content::text), ' | ' ORDER BY place) FROM (SELECT *, row_number() OVER () AS place FROM memory.search_nodes(query, fuzzy => true)) AS n) AS hits
FROM unnest('{libary,compresion,nginxx,servr,bananas}'::text[]) WITH ORDINALITY AS q (query, n) ORDER BY n;
-- what is ended or another's is not found
SELECT FROM memory.search_nodes('zlib') AS n CROSS JOIN LATERAL memory.end_node(n.node_id);
SELECT count(*) FROM memory.search_nodes('zlib');
SELECT FROM memory.set_security_context('graph-search', 'bob', is_local => false);
SELECT count(*) FROM memory.search_nodes('e');
SELECT count(*) FROM memory.search_nodes('e', user_id => 'ann');
SELECT FROM memory.set_security_context('graph-search', service_name => 'x', is_local => false);
SELECT count(*) > 0 AS found FROM memory.search_nodes('e');
SELECT count(*) FROM memory.search_nodes('e', user_id => 'bob');
\c - postgres
DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('graph-search');
SELECT FROM memory.revoke_access('regress_graph_service');
DROP ROLE regress_graph_service;
DELETE FROM memory.tenants WHERE slug = 'graph-search';
