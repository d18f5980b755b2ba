//! What the seal key proves that no seal without one does: nobody who can write every table, but does not have the key, changes the log unseen.

use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, lines};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEXT_KEY: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A connection that has the master keys, newest first; none where there are none.
fn with_keys(cluster: &Cluster, keys: &[&str]) -> Client {
    let command = if keys.is_empty() {
        String::new()
    } else {
        format!("echo {}", keys.join("; echo "))
    };
    for (setting, value) in [("file", ""), ("command", &command)] {
        cluster.psql(
            "postgres",
            &format!("ALTER SYSTEM SET memory.master_key_{setting} = '{value}'"),
        );
    }
    cluster.psql("postgres", "SELECT pg_reload_conf()");
    let start = Instant::now();
    loop {
        let mut client = cluster.connect("d", SUPERUSER);
        client.batch_execute("SELECT memory.audit_head()").unwrap();
        let settings =
            "SELECT current_setting('memory.master_key_file') || current_setting('memory.master_key_command')";
        if lines(&mut client, settings) == [command.as_str()] {
            client
                .batch_execute("SELECT memory.set_security_context('acme', service_name => 'desk', is_local => false)")
                .unwrap();
            return client;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the setting was not reloaded"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What does not hold.
fn wrong(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT seal, detail FROM memory.verify_audit_log() WHERE NOT ok",
    )
}

/// What does not hold after a superuser who passes for a restore has done this, which is undone afterwards.
fn after(client: &mut Client, tampering: &str) -> Vec<String> {
    client
        .batch_execute(&format!("BEGIN; SET LOCAL row_security = off; {tampering}"))
        .unwrap_or_else(|error| panic!("{tampering}: {error:?}"));
    let found = wrong(client);
    client.batch_execute("ROLLBACK").unwrap();
    found
}

fn log(client: &mut Client, user: &str) {
    let sql =
        format!("SELECT memory.log_event('s', 'log', '{{\"n\": 1}}', user_id => '{user}') FROM generate_series(1, 5)");
    client.batch_execute(&sql).unwrap();
}

fn seal(client: &mut Client) {
    assert_ne!(lines(client, "SELECT memory.seal_audit_log()"), ["0"]);
}

fn code(result: Result<(), cluster::postgres::Error>) -> String {
    result
        .unwrap_err()
        .code()
        .map(|code| code.code().to_owned())
        .unwrap_or_default()
}

#[test]
fn without_the_key_nobody_forges_a_seal_or_a_redaction() {
    let cluster = Cluster::new("seal");
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    // The first seal is from before there was a key: the next one is signed, and so vouches for it.
    let mut client = with_keys(&cluster, &[]);
    log(&mut client, "old");
    seal(&mut client);
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    let mut client = with_keys(&cluster, &[KEY]);
    assert_eq!(wrong(&mut client), ["1|it is not signed, though there is a key"]);
    for user in ["ann", "bob", "cat"] {
        log(&mut client, user);
    }
    seal(&mut client);
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    client.batch_execute("SELECT memory.erase_user_data('ann')").unwrap();
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    let ids = |client: &mut Client, condition: &str| {
        lines(
            client,
            &format!("SELECT id FROM memory.audit_log WHERE {condition} ORDER BY id LIMIT 1"),
        )
        .remove(0)
    };
    let redacted = ids(&mut client, "user_id ~ '^anon-' AND table_name = 'events'");
    let whole = ids(&mut client, "user_id = 'bob' AND table_name = 'events'");

    // What stands in a redacted row is signed.
    for change in [
        "changes = '{\"new\": \"forged\"}'",
        "user_id = 'bob'",
        "client_address = '10.0.0.1'",
    ] {
        let found = after(
            &mut client,
            &format!("UPDATE memory.audit_log SET {change} WHERE id = {redacted}"),
        );
        assert_eq!(
            found,
            [format!(
                "2|row {redacted} was changed after it was redacted, or redacted without the key"
            )]
        );
    }
    // A salt that somebody takes, as redaction takes it, is no redaction: the leaf of one row is put into another's place, bytes are changed.
    let found = after(
        &mut client,
        &format!(
            "UPDATE memory.audit_log SET changes = NULL WHERE id = {whole};
                  UPDATE memory.audit_leaves SET leaves = overlay(leaves PLACING '\\x02' FROM 2) WHERE seal_id = 2"
        ),
    );
    assert!(!found.is_empty());
    // A chain made again by who has no key.
    let mut other = with_keys(&cluster, &[]);
    other
        .batch_execute(&format!("BEGIN; SET LOCAL row_security = off; UPDATE memory.audit_log SET changes = NULL WHERE id = {whole};
             CREATE TABLE seals AS SELECT * FROM memory.audit_seals; CREATE TABLE leaves AS SELECT * FROM memory.audit_leaves;
             CREATE TABLE log AS SELECT * FROM memory.audit_log; DELETE FROM memory.audit_seals; DELETE FROM memory.audit_leaves; COMMIT"))
        .unwrap();
    seal(&mut other);
    assert_eq!(wrong(&mut other), Vec::<String>::new(), "without the key it looks well");
    let mut client = with_keys(&cluster, &[KEY]);
    assert_eq!(wrong(&mut client), ["1|it is not signed, though there is a key"]);
    // With another key it is another's.
    let mut other = with_keys(&cluster, &[NEXT_KEY]);
    other
        .batch_execute("BEGIN; SET LOCAL row_security = off; DELETE FROM memory.audit_seals; DELETE FROM memory.audit_leaves; COMMIT")
        .unwrap();
    seal(&mut other);
    let mut client = with_keys(&cluster, &[KEY]);
    let found = wrong(&mut client);
    assert!(
        found.len() == 1 && found[0].contains("is signed with the key") && found[0].contains("not known here"),
        "{found:?}"
    );
    // A redaction by who has no key, of what is signed, is refused; by the extension too.
    client
        .batch_execute(
            "BEGIN; SET LOCAL row_security = off; DELETE FROM memory.audit_seals; DELETE FROM memory.audit_leaves;
             INSERT INTO memory.audit_seals SELECT * FROM seals; INSERT INTO memory.audit_leaves SELECT * FROM leaves; COMMIT",
        )
        .unwrap();
    assert_eq!(wrong(&mut client).len(), 1, "the row that was changed");
    client
        .batch_execute(&format!("BEGIN; SET LOCAL row_security = off;
            UPDATE memory.audit_log a SET changes = (SELECT l.changes FROM (SELECT changes FROM log LIMIT 0) l) WHERE false;
            UPDATE memory.audit_log SET changes = NULL WHERE id = {whole}; COMMIT"))
        .unwrap();
    let mut other = with_keys(&cluster, &[]);
    assert_eq!(
        code(other.batch_execute("SELECT memory.erase_user_data('cat')")),
        "55000"
    );
    log(&mut other, "bob");
    assert_eq!(code(other.batch_execute("SELECT memory.seal_audit_log()")), "55000");
    assert!(wrong(&mut other).iter().any(|line| line.contains("not known here")));
}

#[test]
fn a_key_that_was_rotated_still_verifies() {
    let cluster = Cluster::new("sealkeys");
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let mut client = with_keys(&cluster, &[KEY]);
    log(&mut client, "ann");
    log(&mut client, "bob");
    seal(&mut client);
    client.batch_execute("SELECT memory.erase_user_data('ann')").unwrap();
    let head = lines(&mut client, "SELECT memory.audit_head()").remove(0);
    let mut client = with_keys(&cluster, &[NEXT_KEY, KEY]);
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    log(&mut client, "cat");
    seal(&mut client);
    client
        .batch_execute("SELECT memory.anonymize_user_data('bob')")
        .unwrap();
    let names = lines(&mut client, "SELECT count(DISTINCT key_name) FROM memory.audit_seals");
    assert_eq!(names, ["2"]);
    let found = lines(
        &mut client,
        &format!("SELECT detail FROM memory.verify_audit_log('{head}') WHERE seal IS NULL AND ok"),
    );
    assert!(found.contains(&"the head is seal 1 of 2".to_owned()), "{found:?}");
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    // Who has the old key only finds a seal that no seal of that key vouches for.
    let mut client = with_keys(&cluster, &[KEY]);
    let found = wrong(&mut client);
    assert!(
        found.iter().any(|line| line.starts_with("2|it is signed with the key")),
        "{found:?}"
    );
    // The old key is needed for the redactions that it signed, until they are signed anew.
    let mut client = with_keys(&cluster, &[NEXT_KEY]);
    assert!(!wrong(&mut client).is_empty());
    let mut client = with_keys(&cluster, &[NEXT_KEY, KEY]);
    // Retention, and the blocks that it empties.
    client
        .batch_execute(
            "SELECT memory.set_retention_policy('audit_log', '1 microsecond'), memory.archive_old_audit_logs(0)",
        )
        .unwrap();
    assert_eq!(
        lines(&mut client, "SELECT count(*) > 0 FROM memory.audit_log WHERE id < 5"),
        ["f"]
    );
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    let found = after(
        &mut client,
        "UPDATE memory.audit_leaves SET leaves = set_byte(leaves, 8, get_byte(leaves, 8) # 1)",
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

/// Each lie that fits everything but one check: leaves that fit the rows and not the seal, a redaction made while the seal passed for an unsigned
/// one, signatures under what retention removed.
#[test]
fn what_a_signed_seal_says_takes_the_key_to_change() {
    let cluster = Cluster::new("sealsigned");
    cluster.create_database("d");
    cluster.psql(
        "d",
        "INSERT INTO memory.tenants (slug) VALUES ('other'), ('acme');
         SELECT memory.log_event('s', 'log', '{}', tenant => 'other', user_id => 'x')",
    );
    let mut client = with_keys(&cluster, &[KEY]);
    // the first blocks are two tenants', later ones one's alone
    log(&mut client, "ann");
    for _ in 0..30 {
        log(&mut client, "bob");
    }
    seal(&mut client);
    assert_eq!(wrong(&mut client), Vec::<String>::new());

    let found = after(
        &mut client,
        "UPDATE memory.audit_log SET changes = '{}' WHERE id = 20;
         CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM memory.audit_seals;
         DELETE FROM memory.audit_seals; DELETE FROM memory.audit_leaves;
         SELECT memory.seal_audit_log();
         DELETE FROM memory.audit_seals; INSERT INTO memory.audit_seals SELECT * FROM kept",
    );
    assert_eq!(found, ["1|the leaves were changed"]);

    // Who restores a database restores what they like: without the key, a redaction of what was signed.
    client
        .batch_execute(
            "BEGIN; SET LOCAL row_security = off; CREATE TABLE seals AS SELECT * FROM memory.audit_seals;
             CREATE TABLE leaves AS SELECT * FROM memory.audit_leaves;
             UPDATE memory.audit_seals SET key_name = NULL, tag = NULL; COMMIT",
        )
        .unwrap();
    let mut other = with_keys(&cluster, &[]);
    other.batch_execute("SELECT memory.erase_user_data('ann')").unwrap();
    let mut client = with_keys(&cluster, &[KEY]);
    let put_back = "DELETE FROM memory.audit_seals; INSERT INTO memory.audit_seals SELECT * FROM seals";
    client
        .batch_execute(&format!("BEGIN; SET LOCAL row_security = off; {put_back}; COMMIT"))
        .unwrap();
    let found = wrong(&mut client);
    assert!(
        found.len() == 1 && found[0].ends_with("rows were redacted or removed without the key"),
        "{found:?}"
    );

    // What retention has removed is vouched for by the key, row by row and block by block.
    client
        .batch_execute(
            "SELECT memory.set_retention_policy('audit_log', '1 microsecond', 'acme'), memory.archive_old_audit_logs(0)",
        )
        .unwrap();
    let lengths = "SELECT block, octet_length(leaves) < 64 FROM memory.audit_leaves WHERE block < 2 ORDER BY block";
    assert_eq!(lines(&mut client, lengths), ["0|f", "1|t"]);
    let before = wrong(&mut client);
    for (block, what) in [
        (0, "row 63 was removed, but not by retention with the key"),
        (1, "rows 64 to 127 were removed, but not by retention with the key"),
    ] {
        // the last byte is a signature's
        let found = after(
            &mut client,
            &format!(
                "UPDATE memory.audit_leaves SET leaves = set_byte(leaves, length(leaves) - 1, get_byte(leaves, length(leaves) - 1) # 1)
                 WHERE block = {block}"
            ),
        );
        assert_ne!(found, before);
        assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
    }
}

#[test]
fn sealing_beside_writers_and_erasures_leaves_nothing_out() {
    let cluster = Cluster::new("sealrace");
    cluster.create_database("d");
    cluster.psql("d", "INSERT INTO memory.tenants (slug) VALUES ('acme')");
    let mut client = with_keys(&cluster, &[KEY]);
    let until = Instant::now() + Duration::from_secs(5);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut client = cluster.connect("d", SUPERUSER);
                client
                    .batch_execute(
                        "SELECT memory.set_security_context('acme', service_name => 'desk', is_local => false)",
                    )
                    .unwrap();
                let mut round = 0;
                while Instant::now() < until {
                    round += 1;
                    let user = format!("u{writer}-{}", round / 20);
                    let end = if round % 7 == 0 { "ROLLBACK" } else { "COMMIT" };
                    client.batch_execute("BEGIN").unwrap();
                    log(&mut client, &user);
                    client.batch_execute(end).unwrap();
                    if round % 20 == 19 {
                        client
                            .batch_execute(&format!("SELECT memory.erase_user_data('{user}')"))
                            .unwrap();
                    }
                }
            });
        }
        let mut sealed = 0;
        while Instant::now() < until {
            sealed += usize::from(lines(&mut client, "SELECT memory.seal_audit_log()") != ["0"]);
            assert_eq!(wrong(&mut client), Vec::<String>::new());
        }
        assert!(sealed > 10, "{sealed} seals");
    });
    // The last round may have sealed all there was.
    log(&mut client, "last");
    seal(&mut client);
    assert_eq!(wrong(&mut client), Vec::<String>::new());
    let tail = lines(
        &mut client,
        "SELECT detail FROM memory.verify_audit_log() WHERE seal IS NULL",
    );
    assert_eq!(tail, ["every row is sealed"]);
    let redacted = lines(
        &mut client,
        "SELECT count(*) > 10 FROM memory.audit_log WHERE user_id ~ '^anon-'",
    );
    assert_eq!(redacted, ["t"]);
}
