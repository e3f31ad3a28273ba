//! Choices that can be repeated, and how much of a test is to be done.

use std::time::Duration;

/// SplitMix64: small, and good enough to spread kills.
pub struct Chance(u64);

impl Chance {
    /// Seeded anew each time, or as `RUNBOOK_SWEEP_SEED` says. The seed is printed, and shown when the test fails.
    pub fn new(what: &str) -> Self {
        let seed = match std::env::var("RUNBOOK_SWEEP_SEED") {
            Ok(text) => text.parse().expect("RUNBOOK_SWEEP_SEED is a number"),
            Err(_) => u64::from(std::process::id()) << 32 | u64::from(now_nanos()),
        };
        println!("{what}: replay with RUNBOOK_SWEEP_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

fn now_nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos())
}

/// The number `RUNBOOK_SWEEP` asks for, else what fits CI.
pub fn size(ci: u32) -> u32 {
    match std::env::var("RUNBOOK_SWEEP") {
        Ok(text) => text.parse().expect("RUNBOOK_SWEEP is a number"),
        Err(_) => ci,
    }
}

/// Whether the long form was asked for.
pub fn is_long() -> bool {
    std::env::var_os("RUNBOOK_SWEEP").is_some()
}
