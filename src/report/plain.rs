//! Plain lines with timestamps, for a run whose output is no terminal: a file, a pipe, a CI log.

use std::collections::BTreeMap;
use std::io::Write;

use super::lines_out::LinesOut;
use super::log_text::LogText;
use super::look::Look;
use super::outlook::Outlook;
use super::output::Lines;
use super::timeline::{Entry, Timeline};
use super::{Reporter, neutral, words};
use crate::engine::State;
use crate::model::{Event, Millis, Record, RunOutcome, TaskId, Timestamp};
use crate::plan::Plan;

/// Prints the timeline as it happens, and the commands' output as `step | line`, their stderr as `step ! line`.
/// When the reader has gone it falls silent; the run goes on.
pub struct Plain<W> {
    out: LinesOut<W>,
    look: Look,
    timeline: Timeline,
    /// Part of something with a title of its own: how this run starts is not told.
    untitled: bool,
    text: Option<LogText>,
    streams: BTreeMap<(TaskId, bool), Lines>,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W, look: Look) -> Self {
        let (timeline, streams) = (Timeline::new(), BTreeMap::new());
        Self { out: LinesOut::new(out), look, timeline, untitled: false, text: None, streams }
    }

    /// For a run under somebody else's title, such as the stage of a drill.
    #[must_use]
    pub fn untitled(self) -> Self {
        Self { untitled: true, ..self }
    }

    /// What a task printed without a newline at the end is shown before its end is told.
    fn end_streams(&mut self, task: &TaskId) -> String {
        let mut shown = String::new();
        for stderr in [false, true] {
            if let Some(mut lines) = self.streams.remove(&(task.clone(), stderr)) {
                lines.finish(|line| output_line(task, stderr, line, &mut shown));
            }
        }
        shown
    }
}

/// At the start of each phase, when it is likely to be over. No record: it is what can be said at this moment.
fn ahead(plan: &Plan, state: &State, record: &Record, entry: &Entry) -> Option<Entry> {
    if !matches!(record.event, Event::PhaseStarted { .. }) {
        return None;
    }
    let outlook = Outlook::of(plan, state, record.t).filter(|outlook| outlook.recovery.is_some())?;
    let text =
        [Some(outlook.sentence()), outlook.basis()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    Some(Entry { label: "ahead", tone: outlook.tone(), text, detail: Vec::new(), ..entry.clone() })
}

fn output_line(task: &TaskId, stderr: bool, line: &str, out: &mut String) {
    out.push_str(task.step.as_str());
    out.push_str(if stderr { " ! " } else { " | " });
    out.push_str(line);
    out.push('\n');
}

impl<W: Write> Reporter for Plain<W> {
    fn record(&mut self, plan: &Plan, state: &State, record: &Record) {
        if self.out.is_silent() {
            return;
        }
        let mut shown = match &record.event {
            Event::TaskEnded { task, .. } => self.end_streams(task),
            _ => String::new(),
        };
        let mut entry = self.timeline.entry(record);
        match &record.event {
            Event::RunStarted(_) if self.untitled => return,
            // Nothing is recovered by breaking a world: that each of its steps succeeded says it all.
            Event::RunEnded(end) if self.untitled && end.outcome == RunOutcome::Recovered => return,
            Event::RunEnded(_) if self.untitled => entry.detail.clear(),
            _ => {}
        }
        let text = self.text.get_or_insert_with(|| LogText::new(plan, self.look));
        text.push(&entry, &mut shown);
        if let Some(ahead) = ahead(plan, state, record, &entry) {
            text.push(&ahead, &mut shown);
        }
        self.out.text().push_str(&shown);
    }

    fn flush(&mut self) {
        self.out.flush();
    }

    fn output(&mut self, task: &TaskId, stderr: bool, bytes: &[u8]) {
        if self.out.is_silent() {
            return;
        }
        let mut shown = String::new();
        let lines = self.streams.entry((task.clone(), stderr)).or_default();
        lines.push(bytes, |line| output_line(task, stderr, line, &mut shown));
        debug_assert!(!shown.contains(|c| c != '\n' && c != '\t' && neutral::is_hidden(c)));
        self.out.text().push_str(&shown);
        self.out.flush();
    }

    fn tick(&mut self, _plan: &Plan, _state: &State, _now: Millis, _wall: Timestamp) {}

    fn leaving(&mut self, notices: usize, within: Millis) {
        let line = self.look.fit(words::leaving(notices, within));
        self.out.text().push_str(&line);
        self.out.text().push('\n');
        self.out.flush();
    }

    fn replay(&mut self, _plan: &Plan, _state: &State, record: &Record) {
        self.timeline.entry(record);
    }

    fn finish(&mut self, _plan: &Plan, _state: &State) {
        let mut shown = String::new();
        for ((task, stderr), mut lines) in std::mem::take(&mut self.streams) {
            lines.finish(|line| output_line(&task, stderr, line, &mut shown));
        }
        if let Some(text) = &mut self.text {
            text.flush(None, &mut shown);
        }
        self.out.text().push_str(&shown);
        self.out.flush();
    }
}
