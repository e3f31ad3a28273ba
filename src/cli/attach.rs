//! `runbook attach`: watch a run that another process drives, answer what it asks, and end it with Ctrl-C.

use crate::runner::{Watched, attach as watch};

use super::args::Attach;
use super::context::{Context, print};
use super::error::CliError;
use super::run::reporters;

pub fn attach(context: &Context, args: &Attach) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(&args.run)?;
    let here = context.interactive && context.draws && !args.json;
    match watch(&state_dir, &run, here, &mut |run, _| reporters(context, args.json, run))? {
        Watched::Ended(end) => {
            if !args.json {
                print(&format!("run {run} ended {}; see `runbook report {run}`\n", end.outcome))?;
            }
            Ok(end.outcome.exit_code())
        }
        // As a shell counts the end by SIGTERM.
        Watched::Left => Ok(143),
        Watched::Abandoned => Err(CliError::refused(format!("no process drives run {run}"))
            .hint(format!("go on with `runbook resume {run}`"))),
    }
}
