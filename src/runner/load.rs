//! A run as its folder tells it, for those who only look, and the first half of a resume.

use std::sync::Arc;

use crate::engine::State;
use crate::journal::{self, Contents, Holder, RunDir, StateDir};
use crate::model::{Event, Record, RunId, Timestamp};
use crate::plan::Plan;

use super::error::RunError;

/// The largest `plan.json` that is read, in bytes.
const LARGEST_PLAN: u64 = 256 << 20;

pub struct LoadedRun {
    pub dir: RunDir,
    pub plan: Arc<Plan>,
    pub records: Vec<Record>,
    pub state: State,
    /// The chain's head: what `verify --head` compares with.
    pub head: String,
    /// Bytes after the last whole record: a writer is at work, or one died in the middle of a write.
    pub torn: Option<u64>,
}

impl LoadedRun {
    /// Whether a process drives the run now.
    pub fn is_driven(&self) -> bool {
        self.dir.is_locked()
    }
}

/// Reads and folds a run. Changes nothing.
pub fn load(state_dir: &StateDir, run: &RunId) -> Result<LoadedRun, RunError> {
    let dir = state_dir.run(run)?;
    let (contents, torn) = journal::read(&dir)?;
    let plan = read_plan(&dir, run, &contents)?;
    let state = fold(&plan, run, &contents.records)?;
    Ok(LoadedRun { dir, plan, records: contents.records, state, head: contents.head, torn })
}

pub(super) fn read_plan(dir: &RunDir, run: &RunId, contents: &Contents) -> Result<Arc<Plan>, RunError> {
    let problem = |why: String| RunError::Plan { run: run.clone(), why };
    let bytes = dir.read_file("plan.json", LARGEST_PLAN)?;
    if let Some(Event::RunStarted(start)) = contents.records.first().map(|r| &r.event)
        && Plan::hash(&bytes) != start.plan_hash
    {
        return Err(problem("plan.json is not what the run started with (its hash differs)".into()));
    }
    Ok(Arc::new(Plan::from_json(&bytes).map_err(|e| problem(e.to_string()))?))
}

pub(super) fn fold(plan: &Plan, run: &RunId, records: &[Record]) -> Result<State, RunError> {
    let mut state = State::new(plan);
    for record in records {
        state.apply(plan, record).map_err(|why| RunError::Fold { run: run.clone(), why })?;
    }
    Ok(state)
}

/// Who holds a run open: `None` once it has ended and its process is gone. A run that nobody drives holds nothing if it
/// cannot be read or has no record, for nothing could release it. A process that is there always holds its run: it may
/// be about to write the first record, or to go on after the last.
pub fn holder(state_dir: &StateDir, run: &RunId) -> Option<Holder> {
    let dir = state_dir.run(run).ok()?;
    let alive = dir.is_locked();
    let records = journal::read(&dir).map(|(contents, _)| contents.records).unwrap_or_default();
    // After the end, the journal does not know who holds it now.
    let is_open = records.last().is_some_and(|r| !matches!(r.event, Event::RunEnded(_)));
    if !alive && !is_open {
        return None;
    }
    let mut holder = Holder {
        pid: 0,
        host: String::new(),
        since: records.first().filter(|_| is_open).map_or(Timestamp(0), |r| r.at),
        alive,
    };
    for record in records.iter().filter(|_| is_open) {
        match &record.event {
            Event::RunStarted(start) => {
                (holder.pid, holder.host) = (start.pid, start.host.clone());
            }
            Event::RunResumed(info) => (holder.pid, holder.host) = (info.pid, info.host.clone()),
            _ => {}
        }
    }
    Some(holder)
}
