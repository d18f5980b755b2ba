-- Seals prove the log: what was changed, removed, added or moved is found, redaction and retention keep the proof.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_audit_seal;
CREATE DATABASE regress_audit_seal;
\c regress_audit_seal
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE EXTENSION memory_ext CASCADE;
CREATE ROLE seal_service;
CREATE ROLE seal_auditor;
CREATE ROLE seal_auditor_all;
CREATE ROLE seal_operator;
\set bad 'SELECT seal, ok, regexp_replace(detail, ''for \\d+ s'', ''for N s'') AS detail FROM memory.verify_audit_log(:head) WHERE NOT ok;'
\set all 'SELECT seal, ok, regexp_replace(detail, ''for \\d+ s'', ''for N s'') AS detail FROM memory.verify_audit_log(:head);'
\set head 'NULL'

-- before the first
SELECT memory.audit_head();
:all
INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-00000000000a', 'seal-a'), ('00000000-0000-7000-8000-00000000000b', 'seal-b');
SELECT count(memory.grant_access(r, p, t)) FROM (VALUES ('seal_service'::regrole, 'service', '{seal-a}'::text[]), ('seal_auditor', 'auditor', '{seal-a}'),
    ('seal_auditor_all', 'auditor', NULL), ('seal_operator', 'operator', NULL)) AS v (r, p, t);
SELECT memory.set_security_context('seal-a', service_name => 'desk', is_local => false);
SELECT count(memory.log_event('s', 'log', jsonb_build_object('n', i), 'e' || i, user_id => u)) FROM generate_series(1, 40) i, unnest('{ann,bob}'::text[]) u;
SELECT min(id) = 1 AS from_one, max(id) > 64 AS over_two_blocks FROM memory.audit_log;
SELECT memory.seal_audit_log() > 80 AS sealed;
SELECT memory.seal_audit_log();
SELECT memory.audit_head() ~ '^1:[0-9a-f]{64}$' AS head, memory.audit_head() AS first_head \gset
\echo :head
\set head 'NULL'
:all

-- a transaction that was rolled back leaves a gap, which is no change
BEGIN; SELECT memory.log_event('s', 'log', '{}', 'gone', user_id => 'ann'); ROLLBACK;
SELECT memory.log_event('s', 'log', '{"n": 41}', 'e41', user_id => 'ann');
SELECT max(id) AS last FROM memory.audit_log \gset
SELECT memory.seal_audit_log();
SELECT memory.log_event('s', 'log', '{"n": 42}', 'e42', user_id => 'ann');
SELECT memory.seal_audit_log();
SELECT memory.log_event('s', 'log', '{"n": 43}', 'e43', user_id => 'ann');
\set head '''' :first_head ''''
:all
SELECT memory.audit_head() AS third_head \gset
\set head '''' :third_head ''''

-- What anybody who gets past the triggers may do. (Here a superuser who looks like a restore.)
-- a row changed: what redaction would take, what stays
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET changes = '{"new": {"forged": true}}' WHERE id = 20;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET login_role = 'somebody else' WHERE id = 70;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET user_id = 'mallory' WHERE id = 71;
:bad
ROLLBACK;
-- made to look like redacted
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET changes = NULL, row_key = NULL WHERE id = 20;
:bad
ROLLBACK;
-- a row removed, the first, one in the middle, the last
BEGIN; SET LOCAL row_security = off;
DELETE FROM memory.audit_log WHERE id IN (1, 30, :last);
:bad
ROLLBACK;
-- a whole block removed
BEGIN; SET LOCAL row_security = off;
DELETE FROM memory.audit_log WHERE id < 64;
:bad
ROLLBACK;
-- a row added: in a gap, before the first
BEGIN; SET LOCAL row_security = off;
INSERT INTO memory.audit_log OVERRIDING SYSTEM VALUE
    SELECT :last - 1, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role FROM memory.audit_log WHERE id = :last;
INSERT INTO memory.audit_log OVERRIDING SYSTEM VALUE
    SELECT -5, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role FROM memory.audit_log WHERE id = :last;
:bad
ROLLBACK;
-- two rows swapped
BEGIN; SET LOCAL row_security = off;
CREATE TEMP TABLE swapped ON COMMIT DROP AS SELECT * FROM memory.audit_log WHERE id IN (20, 21);
DELETE FROM memory.audit_log WHERE id IN (20, 21);
UPDATE swapped SET id = 41 - id;
INSERT INTO memory.audit_log OVERRIDING SYSTEM VALUE SELECT * FROM swapped;
:bad
ROLLBACK;
-- a seal removed: the first, one in the middle, the last
BEGIN; SET LOCAL row_security = off;
DELETE FROM memory.audit_seals WHERE seal_id = 1;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
DELETE FROM memory.audit_seals WHERE seal_id = 2;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
DELETE FROM memory.audit_seals WHERE seal_id = 3;
:bad
-- with all that belongs to it: only the head tells
DELETE FROM memory.audit_leaves WHERE seal_id = 3;
DELETE FROM memory.audit_log WHERE id > :last;
:bad
ROLLBACK;
-- a seal, or leaves, changed
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_seals SET sealed_at = sealed_at - interval '1 hour' WHERE seal_id = 2;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_seals SET tag = tag || '\x00', hash = hash || '\x00' WHERE seal_id = 2;
:bad
ROLLBACK;
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_leaves SET leaves = leaves || '\x00' WHERE seal_id = 2;
:bad
UPDATE memory.audit_leaves SET leaves = overlay(leaves PLACING '\x00' FROM 5) WHERE seal_id = 1 AND block = 0;
:bad
ROLLBACK;
-- all of it sealed again by the server itself, after a change: only the head tells
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET changes = '{"new": {"forged": true}}' WHERE id = 20;
DELETE FROM memory.audit_seals;
DELETE FROM memory.audit_leaves;
SELECT memory.seal_audit_log() > 0 AS sealed;
:bad
\set head 'NULL'
:bad
ROLLBACK;
\set head '''' :third_head ''''
SELECT * FROM memory.verify_audit_log('9' || substr(:head, 2)) WHERE NOT ok;
SELECT * FROM memory.verify_audit_log('2' || substr(:head, 2)) WHERE NOT ok;
SELECT memory.verify_audit_log('');
SELECT memory.verify_audit_log('3:abc');

-- Redaction takes the salts and keeps the proof.
CREATE TEMP TABLE salts AS SELECT block, seal_id, leaves FROM memory.audit_leaves;
SELECT relation, rows FROM memory.erase_user_data('ann') WHERE relation IN ('audit_log', 'events');
:all
SELECT count(*) FILTER (WHERE a.leaves <> b.leaves) > 0 AS some_changed FROM salts a JOIN memory.audit_leaves b USING (block, seal_id);
-- what stays of a redacted row is proven
BEGIN; SET LOCAL row_security = off;
UPDATE memory.audit_log SET changed_at = changed_at - interval '1 hour' WHERE id = (SELECT min(id) FROM memory.audit_log WHERE user_id ~ '^anon-');
:bad
ROLLBACK;
-- again, and another user
SELECT count(*) FROM memory.erase_user_data('ann') WHERE rows > 0;
SELECT relation, rows FROM memory.anonymize_user_data('bob') WHERE relation IN ('audit_log', 'events');
:bad
-- What retention removes was there.
SELECT memory.set_retention_policy('audit_log', '1 microsecond', 'seal-a');
SELECT memory.archive_old_audit_logs(0) > 80 AS removed;
:all
SELECT count(*) FILTER (WHERE octet_length(leaves) < 64) AS collapsed, count(*) > 2 AS of FROM memory.audit_leaves;
-- and does not come back
BEGIN; SET LOCAL row_security = off;
INSERT INTO memory.audit_log OVERRIDING SYSTEM VALUE
    SELECT 50, changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role FROM memory.audit_log LIMIT 1;
:bad
ROLLBACK;
SELECT memory.seal_audit_log() > 0 AS sealed;
:bad
-- in one transaction: written, sealed, redacted, rolled back to before
BEGIN;
SELECT memory.log_event('s', 'log', '{}', 'x', user_id => 'cat');
SELECT memory.seal_audit_log() > 0 AS sealed;
SAVEPOINT before;
SELECT count(*) FROM memory.erase_user_data('cat') WHERE rows > 0;
SELECT memory.seal_audit_log() > 0 AS sealed;
:bad
ROLLBACK TO before;
:bad
COMMIT;
:bad
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT memory.log_event('s', 'log', '{}', 'y', user_id => 'cat');
SELECT memory.seal_audit_log() > 0 AS sealed;
COMMIT;
SELECT memory.log_event('s', 'log', '{}', 'z', user_id => 'cat');
BEGIN READ ONLY;
SELECT memory.seal_audit_log();
ROLLBACK;
\set head 'NULL'
:bad

-- Who may.
SELECT memory.clear_security_context();
SET ROLE seal_operator;
SELECT memory.seal_audit_log();
SELECT count(*) FROM memory.audit_seals;
SET ROLE seal_auditor;
SELECT memory.audit_head() ~ ':' AS head, (SELECT bool_and(ok) FROM memory.verify_audit_log()) AS ok;
SELECT count(*) FROM memory.audit_seals;
SELECT count(*) FROM memory.audit_leaves;
SELECT memory.seal_audit_log();
SET ROLE seal_auditor_all;
SELECT count(*) > 3 AS seals FROM memory.audit_seals;
SELECT count(*) FROM memory.audit_leaves;
DELETE FROM memory.audit_seals;
RESET ROLE;
-- salts are nobody's, whatever was granted
GRANT SELECT ON memory.audit_leaves TO seal_auditor_all;
SET ROLE seal_auditor_all;
SELECT count(*) FROM memory.audit_leaves;
RESET ROLE;
REVOKE SELECT ON memory.audit_leaves FROM seal_auditor_all;
SET ROLE seal_service;
SELECT memory.audit_head();
SELECT memory.verify_audit_log();
SELECT memory.seal_audit_log();
RESET ROLE;
-- append-only, for a superuser too
UPDATE memory.audit_seals SET row_count = 0;
DELETE FROM memory.audit_leaves;
TRUNCATE memory.audit_leaves;
SELECT memory.audit_keep_proof();
\c memory_regress
DROP DATABASE regress_audit_seal;
DROP ROLE seal_service, seal_auditor, seal_auditor_all, seal_operator;
