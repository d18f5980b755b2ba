//! The seal key: made of the master key, so that it stands in no table either. Without a master key there is none, and seals say so.

use super::proof::{Key, Keys};
use crate::error::Result;
use crate::trust::master;

/// What the key is for.
const PURPOSE: &str = "memory_ext audit seal 1";

/// The keys that seals are signed with, the newest first. 55000 where a master key is configured and not to be had.
pub fn keys() -> Result<Keys> {
    let derived = master::derived(PURPOSE)?;
    Ok(Keys(derived.iter().map(|key| Key::new(key.to_vec())).collect()))
}
