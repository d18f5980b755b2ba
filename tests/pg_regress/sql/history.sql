-- What a node was: every change is a version, touches are none; the state of every moment; gone with what is gone.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (slug) VALUES ('history-a'), ('history-b');
CREATE ROLE history_app LOGIN;
CREATE ROLE history_service LOGIN IN ROLE history_app;
SELECT FROM memory.grant_access('history_app', 'app');
SELECT FROM memory.grant_access('history_service', 'service', '{history-a}');
\c - history_service
SET client_min_messages = warning;

-- an entity: stored, touched, merged, touched, ended, stored again, deleted
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', sealed => true);
SET LOCAL ROLE history_app;
SELECT clock_timestamp() AS t0 \gset
SELECT memory.store_node('{"entity_id": 7, "entity_system": "crm", "entity_data": {"first": "Ann"}}', 'domain_entity', 'Ann', '{customer}') AS ann \gset
SELECT clock_timestamp() AS t1 \gset
SELECT memory.touch_nodes(ARRAY[:'ann', :'ann']::uuid[]);
SELECT clock_timestamp() AS t2 \gset
SELECT FROM memory.store_node('{"entity_id": 7, "entity_system": "crm", "entity_data": {"last": "Lee"}}', 'domain_entity', NULL, '{vip}');
SELECT memory.touch_nodes(ARRAY[:'ann']::uuid[]);
SELECT clock_timestamp() AS t3 \gset
SELECT FROM memory.end_node(:'ann');
SELECT clock_timestamp() AS t4 \gset
SELECT memory.store_node('{"entity_id": 7, "entity_system": "crm"}', 'domain_entity', 'Ann Lee') = :'ann' AS same;
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', sealed => true);
SET LOCAL ROLE history_app;
SELECT version, operation, actor, content -> 'entity_data' AS data, content -> 'update_count' AS updates, summary, tags FROM memory.node_history(:'ann');
SELECT bool_and(changed_at >= before) AS in_order, min(changed_at) BETWEEN :'t0' AND :'t1' AS first_at
FROM (SELECT changed_at, lag(changed_at) OVER (ORDER BY version) AS before FROM memory.node_history(:'ann')) AS v;
SELECT memory.delete_nodes(ARRAY[:'ann']::uuid[]);
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', sealed => true);
SET LOCAL ROLE history_app;
SELECT version, operation, content -> 'update_count' AS updates, summary, tags FROM memory.node_history(:'ann') OFFSET 3;
-- the row at each moment
SELECT at, s ->> 'summary' AS summary, s -> 'tags' AS tags, s -> 'content' -> 'update_count' AS updates, s -> 'access_count' AS accesses, s ->> 'valid_to' IS NOT NULL AS ended
FROM unnest(ARRAY[:'t0', :'t1', :'t2', :'t3', :'t4', 'now', '-infinity', 'infinity']::timestamptz[]) WITH ORDINALITY AS m (moment, at)
CROSS JOIN LATERAL memory.node_as_of(:'ann', m.moment) AS s ORDER BY at;
SELECT memory.node_as_of(:'ann', at => NULL) IS NULL AS gone;
-- the same entity is another node, with a history of its own
SELECT memory.store_node('{"entity_id": 7, "entity_system": "crm"}', 'domain_entity') AS again \gset
SELECT :'again' <> :'ann' AS another, (SELECT count(*) FROM memory.node_history(:'again')) AS versions, (SELECT count(*) FROM memory.node_history(:'ann')) AS before;
-- the same id, by hand, is the same node
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES (memory.current_tenant_id(), 'ann', :'ann', '{"by": "hand"}', 'tool_output');
SELECT version, operation, content - 'last_updated' AS content FROM memory.node_history(:'ann') OFFSET 4;
SELECT memory.node_as_of(:'ann', NULL) = to_jsonb(n) AS present FROM memory.nodes AS n WHERE node_id = :'ann';
-- a change of what is not shown is a version too; of the counters alone it is none
UPDATE memory.nodes SET tier = 'shared' WHERE node_id = :'ann';
UPDATE memory.nodes SET valid_to = valid_from, updated_at = now() WHERE node_id = :'ann';
UPDATE memory.nodes SET updated_at = now() + interval '1 day', access_count = 9 WHERE node_id = :'ann';
UPDATE memory.nodes SET tier = tier WHERE node_id = :'ann';
UPDATE memory.nodes SET tags = '{{a,NULL},{c,"d e"}}', summary = '' WHERE node_id = :'ann';
SELECT version, operation, content, summary, tags FROM memory.node_history(:'ann') OFFSET 6;
ROLLBACK;

-- several changes in one statement and in one transaction: a version each; of a batch that folds an entity, one
\c - history_service
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', service_name => 'desk');
SELECT node_id AS fold FROM memory.store_nodes('[{"content": {"entity_id": 1, "entity_system": "f"}, "context_type": "tool_output"},
    {"content": {"entity_id": 1, "entity_system": "f"}, "context_type": "tool_output"}]') LIMIT 1 \gset
UPDATE memory.nodes SET summary = 'all of ann''s';
UPDATE memory.nodes SET summary = 'again';
SELECT version, operation, actor, content -> 'update_count' AS updates, summary FROM memory.node_history(:'fold');
ROLLBACK;

-- who: the user, else the service, else the role
BEGIN;
SELECT FROM memory.set_security_context('history-a', service_name => 'desk');
SELECT memory.store_node('{"n": 1}', 'tool_output', user_id => 'ann') AS n \gset
SELECT memory.store_node('{"n": 2}', 'tool_output', user_id => 'bob') AS bobs \gset
SELECT memory.store_node('{"n": 3}', 'tool_output', user_id => 'ann') AS m \gset
COMMIT;
\c - postgres
UPDATE memory.nodes SET summary = 'by nobody' WHERE node_id = :'n';
BEGIN;
-- a superuser gets past the policies; the name of another user is not told
SELECT FROM memory.set_security_context('history-a', 'bob');
UPDATE memory.nodes SET summary = 'by bob' WHERE node_id = :'n';
SELECT FROM memory.set_security_context('history-a', 'bob', service_name => 'desk');
UPDATE memory.nodes SET summary = 'by bob''s desk' WHERE node_id = :'n';
SELECT FROM memory.set_security_context('history-b', service_name => 'other tenant''s');
UPDATE memory.nodes SET summary = 'by another tenant' WHERE node_id = :'n';
COMMIT;
\c - history_service
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', sealed => true);
SET LOCAL ROLE history_app;
SELECT version, operation, actor, summary FROM memory.node_history(:'n');
ROLLBACK;

-- given away by a service: it has gone for the one, has come for the other, who sees nothing of the time before
BEGIN;
SELECT FROM memory.set_security_context('history-a', service_name => 'desk');
UPDATE memory.nodes SET user_id = 'bob', summary = 'bob''s now' WHERE node_id = :'n';
UPDATE memory.nodes SET user_id = CASE user_id WHEN 'ann' THEN 'bob' ELSE 'ann' END WHERE node_id IN (:'m', :'bobs');
SELECT clock_timestamp() AS given \gset
UPDATE memory.nodes SET summary = 'bob''s still' WHERE node_id = :'n';
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'bob', sealed => true);
SET LOCAL ROLE history_app;
SELECT version, operation, actor, content, summary FROM memory.node_history(:'n');
SELECT version, operation, content FROM memory.node_history(:'m');
SELECT version, operation, content FROM memory.node_history(:'bobs');
SELECT memory.node_as_of(:'n', :'given') ->> 'summary' AS given, memory.node_as_of(:'n', :'given'::timestamptz - interval '1 second') AS before;
-- by the id's owner of then, too
SELECT count(*) FROM memory.node_changes(:'n') WHERE owner <> 'bob' OR changes::text ~ 'by ';
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'ann', sealed => true);
SET LOCAL ROLE history_app;
SELECT version, operation, actor, content, summary FROM memory.node_history(:'n') OFFSET 4;
SELECT memory.node_as_of(:'n', :'given') AS given, memory.node_as_of(:'m', :'given') AS m, memory.node_as_of(:'bobs', :'given') -> 'content' AS bobs;
SELECT count(*) FROM memory.node_changes(:'n') WHERE owner <> 'ann' OR changes::text ~ 'bob''s (now|still)';
COMMIT;
-- a service sees both, whole
BEGIN;
SELECT FROM memory.set_security_context('history-a', service_name => 'desk');
SELECT version, operation, actor, summary FROM memory.node_history(:'n');
SELECT count(*) FROM memory.node_history(:'n', user_id => 'bob');
SELECT memory.node_as_of(:'n', :'given') ->> 'user_id' AS whose;
-- another id: as another node
UPDATE memory.nodes SET node_id = '00000000-0000-7000-8000-000000000001' WHERE node_id = :'n';
SELECT operation, summary FROM memory.node_history(:'n') OFFSET 7;
SELECT operation, summary FROM memory.node_history('00000000-0000-7000-8000-000000000001');
ROLLBACK;

-- who may ask
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'cat', sealed => true);
SET LOCAL ROLE history_app;
SAVEPOINT s;
SELECT * FROM memory.node_history(:'n');
SELECT * FROM memory.node_history('00000000-0000-7000-8000-0000000000ff');
SELECT memory.node_as_of(:'n', now());
SELECT * FROM memory.node_history(NULL);
ROLLBACK TO s;
SELECT memory.node_as_of(NULL, now());
ROLLBACK TO s;
SELECT * FROM memory.node_history(:'n', user_id => 'ann');
ROLLBACK TO s;
SELECT memory.node_as_of(:'n', now(), user_id => 'ann');
ROLLBACK TO s;
SELECT * FROM memory.node_changes(:'n', user_id => 'ann');
ROLLBACK TO s;
SELECT * FROM memory.node_history(:'n', 'history-b');
ROLLBACK TO s;
SELECT * FROM memory.node_history(:'n', 'history-none');
ROLLBACK TO s;
SELECT * FROM memory.owned_scope('history-a', 'ann');
ROLLBACK TO s;
SELECT count(*) FROM memory.audit_log;
ROLLBACK;
SELECT * FROM memory.node_history(:'n');
SELECT * FROM memory.node_history(:'n', 'history-a', 'ann');
SELECT * FROM memory.node_history(:'n', 'history-none', 'ann');
SELECT * FROM memory.node_changes(:'n', 'history-a', 'ann');
\c - postgres
SELECT * FROM memory.node_history(:'n');
SELECT count(*) FROM memory.node_history(:'n', 'history-a', 'ann');
SET ROLE history_app;
SELECT count(*) FROM memory.node_history(:'n', 'history-a', 'ann');
RESET ROLE;

-- what the log has forgotten: the rest is numbered from 1, behind the state that it left
BEGIN;
SET LOCAL row_security = off;
DELETE FROM memory.audit_log WHERE id IN (SELECT place FROM memory.node_changes(:'n', 'history-a', 'ann') ORDER BY place LIMIT 2);
SELECT version, operation, actor, summary, changed_at < now() AS before FROM memory.node_history(:'n', 'history-a', 'ann');
SELECT memory.node_as_of(:'n', :'t4', 'history-a', 'ann') AS before, memory.node_as_of(:'n', :'given'::timestamptz - interval '1 year', 'history-a', 'ann') AS long_before;
DELETE FROM memory.audit_log WHERE table_name = 'nodes';
-- of a node that is there
SELECT version, operation, actor, summary FROM memory.node_history(:'n', 'history-a', 'bob');
SELECT memory.node_as_of(:'n', NULL, 'history-a', 'bob') = to_jsonb(n) AS present FROM memory.nodes AS n WHERE node_id = :'n';
SELECT count(*) FROM memory.node_history(:'n', 'history-a', 'ann');
ROLLBACK;
-- what was written past the log's trigger is no version, and the present knows it
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE memory.nodes SET summary = 'past the log' WHERE node_id = :'n';
SELECT version, summary FROM memory.node_history(:'n', 'history-a', 'bob');
SELECT memory.node_as_of(:'n', NULL, 'history-a', 'bob') ->> 'summary' AS present, memory.node_as_of(:'n', :'given', 'history-a', 'bob') ->> 'summary' AS given;
DELETE FROM memory.nodes WHERE node_id = :'n';
SELECT version, operation, summary FROM memory.node_history(:'n', 'history-a', 'bob');
SELECT memory.node_as_of(:'n', NULL, 'history-a', 'bob') AS present;
ROLLBACK;
-- TRUNCATE ends what was there
SET client_min_messages = warning;
BEGIN;
SELECT memory.store_node('{"n": 4}', 'tool_output', 'in vain', tenant => 'history-a', user_id => 'ann') AS vain \gset
SELECT memory.delete_nodes(ARRAY[:'vain']::uuid[], 'history-a', 'ann');
TRUNCATE memory.nodes CASCADE;
TRUNCATE memory.nodes CASCADE;
SELECT version, operation, actor, content, summary, tags FROM memory.node_history(:'n', 'history-a', 'bob');
SELECT version, operation FROM memory.node_history(:'vain', 'history-a', 'ann');
SELECT memory.node_as_of(:'n', NULL, 'history-a', 'bob') AS present, memory.node_as_of(:'n', :'given', 'history-a', 'bob') ->> 'summary' AS given;
ROLLBACK;

-- what holds, and what was known: two times
\c - history_service
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'dan');
SELECT memory.store_node('{"lives": "Oslo"}', 'conversation_fact', valid_from => '2020-01-01') AS lives \gset
COMMIT;
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'dan');
SELECT clock_timestamp() AS known \gset
SELECT FROM memory.end_node(:'lives', '2021-01-01');
SELECT memory.node_as_of(:'lives', '2020-06-01') AS not_known_then, memory.node_as_of(:'lives', :'known') ->> 'valid_to' AS end_not_known_yet,
    (memory.node_as_of(:'lives', NULL) ->> 'valid_to')::timestamptz = '2021-01-01' AS known_now;
COMMIT;

-- a random walk: after each step the row is noted, with the time; later each note is what node_as_of says, and each distinct one a version
BEGIN;
SELECT FROM memory.set_security_context('history-a', 'eve');
SET LOCAL ROLE history_app;
SET LOCAL TimeZone = 'Asia/Kathmandu';
CREATE TEMP TABLE noted (step int, at timestamptz, node uuid, state jsonb, versions bigint);
DO $$
DECLARE
    ids uuid[] := '{}';
    id uuid;
    versions bigint[] := '{}';
    k int;
    before jsonb;
BEGIN
    PERFORM setseed(0.25);
    FOR step IN 1..250 LOOP
        k := 1 + floor(random() * 5);
        IF ids[k] IS NULL THEN
            ids[k] := memory.store_node(jsonb_build_object('entity_id', k, 'entity_system', 'walk'), 'domain_entity', 'first', tags => '{walk}');
            versions[k] := 1;
        ELSIF NOT EXISTS (SELECT FROM memory.nodes WHERE node_id = ids[k]) THEN
            INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, entity_id, entity_system)
            VALUES (memory.current_tenant_id(), 'eve', ids[k], '{}', 'domain_entity', k, 'walk');
            versions[k] := versions[k] + 1;
        ELSE
            id := ids[k];
            before := (SELECT to_jsonb(n) FROM memory.nodes AS n WHERE n.node_id = id) - '{access_count,last_accessed,updated_at}'::text[];
            CASE floor(random() * 8)
                WHEN 0 THEN PERFORM memory.store_node(jsonb_build_object('entity_id', k, 'entity_system', 'walk', 'k' || step, step), 'domain_entity',
                    CASE WHEN random() < 0.5 THEN 's' || step END, ARRAY['t' || floor(random() * 9)], jsonb_build_object('m', step));
                WHEN 1 THEN PERFORM memory.end_node(id);
                WHEN 2 THEN PERFORM memory.touch_nodes(ids);
                WHEN 3 THEN PERFORM memory.delete_nodes(ARRAY[id]);
                WHEN 4 THEN UPDATE memory.nodes SET tags = tags || NULL::text, summary = NULL, session_id = step WHERE node_id = id;
                WHEN 5 THEN UPDATE memory.nodes SET base_relevance = random(), metadata = '{}', expires_at = now() + interval '1 day' * step WHERE node_id = id;
                WHEN 6 THEN UPDATE memory.nodes SET content = jsonb_build_object('deep', jsonb_build_array(step, NULL, '1e400'::jsonb)), valid_to = NULL WHERE node_id = id;
                ELSE PERFORM memory.store_nodes(jsonb_build_array(jsonb_build_object('context_type', 'domain_entity', 'content', jsonb_build_object('entity_id', k, 'entity_system', 'walk'))));
            END CASE;
            IF before IS DISTINCT FROM (SELECT to_jsonb(n) FROM memory.nodes AS n WHERE n.node_id = id) - '{access_count,last_accessed,updated_at}'::text[] THEN
                versions[k] := versions[k] + 1;
            END IF;
        END IF;
        FOR j IN 1..coalesce(array_length(ids, 1), 0) LOOP
            IF ids[j] IS NOT NULL THEN
                INSERT INTO noted SELECT step, clock_timestamp(), ids[j], (SELECT to_jsonb(n) FROM memory.nodes AS n WHERE n.node_id = ids[j]), versions[j];
            END IF;
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*) > 900 AS many, count(state) < count(*) AS some_gone FROM noted;
SELECT step FROM noted WHERE memory.node_as_of(node, at) IS DISTINCT FROM state ORDER BY step;
SELECT n.node FROM noted AS n WHERE n.step = 250 AND n.versions <> (SELECT count(*) FROM memory.node_history(n.node));
-- each version is the state of its moment
SELECT count(*) FROM (SELECT DISTINCT node FROM noted) AS n CROSS JOIN LATERAL memory.node_history(n.node) AS h
CROSS JOIN LATERAL memory.node_as_of(n.node, h.changed_at) AS s
WHERE h.operation <> 'DELETE' AND (s -> 'content', s ->> 'summary', s -> 'tags') IS DISTINCT FROM (h.content, h.summary, to_jsonb(h.tags));
ROLLBACK;

-- gone with the user, and with retention
BEGIN;
SELECT FROM memory.set_security_context('history-a', service_name => 'desk');
SELECT memory.store_node('{"secret": 1}', 'tool_output', 'secret', '{secret}', user_id => 'flo') AS flos \gset
SELECT FROM memory.end_node(:'flos', user_id => 'flo');
SELECT memory.store_node('{"secret": 2}', 'tool_output', 'secret', user_id => 'flo') AS gone \gset
SELECT memory.delete_nodes(ARRAY[:'gone']::uuid[], user_id => 'flo');
SAVEPOINT s;
SELECT relation, rows FROM memory.anonymize_user_data('flo') WHERE relation = 'nodes';
SELECT count(*) FROM memory.node_history(:'flos');
SELECT count(*) FROM memory.node_history(:'gone');
-- of who it has become nothing is known but what is there
SELECT h.version, h.operation, h.actor, h.content, h.summary, h.tags FROM memory.nodes AS n, memory.node_history(n.node_id) AS h WHERE n.user_id LIKE 'anon-%';
SELECT memory.node_as_of(n.node_id, NULL) = to_jsonb(n) AS present, memory.node_as_of(n.node_id, n.updated_at - interval '1 second') AS before FROM memory.nodes AS n WHERE n.user_id LIKE 'anon-%';
ROLLBACK TO s;
SELECT relation, rows FROM memory.erase_user_data('flo') WHERE relation = 'nodes';
SELECT count(*) FROM memory.node_history(:'flos');
SELECT count(*) FROM memory.node_history(:'gone');
ROLLBACK TO s;
UPDATE memory.nodes SET created_at = now() - interval '2 days' WHERE node_id = :'flos';
SELECT memory.cleanup_old_nodes('flo', 1);
SELECT count(*) FROM memory.node_history(:'flos');
SELECT count(*) FROM memory.node_history(:'gone');
ROLLBACK;
\c - postgres
BEGIN;
SELECT memory.store_node('{"secret": 1}', 'tool_output', 'secret', tenant => 'history-a', user_id => 'flo') AS flos \gset
SELECT FROM memory.end_node(:'flos', tenant => 'history-a', user_id => 'flo');
UPDATE memory.nodes SET created_at = now() - interval '2 days' WHERE node_id = :'flos';
SELECT FROM memory.set_retention_policy('nodes', '1 day', 'history-a', 'anonymize');
SELECT data_class, affected FROM memory.apply_retention() WHERE tenant_id = memory.tenant_id('history-a');
SELECT count(*) FROM memory.node_history(:'flos', 'history-a', 'flo');
SELECT h.version, h.operation, h.actor, h.content, h.summary FROM memory.nodes AS n, memory.node_history(n.node_id, 'history-a', n.user_id) AS h
WHERE n.tenant_id = memory.tenant_id('history-a') AND n.user_id LIKE 'anon-%';
ROLLBACK;

DELETE FROM memory.nodes WHERE tenant_id = memory.tenant_id('history-a');
SELECT FROM memory.revoke_access('history_app');
SELECT FROM memory.revoke_access('history_service');
DROP ROLE history_app, history_service;
DELETE FROM memory.tenants WHERE slug IN ('history-a', 'history-b');
