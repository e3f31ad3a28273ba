//! What was taken back, what was not, and what nobody can know.

use super::closing::counts_as_nothing;
use super::history::History;
use super::{neutral, rendered};
use crate::model::{StepOutcome, TaskKind, UndoneState};
use crate::plan::{Body, Plan, StepIx};

/// A step that acted, and what became of its effect.
#[derive(Debug, Clone)]
pub struct Taken {
    pub step: StepIx,
    /// Why it was not taken back, or cannot be known. Neutral.
    pub why: Option<String>,
    /// The exact undo command if it was started, else its source; absent if there is none. Neutral.
    pub command: Option<String>,
}

/// The steps that acted, in the order in which a rollback goes through them: the last first.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    pub undone: Vec<Taken>,
    pub not_undone: Vec<Taken>,
    /// The undo's outcome is unknown.
    pub unknown: Vec<Taken>,
}

impl Rollback {
    pub fn of(plan: &Plan, history: &History) -> Self {
        let mut out = Self::default();
        let mut acted: Vec<StepIx> = (0..plan.steps.len().min(history.steps.len()))
            .filter(|ix| matches!(plan.steps[*ix].body, Body::Command(_)))
            .filter(|ix| history.steps[*ix].acted() || history.steps[*ix].undo.is_some())
            .collect();
        acted.sort_by_key(|ix| std::cmp::Reverse(history.steps[*ix].acted_at));
        for ix in acted {
            let (step, past) = (&plan.steps[ix], &history.steps[ix]);
            let ran = past.tasks.iter().rfind(|t| t.task.kind == TaskKind::Undo);
            let command = ran
                .map(|t| neutral::block(&t.command))
                .or_else(|| step.undo.as_ref().map(|u| rendered::source(&u.command.action)));
            let taken = |why: Option<String>| Taken { step: ix, why, command };
            match &past.undo {
                Some(UndoneState::Undone) => out.undone.push(taken(None)),
                Some(UndoneState::Unknown { why }) => out.unknown.push(taken(Some(neutral::line(why)))),
                Some(UndoneState::Failed { why }) => {
                    out.not_undone.push(taken(Some(format!("its undo failed: {}", neutral::line(why)))));
                }
                None => {
                    let why = match (&step.undo, ran) {
                        (_, Some(_)) => "its undo has no recorded end",
                        (None, None) if step.irreversible => "it is irreversible",
                        (None, None) => "it has no undo",
                        (Some(_), None) if counts_as_nothing(past) => {
                            "a person said to skip it; look whether it did anything"
                        }
                        (Some(_), None) if history.rollback.is_none() => "no rollback was started",
                        (Some(_), None) => "the rollback did not reach it",
                    };
                    out.not_undone.push(taken(Some(why.to_owned())));
                }
            }
        }
        out
    }
}

/// The steps whose failure a person has to look at first: those that failed, are unknown or could not be undone,
/// groups left out where a step inside of them says it better.
pub fn failures(plan: &Plan, history: &History) -> Vec<StepIx> {
    // An alternative that failed is no failure once another has served.
    let served = |ix: StepIx| {
        let any_of = plan.steps[ix].parent.filter(|p| matches!(plan.steps[*p].body, Body::AnyOf(_)));
        any_of.is_some_and(|parent| history.steps[parent].final_outcome() == Some(StepOutcome::Succeeded))
    };
    let bad = |ix: StepIx| {
        let past = &history.steps[ix];
        if served(ix) && past.final_outcome() == Some(StepOutcome::Failed) {
            return false;
        }
        let failed = |o| matches!(o, StepOutcome::Failed | StepOutcome::Unknown | StepOutcome::UndoFailed);
        past.outcome.is_some_and(failed) || past.final_outcome().is_some_and(failed)
    };
    let all: Vec<StepIx> = (0..plan.steps.len().min(history.steps.len())).filter(|ix| bad(*ix)).collect();
    let explained: std::collections::BTreeSet<StepIx> =
        all.iter().filter_map(|ix| plan.steps[*ix].parent).collect();
    all.into_iter().filter(|ix| !explained.contains(ix)).collect()
}
