//! The place of all runs.

use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use super::find::{self, Found};
use super::folder::{Access, Folder};
use super::{Holder, IoFault, JOURNAL_FILE, KeyGuard, RunDir, StateError, locks};
use crate::model::RunId;

const RUNS: &str = "runs";
const LOCKS: &str = "locks";
const DRILLS: &str = "drills";
const DRILL_FILE: &str = "drill.json";
/// A drill's report is a few thousand bytes long.
const DRILL_LIMIT: u64 = 4 << 20;

/// The state folder: `runs/` with a folder for each run, and `locks/`.
#[derive(Debug)]
pub struct StateDir {
    root: Folder,
    runs: Folder,
}

impl StateDir {
    /// Opens the state folder; makes it, and what is missing above and below it, 0700.
    pub fn open_or_create(path: &Path) -> Result<Self, StateError> {
        let root = Folder::open_or_create(path)?;
        let runs = root.sub_or_create(RUNS)?;
        root.sub_or_create(LOCKS)?;
        Ok(Self { root, runs })
    }

    /// Opens the state folder for reading; `None` if there is none, or no run was ever made in it. Writes nothing.
    pub fn open(path: &Path) -> Result<Option<Self>, StateError> {
        let Some(root) = Folder::open(path)? else { return Ok(None) };
        let Some(runs) = root.sub(RUNS)? else { return Ok(None) };
        Ok(Some(Self { root, runs }))
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// All runs, newest first. What is not named as a run is ignored.
    pub fn runs(&self) -> Result<Vec<RunId>, StateError> {
        let path = self.runs.path();
        let fault = |error| IoFault::new("read", path, error);
        let mut runs = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let run = entry.file_name().to_str().and_then(|name| RunId::parse(name).ok());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(run) = run.filter(|_| is_dir) {
                runs.push(run);
            }
        }
        find::sort_newest_first(&mut runs, |run| created(&path.join(run.as_str())));
        Ok(runs)
    }

    /// The run that `text` means: `last`, a run's id or a unique start of one, or a playbook's name (its newest run).
    pub fn find(&self, text: &str) -> Result<RunId, StateError> {
        if !find::could_be_a_run(text) {
            return Err(StateError::NotARun(text.to_owned()));
        }
        let all = self.runs()?;
        // A folder without a journal is of a run that never started: it is found only if nothing else is meant.
        let begun = |run: &RunId| {
            std::fs::symlink_metadata(self.runs.path().join(run.as_str()).join(JOURNAL_FILE)).is_ok()
        };
        let begun: Vec<RunId> = all.iter().filter(|run| begun(run)).cloned().collect();
        let found = match find::choose(text, &begun) {
            Found::None { .. } | Found::NoRuns => find::choose(text, &all),
            found => found,
        };
        match found {
            Found::One(run) => Ok(run),
            Found::NoRuns => Err(StateError::NoRuns),
            Found::Many { count, matches } => {
                Err(StateError::Ambiguous { text: text.to_owned(), count, matches })
            }
            Found::None { similar, newest } => {
                Err(StateError::NoSuchRun { text: text.to_owned(), similar, newest })
            }
        }
    }

    /// Makes the folder of a new run with `output/` and `keeper/` in it. Durable when this returns.
    pub fn create_run(&self, run: &RunId) -> Result<RunDir, StateError> {
        let folder = self.runs.create_sub(run.as_str())?;
        for name in ["output", "keeper"] {
            folder.create_sub(name)?;
        }
        folder.sync()?;
        self.runs.sync()?;
        Ok(RunDir::new(folder, run.clone()))
    }

    /// Opens the folder of a run.
    pub fn run(&self, run: &RunId) -> Result<RunDir, StateError> {
        match self.runs.sub(run.as_str())? {
            Some(folder) => Ok(RunDir::new(folder, run.clone())),
            None => match find::choose(run.as_str(), &self.runs()?) {
                Found::None { similar, newest } => {
                    Err(StateError::NoSuchRun { text: run.to_string(), similar, newest })
                }
                _ => Err(StateError::NoRuns),
            },
        }
    }

    /// Notes that `run` uses `key`, for as long as `run` is open.
    ///
    /// `open` says who drives a run that is not over, `None` for a run that is over or gone. If such a run holds the
    /// key, this is refused. There is nothing to release: a run that is over frees its keys. The guard is to be kept until
    /// `open` would find the run; until then nobody else takes a key.
    pub fn lock_key(
        &self,
        key: &str,
        run: &RunId,
        open: &dyn Fn(&RunId) -> Option<Holder>,
    ) -> Result<KeyGuard, StateError> {
        locks::lock_key(&self.root.sub_or_create(LOCKS)?, key, run, open)
    }
}

/// What drills leave behind. A drill's own part of the folder is written by `runbook drill`.
impl StateDir {
    /// The report of each drill that came to its end, by the name of its folder: at least of all those of the playbook.
    pub fn drills(&self, playbook: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let Some(drills) = self.root.sub(DRILLS)? else { return Ok(Vec::new()) };
        let path = drills.path();
        let fault = |error| IoFault::new("read", path, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
            // Its name begins so, as do those of playbooks with longer names.
            if !name.strip_prefix(playbook).is_some_and(|rest| rest.starts_with('-')) {
                continue;
            }
            let Some(folder) = drills.sub(&name)? else { continue };
            if let Some(file) = folder.file(DRILL_FILE, Access::Read)? {
                let mut bytes = Vec::new();
                file.take(DRILL_LIMIT).read_to_end(&mut bytes).map_err(fault)?;
                found.push((name, bytes));
            }
        }
        Ok(found)
    }

    /// The run that took the key last. Whether it still holds it is not looked at, and nothing is locked.
    pub fn key_run(&self, key: &str) -> Result<Option<RunId>, StateError> {
        match self.root.sub(LOCKS)? {
            Some(locks) => locks::key_run(&locks, key),
            None => Ok(None),
        }
    }
}

/// When a folder was made, where the file system knows it.
fn created(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().and_then(|meta| meta.created()).ok()
}
