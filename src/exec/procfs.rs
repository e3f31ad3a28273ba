//! Who a process is, as the kernel tells it, and signals that reach nobody else.
//!
//! A pid alone names nobody: it is used again. Boot id, pid and start time together name one process for ever.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::planted::{self, Bug};

/// What `/proc/PID/stat` says, as far as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub pid: i32,
    pub state: u8,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub threads: u64,
    /// Clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// A zombie has ended; only its parent has not asked for it yet. But one whose first thread alone has ended, and others
    /// go on, looks like a zombie, too.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// None: there is no such process, or it cannot be looked at.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    try_stat(pid).ok().flatten()
}

/// None: there is no such process. An error: there may be one.
fn try_stat(pid: i32) -> io::Result<Option<Stat>> {
    // One read: the file is shorter than this, and it changes between two.
    let mut text = [0; 1024];
    let read = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text));
    match read {
        Ok(length) => Ok(parse_stat(&text[..length])),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => Err(e),
        // Gone; or a stranger's, where the machine hides those.
        Err(_) => Ok(None),
    }
}

/// The name in parentheses may itself hold spaces and parentheses: the fields start after the last one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let close = text.iter().rposition(|b| *b == b')')?;
    let pid = text.split(|b| *b == b' ').next().and_then(|pid| std::str::from_utf8(pid).ok())?;
    let mut fields = std::str::from_utf8(text.get(close + 2..)?).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let threads = fields.nth(13)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Stat { pid: pid.parse().ok()?, state, parent, group, session, threads, start })
}

/// When children of this process were born, as their `stat` says it. The kernel makes whoever asks it right after a start
/// wait for the command's `exec`; so it is asked only where the clock does not tell as much.
#[derive(Debug, Default)]
pub(super) struct StartTimes {
    /// Whether the kernel writes the clock's time there. Unset: not seen yet.
    agrees: Option<bool>,
}

/// A moment before a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(Option<u64>);

impl StartTimes {
    pub fn before() -> Before {
        Before(ticks())
    }

    /// Of a child that was started since `before` and is not reaped yet. None: it cannot be looked at.
    pub fn start_of(&mut self, pid: i32, before: Before) -> Option<u64> {
        self.start_between(before.0, ticks(), || stat(pid).map(|stat| stat.start))
    }

    fn start_between(
        &mut self,
        before: Option<u64>,
        after: Option<u64>,
        ask: impl FnOnce() -> Option<u64>,
    ) -> Option<u64> {
        let sure = before.filter(|before| after == Some(*before));
        if sure.is_some() && self.agrees == Some(true) {
            return sure;
        }
        let said = ask();
        if let (Some(sure), Some(said)) = (sure, said) {
            self.agrees = Some(self.agrees != Some(false) && sure == said);
        }
        said
    }
}

/// The time since boot in the unit of `stat`.
fn ticks() -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    let a_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??)
        .ok()
        .filter(|ticks| SECOND.is_multiple_of(*ticks))?;
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let nanos = u64::try_from(now.tv_sec()).ok()?.checked_mul(SECOND)? + u64::try_from(now.tv_nsec()).ok()?;
    Some(nanos / (SECOND / a_second))
}

/// Every process that can be seen. One that ends meanwhile is left out. An error (no descriptor is free, say) means that
/// nobody knows who is there.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid {
            all.extend(try_stat(pid)?);
        }
    }
    Ok(all)
}

/// The kernel's name for this boot; empty where it has none.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// Whether exactly this process still runs.
pub(super) fn is_alive(pid: i32, start: u64) -> bool {
    stat(pid).is_some_and(|s| (s.start == start || planted::is(Bug::AnyStartTime)) && !s.has_ended())
}

/// Whether exactly this process may still run: that it cannot be seen for a moment is not its end.
pub(super) fn may_be_alive(pid: i32, start: u64) -> bool {
    try_stat(pid).map_or(true, |stat| stat.is_some_and(|s| s.start == start && !s.has_ended()))
}

/// Whether no thread of this process can do anything until it is told to go on, or it has ended. Also if it cannot be
/// looked at: nobody could tell better later.
pub(super) fn stands_still(pid: i32, start: u64) -> bool {
    let still = |thread: &Stat| matches!(thread.state, b'T' | b't' | b'Z' | b'X');
    match stat(pid) {
        Some(process) if process.start == start && !process.has_ended() => {
            still(&process) && (process.threads <= 1 || threads(pid).iter().all(still))
        }
        _ => true,
    }
}

fn threads(pid: i32) -> Vec<Stat> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path().join("stat"));
    paths.filter_map(|path| fs::read(path).ok()).filter_map(|text| parse_stat(&text)).collect()
}

/// A handle that stays with one process, even when its pid is used again.
pub(super) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes plain integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just handed out this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals the process that has this pid and start time, and nobody else. False: it is gone, or may not be signalled.
pub(super) fn signal(pid: i32, start: u64, signal: Signal) -> bool {
    let handle = match pidfd(pid) {
        Ok(handle) => handle,
        // A kernel without pidfd, or no descriptor: the check right before the signal is the best there is.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EMFILE | libc::ENFILE)) => {
            return is_alive(pid, start)
                && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok();
        }
        Err(_) => return false,
    };
    // The handle is held, so what is checked now is what is signalled next.
    if !is_alive(pid, start) {
        return false;
    }
    // SAFETY: the descriptor is open, the info pointer may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let text = b"42 (a) R 1 1 (\xff) S 7 42 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        let want = Stat { pid: 42, state: b'S', parent: 7, group: 42, session: 40, threads: 1, start: 98765 };
        assert_eq!(parse_stat(text), Some(want));
        assert_eq!(parse_stat(b"42 (a"), None);
    }

    #[test]
    fn the_clock_tells_a_birth_where_it_agrees_with_the_kernel() {
        let mut start_times = StartTimes::default();
        let asked = |start| move || Some(start);
        let never = || panic!("asked");
        // A tick went by: only the kernel knows.
        assert_eq!(start_times.start_between(Some(7), Some(8), asked(7)), Some(7));
        // The first time it is asked, to see whether both count alike.
        assert_eq!(start_times.start_between(Some(8), Some(8), asked(8)), Some(8));
        assert_eq!(start_times.start_between(Some(9), Some(9), never), Some(9));
        assert_eq!(start_times.start_between(Some(9), Some(10), || None), None);
        assert_eq!(start_times.start_between(None, None, asked(3)), Some(3));
        // A kernel that counts from elsewhere is asked each time.
        let mut start_times = StartTimes::default();
        for _ in 0..2 {
            assert_eq!(start_times.start_between(Some(8), Some(8), asked(100)), Some(100));
        }
        assert_eq!(start_times.start_between(Some(8), Some(8), asked(8)), Some(8));
        assert_eq!(start_times.start_between(Some(8), Some(8), asked(9)), Some(9));
    }

    #[test]
    fn the_clock_and_the_kernel_say_the_same_of_a_child() {
        let mut start_times = StartTimes::default();
        for _ in 0..20 {
            let before = StartTimes::before();
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let start = start_times.start_of(pid, before);
            assert_eq!(start, stat(pid).map(|stat| stat.start));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(start_times.agrees, Some(true));
    }

    #[test]
    fn a_stranger_is_not_signalled() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = stat(pid).unwrap().start;
        assert!(!signal(pid, start + 1, Signal::SIGKILL));
        assert!(is_alive(pid, start));
        assert!(signal(pid, start, Signal::SIGKILL));
        child.wait().unwrap();
        assert!(!is_alive(pid, start));
    }
}
