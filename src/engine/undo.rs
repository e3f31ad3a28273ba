//! Taking back: the whole run in reverse order, or the inside of one alternative that did not serve.

use crate::model::{Answer, Event, RunOutcome, StepOutcome, TaskKind, TaskVerdict, UndoneState};
use crate::plan::{Plan, StepIx};
use crate::planted::{self, Bug};

use super::core::Engine;
use super::state::{RunStatus, State, UndoStatus};

/// The step may have had an effect, has an undo, and the undo has not been tried to its end.
pub(super) fn is_to_undo(plan: &Plan, state: &State, ix: StepIx) -> bool {
    let step = &state.steps[ix];
    // Satisfied before it began, or left out: by the playbook before it began, or by a person, who answers for it.
    let untouched = matches!(step.own_outcome(), Some(StepOutcome::Satisfied | StepOutcome::Skipped));
    plan.steps[ix].undo.is_some()
        && step.undo == UndoStatus::None
        && step.effect_at.is_some()
        && !untouched
        && !step.is_leaf_active()
}

pub(super) fn undo_has_failed(state: &State, ix: StepIx) -> bool {
    matches!(state.steps[ix].undo, UndoStatus::Over(UndoneState::Failed { .. } | UndoneState::Unknown { .. }))
}

/// The step and all that is inside of it.
pub(super) fn subtree(plan: &Plan, root: StepIx) -> Vec<StepIx> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&ix) = found.get(at) {
        found.extend(plan.inside(ix));
        at += 1;
    }
    found
}

pub(super) fn undo_failed_within(plan: &Plan, state: &State, root: StepIx) -> Option<StepIx> {
    subtree(plan, root).into_iter().find(|ix| undo_has_failed(state, *ix))
}

/// Nothing of the step is left to take back, and nothing could not be taken back.
pub(super) fn is_taken_back(plan: &Plan, state: &State, root: StepIx) -> bool {
    subtree(plan, root).into_iter().all(|ix| {
        !is_to_undo(plan, state, ix)
            && matches!(state.steps[ix].undo, UndoStatus::None | UndoStatus::Over(UndoneState::Undone))
    })
}

/// Steps whose undo must wait for ever, because the undo of a step that was built on them failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blocked {
    steps: Vec<Reach>,
    /// Phases follow one another: all of the phases before this one are built upon.
    phases: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Free,
    /// The step itself: a group around what could not be taken back.
    Itself,
    /// The step, all it needs and all inside.
    Whole,
}

impl Blocked {
    pub fn new(steps: usize) -> Self {
        Self { steps: vec![Reach::Free; steps], phases: 0 }
    }

    pub fn holds(&self, plan: &Plan, ix: StepIx) -> bool {
        self.steps[ix] != Reach::Free || plan.steps[ix].phase < self.phases
    }

    /// Blocks what step `ix`, whose undo failed, was built on.
    pub fn add(&mut self, plan: &Plan, ix: StepIx) {
        self.phases = self.phases.max(plan.steps[ix].phase);
        let mut at = Some(ix);
        while let Some(ix) = at {
            self.whole(plan, plan.steps[ix].needs.clone());
            at = plan.steps[ix].parent;
            if let Some(parent) = at {
                self.steps[parent] = self.steps[parent].max(Reach::Itself);
            }
        }
    }

    fn whole(&mut self, plan: &Plan, mut open: Vec<StepIx>) {
        while let Some(ix) = open.pop() {
            if self.steps[ix] != Reach::Whole {
                self.steps[ix] = Reach::Whole;
                open.extend(&plan.steps[ix].needs);
                open.extend(plan.inside(ix));
            }
        }
    }
}

impl Engine {
    pub(super) fn begin_rollback(&mut self, because: String) -> bool {
        self.emit(Event::RollbackStarted { because });
        // Steps that wait look again: nothing is waited for any more.
        for ix in 0..self.plan.steps.len() {
            if self.state.steps[ix].is_active() {
                self.later(ix);
            }
        }
        true
    }

    /// One step of a rollback. True if something was recorded.
    pub(super) fn roll_back(&mut self) -> bool {
        if self.figures.undoing > 0 {
            return false;
        }
        let to_undo = &self.figures.to_undo;
        let all = || to_undo.iter().map(|(_, ix)| *ix);
        let free = to_undo.iter().rev().find(|(_, ix)| !self.is_built_upon(*ix, all()));
        let next = if planted::is(Bug::UndoForward) { to_undo.first() } else { free };
        match next.copied() {
            Some((_, ix)) => self.start_undo(ix),
            None => self.end_rollback(),
        }
        true
    }

    /// One of those that are to be taken back follows the step in the plan, although it began earlier. Only a person's
    /// word, which tells that the step is done and not since when, can come so late.
    fn is_built_upon(&self, ix: StepIx, mut those: impl Iterator<Item = StepIx>) -> bool {
        self.state.steps[ix].done_by_hand && those.any(|other| self.plan.ancestors(other).contains(&ix))
    }

    /// Starts the undo, or asks first. While it is asked, what comes before it in the order waits as well.
    fn start_undo(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        match plan.steps[ix].undo.as_ref().and_then(|undo| undo.approval.as_ref()) {
            Some(ask) if !self.state.steps[ix].undo_approved && !planted::is(Bug::ForgetApproval) => {
                self.ask_undo(ix, ask);
            }
            _ => self.start_task(ix, TaskKind::Undo, 1, 0),
        }
    }

    pub(super) fn advance_undo(&mut self, ix: StepIx) {
        // What hosts know of after all, undos and attempts, has begun already; nothing else begins beside it.
        let alone = self.undos_may_begin();
        match self.state.steps[ix].undo.clone() {
            UndoStatus::Asking(asking) if self.may_undo() => self.expire_if_due(ix, &asking),
            UndoStatus::Heard(heard) if self.may_undo() && alone => match heard.answer {
                Answer::Approve => self.start_task(ix, TaskKind::Undo, 1, 0),
                _ => {
                    let step = self.plan.steps[ix].id.clone();
                    self.emit(Event::StepUndone { step, state: UndoneState::Failed { why: heard.why } });
                }
            },
            UndoStatus::Deciding { tries, verdict } => self.decide_undo(ix, tries, verdict),
            UndoStatus::Backoff { tries, until } if self.now.t >= until && self.may_undo() && alone => {
                self.start_task(ix, TaskKind::Undo, tries + 1, 0);
            }
            _ => {}
        }
    }

    /// No undo is in flight, and in a rollback nothing at all.
    pub(super) fn undos_may_begin(&self) -> bool {
        match self.rolling_back() {
            true => self.figures.busy == 0 && self.state.in_flight.is_empty(),
            false => self.state.in_flight.keys().all(|task| task.kind != TaskKind::Undo),
        }
    }

    pub(super) fn look_at_undos(&mut self) {
        let steps = self.state.steps.iter().enumerate();
        self.work.extend(steps.filter(|(_, step)| step.is_undoing()).map(|(ix, _)| ix));
    }

    /// What the step's host knew of after all: an attempt or a remedy.
    fn acts_beside_its_undo(&self, ix: StepIx) -> bool {
        self.state.in_flight.values().any(|flight| flight.step == ix)
    }

    pub(super) fn may_undo(&self) -> bool {
        matches!(self.state.status, RunStatus::Running | RunStatus::RollingBack { .. })
    }

    fn decide_undo(&mut self, ix: StepIx, tries: u32, verdict: TaskVerdict) {
        let plan = self.plan.clone();
        let step = plan.steps[ix].id.clone();
        let Some(undo) = &plan.steps[ix].undo else { return };
        let state = match verdict {
            TaskVerdict::Passed if self.acts_beside_its_undo(ix) => UndoneState::Unknown {
                why: "what it takes back still ran on its host and may have taken effect after it".into(),
            },
            TaskVerdict::Passed => UndoneState::Undone,
            TaskVerdict::Unknown(_) if planted::is(Bug::RepeatLostUndo) && self.may_undo() => {
                return self.start_task(ix, TaskKind::Undo, tries, 0);
            }
            TaskVerdict::Unknown(why) => UndoneState::Unknown { why },
            // A resume goes on from here.
            _ if !self.may_undo() => return,
            // It looks again when that ends.
            TaskVerdict::NotRun | TaskVerdict::Cancelled if !self.undos_may_begin() => return,
            TaskVerdict::NotRun | TaskVerdict::Cancelled => {
                return self.start_task(ix, TaskKind::Undo, tries, 0);
            }
            TaskVerdict::Failed(_) if tries < undo.retry.attempts => {
                let delay = self.delay(&undo.retry, ix, tries);
                self.emit(Event::RetryScheduled { step, failed: tries, delay, undo: true });
                return self.later(ix);
            }
            TaskVerdict::Failed(why) => UndoneState::Failed { why },
        };
        self.emit(Event::StepUndone { step, state });
    }

    fn end_rollback(&mut self) {
        let plan = self.plan.clone();
        let name = |ix: StepIx| plan.steps[ix].id.to_string();
        let because = self.state.rollback.clone().unwrap_or_default();
        let all = 0..plan.steps.len();
        let failed: Vec<String> =
            all.clone().filter(|ix| undo_has_failed(&self.state, *ix)).map(name).collect();
        let kept: Vec<String> = all
            .filter(|ix| plan.steps[*ix].irreversible && self.state.steps[*ix].effect_at.is_some())
            .map(name)
            .collect();
        let unknown: Vec<String> = (0..plan.steps.len())
            .filter(|ix| self.state.steps[*ix].outcome() == Some(StepOutcome::Unknown))
            .map(name)
            .collect();
        if !failed.is_empty() {
            let why = format!("{because}; the undo of {} failed", failed.join(", "));
            self.end_run(RunOutcome::Stuck, Some(why));
        } else if !unknown.is_empty() {
            // It has no undo, and nobody knows whether there is anything to take back.
            let why = format!("{because}; taken back, except {}, which is in doubt", unknown.join(", "));
            self.end_run(RunOutcome::InDoubt, Some(why));
        } else if kept.is_empty() {
            self.end_run(RunOutcome::RolledBack, Some(because));
        } else {
            let why = format!("{because}; taken back, except what cannot be: {}", kept.join(", "));
            self.end_run(RunOutcome::Failed, Some(why));
        }
    }

    /// Takes back what an alternative of `group` did, one undo at a time. True once nothing is left to do.
    pub(super) fn take_back_within(&mut self, alternative: StepIx, group: StepIx) -> bool {
        let inside = subtree(&self.plan, alternative);
        if inside.iter().any(|ix| self.state.steps[*ix].is_undoing()) {
            return false;
        }
        let open = || inside.iter().copied().filter(|ix| is_to_undo(&self.plan, &self.state, *ix));
        let free = open().filter(|ix| !self.is_built_upon(*ix, open()));
        let Some(next) = free.max_by_key(|ix| self.state.steps[*ix].effect_at) else { return true };
        if inside.iter().any(|ix| undo_has_failed(&self.state, *ix)) {
            return true;
        }
        if self.figures.undoing == 0 && self.slot_is_free() {
            self.start_undo(next);
        } else {
            self.undo_wanted.insert(group);
        }
        false
    }
}
