//! What a task's end means: expectations, outputs, and what cannot be known.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Event, MASK, TaskEnd, TaskEndKind, TaskId, TaskKind, TaskOutput, TaskVerdict};
use crate::plan::{Expr, StepIx, template};
use crate::planted::{self, Bug};

use super::core::Engine;

/// What counts as success when a playbook states no expectation: exit code 0; for a request a status from 200 to 299; for a
/// query that it was answered. The error says what was seen instead.
pub fn default_expectation(end: &TaskEnd, output: &TaskOutput) -> Result<(), String> {
    match &end.kind {
        TaskEndKind::Exited { code: 0 } => Ok(()),
        TaskEndKind::Exited { code } => Err(format!("exit {code}")),
        TaskEndKind::Answered => match &output.http {
            Some(answer) if !(200..300).contains(&answer.status) => Err(format!("status {}", answer.status)),
            _ => Ok(()),
        },
        _ => Err("no result".into()),
    }
}

/// The outputs of an attempt and whether it may be tried again.
type Yield = (BTreeMap<String, Value>, Option<Value>);

impl Engine {
    /// The record of a task's end, with what it means.
    pub(super) fn judge(&self, ix: StepIx, task: TaskId, end: TaskEnd, output: &TaskOutput) -> Event {
        let mut verdict = self.verdict(ix, &task, &end, output);
        let (mut outputs, mut result) = (BTreeMap::new(), None);
        if task.kind == TaskKind::Attempt && verdict == TaskVerdict::Passed {
            match self.outputs(ix, &end, output) {
                Ok(found) => (outputs, result) = found,
                Err(why) => verdict = not_judged(&end, output).unwrap_or(TaskVerdict::Failed(why)),
            }
        }
        let no_retry = task.kind == TaskKind::Attempt
            && matches!(verdict, TaskVerdict::Failed(_) | TaskVerdict::Passed)
            && !self.may_retry(ix, &end, output);
        Event::TaskEnded { task, end, verdict, outputs, result, no_retry }
    }

    fn verdict(&self, ix: StepIx, task: &TaskId, end: &TaskEnd, output: &TaskOutput) -> TaskVerdict {
        let step = &self.plan.steps[ix];
        // A command that was cut off may have done its work: where that matters, nobody can know.
        let cut_off = task.kind == TaskKind::Attempt && step.destructive;
        // A question that was not answered is no no.
        let asks = matches!(task.kind, TaskKind::Check | TaskKind::Unless);
        match &end.kind {
            TaskEndKind::TimedOut => {
                let limit = self.state.in_flight.get(task).and_then(|f| f.timeout).unwrap_or_default();
                let why = format!("timed out after {limit}");
                if asks {
                    TaskVerdict::Unknown(why)
                } else if cut_off && !step.idempotent && !planted::is(Bug::TimeoutIsFailure) {
                    TaskVerdict::Unknown(format!("{why}; it may have taken effect"))
                } else {
                    TaskVerdict::Failed(why)
                }
            }
            TaskEndKind::Cancelled if cut_off && !step.idempotent => {
                TaskVerdict::Unknown("ended by a person; it may have taken effect".into())
            }
            TaskEndKind::Cancelled => TaskVerdict::Cancelled,
            TaskEndKind::Unknown { why } => TaskVerdict::Unknown(why.clone()),
            TaskEndKind::NotStarted { error } | TaskEndKind::Errored { error } if asks => {
                TaskVerdict::Unknown(error.clone())
            }
            TaskEndKind::NotStarted { error } | TaskEndKind::Errored { error } => {
                TaskVerdict::Failed(error.clone())
            }
            TaskEndKind::Signaled { signal } => {
                let why = format!("killed by {}", signal_name(*signal));
                if asks { TaskVerdict::Unknown(why) } else { TaskVerdict::Failed(why) }
            }
            TaskEndKind::Exited { .. } | TaskEndKind::Answered => self.expectations(ix, task, end, output),
        }
    }

    fn expectations(&self, ix: StepIx, task: &TaskId, end: &TaskEnd, output: &TaskOutput) -> TaskVerdict {
        let expect = self.expect_of(ix, task);
        if expect.is_empty() {
            let seen = default_expectation(end, output);
            return match (task.kind, &end.kind, seen) {
                (_, _, Ok(())) => TaskVerdict::Passed,
                // 0: the effect is there; 1: it is not; anything else says nothing.
                (TaskKind::Check, TaskEndKind::Exited { code: 1 }, Err(why)) => TaskVerdict::Failed(why),
                (TaskKind::Check, _, Err(why)) => TaskVerdict::Unknown(why),
                (_, _, Err(why)) => TaskVerdict::Failed(why),
            };
        }
        for expr in expect {
            let held =
                self.with_ctx(ix, &expr.uses, Some((end, output)), |ctx| template::eval_bool(expr, ctx));
            match held {
                Ok(true) => {}
                Ok(false) => {
                    let seen = match &end.kind {
                        TaskEndKind::Exited { code } => format!(" (exit {code})"),
                        _ if self.plan.steps[ix].sensitive => String::new(),
                        _ => answer_of(end, output),
                    };
                    return TaskVerdict::Failed(format!("expected {}{seen}", expr.src));
                }
                Err(error) if matches!(task.kind, TaskKind::Check | TaskKind::Unless) => {
                    return TaskVerdict::Unknown(format!("{}: {error}", expr.src));
                }
                Err(error) => {
                    // To look again is always possible; to act again is not.
                    let acts = matches!(task.kind, TaskKind::Attempt | TaskKind::Undo);
                    let unread = if acts { not_judged(end, output) } else { None };
                    return unread.unwrap_or_else(|| TaskVerdict::Failed(format!("{}: {error}", expr.src)));
                }
            }
        }
        TaskVerdict::Passed
    }

    fn expect_of(&self, ix: StepIx, task: &TaskId) -> &[Expr] {
        let step = &self.plan.steps[ix];
        match task.kind {
            TaskKind::Attempt => &step.expect,
            TaskKind::Unless => step.unless.as_ref().map_or(&[], |c| &c.expect),
            TaskKind::Check => step.check.as_ref().map_or(&[], |c| &c.expect),
            TaskKind::Verify { check, .. } => step.verify.get(usize::from(check)).map_or(&[], |c| &c.expect),
            TaskKind::Undo => step.undo.as_ref().map_or(&[], |u| &u.expect),
            TaskKind::Remedy => &[],
        }
    }

    fn outputs(&self, ix: StepIx, end: &TaskEnd, output: &TaskOutput) -> Result<Yield, String> {
        let step = &self.plan.steps[ix];
        let published = output.published.as_ref().map_err(|why| format!("$RUNBOOK_OUTPUT: {why}"))?;
        let mut outputs: BTreeMap<String, Value> =
            published.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        for (name, expr) in &step.outputs {
            let value = self.with_ctx(ix, &expr.uses, Some((end, output)), |ctx| template::eval(expr, ctx));
            outputs.insert(name.clone(), value.map_err(|e| format!("output {name}: {e}"))?);
        }
        let result = if step.keep_result {
            Some(template::result_value(end, output).map_err(|e| format!("result: {e}"))?)
        } else {
            None
        };
        let kept = outputs.iter().map(|(name, value)| (name.as_str(), value));
        let masked = kept.chain(result.as_ref().map(|r| ("result", r))).find(|(_, value)| is_masked(value));
        match masked {
            // A later step would take the mask for the value.
            Some((name, _)) if !self.plan.secrets.is_empty() => Err(format!(
                "output {name} holds a secret, which is masked: secrets do not travel from step to step; \
                 declare it under `secrets` where it is needed"
            )),
            _ => Ok((outputs, result)),
        }
    }

    fn may_retry(&self, ix: StepIx, end: &TaskEnd, output: &TaskOutput) -> bool {
        let Some(when) = &self.plan.steps[ix].retry.when else { return true };
        // Without a yes there is no second attempt.
        self.with_ctx(ix, &when.uses, Some((end, output)), |ctx| template::eval_bool(when, ctx))
            .unwrap_or(false)
    }
}

/// The verdict on a command that came to its end, and of which this program has lost what it said.
fn not_judged(end: &TaskEnd, output: &TaskOutput) -> Option<TaskVerdict> {
    let why = output.unread.as_ref()?;
    let how = match &end.kind {
        TaskEndKind::Exited { code } => format!("it ended with exit {code}"),
        _ => "it ended".to_owned(),
    };
    Some(TaskVerdict::Unknown(format!("{how}, but what it said is lost: {why}; it may have taken effect")))
}

/// Whether a text in the value holds what redaction leaves in the place of a secret.
fn is_masked(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(items) => items.iter().any(is_masked),
        Value::Object(fields) => fields.values().any(is_masked),
        _ => false,
    }
}

/// What a server or a database answered, as far as it fits a line: a status, or the rows.
fn answer_of(end: &TaskEnd, output: &TaskOutput) -> String {
    const LONGEST: usize = 160;
    let Ok(result) = template::result_value(end, output) else { return String::new() };
    let (name, value) = match (&result["status"], &result["rows"]) {
        (status, _) if status.is_number() => ("status", status),
        (_, rows) if rows.is_array() => ("rows", rows),
        _ => return String::new(),
    };
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!(" ({name} {}…)", &text[..at]),
        None => format!(" ({name} {text})"),
    }
}

fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 12] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
    ];
    let name = NAMES.iter().find(|(n, _)| *n == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("signal {signal}"))
}
