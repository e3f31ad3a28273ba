//! What the records say about each step, each phase and the run as a whole: the fold behind status, the closing
//! block and the incident report.
//!
//! It tells what is written and nothing more, so it also tells of a run that was killed, or whose journal a newer
//! program would refuse to go on with. Moments count by sequence and by the run's own clock, never by the wall's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::outlook::Outlook;
use crate::engine::State;
use crate::model::{
    Answer, Cause, Event, Millis, OnTimeout, Person, Question, QuestionKind, Record, ReplanInfo, Reply,
    Resolution, ResumeInfo, RunEnd, StartInfo, StepId, StepOutcome, TaskEnd, TaskId, TaskKind, TaskVerdict,
    Timestamp, UndoneState,
};
use crate::plan::{ItemCount, Plan, StepIx};

use super::told::Ledger;

#[derive(Debug, Clone, Default)]
pub struct History {
    pub start: Option<StartInfo>,
    pub started_at: Option<Timestamp>,
    /// Number, moments and epoch of the last record.
    pub seq: u64,
    pub epoch: u32,
    pub last_t: Millis,
    pub last_at: Option<Timestamp>,
    /// One for each of the plan's steps.
    pub steps: Vec<StepHistory>,
    /// One for each of the plan's phases.
    pub phases: Vec<PhaseHistory>,
    pub resumes: Vec<(Millis, Timestamp, ResumeInfo)>,
    pub replans: Vec<(Millis, ReplanInfo)>,
    pub rollback: Option<(Millis, String)>,
    pub cancels: Vec<(Millis, String, String)>,
    /// Somebody asked for the end, and nobody has taken the run up since.
    pub cancelling: bool,
    pub resolutions: Vec<(Millis, StepId, Resolution, String, String)>,
    /// What people wrote down, with when by both clocks.
    pub notes: Vec<(Millis, Timestamp, Person, String)>,
    /// Who took over, from whom, and what was said to it.
    pub handoffs: Vec<(Millis, String, Person, Option<String>)>,
    /// Who has taken notice.
    pub acknowledged: Vec<(Millis, Person)>,
    /// Who was told what.
    pub notices: Ledger,
    /// Sentences about the journal and the clock.
    pub remarks: Vec<(Millis, String)>,
    /// Absent while the run is open. A run that was resumed after an end is open again.
    pub end: Option<RunEnd>,
    /// What the engine makes of the records, for what lies ahead. Absent if nothing is known of past runs, or once a
    /// record does not fold.
    state: Option<Box<State>>,
}

#[derive(Debug, Clone, Default)]
pub struct PhaseHistory {
    pub started: Option<Millis>,
    pub ended: Option<Millis>,
    pub late: bool,
}

#[derive(Debug, Clone, Default)]
pub struct StepHistory {
    pub started: Option<Millis>,
    pub ended: Option<Millis>,
    pub outcome: Option<StepOutcome>,
    pub why: Option<String>,
    pub outputs: BTreeMap<String, Value>,
    pub choice: Option<String>,
    /// Attempts started.
    pub attempts: u32,
    /// The number of the record with which its action first started: undo goes in reverse order of it.
    pub acted_at: Option<u64>,
    /// Everything but polls, in order of start.
    pub tasks: Vec<TaskHistory>,
    /// Polls of `verify`, folded by attempt and check, in order of start.
    pub checks: Vec<CheckHistory>,
    pub retries: Vec<(Millis, u32, Millis)>,
    pub advisories: Vec<String>,
    pub undo: Option<UndoneState>,
    /// What people were asked about it, in order.
    pub questions: Vec<QuestionHistory>,
    /// A `wait` began, and how long it is.
    pub wait: Option<(Millis, Millis)>,
}

#[derive(Debug, Clone)]
pub struct TaskHistory {
    pub task: TaskId,
    pub started: Millis,
    pub at: Timestamp,
    pub command: String,
    pub values: Vec<(String, String)>,
    pub workdir: Option<String>,
    /// None: this machine.
    pub host: Option<String>,
    pub timeout: Option<Millis>,
    /// Absent: the records do not say what became of it.
    pub end: Option<(Millis, TaskEnd, TaskVerdict)>,
}

#[derive(Debug, Clone)]
pub struct QuestionHistory {
    pub number: u32,
    pub asked: Millis,
    pub question: Question,
    pub answers: Vec<(Millis, Reply, Person)>,
    /// Nobody answered in time, and what happened then.
    pub expired: Option<(Millis, OnTimeout)>,
    /// Absent while it is open.
    pub closed: Option<Millis>,
}

impl QuestionHistory {
    /// When the time to answer is over, if it will be.
    pub fn until(&self) -> Option<Millis> {
        Some(self.asked.saturating_add(self.question.timeout.filter(|_| self.expired.is_none())?))
    }

    /// Who has said yes so far.
    pub fn agreed(&self) -> Vec<&str> {
        let yes = self.answers.iter().filter(|(_, reply, _)| reply.answer == Answer::Approve);
        yes.map(|(_, _, by)| by.name.as_str()).collect()
    }
}

#[derive(Debug, Clone)]
pub struct CheckHistory {
    pub attempt: u32,
    pub check: u16,
    pub command: String,
    /// None: this machine.
    pub host: Option<String>,
    pub polls: u32,
    pub started: Millis,
    pub ended: Option<Millis>,
    /// The last poll and what came of it.
    pub last: TaskId,
    pub end: Option<(TaskEnd, TaskVerdict)>,
}

impl History {
    /// How far the items of the step are, whatever was taken back later. None for one without a `foreach`.
    pub fn item_count(&self, plan: &Plan, ix: StepIx) -> Option<ItemCount> {
        let mut count = ItemCount::default();
        for item in &plan.foreach(ix)?.steps {
            let past = &self.steps[*item];
            *match past.outcome {
                Some(StepOutcome::Succeeded | StepOutcome::Satisfied) => &mut count.done,
                Some(StepOutcome::Skipped) => &mut count.skipped,
                Some(StepOutcome::Unknown) => &mut count.unknown,
                Some(StepOutcome::Cancelled) => &mut count.cancelled,
                Some(_) => &mut count.failed,
                None if past.started.is_some() => &mut count.active,
                None => &mut count.pending,
            } += 1;
        }
        Some(count)
    }

    pub fn new(plan: &Plan) -> Self {
        Self {
            steps: vec![StepHistory::default(); plan.steps.len()],
            phases: vec![PhaseHistory::default(); plan.phases.len()],
            state: Some(Box::new(State::new(plan))),
            ..Self::default()
        }
    }

    pub fn of(plan: &Plan, records: &[Record]) -> Self {
        let mut history = Self::new(plan);
        records.iter().for_each(|record| history.apply(plan, record));
        history
    }

    /// Folds one record. A record about a step that the plan does not know is counted and otherwise passed over.
    pub fn apply(&mut self, plan: &Plan, record: &Record) {
        if let Some(back) = self.last_at.map(|last| last.since(record.at)).filter(|d| d.0 >= 1000) {
            self.remarks
                .push((record.t, format!("the wall clock went back by {back} before record {}", record.seq)));
        }
        (self.seq, self.epoch) = (record.seq, record.epoch);
        // What is said after the end does not make the run longer.
        if self.end.is_none() || !record.event.is_remark() {
            (self.last_t, self.last_at) = (record.t, Some(record.at));
        }
        self.notices.apply(record);
        self.state =
            self.state.take().filter(|_| !matches!(&record.event, Event::RunStarted(i) if i.past.is_none()));
        self.state = self.state.take().and_then(|mut state| state.apply(plan, record).ok().map(|()| state));
        let t = record.t;
        match &record.event {
            Event::RunStarted(info) => {
                self.start = Some((**info).clone());
                self.started_at = Some(record.at);
            }
            Event::RunResumed(info) => {
                self.end = None;
                self.cancelling = false;
                self.resumes.push((t, record.at, info.clone()));
            }
            Event::Replanned(info) => self.replans.push((t, (**info).clone())),
            Event::TailSetAside { bytes, file } => {
                let text = format!("an unterminated last line of {bytes} bytes was set aside in {file}");
                self.remarks.push((t, text));
            }
            Event::Gap { length, why } => self.remarks.push((t, format!("{length} passed: {why}"))),
            Event::KeeperLost { why } => self.remarks.push((t, format!("the keeper is gone: {why}"))),
            Event::PhaseStarted { phase } => self.phase(plan, phase, |p| p.started = Some(t)),
            Event::PhaseEnded { phase } => self.phase(plan, phase, |p| p.ended = Some(t)),
            Event::PhaseDeadlineMissed { phase, .. } => self.phase(plan, phase, |p| p.late = true),
            Event::RollbackStarted { because } => {
                self.rollback = Some((t, because.clone()));
                // They are asked again, each in its turn.
                self.steps.iter_mut().for_each(|step| step.close_undo_question(t));
            }
            Event::CancelRequested { by, how } => {
                self.cancelling = true;
                self.cancels.push((t, by.clone(), how.clone()));
            }
            Event::Noted { text, by } => self.notes.push((t, record.at, by.clone(), text.clone())),
            Event::HandedOver { to, by, note } => {
                self.handoffs.push((t, to.clone(), by.clone(), note.clone()));
            }
            Event::Acknowledged { by } => self.acknowledged.push((t, by.clone())),
            Event::RunEnded(end) => self.end = Some((**end).clone()),
            Event::StepResolved { step, resolution, by, reason, evidence: _ } => {
                self.resolutions.push((t, step.clone(), *resolution, by.clone(), reason.clone()));
                // What follows decides the outcome anew.
                self.step(plan, step, |s| (s.outcome, s.ended) = (None, None));
            }
            event => self.apply_to_step(plan, record, event),
        }
    }

    fn apply_to_step(&mut self, plan: &Plan, record: &Record, event: &Event) {
        let t = record.t;
        match event {
            Event::StepSkipped { step, why } => self.step(plan, step, |s| {
                s.over(t, StepOutcome::Skipped);
                s.why = Some(why.clone());
            }),
            Event::WaitStarted { step, length } => self.step(plan, step, |s| {
                s.begin(t);
                s.wait = Some((t, *length));
            }),
            Event::GroupStarted { step, .. } => self.step(plan, step, |s| s.begin(t)),
            Event::TaskStarted { task, .. } => self.step(plan, &task.step, |s| s.task_started(record)),
            Event::TaskFound { task } => self.step(plan, &task.step, |s| {
                s.found(t, task.kind);
                s.tasks.iter_mut().filter(|known| known.task == *task).for_each(|known| known.end = None);
            }),
            Event::TaskEnded { task, end, verdict, outputs, .. } => self.step(plan, &task.step, |s| {
                s.outputs.extend(outputs.iter().map(|(name, value)| (name.clone(), value.clone())));
                s.task_ended(t, task, end, verdict);
            }),
            Event::RetryScheduled { step, failed, delay, undo: _ } => {
                self.step(plan, step, |s| s.retries.push((t, *failed, *delay)));
            }
            Event::AdvisoryFailed { step, title, why, .. } => {
                self.step(plan, step, |s| s.advisories.push(format!("{title}: {why}")));
            }
            Event::StepEnded { step, outcome, why, outputs, choice } => self.step(plan, step, |s| {
                s.over(t, *outcome);
                s.why.clone_from(why);
                s.outputs.extend(outputs.iter().map(|(name, value)| (name.clone(), value.clone())));
                s.choice.clone_from(choice);
            }),
            Event::Asked { step, number, question } => self.step(plan, step, |s| {
                if question.kind != QuestionKind::Undo {
                    s.begin(t);
                }
                s.close_question(t);
                s.questions.push(QuestionHistory {
                    number: *number,
                    asked: t,
                    question: (**question).clone(),
                    answers: Vec::new(),
                    expired: None,
                    closed: None,
                });
            }),
            Event::Answered { step, reply, by, .. } => {
                self.step(plan, step, |s| s.answered(t, reply.clone(), by.clone()));
            }
            Event::QuestionExpired { step, then, .. } => self.step(plan, step, |s| {
                let Some(question) = s.questions.last_mut() else { return };
                question.expired = Some((t, *then));
                if *then != OnTimeout::Wait {
                    question.closed = Some(t);
                }
            }),
            Event::Notice { cause: Cause::Step { step }, .. } => self.step(plan, step, |s| {
                s.begin(t);
                s.attempts += 1;
            }),
            Event::StepUndone { step, state } => self.step(plan, step, |s| s.undo = Some(state.clone())),
            // `apply` takes all others.
            _ => {}
        }
    }

    fn step(&mut self, plan: &Plan, id: &StepId, change: impl FnOnce(&mut StepHistory)) {
        if let Some(step) = plan.find(id).and_then(|ix| self.steps.get_mut(ix)) {
            change(step);
        }
    }

    fn phase(&mut self, plan: &Plan, id: &str, change: impl FnOnce(&mut PhaseHistory)) {
        if let Some(phase) =
            plan.phases.iter().position(|p| p.id == id).and_then(|ix| self.phases.get_mut(ix))
        {
            change(phase);
        }
    }

    /// When it is likely to be over. `now` counts from its start.
    pub fn outlook(&self, plan: &Plan, now: Millis) -> Option<Outlook> {
        Outlook::of(plan, self.state.as_ref()?, now)
    }

    /// Who leads: the operator who started the run, until somebody else took over.
    pub fn commander(&self) -> Option<&str> {
        let operator = self.start.as_ref().map(|start| start.operator.as_str());
        self.handoffs.last().map(|(_, to, _, _)| to.as_str()).or(operator)
    }

    /// Who has taken notice, each once. Neutral.
    pub fn noticed_by(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (_, by) in &self.acknowledged {
            let name = super::neutral::line(&by.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What people are asked now, the question that is open longest first.
    pub fn open_questions(&self) -> Vec<(StepIx, &QuestionHistory)> {
        let last = self.steps.iter().enumerate().filter_map(|(ix, step)| Some((ix, step.questions.last()?)));
        let mut open: Vec<_> = last.filter(|(_, question)| question.closed.is_none()).collect();
        open.sort_by_key(|(ix, question)| (question.asked, *ix));
        open
    }

    /// The time in which at least one question was open.
    pub fn waiting_for_people(&self) -> Millis {
        let questions = self.steps.iter().flat_map(|step| &step.questions);
        let mut open: Vec<(Millis, Millis)> =
            questions.map(|q| (q.asked, q.closed.unwrap_or(self.last_t))).collect();
        open.sort_unstable();
        let (mut waiting, mut until) = (Millis::ZERO, Millis::ZERO);
        for (from, to) in open {
            waiting = waiting.saturating_add(to.saturating_sub(from.max(until)));
            until = until.max(to);
        }
        waiting
    }

    /// Tasks without an end, and steps whose last word is that they began.
    pub fn open_tasks(&self) -> impl Iterator<Item = (StepIx, &TaskId, Millis)> {
        self.steps.iter().enumerate().flat_map(|(ix, s)| {
            let tasks = s.tasks.iter().filter(|t| t.end.is_none()).map(move |t| (ix, &t.task, t.started));
            let polls = s.checks.iter().filter(|c| c.end.is_none()).map(move |c| (ix, &c.last, c.started));
            tasks.chain(polls)
        })
    }
}

impl StepHistory {
    fn begin(&mut self, t: Millis) {
        self.started.get_or_insert(t);
        (self.outcome, self.ended) = (None, None);
    }

    /// A task of it is in flight again. One that settles nothing any more is only waited for.
    fn found(&mut self, t: Millis, kind: TaskKind) {
        let undo_runs =
            self.tasks.iter().any(|known| known.task.kind == TaskKind::Undo && known.end.is_none());
        if kind == TaskKind::Undo || undo_runs || matches!(self.undo, Some(UndoneState::Unknown { .. })) {
            return;
        }
        self.undo = None;
        if matches!(self.outcome, None | Some(StepOutcome::Unknown)) {
            self.begin(t);
        }
    }

    fn over(&mut self, t: Millis, outcome: StepOutcome) {
        (self.outcome, self.ended) = (Some(outcome), Some(t));
        self.close_question(t);
    }

    /// Nobody waits for an answer to it any more.
    fn close_undo_question(&mut self, t: Millis) {
        if self.questions.last().is_some_and(|q| q.question.kind == QuestionKind::Undo) {
            self.close_question(t);
        }
    }

    fn close_question(&mut self, t: Millis) {
        if let Some(question) = self.questions.last_mut() {
            question.closed.get_or_insert(t);
        }
    }

    fn answered(&mut self, t: Millis, reply: Reply, by: Person) {
        let Some(question) = self.questions.last_mut() else { return };
        let agrees = reply.answer == Answer::Approve;
        question.answers.push((t, reply, by));
        if !agrees || question.answers.len() as u64 >= u64::from(question.question.count) {
            question.closed = Some(t);
        }
    }

    fn task_started(&mut self, record: &Record) {
        let Event::TaskStarted { task, command, values, workdir, host, timeout } = &record.event else {
            return;
        };
        match task.kind {
            TaskKind::Verify { check, .. } => {
                self.begin(record.t);
                let same = |c: &&mut CheckHistory| c.attempt == task.attempt && c.check == check;
                if let Some(known) = self.checks.iter_mut().rev().find(same) {
                    known.polls += 1;
                    (known.last, known.end) = (task.clone(), None);
                } else {
                    self.checks.push(CheckHistory {
                        attempt: task.attempt,
                        check,
                        command: command.clone(),
                        host: host.clone(),
                        polls: 1,
                        started: record.t,
                        ended: None,
                        last: task.clone(),
                        end: None,
                    });
                }
                return;
            }
            // An undo comes after the step's end and does not change how it ended.
            TaskKind::Undo => {}
            TaskKind::Attempt => {
                self.begin(record.t);
                self.attempts = self.attempts.max(task.attempt);
                self.acted_at.get_or_insert(record.seq);
            }
            TaskKind::Unless | TaskKind::Remedy | TaskKind::Check => self.begin(record.t),
        }
        self.tasks.push(TaskHistory {
            task: task.clone(),
            started: record.t,
            at: record.at,
            command: command.clone(),
            values: values.clone(),
            workdir: workdir.clone(),
            host: host.clone(),
            timeout: *timeout,
            end: None,
        });
    }

    fn task_ended(&mut self, t: Millis, task: &TaskId, end: &TaskEnd, verdict: &TaskVerdict) {
        if let Some(known) = self.tasks.iter_mut().rev().find(|k| k.task == *task) {
            known.end = Some((t, end.clone(), verdict.clone()));
        } else if let Some(known) = self.checks.iter_mut().rev().find(|k| k.last == *task) {
            known.ended = Some(t);
            known.end = Some((end.clone(), verdict.clone()));
        }
    }

    /// The outcome with the undo counted in.
    pub fn final_outcome(&self) -> Option<StepOutcome> {
        match &self.undo {
            Some(UndoneState::Undone) => Some(StepOutcome::Undone),
            Some(UndoneState::Failed { .. }) => Some(StepOutcome::UndoFailed),
            Some(UndoneState::Unknown { .. }) => Some(StepOutcome::Unknown),
            None => self.outcome,
        }
    }

    /// True if its action was started at least once, or may have been, so that there may be something to take back.
    pub fn acted(&self) -> bool {
        self.tasks.iter().any(|t| {
            t.task.kind == TaskKind::Attempt
                && !matches!(&t.end, Some((_, end, verdict))
                    if *verdict == TaskVerdict::NotRun
                        || matches!(end.kind, crate::model::TaskEndKind::NotStarted { .. }))
        })
    }

    /// What somebody is still asked about it.
    pub fn open_question(&self) -> Option<&QuestionHistory> {
        // A step that is to be taken back is over.
        let asks = self.outcome.is_none();
        self.questions
            .last()
            .filter(|q| q.closed.is_none() && (asks || q.question.kind == QuestionKind::Undo))
    }

    pub fn duration(&self) -> Option<Millis> {
        Some(self.ended?.saturating_sub(self.started?))
    }

    /// The last task of the step that did not pass, an undo aside: the one whose output explains a failure.
    pub fn culprit(&self) -> Option<&TaskId> {
        let bad = |verdict: &TaskVerdict| !matches!(verdict, TaskVerdict::Passed | TaskVerdict::NotRun);
        let task = self
            .tasks
            .iter()
            .rfind(|t| {
                matches!(t.task.kind, TaskKind::Attempt | TaskKind::Check)
                    && t.end.as_ref().is_none_or(|(_, _, v)| bad(v))
            })
            .map(|t| (t.started, &t.task));
        let check = self
            .checks
            .iter()
            .rfind(|c| c.end.as_ref().is_none_or(|(_, v)| bad(v)))
            .map(|c| (c.started, &c.last));
        task.into_iter().chain(check).max_by_key(|(started, _)| *started).map(|(_, task)| task)
    }
}
