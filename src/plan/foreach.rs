//! What the items of a `foreach` come to together.
//!
//! | done | of those not done | the step is |
//! |---|---|---|
//! | as many as are needed | whatever they are, none under way and none to begin | done; what is not begun is skipped |
//! | fewer | at least one is unknown | in doubt: a person has to look before anything is built on it |
//! | fewer | none is unknown | failed |
//!
//! Needed are `at_least` items, or else all but those that a person has left out. An item is done if it succeeded or was
//! satisfied. After one that failed, was cut short or is unknown, `stop` begins no other; `continue` begins them all.

use serde::{Deserialize, Serialize};

use super::StepIx;
use crate::planted::{self, Bug};

/// The items' steps and how they go together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// One for each item, in the order of the list; they follow the group in the plan without a gap.
    pub steps: Vec<StepIx>,
    /// Items at once; absent: only the plan's own limit counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<usize>,
    pub on_item_failure: OnItemFailure,
    /// So many have to be done; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnItemFailure {
    /// No further item is begun.
    Stop,
    /// Every item is tried.
    Continue,
}

/// How many items are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ItemCount {
    pub pending: usize,
    pub active: usize,
    /// Succeeded or satisfied.
    pub done: usize,
    /// Left out by a person, or not needed any more.
    pub skipped: usize,
    pub failed: usize,
    /// Cut short.
    pub cancelled: usize,
    pub unknown: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemsVerdict {
    /// Something is under way or may still begin.
    Open,
    Done,
    InDoubt,
    Failed,
}

impl ItemCount {
    pub fn total(&self) -> usize {
        let Self { pending, active, done, skipped, failed, cancelled, unknown } = self;
        pending + active + done + skipped + failed + cancelled + unknown
    }

    /// Not done although begun.
    pub fn spoilt(&self) -> usize {
        self.failed + self.cancelled + self.unknown
    }
}

impl ForEach {
    /// How many items have to be done.
    pub fn needed(&self, count: &ItemCount) -> usize {
        self.at_least.unwrap_or(count.total() - count.skipped)
    }

    /// Whether no further item is begun.
    pub fn is_halted(&self, spoilt: usize) -> bool {
        self.on_item_failure == OnItemFailure::Stop && spoilt > 0
    }

    /// What the items come to. See the table above.
    pub fn verdict(&self, count: &ItemCount) -> ItemsVerdict {
        let waits = count.pending > 0 && !self.is_halted(count.spoilt());
        if count.active > 0 || waits {
            return ItemsVerdict::Open;
        }
        let done = count.done + usize::from(planted::is(Bug::QuorumOneShort));
        match (done >= self.needed(count), count.unknown) {
            (true, _) => ItemsVerdict::Done,
            (false, 0) => ItemsVerdict::Failed,
            (false, _) => ItemsVerdict::InDoubt,
        }
    }
}
