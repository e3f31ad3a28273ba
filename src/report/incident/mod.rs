//! The incident report: everything a run's records say, ready for the post-mortem, as Markdown, HTML or JSON.
//!
//! [`Incident::build`] folds the records once; the three forms are views of the same value and cannot disagree. What
//! only people can say (impact, root cause, what to change) stands as empty sections that say so.

mod build;
mod gantt;
mod html;
mod markdown;
mod projected;
mod recovery;
mod review;
mod review_html;
mod review_md;
mod told;

pub(super) use build::deviations;
pub(super) use html::escape;
pub(super) use markdown::{code, fenced, inline};
pub use projected::{Compared, Projected};
pub use review::{ActionItem, AnswerReport, Deadlines, QuestionReport, Review, TimeSpent};

use std::collections::BTreeMap;

use serde::Serialize;

use super::timeline::Entry;
use super::told::Ledger;
use crate::model::{Millis, Objective, RunId, RunOutcome, StepId, StepOutcome, Timestamp};

/// The form's version. Fields are only added.
pub const INCIDENT_FORMAT: u32 = 1;

/// Of longer tables the readable forms leave out what went as planned, and say so; JSON has it all.
pub const MAX_STEPS: usize = 500;
/// Entries of the timeline in the readable forms: the first and the last half of them.
pub const MAX_ENTRIES: usize = 1000;

/// A run as a report tells it. All texts are neutral (see [`super::neutral`]); moments `*_t` and `t` are milliseconds
/// since the run's start on the clock that never goes back, `at` and stamps are wall clock, RFC 3339, UTC.
#[derive(Debug, Clone, Serialize)]
pub struct Incident {
    pub version: u32,
    /// Absent if the records hold no start.
    pub run: Option<RunId>,
    pub playbook: String,
    pub title: String,
    /// It proved the playbook in a drill's world.
    pub drill: bool,
    pub environment: Option<String>,
    /// Absent while the run is open.
    pub outcome: Option<RunOutcome>,
    /// One sentence.
    pub summary: String,
    pub why: Option<String>,
    pub incident_since: Option<Timestamp>,
    pub started: Option<Timestamp>,
    /// The wall clock of the last record.
    pub last: Option<Timestamp>,
    /// From the first record to the last.
    pub duration: Millis,
    pub rto: Option<Objective>,
    pub rpo: Option<Objective>,
    /// What past runs let expect, and what it came to. Absent if nobody looked for past runs.
    pub projection: Option<Projected>,
    /// How many steps ended how; those that did not end count as `not over` or `not started`.
    pub counts: BTreeMap<String, usize>,
    pub failures: Vec<Failure>,
    /// Absent if nothing was rolled back.
    pub rollback: Option<RollbackReport>,
    /// What did not go as the plan has it: retries, skips, resumes, cancellations, advisories, late phases, gaps.
    pub deviations: Vec<Deviation>,
    pub phases: Vec<PhaseReport>,
    /// In the order of the plan.
    pub steps: Vec<StepReport>,
    /// One entry for each record.
    pub timeline: Vec<Entry>,
    pub params: Vec<(String, String)>,
    pub people: Vec<Person>,
    /// Who led at the end.
    pub commander: Option<String>,
    /// How long people were waited for, and the rest.
    pub time: TimeSpent,
    /// In the order in which they were asked.
    pub questions: Vec<QuestionReport>,
    /// Who was told what, when, and what became of it.
    pub notices: Ledger,
    /// Drafts for the post-mortem.
    pub review: Review,
    pub journal: Journal,
}

/// A failed step, and what its command said last.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub step: StepId,
    pub title: String,
    pub outcome: StepOutcome,
    pub why: Option<String>,
    /// The command that explains the failure.
    pub command: Option<String>,
    /// The values that the command read from its environment.
    pub values: Vec<(String, String)>,
    /// The last lines of its stderr, or of its stdout if that is empty.
    pub output: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RollbackReport {
    pub because: String,
    /// The last to act comes first, as a rollback goes.
    pub undone: Vec<TakenReport>,
    pub not_undone: Vec<TakenReport>,
    pub unknown: Vec<TakenReport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TakenReport {
    pub step: StepId,
    pub why: Option<String>,
    /// The exact undo command if it was started, else its source.
    pub command: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Deviation {
    pub t: Millis,
    /// `retry`, `skipped`, `advisory`, `resumed`, `cancelled`, `late`, `resolved`, `keeper`, `clock`,
    /// `alternative`, `output`, `journal`, `replanned`, `answer`, `refused` or `unanswered`.
    pub kind: &'static str,
    pub text: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    pub id: String,
    pub title: String,
    pub started_t: Option<Millis>,
    pub ended_t: Option<Millis>,
    pub deadline: Option<Millis>,
    pub late: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    pub id: StepId,
    pub title: String,
    /// Index into `phases`.
    pub phase: usize,
    /// The outcome, its undo counted in; `not over` or `not started` without one.
    pub state: String,
    /// The outcome as it was before an undo.
    pub outcome: Option<StepOutcome>,
    pub why: Option<String>,
    pub started_t: Option<Millis>,
    pub ended_t: Option<Millis>,
    pub attempts: u32,
    pub tasks: Vec<TaskReport>,
    pub checks: Vec<CheckReport>,
    /// A `wait`: when it began, and its length.
    pub wait: Option<(Millis, Millis)>,
    pub outputs: Vec<(String, String)>,
    /// The alternative that served.
    pub choice: Option<String>,
    /// How far the items of a `foreach` came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    pub advisories: Vec<String>,
}

/// One command, query or request of a step.
#[derive(Debug, Clone, Serialize)]
pub struct TaskReport {
    /// `attempt 2`, `remedy 1`, `undo`.
    pub what: String,
    pub undo: bool,
    pub command: String,
    pub values: Vec<(String, String)>,
    pub workdir: Option<String>,
    pub started_t: Millis,
    pub ended_t: Option<Millis>,
    /// `passed`, `failed`, `cancelled`, `unknown`, `not run`; `no end recorded` without one.
    pub verdict: &'static str,
    /// `exit 3 after 4.2s: no backup verifies`.
    pub end: Option<String>,
    /// Truncated output, processes that were left over.
    pub remarks: Vec<String>,
}

/// The polls of one check after one attempt.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    pub title: String,
    pub command: String,
    pub polls: u32,
    pub started_t: Millis,
    pub ended_t: Option<Millis>,
    pub verdict: &'static str,
    /// How the last poll ended.
    pub end: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Person {
    pub name: String,
    /// What they did: `started the run`, `resumed it`, `asked for the end`.
    pub did: String,
    pub t: Millis,
}

/// The evidence behind the report.
#[derive(Debug, Clone, Serialize)]
pub struct Journal {
    pub records: u64,
    /// How many processes drove the run.
    pub epochs: u32,
    /// SHA-256 of the last line, hex.
    pub head: String,
    pub plan_hash: Option<String>,
    pub host: Option<String>,
    pub binary: Option<String>,
    /// The command that checks the journal against `head`.
    pub verify: Option<String>,
}

impl Incident {
    /// # Errors
    /// Never for a report of this program; serde's signature asks for it.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// What stands where no deviation does.
    fn no_deviations(&self) -> &'static str {
        match self.outcome {
            Some(RunOutcome::Recovered) => "None: every step went as planned.",
            None => "None so far.",
            Some(_) => "None besides what is told above.",
        }
    }

    /// Steps for a table of bounded length, and how many are left out. What did not simply succeed comes first in
    /// claim; the order of the plan stays.
    fn table_steps(&self, most: usize) -> (Vec<&StepReport>, usize) {
        if self.steps.len() <= most {
            return (self.steps.iter().collect(), 0);
        }
        let plain =
            |s: &StepReport| matches!(s.state.as_str(), "succeeded" | "not started") && s.attempts <= 1;
        let telling = self.steps.iter().filter(|s| !plain(s)).count().min(most);
        let (mut telling, mut room) = (telling, most - telling);
        let shown: Vec<&StepReport> = self
            .steps
            .iter()
            .filter(|s| {
                let left = if plain(s) { &mut room } else { &mut telling };
                let take = *left > 0;
                *left = left.saturating_sub(1);
                take
            })
            .collect();
        let left_out = self.steps.len() - shown.len();
        (shown, left_out)
    }

    /// The timeline's head and tail, and how many entries are left out between them.
    fn table_entries(&self) -> (&[Entry], usize, &[Entry]) {
        let all = &self.timeline[..];
        if all.len() <= MAX_ENTRIES {
            return (all, 0, &[]);
        }
        let half = MAX_ENTRIES / 2;
        (&all[..half], all.len() - 2 * half, &all[all.len() - half..])
    }
}
