//! `runbook resume` and `runbook rollback`.

use crate::model::RunOutcome;
use crate::report::History;
use crate::report::closing::to_take_back;
use crate::runner::{Identity, Intent, NewPlan, People, ResumeRequest, resume as take_up};

use super::args::{Resume, Rollback};
use super::context::Context;
use super::error::CliError;
use super::replan::replan;
use super::run::{close, confirm, people, program, reporters};

pub fn resume(context: &Context, args: &Resume) -> Result<u8, CliError> {
    let replan = match &args.replan {
        Some(playbook) => match replan(context, args, playbook)? {
            Some(new) => Some(new),
            None => return Ok(0),
        },
        None => None,
    };
    let people = people(context, &args.asking, args.json)?;
    go_on(context, &args.run, Intent::GoOn, (replan, people), args.json)
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
    let people = people(context, &args.asking, args.json)?;
    go_on(context, &args.run, Intent::RollBack, (None, people), args.json)
}

pub fn drive(context: &Context, run: &str, intent: Intent, json: bool) -> Result<u8, CliError> {
    go_on(context, run, intent, (None, People::default()), json)
}

fn go_on(
    context: &Context,
    run: &str,
    intent: Intent,
    (replan, people): (Option<NewPlan>, People),
    json: bool,
) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(run)?;
    let finished = take_up(ResumeRequest {
        state_dir: &state_dir,
        run: &run,
        intent,
        replan,
        identity: Identity::current(),
        people,
        program: program()?,
        reporters: &mut |run, _| reporters(context, json, run),
    })?;
    close(context, &finished, json)
}
