//! What a terminal would obey: see the module of the same name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runbook_fuzz::neutral::check(bytes));
