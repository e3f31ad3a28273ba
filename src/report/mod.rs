//! One fold over records, shown in many ways: live view, plain lines, JSON, timeline, incident report.

use crate::engine::State;
use crate::model::{Millis, Record, TaskId, Timestamp};
use crate::plan::Plan;

/// Watches a run. A reporter that fails is dropped; it never stops a run.
pub trait Reporter {
    /// A record was synced and folded into `state`.
    fn record(&mut self, plan: &Plan, state: &State, record: &Record);
    /// Redacted output of a running task; `stderr` tells the streams apart.
    fn output(&mut self, task: &TaskId, stderr: bool, bytes: &[u8]);
    /// Called a few times a second while something runs.
    fn tick(&mut self, plan: &Plan, state: &State, now: Millis, wall: Timestamp);
    /// The run is over or this process leaves it: give the terminal back.
    fn finish(&mut self, plan: &Plan, state: &State);
}
