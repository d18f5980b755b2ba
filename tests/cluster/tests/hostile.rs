//! Every function of the schema, called with hostile arguments, by each profile and under tokens, before and after the tenant is encrypted: the
//! server lives, nothing is an internal error (XX000), nothing tells of another tenant or user, no call changes who is asking, and a token that may
//! only read writes nothing.

#[path = "hostile/argument.rs"]
mod argument;

use std::thread::sleep;
use std::time::Duration;

use argument::argument;
use cluster::postgres::error::SqlState;
use cluster::postgres::{Client, SimpleQueryMessage};
use cluster::random::{Random, seed};
use cluster::{Cluster, SUPERUSER};

const CALLS: u64 = 10_000;

/// Stand in every row of another tenant, and of another user of the same tenant. No argument says them.
const OTHER_TENANT: &str = "marker-of-blue";
const OTHER_USER: &str = "marker-of-bob";

const SETUP: &str = "
    INSERT INTO memory.tenants (id, slug) VALUES
        ('00000000-0000-7000-8000-00000000000a', 'red'), ('00000000-0000-7000-8000-00000000000b', 'blue');
    CREATE ROLE hostile_app LOGIN;
    SELECT memory.register_auth_key('hostile key', 'HS256', mint.secret('a'), 'memory', 'issuer', '{red}', '{read,write,archive,admin}', true);
    CREATE ROLE hostile_service LOGIN IN ROLE hostile_app;
    CREATE ROLE hostile_operator LOGIN;
    CREATE ROLE hostile_auditor LOGIN;
    CREATE ROLE hostile_nobody LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS;
    SELECT memory.grant_access('hostile_app', 'app');
    SELECT memory.grant_access('hostile_service', 'service', '{red}');
    SELECT memory.grant_access('hostile_operator', 'operator');
    SELECT memory.grant_access('hostile_auditor', 'auditor', '{red}');
    SELECT memory.create_embedding_space('m', 3);
    CREATE PROCEDURE fill(tenant text, user_id text, marker text, node uuid) LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM memory.set_security_context(tenant, service_name => 'filler');
        PERFORM memory.save_session('s', jsonb_build_object('m', marker), user_id => fill.user_id, mode => marker);
        PERFORM memory.save_session(marker, parent_session_id => marker, user_id => fill.user_id);
        PERFORM memory.log_event('s', 'log', jsonb_build_object('m', marker), 'e', user_id => fill.user_id);
        PERFORM memory.log_event('s', 'log', jsonb_build_object('m', marker), marker, user_id => fill.user_id);
        PERFORM memory.set_preferences(jsonb_build_object('m', marker), user_id => fill.user_id);
        PERFORM memory.set_user_metadata(jsonb_build_object('m', marker), user_id => fill.user_id);
        PERFORM memory.record_navigation(marker, user_id => fill.user_id);
        PERFORM memory.encrypt_field(fill.user_id, marker, marker);
        PERFORM memory.archive_event(NULL, fill.user_id, 's', marker, marker, now(), jsonb_build_object('m', marker));
        PERFORM memory.archive_session(NULL, fill.user_id, 's', jsonb_build_object('m', marker));
        INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary, tags, entity_id, entity_system)
        VALUES (memory.current_tenant_id(), fill.user_id, node, jsonb_build_object('m', marker), 'domain_entity', marker,
            ARRAY[marker], 'e', 's');
        PERFORM memory.store_relationship(node, node, 'relates_to', metadata => jsonb_build_object('m', marker),
            user_id => fill.user_id);
        PERFORM memory.refuse_privacy_request(memory.request_privacy('erase', fill.user_id), marker);
        PERFORM memory.store_embedding('m', node, '[1,2,3]', user_id => fill.user_id);
    END
    $$;
    BEGIN; CALL fill('red', 'alice', 'own', '00000000-0000-7000-8000-0000000000a1'); COMMIT;
    UPDATE memory.tenants SET encryption_enabled = true;
    BEGIN;
    SELECT memory.set_security_context('red', 'alice');
    SELECT memory.log_event('s', 'log', '{\"m\": \"own\"}', 'encrypted');
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type) VALUES
        (memory.current_tenant_id(), 'alice', '00000000-0000-7000-8000-0000000000a2', '{\"m\": \"own\"}', 'domain_entity');
    COMMIT;
    BEGIN; CALL fill('red', 'bob', 'marker-of-bob', '00000000-0000-7000-8000-0000000000b0'); COMMIT;
    BEGIN; CALL fill('blue', 'alice', 'marker-of-blue', '00000000-0000-7000-8000-0000000000b1'); COMMIT;
    DROP PROCEDURE fill;
    UPDATE memory.tenants SET encryption_enabled = false;";

/// What tokens say, beside who signed them, and whether they are of a service, which sees the whole tenant.
const TOKENS: [(&str, bool); 5] = [
    (r#"{"sub": "alice", "scope": "read"}"#, false),
    (r#"{"sub": "alice", "scope": "read write", "sid": "s"}"#, false),
    (r#"{"sub": "alice", "scope": "read write archive admin"}"#, false),
    (r#"{"service": "crawler", "scope": "read"}"#, true),
    (r#"{"service": "crawler", "scope": "read write archive admin"}"#, true),
];

/// A token of each kind, good for a day.
fn tokens(client: &mut Client) -> Vec<String> {
    let sql = "SELECT mint.token($1::text::jsonb || jsonb_build_object('exp', extract(epoch FROM now())::bigint + 86400), 'hostile key', home => 'red')";
    TOKENS
        .iter()
        .map(|(claims, _)| client.query_one(sql, &[claims]).unwrap().get(0))
        .collect()
}

/// A function, and of each argument the name and type.
struct Function {
    name: String,
    arguments: Vec<(String, String)>,
    needed: usize,
    is_procedure: bool,
}

fn functions(client: &mut Client) -> Vec<Function> {
    let sql = "
        SELECT p.proname::text, p.pronargs::int4, p.pronargdefaults::int4,
            coalesce(p.proargnames[:p.pronargs], array_fill(''::text, ARRAY[p.pronargs::int])),
            ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), p.prokind = 'p'
        FROM pg_proc p WHERE p.pronamespace = 'memory'::regnamespace ORDER BY p.proname";
    let rows = client.query(sql, &[]).unwrap();
    rows.iter()
        .map(|row| {
            let (names, types): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
            Function {
                name: row.get(0),
                arguments: names.into_iter().zip(types).collect(),
                needed: (row.get::<_, i32>(1) - row.get::<_, i32>(2)) as usize,
                is_procedure: row.get(5),
            }
        })
        .collect()
}

/// A call: by which login, in which transaction and context, as which statement.
struct Attack {
    login: usize,
    begin: String,
    statement: String,
    sees_tenant: bool,
    keeps_context: bool,
    only_reads: bool,
}

const LOGINS: [&str; 5] = [
    "hostile_service",
    "hostile_app",
    "hostile_operator",
    "hostile_auditor",
    "hostile_nobody",
];

fn attack(random: &mut Random, functions: &[Function], tokens: &[String]) -> Attack {
    let function = &functions[random.place(functions.len())];
    let given = function.arguments.len() - random.place(1 + function.arguments.len() - function.needed);
    let arguments: Vec<String> = function.arguments[..given]
        .iter()
        .map(|(name, kind)| argument(random, name, kind))
        .collect();
    let verb = if function.is_procedure { "CALL" } else { "SELECT * FROM" };
    let call = format!("{verb} memory.{}({})", function.name, arguments.join(", "));
    // Mostly as the back end, whose functions are most, or by a token.
    let login = [0, 0, 0, 0, 0, 1, 1, 2 + random.place(3)][random.place(8)];
    let token = (login == 1).then(|| random.place(tokens.len()));
    let context = match token {
        Some(token) => format!("SELECT memory.authenticate('{}');", tokens[token]),
        None if login == 0 => random
            .one_of(&[
                "SELECT memory.set_security_context('red', 'alice', sealed => true); SET LOCAL ROLE hostile_app;",
                "SELECT memory.set_security_context('red', 'alice');",
                "SELECT memory.set_security_context('red', service_name => 'x');",
                "",
            ])
            .to_owned(),
        None => String::new(),
    };
    let isolation = random.one_of(&[
        "READ COMMITTED",
        "READ COMMITTED",
        "READ COMMITTED",
        "READ COMMITTED, READ ONLY",
        "REPEATABLE READ",
        "SERIALIZABLE",
        "SERIALIZABLE, READ ONLY",
    ]);
    let timeout = random.one_of(&["10s", "10s", "10s", "10s", "3ms", "10ms"]);
    let statement = match random.below(5) {
        0 => format!("DECLARE held CURSOR WITH HOLD FOR {call}; FETCH ALL FROM held; CLOSE held"),
        1 => format!(
            "DO $do$ BEGIN EXECUTE $call${call}$call$; EXCEPTION WHEN OTHERS THEN
                 IF sqlstate LIKE 'XX%' OR sqlerrm LIKE '%marker-of-%' THEN RAISE; END IF; END $do$"
        ),
        2 => format!("EXPLAIN (ANALYZE, VERBOSE) {call}"),
        _ => call,
    };
    Attack {
        login,
        begin: format!("BEGIN ISOLATION LEVEL {isolation}; {context}"),
        statement: format!("SET LOCAL statement_timeout = '{timeout}'; {statement}"),
        sees_tenant: context.contains("service_name") || token.is_some_and(|token| TOKENS[token].1),
        keeps_context: !["set_security_context", "clear_security_context"].contains(&function.name.as_str())
            || context.contains("sealed")
            || token.is_some(),
        only_reads: token.is_some_and(|token| TOKENS[token].0.ends_with(r#""read"}"#)),
    }
}

fn text_of(messages: &[SimpleQueryMessage]) -> String {
    let mut text = String::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            for i in 0..row.len() {
                text.push_str(row.get(i).unwrap_or_default());
                text.push('\n');
            }
        }
    }
    text
}

/// Back to before the call, as often as a timeout of a few milliseconds strikes the ROLLBACK itself.
fn roll_back(client: &mut Client) {
    while let Err(error) = client.batch_execute("ROLLBACK TO SAVEPOINT s") {
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
    }
}

const WHO: &str = "SELECT memory.current_tenant_id(), memory.current_user_id(), memory.current_service_name()";

/// Whether the transaction has written something, though it was rolled back.
const WROTE: &str = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";

/// Calls hostile functions of the server; what went wrong is added. Gives how many calls raised no error.
fn attack_server(
    server: &Cluster,
    calls: u64,
    random: &mut Random,
    functions: &[Function],
    tokens: &[String],
    wrong: &mut Vec<String>,
) -> u64 {
    let is_standby: bool = server
        .connect("app", SUPERUSER)
        .query_one("SELECT pg_is_in_recovery()", &[])
        .unwrap()
        .get(0);
    let mut clients = LOGINS.map(|login| server.connect("app", login));
    let mut succeeded = 0;
    for _ in 0..calls {
        let Attack {
            login,
            begin,
            statement,
            sees_tenant,
            keeps_context,
            only_reads,
        } = attack(random, functions, tokens);
        // No standby is serializable.
        let begin = if is_standby {
            begin.replace("SERIALIZABLE", "REPEATABLE READ")
        } else {
            begin
        };
        let client = &mut clients[login];
        let shown = format!("{}: {begin}; {statement}", LOGINS[login]);
        client.batch_execute(&begin).unwrap();
        let before = (login <= 1).then(|| text_of(&client.simple_query(WHO).unwrap()));
        client.batch_execute("SAVEPOINT s").unwrap();
        let said = match client.simple_query(&statement) {
            Ok(messages) => {
                succeeded += 1;
                text_of(&messages)
            }
            Err(error) => {
                let Some(error) = error.as_db_error() else {
                    panic!("the server is gone: {error}\n{shown}\n{}", server.log());
                };
                if error.code().code().starts_with("XX") {
                    wrong.push(format!("{error:?}\n{shown}"));
                }
                roll_back(client);
                format!("{error:?}")
            }
        };
        if said.contains(OTHER_TENANT) || (said.contains(OTHER_USER) && !sees_tenant) {
            wrong.push(format!("tells of others: {:.2000}\n{shown}", said));
        }
        // A timeout of a few milliseconds may strike this statement too.
        while client.batch_execute("SET LOCAL statement_timeout = 0").is_err() {
            roll_back(client);
        }
        let after = (login <= 1).then(|| text_of(&client.simple_query(WHO).unwrap()));
        if only_reads && !is_standby && text_of(&client.simple_query(WROTE).unwrap()) != "f\n" {
            wrong.push(format!("writes with a token that may only read\n{shown}"));
        }
        if keeps_context && before != after {
            wrong.push(format!("{before:?} became {after:?}\n{shown}"));
        }
        client
            .batch_execute(random.one_of(&["ROLLBACK", "ROLLBACK", "COMMIT"]))
            .ok();
    }
    succeeded
}

#[test]
fn no_call_crashes_or_tells_of_others() {
    let calls = std::env::var("CALLS")
        .ok()
        .and_then(|calls| calls.parse().ok())
        .unwrap_or(CALLS);
    let random = &mut seed();
    let cluster = Cluster::with("hostile", true, &["log_min_messages = fatal"]);
    cluster.create_database("app");
    let mut superuser = cluster.connect("app", SUPERUSER);
    let mint = cluster::root().join("tests/data/mint.sql");
    cluster.run("psql", &["-X", "-q", "-d", "app", "-f", &mint.display().to_string()]);
    superuser.batch_execute(SETUP).unwrap();
    let (functions, tokens) = (functions(&mut superuser), tokens(&mut superuser));
    let mut wrong = Vec::new();
    let mut succeeded = attack_server(&cluster, calls / 2, random, &functions, &tokens, &mut wrong);
    superuser
        .batch_execute("UPDATE memory.tenants SET encryption_enabled = true")
        .unwrap();
    succeeded += attack_server(&cluster, calls - calls / 2, random, &functions, &tokens, &mut wrong);
    let standby = cluster.standby("hostile", &[]);
    let mut reader = standby.connect("app", SUPERUSER);
    let lsn: String = superuser
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .unwrap()
        .get(0);
    let behind = format!("SELECT pg_last_wal_replay_lsn() < '{lsn}'");
    while reader.query_one(&behind, &[]).unwrap().get(0) {
        sleep(Duration::from_millis(10));
    }
    attack_server(&standby, calls / 4, random, &functions, &tokens, &mut wrong);
    let log = cluster.log();
    assert!(!log.contains("terminated by signal") && !log.contains("PANIC"), "{log}");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{:.20000}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(succeeded > calls / 10, "only {succeeded} calls succeeded");
}
