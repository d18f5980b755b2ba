//! Growth: what a job of one user's takes while what others have grows to 10 and 100 times as much; and by how much calls make a backend
//! larger. Neither is a comparison, so they are tables of their own.

use std::fmt;

use cluster::calls::{self, Left};
use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};
use serde_json::{Value, json};

use crate::batches::NODE_OF;
use crate::measure::{left_out, sized};

const DATABASE: &str = "growth";
const USER: &str = "bench_growth";
/// What is logarithmic may take this much longer among 100 times as much; what is linear takes up to 100 times as long.
const MOST_TIMES: f64 = 3.0;
/// Of the calls that are counted against memory.
const CALLS: &str = "growth_calls";

const SET_UP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('growth');
    CREATE ROLE bench_growth LOGIN;
    SELECT memory.grant_access('bench_growth', 'service');
";

/// Tenants, and others' nodes, relationships and events, FIRST to LAST, a thousand for each user. The audit's and search's triggers are
/// left out: their rows would be of others as well.
const OTHERS: &str = "
    SET session_replication_role = replica;
    INSERT INTO memory.tenants (slug) SELECT 'tenant-' || i FROM generate_series(FIRST, LAST) i WHERE i % 10 = 0;
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary)
        SELECT memory.tenant_id('growth'), 'user-' || i / 1000, node_of(i), '{}', 'domain_entity', 'of another'
        FROM generate_series(FIRST, LAST) i;
    INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
        SELECT memory.tenant_id('growth'), 'user-' || i / 1000, node_of(i), node_of(i / 1000 * 1000 + i * 7 % 1000), 'led_to'
        FROM generate_series(FIRST, LAST) i;
    INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
        SELECT memory.tenant_id('growth'), 'user-' || i / 1000, 's', 'e' || i, 'message_user', '{}' FROM generate_series(FIRST, LAST) i;
    RESET session_replication_role;
";

/// The user's own: 1,000 nodes (what the jobs store comes to them, some hundreds at each size), through the functions, each with relationships to three others.
const OWN: &str = "
    SELECT memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('content', jsonb_build_object('entity_id', i, 'entity_system', 'own'),
        'context_type', 'domain_entity', 'summary', 'meeting about topic ' || i % 50)) FROM generate_series(1, 1000) i));
    SELECT memory.store_relationships((SELECT jsonb_agg(jsonb_build_object('from_node_id', a.node_id, 'to_node_id', b.node_id,
            'relationship_type', 'led_to'))
        FROM (SELECT row_number() OVER (ORDER BY node_id) AS i, node_id FROM memory.nodes) a
        JOIN (SELECT row_number() OVER (ORDER BY node_id) AS i, node_id FROM memory.nodes) b
            ON b.i IN (a.i * 7 % 1000 + 1, a.i * 11 % 1000 + 1, a.i * 13 % 1000 + 1)));
    SELECT memory.log_event('s', 'message_user', '{}') FROM generate_series(1, 100);
";

/// Where walks start, so that no job looks for it.
const ENDS: &str = "
    CREATE TABLE ends AS SELECT min(node_id::text)::uuid AS first, max(node_id::text)::uuid AS last FROM memory.nodes;
    GRANT SELECT ON ends TO bench_growth;
";

/// A job: its name and its statement, of which #i differs from call to call, from 1 on, and #n is how much there is.
const JOBS: &[(&str, &str)] = &[
    (
        "resolve",
        "SELECT memory.tenant_id('tenant-' || (1 + #i * 7919 % (#n / 10)) * 10)",
    ),
    (
        "log_event",
        "SELECT memory.log_event('s', 'message_user', '{\"text\": \"hello\"}')",
    ),
    (
        "get_events",
        "SELECT count(*) FROM memory.get_events('s', max_events => 50)",
    ),
    (
        "store_node",
        "SELECT memory.store_node('{\"text\": \"hello\"}', 'domain_entity', 'short')",
    ),
    (
        "search",
        "SELECT count(*) FROM memory.search('meeting topic ' || #i % 50)",
    ),
    (
        "traverse, k=2",
        "SELECT count(*) FROM memory.traverse(ARRAY[(SELECT first FROM ends)], 2)",
    ),
    (
        "traverse, k=2, nothing in memory",
        "SET LOCAL memory.graph_cache_size = 0; SELECT count(*) FROM memory.traverse(ARRAY[(SELECT first FROM ends)], 2)",
    ),
];

pub struct Growth {
    sizes: Vec<i64>,
    /// A job's medians, in milliseconds, by size.
    jobs: Vec<(&'static str, Vec<f64>)>,
    /// What each function's calls leave.
    memory: Vec<(String, Left)>,
}

impl Growth {
    pub fn measure(cluster: &Cluster) -> Self {
        cluster.create_database(DATABASE);
        let mut owner = cluster.connect(DATABASE, SUPERUSER);
        owner.batch_execute(NODE_OF).unwrap();
        owner.batch_execute(SET_UP).unwrap();
        owner.batch_execute("SET synchronous_commit = on").unwrap();
        connect(cluster).batch_execute(OWN).unwrap();
        owner.batch_execute(ENDS).unwrap();
        let sizes: Vec<i64> = [1, 10, 100].map(|times| times * sized(10_000, 1_000)).to_vec();
        let mut jobs: Vec<_> = JOBS.iter().map(|(name, _)| (*name, Vec::new())).collect();
        let mut there = 0;
        for &size in &sizes {
            eprintln!("growth: among {size}");
            let (first, last) = ((there + 1).to_string(), size.to_string());
            owner
                .batch_execute(&OTHERS.replace("FIRST", &first).replace("LAST", &last))
                .unwrap();
            owner.batch_execute("VACUUM ANALYZE").unwrap();
            there = size;
            // New to it all, as it is when a server has grown.
            let mut client = connect(cluster);
            for ((_, statement), (_, times)) in JOBS.iter().zip(&mut jobs) {
                times.push(median(&mut client, &statement.replace("#n", &size.to_string())));
            }
        }
        calls::set_up(cluster, CALLS);
        let memory = calls::calls(cluster, CALLS).into_iter().filter_map(|call| {
            eprintln!("growth: memory of {}", call.name);
            match calls::left(cluster, CALLS, &call, sized(0.5, 0.02), sized(1_000_000, 20_000)) {
                Ok(left) => Some((call.name, left)),
                Err(error) => {
                    left_out(&format!("memory of {}", call.name), &error);
                    None
                }
            }
        });
        let memory = memory.collect();
        Growth { sizes, jobs, memory }
    }

    pub fn json(&self) -> Value {
        let jobs = self
            .jobs
            .iter()
            .map(|(name, times)| json!({ "job": name, "ms": times, "logarithmic": grows_little(times) }));
        let memory = self
            .memory
            .iter()
            .map(|(name, left)| json!({ "function": name, "bytes_per_call": left.most(), "calls": left.calls }));
        json!({ "sizes": self.sizes, "jobs": jobs.collect::<Vec<_>>(), "memory": memory.collect::<Vec<_>>() })
    }
}

/// In its user's context for good. Statements go as text, as the jobs differ by numbers in them.
fn connect(cluster: &Cluster) -> Client {
    let mut client = cluster.connect(DATABASE, USER);
    client
        .batch_execute(
            "SELECT memory.set_security_context('growth', 'one', service_name => 'bench', is_local => false)",
        )
        .unwrap();
    client
}

/// Milliseconds of processor time that a call takes of its backend: the median of many after some that warm. Others on the machine have
/// little part in it; what waits for a disk does not show.
fn median(client: &mut Client, statement: &str) -> f64 {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut call = |number: usize| {
        let before = processor(pid);
        client
            .batch_execute(&statement.replace("#i", &number.to_string()))
            .unwrap();
        (processor(pid) - before) / 1e6
    };
    (0..20).for_each(|number| {
        call(number);
    });
    let mut times: Vec<f64> = (20..sized(320, 120)).map(call).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What a process has had of the processors, in nanoseconds.
fn processor(pid: i32) -> f64 {
    let said = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("a kernel with schedstats");
    said.split(' ')
        .next()
        .and_then(|time| time.parse().ok())
        .expect("a number")
}

/// The last size's time over the least of all: the first one's plans may be the worse, as the tables are small.
fn growth(times: &[f64]) -> f64 {
    times[times.len() - 1] / times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn grows_little(times: &[f64]) -> bool {
    growth(times) <= MOST_TIMES
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "ms of a processor per call, among others' nodes, relationships and events | {:?} | last / least | at most {MOST_TIMES}",
            self.sizes
        )?;
        for (name, times) in &self.jobs {
            let shown: Vec<String> = times.iter().map(|time| format!("{time:.3}")).collect();
            let verdict = if grows_little(times) { "yes" } else { "no" };
            let ratio = growth(times);
            writeln!(f, "{name:<33} | {} | {ratio:.2} | {verdict}", shown.join(" | "))?;
        }
        let (little, much): (Vec<_>, Vec<_>) = self.memory.iter().partition(|(_, left)| left.is_little());
        writeln!(
            f,
            "\nbytes that a call leaves until its statement or transaction ends | calls | at most {}",
            calls::MOST_BYTES
        )?;
        for (verdict, functions) in [("yes", &little), ("no", &much)] {
            for (name, left) in functions {
                writeln!(f, "{name:<30} | {:.1} | {} | {verdict}", left.most(), left.calls)?;
            }
        }
        Ok(())
    }
}
