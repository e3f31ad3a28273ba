//! The projection against runs that go as the past ones: it is right from the first moment to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runbook::engine::{Act, Engine, Input, Projection};
use runbook::model::{
    Millis, Past, PastStep, RunOutcome, Spread, StartInfo, TaskEnd, TaskEndKind, TaskId, TaskOutput,
};
use runbook::plan::{Body, OnFailure, Plan, Retry, StepIx};

use super::plans::{command, random_plan};
use super::random::Random;
use super::sim::{at, facts, start_info};

/// A random plan in which every step runs once and succeeds.
fn straight(random: &mut Random) -> Plan {
    let mut plan = random_plan(random, 6);
    (plan.escalation, plan.updates) = (Vec::new(), None);
    for step in &mut plan.steps {
        (step.when, step.unless, step.approval, step.undo, step.check) = (None, None, None, None, None);
        (step.retry, step.on_failure) = (Retry::never(), OnFailure::Stop);
        step.verify.clear();
        if let Body::ForEach(each) = &mut step.body {
            (each.max_parallel, each.at_least) = (None, None);
            // An empty list is skipped, and an alternative that is skipped does not serve.
            if each.steps.is_empty() {
                step.body = Body::Command(command("made"));
            }
        }
        if matches!(step.body, Body::Choose(_) | Body::Manual(_) | Body::Notify(_) | Body::Nothing) {
            step.body = Body::Command(command("made"));
        }
    }
    plan
}

/// When each step is over if nothing has to wait for a place: forwards, and straight from what the format says.
fn ends(plan: &Plan, lengths: &[Millis]) -> (Vec<Millis>, Millis) {
    let mut ends = vec![Millis::ZERO; plan.steps.len()];
    let mut begin = Millis::ZERO;
    for phase in &plan.phases {
        begin = list(plan, lengths, &phase.steps, begin, &mut ends);
    }
    (ends, begin)
}

fn list(plan: &Plan, lengths: &[Millis], steps: &[StepIx], begin: Millis, ends: &mut [Millis]) -> Millis {
    let mut done = BTreeSet::new();
    let mut last = begin;
    while done.len() < steps.len() {
        let open = steps.iter().copied().filter(|ix| !done.contains(ix)).collect::<Vec<_>>();
        for ix in open {
            let step = &plan.steps[ix];
            if !step.needs.iter().all(|need| done.contains(need)) {
                continue;
            }
            let start = step.needs.iter().map(|need| ends[*need]).max().unwrap_or(begin);
            ends[ix] = match &step.body {
                Body::Playbook { steps, .. } => list(plan, lengths, steps, start, ends),
                Body::ForEach(each) => list(plan, lengths, &each.steps, start, ends),
                // The first alternative serves.
                Body::AnyOf(alternatives) => list(plan, lengths, &alternatives[..1], start, ends),
                _ => start.saturating_add(lengths[ix]),
            };
            last = last.max(ends[ix]);
            done.insert(ix);
        }
    }
    last
}

/// As a past run would tell it: of alternatives, what the group took as a whole.
fn past(plan: &Plan, lengths: &[Millis]) -> Past {
    let mut past = Past { runs: 3, ..Past::default() };
    for (ix, step) in plan.steps.iter().enumerate() {
        let took = match &step.body {
            Body::AnyOf(alternatives) => {
                let mut ends = vec![Millis::ZERO; plan.steps.len()];
                list(plan, lengths, &alternatives[..1], Millis::ZERO, &mut ends)
            }
            _ => lengths[ix],
        };
        let took = Spread { p50: took, p90: took.saturating_add(Millis(7)) };
        past.steps.insert(step.id.clone(), PastStep { ran: 3, took, ..PastStep::default() });
    }
    past
}

struct Way {
    engine: Engine,
    plan: Arc<Plan>,
    lengths: Vec<Millis>,
    running: BTreeMap<(Millis, TaskId), ()>,
    now: Millis,
}

impl Way {
    fn start(plan: Plan, lengths: Vec<Millis>) -> Self {
        let plan = Arc::new(plan);
        let past = past(&plan, &lengths);
        let engine = Engine::new(plan.clone(), facts());
        let mut way = Self { engine, plan, lengths, running: BTreeMap::new(), now: Millis::ZERO };
        way.feed(Input::Start(Box::new(StartInfo { past: Some(Box::new(past)), ..start_info() })));
        way
    }

    fn feed(&mut self, input: Input) {
        for act in self.engine.handle(at(self.now), input).acts {
            let Act::Start(start) = act else { continue };
            let ix = self.plan.find(&start.task.step).expect("a step of the plan");
            self.running.insert((self.now.saturating_add(self.lengths[ix]), start.task), ());
        }
    }

    fn projection(&self) -> Option<Projection> {
        let projection = Projection::of(&self.plan, self.engine.state(), self.now)?;
        assert_eq!(projection.untold, 0);
        Some(projection)
    }

    /// The next thing that happens. False after the run's end.
    fn go_on(&mut self) -> bool {
        if let Some(end) = self.engine.state().end() {
            assert_eq!(end.outcome, RunOutcome::Recovered);
            return false;
        }
        let next = self.running.first_key_value().map(|((ends, _), ())| *ends);
        let deadline = self.engine.next_deadline();
        match (next, deadline) {
            (Some(ends), deadline) if deadline.is_none_or(|at| ends <= at) => {
                self.now = ends;
                let ((_, task), ()) = self.running.pop_first().expect("a task");
                let end = TaskEnd::new(TaskEndKind::Exited { code: 0 }, Millis(1));
                self.feed(Input::TaskEnded { task, end, output: Box::new(TaskOutput::none()) });
            }
            (_, deadline) => {
                self.now = deadline.expect("something happens");
                self.feed(Input::Tick);
            }
        }
        true
    }
}

#[test]
fn a_run_that_goes_as_the_past_ones_ends_as_projected() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut plan = straight(&mut random);
        plan.max_parallel = plan.steps.len();
        let lengths = lengths(&plan, &mut random);
        let (_, end) = ends(&plan, &lengths);
        let mut way = Way::start(plan, lengths);
        loop {
            if let Some(projection) = way.projection() {
                assert_eq!(projection.end.p50, end, "seed {seed} at {}", way.now.0);
                assert!(projection.end.p90 >= projection.end.p50, "seed {seed}: p90 is before p50");
                assert_eq!(projection.overdue, [], "seed {seed} at {}", way.now.0);
            }
            if !way.go_on() {
                break;
            }
        }
        assert_eq!(way.now, end, "seed {seed}");
    }
}

/// Places are scarce: the projection knows how much work there is, and not in which order it comes.
#[test]
fn it_is_never_later_than_a_run_that_goes_as_the_past_ones() {
    let mut shorter = 0;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let plan = straight(&mut random);
        let lengths = lengths(&plan, &mut random);
        let mut way = Way::start(plan, lengths);
        let mut all = Vec::new();
        loop {
            all.extend(way.projection().map(|projection| projection.end.p50));
            if !way.go_on() {
                break;
            }
        }
        assert!(
            all.iter().all(|projected| *projected <= way.now),
            "seed {seed}: {all:?}, ended at {}",
            way.now.0
        );
        shorter += usize::from(all.first().is_some_and(|first| *first < way.now));
    }
    assert!(shorter > 0, "no plan was short of places");
}

fn lengths(plan: &Plan, random: &mut Random) -> Vec<Millis> {
    let length = |step: &runbook::plan::Step| match &step.body {
        Body::Wait(length) => *length,
        _ => Millis(random.below(5000)),
    };
    plan.steps.iter().map(length).collect()
}

#[test]
fn work_that_waits_for_places_counts() {
    let steps = (0..100).map(|n| super::plans::run(&format!("s{n}"))).collect();
    let plan = super::plans::plan(1, 8, Vec::new(), steps);
    let way = Way::start(plan, vec![Millis(80); 100]);
    // All but the eight that run already, on eight places.
    assert_eq!(way.projection().map(|projection| projection.end.p50), Some(Millis(92 * 80 / 8)));
}
