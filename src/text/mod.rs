//! What every text from outside goes through before somebody sees it: secrets out (`redact`), and whatever could move
//! a cursor, hide or reorder text made visible ([`neutral`]).

pub mod neutral;
pub(crate) mod redact;

pub use redact::{RedactStream, Redactor};
