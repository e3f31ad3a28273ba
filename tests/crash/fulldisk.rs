//! A disk that is really full: a file system of 1 MiB for the state folder alone. Needs root.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{World, wait_until};

/// The state folder on a small file system, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(world: &World) -> Option<Self> {
        let state = world.state();
        fs::create_dir_all(&state).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none"])
            .arg(&state)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(state)),
            other => {
                eprintln!("SKIPPED: no right to mount here; nothing was shown: {other:?}");
                None
            }
        }
    }

    /// Takes every block that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        for chunk in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![b'x'; chunk]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still stand in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Two steps run beside one another while the disk fills up. What follows them has a long command, so that its record
/// surely needs a block of its own.
pub fn filling(world: &World) {
    let long = "x".repeat(9000);
    world.playbook(
        "filling",
        &format!(
            "steps:\n  \
             - {{ id: one, title: One, needs: [], run: 'touch one-began; while ! test -e go-one; do sleep 0.02; done; echo one >> ledger' }}\n  \
             - {{ id: two, title: Two, needs: [], run: 'touch two-began; while ! test -e go-two; do sleep 0.02; done; echo two >> ledger' }}\n  \
             - {{ id: three, title: Three, needs: [one], run: 'echo three >> ledger # {long}' }}\n  \
             - {{ id: four, title: Four, needs: [two, three], run: echo four >> ledger }}\n"
        ),
    );
}

#[test]
fn a_full_disk_starts_nothing_and_the_reserve_takes_what_runs() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world) else { return };
    filling(&world);
    let running = world.start(&["run", "filling"]);
    wait_until("both steps", || world.path("one-began").exists() && world.path("two-began").exists());
    disk.fill();
    world.write("go-one", "");
    wait_until("the first effect", || world.read("ledger") == "one\n");
    // The runner waits for what still runs before it gives up.
    let run = world.runs().remove(0);
    let journal = || fs::read_to_string(world.run_dir(&run).join("journal.jsonl")).unwrap();
    let ended = |text: &str, task: &str| text.lines().any(|l| l.contains("task_ended") && l.contains(task));
    wait_until("the first outcome", || ended(&journal(), "\"one.1\""));
    world.write("go-two", "");
    let shown = running.wait().exits(74);
    shown.says(&["journal.jsonl", "no space left on device", "nothing new starts", "runbook resume"]);
    assert_eq!(world.ledger(), ["one", "two"], "nothing new was started");
    let text = journal();
    assert!(ended(&text, "\"one.1\"") && ended(&text, "\"two.1\""), "outcomes were lost:\n{text}");
    assert!(!text.contains("\"three.1\""), "a start was recorded that never was");
    assert!(text.ends_with('\n'), "a torn record was left");

    // With the disk still full, nothing is made worse.
    let again = world.run(&["resume", "last"]);
    assert!([74, 8].contains(&again.code), "{again:?}");
    assert_eq!(world.ledger(), ["one", "two"]);

    disk.free();
    world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger(), ["one", "two", "three", "four"]);
    world.run(&["verify", "last"]).exits(0);
    world.assert_nothing_runs();
}

/// A disk that is full from the start: nothing begins, and it says why.
#[test]
fn a_run_does_not_begin_on_a_full_disk() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world) else { return };
    filling(&world);
    world.write("go-one", "");
    world.write("go-two", "");
    disk.fill();
    let shown = world.run(&["run", "filling"]);
    assert!([8, 74].contains(&shown.code), "{shown:?}");
    shown.says(&["no space left on device"]);
    assert!(world.ledger().is_empty());
    disk.free();
    world.run(&["run", "filling"]).exits(0);
    let mut ledger = world.ledger();
    ledger.sort();
    assert_eq!(ledger, ["four", "one", "three", "two"]);
}
