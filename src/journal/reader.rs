//! Reading a journal: all of it, or what is new.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::folder::Access;
use super::line::{Chain, Line, LineFault, MAX_LINE};
use super::{IoFault, JournalError, RunDir};
use crate::model::{FORMAT, Record};

/// The journal's name in the run's folder.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// So much is read at once.
const BLOCK: u64 = 1 << 20;
/// From so many lines on, a second thread is worth its start.
const MANY: usize = 256;

/// A journal as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    pub records: Vec<Record>,
    /// SHA-256 of the last line's bytes without its newline, in hex; 64 zeros if there is none.
    pub head: String,
    /// Up to and including the last newline.
    pub bytes: u64,
}

/// Reads the whole journal and checks its chain. Changes nothing.
///
/// The number beside the contents is that of the bytes after the last newline, if any: a writer is at work, or was
/// interrupted.
pub fn read(dir: &RunDir) -> Result<(Contents, Option<u64>), JournalError> {
    let file = open(dir, Access::Read)?;
    let (_, contents, torn) = read_all(&file, &dir.path().join(JOURNAL_FILE))?;
    Ok((contents, torn))
}

/// How long the journal is, in bytes; none if it cannot be opened.
pub fn length(dir: &RunDir) -> Option<u64> {
    Some(open(dir, Access::Read).ok()?.metadata().ok()?.len())
}

/// Opens the journal's file.
pub(super) fn open(dir: &RunDir, access: Access) -> Result<File, JournalError> {
    dir.folder()
        .file(JOURNAL_FILE, access)?
        .ok_or_else(|| JournalError::Missing { dir: dir.path().to_owned() })
}

pub(super) fn read_all(file: &File, path: &Path) -> Result<(Chain, Contents, Option<u64>), JournalError> {
    let mut records = Vec::new();
    let mut scan = Scan::new();
    let torn = scan.run(file, path, |record, _| records.push(record))?;
    let contents = Contents { records, head: scan.chain.head().to_owned(), bytes: scan.good };
    Ok((scan.chain, contents, torn))
}

/// A place between two lines of a journal, and the chain up to there.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub chain: Chain,
    /// Bytes up to and including the last newline.
    pub good: u64,
}

impl Scan {
    pub fn new() -> Self {
        Self { chain: Chain::new(), good: 0 }
    }

    /// Reads on to the end of the file, and gives each record and the chain's head with it to `each`. Returns the number
    /// of bytes after the last newline, if any. After an error the scan stands before the bad line.
    pub fn run(
        &mut self,
        mut file: &File,
        path: &Path,
        mut each: impl FnMut(Record, &str),
    ) -> Result<Option<u64>, JournalError> {
        let fault = |error: std::io::Error| IoFault::new("read", path, error);
        file.seek(SeekFrom::Start(self.good)).map_err(fault)?;
        let mut block = Vec::new();
        loop {
            let before = block.len();
            file.by_ref().take(BLOCK).read_to_end(&mut block).map_err(fault)?;
            let is_end = block.len() == before;
            let whole = memchr::memrchr(b'\n', &block[before..]).map_or(0, |at| before + at + 1);
            let lines = lines_of(&block[..whole]);
            for (text, line) in lines.iter().zip(read_lines(&lines)) {
                let record =
                    line.and_then(|line| self.chain.link(line)).map_err(|fault| self.refused(path, fault))?;
                self.good += text.len() as u64;
                each(record, self.chain.head());
            }
            block.drain(..whole);
            if block.len() > MAX_LINE {
                return Err(self.refused(path, too_long()));
            }
            if is_end {
                let torn = block.len() as u64;
                return Ok((torn > 0).then_some(torn));
            }
        }
    }

    fn refused(&self, path: &Path, fault: LineFault) -> JournalError {
        let (path, offset) = (path.to_owned(), self.good);
        match fault {
            LineFault::Newer { found } => JournalError::Newer { path, offset, found, reads: FORMAT },
            LineFault::Bad(why) => JournalError::Damaged { path, offset, line: self.chain.seq() + 1, why },
        }
    }
}

/// The lines, each with its newline.
fn lines_of(block: &[u8]) -> Vec<&[u8]> {
    let mut start = 0;
    let line = |end: usize| &block[std::mem::replace(&mut start, end + 1)..=end];
    memchr::memchr_iter(b'\n', block).map(line).collect()
}

/// Reads lines that end in a newline, each for itself; many of them on all cores. A thread that cannot be had is done
/// without.
fn read_lines(lines: &[&[u8]]) -> Vec<Result<Line, LineFault>> {
    let read = |lines: &[&[u8]]| lines.iter().map(|line| read_line(line)).collect::<Vec<_>>();
    if lines.len() < MANY {
        return read(lines);
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8));
    let (mine, others) = lines.split_at(lines.len().div_ceil(cores));
    std::thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(mine.len())
            .map(|share| (share, std::thread::Builder::new().spawn_scoped(scope, || read(share))))
            .collect();
        let mut all = read(mine);
        for (share, thread) in others {
            let done = thread.ok().and_then(|thread| thread.join().ok());
            all.extend(done.unwrap_or_else(|| read(share)));
        }
        all
    })
}

fn read_line(line: &[u8]) -> Result<Line, LineFault> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > MAX_LINE { Err(too_long()) } else { Line::read(line) }
}

fn too_long() -> LineFault {
    LineFault::Bad(format!("it is longer than {MAX_LINE} bytes"))
}

/// Follows a journal while somebody writes it.
#[derive(Debug)]
pub struct Tail {
    file: File,
    path: std::path::PathBuf,
    scan: Scan,
}

impl Tail {
    /// Stands before the first record.
    pub fn open(dir: &RunDir) -> Result<Self, JournalError> {
        let file = open(dir, Access::Read)?;
        Ok(Self { file, path: dir.path().join(JOURNAL_FILE), scan: Scan::new() })
    }

    /// The complete records since the last call; none if nothing is new. What was read once is not read again.
    ///
    /// A record can be seen here a moment before it is durable.
    pub fn next_records(&mut self) -> Result<Vec<Record>, JournalError> {
        let meta = self.file.metadata().map_err(|error| IoFault::new("read", &self.path, error))?;
        if meta.len() < self.scan.good {
            let (expected, found) = (self.scan.good, meta.len());
            return Err(JournalError::Interfered { path: self.path.clone(), expected, found });
        }
        let mut records = Vec::new();
        if meta.len() > self.scan.good {
            self.scan.run(&self.file, &self.path, |record, _| records.push(record))?;
        }
        Ok(records)
    }

    /// SHA-256 of the last line read, in hex.
    pub fn head(&self) -> &str {
        self.scan.chain.head()
    }
}
