//! `runbook log`: the journal as a timeline, also while it grows.

use std::time::Duration;

use crate::journal::Tail;
use crate::model::{Event, Record};
use crate::report::json::record_line;
use crate::report::log_text::LogText;
use crate::report::timeline::Timeline;
use crate::runner::load;

use super::args::Log;
use super::context::{Context, print};
use super::error::CliError;

/// How often a journal that grows is looked at.
const EVERY: Duration = Duration::from_millis(200);

pub fn log(context: &Context, args: &Log) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(&args.run)?;
    let loaded = load(&state_dir, &run)?;
    let mut tail = Tail::open(&loaded.dir)?;
    let mut timeline = Timeline::new();
    let mut text = LogText::new(&loaded.plan, context.look);
    let (mut abandoned, mut over) = (false, false);
    loop {
        let records = tail.next_records()?;
        let mut out = String::new();
        for record in &records {
            if args.json {
                let line = record_line(record).map_err(|e| CliError::io("stdout", &e.into()))?;
                out.push_str(&line);
                out.push('\n');
            } else {
                text.push(&timeline.entry(record), &mut out);
            }
        }
        // What people say after the end does not begin the run anew.
        over = records.iter().rev().find(|r| !r.event.is_remark()).map_or(over, ends);
        if over || !args.follow {
            text.flush(None, &mut out);
        }
        print(&out)?;
        if over || !args.follow {
            return Ok(0);
        }
        if records.is_empty() && !loaded.is_driven() {
            // It may have ended between the two looks.
            if abandoned {
                return Err(CliError::refused(format!("no process drives run {run} any more"))
                    .hint(format!("go on with `runbook resume {run}`")));
            }
            abandoned = true;
        }
        std::thread::sleep(EVERY);
    }
}

fn ends(record: &Record) -> bool {
    matches!(record.event, Event::RunEnded(_))
}
