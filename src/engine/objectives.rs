//! The end of a run, and what it means for the objectives.

use crate::model::{Event, Millis, Objective, ObjectiveVerdict, RunEnd, RunOutcome, Timestamp};
use crate::plan::template;

use super::core::Engine;

impl Engine {
    pub(super) fn end_run(&mut self, outcome: RunOutcome, why: Option<String>) -> bool {
        let complete = matches!(outcome, RunOutcome::Recovered | RunOutcome::Degraded);
        // A run that waits for a person is not over.
        let judged = outcome != RunOutcome::Waiting;
        let rto = self.rto(complete).filter(|_| judged);
        let rpo = self.rpo(complete).filter(|_| judged);
        self.last_words(outcome);
        self.emit(Event::RunEnded(Box::new(RunEnd { outcome, why, rto, rpo })))
    }

    /// From the start of the incident to the end of the last required check.
    fn rto(&self, complete: bool) -> Option<Objective> {
        let target = self.plan.objectives.rto;
        if !complete {
            let note = Some("the run did not recover the service".to_owned());
            let verdict = if target.is_some() { ObjectiveVerdict::Missed } else { ObjectiveVerdict::None };
            return target.map(|_| Objective { target, measured: None, verdict, note });
        }
        let start = self.state.start.as_ref()?;
        let before = self.state.started_at.since(start.incident_since);
        Some(judged(target, before.saturating_add(self.now.t)))
    }

    /// From the time the data went back to until the start of the incident.
    fn rpo(&self, complete: bool) -> Option<Objective> {
        let target = self.plan.objectives.rpo;
        let expr = self.plan.objectives.data_as_of.as_ref();
        let unknown = |note: &str| {
            Some(Objective {
                target,
                measured: None,
                verdict: ObjectiveVerdict::None,
                note: Some(note.to_owned()),
            })
        };
        let Some(expr) = expr else {
            return target.and_then(|_| unknown("the playbook does not say how to measure it"));
        };
        if !complete {
            return unknown("the run did not recover the service");
        }
        let value = self.with_scope_ctx(0, &expr.uses, |ctx| template::eval(expr, ctx));
        let since = self.state.start.as_ref()?.incident_since;
        match value {
            Ok(serde_json::Value::String(text)) => match Timestamp::parse(&text) {
                Some(as_of) => Some(judged(target, since.since(as_of))),
                None => unknown(&format!("`data_as_of` gave {text:?}, which is no RFC 3339 time")),
            },
            Ok(other) => unknown(&format!("`data_as_of` gave {other}, which is no time")),
            Err(error) => unknown(&format!("`data_as_of` could not be evaluated: {error}")),
        }
    }
}

fn judged(target: Option<Millis>, measured: Millis) -> Objective {
    let verdict = match target {
        Some(target) if measured <= target => ObjectiveVerdict::Met,
        Some(_) => ObjectiveVerdict::Missed,
        None => ObjectiveVerdict::None,
    };
    Objective { target, measured: Some(measured), verdict, note: None }
}
