-- memory.maintain(): every job, in batches that are committed each; what did something is noted, what failed stops nobody else, what is not due writes nothing.
\set VERBOSITY sqlstate
CREATE ROLE job_operator;
CREATE ROLE job_app;
CREATE ROLE job_service;
CREATE ROLE job_auditor;
INSERT INTO memory.tenants (slug) VALUES ('job-a');
SELECT memory.grant_access('job_operator', 'operator'), memory.grant_access('job_app', 'app'),
    memory.grant_access('job_service', 'service', '{job-a}'), memory.grant_access('job_auditor', 'auditor');
-- (when PostgreSQL counts what was written is its own affair)
\set told 'SELECT j.key AS job, j.value - \'seconds\' - \'rows\' - \'batches\' AS says, (j.value->>\'rows\')::bigint > 0 AS some FROM jsonb_each(:\'report\') AS j WHERE j.key NOT IN (\'statistics\', \'analytics\') ORDER BY 1;'

-- what other tests left
SELECT pg_stat_force_next_flush();
CALL memory.maintain() \gset
SELECT pg_stat_force_next_flush();
CALL memory.maintain() \gset

-- nothing is due: nothing is noted, and no transaction id is taken
SET ROLE job_operator;
SELECT count(*) AS runs, pg_snapshot_xmax(pg_current_snapshot()) AS xmax FROM memory.job_runs \gset before_
CALL memory.maintain() \gset
:told
SELECT count(*) = :before_runs AS no_run, pg_snapshot_xmax(pg_current_snapshot())::text = :'before_xmax' AS no_write FROM memory.job_runs;
RESET ROLE;

-- something is
SELECT memory.set_security_context('job-a', service_name => 'x', is_local => false);
SELECT memory.log_event('s1', 'log', '{}', user_id => 'ann') IS NOT NULL AS logged;
SELECT memory.end_session('s1', user_id => 'ann');
SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day', user_id => 'ann') IS NOT NULL AS stored;
SELECT memory.store_node('{}', 'temporary_state', user_id => 'ann') AS node \gset
SELECT memory.clear_security_context();
UPDATE memory.nodes SET created_at = now() - interval '50 days' WHERE node_id = :'node';
SELECT memory.set_retention_policy('nodes', '40 days', 'job-a');
SET ROLE job_operator;
CALL memory.maintain() \gset
:told
RESET ROLE;
SELECT count(*) FROM memory.nodes WHERE tenant_id = memory.tenant_id('job-a');
SELECT count(*) FROM memory.sessions WHERE tenant_id = memory.tenant_id('job-a');
SELECT count(*) FROM memory.agent_events_archive WHERE tenant_id = memory.tenant_id('job-a');
SELECT job, batches, rows, seconds BETWEEN 0 AND 60 AS seconds, now() - started_at < '1 minute' AS just_now, error FROM memory.job_runs
WHERE job IN ('archival', 'expiry', 'retention') ORDER BY id DESC LIMIT 3;
SELECT job, rows >= 1 AS rows, failures, last_success_at = last_started_at AS succeeded, since <= last_started_at AS since, last_error
FROM memory.jobs WHERE job IN ('archival', 'expiry', 'retention') ORDER BY job;

-- one job fails: the others go on; what the message says of anybody is the server log's
SELECT memory.set_security_context('job-a', service_name => 'x', is_local => false);
SELECT memory.log_event('s2', 'log', '{}', user_id => 'bob') IS NOT NULL AS logged;
SELECT memory.end_session('s2', user_id => 'bob');
SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day', user_id => 'bob') IS NOT NULL AS stored;
SELECT memory.clear_security_context();
CREATE FUNCTION job_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not what bob has stored'; END $$;
CREATE TRIGGER job_refuse BEFORE DELETE ON memory.nodes FOR EACH ROW EXECUTE FUNCTION job_refuse();
SET ROLE job_operator;
CALL memory.maintain() \gset
:told
RESET ROLE;
DROP TRIGGER job_refuse ON memory.nodes;
SELECT count(*) FROM memory.sessions WHERE tenant_id = memory.tenant_id('job-a');
SELECT job, batches, rows, error FROM memory.job_runs WHERE error IS NOT NULL ORDER BY id DESC LIMIT 1;
SELECT job, failures, last_failure_at = last_started_at AS failed, last_success_at < last_failure_at AS succeeded_before, last_error
FROM memory.jobs WHERE job = 'expiry';
SELECT count(*) FROM memory.job_runs AS r WHERE r::text ~ 'bob';
CALL memory.maintain() \gset
:told
SELECT failures, last_failure_at < last_success_at AS better, last_error FROM memory.jobs WHERE job = 'expiry';

-- old runs are forgotten, the totals stay
INSERT INTO memory.job_runs (job, started_at, seconds, batches, rows) SELECT 'seal', now() - interval '8 days', 1, 1, 1 FROM generate_series(1, 3);
INSERT INTO memory.job_runs (job, started_at, seconds, batches, rows) VALUES ('seal', now() - interval '6 days', 1, 1, 1);
SELECT rows, more FROM memory.run_job('history');
SELECT rows, more FROM memory.run_job('history');
SELECT count(*) FROM memory.job_runs WHERE started_at < now() - interval '5 days';
DELETE FROM memory.job_runs WHERE started_at < now() - interval '5 days';

-- tables that changed much are analysed
SELECT pg_stat_force_next_flush();
SELECT rows >= 0 AS any FROM memory.run_job('statistics');
INSERT INTO memory.projects (name) SELECT 'job ' || i FROM generate_series(1, 2000) AS i;
SELECT pg_stat_force_next_flush();
SELECT pg_stat_clear_snapshot();
SELECT rows > 0 AS some FROM memory.run_job('statistics');
SELECT reltuples >= 2000 AS counted FROM pg_class WHERE oid = 'memory.projects'::regclass;
DELETE FROM memory.projects WHERE name LIKE 'job %';

-- it commits: not in a transaction block, nor in a function
SET ROLE job_operator;
BEGIN;
CALL memory.maintain();
ROLLBACK;
CREATE TEMP TABLE told (report jsonb);
DO $$ DECLARE report jsonb; BEGIN CALL memory.maintain(report); INSERT INTO told VALUES (report); END $$;
SELECT count(*) FROM told, jsonb_object_keys(report);
DO $$ DECLARE report jsonb; BEGIN CALL memory.maintain(report); EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE 'refused'; END $$;
DROP TABLE told;
-- an unknown job
SELECT memory.run_job('cleaning');
SELECT memory.run_job(NULL);
-- what is noted is a job's, whose name is a label of metrics
SELECT memory.note_job_run('mine', 1, 1, 1, NULL);
SELECT memory.note_job_run(NULL, 1, 1, 1, NULL);
-- the worker is told to do nothing here
SELECT configured, naptime, last_round_at, rounds FROM memory.worker_status();

-- others may not
SET ROLE job_app;
CALL memory.maintain();
SELECT memory.run_job('archival');
SELECT memory.note_job_run('archival', 1, 1, 1, NULL);
SELECT count(*) FROM memory.job_runs;
SET ROLE job_service;
CALL memory.maintain();
SELECT count(*) FROM memory.jobs;
SET ROLE job_auditor;
CALL memory.maintain();
SELECT memory.worker_status();
-- nor may an operator write what the jobs did
SET ROLE job_operator;
DELETE FROM memory.job_runs;
UPDATE memory.jobs SET rows = 0;
RESET ROLE;

DELETE FROM memory.jobs WHERE job = 'embeddings';
DELETE FROM memory.job_runs WHERE job = 'embeddings';
-- what each did is added up; a success leaves the last error, a failure the last success
BEGIN;
DELETE FROM memory.jobs WHERE job = 'embeddings';
DELETE FROM memory.job_runs WHERE job = 'embeddings';
SELECT memory.note_job_run('embeddings', 1, 2, 5, NULL), memory.note_job_run('embeddings', 2, 1, 7, '57014 query_canceled'), memory.note_job_run('embeddings', 3, 1, 1, NULL);
SELECT runs, failures, rows, seconds, last_seconds, last_success_at = last_started_at AS last, last_error FROM memory.jobs WHERE job = 'embeddings';
SELECT memory.note_job_run('embeddings', 1, 1, 0, '55P03 lock_not_available');
SELECT runs, failures, rows, last_failure_at = last_started_at AS failed, last_success_at IS NOT NULL AS succeeded, last_error FROM memory.jobs WHERE job = 'embeddings';
SELECT batches, rows, error FROM memory.job_runs WHERE job = 'embeddings' ORDER BY id;
ROLLBACK;
SELECT memory.drop_retention_policy('nodes', 'job-a');
DROP FUNCTION job_refuse;
SELECT memory.revoke_access('job_operator'), memory.revoke_access('job_app'), memory.revoke_access('job_service'), memory.revoke_access('job_auditor');
DROP ROLE job_operator;
DROP ROLE job_app;
DROP ROLE job_service;
DROP ROLE job_auditor;
DELETE FROM memory.agent_events_archive WHERE tenant_id = memory.tenant_id('job-a');
DELETE FROM memory.agent_sessions_archive WHERE tenant_id = memory.tenant_id('job-a');
DELETE FROM memory.tenants WHERE slug = 'job-a';
