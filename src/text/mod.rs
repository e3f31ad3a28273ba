//! What every text from outside goes through before somebody sees it: secrets out (`redact`), and whatever could move
//! a cursor, hide or reorder text made visible ([`neutral`]). `fault` puts errors of the network into words.

pub(crate) mod fault;
pub mod neutral;
pub(crate) mod redact;

pub use redact::{RedactStream, Redactor};
