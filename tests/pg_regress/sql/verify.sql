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
-- who may, and where
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT * FROM memory.verify();
ROLLBACK;
BEGIN;
SELECT FROM memory.set_security_context('verify', 'someone');
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
-- in a READ ONLY transaction it works as well, and takes no transaction id
BEGIN READ ONLY;
SELECT memory.health() ->> 'status' AS status, pg_current_xact_id_if_assigned();
SHOW lock_timeout;
ROLLBACK;
\c postgres
DROP DATABASE regress_verify;
DROP ROLE regress_verify_operator, regress_verify_app;
