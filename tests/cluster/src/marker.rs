//! Texts that are found wherever they stand.

use std::sync::atomic::{AtomicU32, Ordering};

/// Random strings, each made once and never again; `all` knows them.
#[derive(Default)]
pub struct Markers {
    pub all: Vec<String>,
}

impl Markers {
    fn made(&mut self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut state = u64::from(std::process::id()) << 32 | u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut marker = String::from("mk");
        for _ in 0..14 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            marker.push(char::from(b'a' + ((state >> 33) % 26) as u8));
        }
        self.all.push(marker.clone());
        marker
    }

    /// Replaces each `@` by a marker of its own, `@1` to `@9` by ones that stay the same in the text.
    pub fn fill(&mut self, text: &str) -> String {
        let mut same: [Option<String>; 10] = Default::default();
        let mut out = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, rest.peek().and_then(|c| c.to_digit(10))) {
                ('@', Some(i)) => {
                    rest.next();
                    out.push_str(same[i as usize].get_or_insert_with(|| self.made()));
                }
                ('@', None) => out.push_str(&self.made()),
                _ => out.push(c),
            }
        }
        out
    }
}
