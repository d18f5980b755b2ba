-- Reads through the functions are logged, where a superuser says so: by whom, whose, how many; reading writes nothing itself.
\set VERBOSITY sqlstate
CREATE ROLE access_service;
CREATE ROLE access_app;
CREATE ROLE access_auditor;
GRANT access_app TO access_service;
INSERT INTO memory.tenants (slug) VALUES ('access-a'), ('access-b');
SELECT memory.grant_access('access_service', 'service', '{access-a,access-b}'), memory.grant_access('access_app', 'app'),
    memory.grant_access('access_auditor', 'auditor', '{access-a}');
SELECT memory.set_security_context('access-a', service_name => 'desk', is_local => false);
SELECT memory.log_event('s', 'log', '{}', 'e' || i, user_id => 'ann') FROM generate_series(1, 3) i;
SELECT memory.store_node('{"entity_system": "x", "entity_id": "1"}', 'knowledge_atom', 'word', user_id => 'ann') AS node \gset
SELECT memory.clear_security_context();
\set reads 'SELECT memory.flush_data_access_log() >= 0 AS flushed; SELECT function_name, memory.tenant_id(\'access-a\') = tenant_id AS of_a, user_id, row_count, actor_role, login_role = session_user AS login, actor_user_id, actor_service_name FROM memory.data_access_log WHERE tenant_id IN (memory.tenant_id(\'access-a\'), memory.tenant_id(\'access-b\')) ORDER BY occurred_at, id;'

-- off
SHOW memory.log_reads;
SELECT count(*) FROM memory.get_events('s', tenant => 'access-a', user_id => 'ann');
SELECT count(*) FROM memory.traverse(ARRAY[:'node'::uuid], tenant => 'access-a', user_id => 'ann');
:reads
SET memory.log_reads = full;
SET ROLE access_service;
-- not theirs to say
SET memory.log_reads = off;
SELECT memory.set_security_context('access-a', 'ann', is_local => false);
SET ROLE access_app;
SELECT count(*) FROM memory.get_events('s');
SELECT count(*) FROM memory.get_session('s');
SELECT count(*) FROM memory.list_sessions();
SELECT memory.get_preferences(), memory.get_user_metadata();
SELECT count(*) FROM memory.get_navigation();
SELECT count(*) FROM memory.get_nodes(ARRAY[:'node'::uuid]);
SELECT count(*) FROM memory.list_nodes();
SELECT count(*) FROM memory.get_relationships(:'node');
SELECT total_nodes FROM memory.get_user_stats();
SELECT count(*) FROM memory.node_history(:'node');
SELECT count(*) FROM memory.search_nodes('word');
SELECT count(*) FROM memory.search('word');
SELECT count(*) FROM memory.traverse(ARRAY[:'node'::uuid]);
SELECT count(*) FROM memory.shortest_path(:'node', :'node');
SELECT count(*) FROM memory.rank_related(ARRAY[:'node'::uuid]);
SELECT memory.graph_dot(ARRAY[:'node'::uuid]) ~ 'digraph';
-- in a transaction that may not write, and one that is rolled back
BEGIN READ ONLY;
SELECT count(*) FROM memory.get_events('s');
ROLLBACK;
-- refused: no read
SELECT count(*) FROM memory.get_events('s', user_id => 'bob');
-- who calls it by hand is still who they are
SELECT memory.note_read('get_events', 'access-b', 'bob'), memory.note_read('what one likes', NULL, NULL);
RESET ROLE;
:reads
-- a service: of the whole tenant, of one user
SET ROLE access_service;
SELECT memory.set_security_context('access-a', service_name => 'desk', is_local => false);
SELECT count(*) FROM memory.list_nodes();
SELECT count(*) FROM memory.replay_session('s', user_id => 'ann');
SELECT count(*) > 3 AS some FROM memory.export_user_data('ann');
SELECT memory.decrypt_field(memory.encrypt_field('ann', 'f', 'x'));
RESET ROLE;
SELECT memory.flush_data_access_log() >= 0 AS flushed;
SELECT function_name, user_id, row_count, actor_user_id, actor_service_name FROM memory.data_access_log WHERE actor_service_name = 'desk' ORDER BY occurred_at;
-- one in a hundred
SET memory.log_reads = sampled;
SELECT count(*) AS before FROM memory.data_access_log \gset
SELECT count(memory.get_preferences(user_id => 'ann')) FROM generate_series(1, 300);
SELECT memory.flush_data_access_log() >= 0 AS flushed;
SELECT count(*) - :before BETWEEN 2 AND 4 AS three FROM memory.data_access_log;
SET memory.log_reads = full;

-- auditors of the tenant read it; nobody changes it
SELECT memory.set_security_context('access-b', 'zoe', is_local => false);
SELECT memory.get_preferences();
SELECT memory.set_security_context('access-a', service_name => 'desk', is_local => false);
SELECT memory.flush_data_access_log() >= 0 AS flushed;
SELECT count(*) FROM memory.data_access_log WHERE tenant_id = memory.tenant_id('access-b') AND user_id = 'zoe';
SET ROLE access_auditor;
SELECT count(*) > 15 AS some, count(DISTINCT tenant_id) FROM memory.data_access_log;
DELETE FROM memory.data_access_log;
SET ROLE access_app;
SELECT count(*) FROM memory.data_access_log;
SELECT memory.flush_data_access_log();
RESET ROLE;
UPDATE memory.data_access_log SET user_id = NULL;
TRUNCATE memory.data_access_log;
-- who is erased has no name in it, also where it was still to be written
SELECT memory.get_preferences(user_id => 'ann');
SELECT count(*) FROM memory.erase_user_data('ann') WHERE rows > 0 AND relation = 'data_access_log';
SELECT memory.flush_data_access_log() >= 0 AS flushed;
SELECT count(*) FROM memory.data_access_log WHERE 'ann' IN (user_id, actor_user_id);
SELECT count(*) > 15 AS stay FROM memory.data_access_log WHERE tenant_id = memory.tenant_id('access-a');

RESET memory.log_reads;
SELECT memory.clear_security_context();
SELECT memory.revoke_access(r::regrole) FROM unnest('{access_service,access_app,access_auditor}'::text[]) r;
DELETE FROM memory.tenants WHERE slug IN ('access-a', 'access-b');
DROP ROLE access_service, access_app, access_auditor;
