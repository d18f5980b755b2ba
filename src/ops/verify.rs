//! Verifying: the whole stack, exercised with a tenant of its own in a subtransaction that is rolled back.
//!
//! Protocol: each check runs in a subtransaction inside that one, so an error is a row and the next check goes on. What outlives a rollback is left
//! alone: reads are not logged meanwhile, nothing is tried that would be recorded as a violation, and nothing of anybody else's is touched, but for what
//! seal_audit_log() seals and the rollback unseals. No lock is taken that others would wait for longer than the call: so no embedding space is made.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::config;
use crate::context;
use crate::error::Error;
use crate::pg::spi::{self, Statement, unwrap};
use crate::pg::{process, xact};

/// Statements, of which the last gives whether it is as it should be, and what there is to say. $1 is the tenant's slug, $2 the user, $3 the last id of the
/// audit log before.
struct Check {
    name: &'static str,
    statements: &'static [&'static str],
    keep: bool,
}

const fn check(name: &'static str, statements: &'static [&'static str]) -> Check {
    Check {
        name,
        statements,
        keep: true,
    }
}

/// With the user's context, up to the archive; then with a service's, and at last without one.
const BEFORE_SEARCH: [Check; 8] = [
    check(
        "tenant",
        &[
            "INSERT INTO memory.tenants (slug) VALUES ($1)",
            "SELECT r.found AND r.slug = $1 AND r.uuid = memory.tenant_id($1), 'resolved: ' || r.source
             FROM memory.resolve_canonical_tenant($1) AS r",
        ],
    ),
    check(
        "context",
        &[
            "SELECT memory.set_security_context($1, $2)",
            "SELECT memory.current_user_id() = $2 AND memory.current_tenant_id() = memory.tenant_id($1)
                 AND memory.context_user_low() = $2 AND memory.context_user_high() = $2 AND memory.service_tenant_id() IS NULL, NULL",
        ],
    ),
    check(
        "session",
        &[
            r#"SELECT memory.save_session('verify', '{"a": 1}')"#,
            r#"SELECT count(*) = 1 AND bool_and(s.metadata = '{"a": 1}'), NULL FROM memory.get_session('verify') AS s"#,
        ],
    ),
    check(
        "event",
        &[
            r#"SELECT memory.log_event('verify', 'log', '{"m": "said"}', 'e')"#,
            r#"SELECT count(*) = 1 AND bool_and(e.payload = '{"m": "said"}'), NULL FROM memory.get_events('verify') AS e"#,
        ],
    ),
    check(
        "preferences",
        &[
            r#"SELECT memory.set_preferences('{"a": 1}')"#,
            r#"SELECT memory.get_preferences() = '{"a": 1}', NULL"#,
        ],
    ),
    check(
        "navigation",
        &[
            "SELECT memory.record_navigation('/verify')",
            "SELECT count(*) = 1 AND bool_and(n.path = '/verify'), NULL FROM memory.get_navigation() AS n",
        ],
    ),
    check(
        "graph",
        &[
            r#"SELECT memory.store_node('{"text": "first"}', 'knowledge_atom', 'quagga', session_id => 'verify')"#,
            r#"SELECT memory.store_node('{"text": "second"}', 'knowledge_atom', 'zebra', session_id => 'verify')"#,
            "SELECT memory.store_relationship(a.node_id, b.node_id, 'led_to')
             FROM memory.list_nodes() AS a, memory.list_nodes() AS b WHERE a.summary = 'quagga' AND b.summary = 'zebra'",
            "SELECT count(*) = 2 AND max(t.depth) = 1, count(*) || ' nodes reached'
             FROM memory.traverse((SELECT array_agg(n.node_id) FROM memory.list_nodes() AS n WHERE n.summary = 'quagga')) AS t",
        ],
    ),
    check(
        "search by words",
        &["SELECT count(*) = 1 AND bool_and(s.summary = 'quagga'), count(*) || ' found' FROM memory.search('quagga') AS s"],
    ),
];

const AFTER_SEARCH: [Check; 3] = [
    check(
        "isolation",
        &[
            "SELECT memory.set_security_context($1, $2 || '-other')",
            "SELECT (SELECT count(*) FROM memory.get_session('verify')) + (SELECT count(*) FROM memory.get_events('verify'))
                 + (SELECT count(*) FROM memory.list_nodes()) + (SELECT count(*) FROM memory.search('quagga')) = 0,
                 'another user sees nothing'",
        ],
    ),
    check(
        "archive",
        &[
            "SELECT memory.set_security_context($1, service_name => 'verify')",
            "SELECT memory.archive_session($1, $2, 'verify-old', '{}')",
            r#"SELECT memory.archive_event($1, $2, 'verify-old', 'e', 'log', now(), '{"m": 1}')"#,
            "SELECT count(*) = 1 AND bool_and(r.archived), NULL FROM memory.replay_session('verify-old', $1, $2) AS r",
        ],
    ),
    check(
        "audit",
        &[
            "SELECT count(DISTINCT l.table_name) >= 8 AND bool_and(l.user_id IS NULL OR l.user_id = $2), count(*) || ' rows'
             FROM memory.audit_log AS l WHERE l.id > $3 AND l.tenant_id = memory.tenant_id($1)",
        ],
    ),
];

/// Where there is a master key.
const WITH_KEY: [Check; 2] = [
    check(
        "encryption",
        &["SELECT memory.decrypt_field(memory.encrypt_field($2, 'verify', 'plain', $1)) = 'plain', NULL"],
    ),
    Check {
        name: "token",
        statements: &[
            "SELECT memory.clear_security_context()",
            "SELECT memory.authenticate(memory.issue_service_token('verify', $1, '{read}', '5 minutes'))",
            "SELECT memory.current_service_name() = 'verify' AND memory.current_tenant_id() = memory.tenant_id($1), NULL",
        ],
        // Its context is sealed.
        keep: false,
    },
];

const LAST: [Check; 4] = [
    check(
        "export",
        &["SELECT count(DISTINCT e.relation) >= 8, count(*) || ' records' FROM memory.export_user_data($2, $1) AS e"],
    ),
    check(
        "seal",
        &["SELECT s.rows >= 0, CASE s.rows WHEN 0 THEN 'put off: a transaction that has written to the audit log is open' ELSE s.rows || ' rows sealed' END
           FROM memory.seal_audit_log() AS s (rows)"],
    ),
    check(
        "erasure",
        &[
            "SELECT count(*) FROM memory.erase_user_data($2, $1)",
            "SELECT count(*) = 0, count(*) || ' records left' FROM memory.export_user_data($2, $1) AS e",
        ],
    ),
    check(
        "audit proof",
        &[
            // All of a log can be minutes; what is large is verified by itself.
            "SELECT bool_and(coalesce(v.ok, l.ids > 200000 OR NOT EXISTS (SELECT FROM memory.audit_seals))), coalesce(string_agg(CASE WHEN NOT v.ok THEN v.detail END, '; '), CASE WHEN max(l.ids) > 200000
                 THEN 'not tried: the log is large; SELECT * FROM memory.verify_audit_log()' END)
             FROM (SELECT max(a.id) - min(a.id) AS ids FROM memory.audit_log AS a) AS l
             LEFT JOIN LATERAL (SELECT w.ok, w.detail FROM memory.verify_audit_log() AS w WHERE l.ids <= 200000) AS v ON true",
        ],
    ),
];

thread_local! {
    static LAST_ID: Statement = const { Statement::new("SELECT max(l.id) FROM memory.audit_log AS l", &[]) };
    static SPACE: Statement = const {
        Statement::new("SELECT s.model, s.dimensions FROM memory.embedding_spaces AS s ORDER BY s.dimensions, s.model LIMIT 1", &[])
    };
}

type Row = (String, bool, Option<String>);

/// The statements' verdict.
fn run(statements: &[&str], args: &[DatumWithOid<'_>]) -> (bool, Option<String>) {
    let mut verdict = (false, None);
    for statement in statements {
        pgrx::check_for_interrupts!();
        spi::write_once(statement, args, |mut rows| {
            if let Some(row) = rows.next()
                && row.columns() == 2
            {
                verdict = (
                    unwrap(row.get::<bool>(1)).unwrap_or_default(),
                    unwrap(row.get::<String>(2)),
                );
            }
        });
    }
    verdict
}

struct Verification<'a> {
    args: [DatumWithOid<'a>; 3],
    rows: Vec<Row>,
}

impl Verification<'_> {
    fn check(&mut self, name: &str, statements: &[&str], keep: bool) {
        let row = match xact::enclosed(keep, || run(statements, &self.args)) {
            Ok((ok, detail)) => (name.to_owned(), ok, detail),
            Err(failed) => {
                let hint = failed.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
                let detail = format!("{}: {}{hint}", failed.sqlstate, failed.message);
                (name.to_owned(), false, Some(detail))
            }
        };
        self.rows.push(row);
    }

    fn check_all(&mut self, checks: &[Check]) {
        for check in checks {
            self.check(check.name, check.statements, check.keep);
        }
    }

    fn left_out(&mut self, name: &str, why: &str) {
        self.rows.push((name.to_owned(), true, Some(why.to_owned())));
    }

    fn check_embeddings(&mut self) {
        const NAME: &str = "search by embedding";
        let space = SPACE.with(|space| {
            space.read(&[], |mut rows| {
                let row = rows.next()?;
                Some((unwrap(row.get::<String>(1))?, unwrap(row.get::<i32>(2))?))
            })
        });
        let Some((model, dimensions)) = space else {
            return self.left_out(NAME, "not tried: there is no embedding space");
        };
        let model = pgrx::spi::quote_literal(model);
        let vector = format!("'[1{}]'", ",0".repeat(dimensions as usize - 1));
        let store = format!(
            "SELECT memory.store_embedding({model}, n.node_id, {vector}) FROM memory.list_nodes() AS n WHERE n.summary = 'zebra'"
        );
        let search = format!(
            "SELECT count(*) = 1 AND bool_and(s.summary = 'zebra'), 'model ' || {model}
             FROM memory.search(embedding => {vector}, model => {model}) AS s"
        );
        self.check(NAME, &[&store, &search], true);
    }

    fn all(&mut self) {
        // Undone with the rest.
        spi::run("SET LOCAL memory.log_reads = off; SET LOCAL client_min_messages = warning");
        self.check_all(&BEFORE_SEARCH);
        self.check_embeddings();
        self.check_all(&AFTER_SEARCH);
        if config::master_key_file().is_some() || config::master_key_command().is_some() {
            self.check_all(&WITH_KEY);
        } else {
            for check in &WITH_KEY {
                self.left_out(check.name, "not tried: there is no master key");
            }
        }
        self.check_all(&LAST);
    }
}

#[pg_extern(sql = false)]
fn verify() -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(check_name, String),
            name!(ok, bool),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    spi::require_read_write(c"memory.verify()");
    context::refuse_if_set()?;
    if xact::keeps_snapshot() {
        let what = "memory.verify() works under READ COMMITTED only: each step is to see what the one before wrote";
        return Err(Error::not_ready(what, "BEGIN ISOLATION LEVEL READ COMMITTED.").into());
    }
    let slug = format!("verify-{:016x}", process::random());
    let last = LAST_ID.with(|last| last.read(&[], |rows| unwrap(rows.first().get_one::<i64>())));
    let mut verification = Verification {
        args: [slug.into(), "verify".into(), last.unwrap_or_default().into()],
        rows: Vec::new(),
    };
    if let Err(failed) = xact::enclosed(false, || verification.all()) {
        let detail = format!("{}: {}", failed.sqlstate, failed.message);
        verification.rows.push(("verify".to_owned(), false, Some(detail)));
    }
    Ok(TableIterator::new(verification.rows))
}
