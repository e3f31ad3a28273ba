//! `runbook resume` and `runbook rollback`.

use crate::model::RunOutcome;
use crate::report::History;
use crate::report::closing::to_take_back;
use crate::runner::{Identity, Intent, ResumeRequest, resume as go_on};

use super::args::{Resume, Rollback};
use super::context::Context;
use super::error::CliError;
use super::run::{close, confirm, program, reporters};

pub fn resume(context: &Context, args: &Resume) -> Result<u8, CliError> {
    drive(context, &args.run, Intent::GoOn, args.json)
}

pub fn rollback(context: &Context, args: &Rollback) -> Result<u8, CliError> {
    let loaded = context.load_run(&args.run)?;
    let history = History::of(&loaded.plan, &loaded.records);
    let steps = to_take_back(&loaded.plan, &history);
    let run = loaded.dir.id();
    let outcome = history.end.as_ref().map(|end| end.outcome);
    if steps.is_empty() && matches!(outcome, Some(RunOutcome::Recovered | RunOutcome::Degraded)) {
        return Err(CliError::refused(format!("nothing that {run} did has a way back"))
            .hint(format!("see what each step did with `runbook log {run}`")));
    }
    if context.interactive && !args.yes && !args.json && !steps.is_empty() {
        confirm(&format!("This takes back what {run} did: {}\nStart? [y/N] ", steps.join(", ")))?;
    }
    drive(context, &args.run, Intent::RollBack, args.json)
}

pub fn drive(context: &Context, run: &str, intent: Intent, json: bool) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(run)?;
    let finished = go_on(ResumeRequest {
        state_dir: &state_dir,
        run: &run,
        intent,
        identity: Identity::current(),
        program: program()?,
        reporters: &mut |run, _| reporters(context, json, run),
    })?;
    close(context, &finished, json)
}
