//! The keeper's notes, `keeper/notes.jsonl`: what it is about to start, what it started, how it ended.
//!
//! Theory. A note is in the file (by `write`) before what it says goes on: the intent before the process exists, the
//! end before the runner hears of it. That outlives the death of runner and keeper, for the page cache belongs to the
//! kernel. It does not outlive a power cut, so notes of another boot prove only what they say, never what they
//! leave out. The one line that is synced is [`Note::Keeper`]: it is on disk before its keeper exists, so a file
//! without it proves that no keeper ever came.
//!
//! An exclusive lock on the file is held by the living keeper alone: who can take it knows that nothing is being added.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use super::protocol::EndedTask;
use crate::model::{Millis, TaskId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Note {
    /// A keeper is about to exist. Written and synced by the runner.
    Keeper {
        boot_id: String,
    },
    Intent {
        task: TaskId,
    },
    Started {
        task: TaskId,
        pid: i32,
        start: u64,
        boot_id: String,
        /// Pid and start time of the other commands of a pipeline.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<(i32, u64)>,
        /// On CLOCK_BOOTTIME, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<u64>,
        #[serde(default)]
        grace: Millis,
    },
    /// Everything rested for so long (Ctrl-Z): the deadlines of what runs are later by that.
    Rested {
        millis: u64,
    },
    /// Part of an output could not be written to its file.
    Dropped {
        task: TaskId,
        output: String,
        error: String,
    },
    Ended(Box<EndedTask>),
    /// The keeper went in order: nothing ran any more.
    Closed,
}

pub(super) fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("keeper/notes.jsonl")
}

pub(super) fn open_for_append(run_dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path(run_dir))
}

/// Adds notes to the file.
pub(super) struct Writer {
    file: File,
    /// The last write broke off within a line.
    torn: bool,
    line: Vec<u8>,
}

impl Writer {
    pub fn new(file: File) -> Self {
        Self { file, torn: true, line: Vec::new() }
    }

    /// When it returns, the note outlives this process.
    pub fn add(&mut self, note: &Note) -> io::Result<()> {
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        serde_json::to_writer(&mut self.line, note)?;
        self.line.push(b'\n');
        self.torn = true;
        self.file.write_all(&self.line)?;
        self.torn = false;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub fn into_file(self) -> File {
        self.file
    }
}

/// What is noted about one task.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TaskNote {
    Intent,
    Started { boot_id: String, mains: Vec<(i32, u64)>, deadline: Option<u64>, grace: Millis },
    Ended(Box<EndedTask>),
}

/// All notes of a run, read at once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    tasks: BTreeMap<TaskId, TaskNote>,
    /// A keeper of another boot did not close: some of its notes may be lost.
    incomplete: bool,
}

impl Notes {
    /// `boot_id` is that of the present boot.
    pub fn read(run_dir: &Path, boot_id: &str) -> io::Result<Self> {
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path(run_dir));
        let mut text = Vec::new();
        match open {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        Ok(Self::parse(&text, boot_id))
    }

    fn parse(text: &[u8], boot_id: &str) -> Self {
        let mut notes = Self::default();
        // The present keeper is of another boot and has not closed so far.
        let mut open = false;
        for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            // A torn line is a note that was never completed: nothing followed from it.
            let Ok(note) = serde_json::from_slice::<Note>(line) else { continue };
            match note {
                Note::Keeper { boot_id: its } => {
                    notes.incomplete |= open;
                    open = its != boot_id || its.is_empty();
                }
                Note::Closed => open = false,
                Note::Intent { task } => {
                    notes.set(task, TaskNote::Intent);
                }
                Note::Started { task, pid, start, boot_id, others, deadline, grace } => {
                    let mains = [(pid, start)].into_iter().chain(others).collect();
                    notes.set(task, TaskNote::Started { boot_id, mains, deadline, grace });
                }
                Note::Rested { millis } => notes.later(millis),
                Note::Ended(ended) => notes.set(ended.task.clone(), TaskNote::Ended(ended)),
                Note::Dropped { .. } => {}
            }
        }
        notes.incomplete |= open;
        notes
    }

    fn later(&mut self, millis: u64) {
        for task in self.tasks.values_mut() {
            if let TaskNote::Started { deadline: Some(deadline), .. } = task {
                *deadline = deadline.saturating_add(millis);
            }
        }
    }

    fn set(&mut self, task: TaskId, note: TaskNote) {
        self.tasks.insert(task, note);
    }

    pub fn task(&self, task: &TaskId) -> Option<&TaskNote> {
        self.tasks.get(task)
    }

    /// Without a note of it, a task was never started; false if notes may be missing.
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> TaskId {
        TaskId::parse(text).unwrap()
    }

    #[test]
    fn a_torn_last_line_is_no_note_and_the_next_keeper_goes_on() {
        let text = concat!(
            "\n{\"keeper\":{\"boot_id\":\"b\"}}\n",
            "{\"intent\":{\"task\":\"a.1\"}}\n",
            "{\"started\":{\"task\":\"a.1\",\"pid\":7,\"start\":9,\"boot_id\":\"b\"}}\n",
            "{\"intent\":{\"task\":\"b.1\"",
            "\n{\"keeper\":{\"boot_id\":\"b\"}}\n",
            "{\"intent\":{\"task\":\"c.1\"}}\n",
        );
        let notes = Notes::parse(text.as_bytes(), "b");
        let mains = vec![(7, 9)];
        let started = TaskNote::Started { boot_id: "b".into(), mains, deadline: None, grace: Millis::ZERO };
        assert_eq!(notes.task(&task("a.1")), Some(&started));
        assert_eq!(notes.task(&task("b.1")), None);
        assert_eq!(notes.task(&task("c.1")), Some(&TaskNote::Intent));
        assert!(notes.is_complete());
    }

    #[test]
    fn a_rest_moves_the_deadlines_of_what_runs() {
        let text = concat!(
            r#"{"started":{"task":"a.1","pid":7,"start":9,"boot_id":"b","deadline":1000,"grace":5}}"#,
            "\n{\"rested\":{\"millis\":300}}\n",
            r#"{"started":{"task":"b.1","pid":8,"start":9,"boot_id":"b","others":[[9,10]],"deadline":1000,"grace":5}}"#,
        );
        let notes = Notes::parse(text.as_bytes(), "b");
        let started = |mains, deadline| TaskNote::Started {
            boot_id: "b".into(),
            mains,
            deadline: Some(deadline),
            grace: Millis(5),
        };
        assert_eq!(notes.task(&task("a.1")), Some(&started(vec![(7, 9)], 1300)));
        assert_eq!(notes.task(&task("b.1")), Some(&started(vec![(8, 9), (9, 10)], 1000)));
    }

    #[test]
    fn notes_of_another_boot_may_be_missing_unless_it_closed() {
        let open = b"{\"keeper\":{\"boot_id\":\"old\"}}\n";
        assert!(!Notes::parse(open, "new").is_complete());
        assert!(Notes::parse(open, "old").is_complete());
        let closed = b"{\"keeper\":{\"boot_id\":\"old\"}}\n\"closed\"\n";
        assert!(Notes::parse(closed, "new").is_complete());
        let two = b"{\"keeper\":{\"boot_id\":\"old\"}}\n{\"keeper\":{\"boot_id\":\"new\"}}\n\"closed\"\n";
        assert!(!Notes::parse(two, "new").is_complete());
        assert!(Notes::parse(b"", "new").is_complete());
    }
}
