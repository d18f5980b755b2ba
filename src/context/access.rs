//! Profiles: what a role may do, granted and revoked; and what makes a table one of the extension's.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result, shown};
use crate::pg::catalog;
use crate::pg::spi::{self, Statement};
use crate::tenant;

const PROFILES: [&str; 4] = ["app", "service", "auditor", "operator"];

thread_local! {
    static PRIVILEGES: Statement = const {
        Statement::new(
            "SELECT privileges, object FROM memory.profile_privileges
             WHERE profile = $1 OR profile = 'app' AND $1 = 'service' ORDER BY object",
            &[pg_sys::TEXTOID],
        )
    };
    static REMEMBER: Statement = const {
        Statement::new(
            "INSERT INTO memory.access_grants (grantee, profile, tenants) VALUES ($1::oid::regrole, $2, $3)
             ON CONFLICT (grantee, profile) DO UPDATE SET tenants = excluded.tenants, granted_at = now()",
            &[pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::UUIDARRAYOID],
        )
    };
    static FORGET: Statement = const {
        Statement::new("DELETE FROM memory.access_grants WHERE grantee = $1::oid::regrole", &[pg_sys::OIDOID])
    };
}

#[pg_extern(sql = false)]
fn grant_access(
    grantee: Option<pg_sys::Oid>,
    profile: Option<&str>,
    tenants: Option<Array<'_, &str>>,
) -> std::result::Result<(), ErrorReport> {
    let grantee = needed("grantee", grantee)?;
    let profile = needed("profile", profile)?;
    let role = catalog::role_name(grantee)?;
    if !PROFILES.contains(&profile) {
        return Err(Error::bad_argument(
            format!("profile {} is none", shown(profile)),
            "Profiles are app, service, auditor and operator.",
        )
        .into());
    }
    let tenants = tenants
        .map(|tenants| {
            let id = |tenant: Option<&str>| Ok(Uuid::from_bytes(tenant::require(tenant.unwrap_or_default())?));
            tenants.iter().map(id).collect::<Result<Vec<_>>>()
        })
        .transpose()?;
    REMEMBER.with(|s| s.write(&[grantee.into(), profile.into(), tenants.into()], |_| ()));
    let privileges: Vec<(String, String)> = PRIVILEGES.with(|s| {
        s.read(&[profile.into()], |rows| {
            rows.map(|row| {
                let text = |i| spi::unwrap(row.get::<String>(i)).unwrap_or_default();
                (text(1), text(2))
            })
            .collect()
        })
    });
    spi::run(&format!("GRANT USAGE ON SCHEMA memory TO {role}"));
    for (privileges, object) in privileges {
        spi::run(&format!("GRANT {privileges} ON {object} TO {role}"));
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn revoke_access(grantee: Option<pg_sys::Oid>) -> std::result::Result<(), ErrorReport> {
    let grantee = needed("grantee", grantee)?;
    let role = catalog::role_name(grantee)?;
    FORGET.with(|s| s.write(&[grantee.into()], |_| ()));
    for objects in ["ALL TABLES", "ALL SEQUENCES", "ALL FUNCTIONS", "ALL PROCEDURES"] {
        spi::run(&format!("REVOKE ALL ON {objects} IN SCHEMA memory FROM {role}"));
    }
    spi::run(&format!("REVOKE ALL ON SCHEMA memory FROM {role}"));
    Ok(())
}

fn needed<T>(name: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::missing(format!("{name} is NULL"), format!("Name it: {name} => '…'.")))
}

/// See sql/install.sql.
#[pg_extern(sql = false)]
fn declare_table(
    relation: pg_sys::Oid,
    reach: &str,
    free_text: Array<'_, &str>,
    filter: &str,
) -> std::result::Result<(), ErrorReport> {
    let table = catalog::qualified_name(relation)?;
    let condition = match reach {
        "user" => Some(
            "tenant_id = memory.current_tenant_id() \
             AND user_id BETWEEN memory.context_user_low() AND memory.context_user_high()",
        ),
        "service" => Some("tenant_id = memory.service_tenant_id()"),
        "shared" => None,
        _ => {
            return Err(
                Error::bad_argument(format!("reach {} is none", shown(reach)), "user, service or shared").into(),
            );
        }
    };
    if let Some(condition) = condition {
        spi::run(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY context ON {table} USING ({condition}) WITH CHECK ({condition});
             COMMENT ON POLICY context ON {table} IS 'Rows that the security context covers.'"
        ));
    }
    for column in free_text.iter().flatten() {
        let column = pgrx::spi::quote_identifier(column);
        spi::run(&format!("ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0"));
    }
    for (event, tables) in [
        ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
        ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
        ("TRUNCATE", ""),
    ] {
        let name = format!("audit_{}", event.to_lowercase());
        spi::run(&format!(
            "CREATE TRIGGER {name} AFTER {event} ON {table} {tables}
                 FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_change();
             COMMENT ON TRIGGER {name} ON {table} IS 'Writes memory.audit_log.'"
        ));
    }
    let (table, filter) = (pgrx::spi::quote_literal(&table), pgrx::spi::quote_literal(filter));
    spi::run(&format!("SELECT pg_extension_config_dump({table}::regclass, {filter})"));
    Ok(())
}

#[pg_extern(sql = false)]
fn uuid_v7() -> Uuid {
    Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes())
}
