//! Finding playbooks by name, and reading those they include.

use std::path::Path;

use runbook::playbook::diagnostic::{Look, render};
use runbook::playbook::load::{Library, LoadError, load};

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
    std::fs::write(path, content).expect("the file");
}

fn simple(name: &str) -> String {
    format!("apiVersion: runbook/v1\nname: {name}\nsteps:\n  - id: one\n    run: \"true\"\n")
}

fn including(name: &str, others: &[&str]) -> String {
    let mut out = format!("apiVersion: runbook/v1\nname: {name}\nsteps:\n");
    for other in others {
        out.push_str(&format!("  - id: do-{other}\n    playbook: {{ name: {other} }}\n"));
    }
    out
}

fn library(root: &Path, cwd: &str) -> Library {
    Library::discover(&root.join(cwd), Some(&root.join("user"))).expect("a library")
}

/// The rendered diagnostics of a load that must fail.
fn mistakes(path: &Path, library: &Library) -> String {
    match load(path, library) {
        Err(LoadError::Invalid(invalid)) => render(&invalid.diagnostics, &invalid.sources, Look::default()),
        other => panic!("expected mistakes, got {other:?}"),
    }
}

#[test]
fn names_are_found_in_the_folders_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "work/runbook.yaml", "playbooks: [books, more]\nstate: here\n");
    write(root, "work/deep/playbooks/a.yaml", &simple("a"));
    write(root, "work/books/a.yaml", &simple("a"));
    write(root, "work/more/b.yml", &simple("b"));
    write(root, "user/playbooks/c.yaml", &simple("c"));
    write(root, "user/playbooks/notes.txt", "no playbook");
    write(root, "user/playbooks/Bad Name.yaml", "no playbook");
    let library = library(root, "work/deep");
    let names: Vec<_> = library.list().into_iter().map(|l| (l.name, l.path)).collect();
    assert_eq!(
        names,
        [
            ("a".to_owned(), root.join("work/deep/playbooks/a.yaml")),
            ("b".to_owned(), root.join("work/more/b.yml")),
            ("c".to_owned(), root.join("user/playbooks/c.yaml")),
        ]
    );
    assert_eq!(library.find("a").expect("found"), root.join("work/deep/playbooks/a.yaml"));
    assert_eq!(library.find("../books/a.yaml").expect("found"), root.join("work/deep/../books/a.yaml"));
    let config = library.config().expect("the configuration");
    assert_eq!(config.folder, root.join("work"));
    assert_eq!(config.config.state.as_ref().map(|s| s.value.as_str()), Some("here"));
}

#[test]
fn the_users_configuration_counts_when_there_is_no_nearer_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "user/runbook.yaml", "playbooks: [shared]\n");
    write(root, "user/shared/s.yaml", &simple("s"));
    std::fs::create_dir_all(root.join("work")).expect("a folder");
    let library = library(root, "work");
    assert_eq!(library.find("s").expect("found"), root.join("user/shared/s.yaml"));
}

#[test]
fn a_missing_name_is_answered_with_a_near_one_and_the_folders() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "playbooks/db-corruption.yaml", &simple("db-corruption"));
    let library = library(root, "");
    let said = library.find("db-coruption").expect_err("missing").to_string();
    assert!(
        said.starts_with(r#"there is no playbook "db-coruption", did you mean "db-corruption"?"#),
        "{said}"
    );
    assert!(said.contains("(looked in playbooks, user/playbooks)"), "{said}");
    let said = library.find("Db").expect_err("bad name").to_string();
    assert!(said.contains("'D' is not allowed in a name"), "{said}");
    let said = library.find("./x.yaml").expect_err("no file").to_string();
    assert_eq!(said, "cannot read ./x.yaml: there is no such file");
}

#[test]
fn mistakes_in_the_configuration_are_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "runbook.yaml", "playboks: [x]\n");
    let Err(LoadError::Invalid(invalid)) = Library::discover(dir.path(), None) else {
        panic!("expected mistakes")
    };
    let shown = render(&invalid.diagnostics, &invalid.sources, Look::default());
    assert!(shown.contains("runbook.yaml:1:1") && shown.contains("did you mean `playbooks`?"), "{shown}");
}

#[test]
fn included_playbooks_come_along_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "playbooks/a.yaml", &including("a", &["b", "c"]));
    write(root, "playbooks/b.yaml", &including("b", &["c"]));
    write(root, "user/playbooks/c.yaml", &simple("c"));
    let library = library(root, "");
    let loaded = load(&library.find("a").expect("found"), &library).expect("loads");
    let names: Vec<_> = loaded.books.iter().map(|book| book.playbook.name.value.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(loaded.book("c"), Some(2));
    assert_eq!(loaded.books[2].folder, root.join("user/playbooks"));
    assert_eq!(loaded.sources.files[0].path, Path::new("playbooks/a.yaml"));
}

#[test]
fn an_include_cycle_is_named_with_all_its_members() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "playbooks/a.yaml", &including("a", &["b"]));
    write(root, "playbooks/b.yaml", &including("b", &["c"]));
    write(root, "playbooks/c.yaml", &including("c", &["b"]));
    write(root, "playbooks/self.yaml", &including("self", &["self"]));
    let library = library(root, "");
    let shown = mistakes(&root.join("playbooks/a.yaml"), &library);
    assert!(shown.contains("playbooks include each other: b -> c -> b"), "{shown}");
    assert!(shown.contains("playbooks/c.yaml:5:23"), "{shown}");
    let shown = mistakes(&root.join("playbooks/self.yaml"), &library);
    assert!(shown.contains("self -> self"), "{shown}");
}

#[test]
fn a_missing_include_points_at_its_name_and_all_files_are_checked() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    write(root, "playbooks/a.yaml", &including("a", &["restor", "bad", "restor"]));
    write(root, "playbooks/restore.yaml", &simple("restore"));
    write(root, "playbooks/bad.yaml", &format!("{}    tiemout: 5m\n", simple("bad")));
    let library = library(root, "");
    let shown = mistakes(&root.join("playbooks/a.yaml"), &library);
    assert!(shown.contains("there is no playbook `restor`"), "{shown}");
    assert!(shown.contains("did you mean `restore`? (looked in playbooks/, user/playbooks/)"), "{shown}");
    assert!(shown.contains("playbooks/bad.yaml:6:5"), "{shown}");
    assert!(shown.ends_with("errors in playbooks/a.yaml, playbooks/bad.yaml\n"), "{shown}");
}
