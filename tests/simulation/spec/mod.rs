//! The engine's behaviour, one example at a time: what is recorded for each input, as short lines, with a virtual clock.

mod doubt;
mod far;
mod far_back;
mod foreach;
mod foresight;
mod groups;
mod people;
mod projection;
mod questions;
mod rollback;
mod steps;
mod tell;

use std::sync::Arc;

use runbook::engine::{Act, Engine, Found, Input, Replan, StartTask, State};
use runbook::model::{
    Answer, Binding, Delivery, Event, HttpAnswer, Millis, Record, Reply, Resolution, StartInfo, StepId,
    TaskEnd, TaskEndKind, TaskId, TaskOutput, TaskVerdict, UndoneState,
};
use runbook::plan::Plan;

use super::people::person;
use super::sim::{at, facts, resume_info, start_info};

/// A run told step by step.
pub struct Script {
    engine: Engine,
    journal: Vec<Record>,
    t: Millis,
    pub acts: Vec<Act>,
}

impl Script {
    /// Starts the run; what that records is in the second value.
    pub fn start(plan: Plan) -> (Self, Vec<String>) {
        Self::start_with(plan, start_info())
    }

    pub fn start_with(plan: Plan, info: StartInfo) -> (Self, Vec<String>) {
        let engine = Engine::new(Arc::new(plan), facts());
        let mut script = Self { engine, journal: Vec::new(), t: Millis::ZERO, acts: Vec::new() };
        let lines = script.feed(Input::Start(Box::new(info)));
        (script, lines)
    }

    pub fn state(&self) -> &State {
        self.engine.state()
    }

    /// What will probably start next.
    pub fn foresees(&self) -> Option<StartTask> {
        self.engine.likely_next()
    }

    pub fn deadline(&self) -> Option<u64> {
        self.engine.next_deadline().map(|at| at.0)
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        let decision = self.engine.handle(at(self.t), input);
        self.engine.audit().expect("right figures");
        let lines = decision.records.iter().filter_map(|r| line(&r.event)).collect();
        self.journal.extend(decision.records);
        self.acts = decision.acts;
        lines
    }

    /// The time goes on without anything happening.
    pub fn at(&mut self, t: u64) -> &mut Self {
        self.t = Millis(t);
        self
    }

    pub fn tick(&mut self, t: u64) -> Vec<String> {
        self.at(t).feed(Input::Tick)
    }

    pub fn ends(&mut self, task: &str, kind: TaskEndKind) -> Vec<String> {
        self.answers(task, kind, TaskOutput::none())
    }

    pub fn answers(&mut self, task: &str, kind: TaskEndKind, output: TaskOutput) -> Vec<String> {
        let task = TaskId::parse(task).expect("a task");
        assert!(self.state().in_flight.contains_key(&task), "{task} does not run");
        let end = TaskEnd::new(kind, Millis(1));
        self.feed(Input::TaskEnded { task, end, output: Box::new(output) })
    }

    pub fn exits(&mut self, task: &str, code: i32) -> Vec<String> {
        self.ends(task, TaskEndKind::Exited { code })
    }

    pub fn cancel(&mut self) -> Vec<String> {
        self.feed(Input::Cancel { by: "dave".into(), how: "Ctrl-C".into(), force: false })
    }

    /// Somebody answers the step's open question.
    pub fn says(&mut self, by: &str, step: &str, answer: Answer) -> Vec<String> {
        self.says_to(by, step, answer, None)
    }

    /// The same for an answer that was written to a certain question.
    pub fn says_to(&mut self, by: &str, step: &str, answer: Answer, number: Option<u32>) -> Vec<String> {
        let binding = number.map(|number| Binding { number, plan_hash: start_info().plan_hash });
        let step = StepId::parse(step).expect("a step");
        let reply = Reply { answer, comment: Some("seen".into()), evidence: None };
        self.feed(Input::Answer { step, binding, reply, by: person(by) })
    }

    /// What became of a notice.
    pub fn hears_of(&mut self, number: u32, channel: &str, delivered: bool) -> Vec<String> {
        let delivery = Delivery {
            delivered,
            unsure: false,
            attempts: 1,
            why: None,
            answered: None,
            duration: Millis::ZERO,
        };
        self.feed(Input::Told { number, channel: channel.to_owned(), delivery })
    }

    pub fn takes_notice(&mut self, by: &str) -> Vec<String> {
        self.feed(Input::Note(Event::Acknowledged { by: person(by) }))
    }

    /// The same when no process drives the run.
    pub fn takes_notice_undriven(&mut self, by: &str) -> Vec<String> {
        self.engine = Engine::with_state(self.engine.plan().clone(), self.folded(), facts());
        let decision = self.engine.record_remark(at(self.t), Some(Event::Acknowledged { by: person(by) }));
        let lines = decision.records.iter().filter_map(|r| line(&r.event)).collect();
        self.journal.extend(decision.records);
        self.acts = decision.acts;
        lines
    }

    /// The last record was not on disk when the process died.
    pub fn forget_last(&mut self) {
        self.journal.pop();
    }

    pub fn cannot_wait(&mut self) -> Vec<String> {
        self.feed(Input::CannotWait)
    }

    /// A person's word, between two processes.
    pub fn resolve(&mut self, step: &str, resolution: Resolution) {
        let event = Event::StepResolved {
            step: StepId::parse(step).expect("a step"),
            resolution,
            by: "carol".into(),
            reason: "seen".into(),
            evidence: None,
        };
        let last = self.journal.last().expect("a record");
        let (clock, seq) = (at(self.t), last.seq + 1);
        self.journal.push(Record { seq, epoch: last.epoch, t: clock.t, at: clock.at, event });
    }

    /// What `resume --replan` finds about an edited plan.
    pub fn considers(&self, new: &Plan) -> Replan {
        let old = self.engine.plan();
        Replan::consider(old, &self.folded(), new, &self.journal)
    }

    fn folded(&self) -> State {
        let mut state = State::new(self.engine.plan());
        for record in &self.journal {
            state.apply(self.engine.plan(), record).expect("a sound journal");
        }
        state
    }

    /// Another process goes on from the journal.
    pub fn resume(&mut self, found: Vec<(&str, Found)>) -> Vec<String> {
        self.taken_up(found, None)
    }

    pub fn roll_back(&mut self) -> Vec<String> {
        self.roll_back_with(Vec::new())
    }

    pub fn roll_back_with(&mut self, found: Vec<(&str, Found)>) -> Vec<String> {
        self.taken_up(found, Some("bob".into()))
    }

    fn taken_up(&mut self, found: Vec<(&str, Found)>, rollback: Option<String>) -> Vec<String> {
        self.engine = Engine::with_state(self.engine.plan().clone(), self.folded(), facts());
        let found =
            found.into_iter().map(|(task, found)| (TaskId::parse(task).expect("a task"), found)).collect();
        self.feed(Input::Resume { info: resume_info(), before: Vec::new(), found, rollback, cancel: None })
    }
}

pub fn lost() -> Found {
    Found::Unknown { why: "the keeper is gone".into() }
}

pub fn found(code: i32) -> Found {
    let end = TaskEnd::new(TaskEndKind::Exited { code }, Millis(1));
    Found::Ended { end, output: Box::new(TaskOutput::none()) }
}

pub fn status(status: u16) -> TaskOutput {
    let http = HttpAnswer { status, headers: std::collections::BTreeMap::new(), body: Ok(String::new()) };
    TaskOutput { http: Some(http), ..TaskOutput::none() }
}

pub fn unknown() -> TaskEndKind {
    TaskEndKind::Unknown { why: "the connection broke".into() }
}

/// A record in a few words; none for those of phases, which only frame the steps.
fn line(event: &Event) -> Option<String> {
    let because = |why: &Option<String>| why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    Some(match event {
        Event::RunStarted(_) | Event::PhaseStarted { .. } | Event::PhaseEnded { .. } => return None,
        Event::RunResumed(_) => "resumed".into(),
        Event::PhaseDeadlineMissed { phase, .. } => format!("{phase} is late"),
        Event::StepSkipped { step, why } => format!("{step} skipped: {why}"),
        Event::WaitStarted { step, length } => format!("{step} waits {}", length.0),
        Event::GroupStarted { step, .. } => format!("{step} opens"),
        Event::TaskStarted { task, .. } => format!("{task} starts"),
        Event::TaskEnded { task, verdict, .. } => match verdict {
            TaskVerdict::Passed => format!("{task} passed"),
            TaskVerdict::Failed(why) => format!("{task} failed: {why}"),
            TaskVerdict::Cancelled => format!("{task} was stopped"),
            TaskVerdict::Unknown(why) => format!("{task} unknown: {why}"),
            TaskVerdict::NotRun => format!("{task} never ran"),
        },
        Event::RetryScheduled { step, delay, .. } => format!("{step} again in {}", delay.0),
        Event::AdvisoryFailed { step, title, why, .. } => format!("{step} advisory: {title}: {why}"),
        Event::StepEnded { step, outcome, why, .. } => format!("{step} {outcome}{}", because(why)),
        Event::TaskFound { task } => format!("{task} found"),
        Event::HostSilent { task, why } => format!("{task} silent: {why}"),
        Event::RollbackStarted { because } => format!("rollback: {because}"),
        Event::StepUndone { step, state } => match state {
            UndoneState::Undone => format!("{step} undone"),
            UndoneState::Failed { why } => format!("{step} not undone: {why}"),
            UndoneState::Unknown { why } => format!("{step} perhaps undone: {why}"),
        },
        Event::Asked { step, number, question } => format!("{step} asks {number}: {:?}", question.kind),
        Event::Answered { step, number, reply, by } => {
            format!("{step} {number}: {by} says {}", reply.answer.words())
        }
        Event::AnswerRefused { step, answer, by, why } => {
            format!("{step} refuses {by}'s {}: {why}", answer.words())
        }
        Event::QuestionExpired { step, number, then } => format!("{step} {number}: nobody, so {then:?}"),
        Event::Notice { number, cause, channels, text, .. } => {
            let by = if channels.is_empty() { "nobody".to_owned() } else { channels.join(", ") };
            let what = text.clone().unwrap_or_else(|| format!("{cause:?}"));
            format!("notice {number} by {by}: {what}")
        }
        Event::NoticeEnded { number, channel, delivered, .. } => {
            format!("notice {number} by {channel}: {}", if *delivered { "told" } else { "not told" })
        }
        Event::CancelRequested { by, .. } => format!("cancelled by {by}"),
        Event::RunEnded(end) => format!("run {}{}", end.outcome, because(&end.why)),
        other => format!("{other:?}"),
    })
}
