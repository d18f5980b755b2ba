//! File-level backup and recovery to a moment, by the commands of docs/backup.md.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cluster::load::Load;
use cluster::{Cluster, SUPERUSER, blocks, rounds};

/// The events that are in the database, as `Load` names them.
fn events(cluster: &Cluster) -> BTreeSet<(usize, u64)> {
    let mut client = cluster.connect("shop", SUPERUSER);
    let rows = client
        .query(
            "SELECT substr(user_id, 7)::int, event_id::bigint FROM memory.events WHERE user_id <> 'bulk'",
            &[],
        )
        .unwrap();
    rows.iter()
        .map(|row| (row.get::<_, i32>(0) as usize, row.get::<_, i64>(1) as u64))
        .collect()
}

/// 100,000 events of some 500 bytes, each with its audit row; of sessions of their own.
fn fill(cluster: &Cluster, part: usize) {
    cluster.psql(
        "shop",
        &format!(
            "INSERT INTO memory.tenants (slug) VALUES ('bulk') ON CONFLICT DO NOTHING;
             INSERT INTO memory.sessions (tenant_id, user_id, session_id) VALUES (memory.tenant_id('bulk'), 'bulk', '{part}');
             INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
             SELECT memory.tenant_id('bulk'), 'bulk', '{part}', n, 'log', jsonb_build_object('text', repeat(md5(n::text || '{part}'), 12), 'n', n)
             FROM generate_series(1, 100000) n"
        ),
    );
}

#[test]
fn the_page_s_commands_bring_the_server_back_to_a_moment() {
    let steps = blocks("backup.md", "To any moment", "sh");
    let [backup, restore, prove] = &steps[..] else {
        panic!("{} blocks of commands", steps.len());
    };
    let cluster = Cluster::new("recovery");
    Load::prepare(&cluster, "shop");
    let folder = cluster.socket_folder();
    let (data, copies, log) = (
        format!("{folder}/data"),
        format!("{folder}/backup"),
        format!("{folder}/log"),
    );
    let mut variables = vec![
        ("PGDATA", data.as_str()),
        ("BACKUP", copies.as_str()),
        ("LOG", log.as_str()),
    ];

    let parts = rounds(1, 4);
    (0..parts / 2).for_each(|part| fill(&cluster, part));
    let load = Load::onto(&cluster, "shop");
    // The copy is taken while writers write.
    load.beside(3, || {
        load.wait_for(50);
        cluster.shell(backup, &variables);
        load.wait_for(200);
    });
    (parts / 2..parts).for_each(|part| fill(&cluster, part));
    let before = events(&cluster);
    let moment = cluster.psql("shop", "SELECT clock_timestamp()").trim().to_owned();
    thread::sleep(Duration::from_millis(50));
    load.beside(3, || load.wait_for(200));
    assert!(events(&cluster).len() > before.len());
    let sizes = cluster.psql(
        "shop",
        "SELECT sum(pg_database_size(oid)) / 1e9 FROM pg_database UNION ALL SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') / 1e9",
    );
    let sizes: Vec<f64> = sizes.lines().map(|line| line.parse().unwrap()).collect();
    // The last segment has to be in the archive: what is not there cannot come back.
    let segment = cluster.psql("shop", "SELECT pg_walfile_name(pg_switch_wal())");
    let patience = Instant::now() + Duration::from_secs(120);
    while !Path::new(&copies).join("wal").join(segment.trim()).exists() {
        assert!(Instant::now() < patience, "{segment} is not archived");
        thread::sleep(Duration::from_millis(50));
    }

    variables.push(("MOMENT", moment.as_str()));
    let began = Instant::now();
    cluster.shell(restore, &variables);
    let took = began.elapsed();
    let after = events(&cluster);
    assert_eq!(
        after, before,
        "what was written before the moment, and nothing of what came after it"
    );
    let lost = load.verify_but(&mut cluster.connect("shop", SUPERUSER), &before);
    assert!(lost.is_empty());
    let proof = cluster.shell(prove, &variables);
    assert!(proof.contains("|      0") || proof.contains("| 0"), "{proof}");
    let bulk = cluster.psql("shop", "SELECT count(*) FROM memory.events WHERE user_id = 'bulk'");
    assert_eq!(bulk.trim(), (parts * 100_000).to_string());
    println!(
        "{:.2} GB of databases, of {:.2} GB of write-ahead log, back after {took:?}",
        sizes[0], sizes[1]
    );
    // It serves and takes writes again.
    let again = Load::onto(&cluster, "shop");
    again.beside(1, || again.wait_for(5));
}
