//! What stands around the engine: commands with their effects, and the keeper that runs them and survives its runner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runbook::engine::Found;
use runbook::model::{Millis, TaskEnd, TaskEndKind, TaskId, TaskKind, TaskOutput};
use runbook::plan::{Plan, StepIx};

use super::random::keyed;

/// How often, of 100, things go wrong.
#[derive(Debug, Clone, Copy)]
pub struct Odds {
    pub attempt_fails: u64,
    pub undo_fails: u64,
    pub verify_fails: u64,
    /// The check cannot tell.
    pub check_is_mute: u64,
    /// The command's end cannot be known, although the keeper lives (a broken connection).
    pub unknown: u64,
    /// The link to the other host breaks under a command; and it is not back when a resume wants to ask.
    pub link: u64,
}

impl Odds {
    pub const KIND: Self =
        Self { attempt_fails: 0, undo_fails: 0, verify_fails: 0, check_is_mute: 0, unknown: 0, link: 0 };
}

#[derive(Debug, Clone)]
struct Running {
    ends: Millis,
    began: Millis,
    end: TaskEndKind,
    /// On the other host: what is known there, whatever becomes of the link.
    far: Option<Far>,
}

/// A command as its host knows it.
#[derive(Debug, Clone)]
struct Far {
    ends: Millis,
    end: TaskEndKind,
    /// The link broke before it began: it never will.
    never: bool,
    /// The host was restarted under it.
    gone: bool,
}

/// One attempt that took effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effect {
    pub step: StepIx,
    pub attempt: u32,
}

pub struct World {
    pub plan: Arc<Plan>,
    seed: u64,
    odds: Odds,
    running: BTreeMap<TaskId, Running>,
    /// Exit notes: they survive the keeper.
    notes: BTreeMap<TaskId, TaskEnd>,
    started: BTreeSet<TaskId>,
    /// What other hosts know of commands whose link broke, or whose keeper is dead.
    far: BTreeMap<TaskId, Far>,
    /// How often hosts were asked.
    asked: u32,
    /// Effects that are there now.
    pub there: BTreeSet<Effect>,
    /// All effects there ever were.
    pub ledger: Vec<Effect>,
    /// Steps in the order in which they were taken back.
    pub undone: Vec<StepIx>,
    /// Steps that were taken back behind a broken link, and have not been done again.
    taken_back: BTreeSet<StepIx>,
    /// Those of which this process can know no more: their links broke under it, or their hosts did not answer it.
    silent: BTreeSet<TaskId>,
    /// Steps of which a person has said that the run is to go on whatever still runs for them.
    pub careless: BTreeSet<StepIx>,
}

impl World {
    pub fn new(plan: Arc<Plan>, seed: u64, odds: Odds) -> Self {
        Self {
            plan,
            seed,
            odds,
            running: BTreeMap::new(),
            notes: BTreeMap::new(),
            started: BTreeSet::new(),
            far: BTreeMap::new(),
            asked: 0,
            there: BTreeSet::new(),
            ledger: Vec::new(),
            undone: Vec::new(),
            taken_back: BTreeSet::new(),
            silent: BTreeSet::new(),
            careless: BTreeSet::new(),
        }
    }

    pub fn has_effect(&self, step: StepIx) -> bool {
        self.there.iter().any(|e| e.step == step)
    }

    /// The keeper starts a command. What it does depends on the seed and on what it is, not on when or how often.
    pub fn start(&mut self, task: &TaskId, far: bool, now: Millis) {
        assert!(self.started.insert(task.clone()), "the keeper was told twice to start {task}");
        let ix = self.plan.find(&task.step).expect("a step of the plan");
        self.nothing_acts_beside(ix, task, now);
        let same = TaskId { rerun: 0, ..task.clone() };
        let mut random = keyed(self.seed, &same.to_string());
        let length = Millis(if random.chance(20) { 0 } else { random.below(5000) });
        // Aside, so that all else stays what the seed gave. Not for ever the same: a link comes back.
        let mut aside = keyed(self.seed, &format!("{task} link"));
        let cut = far && aside.chance(self.odds.link);
        let never = cut && aside.chance(25);
        let end = if never {
            TaskEndKind::NotStarted { error: "it never began".into() }
        } else {
            self.act(ix, task, (far, now), &mut random)
        };
        if cut && task.kind == TaskKind::Undo && end == exit(0) {
            self.taken_back.insert(ix);
        }
        let ends = now.saturating_add(length);
        let far = far.then(|| Far { ends, end: end.clone(), never, gone: cut && aside.chance(15) });
        let running = match cut {
            true => {
                let broken = now.saturating_add(Millis(length.0 / 2));
                let why = "the link broke".into();
                Running { ends: broken, began: now, end: TaskEndKind::Unknown { why }, far }
            }
            false => Running { ends, began: now, end, far },
        };
        self.running.insert(task.clone(), running);
    }

    /// At most one command that acts for a step, here and elsewhere. Left out is what may be repeated whatever becomes of
    /// the one before; who may say that it does not matter is the oracle's business.
    fn nothing_acts_beside(&self, ix: StepIx, task: &TaskId, now: Millis) {
        let acts = |task: &TaskId| matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy | TaskKind::Undo);
        let spec = &self.plan.steps[ix];
        if !acts(task) || self.careless.contains(&ix) || spec.idempotent {
            return;
        }
        let beside = self.far.iter().find(|(other, far)| {
            let undo = task.kind == TaskKind::Undo && other.kind != TaskKind::Undo;
            other.step == task.step && acts(other) && !undo && !far.never && !far.gone && far.ends > now
        });
        assert!(beside.is_none(), "{task} acts beside {beside:?} at {now}");
    }

    /// What acts for the step on another host and is not in flight, although this process could have asked about it.
    pub fn acts_unasked(&self, ix: StepIx, now: Millis) -> Option<&TaskId> {
        if self.careless.contains(&ix) {
            return None;
        }
        let acts = |task: &TaskId| matches!(task.kind, TaskKind::Attempt | TaskKind::Remedy);
        let there = |(task, far): &(&TaskId, &Far)| {
            acts(task) && self.plan.find(&task.step) == Some(ix) && !far.never && !far.gone && far.ends > now
        };
        self.far.iter().filter(there).map(|(task, _)| task).find(|task| !self.silent.contains(task))
    }

    /// Another process may ask hosts again.
    pub fn process_is_new(&mut self) {
        self.silent.clear();
    }

    /// An attempt of the step goes on there, and nobody here hears of it.
    fn acts_there(&self, ix: StepIx, now: Millis) -> bool {
        let attempt =
            |task: &TaskId| task.kind == TaskKind::Attempt && self.plan.find(&task.step) == Some(ix);
        self.far.iter().any(|(task, far)| attempt(task) && !far.never && !far.gone && far.ends > now)
    }

    fn act(
        &mut self,
        ix: StepIx,
        task: &TaskId,
        (far, now): (bool, Millis),
        random: &mut super::random::Random,
    ) -> TaskEndKind {
        match task.kind {
            TaskKind::Attempt => self.attempt(ix, task, far, random),
            TaskKind::Undo => {
                if random.chance(self.odds.undo_fails) {
                    exit(1)
                } else {
                    self.there.retain(|e| e.step != ix);
                    let twice = self.taken_back.contains(&ix) && !self.careless.contains(&ix);
                    assert!(!twice, "{task} takes back what is taken back");
                    self.undone.push(ix);
                    exit(0)
                }
            }
            TaskKind::Check if random.chance(self.odds.check_is_mute) => exit(2),
            // What still goes on behind a broken link may show its effect only later.
            TaskKind::Check if self.acts_there(ix, now) && random.chance(50) => exit(1),
            TaskKind::Check => exit(i32::from(!self.has_effect(ix))),
            TaskKind::Unless => {
                let mut constant = keyed(self.seed, task.step.as_str());
                exit(i32::from(constant.chance(70)))
            }
            TaskKind::Verify { .. } => exit(i32::from(random.chance(self.odds.verify_fails))),
            TaskKind::Remedy => exit(i32::from(random.chance(20))),
        }
    }

    fn attempt(
        &mut self,
        ix: StepIx,
        task: &TaskId,
        far: bool,
        random: &mut super::random::Random,
    ) -> TaskEndKind {
        let odds = self.odds;
        self.taken_back.remove(&ix);
        // Elsewhere that is the link's affair.
        let unknown = random.chance(odds.unknown) && !far;
        let fails = random.chance(odds.attempt_fails);
        let kind = random.below(10);
        // A failed command may have done its work all the same.
        let works = if unknown || fails { kind != 0 && random.chance(30) } else { true };
        if works {
            let effect = Effect { step: ix, attempt: task.attempt };
            self.ledger.push(effect.clone());
            let again = !self.there.insert(effect);
            assert!(!again || self.plan.steps[ix].idempotent, "{task} took effect twice");
        }
        match (unknown, fails, kind) {
            (true, ..) => TaskEndKind::Unknown { why: "the connection broke".into() },
            (_, false, _) => exit(0),
            (_, _, 0) => TaskEndKind::NotStarted { error: "no such file".into() },
            (_, _, 1) => TaskEndKind::Signaled { signal: 9 },
            (_, _, 2..4) => TaskEndKind::TimedOut,
            _ => exit(1),
        }
    }

    pub fn next_end(&self) -> Option<Millis> {
        if !self.notes.is_empty() {
            return Some(Millis::ZERO);
        }
        self.running.values().map(|r| r.ends).min()
    }

    /// The next command that is over by now, with its end.
    pub fn take_ended(&mut self, now: Millis) -> Option<(TaskId, TaskEnd)> {
        self.collect(now);
        self.notes.pop_first()
    }

    fn collect(&mut self, now: Millis) {
        let due: Vec<TaskId> =
            self.running.iter().filter(|(_, r)| r.ends <= now).map(|(task, _)| task.clone()).collect();
        for task in due {
            if let Some(r) = self.running.remove(&task) {
                if matches!(r.end, TaskEndKind::Unknown { .. }) {
                    self.silent.insert(task.clone());
                    self.far.extend(r.far.map(|far| (task.clone(), far)));
                }
                self.notes.insert(task, TaskEnd::new(r.end, r.ends.saturating_sub(r.began)));
            }
        }
    }

    pub fn stop(&mut self, task: &TaskId, now: Millis) {
        if let Some(running) = self.running.get_mut(task) {
            running.ends = running.ends.min(now.saturating_add(Millis(500)));
            // A host that cannot be asked cannot be asked to end it either.
            if !matches!(running.end, TaskEndKind::Unknown { .. }) || running.far.is_none() {
                running.end = TaskEndKind::Cancelled;
            }
        }
    }

    /// The keeper dies, and its commands with it; not those on other hosts.
    pub fn kill_keeper(&mut self, now: Millis) {
        self.collect(now);
        for (task, running) in std::mem::take(&mut self.running) {
            self.far.extend(running.far.map(|far| (task, far)));
        }
    }

    /// What a resume finds out about a task in flight; none if it still runs.
    pub fn find(&mut self, task: &TaskId, now: Millis) -> Option<Found> {
        self.collect(now);
        if self.running.contains_key(task) {
            return None;
        }
        Some(match self.notes.get(task) {
            Some(end) => Found::Ended { end: end.clone(), output: Box::new(TaskOutput::none()) },
            None if self.far.contains_key(task) => self.ask(task, now),
            None if self.started.contains(task) => Found::Unknown { why: "the keeper is gone".into() },
            None => Found::NeverStarted,
        })
    }

    /// What a task's host says of it.
    pub fn ask(&mut self, task: &TaskId, now: Millis) -> Found {
        self.asked += 1;
        let mut random = keyed(self.seed, &format!("{task} asked {}", self.asked));
        let known = self.far.get(task).cloned();
        match known {
            Some(_) if random.chance(self.odds.link) => {
                self.silent.insert(task.clone());
                Found::Unknown { why: "no route to host".into() }
            }
            Some(far) if far.never => Found::NeverStarted,
            Some(far) if far.gone => {
                self.far.remove(task);
                let mut end = TaskEnd::new(TaskEndKind::Unknown { why: "restarted".into() }, Millis::ZERO);
                end.gone = true;
                Found::Ended { end, output: Box::new(TaskOutput::none()) }
            }
            Some(far) if far.ends <= now => {
                let end = TaskEnd::new(far.end, Millis::ZERO);
                Found::Ended { end, output: Box::new(TaskOutput::none()) }
            }
            Some(far) => {
                let cut = random.chance(self.odds.link);
                let end = match cut {
                    true => TaskEndKind::Unknown { why: "the link broke again".into() },
                    false => far.end.clone(),
                };
                self.far.remove(task);
                self.running
                    .insert(task.clone(), Running { ends: far.ends, began: now, end, far: Some(far) });
                Found::Runs
            }
            None => Found::Unknown { why: "nobody knows of it".into() },
        }
    }

    pub fn note_again(&mut self, task: &TaskId, end: &TaskEnd) {
        self.notes.insert(task.clone(), end.clone());
    }

    /// Notes whose end is in the journal by now.
    pub fn forget(&mut self, task: &TaskId) {
        self.notes.remove(task);
    }
}

fn exit(code: i32) -> TaskEndKind {
    TaskEndKind::Exited { code }
}
