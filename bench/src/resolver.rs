//! Tenant resolution: identifiers to tenants, in a loop on the server (nanoseconds per call, net of the loop) and as a
//! round trip (microseconds per transaction of pgbench).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use cluster::postgres::Client;
use cluster::{Cluster, SUPERUSER};

use crate::measure::{Job, Side, sized};

const TENANTS: i32 = 10_000;
const CALLS: i32 = 200_000;

/// The rivals: what people write today.
const SET_UP: &str = "
    CREATE FUNCTION plpgsql_tenant_id(identifier text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
    DECLARE
        found uuid;
    BEGIN
        IF identifier ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN
            SELECT t.id INTO found FROM memory.tenants t WHERE t.id = identifier::uuid;
        ELSE
            SELECT t.id INTO found FROM memory.tenants t WHERE t.slug = lower(btrim(identifier));
        END IF;
        RETURN found;
    END $$;
    CREATE FUNCTION plpgsql_resolve(identifier text) RETURNS memory.tenant_resolution LANGUAGE plpgsql STABLE AS $$
    DECLARE
        answer memory.tenant_resolution;
    BEGIN
        SELECT t.id, t.slug, 'db-slug', true INTO answer
        FROM memory.tenants t WHERE t.slug = lower(btrim(identifier));
        RETURN answer;
    END $$;
    CREATE FUNCTION sql_tenant_id(identifier text) RETURNS uuid LANGUAGE sql STABLE
        BEGIN ATOMIC SELECT t.id FROM memory.tenants t WHERE t.slug = identifier LIMIT 1; END;
";

/// Loads the tenants and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let database = "resolver";
    cluster.create_database(database);
    let mut client = cluster.connect(database, SUPERUSER);
    client
        .batch_execute(&format!(
            "INSERT INTO memory.tenants (slug) SELECT 'tenant-' || i FROM generate_series(1, {TENANTS}) i;
             CREATE TABLE keys AS SELECT t.slug, t.id::text AS id
                 FROM generate_series(1, {CALLS}) i JOIN memory.tenants t
                      ON t.slug = 'tenant-' || 1 + i * 7919 % {TENANTS};
             {SET_UP}
             ANALYZE keys; ANALYZE memory.tenants;
             SET jit = off; SET max_parallel_workers_per_gather = 0"
        ))
        .unwrap();
    client.batch_execute("VACUUM keys").unwrap();
    client.batch_execute("VACUUM memory.tenants").unwrap();
    let client = Rc::new(RefCell::new(client));
    let calls = |expression: &'static str| looped(Rc::clone(&client), expression);
    let job = |name: &str, ours, rival, goal| Job {
        name: format!("resolver: {name}"),
        unit: "ns",
        ours: calls(ours),
        rival: calls(rival),
        goal,
    };
    let mut jobs = vec![
        job(
            "tenant_id(slug) / plpgsql",
            "memory.tenant_id(k.slug)",
            "plpgsql_tenant_id(k.slug)",
            Some(20.0),
        ),
        job(
            "tenant_id(slug) / inlined index lookup",
            "memory.tenant_id(k.slug)",
            "(SELECT t.id FROM memory.tenants t WHERE t.slug = k.slug)",
            Some(7.0),
        ),
        job(
            "tenant_id(slug) / SQL function",
            "memory.tenant_id(k.slug)",
            "sql_tenant_id(k.slug)",
            None,
        ),
        job(
            "tenant_id(slug) / uuid cast of a text",
            "memory.tenant_id(k.slug)",
            "k.id::uuid",
            None,
        ),
        job(
            "tenant_id(slug) / length(text)",
            "memory.tenant_id(k.slug)",
            "length(k.slug)",
            None,
        ),
        job(
            "tenant_id(UUID) / plpgsql",
            "memory.tenant_id(k.id)",
            "plpgsql_tenant_id(k.id)",
            Some(15.0),
        ),
        job(
            "resolve_canonical_tenant(slug) / plpgsql",
            "memory.resolve_canonical_tenant(k.slug)",
            "plpgsql_resolve(k.slug)",
            Some(9.0),
        ),
    ];
    for clients in [1, 8] {
        jobs.push(Job {
            name: format!("resolver: round trip, {clients} clients / only the text"),
            unit: "us",
            ours: round_trip(cluster, database, clients, "SELECT memory.tenant_id('tenant-' || :n)"),
            rival: round_trip(cluster, database, clients, "SELECT 'tenant-' || :n"),
            goal: Some(0.93),
        });
    }
    jobs
}

/// Nanoseconds per call of the expression over `keys k`, less what the same loop takes without the call.
fn looped(client: Rc<RefCell<Client>>, expression: &'static str) -> Side<'static> {
    Box::new(move || {
        let mut client = client.borrow_mut();
        let column = if expression.contains("k.id") { "k.id" } else { "k.slug" };
        // Warm: identifiers (the cache of the default size holds the 10,000 of one kind) and plans.
        seconds(&mut client, expression);
        seconds(&mut client, expression);
        (seconds(&mut client, expression) - seconds(&mut client, column)) * 1e9 / f64::from(CALLS)
    })
}

fn seconds(client: &mut Client, expression: &str) -> f64 {
    let start = Instant::now();
    client
        .simple_query(&format!("SELECT count({expression}) FROM keys k"))
        .unwrap();
    start.elapsed().as_secs_f64()
}

/// Microseconds per transaction and client of one prepared statement in pgbench.
fn round_trip<'a>(cluster: &'a Cluster, database: &'a str, clients: u32, statement: &'a str) -> Side<'a> {
    Box::new(move || {
        let script = std::env::temp_dir().join(format!("memory_ext-bench-{}.sql", std::process::id()));
        std::fs::write(&script, format!("\\set n random(1, 1000)\n{statement};\n")).unwrap();
        let clients = clients.to_string();
        let output = cluster.run(
            "pgbench",
            &[
                "-n",
                "-M",
                "prepared",
                "-T",
                sized("3", "1"),
                "-c",
                &clients,
                "-j",
                "1",
                "-f",
                script.to_str().unwrap(),
                database,
            ],
        );
        let _ = std::fs::remove_file(&script);
        let tps = output
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .expect("pgbench prints tps");
        1e6 / tps.split(' ').next().unwrap().parse::<f64>().unwrap()
    })
}
