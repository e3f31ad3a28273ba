//! Reading a journal: all of it, or what is new.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::folder::Access;
use super::line::{Chain, Line, LineFault, MAX_LINE};
use super::queue::Queue;
use super::{IoFault, JournalError, RunDir};
use crate::model::{Event, FORMAT, Record};

/// The journal's name in the run's folder.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// So much is read at once.
const BLOCK: usize = 256 << 10;

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

/// How long the journal is, in bytes, and what [`read`] says of it; none if it is longer than `most` or cannot be opened.
pub fn read_up_to(dir: &RunDir, most: u64) -> Option<(u64, Result<Contents, JournalError>)> {
    let file = open(dir, Access::Read).ok()?;
    let length = file.metadata().ok().map(|meta| meta.len()).filter(|length| *length <= most)?;
    Some((length, read_all(&file, &dir.path().join(JOURNAL_FILE)).map(|(_, contents, _)| contents)))
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
    let torn = scan.run(file, path, Box::new, &mut |line, _| records.push(line.into()))?;
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

    /// Reads on to the end of the file. What `keep` keeps of each event goes to `each` with its line and the chain's head
    /// with it; of a long file `keep` is called on all cores, and `each` always here, in the order of the lines. Returns
    /// the number of bytes after the last newline, if any. After an error the scan stands before the bad line.
    pub fn run<T: Send>(
        &mut self,
        file: &File,
        path: &Path,
        keep: impl Fn(Event) -> T + Sync,
        each: &mut dyn FnMut(Line<T>, &str),
    ) -> Result<Option<u64>, JournalError> {
        let mut blocks = Blocks::new(file, self.good);
        let work = |block: Block| block.read(&keep);
        // Not asked for a short journal: the answer costs more than to read one.
        let cores =
            if blocks.many() { std::thread::available_parallelism() } else { Ok(NonZero::<usize>::MIN) };
        let cores = cores.map_or(1, |cores| cores.get().min(8));
        let queue = Queue::new();
        std::thread::scope(|scope| {
            let _closing = Closing(&queue);
            let mut helpers = 1..cores;
            loop {
                // So far ahead that nobody waits while the lines that were read are linked.
                while queue.len() < cores * 2
                    && blocks.ahead < cores * 2 * BLOCK
                    && let Some(next) = blocks.next()
                {
                    queue.offer(next);
                    if queue.len() > 1 && helpers.next().is_some() {
                        // A thread that cannot be had is done without.
                        let _ = std::thread::Builder::new().spawn_scoped(scope, || queue.help(work));
                    }
                }
                if queue.len() == 0 {
                    break;
                }
                let (bytes, lines) = queue.fetch(work).expect("no reader panics");
                for (length, line) in lines {
                    let line = line
                        .and_then(|line| self.chain.link(&line).map(|()| line))
                        .map_err(|fault| self.refused(path, fault))?;
                    self.good += length as u64;
                    each(line, self.chain.head());
                }
                blocks.give_back(bytes);
            }
            blocks.end.map_err(|error| IoFault::new("read", path, error))?;
            match blocks.rest.len() {
                0 => Ok(None),
                1..=MAX_LINE => Ok(Some(blocks.rest.len() as u64)),
                _ => Err(self.refused(path, too_long())),
            }
        })
    }

    fn refused(&self, path: &Path, fault: LineFault) -> JournalError {
        let (path, offset) = (path.to_owned(), self.good);
        match fault {
            LineFault::Newer { found } => JournalError::Newer { path, offset, found, reads: FORMAT },
            LineFault::Bad(why) => JournalError::Damaged { path, offset, line: self.chain.seq() + 1, why },
        }
    }
}

/// Lets all helpers go.
struct Closing<'q, J, R>(&'q Queue<J, R>);

impl<J, R> Drop for Closing<'_, J, R> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whole lines, up to `whole`; what follows them is in the next block, too.
struct Block {
    bytes: Vec<u8>,
    whole: usize,
}

/// A line as read, and its length with its newline.
type Read<T> = (usize, Result<Line<T>, LineFault>);

impl Block {
    /// Reads each line for itself, and gives the room back.
    fn read<T>(self, keep: impl Fn(Event) -> T) -> (Vec<u8>, Vec<Read<T>>) {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', &self.bytes[..self.whole]);
        let lines = ends.map(|end| {
            let line = &self.bytes[std::mem::replace(&mut start, end + 1)..end];
            (line.len() + 1, if line.len() > MAX_LINE { Err(too_long()) } else { Line::read(line, &keep) })
        });
        let lines = lines.collect();
        (self.bytes, lines)
    }
}

/// A file in blocks, up to where its end was when it was begun, to an error or to a line that is too long.
struct Blocks<'f> {
    file: &'f File,
    at: u64,
    length: u64,
    /// What follows the last newline so far.
    rest: Vec<u8>,
    /// Room that is not used any more.
    spare: Vec<Vec<u8>>,
    /// Bytes of the blocks that were given out and not given back.
    ahead: usize,
    end: io::Result<()>,
}

impl<'f> Blocks<'f> {
    fn new(file: &'f File, at: u64) -> Self {
        // Where that cannot be known, a read that gives nothing is the end.
        let length = file.metadata().map_or(u64::MAX, |meta| meta.len());
        Self { file, at, length, rest: Vec::new(), spare: Vec::new(), ahead: 0, end: Ok(()) }
    }

    /// Bytes to the end.
    fn left(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    fn many(&self) -> bool {
        self.left() > BLOCK as u64
    }

    fn give_back(&mut self, bytes: Vec<u8>) {
        self.ahead -= bytes.len();
        self.spare.push(bytes);
    }

    fn next(&mut self) -> Option<Block> {
        if self.left() == 0 {
            return None;
        }
        let size = usize::try_from(self.left()).map_or(BLOCK, |left| left.min(BLOCK));
        let mut bytes = self.spare.pop().unwrap_or_else(|| vec![0; size]);
        let mut filled = self.rest.len();
        bytes.resize(bytes.len().max(filled + 1), 0);
        bytes[..filled].copy_from_slice(&self.rest);
        while filled <= MAX_LINE && self.left() > 0 {
            if filled == bytes.len() {
                bytes.resize(filled + BLOCK, 0);
            }
            match self.file.read_at(&mut bytes[filled..], self.at) {
                Ok(0) => break,
                Ok(new) => {
                    self.at += new as u64;
                    let newline = memchr::memrchr(b'\n', &bytes[filled..filled + new]);
                    let whole = newline.map(|newline| filled + newline + 1);
                    filled += new;
                    if let Some(whole) = whole {
                        self.rest.clear();
                        self.rest.extend_from_slice(&bytes[whole..filled]);
                        self.ahead += bytes.len();
                        return Some(Block { bytes, whole });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.end = Err(error);
                    break;
                }
            }
        }
        self.length = self.at;
        bytes.truncate(filled);
        self.rest = bytes;
        None
    }
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
            self.scan.run(&self.file, &self.path, Box::new, &mut |line, _| records.push(line.into()))?;
        }
        Ok(records)
    }

    /// SHA-256 of the last line read, in hex.
    pub fn head(&self) -> &str {
        self.scan.chain.head()
    }
}
