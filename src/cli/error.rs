//! An error as the person at the terminal meets it: what happened, what to do, and the process's exit code.

use std::fmt;

use crate::journal::{JournalError, StateError};
use crate::model::{RunId, exit_code};
use crate::runner::RunError;

#[derive(Debug)]
pub struct CliError {
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    pub code: u8,
    /// The message is a whole text with its own layout.
    verbatim: bool,
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: exit_code::USAGE, verbatim: false }
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self { code: exit_code::REFUSED, ..Self::usage(message) }
    }

    /// A rendered text, such as diagnostics of a playbook.
    pub fn verbatim(text: String) -> Self {
        Self { verbatim: true, ..Self::usage(text) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Reading or writing a file that the person named.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let text = error.to_string();
        // The number is for programs.
        let text = text.split(" (os error").next().unwrap_or(&text);
        Self { code: 1, ..Self::usage(format!("{what}: {text}")) }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verbatim {
            return f.write_str(&self.message);
        }
        writeln!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            writeln!(f, "  {hint}")?;
        }
        Ok(())
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        let hint = match &error {
            StateError::Locked { run, holder, .. } if holder.alive => {
                format!("see `runbook status {run}`; end it with `runbook cancel {run}`")
            }
            StateError::Busy { run, .. } => {
                format!("see `runbook status {run}`; watch it with `runbook attach {run}`")
            }
            StateError::Locked { run, .. } => {
                format!("go on with `runbook resume {run}`, or end it with `runbook cancel {run}`")
            }
            StateError::Io(fault) if fault.is_full() => {
                let full = Self { code: exit_code::JOURNAL, ..Self::usage(error.to_string()) };
                return full.hint("nothing was started; make room, or name another folder with --state");
            }
            StateError::Io(_) => {
                return Self::refused(error.to_string()).hint("another folder can be named with --state");
            }
            _ => return Self::refused(error.to_string()),
        };
        Self::refused(error.to_string()).hint(hint)
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        if let JournalError::Missing { .. } = error {
            // A journal that somebody removed looks the same: what is not known is not said.
            let hint = "a run that never began has none: start it anew with `runbook run`\n  \
                        if this one did begin, its journal was removed: keep the folder, it shows what ran";
            return Self::refused(error.to_string()).hint(hint);
        }
        let run = error.path().and_then(run_of).unwrap_or_else(|| "last".into());
        if error.is_suspect() {
            let hint = format!("nothing was changed; keep the folder and see `runbook verify {run}`");
            return Self::refused(error.to_string()).hint(hint);
        }
        let hint =
            format!("nothing new was started; when the cause is gone, go on with `runbook resume {run}`");
        Self { code: exit_code::JOURNAL, ..Self::usage(error.to_string()).hint(hint) }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::State(error) => error.into(),
            RunError::Journal(error) => error.into(),
            RunError::Io { what, error } => Self::io(what, &error),
            RunError::NothingToResume { ref run, .. } => {
                let hint = format!("see `runbook report {run}`");
                Self::refused(error.to_string()).hint(hint)
            }
            RunError::Replan { ref run, .. } => {
                let hint = format!(
                    "nothing was started; go on with the stored plan by `runbook resume {run}`, or mend the playbook"
                );
                Self::refused(error.to_string()).hint(hint)
            }
            other => Self::refused(other.to_string()),
        }
    }
}

/// The run that a file of its folder belongs to.
fn run_of(path: &std::path::Path) -> Option<String> {
    let name = path.parent()?.file_name()?.to_str()?;
    RunId::parse(name).ok().map(|run| run.to_string())
}
