-- A view runs with its owner's privileges and policies: made by one role, it must show no other role more than that.
SELECT attack('CREATE TEMP VIEW mine AS SELECT * FROM memory.nodes', 'SELECT * FROM mine');
SELECT attack('CREATE TEMP VIEW mine AS SELECT * FROM memory.agent_sessions_archive', 'SELECT * FROM mine');
SELECT attack('CREATE TEMP VIEW mine WITH (security_barrier = false) AS SELECT * FROM memory.nodes', 'SELECT * FROM mine WHERE summary::int = 1');
SELECT attack('CREATE TEMP VIEW mine WITH (security_invoker = false) AS SELECT * FROM memory.sessions', 'SELECT * FROM mine');
SELECT attack('CREATE TEMP VIEW mine AS SELECT * FROM memory.nodes', $$UPDATE mine SET user_id = 'bob' RETURNING *$$);
SELECT attack('CREATE TEMP VIEW mine AS SELECT * FROM memory.nodes WITH LOCAL CHECK OPTION',
    $$INSERT INTO mine (tenant_id, user_id, content, context_type) VALUES ('00000000-0000-7000-8000-00000000000b', 'bob', '{}', 'tool_output') RETURNING *$$);
SELECT attack('CREATE TEMP VIEW mine AS SELECT * FROM memory.nodes', 'CREATE RULE r AS ON UPDATE TO mine DO INSTEAD SELECT * FROM memory.nodes', 'UPDATE mine SET summary = NULL');
SELECT attack('CREATE VIEW memory.mine AS SELECT 1');
SELECT attack($$CREATE OR REPLACE VIEW memory.nodes AS SELECT 1$$);
\i input/each_profile.sql
-- a view that a service made and everyone may read: the context of who reads counts, whoever owns it
CREATE SCHEMA attack_views AUTHORIZATION attack_service;
\c - attack_service
CREATE VIEW attack_views.nodes AS SELECT tenant_id, user_id, summary FROM memory.nodes;
CREATE VIEW attack_views.archive AS SELECT tenant_id, user_id, payload FROM memory.agent_sessions_archive;
GRANT USAGE ON SCHEMA attack_views TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA attack_views TO PUBLIC;
\c - postgres
SELECT attack('SELECT summary FROM attack_views.nodes'), attack('SELECT payload FROM attack_views.archive');
\i input/each_profile.sql
DROP SCHEMA attack_views CASCADE;
