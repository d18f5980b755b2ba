-- Runs before all others: the database that they share.
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;

-- Two tenants; a back end's login (service, of one tenant), the role that it becomes for users (app), an auditor of one tenant, an
-- operator, a role with nothing granted, and one that has every attribute but SUPERUSER and nothing granted.
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'attack-a'), ('00000000-0000-7000-8000-00000000000b', 'attack-b');
CREATE ROLE attack_app LOGIN;
CREATE ROLE attack_service LOGIN IN ROLE attack_app;
CREATE ROLE attack_auditor LOGIN;
CREATE ROLE attack_operator LOGIN;
CREATE ROLE attack_nobody LOGIN;
CREATE ROLE attack_attributes LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS INHERIT;
DO $$
BEGIN
    PERFORM memory.grant_access('attack_app', 'app');
    PERFORM memory.grant_access('attack_service', 'service', '{attack-a}');
    PERFORM memory.grant_access('attack_auditor', 'auditor', '{attack-a}');
    PERFORM memory.grant_access('attack_operator', 'operator');
END
$$;
-- a table with the policy that declare_table() gives
CREATE TABLE attack_notes (
    tenant_id uuid, user_id text COLLATE "C", note text, PRIMARY KEY (tenant_id, user_id, note)
);
ALTER TABLE attack_notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY context ON attack_notes USING (
    tenant_id = memory.current_tenant_id() AND user_id BETWEEN memory.context_user_low() AND memory.context_user_high()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON attack_notes TO attack_app;
INSERT INTO attack_notes VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', 'a1'), ('00000000-0000-7000-8000-00000000000a', 'bob', 'a2'),
    ('00000000-0000-7000-8000-00000000000b', 'alice', 'b1'), ('00000000-0000-7000-8000-00000000000b', 'Ω', 'b2');

-- Every table of users has rows of four: alice and bob in either tenant. What alice of attack-a may see is marked own-, what only her
-- tenant's service may see hidden-, what nobody of attack-a may see secret-.
CREATE TABLE attack_users AS
SELECT ('00000000-0000-7000-8000-00000000000' || t)::uuid AS tenant_id, u AS user_id, m || '-' || u AS marker,
    ('00000000-0000-7000-8000-0000000001' || n)::uuid AS node, ('00000000-0000-7000-8000-0000000002' || n)::uuid AS other
FROM (VALUES ('a', 'alice', 'own', 'aa'), ('a', 'bob', 'hidden', 'ab'), ('b', 'alice', 'secret', 'ba'), ('b', 'bob', 'secret', 'bb'))
    AS v (t, u, m, n);
REVOKE ALL ON attack_users FROM PUBLIC;
INSERT INTO memory.sessions (tenant_id, user_id, session_id, mode, metadata)
SELECT tenant_id, user_id, marker || '-session', marker, jsonb_build_object('m', marker) FROM attack_users;
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
SELECT tenant_id, user_id, marker || '-session', marker || '-event', 'log', jsonb_build_object('m', marker) FROM attack_users;
INSERT INTO memory.preferences (tenant_id, user_id, preferences) SELECT tenant_id, user_id, jsonb_build_object('m', marker) FROM attack_users;
INSERT INTO memory.navigation (tenant_id, user_id, path) SELECT tenant_id, user_id, '/' || marker FROM attack_users;
INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary, tags, metadata, entity_system, entity_id)
SELECT tenant_id, user_id, node, jsonb_build_object('m', marker), 'domain_entity', marker, ARRAY[marker], jsonb_build_object('m', marker),
    'crm', marker FROM attack_users
UNION ALL
SELECT tenant_id, user_id, other, jsonb_build_object('m', marker), 'domain_entity', marker, '{}', '{}', NULL, NULL FROM attack_users;
INSERT INTO memory.relationships (tenant_id, user_id, id, from_node_id, to_node_id, relationship_type, metadata)
SELECT tenant_id, user_id, node, node, other, 'led_to', jsonb_build_object('m', marker) FROM attack_users;
INSERT INTO memory.user_metadata (tenant_id, user_id, metadata) SELECT tenant_id, user_id, jsonb_build_object('m', marker) FROM attack_users;
INSERT INTO memory.agent_sessions_archive (tenant_id, user_id, session_id, payload)
SELECT tenant_id, user_id, marker || '-archived', jsonb_build_object('m', marker, '_tenant', '{}') FROM attack_users;
INSERT INTO memory.agent_events_archive (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
SELECT tenant_id, user_id, marker || '-archived', marker || '-event', 'log', now(), jsonb_build_object('m', marker, '_tenant', '{}')
FROM attack_users;
ANALYZE;
-- where attackers may create what they like
CREATE SCHEMA attack_lab;
GRANT USAGE, CREATE ON SCHEMA attack_lab TO PUBLIC;

-- What an attack tries: statements, one after the other, the last one's rows are looked at.
CREATE TABLE attack_tries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, statements text[] NOT NULL);
GRANT SELECT ON attack_tries TO PUBLIC;
CREATE FUNCTION attack(VARIADIC statements text[]) RETURNS void LANGUAGE sql AS 'INSERT INTO attack_tries (statements) VALUES (statements)';
REVOKE ALL ON FUNCTION attack FROM PUBLIC;
-- Runs each as the caller and rolls it back. Gives how many rows came, or the SQLSTATE; what came, in rows, error text or
-- attack.seen (for functions that tell by the side), where it holds a marker of somebody whom the caller may not see.
CREATE FUNCTION attack_run() RETURNS TABLE (n int, got text, leaked text) LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
    try attack_tries;
    statement text;
    one record;
    rows bigint;
    seen text;
    detail text;
    hint text;
    -- audit images and services are a tenant's; every other role here sees one user at most
    others text := CASE WHEN current_user IN ('attack_service', 'attack_auditor') THEN 'secret-' ELSE 'secret-|hidden-' END;
BEGIN
    FOR try IN SELECT * FROM public.attack_tries AS t ORDER BY t.n LOOP
        BEGIN
            PERFORM set_config('attack.seen', '', false);
            rows := 0;
            seen := '';
            FOREACH statement IN ARRAY try.statements[:cardinality(try.statements) - 1] LOOP EXECUTE statement; END LOOP;
            statement := try.statements[cardinality(try.statements)];
            BEGIN
                FOR one IN EXECUTE statement LOOP
                    rows := rows + 1;
                    seen := seen || one::text;
                END LOOP;
            EXCEPTION WHEN invalid_cursor_definition THEN
                EXECUTE statement;
            END;
            seen := seen || current_setting('attack.seen');
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN OTHERS THEN
            got := rows || ' rows';
            IF sqlstate <> 'ZZ000' THEN
                got := sqlstate;
                GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
                seen := seen || concat_ws(' ', sqlerrm, detail, hint);
            END IF;
        END;
        n := try.n;
        leaked := CASE WHEN seen ~ others THEN seen END;
        RETURN NEXT;
    END LOOP;
END
$$;
-- Runs a statement with each of two values for its ? and rolls it back; a row where answers or errors differ in more than the value and
-- random ids: then one who may see neither is told which of the two is there.
CREATE FUNCTION attack_differ(statement text, there text, missing text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    probes text[] := ARRAY[there, missing];
    probe text;
    told text[] := '{}';
    answer record;
    seen text;
    detail text;
    hint text;
BEGIN
    FOREACH probe IN ARRAY probes LOOP
        seen := '';
        BEGIN
            BEGIN
                FOR answer IN EXECUTE replace(statement, '?', probe) LOOP seen := seen || answer::text; END LOOP;
            EXCEPTION WHEN invalid_cursor_definition THEN
                EXECUTE replace(statement, '?', probe);
            END;
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            seen := concat_ws(' ', seen, sqlstate, sqlerrm, detail, hint);
        END;
        told := told || regexp_replace(replace(seen, probe, '?'), '\m[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\M', '', 'g');
    END LOOP;
    IF told[1] <> told[2] THEN RETURN NEXT 'secret- or not: ' || told[1] || ' / ' || told[2]; END IF;
END
$$;
