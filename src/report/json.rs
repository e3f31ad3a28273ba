//! Records as JSON lines: what `run --json` prints while it runs and `log --json` afterwards.
//!
//! A line has the shape of the journal's line without `prev`, and loses nothing: readers of one can read the other.

use std::io::Write;

use serde::Serialize;

use super::Reporter;
use super::lines_out::LinesOut;
use crate::engine::State;
use crate::model::{Event, FORMAT, Millis, Record, TaskId, Timestamp};
use crate::plan::Plan;

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    epoch: u32,
    t: Millis,
    at: Timestamp,
    event: &'a Event,
}

/// The record as one JSON line, without its newline.
///
/// # Errors
/// Never for a record of this program; serde's signature asks for it.
pub fn record_line(record: &Record) -> serde_json::Result<String> {
    let Record { seq, epoch, t, at, event } = record;
    serde_json::to_string(&Line { v: FORMAT, seq: *seq, epoch: *epoch, t: *t, at: *at, event })
}

/// Prints each record as a JSON line. When the reader has gone it falls silent.
pub struct Json<W> {
    out: LinesOut<W>,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out: LinesOut::new(out) }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn record(&mut self, _plan: &Plan, _state: &State, record: &Record) {
        // It does not fail: see `record_line`.
        if !self.out.is_silent()
            && let Ok(line) = record_line(record)
        {
            self.out.text().push_str(&line);
            self.out.text().push('\n');
        }
    }

    fn flush(&mut self) {
        self.out.flush();
    }

    fn output(&mut self, _task: &TaskId, _stderr: bool, _bytes: &[u8]) {}

    fn tick(&mut self, _plan: &Plan, _state: &State, _now: Millis, _wall: Timestamp) {}

    fn finish(&mut self, _plan: &Plan, _state: &State) {
        self.out.flush();
    }
}
