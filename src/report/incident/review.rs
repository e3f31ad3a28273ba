//! What the post-mortem can already say: how long people were waited for, who answered after how long, what stands out,
//! and drafts of what to do about it. People finish it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Deviation, Failure};
use crate::model::{
    Answer, Millis, Objective, ObjectiveVerdict, Person, Question, QuestionKind, Reply, RunOutcome, StepId,
    StepOutcome, TaskVerdict, Timestamp,
};
use crate::plan::Plan;
use crate::report::history::{History, QuestionHistory};
use crate::report::{neutral, words};

const DAY: i64 = 24 * 3_600_000;
/// Drafts of one kind; a run with thousands of retries makes no useful list.
const MAX_DRAFTS: usize = 50;

/// The run's time from its first record to its end, in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeSpent {
    /// At least one question was open.
    pub waiting_for_people: Millis,
    /// The rest: commands, waits, and time in which no process drove the run.
    pub machine: Millis,
}

/// What people were asked.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionReport {
    pub step: StepId,
    /// The step's questions count from 1.
    pub number: u32,
    /// For what was waited.
    pub what: &'static str,
    pub prompt: String,
    /// Who might answer; empty: whoever could speak to the run.
    pub who: Vec<String>,
    pub asked_t: Millis,
    /// Absent while it is open.
    pub closed_t: Option<Millis>,
    /// Until it was closed, or the last record.
    pub waited: Millis,
    pub answers: Vec<AnswerReport>,
    /// Nobody answered in time: what happened then.
    pub expired: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct AnswerReport {
    pub by: String,
    pub said: String,
    pub comment: Option<String>,
    pub evidence: Option<String>,
    /// Since the question was asked.
    pub after: Millis,
}

/// A draft of what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionItem {
    pub action: String,
    /// The playbook's owner; people name the right one.
    pub owner: Option<String>,
    /// `high`, `medium` or `low`.
    pub priority: &'static str,
}

/// When the post-mortem is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deadlines {
    /// 24 hours after the end.
    pub meeting: Timestamp,
    /// 48 hours after the end.
    pub draft: Timestamp,
    /// A week after the end.
    pub finished: Timestamp,
}

/// Drafts, from the log alone.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Review {
    pub factors: Vec<String>,
    pub went_well: Vec<String>,
    pub could_improve: Vec<String>,
    pub actions: Vec<ActionItem>,
    /// Absent while the run is open.
    pub deadlines: Option<Deadlines>,
    /// Required checks that held at last, and all that were looked at.
    pub checks: (usize, usize),
    pub retries: usize,
}

pub(super) fn time_spent(history: &History) -> TimeSpent {
    let waiting_for_people = history.waiting_for_people();
    TimeSpent { waiting_for_people, machine: history.last_t.saturating_sub(waiting_for_people) }
}

pub(super) fn questions(plan: &Plan, history: &History) -> Vec<QuestionReport> {
    let steps = plan.steps.iter().zip(&history.steps);
    let mut all: Vec<QuestionReport> = steps
        .flat_map(|(step, past)| past.questions.iter().map(|q| question(&step.id, q, history.last_t)))
        .collect();
    all.sort_by_key(|question| question.asked_t);
    all
}

fn question(step: &StepId, past: &QuestionHistory, last: Millis) -> QuestionReport {
    let asked = &past.question;
    QuestionReport {
        step: step.clone(),
        number: past.number,
        what: words::asked(asked.kind),
        prompt: neutral::block(asked.prompt.trim()),
        who: asked
            .approvers
            .iter()
            .filter(|name| !asked.excluded.contains(name))
            .map(neutral::line)
            .collect(),
        asked_t: past.asked,
        closed_t: past.closed,
        waited: past.closed.unwrap_or(last).saturating_sub(past.asked),
        answers: past
            .answers
            .iter()
            .map(|(t, reply, by)| AnswerReport {
                by: neutral::line(by.to_string()),
                said: neutral::line(reply.answer.words()),
                comment: reply.comment.as_ref().map(neutral::line),
                evidence: reply.evidence.as_ref().map(neutral::line),
                after: t.saturating_sub(past.asked),
            })
            .collect(),
        expired: past.expired.map(|(_, then)| words::on_timeout(then)),
    }
}

/// How a person turned from what the playbook had in mind, if this answer does. A step that an edit has left out has no
/// question any more.
pub(super) fn turns_away(question: Option<&Question>, reply: &Reply, by: &Person) -> Option<String> {
    let said = words::reply(reply, by);
    match (&reply.answer, question.and_then(|q| q.suggestion.as_ref())) {
        (Answer::Reject | Answer::NotDone | Answer::Retry, _) => Some(said),
        (Answer::Skip | Answer::RollBack | Answer::Abort, _) => Some(said),
        // What the step was to do, somebody did by hand.
        (Answer::Done, _) if question.is_some_and(|q| q.kind == QuestionKind::Failure) => Some(said),
        (Answer::Choose { option }, Some(suggested)) if option != suggested => {
            Some(neutral::line(format!("{said} (suggested was {suggested})")))
        }
        (Answer::Approve | Answer::Choose { .. } | Answer::Done, _) => None,
    }
}

/// What the drafts are made from.
pub(super) struct Told<'a> {
    pub plan: &'a Plan,
    pub history: &'a History,
    pub failures: &'a [Failure],
    pub deviations: &'a [Deviation],
    pub questions: &'a [QuestionReport],
}

impl Told<'_> {
    pub fn review(&self) -> Review {
        // A run that only waits for an answer goes on.
        let over = self.history.end.as_ref().filter(|end| end.outcome != RunOutcome::Waiting);
        let ended = over.and(self.history.last_at);
        let after = |days: i64| ended.map(|end| Timestamp(end.0.saturating_add(days * DAY)));
        let deadlines = match (after(1), after(2), after(7)) {
            (Some(meeting), Some(draft), Some(finished)) => Some(Deadlines { meeting, draft, finished }),
            _ => None,
        };
        let checks: Vec<bool> = self
            .history
            .steps
            .iter()
            .flat_map(|s| &s.checks)
            .map(|check| matches!(&check.end, Some((_, TaskVerdict::Passed))))
            .collect();
        let mut review = Review {
            deadlines,
            checks: (checks.iter().filter(|held| **held).count(), checks.len()),
            retries: self.history.steps.iter().map(|s| s.retries.len()).sum(),
            ..Review::default()
        };
        self.factors(&mut review);
        self.well(&mut review);
        self.improve(&mut review);
        self.actions(&mut review);
        review
    }

    fn objectives(&self) -> impl Iterator<Item = (&'static str, &Objective)> {
        let end = self.history.end.as_ref();
        let rto = end.and_then(|e| e.rto.as_ref()).map(|o| ("RTO", o));
        rto.into_iter().chain(end.and_then(|e| e.rpo.as_ref()).map(|o| ("RPO", o)))
    }

    fn factors(&self, review: &mut Review) {
        for failure in self.failures.iter().take(MAX_DRAFTS) {
            let why = failure.why.as_deref().unwrap_or("no reason is recorded");
            review.factors.push(format!("{} {}: {why}", failure.step, failure.outcome));
        }
        let telling = ["advisory", "late", "keeper", "alternative", "unanswered"];
        let told = self.deviations.iter().filter(|d| telling.contains(&d.kind)).take(MAX_DRAFTS);
        review.factors.extend(told.map(|d| format!("{}: {}", d.kind, d.text)));
    }

    fn well(&self, review: &mut Review) {
        let well = &mut review.went_well;
        for (name, objective) in self.objectives().filter(|(_, o)| o.verdict == ObjectiveVerdict::Met) {
            well.push(format!("{name}: {}", words::objective(objective)));
        }
        if let (held, all @ 1..) = review.checks
            && held == all
        {
            well.push(format!("{} held", words::count(all, "check")));
        }
        let outcomes = self.history.steps.iter().filter_map(|s| s.final_outcome());
        let undone = outcomes.clone().filter(|o| *o == StepOutcome::Undone).count();
        let stuck = outcomes.filter(|o| *o == StepOutcome::UndoFailed).count();
        if undone > 0 && stuck == 0 {
            well.push(format!("{} taken back", words::count(undone, "step")));
        }
        let first = self.questions.iter().filter(|q| q.expired.is_none()).filter_map(|q| q.answers.first());
        if let Some(slowest) = first.map(|answer| answer.after).max() {
            well.push(format!("whoever was asked and answered did so within {slowest}"));
        }
    }

    fn improve(&self, review: &mut Review) {
        let improve = &mut review.could_improve;
        for (name, objective) in self.objectives().filter(|(_, o)| o.verdict == ObjectiveVerdict::Missed) {
            improve.push(format!("{name}: {}", words::objective(objective)));
        }
        let longest = self.questions.iter().max_by_key(|q| q.waited).filter(|q| q.waited > Millis::ZERO);
        if let Some(longest) = longest {
            let share = time_spent(self.history).waiting_for_people;
            improve.push(format!(
                "people were waited for {share} of {}, longest at {}: {}",
                self.history.last_t, longest.step, longest.waited
            ));
        }
        let count = |kind: &str| self.deviations.iter().filter(|d| d.kind == kind).count();
        for (kind, words) in [
            ("retry", "something had to be tried again"),
            ("late", "a phase missed its deadline"),
            ("unanswered", "nobody answered in time"),
            ("refused", "somebody answered who may not, or answered what was not asked"),
            ("resumed", "the run had to be taken up again"),
            ("replanned", "the playbook had to be edited during the incident"),
            ("resolved", "a person had to say what became of a step"),
            ("answer", "a person turned from what the playbook had in mind"),
        ] {
            match count(kind) {
                0 => {}
                1 => improve.push(words.to_owned()),
                n => improve.push(format!("{words} ({n} times)")),
            }
        }
    }

    fn actions(&self, review: &mut Review) {
        let owner = self.plan.playbook.owner.as_ref().map(neutral::line);
        let mut drafts: Vec<(&'static str, String)> = Vec::new();
        for failure in self.failures {
            drafts.push((
                "high",
                format!("Find out why {} ended {}, and mend it", failure.step, failure.outcome),
            ));
        }
        for (name, objective) in self.objectives() {
            let recovered = self
                .history
                .end
                .as_ref()
                .is_some_and(|e| matches!(e.outcome, RunOutcome::Recovered | RunOutcome::Degraded));
            if objective.verdict == ObjectiveVerdict::Missed && recovered {
                drafts.push((
                    "high",
                    format!("Bring the recovery within the {name}: {}", words::objective(objective)),
                ));
            }
        }
        // The same of the same step is one thing to do.
        let mut seen: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
        for (n, d) in self.deviations.iter().enumerate() {
            let about = d.text.split_once(": ").map_or(d.text.as_str(), |(step, _)| step);
            seen.entry((d.kind, about)).or_insert((n, 0)).1 += 1;
        }
        let mut firsts: Vec<(usize, usize)> = seen.into_values().collect();
        firsts.sort_unstable();
        for (first, times) in firsts {
            let d = &self.deviations[first];
            if let Some((priority, what)) = draft(d.kind) {
                let again = if times > 1 { format!(" ({times} times)") } else { String::new() };
                drafts.push((priority, format!("{what}: {}{again}", d.text)));
            }
        }
        drafts.sort_by_key(|(priority, _)| ["high", "medium", "low"].iter().position(|p| p == priority));
        let item = |(priority, action)| ActionItem { action, owner: owner.clone(), priority };
        review.actions = drafts.into_iter().take(MAX_DRAFTS).map(item).collect();
    }
}

/// What to do about a kind of deviation; nothing about those that are as the playbook has it.
fn draft(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "late" => ("high", "Bring the phase within its deadline, or change the deadline"),
        "resolved" => ("high", "Let a `check` say what a person had to"),
        "keeper" => ("high", "Find out what ended the keeper"),
        "unanswered" => ("high", "See that somebody can answer in time"),
        "retry" => ("medium", "Find out why it did not serve at once"),
        "answer" => ("medium", "Put into the playbook what a person decided"),
        "replanned" => ("medium", "Review the edit that was made during the incident"),
        "alternative" => ("medium", "Mend the way that did not serve"),
        "advisory" => ("medium", "Look into the check that did not hold"),
        "resumed" => ("medium", "Find out why the run had to be taken up again"),
        "cancelled" => ("medium", "Find out why the run was ended"),
        "refused" => ("low", "Make clear who answers what"),
        "output" => ("low", "See to what the command left or printed"),
        _ => return None,
    })
}

/// A question that was let pass, in words.
pub(super) fn closed_by(question: &QuestionReport) -> String {
    let mut parts: Vec<String> = question
        .answers
        .iter()
        .map(|a| {
            let comment = a.comment.as_ref().map(|c| format!(" ({c})")).unwrap_or_default();
            format!("{}: {} after {}{comment}", a.by, a.said, a.after)
        })
        .collect();
    parts.extend(question.expired.map(|then| format!("nobody in time: {then}")));
    if parts.is_empty() {
        let open =
            if question.closed_t.is_none() { "open" } else { "nobody; it was not waited for any more" };
        parts.push(open.to_owned());
    }
    parts.join("; ")
}
