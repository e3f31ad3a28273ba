//! Takes word of a run to the outside.
//!
//! Somebody else decides *when* a notice is sent and records it; here is only the way from a [`Notice`] as plain data to
//! a [`Delivery`]. Nothing here stops a recovery: whatever goes wrong is a `Delivery` that says why.
//!
//! - [`Notifier`] has a queue for each channel: the notices of one channel are sent in order, and a dead channel keeps no
//!   other one waiting. [`send`] sends a single notice.
//! - `deliver` is the one loop of tries: a limit for each try, growing pauses with jitter, `Retry-After`, a limit for all.
//! - `clean` makes a notice harmless before any channel sees it (secrets out, control characters visible, length bounded)
//!   and gives the texts that the channels share.
//! - `slack`, `pagerduty`, `webhook`: what is posted, a `http::Post`; `http` posts it and judges the answer.
//! - `email`, `command`: the ways that are no HTTP.
//!
//! # Adding a kind of channel
//!
//! 1. Its data: a variant of [`ChannelKind`](crate::model::ChannelKind) in `model/channel.rs`; the compiler names the
//!    matches that are missing (its name, its secrets, what is shown of it).
//! 2. Its keys: `playbook/format.rs`, `ast.rs`, `decode.rs`, and what can be wrong with them in `playbook/channels.rs`.
//! 3. A file here. If it is a POST, a function from the channel and the notice to a `http::Post` is all; else a type
//!    with `attempt`, and a variant of `Way` in `deliver.rs`. Secrets are put in by `Keys::resolve` and nowhere else.
//! 4. A test against a real server in `tests/notify`; a section in `docs/playbooks.md`; `UPDATE_CASES=1` for the schema and
//!    the reference.

mod clean;
mod command;
mod deliver;
mod email;
mod http;
mod keys;
mod pagerduty;
mod pause;
mod queue;
mod slack;
mod webhook;

use crate::model::{Channel, Delivery, Notice};

pub use keys::Keys;
pub use queue::{Notifier, Sent};
pub use webhook::signature;

/// Sends one notice and comes back when it is delivered or given up: at the latest after the channel's `retry_for` and
/// one `timeout`. It may be dropped at any time; then nobody knows whether the notice arrived.
pub async fn send(channel: &Channel, notice: &Notice, keys: &Keys) -> Delivery {
    deliver::Line::new(channel.clone()).send(notice, keys, &deliver::Progress::default()).await
}
