//! A mark that every process of a task carries from its birth: one that empties its environment, leaves its session
//! and loses its parent still has it.
//!
//! It is the soft limit of file locks. The kernel hands limits on to children and through `exec`, whoever runs; it has
//! not looked at this one since Linux 2.4.25; and anybody may read it in `/proc/PID/limits`. The keeper sets its own for
//! the moment of a start. A process would have to change just this limit to get rid of it.

use std::fs;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use sha2::{Digest, Sha256};

/// What this process was given, soft and hard. It is nobody else's to change.
static GIVEN: OnceLock<Option<(rlim_t, rlim_t)>> = OnceLock::new();

/// `RB` in front says that it is a mark at all.
const PREFIX: u64 = 0x5242 << 48;
const PREFIX_BITS: u64 = 0xffff << 48;

/// The mark of the task with this token.
pub(super) fn of(token: &str) -> u64 {
    let hash = Sha256::digest(token);
    let tail = hash.iter().take(6).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    PREFIX | tail
}

/// What `start` starts carries the mark, where the hard limit allows it. For a process of one thread.
pub(super) fn with<T>(mark: u64, start: impl FnOnce() -> T) -> T {
    let given = GIVEN.get_or_init(|| getrlimit(Resource::RLIMIT_LOCKS).ok());
    let Some((soft, hard)) = *given else { return start() };
    let marked = set(mark, hard);
    let result = start();
    if marked {
        set(soft, hard);
    }
    result
}

fn set(soft: rlim_t, hard: rlim_t) -> bool {
    setrlimit(Resource::RLIMIT_LOCKS, soft, hard).is_ok()
}

/// The mark of a living process; none if it was not started by a keeper, or got rid of it.
pub(super) fn of_process(pid: i32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

fn parse(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    let soft: u64 = line.split_whitespace().next()?.parse().ok()?;
    (soft & PREFIX_BITS == PREFIX).then_some(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_told_from_an_ordinary_limit() {
        let mark = of("/runs/a/one.1");
        assert_ne!(mark, of("/runs/a/one.2"));
        let line = |soft: &str| {
            format!("Max cpu time  unlimited\nMax file locks            {soft}  unlimited  locks\n")
        };
        assert_eq!(parse(&line(&mark.to_string())), Some(mark));
        assert_eq!(parse(&line("unlimited")), None);
        assert_eq!(parse(&line("1024")), None);
    }

    #[test]
    fn it_is_handed_on_through_an_emptied_environment_and_not_kept() {
        let mark = of("here");
        let start =
            || std::process::Command::new("env").args(["-i", "setsid", "-w", "sleep", "60"]).spawn().unwrap();
        let mut child = with(mark, start);
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(of_process(pid), Some(mark));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_process(i32::try_from(std::process::id()).unwrap()), None);
    }
}
