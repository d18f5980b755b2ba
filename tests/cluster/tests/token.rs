//! Contexts from tokens, from outside: a revocation that was acknowledged counts for every later statement, in sessions beside it, on a server
//! without shared memory and on a standby; parallel workers ask as their leader does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::postgres::error::SqlState;
use cluster::{Cluster, SUPERUSER};

const SETUP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('acme');
    CREATE ROLE app LOGIN;
    SELECT memory.grant_access('app', 'app');
    SELECT memory.log_event('s', 'log', '{}', 'e', tenant => 'acme', user_id => 'ann')";

fn server(label: &str, preload: bool) -> Cluster {
    let cluster = Cluster::with(label, preload, &[]);
    cluster.create_database("app");
    cluster.connect("app", SUPERUSER).batch_execute(SETUP).unwrap();
    cluster
}

fn issue(operator: &mut Client) -> String {
    operator
        .query_one(
            "SELECT memory.issue_service_token('crawler', 'acme', '{read}', '1 hour')",
            &[],
        )
        .unwrap()
        .get(0)
}

fn revoke(operator: &mut Client) {
    operator
        .execute(
            "SELECT memory.revoke_service_token(token_id) FROM memory.list_service_tokens() WHERE revoked_at IS NULL",
            &[],
        )
        .unwrap();
}

fn begin(client: &mut Client, isolation: &str, token: &str) {
    client
        .batch_execute(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SET LOCAL statement_timeout = '30s'"
        ))
        .unwrap();
    client.execute("SELECT memory.authenticate($1)", &[&token]).unwrap();
}

/// How many events the context sees; None where it is refused.
fn events(client: &mut Client) -> Option<i64> {
    match client.query_one("SELECT count(*) FROM memory.events", &[]) {
        Ok(row) => Some(row.get(0)),
        Err(error) => {
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
            None
        }
    }
}

fn no_statement_begins_after_the_acknowledgement_and_finds_something(cluster: &Cluster) {
    for round in 0..40 {
        let mut operator = cluster.connect("app", SUPERUSER);
        let token = issue(&mut operator);
        let revoked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
                let revoked = &revoked;
                let mut reader = cluster.connect("app", "app");
                begin(&mut reader, isolation, &token);
                scope.spawn(move || {
                    loop {
                        let was_revoked = revoked.load(Ordering::SeqCst);
                        match events(&mut reader) {
                            Some(seen) => {
                                assert_eq!(seen, 1);
                                assert!(!was_revoked, "round {round}, {isolation}: read after the revocation");
                            }
                            None => break,
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(round % 7));
            revoke(&mut operator);
            revoked.store(true, Ordering::SeqCst);
        });
    }
}

#[test]
fn a_revocation_counts_from_its_acknowledgement_on() {
    no_statement_begins_after_the_acknowledgement_and_finds_something(&server("token", true));
}

#[test]
fn a_revocation_counts_without_shared_memory() {
    no_statement_begins_after_the_acknowledgement_and_finds_something(&server("tokenplain", false));
}

#[test]
fn a_revocation_reaches_a_standby_in_the_middle_of_its_transactions() {
    let primary = server("token", true);
    let mut operator = primary.connect("app", SUPERUSER);
    let token = issue(&mut operator);
    let standby = primary.standby("tokensb", &[]);
    let mut readers: Vec<Client> = ["READ COMMITTED", "REPEATABLE READ"]
        .into_iter()
        .map(|isolation| {
            let mut reader = standby.connect("app", "app");
            begin(&mut reader, isolation, &token);
            assert_eq!(events(&mut reader), Some(1));
            reader
        })
        .collect();
    revoke(&mut operator);
    let end: String = operator
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .unwrap()
        .get(0);
    let mut watcher = standby.connect("app", SUPERUSER);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !watcher
        .query_one("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&end])
        .unwrap()
        .get::<_, bool>(0)
    {
        assert!(Instant::now() < deadline, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(10));
    }
    for reader in &mut readers {
        assert_eq!(events(reader), None);
    }
    let mut late = standby.connect("app", "app");
    late.batch_execute("BEGIN").unwrap();
    let refused = late.execute("SELECT memory.authenticate($1)", &[&token]).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
}

#[test]
fn parallel_workers_ask_as_their_leader_does() {
    let cluster = server("token", true);
    let mut operator = cluster.connect("app", SUPERUSER);
    operator
        .batch_execute(
            "SELECT memory.log_events('s', (SELECT jsonb_agg(jsonb_build_object('event_type', 'log', 'payload', '{}'::jsonb))
                 FROM generate_series(1, 1000)), 'acme', u) FROM unnest('{bob, cat}'::text[]) AS u;
             SELECT memory.log_events('s', (SELECT jsonb_agg(jsonb_build_object('event_type', 'log', 'payload', '{}'::jsonb))
                 FROM generate_series(1, 1000)), 'acme', 'ann');
             ANALYZE memory.events",
        )
        .unwrap();
    let token = issue(&mut operator);
    let mut reader = cluster.connect("app", "app");
    begin(&mut reader, "READ COMMITTED", &token);
    reader
        .batch_execute(
            "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
             SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
             SET LOCAL parallel_leader_participation = off",
        )
        .unwrap();
    const QUERY: &str = "SELECT count(*) FROM memory.events WHERE memory.current_service_name() = 'crawler'";
    let plan = reader
        .query(&format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {QUERY}"), &[])
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(
        plan.iter()
            .any(|line| line.contains("Workers Launched: ") && !line.contains(": 0")),
        "{plan:#?}"
    );
    assert_eq!(reader.query_one(QUERY, &[]).unwrap().get::<_, i64>(0), 3001);
    revoke(&mut operator);
    let refused = reader.query_one(QUERY, &[]).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
}

/// The settings that tokens are held against are a superuser's, whoever comes before the library is loaded.
#[test]
fn forge_settings_of_tokens_before_load() {
    let cluster = server("tokenset", false);
    const CLAIMS: &str = r#"SET request.jwt.claims = '{"sub": "ann", "tenant": "acme", "exp": 4000000000}'"#;
    const TRUST: &str = "memory.trust_request_claims_from = 'app'";
    let refused = |client: &mut Client, attack: &str| {
        client.batch_execute(CLAIMS).unwrap();
        client.batch_execute("BEGIN").unwrap();
        let error = client.execute("SELECT memory.authenticate_request()", &[]).unwrap_err();
        assert_eq!(
            error.code(),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE),
            "{attack}: {error}"
        );
        client.batch_execute("ROLLBACK").unwrap();
        assert_eq!(events(client), Some(0), "{attack}");
    };
    for attack in [
        format!("SET {TRUST}"),
        "SELECT set_config('memory.trust_request_claims_from', 'app', false)".to_owned(),
        format!("SET {TRUST}; ALTER ROLE app SET memory.trust_request_claims_from FROM CURRENT"),
        format!("ALTER ROLE app SET {TRUST}"),
        "SET session_replication_role = replica".to_owned(),
    ] {
        let mut client = cluster.connect("app", "app");
        // what a role may not set is refused now, or ignored when the library comes
        let _ = client.batch_execute(&attack);
        refused(&mut client, &attack);
        refused(&mut cluster.connect("app", "app"), &attack);
    }
    let mut config = cluster.config("app", "app");
    if let Ok(mut client) = config
        .options("-c memory.trust_request_claims_from=app")
        .connect(cluster::postgres::NoTls)
    {
        refused(&mut client, "a start-up option");
    }
    // a superuser's counts
    cluster
        .connect("app", SUPERUSER)
        .batch_execute(&format!("LOAD 'memory_ext'; ALTER ROLE app SET {TRUST}"))
        .unwrap();
    let mut client = cluster.connect("app", "app");
    client
        .batch_execute(&format!("{CLAIMS}; BEGIN; SELECT memory.authenticate_request()"))
        .unwrap();
    assert_eq!(events(&mut client), Some(1));
}
