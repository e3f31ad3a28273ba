//! The total function: (state, input, now) -> records to sync, then acts to perform.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{
    Binding, Delivery, Event, Millis, Op, Person, Record, Reply, ResumeInfo, RunOutcome, StartInfo, StepId,
    TaskEnd, TaskEndKind, TaskId, TaskKind, TaskOutput, TaskVerdict, Timestamp, Want,
};
use crate::plan::{Command, Plan, Step, StepIx};
use crate::planted::{self, Bug};

use super::figures::{self, Figures};
use super::state::{RunStatus, State};
use super::tell::Outgoing;

/// The moment of an input, read by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Since the run's start; never goes back, counts suspension.
    pub t: Millis,
    /// The wall clock.
    pub at: Timestamp,
}

/// What templates may read of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    pub id: String,
    /// The run's folder, absolute.
    pub dir: String,
    pub started_at: String,
    pub operator: String,
    pub environment: Option<String>,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    Start(Box<StartInfo>),
    /// This process goes on with the run. `before` are records to be written first (a sealed tail, a gap); `found` says
    /// for each task in flight what became of it; a task that still runs is not in it. `rollback` and `cancel` name
    /// the person who asks to take back what was done, or for the run's end, instead of going on.
    Resume {
        info: ResumeInfo,
        before: Vec<Event>,
        found: Vec<(TaskId, Found)>,
        rollback: Option<String>,
        cancel: Option<String>,
    },
    TaskEnded {
        task: TaskId,
        end: TaskEnd,
        output: Box<TaskOutput>,
    },
    /// A deadline may have passed.
    Tick,
    /// Somebody says something to a question of `step`.
    Answer {
        step: StepId,
        binding: Option<Binding>,
        reply: Reply,
        by: Person,
    },
    /// This process cannot wait for people: if nothing else goes on, the run ends `waiting`.
    CannotWait,
    /// A person asks for the end. With `force`, running commands are killed at once.
    Cancel {
        by: String,
        how: String,
        force: bool,
    },
    /// What became of a notice on one of its channels.
    Told {
        number: u32,
        channel: String,
        delivery: Delivery,
    },
    /// Something outside of the plan has to be recorded: a gap, a tail set aside, the keeper's death, a plan put in the
    /// place of another. Nothing else is.
    Note(Event),
}

/// What became of a task that was in flight.
#[derive(Debug)]
pub enum Found {
    NeverStarted,
    Ended {
        end: TaskEnd,
        output: Box<TaskOutput>,
    },
    /// Only of a task that was given up, and is in flight again; its end will come.
    Runs,
    Unknown {
        why: String,
    },
}

/// What is to be done once the records are synced.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Start(Box<StartTask>),
    Stop { task: TaskId, force: bool },
    Notify(Box<Outgoing>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct StartTask {
    pub task: TaskId,
    pub op: Op,
    pub timeout: Option<Millis>,
    pub grace: Millis,
    pub want: Want,
    pub sensitive: bool,
}

impl StartTask {
    pub(super) fn new(task: TaskId, op: Op, command: &Command, step: &Step) -> Self {
        let Command { timeout, grace, want, .. } = *command;
        Self { task, op, timeout, grace, want, sensitive: step.sensitive }
    }
}

/// The answer to an input.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// To be synced before any act is performed. Already folded into the engine's state.
    pub records: Vec<Record>,
    pub acts: Vec<Act>,
}

/// The core of a run. Everything but `plan`, `state` and `facts` is derived from them and only there for speed.
#[derive(Debug)]
pub struct Engine {
    pub(super) plan: Arc<Plan>,
    pub(super) state: State,
    pub(super) facts: RunFacts,
    pub(super) now: Clock,
    pub(super) out: Decision,
    pub(super) figures: Figures,
    /// Steps to look at.
    pub(super) work: VecDeque<StepIx>,
    /// Groups with an alternative to take back that wait for a place.
    pub(super) undo_wanted: BTreeSet<StepIx>,
    pub(super) fault: Option<String>,
    /// Steps whose failure raises a level of the escalation.
    pub(super) escalating: Vec<StepIx>,
    pub(super) dependents: Vec<Vec<StepIx>>,
}

impl Engine {
    pub fn new(plan: Arc<Plan>, facts: RunFacts) -> Self {
        let state = State::new(&plan);
        Self::with_state(plan, state, facts)
    }

    /// Goes on from a folded journal.
    pub fn with_state(plan: Arc<Plan>, state: State, facts: RunFacts) -> Self {
        let mut dependents = vec![Vec::new(); plan.steps.len()];
        for (ix, step) in plan.steps.iter().enumerate() {
            for &need in &step.needs {
                dependents[need].push(ix);
            }
        }
        let escalating = plan.steps.iter().enumerate().filter(|(_, step)| step.escalate.is_some());
        let escalating = escalating.map(|(ix, _)| ix).collect();
        let now = Clock { t: state.last_t, at: state.last_at };
        let figures = Figures::derive(&plan, &state);
        Self {
            plan,
            state,
            facts,
            now,
            out: Decision::default(),
            figures,
            work: VecDeque::new(),
            undo_wanted: BTreeSet::new(),
            fault: None,
            escalating,
            dependents,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a person is asked anything. Told without a look at each step.
    pub fn is_asking(&self) -> bool {
        self.figures.asking > 0
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Why this engine stopped deciding: it was about to write a record that no resume could fold, which is a defect of
    /// the engine. Every record given out before is sound; another process can resume from them.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether the derived figures are what plan and state say. For tests: it costs as much as a resume.
    pub fn audit(&self) -> Result<(), String> {
        let derived = Figures::derive(&self.plan, &self.state);
        if derived == self.figures {
            return Ok(());
        }
        Err(format!("the figures are\n{:#?}\nand should be\n{derived:#?}", self.figures))
    }

    /// When [`Input::Tick`] is due next.
    pub fn next_deadline(&self) -> Option<Millis> {
        let (steps, undos) = self.timers_count();
        let undos = undos && self.undos_may_begin();
        let first = |set: &BTreeSet<(Millis, StepIx)>| set.first().map(|(at, _)| *at);
        let step = first(&self.figures.timers).filter(|_| steps);
        let undo = first(&self.figures.undo_timers).filter(|_| undos);
        let phase = self.phase_deadline().map(|(at, _)| at).filter(|_| self.is_open());
        let notice = self.next_notice().filter(|_| self.is_open());
        [step, undo, phase, notice].into_iter().flatten().min()
    }

    /// Whether the timers of steps, and those of undos, are acted upon as the run stands.
    fn timers_count(&self) -> (bool, bool) {
        match self.state.status {
            RunStatus::Running => (true, true),
            RunStatus::Stopping { .. } => (true, false),
            RunStatus::RollingBack { .. } => (false, true),
            RunStatus::NotStarted | RunStatus::Cancelling { .. } | RunStatus::Ended(_) => (false, false),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.start.is_some() && self.state.end().is_none() && self.fault.is_none()
    }

    /// Answers one input. Total: an input that does not fit the state (a task that is not in flight, a second start)
    /// gives an empty decision.
    pub fn handle(&mut self, now: Clock, input: Input) -> Decision {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        match input {
            Input::Start(info) if self.state.start.is_none() => _ = self.emit(Event::RunStarted(info)),
            Input::Resume { info, before, found, rollback, cancel } if self.may_resume(&rollback) => {
                self.resume(info, before, found, rollback);
                if let Some(by) = cancel {
                    self.cancel(by, "runbook cancel".into(), false);
                }
            }
            Input::TaskEnded { task, end, output } if self.is_open() => self.task_ended(task, end, &output),
            Input::Answer { step, binding, reply, by } if self.state.start.is_some() => {
                self.answer(step, binding, reply, by);
            }
            Input::Told { number, channel, delivery } if self.state.start.is_some() => {
                self.told(number, channel, delivery);
            }
            Input::CannotWait if self.is_open() => self.stop_waiting(),
            Input::Tick if self.is_open() => self.tick(),
            Input::Cancel { by, how, force } if self.is_open() => self.cancel(by, how, force),
            Input::Note(event) if self.state.start.is_some() => self.note(event),
            _ => {}
        }
        self.settle();
        std::mem::take(&mut self.out)
    }

    /// Records the end of a task and draws no conclusion from it: for a run whose journal can take nothing new. Nothing
    /// may be asked of this engine afterwards but further ends.
    pub fn record_end(&mut self, now: Clock, task: TaskId, end: TaskEnd, output: &TaskOutput) -> Vec<Record> {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        self.task_ended(task, end, output);
        std::mem::take(&mut self.out).records
    }

    /// Records what somebody says, and draws no conclusion from it: for a run that nobody drives. Nothing else may be
    /// asked of this engine afterwards.
    pub fn record_answer(
        &mut self,
        now: Clock,
        step: StepId,
        binding: Option<Binding>,
        reply: Reply,
        by: Person,
    ) -> Vec<Record> {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        self.answer(step, binding, reply, by);
        std::mem::take(&mut self.out).records
    }

    /// Records a remark, and tells those who keep the run as an alert if there is something to tell: for a run that nobody
    /// drives. Nothing but [`record_told`](Self::record_told) may be asked of this engine afterwards.
    pub fn record_remark(&mut self, now: Clock, remark: Option<Event>) -> Decision {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        if let Some(remark) = remark {
            self.note(remark);
        }
        self.acknowledge();
        std::mem::take(&mut self.out)
    }

    /// Records what became of a notice, and draws no conclusion from it.
    pub fn record_told(&mut self, now: Clock, told: Vec<(u32, String, Delivery)>) -> Vec<Record> {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        for (number, channel, delivery) in told {
            self.told(number, channel, delivery);
        }
        std::mem::take(&mut self.out).records
    }

    /// The same for an end that was judged already, but could not be written with what followed from it.
    pub fn record_again(&mut self, event: Event) -> Vec<Record> {
        self.emit(event);
        std::mem::take(&mut self.out).records
    }

    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// Only a rollback goes on from a run that has reached its end.
    fn may_resume(&self, rollback: &Option<String>) -> bool {
        let outcome = self.state.end().map(|end| end.outcome);
        self.state.start.is_some()
            && match outcome {
                Some(RunOutcome::RolledBack) => false,
                Some(RunOutcome::Recovered | RunOutcome::Degraded) => rollback.is_some(),
                _ => true,
            }
    }

    fn resume(
        &mut self,
        info: ResumeInfo,
        before: Vec<Event>,
        found: Vec<(TaskId, Found)>,
        rollback: Option<String>,
    ) {
        self.state.epoch = self.state.epoch.saturating_add(1);
        for event in before {
            self.note(event);
        }
        // First of all: whatever happens after, a resume goes on with the rollback.
        if let Some(by) = rollback
            && !self.state.is_rolling_back()
        {
            self.emit(Event::RollbackStarted { because: format!("{by} asked for it") });
        }
        let silent = self.found_again(&found);
        self.emit(Event::RunResumed(info));
        for (task, why) in silent {
            self.emit(Event::HostSilent { task, why });
        }
        self.give_up_notices();
        for (task, found) in found {
            match found {
                Found::Ended { end, output } => self.task_ended(task, end, &output),
                Found::Unknown { why } => {
                    let end = TaskEnd::new(TaskEndKind::Unknown { why }, self.age(&task));
                    self.task_ended(task, end, &TaskOutput::none());
                }
                Found::NeverStarted => self.never_started(task),
                Found::Runs if planted::is(Bug::RepeatFound) => self.never_started(task),
                Found::Runs => {}
            }
        }
    }

    fn age(&self, task: &TaskId) -> Millis {
        self.state.in_flight.get(task).map_or(Millis::ZERO, |f| self.now.t.saturating_sub(f.since))
    }

    fn never_started(&mut self, task: TaskId) {
        if self.state.in_flight.contains_key(&task) {
            let error = "the tool was stopped before the command was started".into();
            self.emit(Event::TaskEnded {
                task,
                end: TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO),
                verdict: TaskVerdict::NotRun,
                outputs: BTreeMap::new(),
                result: None,
                no_retry: false,
            });
        }
    }

    fn task_ended(&mut self, task: TaskId, end: TaskEnd, output: &TaskOutput) {
        let Some(flight) = self.state.in_flight.get(&task) else { return };
        let event = self.judge(flight.step, task, end, output);
        self.emit(event);
    }

    fn note(&mut self, event: Event) {
        let is_note = matches!(
            event,
            Event::TailSetAside { .. }
                | Event::Gap { .. }
                | Event::KeeperLost { .. }
                | Event::Replanned(_)
                | Event::Noted { .. }
                | Event::HandedOver { .. }
                | Event::Acknowledged { .. }
        );
        if is_note {
            self.emit(event);
        }
    }

    fn tick(&mut self) {
        let (steps, undos) = self.timers_count();
        let timers = self.figures.timers.iter().filter(|_| steps);
        let undo_timers = self.figures.undo_timers.iter().filter(|_| undos);
        let due = |(at, _): &&(Millis, StepIx)| *at <= self.now.t;
        let due = timers.take_while(due).chain(undo_timers.take_while(due));
        self.work.extend(due.map(|(_, ix)| *ix));
        if let Some((at, ix)) = self.phase_deadline()
            && at <= self.now.t
        {
            let phase = &self.plan.phases[ix];
            let deadline = phase.deadline.unwrap_or_default();
            self.emit(Event::PhaseDeadlineMissed { phase: phase.id.clone(), deadline });
        }
    }

    fn cancel(&mut self, by: String, how: String, force: bool) {
        if !matches!(self.state.status, RunStatus::Cancelling { .. }) {
            self.emit(Event::CancelRequested { by, how });
        }
        for task in self.state.in_flight.keys() {
            self.out.acts.push(Act::Stop { task: task.clone(), force });
        }
    }

    /// Makes a record of an event and folds it. A record that cannot be folded is never given out: the engine stops
    /// instead. False then.
    pub(super) fn emit(&mut self, event: Event) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let step = event.step().and_then(|id| self.plan.find(id));
        let before = step.map(|ix| figures::mark(&self.plan, &self.state, ix));
        let record = Record {
            seq: self.state.seq + 1,
            epoch: self.state.epoch.max(1),
            t: self.now.t,
            at: self.now.at,
            event,
        };
        if let Err(why) = self.state.apply(&self.plan, &record) {
            debug_assert!(false, "the engine wrote a record that it cannot fold: {why}");
            self.fault = Some(why);
            return false;
        }
        match &record.event {
            Event::RunResumed(_) => self.look_at_everything(),
            // Questions about undos are asked anew, each in its turn.
            Event::RollbackStarted { .. } | Event::CancelRequested { .. } => {
                self.figures = Figures::derive(&self.plan, &self.state);
            }
            Event::PhaseStarted { .. } => self.figures.phase_started(&self.plan, &self.state),
            Event::PhaseEnded { .. } => self.figures.phase_moved(&self.state),
            // Another undo may have waited for this one: only hosts that know of several after all bring that about.
            Event::TaskEnded { task, .. } if task.kind == TaskKind::Undo && self.figures.undoing > 1 => {
                self.look_at_undos();
            }
            // The same for an attempt, and what follows from it.
            Event::TaskEnded { task, .. } if task.kind != TaskKind::Undo && self.figures.undoing > 0 => {
                self.look_at_undos();
            }
            Event::StepEnded { .. } if self.rolling_back() && self.figures.undoing > 0 => {
                self.look_at_undos()
            }
            _ => {}
        }
        self.out.records.push(record);
        if let (Some(ix), Some(before)) = (step, before) {
            self.figures.moved(&self.plan, &self.state, &self.dependents, ix, before);
            // What was decided about the step is for itself and the groups around it to draw conclusions from.
            self.work.extend(std::iter::successors(Some(ix), |at| self.plan.steps[*at].parent));
        }
        true
    }

    /// A resume may have changed anything.
    fn look_at_everything(&mut self) {
        self.figures = Figures::derive(&self.plan, &self.state);
        self.undo_wanted.clear();
        let steps = self.state.steps.iter().enumerate();
        self.work.extend(steps.filter(|(_, step)| step.is_active()).map(|(ix, _)| ix));
        self.look_at_undos();
    }

    pub(super) fn later(&mut self, ix: StepIx) {
        self.work.push_back(ix);
    }

    pub(super) fn rolling_back(&self) -> bool {
        matches!(self.state.status, RunStatus::RollingBack { .. })
    }
}
