//! A machine that sleeps, and a clock that is set. Neither can be done to the machine that tests, so a small library stands
//! between the program and the clocks (see `clock.c`); all else is real.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{BIN, Running, World, wait_until};

const HOUR: i64 = 3600;

/// The clocks of what is started with it.
struct Clock {
    library: PathBuf,
    offsets: PathBuf,
}

impl Clock {
    fn new(world: &World) -> Self {
        let library = world.tmp().join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/clock.c");
        let cc =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        let cc = cc.expect("a C compiler is needed to build, too");
        assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
        let offsets = world.tmp().join("offsets");
        fs::write(&offsets, [0; 16]).unwrap();
        Self { library, offsets }
    }

    fn run(&self, world: &World, name: &str) -> Running {
        let mut command = world.command(BIN);
        command.env("LD_PRELOAD", &self.library).env("TEST_CLOCK", &self.offsets).args(["run", name]);
        world.start_command(command)
    }

    /// Seconds that are added from now on. The file is changed in place: it is mapped.
    fn add(&self, boot: i64, real: i64) {
        let file = File::options().write(true).open(&self.offsets).unwrap();
        file.write_all_at(&[boot.to_ne_bytes(), real.to_ne_bytes()].concat(), 0).unwrap();
    }
}

/// What the kernel does to timers on CLOCK_BOOTTIME when the machine wakes, a signal does here: both look at the clock.
fn wake(world: &World, running: &Running) {
    running.signal(Signal::SIGCONT);
    for keeper in world.processes_like("__keeper") {
        kill(Pid::from_raw(keeper), Signal::SIGUSR1).unwrap();
    }
}

/// A command with a timeout and a wait, side by side.
fn waiting(world: &World, clock: &Clock) -> Running {
    world.playbook(
        "waiting",
        "steps:\n  \
         - { id: hold, title: Hold, needs: [], timeout: 10m, on_failure: continue, run: 'touch held; while ! test -e go; do sleep 0.05; done' }\n  \
         - { id: pause, title: Pause, needs: [], wait: 20m }\n  \
         - { id: next, title: Next, needs: [pause], run: echo next >> ledger }\n",
    );
    let running = clock.run(world, "waiting");
    wait_until("the step", || world.path("held").exists());
    running
}

fn gap(world: &World) -> (i64, String) {
    let gaps = world.events_named("gap");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    (gaps[0]["length"].as_i64().unwrap() / 1000, gaps[0]["why"].as_str().unwrap().to_owned())
}

/// The run's own clock at each record, in milliseconds.
fn moments(world: &World) -> Vec<i64> {
    let log = world.run(&["log", "last", "--json"]).exits(0).out;
    let time = |line: &str| serde_json::from_str::<Value>(line).unwrap()["t"].as_i64().unwrap();
    log.lines().map(time).collect()
}

#[test]
fn a_machine_that_slept_keeps_its_deadlines_and_the_gap_is_recorded() {
    let world = World::new();
    let clock = Clock::new(&world);
    let running = waiting(&world, &clock);
    clock.add(HOUR, HOUR);
    wake(&world, &running);
    running.wait().exits(4).says(&["timed out after 10"]);
    assert_eq!(world.outcome("hold"), "failed", "its ten minutes were over when the machine woke");
    assert_eq!(world.outcome("pause"), "succeeded");
    assert_eq!(world.ledger(), ["next"]);
    let (length, why) = gap(&world);
    assert_eq!(why, "the machine was suspended");
    assert!((HOUR - 2..HOUR + 60).contains(&length), "{length}");
    let moments = moments(&world);
    assert!(moments.is_sorted() && *moments.last().unwrap() >= HOUR * 1000, "{moments:?}");
    world.run(&["report"]).exits(0).says(&["the machine was suspended"]);
    world.run(&["verify", "last"]).exits(0);
}

#[test]
fn a_clock_that_is_set_moves_no_deadline_and_is_recorded() {
    for (seconds, way) in [(HOUR, "forward"), (-HOUR, "back")] {
        let world = World::new();
        let clock = Clock::new(&world);
        let mut running = waiting(&world, &clock);
        clock.add(0, seconds);
        wake(&world, &running);
        wait_until("the record", || !world.events_named("gap").is_empty());
        assert!(running.is_running(), "neither the timeout nor the wait is over");
        let (length, why) = gap(&world);
        assert_eq!(why, format!("the wall clock was set {way}"));
        assert!((HOUR - 2..HOUR + 60).contains(&length), "{length}");
        world.write("go", "");
        wait_until("the step's end", || world.outcome("hold") == "succeeded");
        // The rest of the twenty minutes.
        clock.add(HOUR, seconds + HOUR);
        wake(&world, &running);
        running.wait().exits(0);
        assert_eq!(world.ledger(), ["next"]);
        let moments = moments(&world);
        assert!(moments.is_sorted(), "the order is the records', whatever the clock says: {moments:?}");
        world.run(&["verify", "last"]).exits(0);
    }
}

/// What would wake them in truth is the kernel's: each waits on a timer of CLOCK_BOOTTIME.
#[test]
fn whoever_waits_for_long_waits_on_the_clock_that_counts_sleep() {
    let world = World::new();
    // Takes the connection and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    world.playbook(
        "timers",
        &format!(
            "steps:\n  - {{ id: ask, title: Ask, needs: [], timeout: 7m, http: {{ get: 'http://{address}/' }} }}\n  \
             - {{ id: pause, title: Pause, needs: [], wait: 20m }}\n  \
             - {{ id: hold, title: Hold, needs: [], timeout: 11m, run: 'touch held; sleep 600' }}\n"
        ),
    );
    let running = world.start(&["run", "timers"]);
    wait_until("the step", || world.path("held").exists());
    let keeper = world.processes_like("__keeper")[0];
    wait_until("the request's timer and the wait's", || {
        let timers = timers(running.pid());
        timers.contains(&(BOOTTIME, 6)) && timers.contains(&(BOOTTIME, 19))
    });
    wait_until("the command's timer", || timers(keeper).contains(&(BOOTTIME, 10)));
    running.signal(Signal::SIGINT);
    running.wait().exits(130);
    world.assert_nothing_runs();
}

const BOOTTIME: i32 = nix::libc::CLOCK_BOOTTIME;

/// The timers that a process has: each one's clock, and the full minutes that are left.
fn timers(pid: i32) -> Vec<(i32, u64)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let timer = |text: String| {
        let clock = text.lines().find_map(|l| l.strip_prefix("clockid: "))?.parse().ok()?;
        let left =
            text.lines().find_map(|l| l.strip_prefix("it_value: ("))?.split(',').next()?.parse::<u64>();
        Some((clock, left.ok()? / 60))
    };
    entries.filter_map(|e| timer(fs::read_to_string(e.path()).ok()?)).collect()
}
