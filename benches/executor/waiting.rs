//! What the program costs while it waits for a person, with a command and a `wait` in hand beside.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::process;
use crate::samples::Samples;
use crate::work::{PATIENCE, Work};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(4);

pub const STEPS: &str = "  - id: person\n    manual: { instructions: \"Look whether the lamp is green\" }\n  \
                         - id: command\n    exec: [sleep, \"60\"]\n    needs: []\n  \
                         - id: time\n    wait: 60s\n    needs: []\n";

/// Memory, threads and wake-ups.
pub fn measure(work: &Work, samples: &mut Samples) -> Result<(), Failure> {
    if !samples.wants("waiting") {
        return Ok(());
    }
    eprintln!("waiting for {} s", WATCHED.as_secs());
    let mut command = work.command();
    command.arg("run").arg(work.path("waiting"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let family = process::until(PATIENCE, || Some(process::family(child.id())).filter(|f| f.len() > 1));
    let watched = family.map(|family| {
        // The start is over when the command runs.
        std::thread::sleep(Duration::from_secs(1));
        let before = process::switches(&family);
        std::thread::sleep(WATCHED);
        let woken = process::switches(&family) - before;
        samples.add("waiting.wakeups", woken as f64 / WATCHED.as_secs_f64());
        samples.add("waiting.mib", process::own_mib(&family));
        samples.add("waiting.threads", family.iter().map(|p| process::threads(*p)).sum::<u64>() as f64);
    });
    let still_there = child.try_wait()?.is_none();
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    child.wait()?;
    if still_there { watched } else { Err("the run that waits for a person has ended".into()) }
}
