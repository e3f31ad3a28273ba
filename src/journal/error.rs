//! What can go wrong with folders and journals, in words for people.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::Holder;
use crate::model::{RunId, Timestamp};

/// A failed call to the system. Cloneable, because a poisoned journal gives the same cause again and again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {doing} {}: {text}", path.display())]
pub struct IoFault {
    pub path: PathBuf,
    /// What was tried, as a verb: `write`, `sync`, ...
    pub doing: &'static str,
    /// The system's error number, where there is one.
    pub errno: Option<i32>,
    text: String,
}

impl IoFault {
    pub(super) fn new(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error();
        let text = match errno {
            Some(number) => lower_first(Errno::from_raw(number).desc()),
            None => error.to_string(),
        };
        Self { path: path.to_owned(), doing, errno, text }
    }

    /// The disk or the quota is full.
    pub fn is_full(&self) -> bool {
        let full = [Errno::ENOSPC, Errno::EDQUOT].map(|e| e as i32);
        self.errno.is_some_and(|errno| full.contains(&errno))
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    // `I/O error` stays as it is.
    match (chars.next(), chars.as_str()) {
        (Some(first), rest) if rest.starts_with(|c: char| c.is_lowercase()) => {
            first.to_lowercase().chain(rest.chars()).collect()
        }
        _ => text.to_owned(),
    }
}

/// Why the state folder, a run's folder or a lock was refused or could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Io(#[from] IoFault),
    #[error("{} is refused: {why}", path.display())]
    Unsafe { path: PathBuf, why: String },
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} is {bytes} bytes long, at most {limit} are read", path.display())]
    TooLong { path: PathBuf, bytes: u64, limit: u64 },
    #[error("{0:?} cannot be the name of a file in a run's folder")]
    FileName(String),
    #[error("{0:?} is not a run: give a run id, the start of one, a playbook's name, or last")]
    NotARun(String),
    #[error("there is no run yet")]
    NoRuns,
    #[error("no run matches {text:?}{}", suggest(similar, newest))]
    NoSuchRun {
        text: String,
        /// Runs with a similar name, the newest of each playbook.
        similar: Vec<RunId>,
        /// The newest runs of all.
        newest: Vec<RunId>,
    },
    #[error("{text:?} matches {count} runs: {}{}", list(matches), if matches.len() < *count { ", ..." } else { "" })]
    Ambiguous {
        text: String,
        count: usize,
        /// The newest of them.
        matches: Vec<RunId>,
    },
    /// Another process writes the run's journal.
    #[error("{run} is being driven by another process{}", busy(*pid, *since))]
    Busy {
        run: RunId,
        /// Absent if the holder has not written it yet.
        pid: Option<u32>,
        since: Option<Timestamp>,
    },
    /// The key is held by another run that is not over.
    #[error("{key} is in use by run {run} {holder}")]
    Locked { key: String, run: RunId, holder: Holder },
}

fn list(runs: &[RunId]) -> String {
    runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ")
}

fn suggest(similar: &[RunId], newest: &[RunId]) -> String {
    match (similar, newest) {
        ([], []) => String::new(),
        ([], newest) => format!("; the newest runs are {}", list(newest)),
        (similar, _) => format!("; did you mean {}?", list(similar)),
    }
}

fn busy(pid: Option<u32>, since: Option<Timestamp>) -> String {
    match (pid, since) {
        (Some(pid), Some(since)) => format!(" (pid {pid}, since {} UTC)", since.human()),
        _ => String::new(),
    }
}

/// Why a journal could not be written, read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Io(#[from] IoFault),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("there is no journal in {}", dir.display())]
    Missing { dir: PathBuf },
    #[error("{} is damaged or was changed: byte {offset}, line {line}: {why}", path.display())]
    Damaged { path: PathBuf, offset: u64, line: u64, why: String },
    #[error(
        "{}: byte {offset}: the record has format {found}, this version of runbook reads up to {reads}: \
         use the version that wrote it, or a newer one",
        path.display()
    )]
    Newer { path: PathBuf, offset: u64, found: u64, reads: u32 },
    /// Somebody else wrote to the journal, or cut it, while this process had it open.
    #[error("{} was changed by somebody else: it has {found} bytes instead of {expected}", path.display())]
    Interfered { path: PathBuf, expected: u64, found: u64 },
    /// The record cannot be appended; a mistake in this program.
    #[error("record {seq} was not written to {}: {why}", path.display())]
    Record { path: PathBuf, seq: u64, why: String },
}

impl JournalError {
    /// The journal cannot be trusted or understood, as opposed to: it could not be written or read.
    pub fn is_suspect(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Newer { .. } | Self::Interfered { .. } => true,
            Self::State(error) => matches!(error, StateError::Unsafe { .. } | StateError::Damaged { .. }),
            Self::Io(_) | Self::Missing { .. } | Self::Record { .. } => false,
        }
    }

    /// The file that it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io(fault) | Self::State(StateError::Io(fault)) => Some(&fault.path),
            Self::State(StateError::Unsafe { path, .. } | StateError::Damaged { path, .. })
            | Self::Damaged { path, .. }
            | Self::Newer { path, .. }
            | Self::Interfered { path, .. }
            | Self::Record { path, .. } => Some(path),
            Self::State(_) | Self::Missing { .. } => None,
        }
    }

    /// The disk or the quota is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io(fault) | Self::State(StateError::Io(fault)) => fault.is_full(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_path_and_cause() {
        let fault = IoFault::new("write", Path::new("a/journal.jsonl"), Errno::ENOSPC);
        assert_eq!(fault.to_string(), "cannot write a/journal.jsonl: no space left on device");
        assert!(fault.is_full());
        let fault = IoFault::new("sync", Path::new("a"), Errno::EIO);
        assert_eq!(fault.to_string(), "cannot sync a: I/O error");
        assert!(!fault.is_full());
    }
}
