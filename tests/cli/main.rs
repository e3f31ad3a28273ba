//! Acceptance: the real binary, real shells, real files, as an engineer on call meets them.

mod comfort;
mod crash;
mod data;
mod database;
mod doctor;
mod drill;
mod flow;
mod foreach;
mod isolation;
mod journal;
mod looking;
mod mistakes;
mod notices;
mod people;
mod projection;
mod prompts;
mod refusals;
mod replan;
mod scale;
mod secrets;
mod signals;
mod snapshots;
mod support;
mod terminal;
mod trees;
mod undo;
