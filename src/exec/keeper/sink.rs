//! Where one output of a task goes: its file, up to a cap, and the end of what exceeds it; or memory; or nowhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::libc;

use crate::exec::outputs::READ_LIMIT;

/// Bytes of the end that are kept of an output longer than the cap.
const TAIL: usize = 1 << 20;

/// What becomes of the bytes.
pub(super) enum Keep {
    /// In this file. It is created at the first byte: a silent command costs none.
    File(PathBuf),
    /// In memory, up to what an expression may read.
    Memory(Vec<u8>),
    Nothing,
}

pub(super) struct Sink {
    keep: Keep,
    file: Option<File>,
    /// Bytes in the file, at most `cap`.
    head: u64,
    cap: u64,
    /// The last bytes after the head.
    tail: Ring,
    /// All bytes after the head.
    beyond: u64,
    /// The end is written; of an output beyond the cap nothing more is kept.
    sealed: bool,
    /// Why the output is not, or not wholly, kept.
    failed: Option<String>,
}

impl Sink {
    pub fn new(keep: Keep, cap: u64) -> Self {
        Self { keep, file: None, head: 0, cap, tail: Ring::default(), beyond: 0, sealed: false, failed: None }
    }

    /// Never fails: a full disk must not stop the task. `failed` tells.
    pub fn write(&mut self, bytes: &[u8]) {
        match &mut self.keep {
            Keep::Nothing => {}
            Keep::Memory(memory) => {
                let room = (READ_LIMIT + 1).saturating_sub(memory.len());
                memory.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::File(_) if self.failed.is_some() => {}
            Keep::File(_) => {
                let room = usize::try_from(self.cap - self.head).unwrap_or(usize::MAX);
                let (head, rest) = bytes.split_at(bytes.len().min(room));
                if let Err(e) = self.append(head) {
                    self.fail(&e);
                } else {
                    self.head += head.len() as u64;
                    self.beyond += rest.len() as u64;
                    if !self.sealed {
                        self.tail.push(rest);
                    }
                }
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.file.is_none()
            && let Keep::File(path) = &self.keep
        {
            let file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(path)?;
            self.file = Some(file);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = Some(format!("its output could not be written to its file: {error}"));
        self.tail = Ring::default();
        self.file = None;
    }

    /// Writes the kept end of an output that was longer than the cap.
    pub fn seal(&mut self) {
        if std::mem::replace(&mut self.sealed, true) || self.beyond == 0 {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        let missing = self.missing(tail.bytes.len());
        let marker = if missing > 0 { format!("\n[runbook: {missing} bytes are missing here]\n") } else { String::new() };
        let (old, new) = tail.in_order();
        let result =
            self.append(marker.as_bytes()).and_then(|()| self.append(old)).and_then(|()| self.append(new));
        if let Err(e) = result {
            self.fail(&e);
        }
    }

    fn missing(&self, tail: usize) -> u64 {
        self.beyond.saturating_sub(tail as u64)
    }

    /// Bytes between head and tail are gone.
    pub fn is_truncated(&self) -> bool {
        matches!(self.keep, Keep::File(_)) && self.missing(TAIL) > 0
    }

    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    pub fn take_memory(&mut self) -> Option<Vec<u8>> {
        match &mut self.keep {
            Keep::Memory(memory) => Some(std::mem::take(memory)),
            Keep::File(_) | Keep::Nothing => None,
        }
    }
}

/// The last [`TAIL`] bytes of what is pushed. Takes no memory before the first.
#[derive(Default)]
struct Ring {
    bytes: Vec<u8>,
    /// The oldest byte, once the ring is full.
    oldest: usize,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let (fill, mut rest) = bytes.split_at(bytes.len().min(TAIL - self.bytes.len()));
        self.bytes.extend_from_slice(fill);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(TAIL - self.oldest));
            self.bytes[self.oldest..self.oldest + now.len()].copy_from_slice(now);
            self.oldest = (self.oldest + now.len()) % TAIL;
            rest = later;
        }
    }

    fn in_order(&self) -> (&[u8], &[u8]) {
        let (new, old) = self.bytes.split_at(self.oldest);
        (old, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_bytes() {
        let text: Vec<u8> = (0..3 * TAIL + 777).map(|i| (i % 251) as u8).collect();
        for size in [1000, TAIL - 1, TAIL, TAIL + 1] {
            let mut ring = Ring::default();
            text.chunks(size).for_each(|c| ring.push(c));
            let (old, new) = ring.in_order();
            assert!([old, new].concat() == text[text.len() - TAIL..], "{size}");
        }
    }

    #[test]
    fn head_marker_and_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.out");
        let mut sink = Sink::new(Keep::File(path.clone()), 10);
        sink.write(b"0123456789");
        sink.write(&vec![b'x'; TAIL]);
        assert!(!sink.is_truncated());
        sink.write(b"abc");
        sink.seal();
        assert!(sink.is_truncated());
        let text = std::fs::read(&path).unwrap();
        assert!(text.starts_with(b"0123456789\n[runbook: 3 bytes are missing here]\nxxx"));
        assert!(text.ends_with(b"xabc"));
    }

    #[test]
    fn nothing_written_makes_no_file_and_an_old_file_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.out");
        let mut sink = Sink::new(Keep::File(path.clone()), 10);
        sink.write(b"");
        sink.seal();
        assert!(!path.exists());
        std::fs::write(&path, "old").unwrap();
        sink.write(b"new");
        assert!(sink.failed().is_some());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
