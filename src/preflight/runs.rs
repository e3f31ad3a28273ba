//! The runs that are recorded: which are not over, and whose record is damaged.

use std::time::Instant;

use super::{Finding, Kind, keeper};
use crate::journal::{self, Ending, Integrity, JournalError, PlanCheck, StateDir};
use crate::model::{RunId, RunOutcome, Timestamp};

/// Names of runs in one line.
const NAMED: usize = 2;

#[derive(Default)]
pub(super) struct Survey {
    total: usize,
    looked: usize,
    /// Folders of runs that stopped before their first record.
    never_began: usize,
    driven: Vec<RunId>,
    interrupted: Vec<RunId>,
    /// Over, until a person has spoken.
    waiting: Vec<RunId>,
    damaged: Vec<RunId>,
    /// Of the newest run.
    newest: Option<Timestamp>,
    runs: std::path::PathBuf,
}

/// The newest first; the rest is left out when the time is over.
pub(super) fn survey(state: &StateDir, until: Instant) -> Result<Survey, String> {
    let runs = state.runs().map_err(|error| error.to_string())?;
    let mut survey = Survey { total: runs.len(), runs: state.path().join("runs"), ..Survey::default() };
    for run in runs {
        if Instant::now() >= until {
            break;
        }
        survey.look(state, run);
    }
    Ok(survey)
}

impl Survey {
    fn look(&mut self, state: &StateDir, run: RunId) {
        self.looked += 1;
        let Ok(dir) = state.run(&run) else {
            self.damaged.push(run);
            return;
        };
        // The driver first: a run that ends in between is then driven and ended, not interrupted.
        let driven = dir.driver().is_some();
        let verdict = journal::verify(&dir, None);
        match verdict.integrity {
            Integrity::Broken(JournalError::Missing { .. }) => {
                self.never_began += 1;
                return;
            }
            Integrity::Intact if verdict.records == 0 => {
                self.never_began += 1;
                return;
            }
            Integrity::Intact
                if verdict.completeness.right_run && verdict.completeness.plan == PlanCheck::Matches => {}
            Integrity::Intact | Integrity::Broken(_) => {
                self.damaged.push(run);
                return;
            }
        }
        if self.newest.is_none() {
            let read = journal::read(&dir).ok();
            self.newest = read.and_then(|(contents, _)| contents.records.last().map(|record| record.at));
        }
        match verdict.completeness.ending {
            _ if driven => self.driven.push(run),
            Ending::Open => self.interrupted.push(run),
            Ending::Ended(RunOutcome::Waiting | RunOutcome::InDoubt) => self.waiting.push(run),
            Ending::Ended(_) => {}
        }
    }

    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    pub fn is_driven(&self, run: &RunId) -> bool {
        self.driven.contains(run)
    }

    pub fn is_open(&self, run: &RunId) -> bool {
        self.is_driven(run) || self.interrupted.contains(run)
    }

    pub fn findings(&self) -> Vec<Finding> {
        vec![self.open_runs(), self.journals(), self.keepers()]
    }

    fn open_runs(&self) -> Finding {
        let about = Finding::new(Kind::State, "runs", "none is left unfinished");
        let driven = match self.driven.len() {
            0 => String::new(),
            n => format!(", {n} under way"),
        };
        let all = match self.total {
            0 => "none yet".to_owned(),
            1 => format!("1 run{driven}"),
            n => format!("{n} runs{driven}"),
        };
        let groups = [("interrupted", &self.interrupted), ("waiting for a person", &self.waiting)];
        let open: Vec<String> = groups
            .iter()
            .filter(|(_, runs)| !runs.is_empty())
            .map(|(what, runs)| format!("{} {what}: {}", runs.len(), named(runs)))
            .collect();
        match self.interrupted.first().or(self.waiting.first()) {
            None => about.ok(all),
            Some(first) => about.warn(
                format!("{all}; {}", open.join("; ")),
                format!("`runbook status {first}` says how to go on"),
            ),
        }
    }

    fn journals(&self) -> Finding {
        let about = Finding::new(Kind::State, "journals", "none is damaged");
        let looked = match (self.total - self.looked, self.never_began) {
            (0, 0) => "all intact".to_owned(),
            (0, n) => format!("all intact; {n} stopped before the first record"),
            (left, _) => {
                format!("the newest {} are intact; {left} were not looked at for want of time", self.looked)
            }
        };
        match self.damaged.first() {
            None if self.total == 0 => about.ok("none yet"),
            None => about.ok(looked),
            Some(first) => about.warn(
                format!("{} damaged: {}", self.damaged.len(), named(&self.damaged)),
                format!("keep the folder, and see `runbook verify {first}`"),
            ),
        }
    }

    fn keepers(&self) -> Finding {
        let about = Finding::new(Kind::State, "keepers", "none without a runner");
        let living = keeper::living(&self.runs);
        let left: Vec<(&RunId, &u32)> = living.iter().filter(|(run, _)| !self.driven.contains(run)).collect();
        match left.first() {
            None => about.ok("none left over"),
            Some((run, pid)) => {
                let more =
                    if left.len() > 1 { format!(", and {} more", left.len() - 1) } else { String::new() };
                about.warn(
                    format!("pid {pid} still watches commands of {run}, which nobody drives{more}"),
                    format!("`runbook resume {run}` joins it, `runbook cancel {run}` ends it"),
                )
            }
        }
    }
}

fn named(runs: &[RunId]) -> String {
    let mut names: Vec<String> = runs.iter().take(NAMED).map(ToString::to_string).collect();
    if runs.len() > NAMED {
        names.push(format!("and {} more", runs.len() - NAMED));
    }
    names.join(", ")
}
