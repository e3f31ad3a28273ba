//! Taking back: the whole run in reverse order, or the inside of one alternative that did not serve.

use crate::model::{Event, RunOutcome, StepOutcome, TaskKind, TaskVerdict, UndoneState};
use crate::plan::StepIx;

use super::core::Engine;
use super::state::UndoStatus;

impl Engine {
    /// One step of a rollback. True if something was recorded.
    pub(super) fn roll_back(&mut self) -> bool {
        if self.undo_is_under_way() {
            return false;
        }
        let blocked = self.blocked_by_failed_undos();
        let next = (0..self.plan.steps.len())
            .filter(|ix| self.is_to_undo(*ix) && !blocked[*ix])
            .max_by_key(|ix| self.state.steps[*ix].effect_at);
        match next {
            Some(ix) => self.start_task(ix, TaskKind::Undo, 1, 0),
            None => self.end_rollback(),
        }
        true
    }

    fn undo_is_under_way(&self) -> bool {
        self.state.steps.iter().any(|s| {
            matches!(
                s.undo,
                UndoStatus::Running { .. } | UndoStatus::Deciding { .. } | UndoStatus::Backoff { .. }
            )
        })
    }

    /// The step may have had an effect, has an undo, and the undo has not been tried to its end.
    fn is_to_undo(&self, ix: StepIx) -> bool {
        let state = &self.state.steps[ix];
        let effect = state.effect_at.is_some() || state.dirty;
        let untouched = matches!(state.own_outcome(), Some(StepOutcome::Satisfied | StepOutcome::Skipped));
        self.plan.steps[ix].undo.is_some()
            && state.undo == UndoStatus::None
            && effect
            && (!untouched || state.dirty)
            && !state.is_leaf_active()
    }

    /// Steps whose undo must wait for ever, because the undo of a step that was built on them failed.
    fn blocked_by_failed_undos(&self) -> Vec<bool> {
        let plan = &self.plan;
        let mut blocked = vec![false; plan.steps.len()];
        let failed: Vec<StepIx> = (0..plan.steps.len()).filter(|ix| self.undo_has_failed(*ix)).collect();
        let mut todo = failed.clone();
        while let Some(ix) = todo.pop() {
            let step = &plan.steps[ix];
            let before = step.needs.iter().copied().chain(step.parent);
            for need in before {
                if !blocked[need] {
                    blocked[need] = true;
                    todo.push(need);
                }
            }
        }
        // Phases follow one another, so every step of an earlier phase is built upon, and the inside of a group with it.
        let first_failed_phase = failed.iter().map(|ix| plan.steps[*ix].phase).max();
        for (ix, step) in plan.steps.iter().enumerate() {
            let earlier_phase = first_failed_phase.is_some_and(|phase| step.phase < phase);
            let inside_blocked = step.parent.is_some_and(|p| blocked[p]) && !self.holds_any(ix, &failed);
            blocked[ix] = blocked[ix] || earlier_phase || inside_blocked;
        }
        blocked
    }

    /// Whether one of `steps` lies in the same group as `ix`: then `needs` decide, not the group.
    fn holds_any(&self, ix: StepIx, steps: &[StepIx]) -> bool {
        let parent = self.plan.steps[ix].parent;
        steps.iter().any(|s| parent.is_some_and(|p| self.is_within(*s, p)))
    }

    fn undo_has_failed(&self, ix: StepIx) -> bool {
        matches!(
            self.state.steps[ix].undo,
            UndoStatus::Over(UndoneState::Failed { .. } | UndoneState::Unknown { .. })
        )
    }

    pub(super) fn decide_undo(&mut self, ix: StepIx, tries: u32, verdict: TaskVerdict) {
        let plan = self.plan.clone();
        let step = plan.steps[ix].id.clone();
        let Some(undo) = &plan.steps[ix].undo else { return };
        let stopped = !matches!(
            self.state.status,
            super::state::RunStatus::Running | super::state::RunStatus::RollingBack { .. }
        );
        match verdict {
            TaskVerdict::Passed => {
                self.emit(Event::StepUndone { step, state: UndoneState::Undone });
            }
            TaskVerdict::Unknown(why) => {
                self.emit(Event::StepUndone { step, state: UndoneState::Unknown { why } });
            }
            _ if stopped => {}
            TaskVerdict::NotRun | TaskVerdict::Cancelled => {
                self.start_task(ix, TaskKind::Undo, tries, 0);
            }
            TaskVerdict::Failed(_) if tries < undo.retry.attempts => {
                let delay = self.delay(&undo.retry, ix, tries);
                self.emit(Event::RetryScheduled { step, failed: tries, delay, undo: true });
                self.later(ix);
            }
            TaskVerdict::Failed(why) => {
                self.emit(Event::StepUndone { step, state: UndoneState::Failed { why } });
            }
        }
        // The group that waits for the undo of an alternative looks again.
        let mut at = ix;
        while let Some(parent) = plan.steps[at].parent {
            self.later(parent);
            at = parent;
        }
    }

    fn end_rollback(&mut self) {
        let plan = self.plan.clone();
        let name = |ix: StepIx| plan.steps[ix].id.to_string();
        let because = self.state.rollback.clone().unwrap_or_default();
        let all = 0..plan.steps.len();
        let failed: Vec<String> = all.clone().filter(|ix| self.undo_has_failed(*ix)).map(name).collect();
        if !failed.is_empty() {
            let why = format!("{because}; the undo of {} failed", failed.join(", "));
            return self.end_run(RunOutcome::Stuck, Some(why));
        }
        let kept: Vec<String> = all
            .filter(|ix| plan.steps[*ix].irreversible && self.state.steps[*ix].effect_at.is_some())
            .map(name)
            .collect();
        if kept.is_empty() {
            self.end_run(RunOutcome::RolledBack, Some(because));
        } else {
            let why = format!("{because}; taken back, except what cannot be: {}", kept.join(", "));
            self.end_run(RunOutcome::Failed, Some(why));
        }
    }

    /// Takes back what an alternative did, one undo at a time. True once nothing is left to do.
    pub(super) fn take_back_within(&mut self, root: StepIx) -> bool {
        let busy = self.undo_is_under_way();
        let next = self.undos_within(root).max_by_key(|ix| self.state.steps[*ix].effect_at);
        match next {
            None => !self.undo_under_way_within(root),
            Some(_) if self.undo_failed_within(root).is_some() => true,
            Some(ix) => {
                if !busy && self.slot_is_free() {
                    self.start_task(ix, TaskKind::Undo, 1, 0);
                    // An undo that could not even be written down is over already.
                    self.later(root);
                    if let Some(group) = self.plan.steps[root].parent {
                        self.later_unless_running(ix, group);
                    }
                }
                false
            }
        }
    }

    fn later_unless_running(&mut self, ix: StepIx, group: StepIx) {
        if matches!(self.state.steps[ix].undo, UndoStatus::Over(_)) {
            self.later(group);
        }
    }

    fn undos_within(&self, root: StepIx) -> impl Iterator<Item = StepIx> + '_ {
        (root..self.plan.steps.len()).filter(move |ix| self.is_within(*ix, root) && self.is_to_undo(*ix))
    }

    fn undo_under_way_within(&self, root: StepIx) -> bool {
        (root..self.plan.steps.len()).any(|ix| {
            self.is_within(ix, root)
                && !matches!(self.state.steps[ix].undo, UndoStatus::None | UndoStatus::Over(_))
        })
    }

    /// Whether an alternative still has something to take back, or failed in doing so.
    pub(super) fn has_undos_within(&self, root: StepIx) -> bool {
        self.undos_within(root).next().is_some()
            || self.undo_under_way_within(root)
            || self.undo_failed_within(root).is_some()
    }

    pub(super) fn undo_failed_within(&self, root: StepIx) -> Option<StepIx> {
        (root..self.plan.steps.len()).find(|ix| self.is_within(*ix, root) && self.undo_has_failed(*ix))
    }

    /// Whether `ix` is `root` or lies inside it.
    fn is_within(&self, ix: StepIx, root: StepIx) -> bool {
        let mut at = Some(ix);
        while let Some(step) = at {
            if step == root {
                return true;
            }
            at = self.plan.steps[step].parent;
        }
        false
    }
}
