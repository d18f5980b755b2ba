//! pg_dump and pg_restore carry every row exactly and leave the same catalog, by each way that docs/backup.md gives.

use cluster::postgres::SimpleQueryMessage;
use cluster::{Cluster, SUPERUSER};

/// Every table gets rows; every function that writes is used, so that triggers and defaults have worked once.
const FILL: &str = r#"
CREATE ROLE backup_app;
CREATE ROLE backup_service;
INSERT INTO memory.projects (name) VALUES ('p');
INSERT INTO memory.tenants (slug, project_id) SELECT 'acme', id FROM memory.projects;
INSERT INTO memory.tenants (slug) VALUES ('globex');
SELECT memory.grant_access('backup_app', 'app');
SELECT memory.grant_access('backup_service', 'service', '{acme}');
SELECT memory.register_context_type('note', 'a word of one''s own'),
       memory.register_relationship_type('cites', ''), memory.register_event_type('clicked', NULL);
SELECT memory.set_security_context('acme', service_name => 'filler', is_local => false);
SELECT memory.log_events(s, (SELECT jsonb_agg(jsonb_build_object('event_id', i::text, 'event_type', 'clicked',
                                'payload', jsonb_build_object('i', i, 'text', E'\\ \t '' " é')))
                             FROM generate_series(1, 20) i), user_id => u)
FROM unnest('{a, b}'::text[]) u, unnest('{s1, s2}'::text[]) s;
SELECT memory.end_session('s1', user_id => 'a');
SELECT memory.run_archival();
SELECT memory.log_event('s1', 'clicked', '{}', user_id => 'a');
SELECT memory.set_preferences('{"theme": "dark"}', user_id => 'a'), memory.record_navigation('/home', user_id => 'a'),
       memory.set_user_metadata('{"n": 1}', user_id => 'a');
SELECT count(*) FROM memory.store_nodes((SELECT jsonb_agg(jsonb_build_object('context_type', 'note', 'tags', '["x"]'::jsonb,
    'content', jsonb_build_object('entity_system', 'test', 'entity_id', i % 30, 'entity_data', jsonb_build_object('k' || i, i))))
    FROM generate_series(1, 60) i), user_id => 'a');
SELECT memory.store_relationships((SELECT jsonb_agg(jsonb_build_object('from_node_id', a.node_id, 'to_node_id', b.node_id,
    'relationship_type', 'cites', 'strength', 0.3)) FROM memory.nodes a, memory.nodes b WHERE a.entity_id < b.entity_id), user_id => 'a');
SELECT memory.create_embedding_space('a "model''s"', 3), memory.create_embedding_space('empty', 2, 'l2', 'half');
SELECT memory.store_embeddings('a "model''s"', array_agg(node_id), array_agg(ARRAY[1, right(entity_id, 1)::int, 3]::real[]::vector), user_id => 'a')
FROM memory.nodes WHERE user_id = 'a';
SELECT memory.end_node((SELECT node_id FROM memory.nodes LIMIT 1), user_id => 'a');
SELECT memory.set_search_language('acme', 'german');
SELECT memory.set_retention_policy('nodes', '1 year'), memory.set_retention_policy('audit_log', '10 years', 'acme');
SELECT length(memory.issue_service_token('filler', 'acme', '{read}', '1 day'));
SELECT memory.encrypt_field('a', 'iban', 'secret'), memory.encrypt_field('a', 'iban', 'other');
SELECT memory.place_legal_hold('b', 'case', 'acme');
SELECT memory.apply_retention(), memory.clean_expired();
SELECT memory.log_performance_metric('acme', 'retrieval', 'search', 0.1, 'ms'), memory.note_job_run('archival', 0.1, 1, 24, NULL),
       memory.note_job_run('expiry', 0.1, 0, 0, '55P03 lock_not_available');
INSERT INTO memory.data_access_log SELECT memory.uuid_v7(), now(), 'get_events', id, 'a', NULL, 'r', 'r', NULL, 'desk' FROM memory.tenants;
SELECT memory.seal_audit_log();
SELECT memory.log_event('s', 'clicked', '{}', user_id => 'gone');
SELECT memory.seal_audit_log();
SELECT memory.erase_user_data('gone', 'acme');
SELECT memory.register_auth_key('shop', 'HS256', encode(repeat('k', 32)::bytea, 'base64'), 'memory', 'issuer', '{acme}'),
       memory.register_auth_key('old', 'HS256', encode(repeat('o', 32)::bytea, 'base64'), '*'), memory.revoke_auth_key('old');
SELECT length(memory.issue_service_token('crawler', 'acme', '{read}', '1 day')) > 0;
SELECT memory.request_privacy('erase', 'b'), memory.refuse_privacy_request(memory.request_privacy('anonymize', 'a'), 'why');
SELECT memory.perform_privacy_request(memory.request_privacy('export', 'a'));
DO $$ BEGIN PERFORM memory.get_user_stats('globex', 'a'); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
"#;

/// Each statement in a transaction of its own.
fn fill(cluster: &Cluster, database: &str) {
    let mut client = cluster.connect(database, SUPERUSER);
    for statement in FILL.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

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
        assert!(!rows.is_empty(), "FILL leaves nothing for: {query}");
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

        // What came back works: the audit goes on with the next id, an entity is still the same one.
        cluster.psql(
            "parallel",
            "SELECT memory.set_security_context('acme', 'a', is_local => false);
             SELECT memory.store_node('{\"entity_system\": \"test\", \"entity_id\": \"7\"}', 'note');",
        );
        assert_eq!(lines(&cluster, "parallel", "SELECT count(*) FROM memory.nodes"), ["30"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn the_extension_can_be_dropped_and_made_again() {
    let cluster = Cluster::new("recreate");
    cluster.create_database("origin");
    let catalog = lines(&cluster, "origin", CATALOG);
    fill(&cluster, "origin");
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
