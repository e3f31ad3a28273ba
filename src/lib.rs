//! runbook carries out disaster-recovery playbooks and records truthfully what happened.
//!
//! # How a run flows
//!
//! 1. [`playbook`] reads YAML as a person typed it. Every value keeps its place in the file, so that each mistake can
//!    be shown where it is. One description of the format ([`playbook::format`]) gives the decoder, the JSON schema and
//!    the reference page.
//! 2. [`plan`] compiles that with the parameters of the command line into a graph of steps in which everything that
//!    can be known before the start is resolved. A plan is immutable data; its JSON is stored with the run and its hash
//!    stands in the first record. From here on nobody looks at the YAML again, so an edit during the incident cannot
//!    change what a resumed run does.
//! 3. [`engine`] is the heart: given what happened and what time it is, it says which records are to be written and
//!    which acts are to be performed. It touches nothing. Its state is the fold of the records and nothing else.
//! 4. [`runner`] is the one loop. It waits for an input (a command ended, a deadline is due, a person spoke), asks the
//!    engine, has [`journal`] append and sync the records, tells the reporters, and then hands the acts to [`exec`].
//! 5. [`exec`] carries out one task at a time per step: SQL and HTTP in this process, commands by way of the *keeper*, a
//!    small companion process (this binary, started as `__keeper`) that outlives a killed runner and notes how each
//!    command ended.
//! 6. [`report`] is one fold over the same records for people: the live view, plain lines, the log, the closing block
//!    and the incident report cannot disagree.
//!
//! [`drill`] runs each section of a playbook's drill as a plan of its own through the same loop. [`cli`] holds the
//! commands, and turns errors into words and exit codes. [`preflight`] looks whether what a run needs is there: before the
//! first step, and for `runbook doctor`. [`notify`] tells people outside; [`text`] makes what comes from
//! outside safe to show. [`model`] is the vocabulary that all of them share.
//!
//! # The one rule
//!
//! **Records are synced before acts are performed.** The loop decides, syncs, acts, tells, in this order. A command whose
//! start is not in the journal never ran. When the journal cannot be written, nothing new is started. When a report
//! cannot be written, the run goes on. Whoever adds a way to touch the world adds a record that is written before it.
//!
//! A decision depends on the folded state alone. A process that dies between two records of one decision loses
//! nothing: the next process folds what is on disk and decides again.
//!
//! # Who may use whom
//!
//! | module | may use |
//! |---|---|
//! | `model` | nothing |
//! | `playbook` | `model` |
//! | `plan` | `playbook` (its parsed form), `model` |
//! | `engine` | `plan`, `model` |
//! | `text` | `model` |
//! | `journal` | `model` |
//! | `exec`, `notify` | `text`, `model` |
//! | `report` | `engine` (its state), `plan`, `text`, `model` |
//! | `preflight` | `journal`, `exec`, `plan`, `text`, `model` |
//! | `runner` | `engine`, `journal`, `exec`, `notify`, `report`, `preflight`, `plan`, `text`, `model` |
//! | `drill` | `runner` and what is below it |
//! | `cli` | all; nobody uses `cli` |
//!
//! All may ask `planted` whether a test has planted a bug; in the product the answer is a constant.
//!
//! `engine`, `exec`, `notify` and `journal` never see one another. `engine` and `plan` know no clock, randomness, file, process
//! or async. `tests/house/walls.rs` and clippy (see `clippy.toml`) hold both.
//!
//! # Where to add what
//!
//! - **An action kind**: its keys in `playbook/format.rs`, `ast.rs` and `decode.rs`; its resolved form `plan::Action` and
//!   its compiler in `plan/compile/command.rs`; what it is when rendered, `model::Op`, made in `engine/render.rs`; how it
//!   is carried out, in `exec`; how it is shown, in `report/rendered.rs` and `report/words.rs`. The compiler names the
//!   matches that are missing. Then a case in `tests/cases`, `UPDATE_CASES=1` for the schema and `docs/reference.md`.
//! - **A command**: its arguments in `cli/args.rs`, a file of its own in `cli/`, a line in `cli::main`'s dispatch.
//! - **A record**: a variant of `model::Event`, its fold in `engine/apply.rs`, its words in `report/timeline.rs`, a line
//!   in the golden journal. A released record never changes its meaning; see `model/record.rs`.
//! - **A kind of channel**: see [`notify`].
//! - **A kind of check**, before a run and for `doctor`: see [`preflight`].
//! - **A section of the report**: its data in `report/incident/build.rs`, its layout in `markdown.rs` and `html.rs`.

pub mod cli;
pub mod drill;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod engine;
pub mod exec;
pub mod journal;
pub mod model;
pub mod notify;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod plan;
mod planted;
pub mod playbook;
pub mod preflight;
pub mod report;
pub mod runner;
pub mod text;
