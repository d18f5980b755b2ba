//! Sealing, verifying and redacting when something goes wrong: processes killed in the middle of it, a standby, several at once, a cancel.
//!
//! `ROWS` in the environment sets how long the log is that is cancelled (200,000 unless set).

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use cluster::postgres::{Client, NoTls, SimpleQueryMessage};
use cluster::{Cluster, SUPERUSER, Signal, kill_process, signal_process};

const CONTEXT: &str = "SELECT memory.set_security_context('acme', service_name => 'desk', is_local => false)";

fn server(label: &str, conf: &[&str]) -> (Cluster, Client) {
    let cluster = Cluster::with(label, true, conf);
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let mut client = cluster.connect("d", SUPERUSER);
    client.batch_execute(CONTEXT).unwrap();
    (cluster, client)
}

fn lines(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect()
}

fn wrong(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT concat_ws(' ', seal, detail) FROM memory.verify_audit_log() WHERE NOT ok",
    )
}

const NONE: [String; 0] = [];

/// Seals all there is, and has everything verified: nothing is wrong, no row is left out.
fn assert_whole(client: &mut Client) {
    assert_eq!(wrong(client), NONE);
    while lines(client, "SELECT memory.seal_audit_log()") != ["0"] {}
    assert_eq!(wrong(client), NONE);
    let tail = "SELECT detail FROM memory.verify_audit_log() WHERE seal IS NULL";
    assert_eq!(lines(client, tail), ["every row is sealed"]);
    let counts = "SELECT (SELECT sum(row_count) FROM memory.audit_seals) - (SELECT count(*) FROM memory.audit_log)";
    assert_eq!(lines(client, counts), ["0"], "each row is in one seal");
}

/// So many entries of users u0 to u9, written by a plain statement.
fn write(client: &mut Client, rows: u64) {
    client
        .batch_execute(&format!(
            "INSERT INTO memory.navigation (tenant_id, user_id, path)
             SELECT memory.current_tenant_id(), 'u' || i % 10, '/' || i FROM generate_series(1, {rows}) AS i"
        ))
        .unwrap();
}

fn backend(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0)
}

/// Each time with more to seal than is sealed before the kill, which comes at another moment of it: the sealer alone (the server ends all
/// sessions and recovers), or the whole server.
#[test]
fn a_kill_while_sealing_beside_writers_leaves_no_gap() {
    let (cluster, mut client) = server("sealkill", &["max_wal_size = '1GB'"]);
    let (mut killed_while_sealing, mut written) = (0, 0);
    for round in 0..8 {
        write(&mut client, 20_000);
        let stop = AtomicBool::new(false);
        let victim = AtomicI32::new(0);
        scope(|threads| {
            let writers: Vec<_> = (0..2)
                .map(|_| {
                    threads.spawn(|| {
                        let mut done = 0;
                        let Ok(mut client) = cluster.config("d", SUPERUSER).connect(NoTls) else {
                            return done;
                        };
                        let statement = "SELECT memory.log_event('s', 'log', '{}', user_id => 'writer')";
                        while client.batch_execute(CONTEXT).is_ok()
                            && !stop.load(Ordering::Relaxed)
                            && client.batch_execute(statement).is_ok()
                        {
                            done += 1;
                        }
                        done
                    })
                })
                .collect();
            let sealer = threads.spawn(|| {
                let mut client = cluster.connect("d", SUPERUSER);
                victim.store(backend(&mut client), Ordering::SeqCst);
                while client.simple_query("SELECT memory.seal_audit_log()").is_ok() && !stop.load(Ordering::Relaxed) {}
            });
            while victim.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(5 + 25 * round));
            // From when the sealer has the leaves for itself until it commits.
            let busy = format!(
                "SELECT count(*) FROM pg_locks WHERE relation = 'memory.audit_leaves'::regclass AND granted AND pid = {}",
                victim.load(Ordering::SeqCst)
            );
            killed_while_sealing += i32::from(lines(&mut client, &busy) != ["0"]);
            if round % 2 == 0 {
                kill_process(victim.load(Ordering::SeqCst));
            } else {
                cluster.kill();
            }
            stop.store(true, Ordering::Relaxed);
            sealer.join().unwrap();
            written += writers.into_iter().map(|writer| writer.join().unwrap()).sum::<i32>();
        });
        if round % 2 == 1 {
            cluster.start();
        }
        // The server ends every session before it recovers.
        while client.batch_execute("SELECT").is_ok() {
            sleep(Duration::from_millis(5));
        }
        client = loop {
            // the server recovers
            match cluster.config("d", SUPERUSER).connect(NoTls) {
                Ok(client) => break client,
                Err(_) => sleep(Duration::from_millis(20)),
            }
        };
        client.batch_execute(CONTEXT).unwrap();
        assert_whole(&mut client);
    }
    assert!(
        killed_while_sealing >= 3,
        "a sealing was met {killed_while_sealing} times of 8"
    );
    assert!(written > 0);
}

#[test]
fn a_standby_verifies_and_finds_what_was_changed() {
    let (primary, mut client) = server("sealsb", &[]);
    write(&mut client, 3_000);
    assert_whole(&mut client);
    let head = lines(&mut client, "SELECT memory.audit_head()").remove(0);
    client.batch_execute("SELECT memory.erase_user_data('u3')").unwrap();
    write(&mut client, 500);
    assert_eq!(lines(&mut client, "SELECT memory.seal_audit_log() > 0"), ["t"]);
    let standby = primary.standby("sealsb", &[]);
    let mut reader = standby.connect("d", SUPERUSER);
    let follow = |client: &mut Client, reader: &mut Client| {
        let end = lines(client, "SELECT pg_current_wal_lsn()").remove(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines(reader, &format!("SELECT pg_last_wal_replay_lsn() >= '{end}'")) != ["t"] {
            assert!(Instant::now() < deadline, "the standby does not follow");
            sleep(Duration::from_millis(10));
        }
    };
    follow(&mut client, &mut reader);
    assert_eq!(wrong(&mut reader), NONE);
    let all = format!("SELECT concat_ws(' ', seal, ok, detail) FROM memory.verify_audit_log('{head}')");
    assert_eq!(lines(&mut reader, &all), lines(&mut client, &all));
    assert_eq!(
        lines(&mut reader, "SELECT memory.audit_head()"),
        lines(&mut client, "SELECT memory.audit_head()")
    );
    let refused = reader.simple_query("SELECT memory.seal_audit_log()").unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("25006"), "{refused}");
    // Somebody who got past the triggers of the primary is found on the standby.
    client
        .batch_execute(
            "BEGIN; SET LOCAL row_security = off;
             UPDATE memory.audit_log SET changes = '{\"new\": {}}' WHERE id = (SELECT max(id) - 10 FROM memory.audit_log); COMMIT",
        )
        .unwrap();
    follow(&mut client, &mut reader);
    assert_eq!(wrong(&mut reader), wrong(&mut client));
    assert_eq!(wrong(&mut reader).len(), 1);
}

#[test]
fn several_who_seal_at_once_seal_each_row_once() {
    let (cluster, mut client) = server("sealmany", &[]);
    for _ in 0..5 {
        write(&mut client, 20_000);
        let unsealed: i64 = client
            .query_one(
                "SELECT count(*) FROM memory.audit_log WHERE id > coalesce((SELECT max(last_id) FROM memory.audit_seals), 0)",
                &[],
            )
            .unwrap()
            .get(0);
        let sealed: i64 = scope(|threads| {
            let sealers: Vec<_> = (0..4)
                .map(|_| {
                    threads.spawn(|| {
                        let mut client = cluster.connect("d", SUPERUSER);
                        let row = client.query_one("SELECT memory.seal_audit_log()", &[]).unwrap();
                        row.get::<_, i64>(0)
                    })
                })
                .collect();
            sealers.into_iter().map(|sealer| sealer.join().unwrap()).sum()
        });
        assert_eq!(sealed, unsealed);
        assert_eq!(wrong(&mut client), NONE);
    }
    assert_whole(&mut client);
}

/// Processor time that a backend has used. Others are on the machine: time on the clock tells of them.
fn used(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the backend is there"))
}

/// The most memory that a backend has had so far, in kB.
fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.expect("the backend is there")
}

/// However many rows a statement writes, and however long they are, their entries do not wait in memory.
#[test]
fn the_entries_of_a_large_statement_take_little_memory() {
    let (cluster, mut client) = server("entries", &["shared_buffers = '2MB'", "max_wal_size = '4GB'"]);
    for (what, rows, path, most) in [
        ("rows", 150_000, "'/' || i", 24_000),
        (
            "long ones",
            400,
            "(SELECT string_agg(md5(i || ' ' || j), '') FROM generate_series(1, 6000) AS j)",
            24_000,
        ),
    ] {
        let mut writer = cluster.connect("d", SUPERUSER);
        writer.batch_execute(CONTEXT).unwrap();
        write(&mut writer, 100);
        let pid = backend(&mut writer);
        let before = peak(pid);
        writer
            .batch_execute(&format!(
                "INSERT INTO memory.navigation (tenant_id, user_id, path)
                 SELECT memory.current_tenant_id(), 'large', {path} FROM generate_series(1, {rows}) AS i"
            ))
            .unwrap();
        let more = peak(pid) - before;
        println!("{rows} {what}: {more} kB more");
        assert!(more < most, "{rows} {what} took {more} kB");
        let logged = lines(
            &mut client,
            "SELECT count(*) FROM memory.audit_log WHERE user_id = 'large'",
        );
        assert_eq!(logged, [if rows == 400 { "150400" } else { "150000" }]);
    }
}

/// How much processor time a statement used after it was told to stop. None where it had finished by then.
fn overrun(client: &mut Client, statement: &str, after: Duration) -> Option<Duration> {
    let pid = backend(client);
    for _ in 0..5 {
        client.batch_execute("BEGIN").unwrap();
        let started = Instant::now();
        let (ended, told) = scope(|threads| {
            let running = threads.spawn(|| client.simple_query(statement).map(drop));
            sleep(after);
            let told = used(pid);
            signal_process(pid, Signal::SIGINT);
            (running.join().unwrap(), told)
        });
        let took = started.elapsed();
        let over = used(pid).saturating_sub(told);
        // The signal may have come when the statement had just ended.
        while client.batch_execute("ROLLBACK").is_err() {}
        match ended {
            Err(error) => {
                assert_eq!(
                    error.code().map(|code| code.code()),
                    Some("57014"),
                    "{statement}: {error}"
                );
                return Some(over);
            }
            Ok(()) if took < after + Duration::from_millis(1) => break,
            // It came before the statement, which was not told then.
            Ok(()) => {}
        }
    }
    None
}

#[test]
fn sealing_verifying_and_redacting_stop_within_a_tenth_of_a_second() {
    let rows = std::env::var("ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(200_000);
    let (_cluster, mut client) = server(
        "sealstop",
        &["max_wal_size = '4GB'", "autovacuum = off", "shared_buffers = '256MB'"],
    );
    write(&mut client, rows);
    let tell = |what: &str, client: &mut Client, statement: &str, least_stops: u32| {
        let (mut stops, mut worst) = (0, Duration::ZERO);
        let mut after = Duration::from_millis(5);
        while let Some(over) = overrun(client, statement, after) {
            stops += 1;
            worst = worst.max(over);
            assert!(
                over < Duration::from_millis(100),
                "{what}, told to stop after {after:?}, used {over:?} more"
            );
            after = after * 5 / 4 + Duration::from_millis(10);
        }
        println!("{what} of {rows} rows: stopped at {stops} moments up to {after:?}, at most {worst:?} late");
        assert!(stops >= least_stops, "{what} was stopped {stops} times only");
    };
    tell("sealing", &mut client, "SELECT memory.seal_audit_log()", 4);
    assert_whole(&mut client);
    tell("verifying", &mut client, "SELECT * FROM memory.verify_audit_log()", 4);
    tell("erasing", &mut client, "SELECT * FROM memory.erase_user_data('u1')", 4);
    tell(
        "anonymising",
        &mut client,
        "SELECT * FROM memory.anonymize_user_data('u2')",
        4,
    );
    client
        .batch_execute("SELECT memory.set_retention_policy('audit_log', '1 microsecond')")
        .unwrap();
    tell("retention", &mut client, "SELECT memory.archive_old_audit_logs(0)", 2);
    assert_whole(&mut client);
}
