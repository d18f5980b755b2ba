//! Violations outlive what they refuse: calls that are cancelled, transactions that are rolled back, floods, a server without a free worker.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, Signal, signal_process};

const SETUP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('red'), ('blue');
    CREATE ROLE hostile_service LOGIN;
    CREATE ROLE hostile_auditor LOGIN;
    SELECT memory.grant_access('hostile_service', 'service', '{red}');
    SELECT memory.grant_access('hostile_auditor', 'auditor', '{red}');";

const REFUSED: &str =
    "BEGIN; SELECT memory.set_security_context('red', 'alice'); SELECT memory.get_preferences(user_id => 'bob')";

fn number(client: &mut Client, sql: &str) -> i64 {
    client
        .query_one(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}

/// With max_worker_processes used up nothing is lost, and nobody waits: what waits in memory is written by the next one that gets a worker, or by hand.
#[test]
fn without_a_worker_violations_wait_in_memory() {
    // The one slot is the launcher's of logical replication.
    let cluster = Cluster::with("noworker", true, &["max_worker_processes = 1"]);
    cluster.create_database("app");
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser.batch_execute(SETUP).unwrap();
    let mut client = cluster.connect("app", "hostile_service");
    let started = Instant::now();
    for _ in 0..300 {
        client.batch_execute(REFUSED).unwrap_err();
        client.batch_execute("ROLLBACK").unwrap();
    }
    let took = started.elapsed();
    let recorded = "SELECT count(*) FROM memory.security_violations";
    assert_eq!(number(&mut superuser, recorded), 0, "a worker was to be had");
    assert!(took < Duration::from_secs(20), "{took:?}");
    // In a savepoint that is rolled back, and in a transaction that is: they stay.
    let flush = "SELECT memory.flush_security_violations()";
    superuser
        .batch_execute(&format!("BEGIN; SAVEPOINT s; {flush}; ROLLBACK TO s; COMMIT"))
        .unwrap();
    assert_eq!(number(&mut superuser, recorded), 0);
    superuser.batch_execute(&format!("BEGIN; {flush}; ROLLBACK")).unwrap();
    assert_eq!(number(&mut superuser, recorded), 0);
    // Two at once: each is written once.
    let mut other = cluster.connect("app", "hostile_auditor");
    superuser.batch_execute(&format!("BEGIN; {flush}")).unwrap();
    assert_eq!(number(&mut other, flush), 0);
    superuser.batch_execute("COMMIT").unwrap();
    assert_eq!(number(&mut superuser, recorded), 300);
    assert_eq!(number(&mut other, flush), 0);
    assert_eq!(number(&mut superuser, recorded), 300);
    let ordered = "SELECT count(*) FROM (SELECT occurred_at < lag(occurred_at) OVER (ORDER BY id) AS back FROM memory.security_violations) v WHERE back";
    assert_eq!(number(&mut superuser, ordered), 0);
    // A user who is erased before they are written does not come back.
    client.batch_execute(REFUSED).unwrap_err();
    client.batch_execute("ROLLBACK").unwrap();
    superuser
        .batch_execute("BEGIN; SELECT memory.set_security_context('red', service_name => 'desk'); SELECT memory.erase_user_data('bob'); COMMIT")
        .unwrap();
    assert_eq!(number(&mut superuser, flush), 1);
    assert_eq!(
        number(
            &mut superuser,
            "SELECT count(*) FROM memory.security_violations WHERE named_user_id = 'bob'"
        ),
        0
    );
    assert_eq!(
        number(
            &mut superuser,
            "SELECT count(*) FROM memory.security_violations WHERE user_id = 'alice'"
        ),
        301
    );
    // A full ring drops nothing unsaid.
    for _ in 0..520 {
        client.batch_execute(REFUSED).unwrap_err();
        client.batch_execute("ROLLBACK").unwrap();
    }
    superuser.batch_execute(flush).unwrap();
    let dropped = cluster.log().matches("stands in this log only").count() as i64;
    assert!(dropped > 0, "the ring has more places than it said");
    assert_eq!(number(&mut superuser, recorded) + dropped, 301 + 520);
    // What waits for a database that is gone is thrown away by the first worker elsewhere, and disturbs nobody.
    client.batch_execute(REFUSED).unwrap_err();
    drop(client);
    drop(other);
    drop(superuser);
    cluster.psql("postgres", "DROP DATABASE app");
    cluster.create_database("app");
    assert_eq!(cluster.psql("app", flush).trim(), "0");
}

/// Eight at once, ten thousand in all: each of them is recorded.
#[test]
fn ten_thousand_at_once_are_all_recorded() {
    const EACH: usize = 1250;
    let cluster = Cluster::new("violations");
    cluster.create_database("app");
    cluster.create_database("other");
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser.batch_execute(SETUP).unwrap();
    cluster
        .connect("other", SUPERUSER)
        .batch_execute("INSERT INTO memory.tenants (slug) VALUES ('red'); SELECT memory.grant_access('hostile_service', 'service', '{red}')")
        .unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut client = cluster.connect(if i < 6 { "app" } else { "other" }, "hostile_service");
                for _ in 0..EACH {
                    client.batch_execute(REFUSED).unwrap_err();
                    client.batch_execute("ROLLBACK").unwrap();
                }
            });
        }
    });
    eprintln!("10,000 violations by 8: {:?}", started.elapsed());
    let log = cluster.log();
    assert_eq!(log.matches("stands in this log only").count(), 0);
    assert_eq!(log.matches("LOG:  memory_ext security violation").count(), 8 * EACH);
    let all = |client: &mut Client| {
        client
            .batch_execute("SELECT memory.flush_security_violations()")
            .unwrap();
        number(client, "SELECT count(*) FROM memory.security_violations")
    };
    assert_eq!(all(&mut superuser), 6 * EACH as i64);
    assert_eq!(all(&mut cluster.connect("other", SUPERUSER)), 2 * EACH as i64);
}

/// A name that is longer than a place in memory, and a server that did not preload the library: recorded at once all the same.
#[test]
fn what_the_ring_does_not_take_is_recorded() {
    for preload in [true, false] {
        let cluster = Cluster::with("ringless", preload, &[]);
        cluster.create_database("app");
        let mut superuser = cluster.connect("app", SUPERUSER);
        superuser.batch_execute(SETUP).unwrap();
        let mut client = cluster.connect("app", "hostile_service");
        for name in ["'bob'", "repeat('b', 5000)"] {
            client.batch_execute(&REFUSED.replace("'bob'", name)).unwrap_err();
            client.batch_execute("ROLLBACK").unwrap();
        }
        let recorded = number(
            &mut superuser,
            "SELECT count(named_user_id) FROM memory.security_violations",
        );
        assert_eq!(recorded, 2, "{}", cluster.log());
        assert_eq!(
            number(
                &mut superuser,
                "SELECT sum(length(named_user_id)) FROM memory.security_violations"
            ),
            5003,
            "preloaded: {preload}"
        );
        assert_eq!(number(&mut superuser, "SELECT memory.flush_security_violations()"), 0);
    }
}

/// Who was refused and is cancelled, or terminated, before the worker has started stays recorded.
#[test]
fn a_violation_outlives_its_call() {
    let cluster = Cluster::new("outlives");
    cluster.create_database("app");
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser.batch_execute(SETUP).unwrap();
    let file: String = superuser
        .query_one("SELECT pg_read_file('postmaster.pid')", &[])
        .unwrap()
        .get(0);
    let postmaster = Postmaster(file.lines().next().unwrap().parse().unwrap());
    let mut cancelled = cluster.connect("app", "hostile_service");
    let mut terminated = cluster.connect("app", "hostile_service");
    let victim: i32 = terminated.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let refused = "SET statement_timeout = '300ms'; BEGIN; SELECT memory.set_security_context('red', 'alice');
                   SELECT memory.get_preferences(user_id => 'bob')";
    signal_process(postmaster.0, Signal::SIGSTOP);
    let code = cancelled
        .batch_execute(refused)
        .unwrap_err()
        .code()
        .unwrap()
        .code()
        .to_owned();
    let terminating = std::thread::spawn(move || terminated.batch_execute(&refused.replace("300ms", "0")));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'Extension'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while superuser.query_one(waits, &[&victim]).unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nobody waits for a worker");
        sleep(Duration::from_millis(10));
    }
    superuser
        .query_one("SELECT pg_terminate_backend($1, 5000)", &[&victim])
        .unwrap();
    terminating.join().unwrap().unwrap_err();
    drop(postmaster);
    assert_eq!(code, "57014");
    let recorded = "SELECT count(*) FROM memory.security_violations WHERE user_id = 'alice' AND kind = 'other_user'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while superuser.query_one(recorded, &[]).unwrap().get::<_, i64>(0) < 2 {
        assert!(Instant::now() < deadline, "{}", cluster.log());
        sleep(Duration::from_millis(10));
    }
}

/// The server's first process, which starts all others; it goes on when this is dropped.
struct Postmaster(i32);

impl Drop for Postmaster {
    fn drop(&mut self) {
        signal_process(self.0, Signal::SIGCONT);
    }
}

/// Several at once who are refused again and again, and cancel, use up the worker slots: most of what they tried is recorded all
/// the same, and what is not the log says.
#[test]
fn a_flood_of_violations_is_recorded() {
    let cluster = Cluster::new("flood");
    cluster.create_database("app");
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser.batch_execute(SETUP).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = cluster.connect("app", "hostile_service");
                for i in 0..60 {
                    let timeout = 1 + i % 6;
                    let refused = format!(
                        "BEGIN; SELECT memory.set_security_context('red', 'alice'); SET LOCAL statement_timeout = {timeout};
                         SELECT memory.get_preferences(user_id => 'bob')"
                    );
                    client.batch_execute(&refused).unwrap_err();
                    client.batch_execute("ROLLBACK").unwrap();
                }
            });
        }
    });
    let log = cluster.log();
    let logged = log.matches("LOG:  memory_ext security violation").count() as i64;
    let given_up = log.matches("stands in this log only").count() as i64;
    let mut recorded = || {
        superuser
            .query_one("SELECT count(*) FROM memory.security_violations", &[])
            .unwrap()
            .get::<_, i64>(0)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while recorded() + given_up < logged {
        assert!(
            Instant::now() < deadline,
            "{} of {logged}, {given_up} given up\n{log}",
            recorded()
        );
        sleep(Duration::from_millis(10));
    }
    assert!(given_up * 2 < logged, "{given_up} of {logged} given up");
    assert!(logged > 100, "only {logged} came as far as the check");
}
