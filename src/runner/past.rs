//! Looks up what past runs of a playbook tell, before a new one starts.
//!
//! The start of a recovery is no time to read for long: only the newest runs are looked at, and only so many bytes of
//! them. What was found stands in the first record, so nobody has to look again.

use crate::journal::{self, StateDir};
use crate::model::Past;
use crate::plan::Plan;
use crate::report::past::{Told, past};

/// Runs whose figures are taken, the newest first.
const MOST_RUNS: usize = 20;
/// Folders that are looked into: some runs are not over, or cannot be read.
const MOST_FOLDERS: usize = 3 * MOST_RUNS;
/// Bytes of journals that are read in all: a hundredth of a second's worth. Three runs of a thousand steps; of playbooks
/// as people write them, many times what is needed.
const MOST_BYTES: u64 = 5 << 19;

/// A run that cannot be read tells nothing; it is `verify`'s to say why.
pub fn look(state_dir: &StateDir, plan: &Plan) -> Past {
    let name = &plan.playbook.name;
    let mut told = Vec::new();
    let mut left = MOST_BYTES;
    let runs = state_dir.runs().unwrap_or_default();
    for run in runs.iter().filter(|run| run.playbook() == name).take(MOST_FOLDERS) {
        if told.len() == MOST_RUNS {
            break;
        }
        let Ok(dir) = state_dir.run(run) else { continue };
        let Some((length, read)) = journal::read_up_to(&dir, left) else { continue };
        left -= length;
        let Ok(contents) = read else { continue };
        told.extend(Told::of(&contents.records).filter(|told| told.playbook == *name));
    }
    past(&told, plan.environment.as_ref().map(|e| e.name.as_str()))
}
