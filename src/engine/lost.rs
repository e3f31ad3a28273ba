//! What acted on another host, an attempt, a remedy or an undo, and whose link broke: only its host may know how it ended.
//!
//! Until the host has answered, nothing is built on it: the step, or its undo, is over with an outcome that is unknown. A
//! resume asks the host first, and what that knows puts the task in flight again, as if it had been so all the time. What
//! only looks (`unless`, `check`, `verify`) is not asked for: it looks again, for what it saw then is old.
//!
//! Whoever goes on asks about steps in doubt. Whoever takes back asks about every attempt and remedy that was lost, also
//! where a check has settled the step meanwhile: what still runs must be over before anything is taken back.

use crate::model::{Event, StepOutcome, TaskEndKind, TaskId, TaskKind, TaskVerdict, UndoneState};
use crate::plan::Plan;
use crate::planted::{self, Bug};

use super::core::{Engine, Found};
use super::state::{Activity, Lost, State, StepState, StepStatus, UndoStatus};

impl State {
    /// Like a person's word, this may follow the run's end: the resume that comes next goes on from it.
    pub(super) fn task_found(&mut self, plan: &Plan, task: &TaskId) -> Result<(), String> {
        let ix = self.find(plan, &task.step)?;
        let lost = self.lost_elsewhere(plan, false).find(|lost| lost.task == *task).cloned();
        let lost = lost.ok_or_else(|| format!("task {task} was not lost"))?;
        let step = &mut self.steps[ix];
        if task.kind == TaskKind::Undo {
            step.lost_undo = None;
            step.undo = UndoStatus::Running { tries: task.attempt };
            step.status = step.before_undo.map_or(step.status.clone(), StepStatus::Over);
        } else {
            step.lost_there.take_if(|last| last.task == *task);
            step.lost_before.retain(|before| before.task != *task);
            step.acts_again(&lost);
        }
        self.in_flight.insert(lost.task, lost.flight);
        Ok(())
    }

    /// Tasks whose hosts may know by now how they ended, as far as that would still count. `taking_back`: whoever asks is
    /// about to roll the run back.
    pub fn lost_elsewhere<'s>(&'s self, plan: &'s Plan, taking_back: bool) -> impl Iterator<Item = &'s Lost> {
        let taking_back = taking_back || self.is_rolling_back();
        self.steps.iter().enumerate().flat_map(move |(ix, step)| {
            let counts = match taking_back {
                true => !planted::is(Bug::UndoBeside),
                false => self.may_be_resolved(plan, ix) && self.is_in_doubt(plan, ix),
            };
            let before = step.lost_before.iter().filter(move |_| taking_back && counts);
            let acts = before.chain(step.lost_there.as_deref().filter(|_| counts));
            let open = matches!(step.undo, UndoStatus::Over(UndoneState::Unknown { .. }));
            acts.chain(step.lost_undo.as_deref().filter(|_| open))
        })
    }
}

impl Engine {
    /// What was given up and is found again: then it is as if it had been in flight all the time. Gives what is to be taken
    /// back although nobody knows whether it is over.
    pub(super) fn found_again(&mut self, found: &[(TaskId, Found)]) -> Vec<(TaskId, String)> {
        let mut silent = Vec::new();
        for (task, found) in found {
            if !self.state.lost_elsewhere(&self.plan, false).any(|lost| lost.task == *task) {
                continue;
            }
            match found.silence() {
                None => _ = self.emit(Event::TaskFound { task: task.clone() }),
                Some(why) if self.state.is_rolling_back() && task.kind != TaskKind::Undo => {
                    silent.push((task.clone(), why.to_owned()));
                }
                Some(_) => {}
            }
        }
        silent
    }
}

impl Found {
    /// Why it tells nothing new of a task that was given up.
    fn silence(&self) -> Option<&str> {
        match self {
            Self::NeverStarted | Self::Runs => None,
            Self::Ended { end, .. } => match &end.kind {
                TaskEndKind::Unknown { why } if !end.gone => Some(why),
                _ => None,
            },
            Self::Unknown { why } => Some(why),
        }
    }
}

impl StepState {
    /// An attempt on a host that has not said whether it is over.
    pub(super) fn may_still_run(&self) -> bool {
        self.lost_there.as_ref().is_some_and(|lost| lost.task.kind == TaskKind::Attempt)
            && !planted::is(Bug::BelieveEarlyNo)
    }

    /// A remedy of which nobody here knows how it ended.
    pub(super) fn lost_remedy(&self) -> bool {
        self.lost_there.as_ref().is_some_and(|lost| lost.task.kind == TaskKind::Remedy)
            && !planted::is(Bug::RemedyBeside)
    }

    /// The step's attempt or remedy is in flight again.
    fn acts_again(&mut self, lost: &Lost) {
        if self.undo_has_begun() {
            // Beside it, while its host could not be asked. All that is wanted is that it is over.
            return;
        }
        let own = self.own_outcome();
        if self.undo != UndoStatus::None {
            // To be tried, or asked about, anew: with what will be known then, and under another name.
            (self.undo, self.undo_approved, self.before_undo) = (UndoStatus::None, false, None);
            self.round = self.round.saturating_add(1);
        }
        if self.is_repeated(&lost.task) {
            if let Some(outcome) = own {
                self.status = StepStatus::Over(outcome);
            }
            return;
        }
        self.status = match own {
            // A check has settled it without the host.
            Some(outcome) if outcome != StepOutcome::Unknown => StepStatus::Over(outcome),
            _ => {
                self.dirty = lost.was_dirty;
                (self.lost, self.ended, self.why) = (false, None, None);
                StepStatus::Active(match lost.task.kind {
                    TaskKind::Remedy => Activity::Remedy { failed: lost.task.attempt },
                    _ => Activity::Acting,
                })
            }
        };
    }

    /// A try of it is in flight, or has taken effect as far as anybody knows.
    fn undo_has_begun(&self) -> bool {
        match &self.undo {
            UndoStatus::Running { .. } => true,
            UndoStatus::Deciding { verdict, .. } => {
                matches!(verdict, TaskVerdict::Passed | TaskVerdict::Unknown(_))
            }
            UndoStatus::Over(state) => !matches!(state, UndoneState::Failed { .. }),
            _ => false,
        }
    }

    /// An attempt after which another one began.
    pub(super) fn is_repeated(&self, task: &TaskId) -> bool {
        task.kind == TaskKind::Attempt && (task.attempt, task.rerun) < (self.attempts, self.reruns)
    }

    pub(super) fn forget_lost(&mut self) {
        (self.lost_there, self.lost_undo) = (None, None);
        self.lost_before.clear();
    }

    /// The end of such a task decides nothing about the step: that is over without it, or what was looked for is told by
    /// the attempt itself, which its host knows of after all.
    pub(super) fn goes_on_without(&self, task: &TaskId) -> bool {
        let looks = !matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy | TaskKind::Undo);
        if self.is_repeated(task) {
            return true;
        }
        match &self.status {
            StepStatus::Over(_) => true,
            StepStatus::Active(Activity::Acting | Activity::Remedy { .. }) => looks,
            StepStatus::Active(Activity::Deciding { task, .. }) => {
                looks && matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy)
            }
            _ => false,
        }
    }
}
