//! The one rule, as the kernel sees it: when a command is ordered, the record of its start is on disk, and so is every
//! name on the way to it. A kill cannot show this, for what was written survives the process; only a power cut would.
//!
//! The calls of the runner are read as a disk would take them: what is written is lost until its file is synced, and a new
//! name is lost until its folder is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::points::{DONE, three};
use crate::strace::{Call, Strace};
use crate::support::World;

/// All that writes, names, syncs, starts the keeper or speaks to it. Not every machine has each way to fork.
const CALLS: [&str; 12] = [
    "write",
    "fdatasync",
    "fsync",
    "openat",
    "mkdir",
    "mkdirat",
    "renameat",
    "sendto",
    "?fork",
    "?vfork",
    "?clone",
    "?clone3",
];

/// Records are longer than what strace shows by itself, orders are short.
const BYTES: u32 = 16 << 10;

/// What a power cut would take away.
#[derive(Default)]
struct Disk {
    /// Files with bytes that are not synced.
    dirty: BTreeSet<PathBuf>,
    /// Names whose folder is not synced.
    fresh: BTreeSet<PathBuf>,
    /// Tasks whose start is written, and those whose start is on disk.
    written: BTreeSet<String>,
    recorded: BTreeSet<String>,
}

impl Disk {
    fn take(&mut self, call: &Call) {
        let text = call.text.as_str();
        let failed = text.rsplit(" = ").next().is_some_and(|result| result.starts_with('-'));
        if failed {
            return;
        }
        match call.name.as_str() {
            "write" => {
                let file = descriptor(text);
                if is(&file, "journal.jsonl") {
                    self.written.extend(tasks(text, r#"{\"task_started\":{\"task\":\""#));
                }
                self.dirty.insert(file);
            }
            "fdatasync" | "fsync" => {
                let synced = descriptor(text);
                self.fresh.retain(|name| name.parent() != Some(&synced));
                if is(&synced, "journal.jsonl") {
                    self.recorded.append(&mut self.written);
                }
                self.dirty.remove(&synced);
            }
            "openat" if text.contains("O_CREAT") => {
                let opened = text.rsplit('<').next().expect("a path").trim_end_matches('>');
                self.fresh.insert(PathBuf::from(opened));
            }
            "mkdir" => _ = self.fresh.insert(PathBuf::from(quoted(text, 0))),
            "mkdirat" => _ = self.fresh.insert(descriptor(text).join(quoted(text, 0))),
            "renameat" => _ = self.fresh.insert(descriptor(text).join(quoted(text, 1))),
            _ => {}
        }
    }

    /// Whether the bytes and the name of this file would survive, and those of the folders around it up to `top`.
    #[track_caller]
    fn assert_durable(&self, file: &Path, top: &Path, when: &str) {
        assert!(!self.dirty.contains(file), "{} is not synced {when}", file.display());
        for name in file.ancestors().take_while(|name| *name != top) {
            assert!(!self.fresh.contains(name), "the name {} is not on disk {when}", name.display());
        }
    }
}

fn is(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|n| n == name)
}

/// The path of the first descriptor: `write(9</state/x>, ...`.
fn descriptor(text: &str) -> PathBuf {
    let path = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
    PathBuf::from(path.unwrap_or_default())
}

/// The n-th quoted text; names have no quotes in them.
fn quoted(text: &str, number: usize) -> &str {
    text.split('"').nth(2 * number + 1).expect("a name")
}

/// The task names that follow `mark`.
fn tasks<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once('\\')?.0.to_owned()))
}

/// Reads the calls and gives the tasks that were ordered.
#[track_caller]
fn ordered(world: &World, calls: &[Call]) -> Vec<String> {
    let state = world.state();
    let mut disk = Disk::default();
    let mut ordered = Vec::new();
    let mut keepers = 0;
    for call in calls {
        disk.take(call);
        let run = || world.run_dir(&world.runs()[0]);
        match call.name.as_str() {
            "fork" | "vfork" | "clone" | "clone3" => {
                keepers += 1;
                disk.assert_durable(&run().join("keeper/notes.jsonl"), &state, "when the keeper is started");
            }
            "sendto" => {
                // What is only made ready may be lost.
                let orders = [r#"{\"start\":{\"task\":\""#, r#"{\"go\":{\"task\":\""#];
                for task in orders.iter().flat_map(|order| tasks(&call.text, order)) {
                    let when = format!("when {task} is ordered");
                    assert!(disk.recorded.contains(&task), "its start is not on disk {when}");
                    for file in ["journal.jsonl", "plan.json", "keeper/notes.jsonl"] {
                        disk.assert_durable(&run().join(file), &state, &when);
                    }
                    ordered.push(task);
                }
            }
            _ => {}
        }
    }
    assert_eq!(keepers, 1);
    ordered
}

#[test]
fn in_a_run_all_is_on_disk_before_each_order() {
    let Some(strace) = Strace::found() else { return };
    let world = three();
    let calls = strace.calls_with(&world, &CALLS, BYTES, &["run", "three"]);
    assert_eq!(ordered(&world, &calls), ["one.1", "two.1", "two.2", "three.1"]);
    assert_eq!(world.ledger(), DONE);
}

/// After a kill before the order: the resume starts the step under another name, which is recorded as well.
#[test]
fn in_a_resume_all_is_on_disk_before_each_order() {
    let Some(strace) = Strace::found() else { return };
    let world = three();
    // The keeper is greeted; one starts; two is made ready, and is told to start.
    strace.start(&world, &["inject=sendto:signal=SIGKILL:when=4"], &["run", "three"]).wait().exits(-9);
    world.assert_nothing_runs();
    let calls = strace.calls_with(&world, &CALLS, BYTES, &["resume", "last"]);
    assert_eq!(ordered(&world, &calls), ["two.1r1", "two.2", "three.1"]);
    assert_eq!(world.ledger(), DONE);
}
