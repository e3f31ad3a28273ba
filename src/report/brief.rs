//! `runbook brief`: one screen for whoever comes to a run in the middle of an incident. Where it stands, who is waited
//! for, what went wrong, what lies ahead, and what to type.

use std::io::{self, Write};

use serde::Serialize;

use super::history::History;
use super::incident;
use super::look::{self, Look, Tone};
use super::outlook::Outlook;
use super::rollback::failures;
use super::status::{Budget, InFlightRow, PhaseStatus, Status};
use super::told::{NoticeRow, Tally};
use super::waves::run_order;
use super::{neutral, words};
use crate::model::{Millis, Record, RunId, RunOutcome, StepId, StepOutcome, Timestamp};
use crate::plan::{Plan, StepIx};

/// The screen that the text fits: an old terminal's.
const COLUMNS: usize = 80;
const LINES: usize = 24;
/// Of each list on the screen; JSON has more of them.
const SHOWN: usize = 3;
/// Of each list in JSON.
const KEPT: usize = 20;
/// What is written in front of a line.
const LABEL: usize = 8;

/// The brief as data. Version 1; fields are only added. All texts are neutral.
#[derive(Debug, Clone, Serialize)]
pub struct Brief {
    pub version: u32,
    pub run: Option<RunId>,
    pub title: String,
    pub environment: Option<String>,
    pub drill: bool,
    /// As in `status`.
    pub state: String,
    pub outcome: Option<RunOutcome>,
    pub why: Option<String>,
    pub started: Option<Timestamp>,
    pub operator: Option<String>,
    /// Who leads.
    pub commander: Option<String>,
    pub acknowledged: Vec<String>,
    pub elapsed: Millis,
    pub rto: Option<Budget>,
    /// As in `status`.
    pub projection: Option<Outlook>,
    pub phase: Option<PhaseStatus>,
    /// Steps that are over as the plan wants them, and all there are.
    pub done: usize,
    pub total: usize,
    pub running: Vec<InFlightRow>,
    pub waiting: Vec<Waiting>,
    /// Steps that have not begun, in the order in which they could run.
    pub next: Vec<Ahead>,
    /// The last of what did not go as planned.
    pub wrong: Vec<String>,
    /// Steps ahead that destroy something or cannot be taken back.
    pub risks: Vec<Risk>,
    pub point_of_no_return: Option<PointOfNoReturn>,
    /// Who was told, in numbers; absent if nobody was to be told.
    pub told: Option<Tally>,
    /// The newest notice: when, what, and by which channels.
    pub last_told: Option<String>,
    /// The last notes and handovers, the newest last.
    pub notes: Vec<Note>,
    /// What to type next.
    pub commands: Vec<String>,
}

/// A question that is open.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    pub step: StepId,
    /// For what.
    pub what: &'static str,
    pub prompt: String,
    /// Who may answer; empty: whoever may speak to the run.
    pub who: Vec<String>,
    pub agreed: Vec<String>,
    pub needed: u32,
    pub since: Millis,
    /// Until the time to answer is over.
    pub left: Option<Millis>,
    /// What happens then.
    pub then: &'static str,
    /// The command that answers.
    pub command: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ahead {
    pub step: StepId,
    pub title: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Risk {
    pub step: StepId,
    pub title: String,
    pub destructive: bool,
    pub irreversible: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct PointOfNoReturn {
    pub step: StepId,
    pub passed: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Note {
    pub at: Timestamp,
    pub by: String,
    pub text: String,
}

impl Brief {
    /// `now` and `driven` as for [`Status::of`].
    pub fn of(plan: &Plan, records: &[Record], now: Option<Timestamp>, driven: Option<bool>) -> Self {
        let history = History::of(plan, records);
        let status = Status::after(plan, &history, since_last(&history, now), driven);
        let run = status.run.as_ref().map_or("RUN", RunId::as_str);
        let order = run_order(plan);
        let ahead: Vec<StepIx> = if goes_on(&history) {
            order.iter().copied().filter(|ix| !has_acted(&history, *ix)).collect()
        } else {
            Vec::new()
        };
        let waiting = waiting(plan, &history, status.elapsed, run);
        let mut commands: Vec<String> =
            status.next.iter().filter(|c| waiting.iter().all(|w| w.command != **c)).cloned().collect();
        commands.push(format!("runbook note {run} TEXT"));
        Self {
            version: 1,
            done: status.steps.iter().filter(|s| s.outcome.is_some_and(is_done)).count(),
            total: status.steps.len(),
            waiting,
            next: ahead
                .iter()
                .filter(|ix| is_next(plan, &history, **ix))
                .take(KEPT)
                .map(|ix| Ahead {
                    step: plan.steps[*ix].id.clone(),
                    title: neutral::line(&plan.steps[*ix].title),
                })
                .collect(),
            wrong: wrong(plan, records, &history),
            risks: ahead.iter().filter_map(|ix| risk(plan, *ix)).take(KEPT).collect(),
            point_of_no_return: order.iter().find(|ix| plan.steps[**ix].irreversible).map(|ix| {
                let passed = history.steps[*ix].acted();
                PointOfNoReturn { step: plan.steps[*ix].id.clone(), passed }
            }),
            told: status.told,
            last_told: history.notices.0.iter().rfind(|n| !n.deliveries.is_empty()).map(last_told),
            notes: notes(&history),
            commands,
            run: status.run,
            title: status.title,
            environment: status.environment,
            drill: status.drill,
            state: status.state,
            outcome: status.outcome,
            why: status.why,
            started: status.started,
            operator: status.operator,
            commander: status.commander,
            acknowledged: status.acknowledged,
            elapsed: status.elapsed,
            rto: status.rto,
            projection: status.projection,
            phase: status.phase,
            running: status.in_flight,
        }
    }

    /// At most 24 lines of at most 80 columns; only a command that is longer is not cut, for it is to be typed.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn Write, look: Look) -> io::Result<()> {
        let columns = look.width.unwrap_or(COLUMNS).clamp(40, COLUMNS);
        let mut screen = Screen { look, columns, lines: Vec::new() };
        self.head(&mut screen);
        self.now(&mut screen);
        self.ahead(&mut screen);
        self.told(&mut screen);
        for (n, note) in self.notes.iter().rev().take(SHOWN).rev().enumerate() {
            let text = format!("{} {}: {}", note.at.clock(), note.by, note.text);
            screen.line(if n == 0 { "notes" } else { "" }, Tone::Plain, &text);
        }
        for (n, command) in self.commands.iter().enumerate() {
            screen.command(if n == 0 { "type" } else { "" }, command);
        }
        w.write_all(screen.text().as_bytes())
    }

    fn head(&self, screen: &mut Screen) {
        let run = self.run.as_ref().map_or("(no start is recorded)", RunId::as_str);
        let tone = self.outcome.map_or(Tone::Bold, |o| words::run_tone(o).1);
        screen.whole(tone, &format!("{run}  {}", self.state));
        let mut facts = vec![self.title.clone()];
        facts.extend(self.environment.clone());
        facts.extend(self.drill.then(|| "drill".to_owned()));
        facts.extend(self.commander.as_ref().map(|name| format!("led by {name}")));
        if !self.acknowledged.is_empty() {
            facts.push(format!("noticed by {}", self.acknowledged.join(", ")));
        }
        screen.whole(Tone::Plain, &facts.join(" · "));
        if let Some(why) = &self.why {
            screen.line("why", Tone::Plain, why);
        }
        match self.rto {
            Some(Budget { used, target }) => {
                let of = words::target_text(target);
                let (tone, left) = match target.saturating_sub(used) {
                    _ if used > target => (Tone::Bad, format!("over by {}", used.saturating_sub(target))),
                    _ if self.outcome.is_some_and(is_back) => (Tone::Good, "met".to_owned()),
                    left => (Tone::Plain, format!("{left} left")),
                };
                screen.line("time", tone, &format!("{used} of {of} (RTO), {left}; run for {}", self.elapsed));
            }
            None => screen.line("time", Tone::Plain, &format!("{}; no RTO is set", self.elapsed)),
        }
        if let Some(outlook) = &self.projection {
            if outlook.recovery.is_some() || self.rto.is_some() {
                let room = screen.columns.saturating_sub(LABEL);
                screen.line("ahead", outlook.tone(), &outlook.sentence_within(room));
            }
            if let Some(basis) = outlook.basis() {
                screen.line("", Tone::Dim, &basis);
            }
            outlook.overdue().take(2).for_each(|line| screen.line("late", Tone::Warn, &line));
        }
        let steps = format!("{} of {} done", self.done, words::count(self.total, "step"));
        match &self.phase {
            Some(phase) => {
                let limit = match (phase.elapsed, phase.deadline) {
                    (Some(e), Some(d)) => format!(", {e} of {}", words::target_text(d)),
                    (Some(e), None) => format!(", {e}"),
                    _ => String::new(),
                };
                let late = if phase.late { " (late)" } else { "" };
                let text = format!("{} of {}: {}{limit}{late}; {steps}", phase.number, phase.of, phase.title);
                screen.line("phase", if phase.late { Tone::Warn } else { Tone::Plain }, &text);
            }
            None => screen.line("steps", Tone::Plain, &steps),
        }
    }

    fn now(&self, screen: &mut Screen) {
        // Two lines each, and what is left over is counted.
        for (n, task) in self.running.iter().take(2).enumerate() {
            let limit = task.timeout.map_or_else(String::new, |t| format!(" of {}", words::target_text(t)));
            let first = task.command.lines().next().unwrap_or_default();
            let text = format!("{} {}{limit}  {first}", task.task, task.elapsed);
            screen.line(if n == 0 { "running" } else { "" }, Tone::Plain, &text);
        }
        screen.more(self.running.len(), 2, "task");
        for waiting in self.waiting.iter().take(2) {
            let mut text = format!("{} {}, {} so far", waiting.step, waiting.what, waiting.since);
            if waiting.needed > 1 {
                text.push_str(&format!(", {} of {}", waiting.agreed.len(), waiting.needed));
            }
            match waiting.left {
                // A run that nobody drives finds it out when it is taken up again.
                Some(Millis(0)) => text.push_str(", its time is up"),
                Some(left) => text.push_str(&format!(", {left} left")),
                None => {}
            }
            if !waiting.who.is_empty() {
                text.push_str(&format!(": {}", waiting.who.join(", ")));
            }
            screen.line("waits", Tone::Accent, &text);
            screen.line("", Tone::Plain, waiting.prompt.lines().next().unwrap_or_default());
            screen.command("", &waiting.command);
        }
        screen.more(self.waiting.len(), 2, "question");
    }

    /// Who knows, and the last that should and does not.
    fn told(&self, screen: &mut Screen) {
        let Some(told) = &self.told else { return };
        let last = self.last_told.as_ref().map(|last| format!("; last {last}")).unwrap_or_default();
        screen.line("told", told.tone(), &format!("{}{last}", told.short()));
        if let Some(problem) = told.problems.last() {
            screen.line("", Tone::Warn, problem);
        }
    }

    fn ahead(&self, screen: &mut Screen) {
        for (n, wrong) in self.wrong.iter().rev().take(SHOWN).rev().enumerate() {
            screen.line(if n == 0 { "wrong" } else { "" }, Tone::Warn, wrong);
        }
        if !self.next.is_empty() {
            let ids: Vec<&str> = self.next.iter().take(SHOWN).map(|a| a.step.as_str()).collect();
            let more = self.next.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            screen.line("next", Tone::Plain, &format!("{}{more}", ids.join(", ")));
        }
        let mut risks: Vec<String> = self
            .risks
            .iter()
            .take(SHOWN)
            .map(|risk| match (risk.destructive, risk.irreversible) {
                (true, true) => format!("{} destroys, for good", risk.step),
                (true, false) => format!("{} destroys", risk.step),
                _ => format!("{} cannot be taken back", risk.step),
            })
            .collect();
        match &self.point_of_no_return {
            Some(point) if point.passed => risks.insert(0, "the point of no return is passed".to_owned()),
            Some(point) if !self.risks.is_empty() => risks.push(format!("no return after {}", point.step)),
            _ => {}
        }
        if !risks.is_empty() {
            screen.line("risk", Tone::Bad, &risks.join("; "));
        }
    }
}

/// The service is there again.
fn is_back(outcome: RunOutcome) -> bool {
    matches!(outcome, RunOutcome::Recovered | RunOutcome::Degraded)
}

/// How long ago the last record was; as long as the service is not back, the clock of the incident runs on although the
/// run has ended.
fn since_last(history: &History, now: Option<Timestamp>) -> Millis {
    match (now, history.last_at) {
        (Some(now), Some(last)) if !history.end.as_ref().is_some_and(|end| is_back(end.outcome)) => {
            now.since(last)
        }
        _ => Millis::ZERO,
    }
}

/// Whether steps that have not begun may still begin.
fn goes_on(history: &History) -> bool {
    let over = history.end.as_ref().map(|end| end.outcome);
    history.rollback.is_none()
        && !over.is_some_and(|o| matches!(o, RunOutcome::Recovered | RunOutcome::Degraded))
}

fn is_done(outcome: StepOutcome) -> bool {
    matches!(outcome, StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Skipped)
}

fn has_acted(history: &History, ix: StepIx) -> bool {
    let past = &history.steps[ix];
    past.acted() || past.outcome.is_some()
}

/// It has not begun, and stands in the phase itself or in a group that is under way.
fn is_next(plan: &Plan, history: &History, ix: StepIx) -> bool {
    let under_way = |ix: StepIx| history.steps[ix].started.is_some() && history.steps[ix].outcome.is_none();
    history.steps[ix].started.is_none() && plan.steps[ix].parent.is_none_or(under_way)
}

fn risk(plan: &Plan, ix: StepIx) -> Option<Risk> {
    let step = &plan.steps[ix];
    (step.destructive || step.irreversible).then(|| Risk {
        step: step.id.clone(),
        title: neutral::line(&step.title),
        destructive: step.destructive,
        irreversible: step.irreversible,
    })
}

fn waiting(plan: &Plan, history: &History, elapsed: Millis, run: &str) -> Vec<Waiting> {
    let open = history.open_questions().into_iter();
    open.map(|(ix, open)| {
        let question = &open.question;
        let may = question.approvers.iter().filter(|name| !question.excluded.contains(name));
        let agreed = open.agreed();
        Waiting {
            step: plan.steps[ix].id.clone(),
            what: words::asked(question.kind),
            prompt: neutral::block(question.prompt.trim()),
            who: may.filter(|name| !agreed.contains(&name.as_str())).map(neutral::line).collect(),
            agreed: agreed.iter().map(neutral::line).collect(),
            needed: question.count,
            since: elapsed.saturating_sub(open.asked),
            left: open.until().map(|until| until.saturating_sub(elapsed)),
            then: words::on_timeout(question.on_timeout),
            command: words::answer_line(question, run, &plan.steps[ix].id),
        }
    })
    .collect()
}

/// Failures, and what had to be done about others, in the order in which it happened.
fn wrong(plan: &Plan, records: &[Record], history: &History) -> Vec<String> {
    const QUIET: [&str; 5] = ["skipped", "clock", "journal", "resumed", "output"];
    let mut all: Vec<(Millis, String)> = incident::deviations(plan, records, history)
        .into_iter()
        .filter(|d| !QUIET.contains(&d.kind))
        .map(|d| (d.t, format!("{}: {}", d.kind, d.text)))
        .collect();
    for ix in failures(plan, history) {
        let past = &history.steps[ix];
        let undo = past.undo.as_ref().and_then(|undo| words::undone(undo).2);
        let why = undo.or(past.why.as_deref()).unwrap_or("no reason is recorded");
        let outcome = past.final_outcome().map_or("failed", |o| o.as_str());
        let text = neutral::line(format!("{} {outcome}: {why}", plan.steps[ix].id));
        all.push((past.ended.unwrap_or(history.last_t), text));
    }
    all.sort_by_key(|(t, _)| *t);
    let from = all.len().saturating_sub(KEPT);
    all.into_iter().skip(from).map(|(_, text)| text).collect()
}

fn last_told(notice: &NoticeRow) -> String {
    let by: Vec<&str> = notice.deliveries.iter().map(|delivery| delivery.channel.as_str()).collect();
    format!("{} {} by {}", notice.at.clock(), notice.what, by.join(", "))
}

fn notes(history: &History) -> Vec<Note> {
    let from = history.notes.len().saturating_sub(KEPT);
    let note = |(_, at, by, text): &(Millis, Timestamp, crate::model::Person, String)| Note {
        at: *at,
        by: neutral::line(by.to_string()),
        text: neutral::line(text.lines().collect::<Vec<_>>().join(" / ")),
    };
    history.notes.iter().skip(from).map(note).collect()
}

/// Lines up to the last of a screen.
struct Screen {
    look: Look,
    columns: usize,
    lines: Vec<(usize, String)>,
}

impl Screen {
    fn whole(&mut self, tone: Tone, text: &str) {
        let text = self.look.cut(text, self.columns);
        self.lines.push((1, self.look.paint(tone, &text)));
    }

    fn line(&mut self, label: &str, tone: Tone, text: &str) {
        let text = self.look.cut(text, self.columns.saturating_sub(LABEL));
        let label = self.look.paint(Tone::Dim, &look::pad(label, LABEL));
        self.lines.push((1, format!("{label}{}", self.look.paint(tone, &text))));
    }

    /// It is to be typed as it stands: the terminal breaks it where it is too long.
    fn command(&mut self, label: &str, text: &str) {
        let text = self.look.fit(text.to_owned());
        let rows = (LABEL + look::width(&text)).div_ceil(self.columns).max(1);
        let label = self.look.paint(Tone::Dim, &look::pad(label, LABEL));
        self.lines.push((rows, format!("{label}{}", self.look.paint(Tone::Bold, &text))));
    }

    fn more(&mut self, all: usize, shown: usize, what: &str) {
        if all > shown {
            self.line("", Tone::Dim, &format!("and {} more", words::count(all - shown, what)));
        }
    }

    fn text(self) -> String {
        let (mut rows, mut out) = (0, String::new());
        for (n, line) in self.lines {
            rows += n;
            // The last line of the screen is the prompt's.
            if rows >= LINES {
                break;
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}
