//! One whole process: how long, how much memory, how often it was woken.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::libc;

use crate::Failure;

pub struct Spent {
    pub seconds: f64,
    /// The most memory that the process itself, not its children, had at any moment.
    pub peak_mib: f64,
}

/// Runs to the end; what it writes goes nowhere. It is a failure if it does not end as expected.
pub fn run(command: &mut Command, expected: i32) -> Result<Spent, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let (status, usage) = wait(child.id())?;
    let seconds = began.elapsed().as_secs_f64();
    if status.code() != Some(expected) {
        return Err(format!("{command:?} ended with {status}, not with {expected}").into());
    }
    Ok(Spent { seconds, peak_mib: usage.ru_maxrss as f64 / 1024.0 })
}

fn wait(pid: u32) -> io::Result<(ExitStatus, libc::rusage)> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: all zeros is a value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are valid for the call.
        let found = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if found == pid {
            return Ok((ExitStatus::from_raw(status), usage));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A process and its children, without what they start in turn.
pub fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|p| p.parse().ok())).collect()
}

/// A field of `/proc/PID/status`; none if the process is gone.
fn status_field(pid: u32, thread: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The most memory so far, in MiB, of all of them together.
pub fn peak_mib(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| status_field(*pid, *pid, "VmHWM")).sum::<u64>() as f64 / 1024.0
}

/// The memory in MiB that they take from the machine now: a page that several processes share counts in parts, so that what
/// both have of the program's file counts once.
pub fn own_mib(pids: &[u32]) -> f64 {
    let of = |pid: &u32| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
    };
    pids.iter().filter_map(of).sum::<u64>() as f64 / 1024.0
}

pub fn threads(pid: u32) -> u64 {
    status_field(pid, pid, "Threads").unwrap_or(0)
}

/// How often their threads have waited for something and were woken.
pub fn switches(pids: &[u32]) -> u64 {
    let of = |pid: &u32| -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let ids = threads.filter_map(|t| t.file_name().to_str()?.parse().ok());
        ids.filter_map(|thread| status_field(*pid, thread, "voluntary_ctxt_switches")).sum()
    };
    pids.iter().map(of).sum()
}

/// Looks again and again until `ready` gives something.
pub fn until<T>(patience: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if began.elapsed() > patience {
            return Err("what was waited for did not come".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
