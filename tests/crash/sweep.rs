//! SIGKILL at random times, again and again until the run is over; then the ledger is asked.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::book::{self, Shape};
use crate::chance::{Chance, size};
use crate::support::{Running, Shown, World};

/// About as long as the twenty steps take: kills are spread over this, and later ones hit a resume.
const SPAN: u64 = 900;

/// What a resume says of a run that was killed before its first record: there is nothing to go on with.
const NOT_BEGUN: [&str; 3] = ["start it anew", "there are no runs", "no run"];

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
    if world.runs().is_empty() || world.run(&["status", "last", "--json"]).code != 0 {
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
        if NOT_BEGUN.iter().any(|text| shown.err.contains(text)) {
            panic!("a run that had not begun was to be resumed: {shown:?}");
        }
        assert_ended(shown, shape);
        assert_eq!(book::sorted(world.ledger()), expected[which]);
        book::assert_truth(&world, shape);
        runs += 1;
    }
    println!(
        "{kills} kills of the runner in {runs} runs: {in_resume} in a resume, {in_rollback} in a rollback"
    );
}
