//! Secrets: read when the run starts, and never on disk, in an argv or on the screen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{World, command_line, shown, wait_until};

const FROM_ENV: &str = "env-s3cr3t-Zq81xk";
const FROM_FILE: &str = "file-s3cr3t-Yw72mp";
const FROM_COMMAND: &str = "command-s3cr3t-Xv63no";

const SECRETS: &str =
    "secrets:\n  a: { env: MY_SECRET }\n  b: { file: ./secret.txt }\n  c: { command: [cat, ./other.txt] }\n";

fn world(steps: &str) -> World {
    let world = World::new();
    world.playbook("secretive", &format!("{SECRETS}{steps}"));
    world
}

/// The files are put beside the playbook's working folder only for the run, so that they do not count as found on disk.
fn run(world: &World, args: &[&str]) -> crate::support::Shown {
    world.write("secret.txt", format!("{FROM_FILE}\n"));
    world.write("other.txt", format!("{FROM_COMMAND}\n"));
    let shown = shown(world.cmd(args).env("MY_SECRET", FROM_ENV));
    for file in ["secret.txt", "other.txt"] {
        std::fs::remove_file(world.path(file)).unwrap();
    }
    shown
}

fn forms(secret: &str) -> [String; 2] {
    [secret.to_owned(), STANDARD.encode(secret)]
}

fn assert_nowhere(world: &World, shown: &crate::support::Shown) {
    for secret in [FROM_ENV, FROM_FILE, FROM_COMMAND] {
        for form in forms(secret) {
            assert!(!shown.out.contains(&form) && !shown.err.contains(&form), "{form} is shown");
            for (path, bytes) in world.files() {
                let found = bytes.windows(form.len()).any(|w| w == form.as_bytes());
                assert!(!found, "{form} is in {}", path.display());
            }
        }
    }
}

#[test]
fn a_secret_reaches_the_command_and_nothing_else() {
    let world = world(
        "steps:\n  - id: a\n    title: A\n    env: { A: '{{ secrets.a }}', B: '{{ secrets.b }}', C: '{{ secrets.c }}' }\n    \
         run: |\n      printf '%s.%s.%s' \"$A\" \"$B\" \"$C\" | sha256sum >> ledger\n      \
         echo \"$A\"; echo \"$B\" >&2; printf '%s' \"$C\" | base64\n      \
         printf '%s' \"$A\" | base64; printf '%s' \"$B\" | fold -w 3 | tr -d '\\n'; echo\n",
    );
    let shown = run(&world, &["run", "secretive"]).exits(0);
    use sha2::Digest;
    let hash = sha2::Sha256::digest(format!("{FROM_ENV}.{FROM_FILE}.{FROM_COMMAND}"));
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert!(world.read("ledger").starts_with(&hex), "the command had the real values");
    assert_nowhere(&world, &shown);
    for args in [&["log"][..], &["report"], &["report", "--format", "html"], &["report", "--format", "json"]]
    {
        assert_nowhere(&world, &world.run(args).exits(0));
    }
}

#[test]
fn a_secret_is_in_no_argv() {
    let world = world(
        "steps:\n  - id: a\n    title: A\n    env: { A: '{{ secrets.a }}' }\n    stdin: '{{ secrets.b }}'\n    \
         run: |\n      cat > /dev/null\n      touch begun; while ! test -e go; do sleep 0.05; done\n",
    );
    world.write("secret.txt", FROM_FILE);
    world.write("other.txt", FROM_COMMAND);
    let mut command = world.cmd(&["run", "secretive"]);
    command.env("MY_SECRET", FROM_ENV);
    let running = world.start_command(command);
    wait_until("the step", || world.path("begun").exists());
    let lines: Vec<_> = world.processes().into_iter().map(command_line).collect();
    assert!(lines.len() >= 3, "runner, keeper and command: {lines:?}");
    for secret in [FROM_ENV, FROM_FILE, FROM_COMMAND] {
        assert!(!lines.iter().any(|l| l.contains(secret)), "{lines:?}");
    }
    world.write("go", "");
    running.wait().exits(0);
}

#[test]
fn a_secret_that_cannot_be_had_stops_the_run_before_it_begins() {
    let world = world("steps: [{ id: a, title: A, run: echo a >> ledger }]\n");
    world.run(&["run", "secretive"]).exits(8).says(&["secret a", "MY_SECRET", "is not set"]);
    let started = |secret: &str| shown(world.cmd(&["run", "secretive"]).env("MY_SECRET", secret));
    started("x").exits(8).says(&["secret b", "secret.txt"]);
    world.write("secret.txt", "\n");
    started("x").exits(8).says(&["secret b", "empty"]);
    world.write("secret.txt", "y\n");
    started("x").exits(8).says(&["secret c", "cat"]);
    assert!(world.ledger().is_empty() && world.runs().is_empty());
}

#[test]
fn a_secret_in_a_script_or_an_argv_is_a_mistake() {
    let world = world("steps: [{ id: a, title: A, run: 'echo {{ secrets.a }}' }]\n");
    world.run(&["lint", "secretive"]).exits(2).says(&["secret"]);
    world.playbook(
        "argv",
        &format!("{SECRETS}steps: [{{ id: a, title: A, exec: [echo, '{{{{ secrets.a }}}}'] }}]\n"),
    );
    world.run(&["lint", "argv"]).exits(2).says(&["secret"]);
}

/// A later step would take the mask for the value, and do something wrong with it.
#[test]
fn a_secret_does_not_travel_through_an_output() {
    for output in ["echo \"$A\"", "echo \"leak=$A\" >> \"$RUNBOOK_OUTPUT\""] {
        let world = world(&format!(
            "steps:\n  - id: a\n    title: A\n    env: {{ A: '{{{{ secrets.a }}}}' }}\n    run: |\n      {output}\n    \
             outputs: {{ said: result.stdout }}\n  - id: b\n    title: B\n    run: echo {{{{ steps.a.outputs.said }}}} >> ledger\n"
        ));
        let shown = run(&world, &["run", "secretive"]).exits(1);
        assert!(shown.out.contains("secrets do not travel from step to step"), "{}", shown.out);
        assert!(!world.path("ledger").exists(), "the second step did not start");
        assert_nowhere(&world, &shown);
    }
}
