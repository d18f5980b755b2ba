//! Where and when it was measured: without that, a table of ratios is worth little.

use cluster::{Cluster, SUPERUSER};
use serde_json::{Value, json};

/// Date, cores, memory, processor and PostgreSQL.
pub fn describe(cluster: &Cluster) -> Value {
    let row = cluster
        .connect("postgres", SUPERUSER)
        .query_one(
            "SELECT to_char(now(), 'YYYY-MM-DD'), split_part(version(), ' ', 2)",
            &[],
        )
        .unwrap();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let kilobytes: u64 = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    json!({
        "date": row.get::<_, String>(0),
        "postgresql": row.get::<_, String>(1),
        "cores": cores,
        "memory_gib": (kilobytes as f64 / 1048576.0).round(),
        "processor": field("/proc/cpuinfo", "model name").unwrap_or_default(),
    })
}

/// The same in a line.
pub fn line(machine: &Value) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_owned();
    format!(
        "{}, PostgreSQL {}, {} cores ({}), {} GiB",
        text("date"),
        text("postgresql"),
        machine["cores"],
        text("processor"),
        machine["memory_gib"]
    )
}

/// The value of the first line `name : value` of a file under /proc.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}
