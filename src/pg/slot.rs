//! A value of this backend that functions hand to PostgreSQL by address.
//!
//! Protocol: `set` replaces the value but keeps the old one, because a running plan may still point to it; `collect`, called
//! when a transaction has ended and no statement runs on, frees what was replaced.

use std::cell::{Cell, RefCell};

/// One per `thread_local!`.
pub struct Slot<T: 'static> {
    current: Cell<Option<*mut T>>,
    replaced: RefCell<Vec<*mut T>>,
}

impl<T> Slot<T> {
    pub const fn new() -> Self {
        Self {
            current: Cell::new(None),
            replaced: RefCell::new(Vec::new()),
        }
    }

    /// The value; valid until the statement and its transaction have ended.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: the pointer comes from Box::into_raw and is freed only by collect(), after the transaction.
        self.current.get().map(|value| unsafe { &*value })
    }

    pub fn set(&self, value: Option<T>) {
        let value = value.map(|value| Box::into_raw(Box::new(value)));
        if let Some(old) = self.current.replace(value) {
            self.replaced.borrow_mut().push(old);
        }
    }

    /// Frees what was replaced; only where no transaction runs.
    pub fn collect(&self) {
        for old in self.replaced.borrow_mut().drain(..) {
            // SAFETY: from Box::into_raw in set(), removed from the list, so freed once.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}
