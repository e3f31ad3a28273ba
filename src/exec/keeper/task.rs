//! One running task: its processes, its pipes, and how far its end has come.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::far::FarTask;
use super::sink::Sink;
use crate::exec::Stream;
use crate::exec::far::filter::Filter;
use crate::exec::redact::RedactStream;
use crate::exec::tree::Tree;
use crate::model::{Millis, TaskEndKind, TaskId};

/// A moment on CLOCK_BOOTTIME, in milliseconds: it goes on while the machine sleeps.
pub(super) type Moment = u64;

/// After the last process has ended, so long is waited for its output, if somebody else holds the pipe.
const QUIET: Moment = 200;
/// And at most so long, if that somebody goes on writing.
const DRAIN: Moment = 1000;

/// One output of a task.
pub(super) struct Outlet {
    pub task: TaskId,
    pub stream: Stream,
    /// None: everybody has closed it.
    pub pipe: Option<PipeReader>,
    /// What was read to its end. To close it takes a moment, and the runner waits for word of the end.
    pub spent: Option<PipeReader>,
    pub sink: Sink,
    pub redact: RedactStream,
    /// Bytes read.
    pub total: u64,
    pub last_read: Moment,
    /// Nothing of it may be shown.
    pub hidden: bool,
    /// Takes out what a task on another host says in band.
    pub filter: Option<Filter>,
}

impl Outlet {
    /// Reads what is there, up to a fair share. `show` gets the redacted bytes.
    pub fn pump(&mut self, buffer: &mut [u8], now: Moment, show: &mut dyn FnMut(&TaskId, Stream, &[u8])) {
        const SHARE: usize = 8;
        for _ in 0..SHARE {
            let Some(pipe) = &mut self.pipe else { return };
            let count = match pipe.read(buffer) {
                Ok(0) => {
                    let mut own = Vec::new();
                    if let Some(filter) = &mut self.filter {
                        filter.finish(&mut own);
                        self.total += own.len() as u64;
                    }
                    self.clean(&own, show);
                    let mut rest = Vec::new();
                    self.redact.finish(&mut rest);
                    self.take(&rest, show);
                    self.spent = self.pipe.take();
                    return;
                }
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.pipe = None;
                    return;
                }
            };
            self.last_read = now;
            match &mut self.filter {
                Some(filter) => {
                    let mut own = Vec::with_capacity(count);
                    filter.push(&buffer[..count], &mut own);
                    self.total += own.len() as u64;
                    self.clean(&own, show);
                }
                None => {
                    self.total += count as u64;
                    self.clean(&buffer[..count], show);
                }
            }
            if count < buffer.len() {
                return;
            }
        }
    }

    /// Takes the bytes without the secrets in them.
    fn clean(&mut self, bytes: &[u8], show: &mut dyn FnMut(&TaskId, Stream, &[u8])) {
        if self.redact.is_idle() {
            self.take(bytes, show);
        } else {
            let mut clean = Vec::with_capacity(bytes.len());
            self.redact.push(bytes, &mut clean);
            self.take(&clean, show);
        }
    }

    fn take(&mut self, bytes: &[u8], show: &mut dyn FnMut(&TaskId, Stream, &[u8])) {
        if !bytes.is_empty() {
            self.sink.write(bytes);
            if !self.hidden {
                show(&self.task, self.stream, bytes);
            }
        }
    }
}

/// What is still to be written to a command's stdin.
pub(super) struct Feed {
    pub pipe: PipeWriter,
    bytes: Vec<u8>,
    written: usize,
}

impl Feed {
    pub fn new(pipe: PipeWriter, bytes: Vec<u8>) -> io::Result<Self> {
        set_nonblocking(pipe.as_fd())?;
        Ok(Self { pipe, bytes, written: 0 })
    }

    /// False: all is written, or nobody reads any more; either way the pipe is to be closed.
    pub fn pump(&mut self) -> bool {
        while self.written < self.bytes.len() {
            match self.pipe.write(&self.bytes[self.written..]) {
                Ok(count) => self.written += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        false
    }
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Why a task is being ended from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Timeout,
    Stop,
    /// The way to its host did not answer: nothing was sent.
    Unanswered,
    /// Its pipeline could not be started as a whole.
    Incomplete,
}

/// How far the ending of a tree has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Asked to end; by force at `kill_at`.
    Asked { kill_at: Moment, look_at: Moment },
    /// Being killed, in rounds, until `give_up_at`.
    Killing { round_at: Moment, give_up_at: Moment },
    /// Nobody is left, or nothing more can be done.
    Over,
}

pub(super) struct Ending {
    pub reason: Reason,
    pub phase: Phase,
}

pub(super) struct Task {
    pub id: TaskId,
    pub grace: Millis,
    /// Each main process, and its end once it is known.
    pub mains: Vec<(i32, Option<WaitStatus>)>,
    pub tree: Tree,
    pub began: Moment,
    pub deadline: Option<Moment>,
    pub outlets: [Outlet; 2],
    pub stdin: Option<Feed>,
    /// The keeper's own writing ends, dropped once the processes are reaped. As long as they are held, a command that
    /// ends wakes the keeper once, with its exit, and not before that for each output that it closes.
    pub writers: Vec<PipeWriter>,
    /// Why the task cannot have been whole.
    pub defect: Option<String>,
    pub ending: Option<Ending>,
    pub leaked: Vec<i32>,
    /// On another host.
    pub far: Option<Box<FarTask>>,
    /// The runner knows that it still runs there.
    pub told: bool,
    /// When the last main process ended.
    pub reaped: Option<Moment>,
}

impl Task {
    pub fn all_reaped(&self) -> bool {
        self.mains.iter().all(|(_, status)| status.is_some())
    }

    /// What can be done for a tree when nobody can look at it: no descriptor is free, say. The group is its own as long as
    /// its leader is not reaped.
    pub fn signal_group(&self, signal: Signal) {
        if let Some((pid, None)) = self.mains.first() {
            // It may have ended; then there is nobody to signal.
            let _ = killpg(Pid::from_raw(*pid), signal);
        }
    }

    pub fn drained(&self) -> bool {
        self.outlets.iter().all(|o| o.pipe.is_none())
    }

    /// Until when the output of an ended task is waited for.
    pub fn drain_until(&self) -> Option<Moment> {
        let reaped = self.reaped?;
        let last = self.outlets.iter().map(|o| o.last_read).max().unwrap_or(0).max(reaped);
        Some((last + QUIET).min(reaped + DRAIN))
    }

    /// When this task needs attention without anything else happening.
    pub fn wake_at(&self) -> Option<Moment> {
        let ending = match &self.ending {
            None => [self.deadline, self.answer_by()].into_iter().flatten().min(),
            Some(Ending { phase: Phase::Asked { kill_at, look_at }, .. }) => Some((*kill_at).min(*look_at)),
            Some(Ending { phase: Phase::Killing { round_at, .. }, .. }) => Some(*round_at),
            Some(Ending { phase: Phase::Over, .. }) => None,
        };
        let may_drain = self.ending.as_ref().is_none_or(|e| e.phase == Phase::Over);
        let drain = if may_drain { self.drain_until() } else { None };
        let ending = ending.filter(|_| self.reaped.is_none() || self.ending.is_some());
        [ending, drain, self.linger_until()].into_iter().flatten().min()
    }

    /// How it ended, as a fact.
    pub fn kind(&self) -> TaskEndKind {
        if let Some(far) = &self.far {
            return self.far_kind(far).0;
        }
        if let Some(why) = &self.defect {
            return TaskEndKind::Unknown { why: why.clone() };
        }
        match &self.ending {
            Some(Ending { reason: Reason::Timeout, .. }) => TaskEndKind::TimedOut,
            Some(Ending { reason: Reason::Stop | Reason::Unanswered | Reason::Incomplete, .. }) => {
                TaskEndKind::Cancelled
            }
            None => self.mains.iter().rev().filter_map(|(_, status)| failure(*status)).next().unwrap_or_else(
                || {
                    let all_known = self.all_reaped();
                    if all_known {
                        TaskEndKind::Exited { code: 0 }
                    } else {
                        TaskEndKind::Unknown { why: "a process was ended that did not report its end".into() }
                    }
                },
            ),
        }
    }
}

fn failure(status: Option<WaitStatus>) -> Option<TaskEndKind> {
    match status? {
        WaitStatus::Exited(_, 0) => None,
        WaitStatus::Exited(_, code) => Some(TaskEndKind::Exited { code }),
        WaitStatus::Signaled(_, signal, _) => Some(TaskEndKind::Signaled { signal: signal as i32 }),
        _ => None,
    }
}
