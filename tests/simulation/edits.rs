//! A playbook is edited while its run lies still: an edit that is taken keeps every promise, one that is not changes
//! nothing.

use std::sync::Arc;

use runbook::engine::{Replan, State, StepState};
use runbook::model::{IncidentStatus, ReplanInfo, StepId, StepOutcome};
use runbook::plan::{Body, ForEach, OnFailure, OnItemFailure, Phase, Plan, StepIx};

use super::plans::{check, command, random_plan, run, undo};
use super::random::Random;
use super::sim::{Crash, Sim};
use super::world::Odds;

const SEEDS: u64 = 2_000;

const HARSH: Odds =
    Odds { attempt_fails: 30, undo_fails: 30, verify_fails: 30, check_is_mute: 30, unknown: 10, link: 30 };

fn read_again(plan: &Plan) -> Plan {
    Plan::from_json(&plan.to_json()).expect("an edit makes a legal plan")
}

/// Another rule for the items of some step that has any.
fn edit_items(plan: &mut Plan, random: &mut Random) {
    let mut groups: Vec<&mut ForEach> = plan
        .steps
        .iter_mut()
        .filter_map(|step| match &mut step.body {
            Body::ForEach(each) if !each.steps.is_empty() => Some(each),
            _ => None,
        })
        .collect();
    if groups.is_empty() {
        return;
    }
    let ix = random.index(groups.len());
    let each = &mut groups[ix];
    match random.below(3) {
        0 => each.max_parallel = Some(1 + random.index(3)),
        1 => {
            each.on_item_failure = match each.on_item_failure {
                OnItemFailure::Stop => OnItemFailure::Continue,
                OnItemFailure::Continue => OnItemFailure::Stop,
            }
        }
        _ => each.at_least = Some(1 + random.index(each.steps.len())),
    }
}

fn append(plan: &mut Plan, phase: usize, name: &str) {
    let ix = plan.steps.len();
    let mut new = run(name);
    new.phase = phase;
    plan.steps.push(new);
    plan.phases[phase].steps.push(ix);
}

/// Steps keep their numbers, so that the world knows them again.
fn edited(old: &Plan, random: &mut Random) -> Plan {
    let mut plan = read_again(old);
    for n in 0..=random.index(2) {
        let ix = random.index(plan.steps.len());
        let last = plan.phases.len() - 1;
        let step = &mut plan.steps[ix];
        match random.below(10) {
            0 => step.title.push_str(", edited"),
            1 | 2 => {
                if let Body::Command(known) = &mut step.body {
                    *known = command(&format!("edited {n}"));
                }
            }
            3 => step.undo = if step.undo.is_some() { None } else { undo() },
            4 => step.verify.push(check("edited")),
            5 if step.item.is_none() => {
                step.on_failure = [OnFailure::Stop, OnFailure::Continue, OnFailure::Rollback][random.index(3)]
            }
            5 => step.item = Some(format!("edited {n}").into()),
            9 => edit_items(&mut plan, random),
            6 => append(&mut plan, last, &format!("added-{n}")),
            7 => {
                let phase = random.index(plan.phases.len());
                append(&mut plan, phase, &format!("added-{n}"));
            }
            _ => {
                let id = format!("added-phase-{n}");
                let status = IncidentStatus::default();
                let (title, steps) = ("Added".into(), Vec::new());
                plan.phases.push(Phase { id, title, deadline: None, status, steps });
                append(&mut plan, last + 1, &format!("added-{n}"));
            }
        }
    }
    read_again(&plan)
}

/// A run that has stopped: killed somewhere, or at its end.
fn stopped(seed: u64, random: &mut Random) -> Sim {
    let size = 2 + random.index(4);
    let plan = Arc::new(random_plan(random, size));
    let crash =
        Crash { records: 1 + random.index(60), acted: random.chance(50), keeper_dies: random.chance(20) };
    let mut sim = Sim::new(plan, seed, HARSH, Some(crash));
    sim.start();
    while sim.step() {}
    while sim.oracle.folded.end().is_none() && random.chance(50) {
        sim.set_crash(Some(Crash { records: sim.journal.len() + random.index(20), ..crash }));
        sim.resume(false, false);
        while sim.step() {}
    }
    sim
}

fn is_done(step: &StepState) -> bool {
    matches!(step.own_outcome(), Some(StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Skipped))
}

/// What became of an edit, so that the test can say that every way was walked.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    doubtful: u32,
    unchanged: u32,
    taken: u32,
}

fn one(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut sim = stopped(seed, &mut random);
    let before = sim.oracle.folded.clone();
    let new = edited(&sim.plan, &mut random);
    let replan = Replan::consider(&sim.plan, &before, &new, &sim.journal);
    let ended = before.end().is_some_and(|end| super::sim::is_final(end.outcome));
    if !replan.refused.is_empty() {
        assert!(replan.state.is_none());
        tally.refused += 1;
        return;
    }
    let state = replan.state.expect("what is not refused can be folded");
    if replan.difference.is_empty() {
        assert_eq!(state, before);
        tally.unchanged += 1;
        return;
    }
    for change in &replan.difference.changed {
        let ix = sim.plan.find(&change.step).expect("a step of both");
        assert!(!before.steps[ix].dirty, "an edited step was in doubt");
        let weighs = change.fields.iter().any(|f| matches!(f.field, "action" | "verify"));
        let done = is_done(&before.steps[ix]);
        let told = replan.doubtful.iter().any(|(id, _)| *id == change.step);
        assert!(!done || !weighs || told, "{} is done in another form and nobody is told", change.step);
    }
    if !replan.doubtful.is_empty() {
        tally.doubtful += 1;
        // Whoever accepts goes on; the promises hold all the same.
    }
    if ended {
        return;
    }
    tally.taken += 1;
    let done: Vec<StepIx> = (0..before.steps.len()).filter(|ix| is_done(&before.steps[*ix])).collect();
    let attempts: Vec<u32> = done.iter().map(|ix| before.steps[*ix].attempts).collect();
    let info = ReplanInfo {
        file: "plan-0.json".into(),
        plan_hash: "0".repeat(64),
        by: "bob".into(),
        added: replan.difference.added,
        removed: replan.difference.removed,
        changed: replan.difference.changed.into_iter().map(|c| c.step).collect(),
        accepted: replan.doubtful.into_iter().map(|(step, _)| step).collect(),
    };
    sim.replan(Arc::new(new), state, info);
    sim.set_crash(random.chance(50).then(|| Crash {
        records: sim.journal.len() + random.index(20),
        acted: random.chance(50),
        keeper_dies: random.chance(20),
    }));
    sim.drive();
    // A step of an alternative that was taken back may start over; nothing else that was done is done again.
    for (ix, attempts) in done.into_iter().zip(attempts) {
        let alternative = std::iter::successors(Some(ix), |ix| sim.plan.steps[*ix].parent)
            .any(|ix| matches!(sim.plan.steps[ix].body, Body::AnyOf(_)));
        assert!(
            alternative || sim.oracle.folded.steps[ix].attempts == attempts,
            "{} was done and was started again",
            sim.plan.steps[ix].id
        );
    }
}

#[test]
fn an_edit_that_is_taken_keeps_every_promise() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(seed, &mut tally)));
        if let Err(panic) = caught {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
    eprintln!("{tally:?}");
    let Tally { refused, doubtful, unchanged, taken } = tally;
    assert!([refused, doubtful, unchanged, taken].iter().all(|n| *n > 50), "a way is not walked");
}

/// Every number of the plan moves when steps are put before all others; what the records say stays with the names.
#[test]
fn steps_are_known_by_their_names() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let sim = stopped(seed, &mut random);
        let mut value: serde_json::Value = serde_json::from_slice(&sim.plan.to_json()).expect("JSON");
        shift(&mut value);
        let mut new: Plan = serde_json::from_value(value).expect("a plan");
        let mut first = run("first-of-all");
        first.phase = sim.plan.phases.len() - 1;
        new.steps.insert(0, first);
        let last = new.phases.len() - 1;
        new.phases[last].steps.push(0);
        let new = read_again(&new);
        let old: &State = &sim.oracle.folded;
        let replan = Replan::consider(&sim.plan, old, &new, &sim.journal);
        assert!(replan.difference.changed.is_empty(), "seed {seed}: {:?}", replan.difference);
        assert_eq!(replan.difference.added, [StepId::parse("first-of-all").expect("an id")]);
        if let Some(state) = replan.state {
            assert_eq!(state.steps[1..], old.steps[..], "seed {seed}");
        }
    }
}

/// One more for each number of a step.
fn shift(plan: &mut serde_json::Value) {
    let bump = |n: &mut serde_json::Value| {
        if let Some(ix) = n.as_u64() {
            *n = (ix + 1).into();
        }
    };
    let bump_all = |list: &mut serde_json::Value| list.as_array_mut().into_iter().flatten().for_each(bump);
    for phase in plan["phases"].as_array_mut().into_iter().flatten() {
        bump_all(&mut phase["steps"]);
    }
    for scope in plan["scopes"].as_array_mut().into_iter().flatten() {
        bump(&mut scope["group"]);
    }
    for step in plan["steps"].as_array_mut().into_iter().flatten() {
        step.get_mut("parent").into_iter().for_each(bump);
        step.get_mut("needs").into_iter().for_each(bump_all);
        if let Some(body) = step["body"].as_object_mut() {
            if let Some(inside) = body.get_mut("any_of") {
                bump_all(inside);
            }
            for group in ["playbook", "foreach"] {
                if let Some(group) = body.get_mut(group) {
                    bump_all(&mut group["steps"]);
                }
            }
        }
    }
}
