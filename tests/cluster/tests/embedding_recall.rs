//! How much of the true nearest a search finds in the index that users with very many embeddings share, by how it holds vectors. The data are
//! made by a generator with a fixed seed; what varies is the order in which the index is built.

use cluster::postgres::Client;
use cluster::random::Random;
use cluster::{Cluster, SUPERUSER};

const VECTORS: usize = 21_000;
const DIMENSIONS: usize = 64;
const QUERIES: usize = 100;
const NEAREST: usize = 10;

/// Like what models give: some hundred topics, each text near one of them.
fn vectors(random: &mut Random, topics: &[Vec<f32>], count: usize) -> Vec<Vec<f32>> {
    (0..count)
        .map(|_| {
            let topic = &topics[random.below(topics.len() as u64) as usize];
            topic.iter().map(|x| x + 0.6 * unit(random)).collect()
        })
        .collect()
}

/// From -1 to 1, more often near 0.
fn unit(random: &mut Random) -> f32 {
    (0..3)
        .map(|_| random.below(20_001) as f32 / 10_000.0 - 1.0)
        .sum::<f32>()
        / 3.0
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn text(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
    format!("[{}]", numbers.join(","))
}

fn id(number: usize) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// As a restore does: no audit, no checks of keys.
fn fill(cluster: &Cluster, client: &mut Client, vectors: &[Vec<f32>]) {
    use std::io::Write;
    let tenant: String = client
        .query_one("SELECT id::text FROM memory.tenants", &[])
        .unwrap()
        .get(0);
    client.batch_execute("SET session_replication_role = replica").unwrap();
    let mut copy = client
        .copy_in("COPY memory.nodes (tenant_id, user_id, node_id, content, context_type) FROM STDIN")
        .unwrap();
    for number in 0..vectors.len() {
        writeln!(copy, "{tenant}\tuser\t{}\t{{}}\ttool_output", id(number)).unwrap();
    }
    copy.finish().unwrap();
    for row in client
        .query("SELECT relation FROM memory.embedding_spaces", &[])
        .unwrap()
    {
        let table: String = row.get(0);
        let sql = format!("COPY memory.{table} (tenant_id, user_id, node_id, embedding) FROM STDIN");
        let mut copy = client.copy_in(&sql).unwrap();
        for (number, vector) in vectors.iter().enumerate() {
            writeln!(copy, "{tenant}\tuser\t{}\t{}", id(number), text(vector)).unwrap();
        }
        copy.finish().unwrap();
    }
    client.batch_execute("RESET session_replication_role").unwrap();
    cluster.psql("d", "VACUUM ANALYZE");
}

/// Which share of the truly nearest the searches find.
fn recall(client: &mut Client, model: &str, queries: &[Vec<f32>], truth: &[Vec<String>]) -> f64 {
    let sql = format!(
        "SELECT node_id::text FROM memory.nearest_nodes($1::text::vector, '{model}', max_results => {NEAREST})"
    );
    let statement = client.prepare(&sql).unwrap();
    let found: usize = queries
        .iter()
        .zip(truth)
        .map(|(query, truth)| {
            let rows = client.query(&statement, &[&text(query)]).unwrap();
            assert_eq!(rows.len(), NEAREST, "{model}");
            rows.iter().filter(|row| truth.contains(&row.get(0))).count()
        })
        .sum();
    found as f64 / (QUERIES * NEAREST) as f64
}

#[test]
fn the_shared_index_finds_nearly_all_of_the_nearest_however_it_holds_vectors() {
    let cluster = Cluster::with("recall", true, &["shared_buffers = '256MB'", "autovacuum = off"]);
    cluster.create_database("d");
    let mut client = cluster.connect("d", SUPERUSER);
    client
        .batch_execute(&format!(
            "INSERT INTO memory.tenants (slug) VALUES ('acme');
             SELECT memory.create_embedding_space(q, {DIMENSIONS}, 'cosine', q) FROM unnest('{{half, binary}}'::text[]) AS q"
        ))
        .unwrap();
    let mut random = Random(20_261_120);
    let topics: Vec<Vec<f32>> = (0..200)
        .map(|_| (0..DIMENSIONS).map(|_| unit(&mut random)).collect())
        .collect();
    let stored = vectors(&mut random, &topics, VECTORS);
    let queries = vectors(&mut random, &topics, QUERIES);
    let truth: Vec<Vec<String>> = queries
        .iter()
        .map(|query| {
            let mut scores: Vec<(f64, usize)> =
                stored.iter().enumerate().map(|(i, v)| (-cosine(query, v), i)).collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0));
            scores[..NEAREST].iter().map(|(_, number)| id(*number)).collect()
        })
        .collect();
    fill(&cluster, &mut client, &stored);
    let context = "SELECT memory.set_security_context('acme', 'user', is_local => false)";
    client.batch_execute(context).unwrap();
    for model in ["half", "binary"] {
        assert_eq!(
            recall(&mut client, model, &queries, &truth),
            1.0,
            "{model}: exact, before it is moved"
        );
    }
    client.batch_execute("SELECT memory.clear_security_context()").unwrap();
    let mut calls = 0;
    while client
        .query_one("SELECT more FROM memory.index_embeddings(10000)", &[])
        .unwrap()
        .get(0)
    {
        calls += 1;
    }
    assert!(calls > 3, "both were moved in {calls} calls");
    cluster.psql("d", "VACUUM ANALYZE");
    client.batch_execute(context).unwrap();
    for (model, floor) in [("half", 0.95), ("binary", 0.80)] {
        let found = recall(&mut client, model, &queries, &truth);
        println!("{model}: recall {found:.3} of the {NEAREST} nearest among {VECTORS}");
        assert!(found >= floor, "{model}: recall {found:.3}, below {floor}");
    }
}
