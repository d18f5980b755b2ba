//! Operations: what keeps the memory in order, how it is, whether it works, and whether its schema is what was installed. Above all other
//! subjects.

mod health;
mod job;
mod maintain;
mod metric;
mod performance;
mod schema;
mod verify;
pub mod worker;
