//! The runner or the keeper is killed in the middle of a step: nothing is repeated that must not be, and the truth about
//! the step is told.

use std::path::Path;

use crate::support::{Running, Shown, World, kill_hard, wait_until};

/// Five steps, each leaves one line in the ledger; the third takes its time once it has begun.
fn five(world: &World, third: &str) {
    let mut body = "steps:\n".to_owned();
    for (n, name) in ["one", "two", "three", "four", "five"].iter().enumerate() {
        let slow = if n == 2 { "touch begun; while ! test -e go; do sleep 0.05; done; " } else { "" };
        let more = if n == 2 { third } else { "" };
        body.push_str(&format!(
            "  - {{ id: {name}, title: Step {name}, run: '{slow}echo {name} >> ledger'{more} }}\n"
        ));
    }
    world.playbook("five", &body);
}

/// Runs until step three has begun.
fn to_three(world: &World) -> Running {
    let running = world.start(&["run", "five"]);
    wait_until("step three", || world.path("begun").exists());
    running
}

fn keeper(world: &World) -> i32 {
    let keepers = world.processes_like("__keeper");
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    keepers[0]
}

/// Kills the runner, then the keeper with all it started, as a reboot would. In this order: a runner that outlives its
/// keeper goes on.
fn reboot(world: &World, running: Running) {
    let keeper = keeper(world);
    kill_hard_if_alive(&running);
    let _ = running.wait();
    kill_hard(keeper);
    for pid in world.processes() {
        kill_hard(pid);
    }
    world.assert_nothing_runs();
}

fn kill_hard_if_alive(running: &Running) {
    if Path::new(&format!("/proc/{}", running.pid())).exists() {
        kill_hard(running.pid());
    }
}

fn resume(world: &World) -> Shown {
    world.run(&["resume", "last"])
}

const ALL: [&str; 5] = ["one", "two", "three", "four", "five"];

#[test]
fn a_killed_runner_finds_its_step_still_running() {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    kill_hard(running.pid());
    assert_eq!(running.wait().code, -9);
    world.run(&["status"]).exits(0).says(&["three", "runbook resume "]);
    let resumed = world.start(&["resume", "last"]);
    wait_until("the resume", || resumed.out().contains("resumed"));
    world.write("go", "");
    resumed.wait().exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ALL);
    assert_eq!(world.outcome("three"), "succeeded");
    world.run(&["verify"]).exits(0);
    world.assert_nothing_runs();
}

#[test]
fn a_killed_runner_reads_how_its_step_ended_meanwhile() {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    let keeper = keeper(&world);
    kill_hard(running.pid());
    running.wait();
    world.write("go", "");
    wait_until("the keeper's end", || !world.processes().contains(&keeper));
    assert_eq!(
        world.ledger(),
        ["one", "two", "three"],
        "the step in flight ended by itself, nothing new began"
    );
    resume(&world).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ALL);
    assert_eq!(world.events_named("run_resumed").len(), 1);
    let attempts = world.events_named("task_started");
    assert_eq!(attempts.iter().filter(|t| t["task"] == "three.1").count(), 1);
}

/// A step that fails while nobody drives the run.
fn fails_alone(on_failure: &str) -> World {
    let world = World::new();
    world.playbook(
        "five",
        &format!(
            "steps:\n  - {{ id: one, title: One, run: echo one >> ledger, undo: {{ run: echo undo-one >> ledger }} }}\n  \
             - {{ id: three, title: Three, on_failure: {on_failure}, \
             run: 'echo three >> ledger; touch begun; while ! test -e go; do sleep 0.05; done; exit 3' }}\n  \
             - {{ id: four, title: Four, run: echo four >> ledger }}\n"
        ),
    );
    let running = to_three(&world);
    kill_hard(running.pid());
    running.wait();
    world.write("go", "");
    world.assert_nothing_runs();
    world
}

#[test]
fn a_failure_while_nobody_drove_counts_as_one_that_was_seen() {
    let world = fails_alone("continue");
    resume(&world).exits(4).says(&["exit 3"]);
    assert_eq!(world.outcome("three"), "failed");
    assert_eq!(world.ledger(), ["one", "three", "four"], "a step without retry is not tried again by itself");

    let world = fails_alone("stop");
    resume(&world).exits(1).says(&["exit 3", "runbook resume "]);
    assert_eq!(world.ledger(), ["one", "three"]);

    let world = fails_alone("rollback");
    resume(&world).exits(6).says(&["exit 3", "rolled-back"]);
    assert_eq!(world.ledger(), ["one", "three", "undo-one"]);
}

#[test]
fn all_that_was_in_flight_is_found() {
    let world = World::new();
    let wait = |name: &str| {
        format!("echo +{name} >> ledger; while ! test -e go; do sleep 0.05; done; echo -{name} >> ledger")
    };
    world.playbook(
        "wide",
        &format!(
            "steps:\n  - {{ id: a, title: A, needs: [], run: '{}' }}\n  - {{ id: b, title: B, needs: [], run: '{}' }}\n  \
             - {{ id: c, title: C, needs: [a, b], run: echo c >> ledger }}\n",
            wait("a"),
            wait("b")
        ),
    );
    let running = world.start(&["run", "wide"]);
    wait_until("both", || world.ledger().len() == 2);
    kill_hard(running.pid());
    running.wait();
    let resumed = world.start(&["resume", "last"]);
    wait_until("the resume", || resumed.out().contains("resumed"));
    world.write("go", "");
    resumed.wait().exits(0);
    let mut ledger = world.ledger();
    assert_eq!(ledger.pop().as_deref(), Some("c"));
    ledger.sort();
    assert_eq!(ledger, ["+a", "+b", "-a", "-b"]);
}

#[test]
fn a_killed_rollback_goes_on_as_a_rollback() {
    let world = World::new();
    world.playbook(
        "back",
        "steps:\n  - { id: a, title: A, run: echo a >> ledger, undo: { run: echo undo-a >> ledger } }\n  \
         - { id: b, title: B, run: echo b >> ledger, undo: { \
         run: 'touch begun; while ! test -e go; do sleep 0.05; done; echo undo-b >> ledger' } }\n  \
         - { id: c, title: C, run: exit 3, on_failure: rollback }\n",
    );
    let running = world.start(&["run", "back"]);
    wait_until("the undo", || world.path("begun").exists());
    kill_hard(running.pid());
    running.wait();
    let resumed = world.start(&["resume", "last"]);
    wait_until("the resume", || resumed.out().contains("resumed"));
    world.write("go", "");
    resumed.wait().exits(6);
    assert_eq!(world.ledger(), ["a", "b", "undo-b", "undo-a"]);
}

#[test]
fn an_undo_that_died_with_the_keeper_is_not_repeated_blindly() {
    let world = World::new();
    world.playbook(
        "back",
        "steps:\n  - { id: a, title: A, run: echo a >> ledger, undo: { \
         run: 'echo undo-a >> ledger; touch begun; while ! test -e go; do sleep 0.05; done' } }\n  \
         - { id: c, title: C, run: exit 3, on_failure: rollback }\n",
    );
    let running = world.start(&["run", "back"]);
    wait_until("the undo", || world.path("begun").exists());
    reboot(&world, running);
    world.write("go", "");
    let code = resume(&world).code;
    assert!(matches!(code, 5 | 7), "it is in doubt or stuck, not {code}");
    assert_eq!(world.ledger(), ["a", "undo-a"]);
}

#[test]
fn a_check_that_was_polled_is_polled_again_and_the_action_is_not_repeated() {
    let world = World::new();
    world.playbook(
        "poll",
        "steps:\n  - id: a\n    title: A\n    run: echo a >> ledger\n    verify:\n      \
         - { title: It is there, run: 'touch begun; test -e go', within: 2m, every: 100ms }\n",
    );
    let running = world.start(&["run", "poll"]);
    wait_until("a poll", || world.path("begun").exists());
    reboot(&world, running);
    world.write("go", "");
    resume(&world).exits(0);
    assert_eq!(world.ledger(), ["a"]);
}

#[test]
fn attempts_are_counted_across_a_crash() {
    let world = World::new();
    world.playbook(
        "again",
        "steps:\n  - id: a\n    title: A\n    retry: { attempts: 3, delay: 10ms }\n    \
         run: 'echo try >> ledger; touch begun; while ! test -e go; do sleep 0.05; done; exit 3'\n",
    );
    let running = world.start(&["run", "again"]);
    wait_until("the first attempt", || world.path("begun").exists());
    kill_hard(running.pid());
    running.wait();
    world.write("go", "");
    world.assert_nothing_runs();
    resume(&world).exits(1);
    assert_eq!(world.ledger(), ["try"; 3]);
}

/// Everything is killed in the middle of step three; the resume says that nobody can know.
fn in_doubt() -> World {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    reboot(&world, running);
    resume(&world).exits(5).says(&[
        "in-doubt",
        "three",
        "runbook resolve ",
        "--done | --not-done",
        "runbook resume ",
    ]);
    assert_eq!(world.outcome("three"), "unknown");
    assert_eq!(world.ledger(), ["one", "two"], "nothing was repeated and nothing new began");
    world
}

#[test]
fn with_the_keeper_killed_too_the_outcome_is_unknown_and_stays_so() {
    let world = in_doubt();
    // Asking again does not change it.
    resume(&world).exits(5).says(&["runbook resolve "]);
    assert_eq!(world.ledger(), ["one", "two"]);
    assert!(world.run(&["status"]).exits(0).out.contains("in-doubt"));
    world.run(&["report"]).exits(0).says(&["in-doubt"]);
}

#[test]
fn a_person_says_that_it_was_done() {
    let world = in_doubt();
    world.write("shot.txt", "seen on the console");
    let run = world.last_run();
    let resolve = ["resolve", &run, "three", "--done", "--reason", "I saw it", "--evidence", "shot.txt"];
    world.run(&resolve).exits(0).says(&[&format!("runbook resume {run}")]);
    resume(&world).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["one", "two", "four", "five"], "three was not repeated");
    let said = world.events_named("step_resolved");
    assert_eq!(said[0]["reason"], "I saw it");
    assert!(said[0]["evidence"].as_str().unwrap().contains("shot.txt"));
    world.run(&["report"]).exits(0).says(&["I saw it"]);
    world.run(&["verify"]).exits(0);
}

#[test]
fn a_person_says_that_it_was_not_done() {
    let world = in_doubt();
    world.write("go", "");
    let resolve = ["resolve", "last", "three", "--not-done", "--reason", "not there"];
    world.run(&resolve).exits(0);
    resume(&world).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ALL);
}

#[test]
fn what_cannot_be_resolved_is_refused() {
    let world = in_doubt();
    let resolve = |step: &str, more: &[&str]| world.run(&[&["resolve", "last", step], more].concat());
    resolve("one", &["--done", "--reason", "x"]).exits(8).says(&["step one is done"]);
    resolve("thre", &["--done", "--reason", "x"]).exits(2).says(&["its steps: one, two, three"]);
    resolve("three", &["--done", "--reason", " "]).exits(2).says(&["--reason"]);
    resolve("three", &["--done"]).exits(2);
    resolve("three", &["--reason", "x"]).exits(2);
    resolve("three", &["--done", "--not-done", "--reason", "x"]).exits(2);
    assert!(world.events_named("step_resolved").is_empty());
}

/// A reboot in step three, then one resume that must find its own way.
fn resolves_itself(third: &str, effect_before: bool) -> World {
    let world = World::new();
    five(&world, third);
    let running = to_three(&world);
    reboot(&world, running);
    if effect_before {
        world.write("ledger", "one\ntwo\nthree\n");
    }
    world.write("go", "");
    resume(&world).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ALL);
    assert_eq!(world.outcome("three"), "succeeded");
    world
}

const CHECK: &str = ", check: { run: grep -qx three ledger }";

#[test]
fn a_check_that_finds_the_effect_saves_the_step_from_being_repeated() {
    let world = resolves_itself(CHECK, true);
    let started = world.events_named("task_started");
    assert!(!started.iter().any(|t| t["task"] == "three.2"), "{started:?}");
}

#[test]
fn a_check_that_finds_no_effect_lets_the_step_run() {
    resolves_itself(CHECK, false);
}

#[test]
fn an_idempotent_step_is_repeated() {
    resolves_itself(", idempotent: true", false);
}

#[test]
fn a_killed_keeper_under_a_live_runner_is_told_at_once_and_its_command_waited_for() {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    let keeper = keeper(&world);
    kill_hard(keeper);
    wait_until("the word of it", || !world.events_named("keeper_lost").is_empty());
    world.write("go", "");
    running.wait().exits(5).says(&["three", "runbook resolve "]);
    assert_eq!(world.outcome("three"), "unknown", "how it ended nobody saw");
    assert_eq!(world.ledger(), ["one", "two", "three"]);
}

#[test]
fn two_resumes_at_once_and_one_wins() {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    kill_hard(running.pid());
    running.wait();
    let winner = world.start(&["resume", "last"]);
    wait_until("the resume", || winner.out().contains("resumed"));
    let pid = format!("pid {}", winner.pid());
    resume(&world).exits(8).says(&["driven by another process", &pid, "since ", "runbook status "]);
    world.write("go", "");
    winner.wait().exits(0);
    assert_eq!(world.ledger(), ALL);
}

#[test]
fn a_run_that_is_over_is_not_resumed() {
    let world = World::new();
    world.playbook("done", "steps: [{ id: a, title: A, run: echo a >> ledger }]\n");
    world.run(&["run", "done"]).exits(0);
    resume(&world).exits(8).says(&["recovered", "nothing to resume", "runbook report "]);
    world.run(&["cancel", "last"]).exits(8).says(&["ended recovered"]);
    assert_eq!(world.ledger(), ["a"]);
}

/// The keeper alone is killed, and the command lives on: as long as it does, nobody asks whether it took effect, and
/// nobody starts it again.
#[test]
fn a_command_that_outlives_its_keeper_is_waited_for() {
    for third in [CHECK, ", idempotent: true"] {
        let world = World::new();
        five(&world, third);
        let running = to_three(&world);
        kill_hard(keeper(&world));
        // Time enough for a check or a second start, if there were one.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let started = world.events_named("task_started");
        assert_eq!(started.last().unwrap()["task"], "three.1", "nothing follows while it runs");
        world.write("go", "");
        running.wait().exits(0);
        let threes = if third == CHECK { 1 } else { 2 };
        assert_eq!(world.ledger().iter().filter(|line| *line == "three").count(), threes);
    }
}

/// Neither runner nor keeper live, the command does: who resumes waits for it, but not longer than the step may take.
#[test]
fn a_resume_keeps_the_timeout_of_a_command_without_a_keeper() {
    let world = World::new();
    five(&world, ", timeout: 6s, grace: 1s, on_failure: continue");
    let running = to_three(&world);
    let keeper = keeper(&world);
    kill_hard(running.pid());
    running.wait();
    kill_hard(keeper);
    let resumed = resume(&world).exits(4);
    resumed.says(&["timed out after 6", "three"]);
    assert_eq!(world.outcome("three"), "failed");
    world.assert_nothing_runs();
    assert_eq!(world.ledger(), ["one", "two", "four", "five"], "its last line came after the timeout");
}

/// Ctrl-C in that wait ends the command, as it would with the keeper.
#[test]
fn ctrl_c_ends_a_command_without_a_keeper() {
    let world = World::new();
    five(&world, "");
    let running = to_three(&world);
    let keeper = keeper(&world);
    kill_hard(running.pid());
    running.wait();
    kill_hard(keeper);
    let resumed = world.start(&["resume", "last"]);
    wait_until("the resume", || resumed.out().contains("resumed"));
    resumed.signal(nix::sys::signal::Signal::SIGINT);
    resumed.wait().exits(130).says(&["cancelled", "runbook resume "]);
    assert_eq!(world.outcome("three"), "cancelled");
    world.assert_nothing_runs();
    world.write("go", "");
    resume(&world).exits(0);
    assert_eq!(world.ledger(), ALL);
}
