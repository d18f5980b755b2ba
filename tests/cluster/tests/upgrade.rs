//! ALTER EXTENSION memory_ext UPDATE, from the released versions: the schema is that of a fresh installation, the data stay, sessions go on.

use std::path::PathBuf;
use std::process::Command;

use cluster::postgres::{Client, SimpleQueryMessage};
use cluster::{Cluster, SUPERUSER, fill, root};

const RELEASED: [&str; 1] = ["0.1.0"];

fn lines(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        })
        .collect()
}

fn one(client: &mut Client, sql: &str) -> String {
    lines(client, sql).join("\n")
}

/// A database with a released version of the extension, by this library.
fn installed(cluster: &Cluster, database: &str, version: &str) -> Client {
    cluster
        .connect("postgres", SUPERUSER)
        .batch_execute(&format!("CREATE DATABASE {database}"))
        .unwrap();
    let mut client = cluster.connect(database, SUPERUSER);
    client
        .batch_execute(&format!("CREATE EXTENSION memory_ext VERSION '{version}' CASCADE"))
        .unwrap();
    client
}

/// Each row of each table, and where each sequence is.
fn data(client: &mut Client, relations: &[String]) -> Vec<String> {
    let row = |relation: &str| match relation.ends_with("_seq") {
        true => "concat_ws(' ', last_value, is_called)",
        false => "row_to_json(t)::text",
    };
    relations
        .iter()
        .flat_map(|relation| {
            let sql = format!("SELECT '{relation} ' || {} FROM {relation} t ORDER BY 1", row(relation));
            lines(client, &sql)
        })
        .collect()
}

/// What pg_dump says of each member by itself, as it does for pg_upgrade only: definitions, comments, privileges, what is dumped of them. Without OIDs.
fn definitions(cluster: &Cluster, database: &str) -> Vec<String> {
    let dump = cluster.pg_dump(&["--binary-upgrade", "--schema-only", database]);
    let mut all: Vec<String> = dump
        .split(";\n")
        .map(|statement| {
            let kept = statement
                .lines()
                .filter(|line| !line.starts_with("--") && !line.trim().is_empty());
            kept.collect::<Vec<_>>().join("\n")
        })
        .filter(|statement| {
            let is_of_oids = [
                "binary_upgrade_set_next",
                "relfrozenxid",
                "restrict ",
                "create_empty_extension",
                "setval(",
            ];
            !statement.is_empty() && !is_of_oids.iter().any(|word| statement.contains(word))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Functions, privileges as installed, and the extension's list of what is dumped.
const CATALOG: &str = "
    SELECT concat_ws(' ', pg_describe_object(i.classoid, i.objoid, i.objsubid), i.privtype, i.initprivs) FROM pg_init_privs AS i
    JOIN pg_depend AS d ON d.classid = i.classoid AND d.objid = i.objoid AND d.deptype = 'e'
    WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'memory_ext')
    UNION ALL SELECT concat_ws(' ', 'member', pg_describe_object(d.classid, d.objid, d.objsubid)) FROM pg_depend AS d
    WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'memory_ext') AND d.deptype = 'e'
    UNION ALL SELECT concat_ws(' ', 'dumped', c.relation::regclass, c.condition) FROM pg_extension, unnest(extconfig, extcondition) AS c (relation, condition)
    WHERE extname = 'memory_ext'
    UNION ALL SELECT concat_ws(' ', 'expected', md5(e::text)) FROM memory.schema_expectation AS e
    UNION ALL SELECT concat_ws(' ', 'profile', p::text) FROM memory.profile_privileges AS p
    UNION ALL SELECT concat_ws(' ', 'personal', p::text) FROM memory.personal_columns AS p
    ORDER BY 1";

fn assert_same(what: &str, expected: &[String], found: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
    let added: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
    assert!(
        missing.is_empty() && added.is_empty() && expected.len() == found.len(),
        "{what}\nmissing: {missing:#?}\nadded: {added:#?}\n{} and {} lines",
        expected.len(),
        found.len()
    );
}

const UPDATE: &str = "ALTER EXTENSION memory_ext UPDATE";

#[test]
fn an_updated_database_is_as_a_fresh_one_and_keeps_its_data() {
    let cluster = Cluster::new("upgrade");
    cluster.create_database("fresh");
    let mut fresh = cluster.connect("fresh", SUPERUSER);
    let version = one(
        &mut fresh,
        "SELECT extversion FROM pg_extension WHERE extname = 'memory_ext'",
    );
    let fingerprint = one(&mut fresh, "SELECT memory.schema_fingerprint()");
    for (i, released) in RELEASED.iter().enumerate() {
        let old = format!("old_{i}");
        drop(installed(&cluster, &old, released));
        fill(&cluster, &old);
        let mut client = cluster.connect(&old, SUPERUSER);
        client
            .batch_execute(
                "CREATE ROLE upgrade_operator; CREATE ROLE upgrade_gone;
                 SELECT memory.grant_access('upgrade_operator', 'operator'), memory.grant_access('upgrade_gone', 'app')",
            )
            .unwrap();
        let tables = lines(
            &mut client,
            "SELECT r::regclass FROM pg_extension, unnest(extconfig) AS r WHERE extname = 'memory_ext'
             UNION ALL SELECT DISTINCT tableoid::regclass FROM memory.embeddings ORDER BY 1",
        );
        assert!(tables.len() > 25, "{tables:?}");
        let before = data(&mut client, &tables);
        assert!(before.len() > 400, "{} rows", before.len());
        client.batch_execute(UPDATE).unwrap();
        assert_same("data", &before, &data(&mut client, &tables));
        assert_eq!(
            one(
                &mut client,
                "SELECT extversion FROM pg_extension WHERE extname = 'memory_ext'"
            ),
            version
        );
        assert_eq!(one(&mut client, "SELECT memory.schema_fingerprint()"), fingerprint);
        assert_eq!(one(&mut client, "SELECT d FROM memory.schema_drift() AS d"), "");
        assert_same("catalog", &lines(&mut fresh, CATALOG), &lines(&mut client, CATALOG));
        let definitions_of_spaces = |definitions: Vec<String>| -> Vec<String> {
            let spaces = lines(
                &mut cluster.connect(&old, SUPERUSER),
                "SELECT relation FROM memory.embedding_spaces",
            );
            let is_of_space = |text: &String| spaces.iter().any(|space| text.contains(space.as_str()));
            let is_grant = |text: &String| text.starts_with("GRANT ") || text.contains("\nGRANT ");
            definitions
                .into_iter()
                .filter(|text| !is_of_space(text) && !is_grant(text))
                .collect()
        };
        let [expected, found] = ["fresh", &old].map(|database| definitions_of_spaces(definitions(&cluster, database)));
        assert!(expected.len() > 1000, "{} statements", expected.len());
        assert_same("pg_dump", &expected, &found);
        assert_eq!(
            one(&mut client, "SELECT v FROM memory.verify() AS v WHERE NOT v.ok"),
            ""
        );
        assert_eq!(
            one(
                &mut client,
                "SELECT bool_and(coalesce(ok, true)) FROM memory.verify_audit_log()"
            ),
            "t"
        );
        // Who had a profile has what it gained, here and in what is restored from a dump.
        const AS_OPERATOR: &str = "SET ROLE upgrade_operator; SELECT memory.health() ->> 'version'";
        assert_eq!(one(&mut client, AS_OPERATOR), version);
        drop(client);
        let dump = format!("{}/{old}.dump", cluster.socket_folder());
        cluster.pg_dump(&["-Fc", "-f", &dump, &old]);
        cluster.psql("postgres", &format!("CREATE DATABASE restored_{i}"));
        cluster.pg_restore(&["-d", &format!("restored_{i}"), "--single-transaction", &dump]);
        let mut restored = cluster.connect(&format!("restored_{i}"), SUPERUSER);
        assert_eq!(one(&mut restored, AS_OPERATOR), version);
        restored.batch_execute("RESET ROLE").unwrap();
        assert_eq!(one(&mut restored, "SELECT d FROM memory.schema_drift() AS d"), "");
        assert_eq!(one(&mut restored, "SELECT memory.schema_fingerprint()"), fingerprint);
    }
}

/// The library is newer than the SQL, as between the installation of the package and the update: what was there goes on.
#[test]
fn a_new_library_serves_old_sql() {
    let cluster = Cluster::new("oldsql");
    for (i, released) in RELEASED.iter().enumerate() {
        let database = format!("old_{i}");
        let mut client = installed(&cluster, &database, released);
        fill(&cluster, &database);
        let mut app = cluster.connect(&database, SUPERUSER);
        app.batch_execute(
            "SELECT memory.set_security_context('acme', 'reader', is_local => false);
             SELECT memory.log_event('new', 'log', '{}'), memory.store_node('{\"text\": \"a zebra\"}', 'knowledge_atom')",
        )
        .unwrap();
        assert_eq!(one(&mut app, "SELECT count(*) FROM memory.search('zebra')"), "1");
        assert_eq!(one(&mut app, "SELECT count(*) FROM memory.get_events('new')"), "1");
        assert_eq!(
            one(
                &mut client,
                "SELECT bool_and(coalesce(ok, true)) FROM memory.verify_audit_log()"
            ),
            "t"
        );
        // Every function that needs no argument, and some that do, gives an answer or an error with a code of the contract; no crash.
        let pid = one(&mut client, "SELECT pg_backend_pid()");
        let calls = lines(
            &mut client,
            "SELECT format('SELECT * FROM memory.%I()', proname) FROM pg_proc
             WHERE pronamespace = 'memory'::regnamespace AND pronargs - pronargdefaults = 0 AND prokind = 'f'
                 AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) ORDER BY 1",
        );
        assert!(calls.len() > 20);
        for call in calls {
            if let Err(error) = client.batch_execute(&call) {
                let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
                let known = ["22023", "22004", "P0002", "42501", "40001", "54000", "55000"];
                assert!(known.contains(&code.as_str()), "{call}: {error:?}");
            }
        }
        assert_eq!(one(&mut client, "SELECT pg_backend_pid()"), pid);
        client.batch_execute(UPDATE).unwrap();
        assert_eq!(one(&mut client, "SELECT d FROM memory.schema_drift() AS d"), "");
    }
}

/// A session that is open while the extension is updated, with kept plans and caches, and a transaction that began before.
#[test]
fn sessions_stay_open_across_an_update() {
    let cluster = Cluster::new("across");
    let mut admin = installed(&cluster, "app", RELEASED[0]);
    fill(&cluster, "app");
    let mut open = cluster.connect("app", SUPERUSER);
    open.batch_execute("SELECT memory.set_security_context('acme', 'a', is_local => false)")
        .unwrap();
    const WORK: [&str; 9] = [
        "SELECT memory.log_event('open', 'log', '{\"m\": 1}')",
        "SELECT memory.store_node('{\"text\": \"an okapi\"}', 'knowledge_atom')",
        "SELECT memory.store_embedding('a \"model''s\"', (SELECT node_id FROM memory.list_nodes() LIMIT 1), '[1,2,3]')",
        "SELECT count(*) FROM memory.search('okapi')",
        "SELECT count(*) FROM memory.search(embedding => '[1,2,3]', model => 'a \"model''s\"')",
        "SELECT count(*) FROM memory.traverse((SELECT array_agg(node_id) FROM memory.list_nodes()))",
        "SELECT count(*) FROM memory.get_events('open')",
        "SELECT uuid FROM memory.resolve_canonical_tenant('acme')",
        "SELECT memory.current_user_id()",
    ];
    let prepared: Vec<_> = WORK.iter().map(|sql| open.prepare(sql).unwrap()).collect();
    let work = |client: &mut Client| {
        for (statement, sql) in prepared.iter().zip(WORK) {
            client
                .query(statement, &[])
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    };
    for _ in 0..7 {
        work(&mut open);
    }
    open.batch_execute("BEGIN").unwrap();
    work(&mut open);
    let pid = one(&mut open, "SELECT pg_backend_pid()");
    // It waits for nobody who reads and writes.
    admin.batch_execute("SET lock_timeout = '10s'").unwrap();
    admin.batch_execute(UPDATE).unwrap();
    work(&mut open);
    open.batch_execute("COMMIT").unwrap();
    work(&mut open);
    assert_eq!(one(&mut open, "SELECT pg_backend_pid()"), pid);
    open.batch_execute("SELECT memory.clear_security_context()").unwrap();
    assert_eq!(one(&mut open, "SELECT v FROM memory.verify() AS v WHERE NOT v.ok"), "");
    // Rolled back, an update leaves the old version, which works.
    let mut again = installed(&cluster, "again", RELEASED[0]);
    again.batch_execute(&format!("BEGIN; {UPDATE}; ROLLBACK")).unwrap();
    assert_eq!(
        one(
            &mut again,
            "SELECT extversion FROM pg_extension WHERE extname = 'memory_ext'"
        ),
        RELEASED[0]
    );
    again
        .batch_execute("INSERT INTO memory.tenants (slug) VALUES ('x'); SELECT memory.log_event('s', 'log', '{}', tenant => 'x', user_id => 'u')")
        .unwrap();
}

#[test]
fn an_old_pgvector_is_refused_at_installation() {
    let cluster = Cluster::new("oldvector");
    let mut client = cluster.connect("postgres", SUPERUSER);
    client.batch_execute("CREATE EXTENSION vector").unwrap();
    for (version, fits) in [("0.6.0", false), ("0.7.4", false), ("0.10.0-dev", true), ("1.0", true)] {
        let installed = client
            .batch_execute(&format!(
                "UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'vector';
                 DROP EXTENSION IF EXISTS memory_ext;
                 CREATE EXTENSION memory_ext CASCADE;"
            ))
            .map_err(|error| error.as_db_error().unwrap().message().to_owned());
        let refused = format!("the extension vector is of version {version}");
        assert_eq!(installed, if fits { Ok(()) } else { Err(refused) });
    }
}

fn released_script(version: &str) -> PathBuf {
    root().join(format!("sql/released/memory_ext--{version}.sql"))
}

/// A C function that a released script names is in every later library: else a database that was not updated yet could not use it, nor be updated.
#[test]
fn every_symbol_of_a_released_script_is_in_the_library() {
    let cluster = Cluster::new("symbols");
    let mut client = cluster.connect("postgres", SUPERUSER);
    for released in RELEASED {
        let script = std::fs::read_to_string(released_script(released)).unwrap();
        let symbols: Vec<&str> = script
            .lines()
            .filter_map(|line| line.trim().strip_prefix("AS 'MODULE_PATHNAME', '"))
            .filter_map(|rest| rest.split('\'').next())
            .collect();
        assert!(symbols.len() > 80, "{}", symbols.len());
        for symbol in symbols {
            client
                .batch_execute(&format!(
                    "CREATE OR REPLACE FUNCTION pg_temp.probe() RETURNS void LANGUAGE c AS '$libdir/memory_ext', '{symbol}'"
                ))
                .unwrap_or_else(|error| panic!("{symbol} of {released}: {error:?}"));
        }
    }
}

/// What databases have run stays as they have run it.
#[test]
fn released_scripts_are_as_they_were_released() {
    let sums = std::fs::read_to_string(root().join("sql/released/SHA256SUMS")).unwrap();
    for released in RELEASED {
        assert!(
            sums.contains(&format!("released/memory_ext--{released}.sql")),
            "{released}"
        );
    }
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "released/SHA256SUMS"])
        .current_dir(root().join("sql"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
