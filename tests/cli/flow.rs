//! What runs when: side by side, again after a failure, until a check holds, or not at all.

use crate::support::{World, shown};

/// The steps that began and ended, as `+x` and `-x` in the ledger.
fn most_at_once(ledger: &[String]) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in ledger {
        now += if line.starts_with('+') { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(now, 0, "{ledger:?}");
    most
}

#[test]
fn independent_steps_overlap_up_to_the_limit() {
    for limit in [1, 3] {
        let world = World::new();
        let mut body = format!("max_parallel: {limit}\nsteps:\n");
        for n in 0..7 {
            let run = format!("echo +{n} >> ledger; sleep 0.4; echo -{n} >> ledger");
            body.push_str(&format!("  - {{ id: s{n}, title: S, needs: [], run: '{run}' }}\n"));
        }
        world.playbook("wide", &body);
        world.run(&["run", "wide"]).exits(0);
        assert_eq!(world.ledger().len(), 14);
        assert_eq!(most_at_once(&world.ledger()), limit, "{:?}", world.ledger());
    }
}

/// A step is made ready while the one before it runs, and that one may be what puts its program in place.
#[test]
fn a_program_that_the_step_before_has_installed_is_the_one_that_starts() {
    let world = World::new();
    let tool =
        |text: &str| format!("printf \"#!/bin/sh\\necho {text} >> {}/ledger\\n\"", world.dir().display());
    let install =
        |folder: &str, text: &str| format!("{} > {folder}/tool; chmod +x {folder}/tool", tool(text));
    let steps = [
        "    run: mkdir -p early late".to_owned(),
        format!("    run: '{}'", install("late", "late")),
        "    exec: [tool]".to_owned(),
        format!("    run: '{}'", install("early", "early")),
        "    exec: [tool]".to_owned(),
        "    run: rm early/tool".to_owned(),
        "    exec: [tool]".to_owned(),
    ];
    let steps = steps.iter().enumerate().map(|(n, step)| format!("  - id: s{n}\n    title: S\n{step}\n"));
    world.playbook("install", &format!("steps:\n{}", steps.collect::<String>()));
    let path = std::env::var("PATH").unwrap();
    let (early, late) = (world.path("early"), world.path("late"));
    let mut command = world.cmd(&["run", "install"]);
    command.env("PATH", format!("{}:{}:{path}", early.display(), late.display()));
    shown(&mut command).exits(0);
    assert_eq!(world.ledger(), ["late", "early", "late"]);
}

#[test]
fn two_steps_meet_only_if_both_run_at_once() {
    let world = World::new();
    let meet = |own: &str, other: &str| format!("touch {own}; while ! test -e {other}; do sleep 0.02; done");
    world.playbook(
        "meet",
        &format!(
            "steps:\n  - {{ id: a, title: A, needs: [], timeout: 1m, run: '{}' }}\n  \
             - {{ id: b, title: B, needs: [], timeout: 1m, run: '{}' }}\n  \
             - {{ id: c, title: C, needs: [a, b], run: 'test -e fa && test -e fb && echo c >> ledger' }}\n",
            meet("fa", "fb"),
            meet("fb", "fa")
        ),
    );
    world.run(&["run", "meet"]).exits(0);
    assert_eq!(world.ledger(), ["c"]);
}

#[test]
fn retries_wait_longer_and_remedies_come_in_order() {
    let world = World::new();
    world.playbook(
        "again",
        "steps:\n  - id: a\n    title: A\n    run: 'echo try >> ledger; test $(grep -c try ledger) -ge 4'\n    \
         retry:\n      attempts: 4\n      delay: 200ms\n      backoff: 2\n      jitter: 0\n      remedies:\n        \
         - { title: First, run: echo remedy-1 >> ledger }\n        - { title: Second, run: echo remedy-2 >> ledger }\n",
    );
    world.run(&["run", "again"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["try", "remedy-1", "try", "remedy-2", "try", "try"]);
    let delays: Vec<_> = world.events_named("retry_scheduled").iter().map(|e| e["delay"].clone()).collect();
    assert_eq!(delays, [200, 400, 800]);
}

#[test]
fn a_retry_that_is_of_no_use_is_not_made() {
    let world = World::new();
    world.playbook(
        "useless",
        "steps: [{ id: a, title: A, run: 'echo try >> ledger; exit 3', \
         retry: { attempts: 5, delay: 10ms, when: result.exit != 3 } }]\n",
    );
    world.run(&["run", "useless"]).exits(1).says(&["exit 3"]);
    assert_eq!(world.ledger(), ["try"]);
}

#[test]
fn a_check_is_polled_until_it_holds() {
    let world = World::new();
    world.playbook(
        "poll",
        "steps:\n  - id: a\n    title: A\n    run: 'true'\n    verify:\n      - title: Three polls are there\n        \
         run: 'echo poll >> ledger; test $(wc -l < ledger) -ge 3'\n        within: 1m\n        every: 100ms\n",
    );
    world.run(&["run", "poll"]).exits(0);
    assert_eq!(world.ledger(), ["poll"; 3]);
}

#[test]
fn a_check_that_never_holds_fails_the_step_in_time() {
    let world = World::new();
    world.playbook(
        "never",
        "steps: [{ id: a, title: A, verify: [{ title: It is there, run: test -e nothing, within: 1s, every: 100ms }] }]\n",
    );
    world.run(&["run", "never"]).exits(1).says(&["It is there", "exit 1"]);
}

#[test]
fn an_advisory_check_only_degrades() {
    let world = World::new();
    world.playbook(
        "advised",
        "steps:\n  - id: a\n    title: A\n    run: 'true'\n    verify:\n      \
         - { title: Nice to have, run: 'false', required: false }\n      - { title: Needed, run: 'true' }\n  \
         - { id: b, title: B, run: echo b >> ledger }\n",
    );
    world.run(&["run", "advised"]).exits(4).says(&["degraded", "Nice to have"]);
    assert_eq!(world.outcome("a"), "succeeded");
    assert_eq!(world.ledger(), ["b"]);
}

#[test]
fn when_skips_and_unless_satisfies() {
    let world = World::new();
    world.playbook(
        "maybe",
        "params: { on: { type: boolean, default: false } }\nsteps:\n  \
         - { id: a, title: A, when: params.on, run: echo a >> ledger }\n  \
         - { id: b, title: B, unless: { run: test -e there }, run: echo b >> ledger }\n  \
         - { id: c, title: C, when: \"steps.a.outcome == 'skipped'\", run: echo c >> ledger }\n",
    );
    world.write("there", "");
    world.run(&["run", "maybe"]).exits(0);
    assert_eq!((world.outcome("a").as_str(), world.outcome("b").as_str()), ("skipped", "satisfied"));
    assert_eq!(world.ledger(), ["c"]);
    std::fs::remove_file(world.path("there")).unwrap();
    world.write("ledger", "");
    world.run(&["run", "maybe", "-p", "on=true"]).exits(0);
    assert_eq!(world.ledger(), ["a", "b"]);
}

#[test]
fn alternatives_are_tried_in_order_and_the_failed_ones_taken_back() {
    let world = World::new();
    let option = |id: &str, end: &str| {
        format!(
            "      - {{ id: {id}, title: {id}, run: 'echo {id} >> ledger; {end}', undo: {{ run: echo undo-{id} >> ledger }} }}\n"
        )
    };
    world.playbook(
        "any",
        &format!(
            "steps:\n  - id: way\n    title: One of them\n    any_of:\n{}{}{}  \
             - {{ id: after, title: After, run: 'echo {{{{ steps.way.choice }}}} >> ledger' }}\n",
            option("first", "exit 1"),
            option("second", "true"),
            option("third", "true")
        ),
    );
    world.run(&["run", "any"]).exits(0);
    assert_eq!(world.ledger(), ["first", "undo-first", "second", "second"]);
    assert_eq!(world.outcome("way/third"), "skipped");
}

#[test]
fn a_playbook_inside_gets_parameters_and_gives_outputs() {
    let world = World::new();
    world.playbook(
        "inner",
        "params: { who: { type: string, required: true } }\nsteps:\n  \
         - { id: greet, title: Greet, run: 'echo \"hello {{ params.who }}\"', outputs: { text: result.stdout | trim } }\n",
    );
    world.playbook(
        "outer",
        "params: { name: { type: string, default: world } }\nsteps:\n  - id: sub\n    title: Inside\n    \
         playbook: { name: inner, params: { who: '{{ params.name }}!' } }\n    \
         outputs: { text: steps.greet.outputs.text }\n  \
         - { id: take, title: Take, run: 'echo {{ steps.sub.outputs.text }} >> ledger' }\n",
    );
    world.run(&["run", "outer"]).exits(0);
    assert_eq!(world.ledger(), ["hello world!"]);
    assert_eq!(world.outcome("sub/greet"), "succeeded");
}

#[test]
fn outputs_come_from_expressions_and_from_the_file() {
    let world = World::new();
    world.playbook(
        "gives",
        "steps:\n  - id: a\n    title: A\n    run: |\n      echo '{\"n\": 7}'\n      echo \"b=from file\" >> \"$RUNBOOK_OUTPUT\"\n    \
         outputs: { n: result.json.n }\n  \
         - { id: b, title: B, run: 'echo {{ steps.a.outputs.n }}-{{ steps.a.outputs.b }} >> ledger' }\n",
    );
    world.run(&["run", "gives"]).exits(0);
    assert_eq!(world.ledger(), ["7-from file"]);
}

#[test]
fn stdin_is_empty_unless_given_and_the_environment_is_the_steps_own() {
    let world = World::new();
    world.playbook(
        "given",
        "steps:\n  - { id: a, title: A, run: 'cat > in-a; echo $RUNBOOK_STEP $RUNBOOK_ATTEMPT $X >> ledger', env: { X: own } }\n  \
         - { id: b, title: B, run: 'cat > in-b; pwd > where', stdin: some text, workdir: sub }\n",
    );
    std::fs::create_dir(world.path("sub")).unwrap();
    let mut command = world.cmd(&["run", "given"]);
    command.env("BASH_ENV", world.path("evil")).env("X", "callers");
    world.write("evil", "echo EVIL >> ledger\n");
    crate::support::shown(&mut command).exits(0);
    assert_eq!(world.ledger(), ["a 1 own"]);
    assert_eq!(world.read("in-a"), "");
    assert_eq!(world.read("sub/in-b"), "some text");
    assert!(world.read("sub/where").trim_end().ends_with("/desk/sub"));
}

#[test]
fn a_missed_deadline_is_logged_and_kills_nothing() {
    let world = World::new();
    world.playbook(
        "late",
        "phases:\n  - id: fast\n    title: Fast\n    deadline: 500ms\n    \
         steps: [{ id: a, title: A, run: 'sleep 1.5; echo a >> ledger' }]\n  \
         - id: then\n    title: Then\n    steps: [{ id: b, title: B, needs: [], run: echo b >> ledger }]\n",
    );
    world.run(&["run", "late"]).exits(0).says(&["deadline"]);
    assert_eq!(world.ledger(), ["a", "b"], "a phase starts when the one above has ended");
    let missed = world.events_named("phase_deadline_missed");
    assert_eq!(missed[0]["phase"], "fast", "{missed:?}");
    world.run(&["report"]).exits(0).says(&["fast"]);
}

#[test]
fn objectives_are_measured_against_the_incident() {
    let world = World::new();
    world.playbook(
        "measured",
        "objectives: { rto: 10m, rpo: 1h, data_as_of: steps.a.outputs.at }\nsteps:\n  \
         - { id: a, title: A, run: 'date -u +%Y-%m-%dT%H:%M:%SZ -d \"-2 hours\"', outputs: { at: result.stdout | trim } }\n",
    );
    let shown = world.run(&["run", "measured"]).exits(0);
    shown.says(&["of 10m: met", "of 1h: missed"]);
    world.run(&["run", "measured", "--since", "20m"]).exits(0).says(&["of 10m: missed"]);
    world.run(&["run", "measured", "--since", "tomorrow"]).exits(2).says(&["--since"]);
    world.run(&["run", "measured", "--since", "2999-01-01T00:00:00Z"]).exits(2).says(&["in the future"]);
}
