//! One screen about a run, and the list of runs.

use std::io::{self, Write};

use serde::Serialize;

use super::history::{History, StepHistory};
use super::look::{self, Look, Sign, Tone};
use super::outlook::Outlook;
use super::told::Tally;
use super::{closing, neutral, words};
use crate::model::{Millis, RunId, RunOutcome, StepId, StepOutcome, TaskId, TaskKind, Timestamp};
use crate::plan::{Body, Plan, Step};

/// Of more steps only those that need a look are listed.
const MAX_ROWS: usize = 40;
/// Of the deliveries that did not go well, those that are named.
const MAX_PROBLEMS: usize = 3;

/// Of a run without an end that no process drives.
const ORPHANED: &str = "the process that drove it is gone; a command in flight may still run";

/// What `status` says, as data. Version 1; fields are only added.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: u32,
    pub run: Option<RunId>,
    pub playbook: String,
    pub title: String,
    pub environment: Option<String>,
    pub drill: bool,
    /// `running`, `rolling-back`, `cancelling`, `interrupted`, or the run's outcome.
    pub state: String,
    pub outcome: Option<RunOutcome>,
    pub why: Option<String>,
    pub started: Option<Timestamp>,
    pub operator: Option<String>,
    pub host: Option<String>,
    /// Who leads: the operator, until somebody else takes over.
    pub commander: Option<String>,
    /// Who has taken notice, each once.
    pub acknowledged: Vec<String>,
    /// Since the run's start.
    pub elapsed: Millis,
    pub rto: Option<Budget>,
    /// When it is likely to be over; absent if it is, or if nobody looked for past runs.
    pub projection: Option<Outlook>,
    pub phase: Option<PhaseStatus>,
    pub steps: Vec<StepRow>,
    pub in_flight: Vec<InFlightRow>,
    /// Who was told, in numbers; absent if nobody was to be told.
    pub told: Option<Tally>,
    pub epoch: u32,
    pub records: u64,
    /// Commands to type next.
    pub next: Vec<String>,
}

/// Time used of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub used: Millis,
    pub target: Millis,
}

#[derive(Debug, Clone, Serialize)]
pub struct PhaseStatus {
    pub id: String,
    pub title: String,
    /// From 1.
    pub number: usize,
    pub of: usize,
    pub elapsed: Option<Millis>,
    pub deadline: Option<Millis>,
    pub late: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    pub id: StepId,
    pub title: String,
    /// `pending`, `running`, `waiting` (for a person), or the step's outcome.
    pub state: &'static str,
    pub outcome: Option<StepOutcome>,
    pub duration: Option<Millis>,
    pub attempts: u32,
    pub max_attempts: u32,
    pub why: Option<String>,
    /// What it is done for, of a step inside of a `foreach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How far the items of a `foreach` are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct InFlightRow {
    pub task: TaskId,
    pub since: Millis,
    pub elapsed: Millis,
    pub timeout: Option<Millis>,
    /// None: this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub command: String,
}

impl Status {
    /// `now` is the caller's clock, for runs that are not over. `driven` says whether a process holds the run.
    pub fn of(plan: &Plan, history: &History, now: Option<Timestamp>, driven: Option<bool>) -> Self {
        // The records' own clock goes on from the last of them by the wall's.
        let since_last = match (now, history.last_at) {
            (Some(now), Some(last)) if history.end.is_none() => now.since(last),
            _ => Millis::ZERO,
        };
        Self::after(plan, history, since_last, driven)
    }

    /// So long after the last record.
    pub(super) fn after(plan: &Plan, history: &History, since_last: Millis, driven: Option<bool>) -> Self {
        let start = history.start.as_ref();
        let open = history.end.is_none();
        let elapsed = history.last_t.saturating_add(since_last);
        let rto = match (start, plan.objectives.rto, history.started_at) {
            (Some(start), Some(target), Some(began)) => {
                let before = began.since(start.incident_since);
                let measured = history.end.as_ref().and_then(|e| e.rto.as_ref()).and_then(|o| o.measured);
                Some(Budget { used: measured.unwrap_or(before.saturating_add(elapsed)), target })
            }
            _ => None,
        };
        let run = start.map(|s| s.run.clone());
        let next = match &run {
            Some(run) if !(open && driven == Some(true)) => {
                closing::next_commands(plan, history, run.as_str())
            }
            Some(run) => {
                let mut all = closing::answers(plan, history, run.as_str());
                all.extend([format!("runbook log {run} --follow"), format!("runbook cancel {run}")]);
                all
            }
            None => Vec::new(),
        };
        Self {
            version: 1,
            run,
            playbook: neutral::line(&plan.playbook.name),
            title: neutral::line(&plan.playbook.title),
            environment: start.and_then(|s| s.environment.as_ref()).map(neutral::line),
            drill: start.is_some_and(|s| s.drill),
            state: state_word(history, driven).to_owned(),
            outcome: history.end.as_ref().map(|e| e.outcome),
            why: match &history.end {
                Some(end) => end.why.as_ref().map(neutral::line),
                None if driven == Some(false) => Some(ORPHANED.to_owned()),
                None => None,
            },
            started: history.started_at,
            operator: start.map(|s| neutral::line(&s.operator)),
            host: start.map(|s| neutral::line(&s.host)),
            commander: history.commander().map(neutral::line),
            acknowledged: history.noticed_by(),
            elapsed,
            rto,
            projection: history.outlook(plan, elapsed),
            phase: phase(plan, history, elapsed),
            steps: plan
                .steps
                .iter()
                .zip(&history.steps)
                .enumerate()
                .map(|(ix, (s, h))| StepRow {
                    items: history.item_count(plan, ix).map(|count| words::items_done(&count)),
                    ..step_row(s, h, elapsed, open)
                })
                .collect(),
            in_flight: in_flight(history, elapsed),
            told: told(history, driven),
            epoch: history.epoch,
            records: history.seq,
            next,
        }
    }

    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn Write, look: Look) -> io::Result<()> {
        let mut out = String::new();
        self.head(look, &mut out);
        self.table(look, &mut out);
        for task in &self.in_flight {
            let limit = task.timeout.map_or_else(String::new, |t| format!(" of {}", words::target_text(t)));
            let on = task.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
            let first = task.command.lines().next().unwrap_or_default();
            let line = format!("  running  {}{on}  {}{limit}  {first}", task.task, task.elapsed);
            out.push_str(&match look.width {
                Some(width) => look.cut(&line, width.max(20)),
                None => look.fit(line),
            });
            out.push('\n');
        }
        if let Some((told, text)) = self.told.as_ref().and_then(|told| Some((told, told.text()?))) {
            out.push_str(&look.paint(told.tone(), &format!("told   {text}")));
            out.push('\n');
            for problem in told.problems.iter().rev().take(MAX_PROBLEMS).rev() {
                let line = format!("       {problem}");
                out.push_str(&match look.width {
                    Some(width) => look.cut(&line, width.max(20)),
                    None => look.fit(line),
                });
                out.push('\n');
            }
        }
        for (n, command) in self.next.iter().enumerate() {
            out.push_str(&format!("{:<6} {command}\n", if n == 0 { "next" } else { "" }));
        }
        w.write_all(out.as_bytes())
    }

    fn head(&self, look: Look, out: &mut String) {
        let tone = self.outcome.map_or(Tone::Bold, |o| words::run_tone(o).1);
        let run = self.run.as_ref().map_or("(no start is recorded)", RunId::as_str);
        out.push_str(&format!("{}  {}\n", look.paint(Tone::Bold, run), look.paint(tone, &self.state)));
        let mut facts = vec![self.title.clone()];
        facts.extend(self.environment.clone());
        if self.drill {
            facts.push("drill".to_owned());
        }
        if let Some(started) = self.started {
            facts.push(format!("started {} UTC", started.human()));
        }
        facts.extend(self.operator.iter().zip(&self.host).map(|(o, h)| format!("by {o} on {h}")));
        facts.push(format!("{} so far", self.elapsed));
        if self.outcome.is_some() {
            facts.pop();
            facts.push(format!("took {}", self.elapsed));
        }
        if self.commander != self.operator {
            facts.extend(self.commander.iter().map(|name| format!("led by {name}")));
        }
        if !self.acknowledged.is_empty() {
            facts.push(format!("noticed by {}", self.acknowledged.join(", ")));
        }
        if self.epoch > 1 {
            facts.push(format!("resumed {}", words::count(self.epoch as usize - 1, "time")));
        }
        out.push_str(&look.fit(facts.join(" · ")));
        out.push('\n');
        if let Some(why) = &self.why {
            out.push_str(&look.fit(format!("why    {why}\n")));
        }
        if let Some(Budget { used, target }) = self.rto {
            let tone = if used > target { Tone::Bad } else { Tone::Plain };
            let text = format!("RTO    {used} of {}", words::target_text(target));
            out.push_str(&look.paint(tone, &text));
            out.push('\n');
        }
        if let Some(outlook) = self.shown_outlook() {
            let text = look.fit(format!("       {}", outlook.sentence()));
            out.push_str(&look.paint(outlook.tone(), &text));
            out.push('\n');
            if let Some(basis) = outlook.basis() {
                out.push_str(&look.paint(Tone::Dim, &look.fit(format!("       {basis}"))));
                out.push('\n');
            }
            for line in outlook.overdue() {
                out.push_str(&look.paint(Tone::Warn, &look.fit(format!("late   {line}"))));
                out.push('\n');
            }
        }
        if let Some(phase) = &self.phase {
            let mut text = format!("phase  {} of {}: {}", phase.number, phase.of, phase.title);
            if let Some(elapsed) = phase.elapsed {
                text.push_str(&format!(", {elapsed}"));
                if let Some(deadline) = phase.deadline {
                    text.push_str(&format!(" of {}", words::target_text(deadline)));
                }
            }
            let text = look.fit(text);
            out.push_str(&if phase.late { look.paint(Tone::Warn, &format!("{text} (late)")) } else { text });
            out.push('\n');
        }
        out.push('\n');
    }

    /// That nothing is projected is worth a word where there is an objective.
    fn shown_outlook(&self) -> Option<&Outlook> {
        self.projection.as_ref().filter(|outlook| outlook.recovery.is_some() || self.rto.is_some())
    }

    fn table(&self, look: Look, out: &mut String) {
        let quiet = |row: &StepRow| {
            matches!(row.state, "pending" | "not started" | "succeeded" | "satisfied" | "skipped")
        };
        // Of the items of a list only those have a line of their own that need a look; their step tells how far it is.
        let told: Vec<&StepRow> = self.steps.iter().filter(|r| r.item.is_none() || !quiet(r)).collect();
        let all = told.len() <= MAX_ROWS;
        let rows: Vec<&StepRow> = told.iter().copied().filter(|r| all || !quiet(r)).take(MAX_ROWS).collect();
        let ids = rows.iter().map(|r| look::width(r.id.as_str())).max().unwrap_or(0).min(32);
        for row in &rows {
            let (sign, tone) = match row.outcome {
                Some(outcome) => words::step_tone(outcome),
                None if row.state == "running" => (Sign::Arrow, Tone::Bold),
                None if row.state == "waiting" => (Sign::Warn, Tone::Warn),
                None => (Sign::Dot, Tone::Dim),
            };
            let duration = row.duration.map_or_else(String::new, |d| d.to_string());
            let mut rest = String::new();
            if row.attempts > 1 {
                rest = format!("attempt {} of {}  ", row.attempts, row.max_attempts.max(row.attempts));
            }
            if let Some(items) = row.items.as_ref().filter(|_| row.state != "pending") {
                rest.push_str(&format!("{items}  "));
            }
            rest.push_str(row.why.as_deref().unwrap_or(&row.title));
            let used = 4 + ids + 2 + 11 + 2 + 8 + 2;
            let rest = match look.width {
                Some(width) => look.cut(&rest, width.saturating_sub(used).max(10)),
                None => look.fit(rest),
            };
            let sign = look.sign(sign);
            let line = format!(
                "  {} {}  {}  {duration:>8}  {rest}",
                look.paint(tone, sign),
                look::pad(row.id.as_str(), ids),
                look.paint(tone, &format!("{:<11}", row.state)),
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
        if rows.len() < told.len() {
            let mut counts = std::collections::BTreeMap::new();
            for row in &self.steps {
                *counts.entry(row.state).or_insert(0_usize) += 1;
            }
            let counts: Vec<String> = counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
            out.push_str(&format!("  of {} steps: {}\n", self.steps.len(), counts.join(", ")));
        }
        out.push('\n');
    }
}

/// One word for the run as a whole.
fn state_word(history: &History, driven: Option<bool>) -> &'static str {
    match &history.end {
        Some(end) => end.outcome.as_str(),
        None if driven == Some(false) => "interrupted",
        None if history.rollback.is_some() => "rolling-back",
        None if history.cancelling => "cancelling",
        None => "running",
    }
}

fn phase(plan: &Plan, history: &History, elapsed: Millis) -> Option<PhaseStatus> {
    // A plan of `steps:` alone has one phase that nobody typed.
    if plan.phases.len() <= 1 {
        return None;
    }
    let ix = history.phases.iter().rposition(|p| p.started.is_some())?;
    let (phase, past) = (plan.phases.get(ix)?, &history.phases[ix]);
    Some(PhaseStatus {
        id: neutral::line(&phase.id),
        title: neutral::line(&phase.title),
        number: ix + 1,
        of: plan.phases.len(),
        elapsed: past.started.map(|s| past.ended.unwrap_or(elapsed).saturating_sub(s)),
        deadline: phase.deadline,
        late: past.late,
    })
}

fn step_row(step: &Step, past: &StepHistory, elapsed: Millis, open: bool) -> StepRow {
    let outcome = past.final_outcome();
    let state = match outcome {
        Some(outcome) => outcome.as_str(),
        None if past.open_question().is_some() => "waiting",
        None if past.started.is_some() && open => "running",
        None if past.started.is_some() => "not over",
        None if open => "pending",
        None => "not started",
    };
    let running =
        past.started.filter(|_| matches!(state, "running" | "waiting")).map(|s| elapsed.saturating_sub(s));
    StepRow {
        id: step.id.clone(),
        title: neutral::line(&step.title),
        state,
        outcome,
        duration: past.duration().or(running).filter(|_| past.outcome != Some(StepOutcome::Skipped)),
        attempts: past.attempts,
        max_attempts: if matches!(step.body, Body::Command(_)) { step.retry.attempts } else { 1 },
        why: match past.open_question() {
            Some(question) => Some(words::asked(question.question.kind).to_owned()),
            None => past.why.as_ref().map(neutral::line),
        },
        item: step.item.as_ref().map(words::value),
        items: None,
    }
}

/// What is outstanding when nobody drives the run will never be known.
pub(super) fn told(history: &History, driven: Option<bool>) -> Option<Tally> {
    let notices = history.notices.clone();
    let tally = if driven == Some(false) { notices.abandoned().tally() } else { notices.tally() };
    (tally.deliveries > 0).then_some(tally)
}

fn in_flight(history: &History, elapsed: Millis) -> Vec<InFlightRow> {
    let row = |task: &TaskId, since: Millis, timeout, host: &Option<String>, command: &str| InFlightRow {
        task: task.clone(),
        since,
        elapsed: elapsed.saturating_sub(since),
        timeout,
        host: host.as_ref().map(neutral::line),
        command: neutral::block(command),
    };
    let mut rows: Vec<InFlightRow> = Vec::new();
    for past in &history.steps {
        rows.extend(
            past.tasks
                .iter()
                .filter(|t| t.end.is_none())
                .map(|t| row(&t.task, t.started, t.timeout, &t.host, &t.command)),
        );
        rows.extend(
            past.checks
                .iter()
                .filter(|c| c.end.is_none())
                .map(|c| row(&c.last, c.started, None, &c.host, &c.command)),
        );
    }
    rows.sort_by_key(|r| (r.since, r.task.kind == TaskKind::Undo));
    rows
}

/// A run as one line of a list.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    pub run: RunId,
    pub playbook: String,
    pub environment: Option<String>,
    pub drill: bool,
    /// The outcome, or what an open run is doing.
    pub state: String,
    pub outcome: Option<RunOutcome>,
    pub started: Timestamp,
    pub duration: Millis,
}

impl RunSummary {
    /// None if the records hold no start.
    pub fn of(history: &History, now: Option<Timestamp>, driven: Option<bool>) -> Option<Self> {
        let start = history.start.as_ref()?;
        let since_last = match (now, history.last_at) {
            (Some(now), Some(last)) if history.end.is_none() && driven != Some(false) => now.since(last),
            _ => Millis::ZERO,
        };
        Some(Self {
            run: start.run.clone(),
            playbook: neutral::line(&start.playbook),
            environment: start.environment.as_ref().map(neutral::line),
            drill: start.drill,
            state: state_word(history, driven).to_owned(),
            outcome: history.end.as_ref().map(|e| e.outcome),
            started: history.started_at?,
            duration: history.last_t.saturating_add(since_last),
        })
    }
}

/// Writes the list, as the caller ordered it.
///
/// # Errors
/// Those of the writer.
pub fn write_runs(w: &mut dyn Write, runs: &[RunSummary], look: Look) -> io::Result<()> {
    if runs.is_empty() {
        return writeln!(w, "no runs yet");
    }
    let ids = runs.iter().map(|r| r.run.as_str().len()).max().unwrap_or(0);
    for run in runs {
        let tone = run.outcome.map_or(Tone::Bold, |o| words::run_tone(o).1);
        let mut tail = run.environment.clone().unwrap_or_default();
        if run.drill {
            tail = "drill".to_owned();
        }
        let line = format!(
            "{:<ids$}  {}  {}  {:>8}  {}",
            run.run.as_str(),
            look.paint(tone, &format!("{:<12}", run.state)),
            run.started.human(),
            run.duration.to_string(),
            look.fit(tail),
        );
        writeln!(w, "{}", line.trim_end())?;
    }
    Ok(())
}
