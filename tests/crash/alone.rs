//! One at a time: two runs of the same key, two resumes of the same run, a resume of what is over.

use std::fs;

use nix::sys::signal::Signal;

use crate::book::{self, Shape};
use crate::strace::Strace;
use crate::support::{Running, Shown, World, kill_hard, wait_until};

/// One step that waits until it may go on.
fn waiting() -> World {
    let world = World::new();
    world.playbook(
        "waiting",
        "steps:\n  - { id: only, title: Only, run: 'echo only >> ledger; while ! test -e go; do sleep 0.05; done', \
         timeout: 2m }\n",
    );
    world
}

/// Exactly one of them wins; the others name it and exit 8.
#[track_caller]
fn one_wins(world: &World, mut all: Vec<Running>) {
    let count = all.len();
    // The losers end, the winner waits for `go`.
    wait_until("the losers", || {
        all.iter_mut().filter_map(|r| (!r.is_running()).then_some(())).count() == count - 1
    });
    let at = all.iter_mut().position(Running::is_running).expect("a winner");
    let winner = all.remove(at);
    let pid = format!("pid {}", winner.pid());
    for loser in all {
        let said: Shown = loser.wait().exits(8);
        said.says(&[&world.runs()[0], &pid, "since 20", "runbook status "]);
    }
    wait_until("the step", || world.read("ledger") == "only\n");
    world.write("go", "");
    winner.wait().exits(0);
    assert_eq!(world.ledger(), ["only"]);
    assert_eq!(world.runs().len(), 1, "a refused run left a folder: {:?}", world.runs());
    world.assert_nothing_runs();
}

#[test]
fn of_three_runs_at_once_one_wins() {
    for _ in 0..4 {
        let world = waiting();
        let all = (0..3).map(|_| world.start(&["run", "waiting"])).collect();
        one_wins(&world, all);
    }
}

#[test]
fn of_three_resumes_at_once_one_wins() {
    for _ in 0..3 {
        let world = waiting();
        let first = world.start(&["run", "waiting"]);
        wait_until("the step", || world.read("ledger") == "only\n");
        kill_hard(first.pid());
        first.wait();
        let all = (0..3).map(|_| world.start(&["resume", "last"])).collect();
        one_wins(&world, all);
    }
}

/// The first has taken the key and is slow to make its folder: to the second it must not look like a run that is gone.
#[test]
fn a_run_that_is_slow_to_begin_keeps_its_key() {
    let Some(strace) = Strace::found() else { return };
    let world = waiting();
    // So that only the run's own folders are made below.
    world.run(&["status"]);
    fs::create_dir_all(world.state().join("runs")).unwrap();
    fs::create_dir_all(world.state().join("locks")).unwrap();
    let slow = strace.start(&world, &["inject=mkdirat:delay_enter=700000"], &["run", "waiting"]);
    wait_until("the key", || {
        let locks = fs::read_dir(world.state().join("locks")).into_iter().flatten().flatten();
        locks.into_iter().any(|e| e.file_name().to_string_lossy().ends_with(".json"))
    });
    let second = world.run(&["run", "waiting"]).exits(8);
    second.says(&["pid ", "since 20", "runbook status "]);
    world.write("go", "");
    slow.wait().exits(0);
    assert_eq!(world.ledger(), ["only"]);
}

/// A machine that stops before the first record leaves a folder that nobody can resume: the key is free again.
#[test]
fn a_run_that_never_began_frees_its_key() {
    let Some(strace) = Strace::found() else { return };
    let world = waiting();
    world.write("go", "");
    // `journal.jsonl` is there and empty.
    let killed = strace.start(
        &world,
        &["inject=mkdirat:delay_exit=1", "inject=bind:signal=SIGKILL"],
        &["run", "waiting"],
    );
    killed.wait().exits(-9);
    assert_eq!(world.runs().len(), 1);
    assert_eq!(fs::read(world.run_dir(&world.runs()[0]).join("journal.jsonl")).unwrap(), b"");
    world.run(&["resume", "last"]).exits(8).says(&["start it anew"]);
    world.run(&["run", "waiting"]).exits(0);
    assert_eq!(world.ledger(), ["only"]);
}

#[test]
fn a_resume_of_what_is_over_changes_nothing() {
    for shape in [Shape::Recovers, Shape::RollsBack] {
        let world = book::twenty(shape);
        world.run(&["run", shape.name()]).exits(shape.code());
        world.assert_nothing_runs();
        let journal = || fs::read(world.run_dir(&world.runs()[0]).join("journal.jsonl")).unwrap();
        let (before, ledger) = (journal(), world.ledger());
        for _ in 0..2 {
            world.run(&["resume", "last"]).exits(8).says(&[shape.outcome(), "nothing to resume"]);
        }
        assert_eq!(journal(), before, "the journal's bytes");
        assert_eq!(world.ledger(), ledger);
    }
}

/// Those who look do not stand in the way of those who act.
#[test]
fn looking_at_a_run_does_not_hinder_its_resume() {
    let world = waiting();
    let first = world.start(&["run", "waiting"]);
    wait_until("the step", || world.read("ledger") == "only\n");
    first.signal(Signal::SIGKILL);
    first.wait();
    let mut onlookers: Vec<Running> = Vec::new();
    let resumed = world.start(&["resume", "last"]);
    for _ in 0..10 {
        onlookers.push(world.start(&["status", "last"]));
    }
    world.write("go", "");
    resumed.wait().exits(0);
    for onlooker in onlookers {
        onlooker.wait().exits(0);
    }
}
