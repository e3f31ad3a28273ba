//! A playbook with mistakes: all of them in one go, each with its place, before anything is done.

use crate::support::World;

/// Ten mistakes and the place of each.
const TEN: &str = r#"apiVersion: runbook/v1
name: ten
title: Ten mistakes
severty: high
params:
  file: { type: path, default: /tmp }
steps:
  - id: one
    title: A bare number is no duration
    run: echo
    timeout: 5
  - id: two
    title: A parameter that does not exist
    run: echo {{ params.fiel }}
  - id: three
    title: A step that does not exist
    run: echo
    needs: [tow]
  - id: one
    title: An id that is taken
    run: echo
  - id: four
    title: Two actions
    run: echo
    exec: [echo]
  - id: five
    title: A step that is not surely over
    needs: []
    run: echo {{ steps.two.outputs.x }}
  - id: six
    title: An undefined name
    when: nothing_known == 1
    run: echo
  - id: seven
    title: One half of a cycle
    needs: [eight]
    run: echo
  - id: eight
    title: The other half
    needs: [seven]
    run: echo
  - id: nine
    title: A value where the shell would not replace it
    run: |
      cat <<'EOF'
      {{ params.file }}
      EOF
  - id: ten
    title: Braces that YAML reads as a map
    run: {{ params.file }}
"#;

/// The line and column of each mistake, with its kind.
const PLACES: [(&str, &str); 10] = [
    ("4:1", "unknown-key"),
    ("11:14", "bad-duration"),
    ("14:18", "unknown-param"),
    ("18:13", "unknown-step"),
    ("19:9", "duplicate-id"),
    ("25:5", "too-many-keys"),
    ("29:18", "not-over"),
    ("32:11", "template"),
    ("36:13", "cycle"),
    ("46:10", "template"),
];

#[test]
fn ten_mistakes_are_ten_located_errors() {
    let world = World::new();
    world.write("playbooks/ten.yaml", TEN);
    let before = world.files();
    for args in [&["lint", "ten"][..], &["run", "ten"], &["run", "ten", "--dry-run"], &["plan", "ten"]] {
        let shown = world.run(args).exits(2);
        let text = format!("{}{}", shown.out, shown.err);
        for (place, kind) in PLACES {
            let head = format!("error[{kind}]");
            let found =
                text.split("\n\n").any(|e| e.starts_with(&head) && e.contains(&format!(":{place}\n")));
            assert!(found, "{args:?}: no {kind} at {place} in\n{text}");
        }
        let errors = text.lines().filter(|l| l.starts_with("error[")).count();
        assert_eq!(errors, 11, "ten and the braces of the last step:\n{text}");
        assert!(text.contains("did you mean `severity`?"));
    }
    assert_eq!(world.files(), before, "nothing was written");
    world.assert_nothing_runs();
}

#[test]
fn json_gives_the_same_mistakes() {
    let world = World::new();
    world.write("playbooks/ten.yaml", TEN);
    let shown = world.run(&["lint", "ten", "--json"]).exits(2);
    let json: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(json["errors"], 11);
}

#[test]
fn a_mistake_is_told_once_and_has_no_false_followers() {
    let world = World::new();
    world.playbook(
        "once",
        "params: { db: { type: pth, default: 5 } }\nsteps: [{ id: a, title: A, run: 'echo {{ params.db }}' }]\n",
    );
    let shown = world.run(&["lint", "once"]).exits(2).says(&["cannot be \"pth\"", "did you mean `path`?"]);
    assert_eq!(shown.out.lines().filter(|l| l.starts_with("error")).count(), 1, "{}", shown.out);
}

#[test]
fn a_warning_fails_only_a_strict_lint() {
    let world = World::new();
    world.playbook("warned", "steps: [{ id: a, title: A, run: rm -rf ./x, destructive: true }]\n");
    world.run(&["lint", "warned"]).exits(0).says(&["warning"]);
    world.run(&["lint", "warned", "--strict"]).exits(2).says(&["warning"]);
}

#[test]
fn wrong_use_says_what_to_do() {
    let world = World::new();
    world.playbook("hello", "steps: [{ id: a, title: A, run: 'true' }]\n");
    world.run(&["run", "helo"]).exits(2).says(&["helo", "hello"]);
    world.run(&["run", "hello", "-p", "novalue"]).exits(2).says(&["there is no `=`", "-p name=value"]);
    world.run(&["run", "hello", "--env", "nowhere"]).exits(2).says(&["nowhere", "environments: none"]);
    world.run(&["status"]).exits(2).says(&["there is no run yet", "runbook run PLAYBOOK"]);
    world.run(&["frobnicate"]).exits(2).says(&["frobnicate", "--help"]);
    world.run(&["run", "hello"]).exits(0);
    world.run(&["status", "../x"]).exits(2).says(&["../x", "is not a run"]);
    world.run(&["log", "../../etc"]).exits(2);
    world.run(&["resume", "nobody"]).exits(2).says(&["no run matches", &world.last_run()]);
}
