//! The view on a terminal: finished steps stay as lines of the scrollback, what runs moves below them.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::frame::{Size, View, compose, frame};
use super::look::{self, Look, Tone};
use super::output::Tail;
use super::screen::Screen;
use super::timeline::{Entry, Timeline};
use super::{Prompt, Reporter};
use super::{neutral, words};
use crate::engine::State;
use crate::model::{Cause, Event, Millis, Record, StepId, StepOutcome, TaskId, TaskVerdict, Timestamp};
use crate::plan::{Plan, StepIx};

/// How often finished lines go to the scrollback at most: a thousand short steps must not mean a thousand redraws.
const FLUSH_EVERY: Millis = Millis(100);
/// Rows from which on a terminal has room for a blank line.
const ROOMY: usize = 12;
/// Output lines shown under a failed step.
const QUOTED: usize = 3;

/// Draws to stdout, where the permanent lines and the closing block belong; stderr stays free for the tool's own
/// diagnostics. Only for a terminal: [`super::Plain`] is for everything else.
pub struct Live {
    screen: Screen,
    look: Look,
    size: Box<dyn Fn() -> Size + Send>,
    timeline: Timeline,
    tails: BTreeMap<TaskId, Tail>,
    /// Since when each step asks, and how long it has waited for people before.
    asked: BTreeMap<StepId, (Option<Millis>, Millis)>,
    /// What the last failed attempt of each step printed last.
    failed_output: BTreeMap<StepId, Vec<String>>,
    permanent: Vec<String>,
    flushed: Millis,
    /// Part of something with a title of its own: this run's is not shown.
    untitled: bool,
    /// What is typed as an answer: the step, the line, and why the last one was none.
    prompt: Option<(StepIx, String, String)>,
    /// Nothing runs, and people are asked.
    waits: bool,
    shown: Vec<String>,
    size_shown: Size,
}

impl Live {
    pub fn stdout(look: Look) -> Self {
        let size = || {
            let (rows, columns) = console::Term::stdout().size();
            Size { rows: rows.into(), columns: columns.into() }
        };
        Self::new(Box::new(std::io::stdout()), look, Box::new(size))
    }

    /// Draws to any terminal; `size` is asked before every frame, for a terminal may be resized.
    pub fn new(out: Box<dyn Write + Send>, look: Look, size: Box<dyn Fn() -> Size + Send>) -> Self {
        Self {
            screen: Screen::new(out),
            look,
            size,
            timeline: Timeline::new(),
            tails: BTreeMap::new(),
            asked: BTreeMap::new(),
            failed_output: BTreeMap::new(),
            permanent: Vec::new(),
            flushed: Millis::ZERO,
            untitled: false,
            prompt: None,
            waits: false,
            shown: Vec::new(),
            size_shown: Size { rows: 0, columns: 0 },
        }
    }

    /// For a run under somebody else's title, such as the stage of a drill.
    #[must_use]
    pub fn untitled(self) -> Self {
        Self { untitled: true, ..self }
    }

    /// Draws if there is anything new.
    fn draw(&mut self, frame: Vec<String>, size: Size) {
        if self.permanent.is_empty() && frame == self.shown && size == self.size_shown {
            return;
        }
        self.screen.draw(&std::mem::take(&mut self.permanent), &frame, size);
        (self.shown, self.size_shown) = (frame, size);
    }

    fn columns(&self) -> usize {
        (self.size)().columns.saturating_sub(1).max(20)
    }

    /// What of a record stays on the scrollback.
    fn keep(&mut self, plan: &Plan, state: &State, record: &Record, entry: &Entry) {
        let columns = self.columns();
        match &record.event {
            Event::RunStarted(_) if self.untitled => {}
            Event::RunStarted(_) | Event::RunResumed(_) | Event::Replanned(_) => {
                self.line(
                    &[(Tone::Bold, format!("{} ", entry.label)), (Tone::Plain, entry.text.clone())],
                    columns,
                );
            }
            Event::PhaseStarted { phase } if plan.phases.len() > 1 => {
                let title = plan.phases.iter().find(|p| p.id == *phase).map_or(phase, |p| &p.title);
                self.line(&[(Tone::Bold, neutral::line(title))], columns);
            }
            // How far the items are moves in their step's line, and stands in the one that stays.
            Event::StepSkipped { step, .. }
            | Event::StepEnded { step, outcome: StepOutcome::Succeeded | StepOutcome::Satisfied, .. }
                if plan.find(step).is_some_and(|ix| plan.foreach_around(ix).is_some()) => {}
            Event::StepSkipped { step, .. } => {
                self.step_line(plan, state, step, StepOutcome::Skipped, &entry.text, columns);
            }
            Event::StepEnded { step, outcome, why, .. } => {
                let why = why.as_ref().map(neutral::line).unwrap_or_default();
                self.step_line(plan, state, step, *outcome, &why, columns);
                if matches!(outcome, StepOutcome::Failed | StepOutcome::Unknown) {
                    let edge = if self.look.unicode { "    │ " } else { "    | " };
                    for line in self.failed_output.remove(step).unwrap_or_default() {
                        self.line(&[(Tone::Dim, edge.to_owned()), (Tone::Plain, line)], columns);
                    }
                }
            }
            Event::RetryScheduled { .. }
            | Event::AdvisoryFailed { .. }
            | Event::Answered { .. }
            | Event::AnswerRefused { .. }
            | Event::QuestionExpired { .. }
            | Event::StepResolved { .. }
            | Event::StepUndone { .. }
            | Event::PhaseDeadlineMissed { .. }
            | Event::RollbackStarted { .. }
            | Event::CancelRequested { .. }
            | Event::Noted { .. }
            | Event::HandedOver { .. }
            | Event::Acknowledged { .. }
            | Event::TailSetAside { .. }
            | Event::Notice { cause: Cause::Escalation { .. }, .. }
            | Event::Gap { .. } => {
                let step = entry.step.as_ref().map_or_else(String::new, |s| format!(" {s}"));
                let head = format!("  {}{step}  ", entry.label);
                // A reason is never cut: it is what one reads afterwards.
                let room = columns.saturating_sub(look::width(&head)).max(20);
                let mut text = look::wrap(&entry.text, room).into_iter();
                self.line(&[(entry.tone, head), (Tone::Plain, text.next().unwrap_or_default())], columns);
                for line in text {
                    self.line(&[(Tone::Plain, format!("    {line}"))], columns);
                }
            }
            // The step's own end says what came of its tasks; an attempt that is tried again is told by the retry.
            _ => {}
        }
    }

    fn step_line(
        &mut self,
        plan: &Plan,
        state: &State,
        step: &StepId,
        outcome: StepOutcome,
        why: &str,
        columns: usize,
    ) {
        let (sign, tone) = words::step_tone(outcome);
        let ix = plan.find(step);
        let past = ix.and_then(|ix| state.steps.get(ix));
        let took = past.and_then(|p| Some(p.ended?.saturating_sub(p.started?)));
        let mut facts = Vec::new();
        let (_, waited) = self.asked.remove(step).unwrap_or_default();
        let own = took.filter(|_| outcome != StepOutcome::Skipped).map(|took| took.saturating_sub(waited));
        match (own, waited) {
            (Some(own), Millis::ZERO) => facts.push(own.to_string()),
            // A choice does nothing but wait.
            (Some(Millis(..10)) | None, Millis(1..)) => facts.push(format!("{waited} of waiting")),
            (Some(own), _) => facts.push(format!("{own} after {waited} of waiting")),
            (None, _) => {}
        }
        if let Some(past) = past.filter(|p| p.attempts > 1) {
            facts.push(words::count(past.attempts as usize, "attempt"));
        }
        let items = ix.filter(|_| outcome != StepOutcome::Skipped);
        let items = items.and_then(|ix| state.item_count(plan, ix));
        facts.extend(items.map(|count| words::items_done(&count)));
        if !matches!(outcome, StepOutcome::Succeeded) {
            facts.push(outcome.as_str().to_owned());
        }
        let title = ix.map_or_else(String::new, |ix| neutral::line(&plan.steps[ix].title));
        let head = vec![
            (tone, format!("{} ", self.look.sign(sign))),
            (Tone::Plain, step.to_string()),
            (Tone::Dim, format!("  {}", facts.join(", "))),
            (Tone::Dim, format!("  {title}")),
        ];
        self.line(&head, columns);
        // A reason is never cut: it is what one reads afterwards.
        for line in look::wrap(why, columns.saturating_sub(4)).iter().filter(|l| !l.is_empty()) {
            self.line(&[(Tone::Plain, format!("    {line}"))], columns);
        }
    }

    /// The time that people take is told apart from the step's own.
    fn count_waiting(&mut self, record: &Record) {
        match &record.event {
            Event::Asked { step, .. } => self.asked.entry(step.clone()).or_default().0 = Some(record.t),
            Event::Answered { step, .. } | Event::QuestionExpired { step, .. } => {
                // More people may have to agree: the last one counts.
                if let Some((since, waited)) = self.asked.get_mut(step)
                    && let Some(since) = since.replace(record.t)
                {
                    *waited = waited.saturating_add(record.t.saturating_sub(since));
                }
            }
            _ => {}
        }
    }

    fn line(&mut self, segments: &[(Tone, String)], columns: usize) {
        let mut segments = segments.to_vec();
        while let Some((_, last)) = segments.last_mut() {
            last.truncate(last.trim_end().len());
            if !last.is_empty() {
                break;
            }
            segments.pop();
        }
        self.permanent.push(compose(self.look, &segments, columns));
    }
}

impl Reporter for Live {
    fn record(&mut self, plan: &Plan, state: &State, record: &Record) {
        let entry = self.timeline.entry(record);
        self.count_waiting(record);
        if let Event::TaskEnded { task, verdict, .. } = &record.event
            && let Some(tail) = self.tails.remove(task)
            && *verdict != TaskVerdict::Passed
        {
            self.failed_output.insert(task.step.clone(), tail.last(QUOTED));
        }
        self.keep(plan, state, record, &entry);
        if record.t.saturating_sub(self.flushed) >= FLUSH_EVERY {
            self.flushed = record.t;
            self.draw(self.shown.clone(), (self.size)());
        }
    }

    fn output(&mut self, task: &TaskId, _stderr: bool, bytes: &[u8]) {
        self.tails.entry(task.clone()).or_default().push(bytes);
    }

    fn tick(&mut self, plan: &Plan, state: &State, now: Millis, _wall: Timestamp) {
        self.flushed = now;
        let size = (self.size)();
        // A blank line keeps what moves apart from what stays, where there is room for it.
        let gap = usize::from(size.rows >= ROOMY);
        let inner = Size { rows: size.rows.saturating_sub(gap), ..size };
        let prompt = self.prompt.as_ref().map(|(step, line, note)| (*step, line.as_str(), note.as_str()));
        self.waits = state.in_flight.is_empty() && !state.open_questions().is_empty();
        let view = View { plan, state, now, tails: &self.tails, prompt, look: self.look, size: inner };
        let mut lines = frame(&view);
        if gap > 0 {
            lines.insert(0, String::new());
        }
        self.draw(lines, size);
    }

    fn replay(&mut self, _plan: &Plan, _state: &State, record: &Record) {
        self.timeline.entry(record);
        self.count_waiting(record);
    }

    fn tick_every(&self) -> Option<Duration> {
        // One turn of the spinner; while only people are waited for, only the time moves.
        Some(Duration::from_millis(if self.waits { 1000 } else { 125 }))
    }

    fn typing(&mut self, prompt: Option<&Prompt<'_>>) {
        self.prompt = prompt.map(|p| (p.step, p.line.to_owned(), p.note.to_owned()));
    }

    fn continued(&mut self) {
        self.screen.forget();
        self.shown.clear();
    }

    fn leaving(&mut self, notices: usize, within: Millis) {
        let columns = self.columns();
        let line = self.look.cut(&words::leaving(notices, within), columns);
        self.draw(vec![line], (self.size)());
    }

    fn finish(&mut self, _plan: &Plan, _state: &State) {
        self.draw(Vec::new(), (self.size)());
    }
}
