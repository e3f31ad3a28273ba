//! What is known of a run after some of its records.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Millis, Record, RunEnd, StartInfo, StepOutcome, TaskId, Timestamp, UndoneState};
use crate::plan::{Plan, StepIx};

#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// None before the first record.
    pub start: Option<StartInfo>,
    /// The wall clock of the first record.
    pub started_at: Timestamp,
    pub epoch: u32,
    /// Number and moments of the last record.
    pub seq: u64,
    pub last_t: Millis,
    pub last_at: Timestamp,
    pub status: RunStatus,
    /// One for each of [`Plan::steps`].
    pub steps: Vec<StepState>,
    /// One for each of [`Plan::phases`].
    pub phases: Vec<PhaseStatus>,
    /// Started and not known to have ended.
    pub in_flight: BTreeMap<TaskId, InFlight>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RunStatus {
    NotStarted,
    Running,
    /// Nothing new starts; what runs is waited for. `why` becomes the end's reason.
    Stopping {
        why: String,
    },
    /// A person asked for the end.
    Cancelling {
        by: String,
    },
    RollingBack {
        because: String,
    },
    Ended(RunEnd),
}

#[derive(Debug, Clone, PartialEq)]
pub enum PhaseStatus {
    Pending,
    Running { since: Millis, late: bool },
    Ended { since: Millis, at: Millis, late: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub struct InFlight {
    pub step: StepIx,
    pub since: Millis,
    pub command: String,
    pub timeout: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    pub status: StepStatus,
    /// Attempts started so far, over all epochs.
    pub attempts: u32,
    pub started: Option<Millis>,
    pub ended: Option<Millis>,
    /// Why it failed, was skipped, is unknown.
    pub why: Option<String>,
    pub outputs: BTreeMap<String, Value>,
    pub choice: Option<String>,
    pub result: Option<Value>,
    /// Titles and reasons of advisory checks that did not hold.
    pub advisories: Vec<String>,
    /// An attempt's outcome was unknown and nothing has cleared it: a rollback includes the step.
    pub dirty: bool,
    pub undo: UndoStatus,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepStatus {
    Pending,
    Active(Activity),
    Over(StepOutcome),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Activity {
    /// `unless` runs.
    Unless,
    /// The action runs.
    Acting,
    /// A `wait` until then.
    Waiting { until: Millis },
    /// Attempt `failed` failed; its remedy runs.
    Remedy { failed: u32 },
    /// The next attempt is due then.
    Backoff { failed: u32, until: Millis },
    /// Check number `check` of `verify`; the next poll is due at `next` unless one runs.
    Verifying { check: u16, poll: u32, since: Millis, next: Option<Millis> },
    /// The read-only `check` after an unknown outcome runs.
    Checking,
    /// The steps inside the group.
    Inside,
    /// The action's outcome was learned, and what follows is not recorded yet.
    Deciding,
}

#[derive(Debug, Clone, PartialEq)]
pub enum UndoStatus {
    None,
    Running { tries: u32 },
    Backoff { tries: u32, until: Millis },
    Over(UndoneState),
}

impl State {
    pub fn new(plan: &Plan) -> Self {
        let _ = plan;
        todo!()
    }

    /// Folds one record. A record that is not possible in this state is an error that says why: the journal was
    /// written by another program, or changed.
    pub fn apply(&mut self, plan: &Plan, record: &Record) -> Result<(), String> {
        let _ = (plan, record);
        todo!()
    }
}
