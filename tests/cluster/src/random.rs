//! Numbers that only look random, for tests of chance.

/// From `MEMORY_EXT_SEED`: a number, or `clock` for other cases in each run (`make soak`). Unset it is 1: a red run is red again.
/// What it was is printed.
pub fn seed() -> Random {
    let seed = match std::env::var("MEMORY_EXT_SEED") {
        Err(_) => 1,
        Ok(seed) if seed == "clock" => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        Ok(seed) => seed.parse().expect("MEMORY_EXT_SEED is a number or `clock`"),
    };
    println!("MEMORY_EXT_SEED={seed}");
    Random(seed)
}

/// SplitMix64: any seed will do, and the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A place in something so long.
    pub fn place(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.place(choices.len())]
    }

    pub fn one_of_ref<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.place(choices.len())]
    }

    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.place(i + 1));
        }
    }
}
