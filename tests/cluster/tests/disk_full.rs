//! A disk that is full: of the tables (a tablespace on a small tmpfs) while sessions are archived and changes audited, and of the write-ahead log.
//! Making one needs the right to mount; where there is none the tests are skipped, and say so.

use std::process::Command;

use cluster::load::Load;
use cluster::{Cluster, SUPERUSER, skip};

/// A small tmpfs on a folder of a server's, taken away with the value.
struct SmallDisk(String);

impl SmallDisk {
    fn on(cluster: &Cluster, name: &str, megabytes: u32) -> Option<Self> {
        let folder = format!("{}/{name}", cluster.socket_folder());
        cluster.shell("mkdir -p \"$FOLDER\"", &[("FOLDER", &folder)]);
        let owner = cluster.shell("echo \"uid=$(id -u),gid=$(id -g)\"", &[]);
        let options = format!("size={megabytes}m,mode=0700,{}", owner.trim());
        match Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "memory_ext", &folder])
            .output()
        {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                skip(&format!(
                    "no tmpfs can be mounted: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                ));
                None
            }
            Err(error) => {
                skip(&format!("no tmpfs can be mounted: {error}"));
                None
            }
        }
    }

    fn grow(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        let grown = Command::new("mount").args(["-o", &options, &self.0]).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server has ended, or is about to.
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

/// Sessions that are there to be archived, whose payloads hardly shrink.
const SESSIONS: &str = "
    SELECT memory.log_events('old' || s, (SELECT jsonb_agg(jsonb_build_object('event_type', 'log', 'event_id', s || '-' || n, 'payload', jsonb_build_object(
        'x', (SELECT string_agg(md5(i || ' ' || s || ' ' || n), '') FROM generate_series(1, 20) i)))) FROM generate_series(1, 60) n), tenant => 'old', user_id => 'old')
    FROM generate_series(1, 40) s;
    SELECT memory.end_session('old' || s, tenant => 'old', user_id => 'old') FROM generate_series(1, 40) s;";

#[test]
fn a_full_tablespace_stops_writes_cleanly_and_archival_goes_on_when_there_is_room() {
    let cluster = Cluster::new("fulltable");
    let Some(disk) = SmallDisk::on(&cluster, "disk", 44) else {
        return;
    };
    let mut admin = cluster.connect("postgres", SUPERUSER);
    admin
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.0))
        .unwrap();
    admin.batch_execute("CREATE DATABASE app TABLESPACE small").unwrap();
    let mut admin = cluster.connect("app", SUPERUSER);
    admin
        .batch_execute(
            "CREATE EXTENSION memory_ext CASCADE; INSERT INTO memory.tenants (slug) VALUES ('load'), ('old')",
        )
        .unwrap();
    admin.batch_execute(SESSIONS).unwrap();
    let events =
        "SELECT count(*), count(DISTINCT event_id) FROM (SELECT event_id FROM memory.events WHERE user_id = 'old'
                  UNION ALL SELECT event_id FROM memory.agent_events_archive WHERE user_id = 'old') e";
    let old_events = || {
        let mut client = cluster.connect("app", SUPERUSER);
        let row = client.query_one(events, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    assert_eq!(old_events(), (2400, 2400));
    let load = Load::onto(&cluster, "app");
    let mut archiver = cluster.connect("app", SUPERUSER);
    // Writers, whose audit fills the disk, and archival, one session a run, until there is no room.
    let refused = load.beside(3, || {
        load.wait_for(20);
        let refused = loop {
            if let Err(error) = archiver.query_one("SELECT more FROM memory.run_archival('0', 1)", &[]) {
                break error;
            }
            archiver
                .batch_execute("CREATE TABLE IF NOT EXISTS ballast (x text);
                                ALTER TABLE ballast ALTER x SET STORAGE EXTERNAL; INSERT INTO ballast VALUES (repeat('x', 400000))")
                .unwrap_or_default();
        };
        // The writers meet it too.
        for _ in 0..200 {
            if load.errors().contains_key("53100") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            let _ = archiver.batch_execute("INSERT INTO ballast VALUES (repeat('x', 8000))");
        }
        refused
    });
    assert_eq!(refused.code().map(|code| code.code()), Some("53100"), "{refused:?}");
    let errors = load.errors();
    assert!(errors.contains_key("53100"), "no writer met the full disk: {errors:?}");
    assert!(errors.keys().all(|code| code == "53100"), "{errors:?}");
    // It reads, what was acknowledged is there, and archived sessions are in one place.
    assert_eq!(old_events(), (2400, 2400));
    assert!(
        admin
            .query_one("SELECT found FROM memory.resolve_canonical_tenant('load')", &[])
            .unwrap()
            .get::<_, bool>(0)
    );
    disk.grow(400);
    while archiver
        .query_one("SELECT more FROM memory.run_archival('0', 5)", &[])
        .unwrap()
        .get(0)
    {}
    assert_eq!(old_events(), (2400, 2400));
    let hot = "SELECT count(*) FROM memory.events WHERE user_id = 'old'";
    assert_eq!(admin.query_one(hot, &[]).unwrap().get::<_, i64>(0), 0);
    load.beside(3, || load.wait_for(60));
    load.verify(&mut admin);
    println!("{} writes acknowledged; errors {errors:?}", load.writes());
    cluster.stop(cluster::Stop::Immediate);
}

/// PostgreSQL stops when it cannot write its log. Started where there is room it has all that was acknowledged.
#[test]
fn a_full_disk_of_the_write_ahead_log_loses_nothing() {
    let cluster = Cluster::with(
        "fullwal",
        true,
        &[
            "max_wal_size = 4GB",
            "checkpoint_timeout = 1h",
            "restart_after_crash = off",
        ],
    );
    Load::prepare(&cluster, "app");
    cluster.stop(cluster::Stop::Fast);
    let Some(disk) = SmallDisk::on(&cluster, "wal", 80) else {
        return;
    };
    let move_there = "cp -a \"$PGHOST/data/pg_wal/.\" \"$PGHOST/wal/\"; rm -r \"$PGHOST/data/pg_wal\"; ln -s \"$PGHOST/wal\" \"$PGHOST/data/pg_wal\"";
    cluster.shell(move_there, &[]);
    cluster.start();
    let load = Load::onto(&cluster, "app");
    let mut filler = cluster.connect("app", SUPERUSER);
    load.beside(3, || {
        load.wait_for(100);
        filler.batch_execute("CREATE TABLE ballast (x text)").unwrap();
        filler
            .batch_execute("ALTER TABLE ballast ALTER x SET STORAGE EXTERNAL")
            .unwrap();
        while filler
            .batch_execute("INSERT INTO ballast VALUES (repeat('x', 1000000))")
            .is_ok()
        {}
    });
    assert!(
        cluster.log().contains("No space left on device"),
        "the log never was full"
    );
    disk.grow(400);
    cluster.stop(cluster::Stop::Immediate);
    cluster.start();
    load.verify(&mut cluster.connect("app", SUPERUSER));
    println!("{} writes acknowledged; errors {:?}", load.writes(), load.errors());
    load.beside(2, || load.wait_for(20));
    cluster.stop(cluster::Stop::Immediate);
}
