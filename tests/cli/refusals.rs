//! What is refused before anything runs: bad values, unmet requirements, guarded environments, held locks.

use std::fs;

use crate::support::{Running, World, shown, wait_until};

/// Each type with values it takes and values it does not.
const TYPES: [(&str, &[&str], &[&str]); 8] = [
    ("string, pattern: '^[a-z]+$'", &["abc"], &["ABC", "a b"]),
    ("path", &["./x", "/tmp", "a b"], &[""]),
    ("integer, min: 1, max: 9", &["1", "9"], &["0", "10", "1.5", "x", ""]),
    ("number, max: 2.5", &["2.5", "-1", "1e0"], &["2.6", "x", "nan"]),
    ("boolean", &["true", "false"], &["yes", "1", ""]),
    ("duration, max: 1h", &["30s", "1h"], &["30", "2h", "1M"]),
    ("size, min: 1KiB", &["1KiB", "2MiB"], &["12", "1 apple", "-1KiB"]),
    ("string, choices: [red, green]", &["red"], &["blue"]),
];

#[test]
fn parameters_of_every_type_are_checked_before_the_first_step() {
    let world = World::new();
    for (n, (kind, good, bad)) in TYPES.iter().enumerate() {
        let name = format!("typed-{n}");
        world.playbook(
            &name,
            &format!(
                "params: {{ v: {{ type: {kind}, required: true }} }}\n\
                 steps: [{{ id: a, title: A, run: 'echo {{{{ params.v }}}} >> ledger' }}]\n"
            ),
        );
        world.run(&["run", &name]).exits(2).says(&["parameter v", "-p"]);
        for value in *bad {
            let shown = world.run(&["run", &name, "-p", &format!("v={value}")]);
            assert_eq!(shown.code, 2, "{kind}: {value:?} was taken: {shown:?}");
            assert!(shown.err.contains("parameter v"), "{kind}: {value:?}: {shown:?}");
        }
        assert!(!world.path("ledger").exists() && world.runs().is_empty());
        for value in *good {
            let shown = world.run(&["plan", &name, "-p", &format!("v={value}")]);
            assert_eq!(shown.code, 0, "{kind}: {value:?} was refused: {shown:?}");
        }
    }
}

#[test]
fn every_bad_parameter_is_told_at_once() {
    let world = World::new();
    world.playbook(
        "many",
        "params: { first: { type: integer, required: true }, second: { type: boolean, required: true } }\n\
         steps: [{ id: a, title: A, run: 'true' }]\n",
    );
    let given = ["run", "many", "-p", "first=x", "-p", "thrid=1"];
    world.run(&given).exits(2).says(&["parameter first", "parameter second", "thrid"]);
}

#[test]
fn a_file_of_parameters_is_beaten_by_the_command_line() {
    let world = World::new();
    world.playbook(
        "filed",
        "params: { a: { type: string, required: true }, n: { type: integer, required: true }, l: { type: list, default: [] } }\n\
         steps: [{ id: a, title: A, run: 'echo {{ params.a }} {{ params.n }} >> ledger' }]\n",
    );
    world.write("p.yaml", "a: from file\nn: 3\nl: [x, y]\n");
    world.write("p.json", "{\"a\": \"from json\", \"n\": 4}");
    world.write("bad.yaml", "a: [\n");
    world.run(&["run", "filed", "--params-file", "p.yaml"]).exits(0);
    world.run(&["run", "filed", "--params-file", "p.json", "-p", "n=5"]).exits(0);
    assert_eq!(world.ledger(), ["from file 3", "from json 5"]);
    world.run(&["run", "filed", "--params-file", "bad.yaml"]).exits(2).says(&["bad.yaml:"]);
    world.run(&["run", "filed", "--params-file", "none.yaml"]).says(&["none.yaml", "o such file"]);
}

#[test]
fn a_relative_path_counts_from_where_it_was_typed() {
    let world = World::new();
    world.playbook(
        "where",
        "params: { p: { type: path, required: true } }\nsteps: [{ id: a, title: A, run: 'cat -- {{ params.p }} >> ledger' }]\n",
    );
    world.write("elsewhere/data", "found\n");
    let book = world.path("playbooks/where.yaml");
    let mut command = world.cmd(&["run", book.to_str().unwrap(), "-p", "p=data"]);
    shown(command.current_dir(world.path("elsewhere"))).exits(0);
    assert_eq!(world.ledger(), ["found"]);
}

#[test]
fn an_environment_gives_parameters_and_may_be_guarded() {
    let world = World::new();
    world.playbook(
        "guarded",
        "params: { v: { type: string, default: none } }\n\
         environments:\n  staging: { params: { v: stage } }\n  production: { params: { v: prod }, confirm: name }\n\
         steps: [{ id: a, title: A, run: 'echo {{ params.v }} >> ledger' }]\n",
    );
    world.run(&["run", "guarded", "--env", "staging"]).exits(0);
    world.run(&["run", "guarded", "--env", "staging", "-p", "v=typed"]).exits(0);
    world
        .run(&["run", "guarded", "--env", "production"])
        .exits(8)
        .says(&["production is guarded", "--confirm production"]);
    world.run(&["run", "guarded", "--env", "production", "--yes"]).exits(8);
    world.run(&["run", "guarded", "--env", "production", "--confirm", "prod"]).exits(8);
    assert_eq!(world.ledger(), ["stage", "typed"]);
    world.run(&["run", "guarded", "--env", "production", "--confirm", "production"]).exits(0);
    assert_eq!(world.ledger(), ["stage", "typed", "prod"]);
    world.run(&["run", "guarded", "--env", "prodution"]).exits(2).says(&["production", "staging"]);
}

#[test]
fn requirements_are_all_checked_and_all_told() {
    let world = World::new();
    world.playbook(
        "needs",
        "requires:\n  commands: [bash, no-such-command-here]\n  files: [missing-file, ledger]\n  \
         free_space: { path: ., at_least: 8000TiB }\n\
         steps: [{ id: a, title: A, run: echo a >> ledger }]\n",
    );
    world.write("ledger", "");
    let texts = ["no-such-command-here is not in PATH", "missing-file: no such file", "are needed"];
    world.run(&["run", "needs"]).exits(8).says(&texts);
    assert!(world.ledger().is_empty() && world.runs().is_empty());
}

#[test]
fn one_run_at_a_time_holds_a_key() {
    let world = World::new();
    let body = "lock: 'db:{{ params.db }}'\nparams: { db: { type: string, default: x } }\n\
                steps: [{ id: a, title: A, run: 'echo a >> ledger; while ! test -e go; do sleep 0.05; done' }]\n";
    world.playbook("first", body);
    world.playbook("second", body);
    let running = world.start(&["run", "first"]);
    wait_until("the step", || world.ledger().len() == 1);
    let run = world.last_run();
    let pid = format!("pid {}", running.pid());
    let held = ["db:x", &run, &pid, "since ", "runbook status ", "runbook cancel "];
    world.run(&["run", "second"]).exits(8).says(&held);
    assert_eq!(world.ledger(), ["a"]);
    assert_eq!(world.runs().len(), 1, "the refused run left no folder");
    let other = world.start(&["run", "second", "-p", "db=y"]);
    wait_until("the other database's run", || world.ledger().len() == 2);
    world.write("go", "");
    running.wait().exits(0);
    other.wait().exits(0);
    world.run(&["run", "second"]).exits(0);
}

#[test]
fn of_many_that_start_at_once_one_wins() {
    let world = World::new();
    world.playbook(
        "rush",
        "steps: [{ id: a, title: A, run: 'echo a >> ledger; while ! test -e go; do sleep 0.05; done' }]\n",
    );
    let mut all: Vec<_> = (0..8).map(|_| world.start(&["run", "rush"])).collect();
    wait_until("all but one to be refused", || {
        all.iter_mut().map(Running::is_running).filter(|on| *on).count() <= 1
    });
    wait_until("the winner's step", || !world.ledger().is_empty());
    world.write("go", "");
    let codes: Vec<i32> = all.into_iter().map(|running| running.wait().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 8).count(), 7, "{codes:?}");
    assert_eq!(world.ledger(), ["a"]);
}

#[test]
fn a_failed_run_leaves_its_key_to_the_next() {
    let world = World::new();
    world.playbook("fails", "steps: [{ id: a, title: A, run: 'echo a >> ledger; exit 1' }]\n");
    world.run(&["run", "fails"]).exits(1);
    world.run(&["run", "fails"]).exits(1);
    assert_eq!(world.ledger(), ["a", "a"]);
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_nothing_starts() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: echo a >> ledger }]\n");
    // A limit of 20 KiB for each file: the plan fits, the journal's reserve does not.
    let mut command = world.command("bash");
    command.args(["-c", "ulimit -f 20; exec \"$0\" run small", crate::support::BIN]);
    shown(&mut command).exits(74).says(&["journal.reserve", "file too large", "nothing new was started"]);
    assert!(world.ledger().is_empty());
    world.run(&["resume", "last"]).exits(8).says(&["start it anew"]);
    // The run that never began is in nobody's way.
    world.run(&["run", "small"]).exits(0);
    assert_eq!(world.ledger(), ["a"]);
}

#[test]
fn init_writes_what_lints_and_runs_and_never_over_a_file() {
    let world = World::new();
    world.run(&["init", "new"]).exits(0).says(&["runbook lint first"]);
    let inside = |args: &[&str]| shown(world.cmd(args).current_dir(world.path("new")));
    inside(&["lint", "first", "--strict"]).exits(0);
    inside(&["plan", "first"]).exits(0);
    inside(&["run", "first"]).exits(0).says(&["recovered"]);
    let before = fs::read(world.path("new/runbook.yaml")).unwrap();
    inside(&["init"]).exits(8).says(&["is there already"]);
    assert_eq!(fs::read(world.path("new/runbook.yaml")).unwrap(), before);
}
