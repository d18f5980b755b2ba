//! Servers with the least of everything, out of connections, and with a clock that goes back.

use std::thread;
use std::time::{Duration, Instant};

use cluster::load::{Load, prove_audit};
use cluster::postgres::{Client, NoTls};
use cluster::{Cluster, SUPERUSER};

/// What keeps data of each kind; then questions over it, each with one text for an answer.
const KEEP: &str = "
    INSERT INTO memory.tenants (slug) SELECT 't' || n FROM generate_series(1, 100) n;
    SELECT memory.create_embedding_space('m', 8);
    SELECT memory.set_security_context('t1', 'u', service_name => 'test', is_local => false);
    SELECT memory.log_events('s', (SELECT jsonb_agg(jsonb_build_object('event_id', n::text, 'event_type', 'log', 'payload', jsonb_build_object('n', n)))
        FROM generate_series(1, 2000) n));
    SELECT count(*) FROM memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('context_type', 'domain_entity', 'summary', 'node ' || n || ' of ' || n % 7,
        'content', jsonb_build_object('entity_system', 's', 'entity_id', n))) FROM generate_series(1, 300) n));
    SELECT memory.store_relationships((SELECT jsonb_agg(jsonb_build_object('from_node_id', a.node_id, 'to_node_id', b.node_id, 'relationship_type', 'relates_to'))
        FROM memory.nodes a, memory.nodes b WHERE b.entity_id::int IN (a.entity_id::int * 2, a.entity_id::int * 3)));
    SELECT memory.store_embeddings('m', array_agg(node_id), array_agg((SELECT array_agg(sin(entity_id::int * i)) FROM generate_series(1, 8) i)::real[]::vector))
        FROM memory.nodes;
    SELECT memory.end_session('s');
    SELECT memory.run_archival();
    SELECT memory.set_security_context('t1', service_name => 'test', is_local => false);
    SELECT memory.export_user_document('u');
    SELECT memory.apply_retention(), memory.clean_expired();
    SELECT memory.log_event('e', 'log', '{}', user_id => 'gone');
    SELECT memory.clear_security_context();
    SELECT memory.erase_user_data('gone', 't1');";

const QUESTIONS: [&str; 6] = [
    "SELECT string_agg(t.slug || (r.slug = t.slug AND r.uuid = t.id)::text, ' ' ORDER BY t.slug) FROM memory.tenants t, memory.resolve_canonical_tenant(t.slug) r WHERE t.slug LIKE 't%'",
    "SELECT count(*) || ' ' || md5(string_agg(event_id, ' ' ORDER BY event_id)) FROM memory.replay_session('s', 't1', 'u')",
    "SELECT string_agg(n.entity_id, ' ' ORDER BY s.score DESC, n.entity_id::int) FROM memory.search('of 3', max_results => 20, tenant => 't1', user_id => 'u') s JOIN memory.nodes n USING (node_id)",
    "SELECT string_agg(n.entity_id, ' ' ORDER BY round(s.score::numeric, 6) DESC, n.entity_id::int) FROM memory.nearest_nodes('[1,2,3,4,5,6,7,8]', 'm', max_results => 20, tenant => 't1', user_id => 'u') s JOIN memory.nodes n USING (node_id)",
    "SELECT string_agg(n.entity_id || ':' || t.depth, ' ' ORDER BY n.entity_id::int) FROM memory.traverse((SELECT array_agg(node_id) FROM memory.nodes WHERE entity_id = '1'), 9, tenant => 't1', user_id => 'u') t JOIN memory.nodes n USING (node_id)",
    "SELECT count(*)::text FROM memory.export_user_data('u', 't1') WHERE relation <> 'audit_log'",
];

fn keep(cluster: &Cluster, database: &str) -> Client {
    let mut client = cluster.connect(database, SUPERUSER);
    for statement in KEEP.split(";\n") {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    client
}

/// The answers, each asked twice: what a cache kept is the same.
fn ask(client: &mut Client) -> Vec<String> {
    let mut ask = |sql: &str| -> String {
        let row = client
            .query_one(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get::<_, Option<String>>(0).unwrap_or_default()
    };
    QUESTIONS
        .iter()
        .map(|sql| {
            let first = ask(sql);
            assert!(!first.is_empty(), "{sql}");
            assert_eq!(ask(sql), first, "{sql}");
            first
        })
        .collect()
}

#[test]
fn a_server_with_the_least_of_everything_gives_the_same_answers() {
    let plenty = Cluster::new("plenty");
    plenty.create_database("app");
    let expected = ask(&mut keep(&plenty, "app"));
    let least = Cluster::with(
        "least",
        true,
        &[
            "memory.tenant_cache_size = 8",
            "memory.graph_cache_size = 1",
            "memory.vector_cache_size = 1",
            // Half of it, the least, is too little for PostgreSQL 17 itself: no unpinned buffers.
            "shared_buffers = 256kB",
            "work_mem = 64kB",
            "maintenance_work_mem = 1MB",
            "temp_buffers = 800kB",
            "wal_buffers = 32kB",
            "max_connections = 12",
            "max_locks_per_transaction = 10",
            "max_pred_locks_per_transaction = 10",
            "max_worker_processes = 0",
            "max_parallel_workers = 0",
            "max_files_per_process = 64",
        ],
    );
    // Making the extension locks all that is made: more than so few connections' share of the table of locks. It is refused whole.
    least.psql("postgres", "CREATE DATABASE few");
    let mut few = least.connect("few", SUPERUSER);
    let refused = few.batch_execute("CREATE EXTENSION memory_ext CASCADE").unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("53200"), "{refused}");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'memory'";
    assert_eq!(few.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
    drop(few);
    // As docs/operations.md says; the most common number of connections is enough.
    least.psql("postgres", "ALTER SYSTEM SET max_connections = 100");
    least.restart();
    Load::prepare(&least, "app");
    assert_eq!(ask(&mut keep(&least, "app")), expected);
    // Kept by nobody.
    let mut client = least.connect("app", SUPERUSER);
    client
        .batch_execute("SET memory.graph_cache_size = 0; SET memory.vector_cache_size = 0")
        .unwrap();
    assert_eq!(ask(&mut client), expected);
    let load = Load::onto(&least, "app");
    load.beside(4, || load.wait_for(400));
    load.verify(&mut client);
    assert_eq!(load.errors().len(), 0, "{:?}", load.errors());
    client.batch_execute("DROP EXTENSION memory_ext CASCADE").unwrap();
}

/// Who has a connection is served; who gets none is told by PostgreSQL (53300), and is served as soon as one is free.
#[test]
fn out_of_connections_those_who_have_one_are_served() {
    let cluster = Cluster::with(
        "crowd",
        true,
        &["max_connections = 12", "superuser_reserved_connections = 3"],
    );
    Load::prepare(&cluster, "app");
    cluster.psql(
        "app",
        "CREATE ROLE svc LOGIN; SELECT memory.grant_access('svc', 'service', '{load}')",
    );
    let mut crowd = Vec::new();
    let refused = loop {
        match cluster.config("app", "svc").connect(NoTls) {
            Ok(client) => crowd.push(client),
            Err(error) => break error,
        }
        assert!(crowd.len() < 12);
    };
    assert_eq!(refused.code().map(|code| code.code()), Some("53300"));
    for (n, client) in crowd.iter_mut().enumerate() {
        client
            .batch_execute(&format!(
                "BEGIN; SELECT memory.set_security_context('load', 'u{n}'); SELECT memory.log_event('s', 'log', '{{}}'); COMMIT"
            ))
            .unwrap();
        // A violation is written by a worker, which needs no connection.
        let other =
            "BEGIN; SELECT memory.set_security_context('load', 'u'); SELECT memory.get_preferences(user_id => 'other')";
        client.batch_execute(other).unwrap_err();
        client.batch_execute("ROLLBACK").unwrap();
    }
    let mut admin = cluster.connect("app", SUPERUSER);
    let patience = Instant::now() + Duration::from_secs(20);
    let violations = "SELECT count(*) FROM memory.security_violations";
    while admin.query_one(violations, &[]).unwrap().get::<_, i64>(0) < crowd.len() as i64 {
        assert!(Instant::now() < patience, "violations wait for a connection");
        thread::sleep(Duration::from_millis(10));
    }
    let served = crowd.len() as i64;
    // The superuser's is one of them.
    crowd.truncate(crowd.len() - 2);
    thread::sleep(Duration::from_millis(200));
    cluster.connect("app", "svc");
    let events: i64 = admin
        .query_one("SELECT count(*) FROM memory.events", &[])
        .unwrap()
        .get(0);
    assert_eq!(events, served);
    prove_audit(&mut admin);
}

/// The clock goes back an hour while the server runs (libfaketime reads a file): nothing is lost or stored twice, ids stay unique, what is cached is
/// still right, the audit log is in the order of what happened and proves itself. What the docs say of such an hour holds.
#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let cluster = Cluster::created("clock", true, &[]);
    let library = format!("{}/libfaketimeMT.so.1", cluster.programs());
    let offset = format!("{}/offset", cluster.socket_folder());
    // In one step: libfaketime ends a process that reads half of it.
    let set = |value: &str| {
        cluster.shell(
            "echo \"$VALUE\" >\"$OFFSET.new\"; mv \"$OFFSET.new\" \"$OFFSET\"",
            &[("VALUE", value), ("OFFSET", &offset)],
        );
    };
    set("+0");
    cluster.start_in(&[
        ("LD_PRELOAD", &library),
        ("FAKETIME_TIMESTAMP_FILE", &offset),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_RESET", "1"),
    ]);
    Load::prepare(&cluster, "app");
    let mut admin = cluster.connect("app", SUPERUSER);
    let mut clock = || -> f64 {
        let sql = "SELECT extract(epoch FROM clock_timestamp())::float8";
        admin.query_one(sql, &[]).unwrap().get(0)
    };
    let load = Load::onto(&cluster, "app");
    load.beside(3, || {
        load.wait_for(100);
        let before = clock();
        set("-1h");
        assert!(
            clock() < before - 3000.0,
            "the clock does not go back: nothing was put to the test"
        );
        load.wait_for(200);
    });
    assert!(load.errors().is_empty(), "{:?}", load.errors());
    load.verify(&mut admin);
    let back: i64 = admin
        .query_one(
            "SELECT count(*) FROM (SELECT changed_at < lag(changed_at) OVER (ORDER BY id) - interval '50 minutes' AS back FROM memory.audit_log) a WHERE back",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(back >= 1, "the audit log does not show that the clock went back");
    // A tenant that is renamed now is another at once, whatever the cached answer's age seems to be.
    admin
        .batch_execute("UPDATE memory.tenants SET slug = 'renamed' WHERE slug = 'load'")
        .unwrap();
    let found = "SELECT found FROM memory.resolve_canonical_tenant('load')";
    assert!(!admin.query_one(found, &[]).unwrap().get::<_, bool>(0));
    // As docs/operations.md says: what was stored in the hour ahead is seen again when the clock is there again.
    let nodes = "SELECT count(*) FROM memory.list_nodes(tenant => 'renamed', user_id => 'writer0')";
    assert_eq!(admin.query_one(nodes, &[]).unwrap().get::<_, i64>(0), 0);
    set("+0");
    assert_eq!(admin.query_one(nodes, &[]).unwrap().get::<_, i64>(0), 1);
    prove_audit(&mut admin);
}
