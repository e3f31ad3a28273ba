//! Ten thousand steps: an event costs what it changes. Were it the size of the plan, these would take minutes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runbook::engine::{Act, Engine, Input};
use runbook::model::{Millis, RunOutcome, TaskEnd, TaskEndKind, TaskOutput};
use runbook::plan::{OnFailure, OnItemFailure, Plan};

use super::plans::{any_of, each, for_each, plan, run, undo};
use super::sim::{at, facts, start_info};

const STEPS: usize = 10_000;
const GENEROUS: Duration = Duration::from_secs(60);

/// Runs the plan in a world where the attempt of step `fails` fails.
fn drive(plan: Plan, fails: Option<usize>) -> RunOutcome {
    let began = Instant::now();
    let failing = fails.map(|ix| plan.steps[ix].id.clone());
    let mut engine = Engine::new(Arc::new(plan), facts());
    let mut t = 0;
    let mut open: Vec<Act> = engine.handle(at(Millis(t)), Input::Start(Box::new(start_info()))).acts;
    while let Some(act) = open.pop() {
        let Act::Start(start) = act else { continue };
        t += 1;
        let failed = start.task.kind == runbook::model::TaskKind::Attempt
            && Some(&start.task.step) == failing.as_ref();
        let end = TaskEnd::new(TaskEndKind::Exited { code: i32::from(failed) }, Millis(1));
        let input = Input::TaskEnded { task: start.task, end, output: Box::new(TaskOutput::none()) };
        open.extend(engine.handle(at(Millis(t)), input).acts);
        assert!(engine.next_deadline().is_none());
        assert!(began.elapsed() < GENEROUS, "{t} events took {:?}", began.elapsed());
    }
    engine.audit().expect("right figures");
    engine.state().end().expect("an end").outcome
}

#[test]
fn a_chain() {
    let mut steps: Vec<_> = (0..STEPS).map(|n| run(&format!("s{n}"))).collect();
    for (n, step) in steps.iter_mut().enumerate().skip(1) {
        step.needs = vec![n - 1];
    }
    assert_eq!(drive(plan(1, 8, Vec::new(), steps), None), RunOutcome::Recovered);
}

#[test]
fn side_by_side() {
    let steps = (0..STEPS).map(|n| run(&format!("s{n}"))).collect();
    assert_eq!(drive(plan(1, 64, Vec::new(), steps), None), RunOutcome::Recovered);
}

#[test]
fn a_phase_for_each_step_and_a_rollback_of_all() {
    let mut steps: Vec<_> = (0..STEPS).map(|n| run(&format!("s{n}"))).collect();
    for (n, step) in steps.iter_mut().enumerate() {
        step.phase = n;
        step.undo = undo();
        step.on_failure = OnFailure::Rollback;
    }
    assert_eq!(drive(plan(STEPS, 8, Vec::new(), steps), Some(STEPS - 1)), RunOutcome::RolledBack);
}

#[test]
fn ten_thousand_items() {
    for rule in
        [each(Some(8), OnItemFailure::Continue, Some(STEPS - 1)), each(Some(1), OnItemFailure::Stop, None)]
    {
        let steps = for_each(0, "all", STEPS, rule.clone(), &run("item"));
        let (fails, end) = match rule.at_least {
            Some(_) => (Some(STEPS / 2), RunOutcome::Degraded),
            None => (None, RunOutcome::Recovered),
        };
        assert_eq!(drive(plan(1, 64, Vec::new(), steps), fails), end);
    }
}

#[test]
fn many_alternatives() {
    let mut steps = Vec::new();
    while steps.len() < STEPS {
        let at = steps.len();
        let mut a = run("a");
        a.undo = undo();
        steps.extend(any_of(at, &format!("g{at}"), vec![a, run("b"), run("c"), run("d")]));
    }
    assert_eq!(drive(plan(1, 8, Vec::new(), steps), Some(1)), RunOutcome::Recovered);
}
