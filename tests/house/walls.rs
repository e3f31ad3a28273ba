//! Who may use whom, and that the core performs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::{code, files, is_name, root, text};

/// Each module with those it may use. A module that is not named here fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("playbook", &["model"]),
    ("plan", &["playbook", "model"]),
    ("engine", &["plan", "model"]),
    ("text", &["model"]),
    ("journal", &["model"]),
    ("exec", &["text", "model"]),
    ("notify", &["text", "model"]),
    ("report", &["engine", "plan", "text", "model"]),
    ("preflight", &["journal", "exec", "plan", "text", "model"]),
    ("runner", &["engine", "journal", "exec", "notify", "report", "preflight", "plan", "text", "model"]),
    (
        "drill",
        &["runner", "engine", "journal", "exec", "notify", "report", "preflight", "plan", "text", "model"],
    ),
    (
        "cli",
        &[
            "drill",
            "runner",
            "engine",
            "journal",
            "exec",
            "notify",
            "report",
            "preflight",
            "plan",
            "playbook",
            "text",
            "model",
        ],
    ),
];

/// Anybody may ask whether a bug is planted: without the feature the answer is a constant. See src/planted.rs.
const EVERYBODYS: &str = "planted";

/// What a pure module may not speak of: clocks, randomness, files, processes, other threads, async, the terminal.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "Utc",
    "Local",
    "async",
    "await",
    "clock_gettime",
    "duct",
    "eprintln",
    "getrandom",
    "nix",
    "println",
    "reqwest",
    "rusqlite",
    "tokio",
    "tracing",
];

/// The source files of a module, by the module's name.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let src = root().join("src");
    for file in files(&src, "rs") {
        let inside = file.strip_prefix(&src).expect("below src");
        let mut parts = inside.components();
        let first = parts.next().expect("a part").as_os_str().to_string_lossy().into_owned();
        let name = if parts.next().is_some() { first } else { first.trim_end_matches(".rs").to_owned() };
        found.entry(name).or_default().push(file);
    }
    found
}

/// The modules at the crate's root that a file's code names, each with its line. `depth`: of the module the file is.
fn uses(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (root, start) in [("crate::", 0), ("runbook::", 0), ("super::", 1)] {
            for (at, _) in line.match_indices(root) {
                if line[..at].ends_with(|c: char| is_name(c) || c == ':') {
                    continue;
                }
                let mut rest = &line[at + root.len()..];
                let mut up = start;
                while let Some(further) = rest.strip_prefix("super::") {
                    (rest, up) = (further, up + 1);
                }
                if start == 1 && up < depth {
                    continue;
                }
                let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
                found.push((number + 1, name));
            }
        }
    }
    found
}

/// How many `super::` lead from inside the file to the crate's root.
fn depth(file: &Path) -> usize {
    let src = root().join("src");
    let parts = file.strip_prefix(&src).expect("below src").components().count();
    if file.ends_with("mod.rs") { parts - 1 } else { parts }
}

#[test]
fn no_module_looks_through_a_wall() {
    let known: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(name, may)| (*name, may.iter().copied().collect())).collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (module, files) in modules() {
        if ["main", "lib", EVERYBODYS].contains(&module.as_str()) {
            continue;
        }
        let Some(may) = known.get(module.as_str()) else {
            wrong.push(format!("src/{module}: say in MAY_USE what it may use"));
            continue;
        };
        for file in files {
            for (line, name) in uses(&code(&text(&file)), depth(&file)) {
                seen += 1;
                if name != module && name != EVERYBODYS && !may.contains(name.as_str()) {
                    let place = file.strip_prefix(root()).expect("below the crate").display();
                    wrong.push(format!("{place}:{line}: {module} may not use `{name}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 200, "only {seen} uses were found: is the search still right?");
}

#[test]
fn every_way_through_a_wall_is_seen() {
    let found = |text: &str, depth| -> Vec<String> {
        uses(&code(text), depth).into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(found("use crate::exec::Exec;", 2), ["exec"]);
    assert_eq!(found("let x: crate::journal::Journal; // crate::cli", 2), ["journal"]);
    // A list at the root is no name, so it is refused as one that nobody may use.
    assert_eq!(found("use crate::{exec, journal};", 2), [""]);
    assert_eq!(found("use super::super::exec::Exec;", 2), ["exec"]);
    assert_eq!(found("use super::sibling::Thing; mycrate::exec", 2), [""; 0]);
    assert_eq!(found("pub use super::exec::Exec;", 1), ["exec"]);
}

/// A file's code without its tests, which stand at the end of a file or in a file of their own.
fn untested(file: &Path) -> String {
    let code = code(&text(file));
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code,
    }
}

fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let after = code[at + word.len()..].chars().next();
        !code[..at].ends_with(is_name) && !after.is_some_and(is_name)
    })
}

#[test]
fn engine_and_plan_perform_nothing() {
    let modules = modules();
    let mut wrong = Vec::new();
    for module in ["engine", "plan", "model"] {
        for file in &modules[module] {
            if file.ends_with("tests.rs") {
                continue;
            }
            let code = untested(file);
            // Its order differs from process to process; where order matters to a fold, nothing may hang on it.
            let unordered: &[&str] = if module == "engine" { &["HashMap", "HashSet"] } else { &[] };
            for word in IMPURE.iter().chain(unordered) {
                // The vocabulary knows how a moment is written; it reads no clock.
                let vocabulary = module == "model" && *word == "Utc";
                if !vocabulary && names(&code, word) {
                    wrong.push(format!("{}: `{word}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these modules must perform nothing:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"] {
        let folder = root().join(folder);
        if !folder.is_dir() {
            continue;
        }
        for file in files(&folder, "rs") {
            seen += 1;
            if !text(&file).starts_with("//! ") {
                silent.push(file.display().to_string());
            }
        }
    }
    assert!(silent.is_empty(), "these files do not begin with `//!`:\n{}", silent.join("\n"));
    assert!(seen > 100);
}
