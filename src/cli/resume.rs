//! `runbook resume` and `runbook rollback`.

use crate::runner::{Identity, Intent, ResumeRequest, resume as go_on};

use super::args::Resume;
use super::context::Context;
use super::error::CliError;
use super::run::{close, program, reporters};

pub fn resume(context: &Context, args: &Resume) -> Result<u8, CliError> {
    drive(context, &args.run, Intent::GoOn, args.json)
}

pub fn rollback(context: &Context, args: &Resume) -> Result<u8, CliError> {
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
