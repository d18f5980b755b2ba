//! A streaming standby: every function that reads serves there, every one that writes is refused by PostgreSQL's error for it, and the calls
//! below name every function that somebody may call. Promoted under load, it answers at once for what was replayed before.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use cluster::load::Load;
use cluster::postgres::{Client, SimpleQueryMessage};
use cluster::{Cluster, SUPERUSER};

const FILL: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('acme');
    SELECT memory.create_embedding_space('m', 3), memory.set_retention_policy('nodes', '1 year', 'acme');
    SELECT memory.register_auth_key('k', 'HS256', encode(repeat('k', 32)::bytea, 'base64'), '*');
    SELECT memory.issue_service_token('crawler', 'acme', '{read}', '1 day');
    SELECT memory.set_security_context('acme', 'u', service_name => 'test', is_local => false);
    SELECT memory.store_nodes('[{\"content\": {\"entity_system\": \"s\", \"entity_id\": \"a\"}, \"context_type\": \"domain_entity\", \"summary\": \"one in Berlin\"},
                                {\"content\": {\"entity_system\": \"s\", \"entity_id\": \"b\"}, \"context_type\": \"domain_entity\", \"summary\": \"two\"}]');
    SELECT memory.store_relationship(a.node_id, b.node_id, 'relates_to') FROM memory.nodes a, memory.nodes b WHERE a.entity_id < b.entity_id;
    SELECT memory.store_embedding('m', node_id, '[1,2,3]') FROM memory.nodes;
    SELECT memory.log_events('s', '[{\"event_id\": \"e\", \"event_type\": \"log\", \"payload\": {}}]');
    SELECT memory.log_events('old', '[{\"event_id\": \"e\", \"event_type\": \"log\", \"payload\": {}}]');
    SELECT memory.end_session('old');
    SELECT memory.run_archival();
    SELECT memory.set_preferences('{\"theme\": \"dark\"}'), memory.record_navigation('/home'), memory.set_user_metadata('{\"n\": 1}');
    SELECT memory.set_security_context('acme', service_name => 'test', is_local => false);
    SELECT memory.encrypt_field('u', 'iban', 'secret');
    SELECT memory.request_privacy('export', 'u'), memory.place_legal_hold('held', 'case');
    SELECT memory.seal_audit_log();";

/// Whole statements; what they give is the same on the standby.
const READS: &[&str] = &[
    "audit_head()",
    "decrypt_field((SELECT field_id FROM memory.encrypted_fields LIMIT 1))",
    "export_user_data('u')",
    "export_user_keys()",
    "get_events('s')",
    "get_tenant_memory_usage('acme')",
    "get_navigation()",
    "get_nodes((SELECT array_agg(node_id) FROM memory.nodes))",
    "get_preferences()",
    "get_relationships((SELECT node_id FROM memory.nodes WHERE entity_id = 'a'))",
    "get_session('s')",
    "get_user_metadata()",
    "get_user_stats()",
    "graph_dot((SELECT array_agg(node_id) FROM memory.nodes))",
    "graph_mermaid((SELECT array_agg(node_id) FROM memory.nodes))",
    "list_auth_keys()",
    "list_legal_holds()",
    "list_nodes()",
    "list_privacy_requests()",
    "list_retention_policies()",
    "list_service_tokens()",
    "list_sessions()",
    "nearest_nodes('[3,2,1]', 'm')",
    "node_as_of((SELECT node_id FROM memory.nodes WHERE entity_id = 'a'), now())",
    "node_history((SELECT node_id FROM memory.nodes WHERE entity_id = 'a'))",
    "rank_related((SELECT array_agg(node_id) FROM memory.nodes))",
    "repair_schema()",
    "replay_session('old')",
    "resolve_canonical_tenants('{acme,none,system}')",
    "schema_drift()",
    "schema_fingerprint()",
    "search('berlin', '[1,2,3]', 'm')",
    "search_nodes('berlin')",
    "shortest_path((SELECT node_id FROM memory.nodes WHERE entity_id = 'a'), (SELECT node_id FROM memory.nodes WHERE entity_id = 'b'))",
    "tenant_id('acme')",
    "traverse((SELECT array_agg(node_id) FROM memory.nodes WHERE entity_id = 'a'))",
    "verify_audit_log()",
];

/// Refused on a standby, as anything that writes.
const WRITES: &[&str] = &[
    "anonymize_user_data('u')",
    "apply_retention()",
    "archive_event(NULL, 'u', 's', 'x', 'log', now(), '{}')",
    "archive_events('[{\"tenant\": \"acme\", \"user_id\": \"u\", \"session_id\": \"s\", \"event_id\": \"n\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}]')",
    "archive_old_audit_logs(3000)",
    "archive_session(NULL, 'u', 's', '{}')",
    "archive_sessions('[{\"tenant\": \"acme\", \"user_id\": \"u\", \"session_id\": \"n\", \"payload\": {}}]')",
    "clean_expired()",
    "cleanup_old_nodes('u', 1)",
    "create_embedding_space('n', 3)",
    "delete_nodes((SELECT array_agg(node_id) FROM memory.nodes))",
    "drop_embedding_space('m')",
    "drop_retention_policy('nodes', 'acme')",
    "encrypt_field('u', 'iban', 'secret')",
    "end_node((SELECT node_id FROM memory.nodes WHERE entity_id = 'a'))",
    "end_relationship((SELECT id FROM memory.relationships))",
    "end_session('s')",
    "erase_user_data('u')",
    "grant_access('replica_reader', 'app')",
    "import_user_data(memory.export_user_document('u'), user_id => 'v')",
    "import_user_keys((SELECT k FROM memory.export_user_keys() k))",
    "index_embeddings()",
    "issue_service_token('crawler', 'acme', '{read}', '1 day')",
    "lift_legal_hold((SELECT hold_id FROM memory.list_legal_holds()))",
    "log_event('s', 'log', '{}')",
    "log_performance_metric('acme', 'search', 'took', 1, 'ms')",
    "log_events('s', '[{\"event_type\": \"log\", \"payload\": {}}]')",
    "perform_privacy_request((SELECT request_id FROM memory.list_privacy_requests()))",
    "place_legal_hold('v', 'case')",
    "rebuild_search_documents('acme')",
    "record_navigation('/home')",
    "refuse_privacy_request((SELECT request_id FROM memory.list_privacy_requests()), 'why')",
    "refresh_analytics_views()",
    "register_auth_key('n', 'HS256', encode(repeat('n', 32)::bytea, 'base64'), '*')",
    "register_context_type('note', 'own')",
    "register_event_type('note', 'own')",
    "register_relationship_type('note', 'own')",
    "request_privacy('erase', 'v')",
    "revoke_access('replica_reader')",
    "revoke_auth_key('k')",
    "revoke_service_token((SELECT token_id FROM memory.list_service_tokens()))",
    "rotate_master_key()",
    "run_archival()",
    "save_session('s', '{}')",
    "seal_audit_log()",
    "set_preferences('{\"a\": 1}')",
    "set_retention_policy('nodes', '2 years')",
    "set_search_language('acme', 'german')",
    "set_user_metadata('{\"a\": 1}')",
    "store_embedding('m', (SELECT node_id FROM memory.nodes WHERE entity_id = 'a'), '[3,2,1]')",
    "store_embeddings('m', (SELECT array_agg(node_id) FROM memory.nodes WHERE entity_id = 'a'), '{\"[3,2,1]\"}')",
    "store_node('{}', 'domain_entity')",
    "store_nodes('[{\"content\": {}, \"context_type\": \"domain_entity\"}]')",
    "store_relationship((SELECT node_id FROM memory.nodes WHERE entity_id = 'b'), (SELECT node_id FROM memory.nodes WHERE entity_id = 'a'), 'relates_to')",
    "store_relationships((SELECT jsonb_build_array(jsonb_build_object('from_node_id', node_id, 'to_node_id', node_id, 'relationship_type', 'relates_to')) FROM memory.nodes WHERE entity_id = 'a'))",
    "verify()",
    "touch_nodes((SELECT array_agg(node_id) FROM memory.nodes))",
];

/// Serve on both, each with an answer of its own: of the moment, of this server, or about the session.
const OWN_ANSWER: &[&str] = &[
    "current_service_name()",
    "current_session_id()",
    "current_tenant_id()",
    "current_user_id()",
    "detect_security_anomalies()",
    "export_user_document('u')",
    "flush_data_access_log()",
    "health()",
    "metrics()",
    "performance_summary(now() - interval '1 hour')",
    "prometheus_metrics()",
    "run_job('archival')",
    "worker_status()",
    "flush_security_violations()",
    "reset_tenant_cache()",
    "resolve_canonical_tenant('acme')",
    "security_anomalies(now() - interval '1 hour', '1 hour')",
    "tenant_cache_stats()",
    "uuid_v7()",
    "set_security_context('acme', 'u', service_name => 'test')",
    "clear_security_context()",
];

/// What the others call, which nobody calls by itself; what takes tokens, whose own tests call it on standbys; the procedure, which is called
/// below.
const BENEATH: &[&str] = &[
    "archive_scope",
    "audited_tenants",
    "authenticate",
    "authenticate_request",
    "check_context_types",
    "check_direction",
    "check_end",
    "check_found",
    "check_hold",
    "check_interval",
    "check_needed",
    "check_object",
    "check_positive",
    "check_text",
    "check_word",
    "contains_text",
    "context_user_high",
    "context_user_low",
    "counting_since",
    "decrypted",
    "embedding_code",
    "encrypts",
    "holds_at",
    "holds_tags",
    "is_similar",
    "maintain",
    "make_user_key",
    "may_remove",
    "merge_entity",
    "node_changes",
    "node_places",
    "note_job_run",
    "note_read",
    "overlay",
    "privacy_tenant",
    "readable_agent_events_archive",
    "readable_events",
    "readable_nodes",
    "relationship_places",
    "schema_comparison",
    "schema_grants",
    "schema_objects",
    "schema_repair",
    "scope",
    "service_tenant_id",
    "subject",
    "surprise",
    "writer",
];

/// Who asks: a user, a service for all users, a superuser for themselves.
const CONTEXTS: [&str; 3] = [
    "SELECT memory.set_security_context('acme', 'u', service_name => 'test')",
    "SELECT memory.set_security_context('acme', service_name => 'test')",
    "SELECT memory.clear_security_context()",
];

type Answer = Result<Vec<String>, (String, String)>;

/// What a call gives the first who gets an answer, and who that is.
fn first_answer(client: &mut Client, call: &str) -> (usize, Answer) {
    let mut answers = (0..CONTEXTS.len()).map(|context| (context, answer(client, context, call)));
    let first = answers.next().unwrap();
    answers
        .find(|(_, answer)| answer.is_ok())
        .filter(|_| first.1.is_err())
        .unwrap_or(first)
}

/// The rows that a call gives, or its SQLSTATE; with what it does undone.
fn answer(client: &mut Client, context: usize, call: &str) -> Answer {
    client.batch_execute("BEGIN").unwrap();
    client.batch_execute(CONTEXTS[context]).unwrap();
    let given = client.simple_query(&format!("SELECT t::text FROM memory.{call} AS t"));
    client.batch_execute("ROLLBACK").unwrap();
    let rows = given.map_err(|error| {
        let error = error.as_db_error().unwrap_or_else(|| panic!("{call}: {error:?}"));
        (error.code().code().to_owned(), error.message().to_owned())
    })?;
    Ok(rows
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect())
}

/// Waits until the standby has replayed what the primary has written so far.
fn catch_up(primary: &mut Client, standby: &mut Client) {
    let written: String = primary
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .unwrap()
        .get(0);
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    let patience = Instant::now() + Duration::from_secs(30);
    while !standby.query_one(&replayed, &[]).unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < patience, "the standby does not catch up");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_standby_serves_what_reads_and_refuses_what_writes() {
    let primary = Cluster::new("primary");
    primary.create_database("app");
    let mut writer = primary.connect("app", SUPERUSER);
    for statement in FILL.split(";\n") {
        writer
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    writer
        .batch_execute(
            "CREATE ROLE replica_reader; CREATE ROLE everyone;
             SELECT memory.grant_access('everyone', profile) FROM unnest('{app, service, operator, auditor}'::text[]) profile",
        )
        .unwrap();
    let standby = primary.standby("standby", &["hot_standby_feedback = on"]);
    let mut reader = standby.connect("app", SUPERUSER);
    catch_up(&mut writer, &mut reader);
    let mut wrong = Vec::new();
    for call in READS {
        let (who, here) = first_answer(&mut writer, call);
        let there = answer(&mut reader, who, call);
        match (&here, &there) {
            (Ok(_), Ok(_)) if here == there => {}
            _ => wrong.push(format!("{call}: primary {here:?}, standby {there:?}")),
        }
    }
    for call in OWN_ANSWER {
        let (who, here) = first_answer(&mut writer, call);
        if let Err(error) = here.and(answer(&mut reader, who, call)) {
            wrong.push(format!("{call}: {error:?}"));
        }
    }
    for call in WRITES {
        let (who, here) = first_answer(&mut writer, call);
        if let Err(error) = here {
            wrong.push(format!("{call} fails on the primary: {error:?}"));
        }
        match answer(&mut reader, who, call) {
            Err((code, _)) if code == "25006" => {}
            other => wrong.push(format!("{call} on the standby: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Each job that is due is refused by itself, and reported.
    let report: serde_json::Value = reader.query_one("CALL memory.maintain()", &[]).unwrap().get(0);
    let jobs = report.as_object().unwrap();
    assert!(
        !jobs.is_empty() && jobs.values().all(|job| job["rows"] == 0),
        "{report}"
    );
    // What was refused left nothing behind, and the connection serves on.
    assert_eq!(
        answer(&mut reader, 0, "tenant_id('acme')").map(|rows| rows.len()),
        Ok(1)
    );

    let named: BTreeSet<&str> = [READS, WRITES, OWN_ANSWER, BENEATH]
        .iter()
        .flat_map(|calls| calls.iter().map(|call| call.split('(').next().unwrap()))
        .collect();
    let rows = reader
        .query(
            "SELECT DISTINCT proname::text FROM pg_proc p WHERE pronamespace = 'memory'::regnamespace
                 AND has_function_privilege('everyone', p.oid, 'EXECUTE')",
            &[],
        )
        .unwrap();
    let unnamed: Vec<String> = rows
        .iter()
        .map(|row| row.get(0))
        .filter(|name: &String| !named.contains(name.as_str()))
        .collect();
    assert!(unnamed.is_empty(), "what do these do on a standby? {unnamed:?}");
}

/// uuid (as text) of a tenant, where there is one.
fn resolve(client: &mut Client, identifier: &str) -> Option<String> {
    client
        .query_one(
            "SELECT uuid::text FROM memory.resolve_canonical_tenant($1)",
            &[&identifier],
        )
        .unwrap()
        .get(0)
}

/// The primary dies under load and its standby takes over: what was acknowledged is there, and what the standby's cache of tenants held from before
/// (a time to live of a minute) is out of use at once, for old connections as for new ones; so is what is changed by a transaction that was
/// prepared on the old primary, and committed on the new.
#[test]
fn a_promoted_standby_has_what_was_acknowledged_and_no_tenant_of_yesterday() {
    let primary = Cluster::with("promoted", true, &["max_prepared_transactions = 4"]);
    Load::prepare(&primary, "app");
    let mut writer = primary.connect("app", SUPERUSER);
    writer
        .batch_execute("INSERT INTO memory.tenants (slug) SELECT 'old-' || n FROM generate_series(1, 40) n; INSERT INTO memory.tenants (slug) VALUES ('waits')")
        .unwrap();
    let standby = primary.standby(
        "successor",
        &["hot_standby_feedback = on", "max_prepared_transactions = 4"],
    );
    let mut reader = standby.connect("app", SUPERUSER);
    writer
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        .unwrap();
    writer.batch_execute("SELECT pg_reload_conf()").unwrap();
    let slugs: Vec<String> = (1..=40).map(|n| format!("old-{n}")).collect();
    catch_up(&mut writer, &mut reader);
    let load = Load::onto(&primary, "app");
    let promoted = load.beside(4, || {
        load.wait_for(200);
        for slug in &slugs {
            assert!(resolve(&mut reader, slug).is_some());
        }
        writer
            .batch_execute("UPDATE memory.tenants SET slug = replace(slug, 'old-', 'new-') WHERE slug LIKE 'old-%'")
            .unwrap();
        catch_up(&mut writer, &mut reader);
        let stale = slugs.iter().filter(|slug| resolve(&mut reader, slug).is_some()).count();
        assert!(
            stale > 20,
            "only {stale} old answers to be put out of use: nothing was put to the test"
        );
        writer
            .batch_execute(
                "BEGIN; UPDATE memory.tenants SET slug = 'waited' WHERE slug = 'waits'; PREPARE TRANSACTION 'p'",
            )
            .unwrap();
        catch_up(&mut writer, &mut reader);
        load.wait_for(200);
        primary.kill();
        reader.query_one("SELECT pg_promote()", &[]).unwrap();
        let promoted = Instant::now();
        let mut anew = standby.connect("app", SUPERUSER);
        for client in [&mut reader, &mut anew] {
            for slug in &slugs {
                assert_eq!(resolve(client, slug), None, "{slug} is of yesterday");
                assert!(resolve(client, &slug.replace("old", "new")).is_some());
            }
            assert!(resolve(client, "waits").is_some());
            assert_eq!(resolve(client, "waited"), None);
        }
        anew.batch_execute("COMMIT PREPARED 'p'").unwrap();
        for client in [&mut reader, &mut anew] {
            assert_eq!(resolve(client, "waits"), None, "what was prepared before");
            assert!(resolve(client, "waited").is_some());
        }
        assert!(promoted.elapsed() < Duration::from_secs(30), "within the time to live");
        load.turn_to(&standby, "app");
        load.wait_for(200);
        promoted
    });
    println!(
        "{} writes acknowledged, {:?} after promotion; errors {:?}",
        load.writes(),
        promoted.elapsed(),
        load.errors()
    );
    load.verify(&mut reader);
}
