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
use super::control::{Answering, Line, Request};
use super::drive::{Signals, typed};
use super::error::RunError;
use super::facts::Identity;
use super::load::{LoadedRun, fold, load};
use super::prompt::{PromptLine, Typed};
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
    /// This process was told to end; the run goes on.
    Left,
}

/// Follows the run until it ends. With somebody `here`, what the run asks of them is answered at a prompt, as at the run's
/// own terminal. The first Ctrl-C asks the driving process for the run's end, the second one to kill what runs.
pub fn attach(
    state_dir: &StateDir,
    run: &RunId,
    here: bool,
    make: &mut MakeReporters<'_>,
) -> Result<Watched, RunError> {
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
        prompt: None,
        name: Identity::current().operator,
    };
    let watched = runtime()?.block_on(async {
        // Within the runtime, which listens to the terminal.
        watcher.prompt = if here { PromptLine::open() } else { None };
        let watched = watcher.watch(&loaded, &mut reporters).await;
        watcher.prompt = None;
        watched
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
    /// The terminal, if somebody sits there.
    prompt: Option<PromptLine>,
    /// Whose.
    name: String,
}

impl Watcher<'_> {
    async fn watch(
        &mut self,
        loaded: &LoadedRun,
        reporters: &mut [Box<dyn Reporter>],
    ) -> Result<Watched, RunError> {
        let mut signals = Signals::install().map_err(RunError::io("signal handlers"))?;
        let output = loaded.dir.path().join("output");
        let (mut interrupts, mut rested) = (0, false);
        loop {
            self.read(reporters)?;
            if let Some(end) = self.state.end() {
                return Ok(Watched::Ended(Box::new(end.clone())));
            }
            // Asked after reading, so that an end written just now is not missed.
            if !loaded.is_driven() && self.read(reporters)? == 0 {
                return Ok(Watched::Abandoned);
            }
            self.show_outputs(&output, reporters);
            if let Some(prompt) = &mut self.prompt {
                prompt.follow(&self.state, &self.name);
            }
            self.tick(reporters);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                line = typed(&mut self.prompt) => self.typed(loaded, line.as_deref()),
                _ = signals.interrupt.recv() => {
                    interrupts += 1;
                    if let Some(mut line) = Line::open(&loaded.dir)? {
                        line.ask(&Request::Cancel { force: interrupts > 1 })?;
                    }
                }
                // This process watches: its end is not the run's.
                _ = signals.terminate.recv() => return Ok(Watched::Left),
                _ = signals.hangup.recv() => return Ok(Watched::Left),
                _ = signals.suspend.recv() => {
                    self.prompt.iter_mut().for_each(PromptLine::leave);
                    // SIGSTOP, for SIGTSTP has a handler here. It fails for nobody's own process.
                    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
                    // At once, before anything is drawn; the signal that is on its way tells nothing new.
                    reporters.iter_mut().for_each(|r| r.continued());
                    rested = true;
                }
                _ = signals.go_on.recv() => {
                    if !std::mem::take(&mut rested) {
                        reporters.iter_mut().for_each(|r| r.continued());
                    }
                }
            }
        }
    }

    /// Hands a finished line to the process that drives the run; the kernel tells it who speaks.
    fn typed(&mut self, loaded: &LoadedRun, line: Option<&str>) {
        let Some((prompt, line)) = self.prompt.as_mut().zip(line) else { return };
        let Some(Typed { step, binding, reply }) = prompt.read(&self.plan, &self.state, line) else { return };
        let request = Request::Answer(Box::new(Answering { step, binding, reply, evidence: None }));
        let said =
            Line::open(&loaded.dir).and_then(|line| line.map(|mut line| line.ask(&request)).transpose());
        prompt.say(match said {
            // Until the record has come back.
            Ok(Some(reply)) => reply.message,
            Ok(None) => "no process drives the run any more".to_owned(),
            Err(error) => error.to_string(),
        });
    }

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
        reporters.iter_mut().for_each(|reporter| reporter.flush());
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
        let prompt = self.prompt.as_ref().and_then(PromptLine::shown);
        for reporter in reporters.iter_mut().filter(|r| r.tick_every().is_some()) {
            reporter.typing(prompt.as_ref());
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
