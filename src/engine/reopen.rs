//! What a resume and a person's word make of steps that are over.

use crate::model::{
    Millis, Record, Resolution, RunOutcome, StepId, StepOutcome, TaskId, TaskKind, TaskVerdict, UndoneState,
};
use crate::plan::{Body, OnFailure, Plan, Step, StepIx};
use crate::planted::{self, Bug};

use super::state::{Activity, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus};
use super::undo;

impl State {
    /// Another process goes on. After a crash it only finishes what was begun, so that a crash changes nothing; a run
    /// that had ended, or was about to end because a person said so, is taken up again: what is done stays done, what
    /// failed or was cut short may be tried again.
    pub(super) fn resumed(&mut self, plan: &Plan) -> Result<(), String> {
        let taken_up = match &self.status {
            RunStatus::Ended(end)
                if matches!(
                    end.outcome,
                    RunOutcome::Recovered | RunOutcome::Degraded | RunOutcome::RolledBack
                ) =>
            {
                return Err(format!("a run that ended {} was resumed", end.outcome));
            }
            RunStatus::Ended(_) | RunStatus::Cancelling { .. } => true,
            // A person may have resolved what the run was stopped for.
            RunStatus::Stopping { .. } => !(0..self.steps.len()).any(|ix| self.stops_the_run(plan, ix)),
            RunStatus::NotStarted | RunStatus::Running | RunStatus::RollingBack { .. } => false,
        };
        let waited = self.waits();
        if taken_up {
            self.told.go_on();
        }
        self.told.resumed();
        for step in &mut self.steps {
            step.round = step.round.saturating_add(1);
        }
        if let Some(because) = self.rollback.clone() {
            self.status = match planted::is(Bug::ResumeRollbackAsRun) {
                true => RunStatus::Running,
                false => RunStatus::RollingBack { because },
            };
            // What only waited for an answer goes on as it was.
            if taken_up && !waited {
                let mut again = false;
                self.steps.iter_mut().for_each(|step| again |= step.undo_again());
                if again {
                    // The order is a new one, and what is open is asked about again in its turn.
                    self.steps.iter_mut().for_each(StepState::forget_undo_question);
                }
            }
        } else if taken_up {
            self.status = RunStatus::Running;
            self.reopen(plan);
            if let Some(ix) = (0..self.steps.len()).find(|ix| self.stops_the_run(plan, *ix)) {
                self.status = RunStatus::Stopping { why: format!("step {} is in doubt", plan.steps[ix].id) };
            }
        }
        Ok(())
    }

    fn reopen(&mut self, plan: &Plan) {
        // Inside of an `any_of` that failed as a whole: its alternatives start over.
        let mut afresh = vec![false; self.steps.len()];
        for (ix, spec) in plan.steps.iter().enumerate() {
            let parent = spec.parent;
            afresh[ix] = parent.is_some_and(|p| afresh[p]);
            // A group that stays as it is, such as an alternative that failed while its `any_of` goes on, keeps its inside.
            if parent.is_some_and(|p| matches!(self.steps[p].status, StepStatus::Over(_))) {
                continue;
            }
            // A group that a person wants to start again; all of it is let through `needs` again.
            if parent.is_some_and(|p| self.steps[p].status == StepStatus::Pending && !afresh[p]) {
                self.steps[ix].start_over();
                continue;
            }
            let alternative = parent.is_some_and(|p| matches!(plan.steps[p].body, Body::AnyOf(_)));
            if afresh[ix] {
                self.steps[ix].start_over();
            } else if alternative && self.steps[ix].own_outcome() == Some(StepOutcome::Failed) {
                // Used up: the next one is tried.
            } else if self.steps[ix].may_go_on(spec) {
                let status = self.steps[ix].reopened_status(spec);
                self.steps[ix].reopen(status);
                if matches!(spec.body, Body::AnyOf(_)) {
                    afresh[ix] = !self.undo_within_again(plan, ix);
                }
                if planted::is(Bug::RepeatDoneItems) && plan.foreach(ix).is_some() {
                    plan.inside(ix).iter().for_each(|item| self.steps[*item].reopen(StepStatus::Pending));
                }
            }
        }
    }

    /// Failed undos inside the group are to be tried again. True if there was one: then the alternatives do not start
    /// over on what could not be taken back.
    fn undo_within_again(&mut self, plan: &Plan, group: StepIx) -> bool {
        let mut any = false;
        for ix in undo::subtree(plan, group) {
            // Also one whose host knows of it after all: it goes on by itself.
            let found = self.steps[ix].is_undoing() && !planted::is(Bug::ForgetFoundUndo);
            any |= undo::undo_has_failed(self, ix) || found;
            self.steps[ix].undo_again();
        }
        any
    }

    /// Whether a person's word on the step can still change the run: its phase is not over, and it is no item of a step that
    /// is done; unless the run is rolled back.
    pub fn may_be_resolved(&self, plan: &Plan, ix: StepIx) -> bool {
        let over = matches!(self.phases[plan.steps[ix].phase], PhaseStatus::Ended { .. });
        let changes = !over && !self.is_done_without(plan, ix);
        changes || self.is_rolling_back()
    }

    /// In a rollback only one question is left: is there something to take back?
    pub(super) fn resolved_in_rollback(
        &mut self,
        plan: &Plan,
        step: &StepId,
        resolution: Resolution,
    ) -> Result<(), String> {
        let (_, step) = self.step(plan, step)?;
        if resolution == Resolution::NotDone {
            step.status = StepStatus::Over(StepOutcome::Undone);
            step.undo = UndoStatus::Over(UndoneState::Undone);
        }
        Ok(())
    }
}

impl StepState {
    pub(super) fn resolve(&mut self, record: &Record, resolution: Resolution, (by, reason): (&str, &str)) {
        self.dirty = false;
        self.lost = false;
        self.forget_lost();
        self.done_by_hand = resolution == Resolution::Done;
        self.reopen(StepStatus::Pending);
        match resolution {
            Resolution::Done => _ = self.effect_at.get_or_insert(record.seq),
            Resolution::NotDone => self.effect_at = None,
            Resolution::Retry => {}
            Resolution::Skip => {
                self.status = StepStatus::Over(StepOutcome::Skipped);
                self.ended = Some(record.t);
                self.why = Some(format!("skipped by {by}: {reason}"));
            }
        }
    }

    /// Whether a resumed run takes the step up again although it is over.
    fn may_go_on(&self, spec: &Step) -> bool {
        match self.outcome() {
            Some(StepOutcome::Failed) => spec.on_failure != OnFailure::Continue,
            Some(StepOutcome::Cancelled) => true,
            // Neither the check nor a repetition of the action says anything about a remedy.
            Some(StepOutcome::Unknown) if self.lost_remedy() => false,
            // The way out of doubt is walked again: the check may answer now.
            Some(StepOutcome::Unknown) => spec.check.is_some() || spec.idempotent,
            _ => false,
        }
    }

    fn reopened_status(&self, spec: &Step) -> StepStatus {
        match (&spec.body, self.outcome()) {
            (Body::AnyOf(_) | Body::Playbook { .. } | Body::ForEach(_), _) if self.attempts > 0 => {
                StepStatus::Active(Activity::Inside)
            }
            (_, Some(StepOutcome::Unknown)) => StepStatus::Active(Activity::Deciding {
                task: TaskId {
                    step: spec.id.clone(),
                    kind: TaskKind::Attempt,
                    attempt: self.attempts,
                    rerun: self.reruns,
                },
                verdict: TaskVerdict::Unknown(self.why.clone().unwrap_or_default()),
                no_retry: false,
                lost: self.lost,
            }),
            _ => StepStatus::Pending,
        }
    }

    /// The step is no longer over, and its retries count anew.
    fn reopen(&mut self, status: StepStatus) {
        self.status = status;
        (self.approved, self.undo_approved, self.roll_back) = (false, false, false);
        (self.begun, self.waited) = (None, Millis::ZERO);
        self.attempts_before = self.attempts;
        self.round = self.round.saturating_add(1);
        (self.ended, self.why, self.polled) = (None, None, None);
        self.undo = UndoStatus::None;
        self.before_undo = None;
    }

    /// A step inside of an `any_of` of which nothing served. What was done and is still there stays.
    fn start_over(&mut self) {
        let taken_back = self.undo == UndoStatus::Over(UndoneState::Undone);
        if taken_back || matches!(self.outcome(), Some(StepOutcome::Failed | StepOutcome::Cancelled)) {
            self.reopen(StepStatus::Pending);
            if taken_back {
                self.effect_at = None;
            }
        }
    }

    /// A failed undo is tried again, and one that was cut short, each in its turn; one whose effect is unknown is not.
    /// True if there is one.
    fn undo_again(&mut self) -> bool {
        let cut_short = matches!(
            self.undo,
            UndoStatus::Backoff { .. }
                | UndoStatus::Deciding { verdict: TaskVerdict::Cancelled | TaskVerdict::NotRun, .. }
        );
        let again = cut_short || matches!(self.undo, UndoStatus::Over(UndoneState::Failed { .. }));
        if again {
            // Asked again as well: what was agreed to was the try before.
            (self.undo, self.undo_approved) = (UndoStatus::None, false);
        }
        again
    }
}
