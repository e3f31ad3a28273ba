//! What past runs let expect of a run when it started, and what it came to.

use serde::Serialize;

use crate::engine::{Projection, State};
use crate::model::{Event, Millis, Record, RunOutcome, Spread, StepId, is_late};
use crate::plan::Plan;
use crate::report::history::History;
use crate::report::outlook::{Outlook, past_runs};
use crate::report::past::{Took, took};
use crate::report::words;

/// Steps that the readable forms name.
const NAMED: usize = 5;

/// Spans count from the start of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Projected {
    /// Past runs that were known at the start, drills apart.
    pub runs: u32,
    pub drills: u32,
    /// The whole run, as projected when it started. Absent if no past run told of its steps.
    pub at_start: Option<Spread>,
    /// Steps of which no past run told then.
    pub untold: usize,
    /// What it took, if it recovered the service.
    pub took: Option<Millis>,
    /// What is projected now, while the run is open.
    pub now: Option<Outlook>,
    /// Each step that past runs tell of and that ran in this one, in the order of the plan.
    pub steps: Vec<Compared>,
}

/// A step, without waiting for people.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    pub step: StepId,
    pub took: Millis,
    pub p50: Millis,
    pub p90: Millis,
    /// Past runs that tell of it.
    pub of: u32,
}

impl Projected {
    pub(super) fn of(plan: &Plan, records: &[Record], history: &History) -> Option<Self> {
        let first = records.first()?;
        let Event::RunStarted(start) = &first.event else { return None };
        let past = start.past.as_deref()?;
        let mut state = State::new(plan);
        state.apply(plan, first).ok()?;
        let projection = Projection::of(plan, &state, Millis::ZERO);
        let took = took(records);
        let compared = plan.steps.iter().filter_map(|step| {
            let told = past.steps.get(&step.id).filter(|told| told.ran > 0)?;
            let Some(Took::Ran { machine, .. }) = took.get(&step.id) else { return None };
            let (p50, p90) = (told.took.p50, told.took.p90);
            Some(Compared { step: step.id.clone(), took: *machine, p50, p90, of: told.ran })
        });
        let outcome = history.end.as_ref().map(|end| end.outcome);
        let recovered = matches!(outcome, Some(RunOutcome::Recovered | RunOutcome::Degraded));
        Some(Self {
            runs: past.runs,
            drills: past.drills,
            at_start: projection.as_ref().map(|projection| projection.end),
            untold: projection.map_or(0, |projection| projection.untold),
            took: recovered.then_some(history.last_t),
            now: history.outlook(plan, history.last_t),
            steps: compared.collect(),
        })
    }

    /// For the table of times.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        match self.at_start {
            Some(Spread { p50, p90 }) => {
                let without = match self.untold {
                    0 => String::new(),
                    n => format!(", without {} that none of them tells of", words::count(n, "step")),
                };
                let by = past_runs(self.runs, self.drills);
                rows.push((
                    "run, as projected at its start".to_owned(),
                    format!("{p50} (p50) to {p90} (p90), from {by}{without}"),
                ));
            }
            None if self.runs == 0 && self.drills == 0 => {
                rows.push(("run, as projected at its start".to_owned(), "no past runs".to_owned()));
            }
            None => {}
        }
        if let Some(outlook) = self.now.as_ref().filter(|outlook| outlook.recovery.is_some()) {
            rows.push(("as projected now".to_owned(), outlook.sentence()));
        }
        let mut slow: Vec<&Compared> =
            self.steps.iter().filter(|step| is_late(step.took, step.p90)).collect();
        if !slow.is_empty() {
            slow.sort_by_key(|step| std::cmp::Reverse(step.took.saturating_sub(step.p90)));
            let named =
                slow.iter().take(NAMED).map(|step| format!("{} {} (p90 {})", step.step, step.took, step.p90));
            let mut text = named.collect::<Vec<_>>().join(", ");
            if slow.len() > NAMED {
                text.push_str(&format!(" and {} more", slow.len() - NAMED));
            }
            rows.push(("slower than nine of ten past runs".to_owned(), text));
        }
        rows
    }
}
