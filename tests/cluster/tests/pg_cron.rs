//! The real pg_cron calls memory.maintain() as an operator, which does what the worker would do.

use std::time::{Duration, Instant};

use cluster::{Cluster, SUPERUSER};

#[test]
fn pg_cron_keeps_a_database_in_order() {
    let cluster = Cluster::with(
        "cron",
        true,
        &[
            "shared_preload_libraries = 'pg_cron,memory_ext'",
            "cron.database_name = 'app'",
            "autovacuum = off",
        ],
    );
    cluster.create_database("app");
    // It logs in by a socket, as anybody.
    cluster.psql(
        "postgres",
        &format!("ALTER SYSTEM SET cron.host = '{}'", cluster.socket_folder()),
    );
    cluster.restart();
    let mut app = cluster.connect("app", SUPERUSER);
    app.batch_execute(
        "CREATE EXTENSION pg_cron;
         CREATE ROLE keeper LOGIN;
         GRANT USAGE ON SCHEMA cron TO keeper;
         SELECT memory.grant_access('keeper', 'operator');
         INSERT INTO memory.tenants (slug) VALUES ('acme');
         BEGIN;
         SELECT memory.set_security_context('acme', 'ann', service_name => 'x');
         SELECT memory.log_event('s', 'log', '{}');
         SELECT memory.end_session('s');
         SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day');
         COMMIT",
    )
    .unwrap();
    cluster
        .connect("app", "keeper")
        .batch_execute("SELECT cron.schedule('memory', '* * * * *', 'CALL memory.maintain()')")
        .unwrap();
    let start = Instant::now();
    let details = "SELECT coalesce(string_agg(d.status || ' ' || coalesce(d.return_message, ''), '; '), '') FROM cron.job_run_details AS d";
    // It comes at the turn of a minute.
    loop {
        let told: String = app.query_one(details, &[]).unwrap().get(0);
        assert!(!told.contains("failed"), "{told}");
        if told.contains("succeeded") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(150), "{told}\n{}", cluster.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    let row = app
        .query_one(
            "SELECT NOT EXISTS (SELECT FROM memory.sessions) AND NOT EXISTS (SELECT FROM memory.nodes),
                    count(*) FILTER (WHERE job IN ('archival', 'expiry') AND error IS NULL AND rows > 0), count(error) FROM memory.job_runs",
            &[],
        )
        .unwrap();
    assert!(row.get::<_, bool>(0));
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (2, 0));
}
