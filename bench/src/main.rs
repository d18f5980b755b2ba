//! `make bench`: every comparison in one run, interleaved, medians, one table of ratios and target/bench.json.
//! Only the ratios count: times move with the machine. Names of sections as arguments run those alone.

mod measure;
mod resolver;
mod retrieval;
mod vector;

use cluster::Cluster;
use measure::Report;
use retrieval::Retrieval;

fn main() -> std::io::Result<()> {
    // Room for both identifiers of every tenant: what is measured is a hit.
    let cluster = Cluster::with(
        "bench",
        true,
        &["shared_buffers = '2GB'", "memory.tenant_cache_size = 65536"],
    );
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wants = |section: &str| asked.is_empty() || asked.iter().any(|asked| asked == section);
    let dialogues = std::env::var_os("MEMORY_BENCH_DIALOG")
        .filter(|_| wants("retrieval"))
        .map(|folder| Retrieval::load(&cluster, folder.as_ref()));
    let mut jobs = Vec::new();
    if wants("resolver") {
        jobs.extend(resolver::jobs(&cluster));
    }
    if wants("vector") {
        jobs.extend(vector::jobs(&cluster));
    }
    jobs.extend(dialogues.iter().flat_map(Retrieval::jobs));
    let report = Report::run(jobs, 3);
    print!("{report}");
    let mut json = report.json();
    match &dialogues {
        Some(dialogues) => {
            let recall = dialogues.recall();
            print!("\n{}", retrieval::table(&recall));
            json["retrieval"] = retrieval::json(&recall);
        }
        None if wants("retrieval") => {
            println!("\nLeft out: retrieval over dialogues; MEMORY_BENCH_DIALOG names no folder with the data.");
        }
        None => {}
    }
    std::fs::write(cluster::root().join("target/bench.json"), format!("{json:#}\n"))
}
