//! What people are asked during a run, and what they answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Millis;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// May the step's action start?
    Approval,
    /// Which of the options?
    Choice,
    /// Is it done? A person does the step.
    Manual,
    /// The step failed: what now?
    Failure,
}

/// A question as a person sees it: everything in it is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub kind: QuestionKind,
    /// The attempt that it lets through, or that failed.
    pub attempt: u32,
    pub prompt: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Choice>,
    /// The option that the playbook would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Who may answer, by the name of their account. Empty: whoever may speak to the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// Who may not, although they stand among the approvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// How many different people have to agree.
    pub count: u32,
    /// From when it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    pub on_timeout: OnTimeout,
    /// A yes needs a file that shows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evidence: bool,
}

/// One of the answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub id: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// Why it cannot be taken now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// What happens when nobody has answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    Fail,
    /// Go on waiting.
    Wait,
    /// As if it had been approved.
    Proceed,
    /// Take the suggestion.
    Suggest,
}

/// What somebody says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    Approve,
    Reject,
    Choose {
        option: String,
    },
    /// A manual step is done; a failed one was mended by hand.
    Done,
    /// A manual step could not be done.
    NotDone,
    Retry,
    Skip,
    RollBack,
    Abort,
}

impl Answer {
    /// For `WHO said ...`.
    pub fn words(&self) -> String {
        match self {
            Self::Approve => "yes".into(),
            Self::Reject => "no".into(),
            Self::Choose { option } => option.clone(),
            Self::Done => "done".into(),
            Self::NotDone => "not done".into(),
            Self::Retry => "try again".into(),
            Self::Skip => "skip".into(),
            Self::RollBack => "roll back".into(),
            Self::Abort => "stop here".into(),
        }
    }
}

/// An answer with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub answer: Answer,
    /// The reason, or a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// SHA-256 (hex) and name of a file that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// Who speaks, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name of the account.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    pub via: Via,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Typed at the terminal of the process that drives the run.
    Terminal,
    /// Over the run's socket; the kernel says who it is.
    Socket,
    /// Written by a process that held the run's lock while nobody drove it.
    Command,
    /// `--answers`.
    File,
    /// A drill's `answers`: it stands for whoever is asked.
    Drill,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.via {
            Via::Terminal | Via::Socket | Via::Command => Ok(()),
            Via::File => f.write_str(" (answers file)"),
            Via::Drill => f.write_str(" (drill)"),
        }
    }
}

/// Which question an answer is for. One that names another run, question or plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The step's questions count from 1.
    pub number: u32,
    /// The plan that the person saw.
    pub plan_hash: String,
}
