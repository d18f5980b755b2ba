//! `make bench`: every comparison in one run, interleaved, medians, one table of ratios and target/bench.json.
//! Only the ratios count: times move with the machine.

mod measure;
mod resolver;

use cluster::Cluster;
use measure::Report;

fn main() -> std::io::Result<()> {
    // Room for both identifiers of every tenant: what is measured is a hit.
    let cluster = Cluster::with(
        "bench",
        true,
        &["shared_buffers = '1GB'", "memory.tenant_cache_size = 65536"],
    );
    let report = Report::run(resolver::jobs(&cluster), 3);
    print!("{report}");
    std::fs::write(
        cluster::root().join("target/bench.json"),
        format!("{:#}\n", report.json()),
    )
}
