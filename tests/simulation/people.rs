//! The people of the simulation: when they answer, and what they say. Both depend on the seed and on the question, not
//! on when it was read or how often.

use runbook::engine::{Asking, State};
use runbook::model::{Answer, Millis, OnTimeout, Person, QuestionKind, Reply, Via};
use runbook::plan::{Plan, StepIx};

use super::random::{Random, keyed};

/// Somebody's answer to an open question.
#[derive(Debug, Clone)]
pub struct Word {
    pub step: StepIx,
    pub at: Millis,
    pub reply: Reply,
    pub by: Person,
    /// It does not count.
    pub stray: bool,
}

pub fn person(name: &str) -> Person {
    Person { name: name.into(), uid: Some(1000), via: Via::Socket }
}

/// A question, and how many have agreed to it so far: at each of these moments there is at most one stray word.
pub type Moment = (StepIx, u32, usize);

/// The next words of each open question, strays before what counts.
pub fn words(plan: &Plan, state: &State, seed: u64, had_stray: &dyn Fn(Moment) -> bool) -> Vec<Word> {
    let mut out = Vec::new();
    for (ix, step) in state.steps.iter().enumerate() {
        let Some(asking) = step.asking() else { continue };
        let key = format!("{} asks {}", plan.steps[ix].id, asking.number);
        let mut random = keyed(seed, &key);
        let delay = Millis(random.below(8000));
        let silent = asking.question.timeout.is_some()
            && asking.question.on_timeout != OnTimeout::Wait
            && random.chance(30);
        let nth = asking.agreed.len() as u64;
        let at = asking.since.saturating_add(Millis(delay.0 + nth * 500));
        let mut strays = keyed(seed, &format!("{key} after {nth}"));
        if strays.chance(30) && !had_stray((ix, asking.number, asking.agreed.len())) {
            let (by, answer) = stray(asking, &mut strays);
            let reply = Reply { answer, comment: Some("a stray word".into()), evidence: None };
            out.push(Word { step: ix, at, reply, by: person(&by), stray: true });
            continue;
        }
        if silent {
            continue;
        }
        let reply =
            Reply { answer: answer(asking, &mut random), comment: Some("seen".into()), evidence: None };
        let question = &asking.question;
        let asked = question.approvers.iter().find(|name| !is_barred(asking, name));
        let by = match asked {
            Some(name) => person(name),
            None => person(&format!("person-{nth}")),
        };
        out.push(Word { step: ix, at, reply, by, stray: false });
    }
    out
}

/// Who is among the people asked may still not be one who can answer, or answer any more.
fn is_barred(asking: &Asking, name: &String) -> bool {
    asking.question.excluded.contains(name) || asking.agreed.contains(name)
}

/// Somebody who may not answer says what would count from another, or somebody who may says what is no answer.
fn stray(asking: &Asking, random: &mut Random) -> (String, Answer) {
    let question = &asking.question;
    let mut nobodies = question.excluded.clone();
    nobodies.extend(asking.agreed.first().cloned());
    if !question.approvers.is_empty() {
        nobodies.push("mallory".into());
    }
    if !nobodies.is_empty() && random.chance(75) {
        let by = nobodies.swap_remove(random.index(nobodies.len()));
        let fitting = match question.kind {
            QuestionKind::Approval | QuestionKind::Undo => Answer::Approve,
            _ => answer(asking, random),
        };
        return (by, fitting);
    }
    let misfit = match question.kind {
        QuestionKind::Approval | QuestionKind::Undo | QuestionKind::Manual => {
            Answer::Choose { option: "nonsense".into() }
        }
        QuestionKind::Choice | QuestionKind::Failure => Answer::Approve,
    };
    ("alice".into(), misfit)
}

fn answer(asking: &Asking, random: &mut Random) -> Answer {
    match asking.question.kind {
        QuestionKind::Approval | QuestionKind::Undo if random.chance(85) => Answer::Approve,
        QuestionKind::Approval | QuestionKind::Undo => Answer::Reject,
        QuestionKind::Manual if random.chance(80) => Answer::Done,
        QuestionKind::Manual => Answer::NotDone,
        QuestionKind::Choice => {
            let open: Vec<_> = asking.question.options.iter().filter(|o| o.closed.is_none()).collect();
            Answer::Choose { option: open[random.index(open.len())].id.clone() }
        }
        QuestionKind::Failure => match random.below(5) {
            0 | 1 => Answer::Retry,
            2 => Answer::Skip,
            3 => Answer::RollBack,
            _ => Answer::Abort,
        },
    }
}
