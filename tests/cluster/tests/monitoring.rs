//! monitoring/, with the distribution's Prometheus and its exporter for PostgreSQL against a server that works: every value of metrics() arrives
//! under its name, every query of the dashboard and of the alerts is answered, and promtool finds nothing wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::load::Load;
use cluster::{Cluster, SUPERUSER, blocks, root};
use serde_json::Value;

/// A program that ends with the value.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup takes it")),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The body that a GET is answered with.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

type Labels = BTreeMap<String, String>;

/// What Prometheus finds: each series' labels and value.
fn ask(port: u16, query: &str) -> Result<Vec<(Labels, f64)>, String> {
    let mut path = "/api/v1/query?query=".to_owned();
    for byte in query.bytes() {
        path += &format!("%{byte:02X}");
    }
    let answer: Value =
        serde_json::from_str(&get(port, &path).ok_or("no answer")?).map_err(|error| error.to_string())?;
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    let series = answer["data"]["result"].as_array().ok_or("no result")?;
    Ok(series
        .iter()
        .map(|one| {
            let labels = one["metric"].as_object().unwrap().iter();
            let value = one["value"][1].as_str().unwrap().parse().unwrap();
            (
                labels
                    .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
                    .collect(),
                value,
            )
        })
        .collect())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "not within a minute: {what}");
        sleep(Duration::from_millis(100));
    }
}

fn promtool(cluster: &Cluster, arguments: &[&str], input: &str) -> Output {
    let mut command = cluster.command("promtool");
    command.args(arguments).current_dir(root().join("monitoring"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The queries of the dashboard, with its variables filled in for a test that scrapes each second.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match (name.as_str(), field) {
                        ("expr", Value::String(text)) => found.push(text.clone()),
                        _ => collect(field, found),
                    }
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(root().join("monitoring/dashboard.json")).unwrap();
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).unwrap(), &mut found);
    let fill = |query: String| {
        query
            .replace("$__rate_interval", "30s")
            .replace("$database", ".*")
            .replace("[1h:1m]", "[1h:1s]")
    };
    found.into_iter().map(fill).collect()
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            ["memory_", "tenant_resolve_", "archival_job_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_real_prometheus_gets_every_metric_and_answers_every_query_of_the_dashboard_and_the_alerts() {
    let conf = ["memory.worker_databases = 'app'", "memory.worker_naptime = '1s'"];
    let cluster = Cluster::with("prometheus", true, &conf);
    Load::prepare(&cluster, "app");
    let mut admin = cluster.connect("app", SUPERUSER);
    // By the page's commands, as the superuser.
    for block in blocks("operations.md", "Monitoring", "sql") {
        admin
            .batch_execute(&block)
            .unwrap_or_else(|error| panic!("{block}: {error:?}"));
    }
    // What monitoring is set up by is no drift.
    assert_eq!(
        cluster.psql("app", "SELECT count(*) FROM memory.schema_drift()").trim(),
        "0"
    );
    let (exporter_port, port) = (free_port(), free_port());
    let monitoring = root().join("monitoring");
    let folder = root().join(format!("target/results/{}", cluster.name()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = format!(
        "host={} port=5432 user=memory_exporter dbname=app sslmode=disable",
        cluster.socket_folder()
    );
    let _exporter = Running::start(
        cluster
            .command("prometheus-postgres-exporter")
            .env("DATA_SOURCE_NAME", source)
            .args(["--disable-default-metrics", "--disable-settings-metrics"])
            .arg(format!(
                "--extend.query-path={}",
                monitoring.join("queries.yaml").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{exporter_port}")),
    );
    let rules = monitoring.join("alerts.yml");
    let configuration = std::fs::read_to_string(monitoring.join("prometheus.yml"))
        .unwrap()
        .replace("localhost:9187", &format!("127.0.0.1:{exporter_port}"))
        .replace("- alerts.yml", &format!("- {}", rules.display()))
        .replace("15s", "1s");
    std::fs::write(folder.join("prometheus.yml"), configuration).unwrap();
    let _prometheus = Running::start(
        cluster
            .command("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    // Something to be measured, for some seconds.
    let load = Load::onto(&cluster, "app");
    load.beside(2, || {
        load.wait_for(100);
        admin.batch_execute("SELECT memory.run_archival('0')").unwrap();
        wait_until("the jobs of the worker are measured", || {
            let done = ask(port, "memory_job_last_success_seconds > 0");
            done.is_ok_and(|done| !done.is_empty())
        });
        sleep(Duration::from_secs(5));
    });

    let mut wrong = Vec::new();
    // Every value has arrived, under its name and labels.
    let rows = admin
        .query("SELECT name, labels::text, value, type FROM memory.metrics()", &[])
        .unwrap();
    let mut measured = BTreeSet::new();
    for row in &rows {
        let (name, labels): (String, String) = (row.get(0), row.get(1));
        let labels: Labels = serde_json::from_str(&labels).unwrap();
        let matchers: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{}=\"{value}\"", if label == "job" { "job_name" } else { label }))
            .collect();
        let query = format!("{name}{{{}}}", matchers.join(","));
        match ask(port, &query) {
            Ok(series) if series.len() == 1 => {
                let own: BTreeSet<&str> = series[0].0.keys().map(String::as_str).collect();
                let known = 5 + labels.len();
                if own.len() != known {
                    wrong.push(format!("{query} has the labels {own:?}"));
                }
                if name == "memory_tenant_cache_capacity" && series[0].1 != row.get::<_, f64>(2) {
                    wrong.push(format!("{query} is {}", series[0].1));
                }
            }
            other => wrong.push(format!("{query}: {other:?}")),
        }
        measured.insert(name);
    }
    assert!(rows.len() > 50, "only {} values", rows.len());

    for query in dashboard() {
        match ask(port, &query) {
            Ok(series) if !series.is_empty() => {}
            other => wrong.push(format!("the dashboard's {query}: {other:?}")),
        }
        wrong.extend(
            names(&query)
                .difference(&measured)
                .map(|name| format!("the dashboard asks for {name}")),
        );
    }
    let answer: Value = serde_json::from_str(&get(port, "/api/v1/rules").unwrap()).unwrap();
    let alerts = answer["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let query = alert["query"].as_str().unwrap();
        if alert["health"] != "ok" {
            wrong.push(format!("{}: {}", alert["name"], alert["lastError"]));
        }
        if let Err(error) = ask(port, query) {
            wrong.push(format!("{}: {error}", alert["name"]));
        }
        wrong.extend(
            names(query)
                .difference(&measured)
                .map(|name| format!("{} asks for {name}", alert["name"])),
        );
        let runbook = alert["annotations"]["runbook"].as_str().unwrap();
        let (page, section) = runbook.split_once('#').unwrap();
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let mut titles = text.lines().filter_map(|line| line.strip_prefix("## "));
        if !titles.any(|title| title.to_lowercase().replace(' ', "-") == section) {
            wrong.push(format!("{}: there is no {runbook}", alert["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{} values, {} names; {} queries of the dashboard, {} alerts",
        rows.len(),
        measured.len(),
        dashboard().len(),
        alerts.len()
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Every statement of the runbook that stands in it as SQL works, for an operator where it is not said to be somebody else's.
#[test]
fn the_queries_of_the_runbook_work() {
    let cluster = Cluster::new("runbook");
    cluster.create_database("app");
    cluster.psql(
        "app",
        "CREATE ROLE ops LOGIN; SELECT memory.grant_access('ops', 'operator'), memory.grant_access('ops', 'auditor')",
    );
    let mut operator = cluster.connect("app", "ops");
    let mut run = 0;
    for section in [
        "Nothing is measured",
        "A job fails",
        "The archive lags",
        "Cache misses",
        "The disk grows",
        "The schema drifts",
        "A burst of violations",
    ] {
        for block in blocks("operations.md", section, "sql") {
            operator
                .batch_execute(&block)
                .unwrap_or_else(|error| panic!("{block}: {error:?}"));
            run += 1;
        }
    }
    assert!(run >= 8, "only {run}");
}

#[test]
fn promtool_finds_nothing_wrong() {
    let cluster = Cluster::new("promtool");
    cluster.create_database("app");
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let output = promtool(&cluster, arguments, "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let metrics = cluster.psql("app", "SELECT memory.prometheus_metrics()");
    let output = promtool(&cluster, &["check", "metrics"], &metrics);
    let complaints = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    // The contract gives this one its name, with an abbreviated unit.
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("tenant_resolve_cache_ttl_ms ") && !line.trim().is_empty())
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
