//! The statement that writes the audit log for what counts and has no images: what the extension does in bulk, and TRUNCATE.

use pgrx::pg_sys;

use crate::pg::catalog::Column;
use crate::pg::trigger::Operation;

/// The parameters: who did it, from where, to which table.
pub const TYPES: [pg_sys::Oid; 8] = [
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
];

/// The INSERT for a table with these columns. Names are quoted by whoever read them from the catalog.
pub fn build(columns: &[Column], operation: Operation) -> String {
    let has = |name: &str| columns.iter().any(|c| c.name == name);
    let no_tenant = "'00000000-0000-0000-0000-000000000000'::uuid";
    // A tenant's own row is the tenant's.
    let tenant = if has("tenant_id") {
        format!("coalesce(r.tenant_id, {no_tenant})")
    } else if has("slug") {
        format!("coalesce(r.id, {no_tenant})")
    } else {
        no_tenant.to_owned()
    };
    // Whoever writes a row holds its user against erasure (see context::hold). What is updated or deleted in bulk, an erasure finds by itself,
    // and waits for.
    let count = if operation == Operation::Insert && has("tenant_id") && has("user_id") {
        "count(memory.held_user(r.tenant_id, r.user_id))"
    } else {
        "count(*)"
    };
    let rows = match operation {
        Operation::Insert | Operation::Update => format!("SELECT {tenant}, {count} FROM new_rows r GROUP BY 1"),
        Operation::Delete => format!("SELECT {tenant}, {count} FROM old_rows r GROUP BY 1"),
        Operation::Truncate => format!("SELECT {no_tenant}, 0"),
    };
    let operation = operation.name();
    format!(
        "INSERT INTO memory.audit_log
             (tenant_id, row_count, operation, table_name, changed_at, transaction_id,
              actor_role, login_role, actor_tenant_id, actor_user_id, actor_session_id, actor_service_name,
              application_name, client_address)
         SELECT s.*, '{operation}', $8, (SELECT clock_timestamp()), (SELECT pg_current_xact_id()), $1, $2, $3, $4, $5, $6, $7,
                (SELECT inet_client_addr())
         FROM ({rows}) s"
    )
}
