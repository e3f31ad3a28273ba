//! What stands around the engine: commands with their effects, and the keeper that runs them and survives its runner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
}

impl Odds {
    pub const KIND: Self =
        Self { attempt_fails: 0, undo_fails: 0, verify_fails: 0, check_is_mute: 0, unknown: 0 };
}

#[derive(Debug, Clone)]
struct Running {
    ends: Millis,
    began: Millis,
    end: TaskEndKind,
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
    /// Effects that are there now.
    pub there: BTreeSet<Effect>,
    /// All effects there ever were.
    pub ledger: Vec<Effect>,
    /// Steps in the order in which they were taken back.
    pub undone: Vec<StepIx>,
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
            there: BTreeSet::new(),
            ledger: Vec::new(),
            undone: Vec::new(),
        }
    }

    pub fn has_effect(&self, step: StepIx) -> bool {
        self.there.iter().any(|e| e.step == step)
    }

    /// The keeper starts a command. What it does depends on the seed and on what it is, not on when or how often.
    pub fn start(&mut self, task: &TaskId, now: Millis) {
        assert!(self.started.insert(task.clone()), "the keeper was told twice to start {task}");
        let ix = self.plan.find(&task.step).expect("a step of the plan");
        let same = TaskId { rerun: 0, ..task.clone() };
        let mut random = keyed(self.seed, &same.to_string());
        let length = Millis(if random.chance(20) { 0 } else { random.below(5000) });
        let end = match task.kind {
            TaskKind::Attempt => self.attempt(ix, task, &mut random),
            TaskKind::Undo => {
                if random.chance(self.odds.undo_fails) {
                    exit(1)
                } else {
                    self.there.retain(|e| e.step != ix);
                    self.undone.push(ix);
                    exit(0)
                }
            }
            TaskKind::Check if random.chance(self.odds.check_is_mute) => exit(2),
            TaskKind::Check => exit(i32::from(!self.has_effect(ix))),
            TaskKind::Unless => {
                let mut constant = keyed(self.seed, task.step.as_str());
                exit(i32::from(constant.chance(70)))
            }
            TaskKind::Verify { .. } => exit(i32::from(random.chance(self.odds.verify_fails))),
            TaskKind::Remedy => exit(i32::from(random.chance(20))),
        };
        let ends = now.saturating_add(length);
        self.running.insert(task.clone(), Running { ends, began: now, end });
    }

    fn attempt(&mut self, ix: StepIx, task: &TaskId, random: &mut super::random::Random) -> TaskEndKind {
        let odds = self.odds;
        let unknown = random.chance(odds.unknown);
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
                self.notes.insert(task, TaskEnd::new(r.end, r.ends.saturating_sub(r.began)));
            }
        }
    }

    pub fn stop(&mut self, task: &TaskId, now: Millis) {
        if let Some(running) = self.running.get_mut(task) {
            running.end = TaskEndKind::Cancelled;
            running.ends = running.ends.min(now.saturating_add(Millis(500)));
        }
    }

    /// The keeper dies, and its commands with it.
    pub fn kill_keeper(&mut self, now: Millis) {
        self.collect(now);
        self.running.clear();
    }

    /// What a resume finds out about a task in flight; none if it still runs.
    pub fn find(&mut self, task: &TaskId, now: Millis) -> Option<runbook::engine::Found> {
        use runbook::engine::Found;
        self.collect(now);
        if self.running.contains_key(task) {
            return None;
        }
        Some(match self.notes.get(task) {
            Some(end) => Found::Ended { end: end.clone(), output: Box::new(TaskOutput::none()) },
            None if self.started.contains(task) => Found::Unknown { why: "the keeper is gone".into() },
            None => Found::NeverStarted,
        })
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
