//! Graph: walks and shortest paths through one user's graph of 100,000 nodes and a million relationships (milliseconds per question at
//! the client, the median over the start nodes). Both sides ask as the same ordinary role in the same user's context, over the same tables
//! with the same policies.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Instant;

use cluster::postgres::fallible_iterator::FallibleIterator;
use cluster::postgres::types::ToSql;
use cluster::postgres::{Client, Statement};
use cluster::random::Random;
use cluster::{Cluster, SUPERUSER};

use crate::batches::NODE_OF;
use crate::measure::{Job, Side, guards, left_out, quick, sized};

const DATABASE: &str = "graph";
/// How many relationships each node comes with.
const PER_NODE: u64 = 10;
/// Enough of the same walks that what a backend keeps is there before it is measured.
const WARMING: usize = 10;

const SET_UP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('graph');
    CREATE ROLE bench_walker LOGIN;
    SELECT memory.grant_access('bench_walker', 'service');
    CREATE TABLE edges (a bigint, b bigint);
    -- What people write who want no recursion.
    CREATE FUNCTION walk(start uuid, most integer) RETURNS TABLE (id uuid, depth integer) LANGUAGE plpgsql STABLE
    -- The plan for any array reads all of the user's relationships.
    SET plan_cache_mode = force_custom_plan AS $$
    DECLARE
        front uuid[] := ARRAY[start];
        seen uuid[] := front;
    BEGIN
        RETURN QUERY SELECT start, 0;
        FOR step IN 1..most LOOP
            front := ARRAY(SELECT r.to_node_id FROM memory.relationships AS r
                           WHERE r.from_node_id = ANY (front) AND r.valid_to IS NULL
                           EXCEPT SELECT unnest(seen));
            EXIT WHEN front = '{}';
            seen := seen || front;
            RETURN QUERY SELECT unnest(front), step;
        END LOOP;
    END $$;
";

/// Past the functions, and past the triggers: what is measured is the reading.
const LOAD: &str = "
    SET session_replication_role = replica;
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
        SELECT t.id, 'walker', node_of(i), '{}', 'domain_entity' FROM memory.tenants t, generate_series(0, NODES - 1) i;
    INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
        SELECT t.id, 'walker', node_of(e.a), node_of(e.b), 'led_to' FROM memory.tenants t, edges e;
    RESET session_replication_role;
    GRANT CREATE ON SCHEMA public TO bench_walker;
";

/// Nodes and their depths: each node once, at its least depth.
const DEPTHS: &str = "
    WITH RECURSIVE walk (id, depth) AS (
        SELECT $1::uuid, 0
        UNION
        SELECT r.to_node_id, w.depth + 1
        FROM walk AS w JOIN memory.relationships AS r ON r.from_node_id = w.id AND r.valid_to IS NULL
        WHERE w.depth < $2::integer
    )
    SELECT count(*) FROM (SELECT id, min(depth) FROM walk GROUP BY id) AS reached";

const PATHS: &str = "
    WITH RECURSIVE walk (id, depth, path) AS (
        SELECT $1::uuid, 0, ARRAY[$1::uuid]
        UNION ALL
        SELECT r.to_node_id, w.depth + 1, w.path || r.to_node_id
        FROM walk AS w JOIN memory.relationships AS r ON r.from_node_id = w.id AND r.valid_to IS NULL
        WHERE w.depth < $2::integer AND r.to_node_id <> ALL (w.path)
    )
    SELECT count(*) FROM (SELECT DISTINCT ON (id) id, depth, path FROM walk ORDER BY id, depth) AS reached";

const PLPGSQL: &str = "SELECT count(*) FROM walk($1, $2)";

const TRAVERSE: &str = "SELECT count(*) FROM memory.traverse(ARRAY[$1::uuid], $2, paths => false)";

const TRAVERSE_PATHS: &str = "SELECT count(*) FROM memory.traverse(ARRAY[$1::uuid], $2)";

/// The length alone; the walk ends where it finds the end.
const DISTANCE: &str = "
    WITH RECURSIVE walk (id, depth) AS (
        SELECT $1::uuid, 0
        UNION
        SELECT r.to_node_id, w.depth + 1
        FROM walk AS w JOIN memory.relationships AS r ON r.from_node_id = w.id AND r.valid_to IS NULL
        WHERE w.depth < 16
    )
    SELECT depth::bigint FROM walk WHERE id = $2::uuid LIMIT 1";

const SHORTEST: &str = "SELECT max(step)::bigint FROM memory.shortest_path($1, $2)";

/// A uuid as the driver takes it.
fn node(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// Barabási and Albert's: each new node's relationships go to the ends of those that are there, in either direction.
fn preferential(nodes: u64, random: &mut Random) -> Vec<(u64, u64)> {
    let mut pool: Vec<u64> = (0..=PER_NODE).collect();
    let mut edges = Vec::new();
    for new in PER_NODE + 1..nodes {
        let mut others: Vec<u64> = Vec::new();
        while others.len() < PER_NODE as usize {
            let other = random.one_of(&pool);
            if !others.contains(&other) {
                others.push(other);
            }
        }
        for other in others {
            edges.push(if random.below(2) == 0 {
                (new, other)
            } else {
                (other, new)
            });
            pool.extend([new, other]);
        }
    }
    edges
}

/// A connection of the walker's, in its context.
struct Walker {
    client: RefCell<Client>,
}

impl Walker {
    fn new(cluster: &Cluster, settings: &str) -> Rc<Self> {
        let mut client = cluster.connect(DATABASE, "bench_walker");
        client
            .batch_execute(&format!(
                "SELECT memory.set_security_context('graph', 'walker', service_name => 'bench', is_local => false); {settings}"
            ))
            .unwrap();
        Rc::new(Self {
            client: RefCell::new(client),
        })
    }

    fn prepare(&self, sql: &str) -> Statement {
        self.client.borrow_mut().prepare(sql).unwrap()
    }

    fn number(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Option<i64> {
        self.client.borrow_mut().query_one(statement, values).unwrap().get(0)
    }

    /// Reads the rows as they come, and drops them.
    fn read(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> usize {
        let mut client = self.client.borrow_mut();
        let values = values.iter().map(|value| *value as &(dyn ToSql + Sync));
        client.query_raw(statement, values).unwrap().count().unwrap()
    }
}

/// The median over what is asked, in milliseconds, after a few that warm.
fn median_of(asked: usize, mut ask: impl FnMut(usize)) -> f64 {
    (0..WARMING).for_each(|one| ask(one % asked));
    let mut times: Vec<f64> = (0..asked)
        .map(|one| {
            let start = Instant::now();
            ask(one);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[asked / 2]
}

/// Loads the graph and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let nodes = sized(100_000, 10_000);
    eprintln!("graph: loading {nodes} nodes with {PER_NODE} relationships each");
    cluster.create_database(DATABASE);
    let mut owner = cluster.connect(DATABASE, SUPERUSER);
    let mut random = Random(7);
    load(&mut owner, nodes, &mut random);

    let warm = Walker::new(cluster, "");
    let cold = Walker::new(cluster, "SET memory.graph_cache_size = 0");
    let starts: Rc<Vec<u64>> = Rc::new((0..sized(50, 10)).map(|_| random.below(nodes)).collect());
    let reach: Vec<i64> = (1..=4).map(|depth| reach(&warm, &starts, depth)).collect();
    eprintln!("graph: the start nodes reach {reach:?} nodes in 1, 2, 3 and 4 steps (medians)");

    let asked = |walker: &Rc<Walker>, sql: &'static str, depth: i32| -> Side<'static> {
        let (walker, starts) = (Rc::clone(walker), Rc::clone(&starts));
        let statement = walker.prepare(&sql.replace("$1::uuid", "$1").replace("$1", "$1::text::uuid"));
        Box::new(move || {
            median_of(starts.len(), |one| {
                walker.number(&statement, &[&node(starts[one]), &depth]);
            })
        })
    };
    let mut jobs = Vec::new();
    let mut job = |name: String, ours, rival, goal: Option<f64>| {
        // A tenth of the graph tells nothing of the goals, but whether far less is reached.
        let goal = goal.filter(|_| !quick() || guards());
        let name = format!("graph: {name}");
        jobs.push(Job {
            name,
            unit: "ms",
            ours,
            rival,
            goal,
        });
    };
    for (depth, without, with) in [(2, 1.0, 1.0), (3, 8.0, 2.5), (4, 12.0, 8.0)] {
        let walk = format!("k={depth} ({} reached)", reach[depth as usize - 1]);
        let side = |sql| asked(&warm, sql, depth);
        job(
            format!("{walk} / recursive CTE"),
            side(TRAVERSE),
            side(DEPTHS),
            Some(without),
        );
        job(
            format!("{walk}, paths / CTE with path arrays"),
            side(TRAVERSE_PATHS),
            side(PATHS),
            Some(with),
        );
        // A second for each walk at k=4, which would be minutes of a run.
        if depth < 4 {
            job(
                format!("{walk} / plpgsql, level by level"),
                side(TRAVERSE),
                side(PLPGSQL),
                None,
            );
        }
        let goal = match depth {
            2 => Some(1.0),
            3 => Some(2.0),
            _ => None,
        };
        job(
            format!("{walk}, nothing in memory / recursive CTE"),
            asked(&cold, TRAVERSE, depth),
            side(DEPTHS),
            goal,
        );
    }
    let pairs = Rc::new(pairs(&warm, &starts, nodes, &mut random));
    let between = |walker: &Rc<Walker>, sql: &str| -> Side<'static> {
        let (walker, pairs) = (Rc::clone(walker), Rc::clone(&pairs));
        let statement = walker.prepare(&as_text(sql));
        Box::new(move || {
            median_of(pairs.len(), |one| {
                let (from, to) = pairs[one];
                walker.number(&statement, &[&node(from), &node(to)]);
            })
        })
    };
    for (name, walker, goal) in [
        ("shortest path", &warm, Some(70.0)),
        ("shortest path, nothing in memory", &cold, None),
    ] {
        job(
            format!("{name} / recursive CTE"),
            between(walker, SHORTEST),
            between(&warm, DISTANCE),
            goal,
        );
    }
    for depth in [3, 4] {
        let (ours, rival) = ready(&warm, &starts, depth);
        job(
            format!("k={depth}, rows with paths to the client / the same from a table"),
            ours,
            rival,
            Some(0.7),
        );
    }
    left_out(
        "Apache AGE",
        "Debian 12 has no package for PostgreSQL 15; no comparison is written",
    );
    left_out(
        "pgRouting",
        "apt install postgresql-NN-pgrouting, which wants PostGIS; no comparison is written",
    );
    jobs
}

/// uuids go as text: the driver has no type for them.
fn as_text(sql: &str) -> String {
    sql.replace("$1::uuid", "$1")
        .replace("$2::uuid", "$2")
        .replace("$1::uuid", "$1")
        .replace("$1", "$1::text::uuid")
        .replace("$2", "$2::text::uuid")
}

fn load(owner: &mut Client, nodes: u64, random: &mut Random) {
    owner.batch_execute(NODE_OF).unwrap();
    owner.batch_execute(SET_UP).unwrap();
    // VACUUM takes nothing for visible to all whose commit is not on disk yet, and index-only scans would go to the table.
    owner.batch_execute("SET synchronous_commit = on").unwrap();
    let mut into = owner.copy_in("COPY edges FROM STDIN").unwrap();
    for (from, to) in preferential(nodes, random) {
        writeln!(into, "{from}\t{to}").unwrap();
    }
    into.finish().unwrap();
    owner.batch_execute(&LOAD.replace("NODES", &nodes.to_string())).unwrap();
    owner.batch_execute("VACUUM ANALYZE").unwrap();
}

/// How many nodes the start nodes reach, the median; both ways must reach as many.
fn reach(walker: &Walker, starts: &[u64], depth: i32) -> i64 {
    let ours = walker.prepare(&TRAVERSE.replace("$1::uuid", "$1::text::uuid"));
    let theirs = walker.prepare(&DEPTHS.replace("$1::uuid", "$1::text::uuid"));
    let mut reached: Vec<i64> = starts
        .iter()
        .map(|&start| {
            let counts = [&ours, &theirs].map(|statement| walker.number(statement, &[&node(start), &depth]));
            assert_eq!(counts[0], counts[1], "nodes reached from {start} in {depth} steps");
            counts[0].unwrap()
        })
        .collect();
    reached.sort();
    reached[reached.len() / 2]
}

/// From each start node to some node that it reaches; both ways must agree how far that is.
fn pairs(walker: &Walker, starts: &[u64], nodes: u64, random: &mut Random) -> Vec<(u64, u64)> {
    let (ours, theirs) = (walker.prepare(&as_text(SHORTEST)), walker.prepare(&as_text(DISTANCE)));
    let pair = |&start: &u64| {
        for _ in 0..100 {
            let end = random.below(nodes);
            let length = walker.number(&ours, &[&node(start), &node(end)]);
            if length.is_some_and(|length| length > 0) {
                assert_eq!(length, walker.number(&theirs, &[&node(start), &node(end)]));
                return Some((start, end));
            }
        }
        None
    };
    starts.iter().filter_map(pair).collect()
}

/// The same rows, with their paths, from the walk and from tables in which they lie ready; a few start nodes are enough.
fn ready(walker: &Rc<Walker>, starts: &[u64], depth: i32) -> (Side<'static>, Side<'static>) {
    let starts: Vec<u64> = starts.iter().copied().take(9).collect();
    let tables: Vec<Statement> = (0..starts.len())
        .map(|one| {
            let (table, start) = (format!("ready_{depth}_{one}"), node(starts[one]));
            let walk = format!("SELECT * FROM memory.traverse(ARRAY['{start}'::uuid], {depth})");
            let sql = format!("CREATE TABLE {table} AS {walk}; ANALYZE {table}");
            walker.client.borrow_mut().batch_execute(&sql).unwrap();
            walker.prepare(&format!("SELECT node_id, depth, path FROM {table}"))
        })
        .collect();
    let walk = walker.prepare("SELECT node_id, depth, path FROM memory.traverse(ARRAY[$1::text::uuid], $2)");
    let (ours, theirs) = (Rc::clone(walker), Rc::clone(walker));
    (
        Box::new(move || {
            median_of(starts.len(), |one| {
                ours.read(&walk, &[&node(starts[one]), &depth]);
            })
        }),
        Box::new(move || {
            median_of(tables.len(), |one| {
                theirs.read(&tables[one], &[]);
            })
        }),
    )
}
