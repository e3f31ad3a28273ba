//! `runbook lint`: every mistake of every playbook, each with its place.

use serde_json::json;

use crate::model::exit_code;
use crate::playbook::diagnostic::{self, Severity};

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
    // A mistake in runbook.yaml has stopped us before; what is shared by all playbooks is said once.
    if let Some(shared) = context.library.config().filter(|file| !file.warnings.is_empty()) {
        warnings += shared.warnings.len();
        if args.json {
            listed.push(diagnostic::to_json(&shared.warnings, &shared.sources));
        } else {
            let look = diagnostic_look(context.look);
            print(&diagnostic::render(&shared.warnings, &shared.sources, look))?;
        }
    }
    for (number, name) in names.iter().enumerate() {
        let (loaded, diagnostics) = context.examine(name)?;
        let sources = &loaded.sources;
        let worst = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
        errors += worst(Severity::Error);
        warnings += worst(Severity::Warning);
        if args.json {
            listed.push(diagnostic::to_json(&diagnostics, sources));
        } else if diagnostics.is_empty() {
            print(&format!("{name}: no mistakes\n"))?;
        } else {
            print(&diagnostic::render(&diagnostics, sources, diagnostic_look(context.look)))?;
        }
        if number + 1 == names.len() {
            // The process ends here, and the system takes back all at once what would go piece by piece.
            std::mem::forget((loaded, diagnostics));
        }
    }
    if args.json {
        print_json(&json!({ "errors": errors, "warnings": warnings, "playbooks": listed }))?;
    }
    let failed = errors > 0 || args.strict && warnings > 0;
    Ok(if failed { exit_code::USAGE } else { 0 })
}
