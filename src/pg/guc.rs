//! Settings that need hooks: the security context, and UUIDs.
//!
//! Protocol of the context: the setting `memory.context` is a superuser's to SET (PGC_SUSET), hidden from others, and
//! set for anyone by `set_context`, which the context's functions call after their checks. The check hook refuses what does not
//! parse and, while the context is sealed, any change; the assign hook hands the text on. PostgreSQL undoes it with
//! transactions and savepoints, and copies it to parallel workers. What parses, and who is told, is handed in when the settings are
//! defined.

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

/// What is asked and told of a setting.
#[derive(Clone, Copy)]
pub struct Watch {
    /// Whether it may take a value.
    pub is_acceptable: fn(value: &str) -> bool,
    /// It has taken a value; must not fail.
    pub assigned: fn(value: &str),
}

static CONTEXT_WATCH: OnceLock<Watch> = OnceLock::new();
static IS_UUID: OnceLock<fn(&str) -> bool> = OnceLock::new();
static CONTEXT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
const CONTEXT_NAME: &CStr = c"memory.context";

pub fn define_context(watch: Watch) {
    let _ = CONTEXT_WATCH.set(watch);
    // SAFETY: both hooks are guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            CONTEXT_NAME,
            c"The security context, set by memory.set_security_context().",
            c"",
            &CONTEXT,
            GucContext::Suset,
            GucFlags::SUPERUSER_ONLY
                | GucFlags::NO_SHOW_ALL
                | GucFlags::DISALLOW_IN_FILE
                | GucFlags::DISALLOW_IN_AUTO_FILE,
            Some(check_context),
            Some(assign_context),
            None,
        );
    }
}

/// A setting that is empty or what `is_uuid` says is one; the same for all of them.
pub fn define_uuid_setting(
    name: &'static CStr,
    about: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    is_uuid: fn(&str) -> bool,
) {
    let _ = IS_UUID.set(is_uuid);
    // SAFETY: the hook is guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            about,
            c"",
            setting,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_uuid),
            None,
            None,
        );
    }
}

/// Nobody may make settings of this prefix that the library does not know.
pub fn reserve_prefix(prefix: &CStr) {
    // SAFETY: a NUL-terminated name.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}

/// What the setting of the context says.
pub fn context() -> String {
    let value = CONTEXT.get();
    value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
}

/// A context that holds until this is dropped, then the one before. An error restores it with its (sub)transaction.
pub struct TemporaryContext {
    level: i32,
}

impl TemporaryContext {
    /// The caller has checked that it may.
    pub fn new(value: &str) -> Self {
        // SAFETY: a GUC nest level of our own, closed in drop or by the abort of the (sub)transaction.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        assign(value, pg_sys::GucAction::GUC_ACTION_SAVE);
        Self { level }
    }
}

impl Drop for TemporaryContext {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL closes the level with the (sub)transaction.
        if !std::thread::panicking() {
            // SAFETY: the level opened in new().
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) }
        }
    }
}

/// Settings that anybody may set, until this is dropped. An error restores them with its (sub)transaction.
pub(super) struct Temporary {
    level: i32,
}

impl Temporary {
    pub(super) fn new(settings: &[(&CStr, &str)]) -> Self {
        // SAFETY: a GUC nest level of our own, closed in drop or by the abort of the (sub)transaction; NUL-terminated strings.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            for (name, value) in settings {
                let value = CString::new(*value).expect("no NUL");
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Self { level }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // While an error unwinds, PostgreSQL closes the level with the (sub)transaction.
        if !std::thread::panicking() {
            // SAFETY: the level opened in new().
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) }
        }
    }
}

/// Sets the context for whoever the current role is; the caller has checked that it may.
pub fn set_context(value: &str, is_local: bool) {
    let action = if is_local {
        pg_sys::GucAction::GUC_ACTION_LOCAL
    } else {
        pg_sys::GucAction::GUC_ACTION_SET
    };
    assign(value, action);
}

fn assign(value: &str, action: pg_sys::GucAction::Type) {
    let value = CString::new(value).expect("text from PostgreSQL holds no NUL");
    // SAFETY: NUL-terminated strings; PGC_SUSET is the setting's own context.
    unsafe {
        pg_sys::set_config_option(
            CONTEXT_NAME.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// What somebody else's setting says; None where there is none of that name.
pub fn setting(name: &CStr) -> Option<String> {
    // SAFETY: a NUL-terminated name; the answer is NULL or a string that stays until the setting changes.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// Whether a SET LOCAL would last: inside a transaction block or a function.
pub fn in_transaction_block() -> bool {
    // SAFETY: reads backend-local state.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// # Safety
/// `value` is NULL or NUL-terminated.
unsafe fn text<'a>(value: *const c_char) -> &'a str {
    if value.is_null() {
        return "";
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(value) }.to_str().unwrap_or("\u{fffd}")
}

#[pg_guard]
unsafe extern "C-unwind" fn check_context(
    value: *mut *mut c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the proposed value.
    let value = unsafe { text(*value) };
    CONTEXT_WATCH.get().is_some_and(|watch| (watch.is_acceptable)(value))
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_context(value: *const c_char, _extra: *mut std::ffi::c_void) {
    // SAFETY: PostgreSQL passes the value that check_context accepted.
    let value = unsafe { text(value) };
    if let Some(watch) = CONTEXT_WATCH.get() {
        (watch.assigned)(value);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_uuid(
    value: *mut *mut c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the proposed value.
    let value = unsafe { text(*value) };
    value.is_empty() || IS_UUID.get().is_some_and(|is_uuid| is_uuid(value))
}
