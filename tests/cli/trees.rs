//! A timeout ends the whole tree of processes, also what ignores TERM and what left the process group.

use std::time::{Duration, Instant};

use crate::support::World;

#[test]
fn a_timeout_ends_what_ignores_term_and_what_left_the_session() {
    let world = World::new();
    // Lengths that nobody else sleeps for, by which the processes are found.
    let (inner, outer) = ("300.61731", "300.61732");
    world.playbook(
        "stubborn",
        &format!(
            "steps:\n  - id: stubborn\n    title: Ignores TERM\n    timeout: 2s\n    grace: 2s\n    \
             exec: [bash, -c, 'trap \"\" TERM; (setsid sleep {inner} &) ; sleep {outer}']\n"
        ),
    );
    let began = Instant::now();
    world.run(&["run", "stubborn"]).exits(1).says(&["timed out", "runbook resume "]);
    // Two seconds and the grace of two; the rest is for a machine with too much to do.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(world.outcome("stubborn"), "failed");
    let ended = world.events_named("task_ended");
    assert_eq!(ended[0]["end"]["kind"], "timed_out", "{ended:?}");
    for sleep in [inner, outer] {
        assert!(world.processes_like(sleep).is_empty(), "sleep {sleep} is left");
    }
    world.assert_nothing_runs();
}

#[test]
fn a_grandchild_that_holds_the_output_open_does_not_hang_the_run() {
    let world = World::new();
    world.playbook(
        "leaky",
        "steps:\n  - { id: a, title: A, run: 'sleep 300.61733 & echo done' }\n  - { id: b, title: B, run: 'echo b >> ledger' }\n",
    );
    let began = Instant::now();
    world.run(&["run", "leaky"]).exits(0).says(&["leaky"]);
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(world.ledger(), ["b"]);
    let ended = world.events_named("task_ended");
    assert_eq!(ended[0]["end"]["leaky"], true, "{ended:?}");
}

#[test]
fn a_command_that_is_not_there_has_surely_not_run() {
    let world = World::new();
    world.playbook("absent", "steps: [{ id: a, title: A, exec: [no-such-program-anywhere] }]\n");
    world.run(&["run", "absent"]).exits(1).says(&["no-such-program-anywhere", "never started"]);
}
