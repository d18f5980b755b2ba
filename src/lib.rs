//! memory_ext: memory for AI agents, inside PostgreSQL.

mod access;
mod archive;
mod audit;
mod batch;
mod check;
mod config;
mod context;
mod error;
mod graph;
mod hold;
mod iso8601;
mod ops;
mod pg;
mod privacy;
mod retention;
mod search;
mod session;
mod tenant;
mod trust;
mod violation;
mod vocabulary;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/install.sql", name = "install", bootstrap);
extension_sql_file!("../sql/tenant.sql", name = "tenant", requires = ["install"]);
extension_sql_file!("../sql/check.sql", name = "check", requires = ["tenant"]);
extension_sql_file!("../sql/context.sql", name = "context", requires = ["check"]);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["context"]);
extension_sql_file!("../sql/violation.sql", name = "violation", requires = ["audit"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["violation"]);
extension_sql_file!("../sql/vocabulary.sql", name = "vocabulary", requires = ["access"]);
extension_sql_file!(
    "../sql/trust_token.sql",
    name = "trust_token",
    requires = ["vocabulary"]
);
extension_sql_file!("../sql/hold.sql", name = "hold", requires = ["trust_token"]);
extension_sql_file!("../sql/trust_key.sql", name = "trust_key", requires = ["hold"]);
extension_sql_file!("../sql/session.sql", name = "session", requires = ["trust_key"]);
extension_sql_file!("../sql/archive.sql", name = "archive", requires = ["session"]);
extension_sql_file!("../sql/graph.sql", name = "graph", requires = ["archive"]);
extension_sql_file!("../sql/graph_node.sql", name = "graph_node", requires = ["graph"]);
extension_sql_file!(
    "../sql/graph_change.sql",
    name = "graph_change",
    requires = ["graph_node"]
);
extension_sql_file!(
    "../sql/graph_relationship.sql",
    name = "graph_relationship",
    requires = ["graph_change"]
);
extension_sql_file!(
    "../sql/graph_user.sql",
    name = "graph_user",
    requires = ["graph_relationship"]
);
extension_sql_file!(
    "../sql/graph_question.sql",
    name = "graph_question",
    requires = ["graph_user"]
);
extension_sql_file!(
    "../sql/search_document.sql",
    name = "search_document",
    requires = ["graph_question"]
);
extension_sql_file!(
    "../sql/embedding.sql",
    name = "embedding",
    requires = ["search_document"]
);
extension_sql_file!("../sql/search.sql", name = "search", requires = ["embedding"]);
extension_sql_file!("../sql/privacy.sql", name = "privacy", requires = ["search"]);
extension_sql_file!("../sql/retention.sql", name = "retention", requires = ["privacy"]);
extension_sql_file!("../sql/audit_seal.sql", name = "audit_seal", requires = ["retention"]);
extension_sql_file!("../sql/history.sql", name = "history", requires = ["audit_seal"]);
extension_sql_file!(
    "../sql/privacy_request.sql",
    name = "privacy_request",
    requires = ["history"]
);
extension_sql_file!("../sql/anomaly.sql", name = "anomaly", requires = ["privacy_request"]);
extension_sql_file!("../sql/ops_job.sql", name = "ops_job", requires = ["anomaly"]);
extension_sql_file!("../sql/ops_metric.sql", name = "ops_metric", requires = ["ops_job"]);
extension_sql_file!(
    "../sql/ops_performance.sql",
    name = "ops_performance",
    requires = ["ops_metric"]
);
extension_sql_file!(
    "../sql/ops_schema.sql",
    name = "ops_schema",
    requires = ["ops_performance"]
);
extension_sql_file!("../sql/ops_health.sql", name = "ops_health", requires = ["ops_schema"]);
extension_sql_file!("../sql/close.sql", name = "close", requires = ["ops_health"], finalize);

/// Runs once per process that loads the library; once in the postmaster with shared_preload_libraries.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    config::define(context::WATCH, tenant::identifier::is_uuid);
    pg::shmem::install(&[
        &tenant::CACHE_MEMORY,
        &pg::generation::MEMORY,
        &violation::MEMORY,
        &access::MEMORY,
        &ops::worker::MEMORY,
    ]);
    ops::worker::register();
    pg::xact::install(&[
        pg::generation::LISTENER,
        context::LISTENER,
        pg::drain::LISTENER,
        trust::user_key::LISTENER,
    ]);
}
