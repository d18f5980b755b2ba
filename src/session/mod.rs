//! Hot memory: logging events. Everything else about sessions is SQL, in sql/session.sql.
//!
//! Protocol, beside archival: a writer first makes sure that the session is there, active, and locked with KEY SHARE (or
//! made by this transaction); only then it asks whether the archive has the event already, and inserts. Archival takes its
//! sessions FOR UPDATE, so whatever it moved of this session was committed before the lock was given, and nothing of it moves
//! while the lock holds. The lock is taken past SQL where nobody is in the way (2 µs), else by SELECT … FOR KEY SHARE.

use std::collections::HashSet;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::archive;
use crate::batch;
use crate::check;
use crate::context::{Reach, hold};
use crate::error::Result;
use crate::pg::catalog;
use crate::pg::jsonb::Jsonb;
use crate::pg::scan;
use crate::pg::spi::{Statement, unwrap};
use crate::pg::time;
use crate::vocabulary::Vocabulary;

/// The session that a call logs into, and the columns of its key.
struct Session<'a> {
    tenant: [u8; 16],
    user: String,
    id: &'a str,
}

const KEY: [pg_sys::Oid; 3] = [pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID];
const EVENT: [pg_sys::Oid; 7] = [
    KEY[0],
    KEY[1],
    KEY[2],
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::JSONBOID,
];

thread_local! {
    static SESSIONS: catalog::TableName =
        const { catalog::TableName::new(c"sessions", [c"sessions_pkey", c"sessions_pkey"]) };
    static EVENTS: catalog::TableName = const { catalog::TableName::new(c"events", [c"events_pkey", c"events_pkey"]) };
    static LOG: Statement = const {
        Statement::new(
            "INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
             VALUES ($1, $2, $3, $4, $5, coalesce($6, now()), $7)",
            &EVENT,
        )
    };
    static LOG_NAMED: Statement = const {
        Statement::new(
            "INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
             VALUES ($1, $2, $3, $4, $5, coalesce($6, now()), $7) ON CONFLICT DO NOTHING",
            &EVENT,
        )
    };
    /// Locks the session against archival; what is to be done to it.
    static LOCK: Statement = const {
        Statement::new(
            "SELECT s.status <> 'active' OR coalesce(s.expires_at <= statement_timestamp(), false),
                    s.last_activity <= statement_timestamp() - interval '1 minute'
             FROM memory.sessions s WHERE s.tenant_id = $1 AND s.user_id = $2 AND s.session_id = $3 FOR KEY SHARE",
            &KEY,
        )
    };
    static CREATE: Statement = const {
        Statement::new(
            "INSERT INTO memory.sessions (tenant_id, user_id, session_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            &KEY,
        )
    };
    static REVIVE: Statement = const {
        Statement::new(
            "UPDATE memory.sessions s
             SET status = 'active', ended_at = NULL, last_activity = statement_timestamp(),
                 expires_at = CASE WHEN s.expires_at > statement_timestamp() THEN s.expires_at END
             WHERE s.tenant_id = $1 AND s.user_id = $2 AND s.session_id = $3",
            &KEY,
        )
    };
    /// Whoever holds the row's lock is writing to the session too, and moves its last_activity: nobody waits for that.
    static TOUCH: Statement = const {
        Statement::new(
            "WITH free AS MATERIALIZED (
                 SELECT FROM memory.sessions s WHERE s.tenant_id = $1 AND s.user_id = $2 AND s.session_id = $3
                 FOR NO KEY UPDATE SKIP LOCKED)
             UPDATE memory.sessions s SET last_activity = statement_timestamp() FROM free
             WHERE s.tenant_id = $1 AND s.user_id = $2 AND s.session_id = $3",
            &KEY,
        )
    };
    static INSERT: Statement = const {
        Statement::new(
            "INSERT INTO memory.events (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload)
             SELECT $1, $2, $3, e.event_id, e.event_type, coalesce(e.occurred_at, now()), e.payload
             FROM unnest($4, $5, $6, $7) AS e (event_id, event_type, occurred_at, payload)
             ON CONFLICT DO NOTHING",
            &[
                KEY[0], KEY[1], KEY[2], pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZARRAYOID,
                pg_sys::JSONBARRAYOID,
            ],
        )
    };
}

impl<'a> Session<'a> {
    fn of(id: Option<&'a str>, tenant: Option<&str>, user: Option<&str>) -> Result<Self> {
        let subject = hold::writer(tenant, user, Reach::User)?;
        Ok(Self {
            tenant: subject.tenant,
            user: subject.user.unwrap_or_default(),
            id: check::text("session_id", id)?,
        })
    }

    fn key(&self) -> [DatumWithOid<'_>; 3] {
        [
            Uuid::from_bytes(self.tenant).into(),
            self.user.as_str().into(),
            self.id.into(),
        ]
    }

    /// The statement's arguments, the session's key before them.
    fn with<'b, const N: usize>(&'b self, arguments: [DatumWithOid<'b>; N]) -> Vec<DatumWithOid<'b>> {
        self.key().into_iter().chain(arguments).collect()
    }

    /// A key of a table that begins with tenant_id.
    fn scan_key<'b>(&self, texts: &'b [(i16, &'b str)]) -> scan::Key<'b> {
        scan::Key::Owned((1, self.tenant), texts)
    }

    fn has_archived(&self, event: &str) -> bool {
        archive::has_event(self.tenant, &self.user, self.id, event)
    }

    /// Whether the event is there already, hot or archived: then a retry changes nothing, and revives nothing. What archival
    /// is moving at this instant may be missed, so who holds the session asks the archive again.
    fn has(&self, event: &str) -> bool {
        let texts = [(2, self.user.as_str()), (3, self.id), (4, event)];
        let key = self.scan_key(&texts);
        let hot = EVENTS.with(catalog::TableName::find);
        hot.is_some_and(|table| scan::exists_now(table.oid, table.indexes[0], key)) || self.has_archived(event)
    }

    /// Holds the session against archival until the transaction ends, if it is there, active, and needs no change.
    fn hold_as_it_is(&self) -> bool {
        const STATUS: usize = 5;
        const LAST_ACTIVITY: usize = 9;
        const EXPIRES_AT: usize = 10;
        // A timestamp is a number of microseconds.
        const MINUTE: i64 = 60_000_000;
        let now = time::statement();
        let Some(table) = SESSIONS.with(catalog::TableName::find) else {
            return false;
        };
        let texts = [(2, self.user.as_str()), (3, self.id)];
        scan::lock_if(table.oid, table.indexes[0], self.scan_key(&texts), |row| {
            row.get::<&str>(STATUS) == Some("active")
                && row.get::<i64>(LAST_ACTIVITY).is_some_and(|at| at > now - MINUTE)
                && row.get::<i64>(EXPIRES_AT).is_none_or(|at| at > now)
        })
    }

    /// Makes sure that the session is there and active, and holds it against archival until the transaction ends.
    fn hold(&self) {
        loop {
            let found = LOCK.with(|s| {
                s.write(&self.key(), |rows| {
                    let flag = |row: &pgrx::spi::SpiTupleTable<'_>, i| unwrap(row.get::<bool>(i)).unwrap_or_default();
                    let row = rows.first();
                    (!row.is_empty()).then(|| (flag(&row, 1), flag(&row, 2)))
                })
            });
            let statement = match found {
                Some((true, _)) => &REVIVE,
                Some((false, true)) => &TOUCH,
                Some((false, false)) => return,
                // Another transaction may be making it: then this waits for that, and looks again.
                None => {
                    if CREATE.with(|s| s.write(&self.key(), |rows| rows.len())) == 1 {
                        return;
                    }
                    pgrx::check_for_interrupts!();
                    continue;
                }
            };
            statement.with(|s| s.write(&self.key(), |_| ()));
            return;
        }
    }
}

/// The events of a batch, as arrays.
#[derive(Default)]
struct Events<'a> {
    ids: Vec<String>,
    types: Vec<&'a str>,
    times: Vec<Option<TimestampWithTimeZone>>,
    payloads: Vec<Jsonb<'a>>,
}

impl<'a> Events<'a> {
    fn push(&mut self, id: String, kind: &'a str, time: Option<TimestampWithTimeZone>, payload: Jsonb<'a>) {
        self.ids.push(id);
        self.types.push(kind);
        self.times.push(time);
        self.payloads.push(payload);
    }

    /// Inserts what the session does not have yet; how many that were.
    fn insert(self, session: &Session<'_>) -> usize {
        let arguments = session.with([
            self.ids.into(),
            self.types.into(),
            self.times.into(),
            self.payloads.into(),
        ]);
        INSERT.with(|s| s.write(&arguments, |rows| rows.len()))
    }
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[pg_extern(sql = false)]
fn log_event(
    session_id: Option<&str>,
    event_type: Option<&str>,
    payload: Option<Jsonb<'_>>,
    event_id: Option<&str>,
    occurred_at: Option<TimestampWithTimeZone>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<String, ErrorReport> {
    let session = Session::of(session_id, tenant, user_id)?;
    let event_type = check::text("event_type", event_type)?;
    Vocabulary::Event.check(event_type)?;
    let payload = check::object("payload", payload)?;
    let (id, named) = match event_id {
        Some(_) => (check::text("event_id", event_id)?.to_owned(), true),
        None => (new_id(), false),
    };
    if !session.hold_as_it_is() {
        if named && session.has(&id) {
            return Ok(id);
        }
        session.hold();
    }
    if !named || !session.has_archived(&id) {
        let arguments = session.with([
            id.as_str().into(),
            event_type.into(),
            occurred_at.into(),
            payload.into(),
        ]);
        let statement = if named { &LOG_NAMED } else { &LOG };
        statement.with(|s| s.write(&arguments, |_| ()));
    }
    Ok(id)
}

#[pg_extern(sql = false)]
fn log_events(
    session_id: Option<&str>,
    events: Option<Jsonb<'_>>,
    tenant: Option<&str>,
    user_id: Option<&str>,
) -> std::result::Result<i64, ErrorReport> {
    let session = Session::of(session_id, tenant, user_id)?;
    let elements = batch::elements("events", events)?;
    let mut known_types = HashSet::new();
    let mut events = Vec::with_capacity(elements.len());
    for element in &elements {
        pgrx::check_for_interrupts!();
        let event_type = element.needed_text("event_type")?;
        if known_types.insert(event_type) {
            Vocabulary::Event
                .check(event_type)
                .map_err(|error| element.locate(error))?;
        }
        let payload = element
            .object("payload")?
            .ok_or_else(|| element.wrong("payload", "is missing"))?;
        let given = element.text("event_id")?;
        if given == Some("") {
            return Err(element.wrong("event_id", "is empty").into());
        }
        let id = given.map_or_else(new_id, str::to_owned);
        events.push((
            id,
            given.is_some(),
            event_type,
            element.timestamp("occurred_at")?,
            payload,
        ));
    }
    // In the order of the key, so that two batches with ids in common wait for each other but do not deadlock; stable, so
    // that of duplicates the first counts.
    events.sort_by(|a, b| a.0.cmp(&b.0));
    events.dedup_by(|later, first| later.0 == first.0);
    if events.is_empty() {
        return Ok(0);
    }
    if !session.hold_as_it_is() {
        let nothing_new = events.iter().all(|(id, given, ..)| {
            pgrx::check_for_interrupts!();
            *given && session.has(id)
        });
        if nothing_new {
            return Ok(0);
        }
        session.hold();
    }
    let mut new = Events::default();
    for (id, given, event_type, time, payload) in events {
        pgrx::check_for_interrupts!();
        if !given || !session.has_archived(&id) {
            new.push(id, event_type, time, payload);
        }
    }
    Ok(new.insert(&session) as i64)
}
