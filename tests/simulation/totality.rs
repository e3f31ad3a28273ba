//! `handle` has an answer for everything: inputs that fit no state change nothing, and nothing ever panics.

use std::sync::Arc;

use runbook::engine::{Act, Engine, Found, Input, State};
use runbook::model::{
    Event, Millis, Record, TaskEnd, TaskEndKind, TaskId, TaskKind, TaskOutput, UndoneState,
};

use super::plans::random_plan;
use super::random::Random;
use super::sim::{at, facts, resume_info, start_info};

fn any_end(random: &mut Random) -> TaskEnd {
    let kind = match random.below(9) {
        0..3 => TaskEndKind::Exited { code: 0 },
        3 => TaskEndKind::Exited { code: 1 },
        4 => TaskEndKind::Signaled { signal: 15 },
        5 => TaskEndKind::TimedOut,
        6 => TaskEndKind::Cancelled,
        7 => TaskEndKind::NotStarted { error: "no such file".into() },
        _ => TaskEndKind::Unknown { why: "nobody knows".into() },
    };
    TaskEnd::new(kind, Millis(random.below(1000)))
}

fn any_task(random: &mut Random, engine: &Engine, known: &[TaskId]) -> TaskId {
    if !known.is_empty() && random.chance(80) {
        return known[random.index(known.len())].clone();
    }
    let steps = &engine.plan().steps;
    let kind = match random.below(6) {
        0 => TaskKind::Unless,
        1 => TaskKind::Attempt,
        2 => TaskKind::Remedy,
        3 => TaskKind::Verify { check: 9, poll: u32::MAX },
        4 => TaskKind::Check,
        _ => TaskKind::Undo,
    };
    TaskId { step: steps[random.index(steps.len())].id.clone(), kind, attempt: u32::MAX, rerun: u32::MAX }
}

fn any_note(random: &mut Random, engine: &Engine) -> Event {
    let step = engine.plan().steps[0].id.clone();
    match random.below(5) {
        0 => Event::Gap { length: Millis(1), why: "it slept".into() },
        1 => Event::KeeperLost { why: "killed".into() },
        // What is not for anybody outside to say.
        2 => Event::StepUndone { step, state: UndoneState::Undone },
        3 => Event::RunStarted(Box::new(start_info())),
        _ => Event::PhaseEnded { phase: "p0".into() },
    }
}

fn any_input(random: &mut Random, engine: &Engine, known: &[TaskId]) -> Input {
    match random.below(40) {
        0 => Input::Start(Box::new(start_info())),
        1 => Input::Cancel { by: "dave".into(), how: "Ctrl-C".into(), force: random.chance(50) },
        2..6 => Input::Note(any_note(random, engine)),
        6 => {
            let mut found = Vec::new();
            for _ in 0..random.below(4) {
                let what = match random.below(3) {
                    0 => Found::NeverStarted,
                    1 => Found::Unknown { why: "gone".into() },
                    _ => Found::Ended { end: any_end(random), output: Box::new(TaskOutput::none()) },
                };
                found.push((any_task(random, engine, known), what));
            }
            let name = |yes: bool| yes.then(|| "bob".to_owned());
            Input::Resume {
                info: resume_info(),
                before: vec![any_note(random, engine)],
                found,
                rollback: name(random.chance(20)),
                cancel: name(random.chance(20)),
            }
        }
        7..15 => Input::Tick,
        _ => Input::TaskEnded {
            task: any_task(random, engine, known),
            end: any_end(random),
            output: Box::new(TaskOutput::none()),
        },
    }
}

/// Early, late, twice, never started, after the end: every record that comes of it can be folded, no task has an
/// earlier one's name, and the figures stay right.
#[test]
fn any_input_in_any_state() {
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let plan = Arc::new(random_plan(&mut random, 4));
        let mut engine = Engine::new(plan.clone(), facts());
        let mut folded = State::new(&plan);
        let mut known: Vec<TaskId> = Vec::new();
        let mut t = Millis::ZERO;
        let take = |records: Vec<Record>, folded: &mut State| {
            for record in records {
                folded.apply(&plan, &record).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            }
        };
        for n in 0..150 {
            // The clock is the caller's: it may stand still or even go back.
            t = Millis((t.0 + random.below(2000)).saturating_sub(random.below(300)));
            let input = if n == 3 {
                Input::Start(Box::new(start_info()))
            } else {
                any_input(&mut random, &engine, &known)
            };
            let decision = engine.handle(at(t), input);
            take(decision.records, &mut folded);
            for act in decision.acts {
                if let Act::Start(start) = act {
                    assert!(!known.contains(&start.task), "seed {seed}: {} twice", start.task);
                    known.push(start.task);
                }
            }
            assert_eq!(engine.fault(), None);
            assert!(&folded == engine.state(), "seed {seed}: the state is not the fold of the records");
            engine.audit().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
    }
}

/// A journal that no engine wrote is refused or folded, and never panics.
#[test]
fn a_forged_journal_is_refused() {
    let mut random = Random::new(1);
    let mut refused = 0;
    for seed in 0..300 {
        let plan = Arc::new(random_plan(&mut random, 4));
        let mut engine = Engine::new(plan.clone(), facts());
        let mut records = engine.handle(at(Millis::ZERO), Input::Start(Box::new(start_info()))).records;
        for n in 1..60 {
            let known: Vec<TaskId> = engine.state().in_flight.keys().cloned().collect();
            let input = any_input(&mut random, &engine, &known);
            records.extend(engine.handle(at(Millis(n * 500)), input).records);
        }
        // Moved about, with numbers that still follow one another.
        for _ in 0..4 {
            let (a, b) = (random.index(records.len()), random.index(records.len()));
            records.swap(a, b);
        }
        let mut state = State::new(&plan);
        for (seq, record) in (1..).zip(&mut records) {
            record.seq = seq;
            let before = state.seq;
            if state.apply(&plan, record).is_err() {
                assert_eq!(state.seq, before, "seed {seed}: a refused record counts");
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 200, "only {refused} of 300 forged journals were noticed");
}
