//! Connections that the tasks of a host share: one is made before the first of them begins, and all are ended with the
//! keeper.

use std::io::{PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::far::unasked;
use super::keep::{Keeper, now};
use super::task::Moment;
use crate::exec::far::Master;
use crate::exec::mark;
use crate::exec::protocol::{EndedTask, StartTask};
use crate::exec::tree::{TOKEN, Tree};
use crate::model::{Millis, TaskEnd, TaskEndKind};

/// How long connections are given to end.
const FAREWELL: Moment = 2_000;

/// A connection that is being made.
pub(super) struct Opening {
    socket: String,
    pid: i32,
    stderr: PipeReader,
    ended: Option<WaitStatus>,
    /// Until then it has to have ended.
    pub until: Moment,
    patience: Millis,
}

impl Keeper {
    /// The order, if it can begin now; else it waits for its way.
    pub(super) fn open_way(&mut self, order: StartTask) -> Option<StartTask> {
        let far = order.far.as_ref();
        let Some((master, patience)) = far.and_then(|far| Some((far.master.clone()?, far.patience))) else {
            return Some(order);
        };
        let opening = self.openings.iter().any(|opening| opening.socket == master.socket);
        // A way that cannot be prepared is tried directly: then the error is the task's own.
        if !opening
            && (self.run_dir.join(&master.socket).exists() || self.start_opening(&master, patience).is_err())
        {
            return Some(order);
        }
        self.waiting.push(order);
        None
    }

    fn start_opening(&mut self, master: &Master, patience: Millis) -> std::io::Result<()> {
        let (stderr, writer) = std::io::pipe()?;
        let mut command = self.beside(&master.argv, &self.run_dir)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
        let pid = self.spawn_beside(&mut command)?;
        let (socket, until) = (master.socket.clone(), now().saturating_add(patience.0));
        self.openings.push(Opening { socket, pid, stderr, ended: None, until, patience });
        Ok(())
    }

    /// Whether the ended child was one that made a connection.
    pub(super) fn opening_ended(&mut self, status: WaitStatus) -> bool {
        let Some(pid) = status.pid() else { return false };
        let found = self.openings.iter_mut().find(|opening| opening.pid == pid.as_raw());
        found.map(|opening| opening.ended = Some(status)).is_some()
    }

    /// Begins what waited for a connection that is there now, and refuses what waited for one that cannot be had.
    pub(super) fn settle_ways(&mut self) {
        let now = now();
        let over = |opening: &Opening| opening.ended.is_some() || opening.until <= now;
        while let Some(at) = self.openings.iter().position(over) {
            let opening = self.openings.swap_remove(at);
            let is_ours = |order: &StartTask| {
                let master = order.far.as_ref().and_then(|far| far.master.as_ref());
                master.is_some_and(|master| master.socket == opening.socket)
            };
            let (ours, others) = std::mem::take(&mut self.waiting).into_iter().partition(is_ours);
            self.waiting = others;
            let error = match opening.ended {
                Some(WaitStatus::Exited(_, 0)) => None,
                None => {
                    // Not reaped yet, so its group is nobody else's.
                    let _ = killpg(Pid::from_raw(opening.pid), Signal::SIGKILL);
                    Some(format!("no answer within {}", opening.patience))
                }
                _ => Some(what_it_said(opening.stderr)),
            };
            for order in ours {
                match &error {
                    None => self.begin_now(order),
                    Some(error) => self.unreachable(order, error),
                }
            }
        }
    }

    /// Nothing was sent for it, so it surely has not begun.
    fn unreachable(&mut self, order: StartTask, error: &str) {
        let Some(far) = &order.far else { return };
        let text = if far.asks {
            unasked(&far.host, error)
        } else {
            format!("{} cannot be reached: {error}", far.host)
        };
        let error = self.redactor.redact_text(&text);
        // It will hardly be reached in order to be tidied up; who waits for the run's end is not to wait for that as well.
        self.hosts.remove(&far.host);
        let kind =
            if far.asks { TaskEndKind::Unknown { why: error } } else { TaskEndKind::NotStarted { error } };
        self.report(EndedTask::new(order.task, TaskEnd::new(kind, Millis::ZERO), order.sensitive));
    }

    /// A task that waits for its way and is not wanted any more.
    pub(super) fn stop_waiting(&mut self, id: &crate::model::TaskId) -> bool {
        let Some(at) = self.waiting.iter().position(|order| order.task == *id) else { return false };
        let order = self.waiting.remove(at);
        let asks = order.far.as_ref().is_some_and(|far| far.asks);
        let why = "nobody waited for an answer any more".to_owned();
        let kind = if asks { TaskEndKind::Unknown { why } } else { TaskEndKind::Cancelled };
        self.report(EndedTask::new(order.task, TaskEnd::new(kind, Millis::ZERO), order.sensitive));
        true
    }

    /// Ends all connections, and whatever else was started beside the tasks; also what a keeper that was killed has left,
    /// whose connections the tasks of this one may have shared.
    pub(super) fn close_ways(&mut self) {
        // Older processes are only looked at where there is something to look for.
        let shared = !shared_sockets().is_empty();
        if !shared && !self.started_beside.get() {
            return;
        }
        let token = self.ways_token();
        let tree = Tree {
            mains: Vec::new(),
            start: if shared { 0 } else { self.me.start },
            mark: mark::of(&token),
            token: format!("{TOKEN}={token}"),
            alone: false,
        };
        let until = now() + FAREWELL;
        let mut asked = tree.members(&self.me).is_ok_and(|left| left.is_empty());
        if asked {
            return;
        }
        asked = tree.terminate(&self.me).is_ok();
        while now() < until && tree.members(&self.me).is_ok_and(|left| !left.is_empty()) {
            if !asked {
                asked = tree.terminate(&self.me).is_ok();
            }
            std::thread::sleep(Millis(10).std());
        }
        let _ = tree.kill(&self.me);
        for socket in shared_sockets() {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Where connections are found that tasks share.
fn shared_sockets() -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let entries = std::fs::read_dir(Path::new("keeper")).into_iter().flatten().flatten();
    let is_shared = |entry: &std::fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_socket()) && entry.file_name() != "sock"
    };
    entries.filter(is_shared).map(|entry| entry.path()).collect()
}

/// The last line of what ssh said. It has ended or gone to the background, so nobody keeps the pipe open for long.
fn what_it_said(mut stderr: PipeReader) -> String {
    use std::os::fd::AsFd;
    let mut bytes = [0; 8192];
    let read =
        super::task::set_nonblocking(stderr.as_fd()).and_then(|()| stderr.read(&mut bytes)).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(|| "ssh said nothing".to_owned(), str::to_owned)
}
