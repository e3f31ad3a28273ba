//! What can be typed. Completions and man pages follow from here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const AFTER: &str = "\
First: `runbook list`, `runbook plan PLAYBOOK`, then `runbook run PLAYBOOK`. When a run has stopped: `runbook status`.

Exit codes: 0 recovered, 1 failed, 2 wrong use or invalid playbook, 3 waiting for a person, 4 degraded, 5 in doubt, \
6 rolled back, 7 stuck, 8 refused, 74 the journal could not be written, 130 cancelled.

A RUN is a run's id, the beginning of one, a playbook's name (its newest run), or `last`.";

/// Carries out disaster-recovery playbooks, and never lies about what happened.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, after_help = AFTER, max_term_width = 100)]
pub struct Args {
    /// The folder that holds the runs [default: `state:` of runbook.yaml, else the user's state folder]
    #[arg(
        long,
        global = true,
        env = "RUNBOOK_STATE",
        hide_env_values = true,
        value_name = "FOLDER",
        display_order = 900,
        value_parser = clap::builder::OsStringValueParser::new()
    )]
    pub state: Option<OsString>,
    /// Show the tool's own diagnostics on stderr
    #[arg(long, global = true, display_order = 901)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the playbooks that can be run, or past runs
    List(List),
    /// Show what a playbook is for, its parameters and its steps
    Show(Named),
    /// Show what a run would do; nothing is executed
    Plan(Plan),
    /// Carry out a playbook
    Run(Run),
    /// Show where a run stands
    Status(Status),
    /// Show on one screen what whoever comes to a run has to know
    Brief(Status),
    /// Show a run's journal as a timeline
    Log(Log),
    /// Go on with a run that stopped, failed or was killed; what succeeded is not repeated
    Resume(Resume),
    /// Watch a run that another process drives; Ctrl-C ends the run
    Attach(Attach),
    /// Agree to what a step asks
    Approve(Approve),
    /// Say no to what a step asks, or that it could not be done
    Reject(Reject),
    /// Choose one of the ways to go on that a step offers
    Choose(ChooseOption),
    /// Say that a step that people do is done
    Done(Approve),
    /// Write something into a run's log
    Note(Note),
    /// Say who leads from here on
    Handoff(HandOver),
    /// Say that you have taken notice of the incident
    Ack(Acknowledge),
    /// Take back what a stopped run did, in reverse order
    Rollback(Rollback),
    /// Say what became of a step when nobody but you can know
    Resolve(Resolve),
    /// End a run; what it has in flight is stopped
    Cancel(Cancel),
    /// Write the incident report of a run
    Report(Report),
    /// Check that a run's journal is whole and unchanged
    Verify(Verify),
    /// Prove a playbook on a world that is broken on purpose
    Drill(Drill),
    /// Check that what a run needs is there; nothing is changed
    Doctor(Doctor),
    /// Check playbooks; every mistake is reported with its place
    Lint(Lint),
    /// Draw a playbook's steps as a graph
    Graph(Graph),
    /// Print a playbook as a checklist for paper
    Print(Print),
    /// List the channels that tell people of a run, or try one
    Channels(Channels),
    /// Write a commented playbook and a runbook.yaml to start from
    Init(Init),
    /// Print the JSON schema of the playbook format, or its reference page
    Schema(Schema),
    /// Print shell completions
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// List the runs instead of the playbooks
    #[arg(long)]
    pub runs: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// A playbook's name, or a path
    pub playbook: String,
}

#[derive(Debug, clap::Args)]
pub struct Lint {
    /// Names or paths; all that can be found if none is given
    pub playbooks: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
    /// Fail on warnings as well
    #[arg(long)]
    pub strict: bool,
}

/// Parameters and environment.
#[derive(Debug, clap::Args)]
pub struct Values {
    /// The environment whose parameters are used
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// A parameter; a relative path counts from where you stand
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Parameters from a YAML or JSON file; -p beats it
    #[arg(long, value_name = "FILE")]
    pub params_file: Option<PathBuf>,
}

impl Values {
    pub fn are_given(&self) -> bool {
        self.env.is_some() || !self.params.is_empty() || self.params_file.is_some()
    }
}

#[derive(Debug, clap::Args)]
pub struct Plan {
    /// A playbook's name, or a path
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Mermaid,
    Dot,
    Text,
}

#[derive(Debug, clap::Args)]
pub struct Graph {
    /// A playbook's name, or a path
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrintFormat {
    Text,
    Md,
    Html,
}

#[derive(Debug, clap::Args)]
pub struct Print {
    /// A playbook's name, or a path
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    /// Plain text of 80 columns, Markdown, or one HTML file to print
    #[arg(long, value_enum, default_value = "text")]
    pub format: PrintFormat,
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// A playbook's name, or a path
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    /// The name of the guarded environment, instead of typing it at the prompt
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Show the plan and stop: nothing is executed or written
    #[arg(long)]
    pub dry_run: bool,
    /// Start without asking, also when steps cannot be taken back
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// When the incident began, RFC 3339 or a duration ago (`20m`); the RTO counts from then [default: now]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    #[command(flatten)]
    pub asking: Asking,
    /// Print each record as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Resume {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// Go on with the playbook as it stands now; shows what the edit changes, and asks
    #[arg(long, value_name = "PLAYBOOK", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    pub replan: Option<String>,
    /// What was done in this step stands, although the edit changes it
    #[arg(long, value_name = "STEP", requires = "replan")]
    pub accept: Vec<String>,
    /// Show what the edit changes and stop: nothing is executed or written
    #[arg(long, requires = "replan")]
    pub dry_run: bool,
    /// Go on with the edit without asking
    #[arg(short = 'y', long, requires = "replan")]
    pub yes: bool,
    #[command(flatten)]
    pub asking: Asking,
    /// Print each record as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Attach {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// Print each record as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// Start without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[command(flatten)]
    pub asking: Asking,
    /// Print each record as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Approve {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// The step that asks [default: the only one that does]
    pub step: Option<String>,
    /// A note; it stands in the log and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// A file that shows it; a copy and its checksum are kept with the run
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Reject {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// The step that asks [default: the only one that does]
    pub step: Option<String>,
    /// Why not; it stands in the log and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, clap::Args)]
pub struct ChooseOption {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// The step that asks
    pub step: String,
    /// One of its options; of a failed step: retry, skip, done, rollback or abort
    pub option: String,
    /// A note; it stands in the log and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// A file that shows it; a copy and its checksum are kept with the run
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Note {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// What the log and the report shall say
    pub text: String,
}

#[derive(Debug, clap::Args)]
pub struct HandOver {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// Who is the incident commander now
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// What they have to know; it stands in the log and the report
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Acknowledge {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
}

/// How people are reached who are asked something.
#[derive(Debug, clap::Args)]
pub struct Asking {
    /// Answers to the steps' questions from a YAML file, as `step: answer`
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Without a terminal: wait for answers from others instead of ending with exit code 3
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("resolution").required(true))]
pub struct Resolve {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// The step's id
    pub step: String,
    /// The effect is there; the step's `verify` still has to hold
    #[arg(long, group = "resolution")]
    pub done: bool,
    /// The effect is not there; the step starts again
    #[arg(long, group = "resolution")]
    pub not_done: bool,
    /// Start the step again whatever became of it
    #[arg(long, group = "resolution")]
    pub retry: bool,
    /// The step is not needed
    #[arg(long, group = "resolution")]
    pub skip: bool,
    /// Why you know; it stands in the log and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// A file that shows it; a copy and its checksum are kept with the run
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    pub run: String,
    /// Kill what runs at once
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct Status {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Log {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// Go on until the run ends
    #[arg(short, long)]
    pub follow: bool,
    /// Each record as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Md,
    Json,
    Html,
}

#[derive(Debug, clap::Args)]
pub struct Report {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// Markdown, JSON for programs, or one self-contained HTML file
    #[arg(long, value_enum, default_value = "md")]
    pub format: ReportFormat,
    /// Write it to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// A run's id or the beginning of one, a playbook's name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// The head that was shown at the run's end: finds what was cut off or rewritten
    #[arg(long, value_name = "HASH")]
    pub head: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Drill {
    /// A playbook's name, or a path
    pub playbook: String,
    /// Ask people what the playbook asks, instead of taking the drill's `answers`; see `runbook approve`, too
    #[arg(long)]
    pub ask: bool,
    /// Keep the drill's world for a look at it
    #[arg(long)]
    pub keep: bool,
    /// Break the executor itself: `step=ID:fail`, `step=ID:timeout`, `step=ID:unknown`
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// Only this one of the playbook's drills [default: all of them, one after the other]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Where the drill's world is built [default: a fresh temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// This process is in namespaces of its own already
    #[arg(long, hide = true)]
    pub inside: bool,
}

#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// A playbook's name, or a path; without one, what all of them share is checked
    pub playbook: Option<String>,
    #[command(flatten)]
    pub values: Values,
    /// Do not run the commands of secrets
    #[arg(long)]
    pub no_secrets: bool,
    /// Fail on warnings as well
    #[arg(long)]
    pub strict: bool,
    /// What one check may take [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Channels {
    #[command(subcommand)]
    pub command: Option<ChannelsCommand>,
}

#[derive(Debug, Subcommand)]
pub enum ChannelsCommand {
    /// List the channels of runbook.yaml, or those that a playbook's run would have
    List(ChannelsList),
    /// Send a test notice and show what became of it; exit 1 if it was not delivered
    Test(ChannelsTest),
}

#[derive(Debug, Default, clap::Args)]
pub struct ChannelsList {
    /// A playbook's name, or a path
    pub playbook: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ChannelsTest {
    /// The channel's name
    pub name: String,
    /// The playbook that has the channel, if it is not in runbook.yaml
    pub playbook: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Init {
    /// Where to write [default: here]
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// The schema of a playbook
    Playbook,
    /// The schema of runbook.yaml
    Config,
    /// The reference page, in Markdown
    Reference,
}

#[derive(Debug, clap::Args)]
pub struct Schema {
    /// What to print
    #[arg(value_enum, default_value = "playbook")]
    pub kind: SchemaKind,
}

#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell they are for
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write runbook.1 and a page for each command into this folder
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}
