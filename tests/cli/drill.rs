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

/// A drill's last word is not the playbook's: the world itself is looked at.
#[test]
fn what_is_found_of_the_world_afterwards_decides() {
    let world = World::new();
    let book = |name: &str, proof: &str| {
        world.playbook(
            name,
            &format!(
                "steps: [{{ id: a, title: A, run: 'echo claimed' }}]\n\
                 drill:\n  world: [{{ run: 'touch {{{{ drill.dir }}}}/there' }}]\n\
                 \x20 assert: [run.outcome == 'recovered']\n  proof:\n{proof}\
                 \x20 teardown: [{{ run: 'echo down >> ledger' }}]\n"
            ),
        );
    };
    let good = "    - { run: 'test -e {{ drill.dir }}/there; echo seen >> ledger' }\n\
                \x20   - { run: 'grep -c run_started {{ drill.run }}/journal.jsonl', expect: [result.stdout | trim == '1'] }\n";
    book("proved", good);
    world.run(&["drill", "proved"]).exits(0).says(&["look at what became of it", "proved: passed"]);
    assert_eq!(world.ledger(), ["seen", "down"]);
    let stages: Vec<_> = only_drill(&world)["stages"].as_array().unwrap().clone();
    assert_eq!(stages[2]["stage"], "proof", "{stages:?}");
    assert_eq!(world.runs().len(), 1, "only the playbook's own run stands among the runs");

    fs::remove_dir_all(world.state().join("drills")).unwrap();
    book(
        "claimed",
        &format!("    - {{ title: It is gone, run: '! test -e {{{{ drill.dir }}}}/there' }}\n{good}"),
    );
    let shown = world.run(&["drill", "claimed"]).exits(1);
    shown.says(&["FAILED", "not proved: ", "proof-1", "recovered"]);
    assert_eq!(world.ledger()[2..], ["seen", "down"], "the other proofs are looked at, too");
    let report = only_drill(&world);
    assert_eq!((&report["verdict"], &report["outcome"]), (&"failed".into(), &"recovered".into()));
}

#[test]
fn each_phase_of_a_drill_has_its_budget() {
    let world = World::new();
    let book = |name: &str, assert: &str| {
        world.playbook(
            name,
            &format!(
                "phases:\n  - {{ id: look-around, title: L, steps: [{{ id: a, title: A, run: 'sleep 0.2' }}] }}\n\
                 \x20 - {{ id: mend, title: M, steps: [{{ id: b, title: B, run: 'exit 0' }}] }}\n\
                 drill:\n  world: [{{ run: 'true' }}]\n  assert:\n{assert}"
            ),
        );
    };
    book(
        "in-time",
        "    - run.phases.look-around.took >= '200ms' and run.phases.look-around.took < '10m'\n    - run.phases.mend.took < '10m'\n",
    );
    world.run(&["drill", "in-time"]).exits(0);
    book("late", "    - run.phases.look-around.took <= '100ms'\n    - run.phases.mend.took < '10m'\n");
    let shown = world.run(&["drill", "late"]).exits(1);
    shown.says(&["look-around.took <= '100ms': DOES NOT HOLD", "mend.took < '10m': holds"]);
    // A phase that was not over is within no budget.
    let shown = world.run(&["drill", "in-time", "--fault", "step=a:fail"]).exits(1);
    shown.says(&["phase `mend` did not come to its end"]);
}

/// What the playbook and `runbook.yaml` name as channels is real: a drill tells only whom it has set up itself, in its
/// own place, and does not even read the secrets of the others.
#[test]
fn a_drill_tells_those_that_it_has_set_up_and_nobody_else() {
    let world = World::new();
    let hear = |file: &str| {
        format!(
            "echo \"$RUNBOOK_CHANNEL_ENDS $RUNBOOK_NOTICE_ACTION $RUNBOOK_DRILL $RUNBOOK_NOTICE_SUBJECT\" >> {file}"
        )
    };
    world.write("real.sh", format!("#!/bin/sh\n{}\n", hear("real")));
    world.write("drill.sh", format!("#!/bin/sh\n{}\n", hear("ledger")));
    for script in ["real.sh", "drill.sh"] {
        let path = world.path(script);
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let secret = world.path("secret");
    let book = format!(
        "secrets: {{ pw: {{ command: [sh, -c, 'echo read >> {}; echo hidden-word'] }} }}\n",
        secret.display()
    );
    let book = book
        + "channels:
  team: { command: [./real.sh], env: { RUNBOOK_CHANNEL_ENDS: secrets.pw } }
  pager: { command: [./real.sh] }
escalation:
  - { level: 1, after: 0m, notify: [team, pager], to: [the team] }
  - { level: 2, after: 0m, notify: [pager], to: [the board] }
updates: { channels: [team], every: [{ every: 30m }], status_file: status }
steps:
  - { id: say, title: Say, notify: { channels: [team, pager], message: It is on. } }
drill:
  world: [{ run: 'true' }]
  assert: [run.outcome == 'recovered']
";
    world.playbook("silent", &book);
    world.run(&["drill", "silent"]).exits(0);
    for none in ["real", "ledger", "secret", "status"] {
        assert!(!world.path(none).exists(), "{none}");
    }

    let own = "  channels:\n    team: { command: [./drill.sh], env: { RUNBOOK_CHANNEL_ENDS: 'in {{ drill.dir }}' } }\n\
               \x20 proof: [{ run: 'grep -q \"in {{ drill.dir }} \" ledger' }]\n";
    world.playbook("told", &format!("{book}{own}"));
    world.run(&["drill", "told"]).exits(0);
    for none in ["real", "secret", "status"] {
        assert!(!world.path(none).exists(), "{none}");
    }
    let heard = world.ledger();
    let has = |text: &str| heard.iter().filter(|line| line.contains(text)).count();
    assert_eq!(heard.iter().filter(|line| line.contains(" 1 [drill] ")).count(), heard.len(), "{heard:?}");
    assert_eq!((has("level 1"), has("level 2")), (1, 0), "{heard:?}");
    assert_eq!((has("update #1"), has("final update")), (1, 1), "{heard:?}");
    let notices = world.events_named("notice");
    assert!(notices.iter().all(|notice| notice["channels"] == serde_json::json!(["team"])), "{notices:?}");
    assert!(world.events_named("notice_ended").iter().all(|ended| ended["delivered"] == true));
}
