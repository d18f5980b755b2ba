//! Legal holds: whose data may not be removed.
//!
//! Protocol: who removes something of a user shares the user's number (one of `STRIPES`, as in context::hold but apart from those) until its
//! transaction ends, then looks for holds, as of that instant; who places a hold has the number alone. So a hold waits for the removals that
//! are under way, and from its COMMIT on nothing that is held is removed.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::context::hold::{STRIPES, stripe};
use crate::context::scope::Scope;
use crate::context::{self, Reach};
use crate::error::{Error, Result, shown};
use crate::pg::catalog::TableName;
use crate::pg::lock::{self, Mode};
use crate::pg::spi::{Statement, unwrap, write_once};
use crate::pg::{role, scan};
use crate::raw_function;
use crate::violation::Violation;

thread_local! {
    static PLACE: Statement = const {
        Statement::new(
            "INSERT INTO memory.legal_holds (tenant_id, user_id, reason, placed_by) VALUES ($1, $2, $3, $4) RETURNING hold_id",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
        )
    };
    static HOLDS: TableName = const {
        TableName::new(c"legal_holds", [c"legal_holds_standing_idx", c"legal_holds_standing_idx"])
    };
}

fn number(tenant: &[u8; 16], user: &str) -> u32 {
    STRIPES + stripe(tenant, user.as_bytes())
}

/// Whether a hold stands at this instant.
pub fn stands(tenant: [u8; 16], user: &str) -> bool {
    const TENANT: i16 = 1;
    const USER: i16 = 2;
    let Some(table) = HOLDS.with(TableName::find) else {
        Error::not_ready(
            "memory.legal_holds is missing: nothing is removed while nobody knows what is held",
            "A superuser renamed or dropped it: put it back under its name. SELECT * FROM memory.schema_drift() says what is missing.",
        )
        .raise()
    };
    let user = [(USER, user)];
    scan::exists_now(table.oid, table.indexes[0], scan::Key::Owned((TENANT, tenant), &user))
}

/// Whether something of the user may be removed in this transaction; for jobs, which wait for nobody: false also while a hold is
/// being placed.
pub fn allows(tenant: [u8; 16], user: &str) -> bool {
    lock::try_number(number(&tenant, user), Mode::Shared) && !stands(tenant, user)
}

/// Refuses to remove what is held, and records that it was tried. The caller has checked tenant and user.
pub fn check(tenant: [u8; 16], user: &str) -> Result<()> {
    lock::number(number(&tenant, user), Mode::Shared);
    if !stands(tenant, user) {
        return Ok(());
    }
    let message = format!("a legal hold stands on user_id {}", shown(user));
    context::record_violation_about(Violation::HeldDeletion, "a legal hold stands", tenant, user);
    Err(Error::not_ready(
        message,
        "Nothing was removed. An operator sees the holds with memory.list_legal_holds() and ends one with memory.lift_legal_hold().",
    ))
}

/// Refuses to remove a table of users' rows in which somebody's are held, and records that it was tried. No hold is placed until the
/// transaction ends. For who sees all tenants.
pub fn check_all(table: &str) -> Result<()> {
    for stripe in 0..STRIPES {
        lock::number(STRIPES + stripe, Mode::Shared);
    }
    let sql = format!(
        "SELECT h.tenant_id, h.user_id FROM memory.legal_holds h
         WHERE h.lifted_at IS NULL
             AND EXISTS (SELECT FROM {table} t WHERE t.tenant_id = h.tenant_id AND t.user_id = h.user_id)
         ORDER BY h.placed_at LIMIT 1"
    );
    let held = write_once(&sql, &[], |rows| {
        rows.filter_map(|row| Some((unwrap(row.get::<Uuid>(1))?, unwrap(row.get::<String>(2))?)))
            .next()
    });
    held.map_or(Ok(()), |(tenant, user)| check(*tenant.as_bytes(), &user))
}

/// Runs as its owner; where there is a context, it binds.
#[pg_extern(sql = false)]
fn place_legal_hold(
    user_id: Option<&str>,
    reason: Option<&str>,
    tenant: Option<&str>,
) -> std::result::Result<Option<Uuid>, ErrorReport> {
    let subject = context::subject_to(Scope::Admin, tenant, user_id, Reach::User)?;
    let user = subject.user.unwrap_or_default();
    let reason = check::text("reason", reason)?;
    lock::number(number(&subject.tenant, &user), Mode::Alone);
    let placed_by = role::outer_name();
    let row = [
        Uuid::from_bytes(subject.tenant).into(),
        user.into(),
        reason.into(),
        placed_by.into(),
    ];
    Ok(PLACE.with(|s| s.write(&row, |rows| unwrap(rows.first().get_one()))))
}

#[pg_extern(sql = false)]
fn check_hold(tenant_id: Option<Uuid>, user_id: Option<&str>) -> std::result::Result<(), ErrorReport> {
    let tenant = *check::needed("tenant_id", tenant_id)?.as_bytes();
    let user = check::needed("user_id", user_id)?;
    require_covered(&tenant, user)?;
    Ok(self::check(tenant, user)?)
}

#[pg_extern(sql = false)]
fn may_remove(tenant_id: Option<Uuid>, user_id: Option<&str>) -> std::result::Result<bool, ErrorReport> {
    let tenant = *check::needed("tenant_id", tenant_id)?.as_bytes();
    let user = check::needed("user_id", user_id)?;
    require_covered(&tenant, user)?;
    Ok(allows(tenant, user))
}

fn require_covered(tenant: &[u8; 16], user: &str) -> Result<()> {
    let covered = context::current()
        .is_some_and(|context| context.tenant == *tenant && context.user.as_deref().is_none_or(|own| own == user));
    if covered || role::is_superuser() {
        return Ok(());
    }
    Err(Error::not_allowed(
        format!("the security context does not cover user_id {}", shown(user)),
        "Ask of users that the context covers.",
    ))
}

raw_function!(removable_user, pg_finfo_removable_user, |call| {
    if let (Some(tenant), Some(user)) = (call.uuid_argument(0), call.str(1)) {
        context::hold::share(&tenant, user);
        if let Err(error) = self::check(tenant, user) {
            error.raise();
        }
    }
    call.same(1)
});
