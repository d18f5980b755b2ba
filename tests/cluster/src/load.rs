//! Writers that remember what was acknowledged to them, for tests in which servers fail: whatever happens to the server, [`Load::verify`] finds
//! every acknowledged write once, nothing that was never asked for, an audit row for each event, an audit log that proves itself, and `memory.verify()`
//! with nothing to say.
//!
//! A writer logs events one by one and stores one entity of its own over and over; what was not acknowledged it sends again or gives up, as
//! applications do. It connects again after each error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::{Cluster, SUPERUSER};

/// A writer's event: its number and the writer's.
type Event = (usize, u64);

/// What one writer did to its entity.
#[derive(Clone, Copy, Default)]
struct Entity {
    acknowledged: u64,
    tried: u64,
}

pub struct Load {
    /// Where the writers write to; a test changes it when another server takes over.
    target: Mutex<Config>,
    over: AtomicBool,
    acknowledged: Mutex<BTreeSet<Event>>,
    asked: Mutex<BTreeSet<Event>>,
    entities: Mutex<BTreeMap<usize, Entity>>,
    /// How often each SQLSTATE was the answer; `connection` where the server was gone.
    errors: Mutex<BTreeMap<String, u64>>,
    writes: AtomicU64,
}

impl Load {
    /// Onto a database that `prepare` was called for.
    pub fn onto(cluster: &Cluster, database: &str) -> Self {
        Self {
            target: Mutex::new(cluster.config(database, SUPERUSER)),
            over: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            asked: Mutex::default(),
            entities: Mutex::default(),
            errors: Mutex::default(),
            writes: AtomicU64::new(0),
        }
    }

    /// A database with the extension and the tenant that writers write to.
    pub fn prepare(cluster: &Cluster, database: &str) {
        cluster.create_database(database);
        cluster.psql(database, "INSERT INTO memory.tenants (slug) VALUES ('load')");
    }

    /// From here on the writers write to another server.
    pub fn turn_to(&self, cluster: &Cluster, database: &str) {
        *self.target.lock().unwrap() = cluster.config(database, SUPERUSER);
    }

    /// Runs `work` while so many writers write, and ends them whatever comes of it.
    pub fn beside<R>(&self, writers: usize, work: impl FnOnce() -> R) -> R {
        self.over.store(false, Ordering::Relaxed);
        let done = thread::scope(|scope| {
            for writer in 0..writers {
                scope.spawn(move || self.write(writer));
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            self.over.store(true, Ordering::Relaxed);
            done
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits until so many more writes have been acknowledged.
    pub fn wait_for(&self, more: u64) {
        let (before, patience) = (self.writes(), Instant::now() + Duration::from_secs(60));
        while self.writes() < before + more {
            assert!(
                Instant::now() < patience,
                "nothing is acknowledged any more; errors: {:?}",
                self.errors()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many writes were acknowledged.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How often each SQLSTATE was the answer.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap().clone()
    }

    fn write(&self, writer: usize) {
        let mut next = self
            .asked
            .lock()
            .unwrap()
            .range((writer, 0)..=(writer, u64::MAX))
            .count() as u64;
        while !self.over.load(Ordering::Relaxed) {
            let target = self.target.lock().unwrap().clone();
            let Ok(mut client) = target.connect(NoTls) else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            while !self.over.load(Ordering::Relaxed) {
                if let Err(error) = self.step(&mut client, writer, next) {
                    let code = error.code().map_or("connection", |code| code.code());
                    *self.errors.lock().unwrap().entry(code.to_owned()).or_default() += 1;
                    // Every other one is given up.
                    next += next % 2;
                    thread::sleep(Duration::from_millis(1));
                    if client.is_closed() || client.simple_query("").is_err() {
                        break;
                    }
                    continue;
                }
                next += 1;
            }
        }
    }

    fn step(&self, client: &mut Client, writer: usize, number: u64) -> Result<(), postgres::Error> {
        let user = format!("writer{writer}");
        self.asked.lock().unwrap().insert((writer, number));
        client.execute(
            "SELECT memory.log_event($1, 'log', jsonb_build_object('n', $2::text), $2, tenant => 'load', user_id => $3)",
            &[&format!("session{}", number / 50), &number.to_string(), &user],
        )?;
        self.acknowledged.lock().unwrap().insert((writer, number));
        self.writes.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(5) {
            self.entities.lock().unwrap().entry(writer).or_default().tried += 1;
            client.execute(
                "SELECT memory.store_node('{\"entity_system\": \"load\", \"entity_id\": 1}', 'domain_entity',
                                          tenant => 'load', user_id => $1)",
                &[&user],
            )?;
            self.entities.lock().unwrap().entry(writer).or_default().acknowledged += 1;
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Every acknowledged write is there once, nothing else is, each event has its audit row, and the audit log proves itself.
    pub fn verify(&self, client: &mut Client) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let lost = self.verify_but(client, &acknowledged);
        assert!(lost.is_empty(), "{} acknowledged events are lost: {lost:?}", lost.len());
        self.verify_entities(client);
        let broken = "SELECT coalesce(string_agg(v::text, '; '), '') FROM memory.verify() v WHERE NOT ok";
        let broken: String = client.query_one(broken, &[]).unwrap().get(0);
        assert!(broken.is_empty(), "verify(): {broken}");
    }

    /// The same for a server that may lack the newest writes, as one restored to a moment: what it has is what was asked for. Gives the
    /// acknowledged events that are missing.
    pub fn verify_but(&self, client: &mut Client, acknowledged: &BTreeSet<(usize, u64)>) -> BTreeSet<(usize, u64)> {
        let rows = client
            .query(
                "SELECT substr(user_id, 7)::int, event_id::bigint, count(*), bool_and(payload->>'n' = event_id)
                 FROM (SELECT tenant_id, user_id, event_id, payload FROM memory.events
                       UNION ALL SELECT tenant_id, user_id, event_id, payload FROM memory.agent_events_archive) e
                 WHERE tenant_id = memory.tenant_id('load') GROUP BY 1, 2",
                &[],
            )
            .unwrap();
        let mut found = BTreeSet::new();
        for row in &rows {
            let event: Event = (row.get::<_, i32>(0) as usize, row.get::<_, i64>(1) as u64);
            assert_eq!(row.get::<_, i64>(2), 1, "{event:?} is there more than once");
            assert!(row.get::<_, bool>(3), "{event:?} has another payload");
            found.insert(event);
        }
        let asked = self.asked.lock().unwrap();
        let invented: Vec<_> = found.difference(&asked).collect();
        assert!(invented.is_empty(), "nobody asked for {invented:?}");
        let missing: BTreeSet<Event> = acknowledged.difference(&found).copied().collect();
        let unaudited: i64 = client
            .query_one(
                "SELECT count(*)
                 FROM memory.events e
                 LEFT JOIN (SELECT a.user_id, a.row_key->>'session_id' AS session_id, a.row_key->>'event_id' AS event_id, count(*) AS rows
                            FROM memory.audit_log a WHERE a.table_name = 'events' AND a.operation = 'INSERT' GROUP BY 1, 2, 3) a
                     ON (a.user_id, a.session_id, a.event_id) = (e.user_id, e.session_id, e.event_id)
                 WHERE e.tenant_id = memory.tenant_id('load') AND a.rows IS DISTINCT FROM 1",
                &[],
            )
            .unwrap()
            .get(0);
        assert_eq!(unaudited, 0, "events without exactly one audit row");
        prove_audit(client);
        missing
    }

    fn verify_entities(&self, client: &mut Client) {
        let rows = client
            .query(
                "SELECT substr(user_id, 7)::int, (content->>'update_count')::bigint + 1, access_count::bigint
                 FROM memory.nodes WHERE tenant_id = memory.tenant_id('load')",
                &[],
            )
            .unwrap();
        let entities = self.entities.lock().unwrap();
        let mut found = BTreeSet::new();
        for row in &rows {
            let (writer, stored, accessed) = (
                row.get::<_, i32>(0) as usize,
                row.get::<_, i64>(1),
                row.get::<_, i64>(2),
            );
            let Entity { acknowledged, tried } = entities[&writer];
            assert!(found.insert(writer), "writer {writer}'s entity is there twice");
            assert_eq!(stored, accessed, "writer {writer}: update_count and access_count part");
            assert!(
                (acknowledged..=tried).contains(&(stored as u64)),
                "writer {writer}'s entity was stored {stored} times; {acknowledged} acknowledged, {tried} tried"
            );
        }
        let stored = entities.iter().filter(|(_, entity)| entity.acknowledged > 0);
        for (writer, _) in stored {
            assert!(found.contains(writer), "writer {writer}'s entity is lost");
        }
    }
}

/// The audit log is sealed, and nothing in it was changed.
pub fn prove_audit(client: &mut Client) {
    client.execute("SELECT memory.seal_audit_log()", &[]).unwrap();
    let row = client
        .query_one(
            "SELECT count(*), coalesce(string_agg(v::text, '; ') FILTER (WHERE NOT ok), '') FROM memory.verify_audit_log() v",
            &[],
        )
        .unwrap();
    let (seals, broken): (i64, String) = (row.get(0), row.get(1));
    assert!(seals > 0 && broken.is_empty(), "of {seals} seals: {broken}");
}
