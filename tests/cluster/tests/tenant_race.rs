//! Eight backends for ten seconds, one of them changing tenants in every way there is: no answer is older than what had been
//! acknowledged when it was asked for, and none tells of what was rolled back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::random::Random;
use cluster::{Cluster, SUPERUSER};

const TENANTS: usize = 12;
const READERS: u64 = 7;
const DURATION: Duration = Duration::from_secs(10);

/// What never is committed.
const DECOY: u64 = 0xdead;

/// A tenant has the slug `moves-N` and an id that says its version; odd versions are deleted.
#[derive(Default)]
struct Tenant {
    /// The version whose commit may have begun.
    begun: AtomicU64,
    /// The version whose commit has been acknowledged.
    acknowledged: AtomicU64,
}

fn slug(tenant: usize) -> String {
    format!("moves-{tenant}")
}

fn id(tenant: usize, version: u64) -> String {
    format!("{tenant:08x}-0000-7000-8000-{version:012x}")
}

/// The statement that brings a tenant to a version.
fn change(tenant: usize, version: u64) -> String {
    let (slug, id) = (slug(tenant), id(tenant, version));
    match version % 2 {
        1 => format!("DELETE FROM memory.tenants WHERE slug = '{slug}'"),
        _ => format!(
            "INSERT INTO memory.tenants (id, slug) VALUES ('{id}', '{slug}')
             ON CONFLICT (slug) DO UPDATE SET id = excluded.id"
        ),
    }
}

fn write(client: &mut Client, tenants: &[Tenant], stop: &AtomicBool) -> u64 {
    let mut random = Random(42);
    let mut changes = 0;
    while !stop.load(Ordering::Relaxed) {
        let tenant = random.place(TENANTS);
        let version = tenants[tenant].begun.load(Ordering::SeqCst) + 1 + random.below(2);
        let (change, decoy) = (change(tenant, version), change(tenant, DECOY - DECOY % 2));
        let way = random.below(8);
        if way == 0 {
            client.batch_execute(&format!("BEGIN; {decoy}; ROLLBACK")).unwrap();
            continue;
        }
        if way == 1 {
            client
                .batch_execute(&format!("BEGIN; {decoy}; PREPARE TRANSACTION 'w'"))
                .unwrap();
            client.batch_execute("ROLLBACK PREPARED 'w'").unwrap();
            continue;
        }
        tenants[tenant].begun.store(version, Ordering::SeqCst);
        match way {
            2 => {
                client.batch_execute(&format!("BEGIN; {change}; PREPARE TRANSACTION 'w'")).unwrap();
                client.batch_execute("COMMIT PREPARED 'w'").unwrap();
            }
            3 => client
                .batch_execute(&format!("BEGIN; SAVEPOINT s; {decoy}; ROLLBACK TO s; SAVEPOINT t; {change}; RELEASE t; COMMIT"))
                .unwrap(),
            4 => client
                .batch_execute(&format!("BEGIN; SET LOCAL session_replication_role = replica; {change}; COMMIT"))
                .unwrap(),
            5 => client
                .batch_execute(&format!(
                    "BEGIN; CREATE TEMP TABLE others ON COMMIT DROP AS SELECT * FROM memory.tenants; TRUNCATE memory.tenants;
                     INSERT INTO memory.tenants SELECT * FROM others; {change}; COMMIT"
                ))
                .unwrap(),
            _ => client.batch_execute(&change).unwrap(),
        }
        tenants[tenant].acknowledged.store(version, Ordering::SeqCst);
        changes += 1;
    }
    changes
}

/// Asks once; the version that the answer tells, None where it says 'not found'.
fn ask(client: &mut Client, how: u64, tenant: usize) -> (Option<u64>, String) {
    let slug = slug(tenant);
    let row = match how {
        0 => client.query_one(
            "SELECT uuid::text, source FROM memory.resolve_canonical_tenants(ARRAY['', $1, 'x']) OFFSET 1 LIMIT 1",
            &[&slug],
        ),
        _ => client.query_one(
            "SELECT uuid::text, source FROM memory.resolve_canonical_tenant($1)",
            &[&slug],
        ),
    };
    let row = row.unwrap();
    let version = row.get::<_, Option<String>>(0).map(|id| {
        let (of, version) = (&id[..8], &id[24..]);
        assert_eq!(of, format!("{tenant:08x}"), "another tenant's id");
        u64::from_str_radix(version, 16).unwrap()
    });
    (version, row.get(1))
}

/// Whether the answer was true at some time between the two versions.
fn holds(answer: Option<u64>, from: u64, to: u64) -> bool {
    match answer {
        Some(version) => version % 2 == 0 && (from..=to).contains(&version),
        None => from % 2 == 1 || to > from,
    }
}

/// The end of a change of versions, begun before, is no older than what the answer may be.
fn check(client: &mut Client, how: u64, tenants: &[Tenant], tenant: usize, hits: &mut u64) -> Option<u64> {
    let from = tenants[tenant].acknowledged.load(Ordering::SeqCst);
    let (answer, source) = ask(client, how, tenant);
    let to = tenants[tenant].begun.load(Ordering::SeqCst);
    assert!(
        holds(answer, from, to),
        "tenant {tenant}: {answer:?} ({source}) where {from} was acknowledged before and {to} begun after"
    );
    *hits += u64::from(source.ends_with("-cache"));
    answer
}

fn read(client: &mut Client, reader: u64, tenants: &[Tenant], stop: &AtomicBool) -> (u64, u64) {
    let mut random = Random(1000 + reader);
    let (mut calls, mut hits) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let tenant = random.place(TENANTS);
        let way = random.below(20);
        match way {
            // a transaction that goes on while changes are committed
            0 => {
                client
                    .batch_execute("BEGIN; SELECT FROM memory.resolve_canonical_tenant('moves-0')")
                    .unwrap();
                for _ in 0..30 {
                    let tenant = random.place(TENANTS);
                    check(client, random.below(4), tenants, tenant, &mut hits);
                    calls += 1;
                }
                client.batch_execute("COMMIT").unwrap();
            }
            // a snapshot: what it said first, it says always; but TRUNCATE is not MVCC-safe and empties old snapshots too
            1 => {
                client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
                let from = tenants[tenant].acknowledged.load(Ordering::SeqCst);
                let mut first = None;
                for _ in 0..10 {
                    let (answer, source) = ask(client, random.below(4), tenant);
                    let to = tenants[tenant].begun.load(Ordering::SeqCst);
                    first = first.or(answer);
                    assert!(
                        answer.is_none() || answer == first && holds(answer, from, to),
                        "tenant {tenant}: {answer:?} ({source}) where this snapshot said {first:?}, {from} to {to}"
                    );
                    calls += 1;
                }
                client.batch_execute("COMMIT").unwrap();
            }
            _ => {
                check(client, random.below(4), tenants, tenant, &mut hits);
                calls += 1;
            }
        }
    }
    (calls, hits)
}

fn race(cluster: &Cluster) {
    cluster.create_database("app");
    let tenants: Vec<Tenant> = std::iter::repeat_with(Tenant::default).take(TENANTS).collect();
    let mut setup = cluster.connect("app", SUPERUSER);
    for tenant in 0..TENANTS {
        setup.batch_execute(&change(tenant, 0)).unwrap();
    }
    let stop = AtomicBool::new(false);
    let (tenants, stop) = (&tenants[..], &stop);
    let (changes, calls, hits) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let mut client = cluster.connect("app", SUPERUSER);
                scope.spawn(move || read(&mut client, reader, tenants, stop))
            })
            .collect();
        let mut client = cluster.connect("app", SUPERUSER);
        let writer = scope.spawn(move || write(&mut client, tenants, stop));
        let end = Instant::now() + DURATION;
        while Instant::now() < end && !readers.iter().any(|reader| reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        let changes = writer.join().unwrap();
        let (mut calls, mut hits) = (0, 0);
        for reader in readers {
            let (more_calls, more_hits) = reader.join().expect("a reader's answer was wrong");
            calls += more_calls;
            hits += more_hits;
        }
        (changes, calls, hits)
    });
    println!("{changes} changes, {calls} answers checked, {hits} of them from the cache");
    assert!(changes > 100 && calls > 1000 && hits > 100);
}

#[test]
fn eight_backends_see_no_answer_older_than_what_was_acknowledged() {
    race(&Cluster::with("race", true, &["max_prepared_transactions = 4"]));
}

#[test]
fn nor_do_they_with_a_cache_of_their_own() {
    race(&Cluster::with("ownrace", false, &["max_prepared_transactions = 4"]));
}
