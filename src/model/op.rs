//! What is carried out, completely resolved, and what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Host, Millis, SecretText};

/// One thing to carry out. Nothing in it is a template any more; secrets still stand by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    Process(ProcessOp),
    Sql(SqlOp),
    Http(HttpOp),
}

/// One command, or a pipeline of commands without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessOp {
    /// One argv, or several joined by pipes. The exit code of a pipeline is that of the last command that failed.
    /// Never holds a secret. A script is `["bash", "-euo", "pipefail", "-c", SCRIPT, "runbook"]`.
    pub commands: Vec<Vec<String>>,
    /// The script as a person would read it, where there is one; only for display.
    pub script: Option<String>,
    /// Added to the inherited environment.
    pub env: Vec<(String, SecretText)>,
    /// None: this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Absolute. On another host as typed; empty: where its commands start.
    pub workdir: PathBuf,
    /// Empty input if absent.
    pub stdin: Option<SecretText>,
}

/// One SQL statement with bound values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlOp {
    /// `sqlite:PATH`, the path absolute, or `postgres://USER@HOST:PORT/DATABASE`. With `?mode=ro` nothing can be changed.
    pub database: SecretText,
    /// Of a server, where it does not stand in `database`.
    pub password: Option<SecretText>,
    /// The authority that must have signed the server's certificate, in place of the system's. Absolute.
    pub ca_file: Option<PathBuf>,
    pub query: String,
    /// Bound to `?1`, `?2`, ... (PostgreSQL: `$1`, `$2`, ...): null, bool, integer, float or text; lists and maps for a
    /// server that has such types.
    pub binds: Vec<Value>,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpOp {
    /// `GET`, `POST`, ...
    pub method: String,
    pub url: SecretText,
    pub headers: Vec<(String, SecretText)>,
    pub body: Option<SecretText>,
    pub auth: Option<HttpAuth>,
    /// An authority to trust beside those of the system. Absolute.
    pub ca_file: Option<PathBuf>,
}

/// Who asks, and the proof of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HttpAuth {
    Bearer(SecretText),
    Basic { user: SecretText, password: SecretText },
}

impl Op {
    /// What a person reads in the plan, the log and the report. Secrets appear by name only.
    pub fn describe(&self) -> String {
        match self {
            Self::Process(p) => match &p.script {
                Some(script) => script.clone(),
                None => p.commands.iter().map(|c| display_argv(c)).collect::<Vec<_>>().join(" | "),
            },
            Self::Sql(s) => format!("{}: {}", s.database, s.query),
            Self::Http(h) => format!("{} {}", h.method, h.url),
        }
    }
}

/// An argv as a shell would need it typed, so that it can be copied.
fn display_argv(argv: &[String]) -> String {
    let quote = |arg: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.clone()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Which outputs the expressions of a task read, so that only those are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    pub stdout: bool,
    pub stderr: bool,
}

impl Want {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a task ended, as a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskEndKind {
    Exited {
        code: i32,
    },
    Signaled {
        signal: i32,
    },
    /// The timeout was reached and the process tree was ended.
    TimedOut,
    /// A person ended it, and the process tree with it.
    Cancelled,
    /// It surely never started: why.
    NotStarted {
        error: String,
    },
    /// A query or request was answered. The answer itself is in [`TaskOutput`].
    Answered,
    /// A query or request failed: why.
    Errored {
        error: String,
    },
    /// Nobody can know: why.
    Unknown {
        why: String,
    },
}

impl TaskEndKind {
    /// The same with its words, where it has some, gone through `change`.
    pub fn map_text(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::NotStarted { error } => Self::NotStarted { error: change(&error) },
            Self::Errored { error } => Self::Errored { error: change(&error) },
            Self::Unknown { why } => Self::Unknown { why: change(&why) },
            other => other,
        }
    }
}

/// The end of a task, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEnd {
    pub kind: TaskEndKind,
    pub duration: Millis,
    /// Bytes the task wrote; more than its file holds if `truncated`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdout_bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stderr_bytes: u64,
    /// An output was longer than the cap: the file keeps head and tail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// A process outlived the task and still held its output open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaky: bool,
    /// Processes that could not be ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<i32>,
    /// Nobody knows how it ended on its host, but it surely does not run there any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl TaskEnd {
    pub fn new(kind: TaskEndKind, duration: Millis) -> Self {
        Self {
            kind,
            duration,
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
            leaky: false,
            leaked: Vec::new(),
            gone: false,
        }
    }
}

/// What a task said, for the expressions in `expect` and `outputs`. Not recorded as such.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutput {
    /// `Err` says why the text cannot be had (too long for an expression, not UTF-8); it becomes the error of the
    /// expression that reads it. `None`: not asked for.
    pub stdout: Option<Result<String, String>>,
    pub stderr: Option<Result<String, String>>,
    /// Name and value of each line written to `$RUNBOOK_OUTPUT`; or why it could not be read.
    pub published: Result<BTreeMap<String, String>, String>,
    pub http: Option<HttpAnswer>,
    pub sql: Option<SqlAnswer>,
    /// Something of the above was said and cannot be had here and now: why. The command is not to blame, so what cannot
    /// be judged without it has not failed; nobody can know.
    pub unread: Option<String>,
}

impl TaskOutput {
    pub fn none() -> Self {
        Self {
            stdout: None,
            stderr: None,
            published: Ok(BTreeMap::new()),
            http: None,
            sql: None,
            unread: None,
        }
    }
}

/// An HTTP answer. Header names are in lower case.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Result<String, String>,
}

/// A query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAnswer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub affected: u64,
    /// What the server had to say beside the answer, such as `WARNING 01000: ...`.
    pub notices: Vec<String>,
}
