//! Whoever is killed in the middle of a drill on real components, the machine is left as it was.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Place, Running, command_line, refused};
use crate::{postgres, registry};

/// Starts the drill and waits until its output says this.
fn under_way(place: &Place, name: &str, variant: &[&str], text: &str) -> Option<Running> {
    let mut running = place.start(place.drill(name, variant));
    if running.reaches(text) {
        return Some(running);
    }
    let (code, shown) = running.wait();
    assert!(refused(code, &shown), "it ended too early:\n{shown}");
    None
}

fn kill_all(pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        // One may have gone with another.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[test]
fn runner_and_keeper_are_killed_with_containers_up() {
    if !registry::can() {
        return;
    }
    let place = Place::new();
    let Some(running) = under_way(&place, "registry-failure", &[], "point     ") else { return };
    let namespaces = place.namespaces();
    assert_eq!(namespaces.len(), 5, "{namespaces:?}");
    let all: Vec<(i32, String)> = place.processes().into_iter().map(|pid| (pid, command_line(pid))).collect();
    assert!(all.iter().any(|(_, line)| line.contains("docker-registry serve")), "{all:?}");
    let inner = |line: &str| {
        line.contains(" __keeper ")
            || line.contains(" --inside ") && !line.contains(" __first ") && !line.contains(" __threshold ")
    };
    let victims: Vec<i32> = all.iter().filter(|(_, line)| inner(line)).map(|(pid, _)| *pid).collect();
    assert!(victims.len() >= 2, "the runner and a keeper: {all:?}");
    kill_all(victims);
    let (code, shown) = running.wait();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("the drill was killed"), "{shown}");
    place.assert_gone(&namespaces);
    place.assert_as_before();
}

#[test]
fn everything_of_runbook_is_killed_while_a_database_recovers() {
    if !postgres::can() {
        return;
    }
    let place = Place::new();
    let variant = ["--variant", "pitr"];
    let Some(running) = under_way(&place, "postgres-corruption", &variant, "recover/pitr") else { return };
    let namespaces = place.namespaces();
    assert_eq!(namespaces.len(), 5, "{namespaces:?}");
    let ours: Vec<i32> = place.processes();
    kill_all(ours.into_iter().filter(|pid| {
        let line = command_line(*pid);
        line.contains("drill") && line.contains("postgres-corruption") || line.contains(" __keeper ")
    }));
    let (code, shown) = running.wait();
    assert_eq!(code, -9, "{shown}");
    place.assert_gone(&namespaces);
    place.assert_as_before();
}
