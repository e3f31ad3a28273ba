//! Finds every process that belongs to a task, also those that left its process group or lost their parent, and
//! ends them. Only used when a task is to be ended: a normal end looks at nobody. By the keeper, and for a task that outlived
//! its keeper by the runner.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::Signal;

use super::mark;
use super::procfs::{self, Stat};
use crate::model::TaskId;
use crate::planted::{self, Bug};

/// What marks a task's processes.
pub(super) struct Tree {
    /// The processes that the keeper started, each by pid and start time: once one is collected, its pid may be given to
    /// a stranger. The first leads the group.
    pub mains: Vec<(i32, u64)>,
    /// Start time of the first. Nothing that is older can belong to the task.
    pub start: u64,
    /// `RUNBOOK_TASK_TOKEN=<run folder>/<task>`, as it stands in the environment of each of them that has not changed it.
    pub token: String,
    /// See [`mark`]: what those have kept that have changed it.
    pub mark: u64,
    /// Nothing of another task was there at any moment of this one, so an orphan without a token can only be its own.
    pub alone: bool,
}

/// So often at most new members are looked for. Each look finds the children of fewer that can still move.
const PASSES: usize = 20;
/// How long a tree is waited for to stand still. A process that waits for a disk, or for the child that it has lent its memory
/// to, does not within any time.
const HOLD: Duration = Duration::from_millis(300);
const NAP: Duration = Duration::from_millis(1);

pub(super) const TOKEN: &str = "RUNBOOK_TASK_TOKEN";

/// What tells a task from all others. The whole path: two runs of different state folders could have the same name.
pub(super) fn token(run_dir: &Path, task: &TaskId) -> String {
    format!("{}/{task}", run_dir.display())
}

/// Whose a process is by what it was born with.
#[derive(PartialEq)]
enum Token {
    Ours,
    Other,
    None,
    /// Another user's, without a mark: its environment cannot be read. Nor can the process be signalled, but it is there.
    Hidden,
}

impl Tree {
    /// The living members. An error: nobody knows whether there are any.
    ///
    /// Of `keeper` its pid and its session matter. For a dead one, the pid is one that no process has.
    pub fn members(&self, keeper: &Stat) -> io::Result<Vec<Stat>> {
        let all: Vec<Stat> = procfs::all()?
            .into_iter()
            .filter(|p| p.pid != keeper.pid && p.start >= self.start && !p.has_ended())
            .collect();
        let group = self.mains.first().map_or(-1, |(pid, _)| *pid);
        let in_group = |p: &Stat| p.group == group && p.session == keeper.session;
        if planted::is(Bug::KillGroupOnly) {
            return Ok(all.into_iter().filter(in_group).collect());
        }
        let mut inside: HashSet<i32> = all
            .iter()
            .filter(|p| self.is_main(p) || self.is_marked(p, in_group(p), keeper))
            .map(|p| p.pid)
            .collect();
        // Children may be listed before their parents: go round until nothing is added.
        loop {
            let before = inside.len();
            for p in &all {
                if inside.contains(&p.parent) {
                    inside.insert(p.pid);
                }
            }
            if inside.len() == before {
                break;
            }
        }
        Ok(all.into_iter().filter(|p| inside.contains(&p.pid)).collect())
    }

    fn is_main(&self, p: &Stat) -> bool {
        self.mains
            .iter()
            .any(|(pid, start)| *pid == p.pid && (*start == p.start || planted::is(Bug::AnyStartTime)))
    }

    /// A group's number, too, may be given to another task of the same keeper once nobody is left in the group.
    fn is_marked(&self, p: &Stat, in_group: bool, keeper: &Stat) -> bool {
        match self.token_of(p.pid) {
            Token::Ours => true,
            Token::Other => false,
            Token::None => in_group || self.alone && p.parent == keeper.pid,
            Token::Hidden => in_group,
        }
    }

    fn token_of(&self, pid: i32) -> Token {
        if let Some(mark) = mark::of_process(pid) {
            return if mark == self.mark { Token::Ours } else { Token::Other };
        }
        let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return Token::Hidden };
        let mut found = Token::None;
        for entry in environ.split(|b| *b == 0) {
            if entry == self.token.as_bytes() {
                return Token::Ours;
            }
            if entry.starts_with(TOKEN.as_bytes()) && entry.get(TOKEN.len()) == Some(&b'=') {
                found = Token::Other;
            }
        }
        found
    }

    /// Asks every member to end. They are held still while they are asked: one that forks just then would leave a child
    /// that nobody has asked, and what a member starts in order to tidy up, once it was asked, must not be asked.
    pub fn terminate(&self, keeper: &Stat) -> io::Result<()> {
        let held = self.hold(keeper, HOLD);
        for (pid, start) in &held.0 {
            procfs::signal(*pid, *start, Signal::SIGTERM);
        }
        // A stopped process takes the signal only when it goes on.
        for (pid, start) in &held.0 {
            procfs::signal(*pid, *start, Signal::SIGCONT);
        }
        held.1
    }

    /// One round of ending them by force. None can fork while the others are being killed.
    pub fn kill(&self, keeper: &Stat) -> io::Result<()> {
        // Whoever escapes this round is found in the next.
        let held = self.hold(keeper, Duration::ZERO);
        for (pid, start) in held.0 {
            procfs::signal(pid, start, Signal::SIGKILL);
        }
        held.1
    }

    /// Stops every member, and those that were born meanwhile. Whoever was stopped is given also if in the end nobody
    /// could be looked at any more.
    ///
    /// The signal only asks: a fork that was under way when it came is finished first, which on a busy machine takes its
    /// time, and its child is seen by nobody until then. So the tree is held only once each of its threads stands still.
    fn hold(&self, keeper: &Stat, patience: Duration) -> (HashSet<(i32, u64)>, io::Result<()>) {
        let mut held: HashSet<(i32, u64)> = HashSet::new();
        let mut passes = 0;
        let mut waited = Duration::ZERO;
        while passes < PASSES {
            // Before the look at who is there: who stands still then has no child that would be missed by it.
            let moving = held.iter().any(|(pid, start)| !procfs::stands_still(*pid, *start));
            let members = match self.members(keeper) {
                Ok(members) => members,
                Err(error) => return (held, Err(error)),
            };
            let fresh: Vec<Stat> =
                members.into_iter().filter(|p| !held.contains(&(p.pid, p.start))).collect();
            if !fresh.is_empty() {
                passes += 1;
                for p in fresh {
                    procfs::signal(p.pid, p.start, Signal::SIGSTOP);
                    held.insert((p.pid, p.start));
                }
            } else if moving && waited < patience {
                // Counted by naps, not by the clock: on a machine that gives this process little time, they get little, too.
                std::thread::sleep(NAP);
                waited += NAP;
            } else {
                break;
            }
        }
        (held, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn tree(pid: i32, start: u64) -> Tree {
        let token = "/run/a.1";
        let mains = vec![(pid, start)];
        Tree { mains, start, token: format!("{TOKEN}={token}"), mark: mark::of(token), alone: false }
    }

    /// A main process ended and was collected, others of its task are still being ended, and its pid has gone to a
    /// stranger: to one outside, and to one that leads a group in the keeper's session.
    #[test]
    fn a_stranger_with_the_pid_of_a_main_process_is_no_member() {
        use std::os::unix::process::CommandExt;
        let me = procfs::stat(nix::unistd::getpid().as_raw()).unwrap();
        let mut child =
            Command::new("sleep").arg("60").env(TOKEN, "/run/b.1").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let stranger = procfs::stat(pid).unwrap();
        assert_eq!((stranger.group, stranger.session), (pid, me.session));
        let members =
            |start| tree(pid, start).members(&me).unwrap().iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(members(stranger.start), [pid], "the process itself is one");
        assert_eq!(members(stranger.start - 1), [0; 0]);
        tree(pid, stranger.start - 1).terminate(&me).unwrap();
        tree(pid, stranger.start - 1).kill(&me).unwrap();
        assert!(procfs::is_alive(pid, stranger.start));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
