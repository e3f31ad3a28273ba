//! What is true after a crash: the real binary is killed, starved and lied to, and an outside ledger says what happened.
//!
//! - `book`: the playbooks, their ledger and the oracle · `chance`: seeded choices, sizes and how to replay them
//! - `sweep`: SIGKILL at random times, of the runner alone and of the keeper too
//! - `points`: SIGKILL at each system call that touches the run's folder · `faults`: errors injected at each of them
//! - `order`: what is on disk when an order goes out · `keeper`: SIGKILL of the keeper at its notes
//! - `clock`: a machine that slept, a clock that was set · `reuse`, `stranger`: a pid that is used again, by the kernel and in a
//!   note
//! - `fulldisk`: a disk that is really full · `shortwrite`: writes that end within a record · `reboot`: another boot · `torn`: a cut tail · `alone`: one at a time
//!
//! Sizes fit CI. `RUNBOOK_SWEEP=200` asks for the long form, `RUNBOOK_SWEEP_SEED=N` replays a sweep.

mod alone;
mod book;
mod chance;
mod clock;
mod faults;
mod fulldisk;
mod keeper;
mod order;
mod points;
mod reboot;
mod reuse;
mod shortwrite;
mod strace;
mod stranger;
mod sweep;
mod torn;

#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the command line, which use all of it")]
mod support;
