//! What a drill's world leaves running is ended with the drill.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long processes get to end by themselves.
const PATIENCE: Duration = Duration::from_secs(3);

/// Orphans of the drill come to this process from now on.
pub fn adopt() -> std::io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(Into::into)
}

/// Ends every process that descends from this one; gives their command lines. The keepers of the drill's own runs end by
/// themselves, a moment after their runs: they are waited for and are nothing to tell. Neither is a process without a
/// command line: it is ending already.
pub fn end_all() -> Vec<String> {
    let found: Vec<String> =
        descendants().into_iter().filter_map(command_of).filter(|command| !is_keeper(command)).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut signal = Signal::SIGTERM;
    loop {
        reap();
        let left = descendants();
        if left.is_empty() {
            return found;
        }
        if Instant::now() > deadline {
            signal = Signal::SIGKILL;
        }
        for pid in left {
            // It may have ended in between.
            let _ = kill(Pid::from_raw(pid), signal);
        }
        if Instant::now() > deadline + PATIENCE {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Every live process below this one.
fn descendants() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name may contain anything, also `)`: the fields begin after the last one.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let mut fields = fields.split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|p| p.parse::<i32>().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![own];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

fn is_keeper(command: &str) -> bool {
    command.split(' ').nth(2) == Some("__keeper")
}

/// None for a process that ended since it was found: it has no command line any more, and was not left running.
fn command_of(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        bytes.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    (!words.is_empty()).then(|| format!("{pid} {}", words.join(" ")))
}
