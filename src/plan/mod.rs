//! What will be run: parameters applied, references resolved, a checked graph. Immutable, serialisable, hashed.
//!
//! Nothing in here looks at a clock, a file or a process.

pub mod params;
pub mod template;
mod types;

pub use types::*;
