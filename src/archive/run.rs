//! run_archival: from hot memory to the archive, one batch of sessions with all their events.
//!
//! Exactly once, whatever happens beside it: the sessions are locked FOR UPDATE (those in use are skipped), which waits for no
//! writer and lets none in; the statements that follow have newer snapshots, so they see every event that was committed before
//! the lock. All of it is one transaction: a crash leaves it all, or nothing. What one user wrote stops nobody else's
//! archival: a batch that the archive refuses goes session by session, without those that it refuses. (Under REPEATABLE READ an event that the
//! snapshot does not see makes the cascade of the last DELETE fail with 40001.)

use std::thread::LocalKey;
use std::time::Instant;

use pgrx::datum::{DatumWithOid, Interval, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{or_raise, stamp};
use crate::audit;
use crate::check;
use crate::context::hold;
use crate::error::{Result, shown};
use crate::pg::spi::{Statement, unwrap};
use crate::pg::xact::{self, Refused};
use crate::raw_function;
use crate::tenant;

/// The sessions that are over: ended, expired, or idle. $1 is how long idle. An event counts from when it was logged, because
/// log_event() moves last_activity only once a minute, and an application's own INSERT never.
macro_rules! over {
    () => {
        "(least(s.expires_at, CASE WHEN s.status = 'ended' THEN coalesce(s.ended_at, s.last_activity) END)
              <= statement_timestamp()
          OR s.last_activity <= statement_timestamp() - $1
              AND NOT EXISTS (
                  SELECT FROM memory.events e
                  WHERE e.tenant_id = s.tenant_id AND e.user_id = s.user_id AND e.session_id = s.session_id
                      AND e.created_at > statement_timestamp() - $1))"
    };
}

/// The sessions that have expired; the first condition is the index's.
macro_rules! expired {
    () => {
        "(least(s.expires_at, CASE WHEN s.status = 'ended' THEN coalesce(s.ended_at, s.last_activity) END)
              <= statement_timestamp()
          AND s.expires_at <= statement_timestamp())"
    };
}

/// The keys of the batch, as a table.
macro_rules! batch {
    () => {
        "unnest($1, $2, $3) AS k (tenant_id, user_id, session_id)"
    };
}

const KEYS: [pg_sys::Oid; 3] = [pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID];
const STAMPED: [pg_sys::Oid; 5] = [KEYS[0], KEYS[1], KEYS[2], pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID];

thread_local! {
    static TAKE: Statement = const {
        Statement::new(
            concat!("SELECT s.tenant_id, s.user_id, s.session_id FROM memory.sessions s WHERE ", over!(),
                " LIMIT $2 FOR UPDATE SKIP LOCKED"),
            &[pg_sys::INTERVALOID, pg_sys::INT4OID],
        )
    };
    static TAKE_EXPIRED: Statement = const {
        Statement::new(
            concat!("SELECT s.tenant_id, s.user_id, s.session_id FROM memory.sessions s WHERE ", expired!(),
                " LIMIT $1 FOR UPDATE SKIP LOCKED"),
            &[pg_sys::INT4OID],
        )
    };
    static MORE_EXPIRED: Statement = const {
        Statement::new(concat!("SELECT EXISTS (SELECT FROM memory.sessions s WHERE ", expired!(), ")"), &[])
    };
    static MORE: Statement = const {
        Statement::new(
            concat!("SELECT EXISTS (SELECT FROM memory.sessions s WHERE ", over!(), ")"),
            &[pg_sys::INTERVALOID],
        )
    };
    /// A session that came back has only what was saved since: it is merged into what the archive has.
    static SESSIONS: Statement = const {
        Statement::new(
            concat!(
                "INSERT INTO memory.agent_sessions_archive AS a
                     (tenant_id, user_id, session_id, started_at, last_activity, payload, archived_at, created_at)
                 SELECT s.tenant_id, s.user_id, s.session_id, s.started_at,
                        greatest(s.last_activity, (
                            SELECT max(e.created_at) FROM memory.events e
                            WHERE e.tenant_id = s.tenant_id AND e.user_id = s.user_id AND e.session_id = s.session_id)),
                        jsonb_build_object('metadata', s.metadata, 'mode', s.mode, 'status', s.status,
                            'parent_session_id', s.parent_session_id, 'expires_at', s.expires_at, 'ended_at', s.ended_at)
                            || t.stamp::jsonb,
                        c.now, c.now
                 FROM ", batch!(), "
                 JOIN memory.sessions s ON s.tenant_id = k.tenant_id AND s.user_id = k.user_id AND s.session_id = k.session_id
                 JOIN unnest($4, $5) AS t (tenant_id, stamp) ON t.tenant_id = s.tenant_id
                 CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS c
                 ORDER BY 1, 2, 3
                 ON CONFLICT ON CONSTRAINT agent_sessions_archive_pkey DO UPDATE
                 SET started_at = least(a.started_at, excluded.started_at),
                     last_activity = greatest(a.last_activity, excluded.last_activity),
                     payload = CASE jsonb_typeof(a.payload->'metadata')
                         WHEN 'object' THEN excluded.payload
                             || jsonb_build_object('metadata', (a.payload->'metadata') || (excluded.payload->'metadata'))
                         ELSE excluded.payload
                     END,
                     archived_at = excluded.archived_at"
            ),
            &STAMPED,
        )
    };
    /// An event that the archive has already stays as it is there. Gives how many left hot memory.
    static EVENTS: Statement = const {
        Statement::new(
            concat!(
                "WITH moved AS (
                     DELETE FROM memory.events e USING ", batch!(), "
                     WHERE e.tenant_id = k.tenant_id AND e.user_id = k.user_id AND e.session_id = k.session_id
                     RETURNING e.tenant_id, e.user_id, e.session_id, e.event_id, e.event_type, e.occurred_at, e.payload
                 ), archived AS (
                     INSERT INTO memory.agent_events_archive
                         (tenant_id, user_id, session_id, event_id, event_type, occurred_at, payload, archived_at, created_at)
                     SELECT m.tenant_id, m.user_id, m.session_id, m.event_id, m.event_type, m.occurred_at,
                            m.payload || t.stamp, c.now, c.now
                     FROM moved m
                     JOIN (SELECT u.tenant_id, u.stamp::jsonb AS stamp FROM unnest($4, $5) AS u (tenant_id, stamp)
                           OFFSET 0) AS t ON t.tenant_id = m.tenant_id
                     CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS c
                     ORDER BY 1, 2, 3, 4
                     ON CONFLICT DO NOTHING
                 )
                 SELECT count(*) FROM moved"
            ),
            &STAMPED,
        )
    };
    static DELETE: Statement = const {
        Statement::new(
            concat!("DELETE FROM memory.sessions s USING ", batch!(), "
                WHERE s.tenant_id = k.tenant_id AND s.user_id = k.user_id AND s.session_id = k.session_id"),
            &KEYS,
        )
    };
}

/// The sessions of a batch, as arrays.
#[derive(Default)]
struct Batch {
    tenants: Vec<Uuid>,
    users: Vec<String>,
    sessions: Vec<String>,
}

impl Batch {
    /// Locks what is to be moved. A session of a user who is being erased stays behind: waiting with its row locked would be a
    /// deadlock.
    fn take(which: &'static LocalKey<Statement>, arguments: &[DatumWithOid<'_>]) -> Self {
        which.with(|s| {
            s.write(arguments, |rows| {
                let mut batch = Self::default();
                for row in rows {
                    let key = (
                        unwrap(row.get::<Uuid>(1)),
                        unwrap(row.get::<String>(2)),
                        unwrap(row.get::<String>(3)),
                    );
                    if let (Some(tenant), Some(user), Some(session)) = key
                        && hold::try_share(tenant.as_bytes(), &user)
                    {
                        batch.tenants.push(tenant);
                        batch.users.push(user);
                        batch.sessions.push(session);
                    }
                }
                batch
            })
        })
    }

    fn keys(&self) -> [DatumWithOid<'static>; 3] {
        [
            self.tenants.clone().into(),
            self.users.clone().into(),
            self.sessions.clone().into(),
        ]
    }

    /// The keys, and the stamp of each tenant among them. A tenant that is gone from the table is stamped as not found.
    fn stamped_keys(&self) -> Result<Vec<DatumWithOid<'static>>> {
        let mut tenants = self.tenants.clone();
        tenants.sort_unstable();
        tenants.dedup();
        let stamps = tenants
            .iter()
            .map(|tenant| {
                let input = uuid::Uuid::from_bytes(*tenant.as_bytes()).to_string();
                Ok(stamp(&input, &tenant::describe(&input)?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(self.keys().into_iter().chain([tenants.into(), stamps.into()]).collect())
    }

    /// One session of it.
    fn only(&self, i: usize) -> Self {
        Self {
            tenants: vec![self.tenants[i]],
            users: vec![self.users[i].clone()],
            sessions: vec![self.sessions[i].clone()],
        }
    }

    /// Moves the sessions and all their events; how many events.
    fn store(&self) -> Result<std::result::Result<i64, Refused>> {
        let stamped = self.stamped_keys()?;
        Ok(xact::attempt(|| {
            audit::in_bulk(|| {
                SESSIONS.with(|s| s.write(&stamped, |_| ()));
                let events = EVENTS.with(|s| s.write(&stamped, |row| unwrap(row.first().get_one::<i64>())));
                DELETE.with(|s| s.write(&self.keys(), |_| ()));
                events.unwrap_or_default()
            })
        }))
    }

    /// The same; where the archive refuses what a user wrote, the others go without it, and it stays hot. How many sessions and
    /// events went.
    fn store_what_fits(&self) -> Result<(i64, i64)> {
        if let Ok(events) = self.store()? {
            return Ok((self.sessions.len() as i64, events));
        }
        let (mut sessions, mut events) = (0, 0);
        for i in 0..self.sessions.len() {
            pgrx::check_for_interrupts!();
            let one = self.only(i);
            match one.store()? {
                Ok(moved) => {
                    sessions += 1;
                    events += moved;
                }
                Err(Refused(message)) => one.report(&message),
            }
        }
        let refused = self.sessions.len() as i64 - sessions;
        if refused > 0 {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_WARNING,
                format!("{refused} sessions stay in hot memory: the archive refuses them"),
                "memory_ext",
            )
            .set_hint("The server's log names them.")
            .report(PgLogLevel::WARNING);
        }
        Ok((sessions, events))
    }

    /// To the server's log only: an operator sees nobody's ids.
    fn report(&self, message: &str) {
        for ((tenant, user), session) in self.tenants.iter().zip(&self.users).zip(&self.sessions) {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_WARNING,
                format!(
                    "session {} of user {} of tenant {tenant} cannot be archived: {message}",
                    shown(session),
                    shown(user)
                ),
                "memory_ext",
            )
            .report(PgLogLevel::LOG_SERVER_ONLY);
        }
    }
}

/// What a batch moved.
pub struct Outcome {
    pub sessions: i64,
    pub events: i64,
    pub more: bool,
}

impl Outcome {
    fn of(batch: &Batch, batch_size: i32, more: impl FnOnce() -> Option<bool>) -> Result<Self> {
        let taken = batch.sessions.len();
        let (sessions, events) = if taken == 0 { (0, 0) } else { batch.store_what_fits()? };
        Ok(Self {
            sessions,
            events,
            // After a batch that is not full, what is left is in use; where nothing went, it is refused: calling again at once would
            // find it so again.
            more: taken == batch_size as usize && sessions > 0 && more() == Some(true),
        })
    }
}

fn run(idle_for: Option<Interval>, batch_size: Option<i32>) -> Result<Outcome> {
    let idle_for = check::interval("idle_for", check::needed("idle_for", idle_for)?)?;
    let batch_size = check::positive("batch_size", batch_size)?;
    let batch = Batch::take(&TAKE, &[idle_for.into(), batch_size.into()]);
    Outcome::of(&batch, batch_size, || {
        MORE.with(|s| s.read(&[idle_for.into()], |row| unwrap(row.first().get_one())))
    })
}

/// Whether a session is over; reads only.
pub fn is_due(idle_for: Interval) -> bool {
    MORE.with(|s| s.read(&[idle_for.into()], |row| unwrap(row.first().get_one()))) == Some(true)
}

/// Whether a session has expired; reads only.
pub fn is_expired_due() -> bool {
    MORE_EXPIRED.with(|s| s.read(&[], |row| unwrap(row.first().get_one()))) == Some(true)
}

/// As run_archival, but of the expired sessions alone. The caller has checked `batch_size`.
pub fn run_expired(batch_size: i32) -> Result<Outcome> {
    let batch = Batch::take(&TAKE_EXPIRED, &[batch_size.into()]);
    Outcome::of(&batch, batch_size, || {
        MORE_EXPIRED.with(|s| s.read(&[], |row| unwrap(row.first().get_one())))
    })
}

raw_function!(run_archival, pg_finfo_run_archival, |call| {
    let started = Instant::now();
    let outcome = or_raise(run(call.argument(0), call.argument(1)));
    let duration_ms = started.elapsed().as_secs_f64() * 1000.0;
    call.row([
        outcome.sessions.into_datum(),
        outcome.events.into_datum(),
        outcome.more.into_datum(),
        duration_ms.into_datum(),
    ])
});
