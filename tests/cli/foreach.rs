//! A step that is done for each item of a list, with real processes.

use crate::support::{World, kill_hard, wait_until};

/// `all` writes each item to the ledger, four of them; the third waits for the file `go`.
fn four(world: &World, at_once: u32, more: &str) {
    world.playbook(
        "four",
        &format!(
            "params:\n  hosts: {{ type: list, default: [web1, 'web 2', web3, \"it's 4\"] }}\n\
             steps:\n  - id: all\n    title: Restart\n    foreach: params.hosts\n    max_parallel: {at_once}\n{more}    run: |\n      \
             if test {{{{ item }}}} = web3; then touch begun; while ! test -e go; do sleep 0.05; done; fi\n      \
             echo {{{{ item }}}} | tee -a ledger\n  - {{ id: after, run: echo after >> ledger }}\n"
        ),
    );
}

const HOSTS: [&str; 4] = ["web1", "web 2", "web3", "it's 4"];

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn every_item_is_one_exact_argument_and_is_done_once() {
    let world = World::new();
    world.write("go", "");
    four(&world, 2, "");
    world.run(&["run", "four"]).exits(0).says(&["recovered"]);
    let ledger = world.ledger();
    assert_eq!(ledger.last().map(String::as_str), Some("after"));
    assert_eq!(sorted(ledger[..4].to_vec()), sorted(HOSTS.map(str::to_owned).to_vec()));
    // What one did is found by its number.
    let outputs = std::fs::read_dir(world.run_dir(&world.last_run()).join("output")).unwrap();
    let names: Vec<String> = outputs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("all+4.1.")), "{names:?}");
    world.run(&["status", "last"]).exits(0).says(&["4/4 items done"]);
    world.run(&["report", "--format", "md"]).exits(0).says(&["4/4 items done", "Restart: it's 4"]);
    world.run(&["verify"]).exits(0);
    world.assert_nothing_runs();
}

/// Until the third item runs and so many others are recorded as done.
fn to_the_third(world: &World, done: usize) {
    wait_until("the third item", || {
        world.path("begun").exists() && world.events_named("step_ended").len() == done
    });
}

/// Killed while two are done, one runs and one has not begun: the resume takes up the one that runs, begins the other,
/// and repeats none.
#[test]
fn a_killed_run_goes_on_with_the_unfinished_items() {
    let world = World::new();
    four(&world, 1, "");
    let running = world.start(&["run", "four"]);
    to_the_third(&world, 2);
    kill_hard(running.pid());
    assert_eq!(running.wait().code, -9);
    world.run(&["status", "last"]).exits(0).says(&["all/3", "2/4 items done, 1 running"]);
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["web1", "web 2", "web3", "it's 4", "after"]);
    let started = world.events_named("task_started");
    let of = |item: &str| started.iter().filter(|t| t["task"] == item).count();
    assert_eq!(["all/1.1", "all/2.1", "all/3.1", "all/4.1"].map(of), [1; 4], "none was started twice");
    world.assert_nothing_runs();
}

/// Runner and keeper are killed while the third item runs: nobody knows what it did.
fn lost(more: &str) -> World {
    let world = World::new();
    four(&world, 2, more);
    let running = world.start(&["run", "four"]);
    to_the_third(&world, 3);
    let keeper = world.processes_like("__keeper")[0];
    kill_hard(running.pid());
    running.wait();
    kill_hard(keeper);
    for pid in world.processes() {
        kill_hard(pid);
    }
    world.assert_nothing_runs();
    world
}

#[test]
fn an_item_in_doubt_waits_for_a_persons_word() {
    let world = lost("");
    world.run(&["resume", "last"]).exits(5).says(&["in-doubt", "runbook resolve ", "all/3 --done"]);
    world.run(&["status", "last"]).exits(0).says(&["3/4 items done, 1 in doubt", "all/3"]);
    // It was not done; somebody does it by hand, and says so.
    let seen = ["--done", "--reason", "seen on the machine"];
    world.run(&["resolve", "last", "all[5]", seen[0], seen[1], seen[2]]).exits(2).says(&["no step"]);
    world.run(&["resolve", "last", "all[3]", seen[0], seen[1], seen[2]]).exits(0);
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.outcome("all/3"), "succeeded");
    let ledger = world.ledger();
    assert!(!ledger.contains(&"web3".to_owned()) && ledger.contains(&"after".to_owned()), "{ledger:?}");
}

#[test]
fn enough_others_are_done_and_the_run_goes_on_without_the_one_in_doubt() {
    let world = lost("    at_least: 3\n");
    let shown = world.run(&["resume", "last"]).exits(4);
    shown.says(&["degraded", "nobody knows what step all/3 did"]);
    assert_eq!(world.outcome("all/3"), "unknown");
    assert_eq!(world.outcome("all"), "succeeded");
    world.run(&["report", "--format", "md"]).exits(0).says(&["3/4 items done, 1 in doubt"]);
}

fn some_fail(world: &World, more: &str) {
    world.playbook(
        "some",
        &format!(
            "steps:\n  - id: all\n    foreach: [a, b, c, d]\n    max_parallel: 1\n{more}    \
             run: \"echo {{{{ item }}}} >> ledger; test ! -e broken-{{{{ item }}}}\"\n    \
             outputs: {{ seen: result.exit }}\n    \
             undo: {{ run: \"echo undo-{{{{ item }}}} >> ledger\" }}\n  - id: after\n    \
             run: echo {{{{ steps.all.items | selectattr('outcome', 'equalto', 'succeeded') | map(attribute='item') | join(',') }}}} >> ledger\n"
        ),
    );
}

#[test]
fn stop_and_resume_do_only_what_is_left() {
    let world = World::new();
    some_fail(&world, "");
    world.write("broken-b", "");
    world.run(&["run", "some"]).exits(1).says(&["1 of 4 items are done", "all/2"]);
    assert_eq!(world.ledger(), ["a", "b"]);
    std::fs::remove_file(world.path("broken-b")).unwrap();
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["a", "b", "b", "c", "d", "a,b,c,d"]);
}

#[test]
fn a_quorum_is_enough_and_one_fewer_is_not() {
    let world = World::new();
    some_fail(&world, "    at_least: 3\n");
    world.write("broken-b", "");
    let shown = world.run(&["run", "some"]).exits(4);
    shown.says(&["degraded", "step all/2 failed and the run went on"]);
    world.run(&["status", "last"]).exits(0).says(&["3/4 items done, 1 failed"]);
    assert_eq!(world.ledger(), ["a", "b", "c", "d", "a,c,d"]);
    world.write("broken-d", "");
    world.write("ledger", "");
    world.run(&["run", "some"]).exits(1).says(&["2 of 4 items are done, and 3 are needed"]);
    assert_eq!(world.ledger(), ["a", "b", "c", "d"]);
    // Only the two that are not done; and what was done for them is taken back with the rest, the last one first.
    world.write("ledger", "");
    world.run(&["resume", "last"]).exits(1);
    assert_eq!(world.ledger(), ["b", "d"]);
    world.write("ledger", "");
    world.run(&["rollback", "last"]).exits(6);
    assert_eq!(world.ledger(), ["undo-d", "undo-c", "undo-b", "undo-a"]);
}

#[test]
fn queries_and_checks_have_items_too() {
    let world = World::new();
    world.playbook(
        "rows",
        "steps:\n  - { id: make, sql: { database: 'sqlite:t.db?mode=rwc', query: 'create table t (id integer, name text)' } }\n  \
         - id: fill\n    foreach: [{ id: 1, name: \"o'hara\" }, { id: 2, name: 'x\"; drop table t' }]\n    max_parallel: 1\n    \
         sql: { database: 'sqlite:t.db', query: 'insert into t values ({{ item.id }}, {{ item.name }})' }\n    \
         outputs: { rows: result.affected }\n  \
         - id: there\n    foreach: [1, 2]\n    verify:\n      - sql: { database: 'sqlite:t.db', \
         query: 'select count(*) from t where id = {{ item }}' }\n        expect: 'result.rows == [[1]]'\n  \
         - id: sum\n    run: echo {{ steps.fill.items | map(attribute='outputs.rows') | sum }} >> ledger\n",
    );
    world.run(&["run", "rows"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["2"]);
}

/// Before anything runs: one node, one command, and every item by name.
#[test]
fn the_plan_shows_one_step_with_its_items() {
    let world = World::new();
    four(&world, 2, "    at_least: 3\n");
    let plan = world.run(&["plan", "four"]).exits(0).says(&[
        "for each of 4 items, at most 2 at once; 3 of them have to be done; every one is tried",
        "all/2  web 2",
        "{{ item }}",
    ]);
    assert_eq!(plan.out.matches("echo {{ item }}").count(), 1, "{}", plan.out);
    for look in ["graph", "show"] {
        let shown = world.run(&[look, "four"]).exits(0).says(&["for each of 4 items"]);
        assert!(!shown.out.contains("all/1"), "{}", shown.out);
    }
    world.run(&["print", "four"]).exits(0).says(&["web 2", "it's 4"]);
    let given = world.run(&["plan", "four", "-p", "hosts=[\"x\", \"y\", \"z\"]"]).exits(0);
    given.says(&["for each of 3 items", "all/3  z"]);
    world.run(&["run", "four", "-p", "hosts=[\"x\", \"x\"]"]).exits(2).says(&["the same as item 1"]);
    world.run(&["run", "four", "-p", "hosts=[\"x\"]"]).exits(2).says(&["can never be reached"]);
    assert_eq!(world.ledger(), [""; 0]);
}
