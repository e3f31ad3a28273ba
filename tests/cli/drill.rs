//! The drill of the shipped playbook: built, broken, recovered, judged and taken down.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{World, wait_until};

/// The playbooks as they are shipped.
pub fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks").join(name).to_str().unwrap().to_owned()
}

pub fn only_drill(world: &World) -> Value {
    let mut drills = fs::read_dir(world.state().join("drills")).unwrap().flatten();
    let drill = drills.next().expect("a drill is recorded");
    assert!(drills.next().is_none());
    serde_json::from_slice(&fs::read(drill.path().join("drill.json")).unwrap()).unwrap()
}

#[test]
fn a_corrupted_database_is_recovered() {
    let world = World::new();
    let shown = world.run(&["drill", &shipped("db-corruption.yaml")]).exits(0);
    let shown = shown.says(&["drill of db-corruption: passed", "recovered"]);

    let report = only_drill(&world);
    assert_eq!(report["verdict"], "passed");
    assert_eq!(report["outcome"], "recovered");
    assert_eq!(
        report["left_running"],
        Value::Array(Vec::new()),
        "the world was taken down by its own teardown"
    );
    let held = report["assertions"].as_array().unwrap();
    assert!(held.len() >= 4 && held.iter().all(|a| a["held"] == true), "{held:?}");
    let stages: Vec<_> = report["stages"].as_array().unwrap().iter().map(|s| s["stage"].clone()).collect();
    assert_eq!(stages, ["world", "inject", "symptom", "playbook", "teardown"]);

    let run = report["run"].as_str().unwrap();
    assert!(shown.out.contains(run));
    for file in ["report.html", "report.md"] {
        assert!(world.run_dir(run).join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert_eq!(world.runs(), [run], "only the playbook's own run stands among the runs");
    assert_eq!(fs::read_dir(world.tmp()).unwrap().count(), 0, "the world's folder is gone");
    world.assert_nothing_runs();
}

#[test]
fn a_fault_that_does_not_show_proves_nothing() {
    let world = World::new();
    world.playbook(
        "void",
        "steps: [{ id: a, title: A, run: 'true' }]\n\
         drill:\n  world: [{ run: 'touch {{ drill.dir }}/there' }]\n\
         \x20 symptom: [{ title: It is missing, run: '! test -e {{ drill.dir }}/there' }]\n\
         \x20 assert: [run.outcome == 'recovered']\n\
         \x20 teardown: [{ run: 'echo down >> ledger' }]\n",
    );
    world.run(&["drill", "void"]).exits(1).says(&["VOID", "the fault did not show", "It is missing"]);
    assert_eq!(world.ledger(), ["down"], "teardown comes always");
    assert_eq!(only_drill(&world)["verdict"], "void");
    assert!(world.runs().is_empty(), "the playbook itself did not run");
    assert_eq!(fs::read_dir(world.tmp()).unwrap().count(), 0);
}

#[test]
fn an_injected_failure_is_met_as_a_real_one() {
    let world = World::new();
    world.playbook(
        "faulty",
        "steps:\n  - { id: a, title: A, run: 'echo a >> ledger', undo: { run: 'echo undo-a >> ledger' } }\n\
         \x20 - { id: b, title: B, run: 'echo b >> ledger', on_failure: rollback }\n\
         drill:\n  world: [{ run: 'true' }]\n  assert: [run.outcome == 'rolled-back']\n",
    );
    world.run(&["drill", "faulty", "--fault", "step=b:fail"]).exits(0).says(&["passed", "rolled-back"]);
    assert_eq!(world.ledger(), ["a", "undo-a"]);
    world.run(&["drill", "faulty"]).exits(1).says(&["FAILED", "DOES NOT HOLD"]);
    world.run(&["drill", "faulty", "--fault", "step=c:fail"]).exits(2);
    world.run(&["drill", "faulty", "--fault", "nonsense"]).exits(2).says(&["step=ID:fail"]);
}

/// People answer from other terminals as well; a drill that asks waits for them.
#[test]
fn a_drill_that_asks_waits_for_people() {
    let world = World::new();
    let drill = world.start(&["drill", &shipped("db-corruption.yaml"), "--ask"]);
    wait_until("the choice", || drill.out().contains("Newest good backup"));
    world.run(&["choose", "last", "strategy", "salvage", "--reason", "the last half hour counts"]).exits(0);
    wait_until("the approval", || drill.out().contains("New: what was salvaged, "));
    world.run(&["approve", "last"]).exits(0).says(&["what was salvaged"]);
    // All that was asserted holds for this way too, and the database serves.
    drill.wait().exits(0).says(&["drill of db-corruption: passed", "recovered"]);
    assert_eq!(world.outcome("take-backup"), "skipped");
    let answered = world.events_named("answered");
    assert!(answered.iter().all(|a| a["by"]["via"] == "socket"), "the drill's own answers were not taken");
    world.assert_nothing_runs();
}
