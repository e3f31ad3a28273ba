//! An undo or a remedy whose link was cut: its host is asked how it ended, as for an attempt. Nothing is taken back twice,
//! and nothing is called taken back that may not be.

use std::fs;

use crate::net::Net;
use crate::support::wait_until;

/// Waits for `go` there, and notes that it has run.
const SLOW: &str = "cd; echo x >> ledger; while [ ! -e go ]; do sleep 0.1; done; echo over >> ledger";

fn rollback() -> String {
    format!(
        r#"
steps:
  - {{ id: base, run: "echo 1 >> base", undo: {{ run: "echo 0 >> base" }} }}
  - id: act
    on: h1
    run: "true"
    undo: {{ run: "{SLOW}", timeout: 120s }}
  - {{ id: fails, run: "false", on_failure: rollback }}
"#
    )
}

fn ledger(net: &Net) -> Vec<String> {
    let text = fs::read_to_string(net.home(1).join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn undone(net: &Net, step: &str) -> Vec<String> {
    let undone = net.world.events_named("step_undone").into_iter().filter(|body| body["step"] == step);
    undone
        .map(|body| match &body["state"] {
            serde_json::Value::String(state) => state.clone(),
            other => other.as_object().and_then(|o| o.keys().next().cloned()).unwrap_or_default(),
        })
        .collect()
}

/// Runs the playbook until its far command runs, and cuts the link.
fn cut(net: &Net, name: &str) {
    let running = net.world.start_command(net.cmd(&["run", name]));
    wait_until("the far command", || ledger(net).len() == 1);
    net.cut(1);
    let shown = running.wait();
    assert!([1, 5, 7].contains(&shown.code), "{shown:?}");
}

#[test]
fn an_undo_that_still_runs_is_waited_for() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("undo", &rollback());
    cut(&net, "undo");
    assert_eq!(undone(&net, "act"), ["unknown"]);
    assert_eq!(undone(&net, "base"), [] as [&str; 0], "what it was built on stays");
    // As long as it cannot be asked, nothing is guessed.
    let began = std::time::Instant::now();
    let shown = net.run(&["resume", "last"]);
    eprintln!("TOOK {:?} {}", began.elapsed(), shown.out);
    assert!(shown.code > 1, "{shown:?}");
    assert!(net.world.events_named("task_found").is_empty());
    net.mend(1);
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the undo to be found", || !net.world.events_named("task_found").is_empty());
    fs::write(net.home(1).join("go"), "").unwrap();
    resumed.wait().exits(6);
    assert_eq!(ledger(&net), ["x", "over"]);
    assert_eq!(undone(&net, "act"), ["unknown", "undone"]);
    assert_eq!(undone(&net, "base"), ["undone"]);
    net.run(&["verify", "last"]).exits(0);
    net.run(&["report", "last"]).exits(0);
    net.assert_clean(1);
}

#[test]
fn an_undo_that_ended_behind_the_cut_is_learnt_also_by_a_rollback() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("behind", &rollback());
    cut(&net, "behind");
    fs::write(net.home(1).join("go"), "").unwrap();
    wait_until("its end there", || ledger(&net).len() == 2);
    net.mend(1);
    net.run(&["rollback", "last", "--yes"]).exits(6);
    assert_eq!(ledger(&net), ["x", "over"]);
    assert_eq!(undone(&net, "act"), ["unknown", "undone"]);
    assert_eq!(undone(&net, "base"), ["undone"]);
    net.assert_clean(1);
}

#[test]
fn an_alternative_that_was_taken_back_after_all_lets_the_next_one_serve() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "ways",
        &format!(
            r#"
steps:
  - id: ways
    any_of:
      - {{ id: first, on: h1, run: "false", undo: {{ run: "{SLOW}", timeout: 120s }} }}
      - {{ id: second, run: "echo served >> second" }}
"#
        ),
    );
    cut(&net, "ways");
    assert!(!net.world.path("second").exists(), "nobody knows whether the first is taken back");
    net.mend(1);
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the undo to be found", || !net.world.events_named("task_found").is_empty());
    assert!(!net.world.path("second").exists());
    fs::write(net.home(1).join("go"), "").unwrap();
    resumed.wait().exits(0);
    assert_eq!(
        (ledger(&net), net.world.read("second").as_str()),
        (vec!["x".into(), "over".into()], "served\n")
    );
    assert_eq!(undone(&net, "ways/first"), ["unknown", "undone"]);
    net.assert_clean(1);
}

#[test]
fn no_attempt_is_made_beside_a_remedy_that_may_still_run() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "remedy",
        &format!(
            r#"
steps:
  - id: act
    run: "echo x >> tries; [ -e {home}/go ]"
    idempotent: true
    retry: {{ attempts: 3, delay: 1ms, remedies: [{{ on: h1, run: "{SLOW}", timeout: 120s }}] }}
"#,
            home = net.home(1).display()
        ),
    );
    cut(&net, "remedy");
    assert_eq!(net.world.outcome("act"), "unknown");
    net.run(&["resume", "last"]).exits(5);
    assert_eq!(net.world.read("tries"), "x\n");
    net.mend(1);
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the remedy to be found", || !net.world.events_named("task_found").is_empty());
    assert_eq!(net.world.read("tries"), "x\n");
    fs::write(net.home(1).join("go"), "").unwrap();
    resumed.wait().exits(0);
    assert_eq!((ledger(&net).len(), net.world.read("tries").as_str()), (2, "x\nx\n"));
    net.assert_clean(1);
}
