//! The engine against a simulated world: a deterministic proof of what a run promises, and a specification by example.
//!
//! `SIMULATION_SEED=N` replays one seed and prints its plan and journal; `SIMULATION_SEEDS=N` runs that many instead of
//! the usual number. A failure names its seed.

mod crashes;
mod edits;
mod oracle;
mod people;
mod plans;
mod projection;
mod random;
mod seeds;
mod sim;
mod spec;
mod speed;
mod totality;
mod world;
