//! What past runs of a playbook say of how long its steps take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Millis, StepId};

/// Half of them take no longer than `p50`, nine of ten no longer than `p90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub p50: Millis,
    pub p90: Millis,
}

/// One of the two figures of a [`Spread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Percentile {
    P50,
    P90,
}

impl Spread {
    pub const ZERO: Self = Self::both(Millis::ZERO);

    pub const fn both(length: Millis) -> Self {
        Self { p50: length, p90: length }
    }

    /// By nearest rank, so that each figure is a length that was measured. None of nothing.
    pub fn of(mut lengths: Vec<Millis>) -> Option<Self> {
        lengths.sort_unstable();
        let rank = |percent: usize| lengths.get((lengths.len() * percent).div_ceil(100).saturating_sub(1));
        Some(Self { p50: *rank(50)?, p90: *rank(90)? })
    }

    pub fn get(self, percentile: Percentile) -> Millis {
        match percentile {
            Percentile::P50 => self.p50,
            Percentile::P90 => self.p90,
        }
    }

    /// Both figures, each with the other's of its kind.
    pub fn with(self, other: Self, f: impl Fn(Millis, Millis) -> Millis) -> Self {
        Self { p50: f(self.p50, other.p50), p90: f(self.p90, other.p90) }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, Millis::saturating_add)
    }

    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.with(other, Millis::max)
    }
}

/// What was known of past runs when a run started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// Finished runs of the same playbook that were read; drills are counted apart.
    pub runs: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drills: u32,
    /// Steps that any of them tells of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<StepId, PastStep>,
}

/// What they say of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastStep {
    /// How often it ran from its start to its success.
    pub ran: u32,
    /// How often its turn came and it was not needed: skipped, or satisfied already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_needed: u32,
    /// What it took when it ran, with its retries and without waiting for people.
    #[serde(default, skip_serializing_if = "Spread::is_zero")]
    pub took: Spread,
    /// How long it waited for people; absent if that was never measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<Spread>,
}

/// What is late by a hair is not worth a word: a tenth, and a second at least.
pub fn is_late(takes: Millis, p90: Millis) -> bool {
    takes > p90.saturating_add(Millis((p90.0 / 10).max(1000)))
}

impl Spread {
    fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(lengths: &[u64]) -> Option<(u64, u64)> {
        Spread::of(lengths.iter().map(|ms| Millis(*ms)).collect()).map(|s| (s.p50.0, s.p90.0))
    }

    #[test]
    fn the_figures_are_lengths_that_were_measured() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7]), Some((7, 7)));
        assert_eq!(spread(&[9, 1]), Some((1, 9)));
        assert_eq!(spread(&[3, 1, 2]), Some((2, 3)));
        let ten: Vec<u64> = (1..=10).rev().collect();
        assert_eq!(spread(&ten), Some((5, 9)));
        let twenty: Vec<u64> = (1..=20).collect();
        assert_eq!(spread(&twenty), Some((10, 18)));
    }
}
