//! runbook: a declarative disaster-recovery runbook executor.

pub mod cli;
pub mod drill;
pub mod engine;
pub mod exec;
pub mod journal;
pub mod model;
pub mod plan;
pub mod playbook;
pub mod report;
pub mod runner;
