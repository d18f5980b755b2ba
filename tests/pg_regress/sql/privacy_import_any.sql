-- Documents from outside, by the thousand: a good one with something else, or nothing, at each place in it. What is taken is given back by the next
-- export as it came, up to how a value is written; everything else is an error that says so, and leaves nothing.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE any_service LOGIN;
INSERT INTO memory.tenants (slug) VALUES ('any-a');
SELECT FROM memory.grant_access('any_service', 'service', '{any-a}');
SELECT memory.create_embedding_space('any-m', 3);

SET SESSION AUTHORIZATION any_service;
SELECT memory.set_security_context('any-a', service_name => 'desk', is_local => false);
SELECT FROM memory.save_session('s1', '{"n": 1}', 'chatty', 's0', user_id => 'ann');
SELECT FROM memory.log_event('s1', 'message_user', '{"text": "x"}', 'e1', '2024-02-29 12:34:56.789012+00', user_id => 'ann');
SELECT count(*) FROM (SELECT memory.set_preferences('{"p": 1}', user_id => 'ann'), memory.set_user_metadata('{"m": {}}', user_id => 'ann'), memory.record_navigation('/a', user_id => 'ann')) AS x;
SELECT memory.store_node('{"entity_id": "i", "entity_system": "y", "text": "mountain"}', 'domain_entity', 'sum', '{t,"u v"}', '{"k": 1}', user_id => 'ann') AS one,
    memory.store_node('{"text": "river"}', 'tool_output', session_id => 's1', user_id => 'ann') AS other \gset
SELECT memory.store_relationship(:'one', :'other', 'produces', 0.5, '{"w": 1}', user_id => 'ann') IS NOT NULL AS stored;
SELECT count(*) FROM (SELECT memory.store_embedding('any-m', :'other', '[0.5,1,2]', 'query', user_id => 'ann')) AS x;
SELECT FROM memory.archive_session('any-a', 'ann', 'old', '{"m": 1}', '2020-01-01');
SELECT FROM memory.archive_event('any-a', 'ann', 'old', 'e', 'free word', '2020-01-01', '{"o": 1}');
SELECT memory.encrypt_field('ann', 'iban', 'DE02') \g /dev/null

-- Every place in the document, of each relation's first row.
CREATE TEMP TABLE places AS
WITH RECURSIVE document AS MATERIALIZED (
    SELECT memory.export_user_document('ann') - 'records' AS whole
), place (path, value) AS (
    SELECT '{}'::text[], whole FROM document
    UNION ALL
    SELECT p.path || e.key, e.value FROM place AS p, LATERAL (
        SELECT key, value FROM jsonb_each(CASE WHEN jsonb_typeof(p.value) = 'object' THEN p.value ELSE '{}' END)
        UNION ALL
        SELECT (n - 1)::text, value FROM jsonb_array_elements(CASE WHEN jsonb_typeof(p.value) = 'array' THEN p.value ELSE '[]' END) WITH ORDINALITY AS a (value, n)
    ) AS e
)
SELECT p.path, d.whole FROM place AS p, document AS d WHERE cardinality(p.path) BETWEEN 1 AND 5 AND p.path[3] IS DISTINCT FROM '1';
CREATE TEMP TABLE documents AS
SELECT row_number() OVER (ORDER BY p.path, v.n) AS n, p.path, v.value,
    CASE v.n WHEN 0 THEN p.whole #- p.path WHEN 1 THEN jsonb_insert(p.whole, p.path[:cardinality(p.path) - 1] || CASE
        WHEN jsonb_typeof(p.whole #> p.path[:cardinality(p.path) - 1]) = 'array' THEN '0' ELSE 'stray' END, '"x"')
    ELSE jsonb_set(p.whole, p.path, v.value) END AS document
FROM places AS p, LATERAL (VALUES (0, NULL::jsonb), (1, NULL), (2, 'null'), (4, '-1e400'), (5, '""'), (6, '"x"'), (7, '[1]'), (8, '{}'), (10, '{"_encrypted": "x"}'), (11, to_jsonb(repeat('0', 3000))), (12, '"infinity"'),
    (14, '"NaN"'), (15, '"{a,NULL}"'), (16, '"\u00e9\ud83d\ude00\u0001"')) AS v (n, value);
-- Rows in one order, whatever a document's is; what is not a text may have become one.
CREATE FUNCTION pg_temp.said(document jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(r.key, (
        SELECT jsonb_agg(CASE WHEN r.key LIKE '%archive' THEN e.value #- '{payload,_tenant}' ELSE e.value END ORDER BY (e.value - '{payload,content}'::text[])::text)
        FROM jsonb_array_elements(r.value) AS e (value))) FILTER (WHERE r.value <> '[]')
    FROM jsonb_each(document -> 'relations') AS r
$$;
CREATE TEMP TABLE outcomes (n bigint, state text, said text, same boolean, stays bigint);
CREATE PROCEDURE pg_temp.try_all() LANGUAGE plpgsql AS $$
DECLARE d record; message text; back jsonb;
BEGIN
    FOR d IN SELECT * FROM documents ORDER BY n LOOP
        BEGIN
            PERFORM count(*) FROM memory.import_user_data(d.document, user_id => 'eve');
            back := memory.export_user_document('eve');
            RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = (pg_temp.said(back) IS NOT DISTINCT FROM pg_temp.said(d.document)
                OR pg_temp.said(back) = pg_temp.said(jsonb_set(d.document, d.path, to_jsonb(d.document #>> d.path))))::text;
        EXCEPTION WHEN OTHERS THEN
            message := sqlerrm;
            INSERT INTO outcomes VALUES (d.n, sqlstate, message, message = 'true',
                (SELECT count(*) FROM memory.sessions WHERE user_id = 'eve') + (SELECT count(*) FROM memory.nodes WHERE user_id = 'eve') + (SELECT count(*) FROM memory.encrypted_fields WHERE user_id = 'eve'));
        END;
    END LOOP;
END
$$;
CALL pg_temp.try_all();
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE state = 'ZZ000') > 100 AS taken, count(*) FILTER (WHERE state <> 'ZZ000') > 500 AS refused FROM outcomes;
SELECT state, count(*) > 0 AS some, sum(stays) AS stays FROM outcomes GROUP BY state ORDER BY state;
-- an error names where it is, in words of this library
SELECT d.path, left(d.value::text, 40) AS value, o.said FROM outcomes AS o JOIN documents AS d USING (n) WHERE state <> 'ZZ000' AND said !~ '^document |^version |^relations[ .]|element [12] of relations[.]|^user_id ' LIMIT 20;
-- what is taken comes back; but for numbers that are written otherwise
SELECT d.path, left(d.value::text, 40) AS value FROM outcomes AS o JOIN documents AS d USING (n) WHERE state = 'ZZ000' AND NOT same ORDER BY n LIMIT 60;
RESET SESSION AUTHORIZATION;
SELECT memory.drop_embedding_space('any-m');
SELECT FROM memory.erase_user_data('ann', 'any-a') LIMIT 1;
SELECT FROM memory.revoke_access('any_service');
DELETE FROM memory.tenants WHERE slug = 'any-a';
DROP OWNED BY any_service;
DROP ROLE any_service;
