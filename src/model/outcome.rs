//! How steps and runs end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a step ended. A step that has not ended has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// The action was done and every required check held.
    Succeeded,
    /// `unless` held: the action was not needed and not run.
    Satisfied,
    /// `when` was false, or an alternative before it in `any_of` served.
    Skipped,
    /// It surely did not do what it should.
    Failed,
    /// Ended by a person before it was over.
    Cancelled,
    /// Nobody can know whether it took effect.
    Unknown,
    /// It was taken back.
    Undone,
    /// Taking it back failed.
    UndoFailed,
}

impl StepOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Satisfied => "satisfied",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a run ended, or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    Recovered,
    /// Everything required was done; an advisory check or a step with `on_failure: continue` failed.
    Degraded,
    Failed,
    RolledBack,
    /// An undo failed.
    Stuck,
    /// A step's outcome is unknown and a person must say.
    InDoubt,
    /// A person's answer is missing.
    Waiting,
    Cancelled,
}

impl RunOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
            Self::InDoubt => "in-doubt",
            Self::Waiting => "waiting",
            Self::Cancelled => "cancelled",
        }
    }

    /// The process's exit code for this outcome.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Recovered => 0,
            Self::Failed => 1,
            Self::Waiting => 3,
            Self::Degraded => 4,
            Self::InDoubt => 5,
            Self::RolledBack => 6,
            Self::Stuck => 7,
            Self::Cancelled => exit_code::CANCELLED,
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Exit codes that are not a run's outcome.
pub mod exit_code {
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Ended by a person.
    pub const CANCELLED: u8 = 130;
    /// Wrong use of the command line, or an invalid playbook.
    pub const USAGE: u8 = 2;
    /// Refused: locked, guarded, a requirement is unmet, or the journal is suspect.
    pub const REFUSED: u8 = 8;
    /// The journal could not be written.
    pub const JOURNAL: u8 = 74;
}

/// What a task's result means for its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskVerdict {
    Passed,
    /// It ran (or surely did not start) and did not do what was expected: why, in a short sentence.
    Failed(String),
    Cancelled,
    /// Whether it took effect cannot be known: why.
    Unknown(String),
    /// It surely never ran although its start is recorded (the runner died in between): it is started again.
    NotRun,
}

/// What people outside are told of an incident that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    Investigating,
    #[default]
    Identified,
    Monitoring,
}

impl IncidentStatus {
    /// That of phase number `ix` of `count` if nobody says otherwise: first one looks, at last one watches.
    pub fn usual(ix: usize, count: usize) -> Self {
        match (ix, count) {
            (0, 3..) => Self::Investigating,
            (ix, 2..) if ix + 1 == count => Self::Monitoring,
            _ => Self::Identified,
        }
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_exit_code() {
        let all = [
            RunOutcome::Recovered,
            RunOutcome::Degraded,
            RunOutcome::Failed,
            RunOutcome::RolledBack,
            RunOutcome::Stuck,
            RunOutcome::InDoubt,
            RunOutcome::Waiting,
            RunOutcome::Cancelled,
        ];
        let codes: std::collections::BTreeSet<u8> = all.iter().map(|o| o.exit_code()).collect();
        assert_eq!(codes.len(), all.len());
        assert!(!codes.contains(&exit_code::USAGE) && !codes.contains(&exit_code::REFUSED));
    }
}
