-- The security context, access, and the subject of a call.

CREATE FUNCTION memory.set_security_context(
    tenant text, user_id text DEFAULT NULL, session_id text DEFAULT NULL, service_name text DEFAULT NULL,
    is_local boolean DEFAULT true, sealed boolean DEFAULT false
) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'set_security_context_wrapper';
COMMENT ON FUNCTION memory.set_security_context(text, text, text, text, boolean, boolean) IS
    'Says who is asking: with user_id that user of the tenant, without it a service (service_name) that sees the whole tenant. '
    'NULL stands for the default. session_id goes into the audit log, and is the session of nodes that are stored without one. Local to the transaction '
    'unless is_local is false; outside of a transaction block a local one warns and is gone at once. sealed: nobody changes it '
    'until the transaction ends. Needs the profile service for the tenant, else 42501, and so does a change of a sealed one; an '
    'unknown tenant is P0002; neither user_id nor service_name 22004; sealed without is_local 22023.';

CREATE FUNCTION memory.clear_security_context() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'clear_security_context_wrapper';
COMMENT ON FUNCTION memory.clear_security_context() IS
    'From here on nobody is asking: no rows, no writes. A sealed context is 42501.';

CREATE FUNCTION memory.current_tenant_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_tenant_id';
COMMENT ON FUNCTION memory.current_tenant_id() IS 'The context''s tenant; NULL without a context.';

CREATE FUNCTION memory.current_user_id() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_user_id';
COMMENT ON FUNCTION memory.current_user_id() IS 'The context''s user; NULL in a service context and without one.';

CREATE FUNCTION memory.current_session_id() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_session_id';
COMMENT ON FUNCTION memory.current_session_id() IS 'The context''s session; NULL where unset.';

CREATE FUNCTION memory.current_service_name() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'current_service_name';
COMMENT ON FUNCTION memory.current_service_name() IS 'The context''s service; NULL where unset.';

CREATE FUNCTION memory.service_tenant_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'service_tenant_id';
COMMENT ON FUNCTION memory.service_tenant_id() IS
    'For policies: the context''s tenant in a service context (of a token: with the scope archive or admin), else NULL.';

CREATE FUNCTION memory.context_user_low() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'context_user_low';
COMMENT ON FUNCTION memory.context_user_low() IS
    'For policies: the least user id that the context sees, in the order of COLLATE "C"; above the greatest where it sees none.';

CREATE FUNCTION memory.context_user_high() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'context_user_high';
COMMENT ON FUNCTION memory.context_user_high() IS
    'For policies: the greatest user id that the context sees, in the order of COLLATE "C".';

-- The two ways in which a call is about somebody; each checks its arguments against the context and raises contract's errors.
-- A join does not call them where its other side is empty. Functions therefore say `WHERE memory.subject(…) IS NOT NULL` besides:
-- a condition on no column is checked once, before anything is read.
CREATE FUNCTION memory.subject(tenant text, user_id text, OUT tenant_id uuid, OUT subject_id text) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'subject_wrapper';
COMMENT ON FUNCTION memory.subject(text, text) IS
    'Internal: the tenant and user that a call with these arguments is about; NULL stands for the context''s. Somebody else than the '
    'context allows, or a token without the scope read, is 42501, an unknown tenant P0002, no user 22004.';

CREATE FUNCTION memory.writer(tenant text, user_id text, OUT tenant_id uuid, OUT subject_id text) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'writer_subject';
COMMENT ON FUNCTION memory.writer(text, text) IS
    'Internal: subject(), for what stores (of a token: with the scope write): waits while the user is erased or anonymised, and holds both off until the transaction '
    'ends.';

CREATE FUNCTION memory.held_user(tenant_id uuid, user_id text) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'held_user';
COMMENT ON FUNCTION memory.held_user(uuid, text) IS
    'Internal: the user, held as by writer(). The audit asks it of every row that is written.';

CREATE FUNCTION memory.hold_own() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'hold_own';
COMMENT ON FUNCTION memory.hold_own() IS
    'Trigger, before a statement: holds the context''s user as writer() does, before any row is locked.';

CREATE FUNCTION memory.scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'scope_wrapper';
COMMENT ON FUNCTION memory.scope(text, text) IS
    'Internal: the tenant and the range of users that a reading call with these arguments is about: like subject(), but a service context '
    'without a user is about them all.';

CREATE TABLE memory.access_grants (
    id uuid PRIMARY KEY DEFAULT memory.uuid_v7(),
    grantee regrole NOT NULL,
    profile text COLLATE "C" NOT NULL CHECK (profile IN ('app', 'service', 'auditor', 'operator')),
    tenants uuid[],
    granted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (grantee, profile)
);
COMMENT ON TABLE memory.access_grants IS 'Which role has which profile, for which tenants; written by grant_access().';
COMMENT ON COLUMN memory.access_grants.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.access_grants.grantee IS 'The role; its members have the profile too.';
COMMENT ON COLUMN memory.access_grants.profile IS 'app, service, auditor or operator.';
COMMENT ON COLUMN memory.access_grants.tenants IS 'The tenants it holds for; NULL: all.';
COMMENT ON COLUMN memory.access_grants.granted_at IS 'When it was granted, or last changed.';

CREATE FUNCTION memory.grant_access(grantee regrole, profile text, tenants text[] DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'grant_access_wrapper';
COMMENT ON FUNCTION memory.grant_access(regrole, text, text[]) IS
    'Gives a role a profile, for the tenants named or for all. app: sessions, events and the graph through row-level security; '
    'service: all of app, security contexts for its tenants, the archive; auditor: reads the audit log and the violations; '
    'operator: tenants, vocabularies, archival, the cache, no payload. Members of the role have it too. Granting again '
    'replaces the tenants. A superuser''s; an unknown tenant is P0002, an unknown profile 22023.';

CREATE FUNCTION memory.revoke_access(grantee regrole) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'revoke_access_wrapper';
COMMENT ON FUNCTION memory.revoke_access(regrole) IS
    'Takes every profile from a role, and every privilege on the schema''s objects. A superuser''s.';

SELECT memory.allow('app', 'current_tenant_id', 'current_user_id', 'current_session_id', 'current_service_name',
    'service_tenant_id', 'context_user_low', 'context_user_high', 'subject', 'scope', 'writer');
SELECT memory.allow('service', 'set_security_context', 'clear_security_context');
