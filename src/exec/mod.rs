//! Carries out one task: local processes through the keeper, SQL, HTTP.
//!
//! The runner has synced the task's start record before it calls [`Exec::begin`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Millis, Op, Secret, SecretName, TaskEnd, TaskId, TaskOutput, Want};

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What tasks report, in order of arrival.
#[derive(Debug)]
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
    /// The keeper is gone: what it ran is unknown. An `Ended` with `Unknown` follows for each of its tasks.
    KeeperLost {
        why: String,
    },
}

/// What is known about a task that was in flight when the runner before this one ended.
#[derive(Debug)]
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
}

/// The tasks of one run.
pub struct Exec {}

impl Exec {
    /// For a new run. Starts nothing yet: the keeper is started with the first process.
    pub fn new(config: ExecConfig) -> Self {
        let _ = config;
        todo!()
    }

    /// For a resumed run: joins the keeper if it lives, else reads what it noted, and says for each task in flight
    /// what became of it.
    pub async fn attach(
        config: ExecConfig,
        in_flight: Vec<(TaskId, Want)>,
    ) -> std::io::Result<(Self, Vec<(TaskId, Finding)>)> {
        let _ = (config, in_flight);
        todo!()
    }

    /// Starts a task. Whatever goes wrong comes as its `Ended`.
    pub fn begin(&mut self, spec: TaskSpec) {
        let _ = spec;
        todo!()
    }

    /// Ends a task's process tree: TERM, grace, KILL; with `force` KILL at once. Its `Ended` follows.
    pub fn stop(&mut self, task: &TaskId, force: bool) {
        let _ = (task, force);
        todo!()
    }

    /// The next event; pending for ever if nothing runs.
    pub async fn next(&mut self) -> ExecEvent {
        todo!()
    }
}

/// The body of the hidden `__keeper` command. Never returns to the caller's work.
pub fn keeper_main(run_dir: &std::path::Path) -> u8 {
    let _ = run_dir;
    todo!()
}
