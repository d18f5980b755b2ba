//! File-level backup and recovery to a moment, by the commands of docs/backup.md.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use cluster::load::Load;
use cluster::{Cluster, SUPERUSER, blocks};

/// The events that are in the database, as `Load` names them.
fn events(cluster: &Cluster) -> BTreeSet<(usize, u64)> {
    let mut client = cluster.connect("shop", SUPERUSER);
    let rows = client
        .query(
            "SELECT substr(user_id, 7)::int, event_id::bigint FROM memory.events",
            &[],
        )
        .unwrap();
    rows.iter()
        .map(|row| (row.get::<_, i32>(0) as usize, row.get::<_, i64>(1) as u64))
        .collect()
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

    let load = Load::onto(&cluster, "shop");
    // The copy is taken while writers write.
    load.beside(3, || {
        load.wait_for(50);
        cluster.shell(backup, &variables);
        load.wait_for(200);
    });
    let before = events(&cluster);
    let moment = cluster.psql("shop", "SELECT clock_timestamp()").trim().to_owned();
    thread::sleep(Duration::from_millis(50));
    load.beside(3, || load.wait_for(200));
    assert!(events(&cluster).len() > before.len());
    let size = cluster.psql(
        "shop",
        "SELECT pg_switch_wal(); SELECT sum(pg_database_size(oid)) FROM pg_database",
    );
    let size: f64 = size.lines().last().unwrap().parse().unwrap();
    let archived = "SELECT count(*) FROM pg_stat_archiver WHERE last_archived_wal >= pg_walfile_name('0/0')";
    cluster.psql("shop", archived);
    thread::sleep(Duration::from_millis(500));

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
    println!("{:.1} MB back after {took:?}", size / 1e6);
    // It serves and takes writes again.
    let again = Load::onto(&cluster, "shop");
    again.beside(1, || again.wait_for(5));
}
