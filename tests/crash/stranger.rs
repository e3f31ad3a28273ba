//! A pid that was used again: what a note names by pid and start time is not whoever has that pid now. Here the note is
//! changed, which needs no rights; in `reuse` the kernel really gives the pid again.

use std::fs;
use std::process::{Child, Command};

use crate::support::{World, kill_hard, wait_until};

/// A process that has nothing to do with any run.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("900").env_clear().spawn().unwrap())
    }

    /// Nobody has ended or stopped it.
    #[track_caller]
    fn assert_untouched(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the stranger was ended");
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        assert!(stat.contains(") S "), "the stranger was stopped: {stat}");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runner, keeper and command are gone in the middle of the step, and the command's pid, as the notes name it, is the
/// stranger's by now; its start time is not.
fn reused(more: &str, stranger: &Stranger) -> World {
    let world = World::new();
    world.playbook(
        "reuse",
        &format!(
            "steps:\n  - {{ id: only, title: Only, run: 'echo only >> ledger; touch began; \
             test -e go || exec sleep 300'{more} }}\n"
        ),
    );
    let running = world.start(&["run", "reuse"]);
    wait_until("the step", || world.path("began").exists());
    kill_hard(running.pid());
    running.wait();
    for pid in world.processes_like("__keeper").into_iter().chain(world.processes_like("sleep 300")) {
        kill_hard(pid);
    }
    world.assert_nothing_runs();
    let notes = world.run_dir(&world.runs()[0]).join("keeper/notes.jsonl");
    let text = fs::read_to_string(&notes).unwrap();
    let (before, rest) = text.split_once(r#"{"started":{"task":"only.1","pid":"#).expect("the note");
    let (_, after) = rest.split_once(',').unwrap();
    let pid = stranger.0.id();
    fs::write(&notes, format!(r#"{before}{{"started":{{"task":"only.1","pid":{pid},{after}"#)).unwrap();
    world
}

/// The stranger is not waited for: a step that may be repeated is repeated at once.
#[test]
fn a_stranger_does_not_hold_up_a_step_that_may_be_repeated() {
    let mut stranger = Stranger::new();
    let world = reused(", idempotent: true", &stranger);
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["only", "only"]);
    stranger.assert_untouched();
}

/// Who ends the run ends nobody else.
#[test]
fn a_stranger_is_not_ended_with_the_run() {
    let mut stranger = Stranger::new();
    let world = reused("", &stranger);
    world.run(&["cancel", "last"]).says(&["cancelled", "step only is in doubt"]);
    stranger.assert_untouched();
    world.assert_nothing_runs();
}
