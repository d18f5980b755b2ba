-- Fields that a service encrypts: who may, what is refused, what a change or a move of a ciphertext is.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000c01a', 'trust-a'), ('00000000-0000-7000-8000-00000000c01b', 'trust-b');
CREATE ROLE trust_service LOGIN;
CREATE ROLE trust_app LOGIN;
CREATE ROLE trust_operator LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('trust_service', 'service', '{trust-a, trust-b}');
    PERFORM memory.grant_access('trust_app', 'app');
    GRANT trust_app TO trust_service;
    PERFORM memory.grant_access('trust_operator', 'operator');
END
$$;

\connect - trust_service
SELECT memory.set_security_context('trust-a', service_name => 'backend', is_local => false);
SELECT memory.encrypt_field('ann', 'iban', 'DE02 1203 0000 0000 2020 51') AS iban \gset
SELECT memory.encrypt_field('ann', 'iban', 'DE02 1203 0000 0000 2020 51') AS again \gset
SELECT memory.encrypt_field('ann', 'note', 'née Ωmega 🦉') AS note \gset
SELECT memory.encrypt_field('ann', 'empty', '') AS empty \gset
SELECT memory.encrypt_field('bob', 'iban', 'bob''s', 'trust-a') AS bobs \gset
SELECT memory.decrypt_field(:'iban'), memory.decrypt_field(:'note'), memory.decrypt_field(:'empty') = '' AS empty, memory.decrypt_field(:'bobs');
-- one key per user; each call stores one more, and no two look alike
SELECT user_id, count(*), count(DISTINCT ciphertext), count(DISTINCT substr(ciphertext, 1, 12)) AS nonces, count(DISTINCT key_id) AS keys
FROM memory.encrypted_fields GROUP BY 1 ORDER BY 1;
SELECT user_id, length(wrapped_key), is_current FROM memory.user_keys ORDER BY 1;
SELECT count(*) FROM memory.encrypted_fields WHERE position('1203'::bytea IN ciphertext) > 0;
-- what is wrong
SELECT memory.encrypt_field(NULL, 'f', 'x');
SELECT memory.encrypt_field('', 'f', 'x');
SELECT memory.encrypt_field('ann', '', 'x');
SELECT memory.encrypt_field('ann', NULL, 'x');
SELECT memory.encrypt_field('ann', 'f', NULL);
SELECT memory.encrypt_field('ann', 'f', 'x', 'trust-b');
SELECT memory.encrypt_field('ann', 'f', 'x', 'trust-none');
SELECT memory.decrypt_field(NULL);
SELECT memory.decrypt_field('00000000-0000-7000-8000-000000000000');
SELECT memory.encrypt_field('ann', 'f', repeat('x', 64 * 1024 * 1024 + 1));
-- nobody writes keys, or changes what is encrypted; a service may take it away
INSERT INTO memory.user_keys (tenant_id, user_id, wrapped_key) VALUES ('00000000-0000-7000-8000-00000000c01a', 'eve', 'x');
UPDATE memory.user_keys SET wrapped_key = 'x';
DELETE FROM memory.user_keys;
UPDATE memory.encrypted_fields SET field = 'other';
DELETE FROM memory.encrypted_fields WHERE field_id = :'again';
SELECT memory.decrypt_field(:'again');
SELECT memory.make_user_key('00000000-0000-7000-8000-00000000c01b', 'eve');
SELECT memory.rotate_master_key();
SELECT memory.export_user_keys();
SELECT memory.import_user_keys('[]');
SHOW memory.master_key_file;
SET memory.master_key_file = '/x';
SET memory.master_key_command = 'x';
-- rolled back: the key too; kept keys are not used beyond
BEGIN;
SAVEPOINT here;
SELECT FROM memory.encrypt_field('cat', 'f', 'x');
ROLLBACK TO here;
SELECT count(*) FROM memory.user_keys WHERE user_id = 'cat';
SELECT memory.encrypt_field('cat', 'f', 'y') AS cats \gset
COMMIT;
SELECT memory.decrypt_field(:'cats');

-- only a service context
SELECT memory.set_security_context('trust-a', 'ann', is_local => false);
SELECT memory.encrypt_field('ann', 'f', 'x');
SELECT memory.decrypt_field(:'iban');
SELECT count(*) FROM memory.encrypted_fields;
-- another tenant's are unknown
SELECT memory.set_security_context('trust-b', service_name => 'backend', is_local => false);
SELECT memory.decrypt_field(:'iban');
SELECT count(*) FROM memory.user_keys;
SELECT memory.clear_security_context();
SELECT memory.encrypt_field('ann', 'f', 'x', 'trust-a');
SELECT memory.decrypt_field(:'iban');
\connect - trust_app
SELECT memory.encrypt_field('ann', 'f', 'x', 'trust-a');
SELECT memory.decrypt_field(:'iban');
SELECT FROM memory.encrypted_fields;
SELECT count(*) FROM memory.user_keys;
SELECT memory.make_user_key('00000000-0000-7000-8000-00000000c01a', 'eve');
\connect - trust_operator
SELECT memory.decrypt_field(:'iban');
SELECT FROM memory.user_keys;
SELECT memory.rotate_master_key();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT memory.rotate_master_key();
ROLLBACK;

-- a_ciphertext_that_is_changed_or_moved_fails
\connect - postgres
\set VERBOSITY default
CREATE TABLE trust_kept AS SELECT * FROM memory.encrypted_fields;
CREATE FUNCTION trust_try(statement text) RETURNS TABLE (was text, message text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    BEGIN
        was := 'decrypted'; message := memory.decrypt_field((SELECT field_id FROM trust_kept WHERE field = 'note'));
    EXCEPTION WHEN OTHERS THEN
        was := sqlstate; message := regexp_replace(sqlerrm, '[0-9a-f-]{36}', '…');
    END;
    RETURN NEXT;
    UPDATE memory.encrypted_fields AS f SET tenant_id = k.tenant_id, user_id = k.user_id, field = k.field, key_id = k.key_id, ciphertext = k.ciphertext
    FROM trust_kept AS k WHERE k.field_id = f.field_id;
END
$$;
SELECT t.* FROM unnest(ARRAY[
    'SELECT 1',
    $$UPDATE memory.encrypted_fields SET ciphertext = set_bit(ciphertext, 0, 1 - get_bit(ciphertext, 0)) WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET ciphertext = set_bit(ciphertext, 100, 1 - get_bit(ciphertext, 100)) WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET ciphertext = substr(ciphertext, 1, length(ciphertext) - 1) WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET ciphertext = '' WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET field = 'iban' WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET ciphertext = (SELECT ciphertext FROM trust_kept WHERE field = 'empty') WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET user_id = 'bob' WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET user_id = 'bob', key_id = (SELECT key_id FROM memory.user_keys WHERE user_id = 'bob') WHERE field = 'note'$$,
    $$UPDATE memory.encrypted_fields SET tenant_id = '00000000-0000-7000-8000-00000000c01b' WHERE field = 'note'$$
]) AS s (statement), trust_try(statement) AS t;
-- a key that is moved or changed
INSERT INTO memory.user_keys (tenant_id, user_id, key_id, wrapped_key)
SELECT '00000000-0000-7000-8000-00000000c01b', user_id, key_id, wrapped_key FROM memory.user_keys WHERE user_id = 'ann';
SELECT * FROM trust_try($$UPDATE memory.encrypted_fields SET tenant_id = '00000000-0000-7000-8000-00000000c01b' WHERE field = 'note'$$);
DELETE FROM memory.user_keys WHERE tenant_id = '00000000-0000-7000-8000-00000000c01b';
SELECT kind, detail, tenant_id, user_id, named_user_id, count(*) FROM memory.security_violations
WHERE tenant_id IN ('00000000-0000-7000-8000-00000000c01a', '00000000-0000-7000-8000-00000000c01b') AND kind = 'tampering' GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3, 5;

-- no_text_no_key_in_the_audit_log
SELECT operation, table_name, user_id, row_key - 'tenant_id' - 'field_id' - 'key_id' AS key, changes -> 'new' ? 'wrapped_key' AS wrapped, (changes -> 'new') ? 'ciphertext' AS ciphertext
FROM memory.audit_log WHERE tenant_id = '00000000-0000-7000-8000-00000000c01a' AND operation = 'INSERT' AND table_name IN ('user_keys', 'encrypted_fields') ORDER BY id;
-- what is exported is not the key
SELECT relation, record - 'tenant_id' - 'created_at' - 'key_id' - 'field_id' - 'ciphertext' FROM memory.export_user_data('ann', 'trust-a') WHERE relation IN ('user_keys', 'encrypted_fields') ORDER BY 1, record ->> 'field_id';

-- keys_go_apart_from_dumps_and_come_back
CREATE TABLE trust_keys AS SELECT keys FROM memory.export_user_keys('trust-a') AS keys;
SELECT jsonb_array_length(keys) FROM trust_keys;
SELECT extcondition[array_position(extconfig, 'memory.user_keys'::regclass::oid)] AS dumped FROM pg_extension WHERE extname = 'memory_ext';
DELETE FROM memory.user_keys;
SELECT * FROM trust_try('SELECT 1');
SELECT FROM memory.encrypt_field('ann', 'later', 'x', 'trust-a');
-- whom another tenant knows by the same id has a key of their own there
SELECT FROM memory.encrypt_field('bob', 'elsewhere', 'x', 'trust-b');
SELECT memory.import_user_keys(keys) FROM trust_keys;
SELECT count(*) FILTER (WHERE is_current) AS current FROM memory.user_keys WHERE user_id = 'bob';
DELETE FROM memory.encrypted_fields WHERE tenant_id = '00000000-0000-7000-8000-00000000c01b' AND field = 'elsewhere';
DELETE FROM memory.user_keys WHERE tenant_id = '00000000-0000-7000-8000-00000000c01b' AND user_id = 'bob';
SELECT memory.import_user_keys(keys) FROM trust_keys;
SELECT * FROM trust_try('SELECT 1');
SELECT user_id, count(*), count(*) FILTER (WHERE is_current) AS current FROM memory.user_keys GROUP BY 1 ORDER BY 1;
\set VERBOSITY sqlstate
SELECT memory.import_user_keys(jsonb_set(keys, '{0,user_id}', '"eve"')) FROM trust_keys;
SELECT memory.import_user_keys(jsonb_set(keys, '{0,wrapped_key}', '"\\x01"')) FROM trust_keys;
SELECT memory.import_user_keys(jsonb_set(keys, '{0,wrapped_key}', to_jsonb('\x01'::bytea || 'otherkey' || repeat('x', 60)::bytea))) FROM trust_keys;
SELECT memory.export_user_keys('trust-none');

-- who is erased, or becomes nobody, has neither key nor field
SELECT relation, rows FROM memory.erase_user_data('ann', 'trust-a') WHERE relation IN ('user_keys', 'encrypted_fields');
SELECT relation, rows FROM memory.anonymize_user_data('bob', 'trust-a') WHERE relation IN ('user_keys', 'encrypted_fields');
SELECT memory.decrypt_field(:'iban');
SELECT memory.decrypt_field(:'bobs');
SELECT user_id FROM memory.user_keys;
SELECT count(*) FROM memory.audit_log WHERE tenant_id = '00000000-0000-7000-8000-00000000c01a' AND (changes::text LIKE '%ciphertext%') AND user_id <> 'cat';
-- and comes back with another key; in one transaction too
BEGIN;
SELECT FROM memory.encrypt_field('ann', 'new', 'before', 'trust-a');
SELECT relation, rows FROM memory.erase_user_data('ann', 'trust-a') WHERE relation IN ('user_keys', 'encrypted_fields');
SELECT memory.decrypt_field(memory.encrypt_field('ann', 'new', 'after', 'trust-a'));
COMMIT;
SELECT count(*) FROM memory.user_keys WHERE user_id = 'ann';

SELECT memory.revoke_access(r::regrole) FROM unnest('{trust_service,trust_app,trust_operator}'::text[]) r;
DROP FUNCTION trust_try;
DROP TABLE trust_kept, trust_keys;
SELECT count(e) > 0 AS gone FROM unnest('{ann,cat}'::text[]) AS u, memory.erase_user_data(u, 'trust-a') AS e;
DELETE FROM memory.tenants WHERE slug IN ('trust-a', 'trust-b');
DROP ROLE trust_service, trust_app, trust_operator;
