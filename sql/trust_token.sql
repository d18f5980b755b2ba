-- Tokens: who may say who is asking. Keys that sign them, service tokens that were issued.

-- The library reads both tables by the positions of their columns (src/context/key.rs).
CREATE TABLE memory.auth_keys (
    key_id text COLLATE "C" PRIMARY KEY CHECK (key_id <> ''),
    algorithm text COLLATE "C" NOT NULL CHECK (algorithm IN ('HS256', 'ES256', 'EdDSA', 'RS256')),
    public_key bytea,
    wrapped_secret bytea,
    issuer text COLLATE "C" CHECK (issuer <> ''),
    audience text COLLATE "C" CHECK (audience <> ''),
    tenants uuid[],
    scopes text[] COLLATE "C" NOT NULL CHECK (scopes <@ '{read,write,archive,admin}' AND scopes <> '{}'),
    may_serve boolean NOT NULL DEFAULT false,
    is_own boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT auth_keys_are_public_or_secret CHECK (
        CASE algorithm WHEN 'HS256' THEN public_key IS NULL AND wrapped_secret IS NOT NULL
        ELSE public_key IS NOT NULL AND wrapped_secret IS NULL END)
);
COMMENT ON TABLE memory.auth_keys IS
    'The keys that tokens are verified by; written by register_auth_key() and issue_service_token(). Two keys beside each other are a rotation.';
COMMENT ON COLUMN memory.auth_keys.key_id IS 'As tokens name it in their header: kid.';
COMMENT ON COLUMN memory.auth_keys.algorithm IS 'HS256, ES256, EdDSA or RS256. The key''s, never the token''s.';
COMMENT ON COLUMN memory.auth_keys.public_key IS
    'ES256: an uncompressed point; EdDSA: 32 bytes; RS256: PKCS #1 in DER. NULL for HS256.';
COMMENT ON COLUMN memory.auth_keys.wrapped_secret IS 'The secret of HS256, wrapped by the master key.';
COMMENT ON COLUMN memory.auth_keys.issuer IS 'What tokens say in iss; NULL: memory.token_issuer, if that is set.';
COMMENT ON COLUMN memory.auth_keys.audience IS 'What tokens say in aud, among others; NULL: memory.token_audience; *: anything.';
COMMENT ON COLUMN memory.auth_keys.tenants IS 'The tenants that its tokens may speak for; NULL: all.';
COMMENT ON COLUMN memory.auth_keys.scopes IS 'What its tokens may give: read, write, archive, admin.';
COMMENT ON COLUMN memory.auth_keys.may_serve IS 'Whether its tokens may stand for a service (the whole tenant) rather than a user.';
COMMENT ON COLUMN memory.auth_keys.is_own IS 'Whether issue_service_token() signs by it.';
COMMENT ON COLUMN memory.auth_keys.created_at IS 'When it was registered.';
COMMENT ON COLUMN memory.auth_keys.expires_at IS 'From when on its tokens are refused; NULL: by their own time only.';
COMMENT ON COLUMN memory.auth_keys.revoked_at IS 'When it was revoked; NULL: it holds.';

CREATE TABLE memory.service_tokens (
    token_id uuid PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    service_name text COLLATE "C" NOT NULL CHECK (service_name <> ''),
    scopes text[] COLLATE "C" NOT NULL CHECK (scopes <@ '{read,write,archive,admin}' AND scopes <> '{}'),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX service_tokens_tenant_id_idx ON memory.service_tokens (tenant_id);
COMMENT ON TABLE memory.service_tokens IS
    'The service tokens that were issued: what they give, not the tokens. A token counts for as much as its row says.';
COMMENT ON COLUMN memory.service_tokens.token_id IS 'UUIDv7; jti in the token.';
COMMENT ON COLUMN memory.service_tokens.key_id IS 'The key that signed it.';
COMMENT ON COLUMN memory.service_tokens.tenant_id IS 'The tenant that it is for.';
COMMENT ON COLUMN memory.service_tokens.service_name IS 'The service that it stands for.';
COMMENT ON COLUMN memory.service_tokens.scopes IS 'What it gives: read, write, archive, admin.';
COMMENT ON COLUMN memory.service_tokens.issued_at IS 'When.';
COMMENT ON COLUMN memory.service_tokens.expires_at IS 'Until when it holds.';
COMMENT ON COLUMN memory.service_tokens.revoked_at IS 'When it was revoked; NULL: it was not.';

CREATE FUNCTION memory.keys_changed() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'keys_changed';
COMMENT ON FUNCTION memory.keys_changed() IS
    'Trigger: contexts that were made from a token look at its key again, in every session, once this transaction has committed.';

-- Row triggers, because logical replication fires no statement triggers; ALWAYS, because it applies changes as a replica. (TRUNCATE is heard of
-- without one.)
CREATE TRIGGER revocation BEFORE INSERT OR UPDATE OR DELETE ON memory.auth_keys
    FOR EACH ROW EXECUTE FUNCTION memory.keys_changed();
CREATE TRIGGER revocation BEFORE INSERT OR UPDATE OR DELETE ON memory.service_tokens
    FOR EACH ROW EXECUTE FUNCTION memory.keys_changed();
ALTER TABLE memory.auth_keys ENABLE ALWAYS TRIGGER revocation;
ALTER TABLE memory.service_tokens ENABLE ALWAYS TRIGGER revocation;
COMMENT ON TRIGGER revocation ON memory.auth_keys IS 'Has a revocation count at once.';
COMMENT ON TRIGGER revocation ON memory.service_tokens IS 'Has a revocation count at once.';

SELECT memory.declare_table('memory.auth_keys', 'shared', '{public_key, wrapped_secret, issuer, audience, tenants, key_id, scopes}');
SELECT memory.declare_table('memory.service_tokens', 'shared', '{service_name, key_id, scopes}');
ALTER TABLE memory.service_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.service_tokens FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.service_tokens IS 'An auditor reads the tenants that it audits.';
SELECT memory.allow_table('auditor', 'SELECT', 'service_tokens');
-- All but what keys are made of.
SELECT memory.allow_table('operator',
    'SELECT (key_id, algorithm, issuer, audience, tenants, scopes, may_serve, is_own, created_at, expires_at, revoked_at)', 'auth_keys');

CREATE FUNCTION memory.authenticate(token text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'authenticate_wrapper';
COMMENT ON FUNCTION memory.authenticate(text) IS
    'Sets the security context from a signed JWT (HS256, ES256, EdDSA, RS256; by the key that its header kid names): of the user sub of the '
    'tenant, with sid as session; without sub, of the service that the claim service names, if the key may; of a service token, of its service. The '
    'claim scope (read, write, archive, admin) bounds what the context may do; write and admin bring read; none at all stands for read and write. Local to the '
    'transaction and sealed; outside of a transaction block it warns and is gone at once. It holds until exp and memory.token_leeway, and '
    'until the key or the service token is revoked: from then on its next use is 42501. A token that is refused is 42501, and '
    'recorded; so is a context that is sealed already. An unknown tenant is P0002, no audience to compare with or no master key 55000. Costs '
    'some 20 µs for HS256, 100 for EdDSA, 400 for RS256 and 700 for ES256.';

CREATE FUNCTION memory.authenticate_request() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'authenticate_request_wrapper';
COMMENT ON FUNCTION memory.authenticate_request() IS
    'authenticate() for PostgREST, from the claims that it has verified and left in the setting request.jwt.claims: of the user sub, with '
    'the scopes read and write at most. Only where the session''s login is the role that memory.trust_request_claims_from names, and '
    'there is no context yet; else 42501. Anybody who gets to run SQL before this call in such a session is whoever they want to be: docs/token.md.';

CREATE FUNCTION memory.register_auth_key(
    key_id text, algorithm text, key text, audience text DEFAULT NULL, issuer text DEFAULT NULL, tenants text[] DEFAULT NULL,
    scopes text[] DEFAULT '{read,write}', may_serve boolean DEFAULT false, expires_at timestamptz DEFAULT NULL
) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'register_auth_key_wrapper';
COMMENT ON FUNCTION memory.register_auth_key(text, text, text, text, text, text[], text[], boolean, timestamptz) IS
    'From its COMMIT on tokens that this key has signed are accepted. algorithm: HS256 (key is at least 32 bytes in base64, kept wrapped by the '
    'master key), ES256, EdDSA or RS256 (key is a public key in PEM form). audience: what tokens say in aud, NULL: '
    'memory.token_audience, *: anything. issuer: what they say in iss, NULL: memory.token_issuer, if set. tenants: those that its tokens may name, '
    'NULL: all. scopes: the most that they may give. may_serve: whether they may stand for a service. An operator''s. A key_id that is '
    'taken, revoked keys too, or a key that is none is 22023; an unknown tenant P0002; no audience or no master key 55000.';

CREATE FUNCTION memory.revoke_auth_key(key_id text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE memory.auth_keys AS k SET revoked_at = coalesce(k.revoked_at, clock_timestamp())
    WHERE k.key_id = revoke_auth_key.key_id;
    SELECT memory.check_found(
        EXISTS (SELECT FROM memory.auth_keys AS k WHERE k.key_id = revoke_auth_key.key_id), 'key', revoke_auth_key.key_id);
END;
COMMENT ON FUNCTION memory.revoke_auth_key(text) IS
    'From its COMMIT on no token of the key is accepted, and a context that was made from one is an error (42501) at its next use, in every '
    'session. Again: nothing more. An unknown key is P0002. An operator''s.';

CREATE FUNCTION memory.list_auth_keys(
    OUT key_id text, OUT algorithm text, OUT issuer text, OUT audience text, OUT tenants uuid[], OUT scopes text[],
    OUT may_serve boolean, OUT is_own boolean, OUT created_at timestamptz, OUT expires_at timestamptz, OUT revoked_at timestamptz
) RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT k.key_id, k.algorithm, k.issuer, k.audience, k.tenants, k.scopes, k.may_serve, k.is_own, k.created_at, k.expires_at,
        k.revoked_at
    FROM memory.auth_keys AS k ORDER BY k.created_at, k.key_id;
END;
COMMENT ON FUNCTION memory.list_auth_keys() IS 'The keys that were registered, without what they are made of; the oldest first. An operator''s.';

CREATE FUNCTION memory.issue_service_token(service_name text, tenant text, scopes text[], ttl interval) RETURNS text
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'issue_service_token_wrapper';
COMMENT ON FUNCTION memory.issue_service_token(text, text, text[], interval) IS
    'A token with which authenticate() makes a context of the service for the tenant, with the scopes (read, write, archive, admin), until ttl is '
    'over or it is revoked. It is shown this once: the table service_tokens has what it gives, not the token. Signed by a key of the extension''s own, '
    'made when first needed and wrapped by the master key (none is 55000). An operator''s. An unknown tenant is P0002; an unknown scope, none '
    'at all, or a ttl that is not above zero or above memory.token_max_ttl 22023.';

CREATE FUNCTION memory.revoke_service_token(token_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE memory.service_tokens AS t SET revoked_at = coalesce(t.revoked_at, clock_timestamp())
    WHERE t.token_id = revoke_service_token.token_id;
    SELECT memory.check_found(
        EXISTS (SELECT FROM memory.service_tokens AS t WHERE t.token_id = revoke_service_token.token_id),
        'token', revoke_service_token.token_id::text);
END;
COMMENT ON FUNCTION memory.revoke_service_token(uuid) IS
    'From its COMMIT on the token is refused, and a context that was made from it is an error (42501) at its next use, in every session. '
    'Again: nothing more. An unknown token is P0002. An operator''s.';

CREATE FUNCTION memory.list_service_tokens(tenant text DEFAULT NULL) RETURNS SETOF memory.service_tokens
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t FROM memory.service_tokens AS t
    WHERE t.tenant_id = coalesce(memory.tenant_id(list_service_tokens.tenant), t.tenant_id)
    ORDER BY t.issued_at, t.token_id;
END;
COMMENT ON FUNCTION memory.list_service_tokens(text) IS
    'The service tokens that were issued, of one tenant or of all; the oldest first. An unknown tenant is P0002. An operator''s.';

SELECT memory.allow('app', 'authenticate', 'authenticate_request');
SELECT memory.allow('operator', 'register_auth_key', 'revoke_auth_key', 'list_auth_keys', 'issue_service_token', 'revoke_service_token',
    'list_service_tokens');
