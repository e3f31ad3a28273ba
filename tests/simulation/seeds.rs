//! Random plans, random misfortune, a random operator: every run keeps every promise, and ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runbook::engine::Input;
use runbook::model::{Event, Resolution, RunOutcome, StepOutcome};

use super::people::person;
use super::plans::random_plan;
use super::random::Random;
use super::sim::{Crash, Sim, is_final};
use super::world::Odds;

const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return one(seed, true);
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let failed = &failed;
            scope.spawn(move || {
                let mine = (thread..seeds).step_by(threads as usize);
                // One that fails is enough to look at.
                mine.take_while(|_| !failed.load(Ordering::Relaxed)).for_each(|seed| told(seed, failed));
            });
        }
    });
}

fn told(seed: u64, failed: &AtomicBool) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(seed, false))) {
        failed.store(true, Ordering::Relaxed);
        eprintln!("seed {seed}: replay with SIMULATION_SEED={seed}");
        resume_unwind(panic);
    }
}

fn one(seed: u64, tell: bool) {
    let mut random = Random::new(seed);
    let size = 2 + random.index(5);
    let plan = Arc::new(random_plan(&mut random, size));
    let harsh = |random: &mut Random, most: u64| if random.chance(50) { 0 } else { random.below(most) };
    let odds = Odds {
        attempt_fails: harsh(&mut random, 50),
        undo_fails: harsh(&mut random, 60),
        verify_fails: harsh(&mut random, 60),
        check_is_mute: harsh(&mut random, 60),
        unknown: harsh(&mut random, 25),
        // Aside, so that all else stays what the seed gave.
        link: harsh(&mut random.clone(), 60),
    };
    if tell {
        eprintln!("{odds:?}\n{}", String::from_utf8_lossy(&plan.to_json()));
    }
    let mut sim = Sim::new(plan, seed, odds, crash(&mut random, 0));
    sim.audited = tell || seed.is_multiple_of(8);
    let result = catch_unwind(AssertUnwindSafe(|| life(&mut sim, &mut random)));
    if tell {
        for record in &sim.journal {
            eprintln!("{:>4} {:>7} {:?}", record.seq, record.t.0, record.event);
        }
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

fn crash(random: &mut Random, after: usize) -> Option<Crash> {
    random.chance(60).then(|| Crash {
        records: after + random.index(40),
        acted: random.chance(50),
        keeper_dies: random.chance(40),
    })
}

/// A run and what people do with it, until nobody wants anything of it any more.
fn life(sim: &mut Sim, random: &mut Random) {
    sim.start();
    for _ in 0..6 {
        let cancel_after = random.chance(15).then(|| random.index(30));
        while !go(sim, random, cancel_after) {}
        if random.chance(70) {
            sim.wait_for_notices();
            if sim.crashed && sim.oracle.folded.end().is_none() {
                continue;
            }
        }
        sim.oracle.end(&sim.world);
        let outcome = sim.state().end().expect("an end").outcome;
        let records = sim.journal.len();
        if is_final(outcome) {
            sim.resume(false, false);
            assert_eq!(sim.journal.len(), records, "a finished run was taken up");
            if outcome == RunOutcome::RolledBack || random.chance(70) {
                return;
            }
            sim.set_crash(crash(random, records));
            sim.resume(true, false);
            continue;
        }
        if random.chance(15) {
            sim.take_notice_undriven();
        }
        if outcome == RunOutcome::Waiting && random.chance(60) {
            sim.answer_undriven();
        }
        if random.chance(70) {
            sim.tell_the_truth();
        } else if random.chance(30) {
            shrug(sim, random);
        }
        sim.set_crash(crash(random, sim.journal.len()));
        sim.resume(random.chance(25), random.chance(5));
    }
}

/// A person says that a failed step is to be left out, or tried again.
fn shrug(sim: &mut Sim, random: &mut Random) {
    let failed = |o: &Option<StepOutcome>| matches!(o, Some(StepOutcome::Failed | StepOutcome::Unknown));
    let outcomes = sim.outcomes();
    let some: Vec<usize> = (0..outcomes.len()).filter(|ix| failed(&outcomes[*ix])).collect();
    if !some.is_empty() && sim.oracle.folded.rollback.is_none() {
        let ix = some[random.index(some.len())];
        if !sim.oracle.folded.may_be_resolved(&sim.plan, ix) {
            return;
        }
        // What took effect is not said to be absent, so that the world stays a fair judge.
        let resolution = if random.chance(50) { Resolution::Skip } else { Resolution::Done };
        sim.resolve(ix, resolution);
    }
}

/// Until the end. False if the process died first: then another one has taken the run up.
fn go(sim: &mut Sim, random: &mut Random, cancel_after: Option<usize>) -> bool {
    let mut steps = 0;
    while sim.step() {
        steps += 1;
        if !sim.crashed && random.chance(4) {
            sim.input(&|| Input::CannotWait);
        }
        if !sim.crashed && random.chance(3) {
            sim.input(&|| Input::Note(Event::Acknowledged { by: person("carol") }));
        }
        if !sim.crashed && Some(steps) == cancel_after {
            let force = random.chance(30);
            sim.input(&|| Input::Cancel { by: "dave".into(), how: "Ctrl-C".into(), force });
        }
    }
    if !sim.crashed {
        return true;
    }
    sim.set_crash(if random.chance(30) { crash(random, sim.journal.len()) } else { None });
    sim.resume(random.chance(10), random.chance(5));
    false
}
