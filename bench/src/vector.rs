//! Vectors: the ten nearest of one user's 1,000 among 100,000, and of a user who has 100,000 (milliseconds per search at the client,
//! the median of all queries). What each finds of the true ten stands beside its name.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use cluster::postgres::{Client, Statement};
use cluster::{Cluster, SUPERUSER};
use pgvector::Vector;

use crate::batches::NODE_OF;
use crate::measure::{Job, Side, left_out, sized};
use crate::rival::{self, Rival};

const QUERIES: i32 = 100;
const WANTED: usize = 10;

/// Vectors as models make them: around a thousand topics, as far from their topic as topics are from each other. A point's number is in
/// its node's id.
const SET_UP: &str = "
    CREATE FUNCTION gaussian(seed int) RETURNS vector LANGUAGE sql VOLATILE AS $$
        SELECT array_agg(sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))::real[]::vector FROM generate_series(1, 384) WHERE seed IS NOT NULL
    $$;
    SELECT setseed(0.5);
    CREATE TABLE topics AS SELECT i AS number, gaussian(i) AS center FROM generate_series(0, 999) i;
    CREATE TABLE exact AS
        SELECT i AS number, 'user-' || i % USERS AS user_id, (t.center + gaussian(i))::vector(384) AS embedding
        FROM generate_series(1, POINTS) i JOIN topics t ON t.number = i * 7919 % 1000;
    CREATE TABLE hnsw AS TABLE exact;
    CREATE TABLE queries AS
        SELECT i AS number, 'user-' || i % USERS AS user_id, (t.center + gaussian(i))::vector(384) AS embedding
        FROM generate_series(1, QUERIES) i JOIN topics t ON t.number = i * 31 % 1000;
    CREATE INDEX ON exact (user_id);
    SET maintenance_work_mem = '1GB';
    CREATE INDEX ON hnsw USING hnsw (embedding vector_cosine_ops);
    INSERT INTO memory.tenants (slug) VALUES ('many'), ('one');
    CREATE ROLE bench_vectors LOGIN;
    SELECT memory.grant_access('bench_vectors', 'service');
    GRANT SELECT ON exact, hnsw TO bench_vectors;
    SELECT memory.create_embedding_space('model', 384);
    SET session_replication_role = replica;
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
        SELECT t.id, CASE t.slug WHEN 'one' THEN 'one' ELSE p.user_id END, node_of(p.number), '{}', 'domain_entity'
        FROM exact p, memory.tenants t ORDER BY t.slug, p.number;
    DO $$
    DECLARE
        space text := (SELECT relation FROM memory.embedding_spaces);
        near text := pg_get_indexdef(('memory.' || space || '_near')::regclass);
    BEGIN
        -- moved at once, as index_embeddings() moves them in batches
        EXECUTE format('DROP INDEX memory.%I', space || '_near');
        EXECUTE format('INSERT INTO memory.%I (tenant_id, user_id, node_id, embedding, indexed)
            SELECT t.id, CASE t.slug WHEN ''one'' THEN ''one'' ELSE p.user_id END, node_of(p.number), p.embedding, t.slug = ''one''
            FROM exact p, memory.tenants t ORDER BY p.number', space);
        EXECUTE near;
    END $$;
    RESET session_replication_role";

/// A query: whose, and the vector, which goes in binary.
struct Asked {
    user: String,
    vector: Vector,
    /// The true ten, of the user's and of all.
    own: HashSet<i32>,
    all: HashSet<i32>,
}

type Asking = Rc<Vec<Asked>>;

/// A way to search: a statement of the vector ($1) and the user ($2).
struct Way {
    client: RefCell<Client>,
    statement: Statement,
    asking: Asking,
    /// Whether the context is set to this tenant's user first, and to which user if not the query's.
    context: Option<(&'static str, Option<&'static str>)>,
}

impl Way {
    fn new(
        cluster: &Cluster,
        asking: &Asking,
        settings: &str,
        sql: &str,
        context: Option<(&'static str, Option<&'static str>)>,
    ) -> Rc<Self> {
        let mut client = cluster.connect(DATABASE, "bench_vectors");
        client
            .batch_execute(&format!(
                "SET jit = off; SET max_parallel_workers_per_gather = 0; {settings}"
            ))
            .unwrap();
        let statement = client.prepare(sql).unwrap();
        Rc::new(Self {
            client: RefCell::new(client),
            statement,
            asking: Rc::clone(asking),
            context,
        })
    }

    /// The median of all queries in milliseconds, and what they found.
    fn run(&self) -> (f64, Vec<HashSet<i32>>) {
        let mut client = self.client.borrow_mut();
        let (mut times, mut found) = (Vec::new(), Vec::new());
        for asked in self.asking.iter() {
            if let Some((tenant, user)) = self.context {
                let user = user.unwrap_or(&asked.user);
                client
                    .execute(
                        "SELECT memory.set_security_context($1, $2, is_local => false)",
                        &[&tenant, &user],
                    )
                    .unwrap();
            }
            let start = Instant::now();
            let rows = client.query(&self.statement, &[&asked.vector, &asked.user]).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            found.push(rows.iter().map(|row| row.get::<_, i32>(0)).collect());
        }
        (median(times), found)
    }

    fn side(self: &Rc<Self>) -> Side<'static> {
        let way = Rc::clone(self);
        Box::new(move || way.run().0)
    }

    /// What share of the true ten is found.
    fn recall(&self, truth: fn(&Asked) -> &HashSet<i32>) -> f64 {
        recall(&self.asking, &self.run().1, truth)
    }
}

fn recall(asking: &Asking, found: &[HashSet<i32>], truth: fn(&Asked) -> &HashSet<i32>) -> f64 {
    let hit: usize = asking
        .iter()
        .zip(found)
        .map(|(asked, found)| truth(asked).intersection(found).count())
        .sum();
    hit as f64 / (asking.len() * WANTED) as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const DATABASE: &str = "vectors";

/// Ours: the number is in the last half of the id.
const SEARCH: &str = "SELECT ('x' || right(node_id::text, 8))::bit(32)::int
     FROM memory.search(embedding => $1::vector, max_results => 10) WHERE $2::text IS NOT NULL";

/// Loads the vectors and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    // A thousand of each.
    let users: i32 = sized(100, 10);
    let points = users * 1000;
    cluster.create_database(DATABASE);
    let mut owner = cluster.connect(DATABASE, SUPERUSER);
    eprintln!("vectors: loading {points}, and building indexes; minutes");
    let set_up = SET_UP
        .replace("POINTS", &points.to_string())
        .replace("USERS", &users.to_string())
        .replace("QUERIES", &QUERIES.to_string());
    owner.batch_execute(NODE_OF).unwrap();
    owner.batch_execute(&set_up).unwrap();
    owner.batch_execute("VACUUM ANALYZE").unwrap();
    let asking = asking(&mut owner);

    let nearest = |table: &str, of: &str| {
        format!("SELECT number FROM {table} WHERE {of} ORDER BY embedding <=> (SELECT $1::vector) LIMIT 10")
    };
    let way = |settings: &str, sql: &str, context| Way::new(cluster, &asking, settings, sql, context);
    let ours = way("", SEARCH, Some(("many", None)));
    let large = way("", SEARCH, Some(("one", Some("one"))));
    let planner = way("", &nearest("hnsw", "user_id = $2"), None);
    let iterative = way(
        "SET hnsw.iterative_scan = relaxed_order; SET enable_seqscan = off",
        &nearest("hnsw", "user_id = $2"),
        None,
    );
    let exact = way("", &nearest("exact", "user_id = $2"), None);
    let plain = way(
        "SET enable_seqscan = off",
        &nearest("hnsw", "$2::text IS NOT NULL"),
        None,
    );

    let of_user = format!(
        "vectors: 1,000 of {points}, recall {:.3}",
        ours.recall(|asked| &asked.own)
    );
    let of_all = format!("vectors: all {points}, recall {:.3}", large.recall(|asked| &asked.all));
    let job = |of: &str, rival: String, ours: &Rc<Way>, side: Side<'static>, goal| Job {
        name: format!("{of} / {rival}"),
        unit: "ms",
        ours: ours.side(),
        rival: side,
        goal,
    };
    let named =
        |name: &str, way: &Rc<Way>, truth: fn(&Asked) -> &HashSet<i32>| format!("{name} ({:.3})", way.recall(truth));
    let mut jobs = vec![
        job(&of_user, "0.5 ms".to_owned(), &ours, Box::new(|| 0.5), Some(1.0)),
        job(
            &of_user,
            named("planner's choice with HNSW", &planner, |a| &a.own),
            &ours,
            planner.side(),
            None,
        ),
        job(
            &of_user,
            named("HNSW, iterative scan", &iterative, |a| &a.own),
            &ours,
            iterative.side(),
            None,
        ),
        job(
            &of_user,
            named("exact, B-tree and sort", &exact, |a| &a.own),
            &ours,
            exact.side(),
            None,
        ),
        job(&of_all, "3 ms".to_owned(), &large, Box::new(|| 3.0), Some(1.0)),
        job(
            &of_all,
            named("pgvector's HNSW alone", &plain, |a| &a.all),
            &large,
            plain.side(),
            None,
        ),
    ];
    match qdrant(cluster, &mut owner) {
        Some(mut qdrant) => {
            let name = format!(
                "qdrant-edge ({:.3})",
                recall(&asking, &ask_qdrant(&mut qdrant).1, |a| &a.own)
            );
            jobs.push(job(
                &of_user,
                name,
                &ours,
                Box::new(move || ask_qdrant(&mut qdrant).0),
                Some(0.5),
            ));
        }
        None => left_out("qdrant-edge", &rival::how("qdrant-edge-py")),
    }
    jobs
}

/// The queries, with the true ten.
fn asking(client: &mut Client) -> Asking {
    let sql = "SELECT q.user_id, q.embedding,
            ARRAY(SELECT e.number FROM exact e WHERE e.user_id = q.user_id ORDER BY e.embedding <=> q.embedding LIMIT 10),
            ARRAY(SELECT e.number FROM exact e ORDER BY e.embedding <=> q.embedding LIMIT 10)
        FROM queries q ORDER BY q.number";
    let rows = client.query(sql, &[]).unwrap();
    let asked = rows.iter().map(|row| Asked {
        user: row.get(0),
        vector: row.get(1),
        own: row.get::<_, Vec<i32>>(2).into_iter().collect(),
        all: row.get::<_, Vec<i32>>(3).into_iter().collect(),
    });
    Rc::new(asked.collect())
}

/// qdrant-edge in a Python of its own, which holds the same vectors. None where Python cannot import it.
fn qdrant(cluster: &Cluster, client: &mut Client) -> Option<Rival> {
    if !rival::has("qdrant_edge") {
        return None;
    }
    let folder = cluster::root().join("target/bench-vectors");
    std::fs::create_dir_all(&folder).unwrap();
    for (file, sql) in [
        (
            "points.tsv",
            "SELECT number, user_id, embedding FROM exact ORDER BY number",
        ),
        ("queries.tsv", "SELECT user_id, embedding FROM queries ORDER BY number"),
    ] {
        let mut rows = client.copy_out(&format!("COPY ({sql}) TO STDOUT")).unwrap();
        let mut file = std::fs::File::create(folder.join(file)).unwrap();
        std::io::copy(&mut rows, &mut file).unwrap();
    }
    eprintln!("vectors: loading qdrant-edge, on {}", cluster.name());
    Rival::start("qdrant.py", &[&folder])
}

/// The median of all queries in milliseconds, and what they found.
fn ask_qdrant(qdrant: &mut Rival) -> (f64, Vec<HashSet<i32>>) {
    serde_json::from_str(&qdrant.ask("again")).expect("what the script prints")
}
