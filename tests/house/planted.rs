//! Planted bugs: none is in the product, and none is without a test that catches it.

use std::collections::BTreeSet;

use crate::source::{root, text};

const VARIABLE: &str = "RUNBOOK_PLANTED_BUG";

/// The names of the bugs, as `src/planted.rs` has them.
fn bugs() -> Vec<String> {
    let source = text(&root().join("src/planted.rs"));
    let names = source.lines().filter_map(|l| l.trim().split_once(" = \"")?.1.strip_suffix("\","));
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() >= 10, "{names:?}");
    names
}

/// The lines of the table in `scripts/planted`: a bug, a test binary, a test.
fn table() -> Vec<[String; 3]> {
    let script = text(&root().join("scripts/planted"));
    let (_, rest) = script.split_once("<< 'TABLE'\n").expect("the table");
    let (table, _) = rest.split_once("\nTABLE\n").expect("its end");
    let line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        <[String; 3]>::try_from(words).unwrap_or_else(|_| panic!("not three words: {line}"))
    };
    table.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(line).collect()
}

#[test]
fn no_default_plants_a_bug() {
    let manifest = text(&root().join("Cargo.toml"));
    let (_, features) = manifest.split_once("\n[features]\n").expect("the features");
    let features = features.split("\n[").next().unwrap_or_default();
    let lines: Vec<&str> = features.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert_eq!(lines, ["planted-bugs = []"], "no default, and nothing that turns it on");
}

/// The variable's name is in the program just when the feature is on, so the search for it means something.
#[test]
fn the_program_knows_no_planted_bug() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_runbook")).expect("the program");
    let there = program.windows(VARIABLE.len()).any(|window| window == VARIABLE.as_bytes());
    assert_eq!(there, cfg!(feature = "planted-bugs"));
}

#[test]
fn each_planted_bug_has_its_test_and_its_line() {
    let table = table();
    let bugs: BTreeSet<String> = bugs().into_iter().collect();
    let tested: BTreeSet<String> = table.iter().map(|[bug, ..]| bug.clone()).collect();
    assert_eq!(tested, bugs, "scripts/planted on the left, src/planted.rs on the right");
    let page = text(&root().join("docs/promises.md"));
    for [bug, binary, test] in &table {
        let line = page.lines().find(|l| l.starts_with(&format!("| `{bug}` |")));
        let line = line.unwrap_or_else(|| panic!("docs/promises.md does not tell of {bug}"));
        let name = test.rsplit("::").next().unwrap_or(test);
        assert!(line.contains(&format!("`{binary}` {}", name.replace('_', " "))), "{bug}: {name}\n{line}");
    }
}
