//! Random numbers that a seed reproduces, and the seeds of a test.

use std::ops::Range;

/// Returns `count` seeds, or the one that `FAULT_SEED` names.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    match std::env::var("FAULT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

/// Random numbers, reproducible by their seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
