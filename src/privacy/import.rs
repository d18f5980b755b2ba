//! Taking a user elsewhere: the document of export_user_document() becomes rows of another tenant or user.
//!
//! Protocol: the document's shape is checked first; then the user is held alone, as for an erasure, so that nobody else writes between the look at what
//! is there (nothing may be) and the last row. The rows go in relation by relation, each in one statement, as the caller's own: row-level security, audit and
//! what is derived of rows see them as any other, and so does the trigger that encrypts. Encrypted fields come in plain and go in one by one, under the key of the
//! user they come to. What PostgreSQL refuses of a row is looked for row by row, to name it.

use std::cell::Cell;
use std::collections::BTreeSet;

use pgrx::datum::{DatumWithOid, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::archive;
use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach, check_user_id, hold};
use crate::error::{Error, Result, shown};
use crate::pg::jsonb::{Container, Jsonb, Value};
use crate::pg::spi::{Statement, unwrap, write_once};
use crate::pg::{catalog, xact};
use crate::search::space::{Space, Use};
use crate::tenant;
use crate::trust::field;
use crate::vocabulary::Vocabulary;

/// The form of the document that this library writes and reads.
const VERSION: &str = "1";
const KEYS: [&str; 6] = ["version", "tenant", "user_id", "exported_at", "relations", "records"];

/// What a document carries, in an order in which foreign keys hold; and the column whose words are a vocabulary's.
const RELATIONS: [(&str, Option<(&str, Vocabulary)>); 11] = [
    ("sessions", None),
    ("events", Some(("event_type", Vocabulary::Event))),
    ("preferences", None),
    ("navigation", None),
    ("nodes", Some(("context_type", Vocabulary::Context))),
    ("relationships", Some(("relationship_type", Vocabulary::Relationship))),
    ("user_metadata", None),
    ("agent_sessions_archive", None),
    ("agent_events_archive", None),
    ("embeddings", None),
    (ENCRYPTED_FIELDS, None),
];

const ENCRYPTED_FIELDS: &str = "encrypted_fields";

/// The rows of one relation of a document.
struct Rows<'a> {
    name: &'static str,
    words: Option<(&'static str, Vocabulary)>,
    rows: Vec<Container<'a>>,
    columns: Vec<Column>,
}

/// A column of a relation.
struct Column {
    name: String,
    is_jsonb: bool,
}

thread_local! {
    /// As the catalog has them: a service may not read what is declared of them.
    static COLUMNS: Statement = const {
        Statement::new(
            "SELECT a.attname::text, a.atttypid = 'jsonb'::regtype FROM pg_attribute a
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL ('{tenant_id,user_id,code,indexed,key_id,ciphertext}')
             ORDER BY a.attnum",
            &[pg_sys::OIDOID],
        )
    };
}

/// The columns of a relation that a document has: neither whose the row is, nor what is computed; a text in place of its ciphertext.
fn columns(relation: &str) -> Vec<Column> {
    let mut columns: Vec<Column> = COLUMNS.with(|s| {
        s.read(&[catalog::relation_named(relation).into()], |rows| {
            rows.map(|row| Column {
                name: unwrap(row.get(1)).unwrap_or_default(),
                is_jsonb: unwrap(row.get(2)).unwrap_or_default(),
            })
            .collect()
        })
    });
    if relation == ENCRYPTED_FIELDS {
        columns.push(Column {
            name: "plaintext".to_owned(),
            is_jsonb: false,
        });
    }
    columns
}

fn wrong(what: impl Into<String>) -> Error {
    Error::bad_argument(
        what,
        "Nothing was imported. A document is what memory.export_user_document() gives.",
    )
}

fn element(name: &str, i: usize) -> String {
    format!("element {} of relations.{name}", i + 1)
}

fn object<'a>(name: &str, value: Option<Value<'a>>) -> Result<Container<'a>> {
    match value {
        Some(Value::Nested(object)) if object.is_object() => Ok(object),
        Some(other) => Err(wrong(format!("{name} is {}, not an object", other.kind()))),
        None => Err(wrong(format!("{name} is missing"))),
    }
}

/// The relations of the document, in the order they are stored in.
fn read<'a>(document: Jsonb<'a>) -> Result<Vec<Rows<'a>>> {
    let root = document.root();
    if !root.is_object() {
        return Err(wrong(format!("document is no object but {}", document.kind())));
    }
    if let Some((key, _)) = root.fields().find(|(key, _)| !KEYS.contains(key)) {
        return Err(wrong(format!("document has {}, which is none of its keys", shown(key))));
    }
    match root.field("version") {
        Some(Value::Number(version)) if version == VERSION => {}
        Some(Value::Number(version)) => return Err(wrong(format!("version {version} of a document is unknown"))),
        Some(other) => return Err(wrong(format!("version is {}, not {VERSION}", other.kind()))),
        None => return Err(wrong("version is missing")),
    }
    let relations = object("relations", root.field("relations"))?;
    let known = |name: &str| RELATIONS.iter().any(|(known, _)| *known == name);
    if let Some((name, _)) = relations.fields().find(|(name, _)| !known(name)) {
        return Err(wrong(format!("relations has {}, which is not imported", shown(name))));
    }
    let mut all = Vec::new();
    for (name, words) in RELATIONS {
        let rows = match relations.field(name) {
            None => continue,
            Some(Value::Nested(rows)) if rows.is_array() => rows,
            Some(other) => return Err(wrong(format!("relations.{name} is {}, not an array", other.kind()))),
        };
        let columns = columns(name);
        let rows = rows.elements().enumerate().map(|(i, row)| match row {
            Value::Nested(row) if row.is_object() => {
                pgrx::check_for_interrupts!();
                let mut fields = row.fields();
                if let Some((key, _)) = fields.find(|(key, _)| columns.iter().all(|column| column.name != *key)) {
                    return Err(wrong(format!(
                        "{} has {}, which is no column of it",
                        element(name, i),
                        shown(key)
                    )));
                }
                if let Some(missing) = columns.iter().find(|column| row.raw_field(&column.name).is_none()) {
                    return Err(wrong(format!("{} has no {}", element(name, i), missing.name)));
                }
                Ok(row)
            }
            other => Err(wrong(format!(
                "{} is {}, not an object",
                element(name, i),
                other.kind()
            ))),
        });
        all.push(Rows {
            name,
            words,
            rows: rows.collect::<Result<_>>()?,
            columns,
        });
    }
    Ok(all)
}

impl Rows<'_> {
    /// Each word of the vocabulary once.
    fn check_words(&self) -> Result<()> {
        let Some((column, vocabulary)) = self.words else {
            return Ok(());
        };
        let mut known = BTreeSet::new();
        for (i, row) in self.rows.iter().enumerate() {
            let Some(Value::Text(word)) = row.field(column) else {
                return Err(wrong(format!("{column} of {} is no string", element(self.name, i))));
            };
            if known.insert(word) {
                vocabulary.check(word).map_err(|error| Error {
                    message: format!("{}: {}", element(self.name, i), error.message),
                    ..error
                })?;
            }
        }
        Ok(())
    }

    /// Encrypts and stores fields.
    fn store_fields(&self, tenant: [u8; 16], user: &str) -> Result<()> {
        let mut fields = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let text = |name: &str| match row.field(name) {
                Some(Value::Text(text)) => Ok(text),
                _ => Err(wrong(format!("{name} of {} is no string", element(self.name, i)))),
            };
            let id = uuid::Uuid::parse_str(text("field_id")?)
                .map_err(|_| wrong(format!("field_id of {} is no UUID", element(self.name, i))))?;
            let field = field::Given {
                id: *id.as_bytes(),
                field: text("field")?,
                plaintext: text("plaintext")?,
                created_at: text("created_at")?,
            };
            fields.push(field);
        }
        if fields.is_empty() {
            return Ok(());
        }
        let place = Cell::new(0);
        let stored = xact::attempt(|| {
            fields.iter().enumerate().try_for_each(|(i, given)| {
                pgrx::check_for_interrupts!();
                place.set(i);
                field::store(tenant, user, given)
            })
        });
        stored.unwrap_or_else(|refused| Err(wrong(format!("{}: {}", element(self.name, place.get()), refused.0))))
    }

    /// Where the rows go, and of embeddings by which model: a space is a table of its own.
    fn targets(&self) -> Result<Vec<(String, Option<String>)>> {
        if self.name != "embeddings" {
            return Ok(vec![(self.name.to_owned(), None)]);
        }
        let mut models: Vec<(usize, &str)> = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            match row.field("model") {
                Some(Value::Text(model)) if models.iter().any(|(_, known)| *known == model) => {}
                Some(Value::Text(model)) => models.push((i, model)),
                _ => return Err(wrong(format!("{} names no model", element(self.name, i)))),
            }
        }
        let space = |(i, model): (usize, &str)| match Space::find(Some(model), Use::Write) {
            Ok(space) => Ok((space.relation, Some(space.model))),
            Err(error) => Err(Error {
                message: format!("{}: {}", element(self.name, i), error.message),
                ..error
            }),
        };
        models.into_iter().map(space).collect()
    }

    /// The statement that stores rows: $1 the tenant, $2 the user, $3 rows, $4 what archived payloads are stamped with, $5 the model.
    fn insert(&self, table: &str) -> String {
        let is_archived = self.name.ends_with("_archive");
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|column| match (column.is_jsonb, column.name.as_str()) {
                (true, name) if is_archived => format!("memory.check_object('{name}', r.{name}) || $4"),
                (true, name) => format!("memory.check_object('{name}', r.{name})"),
                (false, name) => format!("r.{name}"),
            })
            .collect();
        let of_model = if self.name == "embeddings" {
            "WHERE r.model = $5"
        } else {
            ""
        };
        format!(
            "INSERT INTO memory.{table} (tenant_id, user_id, {}) SELECT $1, $2, {} FROM jsonb_populate_recordset(NULL::memory.{}, $3) AS r {of_model}",
            names.join(", "),
            values.join(", "),
            self.name
        )
    }
}

/// Stores a document for a user of whom there is nothing; gives the rows of each relation.
fn import(document: Jsonb<'_>, tenant: Option<&str>, user: Option<&str>) -> Result<Vec<(&'static str, i64)>> {
    let named = match document.root().field("user_id").filter(|_| document.root().is_object()) {
        Some(Value::Text(user)) => Some(user),
        _ => None,
    };
    let subject = context::subject_to(Scope::Admin, tenant, user.or(named), Reach::User)?;
    super::require_service("imported")?;
    let user = subject.user.as_deref().unwrap_or_default();
    check_user_id(user)?;
    if xact::keeps_snapshot() {
        return Err(Error::not_ready(
            "a user is imported under READ COMMITTED only: this transaction's snapshot may miss what was written since",
            "BEGIN ISOLATION LEVEL READ COMMITTED.",
        ));
    }
    let relations = read(document)?;
    hold::alone(&subject.tenant, user);
    let id = || Uuid::from_bytes(subject.tenant);
    let taken: Vec<String> = RELATIONS
        .iter()
        .map(|(name, _)| {
            format!(
                "SELECT '{name}' WHERE EXISTS (SELECT FROM memory.{name} t WHERE t.tenant_id = $1 AND t.user_id = $2)"
            )
        })
        .collect();
    let taken: Option<String> = write_once(&taken.join(" UNION ALL "), &[id().into(), user.into()], |mut rows| {
        rows.next().and_then(|row| unwrap(row.get::<String>(1)))
    });
    if let Some(taken) = taken {
        return Err(Error::not_ready(
            format!("user_id {} has {taken} already", shown(user)),
            "A document is imported for a user of whom there is nothing: name another user_id, or erase that user first.",
        ));
    }
    let name = uuid::Uuid::from_bytes(subject.tenant).to_string();
    let input = tenant.unwrap_or(&name);
    let stamp = archive::stamp(input, &tenant::resolve(input)?);
    let mut counts = Vec::new();
    for relation in relations {
        relation.check_words()?;
        if relation.name == ENCRYPTED_FIELDS {
            relation.store_fields(subject.tenant, user)?;
            counts.push((relation.name, relation.rows.len() as i64));
            continue;
        }
        for (table, model) in relation.targets()? {
            let sql = relation.insert(&table);
            let store = |rows: &str| {
                let sql = sql.replace("$3", rows);
                let arguments: [DatumWithOid<'_>; 5] = [
                    id().into(),
                    user.into(),
                    document.into(),
                    pgrx::JsonB(serde_json::from_str(&stamp).expect("made above")).into(),
                    model.as_deref().into(),
                ];
                xact::attempt(|| write_once(&sql, &arguments, |_| ()))
            };
            let Err(refused) = store(&format!("$3 #> '{{relations,{}}}'", relation.name)) else {
                continue;
            };
            for i in 0..relation.rows.len() {
                pgrx::check_for_interrupts!();
                let one = format!("jsonb_build_array($3 #> '{{relations,{},{i}}}')", relation.name);
                if let Err(refused) = store(&one) {
                    return Err(wrong(format!("{}: {}", element(relation.name, i), refused.0)));
                }
            }
            return Err(wrong(format!("relations.{}: {}", relation.name, refused.0)));
        }
        counts.push((relation.name, relation.rows.len() as i64));
    }
    Ok(counts)
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn import_user_data(
    document: Option<Jsonb<'_>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<TableIterator<'static, (name!(relation, &'static str), name!(rows, i64))>, ErrorReport> {
    let document = check::needed("document", document)?;
    Ok(TableIterator::new(import(document, tenant, user_id)?))
}
