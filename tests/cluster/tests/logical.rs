//! Logical replication of the extension's tables: what is written on one server is on the other, audit included, written there by nobody else's
//! triggers; and the subscriber can take over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::load::{Load, prove_audit};
use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER, blocks};

/// One digest per table that has rows.
const DIGEST: &str = "
    SELECT string_agg(c.relname || ' ' || (xpath('/row/d/text()', query_to_xml(format(
        'SELECT count(*) || '' '' || coalesce(md5(string_agg(md5(t::text), '''' ORDER BY md5(t::text))), '''') AS d FROM memory.%I t', c.relname),
        true, true, '')))[1]::text, E'\\n' ORDER BY c.relname)
    FROM pg_publication_rel p JOIN pg_publication b ON b.oid = p.prpubid JOIN pg_class c ON c.oid = p.prrelid WHERE b.pubname = 'memory'";

fn digest(client: &mut Client, of: &str) -> String {
    client
        .query_one(of, &[])
        .unwrap()
        .get::<_, Option<String>>(0)
        .unwrap_or_default()
}

#[test]
fn the_tables_replicate_and_the_subscriber_can_take_over() {
    let publisher = Cluster::with("publisher", true, &["wal_level = logical"]);
    let subscriber = Cluster::new("subscriber");
    Load::prepare(&publisher, "app");
    subscriber.create_database("app");
    // The same master key, as the page says.
    subscriber.shell(
        "cat \"$FROM/master.key\" >\"$PGHOST/master.key\"",
        &[("FROM", publisher.socket_folder())],
    );
    let (mut from, mut to) = (
        publisher.connect("app", SUPERUSER),
        subscriber.connect("app", SUPERUSER),
    );
    let load = Load::onto(&publisher, "app");
    // What was there before is copied, what comes is followed.
    load.beside(2, || load.wait_for(50));
    let steps = blocks("backup.md", "Logical replication", "sql");
    let [publish, subscribe, take_over] = &steps[..] else {
        panic!("{} blocks of commands", steps.len());
    };
    let run = |on: &Cluster, text: &str| {
        on.shell(
            &format!("psql -X -q -v ON_ERROR_STOP=1 -d app <<'EOF'\n{text}\nEOF"),
            &[],
        );
    };
    run(&publisher, publish);
    let connection = format!(
        "host={} port=5432 user={SUPERUSER} dbname=app",
        publisher.socket_folder()
    );
    run(&subscriber, &subscribe.replace("host=old dbname=shop", &connection));
    load.beside(2, || load.wait_for(300));
    from.batch_execute("SELECT memory.run_archival('0'); SELECT memory.seal_audit_log(); SELECT memory.erase_user_data('writer1', 'load')")
        .unwrap();
    // The same list of tables on both sides: the subscriber publishes them to nobody.
    run(&subscriber, publish);
    let expected = digest(&mut from, DIGEST);
    assert!(
        expected
            .lines()
            .any(|line| line.starts_with("audit_log ") && !line.starts_with("audit_log 0")),
        "{expected}"
    );
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let found = digest(&mut to, DIGEST);
        if found == expected {
            break;
        }
        assert!(
            Instant::now() < patience,
            "publisher:\n{expected}\nsubscriber:\n{found}\n{}",
            subscriber.log()
        );
        sleep(Duration::from_millis(100));
    }
    publisher.stop(cluster::Stop::Fast);
    run(&subscriber, take_over);
    // Numbers go on behind what was replicated, and the log proves itself.
    let next = Load::onto(&subscriber, "app");
    to.batch_execute("DELETE FROM memory.nodes WHERE user_id = 'writer0'")
        .unwrap();
    next.beside(1, || next.wait_for(20));
    assert!(next.errors().is_empty(), "{:?}", next.errors());
    prove_audit(&mut to);
}
