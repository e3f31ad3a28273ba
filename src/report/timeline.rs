//! The human timeline: one fold over the records, one entry for each of them, in the order of their numbers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::look::Tone;
use super::outlook::past_runs;
use super::{neutral, notice, words};
use crate::model::{
    Event, Millis, Record, RunEnd, StartInfo, StepId, StepOutcome, TaskId, TaskKind, TaskVerdict, Timestamp,
};

/// One record in words. All texts are neutral.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    pub seq: u64,
    /// Since the run's start, on the clock that never goes back.
    pub t: Millis,
    /// The wall clock, which may jump.
    pub at: Timestamp,
    pub epoch: u32,
    pub kind: Kind,
    pub step: Option<StepId>,
    pub task: Option<TaskId>,
    /// One word for what happened: `started`, `passed`, `succeeded`, `retry`.
    pub label: &'static str,
    #[serde(skip)]
    pub tone: Tone,
    /// May have several lines, if a command does.
    pub text: String,
    /// Further lines.
    pub detail: Vec<String>,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Run,
    Journal,
    Clock,
    Phase,
    /// A task begins.
    Start,
    /// A task is over.
    End,
    /// A step moves: skipped, waiting, retried, advisory, over.
    Step,
    Rollback,
    Cancel,
    /// Word to the outside, and what became of it.
    Notice,
    /// What people say without changing anything.
    Remark,
}

/// Folds records into entries.
#[derive(Debug, Default)]
pub struct Timeline {
    last_at: Option<Timestamp>,
    /// When each step that is not over began, and its attempts.
    open: BTreeMap<StepId, (Millis, u32)>,
}

impl Timeline {
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries of a run.
    pub fn of(records: &[Record]) -> Vec<Entry> {
        let mut timeline = Self::new();
        records.iter().map(|record| timeline.entry(record)).collect()
    }

    pub fn entry(&mut self, record: &Record) -> Entry {
        let mut entry = Entry {
            seq: record.seq,
            t: record.t,
            at: record.at,
            epoch: record.epoch,
            kind: Kind::Run,
            step: None,
            task: None,
            label: "",
            tone: Tone::Plain,
            text: String::new(),
            detail: Vec::new(),
        };
        self.describe(record, &mut entry);
        if let Some(back) = self.last_at.map(|last| last.since(record.at)).filter(|d| d.0 >= 1000) {
            entry.detail.push(format!("the wall clock went back by {back}"));
        }
        self.last_at = Some(record.at);
        entry
    }

    fn describe(&mut self, record: &Record, e: &mut Entry) {
        match &record.event {
            Event::RunStarted(start) => {
                e.set(Kind::Run, "started", Tone::Bold, run_title(start));
                e.detail = start_detail(start);
            }
            Event::RunResumed(info) => {
                let by = format!("by {} on {} (pid {})", info.operator, info.host, info.pid);
                e.set(Kind::Run, "resumed", Tone::Bold, neutral::line(by));
                e.detail.push(neutral::line(format!("runbook {}, boot {}", info.version, info.boot_id)));
            }
            Event::Replanned(info) => {
                e.set(Kind::Run, "replanned", Tone::Accent, neutral::line(format!("by {}", info.by)));
                e.detail = words::replan(info);
                e.detail.push(neutral::line(format!("plan {} in {}", info.plan_hash, info.file)));
            }
            Event::TailSetAside { bytes, file } => {
                let text = format!("an unterminated last line of {bytes} bytes was set aside in {file}");
                e.set(Kind::Journal, "recovered", Tone::Warn, neutral::line(text));
            }
            Event::Gap { length, why } => {
                e.set(Kind::Clock, "gap", Tone::Warn, neutral::line(format!("{length} passed: {why}")));
            }
            Event::KeeperLost { why } => {
                let text = format!("the keeper is gone, and with it how its commands end: {why}");
                e.set(Kind::Run, "keeper lost", Tone::Bad, neutral::line(text));
            }
            Event::PhaseStarted { phase } => {
                e.set(Kind::Phase, "phase", Tone::Bold, neutral::line(format!("{phase} began")));
            }
            Event::PhaseEnded { phase } => {
                e.set(Kind::Phase, "phase", Tone::Dim, neutral::line(format!("{phase} ended")));
            }
            Event::PhaseDeadlineMissed { phase, deadline } => {
                let text = format!("{phase} missed its deadline of {}", words::target_text(*deadline));
                e.set(Kind::Phase, "late", Tone::Warn, neutral::line(text));
            }
            Event::RollbackStarted { because } => {
                e.set(Kind::Rollback, "rollback", Tone::Accent, neutral::line(because));
            }
            Event::CancelRequested { by, how } => {
                e.set(Kind::Cancel, "cancel", Tone::Warn, neutral::line(format!("asked for by {by}: {how}")));
            }
            Event::Notice { .. } | Event::NoticeEnded { .. } => describe_notice(&record.event, e),
            Event::Noted { text, by } => {
                let mut lines = text.lines().map(neutral::line);
                let first = lines.next().unwrap_or_default();
                let by = neutral::line(by.to_string());
                e.set(Kind::Remark, "note", Tone::Accent, format!("{by}: {first}"));
                e.detail = lines.collect();
            }
            Event::HandedOver { to, by, note } => {
                let text = neutral::line(format!("{by} hands over to {to}, who leads now"));
                e.set(Kind::Remark, "handoff", Tone::Accent, text);
                e.detail = note.iter().flat_map(|note| note.lines()).map(neutral::line).collect();
            }
            Event::Acknowledged { by } => {
                let text = neutral::line(format!("{by} has taken notice"));
                e.set(Kind::Remark, "ack", Tone::Accent, text);
            }
            Event::RunEnded(end) => describe_end(end, e),
            other => self.describe_step(record.t, other, e),
        }
    }

    fn describe_step(&mut self, t: Millis, event: &Event, e: &mut Entry) {
        match event {
            Event::StepSkipped { step, why } => {
                e.step = Some(step.clone());
                e.set(Kind::Step, "skipped", Tone::Dim, neutral::line(why));
            }
            Event::WaitStarted { step, length } => {
                self.open.entry(step.clone()).or_insert((t, 1));
                e.step = Some(step.clone());
                e.set(Kind::Step, "waiting", Tone::Plain, words::target_text(*length));
            }
            Event::GroupStarted { step, params } => {
                self.open.entry(step.clone()).or_insert((t, 0));
                e.step = Some(step.clone());
                e.set(Kind::Step, "inside", Tone::Plain, "the steps inside may start".to_owned());
                e.detail = assignments(params).collect();
            }
            Event::RetryScheduled { step, failed, delay, undo } => {
                e.step = Some(step.clone());
                let what = if *undo { "undo, try" } else { "attempt" };
                let text = format!("{what} {failed} did not serve; the next starts after {delay}");
                e.set(Kind::Step, "retry", Tone::Warn, text);
            }
            Event::AdvisoryFailed { step, check, title, why } => {
                e.step = Some(step.clone());
                let text = format!("check {}, {title}: {why}", u32::from(*check) + 1);
                e.set(Kind::Step, "advisory", Tone::Warn, neutral::line(text));
            }
            Event::StepUndone { step, state } => {
                e.step = Some(step.clone());
                let (label, tone, why) = words::undone(state);
                e.set(Kind::Rollback, label, tone, neutral::line(why.unwrap_or_default()));
            }
            Event::TaskStarted { task, command, values, workdir, host, timeout: _ } => {
                if !matches!(task.kind, TaskKind::Undo | TaskKind::Unless) {
                    let open = self.open.entry(task.step.clone()).or_insert((t, 0));
                    open.1 += u32::from(task.kind == TaskKind::Attempt && task.rerun == 0);
                }
                e.task(task, Kind::Start, "started", Tone::Plain, &neutral::block(command.trim_end()));
                e.detail = values
                    .iter()
                    .map(|(name, value)| format!("{} = {}", neutral::line(name), words::text_value(value)))
                    .collect();
                if let Some(host) = host {
                    e.detail.push(format!("on {}", neutral::line(host)));
                }
                if let Some(workdir) = workdir {
                    e.detail.push(format!("in {}", neutral::line(workdir)));
                }
            }
            Event::TaskFound { task } => {
                let text = "its host was asked what became of it, and knows";
                e.task(task, Kind::Start, "found", Tone::Accent, text);
            }
            Event::HostSilent { task, why } => {
                let text = words::host_silent(&neutral::line(why));
                e.task(task, Kind::Rollback, "unknown", Tone::Bad, &text);
            }
            Event::TaskEnded { task, end, verdict, outputs, no_retry, result: _ } => {
                let (label, tone) = words::verdict(verdict);
                // A poll that does not hold yet is how waiting looks, not a failure.
                let tone = match (&task.kind, verdict) {
                    (TaskKind::Verify { .. } | TaskKind::Unless, TaskVerdict::Failed(_)) => Tone::Dim,
                    _ => tone,
                };
                e.task(task, Kind::End, label, tone, &words::task_end(end, verdict));
                e.detail = words::task_remarks(end);
                if *no_retry {
                    e.detail.push("another attempt is of no use".to_owned());
                }
                e.detail.extend(assignments(outputs));
            }
            Event::Asked { step, number, question } => {
                self.open.entry(step.clone()).or_insert((t, 0));
                e.step = Some(step.clone());
                let again = if *number > 1 { format!("question {number}: ") } else { String::new() };
                let text = neutral::block(format!("{again}{}", question.prompt.trim_end()));
                e.set(Kind::Step, "asked", Tone::Accent, text);
                e.detail = words::question(question);
            }
            Event::Answered { step, number: _, reply, by } => {
                e.step = Some(step.clone());
                e.set(Kind::Step, "answered", Tone::Accent, words::reply(reply, by));
                e.detail
                    .extend(reply.evidence.iter().map(|file| format!("evidence {}", neutral::line(file))));
            }
            Event::AnswerRefused { step, answer, by, why } => {
                e.step = Some(step.clone());
                let text = format!("{by} said {}: {why}", answer.words());
                e.set(Kind::Step, "refused", Tone::Warn, neutral::line(text));
            }
            Event::QuestionExpired { step, number: _, then } => {
                e.step = Some(step.clone());
                let text = format!("nobody answered in time: {}", words::on_timeout(*then));
                e.set(Kind::Step, "expired", Tone::Warn, text);
            }
            Event::StepResolved { step, resolution, by, reason, evidence } => {
                e.step = Some(step.clone());
                let text = format!("{by} said {}: {reason}", words::resolution(*resolution));
                e.set(Kind::Step, "resolved", Tone::Accent, neutral::line(text));
                e.detail.extend(evidence.iter().map(|file| format!("evidence {}", neutral::line(file))));
            }
            Event::StepEnded { step, outcome, why, outputs, choice } => {
                self.step_ended(t, step, *outcome, why.as_deref(), e);
                if let Some(choice) = choice {
                    e.detail.push(format!("served by {}", neutral::line(choice)));
                }
                e.detail.extend(assignments(outputs));
            }
            // `describe` takes all others.
            _ => {}
        }
    }

    fn step_ended(
        &mut self,
        t: Millis,
        step: &StepId,
        outcome: StepOutcome,
        why: Option<&str>,
        e: &mut Entry,
    ) {
        let mut text = String::new();
        if let Some((since, attempts)) = self.open.remove(step) {
            text = format!("after {}", t.saturating_sub(since));
            if attempts > 1 {
                text.push_str(&format!(" and {attempts} attempts"));
            }
        }
        if let Some(why) = why {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&neutral::line(why));
        }
        e.step = Some(step.clone());
        e.set(Kind::Step, outcome.as_str(), words::step_tone(outcome).1, text);
    }
}

impl Entry {
    fn set(&mut self, kind: Kind, label: &'static str, tone: Tone, text: String) {
        (self.kind, self.label, self.tone, self.text) = (kind, label, tone, text);
    }

    fn task(&mut self, task: &TaskId, kind: Kind, label: &'static str, tone: Tone, text: &str) {
        self.step = Some(task.step.clone());
        self.task = Some(task.clone());
        let what = words::task(task);
        let text = if what.is_empty() { text.to_owned() } else { format!("{what}: {text}") };
        self.set(kind, label, tone, text);
    }
}

fn assignments(values: &BTreeMap<String, Value>) -> impl Iterator<Item = String> {
    values.iter().map(|(name, value)| format!("{} = {}", neutral::line(name), words::value(value)))
}

fn run_title(start: &StartInfo) -> String {
    let drill = if start.drill { " (drill)" } else { "" };
    neutral::line(format!("{} — {}{drill}", start.playbook, start.title))
}

fn start_detail(start: &StartInfo) -> Vec<String> {
    let mut out = vec![
        format!("run {}", start.run),
        format!("by {} on {} (pid {})", start.operator, start.host, start.pid),
        format!("environment {}", start.environment.as_deref().unwrap_or("none")),
        format!("incident since {} UTC", start.incident_since.human()),
        format!("plan {}", start.plan_hash),
        format!("runbook {}, journal format {}, boot {}", start.version, start.format, start.boot_id),
    ];
    out.extend(start.params.iter().map(|(name, value)| format!("param {name} = {}", words::value(value))));
    if let Some(past) = start.past.as_deref().filter(|past| past.runs > 0 || past.drills > 0) {
        out.push(format!("projected from {}", past_runs(past.runs, past.drills)));
    }
    out.iter().map(neutral::line).collect()
}

fn describe_notice(event: &Event, e: &mut Entry) {
    match event {
        Event::Notice { cause, channels, to, text, .. } => {
            e.step = event.step().cloned();
            let (label, what) = notice::cause(cause);
            e.set(Kind::Notice, label, Tone::Plain, notice::sent(&what, channels, to));
            e.detail = text.iter().flat_map(|text| text.trim().lines()).map(neutral::line).collect();
        }
        Event::NoticeEnded { number, channel, delivered, attempts, unsure, why } => {
            let (label, tone) = notice::end(*delivered, *unsure);
            e.set(Kind::Notice, label, tone, notice::end_text(*number, channel, *attempts, why.as_deref()));
        }
        _ => {}
    }
}

fn describe_end(end: &RunEnd, e: &mut Entry) {
    let mut text = words::run_meaning(end.outcome).to_owned();
    if let Some(why) = &end.why {
        text = neutral::line(why);
    }
    e.set(Kind::Run, end.outcome.as_str(), words::run_tone(end.outcome).1, text);
    for (name, objective) in [("RTO", &end.rto), ("RPO", &end.rpo)] {
        if let Some(objective) = objective {
            e.detail.push(format!("{name} {}", words::objective(objective)));
        }
    }
}
