//! What people see, byte for byte. `UPDATE_CASES=1` writes the cases anew; then read the difference.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::drill::shipped;
use crate::support::World;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cli")
}

/// Compares with `tests/cases/cli/NAME.txt`, after what differs from run to run has been replaced.
#[track_caller]
pub fn agrees(world: &World, name: &str, text: &str) {
    let text = normalised(world, text);
    let path = cases().join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::create_dir_all(cases()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{name} differs; UPDATE_CASES=1 writes it anew. It is now\n{text}");
}

fn normalised(world: &World, text: &str) -> String {
    let places = [
        (world.dir().parent().unwrap().to_str().unwrap().to_owned(), "ROOT"),
        (env!("CARGO_MANIFEST_DIR").to_owned(), "CRATE"),
    ];
    let mut text = text.to_owned();
    for (place, word) in places {
        text = text.replace(&place, word);
    }
    let patterns = [
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "BOOT"),
        (r"\b[0-9a-f]{64}\b", "HASH"),
        (r"\b\d{8}T\d{6}Z-[a-z0-9]{4}\b", "STAMP"),
        (r"\b\d{4}-\d{2}-\d{2}( \d{2}:\d{2}:\d{2})?", "DATE"),
        (r"\b\d{2}:\d{2}:\d{2}\b", "TIME"),
        (r"by \S+ on \S+ \(pid \d+\)", "by WHO on HOST (pid PID)"),
        (r"\+\d+(\.\d+)?(ms|s) {1,}", "+T "),
        (r"\b(after|RTO {9}) \d+(\.\d+)?(ms|s)\b", "$1 T"),
        (r"runbook \d+\.\d+\.\d+\S*", "runbook VERSION,"),
    ];
    for (pattern, word) in patterns {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}

#[test]
fn help() {
    let world = World::new();
    let help = world.run(&["--help"]).exits(0).out;
    agrees(&world, "help", &help);
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 19, "{names:?}");
    for name in names {
        let shown = world.run(&[name, "--help"]).exits(0);
        agrees(&world, &format!("help-{name}"), &shown.out);
    }
}

#[test]
fn mistakes() {
    let world = World::new();
    world.write(
        "playbooks/bad.yaml",
        "apiVersion: runbook/v1\nname: bad\ntitle: Bad\nseverty: high\nsteps:\n  - id: a\n    title: A\n    \
         run: echo {{ params.x }}\n    timeout: 5\n",
    );
    let shown = world.run(&["lint", "bad"]).exits(2);
    agrees(&world, "lint", &shown.out);
    let shown = world.run(&["run", "bad"]).exits(2);
    agrees(&world, "run-invalid", &shown.err);
}

#[test]
fn views_of_the_shipped_playbooks() {
    let world = World::new();
    let (big, hello) = (shipped("db-corruption.yaml"), shipped("hello.yaml"));
    let given = ["-p", "database=/srv/tasks.db", "-p", "backups=/srv/backups"];
    let plan = world.run(&[&["plan", &big], &given[..]].concat()).exits(0).out;
    agrees(&world, "plan-db-corruption", &plan);
    let plan = world.run(&["plan", &hello]).exits(0).out;
    agrees(&world, "plan-hello", &plan);
    agrees(&world, "show-db-corruption", &world.run(&["show", &big]).exits(0).out);
    for format in ["mermaid", "dot", "text"] {
        let graph = world.run(&["graph", &big, "--format", format]).exits(0).out;
        agrees(&world, &format!("graph-{format}"), &graph);
    }
}

#[test]
fn lists() {
    let world = World::new();
    agrees(&world, "list-empty", &world.run(&["list"]).exits(0).out);
    world.playbook("one", "steps: [{ id: a, title: A, run: 'true' }]\n");
    world.playbook("two", "steps: [{ id: a, title: A, run: 'true' }]\n");
    world.write("playbooks/broken.yaml", "apiVersion: runbook/v1\nname: broken\n");
    agrees(&world, "list", &world.run(&["list"]).exits(0).out);
}

/// A run that fails, as it is seen without a terminal and afterwards.
#[test]
fn a_failed_run() {
    let world = World::new();
    world.playbook(
        "fails",
        "params: { who: { type: string, default: world } }\nsteps:\n  \
         - { id: first, title: The first thing, run: 'echo hello {{ params.who }}' }\n  \
         - { id: second, title: The second thing, run: 'echo no such table >&2; exit 3', \
         retry: { attempts: 2, delay: 10ms, jitter: 0 } }\n  \
         - { id: third, title: The third thing, run: 'true' }\n",
    );
    let shown = world.run(&["run", "fails"]).exits(1);
    let (live, closing) = shown.out.split_once("\n\n").unwrap();
    agrees(&world, "run", live);
    agrees(&world, "closing-failed", closing);
    agrees(&world, "log", &world.run(&["log"]).exits(0).out);
}
