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
    /// Of the entry before.
    day: Option<i64>,
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
            day: None,
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
        let day = entry.at.day();
        if self.day != Some(day) {
            let dash = if self.look.unicode { "──" } else { "--" };
            self.line(Tone::Dim, &format!("{dash} {} UTC {dash}", entry.at.date()), out);
            self.day = Some(day);
        }
        let indent = CLOCK + 1 + ELAPSED + 1 + self.step_width + 2 + LABEL + 1;
        let columns = self.look.width.map(|w| w.saturating_sub(indent)).filter(|c| *c >= 30);
        let mut head = entry.at.clock();
        head.push(' ');
        look::push_padded(&format!("+{}", entry.t), ELAPSED, &mut head);
        head.push(' ');
        look::push_padded(entry.step.as_ref().map_or("", StepId::as_str), self.step_width, &mut head);
        head.push_str("  ");
        let mut text = entry.text.lines().flat_map(|line| pieces(line, columns));
        out.push_str(&self.look.paint(Tone::Dim, &head));
        out.push_str(&self.look.paint(entry.tone, &look::pad(entry.label, LABEL)));
        out.push(' ');
        out.push_str(&self.look.fit(text.next().unwrap_or_default()));
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
        let details = entry.detail.iter().flat_map(|d| d.lines()).flat_map(|line| pieces(line, columns));
        let further = text.map(|line| (Tone::Plain, line)).chain(details.map(|line| (Tone::Dim, line)));
        let blanks = if self.look.width.is_some() && columns.is_none() { 4 } else { indent };
        for (tone, line) in further {
            self.line(tone, &format!("{:blanks$}{line}", ""), out);
        }
    }

    fn line(&self, tone: Tone, text: &str, out: &mut String) {
        out.push_str(&self.look.paint(tone, &self.look.fit(text.to_owned())));
        out.push('\n');
    }
}

/// A line in pieces of at most so many columns.
fn pieces(line: &str, columns: Option<usize>) -> Vec<String> {
    match columns {
        Some(columns) => look::wrap(line, columns),
        None => vec![line.to_owned()],
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
