//! Profiles: what a role may do, granted and revoked; and what makes a table one of the extension's.

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::check;
use crate::error::{Error, Result, shown};
use crate::pg::catalog::{self, TableName};
use crate::pg::spi::{self, Statement};
use crate::pg::{role, scan};
use crate::tenant;

const PROFILES: [&str; 4] = ["app", "service", "auditor", "operator"];

thread_local! {
    static GRANTS: TableName = const { TableName::new(c"access_grants", [c"access_grants_pkey", c"access_grants_pkey"]) };
    static PRIVILEGES: Statement = const {
        Statement::new(
            // The embedding spaces, made at run time, are open to whom their common shape is.
            "SELECT p.privileges, coalesce('TABLE memory.' || quote_ident(s.relation), p.object)
             FROM memory.profile_privileges p
             LEFT JOIN (SELECT relation FROM memory.embedding_spaces UNION ALL SELECT NULL) s
                 ON p.object = 'TABLE memory.embeddings'
             WHERE p.profile = $1 OR p.profile = 'app' AND $1 = 'service' ORDER BY 2",
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

/// The current role's grants of a profile, by itself or by membership: for each the tenants it names, None for all.
fn grants_of(profile: &str) -> Vec<Option<Vec<Uuid>>> {
    const GRANTEE: usize = 2;
    const PROFILE: usize = 3;
    const TENANTS: usize = 4;
    let mut found = Vec::new();
    if let Some(grants) = GRANTS.with(TableName::find) {
        scan::each(grants.oid, pg_sys::InvalidOid, scan::Key::All, |row| {
            if row.get::<&str>(PROFILE) == Some(profile)
                && row
                    .get::<pg_sys::Oid>(GRANTEE)
                    .is_some_and(role::current_has_privileges_of)
            {
                found.push(row.get::<Vec<Uuid>>(TENANTS));
            }
            true
        });
    }
    found
}

/// Whether the current role may act for the tenant as a service.
pub fn may_serve(tenant: &[u8; 16]) -> bool {
    role::is_superuser()
        || grants_of("service").iter().any(|tenants| {
            tenants
                .as_ref()
                .is_none_or(|t| t.iter().any(|t| t.as_bytes() == tenant))
        })
}

/// The tenants that the current role audits; those of no tenant (all zero) where it audits all.
pub fn audited_tenants() -> Vec<Uuid> {
    let mut tenants = Vec::new();
    for grant in grants_of("auditor") {
        match grant {
            Some(some) => tenants.extend(some),
            None => {
                tenants = tenant::all();
                tenants.push(Uuid::from_bytes([0; 16]));
                break;
            }
        }
    }
    tenants
}

#[pg_extern(sql = false)]
fn grant_access(
    grantee: Option<pg_sys::Oid>,
    profile: Option<&str>,
    tenants: Option<Array<'_, &str>>,
) -> std::result::Result<(), ErrorReport> {
    let grantee = check::needed("grantee", grantee)?;
    let profile = check::needed("profile", profile)?;
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
    let grantee = check::needed("grantee", grantee)?;
    let role = catalog::role_name(grantee)?;
    FORGET.with(|s| s.write(&[grantee.into()], |_| ()));
    for objects in ["ALL TABLES", "ALL SEQUENCES", "ALL FUNCTIONS", "ALL PROCEDURES"] {
        spi::run(&format!("REVOKE ALL ON {objects} IN SCHEMA memory FROM {role}"));
    }
    spi::run(&format!("REVOKE ALL ON SCHEMA memory FROM {role}"));
    Ok(())
}

/// Whose rows a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The context's user's, or all of the tenant's for a service.
    OfUsers,
    /// The tenant's, for a service only.
    OfServices,
    /// Everybody's: no row-level security.
    Shared,
}

/// Gives a table, which is named with its schema, its policy, and takes the statistics from columns.
pub fn secure(table: &str, rows: Rows, free_text: &[&str]) {
    let condition = match rows {
        Rows::OfUsers => Some(
            "tenant_id = memory.current_tenant_id() \
             AND user_id BETWEEN memory.context_user_low() AND memory.context_user_high()",
        ),
        Rows::OfServices => Some("tenant_id = memory.service_tenant_id()"),
        Rows::Shared => None,
    };
    if let Some(condition) = condition {
        spi::run(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY context ON {table} USING ({condition}) WITH CHECK ({condition});
             COMMENT ON POLICY context ON {table} IS 'Rows that the security context covers.'"
        ));
    }
    for column in free_text {
        let column = pgrx::spi::quote_identifier(column);
        spi::run(&format!("ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0"));
    }
}

/// Has the audit see what is written to a table, and who writes wait while the user is erased.
pub fn watch(table: &str, rows: Rows) {
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
    if rows == Rows::OfUsers {
        spi::run(&format!(
            "CREATE TRIGGER hold BEFORE INSERT OR UPDATE OR DELETE ON {table}
                 FOR EACH STATEMENT EXECUTE FUNCTION memory.hold_own();
             COMMENT ON TRIGGER hold ON {table} IS 'Waits while the user is erased.'"
        ));
    }
}

/// Has what backends keep in memory of the rows of `of` (`pg::kept`) hear of every change of a table, replicated ones too.
pub fn keep(table: &str, of: &str) {
    let of = pgrx::spi::quote_literal(of);
    for (name, event, tables) in [
        ("kept_before", "BEFORE INSERT OR UPDATE OR DELETE", ""),
        ("kept_insert", "AFTER INSERT", "REFERENCING NEW TABLE AS new_rows"),
        (
            "kept_update",
            "AFTER UPDATE",
            "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        ),
        ("kept_delete", "AFTER DELETE", "REFERENCING OLD TABLE AS old_rows"),
        ("kept_truncate", "AFTER TRUNCATE", ""),
    ] {
        spi::run(&format!(
            "CREATE TRIGGER {name} {event} ON {table} {tables}
                 FOR EACH STATEMENT EXECUTE FUNCTION memory.kept_changed({of});
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};
             COMMENT ON TRIGGER {name} ON {table} IS 'Keeps fresh what is kept in memory.'"
        ));
    }
}

#[pg_extern(sql = false)]
fn declare_kept(relation: pg_sys::Oid) -> std::result::Result<(), ErrorReport> {
    let table = catalog::qualified_name(relation)?;
    keep(&table, table.trim_start_matches("memory."));
    Ok(())
}

/// See sql/install.sql.
#[pg_extern(sql = false)]
fn declare_table(
    relation: pg_sys::Oid,
    reach: &str,
    free_text: Array<'_, &str>,
    filter: &str,
    audited: bool,
) -> std::result::Result<(), ErrorReport> {
    let table = catalog::qualified_name(relation)?;
    let rows = match reach {
        "user" => Rows::OfUsers,
        "service" => Rows::OfServices,
        "shared" => Rows::Shared,
        _ => {
            return Err(
                Error::bad_argument(format!("reach {} is none", shown(reach)), "user, service or shared").into(),
            );
        }
    };
    let free_text: Vec<&str> = free_text.iter().flatten().collect();
    secure(&table, rows, &free_text);
    if audited {
        watch(&table, rows);
    }
    let (table, filter) = (pgrx::spi::quote_literal(&table), pgrx::spi::quote_literal(filter));
    spi::run(&format!("SELECT pg_extension_config_dump({table}::regclass, {filter})"));
    Ok(())
}

#[pg_extern(sql = false)]
fn uuid_v7() -> Uuid {
    Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes())
}
