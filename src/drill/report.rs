//! What a drill showed. Written as JSON beside the runs of its sections.

use std::fmt::Write;

use serde::Serialize;

use crate::model::{Millis, Objective, RunId, RunOutcome, Timestamp, format_millis};

/// The version of `drill.json`.
pub const DRILL_FORMAT: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    /// An assertion did not hold.
    Failed,
    /// The world could not be built or broken, or the fault did not show: nothing was proved.
    Void,
    /// A person ended it.
    Cancelled,
}

#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    pub format: u32,
    pub playbook: String,
    /// Which of the playbook's drills, if it has several.
    pub variant: Option<String>,
    /// Whether it ran in namespaces of its own.
    pub isolated: bool,
    /// The hash of the plan that was drilled, without the drill's own parameters it would not be the same plan.
    pub plan_hash: String,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub verdict: Verdict,
    /// Why it is not `passed`.
    pub why: Option<String>,
    pub stages: Vec<StageReport>,
    /// The playbook's own run.
    pub run: Option<RunId>,
    pub outcome: Option<RunOutcome>,
    pub rto: Option<Objective>,
    pub rpo: Option<Objective>,
    /// How long answers were waited for, within the RTO.
    pub waiting_for_people: Option<Millis>,
    pub assertions: Vec<Assertion>,
    /// Faults that were set in the executor.
    pub faults: Vec<String>,
    /// Processes that the drill's sections left running, and that were ended.
    pub left_running: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct StageReport {
    /// `world`, `inject`, `symptom`, `playbook`, `proof` or `teardown`.
    pub stage: &'static str,
    pub run: RunId,
    pub outcome: RunOutcome,
    pub why: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Assertion {
    pub text: String,
    pub held: bool,
    /// Why it could not be judged.
    pub error: Option<String>,
}

impl DrillReport {
    /// A few lines for the terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Void => "VOID",
            Verdict::Cancelled => "cancelled",
        };
        // Writing to a String cannot fail.
        let _ = match &self.variant {
            Some(variant) => writeln!(text, "drill of {}, {variant}: {verdict}", self.playbook),
            None => writeln!(text, "drill of {}: {verdict}", self.playbook),
        };
        if let Some(why) = &self.why {
            let _ = writeln!(text, "  why      {why}");
        }
        if let (Some(run), Some(outcome)) = (&self.run, self.outcome) {
            let _ = writeln!(text, "  run      {outcome}, {run}");
        }
        for (name, objective) in [("RTO", &self.rto), ("RPO", &self.rpo)] {
            if let Some(measured) = objective.as_ref().and_then(|o| o.measured) {
                let _ = writeln!(text, "  {name}      {}", format_millis(measured));
            }
        }
        // A drill's own answers take no time worth a line.
        if let Some(waited) = self.waiting_for_people.filter(|waited| *waited >= Millis::secs(1)) {
            let _ = writeln!(text, "  people   waited for {}", format_millis(waited));
        }
        for assertion in &self.assertions {
            let held = if assertion.held { "holds" } else { "DOES NOT HOLD" };
            let _ = write!(text, "  assert   {}: {held}", assertion.text);
            let _ = match &assertion.error {
                Some(error) => writeln!(text, " ({error})"),
                None => writeln!(text),
            };
        }
        for process in &self.left_running {
            let _ = writeln!(text, "  ended    left running: {process}");
        }
        text
    }
}
