//! `runbook list` and `runbook show`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::journal::JournalError;
use crate::plan::{Plan, Request};
use crate::playbook::ast::Param;
use crate::playbook::load::{self as playbooks, Loaded};
use crate::report::{History, ParamRow, RunSummary, neutral, write_runs, write_show};
use crate::runner::{RunError, load, wall_now};

use super::args::{List, Named, Values};
use super::context::{Context, print, print_json, print_with, refused};
use super::error::CliError;

pub fn list(context: &Context, args: &List) -> Result<u8, CliError> {
    if args.runs {
        return list_runs(context, args.json);
    }
    let entries = context.library.list();
    if args.json {
        let all: Vec<_> = entries
            .iter()
            .map(|e| json!({ "name": e.name, "title": title_of(context, &e.path), "path": e.path }))
            .collect();
        print_json(&all)?;
        return Ok(0);
    }
    if entries.is_empty() {
        let folders: Vec<String> =
            context.library.folders().iter().map(|f| f.display().to_string()).collect();
        print(&format!("no playbooks in {}\n`runbook init` writes one to start from\n", folders.join(", ")))?;
        return Ok(0);
    }
    let width = entries.iter().map(|e| e.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in &entries {
        let title = title_of(context, &entry.path);
        let title = neutral::line(title.as_deref().unwrap_or("(has mistakes: see `runbook lint`)"));
        text.push_str(&format!("{:width$}  {title}\n", entry.name));
    }
    print(&text)?;
    Ok(0)
}

/// The title of a playbook that can be read.
fn title_of(context: &Context, path: &Path) -> Option<String> {
    let loaded = playbooks::load(path, &context.library).ok()?;
    let playbook = &loaded.books.first()?.playbook;
    Some(playbook.title.as_ref().unwrap_or(&playbook.name).value.clone())
}

pub fn show(context: &Context, args: &Named) -> Result<u8, CliError> {
    let loaded = context.load(&args.playbook)?;
    let plan = compile_to_look(context, &loaded, None)?;
    let playbook = loaded.books.first().map(|b| &b.playbook);
    let rows: Vec<ParamRow> = playbook.iter().flat_map(|p| &p.params).map(row).collect();
    print_with(|out| write_show(out, &plan, &rows, context.look))?;
    Ok(0)
}

/// A plan for the eye, in which parameters that are not given stand by name.
pub fn compile_to_look(
    context: &Context,
    loaded: &Loaded,
    values: Option<&Values>,
) -> Result<Plan, CliError> {
    let params = values.map(|v| context.params(v)).transpose()?.unwrap_or_default();
    let env = values.and_then(|v| v.env.as_deref());
    let request = Request { show_missing: true, ..context.request(env, &params) };
    crate::plan::compile(loaded, &request).map_err(|e| refused(e, loaded))
}

fn row(param: &Param) -> ParamRow {
    ParamRow {
        name: param.name.value.clone(),
        kind: format!("{:?}", param.kind.value).to_lowercase(),
        required: param.required,
        default: param.default.as_ref().map(|d| match d.to_value() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }),
        description: param.description.as_ref().map(|d| d.value.clone()),
    }
}

fn list_runs(context: &Context, json: bool) -> Result<u8, CliError> {
    let state = context.existing_state()?;
    let mut summaries = Vec::new();
    for run in state.runs()? {
        // A run that cannot be read does not keep the others from being listed.
        let loaded = match load(&state, &run) {
            Ok(loaded) => loaded,
            Err(RunError::Journal(JournalError::Missing { .. })) => continue,
            Err(_) => {
                let note = format!("note: run {run} cannot be read; see `runbook verify {run}`\n");
                // Nobody may be reading.
                let _ = std::io::stderr().write_all(note.as_bytes());
                continue;
            }
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
