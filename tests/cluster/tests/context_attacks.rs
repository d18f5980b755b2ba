//! Attacks on the security context that need a connection, a start-up option or a server of their own; each as an ordinary
//! role, each named after what it tries.

use cluster::postgres::{Client, NoTls};
use cluster::{Cluster, SUPERUSER};

const FORGED: &str = r#"{"tenant":"00000000-0000-7000-8000-00000000000a","user":"alice"}"#;

/// A server with a tenant, alice's and bob's row in a table of the extension's kind, and roles app and service.
fn victim(label: &str, preload: bool) -> Cluster {
    let cluster = Cluster::with(label, preload, &[]);
    cluster.create_database("app");
    cluster
        .connect("app", SUPERUSER)
        .batch_execute(
            "INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-00000000000a', 'a'),
                 ('00000000-0000-7000-8000-00000000000b', 'b');
             CREATE ROLE app LOGIN; CREATE ROLE service LOGIN IN ROLE app;
             SELECT memory.grant_access('app', 'app'), memory.grant_access('service', 'service', '{a}');
             SELECT memory.set_preferences('{\"of\": \"alice\"}', 'a', 'alice'), memory.set_preferences('{\"of\": \"bob\"}', 'a', 'bob'),
                 memory.set_preferences('{\"of\": \"b\"}', 'b', 'alice')",
        )
        .unwrap();
    cluster
}

/// Who the session is, and how many rows it sees.
fn sees(client: &mut Client) -> (Option<String>, i64) {
    let row = client
        .query_one(
            "SELECT memory.current_user_id(), (SELECT count(*) FROM memory.preferences)",
            &[],
        )
        .unwrap();
    (row.get(0), row.get(1))
}

fn assert_is_nobody(client: &mut Client, attack: &str) {
    assert_eq!(sees(client), (None, 0), "{attack}");
    // nor can it act: there is no context to store in
    let error = client.batch_execute("SELECT memory.set_preferences('{}')").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501", "{attack}: {error}");
}

/// `-c name=value` as PGOPTIONS has it: blanks and backslashes are escaped.
fn option(name: &str, value: &str) -> String {
    format!("-c {name}={}", value.replace('\\', "\\\\").replace(' ', "\\ "))
}

#[test]
fn forge_context_by_startup_option() {
    for preload in [true, false] {
        let cluster = victim("startup", preload);
        for options in [
            option("memory.context", FORGED),
            format!("--memory.context={FORGED}"),
            option("session_preload_libraries", "memory_ext") + " " + &option("memory.context", FORGED),
            option("role", "service") + " " + &option("memory.context", FORGED),
        ] {
            match cluster.config("app", "app").options(&options).connect(NoTls) {
                Ok(mut client) => assert_is_nobody(&mut client, &options),
                Err(error) => {
                    let code = error.code().unwrap_or_else(|| panic!("{options}: {error}")).code();
                    assert_eq!(code, "42501", "{options}: {error}");
                }
            }
        }
        // a superuser may, and this proves that the option would have been understood
        let mut superuser = cluster
            .config("app", SUPERUSER)
            .options(&option("memory.context", FORGED))
            .connect(NoTls)
            .unwrap();
        assert_eq!(sees(&mut superuser).0.as_deref(), Some("alice"));
    }
}

#[test]
fn forge_context_by_placeholder_before_load() {
    let cluster = victim("placehold", false);
    for attack in [
        format!("SET memory.context = '{FORGED}'"),
        format!("SELECT set_config('memory.context', '{FORGED}', false)"),
        format!("SELECT set_config('Memory.Context', '{FORGED}', false)"),
        format!("BEGIN; SET LOCAL memory.context = '{FORGED}'"),
        format!(
            "SET memory.context = ''; BEGIN; SET LOCAL memory.context = '{FORGED}'; SAVEPOINT s; SET memory.context = '{FORGED}'"
        ),
        format!("SET memory.context = '{FORGED}'; RESET memory.context; SET memory.context = '{FORGED}'"),
    ] {
        let mut client = cluster.connect("app", "app");
        client.batch_execute(&attack).unwrap();
        assert_eq!(sees(&mut client), (None, 0), "{attack}");
        // the end of what it began brings nothing back
        for end in ["ROLLBACK", "RESET ALL", "DISCARD ALL"] {
            client.batch_execute(end).unwrap();
            assert_eq!(sees(&mut client), (None, 0), "{attack}; {end}");
        }
        assert_is_nobody(&mut client, &attack);
    }
    // the placeholder is committed with the statement that loads the library
    let mut client = cluster.connect("app", "app");
    client
        .batch_execute(&format!("BEGIN; SET memory.context = '{FORGED}'; SAVEPOINT s"))
        .unwrap();
    assert_eq!(sees(&mut client), (None, 0));
    client.batch_execute("RELEASE s; COMMIT").unwrap();
    assert_is_nobody(&mut client, "commit after load");
    // a function that would set it: refused while it is made
    let mut client = cluster.connect("app", "app");
    let clause = format!("SET memory.context = '{FORGED}'");
    client.batch_execute(&clause).unwrap();
    for clause in [&clause, "SET memory.context FROM CURRENT"] {
        let make = format!(
            "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql {clause} AS 'SELECT memory.current_user_id()'"
        );
        let error = client.batch_execute(&make).unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{clause}: {error}");
    }
    assert_is_nobody(&mut client, "a function with SET memory.context");
    // the other settings: a superuser's before the library is there, too
    let mut client = cluster.connect("app", "app");
    client
        .batch_execute(
            "SET memory.system_tenant_id = '00000000-0000-7000-8000-00000000000a'; SET memory.tenant_cache_ttl = '3 weeks';
             SET memory.max_payload_size = 1",
        )
        .unwrap();
    let row = client
        .query_one("SELECT found FROM memory.resolve_canonical_tenant('system')", &[])
        .unwrap();
    assert!(!row.get::<_, bool>(0));
    let row = client
        .query_one("SELECT current_setting('memory.tenant_cache_ttl')", &[])
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "1min");
}

#[test]
fn forge_context_by_alter_role_before_load() {
    let cluster = victim("alterrole", false);
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser
        .batch_execute("CREATE ROLE owner LOGIN CREATEDB CREATEROLE IN ROLE app")
        .unwrap();
    superuser.batch_execute("CREATE DATABASE owned OWNER owner").unwrap();
    let mut owner = cluster.connect("app", "owner");
    for target in ["ROLE owner", "ROLE owner IN DATABASE app", "DATABASE owned", "ROLE app"] {
        let error = owner
            .batch_execute(&format!("ALTER {target} SET memory.context = '{FORGED}'"))
            .expect_err(target);
        assert_eq!(error.code().unwrap().code(), "42501", "{target}: {error}");
    }
    assert_is_nobody(&mut cluster.connect("app", "owner"), "ALTER ROLE");
    // a superuser's takes effect, as every setting of a superuser's does
    superuser
        .batch_execute(&format!("ALTER ROLE owner SET memory.context = '{FORGED}'"))
        .unwrap();
    assert_eq!(sees(&mut cluster.connect("app", "owner")).0.as_deref(), Some("alice"));
}

#[test]
fn a_pooled_connection_hands_nobodys_context_on() {
    let cluster = victim("pool", true);
    let mut client = cluster.connect("app", "service");
    let local = "SELECT memory.set_security_context('a', 'alice')";
    let sealed = "SELECT memory.set_security_context('a', 'alice', sealed => true)";
    for (attack, fails_with) in [
        (format!("BEGIN; {local}; COMMIT"), None),
        (format!("BEGIN; {sealed}; COMMIT"), None),
        (format!("BEGIN; {sealed}; RESET ALL; COMMIT"), None),
        (
            format!("BEGIN; {sealed}; SAVEPOINT s; RESET ALL; RELEASE s; COMMIT"),
            None,
        ),
        (format!("BEGIN; {local}; SELECT 1/0"), Some("22012")),
        (format!("BEGIN; {sealed}; SELECT 1/0"), Some("22012")),
        (format!("BEGIN; {sealed}; RESET ALL; SELECT 1/0"), Some("22012")),
        (format!("BEGIN; {sealed}; PREPARE TRANSACTION 'x'"), Some("55000")),
        (format!("{local}; SELECT count(*) FROM memory.preferences"), None),
    ] {
        let result = client.batch_execute(&attack);
        let code = result.err().map(|error| error.code().unwrap().code().to_owned());
        assert_eq!(code.as_deref(), fails_with, "{attack}");
        client.batch_execute("ROLLBACK").unwrap();
        assert_is_nobody(&mut client, &attack);
    }
    // cancelled and terminated in the middle
    let mut other = cluster.connect("app", SUPERUSER);
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    client.batch_execute(&format!("BEGIN; {sealed}")).unwrap();
    let cancel = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    });
    let error = client.batch_execute("SELECT pg_sleep(30)").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    cancel.join().unwrap();
    client.batch_execute("ROLLBACK").unwrap();
    assert_is_nobody(&mut client, "cancelled");
}

/// Parallel workers have the context, also a sealed one, and resolve by the leader's own changes.
#[test]
fn parallel_workers_see_what_their_leader_sees() {
    for preload in [true, false] {
        let cluster = victim("parallel", preload);
        let mut superuser = cluster.connect("app", SUPERUSER);
        superuser
            .batch_execute(
                "CREATE TABLE many AS SELECT n FROM generate_series(1, 200000) AS n; GRANT SELECT ON many TO app; ANALYZE many;
                 ALTER TABLE many SET (parallel_workers = 4)",
            )
            .unwrap();
        let parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
            SET max_parallel_workers_per_gather = 4; SET parallel_leader_participation = off";
        let mut client = cluster.connect("app", "service");
        client.batch_execute(parallel).unwrap();
        let counts = "SELECT count(*), count(memory.current_user_id()), min(memory.current_user_id()), max(memory.current_tenant_id()::text)
            FROM many WHERE n % 2 = 0";
        let plan = client.query(&format!("EXPLAIN {counts}"), &[]).unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains("Parallel Seq Scan")), "{plan:?}");
        for sealed in [false, true] {
            client
                .batch_execute(&format!(
                    "BEGIN; SELECT memory.set_security_context('a', 'alice', sealed => {sealed})"
                ))
                .unwrap();
            let row = client.query_one(counts, &[]).unwrap();
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (100_000, 100_000));
            assert_eq!(row.get::<_, String>(2), "alice");
            assert!(row.get::<_, String>(3).ends_with("00a"));
            client.batch_execute("COMMIT").unwrap();
        }
        let row = client.query_one(counts, &[]).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (100_000, 0));

        // the own change
        superuser.batch_execute(parallel).unwrap();
        let found = "SELECT count(*), count(*) FILTER (WHERE (memory.resolve_canonical_tenant('a')).found),
            count(*) FILTER (WHERE (memory.resolve_canonical_tenant('c')).found) FROM many WHERE n % 100 = 0";
        let counted = |client: &mut Client| {
            let row = client.query_one(found, &[]).unwrap();
            (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
        };
        assert_eq!(counted(&mut superuser), (2000, 2000, 0));
        superuser
            .batch_execute("BEGIN; UPDATE memory.tenants SET slug = 'c' WHERE slug = 'a'")
            .unwrap();
        assert_eq!(counted(&mut superuser), (2000, 0, 2000));
        superuser.batch_execute("ROLLBACK").unwrap();
        assert_eq!(counted(&mut superuser), (2000, 2000, 0));
    }
}
