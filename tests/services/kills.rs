//! Whoever is killed in the middle of a drill on real components, the machine is left as it was.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Place, Running, refused};
use crate::{outage, postgres, registry};

/// Starts the drill and waits until this task of its run has begun.
fn under_way(place: &Place, name: &str, variant: &[&str], task: &str) -> Option<Running> {
    let mut running = place.start(place.drill(name, variant));
    if running.reaches(place, &format!("\"task\":\"{task}\"")) {
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
    let Some(running) = under_way(&place, "registry-failure", &["--variant", "rebuilt"], "running.1") else {
        return;
    };
    let all = place.inside();
    for part in ["docker-registry serve", "conmon ", "busybox httpd"] {
        assert!(all.iter().any(|(_, line)| line.contains(part)), "no {part}: {all:?}");
    }
    let namespaces = Place::namespaces(&all);
    assert!(namespaces.len() > 5, "those of the drill and those of a container: {namespaces:?}");
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
    let Some(running) = under_way(&place, "postgres-corruption", &variant, "recover/pitr.1") else { return };
    let all = place.inside();
    assert!(all.iter().any(|(_, line)| line.contains("postgres")), "{all:?}");
    let namespaces = Place::namespaces(&all);
    assert!(namespaces.len() >= 5, "{namespaces:?}");
    let runbook =
        |line: &str| line.contains(" drill ") && line.contains("runbook") || line.contains(" __keeper ");
    kill_all(all.iter().filter(|(_, line)| runbook(line)).map(|(pid, _)| *pid));
    let (code, shown) = running.wait();
    assert_eq!(code, -9, "{shown}");
    place.assert_gone(&namespaces);
    place.assert_as_before();
}

#[test]
fn everything_of_runbook_is_killed_while_hosts_are_made() {
    if !outage::can() {
        return;
    }
    let place = Place::new();
    let Some(running) = under_way(&place, "full-outage", &["--variant", "all-come-back"], "create/1.1")
    else {
        return;
    };
    let all = place.inside();
    assert!(all.iter().any(|(_, line)| line.contains("named")), "{all:?}");
    let namespaces = Place::namespaces(&all);
    let runbook =
        |line: &str| line.contains(" drill ") && line.contains("runbook") || line.contains(" __keeper ");
    kill_all(all.iter().filter(|(_, line)| runbook(line)).map(|(pid, _)| *pid));
    let (code, shown) = running.wait();
    assert_eq!(code, -9, "{shown}");
    place.assert_gone(&namespaces);
    place.assert_as_before();
}
