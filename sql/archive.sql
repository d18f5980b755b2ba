-- The archive: sessions and events that left hot memory, and what services archive themselves.

CREATE TABLE memory.agent_sessions_archive (
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    started_at timestamptz,
    last_activity timestamptz,
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object' AND payload ? '_tenant'),
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id)
);
COMMENT ON TABLE memory.agent_sessions_archive IS 'Archived sessions, one row per session. A service context''s.';
COMMENT ON COLUMN memory.agent_sessions_archive.id IS 'UUIDv7; stays when the session is archived again.';
COMMENT ON COLUMN memory.agent_sessions_archive.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.agent_sessions_archive.user_id IS 'The user.';
COMMENT ON COLUMN memory.agent_sessions_archive.session_id IS 'The session; unique per user.';
COMMENT ON COLUMN memory.agent_sessions_archive.started_at IS 'When it started, if known.';
COMMENT ON COLUMN memory.agent_sessions_archive.last_activity IS 'When it was last active, if known.';
COMMENT ON COLUMN memory.agent_sessions_archive.payload IS
    'An object with _tenant: {input, slug, uuid, source, found}, how the tenant was resolved. From run_archival(): metadata, mode, '
    'status, parent_session_id, expires_at, ended_at.';
COMMENT ON COLUMN memory.agent_sessions_archive.archived_at IS 'When it was last archived.';
COMMENT ON COLUMN memory.agent_sessions_archive.created_at IS 'When it was first archived.';

-- log_event() reads columns 2 to 5 by their positions.
CREATE TABLE memory.agent_events_archive (
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    event_id text COLLATE "C" NOT NULL CHECK (event_id <> ''),
    event_type text COLLATE "C" NOT NULL CHECK (event_type <> ''),
    occurred_at timestamptz NOT NULL,
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object' AND payload ? '_tenant'),
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id, event_id)
);
COMMENT ON TABLE memory.agent_events_archive IS 'Archived events, each once. A service context''s.';
COMMENT ON COLUMN memory.agent_events_archive.id IS 'UUIDv7; stays when the event is archived again.';
COMMENT ON COLUMN memory.agent_events_archive.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.agent_events_archive.user_id IS 'The user.';
COMMENT ON COLUMN memory.agent_events_archive.session_id IS 'The session.';
COMMENT ON COLUMN memory.agent_events_archive.event_id IS 'The event; unique per session.';
COMMENT ON COLUMN memory.agent_events_archive.event_type IS 'Any word; the vocabulary binds hot events only.';
COMMENT ON COLUMN memory.agent_events_archive.occurred_at IS 'When it happened.';
COMMENT ON COLUMN memory.agent_events_archive.payload IS
    'An object with _tenant: {input, slug, uuid, source, found}, how the tenant was resolved.';
COMMENT ON COLUMN memory.agent_events_archive.archived_at IS 'When it was last archived.';
COMMENT ON COLUMN memory.agent_events_archive.created_at IS 'When it was first archived.';

SELECT memory.declare_table('memory.agent_sessions_archive', 'service', '{user_id, session_id, payload}');
SELECT memory.declare_table('memory.agent_events_archive', 'service', '{user_id, session_id, event_id, event_type, payload}');
SELECT memory.declare_personal('memory.agent_sessions_archive', '{
    "user_id": "user", "session_id": "pseudonym:session", "id": "pseudonym:archive", "payload": "clear:_tenant",
    "tenant_id, started_at, last_activity, archived_at, created_at": "keep"}');
SELECT memory.declare_personal('memory.agent_events_archive', '{
    "user_id": "user", "session_id": "pseudonym:session", "event_id": "pseudonym:event", "id": "pseudonym:archive",
    "event_type": "word:event_types", "payload": "clear:_tenant",
    "tenant_id, occurred_at, archived_at, created_at": "keep"}');
SELECT memory.allow_table('service', 'SELECT, INSERT, UPDATE, DELETE', 'agent_sessions_archive', 'agent_events_archive');

CREATE FUNCTION memory.archive_session(
    tenant text, user_id text, session_id text, payload jsonb, started_at timestamptz DEFAULT NULL,
    last_activity timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_session';
COMMENT ON FUNCTION memory.archive_session(text, text, text, jsonb, timestamptz, timestamptz) IS
    'Archives a session and gives its id in the archive. Again: the same id, the newer payload, archived_at moved; a time that is NULL '
    'leaves the one known. tenant: slug or UUID, NULL the context''s; an unknown one is P0002 and recorded as a violation. Needs a '
    'service context (42501); another tenant than the context''s needs the profile service for it. The payload gets _tenant.';

CREATE FUNCTION memory.archive_event(
    tenant text, user_id text, session_id text, event_id text, event_type text, occurred_at timestamptz, payload jsonb
) RETURNS uuid
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_event';
COMMENT ON FUNCTION memory.archive_event(text, text, text, text, text, timestamptz, jsonb) IS
    'Archives an event, of any type, and gives its id in the archive. Again: the same id; what is equal is not written. Otherwise '
    'as archive_session().';

CREATE FUNCTION memory.archive_sessions(
    sessions jsonb, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint
) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_sessions';
COMMENT ON FUNCTION memory.archive_sessions(jsonb) IS
    'Archives an array of objects {tenant, user_id, session_id, payload, started_at, last_activity}; tenants may be mixed where the '
    'role serves them all and the context is not sealed. Of duplicates the last counts. unchanged: equal to what is there; '
    'not written. What is wrong is 22023 and names the element, counted from 1; then nothing is stored.';

CREATE FUNCTION memory.archive_events(
    events jsonb, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint
) RETURNS record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'archive_events';
COMMENT ON FUNCTION memory.archive_events(jsonb) IS
    'Archives an array of objects {tenant, user_id, session_id, event_id, event_type, occurred_at, payload}; timestamp is read as '
    'occurred_at. Otherwise as archive_sessions(). One statement per tenant, whatever the size.';

-- Runs as its owner, for all tenants: an operator sees no payload, and has no privilege on the tables that it moves.
CREATE FUNCTION memory.run_archival(
    idle_for interval DEFAULT '30 minutes', batch_size integer DEFAULT 1000,
    OUT sessions bigint, OUT events bigint, OUT more boolean, OUT duration_ms double precision
) RETURNS record
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'run_archival';
COMMENT ON FUNCTION memory.run_archival(interval, integer) IS
    'Moves at most batch_size sessions of any tenant, with all their events, from hot memory to the archive: those that ended, expired '
    'or had no activity for idle_for. more: call again. Safe beside writers and beside another run: sessions in use are '
    'skipped; a crash loses and doubles nothing. An operator''s. batch_size below 1 or idle_for below 0 is 22023.';

CREATE FUNCTION memory.archive_scope(
    tenant text, user_id text, OUT tenant_id uuid, OUT user_low text, OUT user_high text
) RETURNS record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'archive_scope';
COMMENT ON FUNCTION memory.archive_scope(text, text) IS
    'Internal: as scope(), for what reads the archive: a user context is 42501.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.agent_events_archive FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.payload ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('payload', 'event', 'session_id', 'event_id');
COMMENT ON TRIGGER encrypt ON memory.agent_events_archive IS 'Encrypts the payload but for _tenant, where the tenant has that.';

CREATE FUNCTION memory.readable_agent_events_archive(event memory.agent_events_archive) RETURNS memory.agent_events_archive
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_agent_events_archive.event).payload ? '_encrypted' THEN jsonb_populate_record(readable_agent_events_archive.event, jsonb_build_object('payload',
        memory.decrypted((readable_agent_events_archive.event).tenant_id, (readable_agent_events_archive.event).user_id, 'event', (readable_agent_events_archive.event).session_id, (readable_agent_events_archive.event).event_id,
            (readable_agent_events_archive.event).payload))) ELSE readable_agent_events_archive.event END;
END;
COMMENT ON FUNCTION memory.readable_agent_events_archive(memory.agent_events_archive) IS 'Internal: the archived event with its payload decrypted, if it is encrypted.';
SELECT memory.allow('service', 'readable_agent_events_archive');

CREATE FUNCTION memory.replay_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (
    seq bigint, event_id text, event_type text, occurred_at timestamptz, payload jsonb, archived boolean
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH stream AS (
        SELECT e.user_id, e.event_id, e.event_type, e.occurred_at, (memory.readable_events(e)).payload, false AS archived
        FROM memory.archive_scope(replay_session.tenant, replay_session.user_id) AS s
        JOIN memory.events AS e ON e.tenant_id = s.tenant_id AND e.user_id BETWEEN s.user_low AND s.user_high
            AND e.session_id = memory.check_text('session_id', replay_session.session_id)
        WHERE memory.note_read('replay_session', replay_session.tenant, replay_session.user_id) AND NOT EXISTS (
            SELECT FROM memory.agent_events_archive AS a
            WHERE a.tenant_id = e.tenant_id AND a.user_id = e.user_id AND a.session_id = e.session_id
                AND a.event_id = e.event_id
        )
        UNION ALL
        SELECT a.user_id, a.event_id, a.event_type, a.occurred_at, (memory.readable_agent_events_archive(a)).payload, true
        FROM memory.archive_scope(replay_session.tenant, replay_session.user_id) AS s
        JOIN memory.agent_events_archive AS a ON a.tenant_id = s.tenant_id AND a.user_id BETWEEN s.user_low AND s.user_high
            AND a.session_id = memory.check_text('session_id', replay_session.session_id)
    )
    SELECT row_number() OVER (ORDER BY t.occurred_at, t.event_id, t.user_id), t.event_id, t.event_type, t.occurred_at,
        t.payload, t.archived
    FROM stream AS t
    WHERE memory.archive_scope(replay_session.tenant, replay_session.user_id) IS NOT NULL
        AND memory.check_text('session_id', replay_session.session_id) IS NOT NULL
    ORDER BY t.occurred_at, t.event_id, t.user_id;
END;
COMMENT ON FUNCTION memory.replay_session(text, text, text) IS
    'The session''s events, hot and archived (expired ones too), as one stream by occurred_at, then event_id, numbered from 1; each once. '
    'Archived payloads have _tenant. Needs a service context (42501); without user_id it reads the whole tenant''s keys, and mixes users '
    'who share a session_id.';

SELECT memory.allow('service', 'archive_session', 'archive_event', 'archive_sessions', 'archive_events', 'archive_scope',
    'replay_session');
SELECT memory.allow('operator', 'run_archival');
