//! Removing a batch of rows, or making them nobody's, with what hangs on them and with their images in the audit log.
//!
//! Protocol, in this order: the rows are locked FOR UPDATE; each user is asked of, once, as of that instant: a job passes over who is
//! held or is being erased; by a newer snapshot, what hangs on the rows is locked and they are looked at again; then all of it is
//! deleted or anonymised. So nothing that was written meanwhile goes with them. A job skips what others have locked and waits for nobody; for a
//! direct call its caller asks of the user first, and it waits, in the order in which writers lock. Rows are known by their ctid, which
//! a locked row keeps.

use std::collections::HashMap;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};

use super::anonymise;
use super::class::{AUDIT_LOG, Child, Class, NODES};
use crate::audit;
use crate::context;
use crate::hold;
use crate::pg::catalog;
use crate::pg::spi::{read_once, unwrap, write_once};

/// What becomes of rows that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Delete,
    Anonymize,
}

/// Until when rows go: before their tenant's own cutoff, else before the general one. Of a tenant whose own policy has no cutoff
/// here (it asks for another action) nothing goes.
#[derive(Clone, Default)]
pub struct Cutoffs {
    pub tenants: Vec<Uuid>,
    pub cutoffs: Vec<Option<TimestampWithTimeZone>>,
    pub general: Option<TimestampWithTimeZone>,
}

impl Cutoffs {
    /// The cutoff that holds for a tenant.
    pub fn of(&self, tenant: Uuid) -> Option<TimestampWithTimeZone> {
        let own = self.tenants.iter().position(|t| *t == tenant);
        own.map_or(self.general, |i| self.cutoffs[i])
    }

    fn latest(&self) -> Option<TimestampWithTimeZone> {
        self.cutoffs.iter().copied().flatten().chain(self.general).max()
    }
}

/// Which rows are due.
pub enum Due {
    /// Those before the cutoffs, of whoever is not held.
    Before(Cutoffs),
    /// Those that have expired, of whoever is not held.
    Expired,
    /// One user's before a time; the caller has looked for a hold.
    OfUser(Uuid, String, TimestampWithTimeZone),
}

impl Due {
    /// FROM and WHERE, the row being t. Parameters from $2 on.
    fn of(&self, class: &Class, table: &str) -> String {
        let since = class.since;
        let not_held = if class.is_of_users() {
            "NOT EXISTS (
                SELECT FROM memory.legal_holds h
                WHERE h.tenant_id = t.tenant_id AND h.user_id = t.user_id AND h.lifted_at IS NULL)"
        } else {
            "true"
        };
        match self {
            // $5, the latest cutoff of all, is what an index can serve.
            Self::Before(_) => format!(
                "FROM memory.{table} t LEFT JOIN unnest($2, $3) AS own (tenant_id, cutoff) ON own.tenant_id = t.tenant_id
                 WHERE {since} < CASE WHEN own.tenant_id IS NULL THEN $4 ELSE own.cutoff END AND {since} < $5 AND {not_held}"
            ),
            Self::Expired => format!("FROM memory.{table} t WHERE t.expires_at <= statement_timestamp() AND {not_held}"),
            Self::OfUser(..) => {
                format!("FROM memory.{table} t WHERE t.tenant_id = $2 AND t.user_id = $3 AND {since} < $4")
            }
        }
    }

    fn order(&self, class: &Class) -> &'static str {
        match self {
            Self::Before(_) => class.since,
            Self::Expired => "t.expires_at",
            // As every writer of nodes locks them.
            Self::OfUser(..) => "t.user_id, t.entity_system, t.entity_id, t.node_id",
        }
    }

    fn waits(&self) -> bool {
        matches!(self, Self::OfUser(..))
    }

    fn arguments<'a>(&'a self, first: DatumWithOid<'a>) -> Vec<DatumWithOid<'a>> {
        match self {
            Self::Before(cutoffs) => vec![
                first,
                cutoffs.tenants.clone().into(),
                cutoffs.cutoffs.clone().into(),
                cutoffs.general.into(),
                cutoffs.latest().into(),
            ],
            Self::Expired => vec![first],
            Self::OfUser(tenant, user, before) => vec![first, (*tenant).into(), user.as_str().into(), (*before).into()],
        }
    }
}

/// What a batch did, or would do, to a tenant's rows.
#[derive(Clone, Copy, Default)]
pub struct Affected {
    pub rows: i64,
    /// Whether rows are due that are not in the batch because it was full.
    pub more: bool,
}

/// By tenant.
pub type Outcome = HashMap<Uuid, Affected>;

/// A class' rows that are due, and how many of them a call takes.
pub struct Removal<'a> {
    pub class: &'a Class,
    pub table: &'static str,
    pub due: Due,
    pub action: Action,
    /// None: all.
    pub batch_size: Option<i32>,
    /// None: the oldest first, for which the table is read. Else those that stand behind this ctid, as they stand: batch after batch, the table
    /// is read once.
    pub after: Option<String>,
}

/// What a batch took.
struct Taken {
    /// Their ctids; of users who allow it.
    rows: Vec<String>,
    /// The last of all that were locked, where there may be more.
    full_at: Option<String>,
}

/// Whether a row is one of those whose ctids are this parameter, by its name in the statement.
pub(super) fn these(row: &str, parameter: u8) -> String {
    format!("{row}.ctid = ANY (${parameter}::text[]::tid[])")
}

impl Removal<'_> {
    /// FROM and WHERE of what is due, the row being t. Parameters from $2 on.
    fn due(&self) -> String {
        let due = self.due.of(self.class, self.table);
        match self.action {
            Action::Delete => due,
            // What is nobody's cannot become so.
            Action::Anonymize if !self.class.is_of_users() => format!("{due} AND false"),
            Action::Anonymize if self.table == AUDIT_LOG => format!("{due} AND {}", anonymise::ENTRY_IS_SOMEBODYS),
            Action::Anonymize => format!("{due} AND {}", anonymise::IS_SOMEBODYS),
        }
    }

    /// What `run` would do if nobody were in its way.
    pub fn foresee(&self) -> Outcome {
        let sql = format!(
            "SELECT d.tenant_id, count(*) FILTER (WHERE d.place <= $1), bool_or(d.place > $1)
             FROM (SELECT t.tenant_id, row_number() OVER (ORDER BY {}) AS place {}) d
             GROUP BY d.tenant_id",
            self.due.order(self.class),
            self.due(),
        );
        write_once(&sql, &self.due.arguments(self.batch_size.into()), |rows| {
            rows.filter_map(|row| {
                let affected = Affected {
                    rows: unwrap(row.get(2)).unwrap_or_default(),
                    more: unwrap(row.get(3)).unwrap_or_default(),
                };
                Some((unwrap(row.get::<Uuid>(1))?, affected))
            })
            .collect()
        })
    }

    /// Whether a row is due; reads only.
    pub fn is_due(&self) -> bool {
        let sql = format!("SELECT EXISTS (SELECT {})", self.due());
        read_once(&sql, &self.due.arguments(self.batch_size.into()), |rows| {
            unwrap(rows.first().get_one()) == Some(true)
        })
    }

    /// Removes or anonymises the batch. The second answer counts what hung on the rows and was deleted.
    pub fn run(&self) -> (Outcome, i64) {
        let (mut outcome, hanging, full_at) = self.run_batch();
        // A batch that removed nothing found everything in use: calling again at once would find it so again.
        if full_at.is_some() && !outcome.is_empty() {
            for tenant in self.tenants_with_more() {
                outcome.entry(tenant).or_default().more = true;
            }
        }
        (outcome, hanging)
    }

    /// The same, and where the batch ended if it was full.
    pub fn run_batch(&self) -> (Outcome, i64, Option<String>) {
        let Taken { mut rows, full_at } = self.take();
        for child in self.class.children {
            if !rows.is_empty() {
                rows = self.lock_children(child, rows);
            }
        }
        let mut outcome = Outcome::new();
        let mut hanging = 0;
        if !rows.is_empty() {
            audit::in_bulk(|| {
                self.delete_derived(&rows);
                match self.action {
                    Action::Delete => {
                        for child in self.class.children {
                            hanging += self.delete_children(child, &rows);
                        }
                        outcome = self.delete(&rows);
                    }
                    Action::Anonymize => outcome = anonymise::rows(self.class, self.table, &rows),
                }
            });
        }
        (outcome, hanging, full_at)
    }

    /// Locks rows that are due.
    fn take(&self) -> Taken {
        let mut arguments = self.due.arguments(self.batch_size.into());
        let order = match &self.after {
            None => format!("ORDER BY {}", self.due.order(self.class)),
            Some(after) => {
                arguments.push(after.clone().into());
                format!("AND t.ctid > (${}::text)::tid", arguments.len())
            }
        };
        let sql = format!(
            "SELECT t.ctid::text, t.tenant_id, {} {} {order} LIMIT $1 FOR UPDATE OF t {}",
            if self.class.is_of_users() {
                "t.user_id"
            } else {
                "NULL::text"
            },
            self.due(),
            if self.due.waits() { "" } else { "SKIP LOCKED" },
        );
        let rows: Vec<(String, Uuid, Option<String>)> = write_once(&sql, &arguments, |rows| {
            rows.filter_map(|row| Some((unwrap(row.get(1))?, unwrap(row.get(2))?, unwrap(row.get(3)))))
                .collect()
        });
        let is_full = self.batch_size.is_some_and(|size| rows.len() == size as usize);
        let full_at = rows.last().filter(|_| is_full).map(|(row, ..)| row.clone());
        if self.due.waits() {
            let rows = rows.into_iter().map(|(row, ..)| row).collect();
            return Taken { rows, full_at };
        }
        let mut users: HashMap<(Uuid, &str), bool> = HashMap::new();
        let rows = rows
            .iter()
            .filter(|(_, tenant, user)| {
                user.as_deref().is_none_or(|user| {
                    *users.entry((*tenant, user)).or_insert_with(|| {
                        let tenant = *tenant.as_bytes();
                        context::hold::try_share(&tenant, user) && hold::allows(tenant, user)
                    })
                })
            })
            .map(|(row, ..)| row.clone())
            .collect();
        Taken { rows, full_at }
    }

    /// Locks what hangs on the rows. A job goes on with the rows that are due still and all of whose children it got.
    fn lock_children(&self, child: &Child, rows: Vec<String>) -> Vec<String> {
        let (parent, table, belongs) = (self.table, child.table, child.belongs);
        let lock = format!(
            "SELECT c.ctid AS row FROM memory.{parent} t JOIN memory.{table} c ON {belongs} WHERE {}
             ORDER BY {} FOR UPDATE OF c",
            these("t", 1),
            child.order
        );
        if self.due.waits() {
            write_once(&lock, &[rows.clone().into()], |_| ());
            return rows;
        }
        let sql = format!(
            "WITH locked AS MATERIALIZED ({lock} SKIP LOCKED)
             SELECT t.ctid::text {} AND {}
                 AND NOT EXISTS (SELECT FROM memory.{table} c WHERE {belongs} AND c.ctid NOT IN (SELECT l.row FROM locked l))",
            self.due(),
            these("t", 1),
        );
        write_once(&sql, &self.due.arguments(rows.into()), |rows| {
            rows.filter_map(|row| unwrap(row.get(1))).collect()
        })
    }

    fn delete_children(&self, child: &Child, rows: &[String]) -> i64 {
        let gone = format!(
            "DELETE FROM memory.{} c USING memory.{} t WHERE {} AND {} RETURNING c.tenant_id, {} AS key",
            child.table,
            self.table,
            these("t", 1),
            child.belongs,
            key(child.table, "c"),
        );
        delete(&gone, rows, &[child.table]).values().map(|a| a.rows).sum()
    }

    /// Deletes what was made of nodes and refers to them: embeddings. They go with their nodes, but the log has their keys.
    fn delete_derived(&self, rows: &[String]) {
        if self.table != NODES {
            return;
        }
        let children = self.class.children;
        for derived in catalog::referring_to(NODES) {
            if children.iter().any(|child| child.table == derived) {
                continue;
            }
            let gone = format!(
                "DELETE FROM memory.{derived} c USING memory.{NODES} t WHERE {} AND c.tenant_id = t.tenant_id
                     AND c.user_id = t.user_id AND c.node_id = t.node_id RETURNING c.tenant_id, {} AS key",
                these("t", 1),
                key(&derived, "c"),
            );
            delete(&gone, rows, &[&derived]);
        }
    }

    fn delete(&self, rows: &[String]) -> Outcome {
        let gone = format!(
            "DELETE FROM memory.{} t WHERE {} RETURNING t.tenant_id, {} AS key",
            self.table,
            these("t", 1),
            key(self.table, "t"),
        );
        delete(&gone, rows, self.class.images)
    }

    fn tenants_with_more(&self) -> Vec<Uuid> {
        let sql = format!("SELECT DISTINCT t.tenant_id {}", self.due());
        write_once(&sql, &self.due.arguments(self.batch_size.into()), |rows| {
            rows.filter_map(|row| unwrap(row.get(1))).collect()
        })
    }
}

/// Deletes rows, and redacts the images that the audit log has of them under these names.
fn delete(gone: &str, rows: &[String], images: &[&str]) -> Outcome {
    if images.is_empty() {
        let sql = format!("WITH gone AS ({gone}) SELECT g.tenant_id, count(*) FROM gone g GROUP BY 1");
        return change(&sql, &[rows.to_vec().into()]);
    }
    let sql = format!(
        "WITH gone AS ({gone}), redacted AS (
             UPDATE memory.audit_log a SET row_key = NULL, changes = NULL FROM gone g
             WHERE a.table_name = ANY ($2) AND a.tenant_id = g.tenant_id AND a.row_key = g.key
         )
         SELECT g.tenant_id, count(*) FROM gone g GROUP BY 1"
    );
    change(&sql, &[rows.to_vec().into(), images.to_vec().into()])
}

/// Runs a statement that gives how many rows it changed of each tenant.
pub(super) fn change(sql: &str, arguments: &[DatumWithOid<'_>]) -> Outcome {
    audit::redacting(|| {
        write_once(sql, arguments, |rows| {
            rows.filter_map(|row| {
                let affected = Affected {
                    rows: unwrap(row.get(2)).unwrap_or_default(),
                    more: false,
                };
                Some((unwrap(row.get::<Uuid>(1))?, affected))
            })
            .collect()
        })
    })
}

/// A row's key as the audit log writes it.
pub(super) fn key(table: &str, row: &str) -> String {
    let oid = catalog::relation_named(table);
    let pairs: Vec<String> = catalog::columns(oid)
        .iter()
        .filter(|column| column.in_key)
        .map(|column| {
            format!(
                "{}, {row}.{}",
                pgrx::spi::quote_literal(&column.plain_name),
                column.name
            )
        })
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}
