//! Folding one record into the state. Total: a record that this state does not allow is an error, never a guess.

use crate::model::{
    Cause, Event, FORMAT, Millis, QuestionKind, Record, RunOutcome, StepId, StepOutcome, TaskEnd,
    TaskEndKind, TaskId, TaskKind, TaskVerdict, UndoneState,
};
use crate::plan::{OnFailure, Plan, StepIx};
use crate::planted::{self, Bug};

use super::group;
use super::state::{
    Activity, InFlight, Lost, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus,
};

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
                self.plan_hash.clone_from(&start.plan_hash);
                self.commander = Some(start.operator.clone());
                self.started_at = record.at;
                self.status = RunStatus::Running;
                Ok(())
            }
            Event::RunResumed(_) => self.resumed(plan),
            // The plan that is folded with is the newest one already: see `replan`.
            Event::Replanned(info) => {
                self.plan_hash.clone_from(&info.plan_hash);
                Ok(())
            }
            Event::TailSetAside { .. }
            | Event::Gap { .. }
            | Event::KeeperLost { .. }
            | Event::HostSilent { .. }
            | Event::AnswerRefused { .. }
            | Event::Noted { .. } => Ok(()),
            Event::HandedOver { to, .. } => {
                self.commander = Some(to.clone());
                Ok(())
            }
            Event::Acknowledged { by } => {
                if !self.has_acknowledged(&by.name) {
                    self.acknowledged.push((record.t, by.name.clone()));
                }
                Ok(())
            }
            Event::NoticeEnded { number, channel, .. } => self.told.ended(*number, channel),
            // A rollback may be asked for after the end; a resume and a person's word are for then, too.
            Event::RollbackStarted { because } => {
                self.rollback = Some(because.clone());
                self.status = RunStatus::RollingBack { because: because.clone() };
                self.steps.iter_mut().for_each(StepState::forget_undo_question);
                Ok(())
            }
            Event::TaskFound { task } => self.task_found(plan, task),
            Event::StepResolved { step, resolution, by, reason, .. } => {
                let ix = self.find(plan, step)?;
                if !self.may_be_resolved(plan, ix) {
                    return Ok(());
                }
                self.steps[ix].resolve(record, *resolution, (by, reason));
                if self.is_rolling_back() {
                    self.resolved_in_rollback(plan, step, *resolution)?;
                }
                Ok(())
            }
            // A run that ended only because it could not wait is answered when nobody drives it.
            Event::Answered { .. } if self.waits() => self.apply_to_step(plan, record),
            Event::Notice { number, cause: cause @ Cause::Acknowledged { .. }, channels, .. } => {
                self.told.notice(record.t, *number, cause, channels)
            }
            _ if matches!(self.status, RunStatus::Ended(_)) => Err("the run has ended".into()),
            Event::CancelRequested { by, .. } => {
                // The rollback was due, only its record is missing: a resume has to go on with it.
                if let RunStatus::RollingBack { because } = &self.status
                    && self.rollback.is_none()
                {
                    self.rollback = Some(because.clone());
                    self.steps.iter_mut().for_each(StepState::forget_undo_question);
                }
                self.status = RunStatus::Cancelling { by: by.clone() };
                Ok(())
            }
            Event::Notice { number, cause, channels, .. } => {
                self.told.notice(record.t, *number, cause, channels)?;
                match cause {
                    Cause::Step { .. } => self.apply_to_step(plan, record),
                    _ => Ok(()),
                }
            }
            Event::RunEnded(end) => {
                self.told.go_on();
                self.status = RunStatus::Ended((**end).clone());
                Ok(())
            }
            Event::PhaseStarted { phase } | Event::PhaseEnded { phase } => {
                self.phase_moved(plan, record, phase)
            }
            Event::PhaseDeadlineMissed { phase, .. } => {
                if let PhaseStatus::Running { late, .. } = self.phase(plan, phase)? {
                    *late = true;
                }
                self.told.owed = Some(phase.clone());
                Ok(())
            }
            _ => self.apply_to_step(plan, record),
        }
    }

    fn phase_moved(&mut self, plan: &Plan, record: &Record, phase: &str) -> Result<(), String> {
        let status = self.phase(plan, phase)?;
        *status = match (&record.event, &*status) {
            (Event::PhaseStarted { .. }, PhaseStatus::Pending) => {
                PhaseStatus::Running { since: record.t, late: false }
            }
            (Event::PhaseEnded { .. }, PhaseStatus::Running { since, late }) => {
                PhaseStatus::Ended { since: *since, at: record.t, late: *late }
            }
            _ => return Err(format!("phase {phase:?} cannot start or end now")),
        };
        Ok(())
    }

    /// The records that concern one step and are allowed only while the run goes on.
    fn apply_to_step(&mut self, plan: &Plan, record: &Record) -> Result<(), String> {
        let t = record.t;
        match &record.event {
            Event::StepSkipped { step, why } => {
                let step = self.open_step(plan, step)?.1;
                step.status = StepStatus::Over(StepOutcome::Skipped);
                step.ended = Some(t);
                step.why = Some(why.clone());
            }
            Event::WaitStarted { step, length } => {
                let step = self.open_step(plan, step)?.1;
                step.begin(t);
                step.attempts = step.attempts.saturating_add(1);
                step.status = StepStatus::Active(Activity::Waiting { until: t.saturating_add(*length) });
            }
            Event::GroupStarted { step, params } => {
                let step = self.open_step(plan, step)?.1;
                step.begin(t);
                step.attempts = step.attempts.saturating_add(1);
                step.effect_at.get_or_insert(record.seq);
                step.late_params.clone_from(params);
                step.status = StepStatus::Active(Activity::Inside);
            }
            Event::Notice { cause: Cause::Step { step }, .. } => {
                let step = self.open_step(plan, step)?.1;
                step.begin(t);
                step.attempts = step.attempts.saturating_add(1);
                step.status = StepStatus::Active(Activity::Told);
            }
            Event::Asked { step, number, question } => {
                let (_, step) = match question.kind {
                    QuestionKind::Undo => self.step(plan, step)?,
                    _ => self.open_step(plan, step)?,
                };
                step.ask(record, *number, question)?;
            }
            Event::Answered { step, number, reply, by } => {
                self.asked_step(plan, step)?.hear(record, *number, reply, by)?;
            }
            Event::QuestionExpired { step, number, then } => {
                self.asked_step(plan, step)?.expire(t, *number, *then)?;
            }
            Event::TaskStarted { task, .. } => {
                self.task_started(plan, record, task)?;
            }
            Event::TaskEnded { task, end, verdict, outputs, result, no_retry } => {
                let ix = self.task_ended(plan, t, task, end, verdict, *no_retry)?;
                if task.kind == TaskKind::Attempt && *verdict == TaskVerdict::Passed {
                    self.steps[ix].outputs.clone_from(outputs);
                    self.steps[ix].result.clone_from(result);
                }
            }
            Event::RetryScheduled { step, failed, delay, undo } => {
                let until = t.saturating_add(*delay);
                if *undo {
                    self.step(plan, step)?.1.undo = UndoStatus::Backoff { tries: *failed, until };
                } else {
                    let step = self.open_step(plan, step)?.1;
                    step.status = StepStatus::Active(Activity::Backoff { failed: *failed, until });
                }
            }
            Event::AdvisoryFailed { step, title, why, check } => {
                let step = self.open_step(plan, step)?.1;
                step.advisories.push(format!("{title}: {why}"));
                // What follows is the next check; the failed one is over.
                if let StepStatus::Active(Activity::Deciding { task, verdict, .. }) = &mut step.status
                    && matches!(task.kind, TaskKind::Verify { check: c, .. } if c == *check)
                {
                    *verdict = TaskVerdict::Passed;
                }
            }
            Event::StepEnded { step, outcome, why, outputs, choice } => {
                let (ix, state) = self.open_step(plan, step)?;
                state.status = StepStatus::Over(*outcome);
                state.ended = Some(t);
                state.begin(t);
                state.why.clone_from(why);
                state.choice.clone_from(choice);
                if !outputs.is_empty() {
                    state.outputs.clone_from(outputs);
                }
                if *outcome == StepOutcome::Unknown {
                    self.once_unknown.insert(ix);
                }
                self.after_end(plan, ix);
            }
            Event::StepUndone { step, state } => self.step(plan, step)?.1.undone(state),
            other => return Err(format!("{other:?} is no record of a step")),
        }
        Ok(())
    }

    fn phase(&mut self, plan: &Plan, id: &str) -> Result<&mut PhaseStatus, String> {
        let ix = plan.phases.iter().position(|p| p.id == id);
        let ix = ix.ok_or_else(|| format!("the plan has no phase {id:?}"))?;
        Ok(&mut self.phases[ix])
    }

    pub(super) fn step(&mut self, plan: &Plan, id: &StepId) -> Result<(StepIx, &mut StepState), String> {
        let ix = self.find(plan, id)?;
        Ok((ix, &mut self.steps[ix]))
    }

    pub(super) fn find(&self, plan: &Plan, id: &StepId) -> Result<StepIx, String> {
        plan.find(id).ok_or_else(|| format!("the plan has no step {id}"))
    }

    /// A step that is not over.
    fn open_step(&mut self, plan: &Plan, id: &StepId) -> Result<(StepIx, &mut StepState), String> {
        let (ix, step) = self.step(plan, id)?;
        match step.status {
            StepStatus::Over(outcome) => Err(format!("step {id} is over: {outcome}")),
            _ => Ok((ix, step)),
        }
    }

    /// A step that is not over, or that is over and waits to be taken back.
    fn asked_step(&mut self, plan: &Plan, id: &StepId) -> Result<&mut StepState, String> {
        let ix = self.find(plan, id)?;
        match self.steps[ix].asks_to_undo() {
            true => Ok(&mut self.steps[ix]),
            false => Ok(self.open_step(plan, id)?.1),
        }
    }

    fn task_started(&mut self, plan: &Plan, record: &Record, task: &TaskId) -> Result<(), String> {
        let t = record.t;
        let lowest = TaskId { step: task.step.clone(), kind: TaskKind::Unless, attempt: 0, rerun: 0 };
        if let Some((other, _)) = self.in_flight.range(lowest..).next()
            && other.step == task.step
        {
            return Err(format!("task {task} started while {other} runs"));
        }
        let (ix, step) = match task.kind {
            TaskKind::Undo => self.step(plan, &task.step)?,
            _ => self.open_step(plan, &task.step)?,
        };
        if task.kind == TaskKind::Undo {
            step.started.get_or_insert(t);
        } else {
            step.begin(t);
        }
        // A look leaves the doubt as it is; what acts again is what is to be known from now on.
        match task.kind {
            TaskKind::Attempt | TaskKind::Remedy => {
                step.lost_before.extend(step.lost_there.take().map(|lost| *lost));
                step.lost_undo = None;
            }
            TaskKind::Undo => step.lost_undo = None,
            _ => {}
        }
        match task.kind {
            TaskKind::Unless => step.status = StepStatus::Active(Activity::Unless),
            TaskKind::Attempt => {
                // What is verified and checked after a repeated attempt must not be taken for what was before it.
                step.round = step.round.saturating_add(u32::from(task.rerun > 0));
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
                let since = step.polled.filter(|(c, _)| *c == check).map_or(t, |(_, since)| since);
                step.polled = Some((check, since));
                step.status = StepStatus::Active(Activity::Verifying { check, poll, since, next: None });
            }
            TaskKind::Check => step.status = StepStatus::Active(Activity::Checking),
            TaskKind::Undo => {
                step.before_undo = step.before_undo.or(step.outcome());
                step.undo = UndoStatus::Running { tries: task.attempt };
            }
        }
        if let Event::TaskStarted { command, host, timeout, .. } = &record.event {
            let (command, host) = (command.clone(), host.clone());
            let flight = InFlight { step: ix, seq: record.seq, since: t, command, timeout: *timeout, host };
            self.in_flight.insert(task.clone(), flight);
        }
        Ok(())
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
        // The same task may have to be started again: under another name, so that its output is its own.
        if matches!(verdict, TaskVerdict::NotRun | TaskVerdict::Cancelled | TaskVerdict::Unknown(_)) {
            step.round = step.round.saturating_add(1);
        }
        let lost = matches!(end.kind, TaskEndKind::Unknown { .. });
        if lost && flight.host.is_some() && !end.gone {
            let (task, was_dirty) = (task.clone(), step.dirty);
            let lost = Lost { task, flight: flight.clone(), was_dirty };
            match lost.task.kind {
                TaskKind::Attempt | TaskKind::Remedy => step.lost_there = Some(Box::new(lost)),
                TaskKind::Undo => step.lost_undo = Some(Box::new(lost)),
                _ => {}
            }
        }
        if let TaskKind::Undo = task.kind {
            step.undo = UndoStatus::Deciding { tries: task.attempt, verdict: verdict.clone() };
            return Ok(ix);
        }
        let beside = step.goes_on_without(task);
        if beside && !matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy) {
            return Ok(ix);
        }
        let never_ran = matches!(end.kind, TaskEndKind::NotStarted { .. });
        match (task.kind, verdict) {
            (TaskKind::Attempt | TaskKind::Remedy, TaskVerdict::Unknown(_)) => step.dirty = true,
            // The check says what is there: nothing is in doubt any more.
            (TaskKind::Check, TaskVerdict::Passed) => step.dirty = false,
            (TaskKind::Check, TaskVerdict::Failed(_)) if !step.may_still_run() => step.dirty = false,
            _ => {}
        }
        if task.kind == TaskKind::Attempt && !beside {
            step.lost = lost;
        }
        // The effect was thought to begin with this very task, and it surely had none. What an earlier one may have done
        // stays: no later failure cleans it.
        if never_ran
            && !step.is_repeated(task)
            && (step.effect_at == Some(flight.seq) || planted::is(Bug::DropDirtyRule))
        {
            step.effect_at = None;
        }
        if beside {
            return Ok(ix);
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
            if matches!(verdict, TaskVerdict::Passed | TaskVerdict::Failed(_)) {
                step.polled = None;
            }
            let (task, verdict) = (task.clone(), verdict.clone());
            step.status = StepStatus::Active(Activity::Deciding { task, verdict, no_retry, lost });
        }
        Ok(ix)
    }

    /// What the end of a step means for the run. A failure inside a group only concerns the group, unless it asks for
    /// a rollback.
    fn after_end(&mut self, plan: &Plan, ix: StepIx) {
        if self.status != RunStatus::Running {
            return;
        }
        let spec = &plan.steps[ix];
        let failed = self.steps[ix].outcome() == Some(StepOutcome::Failed);
        let why = self.steps[ix].why.clone().unwrap_or_default();
        let asked_for = self.steps[ix].roll_back || spec.on_failure == OnFailure::Rollback;
        if failed && asked_for && !group::is_in_alternative(plan, ix) {
            // `rollback` stays empty until the rollback's own record is there.
            self.status = RunStatus::RollingBack { because: format!("step {} failed: {why}", spec.id) };
        } else if let Some(group) = plan.foreach_around(ix) {
            // The last item may tell what an earlier one that nobody knows of means.
            if let Some(item) = self.item_in_doubt(plan, group) {
                let why = self.steps[item].why.clone().unwrap_or_default();
                let why = format!("step {} is in doubt: {why}", plan.steps[item].id);
                self.status = RunStatus::Stopping { why };
            }
        } else if self.stops_the_run(plan, ix) {
            let verb = if failed { "failed" } else { "is in doubt" };
            self.status = RunStatus::Stopping { why: format!("step {} {verb}: {why}", spec.id) };
        }
    }

    /// Whether the step's outcome lets nothing new start.
    pub(super) fn stops_the_run(&self, plan: &Plan, ix: StepIx) -> bool {
        match self.steps[ix].outcome() {
            // Whatever `on_failure` says, a person has to look.
            Some(StepOutcome::Unknown) => self.is_in_doubt(plan, ix),
            Some(StepOutcome::Failed) => {
                let stops = matches!(plan.steps[ix].on_failure, OnFailure::Stop | OnFailure::Ask);
                plan.steps[ix].parent.is_none() && stops
            }
            _ => false,
        }
    }

    /// Nobody knows what became of the step, and no group around it has been settled without it.
    pub(super) fn is_in_doubt(&self, plan: &Plan, ix: StepIx) -> bool {
        let mut around = std::iter::successors(plan.steps[ix].parent, |p| plan.steps[*p].parent);
        self.steps[ix].outcome() == Some(StepOutcome::Unknown)
            && around.all(|p| self.steps[p].is_inside())
            && plan.foreach_around(ix).is_none_or(|group| self.item_in_doubt(plan, group).is_some())
    }

    /// It ended because only a person could go on with it.
    pub fn waits(&self) -> bool {
        matches!(&self.status, RunStatus::Ended(end) if end.outcome == RunOutcome::Waiting)
    }

    /// From the moment a rollback is due; also when it is being cancelled, or has ended.
    pub(super) fn is_rolling_back(&self) -> bool {
        self.rollback.is_some() || matches!(self.status, RunStatus::RollingBack { .. })
    }
}

impl StepState {
    fn undone(&mut self, state: &UndoneState) {
        self.before_undo = self.before_undo.or(self.outcome());
        self.status = StepStatus::Over(match state {
            UndoneState::Undone => StepOutcome::Undone,
            UndoneState::Failed { .. } | UndoneState::Unknown { .. } => StepOutcome::UndoFailed,
        });
        if *state == UndoneState::Undone {
            self.dirty = false;
            self.forget_lost();
        }
        self.undo = UndoStatus::Over(state.clone());
    }
}
