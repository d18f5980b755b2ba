-- Documents follow their nodes, whatever writes these; nobody else writes them.
INSERT INTO memory.tenants (slug) VALUES ('search-doc'), ('search-doc-2');
CREATE ROLE regress_doc_service LOGIN;
CREATE ROLE regress_doc_app LOGIN;
CREATE ROLE regress_doc_operator LOGIN;
SELECT FROM memory.grant_access('regress_doc_service', 'service', '{search-doc}');
SELECT FROM memory.grant_access('regress_doc_app', 'app');
SELECT FROM memory.grant_access('regress_doc_operator', 'operator');
-- What is not as it should be: documents without a node, nodes without their document, other terms than the node's text has.
CREATE VIEW public.wrong_documents AS
    SELECT coalesce(n.user_id, d.user_id) AS user_id, n.node_id IS NULL AS no_node, d.node_id IS NULL AS no_document
    FROM (SELECT n.tenant_id, n.user_id, n.node_id, (p.part - 1)::integer AS part, p.terms
          FROM memory.nodes AS n, unnest(memory.document_parts(n.tenant_id, n.user_id, n.summary, n.content, n.tags))
              WITH ORDINALITY AS p (terms, part)) AS n
    FULL JOIN memory.search_documents AS d USING (tenant_id, user_id, node_id, part, terms)
    WHERE n.node_id IS NULL OR d.node_id IS NULL;
-- How often documents of the tenant were written.
CREATE FUNCTION public.written() RETURNS bigint LANGUAGE sql AS
    'SELECT count(DISTINCT d.xmin::text) FROM memory.search_documents AS d WHERE d.tenant_id = memory.tenant_id(''search-doc'')';
\c - regress_doc_service
SELECT FROM memory.set_security_context('search-doc', 'ann', is_local => false);
SELECT FROM memory.store_node('{"text": "The cats sat on mats", "deep": [{"n": 4217}, ["x", true, null]]}', 'conversation_fact', 'Jon: the cats', '{pets,indoors}');
SELECT count(*) FROM memory.store_nodes('[
    {"content": {"entity_id": 1, "entity_system": "s", "name": "first"}, "context_type": "domain_entity"},
    {"content": {"name": "我爱北京 🍕 “so” don’t"}, "context_type": "tool_output"},
    {"content": {}, "context_type": "tool_output"}]');
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary)
    VALUES (memory.current_tenant_id(), 'ann', '{}', 'tool_output', 'inserted by itself');
\c - postgres
SELECT * FROM public.wrong_documents;
SELECT user_id, count(*) FROM memory.search_documents WHERE tenant_id = memory.tenant_id('search-doc') GROUP BY 1;
-- longer than one tuple of the index, and than what is read
SELECT FROM memory.store_node(jsonb_build_object('t', (SELECT string_agg('word' || i, ' ') FROM generate_series(1, 2000) AS i)), 'tool_output',
    tenant => 'search-doc', user_id => 'bob');
SELECT FROM memory.store_node(jsonb_build_object('t', repeat('x', 3000000), 'b', repeat('ab cd ', 300000)), 'tool_output', tenant => 'search-doc', user_id => 'bob');
SELECT FROM memory.store_node('{"t": "a long id"}', 'tool_output', tenant => 'search-doc', user_id => (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 60) AS i));
SELECT left(user_id, 3) AS owner, count(*) AS parts, max(length(terms)) AS longest FROM memory.search_documents WHERE tenant_id = memory.tenant_id('search-doc') AND user_id <> 'ann' GROUP BY 1 ORDER BY 1;
SELECT left(user_id, 3), no_node, no_document FROM public.wrong_documents;
-- what changes no text writes no document: touching, ending, an entity stored again with nothing new
SELECT public.written() AS before \gset
SELECT memory.touch_nodes(array_agg(node_id), 'search-doc', 'ann') FROM memory.nodes WHERE user_id = 'ann' AND tenant_id = memory.tenant_id('search-doc');
SELECT FROM memory.store_node('{"entity_id": 1, "entity_system": "s", "name": "first"}', 'domain_entity', tenant => 'search-doc', user_id => 'ann');
UPDATE memory.nodes SET content = content || '{"flag": true}' WHERE user_id = 'ann' AND tenant_id = memory.tenant_id('search-doc');
SELECT count(*) FROM memory.nodes, memory.end_node(node_id, now() + '1 hour', 'search-doc', 'ann') WHERE user_id = 'ann' AND tenant_id = memory.tenant_id('search-doc') AND content ? 'text';
SELECT public.written() - :before AS newly_written;
SELECT * FROM public.wrong_documents;
-- what does, does
SELECT FROM memory.store_node('{"entity_id": 1, "entity_system": "s", "name": "second"}', 'domain_entity', tenant => 'search-doc', user_id => 'ann');
UPDATE memory.nodes SET summary = 'another' WHERE user_id = 'ann' AND tenant_id = memory.tenant_id('search-doc') AND summary ~ 'itself';
UPDATE memory.nodes SET tags = '{new}' WHERE user_id = 'bob' AND tenant_id = memory.tenant_id('search-doc');
UPDATE memory.nodes SET node_id = memory.uuid_v7() WHERE user_id = 'ann' AND tenant_id = memory.tenant_id('search-doc') AND content ? 'text';
UPDATE memory.nodes SET user_id = 'carl' WHERE user_id = 'bob' AND tenant_id = memory.tenant_id('search-doc');
MERGE INTO memory.nodes AS n USING (VALUES ('another'), ('none')) AS v (summary)
    ON n.tenant_id = memory.tenant_id('search-doc') AND n.summary = v.summary
    WHEN MATCHED THEN UPDATE SET summary = 'merged'
    WHEN NOT MATCHED THEN INSERT (tenant_id, user_id, content, context_type, summary) VALUES (memory.tenant_id('search-doc'), 'dan', '{}', 'log', v.summary);
SELECT * FROM public.wrong_documents;
SELECT left(user_id, 4) AS owner, count(*) FROM memory.search_documents WHERE tenant_id = memory.tenant_id('search-doc') GROUP BY 1 ORDER BY 1;
-- a statement that is rolled back leaves nothing
BEGIN;
SAVEPOINT s;
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary) VALUES (memory.tenant_id('search-doc'), 'dan', '{}', 'log', 'gone');
ROLLBACK TO s;
DELETE FROM memory.nodes WHERE user_id = 'carl' AND tenant_id = memory.tenant_id('search-doc');
COMMIT;
SELECT * FROM public.wrong_documents;
SELECT left(user_id, 4) AS owner, count(*) FROM memory.search_documents WHERE tenant_id = memory.tenant_id('search-doc') GROUP BY 1 ORDER BY 1;
-- nobody writes documents, and each reads what is his
\c - regress_doc_service
\set VERBOSITY sqlstate
SELECT FROM memory.set_security_context('search-doc', service_name => 'x', is_local => false);
SELECT count(DISTINCT user_id) FROM memory.search_documents;
INSERT INTO memory.search_documents VALUES (memory.current_tenant_id(), 'ann', memory.uuid_v7(), 0, '');
UPDATE memory.search_documents SET terms = '';
DELETE FROM memory.search_documents;
SELECT memory.document_parts(memory.current_tenant_id(), 'ann', 'x', '{}', '{}');
SELECT FROM memory.set_search_language('search-doc', 'simple');
SELECT FROM memory.set_security_context('search-doc', 'dan', is_local => false);
SELECT count(*) FROM memory.search_documents;
\c - regress_doc_app
\set VERBOSITY sqlstate
SELECT count(*) FROM memory.search_documents;
DELETE FROM memory.search_documents;
-- languages: an operator's, per tenant; documents say in which they were read, and are read again in batches
\c - regress_doc_operator
\set VERBOSITY sqlstate
SELECT FROM memory.set_search_language('search-doc', 'german');
SELECT FROM memory.set_search_language('nowhere', 'german');
SELECT FROM memory.set_search_language(NULL, 'german');
SELECT FROM memory.set_search_language('search-doc', 1);
SELECT FROM memory.rebuild_search_documents('search-doc', 0);
SELECT FROM memory.rebuild_search_documents('nowhere');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT FROM memory.rebuild_search_documents('search-doc');
ROLLBACK;
SELECT count(*) FROM memory.search_documents;
\c - postgres
SELECT count(*) FROM public.wrong_documents;
SELECT * FROM memory.rebuild_search_documents('search-doc', 5);
SELECT * FROM memory.rebuild_search_documents('search-doc', 5);
SELECT * FROM memory.rebuild_search_documents('search-doc', 5);
SELECT count(*) FROM public.wrong_documents;
SELECT FROM memory.set_search_language('search-doc', NULL);
SELECT rebuilt > 0 AS rebuilt, more FROM memory.rebuild_search_documents('search-doc');
-- the setting; a name that is none fails nothing
SELECT FROM memory.store_node('{}', 'tool_output', 'Läufer läuft', tenant => 'search-doc-2', user_id => 'ann');
SET memory.text_search_config = 'german';
SELECT rebuilt, more FROM memory.rebuild_search_documents('search-doc-2');
SET memory.text_search_config = 'no_such.config';
SELECT FROM memory.store_node('{}', 'tool_output', 'the end', tenant => 'search-doc-2', user_id => 'ann');
SELECT length(terms) FROM memory.search_documents WHERE tenant_id = memory.tenant_id('search-doc-2') ORDER BY node_id;
RESET memory.text_search_config;
SELECT rebuilt, more FROM memory.rebuild_search_documents('search-doc-2');
-- erased, anonymised
SELECT count(*) > 10 AS tables FROM memory.anonymize_user_data('ann', 'search-doc');
SELECT count(*) > 0 AS kept, max(length(terms)) FROM memory.search_documents WHERE user_id ~ '^anon-' AND tenant_id = memory.tenant_id('search-doc');
SELECT count(*) > 10 AS tables FROM memory.erase_user_data('dan', 'search-doc');
SELECT count(*) FROM memory.search_documents WHERE user_id IN ('ann', 'dan') AND tenant_id = memory.tenant_id('search-doc');
SELECT count(*) FROM public.wrong_documents;
-- emptied with the nodes
BEGIN;
TRUNCATE memory.nodes CASCADE;
SELECT count(*) FROM memory.search_documents;
ROLLBACK;
SELECT count(*) > 0 AS back FROM memory.search_documents;
-- no audit entry is about a document
SELECT count(*) FROM memory.audit_log WHERE table_name = 'search_documents' AND row_key IS NOT NULL;
DROP VIEW public.wrong_documents;
DROP FUNCTION public.written();
DELETE FROM memory.nodes WHERE tenant_id IN (memory.tenant_id('search-doc'), memory.tenant_id('search-doc-2'));
DELETE FROM memory.search_languages;
SELECT FROM memory.revoke_access('regress_doc_service');
SELECT FROM memory.revoke_access('regress_doc_app');
SELECT FROM memory.revoke_access('regress_doc_operator');
DROP ROLE regress_doc_service, regress_doc_app, regress_doc_operator;
DELETE FROM memory.tenants WHERE slug IN ('search-doc', 'search-doc-2');
