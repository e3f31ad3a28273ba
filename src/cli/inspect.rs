//! `runbook status`, `runbook brief` and `runbook verify`.

use crate::journal::{self, Ending, Integrity, PlanCheck, Truncation, Verification};
use crate::model::exit_code;
use crate::report::{Brief, History, Status as View};
use crate::runner::wall_now;

use super::args::{Status, Verify};
use super::context::{Context, print, print_json, print_with};
use super::error::CliError;

pub fn status(context: &Context, args: &Status) -> Result<u8, CliError> {
    let loaded = context.load_run(&args.run)?;
    let history = History::of(&loaded.plan, &loaded.records);
    let driven = loaded.is_driven();
    let view = View::of(&loaded.plan, &history, Some(wall_now()), Some(driven));
    if args.json { print_json(&view) } else { print_with(|out| view.write(out, context.look)) }?;
    Ok(0)
}

pub fn brief(context: &Context, args: &Status) -> Result<u8, CliError> {
    let loaded = context.load_run(&args.run)?;
    let driven = loaded.is_driven();
    let view = Brief::of(&loaded.plan, &loaded.records, Some(wall_now()), Some(driven));
    if args.json { print_json(&view) } else { print_with(|out| view.write(out, context.look)) }?;
    Ok(0)
}

pub fn verify(context: &Context, args: &Verify) -> Result<u8, CliError> {
    let (state, run) = context.find_run(&args.run)?;
    let dir = state.run(&run)?;
    let verdict = journal::verify(&dir, args.head.as_deref());
    print(&text(&verdict, run.as_str()))?;
    Ok(if verdict.is_good() { 0 } else { exit_code::REFUSED })
}

fn text(v: &Verification, run: &str) -> String {
    let integrity = match &v.integrity {
        Integrity::Intact => "intact: every record is as it was written, in its place".to_owned(),
        Integrity::Broken(why) => format!("BROKEN: {why}"),
    };
    let plan = match &v.completeness.plan {
        PlanCheck::Matches => "the plan is what was recorded".to_owned(),
        PlanCheck::Differs { file, .. } => format!("{file} is NOT the plan that was recorded"),
        PlanCheck::Unreadable(why) => format!("the plan cannot be read: {why}"),
        PlanCheck::NotRecorded => "the start is not recorded".to_owned(),
    };
    let ending = match v.completeness.ending {
        Ending::Ended(outcome) => format!("the run ended {outcome}"),
        Ending::Open => "the run has not ended".to_owned(),
    };
    let other =
        if v.completeness.right_run || v.records == 0 { "" } else { "; it is NOT this run's journal" };
    let torn = match v.completeness.torn {
        Some(bytes) => format!("; {bytes} bytes of an unfinished record follow"),
        None => String::new(),
    };
    let truncation = match &v.truncation {
        Truncation::CannotBeKnown => {
            "cannot be known from the file alone; give the head you were shown with --head".to_owned()
        }
        Truncation::None => "nothing is missing: the head is that of the last record".to_owned(),
        Truncation::GrownSince { seq, later } => {
            format!("nothing is missing up to record {seq}, which has this head; {later} follow it")
        }
        Truncation::HeadNotFound => {
            "records are MISSING or the journal was REWRITTEN: no record has this head".to_owned()
        }
    };
    format!(
        "run          {run}\nintegrity    {integrity}\ncompleteness {ending}; {plan}{other}{torn}\n\
         truncation   {truncation}\nrecords      {}\nhead         {}\n",
        v.records, v.head
    )
}
