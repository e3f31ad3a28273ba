//! What is said to the outside: escalations, updates, the messages of steps, in words for people who do not sit at the
//! terminal. Written from the records when it is sent, so it says no more than they do.

use super::history::{History, StepHistory};
use super::look::Tone;
use super::outlook::Outlook;
use super::{neutral, words};
use crate::engine::Outgoing;
use crate::model::{
    Cause, ChannelKind, IncidentStatus, Millis, Notice, NoticeAction, RunOutcome, Severity, StepOutcome,
    Timestamp, dedup_key, notice_id,
};
use crate::plan::Plan;

/// How many lines a list has before its older half is only counted.
const MOST_LINES: usize = 8;
/// How far ahead people are told what comes.
const MOST_NEXT: usize = 3;

/// The notice for one channel, but for the head and the person who sends it.
pub fn compose(
    plan: &Plan,
    history: &History,
    out: &Outgoing,
    channel: &str,
    at: Timestamp,
) -> Option<Notice> {
    let start = history.start.as_ref()?;
    let told = Told { plan, history, at, since: start.incident_since };
    let (subject, text) = told.words(out);
    let action = match &out.cause {
        Cause::Escalation { .. } => NoticeAction::Trigger,
        Cause::Recovered => NoticeAction::Resolve,
        Cause::Acknowledged { .. } => NoticeAction::Acknowledge,
        // Whoever lets a step tell a pager wants somebody to come.
        Cause::Step { .. } if pages(plan, channel) => NoticeAction::Trigger,
        Cause::Update { .. } | Cause::Step { .. } => NoticeAction::Info,
    };
    let mut facts = Vec::new();
    if !matches!(out.cause, Cause::Update { .. }) {
        facts.push(("elapsed".to_owned(), told.elapsed().to_string()));
        facts.push(("status".to_owned(), told.status().to_owned()));
        if let Some(recovery) = told.outlook().and_then(|outlook| outlook.recovery) {
            facts.push(("projected".to_owned(), recovery.times()));
        }
    }
    let leads = history.commander().filter(|leads| *leads != start.operator);
    facts.extend(leads.map(|leads| ("led by".to_owned(), leads.to_owned())));
    if let Cause::Step { step } = &out.cause {
        facts.push(("step".to_owned(), step.to_string()));
    }
    Some(Notice {
        id: notice_id(&start.run, &format!("notice-{}/{channel}", out.number)),
        action,
        dedup_key: dedup_key(&start.run),
        subject,
        text,
        run: start.run.clone(),
        playbook: start.playbook.clone(),
        title: start.title.clone(),
        environment: start.environment.clone(),
        severity: plan.playbook.severity.as_deref().and_then(Severity::parse),
        drill: start.drill,
        facts,
        head: None,
        at,
        host: start.host.clone(),
        operator: start.operator.clone(),
        link: None,
    })
}

fn pages(plan: &Plan, channel: &str) -> bool {
    let kind = plan.channels.iter().find(|c| c.name == channel).map(|c| &c.kind);
    matches!(kind, Some(ChannelKind::Pagerduty(_)))
}

/// The newest update as a page.
pub fn status_page(plan: &Plan, history: &History, out: &Outgoing, at: Timestamp) -> Option<String> {
    let start = history.start.as_ref()?;
    let told = Told { plan, history, at, since: start.incident_since };
    let (subject, text) = told.words(out);
    Some(format!("{}\n\n{}", neutral::line(subject), neutral::block(&text)))
}

struct Told<'a> {
    plan: &'a Plan,
    history: &'a History,
    at: Timestamp,
    since: Timestamp,
}

impl Told<'_> {
    fn words(&self, out: &Outgoing) -> (String, String) {
        let title = &self.plan.playbook.title;
        match &out.cause {
            Cause::Escalation { level, why } => {
                let mut text = format!("Level {level}: {why}.\n");
                if !out.to.is_empty() {
                    text.push_str(&format!("For: {}\n", out.to.join(", ")));
                }
                text.push('\n');
                text.push_str(&self.account());
                (format!("{title}: escalated to level {level}"), text)
            }
            Cause::Update { number, last } => {
                let status = self.status();
                let what = if *last { "final update" } else { "update" };
                let head =
                    format!("Incident update #{number}\nTime: {} UTC\nStatus: {status}\n", self.at.human());
                let next = match self.next_update().filter(|_| !*last) {
                    Some(at) => format!("{} UTC", at.human()),
                    None => "none, this is the final update".to_owned(),
                };
                let text = format!("{head}\n{}\nNext update: {next}\n", self.account());
                (format!("{title}: {what} #{number}, {status}"), text)
            }
            Cause::Step { .. } => {
                let text = out.text.clone().unwrap_or_default();
                let first = text.trim().lines().next().unwrap_or_default().to_owned();
                (format!("{title}: {first}"), text)
            }
            Cause::Recovered => {
                let text = format!("It is over: nobody has to come any more.\n\n{}", self.account());
                (format!("{title}: {}", self.status()), text)
            }
            Cause::Acknowledged { by } => {
                let text =
                    format!("{by} has it in hand: nobody else has to come for now.\n\n{}", self.account());
                (format!("{title}: {by} has taken notice"), text)
            }
        }
    }

    /// Impact, situation, actions, next steps and the time that is expected.
    fn account(&self) -> String {
        let plan = self.plan;
        let impact = match plan.playbook.symptoms.as_slice() {
            [] => plan.playbook.description.clone().unwrap_or_else(|| "not described".to_owned()),
            symptoms => symptoms.join("; "),
        };
        let mut text = format!("Impact: {}\n", impact.trim());
        text.push_str(&format!("Current situation: {}\n", self.situation()));
        list(&mut text, "Actions taken", &self.actions());
        list(&mut text, "Next steps", &self.next_steps());
        text.push_str(&format!("Estimated resolution: {}\n", self.estimate()));
        text
    }

    fn status(&self) -> &'static str {
        if self.is_over() {
            return "Resolved";
        }
        let begun = self.history.phases.iter().rposition(|phase| phase.started.is_some());
        words::status(
            self.plan.phases.get(begun.unwrap_or(0)).map_or(IncidentStatus::Investigating, |p| p.status),
        )
    }

    fn is_over(&self) -> bool {
        let outcome = self.history.end.as_ref().map(|end| end.outcome);
        matches!(outcome, Some(RunOutcome::Recovered | RunOutcome::Degraded))
    }

    fn elapsed(&self) -> Millis {
        let started = self.history.started_at.unwrap_or(self.since);
        let elapsed = started.since(self.since).saturating_add(self.history.last_t);
        if elapsed < Millis::secs(1) { elapsed } else { Millis::secs(elapsed.0 / 1000) }
    }

    fn situation(&self) -> String {
        let mut parts = Vec::new();
        if let Some(end) = &self.history.end {
            let why = end.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            parts.push(format!("{}, after {}{why}", words::run_meaning(end.outcome), self.elapsed()));
            return parts.concat();
        }
        if let Some((_, because)) = &self.history.rollback {
            parts.push(format!("what was done is being taken back ({because})"));
        } else if let Some(ix) = self.history.phases.iter().rposition(|phase| phase.started.is_some()) {
            let late = if self.history.phases[ix].late { ", past its deadline" } else { "" };
            let (n, of) = (ix + 1, self.plan.phases.len());
            parts.push(format!("phase {} ({n} of {of}){late}", self.plan.phases[ix].title));
        }
        let steps = || self.plan.steps.iter().zip(&self.history.steps);
        let open = |s: &StepHistory| s.started.is_some() && s.outcome.is_none();
        let asked = |s: &StepHistory| s.questions.last().is_some_and(|q| q.closed.is_none());
        let leaf = |step: &crate::plan::Step| words::is_leaf(&step.body);
        for (step, s) in steps().filter(|(step, s)| open(s) && leaf(step)) {
            let (what, since) = match asked(s) {
                true => ("waiting for a person", s.questions.last().map(|q| q.asked)),
                false => ("under way", s.started),
            };
            let age = self.history.last_t.saturating_sub(since.unwrap_or(self.history.last_t)).0 / 1000;
            parts.push(format!("{} is {what} since {}", step.title, Millis::secs(age)));
        }
        let failed = |s: &StepHistory| matches!(s.outcome, Some(StepOutcome::Failed | StepOutcome::Unknown));
        for (step, s) in steps().filter(|(_, s)| failed(s)) {
            let what = if s.outcome == Some(StepOutcome::Failed) { "failed" } else { "is in doubt" };
            parts.push(format!("{} {what}{}", step.title, reason(s.why.as_deref())));
        }
        if parts.is_empty() { "the run has started".to_owned() } else { parts.join("; ") }
    }

    /// What is done, the newest last.
    fn actions(&self) -> Vec<String> {
        let started = self.history.started_at.unwrap_or(self.since);
        let mut done: Vec<(Millis, String)> = Vec::new();
        for (step, s) in self.plan.steps.iter().zip(&self.history.steps) {
            let (Some(outcome), Some(ended)) = (s.final_outcome(), s.ended) else { continue };
            if matches!(outcome, StepOutcome::Skipped | StepOutcome::Cancelled) {
                continue;
            }
            let at = Timestamp(started.0.saturating_add(i64::try_from(ended.0).unwrap_or(i64::MAX)));
            done.push((ended, format!("{} {} ({outcome})", at.clock(), step.title)));
        }
        done.sort_by_key(|(ended, _)| *ended);
        let hidden = done.len().saturating_sub(MOST_LINES);
        let older = (hidden > 0).then(|| format!("{hidden} earlier"));
        older.into_iter().chain(done.into_iter().skip(hidden).map(|(_, line)| line)).collect()
    }

    fn next_steps(&self) -> Vec<String> {
        if self.history.end.is_some() || self.history.rollback.is_some() {
            return Vec::new();
        }
        let both = self.plan.steps.iter().zip(&self.history.steps);
        let pending =
            both.filter(|(step, s)| s.started.is_none() && s.outcome.is_none() && words::is_leaf(&step.body));
        let past = self.history.start.as_ref().and_then(|start| start.past.as_ref());
        let usual = |step: &crate::plan::Step| past?.steps.get(&step.id).filter(|past| past.ran > 0);
        let line = |step: &crate::plan::Step| match usual(step) {
            Some(past) => format!("{} (usually {})", step.title, past.took.p50),
            None => step.title.clone(),
        };
        pending.take(MOST_NEXT).map(|(step, _)| line(step)).collect()
    }

    fn estimate(&self) -> String {
        if self.is_over() {
            return "resolved".to_owned();
        }
        let outlook = self.outlook();
        let mut text = match outlook.as_ref().map(|outlook| (outlook.has_past(), &outlook.recovery)) {
            Some((_, Some(recovery))) => {
                format!(
                    "{}, {}",
                    recovery.times(),
                    outlook.as_ref().and_then(Outlook::basis).unwrap_or_default()
                )
            }
            Some((false, None)) => "under investigation, no past runs".to_owned(),
            _ => "under investigation".to_owned(),
        };
        if let Some(rto) = self.plan.objectives.rto {
            let due = Timestamp(self.since.0.saturating_add(i64::try_from(rto.0).unwrap_or(i64::MAX)));
            let late = if self.elapsed() > rto { ", which has passed" } else { "" };
            text.push_str(&format!("; the objective is {} UTC{late}", due.human()));
        }
        text
    }

    fn outlook(&self) -> Option<Outlook> {
        self.history.outlook(self.plan, self.history.last_t)
    }

    fn next_update(&self) -> Option<Timestamp> {
        let updates = self.plan.updates.as_ref()?;
        let age = self.history.started_at?.since(self.since).saturating_add(self.history.last_t);
        let next = updates.next_after(age)?;
        Some(Timestamp(self.since.0.saturating_add(i64::try_from(next.0).unwrap_or(i64::MAX))))
    }
}

fn reason(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        text.push_str(&format!("{title}: none\n"));
        return;
    }
    text.push_str(&format!("{title}:\n"));
    for line in lines {
        text.push_str(&format!("- {line}\n"));
    }
}

/// One word and the rest, for the timeline.
pub(super) fn cause(cause: &Cause) -> (&'static str, String) {
    match cause {
        Cause::Escalation { level, why } => ("escalated", format!("to level {level}, as {why}")),
        Cause::Update { number, last: true } => ("update", format!("#{number}, the final one")),
        Cause::Update { number, last: false } => ("update", format!("#{number}")),
        Cause::Step { .. } => ("notify", String::new()),
        Cause::Recovered => ("called off", "those who were called know that it is over".to_owned()),
        Cause::Acknowledged { by } => ("in hand", format!("{by} has taken notice")),
    }
}

/// What it is and what it says, short, for lists of notices.
pub(super) fn what(cause: &Cause, text: Option<&str>) -> (String, String) {
    match cause {
        Cause::Escalation { level, why } => (format!("level {level}"), why.clone()),
        Cause::Update { number, last: true } => (format!("final update #{number}"), String::new()),
        Cause::Update { number, last: false } => (format!("update #{number}"), String::new()),
        Cause::Step { step } => {
            let first = text.unwrap_or_default().trim().lines().next().unwrap_or_default();
            (format!("step {step}"), first.to_owned())
        }
        Cause::Recovered => ("called off".to_owned(), String::new()),
        Cause::Acknowledged { by } => ("in hand".to_owned(), format!("{by} has taken notice")),
    }
}

/// What is sent where.
pub(super) fn sent(what: &str, channels: &[String], to: &[String]) -> String {
    let mut parts = Vec::new();
    if !what.is_empty() {
        parts.push(what.to_owned());
    }
    parts.push(match channels {
        [] => "nobody is told".to_owned(),
        channels => format!("by {}", channels.join(", ")),
    });
    if !to.is_empty() {
        parts.push(format!("for {}", to.join(", ")));
    }
    neutral::line(parts.join("; "))
}

pub(super) fn end(delivered: bool, unsure: bool) -> (&'static str, Tone) {
    match (delivered, unsure) {
        (true, _) => ("told", Tone::Dim),
        (false, true) => ("not known", Tone::Warn),
        (false, false) => ("not told", Tone::Warn),
    }
}

pub(super) fn end_text(number: u32, channel: &str, attempts: u32, why: Option<&str>) -> String {
    let tries = match attempts {
        0 | 1 => String::new(),
        n => format!(" at try {n}"),
    };
    neutral::line(format!("notice {number} by {channel}{tries}{}", reason(why)))
}
