//! Retention: how long each class of data is kept, and what removes the rest.

mod anonymise;
mod class;
mod removal;

use std::cell::RefCell;

use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::archive;
use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach};
use crate::error::{Error, Result, shown};
use crate::hold;
use crate::pg::spi::{Statement, unwrap};
use crate::tenant;
use class::{CLASSES, Class};
use removal::{Action, Cutoffs, Due, Outcome, Removal};

/// The tenant of the general policy.
const EVERYBODY: [u8; 16] = [0; 16];

const ACTIONS: [&str; 2] = ["delete", "anonymize"];

thread_local! {
    static SET: Statement = const {
        Statement::new(
            "INSERT INTO memory.retention_policies AS p (tenant_id, data_class, keep, action) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant_id, data_class) DO UPDATE SET keep = excluded.keep, action = excluded.action, set_at = now()",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::INTERVALOID, pg_sys::TEXTOID],
        )
    };
    static DROP: Statement = const {
        Statement::new(
            "DELETE FROM memory.retention_policies p WHERE p.tenant_id = $1 AND p.data_class = $2 RETURNING true",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID],
        )
    };
    /// The policies of a class, the built-in general one ($2) where there is no other.
    static CUTOFFS: Statement = const {
        Statement::new(
            "SELECT p.tenant_id, now() - p.keep, p.action = 'anonymize' FROM memory.retention_policies p WHERE p.data_class = $1
             UNION ALL
             SELECT $3, now() - $2, false WHERE $2 IS NOT NULL AND NOT EXISTS (
                 SELECT FROM memory.retention_policies p WHERE p.data_class = $1 AND p.tenant_id = $3)
             ORDER BY 1",
            &[pg_sys::TEXTOID, pg_sys::INTERVALOID, pg_sys::UUIDOID],
        )
    };
    static DAYS_AGO: Statement = const {
        Statement::new("SELECT now() - make_interval(days => $1)", &[pg_sys::INT4OID])
    };
}

/// The class of that name, or 22023.
fn check_class(name: Option<&str>) -> Result<&'static Class> {
    let name = check::needed("data_class", name)?;
    class::named(name).ok_or_else(|| {
        let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        Error::bad_argument(
            format!("data_class {} is none", shown(name)),
            format!("It is one of: {}.", names.join(", ")),
        )
    })
}

/// A length of time that is above zero in each of its parts, so that it is whichever month it is counted from.
fn check_keep(keep: Option<Interval>) -> Result<Interval> {
    const MOST_MONTHS: i32 = 12 * 1000;
    const MOST_DAYS: i32 = 366 * 1000;
    // Each part by itself: all three together before now are still a time of PostgreSQL's.
    const MOST_MICROS: i64 = MOST_DAYS as i64 * 24 * 60 * 60 * 1_000_000;
    let keep = check::needed("keep", keep)?;
    let (months, days, micros) = (keep.months(), keep.days(), keep.micros());
    if months < 0 || days < 0 || micros < 0 || (months, days, micros) == (0, 0, 0) {
        return Err(Error::bad_argument(
            "keep is not above zero",
            "Give a length of time, such as '90 days'.",
        ));
    }
    if months > MOST_MONTHS || days > MOST_DAYS || micros > MOST_MICROS {
        return Err(Error::bad_argument(
            "keep is longer than 1000 years",
            "What is never to go needs no policy: memory.drop_retention_policy().",
        ));
    }
    Ok(keep)
}

/// The tenant that a policy is for; NULL is everybody.
fn policy_tenant(tenant: Option<&str>) -> Result<Uuid> {
    let id = tenant.map(tenant::require).transpose()?.unwrap_or(EVERYBODY);
    Ok(Uuid::from_bytes(id))
}

#[pg_extern(sql = false)]
fn set_retention_policy(
    data_class: Option<&str>,
    keep: Option<Interval>,
    tenant: Option<&str>,
    action: Option<&str>,
) -> std::result::Result<(), ErrorReport> {
    let class = check_class(data_class)?;
    let keep = check_keep(keep)?;
    let tenant = policy_tenant(tenant)?;
    let action = check::needed("action", action)?;
    if !ACTIONS.contains(&action) {
        return Err(Error::bad_argument(
            format!("action {} is none", shown(action)),
            format!("It is one of: {}.", ACTIONS.join(", ")),
        )
        .into());
    }
    SET.with(|s| s.write(&[tenant.into(), class.name.into(), keep.into(), action.into()], |_| ()));
    Ok(())
}

#[pg_extern(sql = false)]
fn drop_retention_policy(data_class: Option<&str>, tenant: Option<&str>) -> std::result::Result<bool, ErrorReport> {
    let class = check_class(data_class)?;
    let tenant = policy_tenant(tenant)?;
    Ok(DROP.with(|s| s.write(&[tenant.into(), class.name.into()], |rows| !rows.is_empty())))
}

/// The cutoffs of a class for an action, None where no policy asks for it.
fn cutoffs(class: &Class, action: Action) -> Option<Cutoffs> {
    let built_in = (class.name == class::AUDIT_LOG).then(class::audit_log_keep);
    let everybody = Uuid::from_bytes(EVERYBODY);
    let mut cutoffs = Cutoffs::default();
    let mut any = false;
    CUTOFFS.with(|s| {
        s.read(&[class.name.into(), built_in.into(), everybody.into()], |rows| {
            for row in rows {
                let (Some(tenant), Some(cutoff)) = (unwrap(row.get::<Uuid>(1)), unwrap(row.get(2))) else {
                    continue;
                };
                let anonymizes: bool = unwrap(row.get(3)).unwrap_or_default();
                let cutoff = (anonymizes == (action == Action::Anonymize)).then_some(cutoff);
                any |= cutoff.is_some();
                if tenant == everybody {
                    cutoffs.general = cutoff;
                } else {
                    cutoffs.tenants.push(tenant);
                    cutoffs.cutoffs.push(cutoff);
                }
            }
        });
    });
    any.then_some(cutoffs)
}

fn removal(class: &'static Class, table: &'static str, due: Due, action: Action, batch_size: i32) -> Removal<'static> {
    Removal {
        class,
        table,
        due,
        action,
        batch_size: Some(batch_size),
        after: None,
    }
}

/// Whether a policy lets a row go; reads only.
pub fn is_due() -> bool {
    CLASSES.iter().any(|class| {
        [Action::Delete, Action::Anonymize].into_iter().any(|action| {
            pgrx::check_for_interrupts!();
            cutoffs(class, action)
                .is_some_and(|cutoffs| removal(class, class.table, Due::Before(cutoffs), action, 1).is_due())
        })
    })
}

/// Where a sweep is: the class and action, counted in CLASSES and ACTIONS, and the last ctid.
#[derive(Clone)]
struct Place {
    step: usize,
    after: String,
}

const TABLE_START: &str = "(0,0)";

thread_local! {
    static SWEEP: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Whether this backend is in the middle of a sweep.
pub fn is_sweeping() -> bool {
    SWEEP.with_borrow(Option::is_some)
}

/// Takes, of the first class that has any, the next rows that policies let go, at most so many; gives how many, and whether to go on. Batch after
/// batch it goes once through each table, where apply_retention() reads each of them for each batch, for the oldest of all. What is in use, or
/// becomes due behind it, is the next sweep's; what a rolled-back batch took, too.
pub fn sweep(batch_size: i32) -> (i64, bool) {
    let steps = 2 * CLASSES.len();
    let start = |step| Place {
        step,
        after: TABLE_START.to_owned(),
    };
    let mut place = SWEEP.take().unwrap_or_else(|| start(0));
    while place.step < steps {
        pgrx::check_for_interrupts!();
        let class = &CLASSES[place.step / 2];
        let action = [Action::Delete, Action::Anonymize][place.step % 2];
        let Some(cutoffs) = cutoffs(class, action) else {
            place = start(place.step + 1);
            continue;
        };
        let removal = Removal {
            after: Some(place.after.clone()),
            ..removal(class, class.table, Due::Before(cutoffs), action, batch_size)
        };
        let (outcome, _, full_at) = removal.run_batch();
        place = match full_at {
            Some(after) => Place { after, ..place },
            None => start(place.step + 1),
        };
        if !outcome.is_empty() || place.after != TABLE_START {
            let more = place.step < steps;
            SWEEP.set(Some(place).filter(|_| more));
            return (total(&outcome), more);
        }
    }
    (0, false)
}

/// Whether a session or a node has expired; reads only.
pub fn is_expired_due() -> bool {
    archive::run::is_expired_due()
        || class::named(class::NODES)
            .is_some_and(|class| removal(class, class::NODES, Due::Expired, Action::Delete, 1).is_due())
}

/// A line of apply_retention()'s answer.
type Line = (String, Uuid, TimestampWithTimeZone, i64, bool);

fn apply_to(class: &'static Class, action: Action, dry_run: bool, batch_size: i32) -> Vec<Line> {
    let Some(cutoffs) = cutoffs(class, action) else {
        return Vec::new();
    };
    let removal = removal(class, class.table, Due::Before(cutoffs.clone()), action, batch_size);
    let mut outcome = if dry_run { removal.foresee() } else { removal.run().0 };
    // A tenant's own policy is reported even where nothing was due.
    for tenant in &cutoffs.tenants {
        outcome.entry(*tenant).or_default();
    }
    outcome
        .into_iter()
        .filter_map(|(tenant, done)| Some((class.name.to_owned(), tenant, cutoffs.of(tenant)?, done.rows, done.more)))
        .collect()
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn apply_retention(
    dry_run: Option<bool>,
    batch_size: Option<i32>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(data_class, String),
            name!(tenant_id, Uuid),
            name!(cutoff, TimestampWithTimeZone),
            name!(affected, i64),
            name!(more, bool),
        ),
    >,
    ErrorReport,
> {
    let dry_run = check::needed("dry_run", dry_run)?;
    let batch_size = check::positive("batch_size", batch_size)?;
    let mut lines = Vec::new();
    for class in &CLASSES {
        pgrx::check_for_interrupts!();
        let mut of_class = apply_to(class, Action::Delete, dry_run, batch_size);
        of_class.extend(apply_to(class, Action::Anonymize, dry_run, batch_size));
        of_class.sort_unstable_by_key(|line| *line.1.as_bytes());
        lines.extend(of_class);
    }
    Ok(TableIterator::new(lines))
}

/// `days` days ago, by the calendar of the session's time zone. Further back than any time that is stored, it is as far back as
/// PostgreSQL's times reach.
fn days_ago(days: Option<i32>) -> Result<TimestampWithTimeZone> {
    const MOST: i32 = 2_000_000;
    let days = check::needed("days", days)?;
    if days < 0 {
        return Err(Error::bad_argument(
            format!("days is {days}"),
            "Give a number of at least 0.",
        ));
    }
    let before = DAYS_AGO.with(|s| s.read(&[days.min(MOST).into()], |row| unwrap(row.first().get_one())));
    check::needed("days", before)
}

#[pg_extern(sql = false)]
fn cleanup_old_nodes(
    user_id: Option<&str>,
    days: Option<i32>,
    tenant: Option<&str>,
) -> std::result::Result<i64, ErrorReport> {
    let subject = context::subject_of_caller(Scope::Write, tenant, user_id, Reach::User)?;
    let before = days_ago(days)?;
    let user = subject.user.unwrap_or_default();
    hold::check(subject.tenant, &user)?;
    context::hold::share(&subject.tenant, &user);
    let Some(class) = class::named(class::NODES) else {
        return Ok(0);
    };
    let removal = Removal {
        class,
        table: class::NODES,
        due: Due::OfUser(Uuid::from_bytes(subject.tenant), user, before),
        action: Action::Delete,
        batch_size: None,
        after: None,
    };
    Ok(total(&removal.run().0))
}

fn total(outcome: &Outcome) -> i64 {
    outcome.values().map(|affected| affected.rows).sum()
}

#[pg_extern(sql = false)]
fn clean_expired(
    batch_size: Option<i32>,
) -> std::result::Result<
    TableIterator<'static, (name!(relation, String), name!(removed, i64), name!(more, bool))>,
    ErrorReport,
> {
    let batch_size = check::positive("batch_size", batch_size)?;
    let moved = archive::run::run_expired(batch_size)?;
    let mut lines = vec![
        ("sessions".to_owned(), moved.sessions, moved.more),
        ("events".to_owned(), moved.events, moved.more),
    ];
    if let Some(class) = class::named(class::NODES) {
        let (nodes, relationships) = removal(class, class::NODES, Due::Expired, Action::Delete, batch_size).run();
        let more = nodes.values().any(|affected| affected.more);
        lines.push((class::NODES.to_owned(), total(&nodes), more));
        lines.push(("relationships".to_owned(), relationships, more));
    }
    Ok(TableIterator::new(lines))
}

/// Never further than the policies go: what they keep stays.
fn within(mut cutoffs: Cutoffs, before: TimestampWithTimeZone) -> Cutoffs {
    for cutoff in &mut cutoffs.cutoffs {
        *cutoff = cutoff.map(|own| own.min(before));
    }
    cutoffs.general = cutoffs.general.map(|general| general.min(before));
    cutoffs
}

#[pg_extern(sql = false)]
fn archive_old_audit_logs(days: Option<i32>) -> std::result::Result<i64, ErrorReport> {
    let before = days_ago(days)?;
    let class = check_class(Some(class::AUDIT_LOG))?;
    let Some(cutoffs) = cutoffs(class, Action::Delete) else {
        return Ok(0);
    };
    let removal = Removal {
        class,
        table: class::AUDIT_LOG,
        due: Due::Before(within(cutoffs, before)),
        action: Action::Delete,
        batch_size: None,
        after: None,
    };
    Ok(total(&removal.run().0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i128 = 24 * 60 * 60 * 1_000_000;

    proptest! {
        #[test]
        fn what_is_kept_is_a_time_before_now_that_postgresql_has(months: i32, days: i32, micros: i64, shift in 0u32..63) {
            // Small ones are rare among all.
            let parts = (months >> (shift / 2), days >> (shift / 2), micros >> shift);
            let Ok(keep) = Interval::new(parts.0, parts.1, parts.2) else {
                return Ok(());
            };
            let length = i128::from(parts.0) * 31 * DAY + i128::from(parts.1) * DAY + i128::from(parts.2);
            // From the year 2000 back to 4713 BC.
            if check_keep(Some(keep)).is_ok() {
                prop_assert!((1..=6700 * 365 * DAY).contains(&length), "{parts:?}");
            } else {
                let is_negative = parts.0 < 0 || parts.1 < 0 || parts.2 < 0;
                prop_assert!(is_negative || length == 0 || length > 1000 * 365 * DAY, "{parts:?}");
            }
        }

        #[test]
        fn a_name_is_a_class_or_an_error_that_names_them(name in prop_oneof!["[a-z_]{0,20}", ".{0,10}", prop::sample::select(
            CLASSES.iter().map(|class| class.name.to_owned()).collect::<Vec<_>>())]) {
            match check_class(Some(&name)) {
                Ok(class) => prop_assert_eq!(class.name, name),
                Err(error) => prop_assert!(error.hint.contains(class::AUDIT_LOG) && class::named(&name).is_none()),
            }
        }
    }
}
