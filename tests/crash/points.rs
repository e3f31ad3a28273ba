//! SIGKILL at each system call that touches the run's folder or speaks to the keeper: before the journal is made, within
//! an append, between a write and its sync, between the sync and the order to start, at the end, in a resume.

use nix::sys::signal::Signal;

use crate::book;
use crate::chance::is_long;
use crate::strace::{Call, Strace};
use crate::support::{Running, World};

/// What changes the disk or tells the keeper something.
pub const CALLS: [&str; 11] = [
    "write",
    "fdatasync",
    "fsync",
    "sendto",
    "openat",
    "renameat",
    "ftruncate",
    "fallocate",
    "mkdirat",
    "unlinkat",
    "bind",
];

/// Three steps, the second of them tried twice.
pub fn three() -> World {
    let world = World::new();
    world.playbook(
        "three",
        "steps:\n  - { id: one, title: One, run: echo one >> ledger }\n  \
         - { id: two, title: Two, run: 'echo two >> ledger; test $(grep -c two ledger) -ge 2', \
         retry: { attempts: 2, delay: 10ms } }\n  \
         - { id: three, title: Three, run: echo three >> ledger }\n",
    );
    world
}

pub const DONE: [&str; 4] = ["one", "two", "two", "three"];

/// The calls of an undisturbed run that are worth a fault: those with the state folder in them, and those to the keeper.
pub fn points(strace: &Strace, world: &World, args: &[&str]) -> Vec<Call> {
    let state = world.state().display().to_string();
    let calls = strace.calls(world, &CALLS, args);
    calls.into_iter().filter(|c| c.text.contains(&state) || c.name == "sendto").collect()
}

/// Goes on until the run is over, and compares.
#[track_caller]
pub fn assert_recovers(world: &World, what: &str) {
    let mut codes = Vec::new();
    // A fault may have made a step fail: then the first resume is told so.
    for _ in 0..3 {
        if !world.runs().is_empty() {
            let status = world.run(&["status", "last"]);
            if status.code != 0 {
                status.exits(8).says(&["there is no journal", "start it anew with `runbook run`"]);
            }
        }
        let shown = if book::has_begun(world) {
            world.run(&["resume", "last"])
        } else {
            world.run(&["run", "three"])
        };
        assert!(!shown.err.contains("panicked"), "{what}: {shown:?}");
        codes.push(shown.code);
        if shown.code == 0 {
            break;
        }
        if shown.code == 8 {
            shown.says(&["nothing to resume"]);
            break;
        }
        // What a command said could not be read back: nothing repeats it, and a person looks into the ledger.
        for step in in_doubt(world) {
            assert!(world.ledger().contains(&step), "{what}: {step} never took effect");
            let seen = ["resolve", "last", &step, "--done", "--reason", "it is in the ledger"];
            world.run(&seen).exits(0);
        }
    }
    assert!(matches!(codes.last(), Some(0 | 8)), "{what}: exit codes {codes:?}");
    assert_eq!(world.ledger(), DONE, "{what}");
    assert_eq!(recorded_effects(world), book::sorted(world.ledger()), "{what}: journal, then ledger");
    let unread = |b: &serde_json::Value| b.to_string().contains(UNREAD);
    let unknown: Vec<_> =
        world.events().into_iter().filter(|(_, b)| book::is_unknown(b) && !unread(b)).collect();
    assert!(unknown.is_empty(), "{what}: {unknown:?}");
    world.run(&["verify", "last"]).exits(0);
    world.assert_nothing_runs();
}

const UNREAD: &str = "but what it said is lost";

/// The steps that are in doubt because nobody could read what they said.
fn in_doubt(world: &World) -> Vec<String> {
    let ended = world.events_named("step_ended").into_iter();
    let lost = ended.filter(|e| e["outcome"] == "unknown" && e["why"].as_str().unwrap().contains(UNREAD));
    let steps = lost.map(|e| e["step"].as_str().unwrap().to_owned());
    steps.filter(|step| world.outcome(step) == "unknown").collect()
}

/// The lines that the ledger must have: one for each attempt that is recorded as ended by itself.
fn recorded_effects(world: &World) -> Vec<String> {
    let ended = world.events_named("task_ended").into_iter().filter(book::exited_by_itself);
    let steps = ended.filter_map(|e| Some(e["task"].as_str()?.split_once('.')?.0.to_owned()));
    book::sorted(steps.filter(|step| step != "hold").collect())
}

/// Which points are tried: all in the long form; in CI those on the journal and every third of the others.
pub fn chosen(points: Vec<Call>) -> Vec<Call> {
    let all = is_long();
    let mut other = 0;
    let on_journal = |c: &Call| c.text.contains("journal.jsonl") && c.name != "openat";
    points
        .into_iter()
        .filter(|c| {
            other += usize::from(!on_journal(c));
            all || on_journal(c) || other % 3 == 0
        })
        .collect()
}

#[test]
fn the_runner_is_killed_at_each_call_of_a_run() {
    let Some(strace) = Strace::found() else { return };
    let points = chosen(points(&strace, &three(), &["run", "three"]));
    let mut kills = 0;
    for call in &points {
        let world = three();
        kills += usize::from(killed_at(&strace, &world, call, &["run", "three"]));
        assert_recovers(&world, &format!("killed at {} {}: {}", call.name, call.number, call.text));
    }
    println!("{kills} kills at {} calls of a run", points.len());
    assert!(kills * 10 >= points.len() * 9, "only {kills} of {} points were met", points.len());
}

/// The same in a resume, after a kill in the middle.
#[test]
fn the_runner_is_killed_at_each_call_of_a_resume() {
    let Some(strace) = Strace::found() else { return };
    let half = || {
        let world = three();
        let journal = Call { name: "fdatasync".into(), number: 4, text: String::new() };
        assert!(killed_at(&strace, &world, &journal, &["run", "three"]));
        world
    };
    let points = chosen(points(&strace, &half(), &["resume", "last"]));
    let mut kills = 0;
    for call in &points {
        let world = half();
        kills += usize::from(killed_at(&strace, &world, call, &["resume", "last"]));
        assert_recovers(&world, &format!("resume killed at {} {}: {}", call.name, call.number, call.text));
    }
    println!("{kills} kills at {} calls of a resume", points.len());
    assert!(kills * 10 >= points.len() * 9, "only {kills} of {} points were met", points.len());
}

/// Whether the call came and the kill with it.
fn killed_at(strace: &Strace, world: &World, call: &Call, args: &[&str]) -> bool {
    let expression = format!("inject={}:signal=SIGKILL:when={}", call.name, call.number);
    let running: Running = strace.start(world, &[&expression], args);
    let code = running.wait().code;
    assert!(code == -(Signal::SIGKILL as i32) || code == 0, "{expression}: exit {code}");
    code != 0
}
