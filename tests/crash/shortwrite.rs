//! Writes to the journal that end in the middle of a record, and disks that stay full: what is torn is never taken for
//! true, what runs is not lost, nothing hangs.
//!
//! A limit of the file's size gives a genuine short write: the kernel takes the bytes up to the limit, and refuses the
//! rest. It is set on the runner alone, and only once its commands run.

use std::fs;

use nix::libc;

use crate::book::{sorted, without_rerun};
use crate::chance::is_long;
use crate::fulldisk::filling;
use crate::strace::Strace;
use crate::support::{Running, Shown, World, wait_until};

/// Both steps run; what follows the first one's end needs more than 9000 bytes in the journal.
fn both_run(world: &World) -> (Running, std::path::PathBuf) {
    filling(world);
    let running = world.start(&["run", "filling"]);
    wait_until("both steps", || world.path("one-began").exists() && world.path("two-began").exists());
    let journal = world.run_dir(&world.runs()[0]).join("journal.jsonl");
    (running, journal)
}

/// From now on no file of this process grows beyond `bytes`.
fn limit_files(pid: i32, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is valid for the call, and none is asked for.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Everything goes on and each step was done once.
#[track_caller]
fn recovers(world: &World, what: &str) {
    world.write("go-one", "");
    world.write("go-two", "");
    let shown = world.run(&["resume", "last"]);
    assert_eq!(shown.code, 0, "{what}: {shown:?}");
    assert_eq!(sorted(world.ledger()), ["four", "one", "three", "two"], "{what}");
    let ended = world.events_named("task_ended");
    for task in ["one.1", "two.1", "three.1", "four.1"] {
        let of_task = |e: &&serde_json::Value| without_rerun(e["task"].as_str().unwrap()) == task;
        let mut verdicts: Vec<_> = ended.iter().filter(of_task).map(|e| e["verdict"].clone()).collect();
        // A start that came to the disk although its sync failed was not acted upon, and is told so.
        verdicts.retain(|v| v != "not_run");
        assert_eq!(verdicts, ["passed"], "{what}: {task}");
    }
    world.run(&["verify", "last"]).exits(0);
    world.assert_nothing_runs();
}

#[test]
fn a_record_that_was_written_in_part_is_never_taken_for_true() {
    let step = if is_long() { 97 } else { 1201 };
    let mut torn = 0;
    for room in [0, 1, 2, 60, 200, 400].into_iter().chain((600..11_000).step_by(step)) {
        let world = World::new();
        let (running, journal) = both_run(&world);
        let before = fs::read(&journal).unwrap();
        limit_files(running.pid(), before.len() as u64 + room);
        world.write("go-one", "");
        wait_until("the first effect", || world.read("ledger").starts_with("one\n"));
        let what = format!("{room} bytes of room");
        let after = || fs::read(&journal).unwrap();
        if room > 10_000 {
            // All that follows the first end fits; what follows the second does not.
            wait_until("the third step", || world.ledger().len() == 2);
            world.write("go-two", "");
        }
        let shown = running.wait().exits(74);
        shown.says(&[&journal.display().to_string(), "cannot write", "file too large", "runbook resume"]);
        let after = after();
        assert!(after.starts_with(&before), "{what}: what was durable has changed");
        assert!(after.len() as u64 <= before.len() as u64 + room, "{what}");
        let whole = after.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let is_torn = whole < after.len();
        torn += usize::from(is_torn);
        // Who looks sees the whole records and nothing else.
        let lines = after[..whole].iter().filter(|b| **b == b'\n').count();
        assert_eq!(world.events().len(), lines, "{what}");
        recovers(&world, &what);
        let aside = world.events_named("tail_set_aside");
        assert_eq!(aside.len(), usize::from(is_torn), "{what}: {aside:?}");
        if is_torn {
            assert_eq!(aside[0]["bytes"], (after.len() - whole) as u64, "{what}");
        }
    }
    assert!(torn >= 8, "only {torn} records were torn");
}

/// The runner with a fault at its calls on the journal from now on.
fn with_fault(strace: &Strace, world: &World, expression: &str, then: impl Fn()) -> Shown {
    let (mut running, journal) = both_run(world);
    let tracer = strace.attach(world, running.pid(), expression, Some(&journal));
    world.write("go-one", "");
    wait_until("the first effect", || world.read("ledger").contains("one\n"));
    then();
    world.write("go-two", "");
    wait_until(&format!("the end with {expression}"), || !running.is_running());
    tracer.wait();
    running.wait()
}

/// No block ever comes free, the reserve's neither: the keeper's notes have to do.
#[test]
fn a_disk_that_stays_full_keeps_nobody_and_loses_nothing() {
    let Some(strace) = Strace::found() else { return };
    for (call, errno, cause) in [
        ("write", "ENOSPC", "no space left on device"),
        ("fdatasync", "ENOSPC", "no space left on device"),
        ("write", "EDQUOT", "quota exceeded"),
        ("write,fdatasync", "EIO", "I/O error"),
        ("write,ftruncate", "ENOSPC", "no space left on device"),
    ] {
        let world = World::new();
        let expression = format!("inject={call}:error={errno}:when=1+");
        let shown = with_fault(&strace, &world, &expression, || {}).exits(74);
        assert!(!shown.err.contains("panicked"), "{shown:?}");
        shown.says(&["journal.jsonl", cause, "nothing new was started", "runbook resume"]);
        wait_until("the second effect", || world.ledger() == ["one", "two"]);
        assert_eq!(world.ledger(), ["one", "two"], "{expression}: nothing new was started");
        recovers(&world, &expression);
    }
}

/// The first write finds the disk full; what the reserve frees takes the outcomes of what runs.
#[test]
fn the_reserve_takes_the_outcomes_of_what_runs() {
    let Some(strace) = Strace::found() else { return };
    let world = World::new();
    let journal = || {
        let text = fs::read_to_string(world.run_dir(&world.runs()[0]).join("journal.jsonl")).unwrap();
        let ended = |task: &str| text.lines().any(|l| l.contains("task_ended") && l.contains(task));
        (ended("\"one.1\""), ended("\"two.1\""), text.contains("\"three.1\""))
    };
    let shown = with_fault(&strace, &world, "inject=write:error=ENOSPC:when=1", || {
        wait_until("the first outcome", || journal() == (true, false, false));
    });
    shown.exits(74).says(&["no space left on device", "nothing new starts, waiting for 1 running command"]);
    assert_eq!(journal(), (true, true, false), "both outcomes and no new start");
    assert!(!world.run_dir(&world.runs()[0]).join("journal.reserve").exists());
    assert_eq!(world.ledger(), ["one", "two"]);
    recovers(&world, "after the reserve");
}
