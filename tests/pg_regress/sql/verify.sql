-- The whole stack exercised, and nothing left of it. In a database of its own, whose rows can be counted.
SET client_min_messages = warning;
CREATE DATABASE regress_verify;
CREATE ROLE regress_verify_operator;
CREATE ROLE regress_verify_app;
\c regress_verify
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
SELECT FROM memory.grant_access('regress_verify_operator', 'operator');
SELECT FROM memory.grant_access('regress_verify_app', 'service');
INSERT INTO memory.tenants (slug) VALUES ('verify');
SELECT FROM memory.log_event('s', 'log', '{"m": 1}', tenant => 'verify', user_id => 'verify');
SELECT FROM memory.store_node('{"text": "quagga"}', 'knowledge_atom', tenant => 'verify', user_id => 'verify');
CREATE FUNCTION counts() RETURNS TABLE (relation text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR relation IN SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r' ORDER BY c.relname COLLATE "C" LOOP
        EXECUTE format('SELECT count(*) FROM memory.%I', relation) INTO n;
        RETURN NEXT;
    END LOOP;
END
$$;
CREATE TABLE before AS SELECT * FROM counts();
SELECT memory.schema_fingerprint() AS fingerprint \gset
SELECT last_value AS last_id FROM memory.audit_log_id_seq \gset
SELECT hits + misses AS asked FROM memory.tenant_cache_stats() \gset
SET ROLE regress_verify_operator;
SELECT check_name, ok, regexp_replace(detail, '\d+', 'N') AS detail FROM memory.verify();
RESET ROLE;
-- with an embedding space, beside others' rows, in a transaction that goes on
SELECT memory.create_embedding_space('verify', 8);
TRUNCATE before;
INSERT INTO before SELECT * FROM counts();
BEGIN;
SELECT check_name, ok, detail FROM memory.verify() WHERE NOT ok OR check_name = 'search by embedding';
SELECT memory.current_tenant_id(), memory.current_user_id(), memory.current_service_name();
SHOW memory.log_reads;
SELECT FROM memory.log_event('s', 'log', '{"m": 2}', 'after', tenant => 'verify', user_id => 'verify');
ROLLBACK;
-- nothing is left but a gap in the ids
SELECT * FROM counts() EXCEPT SELECT * FROM before;
SELECT memory.schema_fingerprint() = :'fingerprint' AS same;
SELECT last_value > :last_id AS gap FROM memory.audit_log_id_seq;
SELECT slug, source FROM memory.resolve_canonical_tenants('{verify}');
SELECT count(*) FROM memory.security_violations;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
-- What is broken is a line, not an error; what follows goes on, and all is rolled back.
BEGIN;
ALTER TABLE memory.nodes DISABLE TRIGGER documents_insert;
SELECT check_name, ok FROM memory.verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
CREATE FUNCTION pg_temp.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no navigation today' USING ERRCODE = '55000', HINT = 'Walk.'; END $$;
CREATE TRIGGER fails BEFORE INSERT ON memory.navigation FOR EACH ROW EXECUTE FUNCTION pg_temp.fails();
SELECT * FROM memory.verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
ALTER TABLE memory.sessions DISABLE TRIGGER USER;
ALTER TABLE memory.events DISABLE TRIGGER USER;
ALTER TABLE memory.nodes DISABLE TRIGGER USER;
SELECT check_name FROM memory.verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION memory.get_events(session_id text, event_types text[] DEFAULT NULL, since timestamptz DEFAULT NULL, max_events integer DEFAULT 1000,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS SETOF memory.events LANGUAGE sql STABLE AS 'SELECT * FROM memory.events';
SELECT check_name, ok FROM memory.verify() WHERE NOT ok;
ROLLBACK;
-- Each function by itself doing nothing is noticed: which checks say so.
CREATE FUNCTION noticed(VARIADIC functions text[]) RETURNS TABLE (function text, checks text) LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    FOREACH function IN ARRAY functions LOOP
        BEGIN
            SELECT p.oid, p.proretset OR p.prorettype = 'void'::regtype AS plain INTO STRICT found
            FROM pg_proc AS p WHERE p.pronamespace = 'memory'::regnamespace AND p.proname = function;
            EXECUTE regexp_replace(pg_get_functiondef(found.oid), '\n LANGUAGE.*', '') || ' LANGUAGE plpgsql AS '
                || quote_literal(CASE WHEN found.plain THEN 'BEGIN RETURN; END' ELSE 'BEGIN RETURN NULL; END' END);
            SELECT string_agg(v.check_name, ', ') INTO checks FROM memory.verify() AS v WHERE NOT v.ok;
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
            RETURN NEXT;
        END;
    END LOOP;
END
$$;
SELECT * FROM noticed('resolve_canonical_tenant', 'current_user_id', 'get_session', 'get_events', 'get_preferences', 'get_navigation', 'traverse', 'search',
    'store_embedding', 'replay_session', 'audit_change', 'encrypt_field', 'decrypt_field', 'current_service_name', 'export_user_data', 'seal_audit_log', 'erase_user_data',
    'verify_audit_log');
-- who may, and where
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT * FROM memory.verify();
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('verify', 'someone');
SELECT * FROM memory.verify();
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM memory.verify();
ROLLBACK;
SET ROLE regress_verify_app;
SELECT * FROM memory.verify();
SELECT memory.health();
RESET ROLE;
SET statement_timeout = '1ms';
SELECT * FROM memory.verify();
RESET statement_timeout;
\set VERBOSITY default
SELECT * FROM counts() EXCEPT SELECT * FROM before;

-- Health: well as installed, and each finding.
SET ROLE regress_verify_operator;
SELECT h ->> 'status' AS status, (h ->> 'latency_ms')::float < 1000 AS soon, h ->> 'version' = (SELECT extversion FROM pg_extension WHERE extname = 'memory_ext') AS version
FROM memory.health() AS h;
SELECT c.key, c.value ->> 'status' AS status, regexp_replace(c.value ->> 'detail', '[\d.:+-]*\d', 'N', 'g') AS detail, c.value ->> 'advice' AS advice, (c.value ->> 'latency_ms')::float >= 0 AS timed
FROM memory.health() AS h, jsonb_each(h -> 'checks') AS c WHERE c.key NOT IN ('version', 'jobs', 'worker') ORDER BY c.key COLLATE "C";
RESET ROLE;
CREATE FUNCTION unwell() RETURNS TABLE (status text, name text, state text, detail text, advised boolean) LANGUAGE sql AS $$
    SELECT h ->> 'status', c.key, c.value ->> 'status', regexp_replace(c.value ->> 'detail', '[\d.:+-]*\d', 'N', 'g'), length(c.value ->> 'advice') > 20
    FROM memory.health() AS h, jsonb_each(h -> 'checks') AS c WHERE c.value ->> 'status' <> 'ok' ORDER BY c.key COLLATE "C" $$;
BEGIN;
ALTER TABLE memory.sessions NO FORCE ROW LEVEL SECURITY;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
ALTER TABLE memory.sessions DISABLE TRIGGER audit_update;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
UPDATE memory.sessions SET last_activity = '2020-01-01';
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
UPDATE memory.nodes SET expires_at = '2020-01-01';
SELECT * FROM unwell();
SELECT FROM memory.place_legal_hold('u', 'a case', 'verify');
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
ALTER TABLE memory.audit_log DISABLE TRIGGER USER;
UPDATE memory.audit_log SET changed_at = '2020-01-01';
ALTER TABLE memory.audit_log ENABLE TRIGGER USER;
SELECT * FROM unwell();
SELECT memory.seal_audit_log() > 0 AS sealed;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
INSERT INTO memory.security_violations (kind, detail, tenant_id, actor_role, login_role, pid)
SELECT 'other_user', 'x', '00000000-0000-7000-8000-000000000001', 'r', 'l', 1 FROM generate_series(1, 1000);
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'memory.events_occurred_at_idx'::regclass;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'memory_ext';
SELECT status, name, state, advised FROM unwell();
ROLLBACK;
BEGIN;
UPDATE pg_class SET reltuples = 2000000 WHERE relname = (SELECT relation || '_codes' FROM memory.embedding_spaces);
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
ALTER TABLE memory.legal_holds RENAME TO holds;
SELECT * FROM unwell();
ROLLBACK;
-- What takes settings, time or numbers to come about.
BEGIN;
ALTER TABLE memory.nodes RENAME TO gone;
SELECT status, name, state, detail FROM unwell() WHERE name = 'row_security';
ROLLBACK;
BEGIN;
DELETE FROM memory.schema_expectation;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
INSERT INTO memory.jobs VALUES ('archival', now(), 1, 1, 0, 1, '2026-01-02', 1, '2026-01-01', '2026-01-02', '55P03 lock_not_available'),
    ('expiry', now(), 1, 1, 0, 1, '2026-01-02', 1, '2026-01-02', '2026-01-01', '55P03 lock_not_available');
SELECT * FROM unwell();
ROLLBACK;
-- what the functions beneath say stands for what it takes hours to bring about
BEGIN;
CREATE OR REPLACE FUNCTION memory.worker_status(OUT configured boolean, OUT naptime double precision, OUT last_round_at timestamptz, OUT rounds bigint) RETURNS record
LANGUAGE sql VOLATILE AS $$ SELECT true, 60::float8, '2020-01-01'::timestamptz, 1::bigint $$;
CREATE OR REPLACE FUNCTION pg_catalog.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT '2020-01-01'::timestamptz $$;
SELECT * FROM unwell() WHERE name = 'worker';
CREATE OR REPLACE FUNCTION memory.worker_status(OUT configured boolean, OUT naptime double precision, OUT last_round_at timestamptz, OUT rounds bigint) RETURNS record
LANGUAGE sql VOLATILE AS $$ SELECT true, 3600::float8, now() - interval '2 hours', 1::bigint $$;
SELECT * FROM unwell() WHERE name = 'worker';
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION memory.tenant_cache_stats(OUT ttl_ms bigint, OUT capacity bigint, OUT size bigint, OUT hits bigint, OUT misses bigint, OUT evictions bigint,
    OUT hit_ratio double precision, OUT shared boolean) RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 1 AS $$ SELECT 60000::int8, 100::int8, 80::int8, 8000::int8, 2000::int8, 7::int8, 0.8::float8, true $$;
SELECT * FROM unwell();
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION pg_catalog.pg_stat_get_dead_tuples(oid) RETURNS bigint LANGUAGE sql STABLE
RETURN CASE WHEN $1 IN ('memory.events'::regclass, 'memory.nodes'::regclass) THEN 100001 ELSE 0 END;
CREATE OR REPLACE FUNCTION pg_catalog.pg_stat_get_live_tuples(oid) RETURNS bigint LANGUAGE sql STABLE RETURN CASE WHEN $1 = 'memory.events'::regclass THEN 200001 ELSE 300000 END;
SELECT * FROM unwell();
ROLLBACK;
SET allow_system_table_mods = on;
BEGIN;
CREATE OR REPLACE VIEW pg_catalog.pg_prepared_xacts AS
    SELECT '1'::xid AS transaction, v.gid, now() - v.age AS prepared, current_user AS owner, v.database FROM (VALUES
        ('old', interval '61 minutes', current_database()), ('new', '59 minutes', current_database()), ('elsewhere', '1 day', 'postgres')) AS v (gid, age, database);
SELECT * FROM unwell();
ALTER VIEW pg_catalog.pg_stat_activity RENAME TO pg_stat_activity_before;
CREATE VIEW pg_catalog.pg_stat_activity AS SELECT v.pid, current_database() AS datname, 'client backend' AS backend_type, now() - v.age AS xact_start
    FROM (VALUES (1, interval '61 minutes'), (2, '59 minutes')) AS v (pid, age);
SELECT * FROM unwell();
ROLLBACK;
RESET allow_system_table_mods;
-- the index of a space, which has to be missed by somebody
BEGIN;
SET LOCAL session_replication_role = replica;
CREATE FUNCTION fill(upto int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE (SELECT format('INSERT INTO memory.%I (tenant_id, user_id, node_id, vector_type, model, embedding) SELECT memory.tenant_id(''verify''), ''u'', memory.uuid_v7(), ''query'', ''verify'', ''[1,2,3,4,5,6,7,8]'' FROM generate_series(1, $1)', relation)
        FROM memory.embedding_spaces) USING upto;
END $$;
SELECT fill(20000);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT ('memory.' || relation || '_near')::regclass FROM memory.embedding_spaces);
SELECT name FROM unwell();
SELECT fill(1);
SELECT name, state, detail FROM unwell() WHERE name = 'embedding_index';
SELECT format('DROP INDEX memory.%I', relation || '_near') FROM memory.embedding_spaces \gexec
SELECT name, state, detail FROM unwell() WHERE name = 'embedding_index';
SELECT format('UPDATE memory.%I SET indexed = true', relation) FROM memory.embedding_spaces \gexec
SELECT name, state, detail FROM unwell() WHERE name = 'embedding_index';
SELECT format('UPDATE memory.%I SET indexed = false', relation) FROM memory.embedding_spaces \gexec
SELECT name, state, detail FROM unwell() WHERE name = 'embedding_index';
ROLLBACK;
-- in a READ ONLY transaction it works as well, and takes no transaction id
BEGIN READ ONLY;
SELECT memory.health() ->> 'status' AS status, pg_current_xact_id_if_assigned();
SHOW lock_timeout;
ROLLBACK;
\c postgres
DROP DATABASE regress_verify;
DROP ROLE regress_verify_operator, regress_verify_app;
