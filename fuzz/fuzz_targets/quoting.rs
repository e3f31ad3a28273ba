//! Values in commands, carried out by bash and dash: see the module of the same name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runbook_fuzz::quoting::check(bytes));
