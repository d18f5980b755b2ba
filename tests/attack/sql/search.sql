-- Others' words: by searching for them, by what search reads, by forged documents, by settings, by what an answer's scores tell.
\set VERBOSITY sqlstate
\c - attack_service
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice', sealed => true);
SET LOCAL ROLE attack_app;
-- the words of bob, and of the other tenant; every way to widen
SELECT count(*) FROM memory.search('secret hidden bob', max_results => 1000) WHERE summary ~ 'secret|hidden' OR content::text ~ 'secret|hidden';
SELECT count(*) FROM memory.search('own secret hidden', neighbours => 1000, expand_depth => 16, max_results => 1000, as_of => 'infinity') WHERE summary ~ 'secret|hidden' OR content::text ~ 'secret|hidden';
SELECT count(*) FROM memory.search_documents WHERE user_id <> 'alice';
SAVEPOINT s;
SELECT FROM memory.search('x', user_id => 'bob');
ROLLBACK TO s;
SELECT FROM memory.search('x', tenant => 'attack-b');
ROLLBACK TO s;
-- forged documents: none is written, changed, taken; nor made by the functions behind the trigger
INSERT INTO memory.search_documents SELECT tenant_id, user_id, node_id, 1, terms FROM memory.search_documents;
ROLLBACK TO s;
UPDATE memory.search_documents SET user_id = 'alice';
ROLLBACK TO s;
DELETE FROM memory.search_documents;
ROLLBACK TO s;
TRUNCATE memory.search_documents;
ROLLBACK TO s;
SELECT memory.documents_follow();
ROLLBACK TO s;
SELECT memory.document_parts(memory.current_tenant_id(), 'bob', 'x', '{}', '{}');
ROLLBACK TO s;
SELECT FROM memory.set_search_language('attack-b', 'simple');
ROLLBACK TO s;
SELECT FROM memory.rebuild_search_documents('attack-b');
ROLLBACK TO s;
-- a text search configuration of one's own is none of the trigger's
SET memory.text_search_config = 'pg_temp.evil';
ROLLBACK TO s;
-- a node with the id of another's finds one's own only
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary)
    VALUES (memory.current_tenant_id(), 'alice', '00000000-0000-7000-8000-0000000001ab', '{}', 'tool_output', 'zyxwv');
SELECT summary, content FROM memory.search('zyxwv');
-- tables and operators of the caller's own are not asked
SET LOCAL search_path = pg_temp, memory, public;
SELECT count(*) FROM memory.search('zyxwv');
ROLLBACK;
-- what a score tells: the same before and after others store what is searched for
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT FROM memory.store_node('{"t": "qwertz one"}', 'tool_output');
SELECT FROM memory.store_node('{"t": "other two"}', 'tool_output');
CREATE FUNCTION pg_temp.asked() RETURNS text LANGUAGE sql AS $$SELECT string_agg(text_score::text, ' ' ORDER BY text_score) FROM memory.search('qwertz two')$$;
SELECT pg_temp.asked() AS before \gset
SELECT FROM memory.set_security_context('attack-a', 'bob');
SELECT count(memory.store_node('{"t": "qwertz qwertz"}', 'tool_output')) FROM generate_series(1, 100);
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT pg_temp.asked() = :'before' AS same;
ROLLBACK;
\c - postgres
