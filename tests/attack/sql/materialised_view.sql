-- A materialised view keeps what its owner's context covered when it was filled; whoever refreshes it, the context is the session's own.
SELECT attack(format('CREATE MATERIALIZED VIEW attack_lab.mine AS SELECT string_agg(t::text, '''') AS t FROM memory.%I AS t', name), 'SELECT * FROM attack_lab.mine')
FROM unnest('{nodes,sessions,agent_events_archive,audit_log}'::text[]) AS name;
SELECT attack('CREATE MATERIALIZED VIEW memory.mine AS SELECT 1');
\i input/each_profile.sql
-- app's, refreshed by a superuser in no context: its rows are those that app sees then
SET client_min_messages = warning;
\c - attack_app
CREATE MATERIALIZED VIEW attack_lab.mine AS SELECT user_id, summary FROM memory.nodes WITH NO DATA;
\c - postgres
REFRESH MATERIALIZED VIEW attack_lab.mine;
SELECT count(*) FROM attack_lab.mine;
-- others do not refresh it
\set VERBOSITY sqlstate
\c - attack_operator
REFRESH MATERIALIZED VIEW attack_lab.mine;
\c - attack_auditor
REFRESH MATERIALIZED VIEW attack_lab.mine;
\c - postgres
DROP MATERIALIZED VIEW attack_lab.mine;
