//! The channels against real receivers: an HTTP server on threads, a mail server in Python, real commands.

mod cli;
mod command;
mod ends;
mod hand;
mod http;
mod mail;
mod order;
mod runs;
mod support;
mod whole;
