//! COMMIT PREPARED runs in a backend that knows nothing of what the prepared transaction changed, and PostgreSQL calls no
//! transaction callback for it: a ProcessUtility hook tells the tenant cache, before and after.
//!
//! Protocol: installed only with shared_preload_libraries; a backend's own cache hears of COMMIT PREPARED through the
//! relation-cache invalidation that the prepared transaction carries.

use std::ffi::c_char;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::{pg, tenant};

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

pub fn install() {
    if !pg::shmem::preloading() {
        return;
    }
    // SAFETY: _PG_init of the postmaster is the documented place to chain hooks; it runs once.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a valid statement; the arguments go on unchanged.
    unsafe {
        let ending = is_commit_prepared((*statement).utilityStmt);
        let changed = if ending { tenant::before_commit_prepared() } else { None };
        match PREVIOUS {
            Some(next) => pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                next(
                    statement,
                    query,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    destination,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                query,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
        if let Some(changed) = changed {
            tenant::after_commit_prepared(changed);
        }
    }
}

/// # Safety
/// `node` is a parse node, or NULL.
unsafe fn is_commit_prepared(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag says which struct the node is.
    unsafe {
        !node.is_null()
            && (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*node.cast::<pg_sys::TransactionStmt>()).kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
    }
}

/// Whether a transaction other than this one, prepared ones included, has written to the relation and not ended.
pub fn has_other_writers(database: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    let mut tag = pg_sys::LOCKTAG {
        locktag_field1: u32::from(database),
        locktag_field2: u32::from(relation),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    let mut count = 0;
    // SAFETY: a valid tag and mode; the answer is palloc'd in the current context and goes with it. ShareLock conflicts
    // with what every writer of a table holds until its transaction ends, ROW EXCLUSIVE and stronger.
    unsafe { pg_sys::GetLockConflicts(&mut tag, pg_sys::ShareLock as i32, &mut count) };
    count > 0
}
