//! Writing a journal: one write and one sync for each append, and no way back after a failure.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::libc;

use super::folder::{Access, Folder};
use super::line::Chain;
use super::reader::{self, Contents, JOURNAL_FILE};
use super::{IoFault, JournalError, RunDir, StateError};
use crate::model::{Event, Record};
use crate::planted::{self, Bug};

/// Space kept for the outcomes of what runs when the disk fills up. Removed when the run has ended.
pub const RESERVE_FILE: &str = "journal.reserve";

const RESERVE_BYTES: i64 = 256 << 10;

/// The journal of a run, open for appending. Whoever opens it must hold [`RunDir::try_lock`].
#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    file: File,
    path: PathBuf,
    chain: Chain,
    /// Bytes of the complete lines, all of them durable.
    length: u64,
    health: Health,
    /// The run has ended, and nothing but remarks follow: no reserve is needed.
    over: bool,
    /// Kept between appends for its memory.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Health {
    Good,
    /// The disk is full; only outcomes are still taken.
    Full(JournalError),
    /// Nobody can know what is on disk.
    Dead(JournalError),
}

/// A failed append.
struct Failed {
    error: JournalError,
    /// The disk was full, and the file is again as it was before.
    cut_back: bool,
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Self {
        Self { error, cut_back: false }
    }
}

/// An unterminated last line that was set aside when the journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub bytes: u64,
    /// The name of the file in the run's folder that holds them now.
    pub file: String,
}

impl Journal {
    /// Makes an empty journal; it is an error if there is one. The file is durable when this returns.
    pub fn create(dir: &RunDir) -> Result<Self, JournalError> {
        let folder = dir.folder().try_clone()?;
        ensure_reserve(&folder)?;
        let file = folder.create_file(JOURNAL_FILE)?;
        if !planted::is(Bug::SkipFolderSync) {
            folder.sync()?;
        }
        Ok(Self::new(folder, file, Chain::new(), 0, false))
    }

    /// Reads the journal and makes it ready for appending.
    ///
    /// An unterminated last line is moved to a file of its own first: it was never acknowledged. Anything else that is
    /// wrong is an error, and nothing is changed.
    pub fn open(dir: &RunDir) -> Result<(Self, Contents, Option<Torn>), JournalError> {
        let folder = dir.folder().try_clone()?;
        let file = reader::open(dir, Access::Append)?;
        let path = folder.path().join(JOURNAL_FILE);
        let (chain, contents, torn) = reader::read_all(&file, &path)?;
        let torn = match torn {
            Some(bytes) => Some(set_aside(&folder, &file, contents.bytes, bytes)?),
            None => None,
        };
        // The writer before may have ended between its write and its sync.
        file.sync_data().map_err(|error| IoFault::new("sync", &path, error))?;
        ensure_reserve(&folder)?;
        let length = contents.bytes;
        let over = is_over(&contents.records, false);
        Ok((Self::new(folder, file, chain, length, over), contents, torn))
    }

    fn new(folder: Folder, file: File, chain: Chain, length: u64, over: bool) -> Self {
        let path = folder.path().join(JOURNAL_FILE);
        Self { folder, file, path, chain, length, health: Health::Good, over, buffer: Vec::new() }
    }

    /// SHA-256 of the last line's bytes without its newline, in hex; 64 zeros if there is none.
    pub fn head(&self) -> &str {
        self.chain.head()
    }

    /// Appends records. When this returns `Ok`, all of them are durable. After an error every later call fails with the
    /// same cause; what of `records` is on disk is then unknown until the journal is opened anew.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        self.append_and(records, None::<fn()>)
    }

    /// As [`Journal::append`]. `meanwhile` is called once the bytes are on their way to the disk: neither durable nor lost. It is
    /// not called if they cannot be written.
    pub fn append_while(&mut self, records: &[Record], meanwhile: impl FnOnce()) -> Result<(), JournalError> {
        self.append_and(records, Some(meanwhile))
    }

    fn append_and(
        &mut self,
        records: &[Record],
        meanwhile: Option<impl FnOnce()>,
    ) -> Result<(), JournalError> {
        match &self.health {
            Health::Full(error) | Health::Dead(error) => Err(error.clone()),
            Health::Good => self.write(records, meanwhile),
        }
    }

    /// Whether [`Journal::append_outcomes`] may still succeed. If so, the file holds exactly what is durable.
    pub fn takes_outcomes(&self) -> bool {
        !matches!(self.health, Health::Dead(_))
    }

    /// As [`Journal::append`], for records of what has happened already. If the disk is full, these may use the reserve.
    pub fn append_outcomes(&mut self, records: &[Record]) -> Result<(), JournalError> {
        match &self.health {
            Health::Dead(error) => return Err(error.clone()),
            Health::Full(_) => {}
            Health::Good => match self.write(records, None::<fn()>) {
                Err(_) if matches!(self.health, Health::Full(_)) => {}
                result => return result,
            },
        }
        // Only now, and not when the disk was found full: somebody else would take what is freed.
        // If that fails, the write says what matters.
        if !planted::is(Bug::KeepReserve) {
            let _ = self.folder.remove_file(RESERVE_FILE);
        }
        self.write(records, None::<fn()>)
    }

    fn write(&mut self, records: &[Record], meanwhile: Option<impl FnOnce()>) -> Result<(), JournalError> {
        self.try_write(records, meanwhile).map_err(|Failed { error, cut_back }| {
            match (&self.health, cut_back) {
                // The first cause is the one to tell.
                (Health::Full(_), true) => {}
                (_, true) => self.health = Health::Full(error.clone()),
                _ if planted::is(Bug::RetrySync) => {}
                (_, false) => self.health = Health::Dead(error.clone()),
            }
            error
        })
    }

    /// The chain moves on only when the lines are durable.
    fn try_write(&mut self, records: &[Record], meanwhile: Option<impl FnOnce()>) -> Result<(), Failed> {
        if records.is_empty() {
            meanwhile.into_iter().for_each(|act| act());
            return Ok(());
        }
        let mut chain = self.chain.clone();
        self.buffer.clear();
        for record in records {
            chain.push(record, &mut self.buffer).map_err(|why| JournalError::Record {
                path: self.path.clone(),
                seq: record.seq,
                why,
            })?;
        }
        self.check_untouched()?;
        if let Err(error) = write_all(&self.file, &self.buffer) {
            let fault = IoFault::new("write", &self.path, error);
            // A full disk is survivable if what was written of the lines can be taken back.
            let cut_back = fault.is_full() && self.file.set_len(self.length).is_ok();
            return Err(Failed { error: fault.into(), cut_back });
        }
        if let Some(act) = meanwhile {
            self.send_off();
            act();
        }
        // Never tried again: the kernel reports a lost page once and then calls it clean.
        if !planted::is(Bug::SkipSync) {
            self.sync()?;
        }
        self.length += self.buffer.len() as u64;
        self.chain = chain;
        self.over = is_over(records, self.over);
        if self.over {
            // The record is durable; a reserve that stays behind is only untidy.
            let _ = self.folder.remove_file(RESERVE_FILE);
        }
        Ok(())
    }

    /// Lets the disk begin with what was just written, so that it is at work while this process is. Only a hint: whether it
    /// was done is for the sync to say.
    fn send_off(&self) {
        let (from, length) = (self.length.cast_signed(), self.buffer.len() as i64);
        // SAFETY: it touches no memory of this process, and the descriptor is open.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|error| IoFault::new("sync", &self.path, error).into())
    }

    /// With the lock held nobody else writes. If somebody did, our lines would not fit to theirs.
    fn check_untouched(&self) -> Result<(), JournalError> {
        let found = self.file.metadata().map_err(|error| IoFault::new("inspect", &self.path, error))?.len();
        if found != self.length {
            let (path, expected) = (self.path.clone(), self.length);
            return Err(JournalError::Interfered { path, expected, found });
        }
        Ok(())
    }
}

/// Whether the run has ended, when it had or had not `before` these records.
fn is_over(records: &[Record], before: bool) -> bool {
    let last = records.iter().rev().find(|record| !record.event.is_remark());
    last.map_or(before, |record| matches!(record.event, Event::RunEnded(_)))
}

/// `Write::write_all`, spelled out: it goes on after a short write and after a signal.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the reserve if there is none, and gives it real blocks if it has not got them.
fn ensure_reserve(folder: &Folder) -> Result<(), JournalError> {
    let file = match folder.file(RESERVE_FILE, Access::Append)? {
        Some(file) => file,
        None => folder.create_file(RESERVE_FILE)?,
    };
    let fault = |error: io::Error| IoFault::new("reserve space in", &folder.path().join(RESERVE_FILE), error);
    let blocks = file.metadata().map_err(fault)?.blocks();
    // A block of `stat` has 512 bytes, whatever the file system's.
    if blocks.saturating_mul(512) < RESERVE_BYTES.unsigned_abs() {
        posix_fallocate(&file, 0, RESERVE_BYTES).map_err(|error| fault(error.into()))?;
    }
    Ok(())
}

/// Copies what follows the last complete line to a file of its own, and only when that is durable cuts it off.
fn set_aside(folder: &Folder, mut file: &File, good: u64, bytes: u64) -> Result<Torn, JournalError> {
    let (name, copy) = create_numbered(folder, "journal.torn-")?;
    let written = file
        .seek(SeekFrom::Start(good))
        .and_then(|_| io::copy(&mut file, &mut &copy))
        .and_then(|_| copy.sync_all());
    written.map_err(|error| IoFault::new("write", &folder.path().join(&name), error))?;
    folder.sync()?;
    let path = folder.path().join(JOURNAL_FILE);
    file.set_len(good).map_err(|error| IoFault::new("cut", &path, error))?;
    Ok(Torn { bytes, file: name })
}

/// Makes a new file with the first free number after `stem`.
fn create_numbered(folder: &Folder, stem: &str) -> Result<(String, File), JournalError> {
    let mut number = 1_u32;
    loop {
        let name = format!("{stem}{number}");
        match folder.create_file(&name) {
            Ok(file) => return Ok((name, file)),
            Err(StateError::Io(fault)) if fault.errno == Some(Errno::EEXIST as i32) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::journal::StateDir;
    use crate::model::{Millis, RunId, Timestamp};

    fn record(seq: u64) -> Record {
        let event = Event::PhaseStarted { phase: "p".to_owned() };
        Record { seq, epoch: 1, t: Millis(0), at: Timestamp(0), event }
    }

    fn journal(dir: &tempfile::TempDir) -> Journal {
        let state = StateDir::open_or_create(dir.path()).unwrap();
        let run = RunId::parse("db-20260101T000000Z-ab1d").unwrap();
        Journal::create(&state.create_run(&run).unwrap()).unwrap()
    }

    /// A pipe takes the write and refuses the sync. The good file put back afterwards must not be asked again.
    #[test]
    fn a_failed_sync_is_never_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let (_reader, writer) = io::pipe().unwrap();
        let good = std::mem::replace(&mut journal.file, File::from(OwnedFd::from(writer)));
        let error = journal.append(&[record(1)]).unwrap_err();
        assert!(error.to_string().starts_with("cannot sync "), "{error}");
        journal.file = good;
        assert_eq!(journal.append(&[record(1)]), Err(error.clone()));
        assert_eq!(journal.append_outcomes(&[record(1)]), Err(error));
        assert_eq!(journal.file.metadata().unwrap().len(), 0);
        assert!(dir.path().join("runs/db-20260101T000000Z-ab1d").join(RESERVE_FILE).exists());
    }

    /// If what was written cannot be taken back, no outcome may follow it.
    #[test]
    fn a_full_disk_that_cannot_be_cut_back_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let good = std::mem::replace(&mut journal.file, full);
        let error = journal.append(&[record(1)]).unwrap_err();
        assert!(error.is_full(), "{error}");
        journal.file = good;
        assert_eq!(journal.append_outcomes(&[record(1)]), Err(error));
    }
}
