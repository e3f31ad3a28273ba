//! Why a run could not be driven.

use crate::journal::{JournalError, StateError};
use crate::model::{RunId, RunOutcome};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("secret {name}: {why}")]
    Secret { name: String, why: String },
    /// One line for each requirement that is not met.
    #[error("requirements are not met:\n  {}", .0.join("\n  "))]
    Requires(Vec<String>),
    #[error("run {run} ended {outcome}; there is nothing to resume")]
    NothingToResume { run: RunId, outcome: RunOutcome },
    #[error("run {run} cannot be rolled back: {why}")]
    NothingToRollBack { run: RunId, why: String },
    #[error("the plan of run {run}: {why}")]
    Plan { run: RunId, why: String },
    /// One line for each reason.
    #[error("run {run} cannot go on with this plan:\n  {}", .why.join("\n  "))]
    Replan { run: RunId, why: Vec<String> },
    #[error("the journal of run {run} does not fit its plan: {why}")]
    Fold { run: RunId, why: String },
    #[error("run {run} was started on the host {host}, and only there it can be resumed")]
    OtherHost { run: RunId, host: String },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

impl RunError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
