//! The folder of one run, its files and its writer's lock.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::folder::{Access, Folder};
use super::{IoFault, StateError};
use crate::model::{RunId, Timestamp};
use crate::planted::{self, Bug};

const LOCK_FILE: &str = "writer.lock";

/// The folder of one run.
#[derive(Debug)]
pub struct RunDir {
    folder: Folder,
    id: RunId,
}

/// Only its holder may append to the run's journal. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct WriterLock {
    _file: File,
}

/// Who holds the writer's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driver {
    pub pid: Option<u32>,
    pub since: Option<Timestamp>,
}

/// Written into the lock's file, for the message of those who come second. The lock itself is the kernel's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockNote {
    pid: u32,
    since: Timestamp,
}

impl RunDir {
    pub(super) fn new(folder: Folder, id: RunId) -> Self {
        Self { folder, id }
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Makes or replaces a file, 0600. When this returns `Ok` it is durable; a power cut leaves the old or the new.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        check_file_name(name)?;
        self.folder.replace_file(name, bytes)
    }

    /// Makes or replaces a file, 0600, that can be made again from the journal. A power cut may lose it.
    pub fn write_derived(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        check_file_name(name)?;
        self.folder.replace_file_unsynced(name, bytes)
    }

    /// The file's content; an error if it is longer than `limit` bytes.
    pub fn read_file(&self, name: &str, limit: u64) -> Result<Vec<u8>, StateError> {
        let path = self.path().join(name);
        let fault = |error| IoFault::new("read", &path, error);
        let file = self.open_file(name)?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fault)?;
        let length = bytes.len() as u64;
        if length > limit {
            return Err(StateError::TooLong { path, bytes: length, limit });
        }
        Ok(bytes)
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self, name: &str) -> Result<File, StateError> {
        check_file_name(name)?;
        let missing = || std::io::Error::from_raw_os_error(nix::errno::Errno::ENOENT as i32);
        self.folder
            .file(name, Access::Read)?
            .ok_or_else(|| IoFault::new("open", &self.path().join(name), missing()).into())
    }

    /// Takes the writer's lock, or says at once who holds it.
    pub fn try_lock(&self) -> Result<WriterLock, StateError> {
        let path = self.path().join(LOCK_FILE);
        let fault = |error: std::io::Error| IoFault::new("lock", &path, error);
        let mut file = self
            .folder
            .file(LOCK_FILE, Access::ReadWriteCreate)?
            .ok_or_else(|| fault(std::io::ErrorKind::NotFound.into()))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(_) if planted::is(Bug::NoWriterLock) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let note = awaited_note(&file);
                let (pid, since) = (note.as_ref().map(|n| n.pid), note.map(|n| n.since));
                return Err(StateError::Busy { run: self.id.clone(), pid, since });
            }
            Err(error) => return Err(fault(error.into()).into()),
        }
        let note = LockNote { pid: std::process::id(), since: now() };
        let text = serde_json::to_vec(&note).map_err(|error| fault(error.into()))?;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&text))
            .map_err(fault)?;
        Ok(WriterLock { _file: file })
    }

    /// The process that holds the writer's lock and since when, as far as it has written that down; `None` if nobody
    /// does. Only looks: whoever wants the lock at this moment gets it.
    pub fn driver(&self) -> Option<Driver> {
        let file = self.folder.file(LOCK_FILE, Access::Read).ok()??;
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            return None;
        }
        let note = awaited_note(&file);
        Some(Driver { pid: note.as_ref().map(|n| n.pid), since: note.map(|n| n.since) })
    }
}

/// A lock of the open file, not of the process (OFD, since Linux 3.15): it goes when the file is closed, and unlike
/// one of flock(2) it can be looked at without being taken.
fn whole_file(kind: i32) -> libc::flock {
    libc::flock {
        // The kernel's constants fit: they are 0, 1 and 2.
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// None if the holder is just writing it, or nothing sensible stands there: it is only for a message.
fn read_note(file: &File) -> Option<LockNote> {
    let mut text = [0; 4096];
    let length = file.read_at(&mut text, 0).ok()?;
    serde_json::from_slice(&text[..length]).ok()
}

/// The note of a holder that may have taken the lock only just now: until it has written its own, there is none, or
/// that of a process that is gone.
fn awaited_note(file: &File) -> Option<LockNote> {
    const STEP: Duration = Duration::from_millis(10);
    const STEPS: u32 = 30;
    let living = |note: &LockNote| Path::new(&format!("/proc/{}", note.pid)).exists();
    for _ in 0..STEPS {
        if let Some(note) = read_note(file).filter(living) {
            return Some(note);
        }
        std::thread::sleep(STEP);
    }
    read_note(file).filter(living)
}

pub(super) fn now() -> Timestamp {
    Timestamp(chrono::Utc::now().timestamp_millis())
}

/// One plain name: no folder, nothing hidden.
fn check_file_name(name: &str) -> Result<(), StateError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) || name.len() > 200 {
        return Err(StateError::FileName(name.to_owned()));
    }
    Ok(())
}
