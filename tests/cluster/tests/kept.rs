//! What backends keep of users' rows in memory says what the tables say, to every snapshot: beside writers who commit, roll back,
//! prepare, truncate and replicate; to who reads in one transaction for long, and to who has written himself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::postgres::Client;
use cluster::random::Random;
use cluster::{Cluster, SUPERUSER};

const USERS: u64 = 3;
const NODES: u64 = 100;
const KINDS: [&str; 3] = ["led_to", "depends_on", "produces"];
const WRITERS: u64 = 3;
const READERS: u64 = 3;
const DURATION: Duration = Duration::from_secs(12);

/// Both answers of one statement: from memory, and from the tables. A STABLE function's statements all see its caller's snapshot.
const SET_UP: &str = "
    INSERT INTO memory.tenants (slug) VALUES ('acme');
    CREATE ROLE svc LOGIN;
    SELECT memory.grant_access('svc', 'service');
    SELECT memory.create_embedding_space('m', 4);
    CREATE FUNCTION starts() RETURNS uuid[] IMMUTABLE LANGUAGE sql AS $$
        SELECT ARRAY['00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-00000000ffff']::uuid[]
    $$;
    CREATE FUNCTION answers() RETURNS text[] STABLE LANGUAGE plpgsql AS $$
    DECLARE
        answers text[];
        size text;
    BEGIN
        FOREACH size IN ARRAY ARRAY['64MB', '0'] LOOP
            PERFORM set_config('memory.vector_cache_size', size, true), set_config('memory.graph_cache_size', size, true);
            answers := answers || ARRAY[
                (SELECT string_agg(n::text, ' ') FROM memory.nearest_nodes('[1,2,3,4]', max_results => 30) n),
                (SELECT string_agg(t::text, ' ') FROM memory.traverse(starts(), 3) t),
                (SELECT string_agg(t::text, ' ') FROM memory.traverse(starts(), 2, 'both', ARRAY['led_to', 'produces'], 0.3) t),
                (SELECT string_agg(s::text, ' ') FROM memory.shortest_path((starts())[1], (starts())[2], weighted => true) s),
                (SELECT string_agg(r::text, ' ') FROM memory.rank_related((starts())[1:1], 5) r)];
        END LOOP;
        RETURN answers;
    END $$;
";

fn node(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// The user of whose graph nothing changes but when its nodes are seen.
const STILL: u64 = USERS - 1;

fn identify(client: &mut Client, random: &mut Random) -> u64 {
    let number = random.below(USERS);
    let user = format!("u{number}");
    client
        .execute(
            "SELECT memory.set_security_context('acme', $1, service_name => 'test', is_local => false)",
            &[&user],
        )
        .unwrap();
    number
}

/// A change of what the context's user has.
fn change(random: &mut Random, user: u64) -> String {
    let one = node(random.below(NODES));
    let vector = format!("[{},{},1,{}]", random.below(9), random.below(9), random.below(9));
    let (other, kind) = (node(random.below(NODES)), random.one_of(&KINDS));
    let ago = random.below(3);
    match if user == STILL {
        8 + random.below(2)
    } else {
        random.below(14)
    } {
        0 => format!("DELETE FROM memory.embeddings WHERE node_id = '{one}'"),
        1 => format!("UPDATE memory.embeddings SET embedding = '{vector}' WHERE node_id = '{one}'"),
        2..5 => format!("SELECT memory.store_embedding('m', '{one}', '{vector}')"),
        5 => format!("DELETE FROM memory.relationships WHERE from_node_id = '{one}'"),
        6 => format!(
            "SELECT memory.end_relationship(id) FROM memory.relationships WHERE from_node_id = '{one}' AND valid_to IS NULL"
        ),
        7 => format!(
            "UPDATE memory.relationships SET strength = {}.0 / 9 WHERE to_node_id = '{one}'",
            random.below(9)
        ),
        // seen, unseen, and unseen from in a moment on
        8 => format!(
            "UPDATE memory.nodes SET expires_at = CASE {ago} WHEN 0 THEN now() WHEN 1 THEN clock_timestamp() + '20 ms' END WHERE node_id = '{one}'"
        ),
        9 => format!("UPDATE memory.nodes SET metadata = '{{}}' WHERE node_id = '{one}'"),
        _ => format!(
            "SELECT memory.store_relationship('{one}', '{other}', '{kind}', {}.0 / 9)",
            random.below(9)
        ),
    }
}

/// Writers may meet, or find a node gone: that ends a transaction like any other.
fn run(client: &mut Client, sql: &str) -> bool {
    let done = client.batch_execute(sql);
    if let Err(error) = &done {
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        assert!(
            ["40P01", "40001", "P0002", "3B001"].contains(&code.as_str()),
            "{sql}: {error:?}"
        );
        client.batch_execute("ROLLBACK").unwrap();
    }
    done.is_ok()
}

fn write(client: &mut Client, number: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(7 + number);
    let mut changes = 0;
    while !stop.load(Ordering::Relaxed) {
        let user = identify(client, &mut random);
        let (one, other) = (change(&mut random, user), change(&mut random, user));
        let done = match random.below(12) {
            0 => run(client, &format!("BEGIN; {one}; ROLLBACK")),
            1 => run(
                client,
                &format!("BEGIN; {one}; SAVEPOINT s; {other}; ROLLBACK TO s; COMMIT"),
            ),
            2 => run(
                client,
                &format!("BEGIN; SAVEPOINT s; {one}; RELEASE s; {other}; COMMIT"),
            ),
            3 => {
                let prepared = run(client, &format!("BEGIN; {one}; PREPARE TRANSACTION 'w{number}'"));
                if prepared {
                    std::thread::sleep(Duration::from_millis(random.below(5)));
                    let end = if random.below(2) == 0 { "COMMIT" } else { "ROLLBACK" };
                    client.batch_execute(&format!("{end} PREPARED 'w{number}'")).unwrap();
                }
                prepared
            }
            4 => run(client, &format!("BEGIN; {one}; SELECT pg_sleep(0.02); COMMIT")),
            _ => run(client, &one),
        };
        changes += u64::from(done);
    }
    changes
}

fn insert_node(user: u64, node: &str) -> String {
    format!(
        "INSERT INTO memory.nodes (tenant_id, user_id, node_id, content, context_type)
         SELECT id, 'u{user}', '{node}', '{{}}', 'domain_entity' FROM memory.tenants"
    )
}

/// What only a superuser does: rows as logical replication writes them, users' rows given away, tables emptied and rewritten.
fn write_as_superuser(client: &mut Client, stop: &AtomicBool) {
    let mut random = Random(99);
    while !stop.load(Ordering::Relaxed) {
        let (one, user) = (node(random.below(NODES)), random.below(STILL));
        let sql = match random.below(9) {
            0 => format!(
                "BEGIN; SET LOCAL session_replication_role = replica;
                 DELETE FROM memory.embeddings WHERE node_id = '{one}' AND user_id = 'u{user}'; COMMIT"
            ),
            1 => format!("DELETE FROM memory.embeddings WHERE user_id = 'u{user}'"),
            2 => "DO $$ BEGIN EXECUTE 'TRUNCATE memory.' || (SELECT relation FROM memory.embedding_spaces); END $$"
                .to_owned(),
            3 => "SELECT pg_sleep(0.05)".to_owned(),
            4 => format!(
                "BEGIN; SET LOCAL session_replication_role = replica;
                 DELETE FROM memory.nodes WHERE node_id = '{one}' AND user_id = 'u{user}';
                 SAVEPOINT s; SELECT pg_sleep(0.01); ROLLBACK TO s; {}; COMMIT",
                insert_node(user, &one)
            ),
            5 => "VACUUM FULL memory.relationships".to_owned(),
            6 => format!("DELETE FROM memory.relationships WHERE user_id = 'u{user}'"),
            _ => {
                let space: String = client
                    .query_one("SELECT relation FROM memory.embedding_spaces", &[])
                    .unwrap()
                    .get(0);
                format!("VACUUM FULL memory.{space}")
            }
        };
        run(client, &sql);
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Asks for both answers; whether there was anything in them.
fn compare(client: &mut Client, when: &str) -> bool {
    let answers: Vec<Option<String>> = client.query_one("SELECT answers()", &[]).unwrap().get(0);
    let (kept, read) = answers.split_at(answers.len() / 2);
    assert_eq!(kept, read, "{when}: from memory, and from the tables");
    read.iter().any(Option::is_some)
}

fn read(client: &mut Client, number: u64, stop: &AtomicBool) -> (u64, u64) {
    let mut random = Random(1000 + number);
    let (mut calls, mut full) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let user = identify(client, &mut random);
        let way = random.below(6);
        let (begin, when, times) = match way {
            0 => ("BEGIN ISOLATION LEVEL REPEATABLE READ", "REPEATABLE READ", 6),
            1 => ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", "SERIALIZABLE", 2),
            2 => ("BEGIN", "after an own change", 3),
            3 => ("BEGIN", "in one transaction", 6),
            _ => ("BEGIN", "alone", 1),
        };
        client.batch_execute(begin).unwrap();
        for time in 0..times {
            if way == 2 && !run(client, &format!("SAVEPOINT s{time}; {}", change(&mut random, user))) {
                client.batch_execute("BEGIN").unwrap();
            }
            full += u64::from(compare(client, when));
            calls += 1;
            if way == 2 && time == 1 {
                // Where an error has ended the transaction there is no such savepoint.
                if !run(client, "ROLLBACK TO s1") {
                    client.batch_execute("BEGIN").unwrap();
                }
            }
        }
        client.batch_execute("ROLLBACK").unwrap();
    }
    (calls, full)
}

#[test]
fn what_is_kept_in_memory_is_what_the_tables_say() {
    let cluster = Cluster::with("kept", true, &["max_prepared_transactions = 8"]);
    cluster.create_database("app");
    let mut owner = cluster.connect("app", SUPERUSER);
    owner.batch_execute(SET_UP).unwrap();
    for user in 0..USERS {
        for number in 0..NODES {
            owner.batch_execute(&insert_node(user, &node(number))).unwrap();
        }
    }
    owner
        .batch_execute(&format!(
            "SELECT setseed(0.5);
             INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
             SELECT DISTINCT n.tenant_id, n.user_id, n.node_id, o.node_id, 'led_to' FROM memory.nodes n JOIN memory.nodes o USING (tenant_id, user_id)
             WHERE n.user_id = 'u{STILL}' AND random() < 0.05"
        ))
        .unwrap();
    let stop = &AtomicBool::new(false);
    let (changes, calls, full) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let mut client = cluster.connect("app", "svc");
                scope.spawn(move || read(&mut client, number, stop))
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let mut client = cluster.connect("app", "svc");
                scope.spawn(move || write(&mut client, number, stop))
            })
            .collect();
        let mut superuser = cluster.connect("app", SUPERUSER);
        let rare = scope.spawn(move || write_as_superuser(&mut superuser, stop));
        let end = Instant::now() + DURATION;
        while Instant::now() < end && !readers.iter().any(|reader| reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        let changes: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        rare.join().unwrap();
        let (mut calls, mut full) = (0, 0);
        for reader in readers {
            let (more_calls, more_full) = reader.join().expect("a reader's answer was wrong");
            calls += more_calls;
            full += more_full;
        }
        (changes, calls, full)
    });
    println!("{changes} changes, {calls} pairs of answers, {full} of them not empty");
    assert!(changes > 100 && calls > 300 && full > 100);
}

/// What a walk gives: the same six times with the graph kept, as soon as that is worth it, and from the tables.
fn walk(client: &mut Client, when: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(t::text, ' '), '') FROM memory.traverse('{{{}}}', 4, 'both') AS t",
        node(0)
    );
    let mut answers = Vec::new();
    for size in ["64MB", "64MB", "64MB", "64MB", "64MB", "64MB", "0"] {
        client
            .batch_execute(&format!("SET memory.graph_cache_size = '{size}'"))
            .unwrap();
        answers.push(client.query_one(&sql, &[]).unwrap().get::<_, String>(0));
    }
    let tables = answers.pop().unwrap_or_default();
    for (time, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, tables, "{when}, walk {time}");
    }
    tables
}

/// The nearest: the same with the codes kept, and from the tables.
fn nearest(client: &mut Client, when: &str) -> String {
    let sql = "SELECT string_agg(node_id::text, ' ') FROM memory.nearest_nodes('[1,2,3,4]', max_results => 100)";
    let mut answers = ["64MB", "64MB", "0"].map(|size| {
        client
            .batch_execute(&format!("SET memory.vector_cache_size = '{size}'"))
            .unwrap();
        client.query_one(sql, &[]).unwrap().get::<_, String>(0)
    });
    assert!(answers.iter().all(|answer| *answer == answers[2]), "{when}");
    std::mem::take(&mut answers[2])
}

/// A role of which a policy of one's own takes rows away sees no graph that was kept for another role of the session; and a policy that comes, changes
/// or goes counts for the next walk.
#[test]
fn a_policy_of_ones_own_is_obeyed_by_what_is_kept() {
    let cluster = Cluster::new("keptpolicy");
    cluster.create_database("app");
    let mut owner = cluster.connect("app", SUPERUSER);
    owner.batch_execute(SET_UP).unwrap();
    owner
        .batch_execute("ALTER ROLE svc NOINHERIT; CREATE ROLE narrow; GRANT narrow TO svc; SELECT memory.grant_access('narrow', 'service')")
        .unwrap();
    link(&mut owner);
    owner
        .batch_execute(
            "SELECT memory.store_embeddings('m', array_agg(node_id ORDER BY node_id), array_agg('[1,2,3,5]'::vector), tenant => 'acme', user_id => 'u0')
             FROM memory.nodes",
        )
        .unwrap();
    let mut client = cluster.connect("app", "svc");
    client
        .batch_execute("SELECT memory.set_security_context('acme', 'u0', is_local => false)")
        .unwrap();
    let whole = walk(&mut client, "no policy");
    let all = nearest(&mut client, "no policy");
    client.batch_execute("SET ROLE narrow").unwrap();
    assert_eq!(walk(&mut client, "as another role"), whole);
    assert_eq!(nearest(&mut client, "as another role"), all);
    let mut before = whole.clone();
    for policy in [
        "CREATE POLICY own ON memory.relationships AS RESTRICTIVE FOR SELECT TO narrow USING (relationship_type <> 'produces')",
        "ALTER POLICY own ON memory.relationships USING (relationship_type = 'produces')",
        "DROP POLICY own ON memory.relationships",
        "CREATE POLICY own ON memory.nodes AS RESTRICTIVE FOR SELECT TO narrow USING (node_id::text !~ '[37]$')",
        "DROP POLICY own ON memory.nodes",
    ] {
        owner.batch_execute(policy).unwrap();
        client.batch_execute("SET ROLE narrow").unwrap();
        let narrow = walk(&mut client, policy);
        assert_ne!(narrow, before, "{policy}");
        assert_eq!(narrow == whole, policy.starts_with("DROP"), "{policy}");
        before = narrow;
        let is_about_nodes = policy.starts_with("CREATE") && policy.contains("memory.nodes");
        let found = nearest(&mut client, policy);
        let kept = found.split(' ').filter(|id| !id.ends_with(['3', '7'])).count();
        assert_eq!(
            (found.split(' ').count() == kept, found == all),
            (is_about_nodes, !is_about_nodes),
            "{policy}"
        );
        client.batch_execute("RESET ROLE").unwrap();
        assert_eq!(walk(&mut client, policy), whole, "another role's policy: {policy}");
        assert_eq!(nearest(&mut client, policy), all, "another role's policy: {policy}");
    }
}

/// Sixty nodes of user u0, each with relationships to the five after it, by kinds in turn.
fn link(owner: &mut Client) {
    for number in 0..60 {
        owner.batch_execute(&insert_node(0, &node(number))).unwrap();
    }
    owner
        .batch_execute(
            "INSERT INTO memory.relationships (tenant_id, user_id, from_node_id, to_node_id, relationship_type)
             SELECT tenant_id, user_id, node_id, other, (ARRAY['led_to', 'depends_on', 'produces'])[1 + place % 3]
             FROM (SELECT n.*, lead(n.node_id, step) OVER (PARTITION BY step ORDER BY n.node_id) AS other, row_number() OVER () AS place
                   FROM memory.nodes AS n, generate_series(1, 5) AS step) AS n WHERE other IS NOT NULL",
        )
        .unwrap();
}

/// Of what is kept by nobody, steps of a walk are read past the executor: they see what a statement does, and are seen as one is.
#[test]
fn a_step_past_the_executor_reads_what_a_statement_does() {
    let cluster = Cluster::with("under", true, &["memory.graph_cache_size = 0", "autovacuum = off"]);
    cluster.create_database("app");
    let mut owner = cluster.connect("app", SUPERUSER);
    owner.batch_execute(SET_UP).unwrap();
    link(&mut owner);
    let connect = || {
        let mut client = cluster.connect("app", "svc");
        client
            .batch_execute("SELECT memory.set_security_context('acme', 'u0', is_local => false)")
            .unwrap();
        client
    };
    let ask = |client: &mut Client, start: u64, depth: u32| -> String {
        let sql = format!(
            "SELECT coalesce(string_agg(t::text, ' '), '') FROM memory.traverse('{{{}}}', {depth}, 'both') AS t",
            node(start)
        );
        client.query_one(&sql, &[]).unwrap().get(0)
    };
    let mut client = connect();
    let whole = ask(&mut client, 0, 4);
    assert!(whole.len() > 1000);
    // of a whole tenant
    client
        .batch_execute("SELECT memory.set_security_context('acme', service_name => 'test', is_local => false)")
        .unwrap();
    assert_eq!(ask(&mut client, 0, 4), whole);
    let mut client = connect();
    // The extension's own policy, changed: by its condition, its roles, and back.
    let context = "tenant_id = memory.current_tenant_id() AND user_id BETWEEN memory.context_user_low() AND memory.context_user_high()";
    for (change, is_as_before) in [
        (format!("USING ({context} AND relationship_type <> 'produces')"), false),
        (format!("USING ({context})"), true),
        (format!("TO {SUPERUSER}"), false),
        ("TO public".to_owned(), true),
    ] {
        let sql = format!("ALTER POLICY context ON memory.relationships {change}");
        owner.batch_execute(&sql).unwrap();
        assert_eq!(ask(&mut client, 0, 4) == whole, is_as_before, "{change}");
    }
    // Another policy beside it, in the order of names before and behind it; no privilege.
    for name in ["beside", "zero"] {
        owner
            .batch_execute(&format!(
                "CREATE POLICY {name} ON memory.relationships AS RESTRICTIVE USING (relationship_type <> 'produces')"
            ))
            .unwrap();
        assert_ne!(ask(&mut client, 0, 4), whole, "{name}");
        owner
            .batch_execute(&format!("DROP POLICY {name} ON memory.relationships"))
            .unwrap();
        assert_eq!(ask(&mut client, 0, 4), whole, "{name}");
    }
    owner
        .batch_execute("REVOKE SELECT ON memory.relationships FROM svc")
        .unwrap();
    let walk = format!("SELECT FROM memory.traverse('{{{}}}')", node(0));
    let refused = client.batch_execute(&walk).unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{refused}");
    owner
        .batch_execute("GRANT SELECT ON memory.relationships TO svc")
        .unwrap();
    assert_eq!(ask(&mut client, 0, 4), whole);
    // As src/pg/under.rs knows it: where PostgreSQL writes it in another way, a statement reads, and walks take twice as long.
    let mut writer = cluster.connect("app", SUPERUSER);
    writer.batch_execute("SET search_path = pg_catalog, pg_temp").unwrap();
    let condition =
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'memory.relationships'::regclass";
    assert_eq!(
        writer.query_one(condition, &[]).unwrap().get::<_, String>(0),
        "((tenant_id = memory.current_tenant_id()) AND ((user_id >= memory.context_user_low()) AND (user_id <= memory.context_user_high())))"
    );
    // Two who each read what the other deletes, of pages that all see: one of them is told.
    owner.batch_execute("VACUUM memory.relationships").unwrap();
    let mut other = connect();
    let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
    // By their places: a statement that looks for them would read more than it deletes.
    let delete = |from: u64| {
        let one = format!(
            "SELECT ctid::text FROM memory.relationships WHERE from_node_id = '{}' LIMIT 1",
            node(from)
        );
        let place: String = cluster.connect("app", SUPERUSER).query_one(&one, &[]).unwrap().get(0);
        format!("DELETE FROM memory.relationships WHERE ctid = '{place}'")
    };
    let deletes = [delete(40), delete(0)];
    client.batch_execute(begin).unwrap();
    other.batch_execute(begin).unwrap();
    ask(&mut client, 0, 1);
    ask(&mut other, 40, 1);
    let outcomes = [
        client.batch_execute(&deletes[0]),
        other.batch_execute(&deletes[1]),
        client.batch_execute("COMMIT"),
        other.batch_execute("COMMIT"),
    ];
    let codes: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err()?.code().map(|code| code.code().to_owned()))
        .collect();
    assert_eq!(codes.first().map(String::as_str), Some("40001"), "{codes:?}");
    // Without an index it is a statement that reads.
    let mut client = connect();
    let before = ask(&mut client, 20, 3);
    owner
        .batch_execute("DROP INDEX memory.relationships_out_idx, memory.relationships_in_idx")
        .unwrap();
    assert_eq!(ask(&mut client, 20, 3), before);
}
