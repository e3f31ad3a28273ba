//! The one loop that joins engine, journal and exec: an input arrives, the engine decides, all records are synced, and
//! only then the acts are performed. Signals, the clock and a person's words come in here as plain inputs.
//!
//! - [`start`] makes a new run's folder and drives it; [`resume`] goes on with a run whose process is gone.
//! - [`attach`] watches a run that another process drives; [`load`] folds a run's journal for those who only look.
//! - [`past_of`] reads what past runs of a playbook tell of its steps.
//! - [`control`] carries a person's words from another terminal to the process that drives a run.

mod attach;
mod clock;
pub mod control;
mod drive;
mod error;
mod facts;
mod hear;
mod keys;
mod limits;
mod load;
mod past;
mod prompt;
mod remark;
mod resume;
mod script;
mod secrets;
mod start;
mod status_file;
mod tell;
mod wind_down;

pub use attach::{Watched, attach};
pub use clock::wall_now;
pub use drive::Finished;
pub use error::RunError;
pub use facts::{Identity, boot_id};
pub use hear::{answer_undriven, open_undriven, questions, store_evidence};
pub use load::{LoadedRun, holder, load, load_finished, read_finished};
pub use past::look as past_of;
pub use remark::remark_undriven;
pub use resume::{Intent, NewPlan, ResumeRequest, resume};
pub use script::Script;
pub use secrets::keys;
pub use start::{MakeReporters, People, StartRequest, start};
