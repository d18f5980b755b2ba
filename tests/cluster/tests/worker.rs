//! The worker against real servers: it does what maintain() does in the databases that it is told of, writes nothing where nothing is due, is in nobody's
//! way, and comes back.

use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, Stop, kill_process};

const CONF: [&str; 3] = [
    "memory.worker_databases = 'app, missing , bare'",
    "memory.worker_naptime = 1s",
    "autovacuum = off",
];

/// Waits for an answer of true; how long it took.
fn wait_for(what: &str, most: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < most, "{what}: not within {most:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

const MOST: Duration = Duration::from_secs(30);

fn is(client: &mut Client, condition: &str) -> bool {
    client.query_one(&format!("SELECT {condition}"), &[]).unwrap().get(0)
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

/// A server whose worker is told of `app`.
fn server(label: &str) -> Cluster {
    let cluster = Cluster::with(label, true, &CONF);
    cluster.create_database("app");
    cluster
        .connect("app", SUPERUSER)
        .batch_execute("INSERT INTO memory.tenants (slug) VALUES ('acme')")
        .unwrap();
    cluster
}

/// A session that is over, and a node that has expired.
fn give_it_work(cluster: &Cluster, session: &str) {
    cluster
        .connect("app", SUPERUSER)
        .batch_execute(&format!(
            "BEGIN;
             SELECT memory.set_security_context('acme', 'ann', service_name => 'x');
             SELECT memory.log_event('{session}', 'log', '{{}}');
             SELECT memory.end_session('{session}');
             SELECT memory.store_node('{{}}', 'temporary_state', expires_at => now() - interval '1 day');
             COMMIT"
        ))
        .unwrap();
}

/// Has deletes of nodes last as long as nobody interrupts them.
fn make_it_slow(cluster: &Cluster) {
    cluster
        .connect("app", SUPERUSER)
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(120); RETURN old; END $$;
             CREATE TRIGGER slow BEFORE DELETE ON memory.nodes FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .unwrap();
}

/// The process of a worker that is in a job, as an observer in another database sees it.
fn busy_worker(observer: &mut Client) -> Option<i32> {
    observer
        .query_opt(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'memory_ext worker' AND wait_event = 'PgSleep'",
            &[],
        )
        .unwrap()
        .map(|row| row.get(0))
}

fn wait_until_busy(observer: &mut Client) -> i32 {
    let mut pid = None;
    wait_for("a worker in a long job", MOST, || {
        pid = busy_worker(observer);
        pid.is_some()
    });
    pid.unwrap()
}

const ALL_DONE: &str = "NOT EXISTS (SELECT FROM memory.sessions) AND NOT EXISTS (SELECT FROM memory.nodes)";

#[test]
fn it_keeps_named_databases_in_order_and_is_quiet_about_those_that_are_not_there() {
    let cluster = server("worker");
    cluster.psql("postgres", "CREATE DATABASE bare");
    cluster.psql("postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false");
    cluster.create_database("other");
    give_it_work(&cluster, "s");
    let mut app = cluster.connect("app", SUPERUSER);
    wait_for("the jobs", MOST, || is(&mut app, ALL_DONE));
    wait_for("their notes", MOST, || {
        is(
            &mut app,
            "count(*) = 2 FROM memory.job_runs WHERE job IN ('archival', 'expiry') AND rows > 0 AND error IS NULL",
        )
    });
    assert!(is(
        &mut app,
        "configured AND rounds > 0 AND last_round_at > now() - interval '1 minute' FROM memory.worker_status()"
    ));
    let mut other = cluster.connect("other", SUPERUSER);
    assert!(is(
        &mut other,
        "NOT configured AND rounds = 0 FROM memory.worker_status()"
    ));
    // Told of a database that takes no connections, too.
    cluster.psql(
        "postgres",
        "ALTER SYSTEM SET memory.worker_databases = 'app,closed,missing'",
    );
    cluster.psql("postgres", "SELECT pg_reload_conf()");
    let before = number(&mut app, "SELECT rounds FROM memory.worker_status()");
    wait_for("three rounds", MOST, || {
        number(&mut app, "SELECT rounds FROM memory.worker_status()") >= before + 3
    });
    let log = cluster.log();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("parameter"))
        .filter(|line| {
            ["FATAL", "ERROR", "WARNING", "missing", "background worker"]
                .iter()
                .any(|word| line.contains(word))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn with_nothing_to_do_it_comes_once_a_naptime_and_writes_nothing() {
    let cluster = server("idle");
    give_it_work(&cluster, "s");
    let mut app = cluster.connect("app", SUPERUSER);
    wait_for("the jobs", MOST, || is(&mut app, ALL_DONE));
    let state = |app: &mut Client| {
        let row = app
            .query_one(
                "SELECT pg_current_wal_insert_lsn()::text, pg_snapshot_xmax(pg_current_snapshot())::text,
                        (SELECT count(*) FROM memory.job_runs), (SELECT rounds FROM memory.worker_status())",
                &[],
            )
            .unwrap();
        let texts: (String, String) = (row.get(0), row.get(1));
        (texts, row.get::<_, i64>(2), row.get::<_, i64>(3))
    };
    // What it had to do is sealed and noted within some rounds; a checkpoint or the background writer may write once.
    let mut tries = 0;
    loop {
        let (written, runs, rounds) = state(&mut app);
        std::thread::sleep(Duration::from_secs(5));
        let (written_then, runs_then, rounds_then) = state(&mut app);
        assert!(
            (3..=6).contains(&(rounds_then - rounds)),
            "{} rounds in 5 s",
            rounds_then - rounds
        );
        if (&written, runs) == (&written_then, runs_then) {
            break;
        }
        tries += 1;
        assert!(tries < 5, "{written:?} {runs}, then {written_then:?} {runs_then}");
    }
    // The launcher wakes once a round: as often as it gave up the processor of itself.
    let launcher = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'memory_ext launcher'";
    let status = format!("/proc/{}/status", number(&mut app, launcher));
    let wake_ups = || -> i64 {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
        line.and_then(|line| line.split_whitespace().last())
            .unwrap()
            .parse()
            .unwrap()
    };
    let mut tries = 0;
    loop {
        let (woken, (.., rounds)) = (wake_ups(), state(&mut app));
        std::thread::sleep(Duration::from_secs(6));
        let (woken_then, (.., rounds_then)) = (wake_ups(), state(&mut app));
        let (woken, rounds) = (woken_then - woken, rounds_then - rounds);
        println!("{woken} wake-ups of the launcher in {rounds} rounds");
        if woken <= rounds + 2 {
            break;
        }
        // A machine that is busy may have it wait for a lock.
        tries += 1;
        assert!(tries < 3, "{woken} wake-ups in {rounds} rounds");
    }
    // Between rounds nobody but the launcher is there, and it in no database.
    wait_for("an instant without a worker", MOST, || {
        is(
            &mut app,
            "count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'memory_ext worker'",
        )
    });
    assert!(is(
        &mut app,
        "count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'memory_ext launcher' AND datid IS NULL"
    ));
}

#[test]
fn drop_database_succeeds_while_it_is_in_a_long_job() {
    let cluster = server("drop");
    make_it_slow(&cluster);
    give_it_work(&cluster, "s");
    let mut observer = cluster.connect("postgres", SUPERUSER);
    wait_until_busy(&mut observer);
    let start = Instant::now();
    observer.batch_execute("DROP DATABASE app").unwrap();
    let took = start.elapsed();
    println!("DROP DATABASE beside a worker in a long job: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Made anew it is kept in order again.
    cluster.create_database("app");
    cluster.psql("app", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    give_it_work(&cluster, "s");
    let mut app = cluster.connect("app", SUPERUSER);
    wait_for("the jobs of the new database", MOST, || is(&mut app, ALL_DONE));
}

#[test]
fn it_stops_within_a_second_and_does_not_hold_a_shutdown_up() {
    let cluster = server("stop");
    make_it_slow(&cluster);
    give_it_work(&cluster, "s");
    let mut observer = cluster.connect("postgres", SUPERUSER);
    let pid = wait_until_busy(&mut observer);
    assert!(is(&mut observer, &format!("pg_terminate_backend({pid})")));
    let took = wait_for("the worker's end", MOST, || {
        is(
            &mut observer,
            &format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})"),
        )
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    wait_until_busy(&mut observer);
    let start = Instant::now();
    cluster.stop(Stop::Fast);
    println!("a fast shutdown beside a worker in a long job: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    cluster.start();
}

#[test]
fn it_comes_back_after_a_crash_and_goes_on_where_it_was() {
    let cluster = server("crash");
    make_it_slow(&cluster);
    give_it_work(&cluster, "s");
    let mut observer = cluster.connect("postgres", SUPERUSER);
    let worker = wait_until_busy(&mut observer);
    kill_process(worker);
    let reconnect = || {
        let mut client = None;
        wait_for("the server's recovery", MOST, || {
            client = cluster.config("app", SUPERUSER).connect(cluster::postgres::NoTls).ok();
            client.is_some()
        });
        client.unwrap()
    };
    std::thread::sleep(Duration::from_millis(500));
    let mut app = reconnect();
    // Not by DROP TRIGGER, which would wait for the worker that is there again.
    app.batch_execute(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'memory_ext worker'",
    )
    .unwrap();
    wait_for("the jobs", MOST, || is(&mut app, ALL_DONE));
    let launcher = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'memory_ext launcher'";
    let pid = number(&mut app, launcher);
    kill_process(pid as i32);
    std::thread::sleep(Duration::from_millis(500));
    let mut app = reconnect();
    give_it_work(&cluster, "t");
    wait_for("the jobs after the launcher was killed", MOST, || {
        is(&mut app, ALL_DONE)
    });
    // One that ends for another reason is started again after five seconds.
    let pid = number(&mut app, launcher);
    assert!(is(&mut app, &format!("pg_terminate_backend({pid})")));
    give_it_work(&cluster, "u");
    wait_for("the jobs after the launcher was ended", MOST, || is(&mut app, ALL_DONE));
}

#[test]
fn a_reload_changes_what_it_does() {
    let cluster = server("reload");
    let mut app = cluster.connect("app", SUPERUSER);
    let rounds = |app: &mut Client| number(app, "SELECT rounds FROM memory.worker_status()");
    wait_for("a round", MOST, || rounds(&mut app) > 0);
    let set = |app: &mut Client, setting: &str| {
        app.batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
        app.batch_execute("SELECT pg_reload_conf()").unwrap();
    };
    set(&mut app, "memory.worker_databases = ''");
    wait_for("the reload", MOST, || {
        !is(&mut app, "configured FROM memory.worker_status()")
    });
    std::thread::sleep(Duration::from_millis(1500));
    let before = rounds(&mut app);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(rounds(&mut app), before);
    set(&mut app, "memory.worker_naptime = '1h'");
    set(&mut app, "memory.worker_databases = 'app'");
    wait_for("the first round", MOST, || rounds(&mut app) == before + 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(rounds(&mut app), before + 1);
    set(&mut app, "memory.worker_naptime = '1s'");
    wait_for("two more rounds", MOST, || rounds(&mut app) >= before + 3);
}
