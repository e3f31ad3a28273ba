//! What happens to what was done, when a step fails.

use crate::support::World;

fn three(world: &World, on_failure: &str, undo_of_two: &str) {
    world.playbook(
        "undone",
        &format!(
            "steps:\n  - {{ id: one, title: One, run: echo one >> ledger, undo: {{ run: echo undo-one >> ledger }} }}\n  \
             - {{ id: two, title: Two, run: echo two >> ledger, undo: {{ run: '{undo_of_two}' }} }}\n  \
             - {{ id: three, title: Three, run: 'echo three >> ledger; exit 9', \
             undo: {{ run: echo undo-three >> ledger }}, on_failure: {on_failure} }}\n  \
             - {{ id: four, title: Four, run: echo four >> ledger }}\n"
        ),
    );
}

const GOOD: &str = "echo undo-two >> ledger";

#[test]
fn stop_leaves_what_was_done() {
    let world = World::new();
    three(&world, "stop", GOOD);
    let run = |world: &World| world.last_run();
    let shown = world.run(&["run", "undone"]).exits(1);
    shown.says(&["failed", "three", "exit 9", &format!("runbook resume {}", run(&world))]);
    assert_eq!(world.ledger(), ["one", "two", "three"]);
    // A person may still take it back.
    world.run(&["rollback", "last"]).exits(6).says(&["rolled-back"]);
    assert_eq!(world.ledger()[3..], ["undo-three", "undo-two", "undo-one"]);
    world.run(&["rollback", "last"]).exits(8).says(&["rolled back already"]);
}

#[test]
fn continue_goes_on_and_degrades() {
    let world = World::new();
    three(&world, "continue", GOOD);
    world.run(&["run", "undone"]).exits(4).says(&["degraded", "three"]);
    assert_eq!(world.ledger(), ["one", "two", "three", "four"]);
}

#[test]
fn rollback_takes_back_in_reverse_the_failed_step_included() {
    let world = World::new();
    three(&world, "rollback", GOOD);
    world.run(&["run", "undone"]).exits(6).says(&["rolled-back", "exit 9"]);
    assert_eq!(world.ledger(), ["one", "two", "three", "undo-three", "undo-two", "undo-one"]);
    let undone = world.events_named("step_undone");
    assert_eq!(
        undone.iter().map(|e| e["step"].as_str().unwrap()).collect::<Vec<_>>(),
        ["three", "two", "one"]
    );
    world.run(&["resume", "last"]).exits(8).says(&["rolled-back"]);
}

#[test]
fn a_failed_undo_is_stuck_and_the_rest_is_told() {
    let world = World::new();
    three(&world, "rollback", "echo cannot >&2; exit 5");
    let shown = world.run(&["run", "undone"]).exits(7);
    shown.says(&["stuck", "two", "exit 5", "runbook resume "]);
    world.run(&["report"]).exits(0).says(&["stuck", "echo cannot >&2; exit 5"]);
    // What hindered the undo is gone: the rollback goes on where it stopped, and nothing is undone twice.
    let undone_once = world.ledger().iter().filter(|l| *l == "undo-three").count();
    assert_eq!(undone_once, 1);
}

#[test]
fn a_stuck_rollback_goes_on_when_the_cause_is_gone() {
    let world = World::new();
    three(&world, "rollback", "test -e way && echo undo-two >> ledger");
    world.run(&["run", "undone"]).exits(7);
    world.write("way", "");
    world.run(&["resume", "last"]).exits(6).says(&["rolled-back"]);
    let mut undos: Vec<_> = world.ledger().into_iter().filter(|l| l.starts_with("undo")).collect();
    undos.sort();
    assert_eq!(undos, ["undo-one", "undo-three", "undo-two"], "each once");
}
