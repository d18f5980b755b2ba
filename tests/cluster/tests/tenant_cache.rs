//! The tenant cache on servers of their own: too small, flooded, shared by databases, without preload, replicated.

use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

fn sources(client: &mut Client, identifiers: &[String]) -> Vec<String> {
    let rows = client
        .query(
            "SELECT source FROM memory.resolve_canonical_tenants($1)",
            &[&identifiers],
        )
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// uuid (as text), source.
fn resolve(client: &mut Client, identifier: &str) -> (Option<String>, String) {
    let row = client
        .query_one(
            "SELECT uuid::text, source FROM memory.resolve_canonical_tenant($1)",
            &[&identifier],
        )
        .unwrap();
    (row.get(0), row.get(1))
}

fn source(client: &mut Client, identifier: &str) -> String {
    resolve(client, identifier).1
}

/// size, evictions, whether it is shared.
fn stats(client: &mut Client) -> (i64, i64, bool) {
    let row = client
        .query_one("SELECT size, evictions, shared FROM memory.tenant_cache_stats()", &[])
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

fn add(client: &mut Client, slug: &str) {
    client
        .execute("INSERT INTO memory.tenants (slug) VALUES ($1)", &[&slug])
        .unwrap();
}

fn wait_until(what: &str, most: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < most, "not within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cache_smaller_than_its_keys_evicts_and_stays_right() {
    let cluster = Cluster::with("small", true, &["memory.tenant_cache_size = 16"]);
    cluster.create_database("app");
    let mut client = cluster.connect("app", SUPERUSER);
    client
        .batch_execute("INSERT INTO memory.tenants (slug) SELECT 't' || n FROM generate_series(1, 1000) AS n")
        .unwrap();
    for _ in 0..3 {
        let wrong: i64 = client
            .query_one(
                "SELECT count(*) FROM memory.tenants AS t,
                    memory.resolve_canonical_tenant(t.slug) AS s, memory.resolve_canonical_tenant(t.id::text) AS i,
                    memory.resolve_canonical_tenant('no-' || t.slug) AS n
                 WHERE s.uuid <> t.id OR s.slug <> t.slug OR NOT s.found OR i.slug <> t.slug OR NOT i.found OR n.found",
                &[],
            )
            .unwrap()
            .get(0);
        assert_eq!(wrong, 0);
    }
    let (size, evictions, _) = stats(&mut client);
    assert!((8..=16).contains(&size), "size {size}");
    assert!(evictions > 5000, "evictions {evictions}");
    // what is asked for again and again stays
    let often = ["t1".to_owned(), "t1".to_owned()];
    assert_eq!(sources(&mut client, &often)[1], "db-slug-cache");
}

#[test]
fn a_flood_of_unknown_identifiers_leaves_the_known_ones() {
    let cluster = Cluster::with("flood", true, &["memory.tenant_cache_size = 64"]);
    cluster.create_database("app");
    let mut client = cluster.connect("app", SUPERUSER);
    let known: Vec<String> = (0..12).map(|n| format!("known-{n}")).collect();
    for slug in &known {
        add(&mut client, slug);
    }
    sources(&mut client, &known);
    for round in 0..20 {
        let unknown: Vec<String> = (0..1000)
            .map(|n| match n % 3 {
                0 => format!("{round:08x}-0000-7000-8000-{n:012x}"),
                1 => "x".repeat(64) + &n.to_string(),
                _ => format!("unknown-{round}-{n}"),
            })
            .collect();
        sources(&mut client, &unknown);
        for (slug, source) in known.iter().zip(sources(&mut client, &known)) {
            assert_eq!(source, "db-slug-cache", "{slug}");
        }
    }
    let (size, _, _) = stats(&mut client);
    assert!(
        size <= 12 + 64 / 8,
        "{size} entries: the unknown have more than their eighth"
    );
}

#[test]
fn two_databases_with_the_same_slug_are_two_tenants() {
    let cluster = Cluster::new("twodb");
    // A copy: the OIDs of the two tables are the same.
    cluster.create_database("one");
    cluster
        .connect("postgres", SUPERUSER)
        .batch_execute("CREATE DATABASE two TEMPLATE one")
        .unwrap();
    let mut clients = ["one", "two"].map(|database| {
        let mut client = cluster.connect(database, SUPERUSER);
        add(&mut client, "acme");
        client
    });
    let answers = [0, 1].map(|i| resolve(&mut clients[i], "acme"));
    assert_ne!(answers[0].0, answers[1].0);
    for (client, (id, _)) in clients.iter_mut().zip(&answers) {
        assert_eq!(resolve(client, "acme"), (id.clone(), "db-slug-cache".to_owned()));
    }
    // one database's tenant is unknown to the other, by its id too
    let id = answers[0].0.clone().unwrap();
    assert_eq!(source(&mut clients[0], &id), "db-id");
    assert_eq!(source(&mut clients[1], &id), "uuid-input");
    clients[0].batch_execute("DELETE FROM memory.tenants").unwrap();
    assert_eq!(source(&mut clients[0], "acme"), "slug-input");
    assert_eq!(resolve(&mut clients[1], "acme").0, answers[1].0);
}

#[test]
fn an_extension_made_anew_has_no_ghosts() {
    for preload in [true, false] {
        let cluster = Cluster::with("ghosts", preload, &[]);
        cluster.create_database("app");
        let mut maker = cluster.connect("app", SUPERUSER);
        let mut other = cluster.connect("app", SUPERUSER);
        let mut idle = cluster.connect("app", SUPERUSER);
        for round in 0..3 {
            add(&mut maker, "acme");
            let (id, _) = resolve(&mut maker, "acme");
            assert_eq!(resolve(&mut other, "acme").0, id);
            assert!(source(&mut other, "acme").ends_with("-cache"));
            assert_eq!(resolve(&mut idle, "acme").0, id);
            // idle has an open transaction, and what it knows of the catalog from before
            idle.batch_execute("BEGIN").unwrap();
            assert_eq!(source(&mut idle, "acme"), "db-slug-cache");
            if round == 0 {
                maker
                    .batch_execute("DROP EXTENSION memory_ext; CREATE EXTENSION memory_ext")
                    .unwrap();
            } else {
                let making = "BEGIN; DROP EXTENSION memory_ext; CREATE EXTENSION memory_ext; COMMIT";
                maker.batch_execute(making).unwrap();
            }
            if let Ok(row) = idle.query_one("SELECT found FROM memory.resolve_canonical_tenant('acme')", &[]) {
                assert!(
                    !row.get::<_, bool>(0),
                    "preload {preload}: a ghost in an open transaction"
                );
            }
            idle.batch_execute("ROLLBACK").unwrap();
            for (name, client) in [("maker", &mut maker), ("other", &mut other), ("idle", &mut idle)] {
                let row = client
                    .query_one("SELECT found, source FROM memory.resolve_canonical_tenant('acme')", &[])
                    .unwrap();
                assert!(!row.get::<_, bool>(0), "preload {preload}: a ghost in {name}");
            }
            add(&mut maker, "acme");
            let (new, _) = resolve(&mut other, "acme");
            assert!(new.is_some() && new != id);
            assert_eq!(resolve(&mut idle, "acme").0, new);
            maker.batch_execute("DELETE FROM memory.tenants").unwrap();
        }
        // dropped and rolled back: everything is as it was
        add(&mut maker, "acme");
        let (id, _) = resolve(&mut maker, "acme");
        maker
            .batch_execute("BEGIN; DROP EXTENSION memory_ext; ROLLBACK")
            .unwrap();
        assert_eq!(resolve(&mut maker, "acme").0, id);
        assert_eq!(resolve(&mut other, "acme").0, id);
        // dropped for good: nothing answers, and nothing falls over
        maker.batch_execute("DROP EXTENSION memory_ext").unwrap();
        for client in [&mut maker, &mut other] {
            let error = client.execute("SELECT memory.tenant_id('acme')", &[]).unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42883", "{error}");
        }
    }
}

#[test]
fn without_preload_each_backend_has_a_cache_as_fresh() {
    let cluster = Cluster::with("own", false, &["max_prepared_transactions = 4"]);
    cluster.create_database("app");
    let mut writer = cluster.connect("app", SUPERUSER);
    let mut reader = cluster.connect("app", SUPERUSER);
    add(&mut writer, "acme");
    // a backend's own: what one has read the other has not
    assert_eq!(source(&mut writer, "acme"), "db-slug");
    assert_eq!(source(&mut writer, "acme"), "db-slug-cache");
    assert_eq!(source(&mut reader, "acme"), "db-slug");
    assert_eq!(source(&mut reader, "acme"), "db-slug-cache");
    assert!(!stats(&mut reader).2);
    // every kind of change, seen by a reader in a transaction that began before
    let rename = "UPDATE memory.tenants SET slug = 'renamed' WHERE slug = 'acme'";
    let back = "UPDATE memory.tenants SET slug = 'acme' WHERE slug = 'renamed'";
    for change in [
        rename.to_owned(),
        format!("BEGIN; {rename}; COMMIT"),
        format!("BEGIN; SAVEPOINT s; {rename}; RELEASE s; COMMIT"),
        format!("SET session_replication_role = replica; {rename}; RESET session_replication_role"),
        format!("BEGIN; {rename}; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'"),
    ] {
        for open in ["", "BEGIN"] {
            reader.batch_execute(open).unwrap();
            source(&mut reader, "acme");
            assert_eq!(source(&mut reader, "acme"), "db-slug-cache");
            for statement in change.split("; ") {
                writer.batch_execute(statement).unwrap();
            }
            assert_eq!(source(&mut reader, "acme"), "slug-input", "{change}");
            assert_eq!(source(&mut reader, "renamed"), "db-slug", "{change}");
            assert_eq!(source(&mut reader, "renamed"), "db-slug-cache", "{change}");
            reader.batch_execute("COMMIT").unwrap();
            assert_eq!(source(&mut writer, "acme"), "slug-input", "{change}");
            writer.batch_execute(back).unwrap();
            assert_eq!(source(&mut reader, "acme"), "db-slug", "{change}");
        }
    }
    // undone: the own backend too finds what was
    for undo in ["ROLLBACK", "ROLLBACK TO s; COMMIT"] {
        writer.batch_execute(&format!("BEGIN; SAVEPOINT s; {rename}")).unwrap();
        assert_eq!(source(&mut writer, "acme"), "slug-input");
        assert!(source(&mut reader, "acme").starts_with("db-slug"));
        writer.batch_execute(undo).unwrap();
        assert!(source(&mut writer, "acme").starts_with("db-slug"));
        assert!(source(&mut reader, "acme").starts_with("db-slug"));
    }
    // an old snapshot
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .unwrap();
    writer.batch_execute(rename).unwrap();
    assert_eq!(source(&mut reader, "acme"), "db-slug");
    assert_eq!(source(&mut reader, "acme"), "db-slug");
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(source(&mut reader, "acme"), "slug-input");
    writer.batch_execute("TRUNCATE memory.tenants CASCADE").unwrap();
    assert_eq!(source(&mut reader, "renamed"), "slug-input");
    assert_eq!(source(&mut reader, "renamed"), "slug-input-cache");
}

#[test]
fn a_restart_and_a_crash_leave_nothing_stale() {
    let cluster = Cluster::with("crashed", true, &["max_prepared_transactions = 4"]);
    cluster.create_database("app");
    let mut client = cluster.connect("app", SUPERUSER);
    add(&mut client, "acme");
    source(&mut client, "acme");
    // a change is prepared, the server dies, and it is committed afterwards
    client
        .batch_execute("BEGIN; UPDATE memory.tenants SET slug = 'renamed' WHERE slug = 'acme'; PREPARE TRANSACTION 'p'")
        .unwrap_or_else(|error| panic!("{error}"));
    cluster.kill();
    cluster.start();
    let mut client = cluster.connect("app", SUPERUSER);
    // as long as it is prepared, the table is read
    assert_eq!(source(&mut client, "acme"), "db-slug");
    assert_eq!(source(&mut client, "acme"), "db-slug");
    client.batch_execute("COMMIT PREPARED 'p'").unwrap();
    assert_eq!(source(&mut client, "acme"), "slug-input");
    assert_eq!(source(&mut client, "acme"), "slug-input-cache");
    assert_eq!(source(&mut client, "renamed"), "db-slug");
    // one backend is killed: PostgreSQL starts all others anew, with an empty cache
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut witness = cluster.connect("app", SUPERUSER);
    cluster::kill_process(pid);
    wait_until("the server ends all sessions", Duration::from_secs(30), || {
        witness.simple_query("").is_err()
    });
    wait_until("the server is back", Duration::from_secs(30), || {
        cluster
            .config("app", SUPERUSER)
            .connect(cluster::postgres::NoTls)
            .is_ok()
    });
    let mut client = cluster.connect("app", SUPERUSER);
    assert_eq!(source(&mut client, "renamed"), "db-slug");
    assert_eq!(source(&mut client, "renamed"), "db-slug-cache");
}

#[test]
fn logical_replication_keeps_a_subscribers_cache_fresh() {
    let conf = ["wal_level = logical", "max_prepared_transactions = 4"];
    let publisher = Cluster::with("publisher", true, &conf);
    let subscriber = Cluster::with("subscriber", true, &conf);
    for (two_phase, database) in [(false, "one"), (true, "two")] {
        publisher.create_database(database);
        subscriber.create_database(database);
        let mut from = publisher.connect(database, SUPERUSER);
        let mut to = subscriber.connect(database, SUPERUSER);
        add(&mut from, "acme");
        assert_eq!(source(&mut to, "acme"), "slug-input");
        from.batch_execute("CREATE PUBLICATION tenants FOR TABLE memory.tenants")
            .unwrap();
        from.execute(
            &format!("SELECT pg_create_logical_replication_slot('{database}', 'pgoutput', false, {two_phase})"),
            &[],
        )
        .unwrap();
        to.batch_execute(&format!(
            "CREATE SUBSCRIPTION tenants CONNECTION 'host={} port=5432 user={SUPERUSER} dbname={database}'
             PUBLICATION tenants WITH (create_slot = false, slot_name = {database}, two_phase = {two_phase})",
            publisher.socket_folder()
        ))
        .unwrap();
        let mut changes = vec![
            "INSERT INTO memory.tenants (slug) VALUES ('other')",
            "UPDATE memory.tenants SET slug = 'renamed' WHERE slug = 'acme'",
            "DELETE FROM memory.tenants WHERE slug = 'other'",
            "UPDATE memory.tenants SET slug = 'acme' WHERE slug = 'renamed'",
            "TRUNCATE memory.tenants CASCADE",
            "INSERT INTO memory.tenants (slug) VALUES ('acme')",
        ];
        if two_phase {
            changes.push(
                "BEGIN; UPDATE memory.tenants SET slug = 'two-phase' WHERE slug = 'acme'; PREPARE TRANSACTION 'p'",
            );
            changes.push("COMMIT PREPARED 'p'");
        }
        let slugs = ["acme", "renamed", "other", "two-phase"];
        for change in std::iter::once("").chain(changes) {
            from.batch_execute(change).unwrap();
            if change.starts_with("BEGIN") {
                // fill the subscriber's cache while the change is prepared there
                wait_until(
                    "the transaction is prepared at the subscriber",
                    Duration::from_secs(20),
                    || {
                        let warm = slugs.map(|slug| source(&mut to, slug));
                        assert!(warm[0].starts_with("db-slug"), "{warm:?}");
                        let row = to.query_one("SELECT count(*) FROM pg_prepared_xacts", &[]).unwrap();
                        row.get::<_, i64>(0) == 1
                    },
                );
                continue;
            }
            let table = "SELECT coalesce(string_agg(slug, ' ' ORDER BY slug), '') FROM memory.tenants";
            let wanted: String = from.query_one(table, &[]).unwrap().get(0);
            let start = Instant::now();
            loop {
                // The table's content first, then the resolver: an answer is no older than what is committed.
                let seen: String = to.query_one(table, &[]).unwrap().get(0);
                let answers = slugs.map(|slug| source(&mut to, slug).starts_with("db-slug"));
                let after: String = to.query_one(table, &[]).unwrap().get(0);
                if seen == after {
                    for (slug, found) in slugs.iter().zip(answers) {
                        let there = seen.split(' ').any(|s| s == *slug);
                        // Between becoming visible and the worker's acknowledgement a moment may pass.
                        let settled = start.elapsed() > Duration::from_secs(3);
                        assert!(
                            found == there || !settled,
                            "{change}: {slug} found: {found}, table: {seen}"
                        );
                    }
                    let agree = slugs
                        .iter()
                        .zip(answers)
                        .all(|(s, found)| found == seen.split(' ').any(|t| t == *s));
                    if seen == wanted && agree {
                        break;
                    }
                }
                assert!(
                    start.elapsed() < Duration::from_secs(30),
                    "{change}: {seen} instead of {wanted}"
                );
            }
        }
        to.batch_execute("ALTER SUBSCRIPTION tenants DISABLE; ALTER SUBSCRIPTION tenants SET (slot_name = NONE)")
            .unwrap();
        to.batch_execute("DROP SUBSCRIPTION tenants").unwrap();
    }
}

#[test]
fn a_standby_reads_and_its_delay_is_bounded_by_the_time_to_live() {
    let primary = Cluster::with("primary", true, &["memory.tenant_cache_ttl = '700ms'"]);
    primary.create_database("app");
    let mut writer = primary.connect("app", SUPERUSER);
    writer
        .batch_execute(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             CREATE ROLE service LOGIN; CREATE ROLE app LOGIN;
             SELECT memory.grant_access('service', 'service', '{acme}'), memory.grant_access('app', 'app')",
        )
        .unwrap();
    let standby = primary.standby("standby", &[]);
    let mut reader = standby.connect("app", "app");
    assert!(
        reader
            .query_one("SELECT pg_is_in_recovery()", &[])
            .unwrap()
            .get::<_, bool>(0)
    );
    assert_eq!(source(&mut reader, "acme"), "db-slug");
    assert_eq!(source(&mut reader, "acme"), "db-slug-cache");
    assert_eq!(source(&mut reader, ""), "empty");
    assert_eq!(source(&mut reader, "none"), "slug-input");
    // contexts and snapshots work where nothing can be written
    let mut service = standby.connect("app", "service");
    service
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT memory.set_security_context('acme', 'u', sealed => true)",
        )
        .unwrap();
    let user: String = service
        .query_one("SELECT memory.current_user_id()", &[])
        .unwrap()
        .get(0);
    assert_eq!(user, "u");
    assert_eq!(source(&mut service, "acme"), "db-slug-cache");
    service.batch_execute("COMMIT").unwrap();
    // a change on the primary
    assert!(source(&mut reader, "acme").starts_with("db-slug"));
    writer
        .batch_execute("UPDATE memory.tenants SET slug = 'renamed' WHERE slug = 'acme'")
        .unwrap();
    let written: String = writer
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .unwrap()
        .get(0);
    let mut superuser = standby.connect("app", SUPERUSER);
    wait_until("the standby has replayed the change", Duration::from_secs(20), || {
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        superuser.query_one(&replayed, &[]).unwrap().get(0)
    });
    let replayed = Instant::now();
    wait_until("the answer is new", Duration::from_millis(2000), || {
        source(&mut reader, "acme").starts_with("slug-input")
    });
    assert!(
        replayed.elapsed() < Duration::from_millis(900),
        "{:?}",
        replayed.elapsed()
    );
    assert!(source(&mut reader, "renamed").starts_with("db-slug"));
    // promoted, it is as fresh as any server
    superuser.query_one("SELECT pg_promote()", &[]).unwrap();
    superuser
        .batch_execute("UPDATE memory.tenants SET slug = 'promoted' WHERE slug = 'renamed'")
        .unwrap();
    assert_eq!(source(&mut reader, "renamed"), "slug-input");
    assert_eq!(source(&mut reader, "promoted"), "db-slug");
}
