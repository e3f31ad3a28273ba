//! The command line: arguments, one file per command, errors and exit codes at the edge. Nobody uses this module.

mod answer;
mod args;
mod attach;
mod browse;
mod cancel;
mod channels;
mod context;
mod doctor;
mod drill;
mod error;
mod follow;
mod init;
mod inspect;
mod lint;
mod meta;
mod print;
mod remark;
mod replan;
mod report;
mod resolve;
mod resume;
mod run;
mod views;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use args::{Args, Command};
use context::Context;
use error::CliError;

/// Runs the command line and gives the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors to the parser; they exit with 0. A closed pipe is no fault.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(crate::model::exit_code::USAGE);
        }
    };
    init_diagnostics(args.verbose);
    match dispatch(args) {
        Ok(code) => code,
        Err(error) => {
            // Nobody may be reading; the exit code says it too.
            let _ = write!(std::io::stderr(), "{error}");
            error.code
        }
    }
}

/// Whether these arguments, without the program's name, are a command line that can be typed; nothing is carried out.
pub fn check_usage(arguments: &[&str]) -> Result<(), String> {
    let line = std::iter::once(&"runbook").chain(arguments);
    Args::try_parse_from(line).map(|_| ()).map_err(|e| e.to_string())
}

/// The tool's own diagnostics, on stderr and only when asked for; never the incident's record.
fn init_diagnostics(verbose: bool) {
    let asked = std::env::var("RUNBOOK_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let targets = match (asked, verbose) {
        (Some(targets), _) => targets,
        (None, true) => Targets::new().with_target("runbook", LevelFilter::DEBUG),
        (None, false) => return,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(targets);
    // A second call (in tests of this module) finds the first one's subscriber: as good.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

fn dispatch(args: Args) -> Result<u8, CliError> {
    let context = Context::new(&args)?;
    match args.command {
        Command::List(list) => browse::list(&context, &list),
        Command::Show(named) => browse::show(&context, &named),
        Command::Lint(lint) => lint::lint(&context, &lint),
        Command::Plan(plan) => views::plan(&context, &plan),
        Command::Graph(graph) => views::graph(&context, &graph),
        Command::Print(print) => print::print(&context, &print),
        Command::Run(run) => run::run(&context, &run),
        Command::Resume(resume) => resume::resume(&context, &resume),
        Command::Attach(attach) => attach::attach(&context, &attach),
        Command::Approve(approve) => answer::approve(&context, &approve),
        Command::Reject(reject) => answer::reject(&context, &reject),
        Command::Choose(choose) => answer::choose(&context, &choose),
        Command::Done(done) => answer::done(&context, &done),
        Command::Rollback(resume) => resume::rollback(&context, &resume),
        Command::Resolve(resolve) => resolve::resolve(&context, &resolve),
        Command::Cancel(cancel) => cancel::cancel(&context, &cancel),
        Command::Note(note) => remark::note(&context, &note),
        Command::Handoff(handoff) => remark::handoff(&context, &handoff),
        Command::Ack(ack) => remark::ack(&context, &ack),
        Command::Status(status) => inspect::status(&context, &status),
        Command::Brief(brief) => inspect::brief(&context, &brief),
        Command::Log(log) => follow::log(&context, &log),
        Command::Report(report) => report::report(&context, &report),
        Command::Verify(verify) => inspect::verify(&context, &verify),
        Command::Drill(drill) => drill::drill(&context, &drill),
        Command::Doctor(doctor) => doctor::doctor(&context, &doctor),
        Command::Channels(channels) => channels::channels(&context, channels),
        Command::Init(init) => init::init(&context, &init),
        Command::Schema(schema) => meta::schema(&context, &schema),
        Command::Completions(shell) => meta::completions(&shell),
        Command::Man(man) => meta::man(&man),
    }
}
