//! Trust: keys and what they protect.

#[allow(dead_code)]
mod cipher;
mod jwt;
#[allow(dead_code)]
pub mod master;
#[allow(dead_code)]
mod ring;
mod token;
