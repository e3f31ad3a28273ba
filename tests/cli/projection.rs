//! The same playbook run again and again: what its past runs tell the next one, and whom that calls.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Running, World, kill_hard, wait_until};

/// Two steps, the second of which waits for the file `go`.
fn book(world: &World, name: &str, more: &str) {
    let go = world.path("go");
    let body = format!(
        "{more}steps:\n  - {{ id: first, title: First, run: 'true' }}\n  \
         - id: second\n    title: Second\n    idempotent: true\n    \
         run: until [ -e {} ]; do sleep 0.1; done\n",
        go.display(),
    );
    world.playbook(name, &body);
}

/// What the newest run knew when it started.
fn past(world: &World) -> Value {
    world.events_named("run_started")[0]["past"].clone()
}

fn steps(past: &Value) -> Vec<&str> {
    past["steps"].as_object().map(|steps| steps.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn until_second(world: &World, runs: usize) {
    wait_until("the second step", || {
        if world.runs().len() < runs || !world.events_named("run_ended").is_empty() {
            return false;
        }
        let started = world.events_named("task_started");
        started.iter().any(|event| event["task"].as_str().is_some_and(|task| task.starts_with("second")))
    });
}

fn json_of(world: &World, command: &str) -> Value {
    serde_json::from_str(&world.run(&[command, "last", "--json"]).exits(0).out).unwrap()
}

#[test]
fn each_run_knows_those_before_it() {
    let world = World::new();
    book(&world, "again", "objectives: { rto: 1h }\n");
    book(&world, "other", "");
    world.write("go", "");
    world.run(&["run", "again"]).exits(0);
    assert_eq!(past(&world), json!({ "runs": 0 }), "there was none, and that is said");
    let shown = world.run(&["report", "last"]).exits(0);
    shown.says(&["run, as projected at its start: no past runs"]);
    let first = world.last_run();

    world.run(&["run", "again"]).exits(0).says(&["projected to recover", "from 1 past run"]);
    let known = past(&world);
    assert_eq!((&known["runs"], steps(&known)), (&json!(1), vec!["first", "second"]));
    assert_eq!(known["steps"]["second"]["ran"], 1);
    let report = world.run(&["report", "last"]).exits(0);
    report.says(&["run, as projected at its start: ", "from 1 past run"]);
    world.run(&["log", "last"]).exits(0).says(&["projected from 1 past run"]);

    // Another playbook's runs tell nothing.
    world.run(&["run", "other"]).exits(0);
    assert_eq!(past(&world), json!({ "runs": 0 }));
    // Neither does what cannot be read.
    let journal = world.run_dir(&first).join("journal.jsonl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40] ^= 1;
    fs::write(&journal, bytes).unwrap();
    world.run(&["run", "again"]).exits(0);
    assert_eq!(past(&world)["runs"], 1);
}

#[test]
fn whoever_looks_is_told_when_it_will_be_over() {
    let world = World::new();
    book(&world, "again", "objectives: { rto: 1h }\n");
    world.write("go", "");
    world.run(&["run", "again"]).exits(0);
    world.run(&["run", "again"]).exits(0);
    fs::remove_file(world.path("go")).unwrap();

    let running = world.start(&["run", "again"]);
    until_second(&world, 3);
    let status = json_of(&world, "status");
    let projection = &status["projection"];
    assert_eq!((&projection["runs"], &projection["drills"]), (&json!(2), &json!(0)));
    let recovery = &projection["recovery"];
    assert_eq!((&recovery["breach"], &recovery["untold"]), (&json!("none"), &json!(0)));
    let used = status["rto"]["used"].as_u64().unwrap();
    assert!(recovery["p50"].as_u64().unwrap() >= used, "{status}");
    assert!(recovery["p90"].as_u64() >= recovery["p50"].as_u64());
    assert_eq!(json_of(&world, "brief")["projection"]["runs"], 2);
    for command in ["status", "brief"] {
        world.run(&[command, "last"]).exits(0).says(&["(p50", "RTO ", "from 2 past runs"]);
    }
    // A run that is not over tells nothing yet; one that another process has ended tells what it saw itself.
    kill_hard(running.pid());
    let _ = running.wait();
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0);
    let known = past(&world);
    assert_eq!(known["runs"], 2, "a resume goes by what was known at the start");
    world.run(&["run", "again"]).exits(0);
    let known = past(&world);
    assert_eq!(known["runs"], 3);
    assert_eq!(known["steps"]["first"]["ran"], 3);
    assert_eq!(known["steps"]["second"]["ran"], 2, "what was interrupted is no measure");
}

#[test]
fn no_more_than_the_newest_twenty_tell() {
    let world = World::new();
    world.playbook("short", "steps: [{ id: a, title: A, wait: 1ms }]\n");
    for _ in 0..22 {
        world.run(&["run", "short"]).exits(0);
    }
    let known = past(&world);
    assert_eq!((&known["runs"], &known["steps"]["a"]["ran"]), (&json!(20), &json!(20)));
}

#[test]
fn a_drill_tells_until_a_run_does() {
    let world = World::new();
    let body = "steps: [{ id: a, title: A, run: 'true' }]\n\
                drill:\n  world: [{ run: 'touch {{ drill.dir }}/there' }]\n  \
                symptom: [{ title: It is there, run: 'test -e {{ drill.dir }}/there' }]\n  \
                assert: [run.outcome == 'recovered']\n";
    world.playbook("drilled", body);
    world.run(&["drill", "drilled"]).exits(0);
    world.run(&["run", "drilled"]).exits(0).says(&["from 1 drill"]);
    let known = past(&world);
    assert_eq!(
        (&known["runs"], &known["drills"], &known["steps"]["a"]["ran"]),
        (&json!(0), &json!(1), &json!(1))
    );
    world.run(&["run", "drilled"]).exits(0).says(&["from 1 past run and 1 drill"]);
    assert_eq!(past(&world)["steps"]["a"]["ran"], 1, "the run alone");
}

fn levels(world: &World) -> Vec<(u64, String)> {
    let notices = world.events_named("notice");
    let escalations = notices.iter().map(|notice| &notice["cause"]["escalation"]);
    escalations
        .filter_map(|cause| Some((cause["level"].as_u64()?, cause["why"].as_str()?.to_owned())))
        .collect()
}

fn until_level(world: &World, running: &Running, level: u64) {
    wait_until(&format!("level {level}"), || {
        assert!(!running.out().contains("fault"), "{}", running.out());
        levels(world).iter().any(|(raised, _)| *raised == level)
    });
}

/// For real, with seconds: what took a moment in past runs does not end, and the RTO comes near.
#[test]
fn a_projected_breach_calls_people_once_over_a_kill() {
    let world = World::new();
    let more = "objectives: { rto: 9s }\nchannels: { team: { command: [cat] } }\nescalation:\n  \
                - { level: 1, projected_breach: p90, notify: team }\n  \
                - { level: 2, projected_breach: p50, notify: team }\n  \
                - { level: 3, after: 6s, notify: team }\n";
    // What comes after the step takes a while, which is known.
    let book = |more: &str| {
        book(&world, "near", more);
        let name = "playbooks/near.yaml";
        world.write(name, world.read(name) + "  - { id: third, title: Third, wait: 5s }\n");
    };
    book(&more.replace("rto: 9s", "rto: 1h"));
    world.write("go", "");
    world.run(&["run", "near"]).exits(0);
    assert!(levels(&world).iter().all(|(level, _)| *level == 3), "nothing was near");
    fs::remove_file(world.path("go")).unwrap();

    book(more);
    let running = world.start(&["run", "near"]);
    wait_until("the new run", || world.runs().len() == 2);
    until_level(&world, &running, 2);
    kill_hard(running.pid());
    let _ = running.wait();
    let running = world.start(&["resume", "last"]);
    until_level(&world, &running, 3);
    kill_hard(running.pid());
    let _ = running.wait();
    let raised = levels(&world);
    assert_eq!(raised.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(raised[0].1.starts_with("recovery is projected after "), "{raised:?}");
    assert!(raised[0].1.ends_with(", and the RTO is 9.0s"), "{raised:?}");
    world.run(&["log", "last"]).exits(0).says(&["escalated", "to level 1, as recovery is projected after"]);
}
