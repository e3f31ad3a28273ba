//! The heart: a pure function from what happened to what is recorded and done next.
//!
//! [`State::apply`] folds one record. [`Engine::handle`] takes an input and gives records and acts; it folds each of
//! its own records on the way, so that the state after a decision is always the fold of the journal. Neither looks at a
//! clock, a file or a process: a live run, a resumed run, a simulation and a report are the same fold.
//!
//! Every decision is a function of the state alone ([`Activity::Deciding`] holds what a task's end told). A crash between
//! two records of one decision therefore loses nothing: the next process folds what is on disk and decides again.
//!
//! [`Engine::likely_next`] guesses what a decision will start. It is no part of one.

mod apply;
mod ask;
mod core;
mod figures;
mod flow;
mod foresight;
mod group;
mod hear;
mod items;
mod judge;
mod lost;
mod objectives;
mod projection;
mod render;
mod reopen;
mod replan;
mod state;
mod step;
mod tell;
mod undo;

pub use core::{Act, Clock, Decision, Engine, Found, Input, RunFacts, StartTask};
pub use judge::default_expectation;
pub use projection::{Overdue, Projection};
pub use replan::Replan;
pub use state::{
    Activity, Asking, Heard, InFlight, Lost, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus,
};
pub use tell::{Outgoing, Told};
