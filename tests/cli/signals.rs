//! Signals at the runner, `cancel` from another terminal, and readers that go away.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{Running, World, kill_hard, wait_until};

/// Ends on TERM and says so.
const POLITE: &str = "trap 'echo TERM >> ledger; exit 1' TERM; echo begun >> ledger; sleep 300.7 & wait";
/// Hears TERM and stays.
const STUBBORN: &str =
    "trap 'echo TERM >> ledger' TERM; echo begun >> ledger; while :; do sleep 0.1 || :; done";

fn begun(world: &World, script: &str) -> Running {
    world.playbook(
        "long",
        &format!(
            "defaults: {{ grace: 5m }}\nsteps:\n  - id: long\n    title: Long\n    run: |\n      {script}\n  \
             - {{ id: next, title: Next, run: echo next >> ledger }}\n"
        ),
    );
    let running = world.start(&["run", "long"]);
    wait_until("the step", || world.ledger() == ["begun"]);
    running
}

fn ends_cancelled(world: &World, running: Running) {
    let run = world.last_run();
    running.wait().exits(130).says(&["cancelled", &format!("runbook resume {run}")]);
    assert_eq!(world.outcome("long"), "cancelled");
    assert_eq!(world.outcome("next"), "none");
    assert_eq!(world.events_named("run_ended")[0]["outcome"], "cancelled");
    world.assert_nothing_runs();
}

#[test]
fn one_interrupt_asks_the_step_to_end() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let world = World::new();
        let running = begun(&world, POLITE);
        running.signal(signal);
        ends_cancelled(&world, running);
        assert_eq!(world.ledger(), ["begun", "TERM"]);
    }
}

#[test]
fn the_second_interrupt_kills() {
    let world = World::new();
    let mut running = begun(&world, STUBBORN);
    running.signal(Signal::SIGINT);
    wait_until("TERM", || world.ledger().len() == 2);
    assert!(running.is_running(), "the grace of five minutes is not over");
    running.signal(Signal::SIGINT);
    ends_cancelled(&world, running);
    assert_eq!(world.ledger(), ["begun", "TERM"]);
}

#[test]
fn a_cancelled_run_goes_on_with_resume() {
    let world = World::new();
    let running = begun(&world, "echo begun >> ledger; test -e go || sleep 300.71");
    running.signal(Signal::SIGINT);
    ends_cancelled(&world, running);
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["begun", "begun", "next"]);
}

#[test]
fn cancel_comes_from_another_terminal() {
    let world = World::new();
    let running = begun(&world, POLITE);
    world.run(&["cancel", "last"]).exits(0).says(&["runbook status "]);
    ends_cancelled(&world, running);
    assert_eq!(world.ledger(), ["begun", "TERM"]);

    let world = World::new();
    let running = begun(&world, STUBBORN);
    world.run(&["cancel", "last", "--force"]).exits(0);
    ends_cancelled(&world, running);
}

#[test]
fn cancel_ends_a_run_whose_runner_is_dead() {
    let world = World::new();
    let running = begun(&world, POLITE);
    kill_hard(running.pid());
    running.wait();
    world.run(&["cancel", "last"]).exits(0).says(&["cancelled"]);
    assert_eq!(world.ledger(), ["begun", "TERM"]);
    assert_eq!(world.outcome("long"), "cancelled");
    world.assert_nothing_runs();
    // Its key is free again.
    world.write("playbooks/long.yaml", world.read("playbooks/long.yaml").replace("sleep 300.7", "exit 0"));
    world.run(&["run", "long"]).exits(0);
}

#[test]
fn a_lost_terminal_does_not_stop_the_run() {
    let world = World::new();
    let mut running = begun(&world, "echo begun >> ledger; while ! test -e go; do sleep 0.05; done");
    running.signal(Signal::SIGHUP);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(running.is_running());
    world.write("go", "");
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["begun", "next"]);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_run() {
    let world = World::new();
    world.playbook(
        "chatty",
        "steps:\n  - { id: a, title: A, run: 'sleep 0.3; seq 1 20000; echo a >> ledger' }\n  \
         - { id: b, title: B, run: 'seq 1 20000; echo b >> ledger' }\n",
    );
    for args in [&["run", "chatty"][..], &["run", "chatty", "--json"]] {
        world.write("ledger", "");
        let mut child = world.cmd(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status:?}");
        assert_eq!(world.ledger(), ["a", "b"]);
    }
    let mut child = world.cmd(&["log", "last", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_that_is_followed_ends_with_the_run() {
    let world = World::new();
    let running = begun(&world, "echo begun >> ledger; while ! test -e go; do sleep 0.05; done");
    let follower = world.start(&["log", "last", "--follow"]);
    wait_until("the start in the log", || follower.out().contains("Test of long"));
    world.write("go", "");
    running.wait().exits(0);
    follower.wait().exits(0).says(&["recovered"]);
}
