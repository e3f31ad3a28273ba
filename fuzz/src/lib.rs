//! What each fuzz target holds: one property a module, a function of bytes that panics where the property is broken.
//!
//! `fuzz_targets/` hands libFuzzer's inputs to these functions. `tests/fuzz_seeds.rs` includes this file and hands them
//! every committed seed, so that what was found once is tried by each `cargo test`.

pub mod input;
pub mod journal;
pub mod names;
pub mod neutral;
pub mod playbook;
pub mod quoting;
pub mod redactor;
pub mod templates;

/// Panics if the input breaks it.
pub type Property = fn(&[u8]);

/// Each target's name and its property.
pub const TARGETS: [(&str, Property); 7] = [
    ("journal", journal::check),
    ("names", names::check),
    ("neutral", neutral::check),
    ("playbook", playbook::check),
    ("quoting", quoting::check),
    ("redactor", redactor::check),
    ("templates", templates::check),
];
