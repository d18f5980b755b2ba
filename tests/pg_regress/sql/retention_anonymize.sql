-- Retention that anonymises: old rows become nobody's, young rows of the same user stay, and nothing ties the two.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000a40a', 'anon-a'), ('00000000-0000-7000-8000-00000000a40b', 'anon-b');
CREATE ROLE anon_service LOGIN;
CREATE ROLE anon_operator LOGIN;
CREATE ROLE anon_auditor LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('anon_service', 'service', '{anon-a, anon-b}');
    PERFORM memory.grant_access('anon_operator', 'operator');
    PERFORM memory.grant_access('anon_auditor', 'auditor', '{anon-a}');
END
$$;
SELECT more FROM memory.run_archival('0', 100000);
SELECT memory.create_embedding_space('anon-model', 2);

\connect - anon_service
CREATE FUNCTION pg_temp.fill(tenant text, who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    PERFORM memory.set_security_context(tenant, who, is_local => false);
    PERFORM memory.log_event(s, 'log', '{"secret": "marker"}', e, now() - a)
    FROM (VALUES ('old', 'e1', interval '40 days'), ('old', 'e2', '40 days'), ('new', 'e3', '40 days'), ('new', 'e4', '1 day')) AS v (s, e, a);
    PERFORM memory.save_session('old', '{"secret": "marker"}');
    UPDATE memory.sessions SET last_activity = now() - interval '40 days' WHERE session_id = 'old';
    UPDATE memory.events SET created_at = now() - interval '40 days' WHERE session_id = 'old';
    -- 1, 2, 3 are old
    SELECT array_agg(node_id ORDER BY ordinality) INTO ids FROM memory.store_nodes((
        SELECT jsonb_agg(jsonb_build_object('content', jsonb_build_object('n', n, 'secret', 'marker', 'entity_id', n, 'entity_system', 'x'),
            'context_type', 'domain_entity', 'summary', 'marker', 'session_id', 'old')) FROM generate_series(1, 4) AS n));
    PERFORM memory.store_relationship(ids[1], ids[2], 'led_to'), memory.store_relationship(ids[2], ids[3], 'depends_on', 0.5, '{"secret": "marker"}'),
        memory.store_relationship(ids[3], ids[4], 'led_to'), memory.store_relationship(ids[4], ids[1], 'led_to'), memory.store_relationship(ids[4], ids[4], 'led_to');
    UPDATE memory.nodes SET created_at = now() - interval '40 days' WHERE content->>'n' IN ('1', '2', '3');
    PERFORM memory.store_embedding('anon-model', ids[1], '[1,0]'), memory.store_embedding('anon-model', ids[4], '[1,0]');
    PERFORM memory.record_navigation('/marker');
    UPDATE memory.navigation SET visited_at = now() - interval '40 days';
    PERFORM memory.record_navigation('/new');
    PERFORM memory.clear_security_context();
    PERFORM memory.set_security_context(tenant, service_name => 'fill', is_local => false);
    PERFORM memory.archive_session(tenant, who, 'gone', '{"secret": "marker"}', now() - interval '50 days', now() - interval '40 days');
    PERFORM memory.archive_event(tenant, who, 'gone', 'a1', 'log', now() - interval '40 days', '{"secret": "marker"}');
END
$$;
SELECT pg_temp.fill(t, u) FROM unnest('{anon-a, anon-b}'::text[]) AS t, unnest('{ann, bob, cid}'::text[]) AS u;

\connect - anon_operator
SELECT FROM memory.place_legal_hold('cid', 'case', 'anon-a');
SELECT memory.set_retention_policy(c, '30 days', 'anon-a', 'anonymize')
FROM unnest('{sessions, events, sessions_archive, events_archive, nodes, navigation, performance_metrics}'::text[]) AS c;
-- one tenant's policy deletes what another's anonymises
SELECT memory.set_retention_policy('nodes', '30 days', action => 'anonymize'), memory.set_retention_policy('nodes', '30 days', 'anon-b');
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention(true);
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention(true, 1);
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention();
-- what_is_nobodys_is_done
SELECT data_class, tenant_id, affected, more FROM memory.apply_retention();

-- old rows are nobody's, whole, and of one shape; young ones are as before
\connect - anon_service
SELECT FROM memory.set_security_context('anon-a', service_name => 'tests', is_local => false);
CREATE TEMP VIEW who AS SELECT 'sessions' AS t, user_id, session_id AS id FROM memory.sessions
    UNION ALL SELECT 'events', user_id, event_id FROM memory.events
    UNION ALL SELECT 'sessions_archive', user_id, session_id FROM memory.agent_sessions_archive
    UNION ALL SELECT 'events_archive', user_id, event_id FROM memory.agent_events_archive
    UNION ALL SELECT 'nodes', user_id, entity_id FROM memory.nodes
    UNION ALL SELECT 'relationships', user_id, relationship_type FROM memory.relationships
    UNION ALL SELECT 'navigation', user_id, path FROM memory.navigation;
SELECT t, regexp_replace(user_id, '^anon-[0-9a-f]{32}$', 'anon') AS who, count(*), count(DISTINCT user_id) AS users,
    array_agg(regexp_replace(id, '^anon-[0-9a-f]{32}$', 'anon') ORDER BY regexp_replace(id, '^anon-[0-9a-f]{32}$', 'anon')) AS ids
FROM who GROUP BY 1, 2 ORDER BY 1, 2;
-- a pseudonym is of one class and one user
SELECT count(*) FROM (SELECT user_id FROM who WHERE user_id ~ '^anon-' AND t NOT IN ('relationships', 'events', 'sessions') GROUP BY 1 HAVING count(DISTINCT t) > 1) AS shared;
SELECT content, summary, entity_system ~ '^anon-' AS system, session_id ~ '^anon-' AS session, context_type, count(*)
FROM memory.nodes WHERE user_id ~ '^anon-' GROUP BY 1, 2, 3, 4, 5;
-- the graph's shape stays among old nodes, and leads to no young one
SELECT r.relationship_type, r.strength, r.metadata, count(*), count(f) AS from_found, count(t) AS to_found FROM memory.relationships AS r
LEFT JOIN memory.nodes AS f ON f.user_id = r.user_id AND f.node_id = r.from_node_id LEFT JOIN memory.nodes AS t ON t.user_id = r.user_id AND t.node_id = r.to_node_id
WHERE r.user_id ~ '^anon-' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT e.event_type, e.payload, s.status, s.metadata, count(*), count(DISTINCT e.session_id) AS sessions FROM memory.events AS e JOIN memory.sessions AS s USING (user_id, session_id)
WHERE e.user_id ~ '^anon-' GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT payload - '_tenant' AS payload, payload->'_tenant'->>'slug' AS slug FROM memory.agent_events_archive WHERE user_id ~ '^anon-';
SELECT count(*) FROM memory.nodes WHERE user_id IN ('ann', 'bob') AND (summary <> 'marker' OR content->>'secret' <> 'marker');
-- no time ties the copy of a session to that session
SELECT count(*) FROM memory.sessions WHERE user_id ~ '^anon-' AND ARRAY[started_at, last_activity] = ARRAY[date_trunc('day', started_at, 'UTC'), date_trunc('day', last_activity, 'UTC')];
-- the user comes as before: an id that became nobody's is free
SELECT memory.log_event('old', 'log', '{}', 'e1', user_id => 'ann');
SELECT created FROM memory.store_nodes('[{"content": {"entity_id": 1, "entity_system": "x"}, "context_type": "domain_entity"}]', user_id => 'ann');
SELECT count(*) FROM memory.export_user_data('ann') WHERE record::text ~ '^anon-';
-- relationships_by_themselves: each gets nodes that are nobody's, theirs stay
SELECT FROM memory.set_security_context('anon-b', service_name => 'tests', is_local => false);
SELECT user_id, count(*) FROM memory.nodes GROUP BY 1 ORDER BY 1;
SELECT FROM memory.store_node('{}', 'knowledge_atom', 'marker', user_id => 'ann');
SELECT memory.store_relationship(a.node_id, b.node_id, 'led_to', user_id => 'ann') IS NOT NULL AS related, memory.store_relationship(b.node_id, a.node_id, 'led_to', user_id => 'ann') IS NOT NULL AS back
FROM memory.nodes AS a JOIN memory.nodes AS b USING (user_id) WHERE a.entity_id IS NULL AND b.entity_id = '4';
UPDATE memory.relationships SET created_at = now() - interval '40 days';
\connect - anon_operator
SELECT memory.set_retention_policy('relationships', '30 days', action => 'anonymize');
SELECT data_class, affected, more FROM memory.apply_retention() WHERE tenant_id = '00000000-0000-7000-8000-00000000a40b';
\connect - anon_service
SELECT FROM memory.set_security_context('anon-b', service_name => 'tests', is_local => false);
SELECT regexp_replace(user_id, '^anon-[0-9a-f]{32}$', 'anon') AS who, count(*), count(summary) AS summaries FROM memory.nodes GROUP BY 1 ORDER BY 1;
SELECT regexp_replace(user_id, '^anon-[0-9a-f]{32}$', 'anon') AS who, relationship_type, count(*) FROM memory.relationships GROUP BY 1, 2 ORDER BY 1;
-- no time ties a copy to what it was copied from
SELECT count(*) FROM memory.nodes AS c JOIN memory.nodes AS o USING (created_at) WHERE c.user_id ~ '^anon-' AND o.user_id !~ '^anon-';
SELECT * FROM (SELECT max(depth) FROM memory.nodes AS n, memory.traverse(ARRAY[n.node_id], user_id => n.user_id) WHERE n.user_id ~ '^anon-') AS walk;

-- the_audit_log_has_counts_and_no_image_of_what_is_nobodys
\connect - anon_auditor
SELECT table_name, operation, sum(row_count), count(row_key) AS keys, count(changes) AS images
FROM memory.audit_log WHERE login_role = 'anon_operator' AND table_name NOT IN ('legal_holds', 'retention_policies') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT table_name, count(*) FROM memory.audit_log WHERE user_id IN ('ann', 'bob') AND changes::text ~ 'marker' GROUP BY 1 ORDER BY 1;

-- the_log_itself: entries lose users, keys, images, address and application
\connect - postgres
ALTER TABLE memory.audit_log DISABLE TRIGGER append_only;
UPDATE memory.audit_log SET changed_at = now() - interval '40 days' WHERE tenant_id = '00000000-0000-7000-8000-00000000a40a' AND user_id = 'ann' AND table_name = 'events';
ALTER TABLE memory.audit_log ENABLE TRIGGER append_only;
SELECT count(*) AS old FROM memory.audit_log WHERE changed_at < now() - interval '30 days' AND tenant_id = '00000000-0000-7000-8000-00000000a40a' \gset
\connect - anon_operator
SELECT memory.set_retention_policy('audit_log', '30 days', 'anon-a', 'anonymize');
SELECT affected = :old AS all_old FROM memory.apply_retention() WHERE data_class = 'audit_log';
SELECT affected FROM memory.apply_retention() WHERE data_class = 'audit_log';
-- what is anonymised is not deleted
SELECT memory.archive_old_audit_logs(0);
\connect - anon_auditor
SELECT count(*) = :old AS all_old, bool_and(user_id ~ '^anon-') AS pseudonym, bool_and(actor_user_id ~ '^anon-') AS actor, count(row_key) AS keys, count(changes) AS images,
    count(application_name) AS applications
FROM memory.audit_log WHERE changed_at < now() - interval '30 days';

\connect - postgres
-- of twelve embeddings, five went with nodes that are nobody's now or deleted
SELECT count(*) FROM memory.audit_log WHERE table_name ~ '^embeddings_anon' AND operation = 'INSERT' AND row_key IS NULL;
DELETE FROM memory.legal_holds;
SELECT memory.drop_embedding_space('anon-model');
DO $$
BEGIN
    DELETE FROM memory.retention_policies;
    DELETE FROM memory.legal_holds;
    DELETE FROM memory.sessions WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b'));
    DELETE FROM memory.agent_sessions_archive WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b'));
    DELETE FROM memory.agent_events_archive WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b'));
    DELETE FROM memory.nodes WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b'));
    DELETE FROM memory.navigation WHERE tenant_id IN (SELECT id FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b'));
    DELETE FROM memory.tenants WHERE slug IN ('anon-a', 'anon-b');
    PERFORM memory.revoke_access(role::regrole) FROM unnest('{anon_service, anon_operator, anon_auditor}'::text[]) AS role;
END
$$;
DROP ROLE anon_service, anon_operator, anon_auditor;
