//! The beginning of a task: note the intent, start the processes, note them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::far::FarTask;
use super::keep::{Keeper, now};
use super::sink::{Keep, Sink};
use super::spawn::{self, Beside, Failure, Prepared, Started};
use super::task::{Ending, Feed, Moment, Outlet, Phase, Reason, Task};
use crate::exec::Stream;
use crate::exec::notes::Note;
use crate::exec::procfs::StartTimes;
use crate::exec::protocol::{EndedTask, StartTask};
use crate::exec::tree::{self, TOKEN, Tree};
use crate::exec::{mark, outputs};
use crate::model::{Millis, TaskEnd, TaskEndKind, TaskId};
use crate::planted::{self, Bug};

/// So many tasks at once have their writing ends held; more would need too many descriptors.
const HELD: usize = 32;

/// A task that can start at once.
pub(super) struct Ready {
    order: StartTask,
    token: String,
    mark: u64,
    extra: [(&'static str, OsString); 2],
    without: Vec<OsString>,
    prepared: Result<Prepared, Failure>,
}

impl Keeper {
    /// Starts what was made ready before.
    pub(super) fn go(&mut self, task: &TaskId) {
        match self.ready.take().filter(|ready| ready.order.task == *task) {
            // Something may have been short while another task ran.
            Some(ready) if ready.prepared.is_err() => self.begin_now(ready.order),
            Some(ready) => self.start(ready),
            None => {
                let error = "it was to start before it was made ready".to_owned();
                let end = TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO);
                self.report(EndedTask::new(task.clone(), end, false));
            }
        }
    }

    pub(super) fn begin(&mut self, order: StartTask) {
        self.remember_host(&order);
        if let Some(order) = self.open_way(order) {
            self.begin_now(order);
        }
    }

    pub(super) fn begin_now(&mut self, order: StartTask) {
        let ready = self.make_ready(order);
        self.start(ready);
    }

    /// The first half of a beginning. Nobody sees anything of it, and nothing has to be undone if the second never comes.
    pub(super) fn make_ready(&self, order: StartTask) -> Ready {
        let mut token = tree::token(&self.run_dir, &order.task);
        if order.far.as_ref().is_some_and(|far| far.asks) {
            // A way that ends on this machine may have handed its variables on to the command: to end the question must not
            // end what is asked about.
            token.push_str("/asked");
        }
        let mark = mark::of(&token);
        let published = outputs::published_path(&self.run_dir, &order.task);
        let extra = [("RUNBOOK_OUTPUT", published.into_os_string()), (TOKEN, OsString::from(token.clone()))];
        let without = if order.far.is_some() { self.secret_names() } else { Vec::new() };
        let beside = Beside { given: &self.given, extra: &extra, without: &without, mark };
        let prepared = spawn::prepare(&order, &beside);
        Ready { order, token, mark, extra, without, prepared }
    }

    /// A task is over. It may have put in place, or taken away, what the next one is to find in PATH.
    pub(super) fn look_again(&mut self) {
        if planted::is(Bug::StalePath) {
            return;
        }
        if let Some(Ready { prepared: Ok(prepared), .. }) = &mut self.ready {
            prepared.look_again(&self.given);
        }
    }

    /// The second half.
    pub(super) fn start(&mut self, ready: Ready) {
        let Ready { mut order, token, mark, extra, without, prepared } = ready;
        let note = Note::Intent { task: order.task.clone() };
        let noted = if planted::is(Bug::NoIntentNote) { Ok(()) } else { self.notes.add(&note) };
        if let Err(e) = noted {
            // Without the note a later runner could start it again: better not at all.
            self.refuse(&order, format!("the run's folder cannot be written, so nothing is started: {e}"));
            return;
        }
        let began = now();
        let before = StartTimes::before();
        let beside = Beside { given: &self.given, extra: &extra, without: &without, mark };
        let hold_writers = self.tasks.len() < HELD;
        let started = prepared.and_then(|prepared| spawn::spawn(&order, prepared, &beside, hold_writers));
        let (started, defect) = match started {
            Ok(started) => (started, None),
            Err(Failure::NotStarted(error)) => return self.refuse(&order, self.redactor.redact_text(&error)),
            Err(Failure::Partly { why, started }) => {
                let why = format!(
                    "{}; the commands before it in the pipeline had already been started and were ended",
                    self.redactor.redact_text(&why)
                );
                (started, Some(why))
            }
        };
        let deadline = order.timeout.map(|t| began.saturating_add(t.0));
        // The processes are not reaped yet, so even one that has ended is still there to be seen. One that cannot be
        // looked at gets a start time that no process has: it will never be taken for another.
        let start_times = &mut self.start_times;
        let seen = |pid: &i32| (*pid, start_times.start_of(*pid, before).unwrap_or(u64::MAX));
        let mains: Vec<(i32, u64)> = started.pids.iter().map(seen).collect();
        let (first, start) = mains.first().copied().unwrap_or((0, u64::MAX));
        let note = Note::Started {
            task: order.task.clone(),
            pid: first,
            start,
            boot_id: self.boot_id.clone(),
            others: mains.iter().skip(1).copied().collect(),
            deadline,
            grace: order.grace,
        };
        let _ = self.notes.add(&note);
        let stdin = order.stdin.take().map(|b| b.0).unwrap_or_default();
        let mut task = self.task(&order, started, stdin, began);
        // Whatever belongs to the task is at least younger than this keeper.
        task.tree.start = if start == u64::MAX { self.me.start } else { start };
        task.tree.mains = mains;
        task.tree.token = format!("{TOKEN}={token}");
        task.tree.mark = mark;
        task.deadline = deadline;
        if let Some(why) = defect {
            task.defect = Some(why);
            let phase = Phase::Killing { round_at: began, give_up_at: began + super::end::FORCE };
            task.ending = Some(Ending { reason: Reason::Incomplete, phase });
        }
        for other in &mut self.tasks {
            other.tree.alone = false;
        }
        self.childless = false;
        self.tasks.push(task);
    }

    fn task(&self, order: &StartTask, started: Started, stdin: Vec<u8>, began: Moment) -> Task {
        let far = FarTask::of(order, began);
        let outlet = |stream, pipe| Outlet {
            task: order.task.clone(),
            stream,
            pipe: Some(pipe),
            spent: None,
            sink: Sink::new(keep(order, stream), self.output_cap),
            redact: self.redactor.stream(),
            total: 0,
            last_read: began,
            hidden: order.sensitive,
            filter: far.as_ref().map(|far| far.filter()),
        };
        let feed = started.stdin.and_then(|pipe| Feed::new(pipe, stdin).ok());
        let outlets = [outlet(Stream::Stdout, started.stdout), outlet(Stream::Stderr, started.stderr)];
        Task {
            id: order.task.clone(),
            grace: order.grace,
            tree: Tree {
                mains: Vec::new(),
                start: 0,
                token: String::new(),
                mark: 0,
                alone: self.tasks.is_empty() && self.childless,
            },
            mains: started.pids.into_iter().map(|pid| (pid, None)).collect(),
            began,
            deadline: None,
            outlets,
            far,
            told: false,
            stdin: feed,
            writers: started.writers,
            defect: None,
            ending: None,
            leaked: Vec::new(),
            reaped: None,
        }
    }

    /// The end of a task that never began.
    fn refuse(&mut self, order: &StartTask, error: String) {
        let end = TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO);
        self.report(EndedTask::new(order.task.clone(), end, order.sensitive));
    }
}

fn keep(order: &StartTask, stream: Stream) -> Keep {
    let (wanted, extension) = match stream {
        Stream::Stdout => (order.want.stdout, "out"),
        Stream::Stderr => (order.want.stderr, "err"),
    };
    match (order.sensitive, wanted) {
        // From the run's folder, in which the keeper stands.
        (false, _) => Keep::File(Path::new("output").join(file_name(order, extension))),
        (true, true) => Keep::Memory(Vec::new()),
        (true, false) => Keep::Nothing,
    }
}

fn file_name(order: &StartTask, extension: &str) -> PathBuf {
    // What an asked host gives again takes the place of what is here only once it is whole.
    let again = if order.far.as_ref().is_some_and(|far| far.asks) { ".new" } else { "" };
    PathBuf::from(format!("{}.{extension}{again}", order.task.file_stem()))
}
