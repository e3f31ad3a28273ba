//! The total function: (state, input, now) -> records to sync, then acts to perform.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{
    Event, Millis, Op, Record, ResumeInfo, RunOutcome, StartInfo, StepOutcome, TaskEnd, TaskEndKind, TaskId,
    TaskOutput, TaskVerdict, Timestamp, Want,
};
use crate::plan::{Body, OnFailure, Plan, StepIx};

use super::state::{Activity, PhaseStatus, RunStatus, State, StepStatus, UndoStatus};

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
    /// A person asks for the end. With `force`, running commands are killed at once.
    Cancel {
        by: String,
        how: String,
        force: bool,
    },
    /// Something outside of the plan has to be recorded.
    Note(Event),
}

/// What became of a task that was in flight.
#[derive(Debug)]
pub enum Found {
    NeverStarted,
    Ended { end: TaskEnd, output: Box<TaskOutput> },
    Unknown { why: String },
}

/// What is to be done once the records are synced.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Start(Box<StartTask>),
    Stop { task: TaskId, force: bool },
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

/// The answer to an input.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// To be synced before any act is performed. Already folded into the engine's state.
    pub records: Vec<Record>,
    pub acts: Vec<Act>,
}

/// How many of a container's steps are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub pending: usize,
    pub active: usize,
    pub ok: usize,
    pub bad: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Pending,
    Active,
    Ok,
    Bad,
}

/// The core of a run. Everything but `plan`, `state` and `facts` is derived from them and only there for speed.
#[derive(Debug)]
pub struct Engine {
    pub(super) plan: Arc<Plan>,
    pub(super) state: State,
    pub(super) facts: RunFacts,
    pub(super) now: Clock,
    pub(super) out: Decision,
    /// Steps to look at.
    work: VecDeque<StepIx>,
    /// Steps whose needs are met.
    ready: BTreeSet<StepIx>,
    /// Needs not met yet, for each step.
    unmet: Vec<usize>,
    dependents: Vec<Vec<StepIx>>,
    groups: Vec<Tally>,
    phases: Vec<Tally>,
    /// Active steps that are not groups.
    busy: usize,
    timers: BTreeSet<(Millis, StepIx)>,
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
        let now = Clock { t: state.last_t, at: state.last_at };
        let mut engine = Self {
            plan,
            state,
            facts,
            now,
            out: Decision::default(),
            work: VecDeque::new(),
            ready: BTreeSet::new(),
            unmet: Vec::new(),
            dependents,
            groups: Vec::new(),
            phases: Vec::new(),
            busy: 0,
            timers: BTreeSet::new(),
        };
        engine.rebuild();
        engine
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// When [`Input::Tick`] is due next.
    pub fn next_deadline(&self) -> Option<Millis> {
        if matches!(self.state.status, RunStatus::Ended(_)) {
            return None;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let phase = self.phase_deadline().map(|(at, _)| at);
        [timer, phase].into_iter().flatten().min()
    }

    /// Answers one input. Total: an input that does not fit the state (a task that is not in flight, a second start)
    /// gives an empty decision.
    pub fn handle(&mut self, now: Clock, input: Input) -> Decision {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        match input {
            Input::Start(info) => {
                if self.state.start.is_none() {
                    self.emit(Event::RunStarted(info));
                }
            }
            Input::Resume { info, before, found, rollback, cancel } => {
                self.resume(info, before, found, rollback);
                if let Some(by) = cancel {
                    self.cancel(by, "runbook cancel".into(), false);
                }
            }
            Input::TaskEnded { task, end, output } => self.task_ended(task, end, &output),
            Input::Tick => self.tick(),
            Input::Cancel { by, how, force } => self.cancel(by, how, force),
            Input::Note(event) => self.emit(event),
        }
        if self.state.start.is_some() {
            self.settle();
        }
        std::mem::take(&mut self.out)
    }

    /// Records the end of a task and draws no conclusion from it: for a run whose journal can take nothing new. Nothing
    /// may be asked of this engine afterwards but further ends.
    pub fn record_end(&mut self, now: Clock, task: TaskId, end: TaskEnd, output: &TaskOutput) -> Vec<Record> {
        self.now = Clock { t: now.t.max(self.state.last_t), at: now.at };
        self.task_ended(task, end, output);
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

    fn resume(
        &mut self,
        info: ResumeInfo,
        before: Vec<Event>,
        found: Vec<(TaskId, Found)>,
        rollback: Option<String>,
    ) {
        if self.state.start.is_none() {
            return;
        }
        self.state.epoch += 1;
        for event in before {
            self.emit(event);
        }
        self.emit(Event::RunResumed(info));
        for (task, found) in found {
            match found {
                Found::Ended { end, output } => self.task_ended(task, end, &output),
                Found::Unknown { why } => {
                    let end = TaskEnd::new(TaskEndKind::Unknown { why }, self.age(&task));
                    self.task_ended(task, end, &TaskOutput::none());
                }
                Found::NeverStarted => {
                    let error = "the tool was stopped before the command was started".into();
                    let end = TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO);
                    self.emit_task_end(task, end, TaskVerdict::NotRun);
                }
            }
        }
        if let Some(by) = rollback
            && !self.rolling_back()
        {
            self.emit(Event::RollbackStarted { because: format!("{by} asked for it") });
        }
        self.rebuild();
    }

    fn age(&self, task: &TaskId) -> Millis {
        self.state.in_flight.get(task).map_or(Millis::ZERO, |f| self.now.t.saturating_sub(f.since))
    }

    pub(super) fn emit_task_end(&mut self, task: TaskId, end: TaskEnd, verdict: TaskVerdict) {
        self.emit(Event::TaskEnded {
            task,
            end,
            verdict,
            outputs: BTreeMap::new(),
            result: None,
            no_retry: false,
        });
    }

    fn task_ended(&mut self, task: TaskId, end: TaskEnd, output: &TaskOutput) {
        let Some(flight) = self.state.in_flight.get(&task) else { return };
        let ix = flight.step;
        let event = self.judge(ix, task, end, output);
        self.emit(event);
        self.work.push_back(ix);
    }

    fn tick(&mut self) {
        while let Some(&(at, ix)) = self.timers.first()
            && at <= self.now.t
        {
            self.timers.pop_first();
            self.work.push_back(ix);
        }
        if let Some((at, ix)) = self.phase_deadline()
            && at <= self.now.t
        {
            let phase = &self.plan.phases[ix];
            let deadline = phase.deadline.unwrap_or_default();
            self.emit(Event::PhaseDeadlineMissed { phase: phase.id.clone(), deadline });
        }
    }

    fn phase_deadline(&self) -> Option<(Millis, usize)> {
        let running = |(ix, status): (usize, &PhaseStatus)| match status {
            PhaseStatus::Running { since, late: false } => {
                self.plan.phases[ix].deadline.map(|d| (since.saturating_add(d), ix))
            }
            _ => None,
        };
        self.state.phases.iter().enumerate().filter_map(running).min()
    }

    fn cancel(&mut self, by: String, how: String, force: bool) {
        if self.state.start.is_none() || self.state.end().is_some() {
            return;
        }
        if !matches!(self.state.status, RunStatus::Cancelling { .. }) {
            self.emit(Event::CancelRequested { by, how });
        }
        for task in self.state.in_flight.keys() {
            self.out.acts.push(Act::Stop { task: task.clone(), force });
        }
    }

    /// Makes a record of an event and folds it.
    pub(super) fn emit(&mut self, event: Event) {
        let step = self.step_of(&event);
        let before = step.map(|ix| self.class(ix));
        let resumed = matches!(event, Event::RunResumed(_) | Event::StepResolved { .. });
        let record = Record {
            seq: self.state.seq + 1,
            epoch: self.state.epoch.max(1),
            t: self.now.t,
            at: self.now.at,
            event,
        };
        let folded = self.state.apply(&self.plan, &record);
        debug_assert_eq!(folded, Ok(()), "the engine wrote a record that it cannot fold");
        self.out.records.push(record);
        if resumed {
            self.rebuild();
        } else if let (Some(ix), Some(before)) = (step, before) {
            self.moved(ix, before);
        }
    }

    fn step_of(&self, event: &Event) -> Option<StepIx> {
        let id = match event {
            Event::TaskStarted { task, .. } | Event::TaskEnded { task, .. } => &task.step,
            Event::StepSkipped { step, .. }
            | Event::WaitStarted { step, .. }
            | Event::GroupStarted { step, .. }
            | Event::RetryScheduled { step, .. }
            | Event::AdvisoryFailed { step, .. }
            | Event::StepEnded { step, .. }
            | Event::StepResolved { step, .. }
            | Event::StepUndone { step, .. } => step,
            _ => return None,
        };
        self.plan.find(id)
    }

    fn class(&self, ix: StepIx) -> Class {
        match self.state.steps[ix].status {
            StepStatus::Pending => Class::Pending,
            StepStatus::Active(_) => Class::Active,
            StepStatus::Over(_) if self.counts_as_done(ix) => Class::Ok,
            StepStatus::Over(_) => Class::Bad,
        }
    }

    /// Whether those that need the step may start.
    fn counts_as_done(&self, ix: StepIx) -> bool {
        match self.state.steps[ix].own_outcome() {
            Some(StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Skipped) => true,
            Some(StepOutcome::Failed) => self.plan.steps[ix].on_failure == OnFailure::Continue,
            _ => false,
        }
    }

    fn tally(&mut self, ix: StepIx) -> &mut Tally {
        match self.plan.steps[ix].parent {
            Some(group) => &mut self.groups[group],
            None => &mut self.phases[self.plan.steps[ix].phase],
        }
    }

    fn count(&mut self, ix: StepIx, class: Class, up: bool) {
        let leaf = !matches!(self.plan.steps[ix].body, Body::AnyOf(_) | Body::Playbook { .. });
        if leaf && class == Class::Active {
            self.busy = if up { self.busy + 1 } else { self.busy - 1 };
        }
        let tally = self.tally(ix);
        let slot = match class {
            Class::Pending => &mut tally.pending,
            Class::Active => &mut tally.active,
            Class::Ok => &mut tally.ok,
            Class::Bad => &mut tally.bad,
        };
        *slot = if up { *slot + 1 } else { *slot - 1 };
    }

    /// Keeps the derived figures right after step `ix` changed.
    fn moved(&mut self, ix: StepIx, before: Class) {
        let after = self.class(ix);
        if before != after {
            self.count(ix, before, false);
            self.count(ix, after, true);
            if after == Class::Ok {
                for i in 0..self.dependents[ix].len() {
                    let dependent = self.dependents[ix][i];
                    self.unmet[dependent] -= 1;
                    self.consider(dependent);
                }
            }
            if let Some(parent) = self.plan.steps[ix].parent {
                self.work.push_back(parent);
            }
        }
        self.watch(ix);
    }

    /// Notes when the step has to be looked at again.
    fn watch(&mut self, ix: StepIx) {
        if let StepStatus::Active(
            Activity::Waiting { until }
            | Activity::Backoff { until, .. }
            | Activity::Verifying { next: Some(until), .. },
        ) = self.state.steps[ix].status
        {
            self.timers.insert((until, ix));
        }
        if let UndoStatus::Backoff { until, .. } = self.state.steps[ix].undo {
            self.timers.insert((until, ix));
        }
    }

    fn consider(&mut self, ix: StepIx) {
        if self.unmet[ix] == 0 && self.state.steps[ix].status == StepStatus::Pending {
            self.ready.insert(ix);
        }
    }

    /// Derives everything anew from plan and state.
    fn rebuild(&mut self) {
        let steps = self.plan.steps.len();
        self.groups = vec![Tally::default(); steps];
        self.phases = vec![Tally::default(); self.plan.phases.len()];
        self.busy = 0;
        self.unmet = vec![0; steps];
        self.ready.clear();
        self.timers.clear();
        for ix in 0..steps {
            self.count(ix, self.class(ix), true);
            let needs = &self.plan.steps[ix].needs;
            self.unmet[ix] = needs.iter().filter(|n| self.class(**n) != Class::Ok).count();
            self.consider(ix);
            self.watch(ix);
            if self.state.steps[ix].is_active() {
                self.work.push_back(ix);
            }
        }
    }

    /// Draws every conclusion that the state allows.
    fn settle(&mut self) {
        loop {
            while let Some(ix) = self.work.pop_front() {
                self.advance(ix);
            }
            let progressed = match self.state.status {
                RunStatus::NotStarted | RunStatus::Ended(_) => false,
                RunStatus::Running => self.go_on(),
                RunStatus::Stopping { .. } => self.busy == 0 && self.end_stopped(),
                RunStatus::Cancelling { .. } => self.state.in_flight.is_empty() && self.end_cancelled(),
                RunStatus::RollingBack { .. } => self.busy == 0 && self.roll_back(),
            };
            if !progressed && self.work.is_empty() {
                return;
            }
        }
    }

    /// Phases, and the steps that may start.
    fn go_on(&mut self) -> bool {
        let Some(ix) = self.state.phases.iter().position(|p| !matches!(p, PhaseStatus::Ended { .. })) else {
            self.end_complete();
            return true;
        };
        let id = self.plan.phases[ix].id.clone();
        if self.state.phases[ix] == PhaseStatus::Pending {
            self.emit(Event::PhaseStarted { phase: id });
            return true;
        }
        let tally = self.phases[ix];
        if tally.pending == 0 && tally.active == 0 && tally.bad == 0 {
            self.emit(Event::PhaseEnded { phase: id });
            return true;
        }
        if self.start_ready() {
            return true;
        }
        // A step that ended badly without stopping the run can only be one that a person must look at.
        if tally.active == 0 && tally.bad > 0 && self.busy == 0 {
            return self.end_stopped();
        }
        false
    }

    fn start_ready(&mut self) -> bool {
        let mut started = false;
        while self.slot_is_free() && self.state.status == RunStatus::Running {
            // Steps whose container is closed stay in the set: they are few (the first of each later phase).
            let next = self.ready.iter().copied().find(|ix| self.is_open(*ix));
            let Some(ix) = next else { break };
            self.ready.remove(&ix);
            if self.state.steps[ix].status == StepStatus::Pending {
                self.start_step(ix);
                started = true;
            }
        }
        started
    }

    /// Whether the container of the step lets it start.
    fn is_open(&self, ix: StepIx) -> bool {
        let step = &self.plan.steps[ix];
        let Some(parent) = step.parent else {
            return matches!(self.state.phases[step.phase], PhaseStatus::Running { .. });
        };
        if !self.state.steps[parent].is_inside() {
            return false;
        }
        match &self.plan.steps[parent].body {
            Body::AnyOf(_) => self.next_alternative(parent) == Some(ix),
            _ => self.groups[parent].bad == 0,
        }
    }

    pub(super) fn group_tally(&self, group: StepIx) -> Tally {
        self.groups[group]
    }

    pub(super) fn slot_is_free(&self) -> bool {
        self.busy + self.undoing() < self.plan.max_parallel
    }

    pub(super) fn later(&mut self, ix: StepIx) {
        self.work.push_back(ix);
    }

    pub(super) fn undoing(&self) -> usize {
        usize::from(self.state.in_flight.keys().any(|t| t.kind == crate::model::TaskKind::Undo))
    }

    pub(super) fn rolling_back(&self) -> bool {
        matches!(self.state.status, RunStatus::RollingBack { .. })
    }

    fn end_stopped(&mut self) -> bool {
        let unknown = self.first_with(StepOutcome::Unknown);
        let outcome = if unknown.is_some() { RunOutcome::InDoubt } else { RunOutcome::Failed };
        let why = match (&self.state.status, unknown) {
            (RunStatus::Stopping { why }, _) => why.clone(),
            (_, Some(ix)) => format!("step {} is in doubt", self.plan.steps[ix].id),
            _ => match self.first_with(StepOutcome::Failed) {
                Some(ix) => format!("step {} failed", self.plan.steps[ix].id),
                None => "a step did not succeed".into(),
            },
        };
        self.end_run(outcome, Some(why));
        true
    }

    fn end_cancelled(&mut self) -> bool {
        let RunStatus::Cancelling { by } = &self.state.status else { return false };
        let mut why = format!("stopped by {by}");
        if let Some(ix) = self.first_with(StepOutcome::Unknown) {
            why = format!("{why}; step {} is in doubt", self.plan.steps[ix].id);
        }
        self.end_run(RunOutcome::Cancelled, Some(why));
        true
    }

    fn first_with(&self, outcome: StepOutcome) -> Option<StepIx> {
        self.state.steps.iter().position(|s| s.outcome() == Some(outcome))
    }

    fn end_complete(&mut self) {
        let failed = self.first_with(StepOutcome::Failed);
        let advisory = self.state.steps.iter().position(|s| !s.advisories.is_empty());
        let (outcome, why) = match (failed, advisory) {
            (Some(ix), _) => (
                RunOutcome::Degraded,
                Some(format!("step {} failed and the run went on", self.plan.steps[ix].id)),
            ),
            (None, Some(ix)) => (
                RunOutcome::Degraded,
                Some(format!("an advisory check of step {} did not hold", self.plan.steps[ix].id)),
            ),
            (None, None) => (RunOutcome::Recovered, None),
        };
        self.end_run(outcome, why);
    }
}
