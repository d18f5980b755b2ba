//! The performance log, what a tenant has, and the materialised statistics.

use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::job::Batch;
use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach};
use crate::error::{Error, Result, shown};
use crate::pg::spi::{self, Statement, read_once, unwrap};
use crate::tenant;

thread_local! {
    static LOG: Statement = const {
        Statement::new(
            "INSERT INTO memory.performance_metrics (tenant_id, category, name, value, unit) VALUES ($1, $2, $3, $4, $5)",
            &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::FLOAT8OID, pg_sys::TEXTOID],
        )
    };
    /// The tables with rows of tenants, and not those that inherit from another, which reading that one reads.
    static TABLES: Statement = const {
        Statement::new(
            "SELECT c.relname::text, c.oid::regclass::text FROM pg_class AS c
             WHERE c.relnamespace = 'memory'::regnamespace AND c.relkind = 'r'
                 AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
                 AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
             ORDER BY 1",
            &[],
        )
    };
    static CHANGES: Statement = const {
        Statement::new(
            "SELECT sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid))::bigint
             FROM pg_class AS c WHERE c.relnamespace = 'memory'::regnamespace
                 AND c.relname IN ('tenants', 'sessions', 'agent_sessions_archive', 'nodes', 'relationships')",
            &[],
        )
    };
}

/// A word of the service's own: short, since it stands in every row.
fn word<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    const MOST: usize = 200;
    let word = check::text(argument, value)?;
    if word.len() > MOST {
        return Err(Error::bad_argument(
            format!("{argument} {} has {} bytes", shown(word), word.len()),
            format!("Give a text of at most {MOST} bytes."),
        ));
    }
    Ok(word)
}

#[pg_extern(sql = false)]
fn log_performance_metric(
    tenant: Option<&str>,
    category: Option<&str>,
    name: Option<&str>,
    value: Option<f64>,
    unit: Option<&str>,
) -> std::result::Result<(), ErrorReport> {
    let subject = context::subject_to(Scope::Archive, tenant, None, Reach::Tenant)?;
    context::require_service()?;
    let (category, name) = (word("category", category)?, word("name", name)?);
    let (value, unit) = (check::needed("value", value)?, word("unit", unit)?);
    if !value.is_finite() {
        return Err(Error::bad_argument(format!("value is {value}"), "Give a finite number.").into());
    }
    let tenant = Uuid::from_bytes(subject.tenant);
    LOG.with(|log| {
        log.write(
            &[tenant.into(), category.into(), name.into(), value.into(), unit.into()],
            |_| (),
        )
    });
    Ok(())
}

#[pg_extern(sql = false)]
fn get_tenant_memory_usage(
    tenant: Option<&str>,
) -> std::result::Result<
    TableIterator<'static, (name!(relation, String), name!(rows, i64), name!(bytes, i64))>,
    ErrorReport,
> {
    let tenant = Uuid::from_bytes(tenant::require(check::text("tenant", tenant)?)?);
    let tables: Vec<(String, String)> = TABLES.with(|tables| {
        tables.read(&[], |rows| {
            rows.filter_map(|row| Some((unwrap(row.get(1))?, unwrap(row.get(2))?)))
                .collect()
        })
    });
    let of = |(relation, quoted): (String, String)| {
        let sql = format!(
            "SELECT count(*), coalesce(sum(pg_column_size(t)), 0)::bigint FROM {quoted} AS t WHERE t.tenant_id = $1"
        );
        read_once(&sql, &[tenant.into()], |rows| {
            let rows = rows.first();
            (
                relation,
                unwrap(rows.get(1)).unwrap_or_default(),
                unwrap(rows.get(2)).unwrap_or_default(),
            )
        })
    };
    Ok(TableIterator::new(tables.into_iter().map(of).collect::<Vec<_>>()))
}

fn refresh() {
    spi::run("REFRESH MATERIALIZED VIEW CONCURRENTLY memory.user_stats");
}

#[pg_extern(sql = false)]
fn refresh_analytics_views() {
    refresh();
}

/// How often what the statistics are made of was written to, as PostgreSQL counts.
fn changes() -> u64 {
    CHANGES.with(|changes| {
        changes
            .read(&[], |rows| unwrap(rows.first().get_one::<i64>()))
            .unwrap_or_default()
    }) as u64
}

/// Whether anything was written since the last refresh that `noted` knows of.
pub fn is_stale(noted: Option<&AtomicU64>) -> bool {
    noted.is_none_or(|noted| noted.load(Ordering::SeqCst) != changes() + 1)
}

/// Refreshes, and notes as of what.
pub fn refresh_noting(noted: Option<&AtomicU64>) -> Batch {
    let changes = changes() + 1;
    refresh();
    if let Some(noted) = noted {
        noted.store(changes, Ordering::SeqCst);
    }
    Batch { rows: 1, more: false }
}
