//! The only place with `unsafe`: what PostgreSQL offers in C, each behind a safe type or function that states its
//! protocol. Nothing here knows a subject of the extension: whom PostgreSQL's callbacks reach (`xact`, `guc`, `shmem`) is handed in by
//! `_PG_init`.

pub mod append;
pub mod array;
pub mod autonomous;
pub mod call;
pub mod catalog;
pub mod command;
pub mod drain;
pub mod generation;
pub mod guc;
pub mod image;
pub mod jsonb;
pub mod jsonb_builder;
pub mod jsonb_bytes;
pub mod kept;
pub mod lock;
pub mod process;
pub mod range;
pub mod ring;
pub mod role;
pub mod rows;
pub mod rows_out;
pub mod scan;
pub mod shmem;
pub mod slot;
pub mod spi;
pub mod steps;
pub mod time;
pub mod transition;
pub mod trigger;
pub mod under;
pub mod vector;
pub mod words;
pub mod worker;
pub mod xact;
