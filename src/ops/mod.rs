//! Operations: how the extension is, whether it works, and whether its schema is what was installed.

mod health;
mod schema;
mod verify;
