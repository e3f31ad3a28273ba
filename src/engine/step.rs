//! What a step does next. Every function here reads the state and emits; none remembers anything of its own.

use std::collections::BTreeMap;

use crate::model::{Event, Millis, StepOutcome, TaskId, TaskKind, TaskVerdict, UndoneState};
use crate::plan::{Ask, Body, Command, Retry, StepIx, template};
use crate::planted::{self, Bug};

use super::core::{Act, Engine, StartTask};
use super::group;
use super::render::Rendered;
use super::state::{Activity, RunStatus, StepStatus};

/// How often one attempt is started again, without counting, when its outcome stays unknown.
const MOST_RERUNS: u32 = 5;

/// A task that has ended, and what is not recorded yet: what follows.
struct Ended {
    task: TaskId,
    verdict: TaskVerdict,
    no_retry: bool,
    lost: bool,
}

impl Engine {
    /// Looks at one step and does what is due.
    pub(super) fn advance(&mut self, ix: StepIx) {
        self.advance_undo(ix);
        let now = self.now.t;
        let StepStatus::Active(activity) = &self.state.steps[ix].status else { return };
        let held = self.held();
        match activity.clone() {
            Activity::Deciding { task, verdict, no_retry, lost } => {
                self.decide(ix, Ended { task, verdict, no_retry, lost });
            }
            Activity::Inside if !held => self.advance_group(ix),
            Activity::Asking(_) | Activity::Heard(_) => self.advance_question(ix, held),
            // A step that only waits ends with the run; it has nothing to lose.
            Activity::Waiting { .. } | Activity::Backoff { .. } | Activity::Told if self.rolling_back() => {
                self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
            }
            Activity::Verifying { next: Some(_), .. } if self.rolling_back() => {
                self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
            }
            Activity::Waiting { until } if now >= until && !held => self.after_action(ix),
            Activity::Told if !held => self.after_action(ix),
            Activity::Backoff { until, .. } if now >= until && !held => self.begin_action(ix),
            Activity::Verifying { check, poll, next: Some(next), .. } if now >= next && !held => {
                let attempt = self.state.steps[ix].attempts;
                self.start_task(ix, TaskKind::Verify { check, poll: poll.saturating_add(1) }, attempt, 0);
            }
            _ => {}
        }
    }

    /// A step whose needs are met.
    pub(super) fn start_step(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        let step = &plan.steps[ix];
        if self.state.steps[ix].done_by_hand {
            if planted::is(Bug::TrustDone) {
                return self.succeed(ix);
            }
            return self.after_action(ix);
        }
        // A step that is taken up again was already let through.
        if self.state.steps[ix].attempts > 0 {
            return self.begin_action(ix);
        }
        if let Some(when) = &step.when {
            let verdict = self.with_ctx(ix, &when.uses, None, |ctx| template::eval_bool(when, ctx));
            match verdict {
                Ok(true) => {}
                Ok(false) => return self.skip(ix, &format!("`when` is false: {}", when.src)),
                Err(error) => {
                    let why = format!("`when` could not be judged: {error}");
                    return self.fail_step(ix, why);
                }
            }
        }
        if self.skip_without_items(ix) {
            return;
        }
        if step.unless.is_some() {
            return self.start_task(ix, TaskKind::Unless, 0, 0);
        }
        self.begin_action(ix);
    }

    /// Skips a step and everything inside it. One that was cut short and is not taken up again is not called skipped: it
    /// may have had an effect, and a rollback takes that back.
    pub(super) fn skip(&mut self, ix: StepIx, why: &str) {
        let plan = self.plan.clone();
        self.skip_inside(ix, "was skipped");
        if self.state.steps[ix].status != StepStatus::Pending {
            return;
        }
        if self.state.steps[ix].effect_at.is_some() {
            return self.end_step(ix, StepOutcome::Cancelled, Some(why.to_owned()));
        }
        let step = plan.steps[ix].id.clone();
        self.emit(Event::StepSkipped { step, why: why.to_owned() });
    }

    fn skip_inside(&mut self, ix: StepIx, what: &str) {
        let plan = self.plan.clone();
        for &child in plan.inside(ix) {
            self.skip(child, &format!("step {} {what}", plan.steps[ix].id));
        }
    }

    pub(super) fn begin_action(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        if let Some(ask) = self.unapproved(ix) {
            return self.ask_approval(ix, &ask);
        }
        let next = self.state.steps[ix].attempts.saturating_add(1);
        match &plan.steps[ix].body {
            Body::Command(_) => self.start_task(ix, TaskKind::Attempt, next, 0),
            Body::Choose(choose) => self.ask_choice(ix, choose),
            Body::Manual(ask) => self.ask_manual(ix, ask),
            Body::Notify(tell) => self.tell_step(ix, tell),
            // Nothing but an approval.
            Body::Nothing if plan.steps[ix].verify.is_empty() => self.succeed(ix),
            Body::Nothing => {
                self.start_task(ix, TaskKind::Verify { check: 0, poll: 1 }, next, 0);
            }
            Body::Wait(length) => {
                let step = plan.steps[ix].id.clone();
                self.emit(Event::WaitStarted { step, length: *length });
                self.later(ix);
            }
            Body::AnyOf(_) | Body::Playbook { .. } | Body::ForEach(_) => match self.late_params(ix) {
                Ok(params) => {
                    let step = plan.steps[ix].id.clone();
                    self.emit(Event::GroupStarted { step, params });
                    self.later(ix);
                }
                Err(why) => self.end_step(ix, StepOutcome::Failed, Some(why)),
            },
        }
    }

    /// What has to be agreed to before the action starts, if that is still open.
    fn unapproved(&self, ix: StepIx) -> Option<Box<Ask>> {
        let open = !self.state.steps[ix].approved && !planted::is(Bug::ForgetApproval);
        self.plan.steps[ix].approval.as_ref().filter(|_| open).cloned()
    }

    /// The action took place: what is left is to verify it.
    pub(super) fn after_action(&mut self, ix: StepIx) {
        if self.plan.steps[ix].verify.is_empty() {
            self.succeed(ix);
        } else {
            let attempt = self.state.steps[ix].attempts.max(1);
            self.start_task(ix, TaskKind::Verify { check: 0, poll: 1 }, attempt, 0);
        }
    }

    fn succeed(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        let step = &plan.steps[ix];
        let mut outputs = BTreeMap::new();
        if let Body::Playbook { scope, .. } = &step.body {
            for (name, expr) in &step.outputs {
                let value = self.with_scope_ctx(*scope, &expr.uses, |ctx| template::eval(expr, ctx));
                match value {
                    Ok(value) => _ = outputs.insert(name.clone(), value),
                    Err(error) => {
                        let why = format!("output {name}: {error}");
                        return self.end_step(ix, StepOutcome::Failed, Some(why));
                    }
                }
            }
        }
        let choice = match &step.body {
            Body::AnyOf(_) => group::served(&plan, &self.state, ix).map(|a| self.local_name(a).to_owned()),
            _ => None,
        };
        let step = step.id.clone();
        self.emit(Event::StepEnded { step, outcome: StepOutcome::Succeeded, why: None, outputs, choice });
    }

    pub(super) fn end_step(&mut self, ix: StepIx, outcome: StepOutcome, why: Option<String>) {
        let step = self.plan.steps[ix].id.clone();
        self.emit(Event::StepEnded { step, outcome, why, outputs: BTreeMap::new(), choice: None });
    }

    /// A task of the step has ended: what follows?
    fn decide(&mut self, ix: StepIx, ended: Ended) {
        if ended.task.kind == TaskKind::Attempt {
            return self.decide_attempt(ix, ended);
        }
        let Ended { task, verdict, lost, .. } = ended;
        let TaskId { kind, attempt, rerun, .. } = task;
        match (kind, verdict) {
            // While the run is being stopped by a person nothing new starts, not even a check: the step stays
            // where it is, and a resume goes on from there.
            _ if self.held() => {}
            (TaskKind::Check, TaskVerdict::Unknown(why)) if self.rolling_back() => {
                self.still_in_doubt(ix, why)
            }
            // That nothing is there yet says little while it may go on there, and an attempt beside it could do harm. A
            // rollback does not make it known either.
            (TaskKind::Check, TaskVerdict::Failed(_)) if self.state.steps[ix].may_still_run() => {
                self.still_in_doubt(ix, "nothing is there so far, and it may still run on its host".into());
            }
            // The same for a remedy. Its host is asked, or a person.
            (TaskKind::Remedy, TaskVerdict::Unknown(why)) if self.state.steps[ix].lost_remedy() => {
                self.end_step(ix, StepOutcome::Unknown, Some(format!("its remedy: {why}")));
            }
            _ if self.rolling_back() => {
                self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
            }
            (_, TaskVerdict::NotRun | TaskVerdict::Cancelled) => self.start_task(ix, kind, attempt, 0),
            // What only looks can look again.
            (TaskKind::Unless | TaskKind::Check, TaskVerdict::Unknown(_)) if lost && rerun < MOST_RERUNS => {
                self.start_task(ix, kind, attempt, 0);
            }
            (TaskKind::Verify { check, poll }, TaskVerdict::Unknown(_)) if lost && rerun < MOST_RERUNS => {
                let poll = poll.saturating_add(1);
                self.start_task(ix, TaskKind::Verify { check, poll }, attempt, 0);
            }
            (TaskKind::Unless, TaskVerdict::Passed) => {
                self.skip_inside(ix, "was satisfied");
                self.end_step(ix, StepOutcome::Satisfied, None);
            }
            (TaskKind::Unless, TaskVerdict::Failed(_)) => self.begin_action(ix),
            (TaskKind::Unless, TaskVerdict::Unknown(why)) => {
                let why = format!("`unless` could not be judged: {why}");
                self.fail_step(ix, why);
            }
            (TaskKind::Check, TaskVerdict::Passed) => self.after_action(ix),
            (TaskKind::Check, TaskVerdict::Failed(_)) => self.had_no_effect(ix, attempt),
            (TaskKind::Check, TaskVerdict::Unknown(why)) => self.still_in_doubt(ix, why),
            (TaskKind::Remedy, _) => self.schedule_retry(ix, attempt),
            (TaskKind::Verify { check, .. }, TaskVerdict::Passed) => self.next_check(ix, check),
            (TaskKind::Verify { check, .. }, TaskVerdict::Failed(why) | TaskVerdict::Unknown(why)) => {
                self.check_failed(ix, check, why);
            }
            (TaskKind::Undo | TaskKind::Attempt, _) => {}
        }
    }

    /// An attempt has ended: what follows?
    fn decide_attempt(&mut self, ix: StepIx, ended: Ended) {
        let Ended { task, verdict, no_retry, .. } = ended;
        let used = self.used(ix);
        match verdict {
            TaskVerdict::Failed(why) => self.attempt_failed(ix, why, no_retry),
            TaskVerdict::Unknown(why) => self.in_doubt(ix, task.attempt, task.rerun, why),
            TaskVerdict::Passed if self.plan.steps[ix].verify.is_empty() => self.succeed(ix),
            // A process that is gone was asked to end it, and this one was asked to go on.
            TaskVerdict::Cancelled if self.state.status == RunStatus::Running && used <= MOST_RERUNS => {
                self.begin_action(ix);
            }
            TaskVerdict::Cancelled => {
                self.end_step(ix, StepOutcome::Cancelled, Some("ended by a person".into()));
            }
            TaskVerdict::Passed | TaskVerdict::NotRun if self.held() => {}
            TaskVerdict::Passed if self.rolling_back() => {
                let why = "the run is rolled back before it was verified".into();
                self.end_step(ix, StepOutcome::Cancelled, Some(why));
            }
            TaskVerdict::Passed => self.after_action(ix),
            TaskVerdict::NotRun if self.rolling_back() => {
                self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
            }
            TaskVerdict::NotRun => {
                self.start_task(ix, TaskKind::Attempt, task.attempt, task.rerun.saturating_add(1));
            }
        }
    }

    /// Nothing at all may start, not even what belongs to a step under way.
    fn held(&self) -> bool {
        matches!(
            self.state.status,
            RunStatus::Cancelling { .. } | RunStatus::Ended(_) | RunStatus::NotStarted
        )
    }

    /// What is under way may go on to its end.
    pub(super) fn may_go_on(&self) -> bool {
        matches!(self.state.status, RunStatus::Running | RunStatus::Stopping { .. })
    }

    /// Attempts that count against `retry.attempts`.
    fn used(&self, ix: StepIx) -> u32 {
        let state = &self.state.steps[ix];
        state.attempts.saturating_sub(state.attempts_before)
    }

    /// The check says that the attempt whose outcome was unknown had no effect. One of which nobody knows how it ended
    /// counts as never made; one that was cut off has failed.
    fn had_no_effect(&mut self, ix: StepIx, attempt: u32) {
        let state = &self.state.steps[ix];
        if state.lost && state.reruns < MOST_RERUNS && matches!(self.plan.steps[ix].body, Body::Command(_)) {
            return self.start_task(ix, TaskKind::Attempt, attempt, state.reruns + 1);
        }
        let why = "its outcome was unknown, and the check says that it had no effect".into();
        self.attempt_failed(ix, why, false);
    }

    fn next_check(&mut self, ix: StepIx, check: u16) {
        let next = check + 1;
        if usize::from(next) < self.plan.steps[ix].verify.len() {
            let attempt = self.state.steps[ix].attempts;
            self.start_task(ix, TaskKind::Verify { check: next, poll: 1 }, attempt, 0);
        } else {
            self.succeed(ix);
        }
    }

    fn check_failed(&mut self, ix: StepIx, check: u16, why: String) {
        let spec = &self.plan.steps[ix].verify[usize::from(check)];
        let title = spec.title.clone();
        if spec.required {
            self.attempt_failed(ix, format!("{title}: {why}"), false);
        } else {
            let step = self.plan.steps[ix].id.clone();
            self.emit(Event::AdvisoryFailed { step, check, title, why });
            self.later(ix);
        }
    }

    /// The outcome of an attempt cannot be known: a check may tell, an idempotent step may be repeated; else a person
    /// has to say.
    fn in_doubt(&mut self, ix: StepIx, attempt: u32, rerun: u32, why: String) {
        let running = self.may_go_on();
        let spec = &self.plan.steps[ix];
        let may_be_repeated = spec.may_be_repeated() || planted::is(Bug::RepeatInDoubt);
        if running && spec.check.is_some() {
            self.start_task(ix, TaskKind::Check, attempt, 0);
        } else if running && may_be_repeated && rerun < MOST_RERUNS {
            self.start_task(ix, TaskKind::Attempt, attempt, rerun + 1);
        } else {
            self.end_step(ix, StepOutcome::Unknown, Some(why));
        }
    }

    fn still_in_doubt(&mut self, ix: StepIx, why: String) {
        let (attempts, reruns) = (self.state.steps[ix].attempts, self.state.steps[ix].reruns);
        if self.may_go_on() && self.plan.steps[ix].may_be_repeated() && reruns < MOST_RERUNS {
            self.start_task(ix, TaskKind::Attempt, attempts, reruns + 1);
        } else {
            let why = format!("its outcome is unknown, and the check could not tell: {why}");
            self.end_step(ix, StepOutcome::Unknown, Some(why));
        }
    }

    fn attempt_failed(&mut self, ix: StepIx, why: String, no_retry: bool) {
        if self.state.steps[ix].may_still_run() {
            // A check saw its effect, and yet it is not well. No other is made beside it.
            let why = format!("{why}, and it may still run on its host");
            return self.end_step(ix, StepOutcome::Unknown, Some(why));
        }
        let plan = self.plan.clone();
        let retry = &plan.steps[ix].retry;
        let state = &self.state.steps[ix];
        let used = self.used(ix);
        // What a person did is not done again behind their back.
        if !self.may_go_on() || no_retry || used >= retry.attempts || state.done_by_hand {
            let why = match state.attempts {
                n if n > 1 => format!("{why} (attempt {n})"),
                _ => why,
            };
            return self.fail_step(ix, why);
        }
        let failed = state.attempts;
        if used == 0 {
            // The attempt was made before the step was taken up again; the retries since then have not begun.
            return self.begin_action(ix);
        }
        if retry.remedies.get(used as usize - 1).is_some() {
            self.start_task(ix, TaskKind::Remedy, failed, 0);
        } else {
            self.schedule_retry(ix, failed);
        }
    }

    fn schedule_retry(&mut self, ix: StepIx, failed: u32) {
        let spec = &self.plan.steps[ix];
        let used = failed - self.state.steps[ix].attempts_before.min(failed);
        let delay = self.delay(&spec.retry, ix, used);
        let step = spec.id.clone();
        self.emit(Event::RetryScheduled { step, failed, delay, undo: false });
        self.later(ix);
    }

    /// The delay after failed attempt `failed` (from 1): grows by `backoff` up to `max_delay`, then jitter.
    pub(super) fn delay(&self, retry: &Retry, ix: StepIx, failed: u32) -> Millis {
        let exponent = f64::from(failed.saturating_sub(1));
        let mut delay = retry.delay.0 as f64 * retry.backoff.powf(exponent);
        if let Some(most) = retry.max_delay {
            delay = delay.min(most.0 as f64);
        }
        let seed = self.state.start.as_ref().map_or(0, |s| s.seed);
        let share = unit(seed ^ (ix as u64) << 20 ^ u64::from(failed)) * 2.0 - 1.0;
        delay *= 1.0 + retry.jitter * share;
        // Saturates: a negative or endless delay cannot come of checked figures.
        Millis(delay as u64)
    }

    /// Starts a task, or ends the step if the task cannot even be written down.
    ///
    /// `rerun` matters for attempts only: other tasks are told apart by the step's round.
    pub(super) fn start_task(&mut self, ix: StepIx, kind: TaskKind, attempt: u32, rerun: u32) {
        // A resume goes on with a step that was in doubt: what was agreed to then was agreed to for that start of it.
        if kind == TaskKind::Attempt
            && let Some(ask) = self.unapproved(ix)
        {
            return self.ask_approval(ix, &ask);
        }
        let rerun = if kind == TaskKind::Attempt { rerun } else { self.state.steps[ix].round };
        let plan = self.plan.clone();
        let Some(command) = command_of(&plan.steps[ix], kind, self.remedy_number(ix, attempt)) else {
            return;
        };
        let step = plan.steps[ix].id.clone();
        let task = TaskId { step: step.clone(), kind, attempt, rerun };
        match self.render(ix, command) {
            Ok(Rendered { op, values, workdir, host }) => {
                let started = self.emit(Event::TaskStarted {
                    task: task.clone(),
                    command: op.describe(),
                    values,
                    workdir,
                    host,
                    timeout: command.timeout,
                });
                if !started {
                    return;
                }
                let start = StartTask::new(task, op, command, &plan.steps[ix]);
                self.out.acts.push(Act::Start(Box::new(start)));
            }
            Err(why) if kind == TaskKind::Undo => {
                self.emit(Event::StepUndone { step, state: UndoneState::Failed { why } });
            }
            // A check that cannot be asked leaves the doubt where it was.
            Err(why) if kind == TaskKind::Check => self.still_in_doubt(ix, why),
            Err(why) => self.fail_step(ix, why),
        }
    }

    /// What a task that is under way carries out.
    pub fn command_of(&self, task: &TaskId) -> Option<&Command> {
        let ix = self.plan.find(&task.step)?;
        command_of(&self.plan.steps[ix], task.kind, self.remedy_number(ix, task.attempt))
    }

    /// The number (from 0) of the remedy that follows failed attempt `attempt`.
    fn remedy_number(&self, ix: StepIx, attempt: u32) -> usize {
        let before = self.state.steps[ix].attempts_before;
        (attempt.saturating_sub(before) as usize).saturating_sub(1)
    }

    /// The id as typed, without the groups around it.
    fn local_name(&self, ix: StepIx) -> &str {
        let id = self.plan.steps[ix].id.as_str();
        id.rsplit('/').next().unwrap_or(id)
    }
}

/// The command behind a task of the step.
pub(super) fn command_of(step: &crate::plan::Step, kind: TaskKind, remedy: usize) -> Option<&Command> {
    match kind {
        TaskKind::Attempt => match &step.body {
            Body::Command(command) => Some(command),
            _ => None,
        },
        TaskKind::Unless => step.unless.as_ref().map(|c| &c.command),
        TaskKind::Check => step.check.as_ref().map(|c| &c.command),
        TaskKind::Verify { check, .. } => step.verify.get(usize::from(check)).map(|c| &c.command),
        TaskKind::Undo => step.undo.as_ref().map(|u| &u.command),
        TaskKind::Remedy => step.retry.remedies.get(remedy).map(|(_, command)| command),
    }
}

/// A number in [0, 1) from a seed (SplitMix64): the same seed gives the same jitter in every replay.
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}
