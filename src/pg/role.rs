//! Who the roles are: the session's, the one set by SET ROLE, the current one.

use pgrx::pg_sys;

use super::catalog;

/// The role whose privileges hold now; inside a SECURITY DEFINER function its owner.
pub fn current() -> pg_sys::Oid {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: a cached catalog lookup.
    unsafe { pg_sys::superuser() }
}

/// Whether the role that logged in is a superuser, whatever SET ROLE says.
pub fn session_is_superuser() -> bool {
    // SAFETY: a cached catalog lookup.
    unsafe { pg_sys::superuser_arg(pg_sys::GetSessionUserId()) }
}

/// Whether the role that SET ROLE names, else the one that logged in, is a superuser; a SECURITY DEFINER function does not
/// change it.
pub fn outer_is_superuser() -> bool {
    // SAFETY: a cached catalog lookup.
    unsafe { pg_sys::superuser_arg(pg_sys::GetOuterUserId()) }
}

/// The name of the role that SET ROLE names, else of the one that logged in; a SECURITY DEFINER function does not change it.
pub fn outer_name() -> String {
    // SAFETY: reads backend-local state.
    name(unsafe { pg_sys::GetOuterUserId() })
}

/// The name of the role that logged in.
pub fn session_name() -> String {
    // SAFETY: reads backend-local state.
    name(unsafe { pg_sys::GetSessionUserId() })
}

/// Whether this is the role that logged in.
pub fn logged_in_as(name: &str) -> bool {
    // SAFETY: a catalog lookup; the answer is palloc'd or NULL.
    unsafe {
        let own = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
        !own.is_null() && std::ffi::CStr::from_ptr(own).to_bytes() == name.as_bytes()
    }
}

fn name(role: pg_sys::Oid) -> String {
    catalog::role_name(role).unwrap_or_else(|_| u32::from(role).to_string())
}

/// Whether the current role has the privileges of `role`, by membership or by being it.
pub fn current_has_privileges_of(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup; a role that is gone has no members.
    unsafe { pg_sys::has_privs_of_role(current(), role) }
}

/// A restore: the session belongs to a superuser and row_security is off, as every script of pg_dump sets it.
pub fn is_restoring() -> bool {
    // SAFETY: a backend-local global.
    !unsafe { pg_sys::row_security } && session_is_superuser()
}
