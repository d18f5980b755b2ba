//! What a restart keeps, with and without shared_preload_libraries.

use cluster::{Cluster, SUPERUSER, Stop};

fn installed_version(cluster: &Cluster) -> String {
    let mut client = cluster.connect("app", SUPERUSER);
    client
        .query_one("SELECT extversion FROM pg_extension WHERE extname = 'memory_ext'", &[])
        .unwrap()
        .get(0)
}

/// Loads the library into a fresh session, which must live on.
fn library_loads(cluster: &Cluster) {
    let mut client = cluster.connect("app", SUPERUSER);
    client.batch_execute("LOAD 'memory_ext'").unwrap();
    assert_eq!(client.query_one("SELECT 1", &[]).unwrap().get::<_, i32>(0), 1);
}

#[test]
fn extension_survives_restart_and_crash() {
    let cluster = Cluster::new("restart");
    cluster.create_database("app");
    let version = installed_version(&cluster);
    cluster.restart();
    assert_eq!(installed_version(&cluster), version);
    cluster.kill();
    cluster.start();
    assert_eq!(installed_version(&cluster), version);
    cluster.stop(Stop::Immediate);
    cluster.start();
    library_loads(&cluster);
}

#[test]
fn library_works_without_shared_preload_libraries() {
    let cluster = Cluster::with("nopreload", false, &[]);
    cluster.create_database("app");
    library_loads(&cluster);
    cluster.restart();
    library_loads(&cluster);
    assert!(!installed_version(&cluster).is_empty());
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_and_a_crash() {
    let cluster = Cluster::new("durable");
    cluster.create_database("app");
    cluster.psql(
        "app",
        "INSERT INTO memory.tenants (slug) VALUES ('acme');
         SELECT memory.log_event('s', 'log', jsonb_build_object('i', i), tenant => 'acme', user_id => 'u')
         FROM generate_series(1, 100) i;
         SELECT memory.store_node('{\"entity_system\": \"x\", \"entity_id\": 1}', 'domain_entity',
                                  tenant => 'acme', user_id => 'u')",
    );
    let rows = |cluster: &Cluster| {
        cluster.psql(
            "app",
            "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT e::text FROM memory.events e
             UNION ALL SELECT n::text FROM memory.nodes n UNION ALL SELECT a::text FROM memory.audit_log a) AS all_rows (t)",
        )
    };
    let before = rows(&cluster);
    cluster.restart();
    assert_eq!(rows(&cluster), before);
    cluster.kill();
    cluster.start();
    assert_eq!(rows(&cluster), before);
}
