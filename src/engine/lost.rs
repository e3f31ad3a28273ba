//! What acted on another host, an attempt, a remedy or an undo, and whose link broke: only its host may know how it ended.
//!
//! Until the host has answered, nothing is built on it: the step, or its undo, is over with an outcome that is unknown. A
//! resume asks the host first, and what that knows puts the task in flight again, as if it had been so all the time. What
//! only looks (`unless`, `check`, `verify`) is not asked for: it looks again, for what it saw then is old.

use crate::model::{TaskId, TaskKind, UndoneState};
use crate::plan::{Plan, StepIx};

use crate::planted::{self, Bug};

use super::state::{Activity, Lost, State, StepState, StepStatus, UndoStatus};

impl State {
    /// Like a person's word, this may follow the run's end: the resume that comes next goes on from it.
    pub(super) fn task_found(&mut self, plan: &Plan, task: &TaskId) -> Result<(), String> {
        let ix = self.find(plan, &task.step)?;
        let may = self.may_be_asked_for(plan, ix, false);
        let step = &mut self.steps[ix];
        let lost = step.lost_there.take_if(|lost| may && lost.task == *task);
        let lost = lost.ok_or_else(|| format!("task {task} was not lost"))?;
        match task.kind {
            TaskKind::Undo => {
                step.undo = UndoStatus::Running { tries: task.attempt };
                step.status = step.before_undo.map_or(step.status.clone(), StepStatus::Over);
            }
            TaskKind::Remedy => step.status = StepStatus::Active(Activity::Remedy { failed: task.attempt }),
            _ => step.status = StepStatus::Active(Activity::Acting),
        }
        if task.kind != TaskKind::Undo {
            step.dirty = lost.was_dirty;
            (step.lost, step.ended, step.why) = (false, None, None);
        }
        self.in_flight.insert(lost.task, lost.flight);
        Ok(())
    }

    /// Tasks whose hosts may know by now how they ended. `taking_back`: whoever asks is about to roll the run back, and
    /// only wants to know what is taken back already.
    pub fn lost_elsewhere<'s>(&'s self, plan: &'s Plan, taking_back: bool) -> impl Iterator<Item = &'s Lost> {
        (0..self.steps.len())
            .filter(move |ix| self.may_be_asked_for(plan, *ix, taking_back))
            .filter_map(|ix| self.steps[ix].lost_there.as_deref())
    }

    /// Whether it would still count how the step's lost task ended.
    fn may_be_asked_for(&self, plan: &Plan, ix: StepIx, taking_back: bool) -> bool {
        let step = &self.steps[ix];
        match &step.lost_there {
            None => false,
            Some(lost) if lost.task.kind == TaskKind::Undo => {
                matches!(step.undo, UndoStatus::Over(UndoneState::Unknown { .. }))
            }
            Some(_) => {
                let forward = !taking_back && !self.is_rolling_back();
                forward && self.may_be_resolved(plan, ix) && self.is_in_doubt(plan, ix)
            }
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
}
