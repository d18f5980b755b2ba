//! `make bench`: every comparison in one run, interleaved, medians, one table of ratios and target/bench.json.
//! Only the ratios count: times move with the machine.

mod measure;
mod resolver;
mod retrieval;

use cluster::Cluster;
use measure::Report;
use retrieval::Retrieval;

fn main() -> std::io::Result<()> {
    // Room for both identifiers of every tenant: what is measured is a hit.
    let cluster = Cluster::with(
        "bench",
        true,
        &["shared_buffers = '1GB'", "memory.tenant_cache_size = 65536"],
    );
    let dialogues = std::env::var_os("MEMORY_BENCH_DIALOG").map(|folder| Retrieval::load(&cluster, folder.as_ref()));
    // A section's name runs it alone.
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut jobs = resolver::jobs(&cluster);
    jobs.extend(dialogues.iter().flat_map(Retrieval::jobs));
    jobs.retain(|job| job.name.starts_with(&only));
    let report = Report::run(jobs, 3);
    print!("{report}");
    let mut json = report.json();
    match &dialogues {
        Some(dialogues) => {
            let recall = dialogues.recall();
            print!("\n{}", retrieval::table(&recall));
            json["retrieval"] = retrieval::json(&recall);
        }
        None => println!("\nLeft out: retrieval over dialogues; MEMORY_BENCH_DIALOG names no folder with the data."),
    }
    std::fs::write(cluster::root().join("target/bench.json"), format!("{json:#}\n"))
}
