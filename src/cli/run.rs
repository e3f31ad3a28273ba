//! `runbook run`: everything that can be refused is refused first, then the run is driven to its end.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::journal::{RunDir, StateError};
use crate::model::{RunId, StepId, Timestamp, parse_duration};
use crate::plan::Plan;
use crate::report::{Closing, History, Incident, Json, Live, Plain, Reporter, write_closing};
use crate::runner::{
    Finished, Identity, LoadedRun, People, Script, StartRequest, read_finished, start, wall_now,
};

use super::args::{Asking, Run};
use super::context::{Context, print, print_with, read_values};
use super::error::CliError;
use super::report::tail_of;
use super::views::show_plan;

pub fn run(context: &Context, args: &Run) -> Result<u8, CliError> {
    let loaded = context.load(&args.playbook)?;
    let plan = context.compile(&loaded, &args.values)?;
    if args.dry_run {
        show_plan(context, &plan, args.json)?;
        return Ok(0);
    }
    let incident_since = args.since.as_deref().map(parse_since).transpose()?;
    guard(context, args, &plan)?;
    let state_dir = context.state_dir()?;
    let text = loaded.sources.files.first().map(|f| f.text.clone()).unwrap_or_default();
    // A run may be long, and goes by the plan alone.
    drop(loaded);
    let finished = start(StartRequest {
        state_dir: &state_dir,
        plan,
        playbook_text: &text,
        identity: Identity::current(),
        people: people(context, &args.asking, args.json)?,
        incident_since,
        drill: false,
        program: program()?,
        reporters: &mut |run, _| reporters(context, args.json, run),
    })?;
    close(context, &finished, args.json)
}

/// How people are reached from here.
pub fn people(context: &Context, asking: &Asking, json: bool) -> Result<People, CliError> {
    let here = context.interactive && !json;
    let script = match &asking.answers {
        Some(file) => Script::of_operator(read_answers(file)?, &Identity::current().operator),
        None => Script::default(),
    };
    Ok(People { here: here && context.draws, waits: here || asking.wait, script })
}

fn read_answers(file: &Path) -> Result<BTreeMap<StepId, String>, CliError> {
    let mut answers = BTreeMap::new();
    for (step, answer) in read_values(file)? {
        let id = StepId::parse(&step).map_err(|e| {
            CliError::usage(format!("{}: {step}: {e}", file.display())).hint("nothing was started")
        })?;
        let text = match answer {
            Value::String(text) => text,
            Value::Bool(yes) => if yes { "yes" } else { "no" }.to_owned(),
            other => {
                let message = format!("{}: {step}: {other} is no answer", file.display());
                return Err(CliError::usage(message).hint("write `step: approve`; nothing was started"));
            }
        };
        answers.insert(id, text);
    }
    Ok(answers)
}

/// This program, to be started again as the keeper; also right after an upgrade has replaced the file.
pub fn program() -> Result<PathBuf, CliError> {
    Ok(PathBuf::from("/proc/self/exe"))
}

/// What a person must confirm before anything happens.
fn guard(context: &Context, args: &Run, plan: &Plan) -> Result<(), CliError> {
    if let Some(environment) = plan.environment.as_ref().filter(|e| e.confirm) {
        let name = &environment.name;
        match &args.confirm {
            Some(given) if given == name => return Ok(()),
            Some(given) => {
                return Err(CliError::refused(format!(
                    "--confirm {given} does not name the environment {name}"
                )));
            }
            None if context.interactive => {
                let question = format!("This runs {} in {name}. Type {name} to start: ", plan.playbook.name);
                return if ask(&question)?.trim() == name {
                    Ok(())
                } else {
                    Err(CliError::refused("the name does not agree; nothing was started"))
                };
            }
            None => {
                return Err(CliError::refused(format!("the environment {name} is guarded"))
                    .hint(format!("without a terminal, add --confirm {name}")));
            }
        }
    }
    let risky: Vec<&str> =
        plan.steps.iter().filter(|s| s.destructive || s.irreversible).map(|s| s.id.as_str()).collect();
    if risky.is_empty() || args.yes || !context.interactive {
        return Ok(());
    }
    let question = format!(
        "{} has steps that destroy or cannot be taken back: {}\nStart? [y/N] ",
        plan.playbook.name,
        risky.join(", ")
    );
    confirm(&question).map_err(|refused| {
        refused.hint("look at the plan with `runbook plan`; start without asking with --yes")
    })
}

/// Anything but a yes means no.
pub fn confirm(question: &str) -> Result<(), CliError> {
    match ask(question)?.trim() {
        "y" | "Y" | "yes" | "Yes" => Ok(()),
        _ => Err(CliError::refused("nothing was started")),
    }
}

fn ask(question: &str) -> Result<String, CliError> {
    print(question)?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| CliError::io("stdin", &e))?;
    Ok(answer)
}

fn parse_since(text: &str) -> Result<Timestamp, CliError> {
    let now = wall_now();
    let since = match Timestamp::parse(text) {
        Some(stamp) => stamp,
        None => {
            let ago = parse_duration(text).map_err(|why| {
                CliError::usage(format!("--since {text}: {why}"))
                    .hint("or a time such as 2026-11-21T03:12:00Z")
            })?;
            Timestamp(now.0 - i64::try_from(ago.0).unwrap_or(i64::MAX / 2))
        }
    };
    if since > now {
        return Err(CliError::usage(format!("--since {text} lies in the future")));
    }
    Ok(since)
}

/// The views of a run, as fits the terminal.
pub fn reporters(context: &Context, json: bool, run: &RunId) -> Vec<Box<dyn Reporter>> {
    if json {
        return vec![Box::new(Json::new(std::io::stdout()))];
    }
    if context.draws {
        return vec![Box::new(Live::stdout(context.look))];
    }
    // The run's name comes first, so that whoever reads a CI log can look the run up.
    // A closed pipe is met again, and borne, at the first record.
    let _ = writeln!(std::io::stdout(), "run {run}");
    vec![Box::new(Plain::new(std::io::stdout(), context.look))]
}

/// Writes the incident report, prints the closing block, and gives the exit code.
pub fn close(context: &Context, finished: &Finished, json: bool) -> Result<u8, CliError> {
    let code = finished.end.outcome.exit_code();
    let (dir, contents) = read_finished(&context.existing_state()?, finished)?;
    let (plan, head) = (&finished.plan, &contents.head);
    let history = History::of(plan, &contents.records);
    let tail = tail_of(dir.path());
    let incident = Incident::of(plan, &contents.records, &history, head, &tail);
    // A report that cannot be written never changes what the run did.
    let report =
        write_incident(&dir, &incident).inspect_err(|error| tracing::warn!("no report: {error}")).ok();
    if !json {
        let closing = Closing { head, report: report.as_deref(), look: context.look, tail: &tail };
        print_with(|out| write_closing(out, plan, &history, &closing))?;
    }
    // The process ends now: to give back piece by piece what a long run left would only take time.
    std::mem::forget((contents, history, incident));
    Ok(code)
}

/// Writes the report into the run's own folder; gives the HTML form's path.
pub fn write_report(run: &LoadedRun) -> Result<PathBuf, StateError> {
    let tail = tail_of(run.dir.path());
    write_incident(&run.dir, &Incident::build(&run.plan, &run.records, &run.head, &tail))
}

fn write_incident(dir: &RunDir, incident: &Incident) -> Result<PathBuf, StateError> {
    /// From so many steps on, one form is written while the other is.
    const MANY: usize = 100;
    let html = || dir.write_derived("report.html", incident.to_html().as_bytes());
    let written = std::thread::scope(|scope| {
        let builder = std::thread::Builder::new();
        let many = incident.steps.len() >= MANY;
        let beside = many.then(|| builder.spawn_scoped(scope, html)).and_then(Result::ok);
        dir.write_derived("report.md", incident.to_markdown().as_bytes())?;
        match beside {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => html(),
        }
    });
    written.map(|()| dir.path().join("report.html"))
}
