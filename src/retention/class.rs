//! The data classes: which table each is, and what counts as a row's age.

use pgrx::datum::Interval;

/// Rows that go with the rows of a class.
pub struct Child {
    pub table: &'static str,
    /// Whether the child c belongs to the row t.
    pub belongs: &'static str,
    /// The order in which writers of c lock.
    pub order: &'static str,
}

/// What a class' rows need so that they stay whole under a pseudonym.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymised {
    /// Nothing.
    Alone,
    /// Their children, which become nobody's too.
    WithChildren,
    /// A copy of each parent, as the parents themselves stay.
    UnderCopyOf {
        parent: &'static str,
        /// The parent's column that tells one from the user's others, and its values in the row c.
        id: &'static str,
        ids: &'static str,
    },
    /// Relationships between two of them stay; others would tie them to what is somebody's, and go. What else refers to them goes.
    AsNodes,
}

/// A data class of set_retention_policy().
pub struct Class {
    pub name: &'static str,
    pub table: &'static str,
    /// Of the row t: from when on it is kept.
    pub since: &'static str,
    pub children: &'static [Child],
    /// How its rows become nobody's.
    pub anonymised: Anonymised,
    /// The names that its rows' images have in the audit log. What was archived has images from hot memory, by the same key.
    pub images: &'static [&'static str],
}

/// How long the audit log is kept where no policy says otherwise.
pub fn audit_log_keep() -> Interval {
    const MONTHS: i32 = 7 * 12;
    Interval::new(MONTHS, 0, 0).unwrap_or_else(|_| unreachable!("7 years are an interval"))
}

pub const AUDIT_LOG: &str = "audit_log";
pub const NODES: &str = "nodes";
pub const PERFORMANCE_METRICS: &str = "performance_metrics";

const EVENTS_OF: &str = "c.tenant_id = t.tenant_id AND c.user_id = t.user_id AND c.session_id = t.session_id";

pub const CLASSES: [Class; 9] = [
    Class {
        name: "sessions",
        table: "sessions",
        // As run_archival() sees it: an application's own INSERT of an event does not move last_activity.
        since: "greatest(t.last_activity, (
            SELECT max(e.created_at) FROM memory.events e
            WHERE e.tenant_id = t.tenant_id AND e.user_id = t.user_id AND e.session_id = t.session_id))",
        children: &[Child {
            table: "events",
            belongs: EVENTS_OF,
            order: "c.tenant_id, c.user_id, c.session_id, c.event_id",
        }],
        anonymised: Anonymised::WithChildren,
        images: &["sessions"],
    },
    Class {
        name: "events",
        table: "events",
        // A clock that is ahead prolongs nothing. Archival keeps occurred_at, so an event's age goes on in the archive.
        since: "least(t.occurred_at, t.created_at)",
        children: &[],
        anonymised: Anonymised::UnderCopyOf {
            parent: "sessions",
            id: "session_id",
            ids: "c.session_id",
        },
        images: &["events"],
    },
    Class {
        name: "sessions_archive",
        table: "agent_sessions_archive",
        since: "coalesce(t.last_activity, t.started_at, t.created_at)",
        children: &[],
        anonymised: Anonymised::Alone,
        images: &["sessions", "agent_sessions_archive"],
    },
    Class {
        name: "events_archive",
        table: "agent_events_archive",
        since: "least(t.occurred_at, t.created_at)",
        children: &[],
        anonymised: Anonymised::Alone,
        images: &["events", "agent_events_archive"],
    },
    Class {
        name: NODES,
        table: "nodes",
        since: "t.created_at",
        // Two, because a join by either end reads every relationship.
        children: &[
            Child {
                table: "relationships",
                belongs: "c.tenant_id = t.tenant_id AND c.user_id = t.user_id AND c.from_node_id = t.node_id",
                order: "c.tenant_id, c.user_id, c.from_node_id, c.to_node_id, c.relationship_type",
            },
            Child {
                table: "relationships",
                belongs: "c.tenant_id = t.tenant_id AND c.user_id = t.user_id AND c.to_node_id = t.node_id",
                order: "c.tenant_id, c.user_id, c.from_node_id, c.to_node_id, c.relationship_type",
            },
        ],
        anonymised: Anonymised::AsNodes,
        images: &["nodes"],
    },
    Class {
        name: "relationships",
        table: "relationships",
        since: "t.created_at",
        children: &[],
        anonymised: Anonymised::UnderCopyOf {
            parent: NODES,
            id: "node_id",
            ids: "unnest(ARRAY[c.from_node_id, c.to_node_id])",
        },
        images: &["relationships"],
    },
    Class {
        name: "navigation",
        table: "navigation",
        since: "t.visited_at",
        children: &[],
        anonymised: Anonymised::Alone,
        images: &["navigation"],
    },
    Class {
        name: AUDIT_LOG,
        table: "audit_log",
        since: "t.changed_at",
        children: &[],
        anonymised: Anonymised::Alone,
        images: &[],
    },
    Class {
        name: PERFORMANCE_METRICS,
        table: PERFORMANCE_METRICS,
        since: "t.recorded_at",
        children: &[],
        anonymised: Anonymised::Alone,
        images: &[],
    },
];

impl Class {
    /// Whether its rows are users'.
    pub fn is_of_users(&self) -> bool {
        self.name != PERFORMANCE_METRICS
    }
}

/// The class of that name.
pub fn named(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}
