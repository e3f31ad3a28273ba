//! The heart: a pure function from what happened to what is recorded and done next.
//!
//! [`State::apply`] folds one record; [`Engine::handle`] takes an input and gives events and actions. Neither looks at
//! a clock, a file or a process, so a live run, a resumed run, a simulation and a report are the same fold.

mod state;

pub use state::{Activity, InFlight, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus};
