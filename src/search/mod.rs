//! Search: by words, by embeddings, and for a part of a text; filters before ranks.

mod answer;
mod bm25;
mod code;
mod contains;
mod document;
mod embedding;
mod filter;
mod fusion;
pub mod indexing;
mod language;
mod lexical;
mod listed;
mod maintain;
mod near;
mod nearest;
mod query;
pub mod space;
mod terms;
mod text;
mod vector;
mod widen;

use crate::raw_function;
use contains::Needle;

raw_function!(contains_text, pg_finfo_contains_text, |call| {
    // Declared STRICT: no argument is NULL.
    let (Some(text), Some(needle)) = (call.text(0), call.text(1)) else {
        return call.null();
    };
    let pause = || {
        pgrx::check_for_interrupts!();
    };
    call.value(Needle::new(&String::from_utf8_lossy(needle)).is_in(text, pause))
});
