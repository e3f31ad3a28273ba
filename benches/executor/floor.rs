//! The least that the work itself costs: a loop in this process, without anything around it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawnp};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Failure;

/// About what a record of a journal has.
const RECORD: [u8; 300] = [b'x'; 300];

/// What is started.
pub type Command = [&'static CStr];
/// A step of the chain: what most tools make of a line.
pub const SHELL: &Command = &[c"sh", c"-c", c"true"];
/// The least that can be started.
pub const BARE: &Command = &[c"true"];
pub const SLEEP: &Command = &[c"sleep", c"1"];

/// `count` times: append, sync, start, wait. In seconds.
pub fn chain(ledger: &Path, command: &Command, count: usize) -> Result<f64, Failure> {
    let mut file = File::create(ledger)?;
    let began = Instant::now();
    for _ in 0..count {
        file.write_all(&RECORD)?;
        file.sync_data()?;
        let pid = start(command)?;
        waitpid(pid, None)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// The same, `width` at once: those that start together share one append and one sync. In seconds.
pub fn wide(ledger: &Path, command: &Command, count: usize, width: usize) -> Result<f64, Failure> {
    let mut file = File::create(ledger)?;
    let (mut left, mut running) = (count, 0);
    let began = Instant::now();
    while left > 0 || running > 0 {
        let fresh = left.min(width - running);
        if fresh > 0 {
            file.write_all(&RECORD.repeat(fresh))?;
            file.sync_data()?;
            for _ in 0..fresh {
                start(command)?;
            }
            (left, running) = (left - fresh, running + fresh);
        }
        waitpid(Pid::from_raw(-1), None)?;
        running -= 1;
        while running > 0 && !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG))?, WaitStatus::StillAlive) {
            running -= 1;
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// The average of `count` starts of `true`. In seconds.
pub fn spawns(count: u32) -> Result<f64, Failure> {
    let began = Instant::now();
    for _ in 0..count {
        waitpid(start(BARE)?, None)?;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(count))
}

/// The environment of every command, made once.
static ENVIRONMENT: LazyLock<Vec<CString>> = LazyLock::new(|| {
    std::env::vars().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect()
});

fn start(command: &Command) -> Result<Pid, Failure> {
    let (actions, attributes) = (PosixSpawnFileActions::init()?, PosixSpawnAttr::init()?);
    Ok(posix_spawnp(command[0], &actions, &attributes, command, &ENVIRONMENT)?)
}

/// A command's output through a pipe into a file. In seconds.
pub fn copy(from: &Path, to: &Path) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut command = std::process::Command::new("cat");
    let mut child = command.arg(from).stdout(std::process::Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let mut file = File::create(to)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match pipe.read(&mut buffer)? {
            0 => break,
            count => file.write_all(&buffer[..count])?,
        }
    }
    child.wait()?;
    Ok(began.elapsed().as_secs_f64())
}
