//! run_archival under `kill -9`, of its backend and of the whole server, beside writers: what was acknowledged is there
//! afterwards, in exactly one place.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::postgres::{Client, NoTls};
use cluster::random::{Random, seed};
use cluster::{Cluster, SUPERUSER};

const WRITERS: u64 = 4;
const SESSIONS: u64 = 6;

/// What the threads share.
struct Stage {
    cluster: Cluster,
    over: AtomicBool,
    /// (user, session, event) of every event whose logging was acknowledged.
    acknowledged: Mutex<Vec<(String, String, String)>>,
    /// The backend that archives, and how many runs of it were acknowledged.
    archiver: AtomicI32,
    runs: AtomicU64,
    deadlocks: AtomicU64,
}

impl Stage {
    /// A connection, as soon as the server takes one; None when it is all over.
    fn connect(&self) -> Option<Client> {
        while !self.over.load(Ordering::Relaxed) {
            if let Ok(client) = self.cluster.config("app", SUPERUSER).connect(NoTls) {
                return Some(client);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Runs `step` over and over; after an error on a new connection.
    fn repeat(&self, mut step: impl FnMut(&mut Client) -> Result<(), cluster::postgres::Error>) {
        while let Some(mut client) = self.connect() {
            while !self.over.load(Ordering::Relaxed) {
                if let Err(error) = step(&mut client) {
                    if error.code().is_some_and(|code| code.code() == "40P01") {
                        self.deadlocks.fetch_add(1, Ordering::Relaxed);
                    }
                    break;
                }
            }
        }
    }

    /// Logs events into a few sessions, one by one and in batches that two writers share; retries what was not acknowledged, and
    /// now and then what was.
    fn write(&self, writer: u64, seed: u64) {
        let mut random = Random(seed);
        let user = format!("user{}", writer / 2);
        let mut next = 0;
        let mut pending: Option<(String, Vec<String>)> = None;
        self.repeat(|client| {
            let (session, events) = pending.get_or_insert_with(|| {
                let session = format!("session{}", random.below(SESSIONS));
                let mut events = Vec::new();
                for _ in 0..=random.below(3) {
                    next += 1;
                    events.push(format!("{writer}-{next}"));
                }
                // Ids that the other writer of this user logs too, in any order.
                if random.below(4) == 0 {
                    let first = random.below(50);
                    events.extend((0..3).map(|i| format!("shared-{}", (first + i) % 50)));
                    let from = random.below(3) as usize;
                    let length = events.len();
                    events.rotate_left(from % length);
                }
                (session, events)
            });
            if let [event] = &events[..] {
                client.execute(
                    "SELECT memory.log_event($1, 'log', jsonb_build_object('id', $2::text), $2, tenant => 'acme', user_id => $3)",
                    &[session, event, &user],
                )?;
            } else {
                client.execute(
                    "SELECT memory.log_events($1, (SELECT jsonb_agg(jsonb_build_object('event_type', 'log', 'event_id', id,
                         'payload', jsonb_build_object('id', id)) ORDER BY n) FROM unnest($2::text[]) WITH ORDINALITY AS e (id, n)),
                         'acme', $3)",
                    &[session, events, &user],
                )?;
            }
            let (session, events) = pending.take().expect("just logged");
            let mut acknowledged = self.acknowledged.lock().unwrap();
            acknowledged.extend(events.into_iter().map(|event| (user.clone(), session.clone(), event)));
            let old = &acknowledged[random.place(acknowledged.len())];
            if random.below(10) == 0 && old.0 == user {
                pending = Some((old.1.clone(), vec![old.2.clone()]));
            }
            Ok(())
        });
    }

    fn archive(&self) {
        self.repeat(|client| {
            let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
            self.archiver.store(pid, Ordering::Relaxed);
            let done = client.execute("SELECT memory.run_archival('0', 3)", &[]);
            self.archiver.store(0, Ordering::Relaxed);
            done?;
            self.runs.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
            Ok(())
        });
    }

    /// Waits until a run has just begun, and a moment more: -> its backend.
    fn moment(&self, random: &mut Random) -> i32 {
        let runs = self.runs.load(Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_secs(60);
        while self.runs.load(Ordering::Relaxed) < runs + 5 {
            assert!(Instant::now() < patience, "archival does not come back");
            thread::sleep(Duration::from_millis(1));
        }
        loop {
            let pid = self.archiver.load(Ordering::Relaxed);
            if pid != 0 {
                thread::sleep(Duration::from_micros(random.below(6000)));
                return pid;
            }
            std::hint::spin_loop();
        }
    }
}

#[test]
fn a_crash_of_archival_loses_and_doubles_nothing() {
    let kills = cluster::rounds(20, 50) as u64;
    let mut random = seed();
    let stage = Stage {
        cluster: Cluster::with("archkill", true, &["max_connections = 40", "log_min_messages = fatal"]),
        over: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        archiver: AtomicI32::new(0),
        runs: AtomicU64::new(0),
        deadlocks: AtomicU64::new(0),
    };
    stage.cluster.create_database("app");
    stage
        .cluster
        .psql("app", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    thread::scope(|scope| {
        let stage = &stage;
        for writer in 0..WRITERS {
            let seed = random.below(u64::MAX);
            scope.spawn(move || stage.write(writer, seed));
        }
        scope.spawn(|| stage.archive());
        // Whatever goes wrong here, the threads end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for kill in 0..kills {
                let pid = stage.moment(&mut random);
                if kill % 2 == 0 {
                    cluster::kill_process(pid);
                } else {
                    stage.cluster.kill();
                    stage.cluster.start();
                }
            }
            stage.moment(&mut random);
        }));
        stage.over.store(true, Ordering::Relaxed);
        result.unwrap();
    });
    let mut client = stage.cluster.connect("app", SUPERUSER);
    let rows = client
        .query(
            "SELECT user_id, session_id, event_id, count(*), bool_and(payload->>'id' = event_id), bool_or(archived)
             FROM (SELECT user_id, session_id, event_id, payload, false AS archived FROM memory.events
                   UNION ALL SELECT user_id, session_id, event_id, payload, true FROM memory.agent_events_archive) AS e
             GROUP BY 1, 2, 3",
            &[],
        )
        .unwrap();
    let mut found = HashSet::new();
    let mut archived = 0;
    for row in &rows {
        let key: (String, String, String) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(row.get::<_, i64>(3), 1, "{key:?} is there more than once");
        assert!(row.get::<_, bool>(4), "{key:?} has another payload");
        archived += u64::from(row.get::<_, bool>(5));
        found.insert(key);
    }
    let acknowledged = stage.acknowledged.into_inner().unwrap();
    for key in &acknowledged {
        assert!(found.contains(key), "{key:?} is lost");
    }
    let runs = stage.runs.load(Ordering::Relaxed);
    println!(
        "{} acknowledged, {} found, {archived} of them archived, {runs} runs",
        acknowledged.len(),
        found.len()
    );
    assert!(archived > 0 && runs > kills, "nothing was put to the test");
    assert_eq!(stage.deadlocks.load(Ordering::Relaxed), 0, "deadlocks");
}
