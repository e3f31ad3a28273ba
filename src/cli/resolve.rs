//! `runbook resolve`: a person says what became of a step. The next `resume` acts on it.

use std::io::Read;

use crate::model::{Event, Record, Resolution, RunOutcome, StepId, StepOutcome};
use crate::runner::{Identity, load, open_undriven, store_evidence, wall_now};

use super::args::Resolve;
use super::context::{Context, print};
use super::error::CliError;

/// The largest file that is kept as evidence, in bytes.
const LARGEST_EVIDENCE: u64 = 64 << 20;

pub fn resolve(context: &Context, args: &Resolve) -> Result<u8, CliError> {
    let (state_dir, run) = context.find_run(&args.run)?;
    let dir = state_dir.run(&run)?;
    let _lock = dir.try_lock()?;
    let loaded = load(&state_dir, &run)?;
    let step = StepId::parse(&item_id(&args.step)).ok().and_then(|id| Some((loaded.plan.find(&id)?, id)));
    let Some((ix, step)) = step else {
        let known: Vec<&str> = loaded.plan.steps.iter().map(|s| s.id.as_str()).collect();
        return Err(CliError::usage(format!("run {run} has no step {:?}", args.step))
            .hint(format!("its steps: {}", known.join(", "))));
    };
    check(&loaded.state, ix, &run, &step)?;
    if !loaded.state.may_be_resolved(&loaded.plan, ix) {
        let over = match loaded.plan.foreach_around(ix) {
            Some(group) => format!("step {} is done without {step}", loaded.plan.steps[group].id),
            None => format!("the phase of step {step} is over"),
        };
        return Err(CliError::refused(format!("{over}, and the run has gone on")));
    }
    if args.reason.trim().is_empty() {
        return Err(CliError::usage("--reason is empty").hint("say why you know; it stands in the report"));
    }
    let evidence = match &args.evidence {
        Some(path) => Some(keep_evidence(&loaded.dir, path, &step)?),
        None => None,
    };
    let resolution = match (args.done, args.not_done, args.retry) {
        (true, _, _) => Resolution::Done,
        (_, true, _) => Resolution::NotDone,
        (_, _, true) => Resolution::Retry,
        _ => Resolution::Skip,
    };
    let event = Event::StepResolved {
        step: step.clone(),
        resolution,
        by: Identity::current().operator,
        reason: args.reason.clone(),
        evidence,
    };
    let mut state = loaded.state;
    let mut journal = open_undriven(&dir, &loaded.plan, &mut state)?;
    if state.start.is_none() {
        return Err(CliError::refused(format!("run {run} has no record")));
    }
    let (seq, epoch, t, at) = (state.seq, state.epoch, state.last_t, state.last_at);
    let now = wall_now();
    let t = t.saturating_add(now.since(at));
    journal.append(&[Record { seq: seq + 1, epoch, t, at: now, event }])?;
    print(&format!("recorded; go on with `runbook resume {run}`\n"))?;
    Ok(0)
}

/// `step[2]`, as an item of a list may be called, is `step/2`.
fn item_id(typed: &str) -> String {
    match typed.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
        Some((step, number)) => format!("{step}/{number}"),
        None => typed.to_owned(),
    }
}

/// Only what a person can know better than the journal can be resolved.
fn check(
    state: &crate::engine::State,
    ix: usize,
    run: &crate::model::RunId,
    step: &StepId,
) -> Result<(), CliError> {
    let over = state.end().map(|e| e.outcome);
    if matches!(over, Some(RunOutcome::Recovered | RunOutcome::Degraded | RunOutcome::RolledBack)) {
        return Err(CliError::refused(format!("run {run} is over; nothing is left to resolve")));
    }
    let in_flight = state.in_flight.values().any(|f| f.step == ix);
    match state.steps[ix].outcome() {
        _ if in_flight => Err(CliError::refused(format!(
            "step {step} was running when the run stopped, and how it ended may still be found out"
        ))
        .hint(format!("first try `runbook resume {run}`"))),
        Some(StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Undone) => {
            Err(CliError::refused(format!("step {step} is done; nothing is in doubt")))
        }
        _ => Ok(()),
    }
}

/// Copies the file into the run's folder and gives what the record says of it.
fn keep_evidence(
    dir: &crate::journal::RunDir,
    path: &std::path::Path,
    step: &StepId,
) -> Result<String, CliError> {
    let problem = |e: std::io::Error| CliError::io(path.display(), &e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(problem)?;
    file.take(LARGEST_EVIDENCE + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > LARGEST_EVIDENCE {
        return Err(CliError::usage(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(store_evidence(dir, step, &path.display().to_string(), &bytes)?)
}
