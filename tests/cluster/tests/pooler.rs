//! Through a real pgbouncer in transaction mode: each transaction is its own user's, whoever had the connection before;
//! and what a pooled client can leave behind (docs/security.md says how to keep it from doing so).

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::postgres::{Client, NoTls, SimpleQueryMessage};
use cluster::{Cluster, SUPERUSER};

const CLIENTS: usize = 8;
const TRANSACTIONS: usize = 250;

/// A pgbouncer before a server, its socket beside the server's.
struct Pooler<'a> {
    cluster: &'a Cluster,
    folder: PathBuf,
    process: Child,
}

impl<'a> Pooler<'a> {
    fn start(cluster: &'a Cluster, connections: u32, settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("{}-pooler", cluster.name()));
        std::fs::create_dir(&folder).unwrap();
        let sockets = cluster.socket_directory();
        let users = folder.join("users");
        std::fs::write(&users, format!("\"pool_service\" \"\"\n\"{SUPERUSER}\" \"\"\n")).unwrap();
        let ini = folder.join("pgbouncer.ini");
        std::fs::write(
            &ini,
            format!(
                "[databases]\napp = host={sockets} port=5432 dbname=app\n\
                 [pgbouncer]\nlisten_port = 6432\nunix_socket_dir = {sockets}\nauth_type = trust\nauth_file = {}\n\
                 admin_users = {SUPERUSER}\npool_mode = transaction\ndefault_pool_size = {connections}\n\
                 ignore_startup_parameters = extra_float_digits\n{settings}\n",
                users.display()
            ),
        )
        .unwrap();
        let process = Command::new(cluster::root().join("scripts/cluster"))
            .args(["run", "pgbouncer", "-q", ini.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            cluster,
            folder,
            process,
        };
        let started = Instant::now();
        while pooler.try_connect("app", "pool_service").is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "pgbouncer does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        pooler
    }

    fn try_connect(&self, database: &str, user: &str) -> Option<Client> {
        self.cluster.config_at(6432, database, user).connect(NoTls).ok()
    }

    fn connect(&self) -> Client {
        self.try_connect("app", "pool_service").expect("pgbouncer answers")
    }
}

impl Drop for Pooler<'_> {
    fn drop(&mut self) {
        if let Some(mut admin) = self.try_connect("pgbouncer", SUPERUSER) {
            let _ = admin.simple_query("SHUTDOWN");
        }
        let stopping = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && stopping.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn with_roles(cluster: &Cluster) {
    cluster.create_database("app");
    cluster.psql(
        "app",
        "CREATE ROLE pool_app;
         CREATE ROLE pool_service LOGIN IN ROLE pool_app;
         INSERT INTO memory.tenants (slug) VALUES ('acme'), ('globex');
         SELECT memory.grant_access('pool_app', 'app'), memory.grant_access('pool_service', 'service')",
    );
}

/// The first column of every row, over all statements.
fn column(client: &mut Client, sql: &str) -> Vec<String> {
    let messages = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(value).collect()
}

#[test]
fn each_pooled_transaction_sees_its_own_users_rows() {
    let cluster = Cluster::new("pool");
    with_roles(&cluster);
    let pooler = Pooler::start(&cluster, 2, "");
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = pooler.connect();
            scope.spawn(move || {
                for i in 0..TRANSACTIONS {
                    // The same user names in both tenants, and several clients of one user.
                    let tenant = ["acme", "globex"][i % 2];
                    let user = format!("user-{}", (number + i) % 5);
                    let mark = format!("{tenant}/{user}");
                    let seen = column(
                        &mut client,
                        &format!(
                            "BEGIN;
                             SELECT memory.set_security_context('{tenant}', '{user}', sealed => true)::text;
                             SET LOCAL ROLE pool_app;
                             SELECT memory.log_event('s', 'log', '{{\"mark\": \"{mark}\"}}') IS NULL;
                             SELECT DISTINCT payload->>'mark' FROM memory.events;
                             SELECT current_user || '/' || memory.current_user_id()"
                        ),
                    );
                    assert_eq!(
                        seen[2..],
                        [mark, format!("pool_app/{user}")],
                        "client {number}, transaction {i}"
                    );
                    let end = if i % 7 == 0 { "ROLLBACK" } else { "COMMIT" };
                    client.simple_query(end).unwrap();
                    // Between transactions nobody is asking, whoever has the connection now.
                    assert_eq!(column(&mut client, "SELECT memory.current_tenant_id()"), [""]);
                }
            });
        }
    });
    let connections = cluster.psql(
        "app",
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pool_service'",
    );
    assert!(connections.trim().parse::<i32>().unwrap() <= 2, "{connections}");
    let foreign = cluster.psql(
        "app",
        "SELECT count(*) FROM memory.events e JOIN memory.tenants t ON t.id = e.tenant_id
         WHERE e.payload->>'mark' <> t.slug || '/' || e.user_id",
    );
    assert_eq!(foreign.trim(), "0");
}

/// What the next client on a connection finds of the one before.
fn left_behind(pooler: &Pooler<'_>) -> Vec<(&'static str, bool)> {
    let mut first = pooler.connect();
    for statement in [
        "SELECT memory.set_security_context('acme', 'ann', is_local => false)",
        "SET search_path = public",
        "CREATE TEMP TABLE left_over (i int)",
        "BEGIN; DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "PREPARE left_plan AS SELECT 1",
        "LISTEN left_channel",
        "SELECT pg_advisory_lock(1)",
    ] {
        first.simple_query(statement).unwrap();
    }
    drop(first);
    let mut second = pooler.connect();
    let mut finds = |sql: &str| column(&mut second, sql) == ["t"];
    vec![
        ("session context", finds("SELECT memory.current_user_id() IS NOT NULL")),
        ("search_path", finds("SELECT current_setting('search_path') = 'public'")),
        (
            "temporary table",
            finds("SELECT to_regclass('pg_temp.left_over') IS NOT NULL"),
        ),
        (
            "cursor",
            finds("SELECT EXISTS (SELECT FROM pg_cursors WHERE name = 'left_cursor')"),
        ),
        (
            "prepared statement",
            finds("SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'left_plan')"),
        ),
        ("LISTEN", finds("SELECT EXISTS (SELECT FROM pg_listening_channels())")),
        (
            "advisory lock",
            finds("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"),
        ),
    ]
}

#[test]
fn a_pooled_client_leaves_session_state_behind_unless_the_pooler_resets_it() {
    let cluster = Cluster::new("poolleft");
    with_roles(&cluster);
    {
        let pooler = Pooler::start(&cluster, 1, "");
        let kept: Vec<&str> = left_behind(&pooler)
            .into_iter()
            .filter(|(_, kept)| *kept)
            .map(|(what, _)| what)
            .collect();
        // All of it: transaction mode resets nothing. This is why a context is local by default.
        let mut expected = vec![
            "session context",
            "search_path",
            "temporary table",
            "cursor",
            "prepared statement",
            "LISTEN",
            "advisory lock",
        ];
        // From 18 on PostgreSQL reports search_path to its client, and so the pooler restores each client's own.
        const REPORTS_SEARCH_PATH: &str = "SELECT current_setting('server_version_num')::int >= 180000";
        if column(&mut pooler.connect(), REPORTS_SEARCH_PATH) == ["t"] {
            expected.retain(|what| *what != "search_path");
        }
        assert_eq!(kept, expected);
    }
    let pooler = Pooler::start(
        &cluster,
        1,
        "server_reset_query = DISCARD ALL\nserver_reset_query_always = 1",
    );
    let mut client = pooler.connect();
    client.simple_query("CREATE TEMP TABLE mine (i int)").unwrap();
    assert_eq!(column(&mut client, "SELECT to_regclass('pg_temp.mine') IS NULL"), ["t"]);
    drop(client);
    let kept: Vec<_> = left_behind(&pooler).into_iter().filter(|(_, kept)| *kept).collect();
    assert!(kept.is_empty(), "{kept:?}");
}
