//! A rollback after a link was cut under an attempt: its host is asked first, and nothing is taken back beside what still runs
//! there.

use std::fs;

use crate::net::Net;
use crate::support::{kill_hard, wait_until};

/// `act` waits for `go` there; what it and its undo do stands in the ledger of that host.
const PLAYBOOK: &str = r#"
steps:
  - { id: base, run: "echo 1 >> base", undo: { run: "echo 0 >> base" } }
  - id: act
    on: h1
    run: "cd; echo begun >> ledger; while [ ! -e go ]; do sleep 0.1; done; echo over >> ledger"
    timeout: 120s
    undo: { run: "cd; echo undone >> ledger" }
"#;

fn ledger(net: &Net) -> Vec<String> {
    let text = fs::read_to_string(net.home(1).join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn go(net: &Net) {
    fs::write(net.home(1).join("go"), "").unwrap();
}

/// How often the event is there.
fn count(net: &Net, event: &str) -> usize {
    net.world.events_named(event).len()
}

/// Runs the playbook until its far step runs, and cuts the link: the step is in doubt.
fn cut() -> Option<Net> {
    let net = Net::new(1)?;
    net.playbook("back", PLAYBOOK);
    let running = net.world.start_command(net.cmd(&["run", "back"]));
    wait_until("the far step", || ledger(&net).len() == 1);
    net.cut(1);
    running.wait().exits(5);
    Some(net)
}

#[test]
fn a_rollback_waits_for_an_attempt_that_still_runs_also_over_a_kill() {
    let Some(net) = cut() else { return };
    net.mend(1);
    let rolling = net.world.start_command(net.cmd(&["rollback", "last", "--yes"]));
    wait_until("the attempt to be found", || count(&net, "task_found") == 1);
    // Only the runner; and then both, so that the host is asked once more.
    for (times, names) in [(1, &["rollback last"][..]), (2, &["resume last", "__keeper"])] {
        wait_until("the wait", || count(&net, "run_resumed") == times);
        names.iter().flat_map(|name| net.world.processes_like(name)).for_each(kill_hard);
        net.world.start_command(net.cmd(&["resume", "last"]));
        wait_until("another process", || count(&net, "run_resumed") == times + 1);
    }
    let _ = rolling.wait();
    assert_eq!((ledger(&net), net.world.read("base").as_str()), (vec!["begun".into()], "1\n"));
    go(&net);
    wait_until("the end", || count(&net, "run_ended") == 2);
    assert_eq!(ledger(&net), ["begun", "over", "undone"]);
    assert_eq!(net.world.read("base"), "1\n0\n");
    net.run(&["resume", "last"]).exits(8);
    net.run(&["verify", "last"]).exits(0);
    net.assert_clean(1);
}

#[test]
fn an_attempt_that_ended_behind_the_cut_is_taken_back_as_it_ended() {
    let Some(net) = cut() else { return };
    go(&net);
    wait_until("its end there", || ledger(&net).len() == 2);
    net.mend(1);
    net.run(&["rollback", "last", "--yes"]).exits(6);
    assert_eq!(ledger(&net), ["begun", "over", "undone"]);
    assert_eq!(count(&net, "host_silent"), 0);
    net.assert_clean(1);
}

#[test]
fn a_host_that_cannot_be_asked_is_said_and_asked_again_before_the_next_try() {
    let Some(net) = cut() else { return };
    net.run(&["rollback", "last", "--yes"]).exits(7).says(&["it may still run there"]);
    assert_eq!((count(&net, "host_silent"), count(&net, "task_found")), (1, 0));
    assert_eq!(net.world.read("base"), "1\n", "what it was built on stays");
    net.run(&["log", "last"]).exits(0).says(&["its host was asked before anything is taken back"]);
    net.run(&["report", "last"]).exits(0);
    net.mend(1);
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the attempt to be found", || count(&net, "task_found") == 1);
    assert_eq!(ledger(&net), ["begun"]);
    go(&net);
    resumed.wait().exits(6);
    assert_eq!(ledger(&net), ["begun", "over", "undone"]);
    assert_eq!(net.world.read("base"), "1\n0\n");
    net.assert_clean(1);
}
