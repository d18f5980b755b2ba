//! The worker is a superuser, in databases that others own: what they may put there and set there it neither runs nor minds.

use std::time::Duration;

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

const MALLORY: &str = "mallory";

fn server(label: &str, databases: &str) -> Cluster {
    let databases = format!("memory.worker_databases = '{databases}'");
    let conf = [databases.as_str(), "memory.worker_naptime = 1s", "autovacuum = off"];
    let cluster = Cluster::with(label, true, &conf);
    cluster.psql("postgres", "CREATE ROLE mallory LOGIN CREATEDB");
    cluster
}

fn is(client: &mut Client, condition: &str) -> bool {
    client.query_one(&format!("SELECT {condition}"), &[]).unwrap().get(0)
}

fn wait_for(what: &str, client: &mut Client, condition: &str) {
    let start = std::time::Instant::now();
    while !is(client, condition) {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Rounds in `app` of which the first began after now.
fn wait_for_rounds(app: &mut Client) {
    let rounds: i64 = app
        .query_one("SELECT rounds + 2 FROM memory.worker_status()", &[])
        .unwrap()
        .get(0);
    wait_for(
        "two rounds",
        app,
        &format!("rounds >= {rounds} FROM memory.worker_status()"),
    );
}

const PLANTED: &str =
    "CREATE FUNCTION memory.run_job(job text, OUT rows bigint, OUT more boolean) LANGUAGE plpgsql AS $$
     BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; rows := 0; more := false; END $$";

fn assert_no_superuser(cluster: &Cluster) {
    let mut postgres = cluster.connect("postgres", SUPERUSER);
    assert!(
        is(&mut postgres, "NOT rolsuper FROM pg_roles WHERE rolname = 'mallory'"),
        "the worker ran what somebody had put in its way"
    );
}

#[test]
fn what_is_planted_in_a_database_that_is_named_is_not_run() {
    let cluster = server("planted", "app,named");
    cluster.create_database("app");
    let mut mallory = cluster.connect("postgres", MALLORY);
    mallory.batch_execute("CREATE DATABASE named").unwrap();
    let mut mallory = cluster.connect("named", MALLORY);
    mallory
        .batch_execute("CREATE SCHEMA memory; CREATE TABLE memory.job_runs ()")
        .unwrap();
    mallory.batch_execute(PLANTED).unwrap();
    let mut app = cluster.connect("app", SUPERUSER);
    wait_for_rounds(&mut app);
    assert_no_superuser(&cluster);
}

#[test]
fn a_part_of_the_extension_that_somebody_else_owns_is_not_run() {
    let cluster = server("owned", "app,other");
    for database in ["app", "other"] {
        cluster.create_database(database);
    }
    cluster.psql("other", "ALTER FUNCTION memory.run_job(text) OWNER TO mallory");
    cluster.psql("other", "GRANT CREATE ON SCHEMA memory TO mallory");
    let mut mallory = cluster.connect("other", MALLORY);
    mallory
        .batch_execute(&PLANTED.replacen("CREATE", "CREATE OR REPLACE", 1))
        .unwrap();
    let mut app = cluster.connect("app", SUPERUSER);
    wait_for_rounds(&mut app);
    assert_no_superuser(&cluster);
    let log = cluster.log();
    assert!(
        log.contains("the worker leaves database \"other\" alone: no superuser owns"),
        "{log}"
    );
}

#[test]
fn settings_of_the_database_do_not_keep_its_jobs_from_the_audit_log() {
    let cluster = server("settings", "app");
    cluster.create_database("app");
    cluster.psql("app", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    cluster.psql("app", "ALTER DATABASE app OWNER TO mallory");
    let mut mallory = cluster.connect("app", MALLORY);
    for setting in [
        "row_security = off",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "standard_conforming_strings = off",
        "search_path = public",
        "lock_timeout = 1",
    ] {
        mallory
            .batch_execute(&format!("ALTER DATABASE app SET {setting}"))
            .unwrap();
    }
    let mut app = cluster.connect("app", SUPERUSER);
    app.batch_execute(
        "SET row_security = on; SET default_transaction_read_only = off; SET lock_timeout = 0; SET default_transaction_isolation = 'read committed'",
    )
    .unwrap();
    app.batch_execute(
        "BEGIN;
         SELECT memory.set_security_context('acme', 'ann', service_name => 'x');
         SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day');
         COMMIT",
    )
    .unwrap();
    wait_for("the job", &mut app, "NOT EXISTS (SELECT FROM memory.nodes)");
    assert!(
        is(
            &mut app,
            "count(*) > 0 FROM memory.audit_log WHERE operation = 'DELETE' AND table_name = 'nodes'"
        ),
        "what the worker deleted is not in the audit log"
    );
    // By hand, in a superuser's session that has the database's settings, as pg_cron's is.
    app.batch_execute(
        "BEGIN;
         SELECT memory.set_security_context('acme', 'ann', service_name => 'x');
         SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day');
         SELECT memory.store_node('{}', 'temporary_state', expires_at => now() - interval '1 day');
         COMMIT;
         SET row_security = off",
    )
    .unwrap();
    let before: i64 = app
        .query_one("SELECT count(*) FROM memory.audit_log WHERE operation = 'DELETE'", &[])
        .unwrap()
        .get(0);
    app.batch_execute("SELECT memory.run_job('expiry')").unwrap();
    wait_for("the job", &mut app, "NOT EXISTS (SELECT FROM memory.nodes)");
    assert!(
        is(
            &mut app,
            &format!("count(*) > {before} FROM memory.audit_log WHERE operation = 'DELETE'")
        ),
        "what run_job() deleted is not in the audit log"
    );
    // What is refused is written by a worker of its own.
    let mut stranger = cluster.connect("app", MALLORY);
    app.batch_execute("SELECT memory.grant_access('mallory', 'service', '{acme}')")
        .unwrap();
    stranger
        .batch_execute("BEGIN; SELECT memory.set_security_context('acme', 'ann', sealed => true); SELECT memory.set_security_context('acme', 'bob')")
        .unwrap_err();
    wait_for(
        "the violation",
        &mut app,
        "count(*) > 0 FROM memory.security_violations",
    );
}

#[test]
fn where_no_process_is_free_for_it_the_server_goes_on() {
    // Parallel queries of anybody's take the places; here the launchers, PostgreSQL's and ours, have both.
    let conf = [
        "max_worker_processes = 2",
        "memory.worker_databases = 'app'",
        "memory.worker_naptime = 1s",
    ];
    let cluster = Cluster::with("noplace", true, &conf);
    cluster.create_database("app");
    let mut app = cluster.connect("app", SUPERUSER);
    std::thread::sleep(Duration::from_secs(3));
    assert!(is(&mut app, "rounds = 0 FROM memory.worker_status()"));
    assert!(is(
        &mut app,
        "count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'memory_ext launcher' AND backend_start < now() - interval '2 seconds'"
    ));
    let log = cluster.log();
    assert!(!log.contains("terminated by signal"), "{log}");
}
