//! Folding one record into the state. Total: a record that this state does not allow is an error, never a guess.

use crate::model::{
    Event, FORMAT, Millis, Record, Resolution, StepId, StepOutcome, TaskEnd, TaskEndKind, TaskId, TaskKind,
    TaskVerdict, UndoneState,
};
use crate::plan::{Body, OnFailure, Plan, Step, StepIx};

use super::state::{Activity, InFlight, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus};

impl State {
    /// Folds one record. The error says why the record is not possible here: the journal was written by another
    /// program, or changed.
    pub fn apply(&mut self, plan: &Plan, record: &Record) -> Result<(), String> {
        if record.seq != self.seq + 1 {
            return Err(format!("record {} follows record {}", record.seq, self.seq));
        }
        self.apply_event(plan, record).map_err(|why| format!("record {}: {why}", record.seq))?;
        self.seq = record.seq;
        self.epoch = record.epoch;
        self.last_t = record.t.max(self.last_t);
        self.last_at = record.at;
        Ok(())
    }

    fn apply_event(&mut self, plan: &Plan, record: &Record) -> Result<(), String> {
        let t = record.t;
        if self.start.is_none() && !matches!(record.event, Event::RunStarted(_)) {
            return Err("the first record is not the run's start".into());
        }
        match &record.event {
            Event::RunStarted(start) => {
                if self.start.is_some() {
                    return Err("a second start of the run".into());
                }
                if start.format > FORMAT {
                    return Err(format!("written in format {}", start.format));
                }
                self.start = Some((**start).clone());
                self.started_at = record.at;
                self.status = RunStatus::Running;
            }
            Event::RunResumed(_) => self.resume(plan),
            Event::TailSetAside { .. } | Event::Gap { .. } | Event::KeeperLost { .. } => {}
            Event::PhaseStarted { phase } => {
                *self.phase(plan, phase)? = PhaseStatus::Running { since: t, late: false };
            }
            Event::PhaseEnded { phase } => {
                let phase = self.phase(plan, phase)?;
                let PhaseStatus::Running { since, late } = *phase else {
                    return Err("the phase does not run".into());
                };
                *phase = PhaseStatus::Ended { since, at: t, late };
            }
            Event::PhaseDeadlineMissed { phase, .. } => {
                if let PhaseStatus::Running { late, .. } = self.phase(plan, phase)? {
                    *late = true;
                }
            }
            Event::StepSkipped { step, why } => {
                let step = self.step(plan, step)?.1;
                step.status = StepStatus::Over(StepOutcome::Skipped);
                step.ended = Some(t);
                step.why = Some(why.clone());
            }
            Event::WaitStarted { step, length } => {
                let step = self.step(plan, step)?.1;
                step.started.get_or_insert(t);
                step.attempts += 1;
                step.status = StepStatus::Active(Activity::Waiting { until: t.saturating_add(*length) });
            }
            Event::GroupStarted { step, params } => {
                let step = self.step(plan, step)?.1;
                step.started.get_or_insert(t);
                step.effect_at.get_or_insert(record.seq);
                step.late_params.clone_from(params);
                step.status = StepStatus::Active(Activity::Inside);
            }
            Event::TaskStarted { task, command, timeout, .. } => {
                self.task_started(plan, record, task, command, *timeout)?;
            }
            Event::TaskEnded { task, end, verdict, outputs, result, no_retry } => {
                let ix = self.task_ended(plan, t, task, end, verdict, *no_retry)?;
                if task.kind == TaskKind::Attempt && *verdict == TaskVerdict::Passed {
                    self.steps[ix].outputs.clone_from(outputs);
                    self.steps[ix].result.clone_from(result);
                }
            }
            Event::RetryScheduled { step, failed, delay, undo } => {
                let step = self.step(plan, step)?.1;
                let until = t.saturating_add(*delay);
                if *undo {
                    step.undo = UndoStatus::Backoff { tries: *failed, until };
                } else {
                    step.status = StepStatus::Active(Activity::Backoff { failed: *failed, until });
                }
            }
            Event::AdvisoryFailed { step, title, why, check } => {
                let step = self.step(plan, step)?.1;
                step.advisories.push(format!("{title}: {why}"));
                // What follows is the next check; the failed one is over.
                if let StepStatus::Active(Activity::Deciding { task, verdict, .. }) = &mut step.status
                    && matches!(task.kind, TaskKind::Verify { check: c, .. } if c == *check)
                {
                    *verdict = TaskVerdict::Passed;
                }
            }
            Event::StepEnded { step, outcome, why, outputs, choice } => {
                let (ix, state) = self.step(plan, step)?;
                state.status = StepStatus::Over(*outcome);
                state.ended = Some(t);
                state.started.get_or_insert(t);
                state.why.clone_from(why);
                state.choice.clone_from(choice);
                if !outputs.is_empty() {
                    state.outputs.clone_from(outputs);
                }
                if matches!(outcome, StepOutcome::Failed | StepOutcome::Unknown) {
                    let why = why.clone().unwrap_or_default();
                    self.after_failure(plan, ix, *outcome, &why);
                }
            }
            Event::StepResolved { step, resolution, by, reason, .. } => {
                self.resolved(plan, record, step, *resolution, (by, reason))?;
            }
            Event::RollbackStarted { because } => {
                self.rollback = Some(because.clone());
                self.status = RunStatus::RollingBack { because: because.clone() };
            }
            Event::StepUndone { step, state } => {
                let step = self.step(plan, step)?.1;
                step.before_undo = step.before_undo.or(step.outcome());
                step.status = StepStatus::Over(match state {
                    UndoneState::Undone => StepOutcome::Undone,
                    UndoneState::Failed { .. } | UndoneState::Unknown { .. } => StepOutcome::UndoFailed,
                });
                if *state == UndoneState::Undone {
                    step.dirty = false;
                }
                step.undo = UndoStatus::Over(state.clone());
            }
            Event::CancelRequested { by, .. } => {
                if !matches!(self.status, RunStatus::Ended(_)) {
                    self.status = RunStatus::Cancelling { by: by.clone() };
                }
            }
            Event::RunEnded(end) => self.status = RunStatus::Ended((**end).clone()),
        }
        Ok(())
    }

    fn phase(&mut self, plan: &Plan, id: &str) -> Result<&mut PhaseStatus, String> {
        let ix = plan.phases.iter().position(|p| p.id == id);
        let ix = ix.ok_or_else(|| format!("the plan has no phase {id:?}"))?;
        Ok(&mut self.phases[ix])
    }

    fn step(&mut self, plan: &Plan, id: &StepId) -> Result<(StepIx, &mut StepState), String> {
        let ix = self.find(plan, id)?;
        Ok((ix, &mut self.steps[ix]))
    }

    fn find(&self, plan: &Plan, id: &StepId) -> Result<StepIx, String> {
        plan.find(id).ok_or_else(|| format!("the plan has no step {id}"))
    }

    fn task_started(
        &mut self,
        plan: &Plan,
        record: &Record,
        task: &TaskId,
        command: &str,
        timeout: Option<Millis>,
    ) -> Result<(), String> {
        let t = record.t;
        let (ix, step) = self.step(plan, &task.step)?;
        step.started.get_or_insert(t);
        match task.kind {
            TaskKind::Unless => step.status = StepStatus::Active(Activity::Unless),
            TaskKind::Attempt => {
                step.attempts = task.attempt;
                step.reruns = task.rerun;
                step.effect_at.get_or_insert(record.seq);
                step.status = StepStatus::Active(Activity::Acting);
            }
            TaskKind::Remedy => {
                step.effect_at.get_or_insert(record.seq);
                step.status = StepStatus::Active(Activity::Remedy { failed: task.attempt });
            }
            TaskKind::Verify { check, poll } => {
                step.attempts = task.attempt;
                let since = match step.status {
                    StepStatus::Active(Activity::Verifying { check: c, since, .. }) if c == check => since,
                    _ => t,
                };
                step.status = StepStatus::Active(Activity::Verifying { check, poll, since, next: None });
            }
            TaskKind::Check => step.status = StepStatus::Active(Activity::Checking),
            TaskKind::Undo => {
                step.before_undo = step.before_undo.or(step.outcome());
                step.undo = UndoStatus::Running { tries: task.attempt };
            }
        }
        let flight = InFlight { step: ix, since: t, command: command.to_owned(), timeout };
        match self.in_flight.insert(task.clone(), flight) {
            None => Ok(()),
            Some(_) => Err(format!("task {task} started twice")),
        }
    }

    fn task_ended(
        &mut self,
        plan: &Plan,
        t: Millis,
        task: &TaskId,
        end: &TaskEnd,
        verdict: &TaskVerdict,
        no_retry: bool,
    ) -> Result<StepIx, String> {
        let Some(flight) = self.in_flight.remove(task) else {
            return Err(format!("task {task} ended without having started"));
        };
        let ix = flight.step;
        let step = &mut self.steps[ix];
        if let TaskKind::Undo = task.kind {
            step.undo = UndoStatus::Deciding { tries: task.attempt, verdict: verdict.clone() };
            return Ok(ix);
        }
        match (task.kind, verdict) {
            (TaskKind::Attempt | TaskKind::Remedy, TaskVerdict::Unknown(_)) => step.dirty = true,
            (TaskKind::Attempt, TaskVerdict::NotRun) if task.attempt == 1 && task.rerun == 0 => {
                step.effect_at = None;
            }
            // The check says what is there: nothing is in doubt any more.
            (TaskKind::Check, TaskVerdict::Passed | TaskVerdict::Failed(_)) => step.dirty = false,
            _ => {}
        }
        if task.kind == TaskKind::Attempt
            && task.attempt == 1
            && matches!(end.kind, TaskEndKind::NotStarted { .. })
        {
            step.effect_at = None;
        }
        // A check that does not hold yet and may be polled again goes on; everything else has to be decided.
        if let (
            TaskKind::Verify { check, poll },
            TaskVerdict::Failed(_),
            StepStatus::Active(Activity::Verifying { since, .. }),
        ) = (task.kind, verdict, &step.status)
            && let Some(spec) = plan.steps[ix].verify.get(usize::from(check))
            && let Some(within) = spec.within
            && t.saturating_add(spec.every) <= since.saturating_add(within)
        {
            let next = Some(t.saturating_add(spec.every));
            step.status = StepStatus::Active(Activity::Verifying { check, poll, since: *since, next });
        } else {
            step.status = StepStatus::Active(Activity::Deciding {
                task: task.clone(),
                verdict: verdict.clone(),
                no_retry,
            });
        }
        Ok(ix)
    }

    /// What a failed or unknown step means for the run. A step inside a group only concerns its group.
    fn after_failure(&mut self, plan: &Plan, ix: StepIx, outcome: StepOutcome, why: &str) {
        let step = &plan.steps[ix];
        let stops = match outcome {
            // Whatever `on_failure` says, a person has to look.
            StepOutcome::Unknown => true,
            _ => step.parent.is_none() && step.on_failure == OnFailure::Stop,
        };
        if stops && self.status == RunStatus::Running {
            let verb = if outcome == StepOutcome::Unknown { "is in doubt" } else { "failed" };
            self.status = RunStatus::Stopping { why: format!("step {} {verb}: {why}", step.id) };
        }
    }

    /// Another process goes on: what failed or was cut short may be tried again, what is done stays done.
    fn resume(&mut self, plan: &Plan) {
        self.status = match &self.rollback {
            Some(because) => RunStatus::RollingBack { because: because.clone() },
            None => RunStatus::Running,
        };
        let rolling_back = self.rollback.is_some();
        // Inside of an `any_of` that failed as a whole: all of it starts over.
        let mut afresh = vec![false; self.steps.len()];
        // Alternatives that failed while their `any_of` goes on: they stay used up.
        let mut used_up = vec![false; self.steps.len()];
        for (ix, spec) in plan.steps.iter().enumerate() {
            self.steps[ix].attempts_before = self.steps[ix].attempts;
            if rolling_back {
                let undo = &mut self.steps[ix].undo;
                if matches!(undo, UndoStatus::Over(UndoneState::Failed { .. })) {
                    *undo = UndoStatus::None;
                }
                continue;
            }
            if let Some(parent) = spec.parent {
                let alternative = matches!(plan.steps[parent].body, Body::AnyOf(_));
                let failed = self.steps[ix].outcome() == Some(StepOutcome::Failed);
                afresh[ix] = afresh[parent];
                used_up[ix] = used_up[parent] || !afresh[ix] && alternative && failed;
            }
            if afresh[ix] {
                self.steps[ix].reopen(StepStatus::Pending);
            } else if !used_up[ix] && self.steps[ix].may_go_on(spec) {
                let status = self.steps[ix].reopened_status(spec);
                self.steps[ix].reopen(status);
                afresh[ix] = matches!(spec.body, Body::AnyOf(_));
            }
        }
    }

    fn resolved(
        &mut self,
        plan: &Plan,
        record: &Record,
        step: &StepId,
        resolution: Resolution,
        (by, reason): (&str, &str),
    ) -> Result<(), String> {
        let t = record.t;
        let (_, state) = self.step(plan, step)?;
        state.dirty = false;
        state.undo = UndoStatus::None;
        state.before_undo = None;
        match resolution {
            Resolution::Done => {
                state.done_by_hand = true;
                state.status = StepStatus::Pending;
                state.effect_at.get_or_insert(record.seq);
            }
            Resolution::NotDone | Resolution::Retry => state.status = StepStatus::Pending,
            Resolution::Skip => {
                state.status = StepStatus::Over(StepOutcome::Skipped);
                state.ended = Some(t);
                state.why = Some(format!("skipped by {by}: {reason}"));
            }
        }
        Ok(())
    }
}

impl StepState {
    /// Whether a resumed run takes the step up again although it is over.
    fn may_go_on(&self, spec: &Step) -> bool {
        match self.status {
            StepStatus::Over(StepOutcome::Failed) => spec.on_failure != OnFailure::Continue,
            StepStatus::Over(StepOutcome::Cancelled) => true,
            // The way out of doubt is walked again: the check may answer now.
            StepStatus::Over(StepOutcome::Unknown) => spec.check.is_some() || spec.idempotent,
            _ => false,
        }
    }

    fn reopened_status(&self, spec: &Step) -> StepStatus {
        match (&spec.body, self.outcome()) {
            (Body::AnyOf(_) | Body::Playbook { .. }, _) => StepStatus::Active(Activity::Inside),
            (_, Some(StepOutcome::Unknown)) => StepStatus::Active(Activity::Deciding {
                task: TaskId {
                    step: spec.id.clone(),
                    kind: TaskKind::Attempt,
                    attempt: self.attempts,
                    rerun: self.reruns,
                },
                verdict: TaskVerdict::Unknown(self.why.clone().unwrap_or_default()),
                no_retry: false,
            }),
            _ => StepStatus::Pending,
        }
    }

    fn reopen(&mut self, status: StepStatus) {
        self.status = status;
        self.ended = None;
        self.why = None;
        self.undo = UndoStatus::None;
        self.before_undo = None;
    }
}
