-- Each kind of drift, planted, found, repaired. In a database of its own, which no other test's grants have changed.
SET client_min_messages = warning;
CREATE DATABASE regress_drift;
CREATE ROLE regress_drift_operator;
CREATE ROLE regress_drift_app;
CREATE ROLE regress_drift_stranger;
\c regress_drift
SET client_min_messages = warning;
CREATE SCHEMA vectors;
CREATE EXTENSION vector SCHEMA vectors;
CREATE EXTENSION memory_ext CASCADE;
SELECT memory.grant_access('regress_drift_operator', 'operator');
SELECT memory.grant_access('regress_drift_app', 'app');
SELECT memory.create_embedding_space('drift', 3);
INSERT INTO memory.tenants (slug) VALUES ('drift');
SELECT FROM memory.save_session('s', tenant => 'drift', user_id => 'u');

-- As installed there is none, whoever has access and whatever spaces there are; an operator may ask, in any state of its session.
SET ROLE regress_drift_operator;
SELECT * FROM memory.schema_drift();
SELECT * FROM memory.repair_schema();
SELECT * FROM memory.repair_schema(dry_run => false);
SELECT memory.schema_fingerprint() AS fingerprint \gset
SELECT length(:'fingerprint');
SET search_path = memory, vectors, public;
SET quote_all_identifiers = on;
SET timezone = 'Asia/Tokyo';
SELECT * FROM schema_drift();
SELECT schema_fingerprint() = :'fingerprint' AS same;
RESET ALL;
-- What should be is nobody's to change.
\set VERBOSITY sqlstate
INSERT INTO memory.schema_expectation VALUES ('policy', 'memory.sessions', 'mine', 'USING (true)');
UPDATE memory.schema_expectation SET definition = '';
SELECT memory.record_schema();
SELECT * FROM memory.repair_schema(NULL);
\set VERBOSITY default
SET ROLE regress_drift_app;
\set VERBOSITY sqlstate
SELECT * FROM memory.schema_drift();
SELECT memory.schema_fingerprint();
SELECT * FROM memory.repair_schema(false);
\set VERBOSITY default
RESET ROLE;

-- Each kind: the statement that plants it, what is found, and what is left when the operator has repaired it.
CREATE TABLE planted (n int GENERATED ALWAYS AS IDENTITY, kind text, statements text);
INSERT INTO planted (kind, statements) VALUES
    ('index dropped', 'DROP INDEX memory.events_occurred_at_idx'),
    ('index changed', 'DROP INDEX memory.events_occurred_at_idx; CREATE INDEX events_occurred_at_idx ON memory.events (occurred_at)'),
    ('index not valid', $$UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'memory.events_occurred_at_idx'::regclass$$),
    ('index added', 'CREATE INDEX own_idx ON memory.events (event_type)'),
    ('constraint dropped', 'ALTER TABLE memory.relationships DROP CONSTRAINT relationships_strength_check'),
    ('constraint changed', 'ALTER TABLE memory.relationships DROP CONSTRAINT relationships_strength_check, ADD CONSTRAINT relationships_strength_check CHECK (strength > -5)'),
    ('constraint not valid', $$UPDATE pg_constraint SET convalidated = false WHERE conname = 'relationships_strength_check'$$),
    ('constraint added', 'ALTER TABLE memory.sessions ADD CONSTRAINT own CHECK (true)'),
    ('foreign key dropped', 'ALTER TABLE memory.events DROP CONSTRAINT events_tenant_id_user_id_session_id_fkey'),
    ('primary key dropped', 'ALTER TABLE memory.preferences DROP CONSTRAINT preferences_pkey'),
    ('foreign keys off', 'ALTER TABLE memory.events DISABLE TRIGGER ALL'),
    ('trigger disabled', 'ALTER TABLE memory.sessions DISABLE TRIGGER audit_update'),
    ('trigger not for replicas', 'ALTER TABLE memory.tenants ENABLE TRIGGER cache'),
    ('trigger dropped', 'DROP TRIGGER audit_delete ON memory.sessions'),
    ('trigger dropped that is always on', 'DROP TRIGGER kept_insert ON memory.nodes'),
    ('trigger changed', 'DROP TRIGGER audit_delete ON memory.sessions; CREATE TRIGGER audit_delete AFTER DELETE ON memory.sessions FOR EACH ROW WHEN (false) EXECUTE FUNCTION memory.audit_change()'),
    ('trigger added', 'CREATE TRIGGER own BEFORE TRUNCATE ON memory.sessions EXECUTE FUNCTION memory.hold_own()'),
    ('policy dropped', 'DROP POLICY context ON memory.sessions'),
    ('policy changed', 'ALTER POLICY context ON memory.sessions USING (true)'),
    ('policy added', 'CREATE POLICY mine ON memory.sessions TO regress_drift_stranger USING (true)'),
    ('row security off', 'ALTER TABLE memory.sessions DISABLE ROW LEVEL SECURITY'),
    ('row security not forced', 'ALTER TABLE memory.sessions NO FORCE ROW LEVEL SECURITY'),
    ('rule added', 'CREATE RULE own AS ON DELETE TO memory.preferences DO INSTEAD NOTHING'),
    ('function changed in SQL', $$CREATE OR REPLACE FUNCTION memory.get_preferences(tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb LANGUAGE sql STABLE RETURN '{}'::jsonb$$),
    ('function changed in C', $$ALTER FUNCTION memory.current_tenant_id() IMMUTABLE$$),
    ('function is a definer', 'ALTER FUNCTION memory.get_events SECURITY DEFINER'),
    ('function without search_path', 'ALTER FUNCTION memory.audit_change() RESET ALL'),
    ('function no member', 'ALTER EXTENSION memory_ext DROP FUNCTION memory.graph_dot'),
    ('function dropped', 'ALTER EXTENSION memory_ext DROP FUNCTION memory.graph_dot; DROP FUNCTION memory.graph_dot'),
    ('function renamed', 'ALTER FUNCTION memory.graph_dot RENAME TO graph_dots'),
    ('column dropped', 'ALTER TABLE memory.projects DROP COLUMN created_at'),
    ('column added', 'ALTER TABLE memory.projects ADD COLUMN own int'),
    ('column of another type', 'ALTER TABLE memory.projects ALTER COLUMN description TYPE varchar(20)'),
    ('column of another collation', 'ALTER TABLE memory.projects ALTER COLUMN owner_id TYPE text COLLATE "POSIX"'),
    ('default changed', 'ALTER TABLE memory.sessions ALTER COLUMN status SET DEFAULT ''ended'''),
    ('default dropped', 'ALTER TABLE memory.tenants ALTER COLUMN id DROP DEFAULT'),
    ('default added', 'ALTER TABLE memory.sessions ALTER COLUMN session_id SET DEFAULT ''s'''),
    ('null allowed', 'ALTER TABLE memory.sessions ALTER COLUMN metadata DROP NOT NULL'),
    ('statistics on identities', 'ALTER TABLE memory.sessions ALTER COLUMN user_id SET STATISTICS 100'),
    ('storage', 'ALTER TABLE memory.search_documents ALTER COLUMN terms SET STORAGE EXTENDED'),
    ('view changed', 'CREATE OR REPLACE VIEW memory.security_metrics WITH (security_invoker = true) AS SELECT tenant_id, kind, date ''2020-01-01'' AS day, 1::bigint AS violations, 1::bigint AS actors, now() AS last_at FROM memory.security_violations'),
    ('view as its owner', 'ALTER VIEW memory.security_metrics RESET (security_invoker)'),
    ('owner of a table', 'ALTER TABLE memory.sessions OWNER TO regress_drift_stranger'),
    ('owner of a function', 'ALTER FUNCTION memory.audit_change() OWNER TO regress_drift_stranger'),
    ('public table', 'GRANT SELECT ON memory.sessions TO PUBLIC'),
    ('public function', 'GRANT EXECUTE ON FUNCTION memory.erase_user_data TO PUBLIC'),
    ('public schema', 'GRANT CREATE ON SCHEMA memory TO PUBLIC'),
    ('public type', 'GRANT USAGE ON TYPE memory.tenant_resolution TO PUBLIC'),
    ('stray grant', 'GRANT INSERT, SELECT ON memory.audit_log TO regress_drift_stranger'),
    ('stray grant of a column', 'GRANT SELECT (payload) ON memory.events TO regress_drift_stranger'),
    ('stray grant to a profile', 'GRANT EXECUTE ON FUNCTION memory.seal_audit_log TO regress_drift_app'),
    ('stray grant on the schema', 'GRANT USAGE, CREATE ON SCHEMA memory TO regress_drift_stranger'),
    ('privilege taken', 'REVOKE INSERT ON memory.sessions FROM regress_drift_app'),
    ('execute taken', 'REVOKE EXECUTE ON FUNCTION memory.log_event FROM regress_drift_app'),
    ('space without row security', 'ALTER TABLE memory.embeddings_drift_7c5b DISABLE ROW LEVEL SECURITY'),
    ('space with a policy', 'CREATE POLICY own ON memory.embeddings_drift_7c5b USING (true)'),
    ('space that is not audited', 'ALTER TABLE memory.embeddings_drift_7c5b DISABLE TRIGGER audit_insert'),
    ('space that a stranger reads', 'GRANT SELECT ON memory.embeddings_drift_7c5b TO regress_drift_stranger'),
    ('stray grant that was handed on', 'GRANT USAGE ON SCHEMA memory TO regress_drift_stranger; GRANT SELECT ON memory.events TO regress_drift_stranger WITH GRANT OPTION; SET LOCAL ROLE regress_drift_stranger; GRANT SELECT ON memory.events TO regress_drift_operator; RESET ROLE'),
    ('comment of a function lost', 'COMMENT ON FUNCTION memory.log_event IS NULL'),
    ('comment of a procedure lost', 'COMMENT ON PROCEDURE memory.maintain IS NULL'),
    ('comment of an aggregate''s kin, a type', 'COMMENT ON TYPE memory.tenant_resolution IS NULL'),
    ('comment of a type''s column', 'COMMENT ON COLUMN memory.tenant_resolution.found IS $$it''s \another$$'),
    ('comment of a table changed', 'COMMENT ON TABLE memory.events IS ''mine'''),
    ('comment of a column lost', 'COMMENT ON COLUMN memory.events.payload IS NULL'),
    ('comment of a view lost', 'COMMENT ON VIEW memory.system_health IS NULL'),
    ('comment of a view''s column lost', 'COMMENT ON COLUMN memory.system_health.rows IS NULL'),
    ('comment of a materialised view lost', 'COMMENT ON MATERIALIZED VIEW memory.user_stats IS NULL'),
    ('comment of the schema lost', 'COMMENT ON SCHEMA memory IS NULL'),
    ('comment added', 'COMMENT ON SEQUENCE memory.audit_log_id_seq IS ''mine'''),
    ('trigger of a kept column set', 'ALTER TABLE memory.nodes DISABLE TRIGGER USER'),
    ('several at once', 'DROP POLICY context ON memory.nodes; DROP TRIGGER audit_insert ON memory.nodes; ALTER TABLE memory.nodes DISABLE ROW LEVEL SECURITY; DROP INDEX memory.nodes_session_idx; REVOKE ALL ON memory.nodes FROM regress_drift_app');
UPDATE planted SET statements = replace(statements, 'embeddings_drift_7c5b', (SELECT relation FROM memory.embedding_spaces));
-- Sixteen at a time, of which none is about what another is about: to look at the whole schema takes a tenth of a second.
CREATE PROCEDURE plant(turn integer, fingerprint text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    spaces text := (SELECT relation FROM memory.embedding_spaces);
BEGIN
    FOR r IN SELECT * FROM planted WHERE n % 16 = turn ORDER BY n LOOP
        RAISE NOTICE '% | %', turn, r.kind;
        EXECUTE r.statements;
    END LOOP;
    IF memory.schema_fingerprint() = fingerprint THEN RAISE NOTICE '% | SAME FINGERPRINT', turn; END IF;
    -- A view's columns are written another way from 16 on, and MAINTAIN is a privilege from 17 on.
    FOR r IN SELECT object, left(regexp_replace(regexp_replace(expected, '\s+', ' ', 'g'), 'AS SELECT.*', 'AS SELECT'), 60) AS expected,
        left(regexp_replace(regexp_replace(actual, '\s+', ' ', 'g'), 'AS SELECT.*', 'AS SELECT'), 60) AS actual
        FROM memory.schema_drift() WHERE actual IS DISTINCT FROM 'MAINTAIN' LOOP
        RAISE NOTICE '% | found % | expected % | actual %', turn, replace(r.object, spaces, 'SPACE'), coalesce(r.expected, '-'), coalesce(r.actual, '-');
    END LOOP;
    SET LOCAL ROLE regress_drift_operator;
    PERFORM memory.repair_schema(false);
    FOR r IN SELECT d.object, p.statement FROM memory.schema_drift() AS d LEFT JOIN memory.repair_schema() AS p ON p.object = d.object LOOP
        RAISE NOTICE '% | left % | %', turn, replace(r.object, spaces, 'SPACE'), coalesce(r.statement, 'no statement');
    END LOOP;
    IF NOT FOUND AND memory.schema_fingerprint() <> fingerprint THEN RAISE NOTICE '% | ANOTHER FINGERPRINT', turn; END IF;
    RESET ROLE;
    ROLLBACK;
END
$$;
SET client_min_messages = notice;
DO $$
DECLARE
    fingerprint text;
BEGIN
    fingerprint := memory.schema_fingerprint();
    FOR turn IN 0 .. 15 LOOP
        CALL plant(turn, fingerprint);
    END LOOP;
END
$$;
SET client_min_messages = warning;
-- Repaired, it works as before: the trigger audits, the policy hides.
BEGIN;
DROP POLICY context ON memory.sessions;
ALTER TABLE memory.sessions DISABLE TRIGGER ALL;
SELECT count(*) > 3 AS statements FROM memory.repair_schema(false);
SELECT FROM memory.save_session('s2', tenant => 'drift', user_id => 'u');
SELECT operation FROM memory.audit_log WHERE table_name = 'sessions' AND row_key ->> 'session_id' = 's2';
SET LOCAL ROLE regress_drift_app;
SELECT count(*) FROM memory.sessions;
ROLLBACK;
-- What is run is what was recorded, whatever the operator has set, and what is made again stands where it did.
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_drift_space LOCATION '';
BEGIN;
DROP INDEX memory.events_occurred_at_idx;
ALTER TABLE memory.personal_columns DROP CONSTRAINT personal_columns_treatment_check;
COMMENT ON TABLE memory.events IS NULL;
SET LOCAL ROLE regress_drift_operator;
SET LOCAL standard_conforming_strings = off;
SET LOCAL backslash_quote = on;
SET LOCAL escape_string_warning = off;
SET LOCAL default_tablespace = regress_drift_space;
SET LOCAL check_function_bodies = off;
SET LOCAL row_security = off;
SELECT object FROM memory.repair_schema(false);
SELECT * FROM memory.schema_drift();
RESET ROLE;
SELECT relname FROM pg_class WHERE reltablespace = (SELECT oid FROM pg_tablespace WHERE spcname = 'regress_drift_space');
ROLLBACK;
DROP TABLESPACE regress_drift_space;
-- A table that has left the extension, and one that is gone, which nothing brings back.
BEGIN;
ALTER EXTENSION memory_ext DROP TABLE memory.search_languages;
SELECT object FROM memory.schema_drift();
SELECT * FROM memory.repair_schema(false);
SELECT * FROM memory.schema_drift();
ALTER EXTENSION memory_ext DROP TABLE memory.search_languages;
DROP TABLE memory.search_languages;
SELECT object, statement FROM memory.repair_schema() WHERE object ~ 'search_languages';
ROLLBACK;
-- What cannot be repaired raises, and nothing has been done.
BEGIN;
ALTER TABLE memory.sessions ALTER COLUMN metadata DROP NOT NULL;
DROP POLICY context ON memory.events;
UPDATE memory.sessions SET metadata = NULL;
SAVEPOINT before;
\set VERBOSITY sqlstate
SELECT * FROM memory.repair_schema(false);
\set VERBOSITY default
ROLLBACK TO before;
SELECT object FROM memory.schema_drift();
ROLLBACK;
-- On another version of PostgreSQL nothing is said, and nothing done, until it has been recorded.
BEGIN;
UPDATE memory.schema_expectation SET definition = '14' WHERE kind = 'server';
DROP INDEX memory.events_occurred_at_idx;
SELECT object, actual FROM memory.schema_drift();
SELECT * FROM memory.repair_schema(false);
DELETE FROM memory.schema_expectation;
SELECT object, actual FROM memory.schema_drift();
SELECT memory.record_schema() > 1000 AS recorded;
SELECT * FROM memory.schema_drift();
ROLLBACK;
-- The fingerprint of another database, of another owner, with pgvector elsewhere, other roles and other spaces.
CREATE ROLE regress_drift_owner SUPERUSER;
CREATE DATABASE regress_drift_2 OWNER regress_drift_owner;
\c regress_drift_2
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_drift_owner;
CREATE TABLE public.before (a int);
CREATE EXTENSION memory_ext CASCADE;
SELECT memory.grant_access('regress_drift_stranger', 'service');
SELECT memory.schema_fingerprint() = :'fingerprint' AS same;
SELECT * FROM memory.schema_drift();
\c postgres
DROP DATABASE regress_drift;
DROP DATABASE regress_drift_2;
DROP ROLE regress_drift_operator, regress_drift_app, regress_drift_stranger, regress_drift_owner;
