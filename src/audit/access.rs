//! Which tenants a role audits.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::context;

#[pg_extern(sql = false)]
fn audited_tenants() -> Vec<Uuid> {
    context::access::audited_tenants()
}
