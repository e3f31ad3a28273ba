//! Data is never code: what one step gives arrives in the next as it was, wherever it stands in the script.

use crate::support::World;

const HOSTILE: &str = "x; touch PWNED; $(touch PWNED)";

/// The next step's script for each lexical place.
const PLACES: [(&str, &str); 7] = [
    ("bare", "printf '%s' {{ steps.give.outputs.v }} > got"),
    ("double", "printf '%s' \"{{ steps.give.outputs.v }}\" > got"),
    ("single", "printf '%s' '{{ steps.give.outputs.v }}' > got"),
    ("heredoc", "cat <<EOF > got\n{{ steps.give.outputs.v }}\nEOF"),
    ("indented", "cat <<-EOF > got\n{{ steps.give.outputs.v }}\nEOF"),
    ("substitution", "printf '%s' \"$(printf '%s' {{ steps.give.outputs.v }})\" > got"),
    ("backticks", "printf '%s' \"`printf '%s' {{ steps.give.outputs.v }}`\" > got"),
];

/// The value given by stdout and by `$RUNBOOK_OUTPUT`, taken by the script under `shell`.
fn arrives(world: &World, place: &str, script: &str, shell: &str, by_stdout: bool) {
    let (name, outputs) = if by_stdout {
        (format!("{place}-{shell}-out"), "    outputs: { v: result.stdout }\n")
    } else {
        (format!("{place}-{shell}-file"), "")
    };
    let give = if by_stdout {
        "printf '%s' \"$HOSTILE\""
    } else {
        "printf 'v=%s\\n' \"$HOSTILE\" >> \"$RUNBOOK_OUTPUT\""
    };
    let script = script.replace('\n', "\n      ");
    let needs_declared = if by_stdout { outputs } else { "    outputs: {}\n" };
    world.playbook(
        &name,
        &format!(
            "steps:\n  - id: give\n    title: Give\n    env: {{ HOSTILE: '{HOSTILE}' }}\n    run: |\n      {give}\n{}  \
             - id: take\n    title: Take\n    shell: {shell}\n    run: |\n      {script}\n",
            if by_stdout { needs_declared } else { "" }
        ),
    );
    world.write("got", "");
    world.run(&["run", &name]).exits(0);
    assert_eq!(world.read("got").trim_end_matches('\n'), HOSTILE, "{name}");
    assert!(!world.path("PWNED").exists() && !world.path("playbooks/PWNED").exists(), "{name}");
}

#[test]
fn a_hostile_output_arrives_intact_in_bash() {
    let world = World::new();
    for (place, script) in PLACES {
        arrives(&world, place, script, "bash", true);
    }
    arrives(&world, "bare", PLACES[0].1, "bash", false);
}

#[test]
fn a_hostile_output_arrives_intact_in_sh() {
    let world = World::new();
    for (place, script) in PLACES {
        arrives(&world, place, script, "sh", true);
    }
}

#[test]
fn in_an_argv_it_is_one_argument() {
    let world = World::new();
    world.playbook(
        "argv",
        "params: { v: { type: string, required: true } }\n\
         steps:\n  - id: a\n    title: A\n    exec: [python3, -c, 'import sys; print(sys.argv[1:])', '{{ params.v }}', '-{{ params.v }}']\n    \
         outputs: { got: result.stdout | trim }\n",
    );
    world.run(&["run", "argv", "-p", &format!("v={HOSTILE}")]).exits(0);
    let ended = world.events_named("task_ended");
    assert_eq!(ended[0]["outputs"]["got"], format!("['{HOSTILE}', '-{HOSTILE}']"));
    assert!(!world.path("PWNED").exists());
    let started = world.events_named("task_started");
    assert!(
        started[0]["command"].as_str().unwrap().contains("touch PWNED"),
        "the log shows the exact command"
    );
}

#[test]
fn a_value_in_arithmetic_must_be_an_integer() {
    let world = World::new();
    world.playbook(
        "sum",
        "params: { n: { type: string, required: true } }\n\
         steps: [{ id: a, title: A, run: 'echo $(( {{ params.n }} + 1 )) > got' }]\n",
    );
    world.run(&["run", "sum", "-p", "n=41"]).exits(0);
    assert_eq!(world.read("got"), "42\n");
    let shown = world.run(&["run", "sum", "-p", "n=a[$(touch PWNED)]"]);
    assert_ne!(shown.code, 0, "{shown:?}");
    assert!(!world.path("PWNED").exists());
}
