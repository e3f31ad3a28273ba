//! The keeper's loop: wait for something, deal with it, see which tasks that has brought to their end.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::begin::Ready;
use super::conn::Conn;
use super::launch::Given;
use super::pause::Rest;
use super::setup;
use super::task::{Moment, Outlet, Task};
use super::ways::Opening;
use crate::exec::boot;
use crate::exec::notes::{Note, Writer};
use crate::exec::procfs::{self, StartTimes, Stat};
use crate::exec::protocol::{FromKeeper, StartTask, ToKeeper};
use crate::exec::raise_descriptor_limit;
use crate::exec::redact::Redactor;
use crate::model::TaskId;
use crate::planted::{self, Bug};

const BUFFER: usize = 64 << 10;

pub(super) struct Keeper {
    pub(super) run_dir: PathBuf,
    pub(super) notes: Writer,
    pub(super) boot_id: String,
    pub(super) start_times: StartTimes,
    /// The environment of this process.
    pub(super) given: Given,
    pub(super) me: Stat,
    pub(super) secrets: Vec<Vec<u8>>,
    pub(super) redactor: Redactor,
    pub(super) output_cap: u64,
    pub(super) tasks: Vec<Task>,
    /// Outputs of ended tasks that somebody still holds open. They are read on, so that nobody dies of a broken pipe.
    pub(super) leftovers: Vec<Outlet>,
    pub(super) runner: Option<Conn>,
    children: SignalFd,
    timer: TimerFd,
    /// The moment the timer is set to.
    armed: Option<Moment>,
    listener: UnixListener,
    buffer: Vec<u8>,
    /// A child has ended since the trees were last looked at.
    pub(super) child_ended: bool,
    /// No process that was ever started here is left: not a main one, and no orphan either.
    pub(super) childless: bool,
    /// Connections that are being made, and what waits for them.
    pub(super) openings: Vec<Opening>,
    pub(super) waiting: Vec<StartTask>,
    /// What the runner may soon tell to start. Gone with the runner.
    pub(super) ready: Option<Ready>,
    /// Something was started that is no task's.
    pub(super) started_beside: Cell<bool>,
    /// How each host of a task is reached, and what clears it.
    pub(super) hosts: BTreeMap<String, (Vec<String>, PathBuf, Vec<u8>)>,
    /// All is recorded: other hosts may be cleared, but for these tasks.
    pub(super) clean: Option<Vec<TaskId>>,
    /// The runner was stopped by Ctrl-Z, and the commands with it.
    pub(super) rest: Option<Rest>,
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
enum Source {
    Children,
    Timer,
    Listener,
    Runner,
    Output(usize, usize),
    Stdin(usize),
    Leftover(usize),
}

pub(super) fn now() -> Moment {
    boot::now()
}

impl Keeper {
    pub fn new(run_dir: &Path) -> io::Result<Self> {
        let inherited = setup::take_over()?;
        raise_descriptor_limit();
        std::env::set_current_dir(run_dir)?;
        nix::sys::prctl::set_child_subreaper(true)?;
        let children = setup::signals()?;
        let me = procfs::stat(nix::unistd::getpid().as_raw()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            run_dir: run_dir.to_owned(),
            notes: Writer::new(inherited.notes),
            boot_id: procfs::boot_id(),
            start_times: StartTimes::default(),
            given: Given::new(),
            me,
            secrets: Vec::new(),
            redactor: Redactor::default(),
            output_cap: u64::MAX,
            tasks: Vec::new(),
            leftovers: Vec::new(),
            runner: Some(Conn::new(inherited.runner)?),
            children,
            timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?,
            armed: None,
            listener: setup::listen()?,
            buffer: vec![0; BUFFER],
            child_ended: false,
            childless: true,
            openings: Vec::new(),
            waiting: Vec::new(),
            ready: None,
            started_beside: Cell::new(false),
            hosts: BTreeMap::new(),
            clean: None,
            rest: None,
        })
    }

    pub fn run(mut self) -> io::Result<()> {
        while self.is_needed() {
            self.arm()?;
            for (source, events) in self.wait()? {
                self.handle(source, events);
            }
            self.leftovers.retain(|o| o.pipe.is_some());
            if self.runner.as_ref().is_some_and(|r| r.closed) {
                self.runner = None;
                self.ready = None;
                self.unpause();
            }
            self.settle();
        }
        self.clean_hosts();
        self.close_ways();
        let _ = self.notes.add(&Note::Closed);
        let _ = std::fs::remove_file(setup::SOCKET);
        Ok(())
    }

    fn is_needed(&self) -> bool {
        self.runner.is_some()
            || !self.tasks.is_empty()
            || !self.waiting.is_empty()
            || !self.leftovers.is_empty()
    }

    /// Sets the timer, if something is due earlier than it stands at. Too early a ring does no harm.
    fn arm(&mut self) -> io::Result<()> {
        // What rests has no deadline.
        let awake = self.tasks.iter().filter(|t| self.rest.is_none() || t.ending.is_some());
        let ways = self.openings.iter().map(|opening| opening.until);
        let Some(next) = awake.filter_map(Task::wake_at).chain(ways).min() else { return Ok(()) };
        if self.armed.is_none_or(|armed| next < armed) {
            // 0 would switch the timer off.
            let at = TimeSpec::milliseconds(i64::try_from(next.max(1)).unwrap_or(i64::MAX));
            self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.armed = Some(next);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let read = PollFlags::POLLIN;
        let mut sources = vec![Source::Children, Source::Timer, Source::Listener];
        let mut fds = vec![
            PollFd::new(self.children.as_fd(), read),
            PollFd::new(self.timer.as_fd(), read),
            PollFd::new(self.listener.as_fd(), read),
        ];
        if let Some(runner) = &self.runner {
            sources.push(Source::Runner);
            let write = if runner.wants_to_send() { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(runner.fd(), read | write));
        }
        for (at, task) in self.tasks.iter().enumerate() {
            for (which, outlet) in task.outlets.iter().enumerate() {
                if let Some(pipe) = &outlet.pipe {
                    sources.push(Source::Output(at, which));
                    fds.push(PollFd::new(pipe.as_fd(), read));
                }
            }
            if let Some(feed) = task.stdin.as_ref().filter(|_| task.may_feed()) {
                sources.push(Source::Stdin(at));
                fds.push(PollFd::new(feed.pipe.as_fd(), PollFlags::POLLOUT));
            }
        }
        for (at, outlet) in self.leftovers.iter().enumerate() {
            if let Some(pipe) = &outlet.pipe {
                sources.push(Source::Leftover(at));
                fds.push(PollFd::new(pipe.as_fd(), read));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let ready =
            |(source, fd): (Source, PollFd<'_>)| fd.revents().filter(|e| !e.is_empty()).map(|e| (source, e));
        Ok(sources.into_iter().zip(fds).filter_map(ready).collect())
    }

    /// Nothing is removed from the lists here, so the places in `source` stay right for the whole round.
    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Children => {
                // One for all that have ended since the last.
                if self.children.read_signal().is_ok_and(|signal| signal.is_some()) {
                    self.reap();
                }
            }
            Source::Timer => {
                let mut count = [0u8; 8];
                let _ = nix::unistd::read(self.timer.as_fd(), &mut count);
                self.armed = None;
            }
            Source::Listener => self.accept(),
            Source::Runner => {
                if events.contains(PollFlags::POLLOUT)
                    && let Some(runner) = &mut self.runner
                {
                    runner.flush();
                }
                self.receive();
            }
            Source::Output(at, which) => self.pump(at, which),
            Source::Stdin(at) => {
                if let Some(task) = self.tasks.get_mut(at)
                    && task.stdin.as_mut().is_some_and(|feed| !feed.pump())
                {
                    task.stdin = None;
                }
            }
            Source::Leftover(at) => {
                if let Some(outlet) = self.leftovers.get_mut(at) {
                    // The task is over for the runner: the rest is for the file alone.
                    outlet.pump(&mut self.buffer, now(), &mut |_, _, _| {});
                }
            }
        }
    }

    pub(super) fn pump(&mut self, at: usize, which: usize) {
        let runner = &mut self.runner;
        if let Some(task) = self.tasks.get_mut(at) {
            task.outlets[which].pump(&mut self.buffer, now(), &mut |task, stream, bytes| {
                if let Some(runner) = runner {
                    runner.send_output(task, stream, bytes);
                }
            });
            if task.runs_there() && !std::mem::replace(&mut task.told, true) {
                let message = FromKeeper::Runs { task: task.id.clone() };
                self.tell(&message);
            }
        }
    }

    /// Collects every ended child, also the orphans that came to the keeper.
    fn reap(&mut self) {
        self.child_ended = true;
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {
                    self.childless = false;
                    return;
                }
                Ok(status) => status,
                Err(nix::Error::EINTR) => continue,
                Err(e) => {
                    self.childless = e == nix::Error::ECHILD;
                    return;
                }
            };
            let Some(pid) = status.pid() else { continue };
            if self.opening_ended(status) {
                continue;
            }
            let main =
                |task: &mut Task| task.mains.iter_mut().position(|(p, s)| *p == pid.as_raw() && s.is_none());
            for task in &mut self.tasks {
                let helpers = task.far.iter_mut().flat_map(|far| &mut far.helpers);
                for helper in helpers.filter(|helper| helper.pid == pid.as_raw()) {
                    helper.code = Some(if let WaitStatus::Exited(_, code) = status { code } else { -1 });
                }
                if let Some(at) = main(task) {
                    task.mains[at].1 = Some(status);
                    if task.all_reaped() {
                        task.reaped = Some(now());
                    }
                    break;
                }
            }
        }
    }

    fn receive(&mut self) {
        let Some(runner) = &mut self.runner else { return };
        for order in runner.receive(&mut self.buffer) {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: ToKeeper) {
        match order {
            ToKeeper::Hello { secrets, output_cap } => {
                self.output_cap = output_cap;
                let known = self.secrets.len();
                for secret in secrets {
                    if !self.secrets.contains(&secret.0) {
                        self.secrets.push(secret.0);
                    }
                }
                if self.secrets.len() != known {
                    self.redactor = Redactor::from_values(self.secrets.iter().map(Vec::as_slice));
                }
                let running =
                    self.tasks.iter().map(|t| &t.id).chain(self.waiting.iter().map(|order| &order.task));
                let running = running.cloned().collect();
                self.tell(&FromKeeper::Joined { running });
            }
            ToKeeper::Start(task) => {
                self.ready = None;
                self.begin(*task);
            }
            ToKeeper::Ready(task) if planted::is(Bug::StartReady) => self.begin(*task),
            ToKeeper::Ready(task) => self.ready = Some(self.make_ready(*task)),
            ToKeeper::Go { task } => self.go(&task),
            ToKeeper::Stop { task, force } => self.stop(&task, force),
            ToKeeper::Clean { keep } => self.clean = Some(keep),
            ToKeeper::Pause => self.pause(),
            ToKeeper::Continue => self.unpause(),
        }
    }

    pub(super) fn tell(&mut self, message: &FromKeeper) {
        if let Some(runner) = &mut self.runner {
            runner.send(message);
        }
    }

    /// A new runner. The one before it is dead (the journal's lock says so), but what it sent counts.
    fn accept(&mut self) {
        let Ok((socket, _)) = self.listener.accept() else { return };
        let conn = check(socket);
        let Ok(conn) = conn else { return };
        self.receive();
        self.ready = None;
        self.unpause();
        self.runner = Some(conn);
    }
}

fn check(socket: UnixStream) -> io::Result<Conn> {
    setup::check_peer(&socket)?;
    Conn::new(socket)
}
