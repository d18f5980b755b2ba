//! Redis over a Unix socket: a private server that writes as late as ours does (appendfsync everysec beside synchronous_commit = off), and as
//! much of its protocol as commands with short answers need.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// None where there is no redis-server in PATH.
    pub fn start() -> Option<Self> {
        // A socket's path is short, a repository's may be long.
        let folder = std::env::temp_dir().join(format!("memory_ext-redis-{}", std::process::id()));
        std::fs::create_dir_all(&folder).ok()?;
        let socket = folder.join("socket");
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
            ])
            .arg("--dir")
            .arg(&folder)
            .arg("--unixsocket")
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            let _ = std::fs::remove_dir_all(&folder);
            return None;
        };
        let server = Self { child, folder };
        let is_there = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            UnixStream::connect(&socket).is_ok()
        });
        is_there.then_some(server)
    }

    pub fn connect(&self) -> Redis {
        let stream = UnixStream::connect(self.folder.join("socket")).expect("redis-server answers");
        let output = BufReader::new(stream.try_clone().unwrap());
        Redis { input: stream, output }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub struct Redis {
    input: UnixStream,
    output: BufReader<UnixStream>,
}

impl Redis {
    /// Sends a command and reads its answer to the end; an error panics.
    pub fn call(&mut self, words: &[String]) {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.input.write_all(command.as_bytes()).unwrap();
        self.answer();
    }

    fn answer(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" | ":" => {}
            "$" => {
                // -1 is nil
                if let Ok(length) = rest.parse::<usize>() {
                    let mut text = vec![0; length + 2];
                    self.output.read_exact(&mut text).unwrap();
                }
            }
            "*" => (0..rest.parse().unwrap_or(0)).for_each(|_| self.answer()),
            _ => panic!("Redis: {line}"),
        }
    }
}
