//! Ends a process with what it has started: for the few commands that are no task and carry no mark.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use super::procfs;

/// So often at most new children are looked for: what is found stands still and makes no more.
const PASSES: usize = 20;

/// Kills the process and those whose parents lead to it. One whose parent has ended is not found any more. The caller
/// waits for the process itself, so that its pid is its own until then.
pub fn kill_with_children(pid: u32) {
    let Ok(root) = i32::try_from(pid) else { return };
    // Start times by pid.
    let mut found: BTreeMap<i32, u64> = BTreeMap::new();
    for _ in 0..PASSES {
        let Ok(all) = procfs::all() else { break };
        let mut new: Vec<&procfs::Stat> = Vec::new();
        loop {
            let member = |p: &&procfs::Stat| p.pid == root || found.contains_key(&p.parent);
            let more: Vec<_> = all.iter().filter(member).filter(|p| !found.contains_key(&p.pid)).collect();
            if more.is_empty() {
                break;
            }
            found.extend(more.iter().map(|p| (p.pid, p.start)));
            new.extend(more);
        }
        if new.is_empty() {
            break;
        }
        for process in new {
            procfs::signal(process.pid, process.start, Signal::SIGSTOP);
        }
    }
    for (pid, start) in found {
        procfs::signal(pid, start, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_of_children_go_and_strangers_stay() {
        let script = "sh -c 'sleep 3600 & echo $!; wait' & echo $!; wait";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stranger = Command::new("sleep").arg("3600").spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pids: Vec<i32> = lines.take(2).map(|line| line.unwrap().parse().unwrap()).collect();
        let starts: Vec<u64> = pids.iter().map(|pid| procfs::stat(*pid).unwrap().start).collect();
        kill_with_children(child.id());
        child.wait().unwrap();
        let alive = || pids.iter().zip(&starts).any(|(pid, start)| procfs::is_alive(*pid, *start));
        while alive() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
