//! Keys that only one open run may use at a time.

use std::fmt;
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::folder::{Access, Folder};
use super::line::sha256_hex;
use super::run_dir::now;
use super::{IoFault, StateError};
use crate::model::{RunId, Timestamp};
use crate::planted::{self, Bug};

/// Held for the moment of looking at a key and taking it. The keys' own files are replaced, so they cannot be it.
const GUARD_FILE: &str = "guard";

/// A key's file is a few hundred bytes long.
const KEY_LIMIT: u64 = 64 << 10;

/// While it is held nobody else can look at a key and take it. The starter of a run lets it go once the run's folder
/// shows that the run is open.
#[derive(Debug)]
pub struct KeyGuard {
    _file: File,
}

/// Who drives a run, or drove it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    pub since: Timestamp,
    /// The process is there. Otherwise the run was interrupted and can be resumed.
    pub alive: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, host, since, alive } = self;
        let state = if *alive { "" } else { "; it was interrupted and is not over" };
        write!(f, "(pid {pid} on {host}, since {} UTC{state})", since.human())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    key: String,
    run: RunId,
    host: String,
    pid: u32,
    since: Timestamp,
}

/// The run that took the key last.
pub(super) fn key_run(locks: &Folder, key: &str) -> Result<Option<RunId>, StateError> {
    let name = file_of(key);
    let path = locks.path().join(&name);
    let Some(file) = locks.file(&name, Access::Read)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(KEY_LIMIT).read_to_end(&mut bytes).map_err(|error| IoFault::new("read", &path, error))?;
    let note: Note = serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
        path: path.clone(),
        why: format!("{error}; if no run is at work, remove it"),
    })?;
    Ok(Some(note.run))
}

fn file_of(key: &str) -> String {
    format!("{}.json", sha256_hex(key.as_bytes()))
}

pub(super) fn lock_key(
    locks: &Folder,
    key: &str,
    run: &RunId,
    open: &dyn Fn(&RunId) -> Option<Holder>,
) -> Result<KeyGuard, StateError> {
    let name = file_of(key);
    let path = locks.path().join(&name);

    let guard_fault = |error: std::io::Error| IoFault::new("lock", &locks.path().join(GUARD_FILE), error);
    let guard = locks
        .file(GUARD_FILE, Access::ReadWriteCreate)?
        .ok_or_else(|| guard_fault(std::io::ErrorKind::NotFound.into()))?;
    guard.lock().map_err(guard_fault)?;

    if let Some(held) = key_run(locks, key)?
        && held != *run
        && !planted::is(Bug::ShareKey)
        && let Some(holder) = open(&held)
    {
        return Err(StateError::Locked { key: key.to_owned(), run: held, holder });
    }
    let host = nix::unistd::gethostname().map_err(|error| IoFault::new("lock", &path, error))?;
    let note = Note {
        key: key.to_owned(),
        run: run.clone(),
        host: host.to_string_lossy().into_owned(),
        pid: std::process::id(),
        since: now(),
    };
    let text = serde_json::to_vec(&note).map_err(|error| IoFault::new("write", &path, error))?;
    locks.replace_file(&name, &text)?;
    Ok(KeyGuard { _file: guard })
}
