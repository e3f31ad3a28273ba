//! `runbook resume --replan`: the edited playbook, what it changes, and whether the person wants that.

use serde_json::Value;

use crate::engine::Replan;
use crate::model::StepId;
use crate::plan::{CompileError, Plan, Request};
use crate::playbook::load::Loaded;
use crate::report::write_difference;
use crate::runner::{LoadedRun, NewPlan};

use super::args::Resume;
use super::context::{Context, print, print_with, refused};
use super::error::CliError;
use super::run::confirm;

/// The plan to go on with. `None`: it was only to be shown.
pub fn replan(context: &Context, args: &Resume, playbook: &str) -> Result<Option<NewPlan>, CliError> {
    let run = context.load_run(&args.run)?;
    let name = if playbook.is_empty() { run.plan.playbook.name.as_str() } else { playbook };
    let loaded = context.load(name)?;
    let plan = compile(context, &run, &loaded).map_err(|e| refused(e, &loaded))?;
    let accepted = accepted(&args.accept, &plan)?;
    let replan = Replan::consider(&run.plan, &run.state, &plan, &run.records);
    if replan.difference.is_empty() {
        print_unless(args.json, "the playbook has not changed since the run was planned\n")?;
    } else if !args.json {
        print_with(|out| write_difference(out, &run.plan, &run.state, &replan, &accepted, context.look))?;
    }
    let id = run.dir.id();
    let open: Vec<&str> = replan.open_doubts(&accepted).map(|(step, _)| step.as_str()).collect();
    if !replan.refused.is_empty() {
        let why = replan.refused.join("\n  ");
        return Err(CliError::refused(format!("run {id} cannot go on with this plan:\n  {why}"))
            .hint("nothing was started or changed"));
    }
    if !open.is_empty() {
        let accept: Vec<String> = open.iter().map(|step| format!("--accept {step}")).collect();
        let why = format!("what was done in {} is not what stands there now", open.join(", "));
        return Err(CliError::refused(why).hint(format!(
            "if what was done stands all the same: `runbook resume {id} --replan {}`\n  \
             if it does not: `runbook rollback {id}`, and run the edited playbook anew",
            accept.join(" ")
        )));
    }
    if args.dry_run {
        return Ok(None);
    }
    if context.interactive && !args.yes && !args.json && !replan.difference.is_empty() {
        confirm("Go on with the edited playbook? [y/N] ")?;
    }
    let playbook_text = loaded.sources.files.first().map(|f| f.text.clone()).unwrap_or_default();
    Ok(Some(NewPlan { plan, playbook_text, accepted }))
}

/// With the values that the run was started with: an edit changes what is done, not what it is done to. Parameters that
/// are new take their defaults.
fn compile(context: &Context, run: &LoadedRun, loaded: &Loaded) -> Result<Plan, CompileError> {
    let declared = loaded.books.first().map(|book| &book.playbook.params);
    let is_declared = |name: &str| declared.into_iter().flatten().any(|p| p.name.value == name);
    let known = run.plan.scopes.first().map(|scope| scope.params.clone()).unwrap_or_default();
    let params: Vec<(String, Value)> = known.into_iter().filter(|(name, _)| is_declared(name)).collect();
    let environment = run.plan.environment.as_ref().map(|e| e.name.as_str());
    let request = Request { root: None, ..context.request(environment, &params) };
    crate::plan::compile(loaded, &request)
}

fn accepted(given: &[String], plan: &Plan) -> Result<Vec<StepId>, CliError> {
    let find = |text: &String| {
        let id = StepId::parse(text).ok().filter(|id| plan.find(id).is_some());
        id.ok_or_else(|| CliError::usage(format!("--accept {text}: the playbook has no such step")))
    };
    given.iter().map(find).collect()
}

fn print_unless(silent: bool, text: &str) -> Result<(), CliError> {
    if silent { Ok(()) } else { print(text) }
}
