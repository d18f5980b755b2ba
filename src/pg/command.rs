//! A command of the operator's, run for what it prints.
//!
//! Protocol: the command runs by `sh -c` as the server's user, in a process group of its own, which is killed whatever ends the wait: cancel and
//! termination are looked for twenty times a second, and raise as usual. Its errors go to the server's log.

use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// The command's processes; killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: a signal to the group that was made for the child, which has not been waited for yet.
        unsafe { libc::kill(-(self.0.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// What the command prints, which is kept in one place and overwritten when dropped. What went wrong is told without it.
pub fn output(command: &str, most: usize, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    const LOOK: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut running = Running(child.map_err(|error| format!("cannot be run: {error}"))?);
    let mut pipe = running.0.stdout.take().expect("piped");
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    loop {
        pgrx::check_for_interrupts!();
        if started.elapsed() > timeout {
            return Err(format!("has not ended after {} seconds", timeout.as_secs()));
        }
        if !readable(&pipe, LOOK) {
            continue;
        }
        match pipe.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
        if length > most {
            return Err(format!("prints more than {most} bytes"));
        }
    }
    let status = loop {
        match running.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() <= timeout => {
                pgrx::check_for_interrupts!();
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return Err("has not ended although it has closed its output".to_owned()),
        }
    };
    if !status.success() {
        return Err(format!("has failed ({status})"));
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn readable(pipe: &impl AsRawFd, wait: Duration) -> bool {
    let mut polled = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one struct, which is written to.
    unsafe { libc::poll(&mut polled, 1, wait.as_millis() as i32) > 0 }
}
