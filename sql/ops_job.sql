-- The jobs that keep the memory in order: what they did, and the procedure that runs them. src/ops/job.rs says what each does.

CREATE TABLE memory.job_runs (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    job text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL,
    seconds double precision NOT NULL,
    batches bigint NOT NULL,
    rows bigint NOT NULL,
    error text COLLATE "C"
);
COMMENT ON TABLE memory.job_runs IS
    'Runs of jobs that did something or failed, of the last seven days; the totals are in memory.jobs. Written by maintain() and the worker.';
COMMENT ON COLUMN memory.job_runs.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.job_runs.job IS 'violations, access_log, archival, expiry, retention, embeddings, statistics, analytics, seal or history.';
COMMENT ON COLUMN memory.job_runs.started_at IS 'When it began.';
COMMENT ON COLUMN memory.job_runs.seconds IS 'How long it took.';
COMMENT ON COLUMN memory.job_runs.batches IS 'How many batches did something, each committed by itself.';
COMMENT ON COLUMN memory.job_runs.rows IS 'How many rows it moved, removed, wrote or sealed; of statistics, tables.';
COMMENT ON COLUMN memory.job_runs.error IS
    'What ended it: SQLSTATE and its name. The server log has the message. The batches before stay. NULL: nothing.';
CREATE INDEX job_runs_started_at_idx ON memory.job_runs (started_at);
SELECT memory.declare_table('memory.job_runs', 'shared', audited => false);
SELECT memory.allow_table('operator', 'SELECT', 'job_runs');

CREATE TABLE memory.jobs (
    job text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL,
    runs bigint NOT NULL,
    failures bigint NOT NULL,
    rows bigint NOT NULL,
    seconds double precision NOT NULL,
    last_started_at timestamptz NOT NULL,
    last_seconds double precision NOT NULL,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error text COLLATE "C"
);
COMMENT ON TABLE memory.jobs IS 'What each job did in all, since it first did something. Runs that found nothing to do do not count.';
COMMENT ON COLUMN memory.jobs.job IS 'As in memory.job_runs.';
COMMENT ON COLUMN memory.jobs.since IS 'Since when it is counted.';
COMMENT ON COLUMN memory.jobs.runs IS 'How many runs did something or failed.';
COMMENT ON COLUMN memory.jobs.failures IS 'How many of them failed.';
COMMENT ON COLUMN memory.jobs.rows IS 'How many rows they moved, removed, wrote or sealed.';
COMMENT ON COLUMN memory.jobs.seconds IS 'How long they took.';
COMMENT ON COLUMN memory.jobs.last_started_at IS 'When the last of them began.';
COMMENT ON COLUMN memory.jobs.last_seconds IS 'How long it took.';
COMMENT ON COLUMN memory.jobs.last_success_at IS 'When the last one that did not fail began; NULL: none.';
COMMENT ON COLUMN memory.jobs.last_failure_at IS 'When the last one that failed began; NULL: none.';
COMMENT ON COLUMN memory.jobs.last_error IS 'What ended that, as in memory.job_runs.';
SELECT memory.declare_table('memory.jobs', 'shared', audited => false);
SELECT memory.allow_table('operator', 'SELECT', 'jobs');

-- Runs as its owner: nobody else writes what the jobs did.
CREATE FUNCTION memory.note_job_run(job text, seconds double precision, batches bigint, rows bigint, error text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- A name is a label of metrics.
    SELECT memory.check_word('job', memory.check_text('job', note_job_run.job),
        '{violations,access_log,archival,expiry,retention,embeddings,statistics,analytics,seal,history}');
    INSERT INTO memory.job_runs (job, started_at, seconds, batches, rows, error)
    VALUES (note_job_run.job, clock_timestamp() - make_interval(secs => note_job_run.seconds), note_job_run.seconds,
        note_job_run.batches, note_job_run.rows, note_job_run.error);
    INSERT INTO memory.jobs AS j (job, since, runs, failures, rows, seconds, last_started_at, last_seconds, last_success_at, last_failure_at, last_error)
    SELECT note_job_run.job, r.started_at, 1, (note_job_run.error IS NOT NULL)::integer, note_job_run.rows, note_job_run.seconds,
        r.started_at, note_job_run.seconds, CASE WHEN note_job_run.error IS NULL THEN r.started_at END,
        CASE WHEN note_job_run.error IS NOT NULL THEN r.started_at END, note_job_run.error
    FROM (SELECT clock_timestamp() - make_interval(secs => note_job_run.seconds) AS started_at) AS r
    ON CONFLICT (job) DO UPDATE SET
        runs = j.runs + 1, failures = j.failures + excluded.failures, rows = j.rows + excluded.rows,
        seconds = j.seconds + excluded.seconds, last_started_at = excluded.last_started_at, last_seconds = excluded.last_seconds,
        last_success_at = coalesce(excluded.last_success_at, j.last_success_at),
        last_failure_at = coalesce(excluded.last_failure_at, j.last_failure_at), last_error = coalesce(excluded.last_error, j.last_error);
END;
COMMENT ON FUNCTION memory.note_job_run(text, double precision, bigint, bigint, text) IS
    'Internal: notes that a run of a job has just ended, in job_runs and jobs. An unknown job is 22023, NULL 22004.';

-- Runs as its owner: an operator has no privilege on what the jobs look at.
-- row_security off, in a superuser's session, is a restore, where triggers stand aside; an owner of a database can set it for all who come.
CREATE FUNCTION memory.run_job(job text, OUT rows bigint, OUT more boolean) RETURNS record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'run_job';
COMMENT ON FUNCTION memory.run_job(text) IS
    'One batch of a job, if it is due: violations and access_log write what waits in shared memory; archival is run_archival(), expiry clean_expired(), '
    'retention as apply_retention(), but class after class and the rows as they stand, so that each table is read once, embeddings index_embeddings(), seal seal_audit_log(), each with its defaults; statistics analyses the tables that '
    'changed much and were not; analytics is refresh_analytics_views(); history forgets runs of more than seven days ago. Gives how many rows, and whether more wait. Notes nothing in job_runs. '
    'What is not due writes nothing. An operator''s. An unknown job is 22023.';

CREATE PROCEDURE memory.maintain(INOUT report jsonb DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'maintain_wrapper';
COMMENT ON PROCEDURE memory.maintain(jsonb) IS
    'Runs every job (see run_job()), batch by batch, each batch in a transaction of its own: as the worker does, by hand or by pg_cron. report, whatever is '
    'passed: {"job": {"rows", "batches", "seconds"}}, with "skipped" where another maintain() or the worker is at that job, "error" (SQLSTATE and its '
    'name; the server log has the message) where a batch failed, which stops that job only, "more" where a job was not done after five minutes and left '
    'the rest for next time. What did something or failed is in job_runs. An operator''s. In a transaction block 55000.';

CREATE FUNCTION memory.worker_status(
    OUT configured boolean, OUT naptime double precision, OUT last_round_at timestamptz, OUT rounds bigint
) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'worker_status';
COMMENT ON FUNCTION memory.worker_status() IS
    'Whether the worker is to keep this database in order (memory.worker_databases), how many seconds it rests between rounds, when its last round here '
    'ended, and how many ended since the server started. A round that found nothing to do counts too. An operator''s.';

SELECT memory.allow('operator', 'note_job_run', 'run_job', 'worker_status');
INSERT INTO memory.profile_privileges (profile, object, privileges) VALUES ('operator', 'PROCEDURE memory.maintain', 'EXECUTE');
