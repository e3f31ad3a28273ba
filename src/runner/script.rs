//! Answers that were written down before: `--answers FILE`, and a drill's `answers`.

use std::collections::BTreeMap;

use crate::engine::{Input, State};
use crate::model::{Event, Person, Record, StepId, Via};
use crate::plan::Plan;

/// What is said to each step's questions.
#[derive(Debug, Clone, Default)]
pub struct Script {
    answers: BTreeMap<StepId, String>,
    /// Under whose name.
    speaker: String,
    drill: bool,
}

impl Script {
    /// The operator's own answers, which count like the operator's.
    pub fn of_operator(answers: BTreeMap<StepId, String>, operator: &str) -> Self {
        Self { answers, speaker: operator.to_owned(), drill: false }
    }

    /// A drill's: they stand for whoever is asked.
    pub fn of_drill(answers: BTreeMap<StepId, String>) -> Self {
        Self { answers, speaker: "drill".into(), drill: true }
    }

    /// Steps that the plan does not have.
    pub fn unknown<'a>(&'a self, plan: &Plan) -> Vec<&'a StepId> {
        self.answers.keys().filter(|step| plan.find(step).is_none()).collect()
    }

    /// What is said to the questions that these records asked, or, after a resume, to all that are open.
    pub(super) fn answers(&self, plan: &Plan, state: &State, records: &[Record]) -> Vec<Input> {
        if self.answers.is_empty() {
            return Vec::new();
        }
        let resumed = records.iter().any(|r| matches!(r.event, Event::RunResumed(_)));
        let asked = records.iter().filter_map(|r| match &r.event {
            Event::Asked { step, .. } => Some(step.clone()),
            _ => None,
        });
        let steps: Vec<StepId> = match resumed {
            true => plan.steps.iter().map(|step| step.id.clone()).collect(),
            false => asked.collect(),
        };
        steps.into_iter().flat_map(|step| self.to(plan, state, step)).collect()
    }

    fn to(&self, plan: &Plan, state: &State, step: StepId) -> Vec<Input> {
        let open = plan.find(&step).and_then(|ix| state.steps[ix].asking());
        let (Some(asking), Some(text)) = (open, self.answers.get(&step)) else { return Vec::new() };
        // What does not fit is no answer; the run waits, or ends waiting, and the log shows the question.
        let Ok(reply) = asking.question.read(text) else { return Vec::new() };
        let people = if self.drill { asking.question.count } else { 1 };
        (0..people)
            .map(|n| Input::Answer {
                step: step.clone(),
                binding: None,
                reply: reply.clone(),
                by: self.person(n),
            })
            .collect()
    }

    fn person(&self, n: u32) -> Person {
        let via = if self.drill { Via::Drill } else { Via::File };
        let name = if n == 0 { self.speaker.clone() } else { format!("{}-{}", self.speaker, n + 1) };
        Person { name, uid: None, via }
    }
}
