//! Row-level security: what the policies add to reads, against the same query with the filter written out, by a role that bypasses
//! them; setting the context; and an event logged, against a bare INSERT under the same policies and triggers (microseconds per call).

use cluster::{Cluster, SUPERUSER};

use crate::batches::Ground;
use crate::measure::{Job, Side, sized};

/// A hundred events for each user. Of 'acme' alone, so both kinds of filter take the same rows in a scan.
const SET_UP: &str = "
    INSERT INTO memory.sessions (tenant_id, user_id, session_id)
        SELECT memory.tenant_id('acme'), 'user-' || i, 'session' FROM generate_series(1, EVENTS / 100) AS i;
    INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
        SELECT memory.tenant_id('acme'), 'user-' || u, 'session', 'event-' || e, 'message_user', jsonb_build_object('number', e)
        FROM generate_series(1, EVENTS / 100) AS u, generate_series(1, 100) AS e ORDER BY 1, 2, 3, 4;
    CREATE ROLE bench_rls LOGIN;
    SELECT memory.grant_access('bench_rls', 'service');
    CREATE ROLE bench_bypass LOGIN BYPASSRLS;
    GRANT USAGE ON SCHEMA memory TO bench_bypass;
    GRANT SELECT ON memory.events TO bench_rls, bench_bypass;
    GRANT INSERT ON memory.events TO bench_rls";

const SCAN: &str = "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off";

/// Loads the events and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let rows: i32 = sized(1_000_000, 100_000);
    let calls: i32 = sized(5_000, 1_000);
    let ground = Ground::new(cluster, "rls", &SET_UP.replace("EVENTS", &rows.to_string()));
    let tenant: String = ground
        .client(SUPERUSER, "SELECT")
        .borrow_mut()
        .query_one("SELECT memory.tenant_id('acme')::text", &[])
        .unwrap()
        .get(0);
    let user = "SELECT memory.set_security_context('acme', 'user-7', is_local => false)";
    let service = "SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false)";
    let of_tenant = format!("tenant_id = '{tenant}'");
    let of_user = format!("{of_tenant} AND user_id = 'user-7'");
    // As the policy says it: one condition for both kinds of context.
    let in_range = format!("{of_tenant} AND user_id BETWEEN 'user-7' AND 'user-7'");
    let some_user = format!("user_id = 'user-' || 1 + $1::int % {}", rows / 100);
    let mut jobs = Vec::new();
    for (kind, context, explicit, asked) in [
        ("user", user, &in_range, "true"),
        ("service", service, &of_tenant, some_user.as_str()),
    ] {
        let mut job = |work: &str, settings: &str, query: &str, count: i32, explicit: &str, goal| {
            let ours = ground.client("bench_rls", &format!("{context}; {settings}"));
            let bypass = ground.client("bench_bypass", &format!("SELECT; {settings}"));
            jobs.push(Job {
                name: format!("rls: {work}"),
                unit: "us",
                ours: ground.batches(&ours, "", format!("{query} AND {asked}"), count, count),
                rival: ground.batches(&bypass, "", format!("{query} AND {asked} AND {explicit}"), count, count),
                goal,
            });
        };
        let written_out = format!("{kind} / the policy's filter written out");
        let point = "SELECT payload FROM memory.events WHERE session_id = 'session' AND event_id = 'event-' || 1 + $1::int % 100";
        let hundred = "SELECT payload FROM memory.events WHERE $1::int > 0";
        job(&format!("point, {written_out}"), "", point, calls, explicit, Some(0.97));
        job(
            &format!("100 rows, {written_out}"),
            "",
            hundred,
            calls,
            explicit,
            Some(0.97),
        );
        if kind == "user" {
            // What the range of users costs beside equality, which would not serve a service: behind it the index is read to the user's end.
            job("point, user / by equality", "", point, calls, &of_user, None);
            job("100 rows, user / by equality", "", hundred, calls, &of_user, None);
            let named = format!("{point} AND user_id = 'user-7'");
            job(
                "point that names its user / by equality",
                "",
                &named,
                calls,
                &of_user,
                None,
            );
        }
        // A number that no row has: the whole table is read, and little is done with it.
        let scan = "SELECT count(*) FROM memory.events WHERE octet_length(event_type) > $1::int";
        let work = format!("forced scan, {written_out}");
        job(&work, SCAN, scan, sized(5, 3), explicit, Some(0.85));
    }
    let ours = ground.client("bench_rls", user);
    let fixed: Side<'static> = Box::new(|| 5.0);
    let loops: i32 = sized(100_000, 20_000);
    let set = format!(
        "DO $$ BEGIN FOR i IN 1..{loops} LOOP
             PERFORM memory.set_security_context('acme', 'user-7', is_local => false); END LOOP; END $$"
    );
    jobs.push(Job {
        name: "rls: set_security_context in a loop / 5 us".to_owned(),
        unit: "us",
        ours: ground.once(&ours, "", &set, loops),
        rival: fixed,
        goal: Some(1.0),
    });
    let log = "SELECT memory.log_event('session', 'message_user', jsonb_build_object('number', $1::int))";
    let insert = "INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, payload)
        VALUES (memory.current_tenant_id(), memory.current_user_id(), 'session', memory.uuid_v7()::text, 'message_user', jsonb_build_object('number', $1::int))";
    jobs.push(Job {
        name: "rls: log_event / bare INSERT, same triggers".to_owned(),
        unit: "us",
        ours: ground.batches(&ours, "", log, calls, calls),
        rival: ground.batches(&ours, "", insert, calls, calls),
        goal: Some(0.9),
    });
    jobs
}
