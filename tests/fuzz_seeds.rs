//! Every committed seed of the fuzz targets keeps its target's property: `scripts/fuzz` begins with the same ones, and
//! what it once found is among them.

use std::path::PathBuf;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(path: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().expect("a readable name")).collect();
    names.sort();
    names
}

fn replay(target: &str) {
    let property = fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
    let seeds = names(folder("seeds").join(target));
    assert!(seeds.len() >= 10, "{target} has only {} seeds", seeds.len());
    for seed in seeds {
        let bytes = std::fs::read(folder("seeds").join(target).join(&seed)).expect("a readable seed");
        // Shown only if the property does not hold.
        println!("fuzz/seeds/{target}/{seed}");
        property(&bytes);
    }
}

#[test]
fn journal() {
    replay("journal");
}

#[test]
fn names_of_files() {
    replay("names");
}

#[test]
fn neutral() {
    replay("neutral");
}

#[test]
fn playbook() {
    replay("playbook");
}

#[test]
fn quoting() {
    replay("quoting");
}

#[test]
fn redactor() {
    replay("redactor");
}

#[test]
fn templates() {
    replay("templates");
}

/// A target that nobody builds, or whose seeds nobody replays, would be silent.
#[test]
fn every_target_is_built_and_has_seeds() {
    let known: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    let files: Vec<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(folder("fuzz_targets")), files);
    assert_eq!(names(folder("seeds")), known);
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).expect("the manifest");
    let this = std::fs::read_to_string(file!()).expect("this file");
    for name in known {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
        assert!(this.contains(&format!("replay(\"{name}\")")), "the seeds of {name} are not replayed");
        assert!(folder("src").join(format!("{name}.rs")).is_file());
    }
}

/// Each package of a lock file, `name version`.
fn locked(path: PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(&path).expect("a lock file");
    let field =
        |line: &str, name: &str| line.strip_prefix(name).map(|value| value.trim_matches('"').to_owned());
    let pairs: Vec<&str> = text.lines().collect();
    let package =
        |two: &[&str]| Some(format!("{} {}", field(two[0], "name = ")?, field(two[1], "version = ")?));
    pairs.windows(2).filter_map(package).collect()
}

/// What is fuzzed is what is shipped, with the same versions of everything.
#[test]
fn the_targets_are_built_with_the_same_crates() {
    let ours = locked(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    let theirs = locked(folder("Cargo.lock"));
    assert!(ours.len() > 100 && theirs.len() > 100);
    let only_for_fuzzing = ["arbitrary", "jobserver", "libfuzzer-sys", "runbook-fuzz"];
    let others: Vec<&String> = theirs
        .iter()
        .filter(|package| !ours.contains(package))
        .filter(|package| !only_for_fuzzing.contains(&package.split(' ').next().unwrap_or_default()))
        .collect();
    assert!(others.is_empty(), "fuzz/Cargo.lock differs from Cargo.lock in {others:?}: see CONTRIBUTING.md");
}
