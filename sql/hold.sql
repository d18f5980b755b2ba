-- Legal holds: whose data may not be removed.

CREATE TABLE memory.legal_holds (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    hold_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    reason text NOT NULL,
    placed_by text COLLATE "C" NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text COLLATE "C",
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, user_id, hold_id)
);
CREATE INDEX legal_holds_standing_idx ON memory.legal_holds (tenant_id, user_id) WHERE lifted_at IS NULL;
COMMENT ON TABLE memory.legal_holds IS
    'Whose data may not be removed or anonymised, and why; lifted ones stay as a record. A service reads its tenant''s, the user does not. '
    'Write with place_legal_hold(), lift_legal_hold().';
COMMENT ON COLUMN memory.legal_holds.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.legal_holds.user_id IS 'Whose data is held.';
COMMENT ON COLUMN memory.legal_holds.hold_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.legal_holds.reason IS 'Why, for people.';
COMMENT ON COLUMN memory.legal_holds.placed_by IS 'The role that placed it.';
COMMENT ON COLUMN memory.legal_holds.placed_at IS 'When.';
COMMENT ON COLUMN memory.legal_holds.lifted_by IS 'The role that lifted it.';
COMMENT ON COLUMN memory.legal_holds.lifted_at IS 'Until when it stood; NULL: it stands.';

SELECT memory.declare_table('memory.legal_holds', 'service', '{user_id, reason}');
SELECT memory.declare_personal('memory.legal_holds', '{
    "user_id": "user", "hold_id": "pseudonym:hold", "reason": "clear",
    "tenant_id, placed_by, placed_at, lifted_by, lifted_at": "keep"}');
SELECT memory.allow_table('service', 'SELECT', 'legal_holds');

CREATE FUNCTION memory.check_hold(tenant_id uuid, user_id text) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'check_hold_wrapper';
COMMENT ON FUNCTION memory.check_hold(uuid, text) IS
    'Internal, before something of a user is removed: raises 55000 and records a violation where a legal hold stands, as of this instant. '
    'No hold is placed then until the transaction ends. Somebody whom the context does not cover is 42501; superusers ask of everyone.';

CREATE FUNCTION memory.may_remove(tenant_id uuid, user_id text) RETURNS boolean
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'may_remove_wrapper';
COMMENT ON FUNCTION memory.may_remove(uuid, text) IS
    'Internal: check_hold() for what tidies up and is not worth an error: false where a hold stands or is being placed.';

CREATE FUNCTION memory.removable_user(tenant_id uuid, user_id text) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'removable_user';
COMMENT ON FUNCTION memory.removable_user(uuid, text) IS
    'Internal: held_user() and check_hold(). The audit asks it of every row that is deleted or gets another key, so that neither DELETE nor UPDATE gets past a hold.';

-- Run as their owner: an operator has no context and no privilege on the table. Where there is a context, it binds.
CREATE FUNCTION memory.place_legal_hold(user_id text, reason text, tenant text DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'place_legal_hold_wrapper';
COMMENT ON FUNCTION memory.place_legal_hold(text, text, text) IS
    'From its COMMIT on nothing of the user is removed or anonymised until it is lifted: a direct call is refused (55000) and recorded, batch '
    'jobs pass the user over. Gives the hold''s id; several may stand. Waits for the user''s removals that are under way. An '
    'operator''s. An unknown tenant is P0002, no tenant 22004 (without a context), an empty reason 22023.';

CREATE FUNCTION memory.lift_legal_hold(hold_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH lifted AS (
        UPDATE memory.legal_holds AS h SET lifted_at = now(),
            lifted_by = CASE pg_catalog.current_setting('role')
                WHEN 'none' THEN session_user ELSE pg_catalog.current_setting('role') END
        WHERE h.hold_id = lift_legal_hold.hold_id AND h.lifted_at IS NULL
            AND h.tenant_id = coalesce(memory.current_tenant_id(), h.tenant_id)
            AND h.user_id BETWEEN coalesce(memory.context_user_low(), h.user_id) AND coalesce(memory.context_user_high(), h.user_id)
        RETURNING h.hold_id
    )
    SELECT memory.check_found(EXISTS (SELECT FROM lifted), 'standing legal hold', lift_legal_hold.hold_id::text);
END;
COMMENT ON FUNCTION memory.lift_legal_hold(uuid) IS
    'Ends a legal hold; others of the same user go on. One that is unknown or was lifted before is P0002. An operator''s.';

CREATE FUNCTION memory.list_legal_holds(tenant text DEFAULT NULL) RETURNS SETOF memory.legal_holds
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT h
    FROM memory.legal_holds AS h
    WHERE h.lifted_at IS NULL
        AND h.tenant_id = coalesce(memory.tenant_id(list_legal_holds.tenant), h.tenant_id)
        AND h.tenant_id = coalesce(memory.current_tenant_id(), h.tenant_id)
        AND h.user_id BETWEEN coalesce(memory.context_user_low(), h.user_id) AND coalesce(memory.context_user_high(), h.user_id)
    ORDER BY h.placed_at, h.hold_id;
END;
COMMENT ON FUNCTION memory.list_legal_holds(text) IS
    'The legal holds that stand, oldest first: the tenant''s, or all. An operator''s. An unknown tenant is P0002.';

SELECT memory.allow('app', 'check_hold', 'may_remove');
SELECT memory.allow('operator', 'place_legal_hold', 'lift_legal_hold', 'list_legal_holds');
