//! Many clients at once, each in a context of its own: how much all of them get done, how long one waits for its answer, and what
//! backends wait for. No comparison of ours with a rival by a single number, so a table of its own; rivals stand in it where there are any.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};
use serde_json::{Value, json};

use crate::measure::{left_out, sized};
use crate::redis::{Redis, Server};

const DATABASE: &str = "clients";
/// By which the sampler knows them.
const NAME: &str = "bench client";
const TENANTS: i32 = 1_000;

const SET_UP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('acme');
    INSERT INTO memory.tenants (slug) SELECT 'tenant-' || i FROM generate_series(1, TENANTS) AS i;
    CREATE ROLE bench_clients LOGIN;
    SELECT memory.grant_access('bench_clients', 'service');
    GRANT SELECT ON memory.tenants TO bench_clients;
    SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false);
    SELECT count(*) FROM generate_series(0, USERS - 1) AS u, LATERAL memory.store_nodes((
        SELECT jsonb_agg(jsonb_build_object('content', jsonb_build_object('number', i), 'context_type', 'domain_entity',
            'summary', 'meeting about topic ' || i % 50, 'user_id', 'user-' || u)) FROM generate_series(1, NODES) AS i));
    SELECT memory.save_session('session', '{\"mood\": \"good\", \"step\": 7}', user_id => 'user-' || u)
        FROM generate_series(0, USERS - 1) AS u;
    VACUUM ANALYZE;
";

/// What is asked, of each side: by what name, and its statement, whose $1 counts.
const WORK: &[(&str, &[(&str, &str)])] = &[
    (
        "resolve",
        &[
            ("tenant_id()", "SELECT memory.tenant_id('tenant-' || 1 + $1::int % 1000)"),
            (
                "index lookup",
                "SELECT t.id FROM memory.tenants AS t WHERE t.slug = 'tenant-' || 1 + $1::int % 1000",
            ),
        ],
    ),
    (
        "search",
        &[(
            "search()",
            "SELECT count(*) FROM memory.search('meeting topic ' || $1::int % 50)",
        )],
    ),
    (
        "read a session",
        &[("get_session()", "SELECT metadata::text FROM memory.get_session('session') WHERE $1::int >= 0")],
    ),
    (
        "log an event",
        &[
            (
                "log_event()",
                "SELECT memory.log_event('session', 'message_user', jsonb_build_object('number', $1::int))",
            ),
            (
                "bare INSERT, same table",
                "INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
                 VALUES (memory.current_tenant_id(), memory.current_user_id(), 'session', memory.uuid_v7()::text, 'message_user',
                     jsonb_build_object('number', $1::int))",
            ),
        ],
    ),
    (
        "store a node",
        &[
            (
                "store_node()",
                "SELECT memory.store_node(jsonb_build_object('number', $1::int), 'domain_entity', 'short')",
            ),
            (
                "bare INSERT, same table",
                "INSERT INTO memory.nodes (tenant_id, user_id, content, context_type, summary)
                 VALUES (memory.current_tenant_id(), memory.current_user_id(), jsonb_build_object('number', $1::int), 'domain_entity', 'short')",
            ),
        ],
    ),
];

/// The same of Redis: its commands, of which #u is the user and #i counts.
const REDIS: &[(&str, &[&str])] = &[
    ("resolve", &["GET", "tenant:#i"]),
    ("read a session", &["HGETALL", "session:#u"]),
    (
        "log an event",
        &[
            "XADD",
            "events:#u",
            "*",
            "event_type",
            "message_user",
            "payload",
            "{\"number\": #i}",
        ],
    ),
];

struct Row {
    work: &'static str,
    side: String,
    clients: usize,
    per_second: f64,
    /// In microseconds.
    half: f64,
    most: f64,
    /// Of a hundred backends that are at work, how many wait for this; what they do else is running.
    waits: Vec<(String, f64)>,
}

pub struct Clients {
    rows: Vec<Row>,
}

/// Does the work once; the number counts.
type Ask = Box<dyn FnMut(i32) + Send>;

impl Clients {
    pub fn measure(cluster: &Cluster) -> Self {
        let counts: &[usize] = sized(&[1, 8, 64], &[1, 8]);
        let users = counts[counts.len() - 1];
        eprintln!("clients: loading");
        cluster.create_database(DATABASE);
        let mut owner = cluster.connect(DATABASE, SUPERUSER);
        let set_up = SET_UP
            .replace("TENANTS", &TENANTS.to_string())
            .replace("USERS", &users.to_string())
            .replace("NODES", sized("1000", "200"));
        for statement in set_up.split(";\n") {
            owner.batch_execute(statement).unwrap();
        }
        let redis = Server::start();
        match &redis {
            Some(redis) => fill(redis, users),
            None => left_out("Redis", "apt install redis-server, or have redis-server in PATH"),
        }
        let mut rows = Vec::new();
        for (work, sides) in WORK {
            for &clients in counts {
                for (side, statement) in *sides {
                    eprintln!("clients: {clients} on {work}, {side}");
                    let asks = (0..clients).map(|user| ask(cluster, user, statement)).collect();
                    rows.push(drive(cluster, work, side, asks));
                }
                let Some(redis) = &redis else { continue };
                for (_, command) in REDIS.iter().filter(|(of, _)| of == work) {
                    let name = format!("Redis {}", command[0]);
                    eprintln!("clients: {clients} on {work}, {name}");
                    let asks = (0..clients).map(|user| ask_redis(redis, user, command)).collect();
                    rows.push(drive(cluster, work, &name, asks));
                }
            }
        }
        Clients { rows }
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let waits: BTreeMap<&str, f64> = row.waits.iter().map(|(name, share)| (name.as_str(), *share)).collect();
            json!({ "work": row.work, "side": row.side, "clients": row.clients, "per_second": row.per_second,
                    "p50_us": row.half, "p99_us": row.most, "waits": waits })
        };
        self.rows.iter().map(row).collect()
    }
}

/// A backend of its own, in its user's context.
fn ask(cluster: &Cluster, user: usize, statement: &str) -> Ask {
    let mut config = cluster.config(DATABASE, "bench_clients");
    let mut client: Client = config.application_name(NAME).connect(cluster::postgres::NoTls).unwrap();
    client
        .batch_execute(&format!(
            "SELECT memory.set_security_context('acme', 'user-{user}', service_name => 'bench', is_local => false)"
        ))
        .unwrap();
    let statement = client.prepare(statement).unwrap();
    Box::new(move |number| {
        client.execute(&statement, &[&number]).unwrap();
    })
}

fn ask_redis(server: &Server, user: usize, command: &'static [&'static str]) -> Ask {
    let mut redis = server.connect();
    Box::new(move |number| {
        let of_tenant = (1 + number % TENANTS).to_string();
        let words: Vec<String> = command
            .iter()
            .map(|word| word.replace("#u", &user.to_string()).replace("#i", &of_tenant))
            .collect();
        redis.call(&words);
    })
}

fn fill(server: &Server, users: usize) {
    let mut redis: Redis = server.connect();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for tenant in 1..=TENANTS {
        redis.call(&words(&format!(
            "SET tenant:{tenant} 00000000-0000-7000-8000-{tenant:012x}"
        )));
    }
    for user in 0..users {
        redis.call(&words(&format!("HSET session:{user} mood good step 7")));
    }
}

/// Has all of them ask at once for some seconds.
fn drive(cluster: &Cluster, work: &'static str, side: &str, asks: Vec<Ask>) -> Row {
    let clients = asks.len();
    let lasts = Duration::from_millis(sized(4_000, 400));
    let is_over = AtomicBool::new(false);
    let mut sampler = cluster.connect(DATABASE, SUPERUSER);
    let (mut times, waits) = std::thread::scope(|scope| {
        let start = Instant::now();
        let threads: Vec<_> = asks
            .into_iter()
            .enumerate()
            .map(|(place, mut ask)| {
                let is_over = &is_over;
                scope.spawn(move || {
                    // Plans and caches, which are a connection's beginning.
                    (0..20).for_each(&mut ask);
                    let mut times = Vec::new();
                    let mut number = 7919 * place as i32;
                    while !is_over.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        ask(number);
                        times.push(start.elapsed().as_secs_f64() * 1e6);
                        number = (number + 1) % 1_000_000;
                    }
                    times
                })
            })
            .collect();
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        let sql = "SELECT coalesce(wait_event_type || ' ' || wait_event, 'running'), count(*) FROM pg_stat_activity
                   WHERE application_name = $1 AND state = 'active' GROUP BY 1";
        let sql = sampler.prepare(sql).unwrap();
        while start.elapsed() < lasts {
            std::thread::sleep(Duration::from_millis(5));
            for row in sampler.query(&sql, &[&NAME]).unwrap() {
                *seen.entry(row.get(0)).or_default() += row.get::<_, i64>(1) as f64;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let times: Vec<f64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (times, seen)
    });
    times.sort_by(f64::total_cmp);
    let sum: f64 = times.iter().sum();
    let all: f64 = waits.values().sum();
    let mut waits: Vec<(String, f64)> = waits
        .into_iter()
        .filter(|(name, _)| name != "running")
        .map(|(name, count)| (name, 100.0 * count / all))
        .collect();
    waits.sort_by(|a, b| b.1.total_cmp(&a.1));
    Row {
        work,
        side: side.to_owned(),
        clients,
        // Each client asks without a pause, so the mean time says how often.
        per_second: clients as f64 * times.len() as f64 / sum * 1e6,
        half: times[times.len() / 2],
        most: times[times.len() * 99 / 100],
        waits,
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "clients at once | side | clients | per second | p50 us | p99 us | waits, % of working backends"
        )?;
        for row in &self.rows {
            let waits: Vec<String> = row
                .waits
                .iter()
                .filter(|(_, share)| *share >= 1.0)
                .take(3)
                .map(|(name, share)| format!("{name} {share:.0}"))
                .collect();
            let waits = if waits.is_empty() {
                "-".to_owned()
            } else {
                waits.join(", ")
            };
            writeln!(
                f,
                "{:<14} | {:<23} | {:>2} | {:>7.0} | {:>6.0} | {:>7.0} | {waits}",
                row.work, row.side, row.clients, row.per_second, row.half, row.most
            )?;
        }
        Ok(())
    }
}
