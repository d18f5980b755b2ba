-- Hot memory: sessions, their events, preferences, navigation.
--
-- Who locks what: a writer of events holds a KEY SHARE lock on its session (the foreign key's lock, taken before anything else);
-- archival takes its sessions FOR UPDATE SKIP LOCKED. So archival never takes a session that has an event which is not committed yet,
-- and writers of one session never wait for each other.

-- log_event() reads sessions and events by the positions of their columns.
CREATE TABLE memory.sessions (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (session_id <> ''),
    mode text NOT NULL DEFAULT 'simple',
    status text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'ended')),
    parent_session_id text COLLATE "C",
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    started_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    last_activity timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, user_id, session_id)
);
-- What archival looks for: sessions that have ended or expired, and those without activity.
CREATE INDEX sessions_over_idx ON memory.sessions (
    (least(expires_at, CASE WHEN status = 'ended' THEN coalesce(ended_at, last_activity) END))
);
CREATE INDEX sessions_last_activity_idx ON memory.sessions (last_activity);
COMMENT ON TABLE memory.sessions IS 'Sessions that are running or ended lately; run_archival() moves them away.';
COMMENT ON COLUMN memory.sessions.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.sessions.user_id IS 'The user.';
COMMENT ON COLUMN memory.sessions.session_id IS 'As the application names it; unique per user.';
COMMENT ON COLUMN memory.sessions.mode IS 'Free text.';
COMMENT ON COLUMN memory.sessions.status IS 'active or ended.';
COMMENT ON COLUMN memory.sessions.parent_session_id IS 'The session it came from, if any.';
COMMENT ON COLUMN memory.sessions.metadata IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.sessions.started_at IS 'When it was first saved or logged into.';
COMMENT ON COLUMN memory.sessions.last_activity IS
    'When it was last saved or logged into; log_event() moves it once a minute at most.';
COMMENT ON COLUMN memory.sessions.expires_at IS 'From then on nobody sees it; NULL: never.';
COMMENT ON COLUMN memory.sessions.ended_at IS 'When end_session() was called; NULL while active.';

CREATE TABLE memory.events (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL CHECK (event_id <> ''),
    event_type text COLLATE "C" NOT NULL CHECK (event_type <> ''),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(payload) = 'object'),
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (tenant_id, user_id, session_id, event_id),
    FOREIGN KEY (tenant_id, user_id, session_id) REFERENCES memory.sessions ON DELETE CASCADE
);
CREATE INDEX events_occurred_at_idx ON memory.events (tenant_id, user_id, session_id, occurred_at);
COMMENT ON TABLE memory.events IS 'What happened in the sessions of memory.sessions; goes with its session.';
COMMENT ON COLUMN memory.events.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.events.user_id IS 'The user.';
COMMENT ON COLUMN memory.events.session_id IS 'The session.';
COMMENT ON COLUMN memory.events.event_id IS 'As the application names it, else a UUIDv7; unique per session.';
COMMENT ON COLUMN memory.events.event_type IS 'A word of memory.event_types.';
COMMENT ON COLUMN memory.events.occurred_at IS 'When it happened, as the application says.';
COMMENT ON COLUMN memory.events.payload IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.events.created_at IS 'When it was logged.';

CREATE TABLE memory.preferences (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    preferences jsonb NOT NULL CHECK (jsonb_typeof(preferences) = 'object'),
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (tenant_id, user_id)
);
COMMENT ON TABLE memory.preferences IS 'What users prefer: one object per user.';
COMMENT ON COLUMN memory.preferences.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.preferences.user_id IS 'The user.';
COMMENT ON COLUMN memory.preferences.preferences IS 'An object; the application''s own.';
COMMENT ON COLUMN memory.preferences.updated_at IS 'When it was last set.';

CREATE TABLE memory.navigation (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL DEFAULT memory.uuid_v7(),
    path text NOT NULL,
    visited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, user_id, id)
);
COMMENT ON TABLE memory.navigation IS 'Where users have been: the newest memory.navigation_limit steps of each.';
COMMENT ON COLUMN memory.navigation.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.navigation.user_id IS 'The user.';
COMMENT ON COLUMN memory.navigation.id IS 'UUIDv7.';
COMMENT ON COLUMN memory.navigation.path IS 'The place, as the application names it.';
COMMENT ON COLUMN memory.navigation.visited_at IS 'When.';

SELECT memory.declare_table('memory.sessions', 'user', '{user_id, session_id, parent_session_id, mode, metadata}');
SELECT memory.declare_table('memory.events', 'user', '{user_id, session_id, event_id, event_type, payload}');
SELECT memory.declare_table('memory.preferences', 'user', '{user_id, preferences}');
SELECT memory.declare_table('memory.navigation', 'user', '{user_id, path}');
SELECT memory.declare_personal('memory.sessions', '{
    "user_id": "user", "session_id, parent_session_id": "pseudonym:session", "mode": "word", "metadata": "clear",
    "tenant_id, status, started_at, last_activity, expires_at, ended_at": "keep"}');
SELECT memory.declare_personal('memory.events', '{
    "user_id": "user", "session_id": "pseudonym:session", "event_id": "pseudonym:event", "event_type": "word:event_types",
    "payload": "clear", "tenant_id, occurred_at, created_at": "keep"}');
SELECT memory.declare_personal('memory.preferences',
    '{"user_id": "user", "preferences": "clear", "tenant_id, updated_at": "keep"}');
SELECT memory.declare_personal('memory.navigation',
    '{"user_id": "user", "id": "pseudonym:navigation", "path": "clear", "tenant_id, visited_at": "keep"}');
SELECT memory.allow_table('app', 'SELECT, INSERT, UPDATE, DELETE', 'sessions', 'events', 'preferences', 'navigation');

CREATE FUNCTION memory.save_session(
    session_id text, metadata jsonb DEFAULT '{}', mode text DEFAULT 'simple', parent_session_id text DEFAULT NULL,
    ttl interval DEFAULT NULL, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS memory.sessions
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.sessions AS t (tenant_id, user_id, session_id, metadata, mode, parent_session_id, expires_at)
    SELECT s.tenant_id, s.subject_id, memory.check_text('session_id', save_session.session_id),
        memory.check_object('metadata', save_session.metadata), memory.check_text('mode', save_session.mode),
        save_session.parent_session_id, statement_timestamp() + memory.check_interval('ttl', save_session.ttl)
    FROM memory.writer(save_session.tenant, save_session.user_id) AS s
    ON CONFLICT (tenant_id, user_id, session_id) DO UPDATE SET
        metadata = t.metadata || excluded.metadata,
        mode = CASE WHEN excluded.mode = 'simple' THEN t.mode ELSE excluded.mode END,
        parent_session_id = coalesce(t.parent_session_id, excluded.parent_session_id),
        last_activity = excluded.last_activity,
        status = 'active',
        ended_at = NULL,
        expires_at = CASE
            WHEN save_session.ttl IS NULL AND t.expires_at > statement_timestamp() THEN t.expires_at
            ELSE excluded.expires_at
        END
    RETURNING t;
END;
COMMENT ON FUNCTION memory.save_session(text, jsonb, text, text, interval, text, text) IS
    'Creates a session, or merges metadata into it key by key (top level) and moves last_activity; a mode other than the '
    'default simple replaces the old one, parent_session_id is filled in if it was NULL. ttl: from now on; NULL leaves an expiry that is still to come. Brings a session '
    'that ended or expired back. Gives the row. metadata no object or '''' as session_id 22023, NULL 22004.';

CREATE FUNCTION memory.get_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS SETOF memory.sessions
LANGUAGE sql STABLE ROWS 1
BEGIN ATOMIC
    SELECT t
    FROM memory.subject(get_session.tenant, get_session.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
        AND t.session_id = memory.check_text('session_id', get_session.session_id)
    WHERE (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        AND memory.subject(get_session.tenant, get_session.user_id) IS NOT NULL
        AND memory.note_read('get_session', get_session.tenant, get_session.user_id)
        AND memory.check_text('session_id', get_session.session_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.get_session(text, text, text) IS
    'The hot session, or no row where there is none or it has expired.';

CREATE FUNCTION memory.end_session(session_id text, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH ended AS (
        UPDATE memory.sessions AS t
        SET status = 'ended', ended_at = coalesce(t.ended_at, statement_timestamp()), last_activity = statement_timestamp()
        FROM memory.writer(end_session.tenant, end_session.user_id) AS s
        WHERE t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
            AND t.session_id = memory.check_text('session_id', end_session.session_id)
            AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        RETURNING 1
    )
    SELECT memory.check_found((SELECT count(*) > 0 FROM ended), 'session', end_session.session_id)
    WHERE memory.subject(end_session.tenant, end_session.user_id) IS NOT NULL
        AND memory.check_text('session_id', end_session.session_id) IS NOT NULL;
END;
COMMENT ON FUNCTION memory.end_session(text, text, text) IS
    'Ends a session: the next run_archival() moves it. Ending it again changes nothing but last_activity. An unknown or expired '
    'one is P0002.';

CREATE FUNCTION memory.list_sessions(
    status text DEFAULT NULL, max_sessions integer DEFAULT 100, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.sessions
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t
    FROM memory.scope(list_sessions.tenant, list_sessions.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id BETWEEN s.user_low AND s.user_high
    WHERE (list_sessions.status IS NULL OR t.status = list_sessions.status)
        AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        AND memory.scope(list_sessions.tenant, list_sessions.user_id) IS NOT NULL
        AND memory.note_read('list_sessions', list_sessions.tenant, list_sessions.user_id)
        AND (list_sessions.status IS NULL OR memory.check_word('status', list_sessions.status, '{active, ended}') IS NOT NULL)
    ORDER BY t.last_activity DESC, t.user_id, t.session_id
    LIMIT memory.check_positive('max_sessions', list_sessions.max_sessions);
END;
COMMENT ON FUNCTION memory.list_sessions(text, integer, text, text) IS
    'Hot sessions, latest activity first: of the user, or of the whole tenant in a service context. status: active, ended, or NULL '
    'for both; another word is 22023. Costs a sort of all that the call covers.';

CREATE FUNCTION memory.log_event(
    session_id text, event_type text, payload jsonb, event_id text DEFAULT NULL, occurred_at timestamptz DEFAULT now(),
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS text
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'log_event_wrapper';
COMMENT ON FUNCTION memory.log_event(text, text, jsonb, text, timestamptz, text, text) IS
    'Logs an event and gives its id (event_id NULL: a new UUIDv7). A missing session is created; one that ended or expired comes back. '
    'An event_id that the session has already, hot or archived, changes nothing, so a retry is safe. An event_type that is no word of '
    'event_types, a payload that is no object or an empty id is 22023; NULL in one of the first three 22004; a payload above '
    'memory.max_payload_size 54000. Costs little more than the INSERT; with an event_id one look into the archive besides.';

CREATE FUNCTION memory.log_events(
    session_id text, events jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'log_events_wrapper';
COMMENT ON FUNCTION memory.log_events(text, jsonb, text, text) IS
    'Logs an array of objects {event_type, payload, event_id, occurred_at} (the last two may be missing) into one session, and '
    'gives how many are new. Same rules as log_event(); of duplicates inside the batch the first counts. What is wrong is 22023 and '
    'names the element, counted from 1; then nothing is stored.';

CREATE TRIGGER encrypt BEFORE INSERT OR UPDATE ON memory.events FOR EACH ROW
    WHEN (memory.encrypts(NEW.tenant_id) OR NEW.payload ? '_encrypted')
    EXECUTE FUNCTION memory.encrypt_row('payload', 'event', 'session_id', 'event_id');
COMMENT ON TRIGGER encrypt ON memory.events IS 'Encrypts the payload, where the tenant has that.';

CREATE FUNCTION memory.readable_events(event memory.events) RETURNS memory.events
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT CASE WHEN (readable_events.event).payload ? '_encrypted' THEN jsonb_populate_record(readable_events.event, jsonb_build_object('payload',
        memory.decrypted((readable_events.event).tenant_id, (readable_events.event).user_id, 'event', (readable_events.event).session_id, (readable_events.event).event_id,
            (readable_events.event).payload))) ELSE readable_events.event END;
END;
COMMENT ON FUNCTION memory.readable_events(memory.events) IS 'Internal: the event with its payload decrypted, if it is encrypted.';
SELECT memory.allow('app', 'readable_events');

CREATE FUNCTION memory.get_events(
    session_id text, event_types text[] DEFAULT NULL, since timestamptz DEFAULT NULL, max_events integer DEFAULT 1000,
    tenant text DEFAULT NULL, user_id text DEFAULT NULL
) RETURNS SETOF memory.events
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT memory.readable_events(e)
    FROM memory.scope(get_events.tenant, get_events.user_id) AS s
    JOIN memory.sessions AS t ON t.tenant_id = s.tenant_id AND t.user_id BETWEEN s.user_low AND s.user_high
        AND t.session_id = memory.check_text('session_id', get_events.session_id)
        AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
    JOIN memory.events AS e ON e.tenant_id = t.tenant_id AND e.user_id = t.user_id AND e.session_id = t.session_id
    WHERE (get_events.event_types IS NULL OR e.event_type = ANY (get_events.event_types))
        AND e.occurred_at >= coalesce(get_events.since, '-infinity')
        AND memory.scope(get_events.tenant, get_events.user_id) IS NOT NULL
        AND memory.note_read('get_events', get_events.tenant, get_events.user_id)
        AND memory.check_text('session_id', get_events.session_id) IS NOT NULL
    ORDER BY e.occurred_at, e.event_id, e.user_id
    LIMIT memory.check_positive('max_events', get_events.max_events);
END;
COMMENT ON FUNCTION memory.get_events(text, text[], timestamptz, integer, text, text) IS
    'The session''s hot events, oldest first (by occurred_at, then event_id): the oldest max_events of those at or after since '
    '(NULL: from the start) and of one of event_types (NULL: of any). To page, pass the last occurred_at as since and skip the ids '
    'already seen. None where the session is unknown or has expired. What is archived: replay_session().';

CREATE FUNCTION memory.set_preferences(preferences jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.preferences AS t (tenant_id, user_id, preferences)
    SELECT s.tenant_id, s.subject_id, memory.check_object('preferences', set_preferences.preferences)
    FROM memory.writer(set_preferences.tenant, set_preferences.user_id) AS s
    ON CONFLICT (tenant_id, user_id) DO UPDATE
        SET preferences = t.preferences || excluded.preferences, updated_at = excluded.updated_at
    RETURNING t.preferences;
END;
COMMENT ON FUNCTION memory.set_preferences(jsonb, text, text) IS
    'Merges an object into the user''s preferences key by key (top level) and gives the result. No object is 22023.';

CREATE FUNCTION memory.get_preferences(tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(t.preferences, '{}')
    FROM memory.subject(get_preferences.tenant, get_preferences.user_id) AS s
    LEFT JOIN memory.preferences AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
    WHERE memory.note_read('get_preferences', get_preferences.tenant, get_preferences.user_id);
END;
COMMENT ON FUNCTION memory.get_preferences(text, text) IS 'The user''s preferences; {} where none were set.';

-- Trimming skips what another call is removing just now: two calls of one user neither wait for each other nor deadlock.
CREATE FUNCTION memory.record_navigation(path text, tenant text DEFAULT NULL, user_id text DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO memory.navigation (tenant_id, user_id, path)
    SELECT s.tenant_id, s.subject_id, memory.check_text('path', record_navigation.path)
    FROM memory.writer(record_navigation.tenant, record_navigation.user_id) AS s;
    DELETE FROM memory.navigation AS t
    USING (
        SELECT n.tenant_id, n.user_id, n.id
        FROM memory.navigation AS n
        JOIN (
            SELECT o.tenant_id, o.user_id, o.id
            FROM memory.subject(record_navigation.tenant, record_navigation.user_id) AS s
            JOIN memory.navigation AS o ON o.tenant_id = s.tenant_id AND o.user_id = s.subject_id
            ORDER BY o.visited_at DESC, o.id DESC
            OFFSET coalesce(pg_catalog.current_setting('memory.navigation_limit', true)::integer, 100)
        ) AS old ON n.tenant_id = old.tenant_id AND n.user_id = old.user_id AND n.id = old.id
        WHERE memory.may_remove(n.tenant_id, n.user_id)
        FOR UPDATE OF n SKIP LOCKED
    ) AS trimmed
    WHERE t.tenant_id = trimmed.tenant_id AND t.user_id = trimmed.user_id AND t.id = trimmed.id;
END;
COMMENT ON FUNCTION memory.record_navigation(text, text, text) IS
    'Notes that the user is at a place now, and drops the user''s steps beyond the newest memory.navigation_limit, '
    'unless a legal hold stands.';

CREATE FUNCTION memory.get_navigation(max_entries integer DEFAULT 100, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (path text, visited_at timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t.path, t.visited_at
    FROM memory.subject(get_navigation.tenant, get_navigation.user_id) AS s
    JOIN memory.navigation AS t ON t.tenant_id = s.tenant_id AND t.user_id = s.subject_id
    WHERE memory.subject(get_navigation.tenant, get_navigation.user_id) IS NOT NULL
        AND memory.note_read('get_navigation', get_navigation.tenant, get_navigation.user_id)
    ORDER BY t.visited_at DESC, t.id DESC
    LIMIT least(memory.check_positive('max_entries', get_navigation.max_entries),
        coalesce(pg_catalog.current_setting('memory.navigation_limit', true)::integer, 100));
END;
COMMENT ON FUNCTION memory.get_navigation(integer, text, text) IS
    'Where the user has been, newest first: at most max_entries and memory.navigation_limit.';

SELECT memory.allow('app', 'save_session', 'get_session', 'end_session', 'list_sessions', 'log_event', 'log_events', 'get_events',
    'set_preferences', 'get_preferences', 'record_navigation', 'get_navigation');
