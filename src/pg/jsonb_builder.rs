//! Building a jsonb object from values of others, without going through text: numbers keep their digits, nesting has
//! PostgreSQL's own bounds.

use std::marker::PhantomData;

use pgrx::pg_sys;
use pgrx::pg_sys::JsonbIteratorToken::*;

use super::jsonb::{Jsonb, Raw};

/// An object in the making. What is put in is borrowed until `finish`; of two fields with one name the later wins.
pub struct Builder<'a> {
    state: *mut pg_sys::JsonbParseState,
    /// The whole, once its outermost object has ended.
    whole: *mut pg_sys::JsonbValue,
    call: PhantomData<&'a ()>,
}

impl<'a> Builder<'a> {
    /// Before the outermost object: `begin` comes next.
    pub fn new() -> Self {
        Self {
            state: std::ptr::null_mut(),
            whole: std::ptr::null_mut(),
            call: PhantomData,
        }
    }

    /// Begins an object: the outermost one, or the value of the key before. Raises 54001 where the stack is too small for
    /// as many inside each other.
    pub fn begin(&mut self) {
        // SAFETY: raises or returns.
        unsafe { pg_sys::check_stack_depth() }
        self.push(WJB_BEGIN_OBJECT, None);
    }

    pub fn end(&mut self) {
        self.whole = self.push(WJB_END_OBJECT, None);
    }

    pub fn key(&mut self, key: &'a str) {
        let mut key = string(key);
        self.push(WJB_KEY, Some(&mut key));
    }

    pub fn raw(&mut self, value: Raw<'a>) {
        let mut value = value.value;
        self.push(WJB_VALUE, Some(&mut value));
    }

    pub fn text(&mut self, value: &'a str) {
        let mut value = string(value);
        self.push(WJB_VALUE, Some(&mut value));
    }

    pub fn number(&mut self, number: i64) {
        let mut value = empty();
        value.type_ = pg_sys::jbvType::jbvNumeric;
        // SAFETY: the numeric is palloc'd.
        value.val.numeric = unsafe { pg_sys::int64_to_numeric(number) };
        self.push(WJB_VALUE, Some(&mut value));
    }

    /// The jsonb, in the current memory context.
    pub fn finish(self) -> Jsonb<'a> {
        assert!(!self.whole.is_null(), "begin() and end() come first");
        // SAFETY: the value of the outermost WJB_END_OBJECT is the whole; the result is a fresh varlena.
        unsafe { Jsonb::new(pg_sys::JsonbValueToJsonb(self.whole).cast()) }
    }

    fn push(
        &mut self,
        token: pg_sys::JsonbIteratorToken::Type,
        value: Option<&mut pg_sys::JsonbValue>,
    ) -> *mut pg_sys::JsonbValue {
        let value = value.map_or(std::ptr::null_mut(), |value| value as *mut _);
        // SAFETY: tokens come in the order that begin, key, value, end give; the value is copied, what it points to is
        // borrowed for 'a.
        unsafe { pg_sys::pushJsonbValue(&mut self.state, token, value) }
    }
}

fn empty() -> pg_sys::JsonbValue {
    // SAFETY: all zero is jbvNull.
    unsafe { std::mem::zeroed() }
}

fn string(text: &str) -> pg_sys::JsonbValue {
    let mut value = empty();
    value.type_ = pg_sys::jbvType::jbvString;
    value.val.string.len = text.len() as i32;
    value.val.string.val = text.as_ptr().cast_mut().cast();
    value
}
