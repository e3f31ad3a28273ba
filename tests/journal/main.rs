//! The run's folder and its journal, tested from outside: real files, real processes, real full disks.

mod chain;
mod common;
mod folder;
mod golden;
mod lock;
mod writer;
