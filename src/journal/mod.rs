//! The run's folder and its journal: append, sync, chain, read, verify, lock.
//!
//! This module knows records and bytes, and nothing of plans, steps or processes.
