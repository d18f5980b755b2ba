-- Encryption: a data key per user, wrapped by the master key (memory.master_key_file, memory.master_key_command), and fields that are
-- encrypted by it. Whoever has the tables and not the master key has noise; so has whoever has a dump and not the user's key, which
-- is in none: destroying it (erasure, anonymising) makes noise of what older dumps hold.

CREATE TABLE memory.user_keys (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    key_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    wrapped_key bytea NOT NULL,
    is_current boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, key_id)
);
CREATE UNIQUE INDEX user_keys_current_idx ON memory.user_keys (tenant_id, user_id) WHERE is_current;
COMMENT ON TABLE memory.user_keys IS
    'The data keys of users, each wrapped by the master key. In no dump: export_user_keys() gives them apart, import_user_keys() brings them back. '
    'Written by the extension''s functions only.';
COMMENT ON COLUMN memory.user_keys.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.user_keys.user_id IS 'Whose data the key encrypts.';
COMMENT ON COLUMN memory.user_keys.key_id IS 'UUIDv7; each ciphertext names it.';
COMMENT ON COLUMN memory.user_keys.wrapped_key IS
    'The key, 32 random bytes, wrapped by AES-256-GCM: a version byte, 8 bytes that tell the master key, the nonce, ciphertext and tag. Bound to tenant, user and key_id.';
COMMENT ON COLUMN memory.user_keys.is_current IS 'Whether it encrypts what is new; one per user does. The others decrypt.';
COMMENT ON COLUMN memory.user_keys.created_at IS 'When it was made.';
SELECT memory.declare_table('memory.user_keys', 'user', '{user_id, wrapped_key}', 'WHERE false');
SELECT memory.declare_personal('memory.user_keys', '{
    "user_id": "user", "key_id": "pseudonym:key", "wrapped_key": "secret", "tenant_id, is_current, created_at": "keep"}', 'delete always');
SELECT memory.allow_table('app', 'SELECT', 'user_keys');

CREATE TABLE memory.encrypted_fields (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    field_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    field text COLLATE "C" NOT NULL CHECK (field <> ''),
    key_id uuid NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, field_id)
);
-- With the tenant, or the planner would rather read the primary key of a whole tenant.
CREATE INDEX encrypted_fields_field_id_idx ON memory.encrypted_fields (field_id, tenant_id);
COMMENT ON TABLE memory.encrypted_fields IS
    'Texts that a service has encrypted; the user does not see them. Written by encrypt_field(), read by decrypt_field().';
COMMENT ON COLUMN memory.encrypted_fields.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.encrypted_fields.user_id IS 'Whose text it is.';
COMMENT ON COLUMN memory.encrypted_fields.field_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.encrypted_fields.field IS 'What the text is, as the application names it; not encrypted.';
COMMENT ON COLUMN memory.encrypted_fields.key_id IS 'The key in user_keys. No foreign key: a dump brings the text, not the key.';
COMMENT ON COLUMN memory.encrypted_fields.ciphertext IS
    'AES-256-GCM: the nonce, ciphertext and tag. Bound to tenant, user, field, field_id and key_id.';
COMMENT ON COLUMN memory.encrypted_fields.created_at IS 'When it was encrypted.';
SELECT memory.declare_table('memory.encrypted_fields', 'service', '{user_id, field, ciphertext}');
SELECT memory.declare_personal('memory.encrypted_fields', '{
    "user_id": "user", "field_id": "pseudonym:field", "field, ciphertext": "clear", "key_id": "pseudonym:key",
    "tenant_id, created_at": "keep"}', 'delete always');
SELECT memory.allow_table('service', 'SELECT, INSERT, DELETE', 'encrypted_fields');

-- Runs as its owner: who may use a key may not write one, or the first to come could spoil it for the others.
CREATE FUNCTION memory.make_user_key(tenant_id uuid, user_id text) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'make_user_key_wrapper';
COMMENT ON FUNCTION memory.make_user_key(uuid, text) IS
    'Internal: makes the user''s data key, unless there is one. A user whom the context does not cover is 42501, no master key 55000.';

CREATE FUNCTION memory.encrypt_field(user_id text, field text, plaintext text, tenant text DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'encrypt_field_wrapper';
COMMENT ON FUNCTION memory.encrypt_field(text, text, text, text) IS
    'Encrypts a text under the user''s data key, which is made on first use, and gives the id that decrypt_field() takes. field says what it is, '
    'as the application names it; each call stores one more, the old one stays until the application deletes it from encrypted_fields. Pass the text as a parameter: as a literal it stands in pg_stat_activity and '
    'in the server''s log. A service context''s (42501); an empty field is 22023, NULL 22004, an unknown tenant P0002, a text above memory.max_payload_size '
    '54000, no master key 55000. Costs little more than the INSERT, which is audited.';

CREATE FUNCTION memory.decrypt_field(field_id uuid) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'decrypt_field_wrapper';
COMMENT ON FUNCTION memory.decrypt_field(uuid) IS
    'The text that encrypt_field() was given. A service context''s (42501). An id that is unknown, or another tenant''s, is P0002; a text that was changed, or '
    'moved here from another tenant, user or field, is XX001 and recorded as a violation; a user''s key or a master key that is not here 55000. '
    'Costs two lookups by key, and one more decryption per transaction and user.';

CREATE FUNCTION memory.rotate_master_key() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'rotate_master_key_wrapper';
COMMENT ON FUNCTION memory.rotate_master_key() IS
    'Wraps by the newest master key what older ones have wrapped (keys of users, secrets of auth_keys), 10,000 users at most, and gives how many: call it until that is 0, then the old '
    'master key is not needed any more. First put the new one above the old one, in the file or in what the command prints. Data stays '
    'readable throughout; new users wait for their first key meanwhile. An operator''s. Under REPEATABLE READ 55000; a key that fails its check XX001.';

CREATE FUNCTION memory.export_user_keys(tenant text DEFAULT NULL) RETURNS SETOF jsonb
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT jsonb_agg(k.key ORDER BY k.n)
    FROM (
        SELECT row_number() OVER (ORDER BY u.tenant_id, u.user_id, u.key_id) AS n, to_jsonb(u) AS key
        FROM memory.user_keys AS u
        WHERE u.tenant_id = coalesce(memory.tenant_id(export_user_keys.tenant), u.tenant_id)
    ) AS k
    GROUP BY (k.n - 1) / 1000
    ORDER BY (k.n - 1) / 1000;
END;
COMMENT ON FUNCTION memory.export_user_keys(text) IS
    'The users'' data keys, of one tenant or of all, as the master key has wrapped them: arrays of a thousand. What a dump leaves out. Keep the newest '
    'one only: with an older one, older dumps of users who were erased since can be read. A superuser''s. An unknown tenant is P0002.';

CREATE FUNCTION memory.check_user_key(tenant_id uuid, user_id text, key_id uuid, wrapped_key bytea) RETURNS bytea
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'check_user_key_wrapper';
COMMENT ON FUNCTION memory.check_user_key(uuid, text, uuid, bytea) IS
    'Internal: the wrapped key, if a configured master key has wrapped it for this user; else XX001 or 55000.';

CREATE FUNCTION memory.import_user_keys(keys jsonb) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH imported AS (
        INSERT INTO memory.user_keys AS u (tenant_id, user_id, key_id, wrapped_key, is_current, created_at)
        SELECT k.tenant_id, memory.held_user(k.tenant_id, k.user_id), k.key_id,
            memory.check_user_key(k.tenant_id, k.user_id, k.key_id, k.wrapped_key),
            -- where the user has got a new key since, that one goes on
            k.is_current AND NOT EXISTS (
                SELECT FROM memory.user_keys AS c WHERE c.tenant_id = k.tenant_id AND c.user_id = k.user_id AND c.is_current
            ),
            k.created_at
        FROM jsonb_to_recordset(memory.check_needed('keys', import_user_keys.keys)) AS k (
            tenant_id uuid, user_id text, key_id uuid, wrapped_key bytea, is_current boolean, created_at timestamptz
        )
        ORDER BY k.tenant_id, k.user_id COLLATE "C", k.key_id
        ON CONFLICT (tenant_id, user_id, key_id) DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM imported;
END;
COMMENT ON FUNCTION memory.import_user_keys(jsonb) IS
    'Brings back keys that export_user_keys() gave, one array a call, and gives how many were not there yet. A superuser''s, after a dump was restored. '
    'Keys of another master key are 55000: configure that one too, below the newest. Keys that were changed are XX001.';

-- Tenants whose events and nodes are encrypted at rest (tenants.encryption_enabled).
CREATE FUNCTION memory.encrypts(tenant_id uuid) RETURNS boolean
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'encrypts';
COMMENT ON FUNCTION memory.encrypts(uuid) IS 'Internal: the tenant''s encryption_enabled, as of this instant.';

CREATE FUNCTION memory.encrypt_row() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'encrypt_row';
COMMENT ON FUNCTION memory.encrypt_row() IS
    'Trigger, before a row is written: encrypts a column under its user''s data key. Arguments: the column, what the row is, the columns of its ids.';

CREATE FUNCTION memory.decrypted(
    tenant_id uuid, owner text, kind text, first_id text, second_id text, object jsonb
) RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'decrypted';
COMMENT ON FUNCTION memory.decrypted(uuid, text, text, text, text, jsonb) IS
    'Internal: the object that encrypt_row() was given; one that is not encrypted as it is. XX001 where it was changed or moved, 55000 where its key is not here.';

SELECT memory.allow('app', 'make_user_key', 'encrypts', 'decrypted');
SELECT memory.allow('service', 'encrypt_field', 'decrypt_field');
SELECT memory.allow('operator', 'rotate_master_key');

CREATE FUNCTION memory.decrypt_field_of(owner text, field_id uuid) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'decrypt_field_of_wrapper';
COMMENT ON FUNCTION memory.decrypt_field_of(text, uuid) IS
    'Internal, for an export: as decrypt_field(), of this user. After an import into the same tenant two users have fields of one id.';

CREATE FUNCTION memory.readable_encrypted_fields(encrypted memory.encrypted_fields) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT to_jsonb(readable_encrypted_fields.encrypted) - 'ciphertext' || jsonb_build_object('plaintext', memory.decrypt_field_of((readable_encrypted_fields.encrypted).user_id, (readable_encrypted_fields.encrypted).field_id));
END;
COMMENT ON FUNCTION memory.readable_encrypted_fields(memory.encrypted_fields) IS 'Internal: the field with its text in place of the ciphertext, for an export.';
