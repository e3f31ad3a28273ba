//! The timeline as aligned text, for `runbook log` and for runs without a terminal.
//!
//! Polls of a check that do not hold yet are folded into one line; every record is in `log --json`.

use std::collections::BTreeMap;

use super::look::{self, Look, Tone};
use super::timeline::{Entry, Kind};
use crate::model::{Millis, StepId, TaskKind};
use crate::plan::Plan;

const CLOCK: usize = 8;
const ELAPSED: usize = 9;
const LABEL: usize = 11;
/// A longer id is not cut; it only breaks the alignment of its line.
const MAX_STEP: usize = 24;

/// Formats entries one by one, so that a log can be followed.
#[derive(Debug)]
pub struct LogText {
    look: Look,
    step_width: usize,
    /// A playbook of `steps:` alone has one phase that nobody typed.
    phases: bool,
    date: Option<String>,
    polls: BTreeMap<(StepId, u16), Polls>,
}

/// Failed polls after the first that have not been shown yet.
#[derive(Debug, Clone)]
struct Polls {
    since: Millis,
    hidden: u32,
    last: Option<Entry>,
}

impl LogText {
    pub fn new(plan: &Plan, look: Look) -> Self {
        let longest = plan.steps.iter().map(|s| s.id.as_str().len()).max().unwrap_or(0);
        Self {
            look,
            step_width: longest.clamp(4, MAX_STEP),
            phases: plan.phases.len() > 1,
            date: None,
            polls: BTreeMap::new(),
        }
    }

    /// Appends the entry's lines to `out`, each with its newline. A folded poll appends nothing yet.
    pub fn push(&mut self, entry: &Entry, out: &mut String) {
        let untyped = entry.kind == Kind::Phase && entry.label == "phase" && !self.phases;
        if untyped || self.fold(entry, out) {
            return;
        }
        self.write(entry, out);
    }

    /// True if the entry is a poll that is shown later, in sum.
    fn fold(&mut self, entry: &Entry, out: &mut String) -> bool {
        let poll = entry.task.as_ref().and_then(|task| match task.kind {
            TaskKind::Verify { check, poll } => Some((task.step.clone(), check, poll)),
            _ => None,
        });
        let Some((step, check, poll)) = poll else {
            // Whatever else happens to the step or the run, what was folded is told first.
            let ends = matches!(entry.kind, Kind::Step | Kind::Run | Kind::Rollback);
            if ends {
                self.flush(entry.step.as_ref().filter(|_| entry.kind != Kind::Run), out);
            }
            return false;
        };
        let key = (step, check);
        if poll == 1 {
            if entry.kind == Kind::Start {
                self.polls.insert(key, Polls { since: entry.t, hidden: 0, last: None });
            }
            return false;
        }
        let polls = self.polls.entry(key.clone()).or_insert(Polls { since: entry.t, hidden: 0, last: None });
        match (entry.kind, entry.label) {
            (Kind::Start, _) => true,
            (_, "failed") => {
                polls.hidden += 1;
                polls.last = Some(entry.clone());
                true
            }
            _ => {
                // It holds now (or was ended): this line says how many polls it took.
                let since = polls.since;
                self.polls.remove(&key);
                let mut entry = entry.clone();
                entry.text = format!("{} ({} in all)", entry.text, entry.t.saturating_sub(since));
                self.write(&entry, out);
                true
            }
        }
    }

    /// Tells the folded polls of a step; of all steps without one.
    pub fn flush(&mut self, step: Option<&StepId>, out: &mut String) {
        let keys: Vec<_> = self.polls.keys().filter(|(s, _)| step.is_none_or(|x| x == s)).cloned().collect();
        for key in keys {
            let Some(Polls { since, hidden, last: Some(mut entry) }) = self.polls.remove(&key) else {
                continue;
            };
            entry.label = "polled";
            entry.text =
                format!("{hidden} more in {}; the last, {}", entry.t.saturating_sub(since), entry.text);
            self.write(&entry, out);
        }
    }

    fn write(&mut self, entry: &Entry, out: &mut String) {
        let date = entry.at.date();
        if self.date.as_ref() != Some(&date) {
            let dash = if self.look.unicode { "──" } else { "--" };
            self.line(Tone::Dim, &format!("{dash} {date} UTC {dash}"), out);
            self.date = Some(date);
        }
        let elapsed = format!("+{}", entry.t);
        let step = entry.step.as_ref().map_or("", StepId::as_str);
        let head = format!("{} {elapsed:<ELAPSED$} {}  ", entry.at.clock(), look::pad(step, self.step_width));
        let indent = CLOCK + 1 + ELAPSED + 1 + self.step_width + 2 + LABEL + 1;
        let columns = self.look.width.map(|w| w.saturating_sub(indent)).filter(|c| *c >= 30);
        let pieces = |text: &str| -> Vec<String> {
            text.lines()
                .flat_map(|l| match columns {
                    Some(columns) => look::wrap(l, columns),
                    None => vec![l.to_owned()],
                })
                .collect()
        };
        let text = pieces(&entry.text);
        out.push_str(&self.look.paint(Tone::Dim, &head));
        out.push_str(&self.look.paint(entry.tone, &look::pad(entry.label, LABEL)));
        out.push(' ');
        out.push_str(&self.look.fit(text.first().cloned().unwrap_or_default()));
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
        let blank = " ".repeat(if self.look.width.is_some() && columns.is_none() { 4 } else { indent });
        for line in text.iter().skip(1) {
            self.line(Tone::Plain, &format!("{blank}{line}"), out);
        }
        for line in entry.detail.iter().flat_map(|d| pieces(d)) {
            self.line(Tone::Dim, &format!("{blank}{line}"), out);
        }
    }

    fn line(&self, tone: Tone, text: &str, out: &mut String) {
        out.push_str(&self.look.paint(tone, &self.look.fit(text.to_owned())));
        out.push('\n');
    }
}

/// The whole log as text.
pub fn log_text(plan: &Plan, entries: &[Entry], look: Look) -> String {
    let mut text = LogText::new(plan, look);
    let mut out = String::new();
    for entry in entries {
        text.push(entry, &mut out);
    }
    text.flush(None, &mut out);
    out
}
