//! The last lines of a run: what came of it, why, what was taken back, and what to type next.

use std::io::{self, Write};
use std::path::Path;

use super::history::{History, StepHistory};
use super::look::{Look, Sign, Tone};
use super::output::last_lines;
use super::rollback::{Rollback, Taken, failures};
use super::{TailFn, neutral, words};
use crate::model::{Millis, RunOutcome, StepOutcome, TaskKind};
use crate::plan::{Plan, StepIx};

/// More failed steps than this are only counted: the report has them all.
const MAX_FAILURES: usize = 3;
const MAX_LISTED: usize = 10;
const TAIL_LINES: usize = 8;

/// What the closing block is told beyond the records.
pub struct Closing<'a> {
    /// The hash of the journal's last line.
    pub head: &'a str,
    /// Where the incident report was written.
    pub report: Option<&'a Path>,
    pub look: Look,
    pub tail: &'a TailFn<'a>,
}

/// Writes the closing block. It goes to the same place as the live view or the plain lines, after
/// [`super::Reporter::finish`].
///
/// # Errors
/// Those of the writer, a closed pipe for one: the caller lets them be.
pub fn write_closing(
    w: &mut dyn Write,
    plan: &Plan,
    history: &History,
    closing: &Closing<'_>,
) -> io::Result<()> {
    let look = closing.look;
    let mut out = Block { look, text: String::new() };
    let run = history.start.as_ref().map_or_else(String::new, |s| s.run.to_string());
    out.outcome(history);
    let failed = failures(plan, history);
    for ix in failed.iter().take(MAX_FAILURES) {
        out.failure(plan, history, *ix, closing.tail);
    }
    if failed.len() > MAX_FAILURES {
        out.line(
            "",
            &format!(
                "and {} more; the report has them all",
                words::count(failed.len() - MAX_FAILURES, "failure")
            ),
        );
    }
    if history.rollback.is_some() {
        out.rollback(plan, &Rollback::of(plan, history));
    }
    if let Some(end) = &history.end {
        for (name, objective) in [("RTO", &end.rto), ("RPO", &end.rpo)] {
            if let Some(objective) = objective {
                let text =
                    look.paint(words::objective_tone(objective), &look.fit(words::objective(objective)));
                out.line(name, &text);
            }
        }
    }
    let waited = history.waiting_for_people();
    // Answers from a file take no time worth a line.
    if waited >= Millis::secs(1) {
        out.line("people", &format!("waited for {waited} of {}", history.last_t));
    }
    let told = history.notices.tally();
    if let (Some(text), false) = (told.text(), told.delivered == told.deliveries) {
        out.line("notices", &look.paint(told.tone(), &text));
        for problem in told.problems.iter().rev().take(MAX_FAILURES).rev() {
            out.line("", &look.fit(problem.clone()));
        }
    }
    out.line("journal", &format!("{} records, head {}", history.seq, neutral::line(closing.head)));
    if let Some(report) = closing.report {
        out.line("report", &neutral::line(report.to_string_lossy().as_bytes()));
    }
    for (n, command) in next_commands(plan, history, &run).iter().enumerate() {
        out.line(if n == 0 { "next" } else { "" }, command);
    }
    w.write_all(out.text.as_bytes())?;
    w.flush()
}

/// What an engineer is likely to type now, the most likely first.
pub fn next_commands(plan: &Plan, history: &History, run: &str) -> Vec<String> {
    let resume = format!("runbook resume {run}");
    let log = format!("runbook log {run}");
    match history.end.as_ref().map(|e| e.outcome) {
        Some(RunOutcome::Recovered | RunOutcome::Degraded) => {
            vec![format!("runbook report {run} --format html")]
        }
        Some(RunOutcome::RolledBack) => vec![log],
        Some(RunOutcome::InDoubt) => {
            let unknown = |ix: &StepIx| history.steps[*ix].final_outcome() == Some(StepOutcome::Unknown);
            let mut all: Vec<String> = failures(plan, history)
                .iter()
                .filter(|ix| unknown(ix))
                .take(MAX_FAILURES)
                .map(|ix| {
                    format!(
                        "runbook resolve {run} {} --done | --not-done | --retry --reason TEXT",
                        plan.steps[*ix].id
                    )
                })
                .collect();
            all.extend([resume, log]);
            all
        }
        Some(RunOutcome::Stuck) => vec![log, resume],
        Some(RunOutcome::Failed | RunOutcome::Cancelled) if !to_take_back(plan, history).is_empty() => {
            vec![resume, format!("runbook rollback {run}"), log]
        }
        Some(RunOutcome::Waiting) => {
            let mut all = answers(plan, history, run);
            all.push(resume);
            all
        }
        Some(RunOutcome::Failed | RunOutcome::Cancelled) | None => vec![resume, log],
    }
}

/// How the open questions are answered.
pub fn answers(plan: &Plan, history: &History, run: &str) -> Vec<String> {
    let open = history.open_questions();
    let commands = open.iter().map(|(ix, open)| words::answer_line(&open.question, run, &plan.steps[*ix].id));
    commands.take(MAX_FAILURES).collect()
}

/// The steps that acted and have a way back, the last first: what a rollback would take back.
pub fn to_take_back(plan: &Plan, history: &History) -> Vec<String> {
    let mut acted: Vec<_> = plan
        .steps
        .iter()
        .zip(&history.steps)
        .filter(|(step, past)| step.undo.is_some() && past.undo.is_none() && past.acted())
        .filter(|(_, past)| !counts_as_nothing(past))
        .collect();
    acted.sort_by_key(|(_, past)| std::cmp::Reverse(past.acted_at));
    acted.into_iter().map(|(step, _)| step.id.to_string()).collect()
}

/// Declared not needed by a person, after it had begun: a rollback leaves it alone.
pub(super) fn counts_as_nothing(past: &StepHistory) -> bool {
    matches!(past.final_outcome(), Some(StepOutcome::Skipped))
}

struct Block {
    look: Look,
    text: String,
}

impl Block {
    /// One line with its label in front.
    fn line(&mut self, label: &str, text: &str) {
        let label = self.look.paint(Tone::Dim, &format!("{label:<11}"));
        let text = if label.trim().is_empty() && text.is_empty() { "" } else { text };
        self.text.push_str(format!("  {label} {text}").trim_end());
        self.text.push('\n');
    }

    fn outcome(&mut self, history: &History) {
        let look = self.look;
        let took = match (history.started_at, history.last_at) {
            (Some(_), Some(_)) => format!(" after {}", history.last_t),
            _ => String::new(),
        };
        self.text.push('\n');
        let Some(end) = &history.end else {
            let head = format!("{} not over{took}", look.sign(Sign::Unknown));
            self.text.push_str(&look.paint(Tone::Warn, &head));
            self.text.push('\n');
            self.line("why", "this process left the run before its end");
            return;
        };
        let (sign, tone) = words::run_tone(end.outcome);
        let head = format!("{} {}{took}", look.sign(sign), end.outcome);
        self.text.push_str(&look.paint(tone, &head));
        self.text.push('\n');
        let why = end.why.as_ref().map_or_else(|| words::run_meaning(end.outcome).to_owned(), neutral::line);
        self.line("why", &look.fit(why));
    }

    fn failure(&mut self, plan: &Plan, history: &History, ix: StepIx, tail: &TailFn<'_>) {
        let (step, past) = (&plan.steps[ix], &history.steps[ix]);
        let outcome = past.final_outcome().unwrap_or(StepOutcome::Failed);
        let (_, tone) = words::step_tone(outcome);
        let title = self.look.fit(neutral::line(&step.title));
        let attempts =
            if past.attempts > 1 { format!(" after {} attempts", past.attempts) } else { String::new() };
        self.line(
            outcome.as_str(),
            &format!("{}  {title}{attempts}", self.look.paint(tone, step.id.as_str())),
        );
        let undo = past.undo.as_ref().and_then(|u| words::undone(u).2).map(|why| format!("its undo: {why}"));
        if let Some(why) = undo.as_ref().or(past.why.as_ref()) {
            self.line("", &self.look.fit(neutral::line(why)));
        }
        for line in quoted(past, tail, TAIL_LINES) {
            let line = match self.look.width {
                Some(width) => self.look.cut(&line, width.saturating_sub(17).max(20)),
                None => self.look.fit(line),
            };
            self.line("", &format!("{} {line}", self.look.paint(Tone::Dim, "|")));
        }
    }

    fn rollback(&mut self, plan: &Plan, rollback: &Rollback) {
        let lists = [
            ("undone", &rollback.undone),
            ("not undone", &rollback.not_undone),
            ("unknown", &rollback.unknown),
        ];
        for (name, list) in lists {
            for (n, taken) in list.iter().take(MAX_LISTED).enumerate() {
                self.taken(plan, if n == 0 { name } else { "" }, taken);
            }
            if list.len() > MAX_LISTED {
                self.line("", &format!("and {} more", list.len() - MAX_LISTED));
            }
        }
    }

    fn taken(&mut self, plan: &Plan, label: &str, taken: &Taken) {
        let id = &plan.steps[taken.step].id;
        let why = taken.why.as_ref().map_or_else(String::new, |w| format!(": {w}"));
        let text = self.look.fit(format!("{id}{why}"));
        self.line(label, &text);
        if let (Some(_), Some(command)) = (&taken.why, &taken.command) {
            let first = command.lines().next().unwrap_or_default();
            self.line("", &self.look.fit(format!("  undo: {first}")));
        }
    }
}

/// The last output lines of the task that explains the step's failure: its stderr, else its stdout.
pub fn quoted(past: &StepHistory, tail: &TailFn<'_>, lines: usize) -> Vec<String> {
    let undo = past.tasks.iter().rfind(|t| t.task.kind == TaskKind::Undo).map(|t| &t.task);
    let undo_failed = past.final_outcome() == Some(StepOutcome::UndoFailed);
    let Some(task) = undo.filter(|_| undo_failed).or_else(|| past.culprit()) else { return Vec::new() };
    [true, false]
        .into_iter()
        .filter_map(|stderr| tail(task, stderr))
        .map(|bytes| last_lines(&bytes, lines, 400))
        .find(|lines| !lines.is_empty())
        .unwrap_or_default()
}
