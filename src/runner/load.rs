//! A run as its folder tells it, for those who only look, and the first half of a resume.

use std::sync::Arc;

use crate::engine::State;
use crate::journal::{self, Contents, Holder, RunDir, StateDir};
use crate::model::{Event, Record, RunId};
use crate::plan::Plan;
use crate::planted::{self, Bug};

use super::clock::wall_now;
use super::drive::Finished;
use super::error::RunError;
use super::facts::Identity;

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
        self.dir.driver().is_some()
    }
}

/// Reads and folds a run. Changes nothing.
pub fn load(state_dir: &StateDir, run: &RunId) -> Result<LoadedRun, RunError> {
    load_by(state_dir, run, |dir, contents| read_plan(dir, run, contents))
}

/// What was written of a run that this process has just driven, for whoever folds it to tell of it.
pub fn read_finished(state_dir: &StateDir, finished: &Finished) -> Result<(RunDir, Contents), RunError> {
    let dir = state_dir.run(&finished.run)?;
    let (contents, _) = journal::read(&dir)?;
    Ok((dir, contents))
}

/// As [`load`], of a run that this process has just driven: its plan is at hand.
pub fn load_finished(state_dir: &StateDir, finished: &Finished) -> Result<LoadedRun, RunError> {
    load_by(state_dir, &finished.run, |_, _| Ok(Arc::clone(&finished.plan)))
}

fn load_by(
    state_dir: &StateDir,
    run: &RunId,
    plan: impl FnOnce(&RunDir, &Contents) -> Result<Arc<Plan>, RunError>,
) -> Result<LoadedRun, RunError> {
    let dir = state_dir.run(run)?;
    let (contents, torn) = journal::read(&dir)?;
    let plan = plan(&dir, &contents)?;
    let state = fold(&plan, run, &contents.records)?;
    Ok(LoadedRun { dir, plan, records: contents.records, state, head: contents.head, torn })
}

pub(super) fn read_plan(dir: &RunDir, run: &RunId, contents: &Contents) -> Result<Arc<Plan>, RunError> {
    let problem = |why: String| RunError::Plan { run: run.clone(), why };
    let (file, hash) = match contents.records.iter().rev().find_map(|r| journal::plan_of(&r.event)) {
        Some((file, hash)) => (file, Some(hash)),
        None => (journal::PLAN_FILE, None),
    };
    let bytes = dir.read_file(file, LARGEST_PLAN)?;
    if hash.is_some_and(|hash| Plan::hash(&bytes) != hash) && !planted::is(Bug::AnyPlan) {
        return Err(problem(format!("{file} is not what the run goes by (its hash differs)")));
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

/// Who holds a run open: `None` once it has ended and nobody drives it again. A run that cannot be read holds nothing,
/// for nothing could release it; neither does one that stopped before its first record.
pub fn holder(state_dir: &StateDir, run: &RunId) -> Option<Holder> {
    let dir = state_dir.run(run).ok()?;
    let (contents, _) = journal::read(&dir).ok()?;
    let driver = dir.driver();
    let last = contents.records.iter().rev().map(|r| &r.event).find(|event| !event.is_remark());
    let over = matches!(last, None | Some(Event::RunEnded(_)));
    if over && driver.is_none() {
        return None;
    }
    let mut holder = Holder {
        pid: 0,
        host: Identity::current().host,
        since: contents.records.first().map_or_else(wall_now, |r| r.at),
        alive: driver.is_some(),
    };
    for record in &contents.records {
        match &record.event {
            Event::RunStarted(start) => {
                (holder.pid, holder.host) = (start.pid, start.host.clone());
            }
            Event::RunResumed(info) => (holder.pid, holder.host) = (info.pid, info.host.clone()),
            _ => {}
        }
    }
    if let Some(driver) = driver {
        holder.pid = driver.pid.unwrap_or(holder.pid);
        holder.since = driver.since.unwrap_or(holder.since);
    }
    Some(holder)
}
