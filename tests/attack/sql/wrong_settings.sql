-- Settings that anybody may set, and that change how names and numbers are written: neither a legal hold nor the audit is misled by them, nor does a
-- connection hand on what was made under them.
INSERT INTO memory.tenants (slug) VALUES ('wrong-settings');
CREATE ROLE attack_settings LOGIN IN ROLE attack_app;
SELECT FROM memory.grant_access('attack_settings', 'service', '{wrong-settings}');
\c - attack_settings
SELECT FROM memory.set_security_context('wrong-settings', 'held', is_local => false);
SELECT memory.store_node('{}', 'tool_output', 'held') AS held \gset
SELECT FROM memory.set_security_context('wrong-settings', 'free', is_local => false);
SELECT memory.store_node('{}', 'tool_output', 'free', base_relevance => 0.123456) AS free \gset
\c - attack_operator
SELECT FROM memory.place_legal_hold('held', 'claim', 'wrong-settings');
\c - attack_settings
SET quote_all_identifiers = on;
SET extra_float_digits = -15;
SELECT FROM memory.set_security_context('wrong-settings', 'held', is_local => false);
SET ROLE attack_app;
DELETE FROM memory.nodes;
SELECT memory.delete_nodes(ARRAY[:'held']::uuid[]);
SELECT count(*) FROM memory.nodes;
RESET ROLE;
SELECT FROM memory.set_security_context('wrong-settings', 'free', is_local => false);
UPDATE memory.nodes SET base_relevance = 0.654321;
SELECT summary FROM memory.search('free');
SELECT FROM memory.set_security_context('wrong-settings', service_name => 'x', is_local => false);
BEGIN;
SELECT relation, rows FROM memory.anonymize_user_data('free') WHERE rows > 0;
ROLLBACK;
SELECT memory.cleanup_old_nodes('free', 1);
DELETE FROM memory.nodes WHERE user_id = 'free';
\c - postgres
SELECT a.operation, a.tenant_id = memory.tenant_id('wrong-settings') AS tenant, a.user_id, a.row_key ->> 'node_id' = :'free' AS key,
    a.changes -> 'old' -> 'base_relevance' AS before, a.changes -> 'new' -> 'base_relevance' AS after
FROM memory.audit_log AS a WHERE a.table_name = 'nodes' AND a.row_key ->> 'node_id' IN (:'free', :'held') ORDER BY a.id;
