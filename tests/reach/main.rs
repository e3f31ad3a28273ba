//! Servers as they are: PostgreSQL, and HTTP over TLS. Each test starts its own and leaves nothing behind.

mod ca;
mod https;
#[path = "../keeper_support/mod.rs"]
mod keeper_support;
mod postgres;
mod postgres_tls;
mod postgres_trouble;
mod runs;
mod server;
#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "the tests of the commands use the rest")]
mod support;
