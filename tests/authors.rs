//! What authors are told: each `tests/cases/authors/*.yaml` has the expected text beside it. `UPDATE_CASES=1` rewrites.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use runbook::playbook::diagnostic::{Look, render};
use runbook::playbook::source::SourceMap;
use runbook::playbook::{decode_bytes, parse, parse_config};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/authors");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    found.sort();
    found
}

/// What `runbook lint` shows of the file; `ok` and the decoded playbook if nothing is wrong.
fn outcome(path: &Path) -> String {
    let stem = path.file_stem().expect("a stem").to_str().expect("a readable name");
    let shown = PathBuf::from(path.file_name().expect("a name"));
    let mut sources = SourceMap::default();
    let bytes = std::fs::read(path).expect("a readable case");
    let (diagnostics, value) = match decode_bytes(&mut sources, &shown, bytes) {
        Err(diagnostic) => (vec![*diagnostic], None),
        Ok(file) => {
            let text = sources.get(file).expect("just added").text.clone();
            if stem.starts_with("config") {
                let parsed = parse_config(file, &text);
                (parsed.diagnostics, parsed.value.map(|v| format!("{v:#?}")))
            } else {
                let parsed = parse(file, &text, Some(stem));
                (parsed.diagnostics, parsed.value.map(|v| format!("{v:#?}")))
            }
        }
    };
    if diagnostics.is_empty() {
        let mut out = "ok\n".to_owned();
        let _ = writeln!(out, "{}", value.expect("a value without mistakes"));
        return out;
    }
    render(&diagnostics, &sources, Look::default())
}

#[test]
fn every_case_says_what_it_should() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let cases = cases();
    assert!(cases.len() >= 50, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let actual = outcome(&path);
        let expected_path = path.with_extension("txt");
        if update {
            std::fs::write(&expected_path, &actual).expect("the expected text is written");
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- actual\n{actual}", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ (UPDATE_CASES=1 rewrites):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
