//! `make bench`: every comparison in one run, interleaved, medians, one table of ratios and target/bench.json.
//! Only the ratios count: times move with the machine. `JOB=resolver,vector` runs those sections alone; `QUICK=1` runs one round over
//! smaller data, to see that all is well; `GUARD=1` fails where one falls far below its goal.

mod archive;
mod audit;
mod batches;
mod clients;
mod graph;
mod growth;
mod machine;
mod measure;
mod redis;
mod resolver;
mod retrieval;
mod rival;
mod rls;
mod store;
mod vector;

use clients::Clients;
use cluster::Cluster;
use growth::Growth;
use measure::{Job, Report, guards, quick};
use retrieval::Retrieval;
use serde_json::json;

/// What a section is: it loads its data into a database of its own and gives its comparisons.
type Section = for<'a> fn(&'a Cluster) -> Vec<Job<'a>>;

/// In the order in which they run. One more is a file beside this one and a line here.
const SECTIONS: &[(&str, Section)] = &[
    ("resolver", resolver::jobs),
    ("graph", graph::jobs),
    ("store", store::jobs),
    ("archive", archive::jobs),
    ("audit", audit::jobs),
    ("rls", rls::jobs),
    ("vector", vector::jobs),
];

/// What guards CI, in a minute, unless sections are named.
const GUARDS: &[&str] = &["resolver", "graph", "store", "archive", "rls"];

/// Over data that is not ours to carry, so it comes apart from the others.
const RETRIEVAL: &str = "retrieval";

/// No comparisons: tables of their own.
const GROWTH: &str = "growth";

const CLIENTS: &str = "clients";

/// The server's, beyond the defaults: said in the report.
const SETTINGS: &[&str] = &[
    "shared_buffers = '2GB'",
    "synchronous_commit = off",
    "autovacuum = off",
    "jit = off",
    "max_parallel_workers_per_gather = 0",
    "max_wal_size = '16GB'",
    "checkpoint_timeout = '1h'",
    // Room for both identifiers of every tenant: what is measured is a hit.
    "memory.tenant_cache_size = 65536",
];

fn main() -> std::io::Result<()> {
    let asked = asked();
    let wants = |section: &str| asked.is_empty() || asked.iter().any(|asked| asked == section);
    let cluster = Cluster::with("bench", true, SETTINGS);
    let mut report = Report::new(if quick() { 1 } else { 3 });
    for (_, jobs) in SECTIONS.iter().filter(|(name, _)| wants(name)) {
        report.run(jobs(&cluster));
    }
    let dialogues = std::env::var_os("MEMORY_BENCH_DIALOG")
        .filter(|_| wants(RETRIEVAL))
        .map(|folder| Retrieval::load(&cluster, folder.as_ref()));
    report.run(dialogues.iter().flat_map(Retrieval::jobs).collect());
    if dialogues.is_none() && wants(RETRIEVAL) {
        measure::left_out(
            "retrieval over dialogues",
            "MEMORY_BENCH_DIALOG=<folder with turns.csv.gz and questions.csv.gz>",
        );
    }
    let growth = wants(GROWTH).then(|| Growth::measure(&cluster));
    let clients = wants(CLIENTS).then(|| Clients::measure(&cluster));
    let machine = machine::describe(&cluster);
    println!("{}", machine::line(&machine));
    if !report.is_empty() {
        println!("\n{report}");
    }
    let mut json = report.json();
    json["machine"] = machine;
    json["settings"] = json!(SETTINGS);
    json["quick"] = json!(quick());
    if let Some(dialogues) = &dialogues {
        let recall = dialogues.recall();
        print!("\n{}", retrieval::table(&recall));
        json["retrieval"] = retrieval::json(&recall);
    }
    if let Some(growth) = &growth {
        print!("\n{growth}");
        json["growth"] = growth.json();
    }
    if let Some(clients) = &clients {
        print!("\n{clients}");
        json["clients"] = clients.json();
    }
    std::fs::write(cluster::root().join("target/bench.json"), format!("{json:#}\n"))?;
    if guards() {
        // For CI: a fall to less than a third of a goal fails, noise does not.
        let (fallen, looked_at) = report.fallen();
        for job in &fallen {
            println!("below a third of its goal: {job}");
        }
        println!(
            "{} passed, {} failed, 0 skipped",
            looked_at - fallen.len(),
            fallen.len()
        );
        if !fallen.is_empty() {
            drop(dialogues);
            drop(cluster);
            std::process::exit(1);
        }
    }
    Ok(())
}

/// The sections asked for, as arguments or by JOB; none means all.
fn asked() -> Vec<String> {
    let job = std::env::var("JOB").unwrap_or_default();
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .chain(job.split(',').map(|name| name.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .collect();
    let known: Vec<&str> = SECTIONS
        .iter()
        .map(|(name, _)| *name)
        .chain([RETRIEVAL, GROWTH, CLIENTS])
        .collect();
    if let Some(unknown) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("no section {unknown}; there are: {}", known.join(" "));
        std::process::exit(2);
    }
    if asked.is_empty() && guards() {
        return GUARDS.iter().map(|name| (*name).to_owned()).collect();
    }
    asked
}
