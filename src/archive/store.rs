//! What services archive themselves: one record or a batch, one statement per tenant.

use std::collections::HashMap;

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;

use super::{or_raise, stamp};
use crate::batch::{self, Element};
use crate::check;
use crate::context::{self, check_user_id, hold};
use crate::error::{Result, Situation};
use crate::pg::call::Call;
use crate::pg::jsonb::Jsonb;
use crate::pg::spi::{Statement, unwrap};
use crate::raw_function;
use crate::tenant;
use crate::violation::Violation;

thread_local! {
    /// Gives for each row that was written whether it is new. (In FROM, unnest would put each value aside first.)
    static SESSIONS: Statement = const {
        Statement::new(
            "INSERT INTO memory.agent_sessions_archive AS a
                 (tenant_id, user_id, session_id, started_at, last_activity, payload, archived_at, created_at)
             SELECT $1, r.user_id, r.session_id, r.started_at, r.last_activity,
                    r.payload || ((SELECT $2::jsonb[]))[r.stamp], c.now, c.now
             FROM (SELECT unnest($4) AS user_id, unnest($5) AS session_id, unnest($6) AS payload, unnest($7) AS stamp,
                     unnest($8) AS started_at, unnest($9) AS last_activity) AS r,
                 (SELECT clock_timestamp() AS now OFFSET 0) AS c
             ON CONFLICT ON CONSTRAINT agent_sessions_archive_pkey DO UPDATE
             SET started_at = coalesce(excluded.started_at, a.started_at),
                 last_activity = coalesce(excluded.last_activity, a.last_activity),
                 payload = excluded.payload, archived_at = excluded.archived_at
             WHERE $3 OR a.payload <> excluded.payload OR a.started_at IS DISTINCT FROM coalesce(excluded.started_at, a.started_at)
                 OR a.last_activity IS DISTINCT FROM coalesce(excluded.last_activity, a.last_activity)
             RETURNING a.xmax = 0",
            &[
                pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::BOOLOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::JSONBARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::TIMESTAMPTZARRAYOID, pg_sys::TIMESTAMPTZARRAYOID,
            ],
        )
    };
    static EVENTS: Statement = const {
        Statement::new(
            "INSERT INTO memory.agent_events_archive AS a
                 (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload, archived_at, created_at)
             SELECT $1, r.user_id, r.session_id, r.event_id, r.event_type, r.occurred_at,
                    r.payload || ((SELECT $2::jsonb[]))[r.stamp], c.now, c.now
             FROM (SELECT unnest($4) AS user_id, unnest($5) AS session_id, unnest($6) AS payload, unnest($7) AS stamp,
                     unnest($8) AS event_id, unnest($9) AS event_type, unnest($10) AS occurred_at) AS r,
                 (SELECT clock_timestamp() AS now OFFSET 0) AS c
             ON CONFLICT ON CONSTRAINT agent_events_archive_pkey DO UPDATE
             SET event_type = excluded.event_type, occurred_at = excluded.occurred_at, payload = excluded.payload,
                 archived_at = excluded.archived_at
             WHERE $3 OR CASE WHEN a.payload ? '_encrypted' OR excluded.payload ? '_encrypted'
                     THEN memory.decrypted(a.tenant_id, a.user_id, 'event', a.session_id, a.event_id, a.payload)
                         <> memory.decrypted(a.tenant_id, a.user_id, 'event', a.session_id, a.event_id, excluded.payload)
                     ELSE a.payload <> excluded.payload END
                 OR a.event_type <> excluded.event_type
                 OR a.occurred_at <> excluded.occurred_at
             RETURNING a.xmax = 0",
            &[
                pg_sys::UUIDOID, pg_sys::TEXTARRAYOID, pg_sys::BOOLOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::JSONBARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
                pg_sys::TIMESTAMPTZARRAYOID,
            ],
        )
    };
    static SESSION_ID: Statement = const {
        Statement::new(
            "SELECT a.id FROM memory.agent_sessions_archive a
             WHERE a.tenant_id = $1 AND a.user_id = $2 AND a.session_id = $3",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static EVENT_ID: Statement = const {
        Statement::new(
            "SELECT a.id FROM memory.agent_events_archive a
             WHERE a.tenant_id = $1 AND a.user_id = $2 AND a.session_id = $3 AND a.event_id = $4",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
}

/// Where a record stands: tenant, user, session, and for an event its id. The order is that of the archive's keys.
type Key<'a> = ([u8; 16], &'a str, &'a str, &'a str);

/// What a record says beside its key.
trait Record<'a>: Copy {
    /// Inserts or updates a tenant's records, in order; the answer counts what was written.
    fn store(tenant: [u8; 16], common: Common<'a>, records: &[(Key<'a>, Self)], always: bool) -> Written;
    /// The record's fields in an element of a batch.
    fn read(element: &Element<'a>) -> Result<(&'a str, Self)>;
}

#[derive(Clone, Copy)]
struct Session {
    started_at: Option<TimestampWithTimeZone>,
    last_activity: Option<TimestampWithTimeZone>,
}

#[derive(Clone, Copy)]
struct Event<'a> {
    event_type: &'a str,
    occurred_at: TimestampWithTimeZone,
}

/// The arguments that both statements begin with.
struct Common<'a> {
    stamps: Vec<String>,
    users: Vec<&'a str>,
    sessions: Vec<&'a str>,
    payloads: Vec<Jsonb<'a>>,
    stamp: Vec<i32>,
}

impl<'a> Common<'a> {
    fn arguments(self, tenant: [u8; 16], always: bool) -> Vec<DatumWithOid<'a>> {
        vec![
            Uuid::from_bytes(tenant).into(),
            self.stamps.into(),
            always.into(),
            self.users.into(),
            self.sessions.into(),
            self.payloads.into(),
            self.stamp.into(),
        ]
    }
}

/// How many rows were written, and how many were equal already.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    inserted: i64,
    updated: i64,
    unchanged: i64,
}

impl Written {
    fn by(statement: &Statement, arguments: &[DatumWithOid<'_>], records: usize) -> Self {
        statement.write(arguments, |rows| {
            let written = rows.len();
            let inserted = rows.filter(|row| unwrap(row.get::<bool>(1)) == Some(true)).count();
            Self {
                inserted: inserted as i64,
                updated: (written - inserted) as i64,
                unchanged: (records - written) as i64,
            }
        })
    }

    fn and(self, other: Self) -> Self {
        Self {
            inserted: self.inserted + other.inserted,
            updated: self.updated + other.updated,
            unchanged: self.unchanged + other.unchanged,
        }
    }
}

impl<'a> Record<'a> for Session {
    fn store(tenant: [u8; 16], common: Common<'a>, records: &[(Key<'a>, Self)], always: bool) -> Written {
        let mut arguments = common.arguments(tenant, always);
        let started: Vec<_> = records.iter().map(|(_, r)| r.started_at).collect();
        let active: Vec<_> = records.iter().map(|(_, r)| r.last_activity).collect();
        arguments.extend([started.into(), active.into()]);
        SESSIONS.with(|s| Written::by(s, &arguments, records.len()))
    }

    fn read(element: &Element<'a>) -> Result<(&'a str, Self)> {
        Ok((
            "",
            Self {
                started_at: element.timestamp("started_at")?,
                last_activity: element.timestamp("last_activity")?,
            },
        ))
    }
}

impl<'a> Record<'a> for Event<'a> {
    fn store(tenant: [u8; 16], common: Common<'a>, records: &[(Key<'a>, Self)], always: bool) -> Written {
        let mut arguments = common.arguments(tenant, always);
        let ids: Vec<_> = records.iter().map(|(key, _)| key.3).collect();
        let types: Vec<_> = records.iter().map(|(_, r)| r.event_type).collect();
        let times: Vec<_> = records.iter().map(|(_, r)| r.occurred_at).collect();
        arguments.extend([ids.into(), types.into(), times.into()]);
        EVENTS.with(|s| Written::by(s, &arguments, records.len()))
    }

    fn read(element: &Element<'a>) -> Result<(&'a str, Self)> {
        let event = element.needed_text("event_id")?;
        let event_type = element.needed_text("event_type")?;
        let occurred_at = match element.timestamp("occurred_at")? {
            None => element.timestamp("timestamp")?,
            given => given,
        };
        let occurred_at = occurred_at.ok_or_else(|| element.wrong("occurred_at", "is missing"))?;
        Ok((
            event,
            Self {
                event_type,
                occurred_at,
            },
        ))
    }
}

/// The tenants that a call names, each resolved once, and their stamps.
#[derive(Default)]
struct Tenants<'a> {
    known: HashMap<Option<&'a str>, ([u8; 16], i32)>,
    stamps: Vec<String>,
}

impl<'a> Tenants<'a> {
    /// The tenant's id and the number of its stamp, counted from 1.
    fn resolve(&mut self, identifier: Option<&'a str>) -> Result<([u8; 16], i32)> {
        if let Some(known) = self.known.get(&identifier) {
            return Ok(*known);
        }
        let own = context::current().map(|context| uuid::Uuid::from_bytes(context.tenant).to_string());
        let input = check::needed("tenant", identifier.or(own.as_deref()))?;
        let resolved = tenant::resolve(input).inspect_err(|error| {
            if error.situation == Situation::Unknown {
                context::record_violation(Violation::UnknownTenant, &error.message);
            }
        })?;
        self.stamps.push(stamp(input, &resolved));
        let known = (resolved.uuid, self.stamps.len() as i32);
        self.known.insert(identifier, known);
        Ok(known)
    }
}

/// Records to be archived: of duplicates the last one stays.
struct Batch<'a, R> {
    tenants: Tenants<'a>,
    records: Vec<(Key<'a>, (i32, Jsonb<'a>, R))>,
}

impl<'a, R: Record<'a>> Batch<'a, R> {
    fn new() -> Self {
        Self {
            tenants: Tenants::default(),
            records: Vec::new(),
        }
    }

    fn of(argument: &'static str, batch: Option<Jsonb<'a>>) -> Result<Self> {
        let mut records = Self::new();
        for element in batch::elements(argument, batch)? {
            pgrx::check_for_interrupts!();
            let user = element.needed_text("user_id")?;
            check_user_id(user).map_err(|error| element.locate(error))?;
            let session = element.needed_text("session_id")?;
            let (event, record) = R::read(&element)?;
            let payload = element
                .object("payload")?
                .ok_or_else(|| element.wrong("payload", "is missing"))?;
            let tenant = records
                .tenants
                .resolve(element.text("tenant")?)
                .map_err(|error| element.locate(error))?;
            records.add(tenant, user, session, event, payload, record);
        }
        Ok(records)
    }

    fn add(
        &mut self,
        (tenant, stamp): ([u8; 16], i32),
        user: &'a str,
        session: &'a str,
        event: &'a str,
        payload: Jsonb<'a>,
        record: R,
    ) {
        self.records
            .push(((tenant, user, session, event), (stamp, payload, record)));
    }

    /// Writes everything, tenant by tenant, in the order of the keys.
    fn store(mut self, always: bool) -> Result<Written> {
        context::require_service()?;
        // Stable: the last of duplicates is the first from behind.
        self.records.reverse();
        self.records.sort_by_key(|(key, _)| *key);
        self.records.dedup_by(|(later, _), (first, _)| later == first);
        for ((tenant, user, ..), _) in &self.records {
            hold::share(tenant, user);
        }
        let mut written = Written::default();
        let mut rest = self.records.into_iter().peekable();
        while let Some(((tenant, ..), _)) = rest.peek() {
            let tenant = *tenant;
            let mut common = Common {
                stamps: self.tenants.stamps.clone(),
                users: Vec::new(),
                sessions: Vec::new(),
                payloads: Vec::new(),
                stamp: Vec::new(),
            };
            let mut records = Vec::new();
            while let Some((key, (stamp, payload, record))) = rest.next_if(|(key, _)| key.0 == tenant) {
                common.users.push(key.1);
                common.sessions.push(key.2);
                common.payloads.push(payload);
                common.stamp.push(stamp);
                records.push((key, record));
            }
            let stored = context::serving(tenant, || R::store(tenant, common, &records, always))?;
            written = written.and(stored);
        }
        Ok(written)
    }
}

fn answer(call: Call, written: Result<Written>) -> pg_sys::Datum {
    use pgrx::IntoDatum;
    let written = or_raise(written);
    call.row([written.inserted, written.updated, written.unchanged].map(IntoDatum::into_datum))
}

raw_function!(archive_sessions, pg_finfo_archive_sessions, |call| {
    let batch = Batch::<Session>::of("sessions", call.argument(0));
    answer(call, batch.and_then(|batch| batch.store(false)))
});

raw_function!(archive_events, pg_finfo_archive_events, |call| {
    let batch = Batch::<Event<'_>>::of("events", call.argument(0));
    answer(call, batch.and_then(|batch| batch.store(false)))
});

/// Archives one record; its id.
fn store_one<'a, R: Record<'a>>(
    arguments: (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<Jsonb<'a>>),
    event: &'a str,
    record: R,
    always: bool,
    id: &'static std::thread::LocalKey<Statement>,
) -> Result<Option<Uuid>> {
    let (tenant, user, session, payload) = arguments;
    let mut batch = Batch::new();
    let tenant = batch.tenants.resolve(tenant)?;
    let user = check::text("user_id", user)?;
    check_user_id(user)?;
    let session = check::text("session_id", session)?;
    let payload = check::object("payload", payload)?;
    batch.add(tenant, user, session, event, payload, record);
    batch.store(always)?;
    let mut key: Vec<DatumWithOid<'_>> = vec![Uuid::from_bytes(tenant.0).into(), user.into(), session.into()];
    if !event.is_empty() {
        key.push(event.into());
    }
    context::serving(tenant.0, || {
        id.with(|s| s.read(&key, |row| unwrap(row.first().get_one::<Uuid>())))
    })
}

raw_function!(archive_session, pg_finfo_archive_session, |call| {
    let record = Session {
        started_at: call.argument(4),
        last_activity: call.argument(5),
    };
    let key = (call.argument(0), call.argument(1), call.argument(2), call.argument(3));
    call.value(or_raise(store_one(key, "", record, true, &SESSION_ID)))
});

raw_function!(archive_event, pg_finfo_archive_event, |call| {
    let one = || -> Result<Option<Uuid>> {
        let record = Event {
            event_type: check::text("event_type", call.argument(4))?,
            occurred_at: check::needed("occurred_at", call.argument(5))?,
        };
        let event = check::text("event_id", call.argument(3))?;
        let key = (call.argument(0), call.argument(1), call.argument(2), call.argument(6));
        store_one(key, event, record, false, &EVENT_ID)
    };
    call.value(or_raise(one()))
});
