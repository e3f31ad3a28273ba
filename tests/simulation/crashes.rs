//! A crash at every boundary between two records of small runs. With the keeper alive it changes nothing; without it,
//! only that is unknown which nobody can know.

use std::sync::Arc;

use runbook::model::{RunOutcome, StepOutcome};
use runbook::plan::{Body, OnFailure, OnItemFailure, Plan, Scope};

use super::plans::{any_of, chain, check, each, for_each, plan, random_plan, run, undo};
use super::random::Random;
use super::sim::{Crash, Sim};
use super::world::{Effect, Odds};

const HARSH: Odds =
    Odds { attempt_fails: 30, undo_fails: 30, verify_fails: 40, check_is_mute: 30, unknown: 10, link: 0 };

/// How a run went, as far as a crash must not change it.
#[derive(Debug, PartialEq)]
struct Course {
    outcome: RunOutcome,
    steps: Vec<Option<StepOutcome>>,
    ledger: Vec<Effect>,
    undone: Vec<usize>,
}

fn course(plan: &Arc<Plan>, seed: u64, odds: Odds, crash: Option<Crash>) -> (Course, usize) {
    let mut sim = Sim::new(plan.clone(), seed, odds, crash);
    sim.start();
    let outcome = sim.drive().outcome;
    let mut ledger = sim.world.ledger.clone();
    ledger.sort();
    // How often an idempotent step was repeated is its own affair.
    ledger.dedup();
    let course = Course { outcome, steps: sim.outcomes(), ledger, undone: sim.world.undone.clone() };
    (course, sim.journal.len())
}

fn points(records: usize, keeper_dies: bool) -> impl Iterator<Item = Crash> {
    (0..=records).flat_map(move |records| [false, true].map(|acted| Crash { records, acted, keeper_dies }))
}

fn a_crash_changes_nothing(plan: &Arc<Plan>, seed: u64, odds: Odds) {
    let (calm, records) = course(plan, seed, odds, None);
    for crash in points(records, false) {
        let (course, _) = course(plan, seed, odds, Some(crash));
        assert_eq!(course, calm, "seed {seed}, {crash:?}");
    }
}

/// Nothing unsafe is repeated (the world and the oracle see to that), and a run without doubt has lost nothing.
fn a_dead_keeper_costs_knowledge_only(plan: &Arc<Plan>, seed: u64) {
    let (calm, records) = course(plan, seed, Odds::KIND, None);
    for crash in points(records, true) {
        let mut sim = Sim::new(plan.clone(), seed, Odds::KIND, Some(crash));
        sim.start();
        let outcome = sim.drive().outcome;
        let doubtful = sim.has_unknown();
        assert_eq!(doubtful, outcome == RunOutcome::InDoubt, "seed {seed}, {crash:?}");
        for (ix, outcome) in sim.outcomes().into_iter().enumerate() {
            let spec = &plan.steps[ix];
            let can_be_known =
                spec.check.is_some() || spec.idempotent || !matches!(spec.body, Body::Command(_));
            let unknown = outcome == Some(StepOutcome::Unknown);
            assert!(!unknown || !can_be_known, "{} could be known: seed {seed}, {crash:?}", spec.id);
        }
        if doubtful {
            sim.tell_the_truth();
            sim.resume(false, false);
            assert_eq!(sim.drive().outcome, calm.outcome, "seed {seed}, {crash:?}");
        }
    }
}

fn small_plans() -> Vec<Arc<Plan>> {
    let mut verified = run("verified");
    verified.verify = vec![check("a"), check("b")];
    verified.check = Some(check("is it there").into());
    let mut again = run("again");
    again.idempotent = true;
    again.undo = undo();
    let mut guarded = run("guarded");
    guarded.unless = Some(check("unless").into());
    guarded.undo = undo();
    let mut last = run("last");
    last.on_failure = OnFailure::Rollback;
    last.undo = undo();
    let sequence = chain(vec![run("first"), verified, again, guarded, last]);

    let mut a = run("a");
    a.undo = undo();
    let mut steps = vec![run("before")];
    steps.extend(any_of(1, "one-of", vec![a, run("b"), run("c")]));
    steps.push(run("after"));
    let alternatives = chain(steps);

    let mut wide: Vec<_> = ["w0", "w1", "w2", "w3", "w4"].map(run).into_iter().collect();
    for step in &mut wide {
        step.undo = undo();
        step.on_failure = OnFailure::Rollback;
    }
    wide[4].needs = vec![0, 1];
    let wide = plan(1, 2, Vec::new(), wide);

    let mut inner = run("group/inner");
    (inner.parent, inner.scope, inner.phase, inner.undo) = (Some(1), 1, 1, undo());
    let mut second = run("group/second");
    (second.parent, second.scope, second.phase, second.needs) = (Some(1), 1, 1, vec![2]);
    second.on_failure = OnFailure::Rollback;
    let mut group = super::plans::step("group", Body::Playbook { scope: 1, steps: vec![2, 3] });
    (group.phase, group.verify) = (1, vec![check("group")]);
    let mut before = run("before");
    before.undo = undo();
    let scope = Scope { group: Some(1), params: std::collections::BTreeMap::new(), late: Vec::new() };
    let included = plan(2, 4, vec![scope], vec![before, group, inner, second]);

    let mut item = run("item");
    (item.undo, item.check) = (undo(), Some(check("is it there").into()));
    let mut steps = for_each(0, "all", 4, each(Some(2), OnItemFailure::Stop, None), &item);
    let mut plain = run("item");
    plain.undo = undo();
    steps.extend(for_each(5, "most", 3, each(None, OnItemFailure::Continue, None), &plain));
    steps[0].on_failure = OnFailure::Rollback;
    steps[5].needs = vec![0];
    let items = plan(1, 3, Vec::new(), steps);

    [sequence, alternatives, wide, included, items].map(Arc::new).into_iter().collect()
}

#[test]
fn with_the_keeper_alive_a_crash_changes_nothing() {
    for plan in small_plans() {
        for seed in 0..24 {
            a_crash_changes_nothing(&plan, seed, if seed % 4 == 0 { Odds::KIND } else { HARSH });
        }
    }
}

#[test]
fn with_the_keeper_alive_a_crash_changes_nothing_in_random_plans() {
    for seed in 0..150 {
        let plan = Arc::new(random_plan(&mut Random::new(seed), 3));
        a_crash_changes_nothing(&plan, seed, if seed % 4 == 0 { Odds::KIND } else { HARSH });
    }
}

#[test]
fn without_the_keeper_only_what_nobody_can_know_is_unknown() {
    for plan in small_plans() {
        for seed in 0..6 {
            a_dead_keeper_costs_knowledge_only(&plan, seed);
        }
    }
}

/// Two deaths in one run: the second process dies at every point, too.
#[test]
fn a_crash_in_the_resume_changes_nothing() {
    for plan in small_plans() {
        for seed in 0..3 {
            let (calm, records) = course(&plan, seed, HARSH, None);
            for first in (0..records).step_by(3) {
                for second in first..=records + 1 {
                    let crash = |records, acted| Crash { records, acted, keeper_dies: false };
                    let mut sim = Sim::new(plan.clone(), seed, HARSH, Some(crash(first, true)));
                    sim.start();
                    while sim.step() {}
                    if sim.crashed && sim.oracle.folded.end().is_none() {
                        sim.set_crash(Some(crash(second, second % 2 == 0)));
                        sim.resume(false, false);
                    }
                    assert_eq!(sim.drive().outcome, calm.outcome, "seed {seed}, {first} and {second}");
                    assert_eq!(sim.outcomes(), calm.steps, "seed {seed}, {first} and {second}");
                }
            }
        }
    }
}
