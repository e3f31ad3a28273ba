//! The loop itself. Its one rule: records are synced before acts are performed, never the other way round.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::{Act, Engine, Input, StartTask};
use crate::exec::{self, Exec, ExecEvent, Stream, TaskSpec};
use crate::journal::{Journal, RunDir};
use crate::model::{Event, Millis, Record, RunEnd, RunId};
use crate::plan::Plan;
use crate::planted::{self, Bug};
use crate::report::Reporter;

use super::clock::RunClock;
use super::control::{Heard, Listener};
use super::error::RunError;
use super::prompt::PromptLine;
use super::script::Script;
use super::tell::{self, Teller};
use super::wind_down;

/// A run that this process has driven to an end, or to a place where a person is needed.
#[derive(Debug)]
pub struct Finished {
    pub run: RunId,
    pub plan: Arc<Plan>,
    pub dir: PathBuf,
    pub end: RunEnd,
    /// The journal's head.
    pub head: String,
}

/// How many events that wait already are answered with one sync.
const BATCH: usize = 64;

pub(super) struct Driver<'a> {
    pub dir: &'a RunDir,
    pub engine: Engine,
    pub journal: Journal,
    pub exec: Exec,
    pub clock: RunClock,
    pub listener: Listener,
    pub operator: String,
    /// What is said by nobody in particular.
    pub script: Script,
    /// It waits for people's answers.
    pub waits: bool,
    /// The terminal, if somebody sits there.
    pub prompt: Option<PromptLine>,
    /// It was stopped here and goes on: the signal that made it so is still to come.
    pub rested: bool,
    pub teller: Teller,
    /// What came of handing notices over at once; told to the engine with what comes next.
    pub refused: Vec<Input>,
    pub reporters: &'a mut [Box<dyn Reporter>],
    /// When the reporters were last told the time.
    pub ticked: Instant,
    /// What the keeper makes ready although it is not decided yet.
    pub foreseen: Option<StartTask>,
}

pub(super) struct Signals {
    pub interrupt: Signal,
    pub terminate: Signal,
    pub hangup: Signal,
    /// Ctrl-Z.
    pub suspend: Signal,
    pub go_on: Signal,
}

/// The run cannot be driven on: the journal takes nothing any more, or the engine found itself wrong.
pub(super) struct Stopped {
    pub error: RunError,
    /// What could not be written.
    pub lost: Vec<Record>,
}

/// What woke the loop.
enum Woken {
    Exec(Box<ExecEvent>),
    Heard(Heard),
    /// What became of a notice.
    Told(Input),
    /// Keys at this terminal, and a line if it is finished.
    Typed(Option<String>),
    /// A person at this terminal, or the system, wants the end.
    Stop(&'static str),
    /// The terminal is gone. The run is not.
    Hangup,
    /// Ctrl-Z.
    Suspend,
    /// This process was stopped (Ctrl-Z) and goes on; others have written to the terminal since.
    Continued,
    Deadline,
    Tick,
}

impl Driver<'_> {
    /// Feeds `first` to the engine and goes on until the run has ended.
    pub async fn drive(mut self, first: Input) -> Result<Finished, RunError> {
        let mut signals = Signals::install().map_err(RunError::io("signal handlers"))?;
        let mut stops = 0;
        let result = self.run(first, &mut signals, &mut stops).await;
        self.prompt = None;
        self.listener.finish().await;
        if result.is_ok() {
            self.wait_for_notices(&mut signals).await;
        }
        for reporter in self.reporters.iter_mut() {
            reporter.finish(self.engine.plan(), self.engine.state());
        }
        let end = match result {
            Ok(end) => end,
            Err(Stopped { error, lost }) => {
                wind_down::wind_down(self, lost, &mut signals).await;
                return Err(error);
            }
        };
        self.exec.recorded();
        Ok(Finished {
            run: self.dir.id().clone(),
            plan: Arc::clone(self.engine.plan()),
            dir: self.dir.path().to_owned(),
            end,
            head: self.journal.head().to_owned(),
        })
    }

    async fn run(&mut self, first: Input, signals: &mut Signals, stops: &mut u32) -> Result<RunEnd, Stopped> {
        let mut inputs = vec![first];
        loop {
            let records = self.answer(inputs)?;
            if let Some(why) = self.engine.fault() {
                let error = RunError::Fold { run: self.dir.id().clone(), why: why.to_owned() };
                return Err(Stopped { error, lost: Vec::new() });
            }
            if let Some(end) = self.engine.state().end() {
                return Ok(end.clone());
            }
            inputs = self.script.answers(self.engine.plan(), self.engine.state(), &records);
            inputs.append(&mut self.refused);
            if inputs.is_empty() && !self.waits && self.engine.is_asking() {
                let records = self.answer(vec![Input::CannotWait])?;
                if !records.is_empty() {
                    continue;
                }
            }
            if !inputs.is_empty() {
                continue;
            }
            self.listen();
            let woken = self.wait(signals).await;
            if let Some(gap) = self.clock.jump() {
                inputs.push(Input::Note(gap));
            }
            self.take(woken, stops, &mut inputs)?;
            while inputs.len() < BATCH
                && let Some(event) = poll_once(self.exec.next())
            {
                self.take_event(event, &mut inputs);
            }
        }
    }

    /// Decides, syncs, acts, tells: in this order. The commands start while the reporters write, and a command that starts
    /// alone is made ready while the disk is at work.
    pub(super) fn answer(&mut self, inputs: Vec<Input>) -> Result<Vec<Record>, Stopped> {
        let now = self.clock.now();
        let (mut records, mut acts) = (Vec::new(), Vec::new());
        for input in inputs {
            let decision = self.engine.handle(now, input);
            records.extend(decision.records);
            acts.extend(decision.acts);
        }
        if planted::is(Bug::ActBeforeSync) {
            self.act(std::mem::take(&mut acts));
        }
        let only_start = self.only_start(&mut acts);
        let starts = only_start.is_some();
        let foreseen = self.foreseen.take();
        let came_true = |start: &StartTask| foreseen.as_ref() == Some(start);
        let appended = match only_start {
            Some(start) if !(came_true(&start) && self.exec.came_true(&start.task)) => {
                let start = spec(self.dir, self.engine.plan(), start);
                self.journal.append_while(&records, || self.exec.ready(start))
            }
            _ => self.journal.append(&records),
        };
        if let Err(error) = appended {
            self.exec.withdraw();
            return Err(Stopped { error: error.into(), lost: records });
        }
        if self.exec.go() {
            // The keeper sits on this core as a rule.
            std::thread::yield_now();
        }
        for record in &records {
            self.teller.record(self.engine.plan(), record);
        }
        self.act(acts);
        for record in &records {
            for reporter in self.reporters.iter_mut() {
                reporter.record(self.engine.plan(), self.engine.state(), record);
            }
        }
        self.reporters.iter_mut().for_each(|reporter| reporter.flush());
        if starts {
            self.look_ahead();
        }
        Ok(records)
    }

    /// While a command runs alone, the keeper makes ready what will probably follow it.
    fn look_ahead(&mut self) {
        if self.exec.may_look_ahead()
            && let Some(start) = self.engine.likely_next()
        {
            self.exec.look_ahead(spec(self.dir, self.engine.plan(), start.clone()));
            self.foreseen = Some(start);
        }
    }

    /// The command that can be made ready while the records are synced: there is no other.
    fn only_start(&self, acts: &mut Vec<Act>) -> Option<StartTask> {
        let mut others = acts.iter().enumerate().filter(|(_, act)| !matches!(act, Act::Notify(_)));
        let (Some((at, Act::Start(task))), None) = (others.next(), others.next()) else { return None };
        if !self.exec.may_be_ready(&task.op) {
            return None;
        }
        let Act::Start(task) = acts.remove(at) else { return None };
        Some(*task)
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Start(task) => self.exec.begin(spec(self.dir, self.engine.plan(), *task)),
                Act::Stop { task, force } => self.exec.stop(&task, force),
                Act::Notify(out) => {
                    let (plan, head, at) = (self.engine.plan(), self.journal.head(), self.clock.now().at);
                    self.refused.extend(self.teller.send(plan, &out, head, at).into_iter().map(tell::told));
                }
            }
        }
    }

    async fn wait(&mut self, signals: &mut Signals) -> Woken {
        let now = self.clock.now().t;
        let deadline = self.engine.next_deadline().map(|at| at.saturating_sub(now));
        // Counted from the last tick: a step that prints without a pause must not keep the view from moving.
        let every = self.reporters.iter().filter_map(|r| r.tick_every()).min();
        let tick = every.map(|every| every.saturating_sub(self.ticked.elapsed()));
        tokio::select! {
            event = self.exec.next() => Woken::Exec(Box::new(event)),
            heard = self.listener.next() => Woken::Heard(heard),
            next = self.teller.next() => Woken::Told(tell::told(next)),
            typed = typed(&mut self.prompt) => Woken::Typed(typed),
            _ = signals.interrupt.recv() => Woken::Stop("Ctrl-C"),
            _ = signals.terminate.recv() => Woken::Stop("SIGTERM"),
            _ = signals.hangup.recv() => Woken::Hangup,
            _ = signals.suspend.recv() => Woken::Suspend,
            _ = signals.go_on.recv() => Woken::Continued,
            () = sleep_through(deadline) => Woken::Deadline,
            () = sleep(tick) => Woken::Tick,
        }
    }

    fn take_event(&mut self, event: ExecEvent, inputs: &mut Vec<Input>) {
        match event {
            ExecEvent::Output { task, stream, bytes } => {
                for reporter in self.reporters.iter_mut() {
                    reporter.output(&task, stream == Stream::Stderr, &bytes);
                }
            }
            ExecEvent::Ended { task, end, output } => {
                inputs.push(Input::TaskEnded { task, end, output: Box::new(output) });
            }
            ExecEvent::KeeperLost { why } => inputs.push(Input::Note(Event::KeeperLost { why })),
        }
    }

    fn take(&mut self, woken: Woken, stops: &mut u32, inputs: &mut Vec<Input>) -> Result<(), Stopped> {
        match woken {
            Woken::Exec(event) => self.take_event(*event, inputs),
            Woken::Heard(heard) => self.hear(heard, inputs)?,
            Woken::Told(told) => inputs.push(told),
            Woken::Typed(line) => self.typed(line.as_deref())?,
            Woken::Stop(how) => {
                *stops += 1;
                let (by, force) = (self.operator.clone(), *stops > 1);
                inputs.push(Input::Cancel { by, how: how.into(), force });
            }
            Woken::Hangup => {}
            Woken::Suspend => inputs.push(Input::Note(self.suspend())),
            Woken::Continued => {
                if !std::mem::take(&mut self.rested) {
                    self.reporters.iter_mut().for_each(|r| r.continued());
                }
            }
            Woken::Deadline => inputs.push(Input::Tick),
            Woken::Tick => self.redraw(),
        }
        Ok(())
    }
}

fn spec(dir: &RunDir, plan: &Plan, start: StartTask) -> TaskSpec {
    let StartTask { task, op, timeout, grace, want, sensitive } = start;
    let env = vec![
        ("RUNBOOK_RUN".to_owned(), dir.id().to_string()),
        ("RUNBOOK_STEP".to_owned(), task.step.to_string()),
        ("RUNBOOK_ATTEMPT".to_owned(), task.attempt.to_string()),
        ("RUNBOOK_DIR".to_owned(), dir.path().to_string_lossy().into_owned()),
    ];
    TaskSpec { task, op, timeout, grace, want, sensitive, env, root: plan.root.clone() }
}

impl Driver<'_> {
    /// Tells the reporters the time.
    pub(super) fn redraw(&mut self) {
        self.ticked = Instant::now();
        let now = self.clock.now();
        for reporter in self.reporters.iter_mut() {
            reporter.tick(self.engine.plan(), self.engine.state(), now.t, now.at);
        }
    }

    /// Stops this process as its terminal asks, and the commands with it, until it is continued.
    fn suspend(&mut self) -> Event {
        let since = self.clock.now().t;
        self.exec.pause();
        self.prompt.iter_mut().for_each(PromptLine::leave);
        // SIGSTOP, for SIGTSTP has a handler here. It fails for nobody's own process.
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        self.exec.unpause();
        // At once, before anything is drawn; the signal that is on its way tells nothing new.
        self.reporters.iter_mut().for_each(|r| r.continued());
        self.rested = true;
        let length = self.clock.now().t.saturating_sub(since);
        Event::Gap { length, why: "paused from the terminal".into() }
    }
}

impl Signals {
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            suspend: signal(SignalKind::from_raw(nix::libc::SIGTSTP))?,
            go_on: signal(SignalKind::from_raw(nix::libc::SIGCONT))?,
        })
    }
}

/// Counts the time that the machine sleeps, where that matters.
async fn sleep_through(length: Option<Millis>) {
    const SHORT: Millis = Millis::secs(1);
    match length {
        Some(length) if length > SHORT => exec::sleep(length).await,
        // A sleep can make it late by no more than itself.
        length => sleep(length.map(Millis::std)).await,
    }
}

pub(super) async fn typed(prompt: &mut Option<PromptLine>) -> Option<String> {
    match prompt {
        Some(prompt) => prompt.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}

/// The future's value if it is there already. The future is dropped; the next call to the same source waits anew.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
