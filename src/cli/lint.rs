//! `runbook lint`: every mistake of every playbook, each with its place.

use serde_json::json;

use crate::model::exit_code;
use crate::plan;
use crate::playbook::diagnostic::{self, Diagnostic, Severity};
use crate::playbook::load::LoadError;
use crate::playbook::source::SourceMap;

use super::args::Lint;
use super::context::{Context, diagnostic_look, print, print_json};
use super::error::CliError;

pub fn lint(context: &Context, args: &Lint) -> Result<u8, CliError> {
    let names = if args.playbooks.is_empty() {
        let all = context.library.list().into_iter();
        all.map(|entry| entry.path.to_string_lossy().into_owned()).collect()
    } else {
        args.playbooks.clone()
    };
    if names.is_empty() {
        return Err(CliError::usage("there is no playbook to check")
            .hint("give a name or a path; `runbook init` writes one to start from"));
    }
    let (mut errors, mut warnings, mut listed) = (0, 0, Vec::new());
    for name in &names {
        let (diagnostics, sources) = check(context, name)?;
        let worst = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
        errors += worst(Severity::Error);
        warnings += worst(Severity::Warning);
        if args.json {
            listed.extend(diagnostics.iter().map(|d| diagnostic::to_json(d, &sources)));
        } else if diagnostics.is_empty() {
            print(&format!("{name}: no mistakes\n"))?;
        } else {
            print(&diagnostic::render(&diagnostics, &sources, diagnostic_look(context.look)))?;
        }
    }
    if args.json {
        print_json(&json!({ "errors": errors, "warnings": warnings, "diagnostics": listed }))?;
    }
    let failed = errors > 0 || args.strict && warnings > 0;
    Ok(if failed { exit_code::USAGE } else { 0 })
}

fn check(context: &Context, name: &str) -> Result<(Vec<Diagnostic>, SourceMap), CliError> {
    let path = context.library.find(name).map_err(|e| {
        CliError::usage(e.to_string()).hint("see `runbook list`, or give a path")
    })?;
    match context.library.load(&path) {
        Ok(loaded) => {
            let today = chrono::Utc::now().date_naive();
            let mut diagnostics = loaded.warnings.clone();
            diagnostics.extend(plan::lint(&loaded, today));
            Ok((diagnostics, loaded.sources))
        }
        Err(LoadError { diagnostics, sources }) => Ok((diagnostics, sources)),
    }
}
