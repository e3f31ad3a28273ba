//! Watching a run that another process drives, and steering it: the same views, fed from the journal and the output
//! files.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::State;
use crate::journal::{StateDir, Tail};
use crate::model::{Event, Millis, RunEnd, RunId, TaskId};
use crate::plan::Plan;
use crate::report::Reporter;

use super::clock::wall_now;
use super::control::{Request, tell};
use super::error::RunError;
use super::load::{fold, load};
use super::start::{MakeReporters, runtime};

/// How often the journal and the outputs are looked at.
const EVERY: Duration = Duration::from_millis(150);
/// The most that is read of one output at a time; what is older is left out on the screen.
const MOST_OUTPUT: u64 = 64 << 10;

/// How watching ended.
#[derive(Debug)]
pub enum Watched {
    Ended(Box<RunEnd>),
    /// No process drives the run any more, and it has not ended.
    Abandoned,
}

/// Follows the run until it ends. The first Ctrl-C asks the driving process for the run's end, the second one to kill
/// what runs.
pub fn attach(state_dir: &StateDir, run: &RunId, make: &mut MakeReporters<'_>) -> Result<Watched, RunError> {
    let loaded = load(state_dir, run)?;
    let mut reporters = make(run, &loaded.plan);
    let mut watcher = Watcher {
        state_dir,
        run,
        plan: loaded.plan.clone(),
        state: State::new(&loaded.plan),
        tail: Tail::open(&loaded.dir)?,
        outputs: BTreeMap::new(),
        known: loaded.records.len() as u64,
    };
    let output = loaded.dir.path().join("output");
    let watched = runtime()?.block_on(async {
        let mut interrupts = 0;
        loop {
            watcher.read(&mut reporters)?;
            if let Some(end) = watcher.state.end() {
                return Ok(Watched::Ended(Box::new(end.clone())));
            }
            // Asked after reading, so that an end written just now is not missed.
            if !loaded.is_driven() && watcher.read(&mut reporters)? == 0 {
                return Ok(Watched::Abandoned);
            }
            watcher.show_outputs(&output, &mut reporters);
            watcher.tick(&mut reporters);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = tokio::signal::ctrl_c() => {
                    interrupts += 1;
                    tell(&loaded.dir, &Request::Cancel { force: interrupts > 1 })?;
                }
            }
        }
    });
    for reporter in &mut reporters {
        reporter.finish(&watcher.plan, &watcher.state);
    }
    watched
}

struct Watcher<'a> {
    state_dir: &'a StateDir,
    run: &'a RunId,
    plan: Arc<Plan>,
    state: State,
    tail: Tail,
    /// Bytes already shown of each output file in use.
    outputs: BTreeMap<(TaskId, bool), u64>,
    /// Records that were there before: they are no news.
    known: u64,
}

impl Watcher<'_> {
    /// Folds and shows new records; gives their number.
    fn read(&mut self, reporters: &mut [Box<dyn Reporter>]) -> Result<usize, RunError> {
        let records = self.tail.next_records()?;
        for record in &records {
            if record.seq > self.known && matches!(record.event, Event::Replanned(_)) {
                self.change_plan(record.seq)?;
            }
            let fold = |why| RunError::Fold { run: self.run.clone(), why };
            self.state.apply(&self.plan, record).map_err(fold)?;
            for reporter in reporters.iter_mut() {
                if record.seq <= self.known {
                    reporter.replay(&self.plan, &self.state, record);
                } else {
                    reporter.record(&self.plan, &self.state, record);
                }
            }
        }
        Ok(records.len())
    }

    /// Another process has gone on with an edited playbook: from record `at` on the old plan does not do.
    fn change_plan(&mut self, at: u64) -> Result<(), RunError> {
        let loaded = load(self.state_dir, self.run)?;
        let before = loaded.records.partition_point(|r| r.seq < at);
        self.state = fold(&loaded.plan, self.run, &loaded.records[..before])?;
        self.plan = loaded.plan;
        Ok(())
    }

    fn show_outputs(&mut self, folder: &Path, reporters: &mut [Box<dyn Reporter>]) {
        self.outputs.retain(|(task, _), _| self.state.in_flight.contains_key(task));
        for task in self.state.in_flight.keys() {
            for stderr in [false, true] {
                let shown = self.outputs.entry((task.clone(), stderr)).or_default();
                let bytes = read_new(folder, task, stderr, shown).unwrap_or_default();
                if !bytes.is_empty() {
                    for reporter in reporters.iter_mut() {
                        reporter.output(task, stderr, &bytes);
                    }
                }
            }
        }
    }

    fn tick(&self, reporters: &mut [Box<dyn Reporter>]) {
        let wall = wall_now();
        // The driving process's clock, as near as it can be told from outside.
        let now = self.state.last_t.saturating_add(wall.since(self.state.last_at));
        for reporter in reporters.iter_mut().filter(|r| r.tick_every().is_some()) {
            reporter.tick(&self.plan, &self.state, Millis(now.0), wall);
        }
    }
}

/// What was added to an output file since the last look. `None`: there is no such file (yet).
fn read_new(folder: &Path, task: &TaskId, stderr: bool, shown: &mut u64) -> Option<Vec<u8>> {
    let name = format!("{}.{}", task.file_stem(), if stderr { "err" } else { "out" });
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(folder.join(name)).ok()?;
    let length = file.metadata().ok()?.len();
    let from = (*shown).max(length.saturating_sub(MOST_OUTPUT));
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST_OUTPUT).read_to_end(&mut bytes).ok()?;
    *shown = from + bytes.len() as u64;
    Some(bytes)
}
