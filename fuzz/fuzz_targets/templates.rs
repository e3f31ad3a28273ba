//! Templates and expressions: see the module of the same name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runbook_fuzz::templates::check(bytes));
