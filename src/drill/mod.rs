//! Drills: a playbook is proved on a world that is built for it, broken on purpose, and taken down again.
//!
//! Each section of a drill is a plan of its own and runs through the same engine, journal and keeper as a real
//! recovery, so there is no second way of running things that could behave differently.

mod fault;
mod isolation;
mod leftovers;
mod report;
mod stage;

pub use fault::Fault;
pub use isolation::{Ended, enter, first_process_main, hides, threshold_main};
pub use report::{Assertion, DrillReport, StageReport, Verdict};
pub use stage::{DrillError, DrillRequest, free_port, run};
