//! The run as a whole: phases, which steps start, and how the run ends.

use crate::model::{Event, Millis, RunOutcome, StepOutcome};
use crate::plan::StepIx;
use crate::planted::{self, Bug};

use super::core::Engine;
use super::group;
use super::state::{PhaseStatus, RunStatus};

impl Engine {
    /// Draws every conclusion that the state allows.
    pub(super) fn settle(&mut self) {
        while self.fault.is_none() {
            // First of all: a conclusion may be the run's end.
            if self.notify() {
                continue;
            }
            if let Some(ix) = self.work.pop_front() {
                self.advance(ix);
                continue;
            }
            let idle = self.figures.busy == 0 && self.state.in_flight.is_empty();
            let progressed = match &self.state.status {
                RunStatus::NotStarted | RunStatus::Ended(_) => false,
                RunStatus::Running => self.go_on(),
                RunStatus::Stopping { .. } => idle && self.end_stopped(),
                RunStatus::Cancelling { .. } => self.state.in_flight.is_empty() && self.end_cancelled(),
                RunStatus::RollingBack { because } if self.state.rollback.is_none() => {
                    let because = because.clone();
                    self.begin_rollback(because)
                }
                RunStatus::RollingBack { .. } => idle && self.roll_back(),
            };
            if !progressed && self.work.is_empty() {
                return;
            }
        }
    }

    /// Phases, and the steps that may start.
    fn go_on(&mut self) -> bool {
        let phase = self.figures.phase;
        let Some(status) = self.state.phases.get(phase) else {
            // An undo of which its host knows after all may belong to a group that is over.
            if self.figures.undoing > 0 {
                return false;
            }
            self.end_complete();
            return true;
        };
        let id = self.plan.phases[phase].id.clone();
        if *status == PhaseStatus::Pending {
            return self.emit(Event::PhaseStarted { phase: id });
        }
        let tally = self.figures.current_phase();
        if tally.pending == 0 && tally.active == 0 && tally.bad == 0 {
            return self.emit(Event::PhaseEnded { phase: id });
        }
        if self.start_ready() {
            return true;
        }
        // Nothing is under way and nothing can start: a step ended so that a person must look.
        let idle = self.figures.busy == 0 && self.figures.undoing == 0 && self.state.in_flight.is_empty();
        idle && self.figures.asking == 0 && self.end_stopped()
    }

    fn start_ready(&mut self) -> bool {
        // An alternative that has to be taken back waits for a place, too, and its group with it.
        if self.figures.undoing == 0
            && self.slot_is_free()
            && let Some(group) = self.undo_wanted.pop_first()
        {
            self.later(group);
            return true;
        }
        if self.act_on_answers() {
            return true;
        }
        // One at a time: what follows from its start may need the next place first.
        if self.slot_is_free()
            && let Some(ix) = self.figures.ready.first().copied()
        {
            self.start_step(ix);
            return true;
        }
        false
    }

    pub(super) fn slot_is_free(&self) -> bool {
        let places = self.plan.max_parallel.max(1) + usize::from(planted::is(Bug::OneTooMany));
        self.figures.busy + self.figures.undoing < places
    }

    pub(super) fn phase_deadline(&self) -> Option<(Millis, usize)> {
        let ix = self.figures.phase;
        match self.state.phases.get(ix)? {
            PhaseStatus::Running { since, late: false } => {
                Some((since.saturating_add(self.plan.phases[ix].deadline?), ix))
            }
            _ => None,
        }
    }

    fn end_stopped(&mut self) -> bool {
        let doubt = (0..self.plan.steps.len()).find(|ix| self.state.is_in_doubt(&self.plan, *ix));
        if let Some(ix) = doubt {
            let why = self.state.steps[ix].why.as_deref().unwrap_or("its outcome is unknown");
            let why = format!("step {} is in doubt: {why}", self.plan.steps[ix].id);
            return self.end_run(RunOutcome::InDoubt, Some(why));
        }
        let why = match &self.state.status {
            RunStatus::Stopping { why } => why.clone(),
            _ => match self.first_with(StepOutcome::Failed) {
                Some(ix) => format!("step {} failed", self.plan.steps[ix].id),
                None => "a step did not succeed".into(),
            },
        };
        self.end_run(RunOutcome::Failed, Some(why))
    }

    fn end_cancelled(&mut self) -> bool {
        let RunStatus::Cancelling { by } = &self.state.status else { return false };
        let mut why = format!("stopped by {by}");
        if let Some(ix) = self.first_with(StepOutcome::Unknown) {
            why = format!("{why}; step {} is in doubt", self.plan.steps[ix].id);
        }
        self.end_run(RunOutcome::Cancelled, Some(why))
    }

    fn first_with(&self, outcome: StepOutcome) -> Option<StepIx> {
        self.state.steps.iter().position(|s| s.outcome() == Some(outcome))
    }

    fn end_complete(&mut self) {
        // An alternative that did not serve is no failure of the run: another one did, or its group failed.
        let counts = |ix: &StepIx| !group::is_in_failed_alternative(&self.plan, &self.state, *ix);
        let all = 0..self.plan.steps.len();
        let failed = all
            .clone()
            .filter(|ix| self.state.steps[*ix].own_outcome() == Some(StepOutcome::Failed))
            .find(counts);
        // An item that enough others were done without.
        let unknown = all
            .clone()
            .filter(|ix| self.state.steps[*ix].own_outcome() == Some(StepOutcome::Unknown))
            .find(counts);
        let advisory = all.filter(|ix| !self.state.steps[*ix].advisories.is_empty()).find(counts);
        let (outcome, why) = match (failed, unknown, advisory) {
            (Some(ix), ..) => (
                RunOutcome::Degraded,
                Some(format!("step {} failed and the run went on", self.plan.steps[ix].id)),
            ),
            (None, Some(ix), _) => (
                RunOutcome::Degraded,
                Some(format!("nobody knows what step {} did; the run went on", self.plan.steps[ix].id)),
            ),
            (None, None, Some(ix)) => (
                RunOutcome::Degraded,
                Some(format!("an advisory check of step {} did not hold", self.plan.steps[ix].id)),
            ),
            (None, None, None) => (RunOutcome::Recovered, None),
        };
        self.end_run(outcome, why);
    }
}
