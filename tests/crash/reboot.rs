//! The machine was restarted between the crash and the resume: a pid means nothing any more, and nobody is signalled.

use std::fs;

use crate::support::{World, command_line, kill_hard, wait_until};

const OTHER_BOOT: &str = "0badc0de-0000-4000-8000-000000000000";

/// `quick` ends by itself after the runner's death, `slow` is still at work when the keeper is killed.
fn killed() -> (World, i32) {
    let world = World::new();
    world.playbook(
        "boot",
        "steps:\n  \
         - { id: quick, title: Quick, needs: [], run: 'touch quick-began; while ! test -e go; do sleep 0.02; done; echo quick >> ledger' }\n  \
         - { id: slow, title: Slow, needs: [], run: 'touch slow-began; exec sleep 300' }\n  \
         - { id: then, title: Then, needs: [quick, slow], run: echo then >> ledger }\n",
    );
    let running = world.start(&["run", "boot"]);
    wait_until("both steps", || world.path("quick-began").exists() && world.path("slow-began").exists());
    kill_hard(running.pid());
    running.wait();
    world.write("go", "");
    let notes = world.run_dir(&world.runs()[0]).join("keeper/notes.jsonl");
    wait_until("the note", || fs::read_to_string(&notes).unwrap().contains("\"ended\""));
    let sleeper = world.processes_like("sleep 300");
    assert_eq!(sleeper.len(), 1, "{sleeper:?}");
    (world, sleeper[0])
}

fn kill_the_keeper(world: &World) {
    for keeper in world.processes_like("__keeper") {
        kill_hard(keeper);
    }
}

/// The resume takes the note of what ended, knows nothing of what ran, and leaves the process alone whose pid it knows.
#[track_caller]
fn assert_unknown_and_left_alone(world: &World, sleeper: i32, code: i32, out: &str) {
    assert_eq!(code, 5, "{out}");
    for text in ["in-doubt", "slow", "the machine was restarted", "runbook resolve "] {
        assert!(out.contains(text), "{text:?} is not said: {out}");
    }
    assert_eq!(world.outcome("quick"), "succeeded");
    assert_eq!(world.outcome("slow"), "unknown");
    assert_eq!(world.ledger(), ["quick"], "nothing new began");
    assert!(command_line(sleeper).starts_with("sleep 300"), "the process was ended");
    // Neither does the end of the run by a person's word reach for it.
    world.run(&["resolve", "last", "slow", "--done", "--reason", "seen"]).exits(0);
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["quick", "then"]);
    assert!(command_line(sleeper).starts_with("sleep 300"), "the process was ended");
    kill_hard(sleeper);
    world.assert_nothing_runs();
}

#[test]
fn the_notes_are_of_another_boot() {
    let (world, sleeper) = killed();
    kill_the_keeper(&world);
    let notes = world.run_dir(&world.runs()[0]).join("keeper/notes.jsonl");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&notes).unwrap();
    assert!(text.contains(boot.trim()), "{text}");
    fs::write(&notes, text.replace(boot.trim(), OTHER_BOOT)).unwrap();
    let shown = world.run(&["resume", "last"]);
    assert_unknown_and_left_alone(&world, sleeper, shown.code, &format!("{}{}", shown.out, shown.err));
}

/// The other way round: journal and notes are as they were, and the kernel names another boot. Needs the right to mount.
#[test]
fn the_kernel_names_another_boot() {
    let (world, sleeper) = killed();
    kill_the_keeper(&world);
    world.write("boot_id", format!("{OTHER_BOOT}\n"));
    let script = "mount --bind boot_id /proc/sys/kernel/random/boot_id || exit 99; exec \"$0\" resume last";
    let mut command = world.command("unshare");
    command.args(["-m", "sh", "-c", script]).arg(crate::support::BIN);
    let shown = world.start_command(command).wait();
    if shown.code == 99 || shown.err.contains("unshare:") {
        eprintln!("SKIPPED: no right to mount here; nothing was shown: {}", shown.err);
        kill_hard(sleeper);
        return;
    }
    assert_unknown_and_left_alone(&world, sleeper, shown.code, &format!("{}{}", shown.out, shown.err));
}
