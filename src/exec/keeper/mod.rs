//! The keeper: the small process that starts a run's commands and outlives the runner.
//!
//! One per run, the same binary, in its own session, single-threaded, without a runtime: one `poll` over the runner's
//! socket, the listening socket, the pipes of the commands, a timer and what tells of ended children. It notes what it
//! does before it does it (see [`super::notes`]), so that whoever comes later can tell what happened.
//!
//! With the runner gone it carries on: it finishes what it was told, enforces timeouts, writes outputs and notes, and
//! waits for the next runner on `keeper/sock`. It leaves when nothing runs, nothing holds an output open, and no runner
//! is connected.
//!
//! - `setup`: descriptors and signals · `keep`: the loop · `task`: one task · `begin`, `end`: its two ends
//! - `far`: tasks on other hosts · `ways`: the connections to them
//! - `spawn`, `launch`: starting processes · `sink`: where output goes · `conn`: the runner · `pause`: Ctrl-Z

mod begin;
mod conn;
mod end;
mod far;
mod keep;
mod launch;
mod pause;
mod setup;
mod sink;
pub(super) mod spawn;
mod task;
mod ways;

use std::path::Path;

pub(super) use setup::{SOCKET, check_peer};

/// The body of the hidden `__keeper` command. Never returns to the caller's work.
pub fn keeper_main(run_dir: &Path) -> u8 {
    // There is nobody to tell: the runner sees the socket close and reads the notes.
    match keep::Keeper::new(run_dir).and_then(keep::Keeper::run) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
