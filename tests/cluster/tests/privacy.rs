//! The marker test: a user's data holds random strings wherever text can stand; after the user is anonymised, or erased, the
//! database holds neither one of them nor the user's id. Statistics stay, and so does every row of everybody else.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cluster::marker::Markers;
use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, lines};

const USER: &str = "the-one-who-leaves";

/// Through every function that stores, and by hand what those do not let through; `USER` stands for the user's id.
const STORE: &str = r#"
SELECT memory.import_user_data('{"version": 1, "user_id": "USER", "relations": {
    "sessions": [{"session_id": "@1", "mode": "@", "status": "active", "parent_session_id": "@", "metadata": {"@": "@"},
        "started_at": "2026-01-01", "last_activity": "2026-01-01", "expires_at": null, "ended_at": null}],
    "events": [{"session_id": "@1", "event_id": "@", "event_type": "log", "occurred_at": "2026-01-01", "payload": {"@": "@"}, "created_at": "2026-01-01"}],
    "navigation": [{"id": "00000000-0000-7000-8000-000000000001", "path": "@", "visited_at": "2026-01-01"}]}}');
SELECT memory.refuse_privacy_request(memory.request_privacy('anonymize', 'USER'), '@'), memory.request_privacy('erase', 'USER');
SELECT memory.save_session('@1', '{"@": {"@": ["@"]}}', '@', '@2', user_id => 'USER');
SELECT memory.save_session('@2', '{"@": "@"}', '@', user_id => 'USER');
SELECT memory.log_event('@1', 'message_user', '{"@": "@", "deep": [{"@": "@"}]}', '@', user_id => 'USER');
SELECT memory.log_events('@1', '[{"event_type": "log", "event_id": "@", "payload": {"@": "@"}}, {"event_type": "log", "payload": {"@": 1}}]', user_id => 'USER');
SELECT memory.log_event('@3', 'action', '{"@": "@"}', '@', user_id => 'USER');
SELECT memory.save_session('@3', '{"@": "@"}', '@', user_id => 'USER');
SELECT memory.end_session('@3', user_id => 'USER');
SELECT memory.lift_legal_hold(memory.place_legal_hold('USER', '@'));
SELECT memory.run_archival();
SELECT memory.log_event('@3', 'action', '{"@": "@"}', '@', user_id => 'USER');
SELECT memory.save_session('@4', '{"@": "@"}', '@', ttl => '1 microsecond', user_id => 'USER');
SELECT memory.set_preferences('{"@": "@", "list": ["@"]}', user_id => 'USER');
SELECT memory.record_navigation('/@/@', user_id => 'USER'), memory.record_navigation('@', user_id => 'USER');
SELECT memory.set_user_metadata('{"@": "@"}', user_id => 'USER');
SELECT memory.encrypt_field('USER', '@', 'no marker: it stands nowhere'), memory.encrypt_field('USER', '@', '');
SELECT memory.store_node('{"@": "@", "entity_id": "@5", "entity_system": "@6", "entity_type": "@", "entity_data": {"@": "@"}}', 'domain_entity',
    '@ @', '{@, @}', '{"@": "@"}', session_id => '@1', user_id => 'USER');
SELECT memory.store_node('{"@": "@", "entity_id": "@5", "entity_system": "@6"}', 'domain_entity', '@', '{@}', '{"@": "@"}', user_id => 'USER');
SELECT memory.store_nodes('[{"content": {"@": "@", "entity_id": "@", "entity_system": "@"}, "context_type": "knowledge_atom", "summary": "@", "tags": ["@"], "metadata": {"@": "@"}, "session_id": "@"},
    {"content": {"text": "@"}, "context_type": "conversation_fact"}]', user_id => 'USER');
SELECT memory.store_node('{"@": "@"}', 'temporary_state', '@', expires_at => now() - interval '1 hour', valid_from => now() - interval '1 day', user_id => 'USER');
SELECT memory.store_relationship(a.node_id, b.node_id, 'relates_to', 0.5, '{"@": "@"}', user_id => 'USER')
    FROM memory.nodes a, memory.nodes b WHERE a.user_id = 'USER' AND b.user_id = 'USER' AND a.expires_at IS NULL AND b.expires_at IS NULL;
SELECT memory.store_embeddings(s.model, array_agg(n.node_id ORDER BY n.node_id), array_agg('[0.4242,0.2424]'::vector), user_id => 'USER')
    FROM memory.nodes n, memory.embedding_spaces s WHERE n.user_id = 'USER' GROUP BY s.model;
SELECT memory.store_embedding('model', (SELECT min(node_id::text)::uuid FROM memory.nodes WHERE user_id = 'USER'), '[0.4343,0.3434]', 'query', user_id => 'USER');
SELECT memory.end_relationship((SELECT id FROM memory.relationships WHERE user_id = 'USER' ORDER BY id LIMIT 1), user_id => 'USER');
SELECT memory.end_node((SELECT node_id FROM memory.nodes WHERE user_id = 'USER' ORDER BY node_id LIMIT 1), user_id => 'USER');
SELECT memory.delete_nodes(ARRAY[memory.store_node('{"@": "@"}', 'tool_output', '@', user_id => 'USER')], user_id => 'USER');
SELECT memory.archive_session('acme', 'USER', '@', '{"@": "@", "_tenant": 1}');
SELECT memory.archive_event('acme', 'USER', '@', '@', '@', now(), '{"@": "@"}');
SELECT memory.archive_sessions('[{"user_id": "USER", "session_id": "@", "payload": {"@": "@"}}]');
SELECT memory.archive_events('[{"user_id": "USER", "session_id": "@", "event_id": "@", "event_type": "@", "timestamp": "2026-01-01", "payload": {"@": "@"}}]');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
    SELECT tenant_id, user_id, session_id, '@', 'log', '{"@": "@"}' FROM memory.sessions WHERE user_id = 'USER';
DELETE FROM memory.events WHERE user_id = 'USER' AND event_type = 'log';
UPDATE memory.events SET event_type = '@' WHERE user_id = 'USER' AND event_type = 'message_user';
UPDATE memory.nodes SET context_type = '@' WHERE user_id = 'USER' AND context_type = 'conversation_fact';
UPDATE memory.relationships SET relationship_type = '@8' WHERE user_id = 'USER';
UPDATE memory.preferences SET preferences = '{"@": "@"}' WHERE user_id = 'USER';
SELECT memory.record_navigation('@', user_id => 'USER');
SELECT memory.store_node('{"@": "@"}', 'tool_output', '@9', user_id => 'USER');
UPDATE memory.nodes SET user_id = 'given-away', content = '{}', summary = NULL WHERE user_id = 'USER' AND summary = '@9';
UPDATE memory.navigation SET user_id = 'given-away', path = '' WHERE user_id = 'USER' AND id = (SELECT max(id::text)::uuid FROM memory.navigation WHERE user_id = 'USER');
SELECT memory.set_security_context('acme', 'USER', '@7', is_local => false);
SELECT memory.store_node('{"@": "@"}', 'knowledge_atom'), memory.log_event('@7', 'log', '{"@": "@"}', '@');
SET application_name = '@';
SELECT memory.set_preferences('{"@": "@"}');
DO $$ BEGIN PERFORM memory.get_preferences(user_id => 'somebody-else'); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
RESET application_name;
SELECT memory.set_security_context('acme', 'somebody-else', is_local => false);
DO $$ BEGIN PERFORM memory.get_preferences(user_id => 'USER'); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
SELECT memory.set_security_context('acme', service_name => 'backend', is_local => false)
"#;

/// What statistics ask: counts by type, day, tier, mode; degrees.
const STATISTICS: &str = "
SELECT concat_ws(' ', 'events', occurred_at::date, count(*)) FROM memory.events WHERE USERS GROUP BY event_type, occurred_at::date
UNION ALL SELECT concat_ws(' ', 'archived', occurred_at::date, count(*)) FROM memory.agent_events_archive WHERE USERS GROUP BY event_type, occurred_at::date
UNION ALL SELECT concat_ws(' ', 'archived sessions', count(*)) FROM memory.agent_sessions_archive WHERE USERS
UNION ALL SELECT concat_ws(' ', 'sessions', status, count(*), count(parent_session_id), min(started_at)) FROM memory.sessions WHERE USERS GROUP BY mode, status
UNION ALL SELECT concat_ws(' ', 'events of a session', count(*)) FROM memory.events WHERE USERS GROUP BY session_id
UNION ALL SELECT concat_ws(' ', 'nodes', tier, created_at::date, sum(access_count), count(*), count(entity_id))
    FROM memory.nodes WHERE USERS GROUP BY context_type, tier, created_at::date
UNION ALL SELECT concat_ws(' ', 'nodes of a session', count(*)) FROM memory.nodes WHERE USERS GROUP BY session_id
UNION ALL SELECT concat_ws(' ', 'degree', out, inward, valid_to) FROM (SELECT valid_to,
    (SELECT count(*) FROM memory.relationships r WHERE r.from_node_id = n.node_id AND r.valid_to IS NULL) AS out,
    (SELECT count(*) FROM memory.relationships r WHERE r.to_node_id = n.node_id) AS inward FROM memory.nodes n WHERE USERS) d
UNION ALL SELECT concat_ws(' ', 'navigation', count(*)) FROM memory.navigation WHERE USERS
UNION ALL SELECT concat_ws(' ', 'audit', operation, table_name, sum(row_count)) FROM memory.audit_log WHERE USERS GROUP BY operation, table_name
ORDER BY 1";

/// Every row of everybody else, byte for byte.
const OTHERS: &str = "
SELECT format('SELECT %L, count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM memory.%I t WHERE user_id = ANY (''{bob,cat,somebody-else}'')', relname, relname)
FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attname = 'user_id'
WHERE relnamespace = 'memory'::regnamespace AND relkind = 'r' AND relname <> 'security_violations' ORDER BY 1";

/// A database in which the user has left a marker everywhere, and two others have data too.
fn filled(cluster: &Cluster, database: &str) -> (Client, Markers) {
    cluster.create_database(database);
    let mut client = cluster.connect(database, SUPERUSER);
    client
        .batch_execute(
            "INSERT INTO memory.tenants (slug) VALUES ('acme'), ('globex');
             SELECT memory.create_embedding_space('model', 2), memory.create_embedding_space('other model', 2)",
        )
        .unwrap();
    client
        .batch_execute("SELECT memory.set_security_context('acme', service_name => 'backend', is_local => false)")
        .unwrap();
    let mut markers = Markers::default();
    let story = markers.fill(STORE);
    for (user, story) in [
        (USER, story),
        ("bob", Markers::default().fill(STORE)),
        ("cat", Markers::default().fill(STORE)),
    ] {
        for statement in story.replace("USER", user).split(";\n") {
            // A violation is written by a process of its own, so not in a block.
            client
                .batch_execute(statement)
                .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }
    assert!(markers.all.len() > 100, "{} markers", markers.all.len());
    client.batch_execute("SELECT memory.seal_audit_log()").unwrap();
    for read in [
        "SET memory.log_reads = full",
        &format!("SELECT memory.get_preferences(user_id => '{USER}')"),
        "SELECT memory.flush_data_access_log()",
    ] {
        client.batch_execute(read).unwrap();
    }
    let read = format!("SELECT count(*) FROM memory.data_access_log WHERE user_id = '{USER}'");
    assert_eq!(lines(&mut client, &read), ["1"]);
    client.batch_execute("ANALYZE").unwrap();
    (client, markers)
}

/// What is left of the user in a dump, and in the planner's statistics.
fn residue(cluster: &Cluster, client: &mut Client, database: &str, markers: &Markers) -> Vec<String> {
    client.batch_execute("VACUUM FULL").unwrap();
    client.batch_execute("CHECKPOINT").unwrap();
    let dump = cluster.pg_dump(&["-d", database]);
    let statistics = lines(
        client,
        "SELECT starelid::regclass, staattnum, stavalues1, stavalues2, stavalues3, stavalues4, stavalues5 FROM pg_statistic",
    )
    .join("\n");
    let known = markers.all.iter().map(String::as_str).chain([USER]);
    known
        .filter(|text| dump.contains(text) || statistics.contains(text))
        .map(str::to_owned)
        .collect()
}

/// The ids of the user's nodes, those that were deleted too; what was given away is somebody else's under the same id.
fn nodes(client: &mut Client) -> Vec<String> {
    let sql = format!(
        "SELECT DISTINCT row_key ->> 'node_id' FROM memory.audit_log WHERE table_name = 'nodes' AND user_id = '{USER}' AND row_key IS NOT NULL
         EXCEPT SELECT node_id::text FROM memory.nodes WHERE user_id <> '{USER}'"
    );
    lines(client, &sql)
}

/// What the history says of all nodes that are there, and of these.
fn history(client: &mut Client, nodes: &[String]) -> Vec<String> {
    let sql = format!(
        "SELECT h.*, memory.node_as_of(i.id, h.changed_at), c.* FROM (SELECT node_id AS id FROM memory.nodes UNION SELECT unnest('{{{}}}'::uuid[])) AS i,
             memory.node_history(i.id) AS h, memory.node_changes(i.id) AS c",
        nodes.join(",")
    );
    lines(client, &sql)
}

fn others(client: &mut Client) -> Vec<String> {
    let queries = lines(client, OTHERS);
    assert!(queries.len() >= 10, "{queries:?}");
    queries.iter().flat_map(|query| lines(client, query)).collect()
}

/// How many vectors are nobody else's.
fn vectors(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT count(*) FROM memory.embeddings WHERE user_id NOT IN ('bob', 'cat')",
    )
}

fn statistics(client: &mut Client, users: &str) -> Vec<String> {
    lines(client, &STATISTICS.replace("USERS", users))
}

#[test]
fn after_anonymising_no_marker_is_left_and_statistics_stay() {
    let cluster = Cluster::new("anonymise");
    let (mut client, markers) = filled(&cluster, "d");
    let everyone = "user_id <> ''";
    // Those who are neither the user nor anybody else: who the user has become.
    let became = "user_id LIKE 'anon-%'";
    let before = (
        residue(&cluster, &mut client, "d", &markers).len(),
        others(&mut client),
        statistics(&mut client, &format!("user_id = '{USER}'")),
        statistics(&mut client, everyone).len(),
    );
    assert_eq!(before.0, markers.all.len() + 1, "every marker was stored");
    // A document without words is its head.
    let words = "SELECT count(*) FROM memory.search_documents WHERE length(terms) > 8 AND NOT user_id = ANY ('{bob,cat,somebody-else}')";
    assert_ne!(lines(&mut client, words), ["0"]);
    let old_nodes = nodes(&mut client);
    let known = history(&mut client, &old_nodes).join("\n");
    let told = markers.all.iter().filter(|marker| known.contains(*marker)).count();
    assert!(
        told > 30 && old_nodes.len() > 5,
        "the history tells {told} markers of {} nodes",
        old_nodes.len()
    );
    assert_ne!(vectors(&mut client), ["0"]);
    let changed = lines(
        &mut client,
        &format!("SELECT * FROM memory.anonymize_user_data('{USER}')"),
    );
    assert!(
        changed.iter().filter(|line| !line.ends_with("|0")).count() >= 11,
        "{changed:?}"
    );
    assert_eq!(residue(&cluster, &mut client, "d", &markers), Vec::<String>::new());
    let proof = "SELECT bool_and(ok), count(seal) > 0 FROM memory.verify_audit_log()";
    assert_eq!(lines(&mut client, proof), ["t|t"], "redaction keeps the proof");
    assert_eq!(others(&mut client), before.1);
    let known = history(&mut client, &old_nodes).join("\n");
    assert!(known.contains("anon-"), "whom the user has become has nodes");
    for text in markers
        .all
        .iter()
        .map(String::as_str)
        .chain([USER])
        .chain(old_nodes.iter().map(String::as_str))
    {
        assert!(!known.contains(text), "the history still tells {text}");
    }
    assert_eq!(vectors(&mut client), ["0"]);
    assert_eq!(lines(&mut client, words), ["0"]);
    assert_eq!(statistics(&mut client, became), before.2);
    let pseudonyms = lines(
        &mut client,
        "SELECT count(DISTINCT user_id) FROM (SELECT user_id FROM memory.sessions UNION SELECT user_id FROM memory.audit_log
            UNION SELECT user_id FROM memory.nodes UNION SELECT actor_user_id FROM memory.audit_log
            UNION SELECT user_id FROM memory.privacy_requests UNION SELECT user_id FROM memory.security_violations) u WHERE user_id LIKE 'anon-%'",
    );
    assert_eq!(pseudonyms, ["1"]);
    // The log says how much, not what.
    let logged = lines(
        &mut client,
        "SELECT a.table_name, a.row_count FROM memory.audit_log a
         WHERE a.transaction_id = (SELECT max(transaction_id::text::bigint)::text::xid8 FROM memory.audit_log) AND a.changes IS NULL ORDER BY 1",
    );
    // What is derived is not audited.
    let audited: Vec<String> = changed
        .into_iter()
        .filter(|line| !line.ends_with("|0") && !line.starts_with("search_documents|"))
        .collect();
    assert_eq!(logged, audited);
    let again = lines(
        &mut client,
        &format!("SELECT * FROM memory.anonymize_user_data('{USER}') WHERE rows > 0"),
    );
    assert_eq!(again, Vec::<String>::new());
}

#[test]
fn after_erasing_no_marker_is_left_and_nobody_else_loses_a_byte() {
    let cluster = Cluster::new("erase");
    let (mut client, markers) = filled(&cluster, "d");
    let before = others(&mut client);
    let exported = lines(
        &mut client,
        &format!("SELECT relation, count(*) FROM memory.export_user_data('{USER}') GROUP BY 1 ORDER BY 1"),
    );
    let export = lines(
        &mut client,
        &format!("SELECT record FROM memory.export_user_data('{USER}')"),
    )
    .join("\n");
    for marker in &markers.all {
        assert!(export.contains(marker), "{marker} is not in the export");
    }
    let old_nodes = nodes(&mut client);
    let erased = lines(&mut client, &format!("SELECT * FROM memory.erase_user_data('{USER}')"));
    let known = history(&mut client, &old_nodes).join("\n");
    assert!(
        old_nodes.iter().all(|node| !known.contains(node)),
        "the history knows an erased node"
    );
    let erased: Vec<String> = erased.into_iter().filter(|line| !line.ends_with("|0")).collect();
    assert_eq!(erased, exported);
    assert_eq!(residue(&cluster, &mut client, "d", &markers), Vec::<String>::new());
    let proof = "SELECT bool_and(ok), count(seal) > 0 FROM memory.verify_audit_log()";
    assert_eq!(lines(&mut client, proof), ["t|t"], "redaction keeps the proof");
    assert_eq!(others(&mut client), before);
    assert_eq!(vectors(&mut client), ["0"]);
    let left = lines(
        &mut client,
        "SELECT relation, count(*) FROM memory.export_user_data((SELECT DISTINCT user_id FROM memory.audit_log WHERE user_id LIKE 'anon-%')) GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(
        left.len(),
        4,
        "only the redacted logs, requests and violations are left: {left:?}"
    );
}

#[test]
fn a_failure_in_the_middle_changes_nothing() {
    let cluster = Cluster::new("privfail");
    let (mut client, _) = filled(&cluster, "d");
    let everything = "SELECT format('SELECT %L, md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM memory.%I t', relname, relname)
        FROM pg_class WHERE relnamespace = 'memory'::regnamespace AND relkind = 'r' ORDER BY 1";
    let all = |client: &mut Client| -> Vec<String> {
        let queries = lines(client, everything);
        queries.iter().flat_map(|query| lines(client, query)).collect()
    };
    let before = all(&mut client);
    client
        .batch_execute(&format!(
            "ALTER TABLE memory.user_metadata ADD CONSTRAINT stop CHECK (user_id NOT LIKE 'anon-%');
             CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'stop'; END $$;
             CREATE TRIGGER stop AFTER DELETE ON memory.user_metadata FOR EACH ROW WHEN (old.user_id = '{USER}') EXECUTE FUNCTION stop()"
        ))
        .unwrap();
    for verb in ["anonymize", "erase"] {
        let failed = client.batch_execute(&format!("SELECT * FROM memory.{verb}_user_data('{USER}')"));
        assert!(failed.is_err(), "{verb} met the obstacle");
        assert_eq!(all(&mut client), before, "{verb} changed something");
    }
    // The flag that lets redaction past the trigger went with the error.
    let refused = client.batch_execute("DELETE FROM memory.audit_log").unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
}

#[test]
fn a_writer_to_the_same_user_waits_and_comes_as_a_new_user() {
    let cluster = Cluster::new("privwrite");
    let (mut client, markers) = filled(&cluster, "d");
    for verb in ["anonymize", "erase", "anonymize", "erase"] {
        let stop = AtomicBool::new(false);
        let written = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for way in 0..4 {
                let (stop, written, cluster) = (&stop, &written, &cluster);
                scope.spawn(move || {
                    let mut writer = cluster.connect("d", SUPERUSER);
                    let context = match way {
                        // A service that names the user, one that is the user and writes by itself, archival beside them.
                        0 => "service_name => 'writer'".to_owned(),
                        _ => format!("'{USER}', 'busy'"),
                    };
                    writer
                        .batch_execute(&format!("SELECT memory.set_security_context('acme', {context}, is_local => false)"))
                        .unwrap();
                    let statement = match way {
                        0 => format!(
                            "SELECT memory.log_event('busy', 'log', '{{\"from\": \"busy\"}}', user_id => '{USER}'), memory.save_session('busy', '{{\"x\": \"busy\"}}', user_id => '{USER}'),
                                    memory.store_node('{{\"entity_id\": \"busy\", \"entity_system\": \"busy\"}}', 'domain_entity', user_id => '{USER}')"
                        ),
                        1 => "SELECT memory.log_event('busy', 'log', '{}'), memory.set_preferences('{\"busy\": 1}'), memory.record_navigation('busy')".to_owned(),
                        2 => "UPDATE memory.sessions SET metadata = metadata || '{\"y\": \"busy\"}' WHERE user_id = memory.current_user_id() AND session_id = 'busy'".to_owned(),
                        _ => "SELECT memory.run_archival('0 seconds', 100)".to_owned(),
                    };
                    while !stop.load(Ordering::Relaxed) {
                        writer
                            .batch_execute(&statement)
                            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(500));
            let before = written.load(Ordering::Relaxed);
            let done = client.batch_execute(&format!("SELECT * FROM memory.{verb}_user_data('{USER}')"));
            std::thread::sleep(Duration::from_millis(300));
            let after = written.load(Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|error| panic!("{verb}: {error:?}"));
            assert!(before > 0 && after > before, "the writers go on: {before}, {after}");
        });
        // What is there now was written later; nothing is mixed of old and new.
        let mixed = lines(
            &mut client,
            "SELECT e.session_id FROM memory.events e LEFT JOIN memory.sessions s USING (tenant_id, user_id, session_id) WHERE s.session_id IS NULL
             UNION ALL SELECT user_id FROM memory.sessions WHERE user_id LIKE 'anon-%' AND (session_id = 'busy' OR metadata <> '{}')
             UNION ALL SELECT user_id FROM memory.audit_log WHERE user_id LIKE 'anon-%' AND (changes IS NOT NULL OR actor_session_id = 'busy')
             UNION ALL SELECT user_id FROM memory.agent_events_archive WHERE user_id LIKE 'anon-%' AND session_id = 'busy'",
        );
        assert_eq!(mixed, Vec::<String>::new());
    }
    // Once more without writers: of all of it nothing is left.
    client
        .batch_execute(&format!("SELECT * FROM memory.erase_user_data('{USER}')"))
        .unwrap();
    assert_eq!(residue(&cluster, &mut client, "d", &markers), Vec::<String>::new());
    let proof = "SELECT bool_and(ok), count(seal) > 0 FROM memory.verify_audit_log()";
    assert_eq!(lines(&mut client, proof), ["t|t"], "redaction keeps the proof");
    assert!(!cluster.pg_dump(&["-d", "d"]).contains("busy"));
}
