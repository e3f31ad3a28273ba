//! What will probably start next: a guess, so that it can be made ready early. Nothing is decided or recorded here; whoever
//! makes ready compares with what is decided in the end.

use crate::model::{TaskId, TaskKind};
use crate::plan::{Body, StepIx};

use super::core::{Engine, StartTask};
use super::render::Rendered;
use super::state::RunStatus;

impl Engine {
    /// The task that starts next if the only one under way passes and no later word counts. None: there is more under way, or it
    /// is a step's own business first (a check, a question, a condition), or it cannot be told yet.
    pub fn likely_next(&self) -> Option<StartTask> {
        let alone = self.state.in_flight.len() == 1 && self.figures.busy + self.figures.undoing == 1;
        let task = self.state.in_flight.keys().next().filter(|_| alone)?;
        let here = self.plan.find(&task.step)?;
        let passes = task.kind == TaskKind::Attempt && self.plan.steps[here].verify.is_empty();
        if !passes || self.state.status != RunStatus::Running || !self.figures.heard.is_empty() {
            return None;
        }
        let next = self.figures.first_after(&self.plan, &self.state, &self.dependents[here])?;
        self.plain_start(next)
    }

    /// The step's first attempt, if nothing stands before it.
    fn plain_start(&self, ix: StepIx) -> Option<StartTask> {
        let (step, state) = (&self.plan.steps[ix], &self.state.steps[ix]);
        let Body::Command(command) = &step.body else { return None };
        let asked = step.when.is_some() || step.unless.is_some() || step.approval.is_some();
        if asked || state.attempts > 0 || state.done_by_hand {
            return None;
        }
        let Rendered { op, .. } = self.render(ix, command).ok()?;
        let task = TaskId { step: step.id.clone(), kind: TaskKind::Attempt, attempt: 1, rerun: 0 };
        Some(StartTask::new(task, op, command, step))
    }
}
