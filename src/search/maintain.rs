//! Keeping documents what their nodes say (sql/search_document.sql).
//!
//! Protocol: one trigger function on nodes, after each statement, whatever wrote it. Whoever writes a document holds its node's row
//! lock, so no two transactions meet at a document that have not met at its node, and documents are locked in no order of their own.
//! It stands aside in a restore, which brings the documents along.

use std::borrow::Cow;
use std::ffi::CStr;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::document::Text;
use super::language::Language;
use crate::check;
use crate::error::Error;
use crate::pg::jsonb::{Container, Jsonb, Value};
use crate::pg::rows::Row;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::trigger::{Operation, Trigger};
use crate::pg::{array, role, transition, xact};
use crate::raw_function;
use crate::tenant;

/// Documents of the nodes that `$source` gives.
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

thread_local! {
    static EMPTY: Statement = const { Statement::new("TRUNCATE memory.search_documents", &[]) };
    static TAKE_OF: Statement = const {
        Statement::new(
            delete!("(SELECT unnest($1) AS tenant_id, unnest($2) AS user_id, unnest($3) AS node_id) AS k"),
            &[pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID],
        )
    };
    static PUT: Statement = const {
        Statement::new(
            "INSERT INTO memory.search_documents (tenant_id, user_id, node_id, part, terms)
             SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5)",
            &[
                pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::INT4ARRAYOID,
                pg_sys::BYTEAARRAYOID,
            ],
        )
    };
}

/// What the trigger reads of a row, in this order.
const COLUMNS: [&CStr; 6] = [c"tenant_id", c"user_id", c"node_id", c"summary", c"content", c"tags"];
const TENANT: usize = 0;
const USER: usize = 1;
const NODE: usize = 2;
const SUMMARY: usize = 3;
const CONTENT: usize = 4;
const TAGS: usize = 5;

/// Tenant, user, node: in the order of the index.
type Key = (u128, String, u128);

fn key(row: &Row<'_>) -> Key {
    (row.uuid(TENANT), row.text(USER).to_owned(), row.uuid(NODE))
}

fn text_of_row<'a>(row: &'a Row<'_>) -> Text<'a> {
    let summary = row.optional_bytes(SUMMARY).map(String::from_utf8_lossy);
    text(summary, Some(row.jsonb(CONTENT)), row.texts(TAGS))
}

/// Documents to take and to put, by statements of many at once.
#[derive(Default)]
struct Changes {
    taken: Vec<Key>,
    put: Vec<(Key, i32, Vec<u8>)>,
    /// Of what is put, in bytes.
    size: usize,
    language: Option<(u128, Language)>,
}

impl Changes {
    const MOST_ROWS: usize = 5_000;
    const MOST_BYTES: usize = 4 << 20;

    fn put(&mut self, key: Key, text: &Text<'_>) {
        let tenant = key.0;
        let (_, language) = match &mut self.language {
            Some(known) if known.0 == tenant => known,
            other => other.insert((tenant, Language::of(tenant.to_be_bytes()))),
        };
        let parts = text.parts(language.code, most_bytes(key.1.as_bytes()), language, &mut pause);
        for (part, terms) in (0..).zip(parts) {
            self.size += terms.len();
            self.put.push((key.clone(), part, terms));
        }
    }

    fn is_large(&self) -> bool {
        self.taken.len().max(self.put.len()) >= Self::MOST_ROWS || self.size >= Self::MOST_BYTES
    }

    /// No row of a statement becomes what another still is, so what is put here is not taken by what comes after.
    fn write(&mut self) {
        let (tenants, users, nodes) = columns(self.taken.iter());
        if !self.taken.is_empty() {
            TAKE_OF.with(|s| s.write(&[tenants, users, nodes], |_| ()));
        }
        if !self.put.is_empty() {
            self.put.sort_unstable();
            let (tenants, users, nodes) = columns(self.put.iter().map(|(key, ..)| key));
            let parts: Vec<i32> = self.put.iter().map(|(_, part, _)| *part).collect();
            let terms: Vec<&[u8]> = self.put.iter().map(|(.., terms)| &terms[..]).collect();
            PUT.with(|s| s.write(&[tenants, users, nodes, parts.into(), terms.into()], |_| ()));
        }
        self.taken.clear();
        self.put.clear();
        self.size = 0;
    }
}

type Argument = DatumWithOid<'static>;

/// Keys as three arrays.
fn columns<'k>(keys: impl Iterator<Item = &'k Key> + Clone) -> (Argument, Argument, Argument) {
    let tenants: Vec<u128> = keys.clone().map(|(tenant, ..)| *tenant).collect();
    let nodes: Vec<u128> = keys.clone().map(|(.., node)| *node).collect();
    let users: Vec<&str> = keys.map(|(_, user, _)| user.as_str()).collect();
    (array::uuids(&tenants), users.into(), array::uuids(&nodes))
}

fn follow(trigger: &Trigger) {
    let mut changes = Changes::default();
    transition::each(trigger, &COLUMNS, &mut |old, new| {
        let is_key_kept = match (&old, &new) {
            (Some(old), Some(new)) => {
                [TENANT, NODE].iter().all(|i| old.uuid(*i) == new.uuid(*i)) && old.text(USER) == new.text(USER)
            }
            _ => false,
        };
        if let (Some(old), Some(new), true) = (&old, &new, is_key_kept)
            && [SUMMARY, CONTENT, TAGS].iter().all(|i| old.is_alike(new, *i))
        {
            return;
        }
        let text = new.as_ref().map(text_of_row);
        if let (Some(old), Some(text), true) = (&old, &text, is_key_kept)
            && text_of_row(old) == *text
        {
            return;
        }
        changes.taken.extend(old.as_ref().map(key));
        if let (Some(new), Some(text)) = (&new, &text) {
            if !is_key_kept && trigger.operation() == Operation::Update {
                changes.taken.push(key(new));
            }
            changes.put(key(new), text);
        }
        if changes.is_large() {
            changes.write();
        }
    });
    changes.write();
}

raw_function!(documents_follow, pg_finfo_documents_follow, |call| {
    let trigger = Trigger::of(call);
    if !role::is_restoring() {
        match trigger.operation() {
            Operation::Truncate => EMPTY.with(|statement| statement.write(&[], |_| ())),
            _ if trigger.rows() == 0 => {}
            _ => follow(&trigger),
        }
    }
    trigger.keep_row()
});

/// A node's text.
fn text<'a>(summary: Option<Cow<'a, str>>, content: Option<Jsonb<'a>>, tags: Vec<Option<String>>) -> Text<'a> {
    let mut text = Text::new(summary);
    if let Some(content) = content {
        add_content(&mut text, content.root());
    }
    for tag in tags.into_iter().flatten() {
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
    // Bytes that are no UTF-8 are none of a write's business.
    let summary = call.text(2).map(String::from_utf8_lossy);
    let text = text(summary, call.argument(3), call.argument(4).unwrap_or_default());
    let parts = text.parts(language.code, most, &mut language, &mut pause);
    call.value(parts.iter().map(Vec::as_slice).collect::<Vec<&[u8]>>())
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
