//! SIGKILL at random times, again and again until the run is over; then the ledger is asked.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::book::{self, Shape};
use crate::chance::{Chance, size};
use crate::support::{Running, Shown, World};

/// About as long as the twenty steps take: kills are spread over this, and later ones hit a resume.
const SPAN: u64 = 900;

/// Lets it run for so long, unless it ends before.
pub fn runs_for(running: &mut Running, length: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < length {
        if !running.is_running() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    running.is_running()
}

/// Goes on with the run, or starts it if the one before was killed too early to be there.
pub fn go_on(world: &World, shape: Shape) -> Running {
    if !book::has_begun(world) {
        assert!(world.ledger().is_empty(), "commands ran, and there is no run");
        return world.start(&["run", shape.name()]);
    }
    world.start(&["resume", "last"])
}

/// The runner's end after all the kills. It may have been killed after the run's last record.
#[track_caller]
pub fn assert_ended(shown: Shown, shape: Shape) {
    if shown.code == 8 {
        shown.says(&["nothing to resume", shape.outcome()]);
    } else {
        shown.exits(shape.code());
    }
}

#[test]
fn the_runner_is_killed_at_random_times() {
    let wanted = size(25);
    let mut chance = Chance::new("sweep of the runner");
    let shapes = [Shape::Recovers, Shape::RollsBack];
    let expected = shapes.map(book::undisturbed);
    let (mut kills, mut runs, mut in_resume, mut in_rollback) = (0, 0, 0, 0);
    while kills < wanted {
        let which = usize::from(chance.flip());
        let shape = shapes[which];
        let world = book::twenty(shape);
        let mut running = world.start(&["run", shape.name()]);
        let mut resumed = false;
        // Every other run is left alone after a few kills, so that long stretches happen, too.
        let most = chance.below(9) + 1;
        for _ in 0..most {
            if !runs_for(&mut running, chance.millis(SPAN)) {
                break;
            }
            running.signal(Signal::SIGKILL);
            running.wait();
            kills += 1;
            in_resume += u32::from(resumed);
            in_rollback += u32::from(world.read("ledger").contains(".undo"));
            // Sometimes the keeper finishes alone.
            if chance.below(3) == 0 {
                std::thread::sleep(chance.millis(200));
            }
            running = go_on(&world, shape);
            resumed = true;
        }
        let shown = running.wait();
        assert_ended(shown, shape);
        assert_eq!(book::sorted(world.ledger()), expected[which]);
        book::assert_truth(&world, shape);
        runs += 1;
    }
    println!(
        "{kills} kills of the runner in {runs} runs: {in_resume} in a resume, {in_rollback} in a rollback"
    );
}

/// Kills both, in this order or that; sometimes what they started, too, as a reboot does.
fn kill_both(world: &World, running: Running, chance: &mut Chance) -> bool {
    let keepers = world.processes_like("__keeper");
    let runner = [running.pid()];
    let (first, then): (&[i32], &[i32]) =
        if chance.flip() { (&keepers, &runner) } else { (&runner, &keepers) };
    for pid in first.iter().chain(then) {
        // It may just have ended by itself.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
    }
    running.wait();
    if chance.flip() {
        for pid in world.processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    !keepers.is_empty()
}

/// The tasks whose end the keeper noted: nobody may call them unknown.
fn noted(world: &World) -> Vec<String> {
    let notes = world.run_dir(&world.last_run()).join("keeper/notes.jsonl");
    let text = String::from_utf8_lossy(&std::fs::read(notes).unwrap_or_default()).into_owned();
    let values = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    values.filter_map(|v| Some(v["ended"]["task"].as_str()?.to_owned())).collect()
}

/// The steps that a person has to look at, each with the task that is in doubt.
fn in_doubt(world: &World) -> Vec<(String, String)> {
    let mut doubts: Vec<(String, String)> = Vec::new();
    for (name, body) in world.events() {
        let step = body["step"].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "task_ended" if book::is_unknown(&body) => {
                let task = body["task"].as_str().unwrap().to_owned();
                let step = task.split('.').next().unwrap().to_owned();
                doubts.retain(|(s, _)| *s != step);
                doubts.push((step, task));
            }
            "step_resolved" => doubts.retain(|(s, _)| *s != step),
            "task_started" => {
                // It was started again, or its check was: it is being dealt with.
                let step = body["task"].as_str().unwrap().split('.').next().unwrap().to_owned();
                doubts.retain(|(s, _)| *s != step);
            }
            _ => {}
        }
    }
    doubts
}

/// A person looks into the ledger and says what they see. Every doubt must be a real one.
fn resolve_all(world: &World, ended: &[String]) -> u32 {
    let mut resolved = 0;
    for (step, task) in in_doubt(world) {
        assert!(!ended.contains(&task), "{task} is called unknown, and its end was noted");
        assert!(
            !matches!(step.as_str(), "safe" | "checked") || task.ends_with(".undo"),
            "{task}: it has a way out"
        );
        let effects = book::effects(world);
        let named = book::without_rerun(&task);
        let there = effects.contains_key(&named);
        // Of a step whose undo is in doubt, a person says whether its effect is still there.
        let done = there != named.ends_with(".undo");
        let word = if done { "--done" } else { "--not-done" };
        world.run(&["resolve", "last", &step, word, "--reason", "seen in the ledger"]).exits(0);
        resolved += 1;
    }
    resolved
}

#[test]
fn the_keeper_is_killed_too() {
    let wanted = if crate::chance::is_long() { size(50).min(50) } else { 8 };
    let mut chance = Chance::new("sweep of runner and keeper");
    let (mut kills, mut runs, mut resolved) = (0, 0, 0);
    while kills < wanted {
        let shape = if chance.below(3) == 0 { Shape::RollsBack } else { Shape::Recovers };
        let world = book::twenty(shape);
        let mut running = world.start(&["run", shape.name()]);
        let mut most = chance.below(3) + 1;
        let last = loop {
            if most > 0 && runs_for(&mut running, chance.millis(SPAN)) {
                kills += u32::from(kill_both(&world, running, &mut chance));
                most -= 1;
                running = go_on(&world, shape);
                continue;
            }
            let shown = running.wait();
            assert!(!shown.err.contains("panicked"), "{shown:?}");
            if ![5, 7].contains(&shown.code) {
                break shown;
            }
            // What is left of a killed keeper's commands comes to its end first.
            world.assert_nothing_runs();
            let new = resolve_all(&world, &noted(&world));
            assert!(new > 0, "exit {}, and nothing is in doubt: {shown:?}", shown.code);
            resolved += new;
            running = world.start(&["resume", "last"]);
        };
        assert!([shape.code(), 0, 8].contains(&last.code), "{last:?}");
        assert_nothing_repeated(&world, shape);
        runs += 1;
    }
    println!(
        "{kills} kills of runner and keeper in {runs} runs; {resolved} outcomes were unknown and resolved"
    );
}

/// Each step took effect once; more often only what may be repeated, or had failed.
#[track_caller]
fn assert_nothing_repeated(world: &World, shape: Shape) {
    let mut per_step = std::collections::BTreeMap::<(String, bool), usize>::new();
    for (task, count) in book::effects(world) {
        let step = task.split('.').next().unwrap().to_owned();
        *per_step.entry((step, task.ends_with(".undo"))).or_default() += count;
    }
    let done = per_step.keys().filter(|(_, undo)| !undo).count();
    assert_eq!(done, book::STEPS, "{per_step:?}");
    for ((step, undo), count) in &per_step {
        let most = match (step.as_str(), undo) {
            ("flaky" | "safe", false) => 3,
            _ => 1,
        };
        assert!(*count <= most, "{step} took effect {count} times (undo: {undo}): {:#?}", world.ledger());
    }
    let undone = per_step.keys().filter(|(_, undo)| *undo).count();
    let end = world.events_named("run_ended").pop().unwrap();
    if shape == Shape::RollsBack && end["outcome"] == "rolled-back" {
        assert_eq!(undone, book::STEPS, "{:#?}", world.ledger());
    } else {
        // A person may have said that the step that fails was done.
        assert_eq!((end["outcome"].as_str(), undone), (Some("recovered"), 0), "{end}");
    }
    world.run(&["verify", "last"]).exits(0);
    world.assert_nothing_runs();
}
