//! What became of tasks in flight, as far as the keeper's notes can tell.

use std::io;

use tokio::io::unix::AsyncFd;

use super::notes::{Notes, TaskNote};
use super::orphan::Orphan;
use super::procfs;
use super::protocol::EndedTask;
use crate::model::{TaskEndKind, TaskId};
use crate::planted::{self, Bug};

/// What the notes of a dead keeper say of one task.
#[derive(Debug, PartialEq)]
pub(super) enum Trace {
    NeverStarted,
    Ended(Box<EndedTask>),
    /// One of its commands, or all, outlived the keeper.
    Orphan(Orphan),
    Unknown {
        why: String,
    },
}

/// Nobody may be adding notes while this is asked.
pub(super) fn trace(notes: &Notes, task: &TaskId, boot_id: &str) -> Trace {
    let unknown = |why: &str| Trace::Unknown { why: why.to_owned() };
    match notes.task(task) {
        Some(TaskNote::Ended(ended)) => Trace::Ended(ended.clone()),
        Some(TaskNote::Started { boot_id: its, .. })
            if (its != boot_id || its.is_empty()) && !planted::is(Bug::AnyBoot) =>
        {
            unknown("the machine was restarted while it ran; how it ended cannot be known")
        }
        Some(TaskNote::Started { mains, deadline, grace, .. }) => {
            let alive = mains
                .iter()
                .copied()
                .filter(|(pid, start)| procfs::is_alive(*pid, *start) && !planted::is(Bug::ForgetOrphan));
            match (alive.collect::<Vec<_>>(), mains.first()) {
                (alive, Some(&first)) if !alive.is_empty() => {
                    Trace::Orphan(Orphan { alive, first, deadline: *deadline, grace: *grace })
                }
                _ => unknown(ORPHANED),
            }
        }
        Some(TaskNote::Intent) => unknown(
            "the process that starts commands died just when it was to start it; whether it ran cannot be known",
        ),
        None if notes.is_complete() => Trace::NeverStarted,
        None => unknown("the machine was restarted; whether it was started cannot be known"),
    }
}

/// Whether only its host can say what became of a task that ran elsewhere.
pub(super) fn must_ask(notes: &Notes, task: &TaskId) -> bool {
    match notes.task(task) {
        Some(TaskNote::Ended(ended)) => matches!(ended.end.kind, TaskEndKind::Unknown { .. }),
        Some(TaskNote::Started { .. } | TaskNote::Intent) => true,
        None => !notes.is_complete(),
    }
}

pub(super) const ORPHANED: &str = "the process that watched it died; how it ended cannot be known";

/// Waits until exactly this process has ended.
pub(super) async fn wait_for_end(pid: i32, start: u64) {
    // A kernel without pidfd, or no descriptor for one.
    if wake_at_end(pid, start).await.is_err() {
        poll_for_end(pid, start).await;
    }
}

async fn wake_at_end(pid: i32, start: u64) -> io::Result<()> {
    let handle = match procfs::pidfd(pid) {
        Ok(handle) => handle,
        Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(()),
        Err(e) => return Err(e),
    };
    // Checked after the handle is held: before, the pid could have changed hands in between.
    if procfs::is_alive(pid, start) {
        // SAFETY: the descriptor is owned by the value handed over, and stays open and the same until that is dropped.
        let handle = unsafe { AsyncFd::register_with_interest(handle, tokio::io::Interest::READABLE) }?;
        drop(handle.readable().await?);
    }
    Ok(())
}

async fn poll_for_end(pid: i32, start: u64) {
    while procfs::may_be_alive(pid, start) {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
