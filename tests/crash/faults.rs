//! Errors in the kernel's place, at each system call of the runner that touches the run's folder and in the keeper: no
//! hang, no panic, the documented exit code with a message, and a later resume that is right.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::chance::is_long;
use crate::points::{DONE, assert_recovers, chosen, points, three};
use crate::strace::{Call, Strace};
use crate::support::{Running, Shown, World, kill_hard, wait_until};

/// No fault may keep a run of a tenth of a second longer than this.
const BOUND: Duration = Duration::from_secs(60);

/// What the kernel may answer to these calls.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "write" => &["ENOSPC", "EIO", "EINTR"],
        "fdatasync" | "fsync" | "renameat" | "ftruncate" => &["EIO"],
        "openat" => &["EMFILE", "EACCES"],
        "mkdirat" | "fallocate" => &["ENOSPC"],
        "unlinkat" => &["EACCES"],
        "bind" => &["ENOSPC"],
        "sendto" => &["EPIPE", "ENOBUFS"],
        other => panic!("no error for {other}"),
    }
}

/// The command's end; the panic names the fault.
fn ends_in_time(mut running: Running, what: &str) -> Shown {
    let began = Instant::now();
    while running.is_running() {
        assert!(began.elapsed() < BOUND, "it hangs: {what}\n{}", running.out());
        std::thread::sleep(Duration::from_millis(5));
    }
    running.wait()
}

/// One fault in a command that would else end with 0; or, if it is to last, the same at every later call of that name.
fn faulty(strace: &Strace, world: &World, call: &Call, errno: &str, lasts: bool, args: &[&str]) -> Shown {
    let when = if lasts { "+" } else { "" };
    let fault = format!("error={errno}:when={}{when}", call.number);
    let (running, log) = strace.start_faulty(world, &call.name, &fault, args);
    let shown = ends_in_time(running, &format!("{} {fault} {}", call.name, call.text));
    // On a busy machine a call may have come between: it counts which one really had the fault.
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let hit = log.lines().find(|line| line.contains("(INJECTED)")).unwrap_or_default();
    let what = format!("{} {fault} {}\nit hit: {hit}\n{shown:?}", call.name, call.text);
    assert!(!shown.err.contains("panicked") && !shown.out.contains("panicked"), "{what}");
    assert!([0, 1, 2, 5, 8, 74].contains(&shown.code), "{what}");
    if ![0, 1, 5].contains(&shown.code) {
        assert!(
            shown.err.starts_with("error: ") || shown.err.contains("\nerror: "),
            "it says nothing: {what}"
        );
    }
    if is_append(&call.name, hit) && errno != "EINTR" {
        assert_eq!(shown.code, 74, "{what}");
        let cause = if errno == "ENOSPC" { "no space left on device" } else { "I/O error" };
        for text in ["journal.jsonl", cause, "runbook resume"] {
            assert!(shown.err.contains(text), "{text:?} is not said: {what}");
        }
    }
    shown
}

fn is_append(name: &str, call: &str) -> bool {
    call.contains("/journal.jsonl>") && ["write", "fdatasync"].contains(&name)
}

/// An error at each of the points; then everything goes on.
fn sweep(strace: &Strace, what: &str, world: &dyn Fn() -> World, args: &[&str]) {
    let points = chosen(points(strace, &world(), args));
    let (mut faults, mut told) = (0, 0);
    for call in &points {
        for errno in errors(&call.name) {
            // A broken disk does not mend itself. (Writes that all fail would take the error's own words away.)
            let lasting = is_append(&call.name, &call.text) && call.name == "fdatasync";
            for lasts in [false, true].into_iter().take(1 + usize::from(lasting)) {
                let world = world();
                told += usize::from(faulty(strace, &world, call, errno, lasts, args).code != 0);
                let at = format!("{errno} at {} {}: {}", call.name, call.number, call.text);
                assert_recovers(&world, &format!("{what}: {at} (lasts: {lasts})"));
                faults += 1;
            }
        }
    }
    println!("{faults} errors at {} calls of {what}; {told} of them ended it", points.len());
    assert!(told * 3 >= faults, "only {told} of {faults} errors were felt");
}

#[test]
fn errors_in_a_run() {
    let Some(strace) = Strace::found() else { return };
    sweep(&strace, "a run", &three, &["run", "three"]);
}

#[test]
fn errors_in_a_resume() {
    let Some(strace) = Strace::found() else { return };
    let half = || {
        let world = three();
        let expression = "inject=fdatasync:signal=SIGKILL:when=4";
        strace.start(&world, &[expression], &["run", "three"]).wait().exits(-9);
        world
    };
    sweep(&strace, "a resume", &half, &["resume", "last"]);
}

/// The keeper cannot be started: the step surely did not run, and a resume runs it.
#[test]
fn no_process_for_the_keeper() {
    let Some(strace) = Strace::found() else { return };
    for call in ["clone", "clone3", "vfork", "fork"] {
        let world = three();
        // All of them, for nobody knows which one the C library takes; the loader needs none.
        let shown = strace.start(&world, &[&format!("inject={call}:error=EAGAIN")], &["run", "three"]).wait();
        assert!(!shown.err.contains("panicked"), "{shown:?}");
        if shown.code == 0 {
            assert_eq!(world.ledger(), DONE);
            continue;
        }
        let shown = shown.exits(1);
        shown.says(&["the process that starts commands could not be started", "runbook resume "]);
        assert_eq!(world.ledger(), [""; 0]);
        assert_recovers(&world, call);
    }
}

/// Four steps, the first of which waits so that the keeper can be got hold of. `any` of them may fail once.
fn held() -> World {
    let world = three();
    world.playbook(
        "three",
        "steps:\n  - { id: hold, title: Hold, run: 'touch held; while ! test -e go; do sleep 0.02; done' }\n  \
         - { id: one, title: One, run: echo one >> ledger }\n  \
         - { id: two, title: Two, run: 'echo two >> ledger; test $(grep -c two ledger) -ge 2', \
         retry: { attempts: 2, delay: 10ms } }\n  \
         - { id: three, title: Three, run: echo three >> ledger }\n",
    );
    world
}

/// The keeper gets an error at its n-th call while the runner lives.
#[test]
fn errors_in_the_keeper() {
    let Some(strace) = Strace::found() else { return };
    let mut faults = 0;
    for (calls, errno, most) in [
        ("clone,clone3,vfork,fork", "EAGAIN", 3),
        ("write", "ENOSPC", 8),
        ("openat", "EMFILE", 8),
        ("sendto", "ENOBUFS", 3),
    ] {
        for number in (1..=most).filter(|n| is_long() || n % 2 == 1) {
            let world = held();
            let running = world.start(&["run", "three"]);
            wait_until("the step", || world.path("held").exists());
            let keeper = world.processes_like("__keeper");
            assert_eq!(keeper.len(), 1);
            let expression = format!("inject={calls}:error={errno}:when={number}");
            // Only what the keeper writes into files: the kernel never refuses its wake-up calls to itself.
            let notes = world.run_dir(&world.runs()[0]).join("keeper/notes.jsonl");
            let path = (calls == "write").then_some(notes);
            let tracer = strace.attach(&world, keeper[0], &expression, path.as_deref());
            world.write("go", "");
            let shown = ends_in_time(running, &expression);
            tracer.wait();
            let what = format!("{expression} in the keeper: {shown:?}");
            assert!(!shown.err.contains("panicked"), "{what}");
            assert!([0, 1].contains(&shown.code), "{what}");
            assert_recovers(&world, &what);
            faults += 1;
        }
    }
    println!("{faults} errors in the keeper");
}

/// The command ended well and what it said cannot be read back: nobody may take that for a failure and start it again.
#[test]
fn an_output_that_cannot_be_read_back_leaves_the_step_in_doubt() {
    let Some(strace) = Strace::found() else { return };
    for (file, errno, more) in [
        ("one.1.out", "EMFILE", ", outputs: { said: result.stdout }"),
        ("one.1.out", "EACCES", ", expect: [\"'42' in result.stdout\"]"),
        ("one.1.kv", "EIO", ""),
    ] {
        for check in ["", ", check: { run: grep -qx one ledger }"] {
            let world = World::new();
            let wait = "while ! test -e go; do sleep 0.02; done";
            world.playbook(
                "once",
                &format!(
                    "steps:\n  - {{ id: one, title: One, run: 'touch held; {wait}; echo 42; echo one >> ledger'{more}{check} }}\n  \
                     - {{ id: two, title: Two, run: echo two >> ledger }}\n"
                ),
            );
            let mut running = world.start(&["run", "once"]);
            wait_until("the step", || !running.is_running() || world.path("held").exists());
            // It is opened from its folder.
            let path = Path::new(file);
            let expression = format!("inject=openat:error={errno}:when=1+");
            let tracer = strace.attach(&world, running.pid(), &expression, Some(path));
            world.write("go", "");
            let shown = ends_in_time(running, &expression);
            tracer.wait();
            if check.is_empty() {
                shown.exits(5).says(&[
                    "what it said is lost",
                    "it may have taken effect",
                    "runbook resolve ",
                ]);
                assert_eq!(world.outcome("one"), "unknown");
                world.run(&["resume", "last"]).exits(5);
                assert_eq!(world.ledger(), ["one"], "it was repeated, or something followed");
                world.run(&["resolve", "last", "one", "--done", "--reason", "it is in the ledger"]).exits(0);
                world.run(&["resume", "last"]).exits(0);
            } else {
                // The check finds the effect.
                shown.exits(0);
            }
            assert_eq!(world.ledger(), ["one", "two"]);
            world.run(&["verify", "last"]).exits(0);
        }
    }
}

/// Short of buffers for a while is not lost for ever.
#[test]
fn a_socket_without_buffers_is_tried_again() {
    let Some(strace) = Strace::found() else { return };
    for (errno, when, code) in [("ENOBUFS", "1..6", 0), ("ENOMEM", "2..4", 0), ("ENOBUFS", "1+", 1)] {
        let world = three();
        let expression = format!("inject=sendto:error={errno}:when={when}");
        let running = strace.start(&world, &[&expression], &["run", "three"]);
        let shown = ends_in_time(running, &expression);
        assert!(!shown.err.contains("panicked") && shown.code == code, "{expression}: {shown:?}");
        if code == 0 {
            assert_eq!(world.ledger(), DONE);
            assert!(world.events_named("keeper_lost").is_empty());
        } else {
            // Nothing ever reached the keeper.
            assert_eq!(world.ledger(), [""; 0]);
        }
        assert_recovers(&world, &expression);
    }
}

/// No descriptor, or no process, for the keeper for as long as it lives: what cannot start says so, what runs is ended by
/// its timeout all the same, and nothing hangs.
#[test]
fn shortages_in_the_keeper_that_last() {
    let Some(strace) = Strace::found() else { return };
    for (expression, told) in [
        ("inject=pipe2:error=EMFILE:when=1+", "no pipe could be made"),
        ("inject=clone,clone3,vfork,fork:error=EAGAIN:when=1+", "could not be started"),
    ] {
        let world = held();
        let running = world.start(&["run", "three"]);
        wait_until("the step", || world.path("held").exists());
        let keeper = world.processes_like("__keeper")[0];
        let tracer = strace.attach(&world, keeper, expression, None);
        world.write("go", "");
        let shown = ends_in_time(running, expression);
        tracer.wait();
        assert_eq!(shown.code, 1, "{expression}: {shown:?}");
        shown.says(&[told, "one", "runbook resume "]);
        assert_eq!(world.outcome("hold"), "succeeded");
        assert_eq!(world.ledger(), [""; 0], "{expression}");
        assert_recovers(&world, expression);
    }
}

/// To start a command the keeper opens no file, and the clock tells when it was born.
#[test]
fn a_keeper_that_can_open_nothing_starts_commands_all_the_same() {
    let Some(strace) = Strace::found() else { return };
    let expression = "inject=openat:error=EMFILE:when=1+";
    let world = held();
    let running = world.start(&["run", "three"]);
    wait_until("the step", || world.path("held").exists());
    let tracer = strace.attach(&world, world.processes_like("__keeper")[0], expression, None);
    world.write("go", "");
    ends_in_time(running, expression).exits(0);
    tracer.wait();
    assert_eq!(world.ledger(), ["one", "two", "two", "three"]);
}

/// Nobody can look at who is there, and the command is deaf to TERM: its group is ended.
#[test]
fn a_timeout_is_kept_without_a_descriptor() {
    let Some(strace) = Strace::found() else { return };
    let world = World::new();
    world.playbook(
        "deaf",
        "steps:\n  - { id: deaf, title: Deaf, timeout: 5s, grace: 1s, \
         run: 'trap \"\" TERM; touch held; while :; do sleep 0.1; done' }\n",
    );
    let running = world.start(&["run", "deaf"]);
    wait_until("the step", || world.path("held").exists());
    let keeper = world.processes_like("__keeper")[0];
    let expression = "inject=openat,pidfd_open:error=EMFILE:when=1+";
    let tracer = strace.attach(&world, keeper, expression, None);
    let shown = ends_in_time(running, expression).exits(1);
    tracer.wait();
    shown.says(&["timed out after 5"]);
    world.assert_nothing_runs();
}

/// The keeper lives and cannot be reached any more: what it runs is waited for like an orphan, not started beside itself.
#[test]
fn what_an_unreachable_keeper_runs_is_not_started_again_meanwhile() {
    let Some(strace) = Strace::found() else { return };
    let world = World::new();
    world.playbook(
        "apart",
        "steps:\n  - { id: hold, title: Hold, needs: [], idempotent: true, \
         run: 'echo begun >> ledger; touch held; while ! test -e go; do sleep 0.05; done; echo done >> ledger' }\n  \
         - { id: pause, title: Pause, needs: [], wait: 2s }\n  \
         - { id: later, title: Later, needs: [pause], idempotent: true, run: echo later >> ledger }\n",
    );
    let running = world.start(&["run", "apart"]);
    wait_until("the step", || world.path("held").exists());
    let tracer = strace.attach(&world, running.pid(), "inject=sendto:error=ENOBUFS:when=1+", None);
    wait_until("the loss", || !world.events_named("keeper_lost").is_empty());
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(world.ledger(), ["begun"], "it was started beside itself");
    assert!(!world.events_named("task_ended").iter().any(|e| e["task"] == "hold.1"), "it has not ended");
    kill_hard(running.pid());
    running.wait();
    tracer.wait();
    world.write("go", "");
    wait_until("the keeper's end", || world.processes().is_empty());
    // The next process reads what the keeper noted. That the later step could not be started is on record already.
    world.run(&["resume", "last"]).exits(1).says(&["later", "could not be started"]);
    assert_eq!(world.outcome("hold"), "succeeded");
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["begun", "done", "later"]);
}
