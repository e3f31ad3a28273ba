//! Finds every process that belongs to a task, also those that left its process group or lost their parent, and
//! ends them. Only used when a task is to be ended: a normal end looks at nobody.

use std::collections::HashSet;
use std::fs;

use nix::sys::signal::Signal;

use crate::exec::procfs::{self, Stat};

/// What marks a task's processes.
pub(super) struct Tree {
    /// The processes that the keeper started, by pid; the first leads the group.
    pub mains: Vec<i32>,
    /// Start time of the first. Nothing that is older can belong to the task.
    pub start: u64,
    /// `RUNBOOK_TASK_TOKEN=<run folder>/<task>`, as it stands in the environment of each of them.
    pub token: String,
    /// No other task ran at any moment of this one, so an orphan without a token can only be its own.
    pub alone: bool,
}

pub(super) const TOKEN: &str = "RUNBOOK_TASK_TOKEN";

/// Whose a process is by its environment.
#[derive(PartialEq)]
enum Token {
    Ours,
    Other,
    None,
}

impl Tree {
    /// The living members.
    pub fn members(&self, keeper: &Stat) -> Vec<Stat> {
        let all: Vec<Stat> = procfs::all()
            .into_iter()
            .filter(|p| p.pid != keeper.pid && p.start >= self.start && !p.has_ended())
            .collect();
        let group = self.mains.first().copied().unwrap_or(-1);
        let mut inside: HashSet<i32> = all
            .iter()
            .filter(|p| {
                let in_group = p.group == group && p.session == keeper.session;
                in_group || self.mains.contains(&p.pid) || self.is_marked(p, keeper)
            })
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
        all.into_iter().filter(|p| inside.contains(&p.pid)).collect()
    }

    fn is_marked(&self, p: &Stat, keeper: &Stat) -> bool {
        match self.token_of(p.pid) {
            Token::Ours => true,
            Token::Other => false,
            Token::None => self.alone && p.parent == keeper.pid && p.start > self.start,
        }
    }

    fn token_of(&self, pid: i32) -> Token {
        // Another user's environment cannot be read; nor can that user's process be signalled.
        let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return Token::Other };
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

    /// Asks every member to end. Returns how many there are.
    pub fn terminate(&self, keeper: &Stat) -> usize {
        let members = self.members(keeper);
        for p in &members {
            procfs::signal(p.pid, p.start, Signal::SIGTERM);
            // A stopped process takes the signal only when it goes on.
            procfs::signal(p.pid, p.start, Signal::SIGCONT);
        }
        members.len()
    }

    /// One round of ending them by force: first stop them all, so that none can fork while the others are being
    /// killed, then kill.
    pub fn kill(&self, keeper: &Stat) {
        const PASSES: usize = 20;
        let mut stopped: HashSet<(i32, u64)> = HashSet::new();
        for _ in 0..PASSES {
            let fresh: Vec<Stat> =
                self.members(keeper).into_iter().filter(|p| !stopped.contains(&(p.pid, p.start))).collect();
            if fresh.is_empty() {
                break;
            }
            for p in fresh {
                procfs::signal(p.pid, p.start, Signal::SIGSTOP);
                stopped.insert((p.pid, p.start));
            }
        }
        for (pid, start) in stopped {
            procfs::signal(pid, start, Signal::SIGKILL);
        }
    }
}
