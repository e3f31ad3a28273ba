//! Escalation and updates for real, with seconds instead of minutes, over a kill of the runner.

use std::collections::BTreeSet;

use crate::support::{Running, World, kill_hard, wait_until};

/// Four levels and an update a second; what is sent is a line in a file.
fn book(world: &World) {
    let to = |file: &str| {
        let path = world.path(file);
        format!("command: [sh, -c, 'echo \"$RUNBOOK_NOTICE_SUBJECT\" >> {}']", path.display())
    };
    let body = format!(
        "channels:\n  calls: {{ {} }}\n  word: {{ {} }}\nescalation:\n  \
         - {{ level: 1, after: 0s, notify: calls, to: on-call }}\n  \
         - {{ level: 2, after: 1s, notify: [calls] }}\n  \
         - {{ level: 3, after: 3s, notify: [calls] }}\n  \
         - {{ level: 4, after: 5s, notify: [calls] }}\n\
         updates: {{ channels: word, every: [{{ every: 1s }}], status_file: {} }}\n\
         steps:\n  - id: wait\n    title: Wait for it\n    idempotent: true\n    \
         run: until [ -e {} ]; do sleep 0.1; done\n",
        to("calls"),
        to("word"),
        world.path("status.txt").display(),
        world.path("go").display(),
    );
    world.playbook("long", &body);
}

fn lines(world: &World, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(world.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn levels(world: &World) -> Vec<u64> {
    let causes = world.events_named("notice").into_iter();
    causes.filter_map(|notice| notice["cause"]["escalation"]["level"].as_u64()).collect()
}

fn until_level(world: &World, running: &Running, level: usize) {
    let wanted = format!("level {level}");
    wait_until(&wanted, || {
        assert!(!running.out().contains("fault"), "{}", running.out());
        lines(world, "calls").iter().any(|line| line.ends_with(&wanted))
    });
}

#[test]
fn no_level_and_no_update_comes_twice_over_a_kill() {
    let world = World::new();
    book(&world);
    let running = world.start(&["run", "long"]);
    until_level(&world, &running, 2);
    kill_hard(running.pid());
    let _ = running.wait();
    let before = levels(&world);
    let running = world.start(&["resume", "last"]);
    until_level(&world, &running, 4);
    world.write("go", "");
    running.wait().exits(0);

    assert_eq!(levels(&world), [1, 2, 3, 4]);
    assert!(before.starts_with(&[1, 2]), "{before:?}");
    for name in ["calls", "word"] {
        let said = lines(&world, name);
        let each: BTreeSet<&String> = said.iter().collect();
        assert_eq!(each.len(), said.len(), "said twice: {said:?}");
    }
    let calls = lines(&world, "calls");
    assert!(calls.last().unwrap().ends_with("Resolved"), "{calls:?}");
    let word = lines(&world, "word");
    assert!(word[0].contains("update #1, Identified"), "{word:?}");
    assert!(word.last().unwrap().contains("final update"), "{word:?}");
    let numbers: Vec<u64> = world
        .events_named("notice")
        .iter()
        .filter_map(|notice| notice["cause"]["update"]["number"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    // Each notice has its end on each channel in the journal, the last ones behind the end of the run.
    let ends = world.events_named("notice_ended");
    let notices = world.events_named("notice");
    let channels = notices.iter().map(|notice| notice["channels"].as_array().map_or(0, Vec::len));
    assert_eq!(ends.len(), channels.sum::<usize>());
    let page = world.read("status.txt");
    for part in ["final update", "Status: Resolved", "Wait for it (succeeded)", "Next update: none"] {
        assert!(page.contains(part), "{part:?} is not in:\n{page}");
    }
    world.run(&["verify", "last"]).exits(0);
    world.run(&["log", "last"]).exits(0).says(&["escalated", "to level 4", "#1", "told"]);
    world.assert_nothing_runs();
}

#[test]
fn what_is_said_of_channels_that_do_not_exist_is_said_before_the_start() {
    let world = World::new();
    world.playbook(
        "wrong",
        "channels: { team: { command: [cat] } }\nescalation:\n  - { level: 2, notify: teem }\n  \
         - { level: 1, notify: team }\nsteps:\n  - id: a\n    title: A\n    escalate: 7\n    run: 'true'\n  \
         - id: b\n    title: B\n    notify: { channels: [mail], message: hello }\n",
    );
    world.run(&["lint", "wrong"]).exits(2).says(&[
        "level-order",
        "did you mean `team`?",
        "no level 7",
        "`mail`",
    ]);
}

/// The page's folder is not there at first: that is told of, stops nothing, and the next update tries again.
#[test]
fn a_status_file_that_cannot_be_written_is_a_notice_that_failed() {
    let world = World::new();
    let page = world.path("site/status.txt");
    let body = format!(
        "channels: {{ word: {{ command: ['true'] }} }}\n\
         updates: {{ channels: word, every: [{{ every: 1s }}], status_file: {} }}\n\
         steps:\n  - id: wait\n    title: Wait for it\n    idempotent: true\n    \
         run: until [ -e {} ]; do sleep 0.1; done\n",
        page.display(),
        world.path("go").display(),
    );
    world.playbook("paged", &body);
    let running = world.start(&["run", "paged"]);
    let pages = || -> Vec<serde_json::Value> {
        let ends = world.events_named("notice_ended").into_iter();
        ends.filter(|end| end["channel"] == "status file").collect()
    };
    wait_until("the failure", || world.run(&["log", "last", "--json"]).out.contains("notice_ended"));
    wait_until("its record", || !pages().is_empty());
    let why = pages()[0]["why"].to_string();
    assert!(why.contains("site/status.txt: No such file or directory"), "{why}");
    assert_eq!(pages()[0]["delivered"], false);
    world.run(&["status"]).exits(0).says(&["1 by status file failed: "]);
    world.run(&["brief"]).exits(0).says(&["told ", " failed"]);
    std::fs::create_dir(world.path("site")).unwrap();
    wait_until("the page", || page.exists());
    world.write("go", "");
    running.wait().exits(0);
    assert_eq!(pages().last().unwrap()["delivered"], true);
    assert!(world.read("site/status.txt").contains("Status: Resolved"));
    assert_eq!(std::fs::read_dir(world.path("site")).unwrap().count(), 1, "nothing else is left there");
    world.run(&["report"]).exits(0).says(&["## Who was told", "| status file | failed: "]);
    world.run(&["log"]).exits(0).says(&["not told", "notice 1 by status file"]);
}
