//! The line at which the person at a terminal answers: which question it is for, and why the last line was no answer.
//!
//! What is typed is for the question that stood above it. When that one is settled by somebody else and another takes its
//! place, what was typed until then is dropped: nobody agrees to what they have not read.

use crate::engine::State;
use crate::model::{Answer, Binding, Lack, Question, Reply, StepId};
use crate::plan::{Plan, StepIx};
use crate::report::{Prompt, answer_line};

use super::keys::Keys;

pub(super) struct PromptLine {
    keys: Keys,
    asked: Option<Asked>,
    note: String,
}

/// A question that stands on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    step: StepIx,
    number: u32,
}

/// A line that answers the question.
pub(super) struct Typed {
    pub step: StepId,
    pub binding: Binding,
    pub reply: Reply,
}

impl PromptLine {
    /// `None` if there is no terminal.
    pub fn open() -> Option<Self> {
        Some(Self { keys: Keys::open()?, asked: None, note: String::new() })
    }

    /// Listens while this person is asked something, and gives the terminal back when not. True if something else has to
    /// be shown now.
    pub fn follow(&mut self, state: &State, name: &str) -> bool {
        let asked = asked_here(state, name);
        let listened = self.keys.is_listening();
        if asked.is_none() {
            self.leave();
            return listened;
        }
        if listened && asked == self.asked {
            return false;
        }
        let dropped = listened && !self.keys.line().is_empty();
        self.keys.listen();
        if !self.keys.is_listening() {
            return listened;
        }
        self.keys.begin_anew();
        self.note = match dropped {
            true => "this is another question, and what you had typed was dropped".to_owned(),
            false => String::new(),
        };
        self.asked = asked;
        true
    }

    /// Gives the terminal back as it was.
    pub fn leave(&mut self) {
        self.keys.leave();
        self.asked = None;
        self.note.clear();
    }

    /// Waits for keys; gives a line when it is finished with Enter. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Option<String> {
        let line = self.keys.next().await;
        if !self.keys.line().is_empty() {
            self.note.clear();
        }
        line
    }

    /// What the line comes to. What is no answer, or lacks something, only changes the note: nothing is recorded of a
    /// slip of the fingers.
    pub fn read(&mut self, plan: &Plan, state: &State, line: &str) -> Option<Typed> {
        let asked = self.asked?;
        let asking = state.steps.get(asked.step)?.asking().filter(|asking| asking.number == asked.number)?;
        let step = &plan.steps[asked.step].id;
        match asking.question.read(line).and_then(|reply| whole(&asking.question, reply, state, step)) {
            Ok(reply) => {
                self.note.clear();
                let binding = Binding { number: asked.number, plan_hash: state.plan_hash.clone() };
                Some(Typed { step: step.clone(), binding, reply })
            }
            Err(why) => {
                self.note = why;
                None
            }
        }
    }

    /// Says something in the place of the hint.
    pub fn say(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    pub fn shown(&self) -> Option<Prompt<'_>> {
        let asked = self.asked.filter(|_| self.keys.is_listening())?;
        Some(Prompt { step: asked.step, line: self.keys.line(), note: &self.note })
    }
}

/// The reply if it lacks nothing, else what to type.
fn whole(question: &Question, reply: Reply, state: &State, step: &StepId) -> Result<Reply, String> {
    match question.lacks(&reply) {
        None => Ok(reply),
        Some(Lack::Reason) => {
            let word = match reply.answer {
                Answer::Reject => "no",
                Answer::NotDone => "failed",
                Answer::Skip => "skip",
                _ => "done",
            };
            Err(format!("a reason is needed, for the report; type {word} and the reason"))
        }
        // No file comes through a line of text.
        Some(Lack::Evidence) => {
            let run = state.start.as_ref().map_or("RUN", |start| start.run.as_str());
            let command = answer_line(question, run, step);
            Err(format!("a file that shows it is asked for; in another terminal: {command}"))
        }
        Some(closed @ Lack::Closed { .. }) => Err(closed.to_string()),
    }
}

/// The question that the person at this terminal is asked, the oldest first.
fn asked_here(state: &State, name: &str) -> Option<Asked> {
    state.open_questions().into_iter().find_map(|step| {
        let asking = state.steps[step].asking()?;
        let mine = asking.question.is_for(name) && !asking.agreed.iter().any(|agreed| agreed == name);
        mine.then_some(Asked { step, number: asking.number })
    })
}
