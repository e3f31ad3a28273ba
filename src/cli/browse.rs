//! `runbook list` and `runbook show`.

use serde_json::json;

use crate::report::{History, RunSummary, write_runs};
use crate::runner::{load, wall_now};

use super::args::{List, Named};
use super::context::{Context, print, print_json, print_with};
use super::error::CliError;

pub fn list(context: &Context, args: &List) -> Result<u8, CliError> {
    if args.runs {
        return list_runs(context, args.json);
    }
    let entries = context.library.list();
    if args.json {
        let all: Vec<_> = entries
            .iter()
            .map(|e| json!({ "name": e.name, "title": e.title, "path": e.path }))
            .collect();
        print_json(&all)?;
        return Ok(0);
    }
    if entries.is_empty() {
        let folders: Vec<String> =
            context.library.folders().iter().map(|f| f.display().to_string()).collect();
        print(&format!(
            "no playbooks in {}\n`runbook init` writes one to start from\n",
            folders.join(", ")
        ))?;
        return Ok(0);
    }
    let width = entries.iter().map(|e| e.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in &entries {
        let title = crate::report::neutral::line(entry.title.as_deref().unwrap_or("(cannot be read: see lint)"));
        text.push_str(&format!("{:width$}  {title}\n", entry.name));
    }
    print(&text)?;
    Ok(0)
}

fn list_runs(context: &Context, json: bool) -> Result<u8, CliError> {
    let state = context.existing_state()?;
    let mut summaries = Vec::new();
    for run in state.runs()? {
        // A run that cannot be read is named by `verify`; the others are still listed.
        let Ok(loaded) = load(&state, &run) else {
            tracing::warn!("run {run} cannot be read");
            continue;
        };
        let history = History::of(&loaded.plan, &loaded.records);
        summaries.extend(RunSummary::of(&history, Some(wall_now()), Some(loaded.is_driven())));
    }
    if json {
        print_json(&summaries)?;
    } else {
        print_with(|out| write_runs(out, &summaries, context.look))?;
    }
    Ok(0)
}
