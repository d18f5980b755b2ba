//! `make bench`: every comparison in one run, interleaved, medians, one table of ratios and target/bench.json.
//! Only the ratios count: times move with the machine.

mod measure;

use measure::{Job, Report};

fn main() -> std::io::Result<()> {
    let jobs: Vec<Job> = Vec::new();
    let report = Report::run(jobs, 3);
    print!("{report}");
    std::fs::write(
        cluster::root().join("target/bench.json"),
        format!("{:#}\n", report.json()),
    )
}
