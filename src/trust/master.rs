//! The master key: what is secret in the tables (users' data keys, secrets of auth_keys) is wrapped by it. It comes from a file or a command outside
//! the database, and stays in this process: overwritten when it is dropped, kept from swap where the system allows.
//!
//! The file or the command gives one key or several, newest first: the newest wraps, each unwraps what it has wrapped. A file is looked at on each use and
//! read again when it has changed. A command runs on first use, again whenever something is wrapped (so that after a rotation nothing
//! is wrapped by an old key), and when a key is asked for that it did not give before.

use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, NONCE_BYTES};
use super::ring::{self, Refused, Ring};
use crate::config;
use crate::error::{Error, Result};
use crate::pg::{command, process};

/// More than a thousand keys.
const MOST_BYTES: usize = 64 * 1024;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the keys come from.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    File(String),
    Command(String),
}

/// Which state of a file was read: device, inode, size, times of change.
type Stamp = [i64; 7];

struct Held {
    source: Source,
    /// None for a command.
    stamp: Option<Stamp>,
    ring: Rc<Ring>,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// A nonce from the system's random source.
pub fn nonce() -> [u8; NONCE_BYTES] {
    process::random_bytes()
}

/// The bytes, wrapped by the newest master key and bound to all the parts, of which the first says what it is for. Who stores them calls
/// `share` first.
pub fn wrap(plain: &[u8], bound_to: &[&[u8]]) -> Result<Vec<u8>> {
    Ok(ring(true)?.wrap(nonce(), plain, bound_to))
}

/// What was wrapped. XX001 where it is not what was wrapped or is bound to something else (the caller records the
/// violation), 55000 where the master key is not to be had.
pub fn unwrap(wrapped: &[u8], bound_to: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>> {
    let mut ring = ring(false)?;
    if ring::key_of(wrapped).is_some_and(|id| !ring.has(id)) {
        ring = self::ring(true)?;
    }
    ring.unwrap(wrapped, bound_to).map_err(|refused| match refused {
        Refused::UnknownKey(id) => Error::not_ready(
            format!("the master key {} is not among those that are configured", id_text(id)),
            "Put that key into memory.master_key_file (or what memory.master_key_command prints), below the newest one.",
        ),
        Refused::Tampered => Error::corrupt(
            "something that the master key has wrapped fails its check",
            "It was changed, or moved here from elsewhere: restore it from a backup.",
        ),
    })
}

/// The same bytes under the newest master key; None where it wraps them already.
pub fn rewrap(wrapped: &[u8], bound_to: &[&[u8]]) -> Result<Option<Vec<u8>>> {
    let newest = ring(false)?;
    if ring::key_of(wrapped) == Some(newest.newest()) {
        return Ok(None);
    }
    let plain = unwrap(wrapped, bound_to)?;
    Ok(Some(newest.wrap(nonce(), &plain, bound_to)))
}

/// Keys for another purpose, made of the master keys, newest first; none where no master key is configured, 55000 where one is and is not
/// to be had.
pub fn derived(purpose: &str) -> Result<Vec<Zeroizing<[u8; KEY_BYTES]>>> {
    if config::master_key_file().is_none() && config::master_key_command().is_none() {
        return Ok(Vec::new());
    }
    Ok(ring(false)?.derived(purpose))
}

/// Reads the keys again; the newest one's id.
pub fn refresh() -> Result<ring::KeyId> {
    Ok(ring(true)?.newest())
}

fn id_text(id: ring::KeyId) -> String {
    format!("{:016x}", u64::from_be_bytes(id))
}

fn source() -> Result<Source> {
    match (config::master_key_file(), config::master_key_command()) {
        (Some(path), None) => Ok(Source::File(path)),
        (None, Some(command)) => Ok(Source::Command(command)),
        (None, None) => Err(Error::not_ready(
            "there is no master key",
            "A superuser makes one and names it in postgresql.conf: memory.master_key_file = '/…', or memory.master_key_command.",
        )),
        (Some(_), Some(_)) => Err(Error::not_ready(
            "memory.master_key_file and memory.master_key_command are both set",
            "Set one of them, and the other to ''.",
        )),
    }
}

/// The keys as they are now; `anew` runs a command again.
fn ring(anew: bool) -> Result<Rc<Ring>> {
    let source = source()?;
    let stamp = match &source {
        Source::File(path) => std::fs::metadata(path).ok().map(|metadata| stamp(&metadata)),
        Source::Command(_) => None,
    };
    let held = HELD.with_borrow(|held| {
        let held = held
            .as_ref()
            .filter(|held| held.source == source && held.stamp == stamp)?;
        (stamp.is_some() || !anew).then(|| Rc::clone(&held.ring))
    });
    if let Some(ring) = held {
        return Ok(ring);
    }
    // What was held is out of date, also where nothing comes in its place.
    HELD.set(None);
    let (setting, read) = match &source {
        Source::File(path) => ("memory.master_key_file", read_file(Path::new(path))),
        Source::Command(line) => (
            "memory.master_key_command",
            command::output(line, MOST_BYTES, COMMAND_TIMEOUT)
                .map(|bytes| (None, bytes))
                .map_err(|what| {
                    (
                        format!("the command {what}"),
                        "See the server's log for what the command says.",
                    )
                }),
        ),
    };
    let wrong = |(what, hint): (String, &str)| Error::not_ready(format!("{setting}: {what}"), hint);
    let (stamp, bytes) = read.map_err(wrong)?;
    let ring = Ring::parse(&bytes).map_err(|what| {
        wrong((
            what,
            "One key per line, newest first, as 64 hexadecimal digits or in base64: openssl rand -hex 32.",
        ))
    })?;
    let ring = Rc::new(ring);
    ring.ciphers()
        .for_each(|cipher| process::keep_from_swap(cipher.memory()));
    HELD.set(Some(Held {
        source,
        stamp,
        ring: Rc::clone(&ring),
    }));
    Ok(ring)
}

/// What was read, or what is wrong and a hint.
type Outcome = std::result::Result<(Option<Stamp>, Zeroizing<Vec<u8>>), (String, &'static str)>;

/// A file that nobody but the server's user (or root) can read or change, as PostgreSQL wants its own TLS key, outside the data folder. All is
/// asked of the open file, so that it cannot be exchanged meanwhile. Errors do not name it: SHOW does not either.
fn read_file(path: &Path) -> Outcome {
    const OWN_IT: &str = "It belongs to the server's user with mode 0600 or 0400, or to root with 0640 or 0440, in a folder that others cannot write to.";
    if !path.is_absolute() {
        return Err(("the path is not absolute".to_owned(), "Begin it with a /."));
    }
    let unreadable = |error: std::io::Error| (format!("the file cannot be read: {}", error.kind()), OWN_IT);
    let real = path.canonicalize().map_err(unreadable)?;
    if Path::new(&process::data_folder())
        .canonicalize()
        .is_ok_and(|data| real.starts_with(data))
    {
        return Err((
            "the file is in the data folder, so each backup of that would carry the key".to_owned(),
            "Keep it elsewhere.",
        ));
    }
    let folder = real.parent().map(std::fs::metadata).transpose().map_err(unreadable)?;
    const STICKY: u32 = 0o1000;
    if folder.is_some_and(|folder| folder.mode() & 0o022 != 0 && folder.mode() & STICKY == 0) {
        return Err(("others can write to the file's folder".to_owned(), OWN_IT));
    }
    // A FIFO would wait for somebody to write to it.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(&real).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let forbidden = match metadata.uid() {
        0 => 0o027,
        owner if owner == process::user_id() => 0o077,
        _ => 0o777,
    };
    if !metadata.is_file() {
        return Err(("it is no regular file".to_owned(), OWN_IT));
    }
    if metadata.mode() & forbidden != 0 {
        return Err((
            format!(
                "others can read or change the file (mode {:04o})",
                metadata.mode() & 0o777
            ),
            OWN_IT,
        ));
    }
    Ok((Some(stamp(&metadata)), contents(&file).map_err(unreadable)?))
}

fn contents(mut file: &File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // In one place from the first: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; MOST_BYTES + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..])? {
            0 if length > MOST_BYTES => return Err(std::io::ErrorKind::FileTooLarge.into()),
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn stamp(metadata: &Metadata) -> Stamp {
    [
        metadata.dev() as i64,
        metadata.ino() as i64,
        metadata.size() as i64,
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ]
}
