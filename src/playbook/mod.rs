//! A playbook as a person typed it: YAML with positions, diagnostics, and the one description of the format from
//! which the decoder, the JSON schema and the reference page all follow.

pub mod ast;
pub mod diagnostic;
pub mod format;
mod locate;
mod read;
mod scalar;
pub mod shape;
pub mod source;
mod syntax;
pub mod validate;
pub mod yaml;
