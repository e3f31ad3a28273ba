//! Drills in namespaces of their own, and playbooks with several drills: who is killed when, nothing of a world is left.

use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Shown, World, command_line, wait_until};

/// A daemon that leaves its session, a mount, a socket at a fixed port, an abstract one, shared memory.
const WORLD: &str = r#"
  world:
    - title: Something that would stay
      run: |
        mkdir {{ drill.dir }}/mounted
        if [ "$(id -u)" = 0 ]; then mount -t tmpfs runbook-left {{ drill.dir }}/mounted; fi
        echo x > /dev/shm/runbook-left
        setsid python3 -c 'import socket, time
        a = socket.create_server(("127.0.0.1", 27))
        b = socket.socket(socket.AF_UNIX); b.bind("\0runbook-left"); b.listen()
        open("{{ drill.dir }}/up", "w").close(); time.sleep(3600)' < /dev/null > {{ drill.dir }}/log 2>&1 &
      verify: [ { run: "test -e {{ drill.dir }}/up", within: 60s, every: 50ms } ]
"#;

fn book(world: &World, name: &str, step: &str, more: &str) {
    // An ordinary user may not take so low a port.
    let body = WORLD.replace("27)", if nix::unistd::getuid().is_root() { "27)" } else { "27027)" });
    world.playbook(
        name,
        &format!("steps: [{{ id: a, title: A, run: {step:?} }}]\ndrill:\n  isolated: true{body}{more}"),
    );
}

/// Whether the machine gives namespaces; it says so if not.
fn gives_namespaces(shown: &Shown) -> bool {
    let refused = shown.code == 8 && shown.err.contains("no namespaces for the drill");
    if refused {
        println!("SKIPPED: no right to namespaces here, so no isolated drill was shown: {}", shown.err);
    }
    !refused
}

/// What a drill must leave as it was.
fn machine() -> [String; 4] {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let own = |text: &str| text.lines().filter(|l| l.contains("runbook-left")).collect::<Vec<_>>().join("\n");
    let shm = Path::new("/dev/shm/runbook-left").exists();
    let port = std::net::TcpStream::connect(("127.0.0.1", 27)).is_ok();
    [own(&mounts), own(&sockets), format!("shared memory: {shm}"), format!("port: {port}")]
}

fn report(world: &World) -> Value {
    let mut drills = std::fs::read_dir(world.state().join("drills")).unwrap().flatten();
    let drill = drills.next().expect("a drill is recorded");
    serde_json::from_slice(&std::fs::read(drill.path().join("drill.json")).unwrap()).unwrap()
}

#[test]
fn an_isolated_drill_sees_a_machine_of_its_own() {
    let world = World::new();
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    let before = machine();
    book(
        &world,
        "apart",
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 27))' || \
         python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 27027))'; \
         readlink /proc/self/ns/net > net; find /run -type s > run; tail -n +3 /proc/net/dev | cut -d: -f1 > links; \
         ls /proc | grep -c '^[0-9]' > processes",
        "  assert: [run.outcome == 'recovered']\n",
    );
    let shown = world.run(&["drill", "apart"]);
    if !gives_namespaces(&shown) {
        return;
    }
    shown.exits(0).says(&["drill of apart: passed"]);
    assert_ne!(world.read("net").trim(), outside.to_str().unwrap());
    assert_eq!(world.read("run"), "", "no socket of a service is to be seen");
    assert_eq!(world.read("links").trim(), "lo");
    assert!(world.read("processes").trim().parse::<u32>().unwrap() < 30);
    let report = report(&world);
    assert_eq!(report["isolated"], true);
    assert_eq!(
        report["left_running"].as_array().unwrap().len(),
        1,
        "the daemon was ended, and told of: {report}"
    );
    world.assert_nothing_runs();
    assert_eq!(machine(), before);
    assert_eq!(std::fs::read_dir(world.tmp()).unwrap().count(), 0, "the world's folder is gone");
}

#[test]
fn whoever_of_an_isolated_drill_is_killed_nothing_is_left() {
    for (n, victim) in ["--inside", "__first", "__threshold", "outermost", "all"].into_iter().enumerate() {
        let world = World::new();
        let before = machine();
        book(&world, "apart", "touch here; sleep 3600", "");
        let running = world.start(&["drill", "apart"]);
        let mut running = Some(running);
        let reached = wait_for(|| world.path("here").exists() || !running.as_mut().unwrap().is_running());
        let running = running.take().unwrap();
        if !world.path("here").exists() {
            assert!(reached && !gives_namespaces(&running.wait()), "it has to get there");
            return;
        }
        let all = world.processes();
        assert!(all.len() >= 7, "four of runbook, a keeper, a step, a daemon: {all:?}");
        let named =
            |text: &str| all.iter().copied().filter(|p| command_line(*p).contains(text)).collect::<Vec<_>>();
        let victims = match victim {
            "outermost" => vec![running.pid()],
            // Those of the drill itself: runners and keeper, all at once.
            "all" => [named("drill"), named("__keeper")].concat(),
            "--inside" => {
                let first = named("__first");
                named("--inside")
                    .into_iter()
                    .filter(|p| !first.contains(p) && !named("__threshold").contains(p))
                    .collect()
            }
            name => named(name),
        };
        assert!(!victims.is_empty(), "{victim}");
        for pid in victims {
            // One may have gone with another.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let shown = running.wait();
        world.assert_nothing_runs();
        assert_eq!(machine(), before, "after the end of {victim} ({n})");
        if victim == "--inside" {
            shown.exits(1).says(&["the drill was killed"]);
            assert_eq!(std::fs::read_dir(world.tmp()).unwrap().count(), 0, "who is left removes the folder");
        }
    }
}

fn wait_for(mut done: impl FnMut() -> bool) -> bool {
    wait_until("the step", &mut done);
    true
}

#[test]
fn a_signal_ends_an_isolated_drill_in_good_order() {
    let world = World::new();
    book(
        &world,
        "apart",
        "touch here; sleep 3600",
        "  assert: [run.outcome == 'recovered']\n  teardown: [{ run: 'echo down >> ledger' }]\n",
    );
    let mut running = world.start(&["drill", "apart"]);
    wait_until("the step", || world.path("here").exists() || !running.is_running());
    if running.is_running() {
        running.signal(Signal::SIGTERM);
    }
    let shown = running.wait();
    if !gives_namespaces(&shown) {
        return;
    }
    shown.exits(130).says(&["cancelled"]);
    assert_eq!(world.ledger(), ["down"], "the teardown ran");
    world.assert_nothing_runs();
}

#[test]
fn an_ordinary_user_drills_in_namespaces_as_well() {
    if !nix::unistd::getuid().is_root() {
        println!("SKIPPED: only root can become another user; the other tests here ran as an ordinary one");
        return;
    }
    let root = tempfile::Builder::new().prefix("runbook-user-").tempdir().unwrap();
    let (user, home) = (65534, root.path());
    std::fs::create_dir(home.join("playbooks")).unwrap();
    let text = "apiVersion: runbook/v1\nname: apart\ntitle: Apart\nworkdir: ..\n\
                steps: [{ id: a, title: A, run: 'id -u > who; grep CapEff /proc/self/status >> who; ls /proc | grep -c ^1$ >> who' }]\n\
                drill: { isolated: true, world: [{ run: 'sleep 3600 > log 2>&1 &' }], assert: [run.outcome == 'recovered'] }\n";
    std::fs::write(home.join("playbooks/apart.yaml"), text).unwrap();
    // Where the binary lies, others may not look.
    std::fs::copy(crate::support::BIN, home.join("runbook")).unwrap();
    let chown = |path: &Path| std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    chown(home);
    chown(&home.join("playbooks"));
    let mut command = std::process::Command::new(home.join("runbook"));
    command.args(["drill", "apart"]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
    command
        .env("RUNBOOK_STATE", home.join("state"))
        .env("TMPDIR", home)
        .current_dir(home)
        .uid(user)
        .gid(user);
    let shown = crate::support::shown(&mut command);
    if !gives_namespaces(&shown) {
        return;
    }
    shown.exits(0).says(&["drill of apart: passed", "left running", "sleep 3600"]);
    let who = std::fs::read_to_string(home.join("who")).unwrap();
    let who: Vec<&str> = who.split_whitespace().collect();
    assert_eq!(who, ["65534", "CapEff:", "0000000000000000", "1"], "itself, with no more rights than before");
}

#[test]
fn people_answer_an_isolated_drill_from_outside() {
    let world = World::new();
    let choice = "choose: { prompt: Which, options: { left: { title: Left }, right: { title: Right } } }";
    world.playbook(
        "asked",
        &format!(
            "steps: [{{ id: way, title: Choose, {choice} }}]\n\
             drill: {{ isolated: true, answers: {{ way: left }}, assert: [steps.way.choice == 'right'] }}"
        ),
    );
    let mut running = world.start(&["drill", "asked", "--ask"]);
    let asked = |world: &World| world.run(&["status", "last"]).out.contains("waiting for a choice");
    wait_until("the question", || asked(&world) || !running.is_running());
    if running.is_running() {
        world.run(&["choose", "last", "way", "right"]).exits(0);
    }
    let shown = running.wait();
    if gives_namespaces(&shown) {
        shown.exits(0).says(&["drill of asked: passed"]);
    }
}

#[test]
fn what_a_drill_would_hide_from_itself_is_told() {
    if !Path::new("/dev/shm").is_dir() {
        println!("SKIPPED: there is no /dev/shm here, so a folder in it was not refused");
        return;
    }
    let world = World::new();
    book(&world, "apart", "true", "");
    let hidden = tempfile::Builder::new().prefix("runbook-").tempdir_in("/dev/shm").unwrap();
    let mut command = world.cmd(&["drill", "apart"]);
    command.env("TMPDIR", hidden.path());
    world.start_command(command).wait().exits(8).says(&["/dev/shm of its own"]);
    assert_eq!(std::fs::read_dir(hidden.path()).unwrap().count(), 0);
}

#[test]
fn each_variant_is_a_drill() {
    let world = World::new();
    world.playbook(
        "ways",
        "params: { way: { type: string, required: true } }\n\
         steps: [{ id: a, title: A, run: 'echo {{ params.way }} >> ledger; test {{ params.way }} != wrong' }]\n\
         drill:\n  world: [{ run: 'echo world >> ledger' }]\n  assert: [run.outcome == 'recovered']\n\
         \x20 teardown: [{ run: 'echo down >> ledger' }]\n\
         \x20 variants:\n    left: { title: To the left, params: { way: left } }\n\
         \x20   bad: { params: { way: wrong }, world: [{ run: 'echo more >> ledger' }] }\n\
         \x20   right: { params: { way: right }, teardown: [{ run: 'echo first >> ledger' }] }\n",
    );
    world.run(&["drill", "ways", "--variant", "right"]).exits(0).says(&["drill of ways, right: passed"]);
    assert_eq!(world.ledger(), ["world", "right", "first", "down"]);
    world.run(&["drill", "ways", "--variant", "up"]).exits(2).says(&["no variant `up`", "left, bad, right"]);
    world.run(&["drill", "ways", "--dir", "there"]).exits(2).says(&["--variant"]);
    let shown = world.run(&["drill", "ways"]).exits(1);
    shown.says(&[
        "To the left",
        "drill of ways, left: passed",
        "drill of ways, bad: FAILED",
        "right: passed",
    ]);
    let rest = ["world", "left", "down", "world", "more", "wrong", "down", "world", "right", "first", "down"];
    assert_eq!(world.ledger()[4..], rest, "one that fails keeps no other from being drilled");
}
