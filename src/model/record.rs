//! The journal's vocabulary. A run is its records: state, report and live view are folds over them.
//!
//! Compatibility: [`FORMAT`] is written in every record. A field may be added with a default; a meaning is never
//! changed without a new format number. Unknown fields and events are errors, because a reader that skips what it
//! does not know would tell less than the truth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::planted::{self, Bug};

use super::{
    Answer, Millis, OnTimeout, Past, Person, Question, Reply, RunId, RunOutcome, StepId, StepOutcome,
    TaskEnd, TaskId, TaskVerdict, Timestamp,
};

/// The version of the record format.
pub const FORMAT: u32 = 1;

/// One moment of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    /// Counts the processes that have driven the run: 1 for `run`, one more for each `resume`.
    pub epoch: u32,
    /// Time since the run's start, on a clock that never goes back and counts suspension; deadlines use it.
    pub t: Millis,
    /// The wall clock, for people. It may jump.
    pub at: Timestamp,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    RunStarted(Box<StartInfo>),
    /// Another process goes on with the run.
    RunResumed(ResumeInfo),
    /// A person has put an edited playbook's plan in the place of the one that the run had. All records, those before
    /// this one too, fold the same under either.
    Replanned(Box<ReplanInfo>),
    /// An unterminated last line was set aside when the journal was opened.
    TailSetAside {
        bytes: u64,
        file: String,
    },
    /// The clock of deadlines jumped: the machine slept, or the run lay still between two processes.
    Gap {
        length: Millis,
        why: String,
    },

    /// The keeper died, and with it the knowledge of how its commands end.
    KeeperLost {
        why: String,
    },

    PhaseStarted {
        phase: String,
    },
    PhaseEnded {
        phase: String,
    },
    PhaseDeadlineMissed {
        phase: String,
        deadline: Millis,
    },

    StepSkipped {
        step: StepId,
        why: String,
    },
    /// A `wait` began.
    WaitStarted {
        step: StepId,
        length: Millis,
    },
    /// The steps inside a `playbook:` or `any_of:` step may start. `params` are those of the inner playbook.
    GroupStarted {
        step: StepId,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, Value>,
    },
    /// On disk before the command exists.
    TaskStarted {
        task: TaskId,
        /// The exact command, query or request; secrets by name.
        command: String,
        /// The values that stand behind the command's variables (`RB_V1`, ...), in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        values: Vec<(String, String)>,
        workdir: Option<String>,
        /// The host that it ran on; absent: this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        timeout: Option<Millis>,
    },
    TaskEnded {
        task: TaskId,
        end: TaskEnd,
        verdict: TaskVerdict,
        /// What the step's `outputs` and `$RUNBOOK_OUTPUT` gave; only for an attempt that passed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, Value>,
        /// `result`, if a later expression reads it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// `retry.when` said that another attempt is of no use.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_retry: bool,
    },
    /// The host of a task whose outcome was unknown knows of it after all: it is in flight again, and its end follows.
    TaskFound {
        task: TaskId,
    },
    /// The host of an attempt or a remedy whose outcome was unknown was asked before anything is taken back, and could not
    /// tell: it may still run, and the rollback goes on all the same.
    HostSilent {
        task: TaskId,
        why: String,
    },
    /// Attempt `failed` did not serve; the next starts after `delay`.
    RetryScheduled {
        step: StepId,
        failed: u32,
        delay: Millis,
        /// It is the step's undo that is tried again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// An advisory check (`required: false`) did not hold.
    AdvisoryFailed {
        step: StepId,
        check: u16,
        title: String,
        why: String,
    },
    StepEnded {
        step: StepId,
        outcome: StepOutcome,
        /// Absent for success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Those of a `playbook:` step; other outputs are known when the attempt ends.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, Value>,
        /// The alternative that served, for `any_of`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        choice: Option<String>,
    },
    /// A person said what became of a step, or that it is not needed. The next `resume` acts on it.
    StepResolved {
        step: StepId,
        resolution: Resolution,
        by: String,
        reason: String,
        /// SHA-256 (hex) and name of a file that shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },

    /// A person is asked. Question `number` of the step; they count from 1.
    Asked {
        step: StepId,
        number: u32,
        question: Box<Question>,
    },
    /// Somebody who may answer did.
    Answered {
        step: StepId,
        number: u32,
        reply: Reply,
        by: Person,
    },
    /// Somebody said something that does not count.
    AnswerRefused {
        step: StepId,
        answer: Answer,
        by: Person,
        why: String,
    },
    /// Nobody answered in time.
    QuestionExpired {
        step: StepId,
        number: u32,
        then: OnTimeout,
    },

    /// Somebody wrote something down.
    Noted {
        text: String,
        by: Person,
    },
    /// Another person leads from here on. The first to lead is the operator.
    HandedOver {
        to: String,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Somebody has taken notice of the incident.
    Acknowledged {
        by: Person,
    },

    RollbackStarted {
        because: String,
    },
    /// A step's undo is over. A step without an undo is not recorded here.
    StepUndone {
        step: StepId,
        state: UndoneState,
    },

    /// Word of the run that is about to be handed to channels; they count from 1. On disk before any channel has it.
    Notice {
        number: u32,
        cause: Cause,
        /// Empty in a drill, which tells nobody.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        channels: Vec<String>,
        /// Whom it is for, in the playbook's words, roles resolved.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<String>,
        /// The message of a step. Every other text is written from the records when it is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// What became of a notice on one of its channels. It may follow the run's end.
    NoticeEnded {
        number: u32,
        channel: String,
        delivered: bool,
        /// Tries, the first one counted; 0 if nobody knows.
        attempts: u32,
        /// Not delivered as far as is known, but it may have arrived.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unsure: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },

    CancelRequested {
        by: String,
        how: String,
    },
    RunEnded(Box<RunEnd>),
}

/// Why word of a run is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cause {
    /// More people are needed.
    Escalation { level: u32, why: String },
    /// How things stand, from 1. The last one says how the run ended.
    Update {
        number: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        last: bool,
    },
    /// A step of the playbook.
    Step { step: StepId },
    /// Those who were called by an escalation need not come any more.
    Recovered,
    /// Somebody has it in hand; for those who keep the run as an alert. It may follow the run's end.
    Acknowledged { by: String },
}

impl Event {
    /// The step that it is about, if it is about one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::TaskStarted { task, .. }
            | Self::TaskEnded { task, .. }
            | Self::TaskFound { task }
            | Self::HostSilent { task, .. } => Some(&task.step),
            Self::StepSkipped { step, .. }
            | Self::WaitStarted { step, .. }
            | Self::GroupStarted { step, .. }
            | Self::RetryScheduled { step, .. }
            | Self::AdvisoryFailed { step, .. }
            | Self::StepEnded { step, .. }
            | Self::StepResolved { step, .. }
            | Self::Asked { step, .. }
            | Self::Answered { step, .. }
            | Self::AnswerRefused { step, .. }
            | Self::QuestionExpired { step, .. }
            | Self::StepUndone { step, .. }
            | Self::Notice { cause: Cause::Step { step }, .. } => Some(step),
            Self::RunStarted(_)
            | Self::RunResumed(_)
            | Self::Replanned(_)
            | Self::TailSetAside { .. }
            | Self::Gap { .. }
            | Self::KeeperLost { .. }
            | Self::PhaseStarted { .. }
            | Self::PhaseEnded { .. }
            | Self::PhaseDeadlineMissed { .. }
            | Self::Noted { .. }
            | Self::HandedOver { .. }
            | Self::Acknowledged { .. }
            | Self::RollbackStarted { .. }
            | Self::Notice { .. }
            | Self::NoticeEnded { .. }
            | Self::CancelRequested { .. }
            | Self::RunEnded(_) => None,
        }
    }

    /// Only words: it may follow the run's end, and the run is as over, and took as long, as before. So is what a writer
    /// found of a write that was cut short: whoever opens the journal next tells of it, also after the end.
    pub fn is_remark(&self) -> bool {
        match self {
            Self::Noted { .. }
            | Self::HandedOver { .. }
            | Self::Acknowledged { .. }
            | Self::AnswerRefused { .. }
            | Self::Notice { cause: Cause::Acknowledged { .. }, .. }
            | Self::NoticeEnded { .. } => true,
            Self::TailSetAside { .. } => !planted::is(Bug::TailReopens),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartInfo {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    pub run: RunId,
    pub playbook: String,
    pub title: String,
    /// SHA-256 of `plan.json`, in hex.
    pub plan_hash: String,
    pub environment: Option<String>,
    /// Parameters as resolved. Secrets are never parameters.
    pub params: BTreeMap<String, Value>,
    /// When the incident began; the RTO counts from here.
    pub incident_since: Timestamp,
    pub operator: String,
    pub host: String,
    pub pid: u32,
    /// The binary's version.
    pub version: String,
    pub boot_id: String,
    /// The seed of the retries' jitter.
    pub seed: u64,
    /// The run proves the playbook in a drill's world.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// What past runs say of the steps. Absent if nobody looked; there with no run in it if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Box<Past>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeInfo {
    pub operator: String,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub boot_id: String,
}

/// Another plan for the rest of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplanInfo {
    /// The new plan's file in the run's folder.
    pub file: String,
    /// SHA-256 of that file, in hex.
    pub plan_hash: String,
    pub by: String,
    /// Steps that only the new plan has, those that only the old one had, and those that are not the same in both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<StepId>,
    /// Steps that are done and read otherwise now; the person said that what was done stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<StepId>,
}

/// What a person says of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// The effect is there: go on with the step's `verify`.
    Done,
    /// The effect is not there: the step starts again.
    NotDone,
    /// Start it again whatever became of it.
    Retry,
    /// The step is not needed.
    Skip,
}

/// The state after an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UndoneState {
    Undone,
    Failed {
        why: String,
    },
    /// Whether the undo took effect cannot be known.
    Unknown {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    pub outcome: RunOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Objective>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Objective>,
}

/// An objective and what was measured against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Absent: measured, but the playbook names no target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Millis>,
    /// Absent: it could not be measured, `note` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Millis>,
    pub verdict: ObjectiveVerdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveVerdict {
    Met,
    Missed,
    /// There is no target, or nothing could be measured.
    None,
}
