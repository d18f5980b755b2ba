-- memory.search: by words, filtered before ranked, widened, aged; an answer to every query, the contract's errors for every argument.
INSERT INTO memory.tenants (slug) VALUES ('search'), ('search-2');
CREATE ROLE regress_search_service LOGIN;
SELECT FROM memory.grant_access('regress_search_service', 'service', '{search,search-2}');
\c - regress_search_service
SELECT FROM memory.set_security_context('search', 'ann', is_local => false);
CREATE TEMP TABLE said (name text PRIMARY KEY, node_id uuid);
INSERT INTO said SELECT v.name, memory.store_node(v.content::jsonb, v.context_type, v.summary, v.tags::text[], tier => v.tier,
    session_id => v.session_id, valid_from => v.valid_from::timestamptz)
FROM (VALUES
    ('pizza', '{"text": "We had pizza in New York"}', 'conversation_fact', 'Jon: We had pizza in New York', '{food}', 'private', 's1', '2026-01-01 10:00'),
    ('york', '{"text": "York is a new experience"}', 'conversation_fact', 'Jon: York is a new experience', '{travel}', 'shared', 's1', '2026-01-01 10:01'),
    ('cats', '{"text": "Cats are running after a dog"}', 'conversation_fact', 'Gina: Cats are running after a dog', '{pets,fun}', 'private', 's1', '2026-01-01 10:02'),
    ('dog', '{"n": 4217, "deep": [{"x": "a dog barked"}]}', 'tool_output', NULL, '{pets}', 'private', 's1', '2026-01-01 10:03'),
    ('end', '{"text": "Good night"}', 'conversation_fact', 'Gina: Good night', '{}', 'private', 's1', '2026-01-01 10:04'),
    ('chinese', '{"text": "我爱北京天安门"}', 'tool_output', NULL, '{}', 'private', 's2', '2026-02-01'),
    ('emoji', '{"text": "dinner 🍕 at 8"}', 'tool_output', NULL, '{}', 'private', 's2', '2026-02-02'),
    ('umlaut', '{"text": "ÜBERGROSSE Straße “quoted” don’t"}', 'tool_output', NULL, '{}', 'private', NULL, '2026-02-03')
) AS v (name, content, context_type, summary, tags, tier, session_id, valid_from);
-- A query's hits by their names, best first.
CREATE FUNCTION pg_temp.found(query text, VARIADIC more text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SELECT string_agg(s.name, '' '' ORDER BY f.ordinality) FROM memory.search($1 %s) WITH ORDINALITY AS f JOIN said AS s USING (node_id)',
        (SELECT string_agg(', ' || m, '') FROM unnest(more) AS m)) INTO answer USING query;
    RETURN coalesce(answer, '-');
END
$$;
SELECT query, pg_temp.found(query) FROM unnest(ARRAY[
    'pizza', 'PIZZA?', 'Where did Jon have a pizza?', 'dog', 'the running cat', 'jon', 'gina', 'ran', 'barking dogs', '4217', 'travel', 'nothing known',
    -- phrases and exclusions
    '"new york"', 'new york', '"york new"', '"is a new"', '"dog barked" pizza', 'jon -pizza', 'jon -"new york"', 'jon -"york new"', '-jon', '"cats', 'dog -"running after"', '"dog"',
    -- no letters of ASCII, no spaces
    '北京', '京', '北京 天安', '"北京天安"', '"京北"', '🍕', '🍕🍔', '"dinner 🍕"', 'übergrosse', 'STRASSE', 'quoted', 'don''t',
    -- what is syntax elsewhere
    'pizza & !dog | (cat', 'pizza:*', '''', '\', '<->', 'a <-> b', ''' OR 1=1 --', '%', '"', '""', '-', '--', '-"', '"-', 'or', 'OR OR', '*', E'\t\n', '', ' ',
    -- only stop words
    'the of and', '"the of"'
]) WITH ORDINALITY AS q (query, n) ORDER BY n;
-- long queries
SELECT pg_temp.found(repeat('pizza dog & "x y" -z ', 5000));
SELECT pg_temp.found(repeat('x', 100000));
SELECT pg_temp.found(repeat('"', 100000));
SELECT pg_temp.found(repeat('-', 100000) || ' pizza');
SELECT pg_temp.found((SELECT string_agg('w' || i, ' ') FROM generate_series(1, 15000) AS i) || ' pizza');
SELECT pg_temp.found((SELECT string_agg('"a' || i || ' b"', ' ') FROM generate_series(1, 5000) AS i) || ' pizza');
-- why a row is there
SELECT s.name, round(score::numeric, 4) AS score, text_rank, round(text_score::numeric, 3) AS text_score, vector_rank, vector_score, graph_depth, summary, content
FROM memory.search('pizza dog') JOIN said AS s USING (node_id) ORDER BY text_rank;
-- filters, before ranks
SELECT pg_temp.found('jon gina dog', $$context_types => '{tool_output}'$$), pg_temp.found('jon gina dog', $$context_types => '{tool_output,conversation_fact}'$$, 'max_results => 2'),
    pg_temp.found('jon gina dog', $$tags => '{pets}'$$), pg_temp.found('jon gina dog', $$tags => '{pets,fun}'$$), pg_temp.found('jon gina dog', $$tiers => '{shared}'$$),
    pg_temp.found('jon gina dog', $$filter => '{"n": 4217}'$$), pg_temp.found('jon gina dog', $$filter => '{"n": 1}'$$), pg_temp.found('jon gina dog', $$context_types => '{}'$$);
-- when: not yet valid, ended, expired
SELECT pg_temp.found('jon', $$as_of => '2026-01-01 10:00:30'$$), pg_temp.found('jon', $$as_of => '2025-01-01'$$);
SELECT FROM said, memory.end_node(said.node_id, '2026-03-01') WHERE name = 'york';
SELECT pg_temp.found('jon'), pg_temp.found('jon', $$as_of => '2026-02-28'$$);
UPDATE memory.nodes SET expires_at = '2026-04-01' WHERE node_id = (SELECT node_id FROM said WHERE name = 'emoji');
SELECT pg_temp.found('dinner'), pg_temp.found('dinner', $$as_of => '2026-03-31'$$);
-- neighbours, within max_results, through the same filter; what they are there for
SELECT pg_temp.found('barked', 'neighbours => 1'), pg_temp.found('barked', 'neighbours => 1', 'max_results => 2'), pg_temp.found('barked', 'neighbours => 2', $$as_of => '2026-02-28'$$),
    pg_temp.found('barked', 'neighbours => 1', $$context_types => '{tool_output}'$$), pg_temp.found('übergrosse', 'neighbours => 5');
SELECT s.name, score, text_rank, graph_depth FROM memory.search('barked', neighbours => 1) JOIN said AS s USING (node_id) ORDER BY score DESC, s.node_id;
-- relationships, in both directions
SELECT FROM memory.store_relationship((SELECT node_id FROM said WHERE name = 'pizza'), (SELECT node_id FROM said WHERE name = 'chinese'), 'relates_to');
SELECT FROM memory.store_relationship((SELECT node_id FROM said WHERE name = 'umlaut'), (SELECT node_id FROM said WHERE name = 'chinese'), 'led_to');
SELECT pg_temp.found('pizza', 'expand_depth => 1'), pg_temp.found('pizza', 'expand_depth => 2'), pg_temp.found('pizza', 'expand_depth => 2', 'max_results => 2'),
    pg_temp.found('pizza', 'expand_depth => 2', $$context_types => '{conversation_fact}'$$), pg_temp.found('pizza', 'expand_depth => 16', $$as_of => '2026-02-02'$$);
SELECT s.name, score, text_rank, graph_depth FROM memory.search('pizza', expand_depth => 2) JOIN said AS s USING (node_id) ORDER BY score DESC;
-- age
SELECT pg_temp.found('gina dog dinner', $$as_of => '2026-02-02'$$), pg_temp.found('gina dog dinner', $$as_of => '2026-02-02'$$, $$half_life => '1 day'$$);
SELECT round((a.score / b.score)::numeric, 4) AS halved FROM memory.search('pizza', as_of => '2026-01-03 10:00', half_life => '1 day') AS a, memory.search('pizza', as_of => '2026-01-03 10:00') AS b;
-- ties are in one order
SELECT count(memory.store_node('{"t": "the same words"}', 'tool_output')) FROM generate_series(1, 5);
SELECT array_agg(node_id ORDER BY ordinality) = array_agg(node_id ORDER BY node_id) AS ordered FROM memory.search('same words') WITH ORDINALITY;
SELECT array_agg(node_id ORDER BY ordinality) = array_agg(node_id ORDER BY node_id) AS ordered, count(*) FROM memory.search('same words', max_results => 3) WITH ORDINALITY;
-- what is written in this transaction is found; what is deleted is not
BEGIN;
SELECT memory.delete_nodes(ARRAY(SELECT node_id FROM said WHERE name = 'pizza'));
SELECT pg_temp.found('pizza');
ROLLBACK;
-- bad arguments
\set VERBOSITY sqlstate
SELECT FROM memory.search();
SELECT FROM memory.search('x', max_results => 0);
SELECT FROM memory.search('x', max_results => NULL);
SELECT FROM memory.search('x', neighbours => -1);
SELECT FROM memory.search('x', neighbours => NULL);
SELECT FROM memory.search('x', expand_depth => -1);
SELECT FROM memory.search('x', expand_depth => 17);
SELECT FROM memory.search('x', half_life => '0');
SELECT FROM memory.search('x', half_life => '-1 day');
SELECT FROM memory.search('x', context_types => '{nonsense}');
SELECT FROM memory.search('x', context_types => '{NULL}');
SELECT FROM memory.search('x', tags => '{NULL}');
SELECT FROM memory.search('x', tiers => '{nonsense}');
SELECT FROM memory.search('x', filter => '[]');
SELECT FROM memory.search('x', filter => '"x"');
SELECT FROM memory.search('x', user_id => 'bob');
SELECT FROM memory.search('x', tenant => 'search-2');
SELECT FROM memory.search('x', tenant => 'nowhere');
\set VERBOSITY terse
SELECT FROM memory.search('x', context_types => '{tool_outptu}');
SELECT FROM memory.search('x', half_life => '0');
\set VERBOSITY default
SELECT FROM memory.search('x', filter => '[1]');
\set VERBOSITY sqlstate
-- a service context without a user covers the tenant; a user sees nobody else's
SELECT FROM memory.store_node('{"t": "the same words"}', 'tool_output', tenant => 'search', user_id => 'ann');
SELECT FROM memory.set_security_context('search', service_name => 'x', is_local => false);
SELECT FROM memory.store_node('{"t": "the same words, of somebody else"}', 'tool_output', user_id => 'bob');
SELECT count(*) FROM memory.search('same words', max_results => 100);
SELECT count(*) FROM memory.search('same words', max_results => 100, user_id => 'bob');
SELECT FROM memory.set_security_context('search', 'bob', is_local => false);
SELECT count(*) FROM memory.search('same words', neighbours => 5, expand_depth => 5, max_results => 100);
SELECT count(*) FROM memory.search('jon pizza', neighbours => 5, expand_depth => 5, max_results => 100);
SELECT FROM memory.clear_security_context();
SELECT FROM memory.search('x');
-- Neither rows nor their order nor scores depend on other tenants' or users' data, even where node ids are the same.
SELECT FROM memory.set_security_context('search', 'ann', is_local => false);
CREATE TEMP TABLE before AS SELECT f.* FROM unnest('{jon,"dog pizza words","\"new york\" same"}'::text[]) AS q, memory.search(q, neighbours => 1, expand_depth => 1) WITH ORDINALITY AS f;
SELECT FROM memory.set_security_context('search-2', 'ann', is_local => false);
INSERT INTO memory.nodes (tenant_id, user_id, node_id, session_id, content, context_type, summary)
    SELECT memory.current_tenant_id(), 'ann', s.node_id, 's1', '{"t": "jon dog pizza words new york"}', 'tool_output', 'jon jon jon' FROM said AS s;
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary)
    SELECT memory.current_tenant_id(), 'ann', '{}', 'tool_output', 'jon pizza ' || i FROM generate_series(1, 8000) AS i;
SELECT FROM memory.set_security_context('search', 'bob', is_local => false);
INSERT INTO memory.nodes (tenant_id, user_id, node_id, session_id, content, context_type, summary)
    SELECT memory.current_tenant_id(), 'bob', s.node_id, 's1', '{"t": "jon dog pizza words new york"}', 'tool_output', 'jon jon jon' FROM said AS s;
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary)
    SELECT memory.current_tenant_id(), 'bob', '{}', 'tool_output', 'jon pizza ' || i FROM generate_series(1, 8000) AS i;
SELECT FROM memory.set_security_context('search', 'ann', is_local => false);
CREATE TEMP TABLE after AS SELECT f.* FROM unnest('{jon,"dog pizza words","\"new york\" same"}'::text[]) AS q, memory.search(q, neighbours => 1, expand_depth => 1) WITH ORDINALITY AS f;
SELECT count(*) > 10 AS some FROM before;
(TABLE before EXCEPT ALL TABLE after) UNION ALL (TABLE after EXCEPT ALL TABLE before);
-- one id of two users: each row is its own, and never more than asked for
SELECT FROM memory.set_security_context('search', service_name => 'x', is_local => false);
SELECT count(*), count(DISTINCT summary) FROM memory.search('jon', neighbours => 1, expand_depth => 1, max_results => 7);
-- by embedding, and by both
\c - postgres
SELECT FROM memory.create_embedding_space('search toy', 3);
\c - regress_search_service
SELECT FROM memory.set_security_context('search', 'eve', is_local => false);
CREATE TEMP TABLE said AS SELECT v.name, memory.store_node('{}', 'tool_output', v.summary, session_id => 's', valid_from => v.valid_from::timestamptz) AS node_id
FROM (VALUES ('one', 'alpha beta', '2026-01-01'), ('two', 'alpha gamma', '2026-01-02'), ('three', 'delta', '2026-01-03'), ('four', 'epsilon', '2026-01-04')) AS v (name, summary, valid_from);
SELECT memory.store_embeddings('search toy', array_agg(node_id ORDER BY name), '{"[1,0,0]","[0,1,0]","[0.9,0.1,0]"}') FROM said WHERE name IN ('one', 'two', 'three');
SELECT s.name, round(score::numeric, 4) AS score, text_rank, vector_rank, round(vector_score::numeric, 3) AS vector_score, graph_depth
FROM memory.search('alpha', '[0,1,0]') WITH ORDINALITY AS f JOIN said AS s USING (node_id) ORDER BY ordinality;
SELECT s.name, text_rank, vector_rank FROM memory.search(embedding => '[1,0,0]', max_results => 2) WITH ORDINALITY AS f JOIN said AS s USING (node_id) ORDER BY ordinality;
SELECT s.name, text_rank, vector_rank, graph_depth FROM memory.search('', '[1,0,0]', 'search toy', neighbours => 1) WITH ORDINALITY AS f JOIN said AS s USING (node_id) ORDER BY ordinality;
SET memory.search_text_weight = 0;
SELECT s.name FROM memory.search('alpha', '[1,0,0]', max_results => 1) AS f JOIN said AS s USING (node_id);
SET memory.search_vector_weight = 0;
SET memory.search_text_weight = 1;
SELECT s.name FROM memory.search('gamma', '[1,0,0]', max_results => 1) AS f JOIN said AS s USING (node_id);
RESET memory.search_vector_weight;
RESET memory.search_text_weight;
\set VERBOSITY sqlstate
SELECT FROM memory.search('alpha', '[1,0]');
SELECT FROM memory.search('alpha', '[0,0,0]');
SELECT FROM memory.search('alpha', '[1,0,0]', 'no such model');
SELECT FROM memory.search('alpha', model => 'no such model');
\c - postgres
SELECT memory.drop_embedding_space('search toy');
\set VERBOSITY sqlstate
SELECT FROM memory.search('alpha', '[1,0,0]', tenant => 'search', user_id => 'eve');
-- languages beside each other
SELECT FROM memory.set_search_language('search-2', 'german');
\c - regress_search_service
SELECT FROM memory.set_security_context('search-2', 'kai', is_local => false);
SELECT FROM memory.store_node('{"t": "die Häuser"}', 'tool_output', 'nouns') ;
SELECT content FROM memory.search('Haus häuser');
\c - postgres
SELECT FROM memory.set_search_language('search-2', 'english');
\c - regress_search_service
SELECT FROM memory.set_security_context('search-2', 'kai', is_local => false);
SELECT FROM memory.store_node('{"t": "the houses"}', 'tool_output', 'nouns');
SELECT content FROM memory.search('häuser') ;
SELECT content FROM memory.search('"die häuser" housing');
SELECT count(*) FROM memory.search('noun');
\c - postgres
DELETE FROM memory.nodes WHERE tenant_id IN (memory.tenant_id('search'), memory.tenant_id('search-2'));
DELETE FROM memory.search_languages;
SELECT FROM memory.revoke_access('regress_search_service');
DROP ROLE regress_search_service;
DELETE FROM memory.tenants WHERE slug IN ('search', 'search-2');
