//! SIGKILL of the keeper, while the runner lives, at each of its notes and each time it starts a command: no command is
//! ever run twice, and what nobody can know is called unknown.

use crate::strace::Strace;
use crate::support::{World, kill_hard, wait_until};

/// Three steps behind one that waits, so that the keeper can be got hold of. None may be repeated.
fn held() -> World {
    let world = World::new();
    world.playbook(
        "held",
        "steps:\n  - { id: hold, title: Hold, run: 'touch held; while ! test -e go; do sleep 0.02; done' }\n  \
         - { id: one, title: One, run: echo one >> ledger }\n  \
         - { id: two, title: Two, run: echo two >> ledger }\n  \
         - { id: three, title: Three, run: echo three >> ledger }\n",
    );
    world
}

/// Goes on until the run has recovered; of what is in doubt a person says what the ledger says.
#[track_caller]
fn goes_on(world: &World, first: i32, what: &str) {
    let mut code = first;
    let mut told = 0;
    while code != 0 {
        // A command that was just being started may still be on its way to the ledger.
        world.assert_nothing_runs();
        let steps = world.events_named("step_ended");
        let last = steps.last().unwrap();
        let step = last["step"].as_str().unwrap();
        let there = step == "hold" || world.ledger().iter().any(|line| line == step);
        match (code, last["outcome"].as_str().unwrap()) {
            (5, "unknown") => {
                let word = if there { "--done" } else { "--not-done" };
                world.run(&["resolve", "last", step, word, "--reason", "the ledger says so"]).exits(0);
            }
            other => panic!("{other:?}: {what}"),
        }
        told += 1;
        assert!(told <= 2, "one kill stops one step: {what}");
        code = world.run(&["resume", "last"]).code;
    }
    assert_eq!(world.ledger(), ["one", "two", "three"], "{what}");
    world.run(&["verify", "last"]).exits(0);
}

#[test]
fn the_keeper_is_killed_at_each_note_and_each_start() {
    let Some(strace) = Strace::found() else { return };
    let mut kills = 0;
    // Three notes for each step, less the two that `hold` has already; a start for each.
    for (calls, most) in [("write", 10), ("clone,clone3,vfork,fork", 3)] {
        for number in 1..=most {
            let world = held();
            let running = world.start(&["run", "held"]);
            wait_until("the step", || world.path("held").exists());
            let keeper = world.processes_like("__keeper");
            assert_eq!(keeper.len(), 1);
            let expression = format!("inject={calls}:signal=SIGKILL:when={number}");
            let notes = world.run_dir(&world.runs()[0]).join("keeper/notes.jsonl");
            let path = (calls == "write").then_some(notes);
            let tracer = strace.attach(&world, keeper[0], &expression, path.as_deref());
            world.write("go", "");
            let shown = running.wait();
            kill_hard(keeper[0]);
            tracer.wait();
            let lost = world.events_named("keeper_lost").len();
            kills += lost;
            goes_on(&world, shown.code, &format!("{expression}: {shown:?}"));
        }
    }
    println!("{kills} kills of the keeper");
    assert!(kills >= 10, "only {kills} kills were felt");
}
