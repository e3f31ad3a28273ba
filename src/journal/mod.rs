//! The run's folder and its journal: append, sync, chain, read, verify, lock.
//!
//! This module knows records and bytes, and nothing of plans, steps or processes.
//!
//! # The folder
//!
//! [`StateDir`] is the place of all runs, [`RunDir`] the folder of one. Folders are 0700 and files 0600 whatever the
//! umask. Everything below the state folder is opened relative to an open folder (`openat`) and without following
//! symbolic links, and is refused if it belongs to somebody else or others could write to it.
//!
//! # The journal
//!
//! `journal.jsonl` holds one record a line (see `line.rs` for its exact form). Two hashes guard it:
//! - `prev` is the SHA-256 of the exact bytes of the line before, without its newline. It chains the lines: a line that
//!   is changed, added, removed or moved is found, except at the end of the file.
//! - `sum` covers the line itself, so that damage to the last line is found too.
//!
//! Neither can see that whole lines were cut off the end, or that somebody wrote the whole file anew. For that the
//! chain's head (the SHA-256 of the last line) is shown to people, and [`verify`] takes it back.
//!
//! When [`Journal::append`] returns `Ok`, its records are on disk. When it fails, nothing more may be started, and the
//! journal says so to every later append: after a failed fsync nobody can know what is on disk, and asking again would
//! be answered with a lie. A full disk is the one exception: [`Journal::append_outcomes`] may then use a reserve that
//! was set aside at creation, so that the end of what runs already can still be recorded.

mod error;
mod find;
mod folder;
mod line;
mod locks;
mod plain;
mod queue;
mod reader;
mod run_dir;
mod state_dir;
mod verify;
mod writer;

pub use error::{IoFault, JournalError, StateError};
pub use line::MAX_LINE;
pub use locks::{Holder, KeyGuard};
pub use reader::{Contents, JOURNAL_FILE, Tail, read, read_up_to};
pub use run_dir::{Driver, RunDir, WriterLock};
pub use state_dir::StateDir;
pub use verify::{
    Completeness, Ending, Integrity, PLAN_FILE, PlanCheck, Truncation, Verification, plan_of, verify,
};
pub use writer::{Journal, RESERVE_FILE, Torn};
