//! What must hold at every record of every run, judged from the records and the world alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runbook::engine::{Act, Decision, Outgoing, PhaseStatus, Projection, RunStatus, State, StepStatus};
use runbook::model::{
    Answer, Cause, Event, Millis, OnTimeout, Person, QuestionKind, Record, Reply, Resolution, RunOutcome,
    StepId, StepOutcome, TaskEndKind, TaskId, TaskKind, TaskVerdict, UndoneState,
};
use runbook::plan::{Ask, Body, Level, OnItemFailure, Plan, Step, StepIx};

use super::world::World;

pub struct Oracle {
    plan: Arc<Plan>,
    /// The fold of the records that are on disk.
    pub folded: State,
    /// Every task there ever was, with the record of its start.
    named: BTreeMap<TaskId, u64>,
    succeeded: BTreeSet<StepIx>,
    /// Once unknown, and not cleared since.
    dirty: BTreeSet<StepIx>,
    /// Tasks for which steps came to be dirty.
    in_doubt_by: BTreeSet<TaskId>,
    /// A person said what became of these; the world is not asked about them.
    resolved: BTreeSet<StepIx>,
    /// When each step began to have an effect.
    began: BTreeMap<StepIx, u64>,
    /// People who have agreed to the open question of each step.
    agreed: BTreeMap<StepIx, BTreeSet<String>>,
    /// Their actions may start.
    approved: BTreeSet<StepIx>,
    /// They may be taken back.
    undo_approved: BTreeSet<StepIx>,
    /// The effect of the last step that this process has begun to take back in a rollback.
    last_undone: Option<u64>,
    told: Told,
    /// This process is there to roll the run back, and has asked the hosts.
    takes_back: bool,
    /// Steps whose undo was recorded as begun and never ran.
    forestalled: BTreeSet<StepIx>,
    /// Tasks of which their hosts knew after all.
    found: BTreeSet<TaskId>,
}

/// What the outside was told, over all processes.
#[derive(Default)]
struct Told {
    /// Notices whose records are on disk, and what they say.
    written: BTreeMap<u32, Cause>,
    /// Those that were handed to the channels.
    sent: BTreeSet<u32>,
    levels: BTreeSet<u32>,
    updates: u32,
    /// Alerts that somebody has in hand, as far as their channels know.
    in_hand: BTreeSet<String>,
    /// Of which the journal says what became of them.
    ended: BTreeSet<(u32, String)>,
}

impl Oracle {
    pub fn new(plan: Arc<Plan>) -> Self {
        let folded = State::new(&plan);
        Self {
            plan,
            folded,
            named: BTreeMap::new(),
            succeeded: BTreeSet::new(),
            dirty: BTreeSet::new(),
            in_doubt_by: BTreeSet::new(),
            resolved: BTreeSet::new(),
            began: BTreeMap::new(),
            agreed: BTreeMap::new(),
            approved: BTreeSet::new(),
            undo_approved: BTreeSet::new(),
            last_undone: None,
            told: Told::default(),
            takes_back: false,
            forestalled: BTreeSet::new(),
            found: BTreeSet::new(),
        }
    }

    /// The act is performed: its record is on disk, and it never was before.
    pub fn sent(&mut self, out: &Outgoing) {
        assert_eq!(self.told.written.get(&out.number), Some(&out.cause), "sent without its record");
        assert!(self.told.sent.insert(out.number), "notice {} was sent twice", out.number);
    }

    /// Another process drives the run: what the last one has sent is not its business. `takes_back`: it is there to roll the
    /// run back.
    pub fn process_is_new(&mut self, takes_back: bool) {
        self.takes_back = takes_back;
        assert!(self.told.sent.iter().all(|number| self.told.written.contains_key(number)));
    }

    fn notice(&mut self, t: Millis, number: u32, cause: &Cause, channels: &[String]) {
        let in_hand = matches!(cause, Cause::Acknowledged { .. });
        assert!(in_hand || !matches!(self.folded.status, RunStatus::Ended(_)), "a notice after the end");
        assert_eq!(self.told.written.insert(number, cause.clone()), None, "notice {number} is there twice");
        match cause {
            Cause::Escalation { level, .. } => {
                assert!(self.told.levels.insert(*level), "level {level} was raised twice");
                let known = self.plan.escalation.iter().find(|known| known.level == *level);
                assert!(
                    self.folded.acknowledged.is_empty(),
                    "level {level} was raised although it is in hand"
                );
                let known = known.expect("a level of the plan");
                // The simulated incident begins with its run.
                let by_time = known.after.is_some_and(|after| t >= after);
                let by_breach = breaches(&self.plan, &self.folded, known, t);
                let failed = |(ix, spec): (usize, &Step)| {
                    let state = &self.folded.steps[ix];
                    let bad = matches!(state.own_outcome(), Some(StepOutcome::Failed | StepOutcome::Unknown));
                    spec.escalate == Some(*level) && (bad || state.is_asking())
                };
                let by_step = self.plan.steps.iter().enumerate().any(failed);
                let late = |phase: &PhaseStatus| {
                    matches!(
                        phase,
                        PhaseStatus::Running { late: true, .. } | PhaseStatus::Ended { late: true, .. }
                    )
                };
                let by_phase = self.folded.phases.iter().any(late);
                assert!(by_time || by_breach || by_step || by_phase, "level {level} was raised for nothing");
            }
            Cause::Update { number, .. } => {
                self.told.updates += 1;
                assert_eq!(*number, self.told.updates, "updates are numbered without gaps");
            }
            Cause::Step { .. } => {}
            Cause::Recovered => self.told.in_hand.clear(),
            Cause::Acknowledged { .. } => {
                assert!(!self.folded.acknowledged.is_empty(), "nobody has taken notice");
                for channel in channels {
                    assert_eq!(channel, "pager", "it keeps no alerts");
                    assert!(self.folded.told.alerts.contains_key(channel), "it has no alert");
                    assert!(
                        self.told.in_hand.insert(channel.clone()),
                        "{channel} was told twice that it is in hand"
                    );
                }
            }
        }
    }

    /// From here on the run goes by another plan.
    pub fn replan(&mut self, plan: Arc<Plan>, folded: State) {
        (self.plan, self.folded) = (plan, folded);
    }

    /// Takes a record that is on disk.
    pub fn record(&mut self, record: &Record, world: &World) {
        match &record.event {
            Event::TaskStarted { task, .. } => self.task_started(record, task, world),
            Event::TaskEnded { task, verdict, end, .. } => {
                self.task_ended(task, verdict);
                let began = self.began.get(&self.ix(&task.step)).copied();
                // One that was repeated without waiting for it says nothing of those after it.
                if matches!(end.kind, TaskEndKind::NotStarted { .. })
                    && !self.is_repeated(task)
                    && began == self.named.get(task).copied()
                {
                    self.began.remove(&self.ix(&task.step));
                }
            }
            Event::StepEnded { step, outcome, .. } => {
                let ix = self.ix(step);
                self.approved.remove(&ix);
                self.items_ended(ix, *outcome);
                if *outcome == StepOutcome::Succeeded {
                    assert!(!self.succeeded.contains(&ix), "{step} succeeded twice");
                    self.succeeded.insert(ix);
                    let acted = matches!(self.plan.steps[ix].body, Body::Command(_));
                    let by_hand = self.folded.steps[ix].done_by_hand;
                    let effect = world.ledger.iter().any(|e| e.step == ix);
                    assert!(!acted || by_hand || effect, "{step} succeeded without its effect");
                }
            }
            Event::Asked { step, question, .. } => {
                let ix = self.ix(step);
                if question.kind == QuestionKind::Manual {
                    self.began.entry(ix).or_insert(record.seq);
                }
                self.agreed.remove(&ix);
                if question.kind == QuestionKind::Undo {
                    self.undo_approved.remove(&ix);
                }
            }
            Event::Notice { number, cause, channels, .. } => {
                self.notice(record.t, *number, cause, channels);
            }
            Event::NoticeEnded { number, channel, .. } => {
                assert!(self.told.written.contains_key(number), "an end of no notice");
                assert!(self.told.ended.insert((*number, channel.clone())), "notice {number} ended twice");
            }
            Event::RunEnded(end) => self.said_at_the_end(end.outcome),
            Event::Answered { step, number, reply, by } => self.answered(step, *number, reply, by),
            Event::QuestionExpired { step, then, .. } => {
                let ix = self.ix(step);
                let asking = self.folded.steps[ix].asking().expect("an open question");
                assert!(asking.until.is_some_and(|until| record.t >= until), "{step} expired too early");
                match (then, asking.question.kind) {
                    (OnTimeout::Proceed, QuestionKind::Approval) => _ = self.approved.insert(ix),
                    (OnTimeout::Proceed, QuestionKind::Undo) => _ = self.undo_approved.insert(ix),
                    _ => {}
                }
            }
            // What people agreed to is this very task, which nobody knew of for a while.
            Event::TaskFound { task } => {
                self.found.insert(task.clone());
                let ix = self.ix(&task.step);
                if self.in_doubt_by.remove(task) {
                    self.dirty.remove(&ix);
                }
                let approved = match task.kind {
                    TaskKind::Undo => &mut self.undo_approved,
                    _ => &mut self.approved,
                };
                approved.insert(ix);
            }
            Event::StepUndone { step, state } => {
                let ix = self.ix(step);
                self.undo_approved.remove(&ix);
                if *state == UndoneState::Undone {
                    self.succeeded.remove(&ix);
                    self.dirty.remove(&ix);
                    self.began.remove(&ix);
                }
            }
            Event::StepResolved { step, resolution, .. } => {
                let ix = self.ix(step);
                self.succeeded.remove(&ix);
                self.dirty.remove(&ix);
                self.approved.remove(&ix);
                self.resolved.insert(ix);
                if *resolution == Resolution::NotDone {
                    self.began.remove(&ix);
                }
            }
            Event::RunResumed(_) | Event::RollbackStarted { .. } => self.last_undone = None,
            Event::WaitStarted { step, .. } | Event::GroupStarted { step, .. } => {
                let ix = self.ix(step);
                self.may_begin(ix);
                self.is_let_through(ix);
                if matches!(record.event, Event::GroupStarted { .. }) {
                    self.began.entry(ix).or_insert(record.seq);
                }
            }
            _ => {}
        }
        self.folded.apply(&self.plan, record).expect("a record that can be folded");
        // What hosts know of after all was begun when there was a place for it.
        let busy = self.folded.in_flight.keys().filter(|task| !self.found.contains(task)).count();
        assert!(busy <= self.plan.max_parallel, "{busy} tasks at once");
    }

    fn said_at_the_end(&self, outcome: RunOutcome) {
        if self.plan.updates.is_some() && outcome != RunOutcome::Waiting {
            assert!(self.folded.told.finished, "the run ended without a final update");
        }
        let recovered = matches!(outcome, RunOutcome::Recovered | RunOutcome::Degraded);
        let pager = |called: &Vec<String>| called.iter().any(|name| name == "pager");
        if recovered && self.folded.told.raised.values().any(pager) {
            assert!(self.folded.told.called_off, "an alert is left open");
        }
        if !self.folded.acknowledged.is_empty() && outcome != RunOutcome::Waiting {
            let mut alerts = self.folded.told.alerts.keys().filter(|name| *name == "pager");
            assert!(
                alerts.all(|name| self.told.in_hand.contains(name)),
                "an alert that is in hand calls people"
            );
        }
    }

    fn is_repeated(&self, task: &TaskId) -> bool {
        let place = |task: &TaskId| (task.attempt, task.rerun);
        let later = |t: &TaskId| t.step == task.step && t.kind == TaskKind::Attempt && place(t) > place(task);
        task.kind == TaskKind::Attempt && self.named.keys().any(later)
    }

    fn ix(&self, step: &runbook::model::StepId) -> StepIx {
        self.plan.find(step).expect("a step of the plan")
    }

    fn task_started(&mut self, record: &Record, task: &TaskId, world: &World) {
        let (ix, seq) = (self.ix(&task.step), record.seq);
        assert_eq!(self.named.insert(task.clone(), seq), None, "{task} was started twice");
        let status = &self.folded.status;
        if task.kind == TaskKind::Undo {
            let allowed = matches!(status, RunStatus::Running | RunStatus::RollingBack { .. });
            assert!(allowed, "{task} in {status:?}");
            if self.takes_back {
                self.nothing_acts_beside_undos(task, record.t, world);
            }
            self.undo_started(ix, task, world);
            return;
        }
        match status {
            RunStatus::Running => {}
            RunStatus::Stopping { .. } => {
                let under_way = self.folded.steps[ix].status != StepStatus::Pending;
                assert!(under_way, "{task} is new although the run stops");
            }
            _ => panic!("{task} in {status:?}"),
        }
        self.may_begin(ix);
        if matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy) {
            self.began.entry(ix).or_insert(seq);
        }
        if task.kind == TaskKind::Attempt {
            self.is_let_through(ix);
            assert!(!self.succeeded.contains(&ix), "{} was done and is done again", task.step);
            assert!(!self.folded.steps[ix].done_by_hand, "{} was done by a person", task.step);
            let spec = &self.plan.steps[ix];
            if task.rerun > 0 && !spec.idempotent {
                let there = world.there.iter().any(|e| e.step == ix && e.attempt == task.attempt);
                assert!(!there, "{task} repeats what took effect");
            }
        }
    }

    fn answered(&mut self, step: &StepId, number: u32, reply: &Reply, by: &Person) {
        let ix = self.ix(step);
        let asking = self.folded.steps[ix].asking().expect("an open question").clone();
        assert_eq!(asking.number, number, "{step} was answered to another question");
        // By the plan: what the question says of itself is the engine's.
        if let Some(ask) = asked_by(&self.plan.steps[ix], asking.question.kind) {
            let starter = &self.folded.start.as_ref().expect("a run").operator;
            let barred = ask.exclude_operator && by.name == *starter;
            let asked = ask.approvers.is_empty() || ask.approvers.contains(&by.name);
            assert!(asked && !barred, "{} may not answer {step}", by.name);
        }
        assert_ne!(reply.comment.as_deref(), Some("a stray word"), "{step} took a word that does not count");
        let agreed = self.agreed.entry(ix).or_default();
        match (asking.question.kind, &reply.answer) {
            (QuestionKind::Approval, Answer::Approve) => {
                assert!(agreed.insert(by.name.clone()), "{} agreed twice to {step}", by.name);
                let needed = self.plan.steps[ix].approval.as_ref().map_or(1, |ask| ask.count);
                if agreed.len() as u64 >= u64::from(needed) {
                    self.approved.insert(ix);
                }
            }
            (QuestionKind::Undo, Answer::Approve) => {
                assert!(agreed.insert(by.name.clone()), "{} agreed twice to the undo of {step}", by.name);
                let ask = asked_by(&self.plan.steps[ix], QuestionKind::Undo);
                if agreed.len() as u64 >= u64::from(ask.map_or(1, |ask| ask.count)) {
                    self.undo_approved.insert(ix);
                }
            }
            (QuestionKind::Failure, answer) => {
                self.dirty.remove(&ix);
                if *answer == Answer::Retry {
                    self.approved.remove(&ix);
                }
                self.resolved.insert(ix);
            }
            _ => {}
        }
    }

    /// Enough people agreed to the step, if its author wants that.
    fn is_let_through(&self, ix: StepIx) {
        let step = &self.plan.steps[ix];
        let asks = step.approval.is_some();
        assert!(!asks || self.approved.contains(&ix), "{} started before enough people agreed", step.id);
    }

    /// Needs, phase and the groups around the step.
    fn may_begin(&self, ix: StepIx) {
        let step = &self.plan.steps[ix];
        let state = &self.folded;
        // A person may have taken up again what this step, which has begun, was let through by.
        let begun = state.steps[ix].started.is_some();
        for &need in step.needs.iter().filter(|need| !begun || !self.resolved.contains(need)) {
            let outcome = state.steps[need].outcome();
            let passed = matches!(
                outcome,
                Some(StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Skipped)
            );
            let went_on = self.plan.steps[need].on_failure == runbook::plan::OnFailure::Continue
                && outcome == Some(StepOutcome::Failed);
            assert!(
                passed || went_on,
                "{} started before {}: {outcome:?}",
                step.id,
                self.plan.steps[need].id
            );
        }
        let phase = &state.phases[step.phase];
        assert!(matches!(phase, PhaseStatus::Running { .. }), "{} started in {phase:?}", step.id);
        if let Some(parent) = step.parent {
            assert!(state.steps[parent].is_inside(), "{} started outside its group", step.id);
            if let Body::AnyOf(alternatives) = &self.plan.steps[parent].body {
                let other = alternatives.iter().find(|a| **a != ix && state.steps[**a].is_active());
                assert_eq!(other, None, "two alternatives at once");
            }
            self.item_may_begin(ix, parent);
        }
    }

    /// The items beside one that begins: not too many at once, and none that was not done if that is to stop them.
    fn item_may_begin(&self, ix: StepIx, group: StepIx) {
        let Body::ForEach(each) = &self.plan.steps[group].body else { return };
        let state = &self.folded;
        if state.steps[ix].status != StepStatus::Pending {
            return;
        }
        let id = &self.plan.steps[ix].id;
        let others = || each.steps.iter().filter(|other| **other != ix).map(|other| &state.steps[*other]);
        let beside = others().filter(|other| other.is_active()).count();
        assert!(each.max_parallel.is_none_or(|most| beside < most), "{id} is one too many");
        if each.on_item_failure == OnItemFailure::Stop {
            let bad =
                |o| matches!(o, Some(StepOutcome::Failed | StepOutcome::Unknown | StepOutcome::Cancelled));
            let spoilt = others().find(|other| bad(other.own_outcome()));
            assert!(spoilt.is_none(), "{id} began although another item was not done");
        }
    }

    /// What a step that is done for each item came to, against a count of its own.
    fn items_ended(&self, ix: StepIx, outcome: StepOutcome) {
        let Body::ForEach(each) = &self.plan.steps[ix].body else { return };
        // One that a person has spoken of, or that never came to its items.
        if self.resolved.contains(&ix) || !self.folded.steps[ix].is_inside() {
            return;
        }
        let id = &self.plan.steps[ix].id;
        let outcomes: Vec<_> = each.steps.iter().map(|item| self.folded.steps[*item].own_outcome()).collect();
        let with = |wanted: &[StepOutcome]| {
            outcomes.iter().flatten().filter(|outcome| wanted.contains(outcome)).count()
        };
        let done = with(&[StepOutcome::Succeeded, StepOutcome::Satisfied]);
        let needed = each.at_least.unwrap_or(outcomes.len() - with(&[StepOutcome::Skipped]));
        let running = each.steps.iter().any(|item| self.folded.steps[*item].is_active());
        assert!(!running, "{id} is over and an item runs");
        match outcome {
            StepOutcome::Succeeded => {
                assert!(done >= needed, "{id} succeeded with {done} of {needed}");
                // Those that could have been begun were.
                let left = outcomes.iter().filter(|outcome| outcome.is_none()).count();
                assert_eq!(left, 0, "{id} succeeded before all of its items were over");
            }
            StepOutcome::Failed => {
                let rollback = matches!(self.folded.status, RunStatus::RollingBack { .. });
                assert!(rollback || done < needed, "{id} failed with {done} of {needed}");
                assert_eq!(with(&[StepOutcome::Unknown]), 0, "{id} failed with an item in doubt");
            }
            StepOutcome::Cancelled => {}
            other => panic!("{id} is {other}"),
        }
    }

    /// Neither what is being taken back, nor what was built on it, nor anything else.
    fn nothing_acts_beside_undos(&self, undo: &TaskId, t: Millis, world: &World) {
        let in_flight: Vec<&TaskId> = self.folded.in_flight.keys().collect();
        assert!(in_flight.is_empty(), "{undo} starts beside {in_flight:?}");
        // What was taken back while its host did not answer was told of then, and is over.
        let open = |ix: &StepIx| {
            self.folded.steps[*ix].undo != runbook::engine::UndoStatus::Over(UndoneState::Undone)
        };
        let beside = (0..self.plan.steps.len()).filter(open).find_map(|ix| world.acts_unasked(ix, t));
        assert_eq!(beside, None, "{undo} starts beside what nobody asked about");
    }

    fn undo_started(&mut self, ix: StepIx, task: &TaskId, world: &World) {
        let id = &task.step;
        assert!(self.folded.in_flight.keys().all(|t| t.kind != TaskKind::Undo), "{id}: two undos at once");
        let asks = asked_by(&self.plan.steps[ix], QuestionKind::Undo).is_some();
        assert!(!asks || self.undo_approved.contains(&ix), "{id} is taken back before enough people agreed");
        for (other, step) in self.plan.steps.iter().enumerate() {
            let there = step.undo.is_some() && world.has_effect(other) && !self.resolved.contains(&other);
            if there && other != ix && self.plan.ancestors(other).contains(&ix) {
                panic!("{id} is taken back before {}, which was built on it", step.id);
            }
        }
        let in_rollback = matches!(self.folded.status, RunStatus::RollingBack { .. });
        // One that its host turned out not to have begun had its turn before, and so had one that a crash forestalled:
        // meanwhile a host may have told that more can be taken back.
        let found = self.found.iter().any(|t| t.kind == TaskKind::Undo && t.step == task.step);
        let again = self.forestalled.remove(&ix) || found;
        if in_rollback && task.attempt == 1 && !again && !self.resolved.contains(&ix) {
            let began = self.began.get(&ix).copied().unwrap_or(0);
            assert!(self.last_undone.is_none_or(|last| began <= last), "{id} is not taken back in its turn");
            self.last_undone = Some(began);
        }
    }

    fn task_ended(&mut self, task: &TaskId, verdict: &TaskVerdict) {
        let ix = self.ix(&task.step);
        match (task.kind, verdict) {
            (TaskKind::Attempt | TaskKind::Remedy, TaskVerdict::Unknown(_)) if self.dirty.insert(ix) => {
                self.in_doubt_by.insert(task.clone());
            }
            (TaskKind::Check, TaskVerdict::Passed | TaskVerdict::Failed(_)) => _ = self.dirty.remove(&ix),
            (TaskKind::Undo, TaskVerdict::NotRun) => _ = self.forestalled.insert(ix),
            _ => {}
        }
    }

    /// Takes a whole decision: every act has its record in it.
    pub fn decision(&self, decision: &Decision) {
        let recorded: BTreeSet<&TaskId> = decision
            .records
            .iter()
            .filter_map(|r| match &r.event {
                Event::TaskStarted { task, .. } => Some(task),
                _ => None,
            })
            .collect();
        let started: BTreeSet<&TaskId> = decision
            .acts
            .iter()
            .filter_map(|a| match a {
                Act::Start(start) => Some(&start.task),
                Act::Stop { .. } | Act::Notify(_) => None,
            })
            .collect();
        let notices = decision.records.iter().filter(|r| matches!(r.event, Event::Notice { .. })).count();
        let sent = decision.acts.iter().filter(|act| matches!(act, Act::Notify(_))).count();
        assert_eq!(notices, sent, "each notice that is recorded is sent, and no other");
        assert_eq!(recorded, started, "what is recorded as started and what is started differ");
    }

    /// What must be true of a run that has ended.
    pub fn end(&self, world: &World) {
        let state = &self.folded;
        let end = state.end().expect("an end");
        assert!(state.in_flight.is_empty(), "ended {} with {:?}", end.outcome, state.in_flight.keys());
        let outcomes = |o| state.steps.iter().any(|s| s.outcome() == Some(o));
        match end.outcome {
            RunOutcome::Recovered | RunOutcome::Degraded => {
                for (ix, step) in state.steps.iter().enumerate() {
                    let id = &self.plan.steps[ix].id;
                    assert!(!step.is_active(), "{id} is still under way");
                    assert!(
                        self.plan.steps[ix].parent.is_some() || step.outcome().is_some(),
                        "{id} is not over"
                    );
                }
                // One that enough others were done without stays unknown, and the run is not called recovered.
                let settled = |ix: StepIx| {
                    let group = self.plan.foreach_around(ix);
                    group
                        .is_some_and(|group| state.steps[group].own_outcome() == Some(StepOutcome::Succeeded))
                };
                for (ix, step) in state.steps.iter().enumerate() {
                    if step.outcome() == Some(StepOutcome::Unknown) {
                        let known = !self.resolved.is_empty();
                        let degraded = end.outcome == RunOutcome::Degraded;
                        assert!(known || settled(ix) && degraded, "{} is unknown", self.plan.steps[ix].id);
                    }
                }
            }
            RunOutcome::RolledBack | RunOutcome::Stuck => {
                let stuck = state.steps.iter().any(|s| {
                    matches!(
                        s.undo,
                        runbook::engine::UndoStatus::Over(
                            UndoneState::Failed { .. } | UndoneState::Unknown { .. }
                        )
                    )
                });
                assert_eq!(stuck, end.outcome == RunOutcome::Stuck);
                assert!(state.steps.iter().all(|s| !s.is_active()), "something is still under way");
                if !stuck {
                    self.all_is_taken_back(world);
                }
            }
            RunOutcome::InDoubt => assert!(outcomes(StepOutcome::Unknown)),
            RunOutcome::Failed | RunOutcome::Cancelled | RunOutcome::Waiting => {}
        }
    }

    fn all_is_taken_back(&self, world: &World) {
        for (ix, step) in self.plan.steps.iter().enumerate() {
            if step.undo.is_some() && !self.resolved.contains(&ix) {
                assert!(!world.has_effect(ix), "{} is still there", step.id);
                assert!(!self.dirty.contains(&ix), "{} is dirty and was not taken back", step.id);
            }
        }
    }
}

/// Whether the level is one for a missed RTO, and the RTO is missed by past runs, or has passed.
fn breaches(plan: &Plan, state: &State, level: &Level, t: Millis) -> bool {
    let (Some(rto), Some(of)) = (plan.objectives.rto, level.projected_breach) else { return false };
    t > rto || Projection::of(plan, state, t).is_some_and(|projected| projected.end.get(of) > rto)
}

/// A level that is due and was not raised.
pub fn is_owed(plan: &Plan, state: &State, t: Millis) -> bool {
    let due =
        |level: &Level| !state.told.raised.contains_key(&level.level) && breaches(plan, state, level, t);
    let goes_on = state.status == RunStatus::Running && state.acknowledged.is_empty();
    goes_on && plan.escalation.iter().any(due)
}

/// What the plan says of such a question of the step. Of a failed step's nothing: anybody may answer it.
fn asked_by(step: &Step, kind: QuestionKind) -> Option<&Ask> {
    match (kind, &step.body) {
        (QuestionKind::Approval, _) => step.approval.as_deref(),
        (QuestionKind::Undo, _) => step.undo.as_ref()?.approval.as_deref(),
        (QuestionKind::Choice, Body::Choose(choose)) => Some(&choose.ask),
        (QuestionKind::Manual, Body::Manual(ask)) => Some(ask),
        _ => None,
    }
}
