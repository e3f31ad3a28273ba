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
    /// May the step be taken back?
    Undo,
}

/// A question as a person sees it: everything in it is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub kind: QuestionKind,
    /// The attempt that it lets through, or that failed; the last one, of a step that is taken back.
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

impl Question {
    /// The words that answer it, for whoever is asked.
    pub fn takes(&self) -> String {
        match self.kind {
            QuestionKind::Approval | QuestionKind::Undo => "yes, or no with a reason".into(),
            QuestionKind::Manual => "done, or failed with a reason".into(),
            QuestionKind::Failure => "retry, rollback or abort; skip or done with a reason".into(),
            QuestionKind::Choice => {
                let open = self.options.iter().filter(|o| o.closed.is_none());
                open.map(|o| o.id.as_str()).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// What was typed as an answer: a word, and a comment after it. An option may be named by its number, from 1.
    pub fn read(&self, typed: &str) -> Result<Reply, String> {
        let typed = typed.trim();
        let end = typed.find([' ', ':', ',']).unwrap_or(typed.len());
        let (word, rest) = typed.split_at(end);
        let comment = rest.trim_start_matches([' ', ':', ',']).trim();
        let answer = self.word(&word.to_lowercase()).ok_or_else(|| match word {
            "" => format!("nothing was typed; type {}", self.takes()),
            _ => format!("{word:?} is no answer here; type {}", self.takes()),
        })?;
        Ok(Reply { answer, comment: (!comment.is_empty()).then(|| comment.to_owned()), evidence: None })
    }

    /// What the answer lacks to be taken; nothing if it is whole.
    pub fn lacks(&self, reply: &Reply) -> Option<Lack> {
        if let Answer::Choose { option } = &reply.answer
            && let Some(Choice { closed: Some(why), .. }) = self.options.iter().find(|o| o.id == *option)
        {
            return Some(Lack::Closed { option: option.clone(), why: why.clone() });
        }
        let yes = matches!(
            (self.kind, &reply.answer),
            (QuestionKind::Approval | QuestionKind::Undo, Answer::Approve)
                | (QuestionKind::Manual | QuestionKind::Failure, Answer::Done)
        );
        if yes && self.evidence && reply.evidence.is_none() {
            return Some(Lack::Evidence);
        }
        let reasoned = match reply.answer {
            Answer::Reject | Answer::NotDone | Answer::Skip => true,
            Answer::Done => self.kind == QuestionKind::Failure,
            _ => false,
        };
        let given = reply.comment.as_ref().is_some_and(|c| !c.trim().is_empty());
        (reasoned && !given).then_some(Lack::Reason)
    }

    fn word(&self, word: &str) -> Option<Answer> {
        Some(match (self.kind, word) {
            (QuestionKind::Approval | QuestionKind::Undo, "y" | "yes" | "approve") => Answer::Approve,
            (QuestionKind::Approval | QuestionKind::Undo, "n" | "no" | "reject") => Answer::Reject,
            (QuestionKind::Manual, "y" | "yes" | "done") => Answer::Done,
            (QuestionKind::Manual, "n" | "no" | "failed" | "reject" | "not-done") => Answer::NotDone,
            (QuestionKind::Failure, "retry") => Answer::Retry,
            (QuestionKind::Failure, "skip") => Answer::Skip,
            (QuestionKind::Failure, "done") => Answer::Done,
            (QuestionKind::Failure, "rollback") => Answer::RollBack,
            (QuestionKind::Failure, "abort") => Answer::Abort,
            (QuestionKind::Choice, word) => {
                let by_number = word.parse::<usize>().ok().and_then(|n| self.options.get(n.checked_sub(1)?));
                let by_name = self.options.iter().find(|o| o.id == word);
                Answer::Choose { option: by_name.or(by_number)?.id.clone() }
            }
            _ => return None,
        })
    }

    /// Whether this person may be shown the question, and answer it as far as names go.
    pub fn is_for(&self, name: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|n| n == name);
        !named(&self.excluded) && (self.approvers.is_empty() || named(&self.approvers))
    }
}

/// Why an answer that fits the question is not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    Reason,
    /// A file that shows it.
    Evidence,
    /// The option cannot be taken now.
    Closed {
        option: String,
        why: String,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason => f.write_str("a reason is needed; it stands in the report"),
            Self::Evidence => f.write_str("a file that shows it is asked for: add --evidence FILE"),
            Self::Closed { option, why } => write!(f, "option {option} cannot be taken now: {why}"),
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
