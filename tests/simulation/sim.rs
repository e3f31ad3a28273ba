//! A run of the engine in a simulated world: clock, journal, keeper, operator and crashes are all driven from here.

use std::sync::Arc;

use runbook::engine::{Act, Clock, Engine, Found, Input, Outgoing, RunFacts, RunStatus, State};
use runbook::model::{
    Delivery, Event, FORMAT, Millis, Op, Past, PastStep, Record, ReplanInfo, Resolution, ResumeInfo, RunEnd,
    RunId, RunOutcome, Spread, StartInfo, StepOutcome, TaskEnd, TaskId, TaskOutput, Timestamp,
};
use runbook::plan::{Plan, StepIx};

use super::oracle::Oracle;
use super::people::{Moment, Word, words};
use super::random::{Random, keyed};
use super::world::{Odds, World};

/// 2026-11-21 10:37:55 UTC.
pub const START: i64 = 1_795_257_475_000;

/// Where the runner dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// So many records are on disk.
    pub records: usize,
    /// If a decision ends just there: its acts have been performed.
    pub acted: bool,
    pub keeper_dies: bool,
}

pub struct Sim {
    pub plan: Arc<Plan>,
    pub journal: Vec<Record>,
    pub world: World,
    pub oracle: Oracle,
    pub now: Millis,
    engine: Engine,
    /// Gets the same inputs, and must decide the same.
    twin: Engine,
    crash: Option<Crash>,
    pub crashed: bool,
    decisions: usize,
    /// Everything is compared after every decision; for most seeds it is enough to do so when a process ends.
    pub audited: bool,
    /// Decides what people say.
    seed: u64,
    /// When each notice under way is answered for, and how; some never are.
    notices: Vec<(Millis, u32, String, Delivery)>,
    /// When a word that does not count has been said.
    strays: std::collections::BTreeSet<Moment>,
}

pub fn facts() -> RunFacts {
    RunFacts {
        id: "simulated-20261121T103755Z-abcd".into(),
        dir: "/state/runs/simulated".into(),
        started_at: Timestamp(START).to_string(),
        operator: "alice".into(),
        environment: None,
    }
}

pub fn start_info() -> StartInfo {
    StartInfo {
        format: FORMAT,
        run: RunId::parse("simulated-20261121T103755Z-abcd").expect("a run id"),
        playbook: "simulated".into(),
        title: "Simulated".into(),
        plan_hash: "0".repeat(64),
        environment: None,
        params: std::collections::BTreeMap::new(),
        incident_since: Timestamp(START),
        operator: "alice".into(),
        host: "here".into(),
        pid: 1,
        version: "0".into(),
        boot_id: "b".into(),
        seed: 7,
        drill: false,
        past: None,
    }
}

/// What past runs tell of the plan's steps: of some of them, and sometimes of none.
fn past(plan: &Plan, seed: u64) -> Option<Box<Past>> {
    let mut random = keyed(seed, "past");
    if random.chance(20) {
        return None;
    }
    let mut past =
        Past { runs: 1 + random.index(20) as u32, drills: random.index(3) as u32, ..Past::default() };
    for step in &plan.steps {
        let spread = |random: &mut Random| {
            let p50 = Millis(random.below(5000));
            Spread { p50, p90: p50.saturating_add(Millis(random.below(5000))) }
        };
        if random.chance(80) {
            let told = PastStep {
                ran: random.index(10) as u32,
                not_needed: if random.chance(30) { random.index(10) as u32 } else { 0 },
                took: spread(&mut random),
                people: random.chance(50).then(|| spread(&mut random)),
            };
            past.steps.insert(step.id.clone(), told);
        }
    }
    Some(Box::new(past))
}

pub fn resume_info() -> ResumeInfo {
    ResumeInfo {
        operator: "bob".into(),
        host: "here".into(),
        pid: 2,
        version: "0".into(),
        boot_id: "b".into(),
    }
}

pub fn at(t: Millis) -> Clock {
    Clock { t, at: Timestamp(START + i64::try_from(t.0).expect("a short run")) }
}

impl Sim {
    pub fn new(plan: Arc<Plan>, seed: u64, odds: Odds, crash: Option<Crash>) -> Self {
        Self {
            world: World::new(plan.clone(), seed, odds),
            oracle: Oracle::new(plan.clone()),
            engine: Engine::new(plan.clone(), facts()),
            twin: Engine::new(plan.clone(), facts()),
            plan,
            journal: Vec::new(),
            now: Millis::ZERO,
            crash,
            crashed: false,
            decisions: 0,
            audited: true,
            seed,
            notices: Vec::new(),
            strays: std::collections::BTreeSet::new(),
        }
    }

    pub fn state(&self) -> &State {
        self.engine.state()
    }

    pub fn start(&mut self) {
        let past = past(&self.plan, self.seed);
        self.input(&|| Input::Start(Box::new(StartInfo { past: past.clone(), ..start_info() })));
    }

    /// Feeds an input; the runner may die on the way.
    pub fn input(&mut self, make: &dyn Fn() -> Input) {
        self.decisions += 1;
        assert!(self.decisions < 30_000, "the run does not end");
        let now = at(self.now);
        let decision = self.engine.handle(now, make());
        assert_eq!(decision, self.twin.handle(now, make()), "the same input was decided differently");
        assert_eq!(self.engine.fault(), None);
        // Whatever the state is, it can be asked.
        let _ = self.engine.likely_next();
        self.oracle.decision(&decision);
        if self.audited {
            assert!(
                !super::oracle::is_owed(&self.plan, self.engine.state(), self.now),
                "nobody is told of the breach"
            );
        }
        if self.audited
            && let Err(why) = self.engine.audit()
        {
            panic!("{why}");
        }
        for record in decision.records {
            if self.crash.is_some_and(|c| self.journal.len() == c.records) {
                return self.die();
            }
            self.oracle.record(&record, &self.world);
            if let Event::TaskEnded { task, .. } = &record.event {
                self.world.forget(task);
            }
            self.journal.push(record);
        }
        assert!(
            !self.audited || &self.oracle.folded == self.engine.state(),
            "the state is not the fold of the journal"
        );
        let due = self.crash.is_some_and(|c| self.journal.len() == c.records);
        if due && self.crash.is_some_and(|c| !c.acted) {
            return self.die();
        }
        for act in decision.acts {
            match act {
                Act::Start(start) => {
                    let far = matches!(&start.op, Op::Process(op) if op.host.is_some());
                    self.world.start(&start.task, far, self.now);
                }
                Act::Stop { task, .. } => self.world.stop(&task, self.now),
                Act::Notify(out) => self.send(&out),
            }
        }
        if due {
            self.die();
        }
    }

    fn send(&mut self, out: &Outgoing) {
        self.oracle.sent(out);
        for channel in &out.channels {
            let mut random = keyed(self.seed, &format!("{channel} {}", out.number));
            if random.chance(10) {
                continue;
            }
            let delivered = random.chance(60);
            let delivery = Delivery {
                delivered,
                unsure: !delivered && random.chance(50),
                attempts: 1 + random.index(4) as u32,
                why: (!delivered).then(|| "nobody answers".to_owned()),
                answered: None,
                duration: Millis::ZERO,
            };
            let at = self.now.saturating_add(Millis(random.below(6000)));
            self.notices.push((at, out.number, channel.clone(), delivery));
        }
    }

    /// Somebody answers for a notice, also after the run's end.
    fn hear_of_notice(&mut self, ix: usize) {
        let (_, number, channel, delivery) = self.notices.swap_remove(ix);
        let before = self.journal.len();
        self.input(&|| Input::Told { number, channel: channel.clone(), delivery: delivery.clone() });
        assert!(self.crashed || self.journal.len() > before, "a notice of which nothing is recorded");
    }

    /// The channels that answer in time before the process leaves a run that has ended; the others are given up.
    pub fn wait_for_notices(&mut self) {
        while !self.crashed && !self.notices.is_empty() {
            self.hear_of_notice(0);
        }
        assert!(self.crashed || self.state().end().is_some());
    }

    pub fn set_crash(&mut self, crash: Option<Crash>) {
        self.crash = crash;
    }

    fn die(&mut self) {
        self.crashed = true;
        self.notices.clear();
        if self.crash.take().is_some_and(|c| c.keeper_dies) {
            self.world.kill_keeper(self.now);
        }
    }

    /// The next thing that happens by itself. False if the run has ended, or its process has died.
    pub fn step(&mut self) -> bool {
        if self.crashed || self.state().end().is_some() {
            return false;
        }
        let deadline = self.engine.next_deadline();
        let word = self.next_word();
        let said = word.as_ref().map(|word| word.at);
        let told = (0..self.notices.len()).min_by_key(|ix| self.notices[*ix].0);
        let heard = told.map(|ix| self.notices[ix].0);
        let next = [deadline, self.world.next_end(), said, heard].into_iter().flatten().min();
        let next = next.unwrap_or_else(|| panic!("nothing can happen any more: {:?}", self.state().status));
        self.now = self.now.max(next);
        if let Some((task, end)) = self.world.take_ended(self.now) {
            self.ended(&task, &end);
        } else if let Some(ix) = told.filter(|ix| self.notices[*ix].0 <= self.now) {
            self.hear_of_notice(ix);
        } else if let Some(word) = word.filter(|word| word.at <= self.now) {
            self.say(&word);
        } else {
            let before = self.journal.len();
            self.input(&|| Input::Tick);
            assert!(self.crashed || self.journal.len() > before, "a deadline at which nothing is due");
        }
        true
    }

    /// What somebody says next. Nobody speaks to a run that is being ended.
    fn next_word(&self) -> Option<Word> {
        if !matches!(self.state().status, RunStatus::Running | RunStatus::RollingBack { .. }) {
            return None;
        }
        let had = |moment| self.strays.contains(&moment);
        words(&self.plan, self.state(), self.seed, &had).into_iter().min_by_key(|word| (word.at, word.step))
    }

    fn say(&mut self, word: &Word) {
        let step = self.plan.steps[word.step].id.clone();
        if word.stray {
            let asking = self.state().steps[word.step].asking().expect("an open question");
            let moment = (word.step, asking.number, asking.agreed.len());
            self.strays.insert(moment);
        }
        let before = self.journal.len();
        self.input(&|| Input::Answer {
            step: step.clone(),
            binding: None,
            reply: word.reply.clone(),
            by: word.by.clone(),
        });
        assert!(self.crashed || self.journal.len() > before, "a word that leaves no record");
    }

    fn ended(&mut self, task: &TaskId, end: &TaskEnd) {
        let input = || Input::TaskEnded {
            task: task.clone(),
            end: end.clone(),
            output: Box::new(TaskOutput::none()),
        };
        self.input(&input);
        if self.oracle.folded.in_flight.contains_key(task) {
            // The runner did not get to say that it knows: the note stays.
            self.world.note_again(task, end);
        }
    }

    /// Another process takes the run up with the plan of an edited playbook; `state` is the run so far under it. Steps
    /// keep their numbers.
    pub fn replan(&mut self, plan: Arc<Plan>, state: State, info: ReplanInfo) {
        self.plan = plan.clone();
        self.world.plan = plan.clone();
        self.oracle.replan(plan, state);
        self.take_up(false, false, vec![Event::Replanned(Box::new(info))]);
    }

    /// Another process takes the run up.
    pub fn resume(&mut self, rollback: bool, cancel: bool) {
        self.take_up(rollback, cancel, Vec::new());
    }

    fn take_up(&mut self, rollback: bool, cancel: bool, before: Vec<Event>) {
        self.crashed = false;
        self.notices.clear();
        let mut state = State::new(&self.plan);
        for record in &self.journal {
            state.apply(&self.plan, record).expect("a journal that can be folded");
        }
        assert_eq!(state, self.oracle.folded);
        if state.start.is_none() {
            self.engine = Engine::new(self.plan.clone(), facts());
            self.twin = Engine::new(self.plan.clone(), facts());
            return self.start();
        }
        let in_flight: Vec<TaskId> = state.in_flight.keys().cloned().collect();
        self.engine = Engine::with_state(self.plan.clone(), state.clone(), facts());
        self.twin = Engine::with_state(self.plan.clone(), state, facts());
        let takes_back = rollback || self.oracle.folded.rollback.is_some();
        self.oracle.process_is_new(takes_back);
        self.world.process_is_new();
        let lost: Vec<TaskId> = match cancel {
            true => Vec::new(),
            false => self
                .oracle
                .folded
                .lost_elsewhere(&self.plan, rollback)
                .map(|lost| lost.task.clone())
                .collect(),
        };
        let mut found: Vec<_> = in_flight
            .iter()
            .filter_map(|task| Some((task.clone(), self.world.find(task, self.now)?)))
            // Of one in flight that its end will come says nothing.
            .filter(|(_, found)| !matches!(found, Found::Runs))
            .collect();
        found.extend(lost.into_iter().map(|task| (task.clone(), self.world.ask(&task, self.now))));
        let input = || Input::Resume {
            info: resume_info(),
            before: before.clone(),
            found: found.iter().map(|(task, found)| (task.clone(), again(found))).collect(),
            rollback: rollback.then(|| "bob".to_owned()),
            cancel: cancel.then(|| "bob".to_owned()),
        };
        self.input(&input);
    }

    /// What `runbook resolve` does.
    pub fn resolve(&mut self, ix: StepIx, resolution: Resolution) {
        let event = Event::StepResolved {
            step: self.plan.steps[ix].id.clone(),
            resolution,
            by: "carol".into(),
            reason: "seen".into(),
            evidence: None,
        };
        self.world.careless.insert(ix);
        let last = self.journal.last().expect("a record");
        let clock = at(self.now);
        let record = Record { seq: last.seq + 1, epoch: last.epoch, t: clock.t, at: clock.at, event };
        self.oracle.record(&record, &self.world);
        self.journal.push(record);
    }

    /// What `runbook approve` does when nobody drives the run: the answers stand, and a resume acts on them.
    pub fn answer_undriven(&mut self) {
        for _ in 0..4 {
            let had = |_| true;
            let state = &self.oracle.folded;
            let Some(word) = words(&self.plan, state, self.seed, &had).into_iter().next() else { return };
            let mut engine = Engine::with_state(self.plan.clone(), state.clone(), facts());
            let step = self.plan.steps[word.step].id.clone();
            self.now = self.now.max(word.at);
            for record in engine.record_answer(at(self.now), step, None, word.reply, word.by) {
                self.oracle.record(&record, &self.world);
                self.journal.push(record);
            }
        }
    }

    /// What `runbook ack` does when nobody drives the run. Its process may die before it has sent anything.
    pub fn take_notice_undriven(&mut self) {
        let mut engine = Engine::with_state(self.plan.clone(), self.oracle.folded.clone(), facts());
        let decision = engine
            .record_remark(at(self.now), Some(Event::Acknowledged { by: super::people::person("dora") }));
        for record in decision.records {
            self.oracle.record(&record, &self.world);
            self.journal.push(record);
        }
        let mut random = keyed(self.seed, &format!("ack {}", self.journal.len()));
        for act in decision.acts {
            let Act::Notify(out) = act else { panic!("{act:?} of a run that nobody drives") };
            self.oracle.sent(&out);
            let told = |channel: &String| {
                let delivery = Delivery {
                    delivered: true,
                    unsure: false,
                    attempts: 1,
                    why: None,
                    answered: None,
                    duration: Millis::ZERO,
                };
                (out.number, channel.clone(), delivery)
            };
            let told = out.channels.iter().filter(|_| random.chance(70)).map(told).collect();
            for record in engine.record_told(at(self.now), told) {
                self.oracle.record(&record, &self.world);
                self.journal.push(record);
            }
        }
    }

    /// To the end, over crashes.
    pub fn drive(&mut self) -> RunEnd {
        loop {
            while self.step() {}
            // A process that died after the last record left nothing to do; unless that was that a task is found again.
            if let Some(end) = self.oracle.folded.end().filter(|_| self.oracle.folded.in_flight.is_empty()) {
                let end = end.clone();
                self.oracle.end(&self.world);
                return end;
            }
            self.resume(false, false);
        }
    }

    /// Says the truth of every step that is in doubt.
    pub fn tell_the_truth(&mut self) {
        for ix in 0..self.plan.steps.len() {
            let undo_unknown = matches!(
                self.oracle.folded.steps[ix].undo,
                runbook::engine::UndoStatus::Over(runbook::model::UndoneState::Unknown { .. })
            );
            let unknown = self.oracle.folded.steps[ix].outcome() == Some(StepOutcome::Unknown);
            if (undo_unknown || unknown) && self.oracle.folded.may_be_resolved(&self.plan, ix) {
                let there = self.world.has_effect(ix);
                self.resolve(ix, if there { Resolution::Done } else { Resolution::NotDone });
            }
        }
    }

    pub fn outcomes(&self) -> Vec<Option<StepOutcome>> {
        self.oracle.folded.steps.iter().map(runbook::engine::StepState::outcome).collect()
    }

    pub fn has_unknown(&self) -> bool {
        self.outcomes().contains(&Some(StepOutcome::Unknown))
    }
}

pub fn is_final(outcome: RunOutcome) -> bool {
    matches!(outcome, RunOutcome::Recovered | RunOutcome::Degraded | RunOutcome::RolledBack)
}

fn again(found: &Found) -> Found {
    match found {
        Found::NeverStarted => Found::NeverStarted,
        Found::Ended { end, output } => Found::Ended { end: end.clone(), output: output.clone() },
        Found::Unknown { why } => Found::Unknown { why: why.clone() },
        Found::Runs => Found::Runs,
    }
}
