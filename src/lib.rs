//! memory_ext: memory for AI agents, inside PostgreSQL.

mod config;
mod context;
mod error;
mod pg;
mod tenant;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/install.sql", name = "install", bootstrap);
extension_sql_file!("../sql/tenant.sql", name = "tenant", requires = ["install"]);
extension_sql_file!("../sql/context.sql", name = "context", requires = ["tenant"]);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["context"]);
extension_sql_file!("../sql/close.sql", name = "close", requires = ["audit"], finalize);

/// Runs once per process that loads the library; once in the postmaster with shared_preload_libraries.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    config::define();
    pg::shmem::install(tenant::cache_words);
    pg::xact::install();
    pg::utility::install();
}
