//! Making a batch of rows nobody's: what privacy declares of each column, by pseudonyms that are made anew in every batch.
//!
//! A row's user becomes a pseudonym while that user's younger rows stay. So nothing may tie the two: ids get pseudonyms too, made of tenant,
//! user, id and a random key that never leaves the statement; what an old row needs of a row that stays (an event its session, a relationship its nodes)
//! it gets as a copy; relationships and derived rows that would lead from the one to the other go. One statement changes all of it, for the
//! foreign keys.

use std::collections::HashSet;

use super::class::{Anonymised, Child, Class};
use super::removal::{Outcome, change, key, these};
use crate::pg::spi::{unwrap, write_once};
use crate::privacy;
use crate::privacy::plan::{KEY, Table, Whose};

/// Whether a row t has not become nobody's before. Pseudonyms look like this, of retention and of privacy alike.
pub const IS_SOMEBODYS: &str = "t.user_id !~ '^anon-[0-9a-f]{32}$'";

/// The same of an entry of the audit log, which has two users or none.
pub const ENTRY_IS_SOMEBODYS: &str = "(t.row_key IS NOT NULL OR t.changes IS NOT NULL OR t.client_address IS NOT NULL
    OR t.application_name IS NOT NULL OR t.user_id !~ '^anon-[0-9a-f]{32}$' OR t.actor_user_id !~ '^anon-[0-9a-f]{32}$')";

/// The parameters of the statement, ctids all: the batch, the children that become nobody's too, those that tie it to what stays.
const ROWS: u8 = 1;
const KEPT: u8 = 2;
const CUT: u8 = 3;

/// Anonymises locked rows, by their ctids, with what hangs on them; redacts their images in the audit log.
pub fn rows(class: &Class, table: &str, rows: &[String]) -> Outcome {
    let of = |child| children_of(child, table, rows);
    let (kept, cut): (Vec<String>, Vec<String>) = match (class.anonymised, class.children) {
        (Anonymised::WithChildren, [child]) => (of(child).into_iter().collect(), Vec::new()),
        (Anonymised::AsNodes, [out, into]) => {
            let (out, into) = (of(out), of(into));
            (
                out.intersection(&into).cloned().collect(),
                out.symmetric_difference(&into).cloned().collect(),
            )
        }
        _ => Default::default(),
    };
    let arguments = [rows.to_vec().into(), kept.into(), cut.into()];
    change(&statement(class, table), &arguments)
}

/// The ctids of a batch's children.
fn children_of(child: &Child, table: &str, rows: &[String]) -> HashSet<String> {
    let sql = format!(
        "SELECT c.ctid::text FROM memory.{table} t JOIN memory.{} c ON {} WHERE {}",
        child.table,
        child.belongs,
        these("t", ROWS)
    );
    write_once(&sql, &[rows.to_vec().into()], |rows| {
        rows.filter_map(|row| unwrap(row.get(1))).collect()
    })
}

fn statement(class: &Class, table: &str) -> String {
    let declared = privacy::tables();
    let update = |table: &str, which: u8| {
        let set = named(&declared, table).anonymised(Whose::Each);
        format!(
            "UPDATE memory.{table} AS t SET {set} FROM k WHERE {}",
            these("t", which)
        )
    };
    let mut parts = vec![
        KEY.to_owned(),
        format!("changed AS ({} RETURNING t.tenant_id)", update(table, ROWS)),
    ];
    let mut images = vec![images_of(table, class.images, ROWS)];
    if let Some(child) = class.children.first() {
        let cut = format!("DELETE FROM memory.{} t WHERE {}", child.table, these("t", CUT));
        parts.push(format!("kept AS ({}), cut AS ({cut})", update(child.table, KEPT)));
        images.extend([KEPT, CUT].map(|which| images_of(child.table, &[child.table], which)));
    }
    match class.anonymised {
        Anonymised::Alone | Anonymised::WithChildren | Anonymised::AsNodes => {}
        Anonymised::UnderCopyOf { parent, id, ids } => {
            let (columns, values) = named(&declared, parent).anonymous_copy();
            let parents = format!(
                "SELECT c.tenant_id, c.user_id, {ids} FROM memory.{table} c WHERE {}",
                these("c", ROWS)
            );
            parts.push(format!(
                "copied AS (INSERT INTO memory.{parent} ({columns}) SELECT {values} FROM memory.{parent} AS t, k
                     WHERE (t.tenant_id, t.user_id, t.{id}) IN ({parents}))"
            ));
        }
    }
    parts.push(format!(
        "images (tenant_id, key, tables) AS ({})",
        images.join(" UNION ALL ")
    ));
    format!(
        "WITH {}, redacted AS (
             UPDATE memory.audit_log a SET row_key = NULL, changes = NULL FROM images i
             WHERE a.table_name = ANY (i.tables) AND a.tenant_id = i.tenant_id AND a.row_key = i.key
         )
         SELECT c.tenant_id, count(*) FROM changed c GROUP BY 1",
        parts.join(", "),
    )
}

fn named<'a>(declared: &'a [Table], name: &str) -> &'a Table {
    let found = declared.iter().find(|table| table.name == name);
    found.unwrap_or_else(|| panic!("{name} is not declared"))
}

/// The images of a table's rows, which have these names in the audit log.
fn images_of(table: &str, names: &[&str], which: u8) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "SELECT t.tenant_id, {}, ARRAY[{}]::text[] FROM memory.{table} t WHERE {}",
        key(table, "t"),
        names.join(", "),
        these("t", which)
    )
}
