//! Reads back what a task left in the run's folder: its outputs, and what it published in `$RUNBOOK_OUTPUT`.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{self, OFlag};
use nix::libc;
use nix::sys::stat::Mode;

use super::protocol::{Bytes, EndedTask};
use super::redact::Redactor;
use crate::model::{TaskId, TaskOutput, Want, format_bytes};

/// Bytes of one output that an expression may read.
pub(super) const READ_LIMIT: usize = 8 << 20;
/// Bytes that may be published.
const PUBLISH_LIMIT: u64 = 1 << 20;

/// How often, and how long each time, is waited for descriptors or memory before a file is given up.
const SHORTAGES: u32 = 5;
const SHORTAGE: Duration = Duration::from_millis(20);

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

pub(super) fn published_path(run_dir: &Path, task: &TaskId) -> PathBuf {
    run_dir.join("output").join(published_name(&task.file_stem()))
}

fn published_name(stem: &str) -> String {
    format!("{stem}.kv")
}

/// The folder `output` of a run. It is found once: each ended task is looked up in it.
pub(super) struct OutputFolder {
    path: PathBuf,
    handle: OnceCell<OwnedFd>,
}

impl OutputFolder {
    pub fn of(run_dir: &Path) -> Self {
        Self { path: run_dir.join("output"), handle: OnceCell::new() }
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Option<File>> {
        let mut result = self.try_open(name, write);
        // What is short for a moment must not leave a step in doubt.
        for _ in 0..SHORTAGES {
            match &result {
                Err(e) if is_shortage(e) => std::thread::sleep(SHORTAGE),
                _ => break,
            }
            result = self.try_open(name, write);
        }
        match result {
            Ok(file) if !file.metadata()?.is_file() => Err(io::Error::other("it is not a plain file")),
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => Err(io::Error::other("it is a symbolic link")),
            Err(e) => Err(e),
        }
    }

    /// Finds the folder, if that was not done yet.
    pub fn find(&self) -> io::Result<&OwnedFd> {
        if let Some(folder) = self.handle.get() {
            return Ok(folder);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = fcntl::open(&self.path, flags, Mode::empty())?;
        Ok(self.handle.get_or_init(|| folder))
    }

    fn try_open(&self, name: &str, write: bool) -> io::Result<File> {
        let folder = self.find()?;
        let access = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        // Without blocking: a command may have put a named pipe there.
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(File::from(fcntl::openat(folder, name, flags, Mode::empty())?))
    }
}

/// Why something that a task said cannot be had.
#[derive(Debug, PartialEq)]
enum Unusable {
    /// It is not fit to be read: the same would come of every attempt.
    AsWritten(String),
    /// It was fit, as far as anybody knows, and got lost here.
    Unread(String),
}

impl Unusable {
    /// An error of the system is one of this moment; what this module itself objects to lies in the file.
    fn of(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {error}");
        if error.raw_os_error().is_some() { Self::Unread(text) } else { Self::AsWritten(text) }
    }

    /// The words; notes in `unread` if the command is not to blame.
    fn tell(self, unread: &mut Option<String>) -> String {
        match self {
            Self::AsWritten(why) => why,
            Self::Unread(why) => unread.get_or_insert(why).clone(),
        }
    }
}

/// What an ended task said.
pub(super) fn load(folder: &OutputFolder, ended: EndedTask, want: Want, redactor: &Redactor) -> TaskOutput {
    let [out_memory, err_memory] = ended.memory;
    let [out_lost, err_lost] = ended.not_kept;
    let stem = ended.task.file_stem();
    let mut unread = None;
    let mut read =
        |wanted: bool, extension: &str, bytes: u64, lost: Option<String>, memory: Option<Bytes>| {
            let found = wanted.then(|| match (lost, memory) {
                (Some(why), _) => Err(Unusable::Unread(why)),
                (None, _) if bytes > READ_LIMIT as u64 => Err(Unusable::AsWritten(too_long(bytes))),
                (None, Some(memory)) => text(memory.0),
                (None, None) if bytes == 0 => Ok(String::new()),
                // It was in the memory of a process that is gone.
                (None, None) if ended.sensitive => {
                    Err(Unusable::Unread("the output of a sensitive step is not kept".into()))
                }
                (None, None) => read_text(folder, &format!("{stem}.{extension}"), ended.end.truncated),
            });
            found.map(|found| found.map_err(|why| why.tell(&mut unread)))
        };
    let stdout = read(want.stdout, "out", ended.end.stdout_bytes, out_lost, out_memory);
    let stderr = read(want.stderr, "err", ended.end.stderr_bytes, err_lost, err_memory);
    let published = read_published(folder, &stem, redactor).map_err(|why| why.tell(&mut unread));
    TaskOutput { stdout, stderr, published, http: None, sql: None, unread }
}

fn too_long(bytes: u64) -> String {
    format!(
        "it wrote {}, more than the {} an expression may read; write what you need to $RUNBOOK_OUTPUT",
        format_bytes(bytes),
        format_bytes(READ_LIMIT as u64).replace(".0", "")
    )
}

fn text(bytes: Vec<u8>) -> Result<String, Unusable> {
    String::from_utf8(bytes).map_err(|e| {
        Unusable::AsWritten(format!(
            "its output is not UTF-8 (byte {}), so no expression can read it",
            e.utf8_error().valid_up_to()
        ))
    })
}

fn read_text(folder: &OutputFolder, name: &str, truncated: bool) -> Result<String, Unusable> {
    let fail = |e: io::Error| Unusable::of("its output file cannot be read", &e);
    let Some(file) = folder.open(name, false).map_err(fail)? else {
        return Err(Unusable::Unread("its output file is missing".into()));
    };
    let mut bytes = Vec::new();
    // Masking can make a text longer by a few bytes; hence twice the limit.
    file.take(2 * READ_LIMIT as u64).read_to_end(&mut bytes).map_err(fail)?;
    if truncated && find(&bytes, b"\n[runbook: ") {
        let why = "it wrote more than is kept, so no expression can read it; write what you need to $RUNBOOK_OUTPUT";
        return Err(Unusable::AsWritten(why.into()));
    }
    text(bytes)
}

fn find(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|w| w == what)
}

/// Masks the secrets in what a task has published, so that none stays on disk. Best effort.
pub(super) fn mask_published(folder: &OutputFolder, task: &TaskId, redactor: &Redactor) {
    let Ok(Some(mut file)) = folder.open(&published_name(&task.file_stem()), true) else { return };
    let mut bytes = Vec::new();
    if (&mut file).take(PUBLISH_LIMIT + 1).read_to_end(&mut bytes).is_err() {
        return;
    }
    let clean = redactor.redact_bytes(&bytes);
    // What is beyond the limit is not read by anybody, so it need not stay; but its length must still tell.
    let length = if bytes.len() as u64 > PUBLISH_LIMIT { PUBLISH_LIMIT + 1 } else { clean.len() as u64 };
    if clean != bytes || bytes.len() as u64 > PUBLISH_LIMIT {
        let _ = file
            .rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(&clean))
            .and_then(|()| file.set_len(length));
    }
}

fn read_published(
    folder: &OutputFolder,
    stem: &str,
    redactor: &Redactor,
) -> Result<BTreeMap<String, String>, Unusable> {
    let fail = |e: io::Error| Unusable::of("$RUNBOOK_OUTPUT cannot be read", &e);
    let bad = |why: String| Unusable::AsWritten(why);
    let Some(file) = folder.open(&published_name(stem), false).map_err(fail)? else {
        return Ok(BTreeMap::new());
    };
    let mut bytes = Vec::new();
    file.take(PUBLISH_LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > PUBLISH_LIMIT {
        let limit = format_bytes(PUBLISH_LIMIT);
        return Err(bad(format!("more than {limit} were written to $RUNBOOK_OUTPUT")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| bad("what was written to $RUNBOOK_OUTPUT is not UTF-8".to_owned()))?;
    parse_published(&redactor.redact_text(&text)).map_err(bad)
}

fn parse_published(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = number + 1;
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {at} of $RUNBOOK_OUTPUT has no '=': write name=value"));
        };
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || !name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) {
            return Err(format!(
                "line {at} of $RUNBOOK_OUTPUT: {name:?} is no name: use a-z, 0-9 and _, and start with a letter"
            ));
        }
        values.insert(name.to_owned(), value.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_lines() {
        let values = parse_published("a=1\nb_2=x=y\r\n\na= 2 \nempty=").unwrap();
        let shown: Vec<_> = values.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(shown, ["a: 2 ", "b_2:x=y", "empty:"]);
        for (bad, hint) in [
            ("a=1\nnothing", "line 2 of $RUNBOOK_OUTPUT has no '='"),
            ("A=1", "\"A\" is no name"),
            (" a=1", "\" a\" is no name"),
            ("=1", "\"\" is no name"),
            ("1a=1", "\"1a\" is no name"),
        ] {
            let error = parse_published(bad).unwrap_err();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }

    #[test]
    fn a_planted_link_or_a_flood_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let task = TaskId::parse("a.1").unwrap();
        std::fs::create_dir(dir.path().join("output")).unwrap();
        let path = published_path(dir.path(), &task);
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let none = Redactor::default();
        let folder = OutputFolder::of(dir.path());
        let error = read_published(&folder, "a.1", &none).unwrap_err();
        let refused = Unusable::AsWritten("$RUNBOOK_OUTPUT cannot be read: it is a symbolic link".into());
        assert_eq!(error, refused);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![b'a'; 2 << 20]).unwrap();
        let error = read_published(&folder, "a.1", &none).unwrap_err();
        assert_eq!(error, Unusable::AsWritten("more than 1.0 MiB were written to $RUNBOOK_OUTPUT".into()));
        mask_published(&folder, &task, &none);
        assert_eq!(read_published(&folder, "a.1", &none).unwrap_err(), error);
    }

    #[test]
    fn a_secret_that_was_published_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let task = TaskId::parse("a.1").unwrap();
        std::fs::create_dir(dir.path().join("output")).unwrap();
        let path = published_path(dir.path(), &task);
        std::fs::write(&path, "token=hunter2!\nplain=x\n").unwrap();
        let redactor = Redactor::from_values([b"hunter2!".as_slice()]);
        let folder = OutputFolder::of(dir.path());
        assert_eq!(read_published(&folder, "a.1", &redactor).unwrap()["token"], "***");
        mask_published(&folder, &task, &redactor);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "token=***\nplain=x\n");
    }
}
