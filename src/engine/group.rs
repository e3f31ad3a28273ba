//! Steps that hold others: included playbooks, and alternatives of which one has to serve.

use crate::model::StepOutcome;
use crate::plan::{Body, OnFailure, Plan, StepIx};

use super::core::Engine;
use super::state::{RunStatus, State, StepStatus};
use super::undo;

/// An alternative's failure is its group's business: the next one is tried.
pub(super) fn is_in_alternative(plan: &Plan, ix: StepIx) -> bool {
    parents(plan, ix).any(|(_, parent)| is_any_of(plan, parent))
}

/// Whether the step is, or is part of, an alternative that failed.
pub(super) fn is_in_failed_alternative(plan: &Plan, state: &State, ix: StepIx) -> bool {
    parents(plan, ix).any(|(at, parent)| is_any_of(plan, parent) && has_failed(state, at))
}

/// The alternative that may start: the first not yet tried, once all that were tried have failed and are taken back.
pub(super) fn next_alternative(plan: &Plan, state: &State, group: StepIx) -> Option<StepIx> {
    let mut next = None;
    for &ix in plan.inside(group) {
        match state.steps[ix].status {
            StepStatus::Pending => next = next.or(Some(ix)),
            StepStatus::Over(_) if was_skipped(state, ix) => {}
            StepStatus::Over(_) if has_failed(state, ix) && undo::is_taken_back(plan, state, ix) => {}
            StepStatus::Active(_) | StepStatus::Over(_) => return None,
        }
    }
    next
}

/// Each step from `ix` up that is inside a group, with that group.
fn parents(plan: &Plan, ix: StepIx) -> impl Iterator<Item = (StepIx, StepIx)> + '_ {
    std::iter::successors(Some(ix), |at| plan.steps[*at].parent)
        .filter_map(|at| plan.steps[at].parent.map(|parent| (at, parent)))
}

fn is_any_of(plan: &Plan, ix: StepIx) -> bool {
    matches!(plan.steps[ix].body, Body::AnyOf(_))
}

fn has_failed(state: &State, ix: StepIx) -> bool {
    state.steps[ix].own_outcome() == Some(StepOutcome::Failed)
}

fn was_skipped(state: &State, ix: StepIx) -> bool {
    state.steps[ix].own_outcome() == Some(StepOutcome::Skipped)
}

fn has_served(state: &State, ix: StepIx) -> bool {
    matches!(state.steps[ix].own_outcome(), Some(StepOutcome::Succeeded | StepOutcome::Satisfied))
}

/// The alternative that served.
pub(super) fn served(plan: &Plan, state: &State, group: StepIx) -> Option<StepIx> {
    plan.inside(group).iter().copied().find(|a| has_served(state, *a))
}

impl Engine {
    /// Looks whether a group that waits for its inside is over.
    pub(super) fn advance_group(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        if self.rolling_back() {
            return self.end_group_for_rollback(ix);
        }
        match plan.steps[ix].body {
            Body::AnyOf(_) => return self.advance_any_of(ix),
            Body::ForEach(_) => return self.advance_items(ix),
            _ => {}
        }
        let tally = self.figures.group(ix);
        if tally.bad > 0 && tally.active == 0 {
            self.end_failed_group(ix);
        } else if tally.pending == 0 && tally.active == 0 {
            self.after_action(ix);
        }
    }

    /// Nothing more of the group starts; once nothing of it runs, it is over.
    fn end_group_for_rollback(&mut self, ix: StepIx) {
        if self.figures.group(ix).active > 0 {
            return;
        }
        let failed = match self.plan.steps[ix].body {
            Body::AnyOf(_) => false,
            Body::ForEach(_) => self.end_failed_items(ix),
            _ => self.end_failed_group(ix),
        };
        if !failed {
            self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
        }
    }

    /// True if a step inside has failed and none is in doubt: whoever is in doubt stops the run by itself, and the
    /// group stays open for the resume.
    fn end_failed_group(&mut self, ix: StepIx) -> bool {
        let plan = self.plan.clone();
        let inside = plan.inside(ix);
        let with = |o| inside.iter().find(|s| self.state.steps[**s].own_outcome() == Some(o)).copied();
        let failed = inside
            .iter()
            .copied()
            .find(|s| has_failed(&self.state, *s) && plan.steps[*s].on_failure != OnFailure::Continue);
        let Some(failed) = failed else { return false };
        if with(StepOutcome::Unknown).is_some() {
            return false;
        }
        let why = self.state.steps[failed].why.as_deref().unwrap_or("see its output");
        let why = format!("step {} failed: {why}", plan.steps[failed].id);
        self.end_step(ix, StepOutcome::Failed, Some(why));
        true
    }

    fn advance_any_of(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        let alternatives = plan.inside(ix);
        if let Some(served) = served(&plan, &self.state, ix) {
            let why = format!("{} served", plan.steps[served].id);
            for &other in alternatives {
                if self.state.steps[other].status == StepStatus::Pending {
                    self.skip(other, &why);
                }
            }
            return self.after_action(ix);
        }
        if self.figures.group(ix).active > 0 || self.state.status != RunStatus::Running {
            return;
        }
        let failed: Vec<StepIx> =
            alternatives.iter().rev().copied().filter(|a| has_failed(&self.state, *a)).collect();
        let Some(&last) = failed.first() else {
            // With none left and none that failed, all were skipped.
            let tally = self.figures.group(ix);
            if tally.pending == 0 && tally.bad == 0 {
                self.after_action(ix);
            }
            return;
        };
        for alternative in failed {
            if !self.take_back_within(alternative, ix) {
                return;
            }
            if let Some(stuck) = undo::undo_failed_within(&plan, &self.state, alternative) {
                let why = format!("the undo of step {} failed", plan.steps[stuck].id);
                return self.end_step(ix, StepOutcome::Failed, Some(why));
            }
        }
        let waits = alternatives.iter().any(|a| !matches!(self.state.steps[*a].status, StepStatus::Over(_)));
        let doubt = alternatives.iter().any(|a| self.state.is_in_doubt(&plan, *a));
        if !waits && !doubt {
            let why = match self.state.steps[last].why.as_deref() {
                Some(why) => format!("no alternative served; the last one failed: {why}"),
                None => "no alternative served".into(),
            };
            self.end_step(ix, StepOutcome::Failed, Some(why));
        }
    }
}
