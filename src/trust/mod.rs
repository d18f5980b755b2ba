//! Trust: keys and what they protect.

mod cipher;
pub mod field;
mod jwt;
pub mod master;
mod payload;
mod ring;
mod rotation;
mod signer;
mod token;
pub mod user_key;

use crate::context;
use crate::error::{Error, Situation};
use crate::violation::Violation;

/// Records what fails its check; another error is none of it.
fn tampered(error: &Error, what: &str, tenant: [u8; 16], user: &str) {
    if error.situation == Situation::Corrupt {
        context::record_violation_about(Violation::Tampering, what, tenant, user);
    }
}
