//! Carries out one task: processes through the keeper, here and on other hosts; SQL, HTTP.
//!
//! The runner has synced the task's start record before it calls [`Exec::begin`].
//!
//! - `client` (`start`, `join`, `lose`), `attach`, `link`: the runner's side · `keeper`: the companion process that owns the commands
//! - `protocol`: what they say to each other · `notes`: what the keeper writes down for whoever comes later
//! - `tree`, `mark`: every process of a task · `kin`: of a command that is none · `orphan`: a command that outlived its keeper
//! - `boot`: the clock
//! - `outputs`: what a task left behind, secrets taken out by [`crate::text`] · `procfs`: who a process is
//! - `far`: commands on other hosts
//! - `http`, `sql`: carried out in the runner itself · `descriptors`: how many may be open, here and in what is started

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Host, Millis, Op, Secret, SecretName, TaskEnd, TaskId, TaskOutput, Want};
use crate::text::redact;

mod attach;
mod boot;
mod client;
mod descriptors;
mod far;
mod http;
mod keeper;
mod kin;
mod link;
mod mark;
mod notes;
mod orphan;
mod outputs;
mod procfs;
mod protocol;
mod sql;
mod tree;

pub use boot::sleep;
pub use client::Exec;
pub use descriptors::{give_limit_back, raise_descriptor_limit};
pub use far::{Look, Looked};
pub use keeper::keeper_main;
pub use kin::kill_with_children;
pub use redact::{RedactStream, Redactor};

/// A task to start.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    pub task: TaskId,
    pub op: Op,
    /// None: no limit.
    pub timeout: Option<Millis>,
    pub grace: Millis,
    pub want: Want,
    /// The output is not kept.
    pub sensitive: bool,
    /// `RUNBOOK_RUN`, `RUNBOOK_STEP`, ...; `RUNBOOK_OUTPUT` is added here.
    pub env: Vec<(String, String)>,
    /// Where the programs of a playbook are found that lead to other hosts.
    pub root: PathBuf,
}

/// A task that was in flight when the runner before this one ended, or whose outcome was not known.
#[derive(Debug, Clone)]
pub struct InFlight {
    pub task: TaskId,
    pub want: Want,
    /// None: it ran here.
    pub abroad: Option<Abroad>,
}

/// What it takes to ask another host about a task.
#[derive(Debug, Clone)]
pub struct Abroad {
    pub host: Host,
    /// Where the programs of a playbook are found.
    pub root: PathBuf,
    pub sensitive: bool,
    /// What is left of its time.
    pub timeout: Option<Millis>,
    pub grace: Millis,
    /// How long ago it was to begin.
    pub age: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What tasks report, in order of arrival.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub enum ExecEvent {
    /// Redacted output, for the screen. May be thinned out when it comes faster than it is read; the file is whole.
    Output {
        task: TaskId,
        stream: Stream,
        bytes: Vec<u8>,
    },
    Ended {
        task: TaskId,
        end: TaskEnd,
        output: TaskOutput,
    },
    /// The keeper is gone. An `Ended` follows for each of its tasks: with what it had noted, else with `Unknown`; for a
    /// process that outlived the keeper, once that has ended.
    KeeperLost {
        why: String,
    },
}

/// What is known about a task that was in flight when the runner before this one ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful at the start of a resumed run")]
pub enum Finding {
    /// The keeper surely never started it.
    NeverStarted,
    Ended {
        end: TaskEnd,
        output: TaskOutput,
    },
    /// It runs; its `Ended` will come.
    Running,
    Unknown {
        why: String,
    },
}

/// Where and with what tasks are carried out.
#[derive(Clone)]
pub struct ExecConfig {
    /// The run's folder, absolute, checked by the journal.
    pub run_dir: PathBuf,
    pub secrets: Arc<BTreeMap<SecretName, Secret>>,
    /// Bytes of one output that are kept; of more, the head and a tail of 1 MiB.
    pub output_cap: u64,
    /// What the keeper is started from; `/proc/self/exe` in the program itself.
    pub keeper_binary: PathBuf,
}
