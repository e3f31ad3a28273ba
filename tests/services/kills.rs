//! Whoever is killed in the middle of a drill on real components, the machine is left as it was.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Place, Running, refused, wait_until};
use crate::{outage, postgres, registry, service};

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
    let namespaces = place.namespaces(&all);
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

/// Kills every process of runbook at once, and asserts that the kernel has ended all others with them.
fn kill_runbook(place: &Place, running: Running, part: &str) {
    let all = place.inside();
    assert!(all.iter().any(|(_, line)| line.contains(part)), "no {part}: {all:?}");
    let namespaces = place.namespaces(&all);
    assert!(namespaces.len() >= 5, "{namespaces:?}");
    let runbook =
        |line: &str| line.contains(" drill ") && line.contains("runbook") || line.contains(" __keeper ");
    kill_all(all.iter().filter(|(_, line)| runbook(line)).map(|(pid, _)| *pid));
    let (code, shown) = running.wait();
    assert_eq!(code, -9, "{shown}");
    place.assert_gone(&namespaces);
}

#[test]
fn everything_of_runbook_is_killed_while_a_database_recovers() {
    if !postgres::can() {
        return;
    }
    let place = Place::new();
    let variant = ["--variant", "pitr"];
    let Some(running) = under_way(&place, "postgres-corruption", &variant, "recover/pitr.1") else { return };
    kill_runbook(&place, running, "postgres");
    place.assert_as_before();
}

#[test]
fn everything_of_runbook_is_killed_while_a_service_is_tried_again() {
    if !service::can() {
        return;
    }
    let place = Place::new();
    let variant = ["--variant", "hopeless"];
    let Some(running) = under_way(&place, "service-recovery", &variant, "recover.2") else { return };
    kill_runbook(&place, running, "runsv");
    place.assert_as_before();
}

#[test]
fn everything_of_runbook_is_killed_while_hosts_are_made() {
    if !outage::can() {
        return;
    }
    let place = Place::new();
    let variant = ["--variant", "all-come-back"];
    let Some(running) = under_way(&place, "full-outage", &variant, "create/1.1") else { return };
    wait_until("the group of a host", || !place.groups().is_empty());
    kill_runbook(&place, running, "named");
    the_next_drill_sweeps(&place);
    place.assert_as_before();
}

/// Nobody was left to remove the groups that the hosts' processes were in. They are empty; a later drill removes them, but none that
/// is being filled at this moment, so they are made to look old.
fn the_next_drill_sweeps(place: &Place) {
    let groups = place.groups();
    assert!(!groups.is_empty(), "the hosts have groups of their own");
    for group in &groups {
        crate::machine::walk(group, &mut |path| {
            let processes = path.file_name().is_some_and(|name| name == "cgroup.procs");
            assert!(!processes || std::fs::read_to_string(path).unwrap().is_empty(), "{}", path.display());
        });
        let aged = Command::new("touch").args(["-d", "20 minutes ago"]).arg(group).status().unwrap();
        assert!(aged.success());
    }
    let next = tempfile::tempdir().unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/drill/netns_host.sh");
    let made = Command::new("unshare")
        .args(["--net", "--mount", "bash"])
        .arg(script)
        .arg("net")
        .arg(next.path())
        .status();
    assert!(made.unwrap().success(), "another drill begins");
}
