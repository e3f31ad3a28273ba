//! What is known of a run after some of its records.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{
    Answer, Millis, Question, QuestionKind, RunEnd, StartInfo, StepOutcome, TaskId, TaskVerdict, Timestamp,
    UndoneState,
};
use crate::plan::{Plan, StepIx};

use super::tell::Told;

#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// None before the first record.
    pub start: Option<StartInfo>,
    /// The wall clock of the first record.
    pub started_at: Timestamp,
    pub epoch: u32,
    /// Number and moments of the last record.
    pub seq: u64,
    pub last_t: Millis,
    pub last_at: Timestamp,
    pub status: RunStatus,
    /// Of the plan in force, as recorded.
    pub plan_hash: String,
    /// Who leads: the operator, until somebody else takes over.
    pub commander: Option<String>,
    /// When somebody took notice, and who: each person once, the first to do so first.
    pub acknowledged: Vec<(Millis, String)>,
    /// Why a rollback was begun. From then on a resume goes on with the rollback, never with the run.
    pub rollback: Option<String>,
    /// One for each of [`Plan::steps`].
    pub steps: Vec<StepState>,
    /// One for each of [`Plan::phases`].
    pub phases: Vec<PhaseStatus>,
    /// Steps that were unknown at some time: the only ones that can still be.
    pub(super) once_unknown: BTreeSet<StepIx>,
    /// Started and not known to have ended.
    pub in_flight: BTreeMap<TaskId, InFlight>,
    /// Who was told what.
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RunStatus {
    NotStarted,
    Running,
    /// Nothing new starts; what runs is waited for. `why` becomes the end's reason.
    Stopping {
        why: String,
    },
    /// A person asked for the end.
    Cancelling {
        by: String,
    },
    /// Nothing new starts; when nothing runs any more, the undos start.
    /// [`State::rollback`] is empty until the record of the rollback's start is there.
    RollingBack {
        because: String,
    },
    Ended(RunEnd),
}

#[derive(Debug, Clone, PartialEq)]
pub enum PhaseStatus {
    Pending,
    Running { since: Millis, late: bool },
    Ended { since: Millis, at: Millis, late: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub struct InFlight {
    pub step: StepIx,
    /// The number of the record of its start.
    pub seq: u64,
    pub since: Millis,
    pub command: String,
    pub timeout: Option<Millis>,
    /// None: this machine.
    pub host: Option<String>,
}

/// What acted on another host, and only that may know how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    pub task: TaskId,
    pub flight: InFlight,
    /// The step was in doubt before that, too.
    pub was_dirty: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// The last attempt or remedy, whichever began last, if its outcome is unknown and it ran on another host. It stays
    /// until the step is taken back: an undo that fails may be tried again once the host answers.
    pub lost_there: Option<Box<Lost>>,
    /// The same for attempts before it that were not waited for, because the step may be repeated.
    pub lost_before: Vec<Lost>,
    /// The same for the last try of the undo.
    pub lost_undo: Option<Box<Lost>>,
    pub status: StepStatus,
    /// The last attempt's number, over all epochs.
    pub attempts: u32,
    /// `attempts` when the step was last taken up after its end: `retry.attempts` counts from here.
    pub attempts_before: u32,
    /// How often the last attempt was started again under the same number.
    pub reruns: u32,
    /// Grows whenever a task that is no attempt may have to be started under the same number again. It is part of
    /// their names, so that no task ever has the name, and the output files, of an earlier one.
    pub round: u32,
    /// Nobody knows how the last attempt ended: it was not cut off, the knowledge was lost.
    pub lost: bool,
    pub started: Option<Millis>,
    /// When it began for the last time: it may have been over before, and taken up again.
    pub begun: Option<Millis>,
    /// How long people have been waited for since then, in questions that are settled.
    pub waited: Millis,
    pub ended: Option<Millis>,
    /// Why it failed, was skipped, is unknown.
    pub why: Option<String>,
    pub outputs: BTreeMap<String, Value>,
    /// The included playbook's parameters that were known only when it started.
    pub late_params: BTreeMap<String, Value>,
    pub choice: Option<String>,
    pub result: Option<Value>,
    /// Titles and reasons of advisory checks that did not hold.
    pub advisories: Vec<String>,
    /// The number of the record with which the step may first have begun to have an effect; undo goes in reverse order
    /// of it. Taken away only where it is certain that nothing is there: that very task never ran, the step was undone,
    /// or a person said so. So a step that was once in doubt stays in every rollback, however it failed later.
    pub effect_at: Option<u64>,
    /// Since when the check of that number has been polled, until it has said yes or no for good. It stays over polls that
    /// never ran or of which nobody knows, so that they give it no more time.
    pub polled: Option<(u16, Millis)>,
    /// An attempt's outcome was unknown, and neither a check nor a person has cleared it; a later failed attempt does
    /// not. A rollback needs no such mark (see `effect_at`); who wants to edit the step has to be told.
    pub dirty: bool,
    /// A person said that the effect is there: the action is not run, `verify` is.
    pub done_by_hand: bool,
    /// The number of the last question about the step.
    pub asked: u32,
    /// The action may start: somebody said so, and the step has not been taken up again since.
    pub approved: bool,
    /// A person wants everything taken back because of this step.
    pub roll_back: bool,
    /// The outcome before the step was undone.
    pub before_undo: Option<StepOutcome>,
    /// The step may be taken back: somebody said so, and nothing has been taken up again since.
    pub undo_approved: bool,
    pub undo: UndoStatus,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepStatus {
    Pending,
    Active(Activity),
    Over(StepOutcome),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Activity {
    /// `unless` runs.
    Unless,
    /// The action runs.
    Acting,
    /// A `wait` until then.
    Waiting { until: Millis },
    /// Attempt `failed` failed; its remedy runs.
    Remedy { failed: u32 },
    /// The next attempt is due then.
    Backoff { failed: u32, until: Millis },
    /// Check number `check` of `verify`, begun at `since`; the next poll is due at `next` unless one runs.
    Verifying { check: u16, poll: u32, since: Millis, next: Option<Millis> },
    /// The read-only `check` after an unknown outcome runs.
    Checking,
    /// The steps inside the group.
    Inside,
    /// The message of a `notify` step is handed over.
    Told,
    /// A person is asked.
    Asking(Box<Asking>),
    /// A person has answered, or the time is over, and what follows is not recorded yet.
    Heard(Heard),
    /// A task has ended, and what follows is not recorded yet.
    Deciding {
        task: TaskId,
        verdict: TaskVerdict,
        no_retry: bool,
        /// Nobody knows how the task ended.
        lost: bool,
    },
}

/// An open question.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Of the step's questions, from 1.
    pub number: u32,
    pub question: Question,
    pub since: Millis,
    /// When the time to answer is over.
    pub until: Option<Millis>,
    /// Who has agreed so far, if several people have to.
    pub agreed: Vec<String>,
}

/// What a question came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub kind: QuestionKind,
    pub answer: Answer,
    /// Who said so and why, for a reason.
    pub why: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum UndoStatus {
    None,
    /// A person is asked whether the step may be taken back.
    Asking(Box<Asking>),
    /// A person has answered, or the time is over, and what follows is not recorded yet.
    Heard(Heard),
    Running {
        tries: u32,
    },
    /// A try has ended, and what follows is not recorded yet.
    Deciding {
        tries: u32,
        verdict: TaskVerdict,
    },
    Backoff {
        tries: u32,
        until: Millis,
    },
    Over(UndoneState),
}

impl State {
    pub fn new(plan: &Plan) -> Self {
        Self {
            start: None,
            started_at: Timestamp(0),
            epoch: 0,
            seq: 0,
            last_t: Millis::ZERO,
            last_at: Timestamp(0),
            status: RunStatus::NotStarted,
            plan_hash: String::new(),
            commander: None,
            acknowledged: Vec::new(),
            rollback: None,
            steps: plan.steps.iter().map(|_| StepState::new()).collect(),
            phases: plan.phases.iter().map(|_| PhaseStatus::Pending).collect(),
            once_unknown: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// Steps that wait for a person, the one that has waited longest first.
    pub fn open_questions(&self) -> Vec<StepIx> {
        let asking = self.steps.iter().enumerate();
        let mut open: Vec<(Millis, StepIx)> =
            asking.filter_map(|(ix, s)| Some((s.asking()?.since, ix))).collect();
        open.sort_unstable();
        open.into_iter().map(|(_, ix)| ix).collect()
    }

    pub fn has_acknowledged(&self, name: &str) -> bool {
        self.acknowledged.iter().any(|(_, by)| by == name)
    }

    /// The run's end, once it has ended.
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.status {
            RunStatus::Ended(end) => Some(end),
            _ => None,
        }
    }
}

impl StepState {
    fn new() -> Self {
        Self {
            status: StepStatus::Pending,
            attempts: 0,
            attempts_before: 0,
            reruns: 0,
            round: 0,
            lost: false,
            started: None,
            begun: None,
            waited: Millis::ZERO,
            ended: None,
            why: None,
            outputs: BTreeMap::new(),
            late_params: BTreeMap::new(),
            choice: None,
            result: None,
            advisories: Vec::new(),
            lost_there: None,
            lost_before: Vec::new(),
            lost_undo: None,
            polled: None,
            effect_at: None,
            dirty: false,
            done_by_hand: false,
            asked: 0,
            approved: false,
            roll_back: false,
            before_undo: None,
            undo_approved: false,
            undo: UndoStatus::None,
        }
    }

    /// Nothing was ever recorded of it. Resumes count for every step.
    pub(super) fn is_fresh(&self) -> bool {
        *self == Self { round: self.round, ..Self::new() }
    }

    pub(super) fn begin(&mut self, t: Millis) {
        self.started.get_or_insert(t);
        self.begun.get_or_insert(t);
    }

    pub fn outcome(&self) -> Option<StepOutcome> {
        match self.status {
            StepStatus::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The outcome of the step itself, whatever its undo did later.
    pub fn own_outcome(&self) -> Option<StepOutcome> {
        self.before_undo.or(self.outcome())
    }

    pub fn is_active(&self) -> bool {
        matches!(self.status, StepStatus::Active(_))
    }

    /// Something of the step itself is under way (a group that only waits for its inside does not count).
    pub fn is_leaf_active(&self) -> bool {
        self.is_active() && !self.is_inside()
    }

    /// A person is asked, and nothing of the step runs.
    pub fn is_asking(&self) -> bool {
        matches!(self.status, StepStatus::Active(Activity::Asking(_)))
    }

    /// The open question, about the step or about taking it back.
    pub fn asking(&self) -> Option<&Asking> {
        match (&self.undo, &self.status) {
            (UndoStatus::Asking(asking), _) => Some(asking),
            (_, StepStatus::Active(Activity::Asking(asking))) => Some(asking),
            _ => None,
        }
    }

    /// A person is asked whether it may be taken back.
    pub fn asks_to_undo(&self) -> bool {
        matches!(self.undo, UndoStatus::Asking(_))
    }

    /// Its undo is under way.
    pub fn is_undoing(&self) -> bool {
        !matches!(self.undo, UndoStatus::None | UndoStatus::Over(_))
    }

    pub fn is_inside(&self) -> bool {
        matches!(self.status, StepStatus::Active(Activity::Inside))
    }
}
