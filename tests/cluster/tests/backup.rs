//! pg_dump and pg_restore carry every row exactly and leave the same catalog, by each way that docs/backup.md gives.

use cluster::postgres::SimpleQueryMessage;
use cluster::{Cluster, SUPERUSER, fill};

/// What the encrypted tenant's functions give.
const SEALED: &str = "
    SELECT payload ->> 'text' FROM unnest('{s0, s1, s2}'::text[]) AS s (id), memory.replay_session(s.id, 'sealed', 'c')
    UNION ALL SELECT concat_ws(', ', content ->> 'text', content ->> 'more') FROM memory.list_nodes(tenant => 'sealed', user_id => 'c')
    ORDER BY 1";

/// What 0.1.0 had not.
const FILL_MORE: &str = "SELECT memory.set_security_context('acme', service_name => 'filler', is_local => false);
    SELECT memory.log_performance_metric('acme', 'retrieval', 'search', 0.1, 'ms'), memory.note_job_run('archival', 0.1, 1, 24, NULL),
    memory.note_job_run('expiry', 0.1, 0, 0, '55P03 lock_not_available')";

/// One line per row of every table, then one per object of the catalog. What CREATE EXTENSION brings (the built-in words) is
/// the target's own.
const CONTENT: &str = r#"
SELECT format(CASE c.relkind WHEN 'S' THEN 'SELECT %L || (last_value, is_called)::text FROM %s'
                             ELSE 'SELECT %L || row_to_json(t)::text FROM %s t %s ORDER BY 1' END,
              c.oid::regclass || ' ', c.oid::regclass, condition)
FROM (
    SELECT relation, condition FROM pg_extension, unnest(extconfig, extcondition) AS config (relation, condition) WHERE extname = 'memory_ext'
    -- what was made at run time, where there is something in it
    UNION ALL SELECT t.tableoid, '' FROM memory.embeddings t GROUP BY 1
) config, pg_class c
-- keys go apart from dumps (trust.rs)
WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'S') AND condition <> 'WHERE false' ORDER BY c.oid::regclass::text
"#;
const CATALOG: &str = r#"
SELECT concat_ws(' ', 'relation', oid::regclass, relkind, relrowsecurity, relforcerowsecurity,
                 (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a))
FROM pg_class WHERE relnamespace = 'memory'::regnamespace
UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure, prosecdef, md5(pg_get_functiondef(oid)),
                 (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(proacl) a))
FROM pg_proc WHERE pronamespace = 'memory'::regnamespace AND prokind <> 'a'
UNION ALL SELECT concat_ws(' ', 'type', typname, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(typacl) a))
FROM pg_type WHERE typnamespace = 'memory'::regnamespace
UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'memory'::regnamespace
UNION ALL SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT concat_ws(' ', 'key at rest', tgrelid::regclass, tgconstraint::text) FROM pg_trigger WHERE tgisinternal AND tgenabled <> 'O'
UNION ALL SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid)) FROM pg_index JOIN pg_class ON oid = indrelid
WHERE relnamespace = 'memory'::regnamespace
UNION ALL SELECT concat_ws(' ', 'policy', polrelid::regclass, polname, pg_get_expr(polqual, polrelid)) FROM pg_policy
UNION ALL SELECT concat_ws(' ', 'statistics', attrelid::regclass, attname, attstattarget) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'memory'::regnamespace AND attnum > 0
ORDER BY 1
"#;

fn lines(cluster: &Cluster, database: &str, sql: &str) -> Vec<String> {
    let mut client = cluster.connect(database, SUPERUSER);
    let rows = client.simple_query(sql).unwrap();
    rows.iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        })
        .collect()
}

fn everything(cluster: &Cluster, database: &str) -> Vec<String> {
    let mut found = Vec::new();
    for query in lines(cluster, database, CONTENT) {
        let rows = lines(cluster, database, &query);
        assert!(!rows.is_empty(), "tests/data/fill.sql leaves nothing for: {query}");
        found.extend(rows);
    }
    found.extend(lines(cluster, database, CATALOG));
    found
}

fn assert_same(cluster: &Cluster, expected: &[String], restored: &str) {
    let found = everything(cluster, restored);
    for (a, b) in expected.iter().zip(&found) {
        assert_eq!(a, b, "in {restored}");
    }
    assert_eq!(expected.len(), found.len(), "in {restored}");
    let seals = "SELECT count(*), count(*) FILTER (WHERE NOT ok) FROM memory.verify_audit_log()";
    assert_eq!(
        lines(cluster, restored, &format!("SELECT v::text FROM ({seals}) v")),
        ["(3,0)"]
    );
}

fn run(cluster: &Cluster, program: &str, environment: &[(&str, &str)], arguments: &[&str]) {
    let output = cluster
        .command(program)
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

#[test]
fn every_way_of_restoring_gives_every_row_and_the_same_catalog() {
    for preload in [true, false] {
        let cluster = Cluster::with("backup", preload, &[]);
        cluster.create_database("origin");
        fill(&cluster, "origin");
        cluster.psql("origin", FILL_MORE);
        let expected = everything(&cluster, "origin");

        let folder = cluster::root().join("target/results/backup");
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| format!("{}/{name}.{preload}", folder.display());
        let (plain, custom) = (file("plain"), file("custom"));
        run(&cluster, "pg_dump", &[], &["-f", &plain, "origin"]);
        run(&cluster, "pg_dump", &[], &["-Fc", "-f", &custom, "origin"]);

        let psql = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", plain.as_str(), "-d"];
        let replica = [("PGOPTIONS", "-c session_replication_role=replica")];
        type Way<'a> = Vec<(&'a str, &'a [(&'a str, &'a str)], Vec<&'a str>)>;
        let ways: [(&str, Way); 5] = [
            ("plain", vec![("psql", &[], psql.to_vec())]),
            ("plain_one", vec![("psql", &[], [&["-1"], &psql[..]].concat())]),
            ("custom", vec![("pg_restore", &[], vec!["-e", &custom, "-d"])]),
            ("custom_one", vec![("pg_restore", &[], vec!["-1", &custom, "-d"])]),
            (
                "parallel",
                vec![
                    (
                        "pg_restore",
                        &[],
                        vec!["-e", "-j4", "--section=pre-data", &custom, "-d"],
                    ),
                    (
                        "pg_restore",
                        &replica,
                        vec!["-e", "-j4", "--section=data", &custom, "-d"],
                    ),
                    (
                        "pg_restore",
                        &[],
                        vec!["-e", "-j4", "--section=post-data", &custom, "-d"],
                    ),
                ],
            ),
        ];
        for (database, steps) in ways {
            cluster.psql("postgres", &format!("CREATE DATABASE {database}"));
            for (program, environment, mut arguments) in steps {
                arguments.push(database);
                run(&cluster, program, environment, &arguments);
            }
            assert_same(&cluster, &expected, database);
        }

        // What an encrypted tenant stored is in no dump, nor are the keys: those come apart, and then it reads as before.
        let text = std::fs::read_to_string(&plain).unwrap();
        assert!(text.contains("_encrypted") && !text.contains("zebra"));
        let keys = "SELECT count(*)::text FROM memory.user_keys";
        assert_eq!(lines(&cluster, "plain", keys), ["0"]);
        assert_eq!(lines(&cluster, "origin", keys), ["2"]);
        let mut restored = cluster.connect("plain", SUPERUSER);
        let unread = restored.simple_query(SEALED).unwrap_err();
        assert_eq!(unread.code().map(|code| code.code()), Some("55000"));
        for keys in lines(&cluster, "origin", "SELECT memory.export_user_keys()") {
            restored
                .execute("SELECT memory.import_user_keys($1::text::jsonb)", &[&keys])
                .unwrap();
        }
        assert_eq!(lines(&cluster, "plain", keys), ["2"]);
        assert_eq!(lines(&cluster, "plain", SEALED), lines(&cluster, "origin", SEALED));
        assert_eq!(
            lines(&cluster, "plain", SEALED),
            ["a zebra, a zebra", "an old zebra", "another zebra", "the zebra"]
        );

        // What came back works: the audit goes on with the next id, an entity is still the same one.
        cluster.psql(
            "parallel",
            "SELECT memory.set_security_context('acme', 'a', is_local => false);
             SELECT memory.store_node('{\"entity_system\": \"test\", \"entity_id\": \"7\"}', 'note');",
        );
        assert_eq!(lines(&cluster, "parallel", "SELECT count(*) FROM memory.nodes"), ["31"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn the_extension_can_be_dropped_and_made_again() {
    let cluster = Cluster::new("recreate");
    cluster.create_database("origin");
    let catalog = lines(&cluster, "origin", CATALOG);
    fill(&cluster, "origin");
    cluster.psql("origin", FILL_MORE);
    // Embedding spaces are no members: without CASCADE they are in the way, and with it they go.
    let refused = cluster
        .connect("origin", SUPERUSER)
        .batch_execute("DROP EXTENSION memory_ext");
    assert_eq!(refused.unwrap_err().code().map(|code| code.code()), Some("2BP01"));
    cluster.psql("origin", "DROP EXTENSION memory_ext CASCADE");
    assert!(
        lines(
            &cluster,
            "origin",
            "SELECT relname FROM pg_class WHERE relnamespace = 'memory'::regnamespace"
        )
        .is_empty()
    );
    cluster.psql("origin", "CREATE EXTENSION memory_ext CASCADE");
    assert_eq!(lines(&cluster, "origin", CATALOG), catalog);
    assert_eq!(lines(&cluster, "origin", "SELECT count(*) FROM memory.tenants"), ["0"]);
    // No ghost of the dropped tenants answers from the cache.
    assert_eq!(
        lines(
            &cluster,
            "origin",
            "SELECT found FROM memory.resolve_canonical_tenant('acme')"
        ),
        ["f"]
    );
}
