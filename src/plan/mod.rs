//! What will be run: parameters applied, references resolved, a checked graph. Immutable, serialisable, hashed.
//!
//! Nothing in here looks at a clock, a file or a process.

mod compile;
mod difference;
mod foreach;
mod graph;
mod json;
mod known;
pub mod params;
mod requires;
mod tell;
pub mod template;
mod types;

pub use compile::{
    CompileError, DrillPlans, ParamProblem, Request, channels, compile, compile_drill, lint, shared_hosts,
    tidy,
};
pub use difference::{Difference, FieldChange, StepChange};
pub use foreach::{ForEach, ItemCount, ItemsVerdict, OnItemFailure};
pub use graph::Places;
pub use json::PlanError;
pub use known::Where;
pub use requires::{Address, Requires, Version, VersionNumber};
pub use tell::{Cadence, Level, Tell, Updates};
pub use types::*;
