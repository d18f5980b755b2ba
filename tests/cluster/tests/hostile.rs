//! Every function of the schema, called with hostile arguments, by each profile: the server lives, nothing is an internal error
//! (XX000), nothing tells of another tenant or user, and no call changes who is asking.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::postgres::error::SqlState;
use cluster::postgres::{Client, SimpleQueryMessage};
use cluster::{Cluster, SUPERUSER};

const CALLS: u64 = 10_000;

/// Stand in every row of another tenant, and of another user of the same tenant. No argument says them.
const OTHER_TENANT: &str = "marker-of-blue";
const OTHER_USER: &str = "marker-of-bob";

/// SplitMix64: choices, from a seed that a failure prints.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const SETUP: &str = "
    INSERT INTO memory.tenants (id, slug) VALUES
        ('00000000-0000-7000-8000-00000000000a', 'red'), ('00000000-0000-7000-8000-00000000000b', 'blue');
    CREATE ROLE hostile_app LOGIN;
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
    BEGIN; CALL fill('red', 'bob', 'marker-of-bob', '00000000-0000-7000-8000-0000000000b0'); COMMIT;
    BEGIN; CALL fill('blue', 'alice', 'marker-of-blue', '00000000-0000-7000-8000-0000000000b1'); COMMIT;
    DROP PROCEDURE fill;";

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

const TEXTS: &[&str] = &[
    "NULL",
    "''",
    "' '",
    "'x'",
    "'s'",
    "'e'",
    "'bob'",
    "'alice'",
    "'red'",
    "'blue'",
    "' BLUE '",
    "'system'",
    "'none'",
    "'00000000-0000-7000-8000-00000000000b'",
    "'log'",
    "'%s%n{}'",
    "'infinity'",
    "E'\\x01'",
    "U&'\\+10FFFF'",
    "'é\u{130}…'",
    "$q$'; DROP TABLE memory.nodes; --$q$",
    "repeat('x', 100000)",
    "repeat('é', 3000000)",
    "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)",
];

const JSONS: &[&str] = &[
    "NULL",
    "'null'",
    "'{}'",
    "'[]'",
    "'1'",
    "'\"x\"'",
    "'[null]'",
    "'[{}]'",
    "'[[]]'",
    "'[{},{},1]'",
    "'{\"a\": 1e131071}'",
    "(repeat('[', 4000) || repeat(']', 4000))::jsonb",
    "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb",
    "('{\"entity_id\": 1, \"entity_system\": \"s\", \"entity_data\": ' || repeat('{\"a\":', 3000) || '1' || repeat('}', 3001))::jsonb",
    "'{\"entity_id\": \"e\", \"entity_system\": \"s\", \"update_count\": 1e400, \"entity_data\": []}'",
    "'{\"entity_id\": [], \"entity_system\": {}}'",
    "jsonb_build_object('a', repeat('x', 10000000))",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"event_id\": \"e\"}, {\"event_type\": \"log\", \"payload\": {}, \"event_id\": \"f\"}]'",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"occurred_at\": \"infinity\"}]'",
    "'[{\"event_type\": \"log\", \"payload\": {}, \"occurred_at\": \"yesterday allballs x\"}]'",
    "'[{\"content\": {\"entity_id\": 1, \"entity_system\": 2}, \"context_type\": \"domain_entity\", \"tags\": [\"a\"], \"user_id\": \"alice\"}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"base_relevance\": 1e400}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"user_id\": \"bob\"}]'",
    "'[{\"content\": {}, \"context_type\": \"domain_entity\", \"tenant\": \"blue\", \"user_id\": \"alice\"}]'",
    "(SELECT jsonb_agg('{\"content\": {\"entity_id\": 1, \"entity_system\": 2, \"entity_data\": {\"a\": {}}}, \"context_type\": \"domain_entity\"}'::jsonb) FROM generate_series(1, 500))",
    "'[{\"from_node_id\": \"00000000-0000-7000-8000-0000000000a1\", \"to_node_id\": \"00000000-0000-7000-8000-0000000000b0\", \"relationship_type\": \"relates_to\"}]'",
    "'[{\"tenant\": \"red\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}]'",
    "'{\"version\": 1, \"relations\": {\"preferences\": [{\"preferences\": {}, \"updated_at\": \"now\"}]}}'",
    "'{\"version\": 1, \"user_id\": \"bob\", \"relations\": {\"nodes\": [{}], \"embeddings\": [{\"model\": \"m\"}]}}'",
    "'[{\"tenant\": \"red\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}, {\"tenant\": \"blue\", \"user_id\": \"alice\", \"session_id\": \"s\", \"event_id\": \"e\", \"event_type\": \"x\", \"occurred_at\": \"now\", \"payload\": {}}]'",
];

/// An expression of the type, now and then one that gets past the first check.
fn argument(random: &mut Random, name: &str, kind: &str) -> String {
    let fitting = match name {
        "event_type" => "'log'",
        "context_type" => "'domain_entity'",
        "relationship_type" => "'relates_to'",
        "direction" => "'both'",
        "tier" => "'private'",
        "session_id" => "'s'",
        "from_node_id" | "to_node_id" => "'00000000-0000-7000-8000-0000000000a1'",
        "model" => "'m'",
        "embedding" => "'[3,2,1]'",
        "query" => "'own marker -x \"own own\" -\"marker of\"'",
        "expand_depth" | "neighbours" => "2",
        "embeddings" => "'{\"[3,2,1]\",\"[1,2,1]\",\"[1,1,1]\"}'",
        "kind" => "'export'",
        "document" => "memory.export_user_document('alice')",
        "tenant" | "user_id" => "NULL",
        "algorithm" => "'HS256'",
        "key" => "encode(repeat('k', 32)::bytea, 'base64')",
        "scopes" => "'{read,admin}'",
        "audience" => "'*'",
        "ttl" => "'1 day'",
        // signed by nobody
        "token" => {
            "'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJib2IiLCJ0ZW5hbnQiOiJibHVlIiwiZXhwIjo0MDAwMDAwMDAwfQ.AAAA'"
        }
        "payload" | "metadata" | "preferences" => "'{\"a\": 1}'",
        "content" => "'{\"entity_id\": \"e\", \"entity_system\": \"s\"}'",
        "start_nodes" | "node_ids" | "seed_nodes" => {
            "'{00000000-0000-7000-8000-0000000000a1, 00000000-0000-7000-8000-0000000000b0, 00000000-0000-7000-8000-0000000000b1}'"
        }
        _ => "",
    };
    if !fitting.is_empty() && random.below(2) == 0 {
        return format!("{fitting}::{kind}");
    }
    let choices: &[&str] = match kind {
        "text" => TEXTS,
        "jsonb" => JSONS,
        "boolean" => &["NULL", "true", "false"],
        "integer" => &["NULL", "0", "-1", "1", "100", "-2147483648", "2147483647"],
        "bigint" => &["NULL", "0", "-1", "1", "-9223372036854775808", "9223372036854775807"],
        "real" | "double precision" => &["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "0", "0.5", "1e38", "-1"],
        "timestamp with time zone" => &[
            "NULL",
            "'infinity'",
            "'-infinity'",
            "'4714-11-24 00:00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "now()",
        ],
        "interval" => &[
            "NULL",
            "'0'",
            "'-1 day'",
            "'178000000 years'",
            "'-178000000 years'",
            "'1 month -30 days'",
            "'2147483647 days 2562047788 hours'",
        ],
        "vector" => &[
            "NULL",
            "'[1,2,3]'",
            "'[0,0,0]'",
            "'[3e38,-3e38,3e38]'",
            "'[1e-45,0,0]'",
            "'[1]'",
            "array_fill(1, '{16000}')",
        ],
        "vector[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{\"[1,2,3]\"}'",
            "'{{\"[1,2,3]\"},{\"[1]\"}}'",
            "array_fill('[1,2,3]'::vector, '{5000}')",
        ],
        "bytea" => &["NULL", "''", "'x'"],
        "uuid" => &[
            "NULL",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'00000000-0000-7000-8000-0000000000a1'",
            "'00000000-0000-7000-8000-0000000000b0'",
            "'00000000-0000-7000-8000-0000000000b1'",
        ],
        "uuid[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{{00000000-0000-7000-8000-0000000000a1}, {00000000-0000-7000-8000-0000000000b0}}'",
            "'[-2147483647:-2147483646]={00000000-0000-7000-8000-0000000000a1, NULL}'",
            "ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 20000))",
        ],
        "text[]" => &[
            "NULL",
            "'{}'",
            "'{NULL}'",
            "'{{log, x}, {NULL, domain_entity}}'",
            "'[5:6]={domain_entity, relates_to}'",
            "ARRAY(SELECT i::text FROM generate_series(1, 100000) i)",
            "'{domain_entity}'",
            "'{relates_to}'",
        ],
        "regrole" => &["NULL", "'hostile_app'", "0", "4294967295"],
        "regclass" => &["NULL", "'memory.nodes'", "0", "4294967295"],
        "regconfig" => &["NULL", "'german'", "0", "4294967295"],
        _ => &["NULL"],
    };
    let value = random.of(choices);
    if ["regrole", "regclass", "regconfig"].contains(&kind) {
        return format!(
            "{value}::{}{kind}",
            if value.starts_with(|c: char| c.is_ascii_digit()) {
                "oid::"
            } else {
                ""
            }
        );
    }
    format!("({value})::{kind}")
}

/// A call: by which login, in which transaction and context, as which statement.
struct Attack {
    login: usize,
    begin: String,
    statement: String,
    sees_tenant: bool,
    keeps_context: bool,
}

const LOGINS: [&str; 4] = [
    "hostile_service",
    "hostile_operator",
    "hostile_auditor",
    "hostile_nobody",
];

fn attack(random: &mut Random, functions: &[Function]) -> Attack {
    let function = &functions[random.below(functions.len())];
    let given = function.arguments.len() - random.below(1 + function.arguments.len() - function.needed);
    let arguments: Vec<String> = function.arguments[..given]
        .iter()
        .map(|(name, kind)| argument(random, name, kind))
        .collect();
    let verb = if function.is_procedure { "CALL" } else { "SELECT * FROM" };
    let call = format!("{verb} memory.{}({})", function.name, arguments.join(", "));
    // Four times in five as the back end, whose functions are most.
    let login = if random.below(5) < 4 { 0 } else { 1 + random.below(3) };
    let context = if login == 0 { random.below(4) } else { 3 };
    let context = [
        "SELECT memory.set_security_context('red', 'alice', sealed => true); SET LOCAL ROLE hostile_app;",
        "SELECT memory.set_security_context('red', 'alice');",
        "SELECT memory.set_security_context('red', service_name => 'x');",
        "",
    ][context];
    let isolation = random.of(&[
        "READ COMMITTED",
        "READ COMMITTED",
        "READ COMMITTED",
        "READ COMMITTED, READ ONLY",
        "REPEATABLE READ",
        "SERIALIZABLE",
        "SERIALIZABLE, READ ONLY",
    ]);
    let timeout = random.of(&["10s", "10s", "10s", "10s", "3ms", "10ms"]);
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
        sees_tenant: context.contains("service_name"),
        keeps_context: !["set_security_context", "clear_security_context"].contains(&function.name.as_str())
            || context.contains("sealed"),
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

/// Calls hostile functions of the server; what went wrong is added. Gives how many calls raised no error.
fn attack_server(
    server: &Cluster,
    calls: u64,
    random: &mut Random,
    functions: &[Function],
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
        } = attack(random, functions);
        // No standby is serializable.
        let begin = if is_standby {
            begin.replace("SERIALIZABLE", "REPEATABLE READ")
        } else {
            begin
        };
        let client = &mut clients[login];
        let shown = format!("{}: {begin}; {statement}", LOGINS[login]);
        client.batch_execute(&begin).unwrap();
        let before = (login == 0).then(|| text_of(&client.simple_query(WHO).unwrap()));
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
        let after = (login == 0).then(|| text_of(&client.simple_query(WHO).unwrap()));
        if keeps_context && before != after {
            wrong.push(format!("{before:?} became {after:?}\n{shown}"));
        }
        client
            .batch_execute(random.of(&["ROLLBACK", "ROLLBACK", "COMMIT"]))
            .ok();
    }
    succeeded
}

#[test]
fn no_call_crashes_or_tells_of_others() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    let calls = std::env::var("CALLS")
        .ok()
        .and_then(|calls| calls.parse().ok())
        .unwrap_or(CALLS);
    println!("SEED={seed}");
    let random = &mut Random(seed);
    let cluster = Cluster::with("hostile", true, &["log_min_messages = fatal"]);
    cluster.create_database("app");
    let mut superuser = cluster.connect("app", SUPERUSER);
    superuser.batch_execute(SETUP).unwrap();
    let functions = functions(&mut superuser);
    let mut wrong = Vec::new();
    let succeeded = attack_server(&cluster, calls, random, &functions, &mut wrong);
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
    attack_server(&standby, calls / 4, random, &functions, &mut wrong);
    let log = cluster.log();
    assert!(
        !log.contains("terminated by signal") && !log.contains("PANIC"),
        "SEED={seed}\n{log}"
    );
    assert!(
        wrong.is_empty(),
        "SEED={seed}, {} wrong:\n{:.20000}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(succeeded > calls / 10, "only {succeeded} calls succeeded");
}
