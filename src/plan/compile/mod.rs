//! From playbooks as typed to the plan that is run.
//!
//! [`lint`] finds every mistake and needs no parameter values; [`compile`] goes on from there to a [`Plan`];
//! [`compile_drill`] makes a plan of each section of a drill, so that the same engine runs them all.

mod base;
mod book;
mod build;
mod channels;
mod command;
mod drill;
mod drill_channels;
mod each;
mod expand;
mod hosts;
mod needs;
mod order;
mod people;
mod requires;
mod resolve;
mod step;
mod suggest;
mod tell;
mod text;
mod values;

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde_json::Value;

use base::Base;
use build::{Builder, Unit};

use super::{Plan, SecretSource};
use crate::model::{Channel, SecretName};
use crate::playbook::ast;
use crate::playbook::diagnostic::{Diagnostic, Severity};
use crate::playbook::load::Loaded;
use crate::playbook::source::Text;

pub use drill::{DrillPlans, compile_drill};
pub use hosts::shared_hosts;

/// What the person asked for beyond the playbook itself.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `--env`.
    pub environment: Option<&'a str>,
    /// From the command line as text, or typed from a parameters file; a later one of the same name wins.
    pub params: &'a [(String, Value)],
    /// Where the person stands: relative paths in `params` count from here. Absolute.
    pub cwd: &'a Path,
    /// `environments` of `runbook.yaml`. Parameters there that a playbook does not have are for other playbooks.
    pub shared: &'a [ast::Environment],
    /// `roles` of `runbook.yaml`.
    pub roles: &'a [(Text, Vec<Text>)],
    /// The folder of `runbook.yaml`: relative paths in `shared` count from here.
    pub shared_folder: &'a Path,
    /// A parameter that is not given stands as `‹name›`: for looking at a playbook, never for running it.
    pub show_missing: bool,
    /// Instead of the playbook's own folder (or its `workdir`).
    pub root: Option<&'a Path>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the playbook has mistakes")]
    Diagnostics(Vec<Diagnostic>),
    #[error("{}", list_problems(.0))]
    Params(Vec<ParamProblem>),
    #[error("there is no environment `{name}`")]
    UnknownEnvironment { name: String, known: Vec<String> },
    #[error("environment `{0}` is guarded by `confirm`, and a drill never runs there")]
    GuardedDrill(String),
    #[error("the drill has no variant `{name}`")]
    UnknownVariant { name: String, known: Vec<String> },
    #[error("the playbook has no `drill` section")]
    NoDrill,
    #[error("the path {0:?} is not valid UTF-8")]
    NotUtf8(PathBuf),
}

/// A parameter that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    pub name: String,
    pub message: String,
    pub help: Option<String>,
}

fn list_problems(problems: &[ParamProblem]) -> String {
    problems.iter().map(|p| format!("parameter `{}`: {}", p.name, p.message)).collect::<Vec<_>>().join("; ")
}

/// Every mistake in the first book, its drill and the books it includes, in the order of their places.
/// `today` decides whether a review is overdue.
pub fn lint(loaded: &Loaded, today: NaiveDate) -> Vec<Diagnostic> {
    let Some(first) = loaded.books.first() else { return Vec::new() };
    let base = Base::anywhere(first);
    let mut main = Builder::build(loaded, Unit::playbook(&first.playbook), &base);
    let mut diagnostics = std::mem::take(&mut main.diagnostics);
    if let Some(drill) = &first.playbook.drill {
        diagnostics.extend(drill::lint_drill(&mut main, drill));
    }
    for book in main.books_used() {
        diagnostics.extend(book::review(&loaded.books[book].playbook, today));
    }
    if !diagnostics.iter().any(|d| d.severity == Severity::Error) {
        diagnostics.extend(main.unused());
    }
    tidy(diagnostics)
}

/// The plan of the first book, or everything that stands in its way.
pub fn compile(loaded: &Loaded, request: &Request<'_>) -> Result<Plan, CompileError> {
    let Some(first) = loaded.books.first() else { return Err(CompileError::Diagnostics(Vec::new())) };
    let base = Base {
        cwd: request.cwd.to_owned(),
        root: request.root.map(Path::to_owned),
        main: first.path.clone(),
    };
    let builder = Builder::build(loaded, Unit::playbook(&first.playbook), &base);
    let builder = sound(builder)?;
    resolve::plan(builder, request, None)
}

/// The channels that a run of the first book would have, with all the secrets they need; without a book, those that
/// playbooks share.
pub fn channels(loaded: &Loaded, cwd: &Path) -> (Vec<Channel>, Vec<(SecretName, SecretSource)>) {
    let main = loaded.books.first().map(|book| book.path.clone()).unwrap_or_default();
    let base = Base { cwd: cwd.to_owned(), root: None, main };
    let builder = match loaded.books.first() {
        Some(first) => Builder::build(loaded, Unit::playbook(&first.playbook), &base),
        None => {
            let none =
                Unit { phases: Vec::new(), drill: false, proof: false, on_failure: super::OnFailure::Stop };
            let mut builder = Builder::build(loaded, none, &base);
            builder.merge_channels(&[]);
            builder
        }
    };
    let (needed, apart) = builder.split_secrets();
    let told: Vec<&SecretName> = builder.channels.iter().flat_map(Channel::secrets).collect();
    let secrets = needed.into_iter().chain(apart).filter(|(name, _)| told.contains(&name)).collect();
    (builder.channels, secrets)
}

/// The builder, if it found no error.
fn sound(builder: Builder<'_>) -> Result<Builder<'_>, CompileError> {
    if builder.has_errors() {
        return Err(CompileError::Diagnostics(tidy(builder.diagnostics)));
    }
    Ok(builder)
}

/// Mistakes that the parser reports in other words.
const SAID_BY_BOTH: [&str; 3] = ["bad-name", "duplicate-id", "include-cycle"];

/// In the order of their places, each once: a playbook that is included twice has its mistakes once, and what both the
/// parser and the compiler saw is said once.
pub fn tidy(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| (a.span, a.severity, a.code).cmp(&(b.span, b.severity, b.code)));
    diagnostics.dedup_by(|a, b| {
        a.span == b.span && a.code == b.code && (a.message == b.message || SAID_BY_BOTH.contains(&a.code))
    });
    diagnostics
}
