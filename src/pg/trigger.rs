//! What a trigger function gets: its table, the operation, the row.

use pgrx::pg_sys;

use super::call::Call;
use crate::error::Error;

/// The trigger data of a running trigger function.
pub struct Trigger(*mut pg_sys::TriggerData);

impl Trigger {
    /// Raises 22023 where the function was not called as a trigger.
    pub fn of(call: Call) -> Self {
        let data = call.context().cast::<pg_sys::TriggerData>();
        // SAFETY: the node's tag says whether it is trigger data.
        let is_trigger = !data.is_null() && unsafe { (*data).type_ == pg_sys::NodeTag::T_TriggerData };
        if !is_trigger {
            Error::bad_argument(
                "a trigger function was called as a plain function",
                "PostgreSQL calls it; there is nothing to call it for.",
            )
            .raise();
        }
        Self(data)
    }

    /// The table's OID.
    pub fn relation(&self) -> pg_sys::Oid {
        // SAFETY: PostgreSQL keeps the relation open while the trigger runs.
        unsafe { (*(*self.0).tg_relation).rd_id }
    }

    /// The answer of a row trigger that leaves the row as it is; statement triggers answer anything.
    pub fn keep_row(&self) -> pg_sys::Datum {
        // SAFETY: for a row trigger these are valid tuples; for a statement trigger NULL, which is what it returns.
        unsafe {
            let event = (*self.0).tg_event;
            let is_update = event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE;
            let row = if is_update {
                (*self.0).tg_newtuple
            } else {
                (*self.0).tg_trigtuple
            };
            pg_sys::Datum::from(row)
        }
    }

    pub fn data(&self) -> *mut pg_sys::TriggerData {
        self.0
    }
}
