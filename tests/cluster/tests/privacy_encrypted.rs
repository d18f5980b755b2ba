//! The marker test of an encrypted tenant: what docs/trust.md says is encrypted stands nowhere, neither in a dump nor in any file of the server, though
//! the functions give it to whoever may read it, by a token too. What is said to stay plain does stand there. After an erasure nothing does.

use std::process::Command;

use cluster::marker::Markers;
use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, lines};

const USER: &str = "the-one-who-hides";

/// Through every function that stores what is encrypted, and by SQL of one's own: `@` is hidden, `~` stays plain, by docs/trust.md.
const STORE: &str = r#"
SELECT memory.import_user_data('{"version": 1, "user_id": "USER", "relations": {
    "sessions": [{"session_id": "~1", "mode": "~", "status": "active", "parent_session_id": "~", "metadata": {"~": "~"},
        "started_at": "2026-01-01", "last_activity": "2026-01-01", "expires_at": null, "ended_at": null}],
    "events": [{"session_id": "~1", "event_id": "~", "event_type": "log", "occurred_at": "2026-01-01", "payload": {"@": "@"}, "created_at": "2026-01-01"}]}}');
SELECT memory.log_event('~2', 'message_user', '{"@": "@", "deep": [{"@": "@"}]}', '~', user_id => 'USER');
SELECT memory.log_events('~2', '[{"event_type": "log", "event_id": "~", "payload": {"@": "@"}}, {"event_type": "log", "payload": {"@": 1}}]', user_id => 'USER');
SELECT memory.log_event('~3', 'action', '{"@": "@"}', '~', user_id => 'USER');
SELECT memory.end_session('~3', user_id => 'USER');
SELECT memory.run_archival();
SELECT memory.log_event('~3', 'action', '{"@": "@"}', '~', user_id => 'USER');
SELECT memory.log_event('~2', 'log', jsonb_build_object('@', repeat('@9 ', 3000)), 'large', user_id => 'USER');
SELECT memory.archive_event('sealed', 'USER', '~3', '~', '~', now(), '{"@": "@"}');
SELECT memory.archive_events('[{"user_id": "USER", "session_id": "~3", "event_id": "~", "event_type": "~", "timestamp": "2026-01-01", "payload": {"@": "@"}}]');
SELECT memory.encrypt_field('USER', '~', '@');
SELECT memory.store_node('{"@": "@", "entity_id": "~5", "entity_system": "~6", "entity_type": "~", "entity_data": {"@": "@"}}', 'domain_entity',
    '~ ~', '{~, ~}', '{"~": "~"}', session_id => '~2', user_id => 'USER');
SELECT memory.store_node('{"@": "@", "entity_id": "~5", "entity_system": "~6", "entity_data": {"@": "@"}}', 'domain_entity', '~', user_id => 'USER');
SELECT memory.store_nodes('[{"content": {"@": "@", "entity_id": "~", "entity_system": "~"}, "context_type": "knowledge_atom", "summary": "~", "tags": ["~"]},
    {"content": {"text": "@ @ and @"}, "context_type": "conversation_fact"}]', user_id => 'USER');
SELECT memory.delete_nodes(ARRAY[memory.store_node('{"@": "@"}', 'tool_output', '~', user_id => 'USER')], user_id => 'USER');
SELECT memory.end_node(memory.store_node('{"@": "@"}', 'temporary_state', '~', user_id => 'USER'), user_id => 'USER');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
    SELECT tenant_id, user_id, session_id, '~', 'log', '{"@": "@"}' FROM memory.sessions WHERE user_id = 'USER';
MERGE INTO memory.events AS e USING (SELECT FROM memory.user_keys LIMIT 1) AS one ON e.user_id = 'USER' AND e.event_type = 'message_user'
    WHEN MATCHED THEN UPDATE SET payload = '{"@": "@"}';
INSERT INTO memory.nodes (tenant_id, user_id, content, context_type) SELECT tenant_id, user_id, '{"@": "@"}', 'tool_output' FROM memory.user_keys WHERE user_id = 'USER';
UPDATE memory.nodes SET content = '{"@": "@"}' WHERE user_id = 'USER' AND context_type = 'tool_output'
"#;

/// The same as the user, by a token; these rows are the user's own to read.
const STORE_BY_TOKEN: &str = r#"
SELECT memory.log_event('own', 'log', '{"text": "@"}');
SELECT memory.log_events('own', '[{"event_type": "log", "payload": {"text": "@"}}]');
INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
    VALUES (memory.current_tenant_id(), memory.current_user_id(), 'own', 'by hand', 'log', '{"text": "@"}');
SELECT memory.store_node('{"text": "@"}', 'conversation_fact', 'told ~');
SELECT memory.store_node('{"text": "@", "entity_id": "1", "entity_system": "own"}', 'domain_entity');
SELECT memory.store_node('{"more": "@", "entity_id": "1", "entity_system": "own"}', 'domain_entity')
"#;

const READ_BY_TOKEN: &str = "
SELECT payload::text FROM memory.get_events('own') UNION ALL SELECT content::text FROM memory.list_nodes()
UNION ALL SELECT content::text FROM memory.search('told') UNION ALL SELECT h.content::text FROM memory.nodes AS n, memory.node_history(n.node_id) AS h";

/// The statements with markers of their own, as (hidden, plain, statements).
fn told(story: &str) -> (Vec<String>, Vec<String>, String) {
    let (mut hidden, mut plain) = (Markers::default(), Markers::default());
    let story = plain.fill(&hidden.fill(story).replace('~', "@")).replace("USER", USER);
    (hidden.all, plain.all, story)
}

fn run(client: &mut Client, story: &str) {
    for statement in story.split(";\n") {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// As the user, by a token with these scopes, in one transaction.
fn by_token<T>(cluster: &Cluster, scope: &str, work: impl FnOnce(&mut Client) -> T) -> T {
    let token: String = cluster
        .connect("d", SUPERUSER)
        .query_one(
            "SELECT mint.token(jsonb_build_object('sub', $1::text, 'scope', $2::text), home => 'sealed')",
            &[&USER, &scope],
        )
        .unwrap()
        .get(0);
    let mut client = cluster.connect("d", "app");
    client.batch_execute("BEGIN").unwrap();
    client.execute("SELECT memory.authenticate($1)", &[&token]).unwrap();
    let done = work(&mut client);
    client.batch_execute("COMMIT").unwrap();
    done
}

/// Those of the texts that stand in a file of the data folder: tables, indexes, WAL, statistics.
fn in_files(cluster: &Cluster, texts: &[String]) -> Vec<String> {
    for flush in ["VACUUM ANALYZE", "CHECKPOINT"] {
        cluster.psql("d", flush);
    }
    let output = Command::new("grep")
        .args([
            "-rhoaFe",
            &texts.join("\n"),
            &format!("{}/data", cluster.socket_folder()),
        ])
        .output()
        .unwrap();
    let mut found: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn in_dump(cluster: &Cluster, texts: &[String]) -> Vec<String> {
    let dump = cluster.pg_dump(&["-d", "d"]);
    texts.iter().filter(|text| dump.contains(*text)).cloned().collect()
}

fn missing(texts: &[String], told: &[String]) -> Vec<String> {
    let told = told.join("\n");
    texts.iter().filter(|text| !told.contains(*text)).cloned().collect()
}

const NONE: [String; 0] = [];

#[test]
fn an_encrypted_tenants_payloads_stand_nowhere_and_an_erasure_leaves_nothing() {
    for verb in ["anonymize", "erase"] {
        let cluster = Cluster::new("sealed");
        cluster.create_database("d");
        let mint = cluster::root().join("tests/data/mint.sql");
        cluster.run("psql", &["-X", "-q", "-d", "d", "-f", &mint.display().to_string()]);
        let mut client = cluster.connect("d", SUPERUSER);
        client
            .batch_execute(
                "INSERT INTO memory.tenants (slug, encryption_enabled) VALUES ('sealed', true), ('open', false);
                 CREATE ROLE app LOGIN;
                 SELECT memory.grant_access('app', 'app');
                 SELECT memory.register_auth_key('k1', 'HS256', mint.secret('a'), 'memory', 'issuer', '{sealed}');
                 SET memory.log_reads = full;",
            )
            .unwrap();
        run(
            &mut client,
            "SELECT memory.set_security_context('sealed', service_name => 'backend', is_local => false)",
        );
        let (mut hidden, mut plain, story) = told(STORE);
        run(&mut client, &story);
        let (own, own_plain, story) = told(STORE_BY_TOKEN);
        by_token(&cluster, "read write", |client| run(client, &story));
        hidden.extend(own.iter().cloned());
        plain.extend(own_plain);
        assert!(
            hidden.len() > 50 && plain.len() > 30,
            "{} and {}",
            hidden.len(),
            plain.len()
        );
        client.batch_execute("SELECT memory.seal_audit_log()").unwrap();

        // Before anything is erased: nowhere. What is documented as plain is found by the same search.
        assert_eq!(in_files(&cluster, &hidden), NONE);
        assert_eq!(in_dump(&cluster, &hidden), NONE);
        let mut sorted = plain.clone();
        sorted.sort();
        assert_eq!(in_files(&cluster, &plain), sorted);
        assert_eq!(in_dump(&cluster, &plain), plain);

        // Whoever may, reads it: the service, but for what was overwritten or deleted; the user.
        let export = lines(
            &mut client,
            &format!("SELECT record FROM memory.export_user_data('{USER}')"),
        );
        let document = lines(&mut client, &format!("SELECT memory.export_user_document('{USER}')"));
        let unread = missing(&hidden, &export);
        assert!(unread.len() < hidden.len() / 5, "the export lacks {unread:?}");
        assert!(missing(&own, &document).is_empty());
        for keys in lines(&mut client, "SELECT encode(wrapped_key, 'hex') FROM memory.user_keys") {
            for told in [&export, &document] {
                let told = told.join("\n");
                assert!(
                    !told.contains(&keys) && !told.contains("wrapped_key"),
                    "an export tells a key"
                );
            }
        }
        assert_eq!(
            missing(&own, &by_token(&cluster, "read", |client| lines(client, READ_BY_TOKEN))),
            NONE
        );

        // And so it stays when it is gone.
        client
            .batch_execute(&format!("SELECT * FROM memory.{verb}_user_data('{USER}')"))
            .unwrap();
        assert_eq!(in_files(&cluster, &hidden), NONE);
        let all: Vec<String> = [hidden, plain, vec![USER.to_owned()]].concat();
        assert_eq!(in_dump(&cluster, &all), NONE, "{verb}");
        assert_eq!(lines(&mut client, "SELECT count(*) FROM memory.user_keys"), ["0"]);
        assert_eq!(
            by_token(&cluster, "read", |client| lines(client, READ_BY_TOKEN)),
            NONE,
            "{verb}: the token's user is another one now, with nothing"
        );
        let proof = "SELECT bool_and(ok)::text FROM memory.verify_audit_log()";
        assert_eq!(lines(&mut client, proof), ["true"]);
    }
}

/// What the test above looks for is found where the tenant is not encrypted.
#[test]
fn a_tenant_that_is_not_encrypted_tells() {
    let cluster = Cluster::new("open");
    cluster.create_database("d");
    let mut client = cluster.connect("d", SUPERUSER);
    client
        .batch_execute("INSERT INTO memory.tenants (slug) VALUES ('sealed');")
        .unwrap();
    run(
        &mut client,
        "SELECT memory.set_security_context('sealed', service_name => 'backend', is_local => false)",
    );
    let (hidden, _, story) = told(STORE);
    run(&mut client, &story);
    let found = in_files(&cluster, &hidden);
    // But the encrypted field, and the long payload, which is compressed.
    assert_eq!(found.len() + 3, hidden.len());
}
