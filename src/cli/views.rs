//! `runbook plan` and `runbook graph`: looking changes nothing.

use crate::report::{self, PlanView};

use super::args::{Graph, GraphFormat, Plan};
use super::browse::compile_to_look;
use super::context::{Context, print, print_json, print_with};
use super::error::CliError;

pub fn plan(context: &Context, args: &Plan) -> Result<u8, CliError> {
    let loaded = context.load(&args.playbook)?;
    let plan = context.compile(&loaded, &args.values)?;
    show_plan(context, &plan, args.json)?;
    // The process ends here, and the system takes back all at once what would go piece by piece.
    std::mem::forget((loaded, plan));
    Ok(0)
}

pub fn show_plan(context: &Context, plan: &crate::plan::Plan, json: bool) -> Result<(), CliError> {
    let view = PlanView::of(plan, &crate::plan::Plan::hash(&plan.to_json()));
    if json { print_json(&view) } else { print_with(|out| view.write(out, context.look)) }?;
    // Nearly always the last thing that a process does.
    std::mem::forget(view);
    Ok(())
}

pub fn graph(context: &Context, args: &Graph) -> Result<u8, CliError> {
    let loaded = context.load(&args.playbook)?;
    let plan = compile_to_look(context, &loaded, Some(&args.values))?;
    let format = match args.format {
        GraphFormat::Mermaid => report::GraphFormat::Mermaid,
        GraphFormat::Dot => report::GraphFormat::Dot,
        GraphFormat::Text => report::GraphFormat::Text,
    };
    print(&report::graph(&plan, format, context.look))?;
    Ok(0)
}
