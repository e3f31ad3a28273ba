//! The words everyone shares: ids, time, what is carried out, what came of it, and the journal's vocabulary.
//!
//! This module uses nothing else of the crate. Everything in it is plain data.

mod channel;
mod environ;
mod hidden;
mod host;
mod id;
mod nearest;
mod op;
mod outcome;
mod past;
mod question;
mod record;
mod secret;
mod time;

pub use channel::{
    Channel, ChannelKind, CommandChannel, Delivery, EmailChannel, Notice, NoticeAction, PagerDutyChannel,
    STATUS_FILE, Severity, SlackChannel, SmtpSecurity, SmtpServer, WebhookChannel, dedup_key, notice_id,
};
pub use environ::changes_a_shell;
pub use hidden::is_hidden;
pub use host::{HERE, Host, Reach, Ssh};
pub use id::{IdError, RunId, StepId, TaskId, TaskKind, check_name};
pub use nearest::nearest;
pub use op::{
    HttpAnswer, HttpAuth, HttpOp, Op, ProcessOp, SqlAnswer, SqlOp, TaskEnd, TaskEndKind, TaskOutput, Want,
};
pub use outcome::{IncidentStatus, RunOutcome, StepOutcome, TaskVerdict, exit_code};
pub use past::{Past, PastStep, Percentile, Spread, is_late};
pub use question::{Answer, Binding, Choice, Lack, OnTimeout, Person, Question, QuestionKind, Reply, Via};
pub use record::{
    Cause, Event, FORMAT, Objective, ObjectiveVerdict, Record, ReplanInfo, Resolution, ResumeInfo, RunEnd,
    StartInfo, UndoneState,
};
pub use secret::{MASK, Piece, ResolveError, Secret, SecretName, SecretText, URL_COMPONENT, shows_password};
pub use time::{Millis, Timestamp, format_bytes, format_millis, parse_bytes, parse_duration};
