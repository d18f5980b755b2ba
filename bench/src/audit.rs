//! What auditing costs: the same table with our triggers and without, and with triggers as people write them (microseconds per row). And
//! what the access log adds to a read (microseconds per call).

use std::path::Path;
use std::rc::Rc;

use cluster::{Cluster, SUPERUSER};

use crate::SETTINGS;
use crate::batches::Ground;
use crate::measure::{Job, left_out, sized};

const CONTEXT: &str = "SELECT memory.set_security_context('acme', service_name => 'bench', is_local => false)";

/// Tables with the columns and indexes of memory.events, and the triggers of each rival; and a log like ours for them.
const SET_UP: &str = r#"
    CREATE TABLE plain (LIKE memory.events INCLUDING ALL);
    CREATE TABLE ours (LIKE memory.events INCLUDING ALL);
    CREATE TABLE by_row (LIKE memory.events INCLUDING ALL);
    CREATE TABLE by_statement (LIKE memory.events INCLUDING ALL);
    DO $$
    DECLARE definition text;
    BEGIN
        FOR definition IN SELECT replace(pg_get_triggerdef(oid), ' ON memory.events ', ' ON public.ours ') FROM pg_trigger
            WHERE tgrelid = 'memory.events'::regclass AND tgfoid = 'memory.audit_change'::regproc LOOP
            EXECUTE definition;
        END LOOP;
    END $$;
    CREATE TABLE log (LIKE memory.audit_log INCLUDING ALL);
    CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO log (changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role)
        VALUES (clock_timestamp(), pg_current_xact_id(), new.tenant_id, new.user_id, tg_op, tg_table_name,
            jsonb_build_object('tenant_id', new.tenant_id, 'user_id', new.user_id, 'session_id', new.session_id, 'event_id', new.event_id),
            CASE tg_op WHEN 'INSERT' THEN jsonb_build_object('new', to_jsonb(new))
                ELSE jsonb_build_object('old', to_jsonb(old), 'new', to_jsonb(new)) END, 1, current_user, session_user);
        RETURN NULL;
    END $$;
    CREATE FUNCTION log_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO log (changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role)
        SELECT clock_timestamp(), pg_current_xact_id(), n.tenant_id, n.user_id, tg_op, tg_table_name,
            jsonb_build_object('tenant_id', n.tenant_id, 'user_id', n.user_id, 'session_id', n.session_id, 'event_id', n.event_id),
            jsonb_build_object('new', to_jsonb(n)), 1, current_user, session_user FROM new_rows AS n;
        RETURN NULL;
    END $$;
    CREATE FUNCTION log_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO log (changed_at, transaction_id, tenant_id, user_id, operation, table_name, row_key, changes, row_count, actor_role, login_role)
        SELECT clock_timestamp(), pg_current_xact_id(), n.tenant_id, n.user_id, tg_op, tg_table_name,
            jsonb_build_object('tenant_id', n.tenant_id, 'user_id', n.user_id, 'session_id', n.session_id, 'event_id', n.event_id),
            jsonb_build_object('old', to_jsonb(o), 'new', to_jsonb(n)), 1, current_user, session_user
        FROM new_rows AS n JOIN old_rows AS o USING (tenant_id, user_id, session_id, event_id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER audit AFTER INSERT OR UPDATE ON by_row FOR EACH ROW EXECUTE FUNCTION log_row();
    CREATE TRIGGER audit_insert AFTER INSERT ON by_statement REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION log_insert();
    CREATE TRIGGER audit_update AFTER UPDATE ON by_statement REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION log_update();
    CREATE TABLE source AS
        SELECT memory.tenant_id('acme') AS tenant_id, 'user-' || i % 100 AS user_id, 'session-' || i % 1000 AS session_id, 'event-' || i AS event_id,
            'message' AS event_type, timestamptz '2026-01-01' + i * interval '1 second' AS occurred_at,
            jsonb_build_object('text', md5(i::text) || ' ' || md5((i + 1)::text), 'number', i) AS payload, timestamptz '2026-01-01' AS created_at
        FROM generate_series(1, EVENTS) AS i ORDER BY 1, 2, 3, 4;
    INSERT INTO memory.sessions (tenant_id, user_id, session_id) SELECT DISTINCT tenant_id, user_id, session_id FROM source;
    INSERT INTO memory.events TABLE source;
    CREATE ROLE bench_unread LOGIN;
    CREATE ROLE bench_read LOGIN;
    ALTER ROLE bench_unread SET memory.log_reads = 'off';
    ALTER ROLE bench_read SET memory.log_reads = 'full';
    SELECT memory.grant_access('bench_unread', 'service'), memory.grant_access('bench_read', 'service')"#;

const UPDATE: &str = "UPDATE plain SET payload = payload || '{\"read\": true}'";

/// A server of its own with pgaudit beside us, since it hooks into every statement of a server; None where there is none.
fn pgaudit(cluster: &Cluster) -> Option<Cluster> {
    let libraries = cluster.run("pg_config", &["--pkglibdir"]);
    if !Path::new(libraries.trim()).join("pgaudit.so").exists() {
        return None;
    }
    let both = "shared_preload_libraries = 'memory_ext,pgaudit'";
    Some(Cluster::with("pgaudit", true, &[SETTINGS, &[both]].concat()))
}

/// Loads the events and gives the comparisons.
pub fn jobs(cluster: &Cluster) -> Vec<Job<'_>> {
    let rows: i32 = sized(100_000, 20_000);
    let singles: i32 = sized(5_000, 1_000);
    let ground = Ground::new(cluster, "audit", &SET_UP.replace("EVENTS", &rows.to_string()));
    let client = ground.client(SUPERUSER, CONTEXT);
    let empty = |table: &str| format!("TRUNCATE {table}, log, memory.audit_log");
    let full = |table: &str| format!("{}; INSERT INTO {table} TABLE source; ANALYZE {table}", empty(table));
    let insert = |table: &str| {
        ground.once(
            &client,
            &empty(table),
            &format!("INSERT INTO {table} TABLE source"),
            rows,
        )
    };
    let update = |table: &str| {
        let sql = format!("UPDATE {table} SET payload = payload || '{{\"read\": true}}'");
        ground.once(&client, &full(table), &sql, rows)
    };
    let single = |table: &str| {
        let sql = format!(
            "UPDATE {table} SET payload = payload || '{{\"read\": true}}' WHERE tenant_id = memory.current_tenant_id()
             AND user_id = 'user-' || $1 % 100 AND session_id = 'session-' || $1 % 1000 AND event_id = 'event-' || $1::int"
        );
        ground.batches(&client, full(table), sql, singles, singles)
    };
    let mut jobs = Vec::new();
    for (rival, name, goals) in [
        ("plain", "no audit", [Some(0.35), Some(0.35), Some(0.60)]),
        ("by_row", "plpgsql row trigger", [None; 3]),
        ("by_statement", "plpgsql statement trigger", [None; 3]),
    ] {
        let sides = [
            ("bulk insert", insert("ours"), insert(rival)),
            ("bulk update", update("ours"), update(rival)),
            ("single update", single("ours"), single(rival)),
        ];
        jobs.extend(sides.into_iter().zip(goals).map(|((work, ours, rival), goal)| Job {
            name: format!("audit: {work} / {name}"),
            unit: "us",
            ours,
            rival,
            goal,
        }));
    }
    match pgaudit(cluster) {
        None => left_out(
            "pgaudit (it writes no row images)",
            "apt install postgresql-NN-pgaudit, and copy its files to where the pg_config of make bench says: pkglibdir, sharedir",
        ),
        Some(server) => {
            let server = Rc::new(server);
            let rival = Ground::new(&server, "audit", &SET_UP.replace("EVENTS", &rows.to_string()));
            let client = rival.client(SUPERUSER, &format!("{CONTEXT}; SET pgaudit.log = 'write'"));
            let plain = [
                rival.once(&client, &empty("plain"), "INSERT INTO plain TABLE source", rows),
                rival.once(&client, &full("plain"), UPDATE, rows),
            ];
            let sides = [("bulk insert", insert("ours")), ("bulk update", update("ours"))];
            jobs.extend(sides.into_iter().zip(plain).map(|((work, ours), mut plain)| {
                let server = Rc::clone(&server);
                Job {
                    name: format!("audit: {work} / pgaudit, no row images"),
                    unit: "us",
                    ours,
                    rival: Box::new(move || {
                        let _runs = &server;
                        plain()
                    }),
                    goal: None,
                }
            }));
        }
    }
    let (read, unread) = (
        ground.client("bench_read", CONTEXT),
        ground.client("bench_unread", CONTEXT),
    );
    let calls: i32 = sized(5_000, 1_000);
    let get = "SELECT count(*) FROM memory.get_events('session-' || $1 % 1000, user_id => 'user-' || $1::int % 100)";
    jobs.push(Job {
        name: "audit: get_events with log_reads full / off".to_owned(),
        unit: "us",
        ours: ground.batches(&read, "", get, calls, calls),
        rival: ground.batches(&unread, "", get, calls, calls),
        goal: None,
    });
    jobs
}
