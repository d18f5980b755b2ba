//! Keys, from outside: what a dump from before an erasure still tells, a rotation under load, where the master key may come from, and what of all that
//! stands in the server's log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

const OLD: &str = "c0ffee0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";
const NEW: &str = "decade0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";

/// A text that is found wherever it stands.
const SECRET: &str = "mkthesecretthatisnowhere";

/// Writes a file as the server's user, put in its place at once.
fn write_file(cluster: &Cluster, path: &str, mode: &str, text: &str) {
    let program = format!("cat >{path}.new && chmod {mode} {path}.new && mv {path}.new {path}");
    let lines: Vec<String> = text.lines().map(|line| format!("($${line}$$)")).collect();
    let rows = if lines.is_empty() {
        "SELECT".to_owned()
    } else {
        format!("VALUES {}", lines.join(", "))
    };
    cluster.psql("postgres", &format!("COPY ({rows}) TO PROGRAM $${program}$$"));
}

fn configure(cluster: &Cluster, setting: &str, value: &str) {
    let mut client = cluster.connect("postgres", SUPERUSER);
    client
        .batch_execute("LOAD 'memory_ext'")
        .and_then(|()| client.batch_execute(&format!("ALTER SYSTEM SET memory.{setting} = '{value}'")))
        .and_then(|()| client.batch_execute("SELECT pg_reload_conf()"))
        .unwrap();
    let started = Instant::now();
    loop {
        let mut client = cluster.connect("postgres", SUPERUSER);
        let row = client
            .query_one(&format!("SELECT current_setting('memory.{setting}')"), &[])
            .unwrap();
        if row.get::<_, String>(0) == value {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{setting} is not taken");
        sleep(Duration::from_millis(20));
    }
}

/// A field's text, or the SQLSTATE.
fn decrypted(client: &mut Client, id: &str) -> String {
    match client.query_one(&format!("SELECT memory.decrypt_field('{id}')"), &[]) {
        Ok(row) => row.get(0),
        Err(error) => error.code().expect("an error of the server").code().to_owned(),
    }
}

/// What a user's event, archived event and node say, each a text or the SQLSTATE.
fn payloads(client: &mut Client, user: &str) -> [String; 3] {
    [
        "payload ->> 'text' FROM memory.get_events('s'",
        "payload ->> 'text' FROM memory.replay_session('s'",
        "content ->> 'text' FROM memory.list_nodes(NULL",
    ]
    .map(|read| {
        let sql = format!("SELECT {read}, tenant => 'acme', user_id => '{user}')");
        match client.query(&sql, &[]) {
            Ok(rows) => rows[0].get(0),
            Err(error) => error.code().expect("an error of the server").code().to_owned(),
        }
    })
}

/// How many of those rows are there.
fn payloads_stored(client: &mut Client, user: &str) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM memory.events WHERE user_id = $1 AND payload ? '_encrypted')
        + (SELECT count(*) FROM memory.agent_events_archive WHERE user_id = $1 AND payload ? '_encrypted')
        + (SELECT count(*) FROM memory.nodes WHERE user_id = $1 AND content ? '_encrypted')";
    client.query_one(sql, &[&user]).unwrap().get(0)
}

fn state(client: &mut Client, sql: &str) -> String {
    match client.batch_execute(sql) {
        Ok(()) => "fine".to_owned(),
        Err(error) => error.code().expect("an error of the server").code().to_owned(),
    }
}

fn encrypted(cluster: &Cluster, database: &str, user: &str, text: &str) -> String {
    let sql = format!("SELECT memory.encrypt_field('{user}', 'f', '{text}', 'acme')");
    cluster.psql(database, &sql).trim().to_owned()
}

#[test]
fn a_dump_from_before_an_erasure_cannot_be_read() {
    let cluster = Cluster::new("trust");
    cluster.create_database("origin");
    cluster.psql(
        "origin",
        "INSERT INTO memory.tenants (slug, encryption_enabled) VALUES ('acme', true)",
    );
    for user in ["ann", "nob", "bob"] {
        cluster.psql(
            "origin",
            &format!(
                "SELECT memory.log_event('s', 'log', '{{\"text\": \"{SECRET}\"}}', 'e', '2026-01-01', 'acme', '{user}'),
                    memory.archive_event('acme', '{user}', 's', 'old', 'log', '2025-01-01', '{{\"text\": \"{SECRET}\"}}'),
                    memory.store_node('{{\"text\": \"{SECRET}\"}}', 'conversation_fact', tenant => 'acme', user_id => '{user}')"
            ),
        );
    }
    let ann = encrypted(&cluster, "origin", "ann", SECRET);
    let nob = encrypted(&cluster, "origin", "nob", SECRET);
    let bob = encrypted(&cluster, "origin", "bob", "of bob");
    let folder = cluster::root().join("target/results/trust");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| format!("{}/{name}", folder.display());
    let (dump, keys) = (file("dump.sql"), file("keys"));
    cluster.pg_dump(&["-f", &dump, "origin"]);

    // Neither the text nor a key is in it, wrapped or not.
    let text = std::fs::read_to_string(&dump).unwrap();
    assert!(text.contains(&ann) && !text.contains(SECRET));
    let wrapped = cluster.psql("origin", "SELECT encode(wrapped_key, 'hex') FROM memory.user_keys");
    assert_eq!(wrapped.lines().count(), 3);
    for key in wrapped.lines() {
        assert!(!text.contains(key), "a wrapped key is in the dump");
    }

    cluster.psql("origin", "SELECT count(*) FROM memory.erase_user_data('ann', 'acme')");
    cluster.psql(
        "origin",
        "SELECT count(*) FROM memory.anonymize_user_data('nob', 'acme')",
    );
    cluster.run(
        "psql",
        &[
            "-X",
            "-q",
            "-d",
            "origin",
            "-c",
            &format!("\\copy (SELECT memory.export_user_keys()) TO '{keys}'"),
        ],
    );

    // As docs/backup.md says, with the same master key.
    cluster.psql("postgres", "CREATE DATABASE restored");
    cluster.run(
        "psql",
        &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &dump, "-d", "restored"],
    );
    let mut client = cluster.connect("restored", SUPERUSER);
    for (user, id) in [("ann", &ann), ("nob", &nob), ("bob", &bob)] {
        assert_eq!(decrypted(&mut client, id), "55000");
        assert_eq!(payloads(&mut client, user), ["55000"; 3], "{user}");
    }
    cluster.run(
        "psql",
        &[
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "restored",
            "-c",
            "CREATE TABLE kept (keys jsonb)",
            "-c",
            &format!("\\copy kept FROM '{keys}'"),
            "-c",
            "SELECT sum(memory.import_user_keys(keys)) FROM kept",
            "-c",
            "DROP TABLE kept",
        ],
    );
    assert_eq!(decrypted(&mut client, &bob), "of bob");
    assert_eq!(payloads(&mut client, "bob"), [SECRET; 3]);
    for (user, id) in [("ann", &ann), ("nob", &nob)] {
        assert_eq!(payloads(&mut client, user), ["55000"; 3], "{user}");
        assert_eq!(payloads_stored(&mut client, user), 3, "the rows came back, unreadable");
        // The row is there, its key nowhere.
        let row = client.query_one(
            &format!("SELECT count(*) FROM memory.encrypted_fields WHERE field_id = '{id}'"),
            &[],
        );
        assert_eq!(row.unwrap().get::<_, i64>(0), 1);
        assert_eq!(decrypted(&mut client, id), "55000");
    }
    // Nor is it read by another user's key.
    client
        .batch_execute(
            "UPDATE memory.encrypted_fields SET key_id = (SELECT key_id FROM memory.user_keys WHERE user_id = 'bob')",
        )
        .unwrap();
    assert_eq!(decrypted(&mut client, &ann), "55000");
    // Nor is a payload read as another user's.
    client
        .batch_execute(
            "ALTER TABLE memory.events DISABLE TRIGGER encrypt;
             UPDATE memory.events SET payload = (SELECT payload FROM memory.events WHERE user_id = 'ann') WHERE user_id = 'bob'",
        )
        .unwrap();
    assert_eq!(payloads(&mut client, "bob")[0], "55000");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_master_key_is_rotated_while_it_is_in_use() {
    let cluster = Cluster::new("trust");
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let path = format!("{}/ring", cluster.socket_folder());
    write_file(&cluster, &path, "600", OLD);
    configure(&cluster, "master_key_file", &path);
    // Secrets that sign tokens are wrapped, too: one of somebody else's, and one of the extension's own.
    let mut issuer = cluster.connect("d", SUPERUSER);
    let row = issuer.query_one("SELECT memory.register_auth_key('theirs', 'HS256', encode(sha256('x'), 'base64'), '*')::text, memory.issue_service_token('s', 'acme', '{read}', '1 day')", &[]);
    let token: String = row.unwrap().get(1);
    let authenticate = format!("BEGIN; SELECT memory.authenticate('{token}'); ROLLBACK");
    issuer.batch_execute(&authenticate).unwrap();
    let stop = AtomicBool::new(false);
    let ids: Vec<(String, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|w| {
                let (cluster, stop) = (&cluster, &stop);
                scope.spawn(move || {
                    let mut client = cluster.connect("d", SUPERUSER);
                    let mut ids = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let user = format!("u{w}-{}", ids.len());
                        let row = client
                            .query_one("SELECT memory.encrypt_field($1, 'f', $1, 'acme')::text", &[&user])
                            .unwrap();
                        let id: String = row.get(0);
                        assert_eq!(decrypted(&mut client, &id), user);
                        ids.push((id, user));
                    }
                    ids
                })
            })
            .collect();
        sleep(Duration::from_millis(300));
        write_file(&cluster, &path, "600", &format!("# new first\n{NEW}\n{OLD}"));
        let mut rotated = 0;
        let mut operator = cluster.connect("d", SUPERUSER);
        loop {
            let row = operator.query_one("SELECT memory.rotate_master_key()", &[]).unwrap();
            match row.get::<_, i64>(0) {
                0 => break,
                more => rotated += more,
            }
        }
        assert!(rotated > 10, "{rotated} keys were there");
        write_file(&cluster, &path, "600", NEW);
        sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(ids.len() > 30);
    let mut client = cluster.connect("d", SUPERUSER);
    for (id, user) in &ids {
        assert_eq!(decrypted(&mut client, id), *user);
    }
    client.batch_execute(&authenticate).unwrap();
    let wrapped_by: i64 = client
        .query_one(
            "SELECT count(DISTINCT substr(wrapped_secret, 2, 8)) FROM memory.auth_keys",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(wrapped_by, 1);
    // Nothing is left that the old key opens.
    write_file(&cluster, &path, "600", OLD);
    assert_eq!(
        state(
            &mut client,
            &format!("DO $$ BEGIN PERFORM memory.authenticate('{token}'); END $$")
        ),
        "55000"
    );
    for (id, _) in &ids {
        assert_eq!(decrypted(&mut client, id), "55000");
    }
}

#[test]
fn a_master_key_that_others_can_reach_is_refused() {
    let cluster = Cluster::new("trust");
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let folder = cluster.socket_folder().to_owned();
    let path = format!("{folder}/key");
    let encrypt = "SELECT memory.encrypt_field(gen_random_uuid()::text, 'f', 'x', 'acme')";
    let mut client = cluster.connect("d", SUPERUSER);
    assert_eq!(state(&mut client, encrypt), "fine");
    configure(&cluster, "master_key_file", &path);
    assert_eq!(state(&mut client, encrypt), "55000", "there is no such file");
    for (mode, text, expected) in [
        ("600", OLD, "fine"),
        ("400", OLD, "fine"),
        ("640", OLD, "55000"),
        ("604", OLD, "55000"),
        ("660", OLD, "55000"),
        ("666", OLD, "55000"),
        ("600", "short", "55000"),
        ("600", "", "55000"),
        (
            "600",
            "00000000000000000000000000000000000000000000000000000000000000000",
            "55000",
        ),
    ] {
        write_file(&cluster, &path, mode, text);
        assert_eq!(state(&mut client, encrypt), expected, "{mode} {text}");
    }
    // in a folder where others could exchange it
    write_file(&cluster, &path, "600", OLD);
    cluster.psql("postgres", &format!("COPY (SELECT 1) TO PROGRAM 'mkdir {folder}/open && chmod 777 {folder}/open && cp -p {path} {folder}/open/key && ln -s {path} {folder}/link && cp -p {path} {folder}/data/key && ln -s {folder}/data/key {folder}/inside && mkfifo -m 600 {folder}/fifo'"));
    for (name, expected) in [
        ("open/key", "55000"),
        ("data/key", "55000"),
        ("inside", "55000"),
        ("link", "fine"),
        ("fifo", "55000"),
        ("data/postgresql.conf", "55000"),
        ("", "55000"),
    ] {
        configure(&cluster, "master_key_file", &format!("{folder}/{name}"));
        let mut client = cluster.connect("d", SUPERUSER);
        assert_eq!(state(&mut client, encrypt), expected, "{name}");
    }
    configure(&cluster, "master_key_file", "postgresql.conf");
    assert_eq!(
        state(&mut cluster.connect("d", SUPERUSER), encrypt),
        "55000",
        "no absolute path"
    );

    // a command
    configure(&cluster, "master_key_command", &format!("cat {path}"));
    assert_eq!(
        state(&mut cluster.connect("d", SUPERUSER), encrypt),
        "55000",
        "both are set"
    );
    configure(&cluster, "master_key_file", "");
    assert_eq!(state(&mut cluster.connect("d", SUPERUSER), encrypt), "fine");
    for command in ["exit 1", "echo x", "true", "cat /dev/zero", "/no/such/program"] {
        configure(&cluster, "master_key_command", command);
        assert_eq!(
            state(&mut cluster.connect("d", SUPERUSER), encrypt),
            "55000",
            "{command}"
        );
    }
    // One that hangs is left at once, and does not go on.
    configure(&cluster, "master_key_command", "sleep 4242 & sleep 4243");
    let mut client = cluster.connect("d", SUPERUSER);
    let started = Instant::now();
    assert_eq!(
        state(&mut client, &format!("SET statement_timeout = 300; {encrypt}")),
        "57014"
    );
    assert!(
        started.elapsed() < Duration::from_millis(600),
        "{:?}",
        started.elapsed()
    );
    sleep(Duration::from_millis(100));
    let sleeping = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| line.starts_with(b"sleep\x00424"));
    assert!(!sleeping, "the command goes on");
    configure(&cluster, "master_key_command", "");
    assert_eq!(
        state(&mut cluster.connect("d", SUPERUSER), encrypt),
        "55000",
        "none is set"
    );
}

#[test]
fn no_text_and_no_key_stands_in_the_log_or_in_an_error() {
    let cluster = Cluster::with(
        "trust",
        true,
        &[
            "log_statement = 'all'",
            "log_parameter_max_length = 0",
            "log_min_messages = debug1",
        ],
    );
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let path = format!("{}/key", cluster.socket_folder());
    let key = "5ec2e70102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";
    // Only the file has the key: the statement that writes it here is logged.
    let halves = format!("(SELECT '{}' || '{}')", &key[..30], &key[30..]);
    let program = format!("umask 077; cat >{path}");
    cluster.psql("postgres", &format!("COPY {halves} TO PROGRAM '{program}'"));
    configure(&cluster, "master_key_file", &path);
    let mut client = cluster.connect("d", SUPERUSER);
    let mut errors = String::new();
    let encrypt = "SELECT memory.encrypt_field($1, $2, $3, $4)::text";
    let id: String = client
        .query_one(encrypt, &[&"u", &"f", &SECRET, &"acme"])
        .unwrap()
        .get(0);
    for (user, field, tenant) in [
        (Some("u"), Some("f"), Some("none")),
        (Some("u"), None, Some("acme")),
        (None, Some("f"), Some("acme")),
    ] {
        errors += &format!(
            "{:?}",
            client
                .query_one(encrypt, &[&user, &field, &SECRET, &tenant])
                .unwrap_err()
        );
    }
    let large = SECRET.repeat(64 * 1024 * 1024 / SECRET.len() + 1);
    errors += &format!(
        "{:?}",
        client.query_one(encrypt, &[&"u", &"f", &large, &"acme"]).unwrap_err()
    );
    assert_eq!(decrypted(&mut client, &id), SECRET);
    client
        .batch_execute("UPDATE memory.encrypted_fields SET field = 'g'")
        .unwrap();
    errors += &format!(
        "{:?}",
        client
            .query_one(&format!("SELECT memory.decrypt_field('{id}')"), &[])
            .unwrap_err()
    );
    client
        .batch_execute("UPDATE memory.user_keys SET wrapped_key = wrapped_key || '\\x00'")
        .unwrap();
    errors += &format!(
        "{:?}",
        client
            .query_one(&format!("SELECT memory.decrypt_field('{id}')"), &[])
            .unwrap_err()
    );
    // What is no key is not told either.
    cluster.psql(
        "postgres",
        &format!("COPY (SELECT substr(k, 2) FROM {halves} AS s (k)) TO PROGRAM '{program}'"),
    );
    errors += &format!(
        "{:?}",
        client
            .query_one(&format!("SELECT memory.decrypt_field('{id}')"), &[])
            .unwrap_err()
    );
    let log = cluster.log();
    for (what, text) in [("an error", &errors), ("the log", &log)] {
        assert!(text.contains("fails its check"), "{what} tells what happened");
        assert!(!text.contains(SECRET), "the text is in {what}");
        assert!(!text.contains(&key[1..]), "the key is in {what}");
    }
}
