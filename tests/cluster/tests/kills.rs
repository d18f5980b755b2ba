//! `kill -9` at random moments under load: of a backend, of one of the extension's background workers, of the whole server. After each the
//! server comes back by itself (or is started), and at the end what was acknowledged is there once and the audit log proves itself.
//!
//! A few rounds in `make test`, 50 in `make soak`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use cluster::load::Load;
use cluster::postgres::NoTls;
use cluster::random::seed;
use cluster::{Cluster, SUPERUSER, kill_process, rounds};

/// The processes that are one of: a writer's backend, a background worker of the extension, any process but the postmaster.
const VICTIMS: [(&str, &str); 3] = [
    ("backend", "backend_type = 'client backend' AND pid <> pg_backend_pid()"),
    ("worker", "backend_type LIKE 'memory%'"),
    ("process", "backend_type NOT IN ('client backend', 'logger')"),
];

/// The server takes connections, though not at once.
fn is_back(cluster: &Cluster) {
    let patience = Instant::now() + Duration::from_secs(60);
    while cluster.config("app", SUPERUSER).connect(NoTls).is_err() {
        assert!(
            Instant::now() < patience,
            "the server does not come back: {}",
            cluster.log()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Violations, archival and seals go on beside the writers, each with its own worker or transaction.
fn housekeeping(cluster: &Cluster) {
    if let Ok(mut client) = cluster.config("app", SUPERUSER).connect(NoTls) {
        let _ = client.batch_execute("SELECT memory.run_archival('0', 20)");
        let _ = client.batch_execute("SELECT memory.seal_audit_log()");
    }
    if let Ok(mut client) = cluster.config("app", "stranger").connect(NoTls) {
        let _ = client.batch_execute("SELECT memory.set_security_context('load', 'x')");
    }
}

#[test]
fn kill_9_at_random_loses_nothing_that_was_acknowledged() {
    let mut random = seed();
    let rounds = rounds(6, 50);
    let cluster = Cluster::with(
        "kills",
        true,
        &[
            "max_connections = 40",
            "restart_after_crash = on",
            "memory.worker_databases = 'app'",
            "memory.worker_naptime = '1s'",
        ],
    );
    Load::prepare(&cluster, "app");
    cluster.psql(
        "app",
        "CREATE ROLE stranger LOGIN; SELECT memory.grant_access('stranger', 'service', '{}')",
    );
    let load = Load::onto(&cluster, "app");
    let (mut killed, mut longest) = (BTreeMap::<String, u32>::new(), Duration::ZERO);
    load.beside(4, || {
        for round in 0..rounds {
            load.wait_for(30);
            housekeeping(&cluster);
            thread::sleep(Duration::from_micros(random.below(20_000)));
            let began = Instant::now();
            if round % 4 == 3 {
                cluster.kill();
                *killed.entry("server".into()).or_default() += 1;
                cluster.start();
            } else {
                let (_, condition) = VICTIMS[round % 4];
                let mut client = cluster.connect("app", SUPERUSER);
                let sql = format!(
                    "SELECT pid, backend_type FROM pg_stat_activity WHERE {condition} ORDER BY random() LIMIT 1"
                );
                let Some(row) = client.query_opt(&sql, &[]).unwrap() else {
                    *killed.entry("nobody: no worker ran".into()).or_default() += 1;
                    continue;
                };
                kill_process(row.get(0));
                *killed.entry(row.get(1)).or_default() += 1;
                // All sessions end: only then is a new one of the server that came back.
                let ended = Instant::now() + Duration::from_secs(30);
                while client.simple_query("").is_ok() && Instant::now() < ended {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            is_back(&cluster);
            load.wait_for(1);
            longest = longest.max(began.elapsed());
        }
        load.wait_for(30);
    });
    println!(
        "{rounds} rounds, killed {killed:?}; {} writes acknowledged; back to writing within {longest:?}; errors {:?}",
        load.writes(),
        load.errors()
    );
    load.verify(&mut cluster.connect("app", SUPERUSER));
    assert_eq!(
        cluster
            .psql(
                "app",
                "SELECT count(*) FROM memory.resolve_canonical_tenant('load') WHERE found"
            )
            .trim(),
        "1"
    );
}
