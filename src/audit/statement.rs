//! The statement that writes the audit log for one table and operation.

use pgrx::pg_sys;

use crate::pg::catalog::Column;
use crate::pg::trigger::Operation;

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub operation: Operation,
    /// Counts only.
    pub in_bulk: bool,
    /// One row changed, and not its key: old and new need no join.
    pub single: bool,
}

/// The parameters: who did it, from where, to which table.
pub const TYPES: [pg_sys::Oid; 8] = [
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
];

/// The INSERT for a table with these columns. Names are quoted by whoever read them from the catalog.
pub fn build(columns: &[Column], kind: Kind) -> String {
    let Kind {
        operation,
        in_bulk,
        single,
    } = kind;
    let has = |name: &str| columns.iter().any(|c| c.name == name);
    // A tenant's own row is the tenant's.
    let tenant = if has("tenant_id") {
        "tenant_id"
    } else if has("slug") {
        "id"
    } else {
        ""
    };
    // A superuser may take the holds themselves.
    let holdable = !has("lifted_at");
    let (from, row) = match operation {
        Operation::Insert => ("new_rows n".to_owned(), "n"),
        Operation::Delete => ("old_rows o".to_owned(), "o"),
        Operation::Update if in_bulk => ("new_rows n".to_owned(), "n"),
        Operation::Update if single && has("tenant_id") && columns.iter().any(|c| c.name == "user_id" && !c.in_key) => {
            (
                // The row may have been another user's: the image says so.
                "old_rows o CROSS JOIN new_rows n WHERE memory.held_user(o.tenant_id, o.user_id) IS NOT NULL"
                    .to_owned(),
                "n",
            )
        }
        Operation::Update if single => ("old_rows o CROSS JOIN new_rows n".to_owned(), "n"),
        // A row whose key has changed is logged twice: as it was under its old key, as it became under the new one.
        Operation::Update => {
            let same_key = equalities(columns);
            (
                format!("old_rows o FULL JOIN new_rows n ON {same_key}"),
                "coalesce(n.$, o.$)",
            )
        }
        Operation::Truncate => ("(VALUES (1)) v".to_owned(), ""),
    };
    let value = |column: &str| match row {
        "" => "NULL".to_owned(),
        row if row.contains('$') => row.replace('$', column),
        row => format!("{row}.{column}"),
    };
    let no_tenant = "'00000000-0000-0000-0000-000000000000'::uuid";
    let tenant = if tenant.is_empty() || row.is_empty() {
        no_tenant.to_owned()
    } else {
        format!("coalesce({}, {no_tenant})", value(tenant))
    };
    // Whoever writes a row holds its user against erasure (see context::hold).
    let user = match (has("tenant_id"), has("user_id"), row) {
        (_, false, _) => "NULL".to_owned(),
        (false, ..) | (.., "") => value("user_id"),
        // What a job removes in bulk it has asked of before.
        _ if operation == Operation::Delete && holdable => {
            format!("memory.removable_user({}, {})", value("tenant_id"), value("user_id"))
        }
        _ if operation == Operation::Update && !in_bulk && !single => gone_unless(
            "n.tenant_id IS NOT NULL",
            holdable,
            &format!("memory.held_user({}, {})", value("tenant_id"), value("user_id")),
        ),
        _ => format!("memory.held_user({}, {})", value("tenant_id"), value("user_id")),
    };
    let counted = in_bulk || operation == Operation::Truncate;
    let (user, key, changes, count) = if counted {
        let count = if operation == Operation::Truncate {
            "0".to_owned()
        } else if operation == Operation::Insert && user.contains('(') {
            // What is updated or deleted in bulk, an erasure finds by itself, and waits for.
            format!("count({user})")
        } else {
            "count(*)".to_owned()
        };
        ("NULL".to_owned(), "NULL".to_owned(), "NULL".to_owned(), count)
    } else {
        (user, key(columns, &value), changes(columns, operation), "1".to_owned())
    };
    let group = if counted && operation != Operation::Truncate {
        " GROUP BY 1"
    } else {
        ""
    };
    let operation = operation.name();
    format!(
        "INSERT INTO memory.audit_log
             (tenant_id, user_id, operation, table_name, row_key, changes, row_count, changed_at, transaction_id,
              actor_role, login_role, actor_tenant_id, actor_user_id, actor_session_id, actor_service_name,
              application_name, client_address)
         SELECT s.*, (SELECT clock_timestamp()), (SELECT pg_current_xact_id()), $1, $2, $3, $4, $5, $6, $7,
                (SELECT inet_client_addr())
         FROM (SELECT {tenant}, {user}, '{operation}', $8, {key}::jsonb, {changes}::jsonb, {count}::bigint
               FROM {from}{group}) s"
    )
}

/// The user of a row that stays; of one that was taken away, whose user must allow it (see hold).
fn gone_unless(stays: &str, holdable: bool, user: &str) -> String {
    if holdable {
        format!("CASE WHEN {stays} THEN {user} ELSE memory.removable_user(o.tenant_id, o.user_id) END")
    } else {
        user.to_owned()
    }
}

fn key(columns: &[Column], value: &dyn Fn(&str) -> String) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .filter(|c| c.in_key)
        .map(|c| format!("{}, {}", pgrx::spi::quote_literal(&c.plain_name), value(&c.name)))
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}

fn equalities(columns: &[Column]) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .filter(|c| c.in_key)
        .map(|c| format!("o.{0} = n.{0}", c.name))
        .collect();
    pairs.join(" AND ")
}

fn changes(columns: &[Column], operation: Operation) -> String {
    let image = |row: &str| image(columns, row);
    match operation {
        Operation::Insert => format!("jsonb_build_object('new', {})", image("n")),
        Operation::Delete => format!("jsonb_build_object('old', {})", image("o")),
        Operation::Truncate => "NULL".to_owned(),
        Operation::Update => {
            let unchanged: Vec<String> = columns
                .iter()
                .filter(|c| c.imaged)
                .map(|c| {
                    let name = pgrx::spi::quote_literal(&c.plain_name);
                    format!(
                        "CASE WHEN o.{0}::text IS NOT DISTINCT FROM n.{0}::text THEN {name} END",
                        c.name
                    )
                    .replace("::text", if c.comparable { "" } else { "::text" })
                })
                .collect();
            let unchanged = format!("array_remove(ARRAY[{}], NULL)", unchanged.join(", "));
            let (old, new) = (image("o"), image("n"));
            format!("jsonb_build_object('old', {old} - {unchanged}, 'new', {new} - {unchanged})")
        }
    }
}

/// A row as the log shows it, without its vectors: as text they would be ten times the rest of the entry.
fn image(columns: &[Column], row: &str) -> String {
    if columns.iter().all(|c| c.imaged) {
        return format!("to_jsonb({row})");
    }
    let pairs: Vec<String> = columns
        .iter()
        .filter(|c| c.imaged)
        .map(|c| format!("{}, {row}.{}", pgrx::spi::quote_literal(&c.plain_name), c.name))
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}
