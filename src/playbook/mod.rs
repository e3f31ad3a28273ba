//! A playbook as a person typed it: YAML with positions, diagnostics, and the one description of the format from
//! which the decoder, the JSON schema and the reference page all follow.

pub mod ast;
pub mod diagnostic;
pub mod source;
