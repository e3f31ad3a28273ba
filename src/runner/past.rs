//! Looks up what past runs of a playbook tell, before a new one starts.
//!
//! The start of a recovery is no time to read for long: only the newest runs are looked at, and only for a moment. What
//! was found stands in the first record, so nobody has to look again.

use std::time::{Duration, Instant};

use crate::journal::{self, StateDir};
use crate::model::Past;
use crate::plan::Plan;
use crate::report::past::{Told, past};

/// Runs whose figures are taken, the newest first.
const MOST_RUNS: usize = 20;
/// Folders that are looked into: some runs are not over, or cannot be read.
const MOST_FOLDERS: usize = 3 * MOST_RUNS;
/// No further journal is opened after that.
const PATIENCE: Duration = Duration::from_millis(300);
/// A longer journal would cost more than that by itself. In bytes.
const LONGEST: u64 = 16 << 20;

/// A run that cannot be read tells nothing; it is `verify`'s to say why.
pub fn look(state_dir: &StateDir, plan: &Plan) -> Past {
    let began = Instant::now();
    let name = &plan.playbook.name;
    let mut told = Vec::new();
    let runs = state_dir.runs().unwrap_or_default();
    for run in runs.iter().filter(|run| run.playbook() == name).take(MOST_FOLDERS) {
        if told.len() == MOST_RUNS || began.elapsed() > PATIENCE {
            break;
        }
        let Ok(dir) = state_dir.run(run) else { continue };
        if journal::length(&dir).is_none_or(|bytes| bytes > LONGEST) {
            continue;
        }
        let Ok((contents, _)) = journal::read(&dir) else { continue };
        told.extend(Told::of(&contents.records).filter(|told| told.playbook == *name));
    }
    past(&told, plan.environment.as_ref().map(|e| e.name.as_str()))
}
