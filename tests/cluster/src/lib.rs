//! Private PostgreSQL servers for tests and benchmarks, driven from outside through `scripts/cluster`.
//!
//! A [`Cluster`] has a name of its own, so tests run side by side. It is dropped with the value, unless
//! `MEMORY_EXT_KEEP` is set in the environment: then its name is printed and `scripts/cluster` can look into it.
//! The harness panics where a step fails: in a test, that is the report.

pub mod calls;
pub mod graph;
pub mod load;
pub mod marker;
pub mod random;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub use nix::sys::signal::Signal;
pub use postgres;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// The superuser that every cluster is made with.
pub const SUPERUSER: &str = "postgres";

/// SIGKILL to one process of a server, which may have ended already.
pub fn kill_process(pid: i32) {
    signal_process(pid, Signal::SIGKILL);
}

/// A signal to one process of a server, which may have ended already.
pub fn signal_process(pid: i32, signal: Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// How often a test of chance is repeated: so often in `make test`, so often in `make soak`.
pub fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("MEMORY_EXT_SOAK").is_some() {
        many
    } else {
        few
    }
}

/// Says that the running test cannot run here, and why; `scripts/test` counts it as skipped.
pub fn skip(reason: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    println!("skipped: {test}: {reason}");
    if let Some(file) = std::env::var_os("MEMORY_EXT_SKIPPED") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

/// The rows of an answer as psql -A shows them.
pub fn lines(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
                Some(values.join("|"))
            }
            _ => None,
        })
        .collect()
}

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Sessions are ended, a checkpoint is written.
    Fast,
    /// No checkpoint: the next start recovers.
    Immediate,
}

/// A private server, made by [`Cluster::new`] or [`Cluster::with`].
pub struct Cluster {
    name: String,
    /// What `scripts/cluster env` says: where to connect, and which programs.
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// A running server with `memory_ext` in shared_preload_libraries.
    pub fn new(label: &str) -> Self {
        Self::with(label, true, &[])
    }

    /// A running server, preloaded or not, with lines added to its postgresql.conf.
    /// `label` is the start of its name: at most 10 of a-z 0-9 _ -.
    pub fn with(label: &str, preload: bool, conf: &[&str]) -> Self {
        let cluster = Self::created(label, preload, conf);
        cluster.start();
        cluster
    }

    /// A server that does not run yet.
    pub fn created(label: &str, preload: bool, conf: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{label}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let mut arguments = vec!["create", &name];
        if !preload {
            arguments.push("--no-preload");
        }
        arguments.extend(conf);
        script(&arguments);
        let environment = exports(&script(&["env", &name]));
        Cluster { name, environment }
    }

    /// A streaming standby of this server, running.
    pub fn standby(&self, label: &str, conf: &[&str]) -> Self {
        let standby = Self::created(label, true, &[]);
        let data = format!("{}/data", standby.socket_folder());
        script(&["run", "rm", "-r", &data]);
        let copy = [
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-U",
            SUPERUSER,
            "-h",
            self.socket_folder(),
            "-D",
            &data,
        ];
        script(&[&["run", "pg_basebackup"], &copy[..]].concat());
        let mut lines = vec![format!("unix_socket_directories = '{}'", standby.socket_folder())];
        lines.extend(conf.iter().map(|line| (*line).to_owned()));
        let append = "cat >>\"$1\" <<<\"$2\"";
        let file = format!("{data}/postgresql.auto.conf");
        script(&["run", "bash", "-c", append, "bash", &file, &lines.join("\n")]);
        standby.start();
        standby
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its socket is: the `host` of a connection string.
    pub fn socket_folder(&self) -> &str {
        self.variable("PGHOST")
    }

    pub fn start(&self) {
        script(&["start", &self.name]);
    }

    /// Started with more in its environment.
    pub fn start_in(&self, environment: &[(&str, &str)]) {
        checked(script_command(&["start", &self.name]).envs(environment.iter().copied()));
    }

    pub fn stop(&self, how: Stop) {
        let how = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        script(&["stop", &self.name, how]);
    }

    pub fn restart(&self) {
        self.stop(Stop::Fast);
        self.start();
    }

    /// SIGKILL to the postmaster and all its children at once: the machine lost its power.
    pub fn kill(&self) {
        script(&["kill", &self.name]);
    }

    /// Where the server's socket is.
    pub fn socket_directory(&self) -> &str {
        self.variable("PGHOST")
    }

    /// How to connect to a database as a role, for clients that want to say more.
    pub fn config(&self, database: &str, user: &str) -> Config {
        self.config_at(5432, database, user)
    }

    /// The same, for what listens on another port beside the server's socket.
    pub fn config_at(&self, port: u16, database: &str, user: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.variable("PGHOST"))
            .port(port)
            .dbname(database)
            .user(user);
        config
    }

    pub fn connect(&self, database: &str, user: &str) -> Client {
        self.config(database, user)
            .connect(NoTls)
            .unwrap_or_else(|error| panic!("{}: cannot connect to {database} as {user}: {error:?}", self.name))
    }

    /// A new database with the extension in it.
    pub fn create_database(&self, database: &str) {
        self.connect("postgres", SUPERUSER)
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .unwrap();
        self.connect(database, SUPERUSER)
            .batch_execute("CREATE EXTENSION memory_ext CASCADE")
            .unwrap();
    }

    /// A program of this server's PostgreSQL (psql, pg_dump, pgbench, ...), aimed at this server as its superuser.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(self.variable("PATH")).join(program));
        command.envs(self.environment.iter().filter(|(name, _)| name != "PATH").cloned());
        command
            .env("PGOPTIONS", "")
            .env_remove("PGDATABASE")
            .stdin(Stdio::null());
        command
    }

    /// Runs such a program to its end; its output, if it succeeded.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        checked(self.command(program).args(arguments))
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &str {
        self.variable("PATH")
    }

    /// Runs a script of bash, which ends at the first error, as the servers' OS user, aimed at this server; gives what it printed.
    pub fn shell(&self, text: &str, variables: &[(&str, &str)]) -> String {
        let mut words = vec!["run".to_owned(), "env".to_owned()];
        for (name, value) in self.environment.iter().filter(|(name, _)| name != "PATH") {
            words.push(format!("{name}={value}"));
        }
        words.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend(["bash", "-euo", "pipefail", "-c", text].map(str::to_owned));
        script(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs SQL in psql, one value per line, stopping at the first error.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.run(
            "psql",
            &[
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
                "-c",
                sql,
            ],
        )
    }

    pub fn pg_dump(&self, arguments: &[&str]) -> String {
        self.run("pg_dump", arguments)
    }

    pub fn pg_restore(&self, arguments: &[&str]) -> String {
        self.run("pg_restore", arguments)
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(Path::new(self.variable("PGHOST")).join("log")).unwrap_or_default()
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .unwrap_or_else(|| panic!("no {name} in scripts/cluster env"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::env::var_os("MEMORY_EXT_KEEP").is_some() {
            eprintln!("kept: scripts/cluster env {}", self.name);
            return;
        }
        let dropped = script_command(&["drop", &self.name]).output();
        if !dropped.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("cluster {} could not be dropped: {dropped:?}", self.name);
        }
    }
}

/// Fills a database with what tests/data/fill.sql makes, each statement in a transaction of its own.
pub fn fill(cluster: &Cluster, database: &str) {
    let mut client = cluster.connect(database, SUPERUSER);
    let statements = include_str!("../../data/fill.sql").split(";\n");
    for statement in statements.filter(|statement| !statement.trim().is_empty()) {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// The top of the repository: the one that cargo runs in, which need not be the one whose target/ this was copied from.
pub fn root() -> PathBuf {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&manifest)
        .ancestors()
        .find(|path| path.join("scripts/cluster").is_file())
        .expect("scripts/cluster")
        .to_owned()
}

/// The blocks of code of one language in a section of a page of docs/, in order.
pub fn blocks(page: &str, section: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let start = text
        .find(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("{page} has no section {section}"));
    let body = &text[start + 1..];
    let body = &body[..body[3..].find("\n## ").map_or(body.len(), |end| end + 3)];
    let fence = format!("\n```{language}\n");
    body.split(&fence)
        .skip(1)
        .map(|rest| rest[..rest.find("\n```").expect("the end of a block")].to_owned())
        .collect()
}

fn script_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/cluster"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn script(arguments: &[&str]) -> String {
    checked(&mut script_command(arguments))
}

fn checked(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{command:?}: {status}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("UTF-8")
}

/// `export A=x B=y` lines as pairs; of `PATH=directory:"$PATH"` only the directory that was put first.
fn exports(script: &str) -> Vec<(String, String)> {
    let words = script
        .lines()
        .filter_map(|line| line.strip_prefix("export "))
        .flat_map(str::split_whitespace);
    words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches(":\"$PATH\"").to_owned()))
        .collect()
}
