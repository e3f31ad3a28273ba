//! `runbook note`, `handoff` and `ack`: words for the log that change nothing of what runs.

use crate::runner::control::Request;
use crate::runner::{load, remark_undriven};

use super::answer::{Way, find};
use super::args::{Acknowledge, HandOver, Note};
use super::context::{Context, print};
use super::error::CliError;
use super::run::write_report;

pub fn note(context: &Context, args: &Note) -> Result<u8, CliError> {
    remark(context, &args.run, Request::Note { text: args.text.clone() })
}

pub fn handoff(context: &Context, args: &HandOver) -> Result<u8, CliError> {
    remark(context, &args.run, Request::HandOver { to: args.to.clone(), note: args.note.clone() })
}

pub fn ack(context: &Context, args: &Acknowledge) -> Result<u8, CliError> {
    remark(context, &args.run, Request::Acknowledge)
}

fn remark(context: &Context, run: &str, said: Request) -> Result<u8, CliError> {
    let (_, way) = find(context, run)?;
    let reply = match way {
        Way::Line(mut line) => line.ask(&said)?,
        Way::Journal(place) => {
            let reply = remark_undriven(&place.0, &place.1, said)?;
            let loaded = load(&place.0, &place.1)?;
            if reply.ok && loaded.state.end().is_some() {
                // The report that was written at the end is made anew; the word is recorded whether or not it can be.
                let _ = write_report(&loaded).inspect_err(|error| tracing::warn!("no report: {error}"));
            }
            reply
        }
    };
    if !reply.ok {
        return Err(CliError::refused(reply.message));
    }
    print(&format!("{}\n", reply.message))?;
    Ok(0)
}
