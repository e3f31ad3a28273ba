//! `runbook cancel`: ends a run, whether a process drives it or not.

use crate::model::exit_code;
use crate::runner::control::{Line, Request};
use crate::runner::{Intent, load};

use super::args::Cancel;
use super::context::{Context, print};
use super::error::CliError;
use super::resume::drive;

pub fn cancel(context: &Context, args: &Cancel) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(&args.run)?;
    let loaded = load(&state_dir, &run)?;
    if let Some(end) = loaded.state.end() {
        return Err(CliError::refused(format!("run {run} ended {}", end.outcome))
            .hint(format!("see `runbook report {run}`")));
    }
    if let Some(mut line) = Line::open(&loaded.dir)? {
        let reply = line.ask(&Request::Cancel { force: args.force })?;
        if !reply.ok {
            return Err(CliError::refused(reply.message));
        }
        print(&format!("run {run} is being ended; see `runbook status {run}`\n"))?;
        return Ok(0);
    }
    // Nobody drives it: this process takes it up, only to end it.
    match drive(context, run.as_str(), Intent::Cancel, false) {
        Ok(_) => Ok(0),
        Err(error) if error.code == exit_code::REFUSED && loaded.is_driven() => {
            Err(error.hint("a process drives it but does not listen; try again in a moment"))
        }
        Err(error) => Err(error),
    }
}
