//! Keeping documents what their nodes say (sql/search_document.sql).
//!
//! Protocol: one trigger function on nodes, after each statement, whatever wrote it. Whoever writes a document holds its node's row
//! lock, so no two transactions meet at a document that have not met at its node, and documents are locked in no order of their own.
//! It stands aside in a restore, which brings the documents along.

use std::borrow::Cow;
use std::cell::OnceCell;

use pgrx::datum::Uuid;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::document::Text;
use super::language::Language;
use crate::check;
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::jsonb::{Container, Jsonb, Value};
use crate::pg::spi::{self, Statement, unwrap};
use crate::pg::trigger::{Operation, Trigger};
use crate::pg::{role, xact};
use crate::raw_function;
use crate::tenant;

/// Documents of the rows that `$source` gives.
macro_rules! insert {
    ($source:literal) => {
        concat!(
            "INSERT INTO memory.search_documents (tenant_id, user_id, node_id, part, terms)
             SELECT n.tenant_id, n.user_id, n.node_id, d.part - 1, d.terms FROM ",
            $source,
            " CROSS JOIN LATERAL unnest(memory.document_parts(n.tenant_id, n.user_id, n.summary, n.content, n.tags))
                 WITH ORDINALITY AS d (terms, part)"
        )
    };
}

/// Takes the documents of the nodes that `$keys` gives. Each is looked up by its key: this plan is kept, whatever the tables grow to.
macro_rules! delete {
    ($keys:literal) => {
        concat!(
            "DELETE FROM memory.search_documents AS s WHERE s.ctid = ANY (ARRAY(
                 SELECT d.ctid FROM ",
            $keys,
            " CROSS JOIN LATERAL (
                     SELECT d.ctid FROM memory.search_documents AS d
                     WHERE d.tenant_id = k.tenant_id AND d.user_id = k.user_id AND d.node_id = k.node_id OFFSET 0) AS d))"
        )
    };
}

/// The statements that a trigger runs, in order; planned once per backend, where the transition tables are known.
struct Steps {
    sql: &'static [&'static str],
    kept: OnceCell<Vec<spi::Kept>>,
}

impl Steps {
    const fn new(sql: &'static [&'static str]) -> Self {
        Self {
            sql,
            kept: OnceCell::new(),
        }
    }

    fn run(&self, trigger: &Trigger) {
        trigger.with_transition_tables(|client| {
            let kept = self
                .kept
                .get_or_init(|| self.sql.iter().map(|sql| spi::Kept::new(client, sql, &[])).collect());
            for statement in kept {
                statement.write(client, &[]);
            }
        });
    }
}

thread_local! {
    static INSERT: Steps = const { Steps::new(&[insert!("new_rows AS n")]) };
    // What a row said before and says now is compared in both statements: once would need a table of its own.
    static UPDATE: Steps = const {
        Steps::new(&[
            delete!(
                "(SELECT o.tenant_id, o.user_id, o.node_id FROM old_rows AS o
                  LEFT JOIN new_rows AS n USING (tenant_id, user_id, node_id)
                  WHERE n.node_id IS NULL OR NOT memory.same_document(o.summary, o.content, o.tags, n.summary, n.content, n.tags)
                  UNION ALL
                  SELECT n.tenant_id, n.user_id, n.node_id FROM new_rows AS n
                  LEFT JOIN old_rows AS o USING (tenant_id, user_id, node_id) WHERE o.node_id IS NULL) AS k"
            ),
            insert!(
                "(SELECT n.tenant_id, n.user_id, n.node_id, n.summary, n.content, n.tags FROM new_rows AS n
                  LEFT JOIN old_rows AS o USING (tenant_id, user_id, node_id)
                  WHERE o.node_id IS NULL OR NOT memory.same_document(o.summary, o.content, o.tags, n.summary, n.content, n.tags)) AS n"
            ),
        ])
    };
    static DELETE: Steps = const { Steps::new(&[delete!("old_rows AS k")]) };
    static EMPTY: Statement = const { Statement::new("TRUNCATE memory.search_documents", &[]) };
}

raw_function!(documents_follow, pg_finfo_documents_follow, |call| {
    let trigger = Trigger::of(call);
    if !role::is_restoring() {
        match trigger.operation() {
            Operation::Truncate => EMPTY.with(|statement| statement.write(&[], |_| ())),
            _ if trigger.rows() == 0 => {}
            Operation::Insert => INSERT.with(|steps| steps.run(&trigger)),
            Operation::Delete => DELETE.with(|steps| steps.run(&trigger)),
            Operation::Update => {
                if trigger.changes_any(&[c"tenant_id", c"user_id", c"node_id", c"summary", c"content", c"tags"]) {
                    UPDATE.with(|steps| steps.run(&trigger));
                }
            }
        }
    }
    trigger.keep_row()
});

/// A node's text, from three arguments of a call: summary, content, tags.
fn text_of(call: &Call, first: usize) -> Text<'_> {
    // Bytes that are no UTF-8 are none of a write's business.
    let mut text = Text::new(call.text(first).map(String::from_utf8_lossy));
    if let Some(content) = call.argument::<Jsonb<'_>>(first + 1) {
        add_content(&mut text, content.root());
    }
    for tag in call
        .argument::<Vec<Option<String>>>(first + 2)
        .unwrap_or_default()
        .into_iter()
        .flatten()
    {
        text.add_tag(tag.into());
    }
    text
}

/// The strings and numbers in content, as deep as they stand.
pub fn add_content<'a>(text: &mut Text<'a>, content: Container<'a>) {
    // What the extension counts in an entity is nobody's text.
    let is_entity = content.field("entity_id").is_some() && content.field("entity_system").is_some();
    // Nor is a ciphertext.
    let own = move |key: &str| key == "_encrypted" || is_entity && matches!(key, "update_count" | "last_updated");
    let mut open: Vec<Box<dyn Iterator<Item = Value<'a>> + 'a>> = vec![Box::new(
        content
            .fields()
            .filter(move |(key, _)| !own(key))
            .map(|(_, value)| value.read()),
    )];
    while let Some(values) = open.last_mut() {
        // What the summary holds already fills nothing: there may be any number of values.
        pause();
        if text.is_full() {
            return;
        }
        match values.next() {
            None => drop(open.pop()),
            Some(Value::Text(value)) => text.add_content(Cow::Borrowed(value)),
            Some(Value::Number(digits)) => text.add_content(Cow::Owned(digits)),
            Some(Value::Nested(array)) if array.is_array() => open.push(Box::new(array.elements())),
            Some(Value::Nested(object)) => open.push(Box::new(object.fields().map(|(_, value)| value.read()))),
            Some(Value::Null | Value::Bool) => {}
        }
    }
}

pub fn pause() {
    pgrx::check_for_interrupts!();
}

/// The most bytes of a part, beside a user id in one tuple of an index.
fn most_bytes(user: &[u8]) -> usize {
    2560usize.saturating_sub(user.len())
}

raw_function!(document_parts, pg_finfo_document_parts, |call| {
    let tenant = call.uuid_argument(0).unwrap_or_default();
    let most = most_bytes(call.text(1).unwrap_or_default());
    let mut language = Language::of(tenant);
    let parts = text_of(&call, 2).parts(language.code, most, &mut language, &mut pause);
    call.value(parts.iter().map(Vec::as_slice).collect::<Vec<&[u8]>>())
});

raw_function!(same_document, pg_finfo_same_document, |call| {
    call.value(text_of(&call, 0) == text_of(&call, 3))
});

thread_local! {
    /// Nodes whose documents were read in another language than texts are now, or are not there.
    static STALE: Statement = const {
        Statement::new(
            "SELECT n.user_id, n.node_id FROM memory.nodes AS n
             WHERE n.tenant_id = $1 AND NOT EXISTS (
                 SELECT FROM memory.search_documents AS d
                 WHERE d.tenant_id = n.tenant_id AND d.user_id = n.user_id AND d.node_id = n.node_id AND d.part = 0
                     AND substr(d.terms, 1, 4) = $2 OFFSET 0)
             ORDER BY n.user_id, n.entity_system, n.entity_id, n.node_id LIMIT $3 FOR SHARE OF n",
            &[pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::INT4OID],
        )
    };
    static TAKE: Statement = const {
        Statement::new(
            delete!(
                "(SELECT $1 AS tenant_id, g.user_id, g.node_id FROM unnest($2, $3) AS g (user_id, node_id)
                  CROSS JOIN LATERAL memory.held_user($1, g.user_id)) AS k"
            ),
            &[pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
        )
    };
    static MAKE: Statement = const {
        Statement::new(
            insert!(
                "(SELECT n.tenant_id, n.user_id, n.node_id, n.summary, n.content, n.tags FROM unnest($2, $3) AS g (user_id, node_id)
                  JOIN memory.nodes AS n ON n.tenant_id = $1 AND n.user_id = g.user_id AND n.node_id = g.node_id) AS n"
            ),
            &[pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
        )
    };
}

// Runs as its owner; only an operator may call it.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn rebuild_search_documents(
    tenant: Option<&str>,
    batch_size: Option<i32>,
) -> std::result::Result<TableIterator<'static, (name!(rebuilt, i64), name!(more, bool))>, ErrorReport> {
    let tenant = tenant::require(check::text("tenant", tenant)?)?;
    let batch = check::positive("batch_size", batch_size)?;
    if xact::keeps_snapshot() {
        return Err(Error::not_ready(
            "documents are rebuilt under READ COMMITTED only: this transaction's snapshot may miss what a node says since",
            "BEGIN ISOLATION LEVEL READ COMMITTED.",
        )
        .into());
    }
    let code = Language::of(tenant).code.to_le_bytes();
    let tenant = Uuid::from_bytes(tenant);
    let (users, nodes): (Vec<String>, Vec<Uuid>) = STALE.with(|statement| {
        statement.write(&[tenant.into(), (&code[..]).into(), batch.into()], |rows| {
            let key = |row: pgrx::spi::SpiHeapTupleData<'_>| {
                let user: Option<String> = unwrap(row.get(1));
                user.zip(unwrap(row.get::<Uuid>(2)))
            };
            rows.filter_map(key).unzip()
        })
    });
    let count = users.len();
    if count > 0 {
        // The nodes are locked against change; each statement sees what was committed before it.
        for statement in [&TAKE, &MAKE] {
            statement.with(|s| s.write(&[tenant.into(), users.clone().into(), nodes.clone().into()], |_| ()));
        }
    }
    Ok(TableIterator::once((count as i64, count == batch as usize)))
}
