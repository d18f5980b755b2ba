//! A valid call of every function that some profile may execute, made from pg_proc, and what many such calls leave in a backend.
//!
//! A function that comes new is called with arguments by their names and types; one that needs others stands in [`CALLS`].

use std::time::Instant;

use postgres::{Client, NoTls};

use crate::{Cluster, SUPERUSER};

/// What one call may leave in a backend's memory until its statement or its transaction ends, in bytes: after a million calls, 64 MB.
pub const MOST_BYTES: f64 = 64.0;

/// Pages come to a process and stay with it by more than is asked for (a statement over the whole catalog leaves holes between what
/// malloc() gives): so much is no leak, whatever the calls.
const SLACK: i64 = 8 << 20;
/// The same of what PostgreSQL's caches may take in meanwhile.
const CACHED: i64 = 16 * 1024;

const LOGIN: &str = "caller";

const SET_UP: &str = "
    INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-7000-8000-00000000000a', 'red');
    CREATE ROLE caller LOGIN;
    SELECT memory.grant_access('caller', profile) FROM unnest('{service,operator,auditor}'::text[]) AS profile;
    SELECT memory.create_embedding_space('m', 3);
    CREATE FUNCTION palloced() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER
        -- But for what PostgreSQL itself notes of every row that a transaction changes, until it ends.
        AS $$SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts WHERE name NOT IN ('AfterTriggerEvents', 'Combo CIDs')$$;
    CREATE FUNCTION resident() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
        SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\\s+(\\d+)'))[1]::bigint * 1024 $$;
    BEGIN;
    SELECT memory.set_security_context('red', 'one', service_name => 'caller');
    INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type, summary, tags)
        SELECT memory.current_tenant_id(), 'one', ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid,
            jsonb_build_object('number', i), 'domain_entity', 'meeting about topic ' || i % 5, '{a}' FROM generate_series(1, 50) i;
    INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
        SELECT tenant_id, user_id, node_id, lead(node_id) OVER (ORDER BY node_id), 'relates_to' FROM memory.nodes
        ORDER BY node_id LIMIT 49;
    SELECT memory.store_embedding('m', node_id, '[1,2,3]') FROM memory.nodes;
    SELECT memory.log_event('s', 'log', '{}') FROM generate_series(1, 5);
    SELECT memory.record_navigation('/a') FROM generate_series(1, 120); -- past the limit
    SELECT memory.set_preferences('{\"a\": 1}'), memory.set_user_metadata('{\"a\": 1}');
    SELECT memory.store_node('{\"entity_id\": 1, \"entity_system\": \"s\", \"entity_data\": {}}', 'domain_entity')
        FROM generate_series(1, 3);
    SELECT memory.set_security_context('red', service_name => 'caller');
    SELECT memory.encrypt_field('one', 'some', 'text');
    SELECT memory.archive_event(NULL, 'one', 's', 'e', 'log', now(), '{}');
    COMMIT;
";

/// The user asks, as most functions want it.
const USER: &str = "SELECT memory.set_security_context('red', 'one', service_name => 'caller', is_local => false)";
/// The back end asks, for the whole tenant.
const SERVICE: &str = "SELECT memory.set_security_context('red', service_name => 'caller', is_local => false)";

/// Arguments, by their names.
const NAMED: &[(&str, &str)] = &[
    ("tenant", "'red'"),
    ("tenant_id", "'00000000-0000-7000-8000-00000000000a'"),
    ("user_id", "'one'"),
    ("owner", "'one'"),
    ("session_id", "'s'"),
    ("event_type", "'log'"),
    ("context_type", "'domain_entity'"),
    ("relationship_type", "'relates_to'"),
    ("direction", "'both'"),
    ("node_id", "'00000000-0000-7000-8000-000000000001'"),
    ("from_node_id", "'00000000-0000-7000-8000-000000000001'"),
    ("to_node_id", "'00000000-0000-7000-8000-000000000009'"),
    ("model", "'m'"),
    ("query", "'topic ' || i % 5"),
    ("embedding", "'[3,2,1]'"),
    ("embeddings", "'{\"[3,2,1]\"}'"),
    ("kind", "'export'"),
    ("identifier", "'red'"),
    ("identifiers", "'{red,none}'"),
    ("found", "true"),
    ("value", "'1'"),
    ("data_class", "'events'"),
    ("until", "now()"),
    ("function_name", "'search'"),
    ("beside", "'m'"),
    ("job", "'expiry'"),
];

/// Arguments, by their types.
const TYPED: &[(&str, &str)] = &[
    ("text", "'some ' || i"),
    ("text[]", "'{a}'"),
    ("jsonb", "jsonb_build_object('number', i)"),
    ("boolean", "true"),
    ("integer", "5"),
    ("bigint", "5"),
    ("real", "0.5"),
    ("double precision", "0.5"),
    ("timestamp with time zone", "now()"),
    ("interval", "'1 day'"),
    ("uuid", "'00000000-0000-7000-8000-000000000001'"),
    (
        "uuid[]",
        "'{00000000-0000-7000-8000-000000000001, 00000000-0000-7000-8000-000000000002}'",
    ),
    ("regconfig", "'german'"),
];

/// Calls that names and types do not tell. `i` counts them.
const CALLS: &[(&str, &str)] = &[
    (
        "archive_events",
        "jsonb_build_array(jsonb_build_object('tenant', 'red', 'user_id', 'one', 'session_id', 's', 'event_id', 'e' || i % 9,
            'event_type', 'x', 'occurred_at', now(), 'payload', '{}'::jsonb))",
    ),
    (
        "archive_sessions",
        "jsonb_build_array(jsonb_build_object('tenant', 'red', 'user_id', 'one', 'session_id', 's' || i % 9, 'payload', '{}'::jsonb))",
    ),
    ("check_context_types", "'{domain_entity}'"),
    ("check_object", "'some', jsonb_build_object('number', i)"),
    ("check_word", "'some', 'a', '{a}'"),
    ("decrypt_field", "(SELECT f.field_id FROM memory.encrypted_fields AS f)"),
    ("end_relationship", "(SELECT min(r.id::text)::uuid FROM memory.relationships AS r)"),
    ("import_user_data", "'{\"version\": 1, \"relations\": {}}', 'red', 'new-' || i"),
    ("issue_service_token", "'caller', 'red', '{read}', '1 day'"),
    ("lift_legal_hold", "memory.place_legal_hold('one', 'some ' || i)"),
    ("log_events", "'s', '[{\"event_type\": \"log\", \"payload\": {}}]'"),
    ("perform_privacy_request", "memory.request_privacy('export', 'user-' || i)"), // whose document holds the requests of before
    ("refuse_privacy_request", "memory.request_privacy('export', 'one', i * interval '1 day'), 'no'"),
    ("readable_agent_events_archive", "(SELECT e FROM memory.agent_events_archive AS e)"),
    ("readable_events", "(SELECT e FROM memory.events AS e LIMIT 1)"),
    ("readable_nodes", "(SELECT n FROM memory.nodes AS n LIMIT 1)"),
    ("register_auth_key", "'k' || memory.uuid_v7(), 'HS256', encode(repeat('k', 32)::bytea, 'base64'), '*'"),
    ("search", "'topic ' || i % 5, '[3,2,1]', neighbours => 1, expand_depth => 1"),
    // As a value: in FROM it becomes a part of the statement, which rescans BRIN indexes, and PostgreSQL frees those scans at its end.
    ("security_anomalies", "now(), '1 minute'"),
    ("set_retention_policy", "'events', i * interval '1 day', 'red'"),
    ("store_nodes", "jsonb_build_array(jsonb_build_object('content', jsonb_build_object('number', i), 'context_type', 'domain_entity'))"),
    ("store_embeddings", "'m', '{00000000-0000-7000-8000-000000000001}', '{\"[3,2,1]\"}'"),
    ("store_relationships", "'[{\"from_node_id\": \"00000000-0000-7000-8000-000000000001\", \"to_node_id\": \"00000000-0000-7000-8000-000000000009\", \"relationship_type\": \"relates_to\"}]'"),
];

/// As a value, it is made row by row; in FROM, all its rows would be kept.
const COUNTED: &str = "(SELECT generate_series(1, #n) AS i) AS counted";

/// What is not called over and over, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("create_embedding_space", "each call makes a table"),
    ("drop_embedding_space", "each call drops a table"),
    (
        "refresh_analytics_views",
        "each call makes views anew, which PostgreSQL notes in its caches",
    ),
    ("revoke_auth_key", "a key is revoked once"),
    ("revoke_service_token", "a token is revoked once"),
    ("set_security_context", "changes who is asking"),
    ("verify", "takes no context beside its own"),
    ("authenticate", "seals the context: a transaction has one such call"),
    (
        "authenticate_request",
        "seals the context: a transaction has one such call",
    ),
];

/// A function, as it is called.
pub struct Call {
    pub name: String,
    context: &'static str,
    /// FROM, with `x` as what is counted and `#n` for how many calls are made; or what is missing.
    from: Result<String, String>,
}

/// What a function's calls leave.
pub struct Left {
    pub calls: i64,
    /// In PostgreSQL's memory before the statement ends, for each call; as far as it is more than some kilobytes.
    pub palloced: f64,
    /// In all of the process's own after the statement, what is Rust's too, for each call; as far as it is more than a megabyte.
    pub resident: f64,
}

impl Left {
    pub fn most(&self) -> f64 {
        self.palloced.max(self.resident)
    }

    pub fn is_little(&self) -> bool {
        self.most() <= MOST_BYTES
    }
}

/// A database with the extension and a tenant, for [`calls`] and [`left`].
pub fn set_up(cluster: &Cluster, database: &str) {
    cluster.create_database(database);
    cluster.connect(database, SUPERUSER).batch_execute(SET_UP).unwrap();
}

/// Every function that a profile may execute.
pub fn calls(cluster: &Cluster, database: &str) -> Vec<Call> {
    let sql = "
        SELECT p.proname::text, p.proretset, EXISTS (SELECT FROM memory.profile_privileges AS o
                WHERE o.profile = 'app' AND o.object = 'FUNCTION memory.' || p.proname),
            coalesce(p.proargnames[:p.pronargs - p.pronargdefaults], array_fill(''::text, ARRAY[p.pronargs - p.pronargdefaults])),
            ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n)
                  WHERE n <= p.pronargs - p.pronargdefaults ORDER BY n)
        FROM pg_proc AS p WHERE p.pronamespace = 'memory'::regnamespace AND p.prokind = 'f'
            AND EXISTS (SELECT FROM memory.profile_privileges AS o WHERE o.object = 'FUNCTION memory.' || p.proname)
        ORDER BY p.proname";
    let rows = cluster.connect(database, SUPERUSER).query(sql, &[]).unwrap();
    rows.iter()
        .map(|row| {
            let (name, is_set, is_app): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let (names, types): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
            let call = match find(CALLS, &name) {
                Some(arguments) => Ok(format!("memory.{name}({arguments})")),
                None => by_arguments(&name, &names, &types),
            };
            let from = call.map(|call| {
                let mut words = call.split(|c: char| !c.is_alphanumeric() && c != '_');
                // Where the executor reads rows from functions it does so in another way than where they are values.
                if is_set && words.any(|word| word == "i") {
                    format!("{COUNTED}, LATERAL {call} AS x")
                } else {
                    format!("(SELECT {call} AS x FROM {COUNTED} OFFSET 0) AS x")
                }
            });
            Call {
                context: if is_app { USER } else { SERVICE },
                name,
                from,
            }
        })
        .filter(|call| find(LEFT_OUT, &call.name).is_none())
        .collect()
}

fn find<'a>(pairs: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

fn by_arguments(function: &str, names: &[String], types: &[String]) -> Result<String, String> {
    let argument = |(name, kind): (&String, &String)| {
        let value = find(NAMED, name).or_else(|| find(TYPED, kind));
        let value = value.ok_or_else(|| format!("{function}: tests/cluster/src/calls.rs knows no {name} {kind}"))?;
        Ok(format!("CASE WHEN i > 0 THEN ({value})::{kind} END"))
    };
    let arguments: Result<Vec<String>, String> = names.iter().zip(types).map(argument).collect();
    Ok(format!("memory.{function}({})", arguments?.join(", ")))
}

/// Makes as many calls as some `seconds` allow, but no more than `most`, in one transaction, and gives what they leave before their statement ends. An error says which
/// call does not work.
pub fn left(cluster: &Cluster, database: &str, call: &Call, seconds: f64, most: i64) -> Result<Left, String> {
    let from = call.from.as_ref().map_err(String::clone)?;
    let mut client = cluster.config(database, LOGIN).connect(NoTls).unwrap();
    client.batch_execute(call.context).unwrap();
    client.batch_execute("BEGIN").unwrap();
    let mut measure = |calls: i64| measure(&mut client, &call.name, from, calls);
    let start = Instant::now();
    measure(5)?;
    // What takes this long is called a few times, so that a leak must be large to show.
    let is_slow = start.elapsed().as_secs_f64() > 0.25;
    let (mut some, least) = if is_slow { (4, 12) } else { (20, 60) };
    let start = Instant::now();
    measure(some)?;
    // What it takes may grow with the calls: a row that is changed again and again in one transaction has as many versions.
    let took = start.elapsed().as_secs_f64();
    let calls = ((seconds / took * some as f64) as i64).clamp(least, most);
    some = calls / 4;
    let (fewer, more, again) = (measure(some)?, measure(calls)?, measure(calls)?);
    let per_call = |bytes: i64, calls: i64| bytes.max(0) as f64 / calls as f64;
    Ok(Left {
        calls,
        palloced: per_call(more.0 - fewer.0 - CACHED, calls - some),
        resident: per_call(again.1 - more.1 - SLACK, calls),
    })
}

/// What the backend holds after so many calls, while their statement still runs.
fn measure(client: &mut Client, name: &str, from: &str, calls: i64) -> Result<(i64, i64), String> {
    let from = from.replace("#n", &calls.to_string());
    let sql = format!(
        "SELECT (SELECT palloced() WHERE n >= 0), (SELECT resident() WHERE n >= 0) FROM (SELECT count(x) AS n FROM {from} OFFSET 0) AS c"
    );
    let row = client.query_one(&sql, &[]).map_err(|error| {
        let said = error
            .as_db_error()
            .map_or_else(|| error.to_string(), |error| error.to_string());
        format!("{name}: {said}\n{sql}")
    })?;
    Ok((row.get(0), row.get(1)))
}
