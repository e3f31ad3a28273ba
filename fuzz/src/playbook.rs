//! Playbooks, from any bytes to a plan: every mistake has a place in its file; what lints can be compiled; the same text
//! gives the same plan; a plan reads back from its JSON as it was, and can be shown.
//!
//! Input: the bytes of a playbook.

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use runbook::model::check_name;
use runbook::plan::{CompileError, DrillPlace, Plan, Request, compile, compile_drill, lint};
use runbook::playbook::diagnostic::{self, Diagnostic, Severity};
use runbook::playbook::load::{Library, LoadError, Loaded, load};
use runbook::playbook::source::SourceMap;
use runbook::playbook::{decode_bytes, parse, parse_config, parse_values};
use runbook::report::look::Look;
use runbook::report::neutral::is_hidden;
use runbook::report::{GraphFormat, PlanView, graph};

pub fn check(bytes: &[u8]) {
    let name = reads(bytes);
    // Only with its own name as that of the file can it be loaded.
    if let Some(name) = name.filter(|name| check_name(name).is_ok()) {
        PLACE.with(|place| place.load(&name, bytes));
    }
}

/// Each reader gets an answer; the playbook's name, if it has one.
fn reads(bytes: &[u8]) -> Option<String> {
    let mut sources = SourceMap::default();
    if let Err(diagnostics) = parse_values(&mut sources, Path::new("p.yaml"), bytes.to_vec()) {
        placed(&diagnostics, &sources);
    }
    let mut sources = SourceMap::default();
    let file = match decode_bytes(&mut sources, Path::new("x.yaml"), bytes.to_vec()) {
        Ok(file) => file,
        Err(diagnostic) => {
            placed(&[*diagnostic], &sources);
            return None;
        }
    };
    let text = sources.files[0].text.clone();
    placed(&parse_config(file, &text).diagnostics, &sources);
    let parsed = parse(file, &text, None);
    placed(&parsed.diagnostics, &sources);
    assert!(parsed.value.is_some() || parsed.has_errors(), "nothing is wrong, yet there is no playbook");
    parsed.value.map(|playbook| playbook.name.value)
}

/// Every place is in its file and cuts no character, and what is shown of it is harmless.
fn placed(diagnostics: &[Diagnostic], sources: &SourceMap) {
    for diagnostic in diagnostics {
        for span in std::iter::once(&diagnostic.span).chain(diagnostic.related.iter().map(|(span, _)| span)) {
            let text = &sources.get(span.file).expect("a file").text;
            let inside = span.start <= span.end && text.get(span.start as usize..span.end as usize).is_some();
            assert!(inside, "{span:?} of {} bytes: {diagnostic:?}", text.len());
        }
        assert!(!diagnostic.message.is_empty());
    }
    let shown = diagnostic::render(diagnostics, sources, diagnostic::Look::default());
    assert_eq!(shown.is_empty(), diagnostics.is_empty());
    let hidden = |c: &char| !matches!(c, '\n' | '\t') && is_hidden(*c);
    assert_eq!(shown.chars().find(hidden), None, "a diagnostic shows what a terminal would obey: {shown:?}");
    let json = diagnostic::to_json(diagnostics, sources);
    assert_eq!(json.as_array().map(Vec::len), Some(diagnostics.len()));
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
}

/// A folder for the playbook, and a library with others that it may include.
struct Place {
    folder: tempfile::TempDir,
    library: Library,
}

const PIECE: &str = "apiVersion: runbook/v1
name: piece
params: { n: { type: int, default: 1 } }
steps:
  - { id: one, run: 'echo {{ params.n }}', undo: { run: echo back }, outputs: { said: result.stdout } }
  - { id: two, run: 'echo {{ steps.one.outputs.said }}' }
";
const AGAIN: &str = "apiVersion: runbook/v1
name: again
steps:
  - { id: inner, playbook: { name: piece, params: { n: 2 } } }
";

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["books", "playbooks"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        for (name, text) in [("piece", PIECE), ("again", AGAIN)] {
            std::fs::write(folder.path().join(format!("playbooks/{name}.yaml")), text).expect("a playbook");
        }
        let library = Library::discover(folder.path(), None).expect("a library");
        Self { folder, library }
    }

    fn load(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(format!("books/{name}.yaml"));
        std::fs::write(&path, bytes).expect("the playbook is written");
        let loaded = (load(&path, &self.library), load(&path, &self.library));
        std::fs::remove_file(&path).expect("the playbook goes");
        match loaded {
            (Ok(loaded), Ok(again)) => {
                let plans = (self.compiles(&loaded), self.compiles(&again));
                assert_eq!(plans.0, plans.1, "the same text gives the same plans");
            }
            (Err(LoadError::Invalid(invalid)), Err(_)) => {
                placed(&invalid.diagnostics, &invalid.sources);
                assert!(has_errors(&invalid.diagnostics));
                // `lint` looks for more mistakes in what could be read.
                if let Some(books) = invalid.partial {
                    let partial = Loaded { sources: invalid.sources, books, ..Loaded::default() };
                    placed(&lint(&partial, today()), &partial.sources);
                }
            }
            (Ok(_), Err(error)) | (Err(error), _) => panic!("{error}"),
        }
    }

    /// The JSON of every plan that this playbook has.
    fn compiles(&self, loaded: &Loaded) -> Vec<Vec<u8>> {
        let found = lint(loaded, today());
        placed(&found, &loaded.sources);
        let request = |show_missing| Request {
            environment: None,
            params: &[],
            cwd: self.folder.path(),
            shared: &[],
            roles: &[],
            shared_folder: self.folder.path(),
            show_missing,
            root: None,
        };
        let mut plans = Vec::new();
        for show_missing in [true, false] {
            match compile(loaded, &request(show_missing)) {
                Ok(plan) => {
                    assert!(!has_errors(&found), "it has mistakes, yet there is a plan: {found:?}");
                    plans.push(plan);
                }
                Err(CompileError::Diagnostics(diagnostics)) => {
                    placed(&diagnostics, &loaded.sources);
                    assert!(has_errors(&found), "lint found no mistake, the compiler did: {diagnostics:?}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        let place = DrillPlace { dir: PathBuf::from("/drill"), port: 20_001, run: None };
        if let Ok(drill) = compile_drill(loaded, &request(false), &place, None) {
            plans.extend([drill.world, drill.inject, drill.symptom, drill.playbook, drill.teardown]);
        }
        plans.iter().map(sound).collect()
    }
}

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day")
}

/// The plan's JSON, from which the same plan is read.
fn sound(plan: &Plan) -> Vec<u8> {
    let json = plan.to_json();
    let again = Plan::from_json(&json).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
    assert_eq!(&again, plan);
    assert_eq!(again.to_json(), json);
    let hash = Plan::hash(&json);
    assert_eq!(Plan::hash(&again.to_json()), hash);
    let waves = plan.waves();
    assert_eq!(waves.iter().map(Vec::len).sum::<usize>(), plan.steps.len(), "each step stands in one wave");

    let mut shown = Vec::new();
    PlanView::of(plan, &hash).write(&mut shown, Look::PLAIN).expect("writing to memory");
    let mut shown = String::from_utf8(shown).expect("text");
    for format in [GraphFormat::Mermaid, GraphFormat::Dot, GraphFormat::Text] {
        shown.push_str(&graph(plan, format, Look::PLAIN));
    }
    assert_eq!(shown.chars().find(|c| *c != '\n' && is_hidden(*c)), None, "{shown:?}");
    json
}
