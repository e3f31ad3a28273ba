//! The few phrases that log, live view, status and report share, so that one thing has one name everywhere.
//!
//! What these functions return is neutral text: see [`super::neutral`].

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::look::{Sign, Tone};
use super::neutral;
use crate::model::{
    Choice, IncidentStatus, Millis, Objective, ObjectiveVerdict, OnTimeout, Person, Question, QuestionKind,
    ReplanInfo, Reply, Resolution, RunOutcome, StepId, StepOutcome, TaskEnd, TaskEndKind, TaskId, TaskKind,
    TaskVerdict, UndoneState, format_bytes, format_millis,
};
use crate::plan::{Body, ForEach, ItemCount, OnItemFailure, Plan, Step, StepIx};

/// Characters of a value that are shown.
const LONGEST_VALUE: usize = 1000;

/// Before anything is taken back, of an attempt or a remedy of which nobody knows whether it is over.
pub fn host_silent(why: &str) -> String {
    format!(
        "its host was asked before anything is taken back, and could not tell: {why}; it may still run there"
    )
}

/// What the task is within its step; empty for the first attempt.
pub fn task(task: &TaskId) -> String {
    let words = match task.kind {
        TaskKind::Attempt if task.attempt <= 1 => String::new(),
        TaskKind::Attempt => format!("attempt {}", task.attempt),
        TaskKind::Unless => "unless".to_owned(),
        TaskKind::Remedy => format!("remedy {}", task.attempt),
        TaskKind::Verify { check, poll: 1 } => format!("check {}", u32::from(check) + 1),
        TaskKind::Verify { check, poll } => format!("check {}, poll {poll}", u32::from(check) + 1),
        TaskKind::Check => "effect check".to_owned(),
        TaskKind::Undo if task.attempt <= 1 => "undo".to_owned(),
        TaskKind::Undo => format!("undo, try {}", task.attempt),
    };
    match (task.rerun, words.is_empty()) {
        (0, _) => words,
        (rerun, true) => format!("rerun {rerun}"),
        (rerun, false) => format!("{words}, rerun {rerun}"),
    }
}

/// How a task ended, as a fact: `exit 3`, `signal 9 (SIGKILL)`, `timed out`.
pub fn end_kind(kind: &TaskEndKind) -> String {
    match kind {
        TaskEndKind::Exited { code } => format!("exit {code}"),
        TaskEndKind::Signaled { signal } => match signal_name(*signal) {
            Some(name) => format!("signal {signal} ({name})"),
            None => format!("signal {signal}"),
        },
        TaskEndKind::TimedOut => "timed out".to_owned(),
        TaskEndKind::Cancelled => "cancelled".to_owned(),
        TaskEndKind::NotStarted { .. } => "never started".to_owned(),
        TaskEndKind::Answered => "answered".to_owned(),
        TaskEndKind::Errored { .. } => "error".to_owned(),
        TaskEndKind::Unknown { .. } => "unknown".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// `exit 3 after 4.2s: no backup verifies`.
pub fn task_end(end: &TaskEnd, verdict: &TaskVerdict) -> String {
    let fact = end_kind(&end.kind);
    // How long it ran is not known if its end is not.
    let mut out = match &end.kind {
        TaskEndKind::Unknown { .. } => fact.clone(),
        _ => format!("{fact} after {}", end.duration),
    };
    let why = match verdict {
        TaskVerdict::Failed(why) | TaskVerdict::Unknown(why) => Some(why),
        TaskVerdict::Passed | TaskVerdict::Cancelled | TaskVerdict::NotRun => None,
    };
    let why = why.filter(|w| !w.is_empty()).or(match &end.kind {
        TaskEndKind::NotStarted { error } | TaskEndKind::Errored { error } => Some(error),
        TaskEndKind::Unknown { why } => Some(why),
        _ => None,
    });
    if let Some(why) = why.filter(|w| **w != fact) {
        out.push_str(": ");
        out.push_str(&neutral::line(why));
    }
    out
}

/// What else is worth saying about a task's end.
pub fn task_remarks(end: &TaskEnd) -> Vec<String> {
    let mut out = Vec::new();
    if end.truncated {
        let total = end.stdout_bytes.saturating_add(end.stderr_bytes);
        out.push(format!("wrote {}; only the head and the tail are kept", format_bytes(total)));
    }
    if end.leaky {
        out.push("leaky: a process outlived it and held its output open".to_owned());
    }
    if !end.leaked.is_empty() {
        let pids: Vec<String> = end.leaked.iter().map(ToString::to_string).collect();
        out.push(format!("leaked: could not end pid {}", pids.join(", ")));
    }
    out
}

pub fn verdict(verdict: &TaskVerdict) -> (&'static str, Tone) {
    match verdict {
        TaskVerdict::Passed => ("passed", Tone::Good),
        TaskVerdict::Failed(_) => ("failed", Tone::Bad),
        TaskVerdict::Cancelled => ("cancelled", Tone::Warn),
        TaskVerdict::Unknown(_) => ("unknown", Tone::Warn),
        TaskVerdict::NotRun => ("not run", Tone::Warn),
    }
}

pub fn step_tone(outcome: StepOutcome) -> (Sign, Tone) {
    match outcome {
        StepOutcome::Succeeded => (Sign::Good, Tone::Good),
        StepOutcome::Satisfied => (Sign::Good, Tone::Dim),
        StepOutcome::Skipped => (Sign::Skipped, Tone::Dim),
        StepOutcome::Failed | StepOutcome::UndoFailed => (Sign::Bad, Tone::Bad),
        StepOutcome::Cancelled => (Sign::Warn, Tone::Warn),
        StepOutcome::Unknown => (Sign::Unknown, Tone::Warn),
        StepOutcome::Undone => (Sign::Undone, Tone::Accent),
    }
}

pub fn run_tone(outcome: RunOutcome) -> (Sign, Tone) {
    match outcome {
        RunOutcome::Recovered => (Sign::Good, Tone::Good),
        RunOutcome::Degraded | RunOutcome::Cancelled => (Sign::Warn, Tone::Warn),
        RunOutcome::Failed | RunOutcome::Stuck => (Sign::Bad, Tone::Bad),
        RunOutcome::RolledBack => (Sign::Undone, Tone::Accent),
        RunOutcome::InDoubt | RunOutcome::Waiting => (Sign::Unknown, Tone::Warn),
    }
}

/// What the outcome means, in one sentence.
pub fn run_meaning(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Recovered => "every step and every required check is done",
        RunOutcome::Degraded => "the required steps are done, and something that was allowed to fail did",
        RunOutcome::Failed => "a step failed; what was done before it stands",
        RunOutcome::RolledBack => "a step failed and what was done was taken back",
        RunOutcome::Stuck => "taking a step back failed; a person has to look at it",
        RunOutcome::InDoubt => "nobody can know whether a step took effect; a person has to say",
        RunOutcome::Waiting => "a person's answer is missing",
        RunOutcome::Cancelled => "a person ended the run before it was over",
    }
}

/// With a capital letter in front.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

pub fn undone(state: &UndoneState) -> (&'static str, Tone, Option<&str>) {
    match state {
        UndoneState::Undone => ("undone", Tone::Accent, None),
        UndoneState::Failed { why } => ("undo-failed", Tone::Bad, Some(why)),
        UndoneState::Unknown { why } => ("undo-unknown", Tone::Warn, Some(why)),
    }
}

/// `3m12s of 15m: met`.
pub fn objective(objective: &Objective) -> String {
    let mut out = match (objective.measured, objective.target) {
        (Some(measured), Some(target)) => format!("{measured} of {}", target_text(target)),
        (Some(measured), None) => format!("{measured}, no target"),
        (None, Some(target)) => format!("not measured, target {}", target_text(target)),
        (None, None) => "not measured".to_owned(),
    };
    match objective.verdict {
        ObjectiveVerdict::Met => out.push_str(": met"),
        ObjectiveVerdict::Missed => out.push_str(": missed"),
        ObjectiveVerdict::None => {}
    }
    if let Some(note) = &objective.note {
        out.push_str(&format!(" ({})", neutral::line(note)));
    }
    out
}

pub fn objective_tone(objective: &Objective) -> Tone {
    match objective.verdict {
        ObjectiveVerdict::Met => Tone::Good,
        ObjectiveVerdict::Missed => Tone::Bad,
        ObjectiveVerdict::None => Tone::Dim,
    }
}

/// A typed span as a person would type it: `15m`, not `15m00s`.
pub fn target_text(target: crate::model::Millis) -> String {
    let ms = target.0;
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms < 60_000 && ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format_millis(target),
    }
}

/// A value on one line: text as it is, anything else as JSON.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text_value(text),
        other => text_value(&other.to_string()),
    }
}

/// A text as a value on one line. A page-long one would bury the rest: `runbook log --json` has it whole.
pub fn text_value(text: &str) -> String {
    match text.char_indices().nth(LONGEST_VALUE) {
        None => neutral::line(text),
        Some((at, _)) => {
            format!("{}… ({} characters in all)", neutral::line(&text[..at]), text.chars().count())
        }
    }
}

/// For those who wonder why a run that has ended keeps the terminal.
pub fn leaving(notices: usize, within: Millis) -> String {
    let notices = count(notices, "notice");
    format!("{notices} on the way; waiting {} at most (Ctrl-C: no longer)", target_text(within))
}

/// `1 step`, `3 steps`, `2 processes`.
pub fn count(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ if one.ends_with('s') => format!("{n} {one}es"),
        _ => format!("{n} {one}s"),
    }
}

/// The plan holds `steps["stop-app"]` where `steps.stop-app` was typed.
pub fn typed(text: &str) -> String {
    static STEP: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"steps\["([a-z0-9-]+)"\]"#).ok());
    match &*STEP {
        // Most texts have none, and looking for a plain text costs far less.
        Some(step) if text.contains("steps[") => step.replace_all(text, "steps.$1").into_owned(),
        _ => text.to_owned(),
    }
}

/// Who said what to a question.
pub fn reply(reply: &Reply, by: &Person) -> String {
    let comment = reply.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
    neutral::line(format!("{by} said {}{comment}", reply.answer.words()))
}

/// All that belongs to a question beside its prompt, a line each.
pub fn question(question: &Question) -> Vec<String> {
    let mut out = Vec::new();
    for option in &question.options {
        let suggested = if question.suggestion.as_ref() == Some(&option.id) { " (suggested)" } else { "" };
        let facts = [vec![option.title.clone()], option_facts(option)].concat();
        out.push(neutral::line(format!("{}{suggested}: {}", option.id, facts.join("; "))));
    }
    out.extend(answerers(question));
    out.extend(answered_within(question));
    out
}

/// What speaks for and against an option.
pub fn option_facts(option: &Choice) -> Vec<String> {
    let eta = option.eta.as_ref().map(|eta| format!("takes {eta}"));
    let loss = option.loss.as_ref().map(|loss| format!("loses {loss}"));
    let closed = option.closed.as_ref().map(|why| format!("cannot be taken: {}", typed(why)));
    [eta, loss, closed].into_iter().flatten().collect()
}

/// Who may answer, if not whoever can. Neutral.
pub fn answerers(question: &Question) -> Vec<String> {
    let mut out = Vec::new();
    if !question.approvers.is_empty() {
        let others = question.approvers.iter().filter(|name| !question.excluded.contains(name));
        let names: Vec<&str> = others.map(String::as_str).collect();
        let count = if question.count > 1 { format!("{} of ", question.count) } else { String::new() };
        out.push(format!("may answer: {count}{}", names.join(", ")));
    } else if question.count > 1 {
        out.push(format!("{} different people have to agree", question.count));
    }
    if !question.excluded.is_empty() {
        out.push(format!("may not answer: {}", question.excluded.join(", ")));
    }
    out.into_iter().map(neutral::line).collect()
}

/// `within 5m, else: the step fails`.
pub fn answered_within(question: &Question) -> Option<String> {
    let timeout = question.timeout?;
    Some(format!("within {}, else: {}", target_text(timeout), unanswered(question)))
}

/// What happens when nobody answers this question.
pub fn unanswered(question: &Question) -> &'static str {
    match (question.kind, question.on_timeout) {
        (QuestionKind::Undo, OnTimeout::Fail) => "it is not taken back",
        (QuestionKind::Undo, OnTimeout::Proceed) => "it is taken back all the same",
        (_, then) => on_timeout(then),
    }
}

/// What happens when nobody answers.
pub fn on_timeout(then: OnTimeout) -> &'static str {
    match then {
        OnTimeout::Fail => "the step fails",
        OnTimeout::Wait => "the run goes on waiting",
        OnTimeout::Proceed => "the step starts all the same",
        OnTimeout::Suggest => "the suggestion is taken",
    }
}

/// The command with which a question is answered with a yes.
pub fn answer_command(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Approval | QuestionKind::Undo => "approve",
        QuestionKind::Choice | QuestionKind::Failure => "choose",
        QuestionKind::Manual => "done",
    }
}

/// The command line that answers a question with a yes, or names what there is to choose from.
pub fn answer_line(question: &Question, run: &str, step: &StepId) -> String {
    let mut line = format!("runbook {} {run} {step}", answer_command(question.kind));
    match question.kind {
        QuestionKind::Choice => {
            let open = question.options.iter().filter(|option| option.closed.is_none());
            line.push_str(&format!(" {}", open.map(|o| o.id.as_str()).collect::<Vec<_>>().join(" | ")));
        }
        QuestionKind::Failure => line.push_str(" retry | skip | done | rollback | abort"),
        QuestionKind::Approval | QuestionKind::Undo | QuestionKind::Manual => {}
    }
    if question.evidence {
        line.push_str(" --evidence FILE");
    }
    neutral::line(line)
}

/// What a step waits for.
pub fn asked(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Approval => "waiting for approval",
        QuestionKind::Undo => "waiting for approval to take it back",
        QuestionKind::Choice => "waiting for a choice",
        QuestionKind::Manual => "waiting until it is done by hand",
        QuestionKind::Failure => "waiting for a decision",
    }
}

/// What an edit changed, a line for each kind of change.
pub fn replan(info: &ReplanInfo) -> Vec<String> {
    let ids = |steps: &[StepId]| steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ");
    let kinds = [
        ("new", &info.added),
        ("left out", &info.removed),
        ("changed", &info.changed),
        ("stands as it was done", &info.accepted),
    ];
    let said = kinds.iter().filter(|(_, steps)| !steps.is_empty());
    said.map(|(kind, steps)| format!("{kind}: {}", ids(steps))).collect()
}

pub fn resolution(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Done => "done",
        Resolution::NotDone => "not done",
        Resolution::Retry => "retry",
        Resolution::Skip => "skip",
    }
}

/// As it stands in updates.
pub fn status(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Investigating => "Investigating",
        IncidentStatus::Identified => "Identified",
        IncidentStatus::Monitoring => "Monitoring",
    }
}

/// Whether a step does something itself, instead of holding others that do.
pub fn is_leaf(body: &Body) -> bool {
    !matches!(body, Body::AnyOf(_) | Body::Playbook { .. } | Body::ForEach(_))
}

/// Over how many items.
pub fn for_each(each: &ForEach) -> String {
    format!("for each of {}", count(each.steps.len(), "item"))
}

/// How far the items are: `17/20 items done, 1 failed, 2 running`.
pub fn items_done(count: &ItemCount) -> String {
    let mut text = format!("{}/{} done", count.done, self::count(count.total(), "item"));
    let others = [
        (count.failed, "failed"),
        (count.unknown, "in doubt"),
        (count.cancelled, "cancelled"),
        (count.skipped, "skipped"),
        (count.active, "running"),
    ];
    for (n, what) in others.into_iter().filter(|(n, _)| *n > 0) {
        text.push_str(&format!(", {n} {what}"));
    }
    text
}

/// How the items of a step go together: what `plan` and paper say of it.
pub fn items_rule(each: &ForEach) -> String {
    let mut text = for_each(each);
    if let Some(most) = each.max_parallel {
        text.push_str(&match most {
            1 => ", one after the other".to_owned(),
            most => format!(", at most {most} at once"),
        });
    }
    match each.at_least {
        Some(least) => text.push_str(&format!("; {least} of them have to be done")),
        None => text.push_str("; all of them have to be done"),
    }
    text.push_str(match each.on_item_failure {
        OnItemFailure::Stop => "; none is begun after one that was not",
        OnItemFailure::Continue => "; every one is tried",
    });
    text
}

/// The step that says what is done: the first item's where it is done for each of a list.
pub fn each_does(plan: &Plan, ix: StepIx) -> &Step {
    let first = plan.foreach(ix).and_then(|each| each.steps.first());
    &plan.steps[first.copied().unwrap_or(ix)]
}
