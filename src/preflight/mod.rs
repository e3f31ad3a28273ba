//! Whether what a run needs is there: what `requires` names, and what `runbook doctor` looks at besides.
//!
//! Every check looks and changes nothing: no file is written (not even one that only proves that it can be), nothing is
//! sent over a connection, no lock is taken, no secret is shown. What is started is what the playbook itself names for
//! asking: a command with `--version`, the command of a secret, and what leads to a host, which a run starts as well.
//!
//! - `checks`: all at once, each within a limit, the findings in the order of the questions · `ask`: a command's words
//! - `requires`: what the playbook says itself · `command`, `file`, `port`, `variable`, `host`: one kind each
//! - `secret`: reads them, for runs too · `channel`: reached without a word · `people`: accounts, and whether they suffice
//! - `state`, `runs`, `keeper`: the folder of the runs · `drill`: when the plan was last proved
//!
//! # Adding a kind of check
//!
//! A variant of [`Kind`] (its place is its place in the table), a file here with a function that adds jobs to
//! [`Checks`], a call in `cli/doctor/mod.rs`; in `requires.rs`, too, if a playbook can ask for it.

mod ask;
mod channel;
mod checks;
mod command;
mod drill;
mod file;
mod host;
mod keeper;
mod people;
mod port;
mod requires;
mod runs;
mod secret;
mod state;
mod variable;

use serde::Serialize;

pub use channel::channels;
pub use checks::Checks;
pub use command::used_commands;
pub use drill::{DrillRecord, drills, judge_drills, no_drill};
pub use host::{shared_hosts, used_hosts};
pub use people::{questions, roles};
pub use requires::{requires, unmet};
pub use secret::{read_secret, secrets};
pub use state::{StatePlace, state};

/// What was looked at. In the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Command,
    Variable,
    File,
    Space,
    Port,
    Host,
    Secret,
    Channel,
    People,
    State,
    Drill,
}

impl Kind {
    /// Above its lines in the table.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Command => "commands",
            Self::Variable => "variables",
            Self::File => "files",
            Self::Space => "space",
            Self::Port => "ports",
            Self::Host => "hosts",
            Self::Secret => "secrets",
            Self::Channel => "channels",
            Self::People => "people",
            Self::State => "state",
            Self::Drill => "drill",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    /// It was not looked at; `found` says why.
    Skipped,
    /// The run can do without, or may meet it later.
    Warn,
    /// The run cannot do without.
    Missing,
}

/// What one check came to. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub name: String,
    /// What was looked for.
    pub wanted: String,
    pub found: String,
    pub verdict: Verdict,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn new(kind: Kind, name: impl Into<String>, wanted: impl Into<String>) -> Self {
        let (name, wanted) = (name.into(), wanted.into());
        Self { kind, name, wanted, found: String::new(), verdict: Verdict::Ok, mend: None }
    }

    /// The run can do without it, also if the check comes to no end.
    fn advisory(self) -> Self {
        Self { verdict: Verdict::Warn, ..self }
    }

    fn ok(self, found: impl Into<String>) -> Self {
        Self { found: found.into(), verdict: Verdict::Ok, ..self }
    }

    fn skipped(self, found: impl Into<String>) -> Self {
        Self { found: found.into(), verdict: Verdict::Skipped, ..self }
    }

    fn warn(self, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { found: found.into(), verdict: Verdict::Warn, mend: Some(mend.into()), ..self }
    }

    fn missing(self, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { found: found.into(), verdict: Verdict::Missing, mend: Some(mend.into()), ..self }
    }
}

/// A text of a plan for the eye, in which a parameter that was not given stands by name: which one.
fn not_given(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('‹')?;
    rest.split_once('›').map(|(name, _)| name)
}

/// An error of the system as a person says it.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => {
            let text = error.to_string();
            // The number is for programs.
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}
