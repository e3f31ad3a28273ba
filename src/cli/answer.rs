//! `runbook approve`, `reject`, `choose` and `done`: a person answers what a run asks, from another terminal or as
//! another user of the machine.

use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::journal::StateDir;
use crate::model::{Answer, QuestionKind, Reply, RunId};
use crate::report::write_question;
use crate::runner::control::{Answering, Evidence, LARGEST_EVIDENCE, Line, Open, Request, named_runs};
use crate::runner::{answer_undriven, questions};

use super::args::{Approve, ChooseOption, Reject};
use super::context::{Context, print, print_with};
use super::error::CliError;

pub fn approve(context: &Context, args: &Approve) -> Result<u8, CliError> {
    let said = Said { reason: args.reason.as_deref(), evidence: args.evidence.as_deref() };
    answer(context, &args.run, args.step.as_deref(), said, |open| match open.question.kind {
        QuestionKind::Approval | QuestionKind::Undo => Ok(Answer::Approve),
        _ => Err(other_command(open)),
    })
}

pub fn reject(context: &Context, args: &Reject) -> Result<u8, CliError> {
    let said = Said { reason: Some(&args.reason), evidence: None };
    answer(context, &args.run, args.step.as_deref(), said, |open| match open.question.kind {
        QuestionKind::Approval | QuestionKind::Undo => Ok(Answer::Reject),
        QuestionKind::Manual => Ok(Answer::NotDone),
        _ => Err(other_command(open)),
    })
}

pub fn choose(context: &Context, args: &ChooseOption) -> Result<u8, CliError> {
    let said = Said { reason: args.reason.as_deref(), evidence: args.evidence.as_deref() };
    answer(context, &args.run, Some(&args.step), said, |open| match open.question.kind {
        QuestionKind::Choice | QuestionKind::Failure => match open.question.read(&args.option) {
            Ok(reply) => Ok(reply.answer),
            Err(why) => Err(CliError::usage(why)),
        },
        _ => Err(other_command(open)),
    })
}

pub fn done(context: &Context, args: &Approve) -> Result<u8, CliError> {
    let said = Said { reason: args.reason.as_deref(), evidence: args.evidence.as_deref() };
    answer(context, &args.run, args.step.as_deref(), said, |open| match open.question.kind {
        QuestionKind::Manual | QuestionKind::Failure => Ok(Answer::Done),
        _ => Err(other_command(open)),
    })
}

/// What goes with an answer.
#[derive(Clone, Copy)]
struct Said<'a> {
    reason: Option<&'a str>,
    evidence: Option<&'a Path>,
}

fn other_command(open: &Open) -> CliError {
    let (what, how) = match open.question.kind {
        QuestionKind::Approval | QuestionKind::Undo => {
            ("asks for approval", "`runbook approve` or `runbook reject`")
        }
        QuestionKind::Choice => ("offers a choice", "`runbook choose`"),
        QuestionKind::Manual => ("is done by hand", "`runbook done` or `runbook reject`"),
        QuestionKind::Failure => {
            ("has failed", "`runbook choose RUN STEP retry`, skip, done, rollback or abort")
        }
    };
    CliError::usage(format!("step {} {what}", open.step)).hint(format!("answer with {how}"))
}

/// Where the answer goes.
pub(super) enum Way {
    /// To the process that drives the run.
    Line(Line),
    /// Into the journal of a run of one's own that nobody drives.
    Journal(Box<(StateDir, RunId)>),
}

fn answer(
    context: &Context,
    run: &str,
    step: Option<&str>,
    said: Said<'_>,
    choose: impl FnOnce(&Open) -> Result<Answer, CliError>,
) -> Result<u8, CliError> {
    let (name, mut way) = find(context, run)?;
    let open = match &mut way {
        Way::Line(line) => line.ask(&Request::Questions)?.questions,
        Way::Journal(place) => questions(&place.0, &place.1)?,
    };
    let open = pick(open, step, &name)?;
    let answer = choose(&open)?;
    print_with(|out| {
        write_question(out, &open.step, &open.title, &open.question, &open.agreed, context.look)
    })?;
    let answering = Answering {
        step: open.step.clone(),
        binding: open.binding.clone(),
        reply: Reply { answer, comment: said.reason.map(str::to_owned), evidence: None },
        evidence: said.evidence.map(read_evidence).transpose()?,
    };
    let (reply, next) = match &mut way {
        Way::Line(line) => (line.ask(&Request::Answer(Box::new(answering)))?, None),
        Way::Journal(place) => (
            answer_undriven(&place.0, &place.1, answering)?,
            Some(format!("; go on with `runbook resume {name}`")),
        ),
    };
    if !reply.ok {
        return Err(CliError::refused(reply.message).hint("the refusal stands in the log"));
    }
    print(&format!("{}{}\n", reply.message, next.unwrap_or_default()))?;
    Ok(0)
}

/// One's own run first; then one of somebody else on this machine.
pub(super) fn find(context: &Context, text: &str) -> Result<(String, Way), CliError> {
    let own = context.find_run(text);
    if let Ok((state_dir, run)) = own {
        let dir = state_dir.run(&run)?;
        let name = run.to_string();
        return Ok((
            name,
            match Line::open(&dir)? {
                Some(line) => Way::Line(line),
                None => Way::Journal(Box::new((state_dir, run))),
            },
        ));
    }
    let named: Vec<String> = named_runs().into_iter().filter(|name| name.starts_with(text)).collect();
    let line = match named.as_slice() {
        [one] => Line::open_named(one)?.map(|line| (one.clone(), line)),
        _ => None,
    };
    match (own, line) {
        (_, Some((name, line))) => {
            if let Some(owner) = line.owner() {
                print(&format!("run {name}, driven by {owner}\n"))?;
            }
            Ok((name, Way::Line(line)))
        }
        (Err(error), None) if named.len() > 1 => {
            Err(error.hint(format!("runs of others on this machine: {}", named.join(", "))))
        }
        (Err(error), None) => Err(error),
        (Ok(_), None) => Err(CliError::usage(format!("there is no run {text}"))),
    }
}

/// The question that is meant.
fn pick(open: Vec<Open>, step: Option<&str>, run: &str) -> Result<Open, CliError> {
    let waiting: Vec<String> = open.iter().map(|o| o.step.to_string()).collect();
    let mut fitting = open.into_iter().filter(|o| step.is_none_or(|step| o.step.as_str() == step));
    match (fitting.next(), fitting.next(), waiting.as_slice()) {
        (Some(one), None, _) => Ok(one),
        (Some(_), Some(_), waiting) => {
            Err(CliError::usage(format!("several steps of run {run} ask something"))
                .hint(format!("name one: {}", waiting.join(", "))))
        }
        (None, _, []) => Err(CliError::refused(format!("run {run} asks you nothing"))
            .hint(format!("see where it stands with `runbook status {run}`"))),
        (None, _, waiting) => {
            let step = step.unwrap_or_default();
            Err(CliError::refused(format!("step {step} asks you nothing"))
                .hint(format!("these do: {}", waiting.join(", "))))
        }
    }
}

fn read_evidence(path: &Path) -> Result<Evidence, CliError> {
    let problem = |e: std::io::Error| CliError::io(path.display(), &e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(problem)?;
    file.take(LARGEST_EVIDENCE + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > LARGEST_EVIDENCE {
        return Err(CliError::usage(format!(
            "{} is larger than {} MiB",
            path.display(),
            LARGEST_EVIDENCE >> 20
        )));
    }
    Ok(Evidence { name: path.display().to_string(), base64: BASE64_STANDARD.encode(&bytes) })
}
