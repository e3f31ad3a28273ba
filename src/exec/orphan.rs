//! A command that outlived its keeper. How it ends by itself nobody will see; but who it is, is certain (boot, pid and
//! start time agree). So the runner does for it what the keeper would have done: waits, keeps its timeout, and ends its whole
//! tree when that is over or a person asks.

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};
use tokio::sync::mpsc::UnboundedReceiver;

use super::attach::{ORPHANED, wait_for_end};
use super::procfs::{self, Stat};
use super::tree::{self, TOKEN, Tree};
use super::{boot, mark};
use crate::model::{Millis, TaskEnd, TaskEndKind, TaskId};

/// So long is killed, in rounds, before what is left is given up as leaked.
const FORCE: u64 = 2_000;
const ROUND: Millis = Millis(20);
/// Between two looks at who is left while a tree ends by itself.
const LOOK: Millis = Millis(250);

/// The processes of a task that live, and what they were started with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Orphan {
    /// Pid and start time of each living one of those that the keeper started.
    pub alive: Vec<(i32, u64)>,
    /// Pid and start time of the first, which leads the group, whether it lives or not.
    pub first: (i32, u64),
    /// On CLOCK_BOOTTIME of the present boot, in milliseconds.
    pub deadline: Option<u64>,
    pub grace: Millis,
}

/// Waits until it is over. `true` among the orders means: by force.
pub(super) async fn watch(
    run_dir: &Path,
    task: &TaskId,
    orphan: Orphan,
    mut orders: UnboundedReceiver<bool>,
) -> TaskEnd {
    let ended = async {
        for (pid, start) in &orphan.alive {
            wait_for_end(*pid, *start).await;
        }
    };
    let (kind, force) = tokio::select! {
        () = ended => (TaskEndKind::Unknown { why: ORPHANED.to_owned() }, None),
        () = until(orphan.deadline) => (TaskEndKind::TimedOut, Some(false)),
        force = next(&mut orders) => (TaskEndKind::Cancelled, Some(force)),
    };
    let leaked = match force {
        Some(force) => end_tree(run_dir, task, &orphan, force, &mut orders).await,
        None => Vec::new(),
    };
    let mut end = TaskEnd::new(kind, age(orphan.first.1));
    end.leaked = leaked;
    end
}

async fn until(deadline: Option<u64>) {
    match deadline {
        Some(deadline) => boot::sleep(Millis(deadline.saturating_sub(boot::now()))).await,
        None => std::future::pending().await,
    }
}

/// Nobody can give orders any more once the other end is gone: the run is over for this process.
async fn next(orders: &mut UnboundedReceiver<bool>) -> bool {
    match orders.recv().await {
        Some(force) => force,
        None => std::future::pending().await,
    }
}

/// TERM, grace, KILL, as the keeper does it. Gives those that could not be ended.
async fn end_tree(
    run_dir: &Path,
    task: &TaskId,
    orphan: &Orphan,
    mut force: bool,
    orders: &mut UnboundedReceiver<bool>,
) -> Vec<i32> {
    let token = tree::token(run_dir, task);
    let tree = Tree {
        mains: [orphan.first].into_iter().chain(orphan.alive.iter().copied()).collect(),
        start: orphan.first.1,
        mark: mark::of(&token),
        token: format!("{TOKEN}={token}"),
        alone: false,
    };
    let Some(home) = home(orphan) else { return Vec::new() };
    let kill_at = boot::now().saturating_add(orphan.grace.0);
    // Where nobody can look, the next round may.
    let mut looked = if force { Ok(()) } else { tree.terminate(&home) };
    while !force && boot::now() < kill_at {
        if tree.members(&home).is_ok_and(|left| left.is_empty()) {
            return Vec::new();
        }
        let rest = Millis(kill_at.saturating_sub(boot::now())).min(LOOK);
        tokio::select! {
            () = boot::sleep(rest) => {}
            more = next(orders) => force |= more,
        }
        if looked.is_err() {
            looked = tree.terminate(&home);
        }
    }
    let give_up_at = boot::now() + FORCE;
    loop {
        let left = tree.members(&home);
        if left.as_ref().is_ok_and(Vec::is_empty) {
            return Vec::new();
        }
        if boot::now() >= give_up_at {
            let mut left: Vec<i32> = match left {
                Ok(left) => left.iter().map(|p| p.pid).collect(),
                Err(_) => orphan.alive.iter().map(|(pid, _)| *pid).collect(),
            };
            left.sort_unstable();
            return left;
        }
        // Tried again in the next round, or told as leaked.
        let _ = tree.kill(&home);
        boot::sleep(ROUND).await;
    }
}

/// What is left of the dead keeper: the session that its commands were born in. No process has its pid.
fn home(orphan: &Orphan) -> Option<Stat> {
    let alive = |(pid, start): &(i32, u64)| procfs::stat(*pid).filter(|s| s.start == *start);
    orphan.alive.iter().find_map(alive).map(|stat| Stat { pid: -1, ..stat })
}

/// How long ago a process was started.
fn age(start: u64) -> Millis {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|t| u64::try_from(t).ok());
    let began = start.saturating_mul(1000) / ticks.filter(|t| *t > 0).unwrap_or(100);
    Millis(boot::now().saturating_sub(began))
}
