//! Data is never code: what one step gives arrives in the next as it was, wherever it stands in the script.

use crate::support::World;

const HOSTILE: &str = "x; touch PWNED; $(touch PWNED)";

/// The next step's script for each lexical place.
const PLACES: [(&str, &str); 6] = [
    ("bare", "printf '%s' {{ steps.give.outputs.v }} > got"),
    ("double", "printf '%s' \"{{ steps.give.outputs.v }}\" > got"),
    ("single", "printf '%s' '{{ steps.give.outputs.v }}' > got"),
    ("heredoc", "cat <<EOF > got\n{{ steps.give.outputs.v }}\nEOF"),
    ("indented", "cat <<-EOF > got\n{{ steps.give.outputs.v }}\nEOF"),
    ("substitution", "printf '%s' \"$(printf '%s' {{ steps.give.outputs.v }})\" > got"),
];

/// One step gives the value, by its stdout or by `$RUNBOOK_OUTPUT`; the next takes it in a script of `shell`.
fn arrives(world: &World, (place, script): (&str, &str), shell: &str, by_stdout: bool) {
    let (give, outputs) = if by_stdout {
        ("printf '%s' \"$HOSTILE\"", "    outputs: { v: result.stdout }\n")
    } else {
        ("printf 'v=%s\\n' \"$HOSTILE\" >> \"$RUNBOOK_OUTPUT\"", "")
    };
    let name = format!("{place}-{shell}");
    let script = script.replace('\n', "\n      ");
    world.playbook(
        &name,
        &format!(
            "steps:\n  - id: give\n    title: Give\n    env: {{ HOSTILE: '{HOSTILE}' }}\n    run: |\n      {give}\n\
             {outputs}  - id: take\n    title: Take\n    shell: {shell}\n    run: |\n      {script}\n"
        ),
    );
    world.write("got", "");
    world.run(&["run", &name]).exits(0);
    assert_eq!(world.read("got").trim_end_matches('\n'), HOSTILE, "{name}");
    assert!(!world.path("PWNED").exists() && !world.path("playbooks/PWNED").exists(), "{name}");
}

#[test]
fn a_hostile_output_arrives_intact_in_bash_and_sh() {
    let world = World::new();
    for place in PLACES {
        arrives(&world, place, "bash", true);
        arrives(&world, place, "sh", true);
    }
    arrives(&world, PLACES[0], "bash", false);
}

#[test]
fn where_a_value_cannot_be_made_safe_it_is_refused() {
    let world = World::new();
    let refused = [
        ("quoted", "cat <<'EOF'\n      {{ params.v }}\n      EOF", "here-document"),
        ("backticks", "echo \"`echo {{ params.v }}`\"", "$( )"),
    ];
    for (name, script, says) in refused {
        let head =
            "params: { v: { type: string, required: true } }\nsteps:\n  - id: a\n    title: A\n    run: |\n";
        world.playbook(name, &format!("{head}      {script}\n"));
        world.run(&["run", name, "-p", &format!("v={HOSTILE}")]).exits(2).says(&[says]);
    }
    assert!(!world.path("PWNED").exists() && world.runs().is_empty());
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
