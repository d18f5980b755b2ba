//! Making a batch of rows nobody's: what privacy declares of each column, by pseudonyms that are made anew in every batch.
//!
//! A row's user becomes a pseudonym while that user's younger rows stay. So nothing may tie the two: ids get pseudonyms too, made of tenant,
//! user, id and a random key that never leaves the statement; what an old row needs of a row that stays (an event its session, a relationship its nodes)
//! it gets as a copy; relationships and derived rows that would lead from the one to the other go. One statement changes all of it, for the
//! foreign keys.

use super::class::{Anonymised, Class, NODES};
use super::removal::{Outcome, change, key, these};
use crate::pg::catalog;
use crate::privacy;
use crate::privacy::plan::{KEY, Table, Whose};

/// Whether a row t has not become nobody's before. Pseudonyms look like this, of retention and of privacy alike.
pub const IS_SOMEBODYS: &str = "t.user_id !~ '^anon-[0-9a-f]{32}$'";

/// The same of an entry of the audit log, which has two users or none.
pub const ENTRY_IS_SOMEBODYS: &str = "(t.row_key IS NOT NULL OR t.changes IS NOT NULL OR t.client_address IS NOT NULL
    OR t.application_name IS NOT NULL OR t.user_id !~ '^anon-[0-9a-f]{32}$' OR t.actor_user_id !~ '^anon-[0-9a-f]{32}$')";

/// Anonymises locked rows, by their ctids, with what hangs on them; redacts their images in the audit log.
pub fn rows(class: &Class, table: &str, rows: &[String]) -> Outcome {
    let declared = Declared(privacy::tables());
    change(&declared.statement(class, table), &[rows.to_vec().into()])
}

/// The parts of a statement, but for the change of the batch itself.
#[derive(Default)]
struct Parts {
    changes: Vec<String>,
    /// Queries for the images to redact: tenant, key, the names of the tables.
    gone: Vec<String>,
}

/// The tables with users' data.
struct Declared(Vec<Table>);

impl Declared {
    fn table(&self, name: &str) -> &Table {
        let found = self.0.iter().find(|table| table.name == name);
        found.unwrap_or_else(|| panic!("{name} is not declared"))
    }

    fn statement(&self, class: &Class, table: &str) -> String {
        let mut parts = Parts::default();
        parts.gone(class.images, table, &these("t"));
        match class.anonymised {
            Anonymised::Alone => {}
            Anonymised::WithChildren => {
                for child in class.children {
                    let theirs = format!(
                        "t.ctid IN (SELECT c.ctid FROM memory.{} c JOIN memory.{table} t ON {} WHERE {})",
                        child.table,
                        child.belongs,
                        these("t")
                    );
                    parts.changes.push(self.update(child.table, &theirs));
                    parts.gone(&[child.table], child.table, &theirs);
                }
            }
            Anonymised::UnderCopyOf { parent, id, ids } => parts.changes.push(self.copy(parent, table, id, ids)),
            Anonymised::AsNodes => self.detach_nodes(&mut parts),
        }
        let mut changes = String::new();
        for (i, change) in parts.changes.iter().enumerate() {
            changes += &format!("c{i} AS ({change}), ");
        }
        format!(
            "WITH {KEY}, {changes} changed AS ({} RETURNING t.tenant_id),
                 gone (tenant_id, key, images) AS ({}),
                 redacted AS (
                     UPDATE memory.audit_log a SET row_key = NULL, changes = NULL FROM gone g
                     WHERE a.table_name = ANY (g.images) AND a.tenant_id = g.tenant_id AND a.row_key = g.key
                 )
             SELECT c.tenant_id, count(*) FROM changed c GROUP BY 1",
            self.update(table, &these("t")),
            parts.gone.join(" UNION ALL "),
        )
    }

    fn update(&self, table: &str, condition: &str) -> String {
        format!(
            "UPDATE memory.{table} AS t SET {} FROM k WHERE {condition}",
            self.table(table).anonymised(Whose::Each)
        )
    }

    /// Gives the batch parents that are nobody's.
    fn copy(&self, parent: &str, table: &str, id: &str, ids: &str) -> String {
        let (columns, values) = self.table(parent).anonymous_copy();
        format!(
            "INSERT INTO memory.{parent} ({columns}) SELECT {values} FROM memory.{parent} AS t, k
             WHERE (t.tenant_id, t.user_id, t.{id}) IN (SELECT c.tenant_id, c.user_id, {ids} FROM memory.{table} c WHERE {})",
            these("c")
        )
    }

    /// What ties old nodes to others goes; what joins two old ones stays.
    fn detach_nodes(&self, parts: &mut Parts) {
        const RELATIONSHIPS: &str = "relationships";
        let is_old = |end: &str| {
            format!(
                "(t.tenant_id, t.user_id, t.{end}) IN (SELECT n.tenant_id, n.user_id, n.node_id FROM memory.nodes n WHERE {})",
                these("n")
            )
        };
        let (from, to) = (is_old("from_node_id"), is_old("to_node_id"));
        parts
            .changes
            .push(self.update(RELATIONSHIPS, &format!("{from} AND {to}")));
        for (one, other) in [(&from, &to), (&to, &from)] {
            parts.changes.push(format!(
                "DELETE FROM memory.{RELATIONSHIPS} t WHERE {one} AND NOT {other}"
            ));
            parts.gone(&[RELATIONSHIPS], RELATIONSHIPS, one);
        }
        for derived in catalog::referring_to(NODES) {
            if derived != RELATIONSHIPS {
                parts
                    .changes
                    .push(format!("DELETE FROM memory.{derived} t WHERE {}", is_old("node_id")));
            }
        }
    }
}

impl Parts {
    /// Has the images of a table's rows redacted, under the names that they have.
    fn gone(&mut self, images: &[&str], table: &str, condition: &str) {
        let names: Vec<String> = images.iter().map(|name| format!("'{name}'")).collect();
        self.gone.push(format!(
            "SELECT t.tenant_id, {}, ARRAY[{}]::text[] FROM memory.{table} t WHERE {condition}",
            key(table, "t"),
            names.join(", ")
        ));
    }
}
