//! Everything people read: one fold over records, shown in many ways.
//!
//! - [`timeline`] turns each record into words; [`log_text`] lays them out for `runbook log`; [`Plain`] prints them as
//!   they happen; [`Json`] prints the records themselves.
//! - [`History`] collects what the records say of each step; [`status`], [`closing`] and [`incident`] are views of it.
//! - [`Live`] is the view on a terminal. It is the only one that also reads the engine's [`State`], for what is about
//!   to happen and stands in no record yet.
//! - [`plan_view`], [`show`] and [`mod@graph`] show a plan before anything is run; [`difference`] what an edit changes.
//!
//! No view looks at a clock, a process or a file; what is written goes to a writer that the caller passes. Texts from
//! commands and playbooks go through [`neutral`] on their way out, for a backup's file name may hold a terminal's
//! escape as well as any attacker's input. A reporter whose reader has gone falls silent and never stops a run.

pub mod brief;
pub mod checklist;
pub mod closing;
pub mod difference;
pub mod frame;
pub mod graph;
pub mod history;
pub mod incident;
pub mod json;
mod lines_out;
mod live;
pub mod log_text;
pub mod look;
pub mod notice;
pub mod outlook;
mod output;
pub mod past;
mod plain;
mod plan_asks;
pub mod plan_view;
pub mod question;
mod rendered;
mod rollback;
mod screen;
pub mod show;
pub mod status;
pub mod timeline;
pub mod told;
mod waves;
mod words;

pub use crate::text::neutral;
pub use brief::Brief;
pub use checklist::{About, Checklist};
pub use closing::{Closing, write_closing};
pub use difference::write_difference;
pub use graph::{GraphFormat, graph};
pub use history::History;
pub use incident::Incident;
pub use json::Json;
pub use live::Live;
pub use look::Look;
pub use outlook::Outlook;
pub use plain::Plain;
pub use plan_view::PlanView;
pub use question::write_question;
pub use show::{ParamRow, write_show};
pub use status::{RunSummary, Status, write_runs};
pub use words::answer_line;

use std::time::Duration;

use crate::engine::State;
use crate::model::{Millis, Record, TaskId, Timestamp};
use crate::plan::{Plan, StepIx};

/// Watches a run. A reporter that fails is dropped; it never stops a run.
pub trait Reporter {
    /// A record was synced and folded into `state`. What it brings may be shown with what follows, at the next
    /// [`Reporter::flush`].
    fn record(&mut self, plan: &Plan, state: &State, record: &Record);
    /// No further record comes at this moment: what is known is to be shown.
    fn flush(&mut self) {}
    /// Redacted output of a running task; `stderr` tells the streams apart.
    fn output(&mut self, task: &TaskId, stderr: bool, bytes: &[u8]);
    /// Called a few times a second while something runs.
    fn tick(&mut self, plan: &Plan, state: &State, now: Millis, wall: Timestamp);
    /// A record from before this process took the run up: to be known, not to be told as news.
    fn replay(&mut self, plan: &Plan, state: &State, record: &Record) {
        let _ = (plan, state, record);
    }
    /// How often [`Reporter::tick`] is wanted; `None` for a view that only speaks of records.
    fn tick_every(&self) -> Option<Duration> {
        None
    }
    /// What the person at this terminal types as an answer; `None` when nothing is listened to.
    fn typing(&mut self, prompt: Option<&Prompt<'_>>) {
        let _ = prompt;
    }
    /// The run has ended, and only word of it is still on its way: so many notices, for so long at most.
    fn leaving(&mut self, notices: usize, within: Millis) {
        let _ = (notices, within);
    }
    /// This process was stopped and goes on: others have written to the terminal since.
    fn continued(&mut self) {}
    /// The run is over or this process leaves it: give the terminal back.
    fn finish(&mut self, plan: &Plan, state: &State);
}

/// The line on which a person answers.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// The step whose question is answered.
    pub step: StepIx,
    pub line: &'a str,
    /// Why what was typed last is no answer.
    pub note: &'a str,
}

/// The output of a task that a report quotes; `None` if there is none. The flag asks for stderr. At most the last
/// 64 KiB are looked at, so no more needs to be read.
pub type TailFn<'a> = dyn Fn(&TaskId, bool) -> Option<Vec<u8>> + 'a;
