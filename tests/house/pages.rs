//! Pages and files that must say what the program does. `UPDATE_CASES=1` rewrites those that follow from the code.

use std::path::{Path, PathBuf};
use std::process::Command;

use runbook::playbook::reference::reference_markdown;
use runbook::playbook::schema::{config_schema, playbook_schema, to_text};

use crate::source::{files, root, text};

fn runbook(cwd: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_runbook"))
        .args(arguments)
        .current_dir(cwd)
        .env_remove("RUNBOOK_STATE")
        .output()
        .expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn is_fresh(name: &str, fresh: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, fresh).expect("the file is written");
    }
    assert!(text(&path) == fresh, "{name} is stale: UPDATE_CASES=1 rewrites it");
}

#[test]
fn what_follows_from_the_code_is_fresh() {
    is_fresh("docs/reference.md", &reference_markdown());
    is_fresh("schemas/playbook.schema.json", &to_text(&playbook_schema()));
    is_fresh("schemas/runbook.schema.json", &to_text(&config_schema()));
}

#[test]
fn every_playbook_here_lints() {
    let playbooks = root().join("playbooks");
    let found: Vec<PathBuf> =
        files(&playbooks, "yaml").into_iter().filter(|p| p.parent() == Some(&playbooks)).collect();
    assert!(found.len() >= 2);
    for path in found {
        let (code, said) = runbook(&root(), &["lint", path.to_str().expect("a readable path")]);
        assert_eq!(code, 0, "{said}");
    }
}

/// The fenced blocks of this language, each with the line it begins in.
fn fenced(page: &str, language: &str) -> Vec<(usize, String)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(usize, bool, String)>);
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(named), None) => open = Some((number + 2, named == language, String::new())),
            (Some(_), Some((start, wanted, block))) => {
                if *wanted {
                    blocks.push((*start, std::mem::take(block)));
                }
                open = None;
            }
            (None, Some((_, _, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages
}

/// The words of a command line; a quote holds words together, `>` ends what concerns the command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('>' | '|' | '#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn the_commands_on_every_page_can_be_typed() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in pages() {
        let page = text(&path);
        for (start, block) in fenced(&page, "console") {
            for (offset, line) in block.lines().enumerate() {
                let place = format!("{}:{}", path.display(), start + offset);
                let Some(line) = line.strip_prefix("$ ") else {
                    wrong.push(format!("{place}: a line of a console block begins with `$ `"));
                    continue;
                };
                let words = words(line);
                let arguments = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    ["runbook", rest @ ..] => rest.to_vec(),
                    ["cargo", "run", "--release", "--", rest @ ..] => rest.to_vec(),
                    _ => continue,
                };
                seen += 1;
                if let Err(why) = runbook::cli::check_usage(&arguments) {
                    wrong.push(format!("{place}: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 25, "only {seen} commands were found");
}

#[test]
fn the_playbooks_on_every_page_lint() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for path in pages() {
        let page = text(&path);
        for (line, block) in fenced(&page, "yaml") {
            let Some(rest) = block.split("\nname: ").nth(1).filter(|_| block.starts_with("apiVersion:"))
            else {
                continue;
            };
            seen += 1;
            let name = rest.split_whitespace().next().expect("a name");
            let file = folder.path().join(format!("{name}.yaml"));
            std::fs::write(&file, &block).expect("the playbook is written");
            let (code, said) = runbook(folder.path(), &["lint", file.to_str().expect("a readable path")]);
            assert_eq!(code, 0, "{}:{line}\n{said}", path.display());
        }
    }
    assert!(seen >= 1);
}

/// The anchor that a heading gets on the common code hosts.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in pages() {
        let page = text(&path);
        for link in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.contains(['{', '\'', '"', ' ']) {
                continue;
            }
            seen += 1;
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            let there = target.exists()
                && (section.is_empty()
                    || text(&target)
                        .lines()
                        .filter(|l| l.starts_with('#'))
                        .any(|l| anchor(l.trim_start_matches('#').trim()) == section));
            if !there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 10);
}

#[test]
fn every_command_has_completions_and_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, said) = runbook(folder.path(), &["man", "--dir", "pages"]);
    assert_eq!(code, 0, "{said}");
    let written = files(&folder.path().join("pages"), "1");
    assert!(written.iter().any(|p| p.ends_with("runbook-drill.1")), "{written:?}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, said) = runbook(folder.path(), &["completions", shell]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("drill") && said.contains("runbook"), "{shell}");
    }
}

/// The names below `[section]` in Cargo.toml.
fn dependencies(manifest: &str, section: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|l| *l != section).skip(1);
    let entries = lines.take_while(|l| !l.starts_with('[')).filter_map(|l| l.split_once(" = "));
    entries.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_dependency_is_used_and_has_its_line() {
    let manifest = text(&root().join("Cargo.toml"));
    let page = text(&root().join("docs/design/2026-11-21-dependencies.md"));
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| "))
        .filter_map(|l| l.split_once(" |"))
        .flat_map(|(cell, _)| cell.split(" (").next().unwrap_or_default().split(", "))
        .filter(|name| *name != "crate")
        .collect();
    let direct = dependencies(&manifest, "[dependencies]");
    assert!(direct.len() > 10);
    for name in &direct {
        assert!(listed.contains(&name.as_str()), "{name} has no line in the page on dependencies");
    }
    for name in &listed {
        assert!(direct.iter().any(|d| d == name), "{name} is on the page and no dependency any more");
    }
    for name in dependencies(&manifest, "[dev-dependencies]") {
        assert!(page.contains(&format!("{name} (")), "{name} has no place in the page on dependencies");
    }
    let sources: String =
        files(&root().join("src"), "rs").iter().map(|p| crate::source::code(&text(p))).collect();
    for name in &direct {
        let used = format!("{}::", name.replace('-', "_"));
        assert!(sources.contains(&used), "nobody uses {name}");
    }
}
