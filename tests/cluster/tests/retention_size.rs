//! Retention at size: what has expired goes in bounded batches, in time linear to it, beside writers whom it does not stop.
//!
//! MEMORY_EXT_ROWS says how many rows; `make test` takes few. Ten million (the figures in docs/maintenance.md):
//! MEMORY_EXT_ROWS=10000000 scripts/test cluster:retention_size

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

const WRITERS: usize = 2;
/// As src/ops/job.rs has it.
const BATCH: i64 = 20_000;

/// Milliseconds that calls of log_event() took, sorted.
fn write_until(cluster: &Cluster, writer: usize, over: &AtomicBool) -> Vec<f64> {
    let mut client = cluster.connect("app", SUPERUSER);
    let context = "SELECT memory.set_security_context('acme', $1, service_name => 'x', is_local => false)";
    client.execute(context, &[&format!("writer-{writer}")]).unwrap();
    let log = client
        .prepare("SELECT memory.log_event('s', 'log', '{\"text\": \"beside\"}')")
        .unwrap();
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        client.execute(&log, &[]).unwrap();
        took.push(start.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    took
}

/// What writers' calls took while `work` ran: how many, the median, the 99th of a hundred.
fn beside(cluster: &Cluster, work: impl FnOnce()) -> (usize, f64, f64) {
    let over = AtomicBool::new(false);
    let mut took: Vec<f64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let over = &over;
                    move || write_until(cluster, writer, over)
                })
            })
            .collect();
        work();
        over.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    took.sort_by(f64::total_cmp);
    (took.len(), took[took.len() / 2], took[took.len() * 99 / 100])
}

fn sizes(client: &mut Client) -> String {
    let sql = "SELECT pg_size_pretty(pg_table_size(c)) || ' and ' || pg_size_pretty(pg_indexes_size(c))
               FROM (SELECT 'memory.agent_events_archive'::regclass AS c) AS t";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn what_has_expired_goes_in_bounded_batches_beside_writers() {
    let rows: i64 = std::env::var("MEMORY_EXT_ROWS").map_or(100_000, |rows| rows.parse().unwrap());
    let cluster = Cluster::with(
        "retention",
        true,
        &["max_wal_size = '8GB'", "maintenance_work_mem = '256MB'"],
    );
    cluster.create_database("app");
    let mut admin = cluster.connect("app", SUPERUSER);
    // Past the audit, which would be a second table as large.
    admin
        .batch_execute(&format!(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             SET session_replication_role = replica;
             INSERT INTO memory.agent_events_archive (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload, archived_at, created_at)
             SELECT memory.tenant_id('acme'), 'user-' || i % 1000, 'session-' || i / 100, i::text, 'log', now() - interval '2 years', '{{\"_tenant\": {{}}, \"text\": \"some words of a message\"}}',
                    now() - interval '2 years', now() - interval '2 years'
             FROM generate_series(1, {rows}) AS i;
             INSERT INTO memory.agent_events_archive (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload, archived_at, created_at)
             SELECT memory.tenant_id('acme'), 'user-' || i % 1000, 'young', i::text, 'log', now(), '{{\"_tenant\": {{}}}}', now(), now() FROM generate_series(1, 1000) AS i;
             RESET session_replication_role;
             SELECT memory.set_retention_policy('events_archive', '1 year');"
        ))
        .unwrap();
    admin
        .batch_execute("VACUUM ANALYZE memory.agent_events_archive")
        .unwrap();
    admin.batch_execute("CHECKPOINT").unwrap();
    println!("{rows} rows: table and indexes {}", sizes(&mut admin));
    let alone = beside(&cluster, || {
        std::thread::sleep(Duration::from_secs(if rows > 1_000_000 { 60 } else { 3 }))
    });
    let start = Instant::now();
    let busy = beside(&cluster, || admin.batch_execute("CALL memory.maintain()").unwrap());
    let mut took = start.elapsed();
    // A turn is five minutes: the next goes on.
    let left = "SELECT count(*) FROM memory.agent_events_archive";
    while admin.query_one(left, &[]).unwrap().get::<_, i64>(0) > 1000 {
        let start = Instant::now();
        admin.batch_execute("CALL memory.maintain()").unwrap();
        took += start.elapsed();
    }
    println!(
        "gone in {:.1} s; table and indexes {}",
        took.as_secs_f64(),
        sizes(&mut admin)
    );
    admin.batch_execute("VACUUM memory.agent_events_archive").unwrap();
    println!("after VACUUM: {}", sizes(&mut admin));
    for (what, (calls, median, p99)) in [("alone", alone), ("beside it", busy)] {
        println!("log_event() {what}: {calls} calls, median {median:.2} ms, p99 {p99:.2} ms");
    }
    let row = admin
        .query_one("SELECT sum(rows)::bigint, sum(batches)::bigint, max(seconds), count(error) FROM memory.job_runs WHERE job = 'retention'", &[])
        .unwrap();
    let (gone, batches): (i64, i64) = (row.get(0), row.get(1));
    println!("{batches} batches");
    assert_eq!((gone, row.get::<_, i64>(3)), (rows, 0));
    assert!(batches >= rows / BATCH, "{batches} batches");
    // On a machine that others use, the double that is promised cannot be told from noise: this says only that nobody waits for a batch's end.
    assert!(busy.2 < 20.0 * alone.2.max(5.0), "{busy:?} beside, {alone:?} alone");
}
