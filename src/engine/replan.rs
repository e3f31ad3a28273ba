//! Whether the rest of a run may go on with the plan of an edited playbook.
//!
//! One plan folds all of a run's records, those from before the edit too. So the edit is taken only if every record
//! says under the new plan exactly what it said under the old one; then loading, reports and resumes need to know
//! nothing of the old plan. What has begun is held to more than that: nothing may start on the ground of a step that
//! was carried out in another form than the one that now stands there, unless a person says that what was done stands.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Record, StepId, StepOutcome};
use crate::plan::{Difference, OnFailure, Plan, StepChange, StepIx};
use crate::planted::{self, Bug};

use super::state::{PhaseStatus, RunStatus, State, StepState, StepStatus};

/// What came of looking at an edited playbook.
#[derive(Debug)]
pub struct Replan {
    pub difference: Difference,
    /// Why the edit cannot be taken at all, in words that say how to mend it.
    pub refused: Vec<String>,
    /// Steps that are done and read otherwise now, and what of them; a person may accept them as they were done.
    pub doubtful: Vec<(StepId, String)>,
    /// The run so far under the new plan. Absent if the edit is refused.
    pub state: Option<State>,
}

/// Parts of a step that say what it does and what follows from it. Of a step that is done, a change of any other
/// part changes nothing that was carried out: its title, its retries, its `undo`.
const WEIGHTY: &[&str] = &[
    "action", "any_of", "choose", "env", "expect", "item", "manual", "nothing", "notify", "outputs",
    "params", "playbook", "stdin", "verify", "wait", "when", "with", "workdir",
];

impl Replan {
    /// `state` is the fold of `records` under `old`.
    pub fn consider(old: &Plan, state: &State, new: &Plan, records: &[Record]) -> Self {
        let difference = Difference::between(old, new);
        let touched: BTreeSet<&StepId> = records.iter().filter_map(|r| r.event.step()).collect();
        let look = Look { old, state, new, touched };
        let mut refused = look.run();
        refused.extend(look.phases());
        refused.extend(difference.added.iter().filter_map(|id| look.added(id)));
        refused.extend(difference.removed.iter().filter_map(|id| look.removed(id)));
        let mut doubtful = Vec::new();
        for change in &difference.changed {
            match look.changed(change) {
                Standing::Sound => {}
                Standing::Refused(why) => refused.push(why),
                Standing::Doubtful(why) => doubtful.push((change.step.clone(), why)),
            }
        }
        let folded = if refused.is_empty() { Some(look.fold(records)) } else { None };
        let state = match folded {
            Some(Ok(state)) => Some(state),
            Some(Err(why)) => {
                refused.push(format!("what the journal says would mean something else: {why}"));
                None
            }
            None => None,
        };
        Self { difference, refused, doubtful, state }
    }

    /// Doubtful steps that were not accepted.
    pub fn open_doubts<'a>(&'a self, accepted: &'a [StepId]) -> impl Iterator<Item = &'a (StepId, String)> {
        self.doubtful.iter().filter(|(step, _)| !accepted.contains(step))
    }
}

struct Look<'a> {
    old: &'a Plan,
    state: &'a State,
    new: &'a Plan,
    /// Steps that a record speaks of.
    touched: BTreeSet<&'a StepId>,
}

enum Standing {
    Sound,
    Refused(String),
    Doubtful(String),
}

impl Look<'_> {
    fn run(&self) -> Vec<String> {
        let mut out = Vec::new();
        let (old, new) = (self.old, self.new);
        if old.playbook.name != new.playbook.name {
            out.push(format!(
                "it is another playbook: {} instead of {}",
                new.playbook.name, old.playbook.name
            ));
        }
        if old.root != new.root {
            out.push(format!(
                "relative paths would count from {} instead of {}: edit the playbook where it was",
                new.root.display(),
                old.root.display()
            ));
        }
        if old.drill.is_some() {
            out.push("a drill proves one plan: start it anew with `runbook drill`".into());
        }
        if self.state.is_rolling_back() {
            out.push("what was done is being taken back, with the undo that it was done with".into());
        }
        if let RunStatus::Stopping { .. } | RunStatus::Cancelling { .. } = self.state.status {
            out.push("the run was about to end: first `resume` without --replan, which ends it".into());
        }
        let params = |plan: &Plan| plan.scopes.first().map(|s| s.params.clone()).unwrap_or_default();
        let now = params(new);
        for (name, value) in params(old) {
            if now.get(&name).is_some_and(|now| *now != value) {
                out.push(format!("parameter {name} would not be what the run was started with"));
            }
        }
        out
    }

    /// Phases that have begun keep their places.
    fn phases(&self) -> Vec<String> {
        let begun = self.old.phases.iter().zip(&self.state.phases);
        let begun = begun.filter(|(_, status)| **status != PhaseStatus::Pending).map(|(phase, _)| phase);
        let mut out = Vec::new();
        for (place, phase) in begun.enumerate() {
            if self.new.phases.get(place).is_none_or(|new| new.id != phase.id) {
                out.push(format!(
                    "phase {} has begun as number {} and must stay there, under this name",
                    phase.id,
                    place + 1
                ));
            }
        }
        out
    }

    fn added(&self, id: &StepId) -> Option<String> {
        let step = &self.new.steps[self.new.find(id)?];
        if self.is_over(&self.new.phases[step.phase].id) {
            let phase = &self.new.phases[step.phase].id;
            return Some(format!(
                "the new step {id} would never start: phase {phase} is over; put it into a later one"
            ));
        }
        let mut around = std::iter::successors(step.parent, |ix| self.new.steps[*ix].parent);
        let closed = around.find(|ix| self.stays_over(*ix))?;
        Some(format!("the new step {id} would never start: {} is over", self.new.steps[closed].id))
    }

    fn removed(&self, id: &StepId) -> Option<String> {
        let begun = self.touched.contains(id);
        begun.then(|| {
            format!("step {id} has begun and cannot be left out: put it back; what is done stays done")
        })
    }

    fn changed(&self, change: &StepChange) -> Standing {
        let id = &change.step;
        let Some(past) = self.standing(id) else { return Standing::Sound };
        let moved_to = self.new.find(id).map(|ix| &self.new.phases[self.new.steps[ix].phase].id);
        let moved = change.fields.iter().any(|f| f.field == "phase");
        if !self.touched.contains(id) {
            return match moved_to {
                Some(phase) if moved && self.is_over(phase) => {
                    Standing::Refused(format!("step {id} would never start: phase {phase} is over"))
                }
                _ => Standing::Sound,
            };
        }
        if moved {
            return Standing::Refused(format!("step {id} has begun and must stay in its phase"));
        }
        let weighs = change.fields.iter().any(|f| WEIGHTY.contains(&f.field));
        if change.fields.iter().any(|f| f.field == "with") {
            return Standing::Refused(format!(
                "step {id} has begun, and its `with` was settled then: put it back"
            ));
        }
        let keeps = |f: &crate::plan::FieldChange| f.field == "keep_result" && f.after == true;
        match past.outcome() {
            // A group on its way: its steps are looked at one by one.
            None if past.is_inside() && !weighs => Standing::Sound,
            None if past.is_active() => Standing::Refused(format!(
                "step {id} has begun under its old form: first `resume` without --replan, or `cancel`"
            )),
            // It waits to be started: nothing of the old form is left.
            None => Standing::Sound,
            Some(StepOutcome::Unknown) => Standing::Refused(format!(
                "nobody knows what step {id} did under its old form: first say so with `runbook resolve`"
            )),
            Some(_) if past.dirty && !planted::is(Bug::EditInDoubt) => Standing::Refused(format!(
                "step {id} was once in doubt under its old form: first say what it did with `runbook resolve`"
            )),
            Some(StepOutcome::Failed | StepOutcome::Cancelled) => Standing::Sound,
            Some(_) if change.fields.iter().any(keeps) => Standing::Refused(format!(
                "another step reads now what step {id} gave (`result`), and that was not kept: \
                 read one of its outputs, or find it out in a new step"
            )),
            Some(outcome) => self.done(change, outcome),
        }
    }

    fn done(&self, change: &StepChange, outcome: StepOutcome) -> Standing {
        let mut weighty: Vec<String> = change
            .fields
            .iter()
            .filter(|f| {
                WEIGHTY.contains(&f.field) || (f.field == "unless" && outcome == StepOutcome::Satisfied)
            })
            .map(|f| f.field.to_owned())
            .collect();
        weighty.extend(
            self.late_needs(&change.step).into_iter().map(|need| format!("needs {need}, which has not run")),
        );
        if weighty.is_empty() || planted::is(Bug::EditUnseen) {
            return Standing::Sound;
        }
        Standing::Doubtful(format!("it is {outcome} in its old form; changed: {}", weighty.join(", ")))
    }

    /// What the step now needs and did not need when it was carried out, and is not over.
    fn late_needs(&self, id: &StepId) -> Vec<StepId> {
        let needs = |plan: &Plan| -> BTreeSet<StepId> {
            let step = plan.find(id).map(|ix| &plan.steps[ix]);
            step.into_iter().flat_map(|s| &s.needs).map(|ix| plan.steps[*ix].id.clone()).collect()
        };
        let before = needs(self.old);
        let late = |need: &StepId| !before.contains(need) && !self.standing(need).is_some_and(is_over);
        needs(self.new).into_iter().filter(late).collect()
    }

    fn standing(&self, id: &StepId) -> Option<&StepState> {
        self.old.find(id).map(|ix| &self.state.steps[ix])
    }

    /// Whether a resume leaves the group of the new plan as it is.
    fn stays_over(&self, group: StepIx) -> bool {
        let step = &self.new.steps[group];
        match self.standing(&step.id).and_then(StepState::outcome) {
            None | Some(StepOutcome::Cancelled) => false,
            Some(StepOutcome::Failed) => step.on_failure == OnFailure::Continue,
            Some(_) => true,
        }
    }

    fn is_over(&self, phase: &str) -> bool {
        let old = self.old.phases.iter().position(|p| p.id == phase);
        old.is_some_and(|ix| matches!(self.state.phases[ix], PhaseStatus::Ended { .. }))
    }

    /// The run so far under the new plan, if that is the same as under the old one.
    fn fold(&self, records: &[Record]) -> Result<State, String> {
        let mut state = State::new(self.new);
        for record in records {
            state.apply(self.new, record)?;
        }
        let by_id = |plan: &Plan, state: &State| -> BTreeMap<StepId, StepState> {
            let begun = state.steps.iter().enumerate().filter(|(_, step)| !step.is_fresh());
            begun.map(|(ix, step)| (plan.steps[ix].id.clone(), step.clone())).collect()
        };
        let (before, after) = (by_id(self.old, self.state), by_id(self.new, &state));
        let differs = |id: &&StepId| before.get(*id) != after.get(*id);
        if let Some(id) = before.keys().chain(after.keys()).find(differs) {
            return Err(format!("step {id} would stand elsewhere than it does"));
        }
        let phases = |plan: &Plan, state: &State| -> BTreeMap<String, PhaseStatus> {
            let begun = plan.phases.iter().zip(&state.phases).filter(|(_, s)| **s != PhaseStatus::Pending);
            begun.map(|(phase, status)| (phase.id.clone(), status.clone())).collect()
        };
        let flights = |state: &State| state.in_flight.keys().cloned().collect::<Vec<_>>();
        let same = state.status == self.state.status
            && state.rollback == self.state.rollback
            && phases(self.new, &state) == phases(self.old, self.state)
            && flights(&state) == flights(self.state);
        if same { Ok(state) } else { Err("the run would stand elsewhere than it does".into()) }
    }
}

fn is_over(step: &StepState) -> bool {
    matches!(step.status, StepStatus::Over(_))
}
