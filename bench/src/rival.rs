//! A rival that is a Python package: a child process that does its side when it is asked, a line for a line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Rival {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// How to have the Python packages of rivals.
pub fn how(package: &str) -> String {
    format!("pip install {package}, and name that Python: MEMORY_EXT_BENCH_PYTHON=.../bin/python make bench")
}

/// Whether the Python of the rivals can import a module.
pub fn has(module: &str) -> bool {
    Command::new(python())
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn python() -> String {
    std::env::var("MEMORY_EXT_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

impl Rival {
    /// A script of bench/rivals, once it says `ready`. None where it does not.
    pub fn start(script: &str, arguments: &[&dyn AsRef<OsStr>]) -> Option<Self> {
        let mut command = Command::new(python());
        command.arg(cluster::root().join("bench/rivals").join(script));
        for argument in arguments {
            command.arg(argument);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (input, output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let mut rival = Self { child, input, output };
        (rival.line() == "ready\n").then_some(rival)
    }

    /// What it says to a line.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
